//! Requests that wait for one answer.

use oauth2_filter_core::{CallFailure, Event, StreamId};
use serde_json::{Value, json};

use crate::exchanges::{exchange, get};
use crate::exchanging;
use crate::host::SimulatedHost;
use crate::outbound::client;

/// A host with these additions to the `inbound` object.
fn host(inbound: Value) -> SimulatedHost {
    SimulatedHost::new(&exchange("waiting").inbound(inbound).document("p"))
}

#[test]
fn rs_7662_09_any_number_of_requests_with_one_token_make_one_call() {
    let mut host = host(json!({}));
    let streams: Vec<_> = (0..2_000).map(|_| host.send(&get("/").bearer("t"))).collect();
    assert_eq!(host.made, 1);
    assert!(streams.iter().all(|stream| host.state(*stream) == "waits"));
    host.answer_with(&json!({"active": true}));
    assert!(streams.iter().all(|stream| host.state(*stream) == "passed"));
}

#[test]
fn each_request_that_waited_is_judged_by_its_own_rule() {
    let rules = json!([{"paths": ["/a"], "scope": "a"}, {"paths": ["/b"], "scope": "b"}]);
    let mut host = host(json!({ "rules": rules }));
    let (a, b) = (host.send(&get("/a").bearer("t")), host.send(&get("/b").bearer("t")));
    host.answer_with(&json!({"active": true, "scope": "a"}));
    assert_eq!((host.state(a), host.state(b)), ("passed", "oauth2_insufficient_scope"));
}

#[test]
fn the_answer_outlives_the_request_that_asked() {
    let mut host = host(json!({}));
    let first = host.send(&get("/").bearer("t"));
    let second = host.send(&get("/").bearer("t"));
    host.abort(first);
    host.answer_with(&json!({"active": true}));
    assert_eq!((host.state(first), host.state(second)), ("waits", "passed"));
}

#[test]
fn an_answer_that_nobody_waits_for_any_more_is_kept() {
    let mut host = host(json!({}));
    let stream = host.send(&get("/").bearer("t"));
    host.abort(stream);
    host.answer_with(&json!({"active": true}));
    assert_eq!(host.state_of(&get("/").bearer("t")), "passed");
    assert_eq!(host.made, 1);
}

#[test]
fn a_failure_is_for_all_that_wait_and_for_nobody_after() {
    let mut host = host(json!({}));
    let streams = [(); 3].map(|()| host.send(&get("/").bearer("t")));
    host.answer(&Err(CallFailure::NotSent));
    assert!(streams.iter().all(|s| host.state(*s) == "oauth2_server_unavailable"));
    assert_eq!(host.state_of(&get("/").bearer("t")), "waits");
    assert_eq!(host.made, 2);
}

#[test]
fn who_asks_every_time_joins_nobody() {
    let mut host = host(json!({"cache": {"max_ttl": "0s"}}));
    let streams = [(); 3].map(|()| host.send(&get("/").bearer("t")));
    assert_eq!(host.made, 3);
    host.answer_with(&json!({"active": true}));
    host.answer_with(&json!({"active": false}));
    assert_eq!(streams.map(|s| host.state(s)), ["passed", "oauth2_inactive", "waits"]);
}

#[test]
fn the_requests_that_wait_are_counted_while_they_do() {
    let waiting = |host: &SimulatedHost| -> i64 {
        let more = |event: &Event| match event {
            Event::Waiting(more) => *more,
            _ => 0,
        };
        host.events.iter().map(more).sum()
    };
    let mut host = host(json!({}));
    let streams = [(); 3].map(|()| host.send(&get("/").bearer("t")));
    host.send(&get("/"));
    assert_eq!(waiting(&host), 3);
    host.abort(streams[0]);
    assert_eq!(waiting(&host), 2);
    host.answer_with(&json!({"active": true}));
    assert_eq!(waiting(&host), 0);
    host.send(&get("/").bearer("t"));
    host.abort(streams[0]);
    assert_eq!(waiting(&host), 0, "who does not wait is not counted");
}

#[test]
fn an_answer_to_a_call_that_is_not_under_way_changes_nothing() {
    let mut one = host(json!({}));
    let mut other = host(json!({}));
    other.send(&get("/").bearer("t"));
    other.send(&get("/").bearer("u"));
    one.calls.append(&mut other.calls);
    one.answer_with(&json!({"active": true}));
    assert_eq!(one.state_of(&get("/").bearer("t")), "waits");
}

#[test]
fn rs_6750_13_d6_01_tokens_and_secrets_show_in_no_debug_output() {
    let mut host = host(json!({}));
    host.send(&get("/").bearer("t0ken"));
    let shown = format!("{:?}", host.calls);
    assert!(shown.contains("Call") && !shown.contains("t0ken") && !shown.contains("cnM6"));
}

#[test]
fn requests_that_wait_hold_32_mib_at_most_in_each_direction() {
    // Of each request, the caller's token waits: 16 KiB, which is what a token may have.
    let token = "t".repeat(16 * 1024);
    let inbound = json!({"introspection": {"endpoint": "http://as.test/introspect", "cluster": "as",
        "client_id": "api", "client_secret": "secret"}});
    let outbound = json!({"clients": {"billing": client(exchanging::exchange(json!({})))}});
    for document in
        [json!({"outbound": outbound}), json!({"inbound": inbound, "outbound": outbound})]
    {
        let mut host = SimulatedHost::new(&document);
        let request = get("/").bearer(&token);
        let states: Vec<_> = (0..2100).map(|_| host.state_of(&request)).collect();
        let refused = states.iter().position(|state| *state == "oauth2_overloaded").unwrap();
        assert!((1800..=2048).contains(&refused), "{refused}");
        assert!(states[..refused].iter().all(|state| *state == "waits"));
        assert!(states[refused..].iter().all(|state| *state == "oauth2_overloaded"));
        // What leaves makes room, once.
        host.abort(StreamId(0));
        assert_eq!(host.state_of(&request), "waits");
        assert_eq!(host.state_of(&request), "oauth2_overloaded");
    }
}
