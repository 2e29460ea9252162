//! The life of outbound tokens: obtained once, shared, renewed ahead of their end, dropped, and
//! done without.

// Parts of documents read best when they are given as values.
#![allow(clippy::needless_pass_by_value)]

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use oauth2_filter_core::{
    CallFailure, ClientEvent, ClientGauge, Counter, Event, InjectionResult, StreamId, TokenEvent,
};
use oauth2_filter_testbed::envoy::with_members;
use serde_json::{Value, json};

use crate::exchanges::{Request, get};
use crate::exchanging::{exchange, exchanged};
use crate::host::SimulatedHost;

const SECOND: Duration = Duration::from_secs(1);

/// A client, with this added.
pub fn client(more: Value) -> Value {
    let client = json!({
        "grant_type": "client_credentials", "endpoint": "http://as.test/token", "cluster": "as",
        "client_id": "orders", "client_secret": "orders-secret",
    });
    with_members(client, &more)
}

/// One client for every request.
pub fn document(more: Value) -> Value {
    json!({"outbound": {"clients": {"billing": client(more)}}})
}

pub fn host(more: Value) -> SimulatedHost {
    SimulatedHost::new(&document(more))
}

/// Two workers of one proxy.
pub fn workers(more: Value) -> [SimulatedHost; 2] {
    let document = document(more);
    let one = SimulatedHost::new(&document);
    let other = one.worker(&document);
    [one, other]
}

/// A token that serves 100 seconds: it lives one more, which is the default of `clock_skew`.
pub fn token(name: &str) -> Value {
    json!({"access_token": name, "token_type": "Bearer", "expires_in": 101})
}

/// The same with a refresh token.
pub fn with_refresh(name: &str, refresh: &str) -> Value {
    let mut token = token(name);
    token["refresh_token"] = refresh.into();
    token
}

/// The `Authorization` that the service sees.
pub fn seen(host: &SimulatedHost, stream: StreamId) -> Option<String> {
    host.passed_header(stream, "authorization")
}

/// What a request that is sent now goes on with.
fn sent_with(host: &mut SimulatedHost) -> Option<String> {
    let stream = host.send(&get("/"));
    assert_eq!(host.state(stream), "passed");
    seen(host, stream)
}

/// The form of the oldest open call.
pub fn form(host: &SimulatedHost) -> Vec<(String, String)> {
    let body = host.calls.first().expect("an open call").body.as_bytes();
    url::form_urlencoded::parse(body).into_owned().collect()
}

/// A parameter of the oldest open call.
pub fn parameter(host: &SimulatedHost, name: &str) -> Option<String> {
    form(host).into_iter().find(|(n, _)| n == name).map(|(_, value)| value)
}

fn count(host: &SimulatedHost, event: ClientEvent) -> usize {
    let is_meant = |e: &&Event| matches!(e, Event::Client(id, e) if id.index() == 0 && *e == event);
    host.events.iter().filter(is_meant).count()
}

#[test]
fn a_token_is_obtained_once_and_put_on_every_request() {
    let mut host = host(json!({}));
    let streams: Vec<_> = (0..200).map(|_| host.send(&get("/"))).collect();
    assert_eq!(host.made, 1);
    assert_eq!(form(&host), [("grant_type".to_owned(), "client_credentials".to_owned())]);
    assert!(streams.iter().all(|stream| host.state(*stream) == "waits"));
    host.answer_with(&token("t1"));
    for stream in streams {
        assert_eq!(seen(&host, stream).as_deref(), Some("Bearer t1"));
    }
    assert_eq!(sent_with(&mut host).as_deref(), Some("Bearer t1"));
    assert_eq!(host.made, 1);
    assert_eq!(count(&host, ClientEvent::Request(InjectionResult::Injected)), 201);
    assert_eq!(count(&host, ClientEvent::Token(TokenEvent::Obtained)), 1);
}

#[test]
fn workers_share_the_call_and_the_token() {
    let [mut one, mut other] = workers(json!({}));
    let first = one.send(&get("/"));
    let second = other.send(&get("/"));
    other.tick();
    assert_eq!((one.made, other.made), (1, 0));
    assert_eq!(other.state(second), "waits");
    one.answer_with(&token("t1"));
    other.tick();
    assert_eq!(seen(&one, first), seen(&other, second));
    assert_eq!(seen(&other, second).as_deref(), Some("Bearer t1"));
    // A worker that begins later needs no call either.
    let mut late = one.worker(&document(json!({})));
    assert_eq!(sent_with(&mut late).as_deref(), Some("Bearer t1"));
    assert_eq!((other.made, late.made), (0, 0));
}

#[test]
fn a_worker_that_goes_while_it_calls_is_not_waited_for_longer_than_its_call_may_take() {
    let [mut one, mut other] = workers(json!({"timeout": "2s"}));
    one.send(&get("/"));
    let waits = other.send(&get("/"));
    drop(one);
    other.advance(Duration::from_millis(2_999));
    other.tick();
    assert_eq!(other.made, 0);
    other.advance(Duration::from_millis(1));
    other.tick();
    assert_eq!(other.made, 1);
    other.answer_with(&token("t1"));
    assert_eq!(seen(&other, waits).as_deref(), Some("Bearer t1"));
}

#[test]
fn a_token_is_renewed_ahead_of_its_end_by_one_worker_and_nobody_waits() {
    let [mut one, mut other] = workers(json!({"refresh_before": "20s"}));
    one.send(&get("/"));
    one.answer_with(&token("t1"));
    assert_eq!(sent_with(&mut other).as_deref(), Some("Bearer t1"));
    for host in [&mut one, &mut other] {
        sent_with(host);
        host.advance(SECOND * 79);
        host.tick();
    }
    assert_eq!((one.made, other.made), (1, 0));
    // The latest time that jitter gives, a quarter of `refresh_before` later.
    for host in [&mut one, &mut other] {
        host.advance(SECOND * 7);
        host.tick();
        host.tick();
    }
    assert_eq!((one.made, other.made), (2, 0));
    assert_eq!(sent_with(&mut one).as_deref(), Some("Bearer t1"));
    assert_eq!(sent_with(&mut other).as_deref(), Some("Bearer t1"));
    one.answer_with(&token("t2"));
    assert_eq!(sent_with(&mut one).as_deref(), Some("Bearer t2"));
    other.tick();
    assert_eq!(sent_with(&mut other).as_deref(), Some("Bearer t2"));
    assert_eq!(count(&one, ClientEvent::Token(TokenEvent::Renewed)), 1);
}

#[test]
fn a_token_that_nobody_uses_is_left_to_end() {
    let mut host = host(json!({}));
    host.send(&get("/"));
    host.answer_with(&token("t1"));
    host.advance(SECOND * 99);
    host.tick();
    assert_eq!(host.made, 1);
    host.advance(SECOND);
    host.tick();
    let stream = host.send(&get("/"));
    assert_eq!((host.state(stream), host.made), ("waits", 2));
}

