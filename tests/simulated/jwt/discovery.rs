//! Where the keys of an issuer are found.

use oauth2_filter_core::Answer;

use super::*;

const FIRST: &str = "/.well-known/oauth-authorization-server/tenant";
const SECOND_DOCUMENT: &str = "/tenant/.well-known/openid-configuration";

fn discovering() -> SimulatedHost {
    host(json!({"jwks_uri": null, "stale_if_error": "0s"}))
}

fn metadata(jwks_uri: &str) -> Value {
    json!({"issuer": ISSUER, "jwks_uri": jwks_uri})
}

#[test]
fn cl_8414_01_metadata_is_at_one_of_two_places() {
    let key = Key::p256();
    for (issuer, first, second) in [
        (
            "https://a.test",
            "/.well-known/oauth-authorization-server",
            "/.well-known/openid-configuration",
        ),
        (
            "https://a.test/",
            "/.well-known/oauth-authorization-server",
            "/.well-known/openid-configuration",
        ),
        (
            "https://a.test:8443/x/y",
            "/.well-known/oauth-authorization-server/x/y",
            "/x/y/.well-known/openid-configuration",
        ),
    ] {
        let mut host = host(json!({"jwks_uri": null, "issuer": issuer}));
        let stream = host.send(&get("/").bearer(&key.sign("a", &with(json!({"iss": issuer})))));
        assert_eq!(path(&host.calls[0]), first);
        let headers = &host.calls[0].headers;
        let of = |name: &str| headers.iter().find(|(n, _)| **n == *name).map(|(_, v)| &**v);
        let authority = issuer.trim_start_matches("https://").split('/').next();
        assert_eq!((of(":method"), of(":authority")), (Some("GET"), authority));
        host.answer_status(404, &json!({}));
        assert_eq!(path(&host.calls[0]), second);
        let jwks_uri = format!("{}/keys", issuer.trim_end_matches('/'));
        host.answer_with(&json!({"issuer": issuer, "jwks_uri": jwks_uri}));
        host.answer_with(&set(&[(&key, "a")]));
        assert_eq!(host.state(stream), "passed", "{issuer}");
    }
}

#[test]
fn cl_8414_01_a_page_in_the_place_of_the_first_document_is_none() {
    let key = Key::p256();
    let page = b"<!doctype html><title>Not found</title>".to_vec();
    for (status, body) in [(200, page.clone()), (404, page), (400, vec![]), (200, b"[]".to_vec())] {
        let mut host = discovering();
        let stream = send(&mut host, &key, "a");
        host.answer(&Ok(Answer { status, retry_after: None, body }));
        assert_eq!(path(&host.calls[0]), SECOND_DOCUMENT, "{status}");
        host.answer_with(&metadata("https://login.test/k"));
        host.answer_with(&set(&[(&key, "a")]));
        assert_eq!(host.state(stream), "passed", "{status}");
    }
}

#[test]
fn cl_8414_01_a_server_that_is_down_is_not_asked_for_the_second_document() {
    let key = Key::p256();
    let down = |status| Ok(Answer { status, retry_after: None, body: Vec::new() });
    for failed in [Err(CallFailure::Unreachable), Err(CallFailure::Timeout), down(503), down(500)] {
        let mut host = discovering();
        let stream = send(&mut host, &key, "a");
        host.answer(&failed);
        assert_eq!((host.state(stream), host.made), ("oauth2_no_keys", 1), "{failed:?}");
    }
}

#[test]
fn cl_8414_02_cl_8414_03_metadata_of_others_and_keys_elsewhere_are_not_used() {
    let key = Key::p256();
    let of = |issuer: Value| json!({"issuer": issuer, "jwks_uri": "https://login.test/keys"});
    for document in [
        of(json!(format!("{ISSUER}/"))),
        of(json!("https://login.test")),
        of(json!("https://LOGIN.test/tenant")),
        of(json!("http://login.test/tenant")),
        of(json!([ISSUER])),
        of(json!(null)),
        json!({"jwks_uri": "https://login.test/keys"}),
        json!({"issuer": ISSUER}),
        json!({"issuer": ISSUER, "jwks_uri": null}),
        json!({"issuer": ISSUER, "jwks_uri": ["https://login.test/keys"]}),
        metadata(""),
        metadata("/keys"),
        metadata("//login.test/keys"),
        metadata("keys"),
        metadata("https://keys.test/keys"),
        metadata("https://login.test.evil.test/keys"),
        metadata("https://login.test:8443/keys"),
        metadata("http://login.test/keys"),
        metadata("https://user@login.test/keys"),
        metadata("https://login.test@evil.test/keys"),
        metadata("https://login.test\\@evil.test/keys"),
        metadata("https://login.test/keys\r\nx-evil: 1"),
        metadata("https://login.test/keys HTTP/1.1"),
        metadata("data:application/json,{}"),
        metadata("file:///etc/passwd"),
    ] {
        let mut host = discovering();
        let stream = send(&mut host, &key, "a");
        while !host.calls.is_empty() {
            assert!([FIRST, SECOND_DOCUMENT].contains(&path(&host.calls[0])), "{document}");
            host.answer_with(&document);
        }
        assert_eq!(host.state(stream), "oauth2_no_keys", "{document}");
    }
    for jwks_uri in ["https://login.test:443/keys", "https://LOGIN.TEST/keys"] {
        let mut host = discovering();
        let stream = send(&mut host, &key, "a");
        host.answer_with(&metadata(jwks_uri));
        host.answer_with(&set(&[(&key, "a")]));
        assert_eq!(host.state(stream), "passed", "{jwks_uri}: the same origin");
    }
}

#[test]
fn cl_8414_04_nobody_asks_again_before_a_pause_where_there_is_no_metadata() {
    let key = Key::p256();
    let mut host = discovering();
    let stream = send(&mut host, &key, "a");
    host.answer_status(404, &json!({}));
    host.answer_status(404, &json!({}));
    assert_eq!(host.state(stream), "oauth2_no_keys");
    for _ in 0..100 {
        assert_eq!(state(&mut host, &key, "a"), "oauth2_no_keys");
        host.tick();
    }
    assert_eq!(host.made, 2);
}

#[test]
fn keys_that_have_moved_are_found_again() {
    let key = Key::p256();
    let mut host = host(json!({"jwks_uri": null, "refresh_interval": "10m"}));
    host.tick();
    host.answer_with(&metadata("https://login.test/old"));
    host.answer_with(&set(&[(&key, "a")]));
    host.advance(Duration::from_mins(10));
    host.tick();
    assert_eq!(path(&host.calls[0]), "/old", "metadata is not read each time");
    host.answer_status(404, &json!({}));
    assert_eq!(state(&mut host, &key, "a"), "passed");
    host.advance(Duration::from_secs(2));
    host.tick();
    assert_eq!(path(&host.calls[0]), FIRST);
    host.answer_with(&metadata("https://login.test/new"));
    assert_eq!(path(&host.calls[0]), "/new");
    host.answer_with(&set(&[(&key, "b")]));
    assert_eq!(state(&mut host, &key, "b"), "passed");
}
