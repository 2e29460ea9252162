//! Verification by the foreign function of the proxy.

use oauth2_filter::verify;
use oauth2_filter_core::{PublicKey, SignatureAlgorithm, VerifyError};
use oauth2_filter_driver::HostCall;
use serde_json::json;

use crate::exchanges::get;
use crate::exchanges::signing::Key;
use crate::proxy::Proxy;
use crate::set_up::{SetUp, logged};

/// The result for a signature by ES256, or by another algorithm.
fn verified(proxy: &Proxy, algorithm: SignatureAlgorithm) -> Result<bool, VerifyError> {
    let coordinate = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": coordinate, "y": coordinate});
    let key = PublicKey::of_jwk(jwk.as_object().expect("an object")).expect("a key");
    verify(proxy, algorithm, &key, b"text", &[1; 64])
}

#[test]
fn only_the_result_for_a_valid_signature_is_one() {
    let results: [&[u8]; 9] = [
        b"",
        b"\x08\x00",
        b"\x08\x02",
        b"\x08\x81\x00",
        b"\x08\x01\x12\x00",
        b"\x12\x03why",
        b"\x12\x03why\x08\x01",
        b"\x10\x01",
        b"\x08",
    ];
    for result in results {
        let proxy = Proxy::default();
        proxy.add_function("verify_signature", result);
        assert_eq!(verified(&proxy, SignatureAlgorithm::Es256), Ok(false), "{result:?}");
    }
    let proxy = Proxy::default();
    proxy.add_function("verify_signature", b"\x08\x01");
    assert_eq!(verified(&proxy, SignatureAlgorithm::Es256), Ok(true));
}

#[test]
fn a_proxy_that_does_not_verify_says_nothing_of_a_signature() {
    let proxy = Proxy::default();
    assert_eq!(verified(&proxy, SignatureAlgorithm::Es256), Err(VerifyError::Failed));
    proxy.add_function("verify_signature", b"\x08\x01");
    for algorithm in [SignatureAlgorithm::Ps256, SignatureAlgorithm::EdDsa] {
        assert_eq!(verified(&proxy, algorithm), Err(VerifyError::Unsupported));
    }
    proxy.refuse(HostCall::ForeignFunction);
    assert_eq!(verified(&proxy, SignatureAlgorithm::Es256), Err(VerifyError::Failed));
}

#[test]
fn keys_on_another_origin_are_logged_and_not_fetched() {
    let document = json!({"inbound": {"jwt": {
        "issuer": "https://login.test", "audience": "a", "cluster": "login", "retries": 0,
    }}});
    let claims = json!({"iss": "https://login.test", "aud": "a", "exp": 9_999_999_999_u64});
    let request = get("/").bearer(&Key::p256().sign("a", &claims));
    for (jwks_uri, logged_as) in [
        ("https://keys.test/jwks?a=b".to_owned(), "https://keys.test/jwks?a=b".to_owned()),
        ("http://login.test/jwks".to_owned(), "http://login.test/jwks".to_owned()),
        ("https://login.test:8443/jwks".to_owned(), "https://login.test:8443/jwks".to_owned()),
        // The server has written it.
        (
            format!("https://e.test/{}", "x".repeat(500)),
            format!("https://e.test/{}", "x".repeat(185)),
        ),
    ] {
        let mut set_up = SetUp::with(&document);
        let stream = set_up.send(&request);
        set_up.respond_to_call(404, &json!({}));
        logged();
        set_up.respond_to_call(200, &json!({"issuer": "https://login.test", "jwks_uri": jwks_uri}));
        let line = format!(
            "WARN jwks_uri {logged_as} is not on the origin of its issuer; set `jwks_uri` and `cluster`"
        );
        let lines = logged();
        assert!(lines.contains(&line), "{lines:?}");
        assert_eq!((set_up.outcome(stream), set_up.proxy.calls_made()), ("oauth2_no_keys", 2));
    }
}

#[test]
fn no_token_and_no_key_is_logged() {
    let jwt = json!({"inbound": {"jwt": {
        "issuer": "https://login.test", "audience": "a", "jwks_uri": "https://login.test/keys",
        "cluster": "login", "headers": {"x-api-key": "s3cr3t"}, "retries": 0,
    }}});
    let key = Key::p256();
    let claims = json!({
        "iss": "https://login.test", "aud": "a", "sub": "Zk9Q", "exp": 9_999_999_999_u64
    });
    let token = key.sign("Zk9Q", &claims);
    for body in [
        json!({"keys": [key.jwk("Zk9Q")], "error": "Zk9Q"}),
        json!({"keys": "Zk9Q"}),
        json!({"error": format!("s3cr3t {token}")}),
    ] {
        let mut set_up = SetUp::with(&jwt);
        set_up.send(&get("/").bearer(&token));
        set_up.respond_to_call(200, &body);
        let lines = logged().join("\n");
        for secret in ["Zk9Q", "s3cr3t", &token] {
            assert!(!lines.contains(secret), "{lines}");
        }
    }
}