#[test]
fn a_renewal_that_fails_is_tried_again_while_the_token_serves() {
    let mut host = host(json!({"refresh_before": "40s"}));
    host.send(&get("/"));
    host.answer_with(&token("t1"));
    sent_with(&mut host);
    host.advance(SECOND * 75);
    host.tick();
    assert_eq!(host.made, 2);
    host.answer(&Err(CallFailure::Unreachable));
    assert_eq!(sent_with(&mut host).as_deref(), Some("Bearer t1"));
    host.tick();
    assert_eq!(host.made, 2, "not before the pause is over");
    host.advance(SECOND * 2);
    host.tick();
    assert_eq!(host.made, 3);
    host.answer_with(&token("t2"));
    assert_eq!(sent_with(&mut host).as_deref(), Some("Bearer t2"));
}

#[test]
fn without_a_good_token_the_servers_failure_is_told_and_no_call_is_made_in_back_off() {
    for (outcome, state) in [
        (Err(CallFailure::Unreachable), "oauth2_server_unavailable"),
        (Err(CallFailure::NotSent), "oauth2_server_unavailable"),
        (Err(CallFailure::Timeout), "oauth2_server_timeout"),
        (Ok(429), "oauth2_server_unavailable"),
        (Ok(500), "oauth2_server_unavailable"),
        (Ok(400), "oauth2_server_refused_client"),
        (Ok(401), "oauth2_server_refused_client"),
        (Ok(200), "oauth2_server_bad_answer"),
        (Ok(302), "oauth2_server_bad_answer"),
    ] {
        let [mut one, mut other] = workers(json!({}));
        let waits = one.send(&get("/"));
        match outcome {
            Err(failure) => one.answer(&Err(failure)),
            Ok(status) => one.answer_status(status, &json!({"error": "invalid_client"})),
        }
        // A 200 that says `error` is a refusal too.
        let state = if outcome == Ok(200) { "oauth2_server_refused_client" } else { state };
        assert_eq!(one.state(waits), state);
        for host in [&mut one, &mut other] {
            for _ in 0..50 {
                assert_eq!(host.state_of(&get("/")), state);
            }
        }
        assert_eq!((one.made, other.made), (1, 0));
        for host in [&mut one, &mut other] {
            host.advance(Duration::from_millis(1_201));
        }
        let waits = other.send(&get("/"));
        assert_eq!(other.made, 1, "after the pause one call");
        other.answer_with(&token("t1"));
        assert_eq!(seen(&other, waits).as_deref(), Some("Bearer t1"));
        assert_eq!(sent_with(&mut one).as_deref(), Some("Bearer t1"));
    }
}

#[test]
fn a_server_that_says_how_long_to_wait_is_waited_for() {
    let mut host = host(json!({}));
    let stream = host.send(&get("/"));
    let answer = oauth2_filter_core::Answer {
        status: 503,
        retry_after: Some(b"30".into()),
        body: Vec::new(),
    };
    host.answer(&Ok(answer));
    assert_eq!(host.state(stream), "oauth2_server_unavailable");
    host.advance(SECOND * 29);
    assert_eq!(host.state_of(&get("/")), "oauth2_server_unavailable");
    assert_eq!(host.made, 1);
    host.advance(SECOND);
    host.send(&get("/"));
    assert_eq!(host.made, 2);
}

#[test]
fn a_token_that_the_upstream_refuses_is_dropped_once_and_replaced() {
    let mut host = host(json!({}));
    let first = host.send(&get("/"));
    let second = host.send(&get("/"));
    host.answer_with(&token("t1"));
    host.respond(first, 200);
    host.respond(first, 401);
    let third = host.send(&get("/"));
    assert_eq!((host.state(third), host.made), ("waits", 2));
    host.answer_with(&token("t2"));
    // The answer to a request with the old token says nothing about the new one.
    host.respond(second, 401);
    assert_eq!(sent_with(&mut host).as_deref(), Some("Bearer t2"));
    assert_eq!(host.made, 2);
    assert_eq!(count(&host, ClientEvent::Token(TokenEvent::Dropped)), 1);
}

#[test]
fn a_server_that_forgets_its_tokens_now_and_then_costs_one_refusal_each_time() {
    let mut host = host(json!({}));
    let forget = |host: &mut SimulatedHost, after: Duration| {
        let stream = host.send(&get("/"));
        host.answer_with(&json!({
            "access_token": "t", "token_type": "Bearer", "expires_in": 36000,
        }));
        assert_eq!(host.state(stream), "passed");
        host.advance(after);
        let refused = host.send(&get("/"));
        host.respond(refused, 401);
    };
    for _ in 0..10 {
        forget(&mut host, SECOND * 200);
    }
    // Soon, for once: it has happened before, but not in a row.
    forget(&mut host, SECOND * 5);
    assert_eq!(host.state_of(&get("/")), "waits");
    assert_eq!(host.made, 12);
}

#[test]
fn an_upstream_that_refuses_every_token_causes_no_loop() {
    let mut host = host(json!({}));
    let first = host.send(&get("/"));
    host.answer_with(&token("t"));
    host.respond(first, 401);
    for _ in 0..600 {
        let stream = host.send(&get("/"));
        if host.state(stream) == "waits" {
            host.answer_with(&token("t"));
        }
        assert_eq!(host.state(stream), "passed");
        host.respond(stream, 401);
        host.advance(Duration::from_millis(100));
        host.tick();
        if !host.calls.is_empty() {
            host.answer_with(&token("t"));
        }
    }
    // A minute: at once, then after 1, 2, 4, 8, 16 and 32 seconds.
    assert!((6..=8).contains(&host.made), "{} calls", host.made);
}

#[test]
fn what_another_worker_dropped_is_not_used_again() {
    let [mut one, mut other] = workers(json!({}));
    let first = one.send(&get("/"));
    one.answer_with(&token("t1"));
    assert_eq!(sent_with(&mut other).as_deref(), Some("Bearer t1"));
    one.respond(first, 401);
    assert_eq!(other.state_of(&get("/")), "waits");
}

/// Two workers with a token that is due to be renewed, and a request of the other that went on with
/// it.
fn with_a_token_that_is_due() -> ([SimulatedHost; 2], StreamId) {
    let [mut one, mut other] =
        workers(json!({"grant_type": "refresh_token", "refresh_token": "r0"}));
    one.send(&get("/"));
    one.answer_with(&with_refresh("t1", "r1"));
    // One that nobody uses is not renewed.
    one.send(&get("/"));
    let sent = other.send(&get("/"));
    one.advance(SECOND * 85);
    other.advance(SECOND * 85);
    ([one, other], sent)
}

