//! Answers that workers share: one call for all of them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use oauth2_filter_core::{Answer, CallFailure, Counter, Decision, Event, Lookup};
use serde_json::{Value, json};

use crate::exchanges::{exchange, get};
use crate::host::SimulatedHost;

const SECOND: Duration = Duration::from_secs(1);

fn document(inbound: Value) -> Value {
    exchange("sharing").inbound(inbound).document("p")
}

/// Two workers of one proxy with this configuration.
fn workers(inbound: Value) -> [SimulatedHost; 2] {
    let document = document(inbound);
    let one = SimulatedHost::new(&document);
    let other = one.worker(&document);
    [one, other]
}

#[test]
fn what_one_worker_has_learnt_the_others_know() {
    let [mut one, mut other] = workers(json!({"forward": {"claims": {"x-user": "sub"}}}));
    for (token, answer, state) in [
        ("good", json!({"active": true, "sub": "a"}), "passed"),
        ("bad", json!({"active": false}), "oauth2_inactive"),
        ("refresh", json!({"active": true, "typ": "Refresh"}), "oauth2_not_an_access_token"),
    ] {
        let stream = one.send(&get("/").bearer(token));
        one.answer_with(&answer);
        assert_eq!(one.state(stream), state);
        assert_eq!(other.state_of(&get("/").bearer(token)), state);
        assert_eq!(other.state_of(&get("/").bearer(token)), state);
    }
    assert_eq!(other.made, 0);
    let shared = Event::Count(Counter::Lookup(Lookup::Shared));
    assert_eq!(other.events.iter().filter(|event| **event == shared).count(), 3);
}

#[test]
fn while_one_worker_asks_the_others_wait_for_its_answer() {
    let [mut one, mut other] = workers(json!({}));
    let first = one.send(&get("/").bearer("t"));
    let second = other.send(&get("/").bearer("t"));
    let third = other.send(&get("/").bearer("t"));
    assert_eq!((one.made, other.made), (1, 0));
    other.tick();
    assert_eq!(other.state(second), "waits");
    one.answer_with(&json!({"active": true}));
    assert_eq!(one.state(first), "passed");
    other.tick();
    assert_eq!((other.state(second), other.state(third)), ("passed", "passed"));
    assert_eq!((one.made, other.made), (1, 0));
}

#[test]
fn an_answer_that_comes_between_two_looks_at_shared_data_is_not_asked_for_again() {
    for (said, state) in [(true, "passed"), (false, "oauth2_inactive")] {
        let [one, mut other] = workers(json!({}));
        let one = Rc::new(RefCell::new(one));
        one.borrow_mut().send(&get("/").bearer("t"));
        let asking = Rc::clone(&one);
        other.meanwhile(move || asking.borrow_mut().answer_with(&json!({"active": said})));
        assert_eq!(other.state_of(&get("/").bearer("t")), state);
        assert_eq!((one.borrow().made, other.made), (1, 0));
    }
}

#[test]
fn who_waits_for_another_workers_call_hears_that_it_has_failed() {
    let busy = || {
        let retry_after = Some(b"7".to_vec());
        Ok(Answer { status: 503, retry_after, body: Vec::new() })
    };
    for (outcome, state, retry_after) in [
        (Err(CallFailure::Unreachable), "oauth2_server_unavailable", Some("1")),
        (Err(CallFailure::Timeout), "oauth2_server_timeout", Some("1")),
        (busy(), "oauth2_server_unavailable", Some("7")),
        (Err(CallFailure::TooLarge), "oauth2_server_bad_answer", None),
    ] {
        let document = document(json!({}));
        let mut one = SimulatedHost::new(&document);
        let mut others: Vec<_> = (0..3).map(|_| one.worker(&document)).collect();
        let first = one.send(&get("/").bearer("t"));
        let waits: Vec<_> =
            others.iter_mut().map(|other| other.send(&get("/").bearer("t"))).collect();
        one.advance(SECOND);
        one.answer(&outcome);
        assert_eq!(one.state(first), state);
        // Even if the next call is under way by the time that they look.
        let next = one.send(&get("/").bearer("t"));
        for (other, stream) in others.iter_mut().zip(waits) {
            other.advance(SECOND);
            other.tick();
            assert_eq!((other.state(stream), other.made), (state, 0));
            assert_eq!(other.refused_header(stream, "retry-after"), retry_after);
        }
        // Who comes only now waits for that one.
        let late = others[0].send(&get("/").bearer("t"));
        one.answer_with(&json!({"active": true}));
        others[0].tick();
        assert_eq!((one.state(next), others[0].state(late)), ("passed", "passed"));
        assert_eq!((one.made, others[0].made), (2, 0));
    }
}

