//! Rules that limit the age of cached responses (`max_ttl`), beside rules that do not.

// Parts of documents read best when they are given as values.
#![allow(clippy::needless_pass_by_value)]

use std::time::Duration;

use oauth2_filter_core::{CallFailure, StreamId};
use serde_json::{Value, json};

use crate::exchanges::{Request, exchange, get};
use crate::host::SimulatedHost;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const JUST_BELOW_FIVE_SECONDS: Duration = Duration::from_millis(4_999);

/// `/pay` introspects each request's token, `/brief` accepts five seconds, and `/free` a minute.
fn document(more: Value) -> Value {
    let mut inbound = json!({"rules": [
        {"paths": ["/pay"], "max_ttl": "0s"}, {"paths": ["/brief"], "max_ttl": "5s"},
        {"paths": ["/free"]},
    ]});
    for (key, value) in more.as_object().expect("members") {
        inbound[key] = value.clone();
    }
    exchange("ages").inbound(inbound).document("p")
}

fn workers() -> [SimulatedHost; 2] {
    let document = document(json!({}));
    let one = SimulatedHost::new(&document);
    let other = one.worker(&document);
    [one, other]
}

fn to(path: &'static str) -> Request {
    get(path).bearer("t")
}

fn active() -> Value {
    json!({"active": true})
}

fn inactive() -> Value {
    json!({"active": false})
}