#[test]
fn a_renewed_token_is_kept_whenever_another_worker_drops_the_one_before() {
    for looks in 0.. {
        let ([mut one, other], sent) = with_a_token_that_is_due();
        one.tick();
        assert_eq!(parameter(&one, "refresh_token").as_deref(), Some("r1"));
        let other = Rc::new(RefCell::new(other));
        let dropping = Rc::clone(&other);
        one.in_between(looks, move || dropping.borrow_mut().respond(sent, 401));
        one.answer_with(&with_refresh("t2", "r2"));
        if one.is_in_between() {
            assert!(looks >= 3, "it reads the record, writes it, and says so");
            break;
        }
        let mut other = other.borrow_mut();
        for worker in [&mut one, &mut *other] {
            assert_eq!(sent_with(worker).as_deref(), Some("Bearer t2"), "after {looks} looks");
        }
        assert_eq!((one.made, other.made), (2, 0));
        one.advance(SECOND * 100);
        one.send(&get("/"));
        assert_eq!(parameter(&one, "refresh_token").as_deref(), Some("r2"), "after {looks} looks");
    }
}

#[test]
fn a_token_is_dropped_whenever_another_worker_begins_to_renew_it() {
    for looks in 0.. {
        let ([one, mut other], sent) = with_a_token_that_is_due();
        let one = Rc::new(RefCell::new(one));
        let renewing = Rc::clone(&one);
        other.in_between(looks, move || renewing.borrow_mut().tick());
        other.respond(sent, 401);
        if other.is_in_between() {
            assert!(looks >= 3, "it reads the record, writes it, and says so");
            break;
        }
        let streams = [one.borrow_mut().send(&get("/")), other.send(&get("/"))];
        assert_eq!(one.borrow().state(streams[0]), "waits", "after {looks} looks");
        assert_eq!(other.state(streams[1]), "waits", "after {looks} looks");
        assert_eq!(count(&other, ClientEvent::Token(TokenEvent::Dropped)), 1);
    }
}

#[test]
fn which_statuses_drop_a_token_is_configured() {
    for (statuses, status, dropped) in [
        (Value::Null, 401, true),
        (Value::Null, 403, false),
        (json!([401, 403]), 403, true),
        (json!([]), 401, false),
    ] {
        let mut host = host(json!({"renew_on_status": statuses}));
        let first = host.send(&get("/"));
        host.answer_with(&token("t1"));
        host.respond(first, status);
        let state = if dropped { "waits" } else { "passed" };
        assert_eq!(host.state_of(&get("/")), state, "{statuses} {status}");
    }
}

#[test]
fn cl_6749_10_a_refresh_token_for_client_credentials_is_not_used() {
    let mut host = host(json!({}));
    host.send(&get("/"));
    host.answer_with(&with_refresh("t1", "r1"));
    host.advance(SECOND * 100);
    host.send(&get("/"));
    assert_eq!(parameter(&host, "grant_type").as_deref(), Some("client_credentials"));
}

pub fn password() -> Value {
    json!({"grant_type": "password", "username": "alice", "password": "p&ss w=rd"})
}

#[test]
fn cl_6749_08_cl_6749_15_password_is_sent_once_and_rotated_refresh_tokens_follow() {
    let mut host = host(password());
    host.send(&get("/"));
    assert_eq!(parameter(&host, "grant_type").as_deref(), Some("password"));
    assert_eq!(parameter(&host, "username").as_deref(), Some("alice"));
    assert_eq!(parameter(&host, "password").as_deref(), Some("p&ss w=rd"));
    host.answer_with(&with_refresh("t1", "r1"));
    for (refresh, next) in [("r1", Some("r2")), ("r2", None), ("r2", Some("r3"))] {
        host.advance(SECOND * 100);
        host.send(&get("/"));
        assert_eq!(parameter(&host, "grant_type").as_deref(), Some("refresh_token"));
        assert_eq!(parameter(&host, "refresh_token").as_deref(), Some(refresh));
        host.answer_with(&next.map_or_else(|| token("t"), |next| with_refresh("t", next)));
    }
}

#[test]
fn cl_6749_16_a_refresh_token_that_is_no_good_is_forgotten_and_the_grant_run_again_at_once() {
    let mut host = host(password());
    host.send(&get("/"));
    host.answer_with(&with_refresh("t1", "r1"));
    host.advance(SECOND * 100);
    let waits = host.send(&get("/"));
    host.answer_status(400, &json!({"error": "invalid_grant"}));
    assert_eq!(parameter(&host, "grant_type").as_deref(), Some("password"));
    host.answer_with(&token("t2"));
    assert_eq!(seen(&host, waits).as_deref(), Some("Bearer t2"));
    host.advance(SECOND * 100);
    host.send(&get("/"));
    assert_eq!(parameter(&host, "grant_type").as_deref(), Some("password"));
}

#[test]
fn a_new_refresh_token_is_kept_although_the_rest_of_the_response_is_unusable() {
    let unusable = [
        json!({"access_token": "t", "refresh_token": "r2", "expires_in": 600}),
        json!({"access_token": "t t", "token_type": "Bearer", "refresh_token": "r2"}),
        json!({"token_type": "Bearer", "refresh_token": "r2"}),
    ];
    let given = json!({"grant_type": "refresh_token", "refresh_token": "r1"});
    for (client, body) in [&given, &password()].into_iter().zip([&unusable; 2]) {
        for body in body {
            let mut host = host(client.clone());
            let mut waits = host.send(&get("/"));
            if *client != given {
                host.answer_with(&with_refresh("t1", "r1"));
                host.advance(SECOND * 100);
                waits = host.send(&get("/"));
            }
            assert_eq!(parameter(&host, "refresh_token").as_deref(), Some("r1"));
            host.answer_with(body);
            assert!(seen(&host, waits).is_none(), "{body}");
            host.advance(SECOND * 10);
            let waits = host.send(&get("/"));
            assert_eq!(parameter(&host, "refresh_token").as_deref(), Some("r2"), "{body}");
            host.answer_with(&token("t3"));
            assert_eq!(seen(&host, waits).as_deref(), Some("Bearer t3"), "{body}");
        }
    }
}

#[test]
fn a_refresh_token_that_is_refused_in_other_words_or_none_is_forgotten_too() {
    for body in [json!({}), json!({"error": "invalid_request"}), json!({"error": "invalid_target"})]
    {
        let mut host = host(password());
        host.send(&get("/"));
        host.answer_with(&with_refresh("t1", "r1"));
        host.advance(SECOND * 100);
        let waits = host.send(&get("/"));
        host.answer_status(400, &body);
        assert_eq!(parameter(&host, "grant_type").as_deref(), Some("password"), "{body}");
        host.answer_with(&token("t2"));
        assert_eq!(seen(&host, waits).as_deref(), Some("Bearer t2"), "{body}");
    }
}

#[test]
fn a_given_refresh_token_is_not_sent_again_on_a_guess() {
    let mut host = host(json!({"grant_type": "refresh_token", "refresh_token": "r0"}));
    host.send(&get("/"));
    host.answer_with(&with_refresh("t1", "r1"));
    host.advance(SECOND * 100);
    let refused = host.send(&get("/"));
    host.answer_status(400, &json!({"error": "invalid_target"}));
    assert!(host.calls.is_empty());
    assert_eq!(host.state(refused), "oauth2_server_refused_client");
}