#[test]
fn after_a_failure_the_next_request_asks_at_once_whichever_worker_has_it() {
    let [mut one, mut other] = workers(json!({}));
    one.send(&get("/").bearer("t"));
    one.answer(&Err(CallFailure::Unreachable));
    one.advance(Duration::from_millis(1));
    other.advance(Duration::from_millis(1));
    let stream = other.send(&get("/").bearer("t"));
    let waits = one.send(&get("/").bearer("t"));
    assert_eq!((one.made, other.made), (1, 1));
    other.answer_with(&json!({"active": true}));
    one.tick();
    assert_eq!((other.state(stream), one.state(waits)), ("passed", "passed"));
}

#[test]
fn stale_answers_serve_in_every_worker_that_has_waited_for_the_failing_server() {
    let cache = json!({"max_ttl": "10s", "stale_if_error": "60s"});
    let [mut one, mut other] = workers(json!({ "cache": cache }));
    one.send(&get("/").bearer("t"));
    one.answer_with(&json!({"active": true}));
    assert_eq!(other.state_of(&get("/").bearer("t")), "passed");
    one.advance(10 * SECOND);
    other.advance(10 * SECOND);
    let first = one.send(&get("/").bearer("t"));
    let second = other.send(&get("/").bearer("t"));
    one.answer(&Err(CallFailure::Timeout));
    other.tick();
    assert_eq!((one.state(first), other.state(second)), ("passed", "passed"));
    let stale = Event::Count(Counter::Request(Decision::Stale));
    assert_eq!((other.made, other.events.iter().filter(|e| **e == stale).count()), (0, 1));
}

#[test]
fn stale_answers_serve_in_workers_that_had_none_as_long_as_no_worker_has_seen_a_rejection() {
    let cache = json!({"max_ttl": "10s", "stale_if_error": "60s"});
    for (rejected, age, state) in [
        (false, 10, "passed"),
        (false, 69, "passed"),
        (false, 70, "oauth2_server_unavailable"),
        (true, 10, "oauth2_server_unavailable"),
    ] {
        let [mut one, mut other] = workers(json!({ "cache": cache }));
        one.send(&get("/").bearer("t"));
        one.answer_with(&json!({"active": true}));
        one.advance(age * SECOND);
        other.advance(age * SECOND);
        if rejected {
            one.send(&get("/").bearer("t"));
            one.answer_with(&json!({"active": false}));
            other.advance(10 * SECOND);
        }
        let stream = other.send(&get("/").bearer("t"));
        assert_eq!(other.made, 1);
        other.answer(&Err(CallFailure::Unreachable));
        assert_eq!(other.state(stream), state, "rejected: {rejected}, after {age} s");
        // For a second, it is served without another call.
        let again = other.state_of(&get("/").bearer("t"));
        let is_served = state == "passed";
        assert_eq!((again == "passed", other.made), (is_served, if is_served { 1 } else { 2 }));
    }
}

#[test]
fn nobody_waits_for_the_calls_of_one_worker_after_the_other() {
    // The answers of this server are too long to be shared.
    let body = json!({"active": true, "x": "x".repeat(5_000)}).to_string().into_bytes();
    let long = Ok(Answer { status: 200, retry_after: None, body });
    let document = document(json!({}));
    let mut first = SimulatedHost::new(&document);
    let mut others: Vec<_> = (0..3).map(|_| first.worker(&document)).collect();
    first.send(&get("/").bearer("t"));
    let waits: Vec<_> = others.iter_mut().map(|other| other.send(&get("/").bearer("t"))).collect();
    assert!(others.iter().all(|other| other.made == 0));
    first.advance(SECOND);
    first.answer(&long);
    for other in &mut others {
        other.advance(SECOND);
        other.tick();
        assert_eq!(other.made, 1);
    }
    // Who comes only now waits for what is under way.
    let mut late = others[0].worker(&document);
    assert_eq!((late.state_of(&get("/").bearer("t")), late.made), ("waits", 0));
    for (other, stream) in others.iter_mut().zip(waits) {
        other.answer(&long);
        assert_eq!(other.state(stream), "passed");
    }
}

