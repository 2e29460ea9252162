//! JWTs that the filter verifies itself.

// Parts of documents read best when they are given as values.
#![allow(clippy::needless_pass_by_value)]

mod both;
mod by_host;
mod discovery;
mod upkeep;

use std::time::Duration;

use oauth2_filter_core::{Call, CallFailure, StreamId};
use serde_json::{Value, json};

use crate::exchanges::signing::Key;
use crate::exchanges::{get, seconds_from_now};
use crate::host::SimulatedHost;

const ISSUER: &str = "https://login.test/tenant";
const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A document with one issuer, with these additions to its entry.
fn document(entry: Value) -> Value {
    let defaults = json!({
        "issuer": ISSUER, "audience": "orders", "jwks_uri": "https://login.test/keys",
        "cluster": "login",
    });
    let mut jwt = replaced(defaults, &entry);
    jwt.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
    json!({"inbound": {"jwt": jwt}})
}

fn host(entry: Value) -> SimulatedHost {
    SimulatedHost::new(&document(entry))
}

/// Claims that are accepted.
fn claims() -> Value {
    with(json!({}))
}

/// The same with others.
fn with(more: Value) -> Value {
    let claims = json!({
        "iss": ISSUER, "aud": "orders", "sub": "alice", "exp": seconds_from_now(1_000_000)
    });
    replaced(claims, &more)
}

/// An object with other members, which may be null.
fn replaced(mut object: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().expect("an object") {
        object[name] = value.clone();
    }
    object
}

/// A server that introspects tokens.
fn introspection() -> Value {
    json!({
        "endpoint": "https://login.test/introspect", "cluster": "login", "client_id": "rs",
        "client_secret": "s", "retries": 0
    })
}

/// Sends a request with a new token.
fn send(host: &mut SimulatedHost, key: &Key, id: &str) -> StreamId {
    // Nothing is cached about it.
    let claims = with(json!({"jti": host.sent()}));
    host.send(&get("/").bearer(&key.sign(id, &claims)))
}

/// What becomes of a request with a new token at once.
fn state(host: &mut SimulatedHost, key: &Key, id: &str) -> &'static str {
    let stream = send(host, key, id);
    host.state(stream)
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
    let mut document = document(json!({"introspect": true}));
    document["inbound"]["introspection"] = introspection();
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

#[test]
fn every_algorithm_of_the_list_is_verified_where_the_host_can() {
    let (rsa, ed25519) = (Key::rsa(), Key::ed25519());
    let entry = |algorithms: Value| {
        let jwks = set(&[(&rsa, "rsa"), (&ed25519, "ed")]);
        host(json!({
            "jwks_uri": null, "cluster": null, "jwks": jwks, "algorithms": algorithms
        }))
    };
    let sign = |key: &Key, algorithm: &str, id: &str| {
        let header = json!({"alg": algorithm, "typ": "at+jwt", "kid": id});
        key.sign_json(&header.to_string(), &claims().to_string())
    };
    let mut host = entry(json!(["PS256", "EdDSA"]));
    for (key, algorithm, id, state) in [
        (&rsa, "PS256", "rsa", "passed"),
        (&ed25519, "EdDSA", "ed", "passed"),
        (&rsa, "RS256", "rsa", "oauth2_bad_signature"),
        (&ed25519, "EdDSA", "rsa", "oauth2_bad_signature"),
        (&rsa, "PS256", "ed", "oauth2_bad_signature"),
        (&rsa, "PS384", "rsa", "oauth2_bad_signature"),
        (&ed25519, "Ed25519", "ed", "oauth2_bad_signature"),
    ] {
        let request = get("/").bearer(&sign(key, algorithm, id));
        assert_eq!(host.state_of(&request), state, "{algorithm} {id}");
    }
    assert_eq!((host.made, host.ticks()), (0, None), "keys of the document cause no call");
}

#[test]
fn filter_state_tells_of_a_verified_token_as_of_an_introspected_one() {
    let key = Key::p256();
    let jwks = set(&[(&key, "a")]);
    let mut document = document(json!({"jwks_uri": null, "cluster": null, "jwks": jwks}));
    document["inbound"]["rules"] = json!([{"name": "read", "paths": ["/read"], "scope": "a"}]);
    let mut host = SimulatedHost::new(&document);
    let token = key.sign("a", &with(json!({"scope": "a b", "client_id": "shop"})));
    // The second is cached.
    for _ in 0..2 {
        let stream = host.send(&get("/read").bearer(&token));
        let expected = [
            ("decision", "allowed"),
            ("rule", "read"),
            ("subject", "alice"),
            ("client", "shop"),
            ("scope", "a b"),
        ];
        assert_eq!(host.filter_state(stream), expected);
    }
    let forged = Key::p256().sign("a", &with(json!({"scope": "a b", "client_id": "shop"})));
    let stream = host.send(&get("/read").bearer(&forged));
    let expected = [("decision", "denied"), ("reason", "bad_signature"), ("rule", "read")];
    assert_eq!(host.filter_state(stream), expected);
}
