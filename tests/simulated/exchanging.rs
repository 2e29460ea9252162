//! Callers' tokens that are exchanged for others: one for each caller, for all workers, and none
//! goes on.

// Parts of documents read best when they are given as values.
#![allow(clippy::needless_pass_by_value)]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use oauth2_filter_core::{Answer, CallFailure, Event};
use serde_json::{Value, json};

use crate::exchanges::get;
use crate::host::{Outcome, SimulatedHost};
use crate::outbound::{client, document, form, host, parameter, seen, token, workers};

const SECOND: Duration = Duration::from_secs(1);

pub fn exchange(more: Value) -> Value {
    let mut exchange = json!({
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "audience": "billing",
    });
    for (key, value) in more.as_object().expect("members") {
        exchange[key] = value.clone();
    }
    exchange
}

/// An exchanged token that serves 100 seconds.
pub fn exchanged(name: &str) -> Value {
    let mut token = token(name);
    token["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token".into();
    token
}

#[test]
fn cl_8693_01_d1_08_each_caller_gets_a_token_of_its_own() {
    let mut host = host(exchange(json!({})));
    let alice = host.send(&get("/").bearer("alice"));
    let expected = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", "alice"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("audience", "billing"),
    ];
    assert_eq!(form(&host), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    let bob = host.send(&get("/").bearer("bob"));
    let again = host.send(&get("/").bearer("alice"));
    assert_eq!(host.made, 2);
    host.answer_with(&exchanged("for-alice"));
    host.answer_with(&exchanged("for-bob"));
    assert_eq!(seen(&host, alice).as_deref(), Some("Bearer for-alice"));
    assert_eq!(seen(&host, bob).as_deref(), Some("Bearer for-bob"));
    assert_eq!(seen(&host, again).as_deref(), Some("Bearer for-alice"));
    assert_eq!(host.state_of(&get("/")), "oauth2_no_token");
    let mut other = host.worker(&document(exchange(json!({}))));
    let stream = other.send(&get("/").bearer("bob"));
    assert_eq!(seen(&other, stream).as_deref(), Some("Bearer for-bob"));
    assert_eq!(other.made, 0);
}

/// What a caller gets if the server answers an exchange with a status and an error code: of a token
/// that is not known, and of one that has just been reported as active.
const REFUSALS: [(u16, &str, &str, &str); 21] = {
    const TOKEN: &str = "oauth2_subject_refused";
    const USE: &str = "oauth2_exchange_refused";
    const CLIENT: &str = "oauth2_server_refused_client";
    [
        (400, "invalid_request", TOKEN, USE),
        (200, "invalid_request", TOKEN, USE),
        (403, "invalid_request", TOKEN, USE),
        (400, "invalid_grant", TOKEN, TOKEN),
        (401, "invalid_grant", TOKEN, TOKEN),
        (400, "invalid_token", TOKEN, TOKEN),
        (401, "invalid_token", TOKEN, TOKEN),
        (400, "invalid_target", USE, USE),
        (400, "invalid_scope", USE, USE),
        (400, "insufficient_scope", USE, USE),
        (400, "access_denied", USE, USE),
        (403, "access_denied", USE, USE),
        (400, "interaction_required", USE, USE),
        (400, "login_required", USE, USE),
        (400, "consent_required", USE, USE),
        (400, "invalid_client", CLIENT, CLIENT),
        (400, "unauthorized_client", CLIENT, CLIENT),
        (400, "unsupported_grant_type", CLIENT, CLIENT),
        (400, "something_else", CLIENT, CLIENT),
        // Whatever the code, this status is about the client.
        (401, "invalid_request", CLIENT, CLIENT),
        (401, "access_denied", CLIENT, CLIENT),
    ]
};

#[test]
fn cl_8693_05_a_callers_token_that_is_not_exchanged_never_goes_on() {
    for (status, error, unknown, active) in REFUSALS {
        let mut plain = host(exchange(json!({})));
        let stream = plain.send(&get("/").bearer("alice"));
        plain.answer_status(status, &json!({"error": error}));
        assert_eq!(plain.state(stream), unknown, "{status} {error}");
        assert_eq!(plain.state_of(&get("/").bearer("alice")), unknown, "without a call");
        assert_eq!(plain.made, 1);
        // One caller's fault is not another's.
        let is_clients = status == 401 && !matches!(error, "invalid_grant" | "invalid_token")
            || matches!(error, "invalid_client" | "unsupported_grant_type");
        let other = if is_clients { unknown } else { "waits" };
        assert_eq!(plain.state_of(&get("/").bearer("bob")), other, "{status} {error}");

        let mut guarded = SimulatedHost::new(&both());
        let stream = guarded.send(&get("/").bearer("alice"));
        guarded.answer_with(&json!({"active": true, "scope": "a"}));
        guarded.answer_status(status, &json!({"error": error}));
        assert_eq!(guarded.state(stream), active, "{status} {error}");
        let again = guarded.send(&get("/").bearer("alice"));
        assert_eq!((guarded.state(again), guarded.made), (active, 2), "{status} {error}");
    }
}

#[test]
fn a_token_that_was_active_before_the_outage_is_not_known_to_be_active() {
    let mut document = both();
    document["inbound"]["cache"] = json!({"max_ttl": "1s", "stale_if_error": "1h"});
    let mut host = SimulatedHost::new(&document);
    host.send(&get("/").bearer("alice"));
    host.answer_with(&json!({"active": true, "scope": "a"}));
    let mut short = exchanged("for-alice");
    short["expires_in"] = json!(3);
    host.answer_with(&short);
    host.advance(3 * SECOND);
    let stale = host.send(&get("/").bearer("alice"));
    host.answer(&Err(CallFailure::Unreachable));
    assert_eq!(parameter(&host, "subject_token").as_deref(), Some("alice"));
    host.answer_status(400, &json!({"error": "invalid_request"}));
    assert_eq!(host.state(stale), "oauth2_subject_refused");
}

#[test]
fn a_server_that_rejects_the_client_is_not_called_for_each_caller() {
    let mut host = host(exchange(json!({})));
    // A minute of a request each 100 ms, each of another caller.
    for n in 0..600 {
        let stream = host.send(&get("/").bearer(&format!("caller-{n}")));
        if !host.calls.is_empty() {
            host.answer_status(401, &json!({"error": "unauthorized_client"}));
        }
        assert_eq!(host.state(stream), "oauth2_server_refused_client");
        host.advance(Duration::from_millis(100));
    }
    // At once, and after 1, 2, 4, 8, 16 and 32 seconds at the earliest.
    assert!((5..=6).contains(&host.made), "{} calls", host.made);
}

#[test]
fn one_caller_for_whom_the_client_is_rejected_stops_all_others_for_a_moment_only() {
    let mut workers = workers(exchange(json!({})));
    let mut bob = 0;
    for n in 0..600 {
        let worker = &mut workers[n % 2];
        // Mallory always comes first.
        worker.send(&get("/").bearer("mallory"));
        if !worker.calls.is_empty() {
            worker.answer_status(401, &json!({}));
        }
        let stream = worker.send(&get("/").bearer("bob"));
        if worker.state(stream) == "waits" {
            let mut short = exchanged("for-bob");
            short["expires_in"] = json!(0);
            worker.answer_with(&short);
        }
        if worker.state(stream) == "passed" {
            bob += 1;
        }
        for worker in &mut workers {
            worker.advance(Duration::from_millis(100));
        }
    }
    // Mallory stops bob for a second at a time, and ever more rarely. Were each failure in a row to
    // stop him, 463 requests would pass.
    assert!(bob > 480, "{bob}");
}

#[test]
fn a_second_caller_for_whom_the_client_is_rejected_makes_all_wait_longer() {
    for (second, waits) in [("alice", false), ("bob", true)] {
        let mut host = host(exchange(json!({})));
        for caller in ["alice", second] {
            host.send(&get("/").bearer(caller));
            host.answer_status(401, &json!({"error": "invalid_client"}));
            host.advance(SECOND * 5 / 4);
        }
        let refused = "oauth2_server_refused_client";
        let state = if waits { refused } else { "waits" };
        assert_eq!(host.state_of(&get("/").bearer("carol")), state, "{second}");
    }
}

#[test]
fn an_exchanged_token_that_comes_between_two_looks_at_shared_data_is_not_asked_for_again() {
    let document = document(exchange(json!({})));
    let one = SimulatedHost::new(&document);
    let mut other = one.worker(&document);
    let one = Rc::new(RefCell::new(one));
    one.borrow_mut().send(&get("/").bearer("alice"));
    let asking = Rc::clone(&one);
    other.meanwhile(move || asking.borrow_mut().answer_with(&exchanged("for-alice")));
    let stream = other.send(&get("/").bearer("alice"));
    assert_eq!(seen(&other, stream).as_deref(), Some("Bearer for-alice"));
    assert_eq!((one.borrow().made, other.made), (1, 0));
}

#[test]
fn a_marker_that_is_younger_than_the_exchange_that_finds_it_is_waited_for() {
    let [mut one, mut other] = workers(exchange(json!({})));
    // Its request comes a moment later, and its marker is up a moment sooner.
    one.advance(Duration::from_millis(1));
    let (one, stream) = other.send_second(one, &get("/").bearer("alice"));
    assert_eq!((one.borrow().made, other.made), (1, 0));
    one.borrow_mut().answer_with(&exchanged("for-alice"));
    other.tick();
    assert_eq!(seen(&other, stream).as_deref(), Some("Bearer for-alice"));
}

#[test]
fn an_exchange_that_ends_late_takes_no_other_workers_marker_down() {
    let document = json!({"outbound": {"clients": {
        "a": client(exchange(json!({"timeout": "2s"}))),
    }}});
    let mut one = SimulatedHost::new(&document);
    let [mut other, mut third] = [one.worker(&document), one.worker(&document)];
    one.send(&get("/").bearer("alice"));
    other.advance(4 * SECOND);
    third.advance(4 * SECOND);
    let second = other.send(&get("/").bearer("alice"));
    assert_eq!(other.made, 1);
    // Its server knows no such caller, which is no reason for anybody else to wait.
    one.answer_status(400, &json!({"error": "invalid_request"}));
    let last = third.send(&get("/").bearer("alice"));
    assert_eq!(third.made, 0);
    other.answer_with(&exchanged("for-alice"));
    third.tick();
    let for_alice = Some("Bearer for-alice");
    assert_eq!(
        (seen(&other, second).as_deref(), seen(&third, last).as_deref()),
        (for_alice, for_alice)
    );
    assert_eq!(third.markers(), 0);
}

#[test]
fn cl_8693_02_an_exchange_waits_for_its_actors_token() {
    let document = json!({"outbound": {"clients": {
        "a": client(exchange(json!({"actor": "self"}))), "self": client(json!({})),
    }}});
    let mut host = SimulatedHost::new(&document);
    let alice = host.send(&get("/").bearer("alice"));
    assert_eq!(parameter(&host, "grant_type").as_deref(), Some("client_credentials"));
    assert_eq!(host.made, 1);
    host.answer_with(&token("actor"));
    assert_eq!(parameter(&host, "actor_token").as_deref(), Some("actor"));
    let kind = "urn:ietf:params:oauth:token-type:access_token";
    assert_eq!(parameter(&host, "actor_token_type").as_deref(), Some(kind));
    host.answer_with(&exchanged("for-alice"));
    assert_eq!(seen(&host, alice).as_deref(), Some("Bearer for-alice"));
    host.send(&get("/").bearer("bob"));
    assert_eq!(parameter(&host, "actor_token").as_deref(), Some("actor"));
    assert_eq!(host.made, 3);
}

#[test]
fn an_actors_token_that_the_server_may_have_rejected_is_replaced() {
    let document = json!({"outbound": {"clients": {
        "a": client(exchange(json!({"actor": "self"}))), "self": client(json!({})),
    }}});
    for (error, is_replaced) in
        [("invalid_request", true), ("invalid_grant", true), ("invalid_scope", false)]
    {
        let mut host = SimulatedHost::new(&document);
        host.send(&get("/").bearer("alice"));
        host.answer_with(&token("actor"));
        host.answer_status(400, &json!({"error": error}));
        let bob = host.send(&get("/").bearer("bob"));
        if is_replaced {
            host.answer_with(&token("next"));
        }
        let expected = if is_replaced { "next" } else { "actor" };
        assert_eq!(parameter(&host, "actor_token").as_deref(), Some(expected), "{error}");
        host.answer_with(&exchanged("for-bob"));
        assert_eq!(seen(&host, bob).as_deref(), Some("Bearer for-bob"), "{error}");
        // Callers cannot have it replaced at will.
        for caller in ["carol", "dave", "erin"] {
            host.send(&get("/").bearer(caller));
            if parameter(&host, "actor_token").is_none() {
                host.answer_with(&token("again"));
            }
            host.answer_status(400, &json!({"error": error}));
        }
        assert!(host.made <= 8, "{error}: {}", host.made);
    }
}

#[test]
fn an_actor_without_a_token_fails_the_exchange() {
    let document = json!({"outbound": {"clients": {
        "a": client(exchange(json!({"actor": "self"}))), "self": client(json!({})),
    }}});
    let mut host = SimulatedHost::new(&document);
    let waits = host.send(&get("/").bearer("alice"));
    host.answer(&Err(CallFailure::Timeout));
    assert_eq!(host.state(waits), "oauth2_server_timeout");
    assert_eq!(host.state_of(&get("/").bearer("alice")), "oauth2_server_timeout");
    assert_eq!(host.made, 1);
}

/// A document with both directions: callers' tokens are checked and exchanged.
fn both() -> Value {
    json!({
        "inbound": {
            "introspection": {
                "endpoint": "http://as.test/introspect", "cluster": "as",
                "client_id": "rs", "client_secret": "rs-secret",
            },
            "rules": [
                {"paths": ["/public"], "access": "public"},
                {"paths": ["/**"], "scope": "a"},
            ],
        },
        "outbound": {"clients": {"billing": client(exchange(json!({})))}},
    })
}

#[test]
fn mcp_07_a_callers_token_is_checked_exchanged_and_never_goes_upstream() {
    let mut host = SimulatedHost::new(&both());
    let exp = host.seconds() + 60;
    let waits = host.send(&get("/").bearer("alice"));
    assert_eq!(parameter(&host, "token").as_deref(), Some("alice"));
    host.answer_with(&json!({"active": true, "scope": "a", "exp": exp}));
    assert_eq!(parameter(&host, "subject_token").as_deref(), Some("alice"));
    assert_eq!(host.state(waits), "waits");
    host.answer_with(&exchanged("for-alice"));
    assert_eq!(seen(&host, waits).as_deref(), Some("Bearer for-alice"));
    let kept = host.send(&get("/").bearer("alice"));
    assert_eq!(seen(&host, kept).as_deref(), Some("Bearer for-alice"));
    assert_eq!(host.made, 2);
    let refused = host.send(&get("/").bearer("mallory"));
    host.answer_with(&json!({"active": false}));
    assert_eq!(host.state(refused), "oauth2_inactive");
    // On a public path nobody looks at a token, so it is neither exchanged nor handed on.
    for request in [get("/public"), get("/public").bearer("unchecked")] {
        let anonymous = host.send(&request);
        assert_eq!((host.state(anonymous), seen(&host, anonymous)), ("passed", None));
    }
    assert_eq!(host.made, 3);
}

#[test]
fn cl_8693_04_an_exchanged_token_never_outlives_the_callers() {
    let mut host = SimulatedHost::new(&both());
    let exp = host.seconds() + 30;
    host.send(&get("/").bearer("alice"));
    host.answer_with(&json!({"active": true, "scope": "a", "exp": exp}));
    host.answer_with(&exchanged("for-alice"));
    host.advance(SECOND * 29);
    assert_eq!(host.state_of(&get("/").bearer("alice")), "passed");
    host.advance(SECOND);
    // Asked again, the server still calls it active for a while: nothing old is used for it.
    host.send(&get("/").bearer("alice"));
    host.answer_with(&json!({"active": true, "scope": "a", "exp": exp + 60}));
    assert_eq!(parameter(&host, "subject_token").as_deref(), Some("alice"));
}

/// What a request of this caller goes on with.
fn sent_for(host: &mut SimulatedHost, caller: &str) -> Option<String> {
    let stream = host.send(&get("/").bearer(caller));
    assert_eq!(host.state(stream), "passed");
    seen(host, stream)
}

#[test]
fn d1_08_what_fails_for_one_caller_fails_for_that_one_alone() {
    let answers = [
        (400, json!({"error": "invalid_token"})),
        (401, json!({"error": "invalid_token"})),
        (400, json!({"error": "unauthorized_client"})),
        (400, json!({"error": "access_denied"})),
        (400, json!("no object")),
        (403, json!({"error": "access_denied"})),
        (404, json!({})),
        (500, json!({})),
        (200, json!({})),
        (200, token("of no type")),
        (200, exchanged("")),
    ];
    for (status, body) in answers {
        let mut host = host(exchange(json!({})));
        let mallory = get("/").bearer("mallory");
        for failures in 1..=3 {
            let stream = host.send(&mallory);
            assert_eq!(host.state(stream), "waits", "{status} {body}");
            host.answer_status(status, &body);
            let told = host.state(stream);
            assert_ne!(told, "passed", "{status} {body}");
            // In back-off that caller is told the same at once, and others are not held up.
            assert_eq!((host.state_of(&mallory), host.made), (told, 2 * failures - 1));
            let caller = format!("caller-{failures}");
            let other = host.send(&get("/").bearer(&caller));
            host.answer_with(&exchanged("t"));
            assert_eq!(host.state(other), "passed", "{status} {body}");
            // Each pause is twice as long as the one before, a fifth more or less. If the server is
            // unavailable, none is longer than three seconds.
            let doubled = 1 << (failures - 1);
            let pause = SECOND * if status == 500 { doubled.min(3) } else { doubled };
            host.advance(pause * 3 / 4);
            assert_eq!((host.state_of(&mallory), host.made), (told, 2 * failures), "too early");
            host.advance(pause * 5 / 4);
        }
    }
}

#[test]
fn while_the_server_is_away_no_caller_causes_a_call() {
    let answers = [429, 502, 503, 504].map(|status| (status, json!({})));
    let refusals = ["invalid_client", "unsupported_grant_type"];
    let refusals = refusals.map(|error| (400, json!({"error": error})));
    for (status, body) in answers.into_iter().chain(refusals).chain([(401, json!({}))]) {
        let mut host = host(exchange(json!({})));
        let stream = host.send(&get("/").bearer("alice"));
        host.answer_status(status, &body);
        let told = host.state(stream);
        assert_eq!(host.state_of(&get("/").bearer("bob")), told, "{status} {body}");
        assert_eq!(host.made, 1);
    }
}

#[test]
fn an_exchange_that_works_ends_the_back_off_of_all() {
    let mut host = host(exchange(json!({})));
    for n in 0..8 {
        let stream = host.send(&get("/").bearer(&format!("a{n}")));
        host.answer_status(503, &json!({}));
        assert!(
            [Some("1"), Some("2")].contains(&host.refused_header(stream, "retry-after")),
            "failure {n}"
        );
        host.advance(2 * SECOND);
        host.send(&get("/").bearer(&format!("b{n}")));
        host.answer_with(&exchanged("t"));
        host.advance(60 * SECOND);
    }
}

#[test]
fn a_caller_whose_exchange_worked_again_begins_with_the_shortest_pause() {
    let mut host = host(exchange(json!({})));
    let alice = get("/").bearer("alice");
    for pause in [SECOND, 2 * SECOND] {
        host.send(&alice);
        host.answer_status(500, &json!({}));
        host.advance(pause * 5 / 4);
    }
    host.send(&alice);
    let mut short = exchanged("for-alice");
    short["expires_in"] = json!(5);
    host.answer_with(&short);
    host.advance(5 * SECOND);
    host.send(&alice);
    host.answer_status(500, &json!({}));
    host.advance(SECOND * 5 / 4);
    assert_eq!(host.state_of(&alice), "waits");
}

#[test]
fn who_is_told_of_a_failure_first_is_told_when_the_next_call_is_due() {
    for caller in ["alice", "bob"] {
        let mut host = host(exchange(json!({})));
        let first = host.send(&get("/").bearer("alice"));
        let body = json!({}).to_string().into_bytes();
        let retry_after = Some(b"0".to_vec());
        let status = if caller == "alice" { 500 } else { 503 };
        host.answer(&Ok(Answer { status, retry_after, body }));
        let second = host.send(&get("/").bearer(caller));
        for stream in [first, second] {
            assert!([Some("1"), Some("2")].contains(&host.refused_header(stream, "retry-after")));
        }
    }
}

#[test]
fn an_exchanged_token_that_was_refused_is_dropped_by_all_workers() {
    let [mut one, mut other] = workers(exchange(json!({})));
    let refused = one.send(&get("/").bearer("alice"));
    one.answer_with(&exchanged("t1"));
    for worker in [&mut one, &mut other] {
        assert_eq!(sent_for(worker, "alice").as_deref(), Some("Bearer t1"));
    }
    let late = other.send(&get("/").bearer("alice"));
    let bob = other.send(&get("/").bearer("bob"));
    other.answer_with(&exchanged("for-bob"));
    for worker in [&mut one, &mut other] {
        worker.advance(SECOND);
    }
    one.respond(refused, 401);
    let waits = other.send(&get("/").bearer("alice"));
    assert_eq!((other.state(waits), other.made), ("waits", 2));
    other.answer_with(&exchanged("t2"));
    // One who was sent the old token hears of its end late: that says nothing of the new one.
    other.respond(late, 401);
    assert_eq!(seen(&other, bob).as_deref(), Some("Bearer for-bob"));
    for worker in [&mut one, &mut other] {
        assert_eq!(sent_for(worker, "alice").as_deref(), Some("Bearer t2"));
        assert_eq!(sent_for(worker, "bob").as_deref(), Some("Bearer for-bob"));
    }
    assert_eq!((one.made, other.made), (1, 2));
}

#[test]
fn a_worker_that_hears_late_of_a_refusal_drops_no_newer_token() {
    let [mut one, mut other] = workers(exchange(json!({})));
    let first = one.send(&get("/").bearer("alice"));
    one.answer_with(&exchanged("t1"));
    let second = other.send(&get("/").bearer("alice"));
    one.respond(first, 401);
    one.send(&get("/").bearer("alice"));
    one.answer_with(&exchanged("t2"));
    other.respond(second, 401);
    let mut third = one.worker(&document(exchange(json!({}))));
    for worker in [&mut one, &mut other, &mut third] {
        assert_eq!(sent_for(worker, "alice").as_deref(), Some("Bearer t2"));
    }
    assert_eq!((one.made, other.made, third.made), (2, 0, 0));
}

#[test]
fn a_token_that_is_too_long_to_be_shared_is_not_given_up_for_an_older_one() {
    let mut host = host(exchange(json!({})));
    let first = host.send(&get("/").bearer("alice"));
    host.answer_with(&exchanged("t1"));
    host.advance(SECOND);
    host.respond(first, 401);
    host.send(&get("/").bearer("alice"));
    let long = "x".repeat(5000);
    host.answer_with(&exchanged(&long));
    for _ in 0..3 {
        assert_eq!(sent_for(&mut host, "alice"), Some(format!("Bearer {long}")));
    }
    assert_eq!(host.made, 2);
}

#[test]
fn a_service_that_refuses_every_exchanged_token_causes_no_loop_whichever_worker_asks() {
    let mut workers = workers(exchange(json!({})));
    for n in 0..600 {
        let worker = &mut workers[n % 2];
        let stream = worker.send(&get("/").bearer("alice"));
        if worker.state(stream) == "waits" {
            worker.answer_with(&exchanged(&format!("t{n}")));
        }
        assert_eq!(worker.state(stream), "passed");
        worker.respond(stream, 401);
        for worker in &mut workers {
            worker.advance(Duration::from_millis(100));
        }
    }
    // A minute: at once, then after 1, 2, 4, 8, 16 and 32 seconds.
    let made = workers[0].made + workers[1].made;
    assert!((6..=8).contains(&made), "{made} calls");
}

#[test]
fn cl_8693_05_the_callers_token_goes_on_from_nowhere_in_the_request() {
    let placed = json!({"header": "x-down", "scheme": ""});
    let guarded = |mut document: Value, more: Value| {
        document["inbound"] = json!({
            "introspection": {
                "endpoint": "http://as.test/introspect", "cluster": "as", "auth_method": "none",
            },
            "unmatched": "public",
        });
        for (key, value) in more.as_object().expect("members") {
            document["inbound"][key] = value.clone();
        }
        document
    };
    let plain = document(exchange(placed.clone()));
    let token = json!({"rules": [{"access": "token"}]});
    let public = json!({"rules": [{"access": "public"}]});
    for (document, calls) in [
        (plain.clone(), 1),
        (guarded(plain.clone(), token), 2),
        (guarded(plain.clone(), public), 0),
    ] {
        let mut host = SimulatedHost::new(&document);
        let stream = host.send(&get("/").bearer("alice"));
        if calls == 2 {
            host.answer_with(&json!({"active": true}));
        }
        if calls > 0 {
            host.answer_with(&exchanged("for-alice"));
            assert_eq!(host.passed_header(stream, "x-down").as_deref(), Some("for-alice"));
        }
        assert_eq!((host.state(stream), host.made), ("passed", calls), "{document}");
        assert_eq!(seen(&host, stream), None, "{document}");
    }
    // Nor in a query or in a cookie, nor where there is no token for the request.
    let sources = json!({
        "token_sources": [{"query": "access_token"}, {"cookie": "at"}],
        "unmatched": "token",
    });
    let allow = json!({"header": "x-down", "scheme": "", "failure_mode_allow": true});
    let open = document(exchange(allow));
    for request in [get("/?a=b&access_token=alice"), get("/?a=b").header("cookie", "at=alice; c=d")]
    {
        let mut host = SimulatedHost::new(&guarded(open.clone(), sources.clone()));
        let stream = host.send(&request);
        host.answer_with(&json!({"active": true}));
        host.answer(&Err(CallFailure::Timeout));
        let Some(Outcome::Passed(head)) = host.outcome(stream) else { panic!("it passes") };
        let values = head.iter().map(|(_, value)| String::from_utf8_lossy(value));
        let all: Vec<_> = values.collect();
        let all = all.join("\n");
        assert!(!all.contains("alice") && all.contains("a=b"), "{all}");
    }
}

#[test]
fn of_several_tokens_the_one_that_counts_is_exchanged_and_none_goes_on() {
    let mut document = document(exchange(json!({"header": "x-down", "scheme": ""})));
    document["inbound"] = both()["inbound"].clone();
    document["inbound"]["token_precedence"] = "first".into();
    document["inbound"]["forward"] = json!({"token": true});
    document["inbound"]["token_sources"] =
        json!([{"basic": "password"}, {"cookie": "at"}, {"query": "access_token"}]);
    // user:alice
    let request = get("/?access_token=eve").header("authorization", "Basic dXNlcjphbGljZQ==");
    for rules in [json!([{}]), json!([{"access": "public"}])] {
        document["inbound"]["rules"] = rules;
        let mut host = SimulatedHost::new(&document);
        let stream = host.send(&request.clone().header("cookie", "at=mallory; a=1"));
        if host.state(stream) == "waits" {
            host.answer_with(&json!({"active": true, "scope": "a"}));
            assert_eq!(parameter(&host, "subject_token").as_deref(), Some("alice"));
            host.answer_with(&exchanged("for-alice"));
        }
        let Some(Outcome::Passed(head)) = host.outcome(stream) else { panic!("it passes") };
        let values = head.iter().map(|(_, value)| String::from_utf8_lossy(value));
        let all: Vec<_> = values.collect();
        let all = all.join("\n");
        assert!(!["eve", "mallory", "dXNl"].iter().any(|token| all.contains(token)), "{all}");
        assert!(all.contains("a=1"), "{all}");
    }
}

#[test]
fn refusals_of_an_exchange_name_the_realm_and_the_metadata_of_the_resource() {
    let mut document = both();
    document["inbound"]["realm"] = "orders".into();
    document["inbound"]["resource_metadata"] = json!({"resource": "https://api.test/orders"});
    document["outbound"]["rules"] = json!([{"paths": ["/a/**"], "client": "billing"}]);
    let url = "https://api.test/.well-known/oauth-protected-resource/orders";
    let named = |error: &str| {
        format!(r#"Bearer realm="orders", error="{error}", resource_metadata="{url}""#)
    };
    let mut guarded = SimulatedHost::new(&document);
    let stream = guarded.send(&get("/a/b").bearer("alice"));
    guarded.answer_with(&json!({"active": true, "scope": "a"}));
    guarded.answer_status(400, &json!({"error": "invalid_grant"}));
    assert_eq!(guarded.refused_header(stream, "www-authenticate"), Some(&*named("invalid_token")));
    let odd = guarded.send(&get("/a%2fb").bearer("alice"));
    assert_eq!(guarded.refused_header(odd, "www-authenticate"), Some(&*named("invalid_request")));
    // One that nobody judged is counted and told to access logs like any other.
    let denied = "oauth2_filter.requests.decision.denied.reason.bad_path";
    let is_denied = |event: &Event| matches!(event, Event::Count(c) if c.name() == denied);
    assert_eq!(guarded.events.iter().filter(|event| is_denied(event)).count(), 1);
    assert_eq!(guarded.filter_state(odd), [("decision", "denied"), ("reason", "bad_path")]);
    // Where nothing is guarded, the realm is the one that has no name.
    let mut plain = host(exchange(json!({})));
    let stream = plain.send(&get("/").bearer("alice"));
    plain.answer_status(400, &json!({"error": "invalid_grant"}));
    let plainly = r#"Bearer realm="oauth2", error="invalid_token""#;
    assert_eq!(plain.refused_header(stream, "www-authenticate"), Some(plainly));
}
