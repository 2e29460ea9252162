//! A proxy that refuses a call on which a decision depends: the request is refused with
//! `oauth2_host_error`, counted and logged. Nothing panics.

use std::time::Duration;

use oauth2_filter_driver::HostCall;
use serde_json::{Value, json};

use crate::exchanges::{Request, get};
use crate::set_up::{SetUp, client, document, logged};

const SECOND: Duration = Duration::from_secs(1);

/// A certificate's digest, in hexadecimal and as `x5t#S256`.
const DIGEST: (&str, &str) = (
    "0000000000000000000000000000000000000000000000000000000000000000",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
);

/// A filter that uses every call on a request: it sets, adds and removes headers, looks at all of them,
/// at the certificate, and sets filter state.
pub fn everything() -> Value {
    json!({
        "forward": {"claims": {"x-user": "sub"}},
        "sender_constraint": {"mtls": "required"},
        "rules": [{"methods": ["GET"], "paths": ["/**"]}],
    })
}

/// What the server says of its token.
fn bound() -> Value {
    json!({"active": true, "sub": "alice", "cnf": {"x5t#S256": DIGEST.1}})
}

/// A request whose caller wants to be another, and the next hop to take out who it is.
fn spoofing() -> Request {
    get("/").bearer("t").header("x-user", "root").header("connection", "x-user, keep-alive")
}

/// Sends it over TLS.
fn send(set_up: &mut SetUp) -> u32 {
    let stream = set_up.open(&spoofing());
    set_up.proxy.stream(stream).certificate = Some(DIGEST.0.to_owned());
    set_up.deliver(stream, true);
    stream
}

/// The one line that says that a request was refused.
fn refused(call: &str) -> String {
    format!("ERROR request denied with oauth2_host_error (1 so far): {call}")
}

/// Checks that a request was refused because of this call, that it was counted once and logged.
fn check_refused(set_up: &SetUp, stream: u32, call: &str) {
    assert_eq!(set_up.outcome(stream), "oauth2_host_error", "{call}");
    assert!(!set_up.body(stream), "{call}");
    assert_eq!(set_up.host_errors(), 1, "{call}");
    let lines = logged();
    assert_eq!(lines, [refused(call)], "{call}");
}

/// Checks that requests are forwarded, with what they must have, where everything is granted.
pub fn check_granted(set_up: &mut SetUp) {
    set_up.proxy.grant_all();
    let errors = set_up.host_errors();
    let stream = send(set_up);
    if set_up.outcome(stream) == "waits" {
        set_up.respond_to_call(200, &bound());
    }
    assert_eq!(set_up.outcome(stream), "forwarded");
    assert_eq!(set_up.header(stream, "x-user").unwrap(), "alice");
    assert_eq!(set_up.header(stream, "authorization"), None);
    assert_eq!(set_up.proxy.stream(stream).state["oauth2_decision"], "allowed");
    assert_eq!(set_up.host_errors(), errors);
    set_up.end(stream);
}

#[test]
fn nothing_is_refused_where_everything_is_granted() {
    let mut set_up = SetUp::new(everything());
    check_granted(&mut set_up);
    // From the cache.
    check_granted(&mut set_up);
    assert_eq!(set_up.proxy.calls_made(), 1);
    assert_eq!(set_up.host_errors(), 0);
    assert_eq!(logged(), [""; 0]);
}

/// The calls on which a decision depends, with what each is about and how it is logged.
const DECISIVE: [(HostCall, Option<&str>, &str); 7] = [
    (HostCall::Now, None, "proxy_get_current_time_nanoseconds returned status 10"),
    (HostCall::Headers, None, "proxy_get_header_map_pairs returned status 10"),
    (HostCall::Property, None, "proxy_get_property returned status 10"),
    (HostCall::SetFilterState, Some("oauth2_decision"), "proxy_set_property returned status 10"),
    (HostCall::SetHeader, None, "proxy_replace_header_map_value returned status 10"),
    (HostCall::AddHeader, None, "proxy_add_header_map_value returned status 10"),
    (HostCall::RemoveHeader, None, "proxy_remove_header_map_value returned status 10"),
];

fn refuse(set_up: &SetUp, call: HostCall, name: Option<&str>) {
    match name {
        Some(name) => set_up.proxy.refuse_for(call, name),
        None => set_up.proxy.refuse(call),
    }
}

#[test]
fn a_request_that_is_decided_at_once_is_refused() {
    for (call, name, line) in DECISIVE {
        let mut set_up = SetUp::new(everything());
        check_granted(&mut set_up);
        refuse(&set_up, call, name);
        let stream = send(&mut set_up);
        check_refused(&set_up, stream, line);
        set_up.end(stream);
        check_granted(&mut set_up);
    }
}