#[test]
fn cl_6749_16_where_refreshing_is_not_allowed_the_grant_is_run_again_after_a_pause() {
    for error in ["unauthorized_client", "unsupported_grant_type", "invalid_scope"] {
        let mut host = host(password());
        host.send(&get("/"));
        host.answer_with(&with_refresh("t1", "r1"));
        host.advance(SECOND * 100);
        host.send(&get("/"));
        host.answer_status(400, &json!({"error": error}));
        assert!(host.calls.is_empty(), "{error}");
        host.advance(SECOND * 2);
        let waits = host.send(&get("/"));
        assert_eq!(parameter(&host, "grant_type").as_deref(), Some("password"), "{error}");
        host.answer_with(&token("t2"));
        assert_eq!(seen(&host, waits).as_deref(), Some("Bearer t2"), "{error}");
    }
}

#[test]
fn a_refresh_token_that_may_be_spent_is_not_sent_again_where_there_is_another_way() {
    for (failure, grant) in [
        (Err(CallFailure::Timeout), "password"),
        (Err(CallFailure::Unreachable), "password"),
        (Err(CallFailure::NotSent), "refresh_token"),
        (Ok(503), "refresh_token"),
        (Ok(401), "refresh_token"),
    ] {
        let mut host = host(password());
        host.send(&get("/"));
        host.answer_with(&with_refresh("t1", "r1"));
        host.advance(SECOND * 100);
        host.send(&get("/"));
        match failure {
            Err(failure) => host.answer(&Err(failure)),
            Ok(status) => host.answer_status(status, &json!({"error": "invalid_client"})),
        }
        host.advance(SECOND * 2);
        host.send(&get("/"));
        assert_eq!(parameter(&host, "grant_type").as_deref(), Some(grant), "{failure:?}");
    }
}

/// Two workers, of which the first has just sent a refresh token.
fn refreshing() -> [SimulatedHost; 2] {
    let [mut one, mut other] = workers(password());
    one.send(&get("/"));
    one.answer_with(&with_refresh("t1", "r1"));
    for worker in [&mut one, &mut other] {
        worker.advance(SECOND * 100);
    }
    one.send(&get("/"));
    assert_eq!(parameter(&one, "grant_type").as_deref(), Some("refresh_token"));
    [one, other]
}

#[test]
fn a_refresh_token_that_a_dead_worker_may_have_spent_is_not_sent_again() {
    let [_one, mut other] = refreshing();
    // It is never heard of again.
    let stream = other.send(&get("/"));
    other.advance(SECOND * 20);
    other.tick();
    assert_eq!(parameter(&other, "grant_type").as_deref(), Some("password"));
    other.answer_with(&token("t2"));
    assert_eq!(seen(&other, stream).as_deref(), Some("Bearer t2"));
}

#[test]
fn a_worker_whose_refresh_token_is_refused_has_time_for_the_grant_as_well() {
    let [mut one, mut other] = refreshing();
    let stream = other.send(&get("/"));
    for worker in [&mut one, &mut other] {
        worker.advance(SECOND * 4);
    }
    one.answer_status(400, &json!({"error": "invalid_grant"}));
    for worker in [&mut one, &mut other] {
        worker.advance(SECOND * 4);
    }
    other.tick();
    assert_eq!((other.state(stream), other.made), ("waits", 0));
    one.answer_with(&token("t2"));
    other.tick();
    assert_eq!(seen(&other, stream).as_deref(), Some("Bearer t2"));
}

#[test]
fn the_late_failure_of_a_worker_that_was_given_up_is_no_failure_of_the_one_in_its_place() {
    let document = document(json!({}));
    let mut one = SimulatedHost::new(&document);
    let [mut other, mut third] = [one.worker(&document), one.worker(&document)];
    one.send(&get("/"));
    for worker in [&mut one, &mut other, &mut third] {
        worker.advance(SECOND * 7);
    }
    let second = other.send(&get("/"));
    assert_eq!(other.made, 1, "it has taken over");
    one.answer(&Err(CallFailure::Timeout));
    let stream = third.send(&get("/"));
    assert_eq!((third.state(stream), third.made), ("waits", 0));
    other.answer_with(&token("t1"));
    third.tick();
    assert_eq!((other.state(second), third.state(stream)), ("passed", "passed"));
}

#[test]
fn refresh_false_runs_the_grant_again() {
    let mut more = password();
    more["refresh"] = json!(false);
    let mut host = host(more);
    host.send(&get("/"));
    host.answer_with(&with_refresh("t1", "r1"));
    host.advance(SECOND * 100);
    host.send(&get("/"));
    assert_eq!(parameter(&host, "grant_type").as_deref(), Some("password"));
}

