//! JWTs that the filter verifies itself.

use std::time::Duration;

use oauth2_filter_core::{Call, CallFailure};
use serde_json::{Value, json};

use crate::exchanges::signing::Key;
use crate::exchanges::{get, seconds_from_now};
use crate::host::SimulatedHost;

const ISSUER: &str = "https://login.test/tenant";

/// A document with one issuer, with these additions to its entry.
fn document(entry: Value) -> Value {
    let mut jwt = json!({
        "issuer": ISSUER, "audience": "orders", "jwks_uri": "https://login.test/keys",
        "cluster": "login",
    });
    for (name, value) in entry.as_object().expect("an object") {
        jwt[name] = value.clone();
    }
    jwt.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    json!({"inbound": {"jwt": jwt}})
}

fn host(entry: Value) -> SimulatedHost {
    SimulatedHost::new(&document(entry))
}

/// Claims that are accepted.
fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "orders", "sub": "alice", "exp": seconds_from_now(600)})
}

fn set(keys: &[(&Key, &str)]) -> Value {
    json!({"keys": keys.iter().map(|(key, id)| key.jwk(id)).collect::<Vec<_>>()})
}

fn path(call: &Call) -> &str {
    &call.headers.iter().find(|(name, _)| &**name == ":path").expect("a path").1
}

#[test]
fn a_token_waits_for_the_first_keys_and_others_need_no_call() {
    let key = Key::p256();
    let mut host = host(json!({}));
    let token = key.sign("a", &claims());
    let stream = host.send(&get("/").bearer(&token));
    assert_eq!(host.state(stream), "waits");
    assert_eq!(path(&host.calls[0]), "/keys");
    host.answer_with(&set(&[(&key, "a")]));
    assert_eq!(host.state(stream), "passed");
    assert_eq!(host.state_of(&get("/").bearer(&token)), "passed");
    assert_eq!(host.state_of(&get("/").bearer(&key.sign("a", &claims()))), "passed");
    let other = Key::p256().sign("a", &claims());
    assert_eq!(host.state_of(&get("/").bearer(&other)), "oauth2_bad_signature");
    assert_eq!(host.made, 1);
}

#[test]
fn an_unknown_key_is_asked_for_once_in_half_a_minute() {
    let (key, new) = (Key::p256(), Key::p256());
    let mut host = host(json!({}));
    host.tick();
    host.answer_with(&set(&[(&key, "a")]));
    let token = new.sign("b", &claims());
    let stream = host.send(&get("/").bearer(&token));
    assert_eq!(host.state(stream), "waits");
    host.answer_with(&set(&[(&key, "a")]));
    assert_eq!(host.state(stream), "oauth2_unknown_key");
    assert_eq!(host.refused_header(stream, "retry-after"), Some("30"));
    assert_eq!(host.state_of(&get("/").bearer(&token)), "oauth2_unknown_key");
    assert_eq!(host.made, 2);
    host.advance(Duration::from_secs(30));
    let stream = host.send(&get("/").bearer(&token));
    host.answer_with(&set(&[(&new, "b")]));
    assert_eq!(host.state(stream), "passed");
    // The key that is gone verifies nothing any more.
    let old = host.send(&get("/").bearer(&key.sign("a", &claims())));
    assert_eq!(host.state(old), "oauth2_unknown_key");
}

#[test]
fn the_keys_are_where_the_metadata_says() {
    let key = Key::p256();
    let mut host = host(json!({"jwks_uri": null}));
    let stream = host.send(&get("/").bearer(&key.sign("a", &claims())));
    assert_eq!(path(&host.calls[0]), "/.well-known/oauth-authorization-server/tenant");
    host.answer_status(404, &json!({}));
    assert_eq!(path(&host.calls[0]), "/tenant/.well-known/openid-configuration");
    host.answer_with(&json!({"issuer": ISSUER, "jwks_uri": "https://login.test/k?a=b"}));
    assert_eq!(path(&host.calls[0]), "/k?a=b");
    host.answer_with(&set(&[(&key, "a")]));
    assert_eq!(host.state(stream), "passed");
}

#[test]
fn without_keys_no_token_passes() {
    let mut host = host(json!({}));
    let stream = host.send(&get("/").bearer(&Key::p256().sign("a", &claims())));
    host.answer(&Err(CallFailure::Unreachable));
    assert_eq!(host.state(stream), "oauth2_no_keys");
    assert!(host.refused_header(stream, "retry-after").is_some());
}

#[test]
fn a_token_that_is_introspected_too_needs_both() {
    let key = Key::p256();
    let introspection = json!({"endpoint": "https://login.test/introspect", "cluster": "login",
        "client_id": "rs", "client_secret": "s"});
    let mut document = document(json!({"introspect": true}));
    document["inbound"]["introspection"] = introspection;
    let mut host = SimulatedHost::new(&document);
    let token = key.sign("a", &claims());
    let stream = host.send(&get("/").bearer(&token));
    host.answer_with(&set(&[(&key, "a")]));
    assert_eq!(path(&host.calls[0]), "/introspect");
    host.answer_with(&json!({"active": true, "sub": "alice"}));
    assert_eq!(host.state(stream), "passed");
    let stream = host.send(&get("/").bearer(&key.sign("a", &claims())));
    host.answer_with(&json!({"active": true, "sub": "bob"}));
    assert_eq!(host.state(stream), "oauth2_not_verified");
    let stream = host.send(&get("/").bearer(&key.sign("a", &claims())));
    host.answer_with(&json!({"active": false}));
    assert_eq!(host.state(stream), "oauth2_inactive");
    let forged = Key::p256().sign("a", &claims());
    assert_eq!(host.state_of(&get("/").bearer(&forged)), "oauth2_bad_signature");
    assert!(host.calls.is_empty());
}
