//! The life of streams: decided at once or in batches, aborted while they wait, configured or not.

use std::time::Duration;

use serde_json::json;

use crate::exchanges::get;
use crate::set_up::{SetUp, client, document, logged, value};

/// The time between two batches.
const BATCH_PERIOD: Duration = Duration::from_millis(1);

#[test]
fn waiting_requests_are_resumed_in_batches() {
    for (body, outcome) in [
        (json!({"active": true}), "forwarded"),
        // Answers go in batches too.
        (json!({"active": false}), "oauth2_inactive"),
    ] {
        let mut set_up = SetUp::new(json!({}));
        let streams: Vec<u32> = (0..200).map(|_| set_up.send(&get("/").bearer("t"))).collect();
        assert_eq!(set_up.proxy.calls_made(), 1);
        assert_eq!(set_up.waiting(), 200);
        set_up.respond_to_call(200, &body);
        // Those that have gone take no place in a batch that they could have been in.
        set_up.end(streams[100]);
        for decided in [64, 128, 192, 200] {
            for (n, stream) in streams.iter().enumerate().filter(|(n, _)| *n != 100) {
                let expected = if n < decided { outcome } else { "waits" };
                assert_eq!(set_up.outcome(*stream), expected, "{n} of {decided}");
            }
            let rest = decided < 200;
            let period = if rest { BATCH_PERIOD } else { Duration::ZERO };
            assert_eq!(set_up.proxy.tick_period(set_up.root), period, "{decided}");
            set_up.tick();
        }
        assert_eq!(set_up.waiting(), 0);
        assert_eq!(set_up.host_errors(), 0);
    }
}

#[test]
fn timers_are_set_only_when_they_change() {
    let mut set_up = SetUp::new(json!({}));
    for token in ["a", "b", "c"] {
        set_up.send(&get("/").bearer(token));
        set_up.respond_to_call(200, &json!({"active": true}));
    }
    assert_eq!(set_up.proxy.timers_set(), 0);
    let mut other = set_up.worker(&document(json!({})));
    for token in ["d", "e"] {
        set_up.send(&get("/").bearer(token));
        other.send(&get("/").bearer(token));
    }
    assert_eq!(other.proxy.timers_set(), 1, "one for both that wait for the other worker");
    set_up.respond_to_call(200, &json!({"active": true}));
    set_up.respond_to_call(200, &json!({"active": true}));
    other.tick();
    assert_eq!(other.proxy.timers_set(), 2, "none is needed any more");
    assert_eq!(other.proxy.tick_period(other.root), Duration::ZERO);
}

#[test]
fn a_request_that_is_aborted_while_it_waits_is_forgotten() {
    let mut set_up = SetUp::new(json!({}));
    let [aborted, stays] = [(); 2].map(|()| set_up.send(&get("/").bearer("t")));
    assert_eq!(set_up.waiting(), 2);
    set_up.end(aborted);
    assert_eq!(set_up.waiting(), 1);
    // Nothing is done to a stream that has ended: the proxy would refuse it, and it would be logged.
    set_up.respond_to_call(200, &json!({"active": true}));
    assert_eq!(set_up.outcome(stays), "forwarded");
    assert_eq!(set_up.waiting(), 0);
    assert_eq!(logged(), [""; 0]);
}

#[test]
fn bodies_are_held_back_until_their_request_is_forwarded() {
    let mut set_up = SetUp::new(json!({}));
    let good = set_up.begin(&get("/").bearer("good"));
    assert!(!set_up.body(good));
    set_up.respond_to_call(200, &json!({"active": true}));
    assert!(set_up.body(good));
    let bad = set_up.begin(&get("/").bearer("bad"));
    set_up.respond_to_call(200, &json!({"active": false}));
    assert!(!set_up.body(bad));
    assert!(!set_up.trailers(bad, &[(b"x", "1")]));
    let none = set_up.begin(&get("/"));
    assert!(!set_up.body(none));
    assert_eq!(set_up.outcome(none), "oauth2_no_token");
}