#[test]
fn when_the_asking_worker_is_gone_another_asks_after_its_time() {
    let [mut one, mut other] = workers(json!({"introspection": {"timeout": "2s"}}));
    one.send(&get("/").bearer("t"));
    let second = other.send(&get("/").bearer("t"));
    other.advance(2 * SECOND);
    other.tick();
    assert_eq!(other.made, 0);
    other.advance(SECOND);
    other.tick();
    assert_eq!(other.made, 1);
    other.answer_with(&json!({"active": true}));
    assert_eq!(other.state(second), "passed");
}

#[test]
fn a_request_that_waited_for_another_worker_may_leave() {
    let [mut one, mut other] = workers(json!({}));
    one.send(&get("/").bearer("t"));
    let gone = other.send(&get("/").bearer("t"));
    let stays = other.send(&get("/").bearer("t"));
    other.abort(gone);
    one.answer_with(&json!({"active": true}));
    other.tick();
    assert_eq!((other.state(gone), other.state(stays)), ("waits", "passed"));
}

#[test]
fn a_worker_that_starts_anew_has_forgotten_nothing() {
    let document = document(json!({}));
    let mut before = SimulatedHost::new(&document);
    let stream = before.send(&get("/").bearer("t"));
    before.answer_with(&json!({"active": true}));
    assert_eq!(before.state(stream), "passed");
    let mut after = before.worker(&document);
    assert_eq!(after.state_of(&get("/").bearer("t")), "passed");
}

#[test]
fn d2_01_a_configuration_with_the_same_meaning_keeps_what_was_learnt_and_judges_it_anew() {
    let old = document(json!({"scope": "a", "cache": {"max_ttl": "60s"}}));
    let mut before = SimulatedHost::new(&old);
    let stream = before.send(&get("/").bearer("t"));
    before.answer_with(&json!({"active": true, "scope": "a"}));
    assert_eq!(before.state(stream), "passed");
    let mut after = before.worker(&document(json!({"scope": "b"})));
    assert_eq!(after.state_of(&get("/").bearer("t")), "oauth2_insufficient_scope");

    // One with a shorter time to live does not serve what is too old for it.
    let mut shorter = before.worker(&document(json!({"cache": {"max_ttl": "5s"}})));
    shorter.advance(5 * SECOND);
    assert_eq!(shorter.state_of(&get("/").bearer("t")), "waits");
}

#[test]
fn rs_7662_08_d1_03_d1_04_d1_06_d1_11_a_configuration_that_asks_otherwise_starts_from_nothing_kept()
{
    let mut before = SimulatedHost::new(&document(json!({})));
    let stream = before.send(&get("/").bearer("t"));
    before.answer_with(&json!({"active": true}));
    assert_eq!(before.state(stream), "passed");
    for introspection in [
        json!({"client_id": "other"}),
        json!({"client_secret": "other"}),
        json!({"endpoint": "http://as.test/p/other"}),
        json!({"endpoint": "https://as.test/p/introspect"}),
        json!({"cluster": "other"}),
        json!({"headers": {"x-tenant": "b"}}),
        json!({"parameters": {"tenant": "b"}}),
        json!({"token_type_hint": ""}),
        json!({"auth_method": "client_secret_post"}),
        json!({"issuer": "https://as.test"}),
    ] {
        let mut after = before.worker(&document(json!({ "introspection": introspection })));
        assert_eq!(after.state_of(&get("/").bearer("t")), "waits", "{introspection}");
    }
}

