//! How calls to authorization servers end, and what the driver makes of it.

use std::time::Duration;

use oauth2_filter_driver::HostCall;
use serde_json::json;

use crate::exchanges::get;
use crate::set_up::{SetUp, client, document, logged};

/// Why a request is refused whose call ends like this, and what is logged.
fn ends(end: impl FnOnce(&SetUp)) -> (&'static str, String) {
    let mut set_up = SetUp::new(json!({}));
    let stream = set_up.send(&get("/").bearer("t"));
    assert_eq!(set_up.outcome(stream), "waits");
    end(&set_up);
    (set_up.outcome(stream), logged().join("\n"))
}

#[test]
fn the_response_of_the_proxy_itself_says_why_there_is_none_of_the_server() {
    let overloaded = [("x-envoy-overloaded", "true")];
    let unavailable = "oauth2_server_unavailable";
    let none: &[(&str, &str)] = &[];
    for (status, headers, details, line) in [
        (503, none, unavailable, "connection failed or closed"),
        (502, none, unavailable, "connection failed or closed"),
        (504, none, "oauth2_server_timeout", "timed out"),
        (503, &overloaded[..], unavailable, "not sent: no healthy host"),
        (504, &overloaded[..], unavailable, "not sent: no healthy host"),
    ] {
        let (outcome, lines) = ends(|set_up| set_up.end_call(status, headers, b"text"));
        assert_eq!(outcome, details, "{status} {headers:?}");
        assert!(lines.contains(line), "{status} {headers:?}: {lines}");
    }
}

#[test]
fn a_server_that_says_itself_that_it_is_overloaded_was_asked() {
    let headers = [("x-envoy-upstream-service-time", "1"), ("x-envoy-overloaded", "true")];
    let (outcome, lines) = ends(|set_up| set_up.end_call(503, &headers, b"text"));
    assert_eq!(outcome, "oauth2_server_unavailable");
    assert!(lines.contains("server returned 503"), "{lines}");
}

#[test]
fn a_response_that_breaks_off_in_the_second_half_of_the_timeout_is_a_timeout() {
    let unavailable = "oauth2_server_unavailable";
    let timeout = "oauth2_server_timeout";
    // The timeout is 2 s; a timer may be ahead of the clock by as much as the event loop takes.
    for (millis, details) in [
        (0, unavailable),
        (999, unavailable),
        (1_000, timeout),
        (1_900, timeout),
        (1_981, timeout),
        (2_000, timeout),
        (9_000, timeout),
    ] {
        let (outcome, _) = ends(|set_up| {
            set_up.proxy.advance(Duration::from_millis(millis));
            set_up.break_call();
        });
        assert_eq!(outcome, details, "after {millis} ms");
    }
}

#[test]
fn a_response_of_the_proxy_says_more_than_the_time_does() {
    // A connection that fails late is no timeout.
    let (outcome, _) = ends(|set_up| {
        set_up.proxy.advance(Duration::from_millis(1_999));
        set_up.end_call(503, &[], b"connection timeout");
    });
    assert_eq!(outcome, "oauth2_server_unavailable");
}

#[test]
fn a_response_that_cannot_be_read_is_a_failed_call() {
    for (call, name) in [
        (HostCall::Header, ":status"),
        (HostCall::Header, "retry-after"),
        (HostCall::Buffer, "body"),
    ] {
        let (outcome, lines) = ends(|set_up| {
            set_up.proxy.refuse_for(call, name);
            set_up.respond_to_call(200, &json!({"active": true}));
        });
        assert_eq!(outcome, "oauth2_server_unavailable", "{name}");
        assert!(lines.contains("WARN failed to read a response (1 so far): "), "{name}: {lines}");
    }
    let (outcome, lines) = ends(|set_up| {
        set_up.proxy.refuse_for(HostCall::Header, "x-envoy-upstream-service-time");
        set_up.end_call(503, &[], b"");
    });
    assert_eq!(outcome, "oauth2_server_unavailable");
    assert!(lines.contains("failed to read a response"), "{lines}");
}

#[test]
fn the_end_of_a_call_that_nobody_knows_changes_nothing() {
    let mut set_up = SetUp::new(json!({}));
    let stream = set_up.send(&get("/").bearer("t"));
    set_up.vm.call_ended(set_up.root, 99, 0, 0);
    set_up.vm.call_ended(99, 0, 0, 0);
    assert_eq!(set_up.outcome(stream), "waits");
    set_up.respond_to_call(200, &json!({"active": true}));
    assert_eq!(set_up.outcome(stream), "forwarded");
}

#[test]
fn a_root_remains_until_its_calls_have_ended_and_their_results_are_shared() {
    for refuses_to_release in [false, true] {
        let mut set_up = SetUp::new(json!({}));
        let waits = set_up.send(&get("/").bearer("t"));
        let mut other = set_up.worker(&document(json!({})));
        let follows = other.send(&get("/").bearer("t"));
        assert_eq!(other.proxy.calls_made(), 0, "one call for both workers");
        // The client leaves, and an update replaces the configuration.
        set_up.end(waits);
        set_up.proxy.enter(set_up.root);
        assert!(!set_up.vm.done(set_up.root), "a call is in flight");
        if refuses_to_release {
            set_up.proxy.refuse(HostCall::Done);
        }
        set_up.respond_to_call(200, &json!({"active": true}));
        let released: &[u32] = if refuses_to_release { &[] } else { &[set_up.root] };
        assert_eq!(set_up.proxy.released(), released);
        other.tick();
        assert_eq!(other.outcome(follows), "forwarded");
        assert_eq!(set_up.outcome_of(&get("/")), "oauth2_unconfigured", "the root is unknown");
    }
}

#[test]
fn a_root_that_ends_needs_no_timer_and_reports_no_token_any_more() {
    let mut set_up = SetUp::with(&client());
    set_up.send(&get("/"));
    let token = json!({"access_token": "one", "token_type": "Bearer", "expires_in": 90});
    set_up.respond_to_call(200, &token);
    set_up.tick();
    let expires = "token_expires_in_seconds.client.billing";
    assert!(set_up.proxy.metric(expires) > Some(0));
    assert!(set_up.proxy.tick_period(set_up.root) > Duration::ZERO);
    assert!(set_up.vm.done(set_up.root));
    assert_eq!(set_up.proxy.metric(expires), Some(0));
    assert_eq!(set_up.proxy.tick_period(set_up.root), Duration::ZERO);
}

#[test]
fn a_root_without_calls_ends_at_once() {
    let mut set_up = SetUp::new(json!({}));
    let stream = set_up.send(&get("/"));
    set_up.end(stream);
    assert!(set_up.vm.done(set_up.root));
    assert!(set_up.proxy.released().is_empty());
    // Nobody knows the root of this one.
    assert_eq!(set_up.outcome_of(&get("/")), "oauth2_unconfigured");
}