#[test]
fn a_root_without_a_configuration_forwards_nothing() {
    let mut set_up = SetUp::unconfigured(crate::proxy::Proxy::default());
    let stream = set_up.begin(&get("/").bearer("t"));
    assert_eq!(set_up.outcome(stream), "oauth2_unconfigured");
    assert!(!set_up.body(stream));
    assert!(!set_up.configure(&json!({"inbound": 1})));
    assert!(logged().iter().any(|line| line.starts_with("ERROR inbound: ")));
    assert_eq!(set_up.outcome_of(&get("/")), "oauth2_unconfigured");
    set_up.vm.tick(set_up.root);
    set_up.respond(stream, 200, &[]);
    set_up.end(stream);
}

#[test]
fn a_root_keeps_its_first_configuration() {
    let mut set_up = SetUp::new(json!({}));
    assert!(set_up.configure(&document(json!({}))), "the same again");
    assert!(!set_up.configure(&document(json!({"realm": "other"}))));
    let stream = set_up.send(&get("/"));
    let reply = set_up.proxy.stream(stream).reply.clone().unwrap();
    assert!(reply.headers.iter().any(|(_, value)| value.contains("realm=\"oauth2\"")));
}

#[test]
fn two_roots_of_one_vm_share_its_metrics() {
    let set_up = SetUp::new(json!({}));
    set_up.vm.context_created(50, 0);
    // The proxy panics if a metric is defined twice.
    let text = document(json!({"realm": "other"})).to_string();
    set_up.proxy.set_configuration(&text);
    assert!(set_up.vm.configured(50, text.len()));
    assert!(!set_up.vm.configured(51, text.len()), "nobody knows this root");
}

#[test]
fn the_response_to_a_token_in_the_query_is_marked_as_private() {
    let sources = json!({"token_sources": [{"query": "access_token"}]});
    let cases: [(Option<&str>, &str); 6] = [
        (None, "private"),
        (Some(""), "private"),
        (Some("no-store"), "no-store"),
        (Some("Private, max-age=3"), "Private, max-age=3"),
        (Some("public, max-age=3"), "private, max-age=3"),
        (Some("s-maxage=9"), "private"),
    ];
    for (sent, expected) in cases {
        let mut set_up = SetUp::new(sources.clone());
        let stream = set_up.send(&get("/?access_token=t"));
        set_up.respond_to_call(200, &json!({"active": true}));
        assert_eq!(set_up.outcome(stream), "forwarded");
        let headers: Vec<_> = sent.iter().map(|value| ("cache-control", *value)).collect();
        set_up.respond(stream, 200, &headers);
        let response = &set_up.proxy.stream(stream).response;
        assert_eq!(value(response, "cache-control").unwrap(), expected, "{sent:?}");
    }
    // A refusal says so itself, and what others answer is not changed.
    let mut set_up = SetUp::new(sources);
    let stream = set_up.send(&get("/"));
    set_up.respond(stream, 401, &[("cache-control", "public")]);
    let response = &set_up.proxy.stream(stream).response;
    assert_eq!(value(response, "cache-control").unwrap(), "public");
}

#[test]
fn a_token_that_the_service_rejects_is_dropped_unless_the_proxy_answered() {
    let token =
        |name: &str| json!({"access_token": name, "token_type": "Bearer", "expires_in": 90});
    for (details, status, dropped) in [
        (Some("via_upstream"), 401, true),
        (None, 401, true),
        (Some("ext_authz_denied"), 401, false),
        (Some("via_upstream"), 200, false),
    ] {
        let mut set_up = SetUp::with(&client());
        let first = set_up.send(&get("/"));
        set_up.respond_to_call(200, &token("one"));
        assert_eq!(set_up.header(first, "authorization").unwrap(), "Bearer one");
        set_up.proxy.stream(first).details = details;
        set_up.respond(first, status, &[]);
        set_up.end(first);
        let next = set_up.send(&get("/"));
        let outcome = if dropped { "waits" } else { "forwarded" };
        assert_eq!(set_up.outcome(next), outcome, "{details:?} {status}");
    }
}