#[test]
fn d1_02_one_token_asked_of_two_servers_at_once_gets_the_answer_of_each() {
    let [mut one, mut other] = workers(json!({"introspection": [
        {"endpoint": "http://as.test/a", "when": {"hosts": ["a.test"]}},
        {"endpoint": "http://as.test/b", "when": {"hosts": ["b.test"]}},
    ]}));
    let to = |host| get("/").bearer("t").host(host);
    let (a, b) = (one.send(&to("a.test")), one.send(&to("b.test")));
    let (late_a, late_b) = (one.send(&to("a.test")), one.send(&to("b.test")));
    let (far_a, far_b) = (other.send(&to("a.test")), other.send(&to("b.test")));
    assert_eq!((one.made, other.made), (2, 0), "one call for each server");
    one.answer_with(&json!({"active": true}));
    other.tick();
    assert_eq!(
        (one.state(a), one.state(late_a), other.state(far_a)),
        ("passed", "passed", "passed")
    );
    assert_eq!((one.state(b), one.state(late_b), other.state(far_b)), ("waits", "waits", "waits"));
    one.answer_with(&json!({"active": false}));
    other.tick();
    for (host, streams) in [(&mut one, vec![b, late_b]), (&mut other, vec![far_b])] {
        assert!(streams.iter().all(|stream| host.state(*stream) == "oauth2_inactive"));
        assert_eq!(host.state_of(&to("a.test")), "passed");
        assert_eq!(host.state_of(&to("b.test")), "oauth2_inactive");
    }
    assert_eq!((one.made, other.made), (2, 0));
}

#[test]
fn rs_7662_04_an_answer_that_came_by_another_worker_ends_when_it_ends_there() {
    let cache = json!({"max_ttl": "60s", "negative_ttl": "5s"});
    let inbound = json!({ "cache": cache });
    for (token, mut answer, last) in [
        ("max_ttl", json!({"active": true}), 59_999),
        ("exp", json!({"active": true, "exp": null}), 39_999),
        ("negative_ttl", json!({"active": false}), 4_999),
    ] {
        let [mut here, mut there] = workers(inbound.clone());
        if let Some(exp) = answer.get_mut("exp") {
            *exp = json!(here.seconds() + 40);
        }
        let request = get("/").bearer(token);
        let stream = here.send(&request);
        here.answer_with(&answer);
        let state = here.state(stream);
        // It is learnt late, and serves no longer for that.
        there.advance(Duration::from_millis(last - 1));
        assert_eq!(there.state_of(&request), state, "{token}");
        there.advance(Duration::from_millis(1));
        assert_eq!(there.state_of(&request), state, "{token}");
        there.advance(Duration::from_millis(1));
        assert_eq!(there.state_of(&request), "waits", "{token}");
    }
}

#[test]
fn d1_09_configurations_that_only_look_alike_share_nothing() {
    // The same words in the same order, in other places.
    for [one, other] in [
        [
            json!({"headers": {"form": "a"}, "parameters": {"b": "c"}}),
            json!({"parameters": {"a": "form", "b": "c"}}),
        ],
        [json!({"headers": {"x-a": "bc"}}), json!({"headers": {"x-ab": "c"}})],
        [json!({"headers": {"x-a": "b"}}), json!({"parameters": {"x-a": "b"}})],
        [json!({"parameters": {"a": "b=c"}}), json!({"parameters": {"a": "b", "c": ""}})],
        [
            json!({"client_id": "ab", "client_secret": "c"}),
            json!({"client_id": "a", "client_secret": "bc"}),
        ],
    ] {
        let configured = |asked: &Value| document(json!({"introspection": asked}));
        let mut before = SimulatedHost::new(&configured(&one));
        let stream = before.send(&get("/").bearer("t"));
        before.answer_with(&json!({"active": true}));
        assert_eq!(before.state(stream), "passed");
        let mut after = before.worker(&configured(&other));
        assert_eq!(after.state_of(&get("/").bearer("t")), "waits", "{one} {other}");
    }
}

#[test]
fn who_asks_every_time_neither_shares_nor_waits() {
    let [mut one, mut other] = workers(json!({"cache": {"max_ttl": "0s"}}));
    one.send(&get("/").bearer("t"));
    other.send(&get("/").bearer("t"));
    assert_eq!((one.made, other.made), (1, 1));
    one.answer_with(&json!({"active": true}));
    assert_eq!(other.state_of(&get("/").bearer("t")), "waits");
}

