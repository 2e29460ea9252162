//! The token that takes the place of the caller's: when it is the caller's again, and how responses
//! with one are cached, with an exact clock.

use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use oauth2_filter_core::Answer;
use serde_json::{Value, json};

use crate::exchanges::{exchange, get};
use crate::host::SimulatedHost;

const SECOND: Duration = Duration::from_secs(1);

/// A document whose server returns a JWT, with these additions to `inbound`.
fn document(more: &Value) -> Value {
    let mut inbound = json!({
        "introspection": {"response_format": "jwt"}, "forward": {"bearer": {"claim": "jwt"}},
    });
    inbound.as_object_mut().expect("an object").extend(more.as_object().expect("one").clone());
    exchange("phantom").inbound(inbound).document("p")
}

/// A JWT of about this many bytes.
fn jwt(name: &str, bytes: usize) -> String {
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({"sub": name, "filler": "x".repeat(bytes * 3 / 4)});
    format!("{}.{}.c2ln", part(json!({"alg": "RS256"})), part(claims))
}

fn answer(status: u16, body: &str) -> Answer {
    Answer { status, retry_after: None, body: body.as_bytes().to_vec() }
}

/// Sends a request with this token; its call, if it makes one, gets this JWT.
fn passes(host: &mut SimulatedHost, token: &str, jwt: &str) {
    let stream = host.send(&get("/").bearer(token));
    if host.state(stream) == "waits" {
        host.answer(&Ok(answer(200, jwt)));
    }
    assert_eq!(host.state(stream), "passed");
    assert_eq!(host.passed_header(stream, "authorization"), Some(format!("Bearer {jwt}")));
}

#[test]
fn a_phantom_token_is_nobodys_after_a_redirect() {
    for max_ttl in ["60s", "0s"] {
        let mut host = SimulatedHost::new(&document(&json!({
            "cache": {"max_ttl": max_ttl},
            "rules": [
                {"paths": ["/public"], "access": "public"},
                {"paths": ["/optional"], "access": "optional"},
                {"paths": ["/**"]},
            ],
        })));
        let phantom = jwt("alice", 5_000);
        passes(&mut host, "t", &phantom);
        let redirected = |path: &'static str, token: &str| {
            get(path).bearer(token).header("x-envoy-original-url", "http://api.test/go")
        };
        let made = host.made;
        assert_eq!(host.state_of(&redirected("/", &phantom)), "oauth2_no_token");
        for path in ["/public", "/optional"] {
            let stream = host.send(&redirected(path, &phantom));
            assert_eq!(host.state(stream), "passed");
            assert_eq!(host.passed_header(stream, "authorization"), None, "{path}");
        }
        assert_eq!(host.made, made);
        // Another proxy may have been redirected with a token of the caller's own.
        assert_eq!(host.state_of(&redirected("/", "other")), "waits");
        // A service may send the JWT on, through this proxy too: that is a request of its own.
        assert_eq!(host.state_of(&get("/").bearer(&phantom)), "waits");
    }
}

#[test]
fn phantom_tokens_stay_within_the_memory_of_the_cache() {
    // Room for 4 MiB, which holds 1000 responses without such tokens.
    let mut host = SimulatedHost::new(&document(&json!({"cache": {"max_entries": 1000}})));
    let phantom = jwt("alice", 30_000);
    for n in 0..200 {
        passes(&mut host, &format!("token-{n}"), &phantom);
    }
    assert_eq!(host.made, 200);
    passes(&mut host, "token-199", &phantom);
    assert_eq!(host.made, 200, "the latest is cached");
    for n in 0..50 {
        passes(&mut host, &format!("token-{n}"), &phantom);
    }
    assert_eq!(host.made, 250, "the first ones were evicted");
}

#[test]
fn another_worker_reads_a_short_response_and_asks_for_a_long_one() {
    let document = document(&json!({}));
    let mut one = SimulatedHost::new(&document);
    let mut other = one.worker(&document);
    for (token, bytes, calls) in [("short", 100, 0), ("long", 5_000, 1)] {
        let phantom = jwt("alice", bytes);
        passes(&mut one, token, &phantom);
        passes(&mut other, token, &phantom);
        assert_eq!(other.made, calls, "{token}");
    }
    let stream = one.send(&get("/").bearer("inactive"));
    one.answer(&Ok(answer(204, "")));
    assert_eq!(one.state(stream), "oauth2_inactive");
    assert_eq!(other.state_of(&get("/").bearer("inactive")), "oauth2_inactive");
    assert_eq!(other.made, 1);
}

#[test]
fn a_cached_phantom_token_is_served_stale_while_responses_have_none() {
    let cache = json!({"max_ttl": "10s", "stale_if_error": "60s"});
    let mut host = SimulatedHost::new(&document(&json!({ "cache": cache })));
    let phantom = jwt("alice", 100);
    passes(&mut host, "t", &phantom);
    host.advance(10 * SECOND);
    let stream = host.send(&get("/").bearer("t"));
    host.answer(&Ok(answer(200, r#"{"active":true}"#)));
    assert_eq!(host.state(stream), "passed");
    assert_eq!(host.passed_header(stream, "authorization"), Some(format!("Bearer {phantom}")));
    // A rejection ends it.
    host.advance(2 * SECOND);
    let stream = host.send(&get("/").bearer("t"));
    host.answer(&Ok(answer(204, "")));
    assert_eq!(host.state(stream), "oauth2_inactive");
    host.advance(10 * SECOND);
    let stream = host.send(&get("/").bearer("t"));
    host.answer(&Ok(answer(200, r#"{"active":true}"#)));
    assert_eq!(host.state(stream), "oauth2_server_bad_answer");
}

#[test]
fn a_request_gets_a_phantom_token_and_one_of_ours_in_another_header() {
    let mut document = document(&json!({}));
    let client = |header: &str| {
        json!({
            "grant_type": "direct_token", "access_token": "ours", "header": header, "scheme": "",
        })
    };
    // The second is for no request.
    document["outbound"] = json!({
        "clients": {"a": client("x-token"), "b": client("authorization")},
        "rules": [{"hosts": ["api.test"], "client": "a"}, {"hosts": ["b.test"], "client": null}],
    });
    let mut host = SimulatedHost::new(&document);
    let phantom = jwt("alice", 100);
    for _ in 0..2 {
        passes(&mut host, "t", &phantom);
    }
    let stream = host.send(&get("/").bearer("t"));
    assert_eq!(host.passed_header(stream, "x-token").as_deref(), Some("ours"));
    assert_eq!(host.passed_header(stream, "authorization"), Some(format!("Bearer {phantom}")));
    assert_eq!(host.made, 1);
}