#[test]
fn a_request_that_would_wait_is_refused_and_waits_no_more() {
    // These are read before it waits.
    for (call, name, line) in DECISIVE.into_iter().take(3) {
        let mut set_up = SetUp::new(everything());
        refuse(&set_up, call, name);
        let stream = send(&mut set_up);
        check_refused(&set_up, stream, line);
        assert_eq!(set_up.waiting(), 0, "{line}");
        set_up.proxy.grant_all();
        if !set_up.proxy.calls().is_empty() {
            set_up.respond_to_call(200, &bound());
        }
        assert_eq!(set_up.outcome(stream), "oauth2_host_error", "{line}");
        set_up.end(stream);
        check_granted(&mut set_up);
    }
}

#[test]
fn a_request_that_has_waited_is_refused() {
    let resume = (HostCall::ResumeRequest, None, "proxy_continue_stream returned status 10");
    for (call, name, line) in DECISIVE.into_iter().skip(3).chain([resume]) {
        let mut set_up = SetUp::new(everything());
        let stream = send(&mut set_up);
        refuse(&set_up, call, name);
        set_up.respond_to_call(200, &bound());
        check_refused(&set_up, stream, line);
        assert_eq!(set_up.waiting(), 0, "{line}");
        set_up.end(stream);
        check_granted(&mut set_up);
    }
}

#[test]
fn a_header_that_cannot_be_read_counts_for_nothing() {
    let line = "proxy_get_header_map_value returned status 10";
    // Without a rule that looks at several headers, each is read by itself.
    for (inbound, name) in [
        (json!({}), "authorization"),
        (json!({"allow_cors_preflight": true}), "origin"),
        (json!({"rules": [{"paths": ["/**"], "access": "public"}]}), ":path"),
    ] {
        let mut set_up = SetUp::new(inbound);
        let request = get("/").method("OPTIONS").header("access-control-request-method", "PUT");
        set_up.proxy.refuse_for(HostCall::Header, name);
        let stream = set_up.send(&request);
        check_refused(&set_up, stream, line);
    }
    let optional = json!({"rules": [{"paths": ["/**"], "access": "optional"}]});
    let mut set_up = SetUp::new(optional);
    set_up.proxy.refuse_for(HostCall::Header, "authorization");
    let stream = set_up.send(&get("/").bearer("t"));
    check_refused(&set_up, stream, line);
    set_up.proxy.grant_all();
    assert_eq!(set_up.outcome_of(&get("/")), "forwarded");
}

#[test]
fn a_refused_request_is_refused_in_filter_state_too() {
    let mut set_up = SetUp::new(everything());
    check_granted(&mut set_up);
    set_up.proxy.refuse(HostCall::SetHeader);
    let stream = send(&mut set_up);
    let state = set_up.proxy.stream(stream).state.clone();
    assert_eq!((&*state["oauth2_decision"], &*state["oauth2_reason"]), ("denied", "host_error"));
}

#[test]
fn a_refusal_needs_no_filter_state() {
    let mut set_up = SetUp::new(json!({}));
    set_up.proxy.refuse(HostCall::SetFilterState);
    assert_eq!(set_up.outcome_of(&get("/")), "oauth2_no_token");
    assert_eq!(set_up.host_errors(), 0);
}

#[test]
fn a_route_that_cannot_be_selected_again_is_not_used() {
    // The token stays, so nothing is edited; but there is filter state.
    let inbound = json!({"forward": {"token": true}});
    let request = get("/").bearer("t");
    let active = json!({"active": true});
    let mut set_up = SetUp::new(inbound);
    // A proxy that has no such function keeps its route.
    let stream = set_up.send(&request);
    set_up.respond_to_call(200, &active);
    assert_eq!(set_up.outcome(stream), "forwarded");
    set_up.proxy.add_function("clear_route_cache", b"");
    let stream = set_up.send(&request);
    assert_eq!(set_up.outcome(stream), "forwarded");
    assert_eq!(set_up.proxy.stream(stream).routes_cleared, 1);
    set_up.proxy.refuse(HostCall::ForeignFunction);
    let stream = set_up.send(&request);
    check_refused(&set_up, stream, "proxy_call_foreign_function returned status 10");
}

#[test]
fn a_body_or_trailers_without_request_headers_are_refused() {
    type Follow = fn(&SetUp, u32) -> bool;
    let follows: [Follow; 2] =
        [|set_up, stream| set_up.body(stream), |set_up, stream| set_up.trailers(stream, &[])];
    for follow in follows {
        let mut set_up = SetUp::new(json!({}));
        let stream = set_up.open(&get("/").bearer("t"));
        assert!(!follow(&set_up, stream));
        check_refused(&set_up, stream, "received a body or trailers without request headers");
        set_up.end(stream);
        let stream = set_up.begin(&get("/").bearer("t"));
        set_up.respond_to_call(200, &json!({"active": true}));
        assert!(follow(&set_up, stream));
    }
    // Of a stream that has never been announced there is nothing to carry along.
    assert!(SetUp::new(json!({})).body(77));
}