/// Sends requests to these paths.
fn send<const N: usize>(host: &mut SimulatedHost, paths: [&'static str; N]) -> [StreamId; N] {
    paths.map(|path| host.send(&to(path)))
}

/// Sends a request, answers its call if it makes one, and says what became of it.
fn ask(host: &mut SimulatedHost, path: &'static str, answer: &Value) -> (&'static str, bool) {
    let before = host.made;
    let stream = host.send(&to(path));
    if host.state(stream) == "waits" {
        host.answer_with(answer);
    }
    (host.state(stream), host.made > before)
}

/// Answers the newest open call.
fn answer_last(host: &mut SimulatedHost, answer: &Value) {
    host.calls.rotate_right(1);
    host.answer_with(answer);
}

#[test]
fn each_rule_gets_responses_of_its_own_age_in_this_worker_and_in_others() {
    let [mut one, mut other] = workers();
    assert_eq!(ask(&mut one, "/free", &active()), ("passed", true));
    for host in [&mut one, &mut other] {
        assert_eq!(ask(host, "/brief", &inactive()), ("passed", false));
        host.advance(JUST_BELOW_FIVE_SECONDS);
        assert_eq!(ask(host, "/brief", &inactive()), ("passed", false));
        host.advance(MILLISECOND);
    }
    // The new response serves the others, too, and an old one none of them.
    assert_eq!(ask(&mut one, "/brief", &active()), ("passed", true));
    assert_eq!(ask(&mut other, "/brief", &inactive()), ("passed", false));
    for host in [&mut one, &mut other] {
        assert_eq!(ask(host, "/free", &inactive()), ("passed", false));
        host.advance(59 * SECOND);
    }
    assert_eq!(ask(&mut one, "/free", &inactive()), ("passed", false));
    one.advance(SECOND);
    assert_eq!(ask(&mut one, "/free", &inactive()), ("oauth2_inactive", true));
}

#[test]
fn d2_03_without_any_age_each_request_is_introspected_and_what_is_learnt_is_shared() {
    let [mut one, mut other] = workers();
    for _ in 0..3 {
        assert_eq!(ask(&mut one, "/pay", &active()), ("passed", true));
    }
    assert_eq!(ask(&mut one, "/free", &inactive()), ("passed", false));
    assert_eq!(ask(&mut other, "/brief", &inactive()), ("passed", false));
    // A rejection ends it for all, in each worker that asks the store.
    assert_eq!(ask(&mut one, "/pay", &inactive()), ("oauth2_inactive", true));
    assert_eq!(ask(&mut one, "/free", &active()), ("oauth2_inactive", false));
    let mut late = one.worker(&document(json!({})));
    assert_eq!(ask(&mut late, "/free", &active()), ("oauth2_inactive", false));
    // A negative entry has an age like any other response.
    assert_eq!(ask(&mut one, "/brief", &active()), ("oauth2_inactive", false));
    assert_eq!(ask(&mut one, "/pay", &active()), ("passed", true));
    assert_eq!(ask(&mut one, "/free", &inactive()), ("passed", false));
    assert_eq!(ask(&mut late, "/pay", &active()), ("passed", true));
}

#[test]
fn a_negative_entry_serves_no_longer_than_a_rule_allows() {
    let negative = json!({"cache": {"negative_ttl": "30s"}});
    let mut host = SimulatedHost::new(&document(negative));
    assert_eq!(ask(&mut host, "/free", &inactive()), ("oauth2_inactive", true));
    host.advance(5 * SECOND);
    assert_eq!(ask(&mut host, "/free", &active()), ("oauth2_inactive", false));
    assert_eq!(ask(&mut host, "/brief", &active()), ("passed", true));
    assert_eq!(ask(&mut host, "/free", &inactive()), ("passed", false));
}

#[test]
fn a_rejection_that_a_new_response_has_replaced_does_not_come_back() {
    let document = document(json!({
        "cache": {"max_ttl": "10s", "negative_ttl": "1h", "stale_if_error": "0s"}
    }));
    let mut one = SimulatedHost::new(&document);
    let mut other = one.worker(&document);
    assert_eq!(ask(&mut one, "/free", &inactive()), ("oauth2_inactive", true));
    one.advance(MILLISECOND);
    assert_eq!(ask(&mut one, "/pay", &active()), ("passed", true));
    for host in [&mut other, &mut one] {
        host.advance(11 * SECOND);
        let stream = host.send(&to("/free"));
        assert_eq!(host.state(stream), "waits");
        host.answer(&Err(CallFailure::Unreachable));
    }
}

#[test]
fn a_response_from_the_future_has_no_age() {
    let [mut one, mut other] = workers();
    one.advance(MILLISECOND);
    assert_eq!(ask(&mut one, "/free", &active()), ("passed", true));
    // This worker's clock is behind by a millisecond, which others tolerate.
    assert_eq!(ask(&mut other, "/free", &active()), ("passed", false));
    assert_eq!(ask(&mut other, "/brief", &active()), ("passed", true));
    // The clock is set back.
    one.set_back(2 * MILLISECOND);
    assert_eq!(ask(&mut one, "/free", &active()), ("passed", false));
    assert_eq!(ask(&mut one, "/brief", &active()), ("passed", true));
    one.set_back(2 * SECOND);
    assert_eq!(ask(&mut one, "/free", &active()), ("passed", true));
}

#[test]
fn a_request_joins_a_call_of_its_worker_only_within_its_age() {
    let mut host = SimulatedHost::new(&document(json!({"introspection": {"timeout": "20s"}})));
    let [first, young] = send(&mut host, ["/free", "/brief"]);
    host.advance(5 * SECOND);
    assert_eq!(host.made, 1);
    // The call began five seconds ago: a new one is made, which the next request joins.
    let [old, joins] = send(&mut host, ["/brief", "/brief"]);
    assert_eq!(host.made, 2);
    let [any, alone, also_alone] = send(&mut host, ["/free", "/pay", "/pay"]);
    assert_eq!(host.made, 4);
    host.answer_with(&active());
    assert_eq!([first, young].map(|stream| host.state(stream)), ["passed"; 2]);
    assert_eq!([old, joins, any, alone].map(|stream| host.state(stream)), ["waits"; 4]);
    host.answer_with(&inactive());
    assert_eq!([old, joins, any].map(|stream| host.state(stream)), ["oauth2_inactive"; 3]);
    for stream in [alone, also_alone] {
        assert_eq!(host.state(stream), "waits");
        host.answer_with(&active());
        assert_eq!(host.state(stream), "passed");
    }
}

#[test]
fn a_request_follows_a_call_of_another_worker_only_within_its_age() {
    let document = document(json!({"introspection": {"timeout": "20s"}}));
    let mut one = SimulatedHost::new(&document);
    let [mut young, mut old] = [one.worker(&document), one.worker(&document)];
    one.send(&to("/free"));
    for host in [&mut young, &mut old] {
        host.advance(JUST_BELOW_FIVE_SECONDS);
    }
    // Within the age of the rule, also for a request that joins one that follows.
    let follow = [young.send(&to("/brief")), young.send(&to("/free")), young.send(&to("/brief"))];
    assert_eq!(young.made, 0);
    old.advance(MILLISECOND);
    young.advance(MILLISECOND);
    let late = young.send(&to("/brief"));
    assert_eq!(young.made, 1, "it does not join one that follows too old a call");
    let [alone, free, pay] = send(&mut old, ["/brief", "/free", "/pay"]);
    assert_eq!(old.made, 2, "one for /brief, which /free joins, and one for /pay");
    one.advance(5 * SECOND);
    one.answer_with(&active());
    young.tick();
    assert_eq!(follow.map(|stream| young.state(stream)), ["passed"; 3]);
    assert_eq!((young.state(late), old.state(alone)), ("waits", "waits"));
    young.answer_with(&active());
    old.answer_with(&active());
    old.answer_with(&inactive());
    assert_eq!((young.state(late), old.state(alone)), ("passed", "passed"));
    assert_eq!((old.state(free), old.state(pay)), ("passed", "oauth2_inactive"));
}

#[test]
fn a_response_does_not_undo_a_rejection_that_came_during_its_call() {
    let [mut one, mut other] = workers();
    let [first, _] = send(&mut one, ["/pay", "/pay"]);
    let far = other.send(&to("/pay"));
    one.advance(MILLISECOND);
    answer_last(&mut one, &inactive());
    other.advance(2 * MILLISECOND);
    one.advance(MILLISECOND);
    one.answer_with(&active());
    other.answer_with(&active());
    // Each request gets the response to its own call.
    assert_eq!((one.state(first), other.state(far)), ("passed", "passed"));
    for host in [&mut one, &mut other] {
        assert_eq!(ask(host, "/free", &active()), ("oauth2_inactive", false));
    }
    // A call that begins later is believed.
    assert_eq!(ask(&mut one, "/pay", &active()), ("passed", true));
    assert_eq!(ask(&mut one, "/free", &inactive()), ("passed", false));
}

#[test]
fn stale_responses_serve_no_rule_that_limits_their_age() {
    let cache = json!({"max_ttl": "10s", "stale_if_error": "1h"});
    let mut host = SimulatedHost::new(&document(json!({ "cache": cache })));
    assert_eq!(ask(&mut host, "/free", &active()), ("passed", true));
    // A failure for one rule makes no response stale that is fresh for another.
    let pay = host.send(&to("/pay"));
    host.answer(&Err(CallFailure::Unreachable));
    assert_eq!(host.state(pay), "oauth2_server_unavailable");
    let free = host.send(&to("/free"));
    assert_eq!(host.state(free), "passed");
    assert_eq!(
        host.filter_state(free)[0..2],
        [("decision", "allowed"), ("rule", "inbound.rules[2]")]
    );
    host.advance(10 * SECOND);
    // The same failure for requests of both.
    let [free, brief] = send(&mut host, ["/free", "/brief"]);
    host.answer(&Err(CallFailure::Unreachable));
    assert_eq!((host.state(free), host.state(brief)), ("passed", "oauth2_server_unavailable"));
    assert!(host.filter_state(free).contains(&("reason", "stale")));
    // Nor does the pause after it, in which others do not call.
    assert_eq!(host.state_of(&to("/free")), "passed");
    assert_eq!(host.state_of(&to("/brief")), "waits");
}

#[test]
fn a_new_response_that_is_too_long_to_be_shared_takes_an_older_one_with_it() {
    let [mut one, mut other] = workers();
    assert_eq!(ask(&mut one, "/free", &active()), ("passed", true));
    let long = json!({"active": true, "x": "x".repeat(5_000)});
    assert_eq!(ask(&mut one, "/pay", &long), ("passed", true));
    assert_eq!(ask(&mut other, "/free", &active()), ("passed", true));
}
