//! Key servers that are down, slow or unknown: no token is accepted without keys, and good ones are
//! while there are any.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::{WasmPlugin, native};
use oauth2_filter_testbed::scripted::Answer;
use oauth2_filter_testbed::wait;
use serde_json::{Value, json};

use super::{KEYS, check, claims, entry, fetchers, keys, logged, only_jwt, scene};
use crate::exchanges::signing::Key;
use crate::set_up::{ENDPOINT, Ends, SetUp, document, listener};

/// A token of a key that no request has had yet.
fn token(key: &Key, number: usize) -> Request {
    Request::get("/").bearer(&key.sign("a", &claims(&json!({"jti": number}))))
}

/// Waits until a new token passes; until then, none gets anything but 503.
async fn passes(set_up: &SetUp, key: &Key) {
    wait::until("a token to pass", async || {
        let answer = set_up.send(&token(key, set_up.service.requests().len())).await;
        assert!(matches!(answer.status, 200 | 503), "{}", answer.text());
        answer.status == 200
    })
    .await;
}

/// Waits until a server has failed often enough that the filter knows.
async fn has_failed(set_up: &SetUp) {
    let failed = "keys of issuer https://login.test/tenant failed";
    wait::until("a failure in the log", async || set_up.envoy.log().contains(failed)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_server_that_is_down_at_first_is_asked_again() {
    let key = Key::p256();
    let ends = Ends::start().await;
    ends.server.refuse().await;
    let plugin = WasmPlugin::new(&only_jwt(&json!({}), json!({})));
    let bootstrap = ends.bootstrap().listener(logged(listener(&plugin)));
    let set_up = ends.with(bootstrap).await;
    for number in 0..3 {
        let answer = check(&set_up, token(&key, number), 503, "oauth2_no_keys").await;
        let seconds = answer.header("retry-after").expect("a pause");
        assert!((1..=5).contains(&seconds.parse::<u32>().expect("seconds")), "{seconds}");
        assert_eq!(answer.json()["error"], "temporarily_unavailable");
    }
    set_up.server.on(KEYS, keys(&[(&key, "a")]));
    set_up.server.accept();
    passes(&set_up, &key).await;
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_serve_while_their_server_is_down_as_long_as_configured() {
    let (key, other) = (Key::p256(), Key::p256());
    let more = json!({"refresh_interval": "1s", "stale_if_error": "4s", "retries": 0});
    let cache = json!({"cache": {"max_ttl": "1h"}});
    let set_up = scene(&more, cache, keys(&[(&key, "a")])).await;
    passes(&set_up, &key).await;
    set_up.server.refuse().await;
    has_failed(&set_up).await;
    for number in 0..20 {
        let answer = set_up.send(&token(&key, 1_000 + number)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // A bad one is one all the same.
    check(&set_up, token(&other, 0), 401, "oauth2_bad_signature").await;
    // A token that was verified is cached longer than the keys serve.
    let cached = token(&key, 0);
    assert_eq!(set_up.send(&cached).await.status, 200);
    let new = async |number: usize| set_up.send(&token(&key, 2_000 + number)).await.status;
    let number = AtomicUsize::new(0);
    let ends = wait::poll("the keys to be too old", Duration::from_secs(20), async || {
        (new(number.fetch_add(1, Ordering::Relaxed)).await == 503).then_some(())
    });
    ends.await.expect("an end");
    assert!(number.into_inner() > 1, "they served for some time");
    check(&set_up, token(&key, 5_000), 503, "oauth2_no_keys").await;
    set_up.server.accept();
    passes(&set_up, &key).await;
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_failure_of_a_key_server_opens_anything() {
    let key = Key::p256();
    let good = keys(&[(&key, "a")]);
    let cases = [
        ("resets", Answer::reset()),
        ("hangs", Answer::hang()),
        ("hangs after the head", good.clone().hang_after_head()),
        ("breaks off", good.clone().truncated(20)),
        ("says 500", Answer::status(500)),
        ("says 503", Answer::status(503).header("retry-after", "1")),
        ("says 429", Answer::status(429)),
        ("says 404", Answer::status(404)),
        ("says 401", Answer::status(401)),
        ("says 302", Answer::status(302).header("location", KEYS)),
        ("says 204", Answer::status(204)),
        ("says 201", Answer::json(201, &super::set(&[(&key, "a")]))),
        ("has no keys", Answer::json(200, &json!({"keys": []}))),
        ("has no JSON", Answer::status(200).body("keys")),
        ("has no object", Answer::json(200, &json!([]))),
    ];
    for (what, answer) in cases {
        let more = json!({"timeout": "1s", "retries": 0});
        // `failure_mode_allow` is for servers that introspect.
        let ends = Ends::start().await;
        ends.server.on(KEYS, answer);
        let plugin = WasmPlugin::new(&document(json!({
            "jwt": entry(&more), "failure_mode_allow": true,
        })));
        let bootstrap = ends.bootstrap().listener(logged(listener(&plugin)));
        let set_up = ends.with(bootstrap).await;
        for number in 0..3 {
            check(&set_up, token(&key, number), 503, "oauth2_no_keys").await;
        }
        let forged = Request::get("/").bearer(&Key::p256().sign("a", &claims(&json!({}))));
        check(&set_up, forged, 503, "oauth2_no_keys").await;
        assert_eq!(set_up.server.count(ENDPOINT), 0, "{what}");
        assert!(set_up.service.requests().is_empty(), "{what}");
        set_up.server.on(KEYS, good.clone());
        passes(&set_up, &key).await;
        set_up.comes_to_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_keys_that_envoy_does_not_have_is_503() {
    let key = Key::p256();
    let more = json!({"cluster": "elsewhere"});
    let set_up = scene(&more, json!({}), keys(&[(&key, "a")])).await;
    for number in 0..3 {
        let answer = check(&set_up, token(&key, number), 503, "oauth2_no_keys").await;
        assert!(answer.header("retry-after").is_some());
    }
    set_up.envoy.logged("unknown cluster").await;
    assert_eq!(set_up.server.count(KEYS), 0);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_key_server_is_waited_for() {
    let key = Key::p256();
    let good = keys(&[(&key, "a")]);
    let cases = [
        ("late", good.clone().delayed(Duration::from_millis(500))),
        ("in drops", good.clone().dripping(10, Duration::from_millis(20))),
    ];
    for (what, answer) in cases {
        let set_up = scene(&json!({}), json!({}), answer).await;
        let answer = set_up.send(&token(&key, 0)).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
        set_up.comes_to_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_makes_a_failure_good() {
    let key = Key::p256();
    let ends = Ends::start().await;
    let answers: Vec<Answer> =
        std::iter::repeat_n([Answer::reset(), keys(&[(&key, "a")])], 2).flatten().collect();
    ends.server.on(KEYS, answers);
    let plugin = WasmPlugin::new(&only_jwt(&json!({}), json!({})));
    let bootstrap = ends.bootstrap().listener(logged(listener(&plugin)));
    let set_up = ends.with(bootstrap).await;
    assert_eq!(set_up.send(&token(&key, 0)).await.status, 200);
    set_up.server.arrived(KEYS, 2 * fetchers(1, native::is_chosen())).await;
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_introspected_too_needs_its_signature_whatever_is_down() {
    let key = Key::p256();
    let ends = Ends::start().await;
    ends.server.on(KEYS, keys(&[(&key, "a")]));
    ends.server.on(ENDPOINT, Answer::status(503));
    let plugin = WasmPlugin::new(&document(json!({
        "jwt": entry(&json!({"introspect": true})), "failure_mode_allow": true,
        "introspection": {"retries": 0},
    })));
    let bootstrap = ends.bootstrap().listener(logged(listener(&plugin)));
    let set_up = ends.with(bootstrap).await;
    // The introspection may be missing, as configured, once calls about two tokens have failed.
    check(&set_up, token(&key, 0), 503, "oauth2_server_unavailable").await;
    for number in 10..13 {
        check(&set_up, token(&key, number), 200, "").await;
    }
    let forged = Request::get("/").bearer(&Key::p256().sign("a", &claims(&json!({}))));
    check(&set_up, forged, 401, "oauth2_bad_signature").await;
    let unknown = Request::get("/").bearer(&key.sign("b", &claims(&json!({}))));
    check(&set_up, unknown, 503, "oauth2_unknown_key").await;
    let said = |said: Value| Answer::json(200, &said);
    for (number, answer, status, details) in [
        (1, said(json!({"active": true, "sub": "alice"})), 200, ""),
        (2, said(json!({"active": true, "sub": "bob"})), 401, "oauth2_not_verified"),
        (3, said(json!({"active": false})), 401, "oauth2_inactive"),
    ] {
        set_up.server.on(ENDPOINT, answer);
        check(&set_up, token(&key, number), status, details).await;
    }
    set_up.comes_to_rest().await;
}