#[test]
fn without_a_clock_the_end_of_a_call_forwards_nothing() {
    for body in [bound(), json!({"active": false})] {
        let mut set_up = SetUp::new(everything());
        let stream = send(&mut set_up);
        set_up.proxy.refuse(HostCall::Now);
        set_up.respond_to_call(200, &body);
        check_refused(&set_up, stream, "proxy_get_current_time_nanoseconds returned status 10");
        assert_eq!(set_up.waiting(), 0);
    }
    // Nor do requests pass unchecked where a failing server would have them pass.
    let mut set_up = SetUp::new(json!({"failure_mode_allow": true}));
    let stream = set_up.send(&get("/").bearer("t"));
    set_up.proxy.refuse(HostCall::Now);
    set_up.break_call();
    assert_eq!(set_up.outcome(stream), "oauth2_host_error");
    set_up.proxy.grant_all();
    let stream = set_up.send(&get("/").bearer("u"));
    set_up.break_call();
    assert_eq!(set_up.outcome(stream), "forwarded");
}

#[test]
fn what_a_call_brings_without_a_clock_is_not_lost_and_not_kept_for_longer() {
    let mut set_up = SetUp::new(json!({"cache": {"max_ttl": "60s"}}));
    let stream = set_up.send(&get("/").bearer("t"));
    set_up.proxy.advance(SECOND);
    set_up.proxy.refuse(HostCall::Now);
    set_up.respond_to_call(200, &json!({"active": true}));
    assert_eq!(set_up.outcome(stream), "oauth2_host_error");
    set_up.proxy.grant_all();
    assert_eq!(set_up.outcome_of(&get("/").bearer("t")), "forwarded");
    assert_eq!(set_up.proxy.calls_made(), 1);
    // Its minute began when the call did.
    set_up.proxy.advance(SECOND * 59);
    assert_eq!(set_up.outcome_of(&get("/").bearer("t")), "waits");
}

#[test]
fn without_a_clock_a_tick_decides_nothing() {
    let mut set_up = SetUp::new(json!({}));
    set_up.send(&get("/").bearer("t"));
    let mut other = set_up.worker(&document(json!({})));
    let follows = other.send(&get("/").bearer("t"));
    set_up.respond_to_call(200, &json!({"active": true}));
    other.proxy.refuse(HostCall::Now);
    for _ in 0..20 {
        other.tick();
    }
    assert_eq!(other.outcome(follows), "waits");
    let line = |n| {
        format!(
            "ERROR failed to read the clock ({n} so far): proxy_get_current_time_nanoseconds \
             returned status 10"
        )
    };
    assert_eq!(logged(), [1, 2, 4, 8, 16].map(line), "lines become rarer");
    other.proxy.grant_all();
    other.tick();
    assert_eq!(other.outcome(follows), "forwarded");
}

#[test]
fn without_a_clock_no_token_is_dropped() {
    let mut set_up = SetUp::with(&client());
    let token = json!({"access_token": "one", "token_type": "Bearer", "expires_in": 90});
    let rejected = set_up.send(&get("/"));
    set_up.respond_to_call(200, &token);
    for (call, line) in [
        (HostCall::Now, "ERROR failed to read the clock (1 so far): "),
        (HostCall::Header, "WARN failed to read a response (1 so far): "),
    ] {
        set_up.proxy.refuse(call);
        set_up.respond(rejected, 401, &[]);
        let lines = logged();
        assert!(lines.len() == 1 && lines[0].starts_with(line), "{lines:?}");
        set_up.proxy.grant_all();
        assert_eq!(set_up.outcome_of(&get("/")), "forwarded", "with the same token");
    }
    set_up.respond(rejected, 401, &[]);
    assert_eq!(set_up.outcome_of(&get("/")), "waits", "for another token");
}

#[test]
fn a_failure_that_goes_on_is_logged_once_a_second() {
    let mut set_up = SetUp::new(everything());
    set_up.proxy.refuse(HostCall::Headers);
    for _ in 0..1000 {
        let stream = send(&mut set_up);
        assert_eq!(set_up.outcome(stream), "oauth2_host_error");
        set_up.end(stream);
        set_up.proxy.advance(Duration::from_millis(2));
    }
    let lines = logged();
    let so_far = |n: u32| {
        refused("proxy_get_header_map_pairs returned status 10")
            .replace("1 so far", &format!("{n} so far"))
    };
    assert_eq!(lines, [so_far(1), so_far(501)]);
    assert_eq!(set_up.host_errors(), 1000);
}