#[test]
fn an_answer_that_is_too_long_to_be_shared_serves_its_worker() {
    let frame = json!({"active": true, "x": ""}).to_string().len();
    for (length, shared) in [(4096, true), (4097, false), (100_000, false)] {
        let [mut one, mut other] = workers(json!({}));
        let answer = json!({"active": true, "x": "x".repeat(length - frame)});
        one.send(&get("/").bearer("t"));
        let before = one.shared().len();
        one.answer_with(&answer);
        assert_eq!(one.state_of(&get("/").bearer("t")), "passed", "{length}");
        let state = if shared { "passed" } else { "waits" };
        assert_eq!(other.state_of(&get("/").bearer("t")), state, "{length}");
        // Nor does it take room where it is of no use.
        assert_eq!(one.shared().len() > before, shared, "{length}");
    }
}

#[test]
fn an_answer_that_has_ended_on_arrival_is_not_shared() {
    let cache = json!({"negative_ttl": "0s"});
    for answer in [json!({"active": false}), json!({"active": true, "exp": 1})] {
        let [mut one, mut other] = workers(json!({ "cache": cache }));
        one.send(&get("/").bearer("t"));
        one.answer_with(&answer);
        let shared = String::from_utf8_lossy(&one.shared()).into_owned();
        assert!(shared.contains(".m."), "a marker has stood there");
        assert!(!shared.contains(".a.") && !shared.contains(".r."), "{answer}");
        assert_eq!(other.state_of(&get("/").bearer("t")), "waits", "{answer}");
    }
}

#[test]
fn two_workers_that_put_up_their_first_marker_at_the_same_moment_make_one_call() {
    let [one, mut other] = workers(json!({}));
    // Both have looked and found nothing.
    let (one, stream) = other.send_second(one, &get("/").bearer("t"));
    assert_eq!((one.borrow().made, other.made), (1, 0));
    one.borrow_mut().answer_with(&json!({"active": true}));
    other.tick();
    assert_eq!(other.state(stream), "passed");
}

#[test]
fn a_marker_that_is_younger_than_the_request_that_finds_it_is_waited_for() {
    let [mut one, mut other] = workers(json!({}));
    // Its request comes a moment later, and its marker is up a moment sooner.
    one.advance(Duration::from_millis(1));
    let (one, stream) = other.send_second(one, &get("/").bearer("t"));
    other.tick();
    assert_eq!((one.borrow().made, other.made), (1, 0));
    one.borrow_mut().answer_with(&json!({"active": true}));
    other.tick();
    assert_eq!(other.state(stream), "passed");
}

#[test]
fn a_call_that_ends_late_takes_no_other_workers_marker_down() {
    let document = document(json!({"introspection": {"timeout": "2s"}}));
    let mut one = SimulatedHost::new(&document);
    let [mut other, mut third] = [one.worker(&document), one.worker(&document)];
    one.send(&get("/").bearer("t"));
    other.advance(3 * SECOND);
    third.advance(3 * SECOND);
    let second = other.send(&get("/").bearer("t"));
    assert_eq!(other.made, 1);
    one.answer(&Err(CallFailure::Timeout));
    let last = third.send(&get("/").bearer("t"));
    assert_eq!(third.made, 0);
    other.answer_with(&json!({"active": true}));
    third.tick();
    assert_eq!((other.state(second), third.state(last)), ("passed", "passed"));
}

#[test]
fn nobody_waits_for_a_marker_that_was_put_up_before_the_clock_was_set_back() {
    let [mut one, mut other] = workers(json!({}));
    one.advance(3600 * SECOND);
    one.send(&get("/").bearer("t"));
    let stream = other.send(&get("/").bearer("t"));
    assert_eq!(other.made, 1);
    other.answer_with(&json!({"active": true}));
    assert_eq!(other.state(stream), "passed");
}