#[test]
fn refresh_has_an_endpoint_of_its_own_if_it_is_given_one() {
    let mut more = password();
    more["refresh"] = json!({
        "endpoint": "http://other.test/refresh", "cluster": "other", "scope": "a b",
        "parameters": {"p": "v"},
    });
    more["scope"] = json!("a b c");
    let mut host = host(more);
    host.send(&get("/"));
    assert_eq!(parameter(&host, "scope").as_deref(), Some("a b c"));
    assert_eq!(&*host.calls[0].cluster, "as");
    host.answer_with(&with_refresh("t1", "r1"));
    host.advance(SECOND * 100);
    host.send(&get("/"));
    let expected =
        [("grant_type", "refresh_token"), ("refresh_token", "r1"), ("scope", "a b"), ("p", "v")];
    assert_eq!(form(&host), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    assert_eq!(&*host.calls[0].cluster, "other");
    let header = |name: &str| host.calls[0].headers.iter().find(|(n, _)| **n == *name);
    assert!(header("authorization").is_some(), "as the client itself");
}

#[test]
fn a_refresh_token_that_was_given_is_used_until_a_new_one_comes() {
    let mut host = host(json!({"grant_type": "refresh_token", "refresh_token": "r0"}));
    host.send(&get("/"));
    assert_eq!(parameter(&host, "refresh_token").as_deref(), Some("r0"));
    host.answer_with(&with_refresh("t1", "r1"));
    host.advance(SECOND * 100);
    let waits = host.send(&get("/"));
    assert_eq!(parameter(&host, "refresh_token").as_deref(), Some("r1"));
    host.answer_status(400, &json!({"error": "invalid_grant"}));
    assert_eq!(parameter(&host, "refresh_token").as_deref(), Some("r0"));
    host.answer_status(400, &json!({"error": "invalid_grant"}));
    assert_eq!(host.state(waits), "oauth2_server_refused_client");
    assert!(host.calls.is_empty());
    host.advance(SECOND * 2);
    host.send(&get("/"));
    assert_eq!(parameter(&host, "refresh_token").as_deref(), Some("r0"), "later once more");
}

#[test]
fn cl_9700_03_two_workers_never_send_the_same_refresh_token() {
    let [mut one, mut other] =
        workers(json!({"grant_type": "refresh_token", "refresh_token": "r0"}));
    let mut sent = Vec::new();
    for n in 0..20 {
        let streams = [one.send(&get("/")), other.send(&get("/"))];
        let (caller, waiter) =
            if one.calls.is_empty() { (&mut other, &mut one) } else { (&mut one, &mut other) };
        assert!(waiter.calls.is_empty());
        sent.push(parameter(caller, "refresh_token").expect("a refresh"));
        caller.answer_with(&with_refresh("t", &format!("r{}", n + 1)));
        waiter.tick();
        assert_eq!((one.state(streams[0]), other.state(streams[1])), ("passed", "passed"));
        one.advance(SECOND * 100);
        other.advance(SECOND * 100);
        one.tick();
        other.tick();
    }
    let mut distinct = sent.clone();
    distinct.dedup();
    assert_eq!((sent.len(), distinct.len()), (20, 20));
}

#[test]
fn a_direct_token_is_used_as_it_is() {
    let direct = json!({
        "grant_type": "direct_token", "access_token": "given", "expires_in": "50s",
        "endpoint": null, "cluster": null, "client_id": null, "client_secret": null,
    });
    let mut host = host(direct);
    assert_eq!(sent_with(&mut host).as_deref(), Some("Bearer given"));
    let stream = host.send(&get("/"));
    host.respond(stream, 401);
    // There is no other, so the caller had better hear what the upstream says.
    assert_eq!(sent_with(&mut host).as_deref(), Some("Bearer given"));
    host.advance(SECOND * 50);
    assert_eq!(host.state_of(&get("/")), "oauth2_no_grant");
    assert_eq!(host.made, 0);
}

#[test]
fn a_direct_token_with_refresh_is_renewed_at_its_end_or_when_it_is_refused() {
    let direct = json!({
        "grant_type": "direct_token", "access_token": "given",
        "refresh": {"refresh_token": "r0"},
    });
    let mut host = host(direct);
    let stream = host.send(&get("/"));
    assert_eq!(seen(&host, stream).as_deref(), Some("Bearer given"));
    host.respond(stream, 401);
    let waits = host.send(&get("/"));
    assert_eq!(parameter(&host, "refresh_token").as_deref(), Some("r0"));
    host.answer_with(&with_refresh("t1", "r1"));
    assert_eq!(seen(&host, waits).as_deref(), Some("Bearer t1"));
    host.advance(SECOND * 100);
    host.send(&get("/"));
    assert_eq!(parameter(&host, "refresh_token").as_deref(), Some("r1"));
}

#[test]
fn a_direct_token_with_refresh_is_renewed_ahead_of_its_end_and_serves_until_then() {
    let mut host = host(json!({
        "grant_type": "direct_token", "access_token": "given", "expires_in": "100s",
        "refresh": {"refresh_token": "r0"},
    }));
    assert_eq!(sent_with(&mut host).as_deref(), Some("Bearer given"));
    host.advance(SECOND * 86);
    host.tick();
    assert_eq!(parameter(&host, "refresh_token").as_deref(), Some("r0"));
    assert_eq!(sent_with(&mut host).as_deref(), Some("Bearer given"));
    host.answer_status(503, &json!({}));
    assert_eq!(sent_with(&mut host).as_deref(), Some("Bearer given"));
    host.advance(SECOND * 2);
    host.tick();
    host.answer_with(&with_refresh("t1", "r1"));
    assert_eq!(sent_with(&mut host).as_deref(), Some("Bearer t1"));
}

#[test]
fn how_long_a_direct_token_lives_is_a_part_of_what_was_given() {
    let direct = |expires_in: Value| {
        let direct = json!({"grant_type": "direct_token", "access_token": "given"});
        json!({"outbound": {"clients": {"a": with_members(direct, &expires_in)}}})
    };
    let mut short = SimulatedHost::new(&direct(json!({"expires_in": "2s"})));
    assert_eq!(sent_with(&mut short).as_deref(), Some("Bearer given"));
    short.advance(SECOND);
    assert_eq!(short.state_of(&get("/")), "oauth2_no_grant");
    for longer in [json!({"expires_in": "1h"}), json!({})] {
        let mut host = short.worker(&direct(longer));
        assert_eq!(sent_with(&mut host).as_deref(), Some("Bearer given"));
    }
    let mut again = short.worker(&direct(json!({"expires_in": "2s"})));
    assert_eq!(again.state_of(&get("/")), "oauth2_no_grant");
}

#[test]
fn cl_7523_03_an_assertion_is_sent_again_when_there_is_no_refresh_token() {
    let mut host = host(json!({
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b.c",
    }));
    host.send(&get("/"));
    let expected =
        [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", "a.b.c")];
    assert_eq!(form(&host), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    host.answer_with(&token("t1"));
    host.advance(SECOND * 100);
    host.send(&get("/"));
    assert_eq!(parameter(&host, "assertion").as_deref(), Some("a.b.c"));
    host.answer_with(&with_refresh("t2", "r2"));
    host.advance(SECOND * 100);
    host.send(&get("/"));
    assert_eq!(parameter(&host, "refresh_token").as_deref(), Some("r2"));
}

#[test]
fn a_token_lives_from_when_it_was_asked_for() {
    let mut host = host(json!({}));
    host.send(&get("/"));
    host.advance(SECOND * 3);
    host.answer_with(&token("t1"));
    host.advance(Duration::from_millis(96_999));
    assert_eq!(host.state_of(&get("/")), "passed");
    host.advance(Duration::from_millis(1));
    assert_eq!(host.state_of(&get("/")), "waits");
}

#[test]
fn cl_6749_12_a_token_that_lives_no_time_is_used_once() {
    let mut host = host(json!({}));
    let streams = [host.send(&get("/")), host.send(&get("/"))];
    let mut none = token("t1");
    none["expires_in"] = json!(0);
    host.answer_with(&none);
    for stream in streams {
        assert_eq!(seen(&host, stream).as_deref(), Some("Bearer t1"));
    }
    host.send(&get("/"));
    assert_eq!(host.made, 2);
}

#[test]
fn a_token_that_lives_no_longer_than_the_skew_serves_those_who_wait_and_no_other() {
    for (expires_in, clock_skew, lives) in
        [(1, "1s", 0), (1, "0s", 1000), (2, "1s", 1000), (5, "10s", 0), (12, "10s", 2000)]
    {
        let mut host = host(json!({"clock_skew": clock_skew}));
        let waits = [host.send(&get("/")), host.send(&get("/"))];
        let mut short = token("t1");
        short["expires_in"] = json!(expires_in);
        host.answer_with(&short);
        for stream in waits {
            assert_eq!(seen(&host, stream).as_deref(), Some("Bearer t1"));
        }
        if lives > 0 {
            host.advance(Duration::from_millis(lives - 1));
            assert_eq!(host.state_of(&get("/")), "passed", "{expires_in} {clock_skew}");
            host.advance(Duration::from_millis(1));
        }
        assert_eq!(host.state_of(&get("/")), "waits", "{expires_in} {clock_skew}");
        // As many calls as there are moments at which requests come, and no failure.
        host.answer_with(&short);
        assert_eq!(
            (host.state_of(&get("/")), host.made),
            if lives > 0 { ("passed", 2) } else { ("waits", 3) }
        );
    }
}

#[test]
fn the_token_goes_where_the_configuration_says() {
    let request = |value: &'static str| get("/").header("x-api-token", value);
    let place = json!({"header": "X-Api-Token", "scheme": ""});
    let mut host = host(place.clone());
    let stream = host.send(&request("mine"));
    host.answer_with(&token("t1"));
    assert_eq!(host.passed_header(stream, "x-api-token").as_deref(), Some("t1"));
    assert_eq!(seen(&host, stream), None);
    let mut place = place;
    place["overwrite"] = json!(false);
    let mut host = self::host(place);
    let kept = host.send(&request("mine"));
    assert_eq!(host.passed_header(kept, "x-api-token").as_deref(), Some("mine"));
    assert_eq!(host.made, 0);
    assert_eq!(count(&host, ClientEvent::Request(InjectionResult::Kept)), 1);
}

#[test]
fn d6_09_d6_10_a_callers_own_header_never_goes_on_in_place_of_ours() {
    let mine: Request = get("/").header("authorization", "Bearer mine");
    let mut host = host(json!({}));
    let waits = host.send(&mine);
    host.answer(&Err(CallFailure::Timeout));
    assert_eq!(host.state(waits), "oauth2_server_timeout");
    let mut allows = self::host(json!({"failure_mode_allow": true}));
    let waits = allows.send(&mine);
    allows.answer(&Err(CallFailure::Timeout));
    assert_eq!((allows.state(waits), seen(&allows, waits)), ("passed", None));
    assert_eq!(count(&allows, ClientEvent::Request(InjectionResult::Unauthenticated)), 1);
}

#[test]
fn a_request_that_is_sent_again_is_told_from_one_with_a_header_of_its_own() {
    let mut host = host(json!({"overwrite": false}));
    let first = host.send(&get("/"));
    host.answer_with(&token("t1"));
    host.respond(first, 401);
    // Among a cluster's filters, the second try has the head that the first was given.
    let again = host.send(&get("/").header("authorization", "Bearer t1"));
    assert_eq!(host.state(again), "waits");
    host.answer_with(&token("t2"));
    assert_eq!(seen(&host, again).as_deref(), Some("Bearer t2"));
    let own = host.send(&get("/").header("authorization", "Bearer own"));
    assert_eq!(seen(&host, own).as_deref(), Some("Bearer own"));
}

#[test]
fn cl_9700_04_rules_say_whose_token_goes_where_and_nowhere_else() {
    let document = json!({"outbound": {
        "clients": {"a": client(json!({})), "b": client(json!({"client_id": "b"}))},
        "rules": [
            {"hosts": ["api.test"], "paths": ["/public/**"], "client": null},
            {"hosts": ["api.test"], "methods": ["POST"], "client": "a"},
            {"hosts": ["c.test"], "methods": ["GET"], "paths": ["/v1/*:export"], "client": "a"},
            {"hosts": ["*.b.test"], "client": "b"},
        ],
    }});
    let mut host = SimulatedHost::new(&document);
    for (request, client) in [
        (get("/v1/orders:export").host("c.test"), Some("a")),
        (get("/v1/orders:export").host("c.test").method("HEAD"), Some("a")),
        (get("/v1/:export").host("c.test"), None),
        (get("/v1/orders:export").host("c.test").method("PUT"), None),
        (get("/orders").host("api.test").method("POST"), Some("a")),
        (get("/public/x").host("api.test").method("POST"), None),
        (get("/orders").host("api.test"), None),
        (get("/").host("x.b.test:8080"), Some("b")),
        (get("/").host("b.test"), None),
        (get("/").host("other.test"), None),
    ] {
        let stream = host.send(&request.header("authorization", "Bearer mine"));
        match client {
            Some(client) => {
                if host.state(stream) == "waits" {
                    host.answer_with(&token(client));
                }
                let expected = format!("Bearer {client}");
                assert_eq!(seen(&host, stream), Some(expected), "{client}");
            }
            None => assert_eq!(seen(&host, stream).as_deref(), Some("Bearer mine")),
        }
    }
    assert_eq!(host.made, 2);
    // It cannot be told whether the first rule fits.
    let odd = get("/public%2Fx").host("api.test").method("POST");
    assert_eq!(host.state_of(&odd), "oauth2_bad_path");
    let elsewhere = get("/public%2Fx").host("x.b.test");
    assert_eq!(host.state_of(&elsewhere), "passed", "no rule for it looks at the path");
}

#[test]
fn a_token_of_ours_does_not_follow_a_redirect_to_where_no_rule_sends_it() {
    let document = json!({"outbound": {
        "clients": {
            "a": client(json!({})),
            "b": client(json!({"client_id": "b", "header": "x-token"})),
            "keeps": client(json!({"client_id": "keeps", "overwrite": false})),
            "posts": client(json!({"client_id": "posts", "header": "x-posts"})),
        },
        "rules": [
            {"hosts": ["a.test"], "paths": ["/public/**"], "client": null},
            {"hosts": ["a.test"], "methods": ["POST"], "client": "posts"},
            {"hosts": ["a.test"], "client": "a"},
            {"hosts": ["b.test"], "client": "b"},
            {"hosts": ["keeps.test"], "client": "keeps"},
            {"hosts": ["a.test"], "client": "keeps"},
        ],
    }});
    let mut host = SimulatedHost::new(&document);
    let mut passes = |to: &'static str, original: &'static str| {
        let request = get("/")
            .host(to)
            .header("authorization", "Bearer carried")
            .header("x-posts", "carried")
            .header("x-envoy-original-url", original);
        let stream = host.send(&request);
        if host.state(stream) == "waits" {
            host.answer_with(&token("t"));
        }
        assert_eq!(host.state(stream), "passed", "{original}");
        let header = |name| host.passed_header(stream, name);
        (header("authorization"), header("x-posts"), header("x-token"))
    };
    let carried = || Some("carried".to_owned());
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    // It may have been of any method, so what either client puts there is taken away.
    for url in ["http://a.test/", "https://A.test:8443/x?y", "http://a.test?y", "http://a.test/%"] {
        assert_eq!(passes("evil.test", url), (None, None, None), "{url}");
        assert_eq!(passes("b.test", url), (None, None, bearer("t")), "{url}");
        assert_eq!(passes("keeps.test", url), (bearer("t"), None, None), "{url}");
    }
    for url in ["http://b.test/", "http://other.test/", "http://a.test/public/x", "odd", ""] {
        assert_eq!(passes("evil.test", url), (bearer("carried"), carried(), None), "{url}");
    }
}

#[test]
fn a_token_of_ours_is_nobodys_who_sends_the_request_again() {
    let document = |grant: Value| {
        json!({
            "inbound": {
                "introspection": {
                    "endpoint": "http://as.test/introspect", "cluster": "as", "auth_method": "none",
                },
                "rules": [
                    {"paths": ["/public"], "access": "public"},
                    {"paths": ["/open"], "access": "optional"}, {"paths": ["/**"]},
                ],
                "forward": {"claims": {"x-user": "sub"}},
            },
            "outbound": {
                "clients": {"billing": client(grant)},
                "rules": [{"hosts": ["api.test"], "client": "billing"}],
            },
        })
    };
    let redirected = |path: &'static str, token: &str| {
        get(path).bearer(token).header("x-envoy-original-url", "http://api.test/go")
    };
    for (grant, issued) in [(json!({}), token("ours")), (exchange(json!({})), exchanged("ours"))] {
        let is_exchange = grant != json!({});
        let mut host = SimulatedHost::new(&document(grant));
        let stream = host.send(&get("/go").bearer("joe"));
        host.answer_with(&json!({"active": true, "sub": "joe"}));
        host.answer_with(&issued);
        assert_eq!(seen(&host, stream).as_deref(), Some("Bearer ours"));
        let made = host.made;
        assert_eq!(host.state_of(&redirected("/", "ours")), "oauth2_no_token");
        assert_eq!(host.state_of(&redirected("/public", "ours")), "passed");
        let stream = host.send(&redirected("/open", "ours"));
        assert_eq!(host.passed_header(stream, "x-user"), None);
        assert_eq!((host.state(stream), host.made), ("passed", made));
        if !is_exchange {
            // Among a cluster's filters, nothing tells of the try before.
            assert_eq!(host.state_of(&get("/").bearer("ours")), "oauth2_no_token");
            host.advance(SECOND * 100);
            host.send(&get("/").bearer("joe"));
            host.answer_with(&json!({"active": true, "sub": "joe"}));
            host.answer_with(&token("other"));
            for ours in ["ours", "other"] {
                assert_eq!(host.state_of(&get("/").bearer(ours)), "oauth2_no_token", "{ours}");
            }
        }
        // What another proxy was redirected with is the caller's, whatever host that was for.
        for url in ["http://other.test/go", "http://api.test/go"] {
            let token = format!("jim-{}", url.len());
            let elsewhere = get("/").bearer(&token).header("x-envoy-original-url", url);
            assert_eq!(host.state_of(&elsewhere), "waits");
        }
        // And so is, without a redirect, a token that was exchanged for the caller's.
        if is_exchange {
            assert_eq!(host.state_of(&get("/").bearer("ours")), "waits");
        }
    }
}

#[test]
fn cl_8707_02_d1_05_d1_06_a_configuration_with_another_meaning_starts_from_nothing() {
    let [mut one, _] = workers(json!({}));
    one.send(&get("/"));
    one.answer_with(&token("t1"));
    for (more, same) in [
        (json!({"renew_on_status": [401, 403], "timeout": "9s"}), true),
        (json!({"header": "x-token", "failure_mode_allow": true}), true),
        (json!({"clock_skew": "1s", "default_expires_in": "2h", "refresh_before": "1s"}), true),
        (json!({"scope": "a"}), false),
        (json!({"client_id": "other"}), false),
        (json!({"client_secret": "other"}), false),
        (json!({"audience": "https://api.test"}), false),
        (json!({"resource": "https://api.test"}), false),
        (json!({"parameters": {"a": "b"}}), false),
        (json!({"endpoint": "http://as.test/other"}), false),
        (json!({"cluster": "other"}), false),
        (password(), false),
    ] {
        let mut next = one.worker(&document(more.clone()));
        let state = if same { "passed" } else { "waits" };
        assert_eq!(next.state_of(&get("/")), state, "{more}");
    }
}

/// Introspection is authenticated by an outbound client's token.
fn introspecting() -> Value {
    json!({
        "inbound": {"introspection": {
            "endpoint": "http://as.test/introspect", "cluster": "as", "client": "introspector",
        }},
        "outbound": {"clients": {"introspector": client(json!({}))}},
    })
}

/// The `Authorization` of the oldest open call.
fn authorization(host: &SimulatedHost) -> Option<&str> {
    let headers = &host.calls.first().expect("an open call").headers;
    headers.iter().find(|(name, _)| **name == *"authorization").map(|(_, value)| &**value)
}

#[test]
fn introspection_may_be_authenticated_by_a_clients_token() {
    let mut host = SimulatedHost::new(&introspecting());
    let one = host.send(&get("/").bearer("alice"));
    let two = host.send(&get("/").bearer("bob"));
    assert_eq!(host.made, 1);
    assert_eq!(parameter(&host, "grant_type").as_deref(), Some("client_credentials"));
    host.answer_with(&token("introspector-1"));
    assert_eq!(host.calls.len(), 2);
    for _ in 0..2 {
        assert_eq!(authorization(&host), Some("Bearer introspector-1"));
        host.answer_with(&json!({"active": true}));
    }
    assert_eq!((host.state(one), host.state(two)), ("passed", "passed"));
    // The filter's own token goes to the authorization server and nowhere else.
    assert_eq!((seen(&host, one), seen(&host, two)), (None, None));
}

#[test]
fn an_introspection_token_that_was_taken_back_is_replaced_once() {
    let mut host = SimulatedHost::new(&introspecting());
    let alice = host.send(&get("/").bearer("alice"));
    host.answer_with(&token("introspector-1"));
    host.answer_status(401, &json!({}));
    assert_eq!(parameter(&host, "grant_type").as_deref(), Some("client_credentials"));
    host.answer_with(&token("introspector-2"));
    assert_eq!(authorization(&host), Some("Bearer introspector-2"));
    host.answer_status(401, &json!({}));
    assert_eq!(host.state(alice), "oauth2_server_refused_client");
    assert_eq!(host.made, 4);
    // Some servers say 403 of a token that they do not know any more.
    let bob = host.send(&get("/").bearer("bob"));
    host.answer_with(&token("introspector-3"));
    host.answer_with(&json!({"active": true}));
    let carol = host.send(&get("/").bearer("carol"));
    host.advance(10 * SECOND);
    host.answer_status(403, &json!({}));
    host.answer_with(&token("introspector-4"));
    assert_eq!(authorization(&host), Some("Bearer introspector-4"));
    host.answer_with(&json!({"active": true}));
    assert_eq!((host.state(bob), host.state(carol)), ("passed", "passed"));
}

#[test]
fn introspections_at_once_with_a_token_that_was_taken_back_all_go_again() {
    let mut host = SimulatedHost::new(&introspecting());
    let streams = ["a", "b", "c"].map(|token| host.send(&get("/").bearer(token)));
    host.answer_with(&token("introspector-1"));
    // The first drops the token; the second waits with it, the third comes when there is another.
    host.answer_status(401, &json!({}));
    host.answer_status(401, &json!({}));
    assert_eq!(host.made, 5);
    let refused = host.calls.remove(0);
    host.answer_with(&token("introspector-2"));
    host.calls.insert(0, refused);
    host.answer_status(401, &json!({}));
    for _ in 0..3 {
        assert_eq!(authorization(&host), Some("Bearer introspector-2"));
        host.answer_with(&json!({"active": true}));
    }
    for stream in streams {
        assert_eq!(host.state(stream), "passed");
    }
    assert_eq!(host.made, 8);
}

#[test]
fn without_a_token_for_introspection_callers_hear_what_is_wrong() {
    let mut host = SimulatedHost::new(&introspecting());
    let alice = host.send(&get("/").bearer("alice"));
    host.answer(&Err(CallFailure::Unreachable));
    assert_eq!(host.state(alice), "oauth2_server_unavailable");
    // In back-off, at once.
    assert_eq!(host.state_of(&get("/").bearer("bob")), "oauth2_server_unavailable");
    assert_eq!(host.made, 1);
}

#[test]
fn a_refusal_since_there_is_no_token_for_introspection_is_counted() {
    let mut document = introspecting();
    document["outbound"]["clients"]["introspector"] =
        json!({"grant_type": "direct_token", "access_token": "t", "expires_in": "10s"});
    let mut host = SimulatedHost::new(&document);
    let alice = host.send(&get("/").bearer("alice"));
    host.answer_with(&json!({"active": true}));
    assert_eq!(host.state(alice), "passed");
    host.advance(Duration::from_secs(10));
    host.events.clear();
    assert_eq!(host.state_of(&get("/").bearer("bob")), "oauth2_no_grant");
    let denied = Counter::all().filter(|counter| counter.name().contains(".denied."));
    let counted: Vec<_> =
        denied.filter(|counter| host.events.contains(&Event::Count(*counter))).collect();
    let [counted] = counted.as_slice() else { panic!("{counted:?}") };
    assert_eq!(counted.name(), "oauth2_filter.requests.decision.denied.reason.no_grant");
}

#[test]
fn how_old_tokens_are_is_reported_once_a_second() {
    let mut host = host(json!({}));
    host.send(&get("/"));
    host.answer_with(&token("t1"));
    host.advance(SECOND * 10);
    host.tick();
    host.tick();
    assert_eq!(count(&host, ClientEvent::Gauge(ClientGauge::Age, 10)), 1);
    assert_eq!(count(&host, ClientEvent::Gauge(ClientGauge::ExpiresIn, 90)), 1);
    assert_eq!(count(&host, ClientEvent::Gauge(ClientGauge::BackOff, 0)), 1);
}

/// What a worker has last reported of a client.
fn last_gauge(host: &SimulatedHost, client: usize, wanted: ClientGauge) -> Option<u64> {
    let values = host.events.iter().filter_map(|event| match event {
        Event::Client(n, ClientEvent::Gauge(gauge, value))
            if (n.index(), *gauge) == (client, wanted) =>
        {
            Some(*value)
        }
        _ => None,
    });
    values.reduce(|_, last| last)
}

#[test]
fn every_worker_reports_the_same_whichever_holds_the_token() {
    let clients = json!({"outbound": {
        "clients": {"x": client(json!({})), "y": client(json!({"scope": "y"}))},
        "rules": [{"paths": ["/x"], "client": "x"}, {"paths": ["/y"], "client": "y"}],
    }});
    let mut one = SimulatedHost::new(&clients);
    let mut other = one.worker(&clients);
    one.send(&get("/x"));
    one.answer_with(&token("tx"));
    other.send(&get("/y"));
    other.answer_status(429, &json!({}));
    for worker in [&mut one, &mut other] {
        worker.tick();
        worker.events.clear();
        worker.advance(SECOND);
        worker.tick();
        let reported = |client, gauge| last_gauge(worker, client, gauge);
        assert_eq!(reported(0, ClientGauge::Age), Some(1));
        assert_eq!(reported(0, ClientGauge::ExpiresIn), Some(99));
        assert_eq!(reported(1, ClientGauge::Age), Some(0));
    }
}

#[test]
fn what_is_reported_goes_down_to_zero_when_there_is_no_token_any_more() {
    let [mut one, mut other] = workers(json!({}));
    let gauges = |host: &SimulatedHost| {
        let last = |gauge| last_gauge(host, 0, gauge);
        [ClientGauge::Age, ClientGauge::ExpiresIn, ClientGauge::BackOff].map(last)
    };
    one.send(&get("/"));
    one.answer_with(&token("t1"));
    one.tick();
    assert_eq!(gauges(&one), [Some(0), Some(100), Some(0)]);
    one.advance(SECOND * 100);
    one.tick();
    assert_eq!(gauges(&one), [Some(0); 3]);
    assert!(one.ticks().is_none(), "there is nothing to be done any more");
    // Without a token the back-off shows, until another worker ends it.
    one.send(&get("/"));
    one.answer(&Err(CallFailure::Timeout));
    one.advance(SECOND);
    one.tick();
    one.advance(SECOND * 2);
    one.send(&get("/"));
    one.answer(&Err(CallFailure::Timeout));
    one.tick();
    let [age, expires_in, back_off] = gauges(&one);
    assert_eq!((age, expires_in), (Some(0), Some(0)));
    assert!((2..=3).contains(&back_off.expect("a report")));
    one.advance(SECOND * 3);
    other.advance(SECOND * 106);
    other.send(&get("/"));
    other.answer_with(&token("t2"));
    one.tick();
    one.advance(SECOND);
    one.tick();
    assert_eq!(gauges(&one)[2], Some(0));
}

#[test]
fn d6_03_tokens_and_secrets_stand_in_shared_data_in_no_readable_form() {
    let mut host = host(password());
    host.send(&get("/"));
    host.answer_with(&with_refresh("s3cr3t-access", "s3cr3t-refresh"));
    let stored = String::from_utf8_lossy(&host.shared()).into_owned();
    for secret in ["s3cr3t", "orders-secret", "p&ss", "Bearer", "alice"] {
        assert!(!stored.contains(secret), "{secret}");
    }
}

#[test]
fn d6_13_a_request_that_leaves_while_it_waits_gets_nothing_and_takes_nothing_from_others() {
    let mut host = host(json!({}));
    let gone = host.send(&get("/"));
    let stays = host.send(&get("/"));
    host.abort(gone);
    host.answer_with(&token("t1"));
    assert_eq!(seen(&host, stays).as_deref(), Some("Bearer t1"));
    assert!(host.outcome(gone).is_none());
}
