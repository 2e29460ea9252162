//! Trailers: no reserved header is forwarded in them.

use oauth2_filter_driver::HostCall;
use serde_json::{Value, json};

use crate::exchanges::{Request, get};
use crate::set_up::{SetUp, logged, value};

/// A filter that sets `x-user`.
fn set_up() -> SetUp {
    SetUp::new(claims())
}

fn claims() -> Value {
    json!({"forward": {"claims": {"x-user": "sub"}}})
}

fn post() -> Request {
    get("/").method("POST").bearer("t")
}

fn respond(set_up: &SetUp) {
    set_up.respond_to_call(200, &json!({"active": true, "sub": "alice"}));
}

/// Trailers with which a caller tries to pass for another user, beside harmless ones.
const TRAILERS: [(&[u8], &str); 5] = [
    (b"x-user", "root"),
    (b"x_user", "root"),
    (b"x-user", "again"),
    (b"x-checksum", "1"),
    (b"\xff\xfe", "not text"),
];

/// What is left of them.
fn names(set_up: &SetUp, stream: u32) -> Vec<Vec<u8>> {
    let stream = set_up.proxy.stream(stream);
    stream.trailers.iter().flatten().map(|(name, _)| name.clone()).collect()
}

#[test]
fn reserved_headers_are_removed_from_trailers_in_every_spelling() {
    let mut set_up = set_up();
    let waits = set_up.begin(&post());
    respond(&set_up);
    // From the cache, the next one is decided at once.
    let decided = set_up.begin(&post());
    for stream in [waits, decided] {
        assert_eq!(set_up.outcome(stream), "forwarded");
        assert!(set_up.body(stream));
        assert!(set_up.trailers(stream, &TRAILERS));
        assert_eq!(names(&set_up, stream), [&b"x-checksum"[..], b"\xff\xfe"]);
        assert_eq!(value(&set_up.proxy.stream(stream).headers, "x-user").unwrap(), "alice");
        set_up.end(stream);
    }
    assert_eq!(set_up.host_errors(), 0);
}

#[test]
fn a_header_that_rules_test_is_removed_from_trailers() {
    let rule = json!({"headers": {"x-user": "alice"}});
    let mut set_up = SetUp::new(json!({"rules": [rule, {}]}));
    let stream = set_up.begin(&post());
    set_up.respond_to_call(200, &json!({"active": true}));
    assert_eq!(set_up.outcome(stream), "forwarded");
    assert!(set_up.trailers(stream, &TRAILERS));
    assert_eq!(names(&set_up, stream), [&b"x-checksum"[..], b"\xff\xfe"]);
}

#[test]
fn trailers_that_come_before_the_decision_are_checked_then_and_held_back() {
    let mut set_up = set_up();
    let stream = set_up.begin(&post());
    assert!(!set_up.body(stream));
    assert!(!set_up.trailers(stream, &TRAILERS));
    // The proxy does not deliver them again.
    respond(&set_up);
    assert_eq!(set_up.outcome(stream), "forwarded");
    assert_eq!(names(&set_up, stream), [&b"x-checksum"[..], b"\xff\xfe"]);
}

#[test]
fn trailers_of_other_names_are_left_as_they_are() {
    let mut set_up = SetUp::new(json!({}));
    let stream = set_up.begin(&post());
    set_up.respond_to_call(200, &json!({"active": true}));
    assert!(set_up.trailers(stream, &TRAILERS));
    assert_eq!(names(&set_up, stream).len(), TRAILERS.len());
}

#[test]
fn trailers_that_the_proxy_does_not_give_or_change_are_not_forwarded() {
    for call in [HostCall::Headers, HostCall::RemoveHeader] {
        // Once forwarded.
        let mut set_up = set_up();
        let stream = set_up.begin(&post());
        respond(&set_up);
        set_up.proxy.refuse(call);
        assert!(!set_up.trailers(stream, &TRAILERS), "{call:?}");
        assert_eq!(set_up.outcome(stream), "forwarded, then answered");
        let details = set_up.proxy.stream(stream).reply.clone().unwrap().details;
        assert_eq!(details, "oauth2_host_error");
        assert!(!set_up.body(stream), "nothing follows");
        assert_eq!(set_up.host_errors(), 1);
        let lines = logged();
        assert!(lines[0].starts_with("ERROR request denied with oauth2_host_error (1 so"));
        set_up.end(stream);

        // While the request waits.
        let mut set_up = self::set_up();
        let stream = set_up.begin(&post());
        assert_eq!(set_up.waiting(), 1);
        set_up.proxy.refuse(call);
        assert!(!set_up.trailers(stream, &TRAILERS), "{call:?}");
        assert_eq!(set_up.outcome(stream), "oauth2_host_error");
        assert_eq!((set_up.host_errors(), set_up.waiting()), (1, 0));
        set_up.proxy.grant_all();
        respond(&set_up);
        assert_eq!(set_up.outcome(stream), "oauth2_host_error", "not resumed");
        set_up.end(stream);
        // The same request is forwarded where everything is granted.
        let stream = set_up.begin(&post());
        assert!(set_up.trailers(stream, &TRAILERS));
        assert_eq!(set_up.outcome(stream), "forwarded");
    }
}

#[test]
fn a_verdict_that_waits_for_its_batch_does_not_resume_what_was_refused_since() {
    let mut set_up = set_up();
    let streams: Vec<u32> = (0..70).map(|_| set_up.begin(&post())).collect();
    respond(&set_up);
    let last = streams[69];
    assert_eq!(set_up.outcome(last), "waits");
    set_up.proxy.refuse(HostCall::RemoveHeader);
    assert!(!set_up.trailers(last, &TRAILERS));
    assert_eq!(set_up.outcome(last), "oauth2_host_error");
    set_up.proxy.grant_all();
    set_up.tick();
    assert_eq!(set_up.outcome(streams[68]), "forwarded");
    assert_eq!(set_up.outcome(last), "oauth2_host_error");
}

#[test]
fn a_request_without_a_body_has_no_trailers_to_wait_for() {
    let mut set_up = set_up();
    let stream = set_up.send(&post());
    respond(&set_up);
    set_up.proxy.refuse(HostCall::Headers);
    // A proxy that delivers them all the same has broken its word on the end of the stream.
    assert!(set_up.trailers(stream, &TRAILERS));
    assert_eq!(set_up.outcome(stream), "forwarded");
}