#[test]
fn whatever_another_worker_does_between_two_looks_there_is_one_call_and_no_marker_is_left() {
    #[derive(Clone, Copy, PartialEq)]
    enum Step {
        Send,
        Answer,
        Fail,
    }
    use Step::{Answer, Fail, Send};
    let act = |one: &RefCell<SimulatedHost>, steps: &[Step]| {
        let mut one = one.borrow_mut();
        for step in steps {
            match step {
                Send => drop(one.send(&get("/").bearer("t"))),
                Answer => one.answer_with(&json!({"active": true})),
                Fail => one.answer(&Err(CallFailure::Timeout)),
            }
        }
    };
    // What the other has done before, does in between, and does then.
    let stories: [[&'static [Step]; 3]; 5] = [
        [&[], &[Send, Answer], &[]],
        [&[Send], &[Answer], &[]],
        [&[], &[Send], &[Answer]],
        [&[], &[Send, Fail], &[]],
        [&[Send], &[Fail], &[]],
    ];
    for [before, between, then] in stories {
        let fails = between.contains(&Fail);
        for looks in 0.. {
            let [one, mut other] = workers(json!({}));
            let one = Rc::new(RefCell::new(one));
            act(&one, before);
            let asking = Rc::clone(&one);
            other.in_between(looks, move || act(&asking, between));
            let stream = other.send(&get("/").bearer("t"));
            if other.is_in_between() {
                assert!(looks >= 3, "it looks for a marker, and for an answer of either kind");
                break;
            }
            act(&one, then);
            other.tick();
            if fails && other.state(stream) == "oauth2_server_timeout" {
                // It has waited for the call that has failed; the next one asks at once.
                other.advance(Duration::from_millis(1));
                assert_eq!(other.state_of(&get("/").bearer("t")), "waits");
                assert_eq!(other.made, 1, "after {looks} looks");
                continue;
            }
            if fails {
                assert_eq!(other.made, 1, "after {looks} looks");
                other.answer_with(&json!({"active": true}));
            }
            assert_eq!(other.state(stream), "passed", "after {looks} looks");
            let made = one.borrow().made + other.made;
            assert_eq!(made, if fails { 2 } else { 1 }, "after {looks} looks");
            assert_eq!(other.markers(), 0, "after {looks} looks");
        }
    }
}

#[test]
fn d2_02_stale_answers_serve_while_the_server_fails_and_never_past_exp() {
    let cache = json!({"max_ttl": "10s", "stale_if_error": "60s"});
    let mut host = SimulatedHost::new(&document(json!({ "cache": cache })));
    host.send(&get("/").bearer("t"));
    let end = host.seconds() + 40;
    host.answer_with(&json!({"active": true, "exp": end}));
    host.advance(10 * SECOND);

    // It is asked about again, and passes since the server fails.
    let stream = host.send(&get("/").bearer("t"));
    assert_eq!(host.state(stream), "waits");
    host.answer(&Err(CallFailure::Timeout));
    assert_eq!(host.state(stream), "passed");

    // For a second nobody waits for the failing server.
    assert_eq!(host.state_of(&get("/").bearer("t")), "passed");
    let count = |host: &SimulatedHost, counter| {
        host.events.iter().filter(|event| **event == Event::Count(counter)).count()
    };
    assert_eq!(count(&host, Counter::Request(Decision::Stale)), 2);
    assert_eq!(count(&host, Counter::Lookup(Lookup::Stale)), 2);
    assert_eq!(count(&host, Counter::Lookup(Lookup::Hit)), 0);
    host.advance(SECOND);
    let stream = host.send(&get("/").bearer("t"));
    assert_eq!(host.state(stream), "waits");
    host.answer(&Err(CallFailure::Unreachable));
    assert_eq!(host.state(stream), "passed");

    // A server that answers is believed.
    host.advance(SECOND);
    let stream = host.send(&get("/").bearer("t"));
    host.answer_with(&json!({"active": false}));
    assert_eq!(host.state(stream), "oauth2_inactive");

    // Past its end nothing serves.
    host.send(&get("/").bearer("u"));
    host.answer_with(&json!({"active": true, "exp": end}));
    host.advance(28 * SECOND);
    let stream = host.send(&get("/").bearer("u"));
    host.answer(&Err(CallFailure::Unreachable));
    assert_eq!(host.state(stream), "oauth2_server_unavailable");
}

#[test]
fn a_refusal_ends_what_could_have_served_while_the_server_fails_in_every_worker() {
    let cache = json!({"max_ttl": "10s", "negative_ttl": "1s", "stale_if_error": "1h"});
    let [mut one, mut other] = workers(json!({ "cache": cache }));
    one.send(&get("/").bearer("t"));
    one.answer_with(&json!({"active": true}));
    assert_eq!(other.state_of(&get("/").bearer("t")), "passed");
    for host in [&mut one, &mut other] {
        host.advance(10 * SECOND);
    }
    let stream = one.send(&get("/").bearer("t"));
    one.answer_with(&json!({"active": false}));
    assert_eq!(one.state(stream), "oauth2_inactive");
    for host in [&mut one, &mut other] {
        host.advance(SECOND);
        let stream = host.send(&get("/").bearer("t"));
        host.answer(&Err(CallFailure::Unreachable));
        assert_eq!(host.state(stream), "oauth2_server_unavailable");
    }
}

#[test]
fn a_refusal_of_another_worker_counts_for_more_than_what_could_serve_while_the_server_fails() {
    let cache = json!({"max_ttl": "10s", "negative_ttl": "1s", "stale_if_error": "1h"});
    let [mut one, mut other] = workers(json!({"cache": cache, "introspection": {"timeout": "5s"}}));
    other.send(&get("/").bearer("t"));
    other.answer_with(&json!({"active": true}));
    for host in [&mut one, &mut other] {
        host.advance(10 * SECOND);
    }
    // A call that takes longer than its marker stands, so that another worker asks too.
    let late = other.send(&get("/").bearer("t"));
    for host in [&mut one, &mut other] {
        host.advance(6 * SECOND);
    }
    one.send(&get("/").bearer("t"));
    one.answer_with(&json!({"active": false}));
    other.answer(&Err(CallFailure::Timeout));
    assert_eq!(other.state(late), "oauth2_server_timeout");
    assert_eq!((one.made, other.made), (1, 2));
}

#[test]
fn nothing_stale_is_served_where_the_failure_may_concern_the_token() {
    let cache = json!({"max_ttl": "10s", "stale_if_error": "1h"});
    for (status, state) in [
        (400, "oauth2_server_refused_client"),
        (401, "oauth2_server_refused_client"),
        (403, "oauth2_server_refused_client"),
        (404, "oauth2_server_bad_answer"),
        (413, "oauth2_server_bad_answer"),
    ] {
        let mut host = SimulatedHost::new(&document(json!({ "cache": cache })));
        host.send(&get("/").bearer("t"));
        host.answer_with(&json!({"active": true}));
        host.advance(10 * SECOND);
        let stream = host.send(&get("/").bearer("t"));
        host.answer_status(status, &json!({}));
        assert_eq!(host.state(stream), state, "{status}");
    }
}

#[test]
fn a_call_of_another_worker_is_not_followed_when_no_request_waits_for_it_any_more() {
    let [mut one, mut other] = workers(json!({"introspection": {"timeout": "5s"}}));
    one.send(&get("/").bearer("t"));
    let [first, second] = [other.send(&get("/").bearer("t")), other.send(&get("/").bearer("t"))];
    other.abort(first);
    other.tick();
    assert!(other.needs_ticks(), "the second still waits");
    other.abort(second);
    other.tick();
    assert!(!other.needs_ticks());
    // Nor is the call made here when that worker is taken to be dead.
    other.advance(7 * SECOND);
    other.tick();
    assert_eq!(other.made, 0);
}

#[test]
fn time_is_taken_note_of_only_while_another_worker_asks() {
    let [mut one, mut other] = workers(json!({}));
    assert!(!one.needs_ticks() && !other.needs_ticks());
    one.send(&get("/").bearer("t"));
    assert!(!one.needs_ticks(), "its own call ends without");
    other.send(&get("/").bearer("t"));
    assert!(other.needs_ticks());
    one.answer_with(&json!({"active": true}));
    other.tick();
    assert!(!other.needs_ticks());
}

#[test]
fn rs_8705_04_d2_06_a_binding_is_checked_on_every_request() {
    let inbound = json!({"sender_constraint": {"mtls": "optional"}});
    let mut host = SimulatedHost::new(&document(inbound));
    // The base64url form of 32 zero bytes.
    let bound = json!({"active": true, "cnf": {"x5t#S256": "A".repeat(43)}});
    host.certificate = Some([0; 32]);
    let stream = host.send(&get("/").bearer("t"));
    host.answer_with(&bound);
    assert_eq!(host.state(stream), "passed");
    assert_eq!(host.state_of(&get("/").bearer("t")), "passed");
    for certificate in [Some([1; 32]), None] {
        host.certificate = certificate;
        assert_eq!(host.state_of(&get("/").bearer("t")), "oauth2_unproved_cnf");
    }
    host.certificate = Some([0; 32]);
    assert_eq!(host.state_of(&get("/").bearer("t")), "passed");
    assert_eq!(host.made, 1);
}
