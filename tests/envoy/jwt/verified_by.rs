//! `verified_by`: Envoy's `jwt_authn`, placed before the filter, has verified the token. The dynamic
//! module has no such thing, because it reaches no nested metadata.

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::{Envoy, Listener, WasmPlugin, native, with_members};
use serde_json::{Value, json};

use super::{ISSUER, check, claims, logged, only_jwt, set, signed_by};
use crate::exchanges::signing::Key;
use crate::set_up::{BOTH, Ends, LISTENER, SetUp, listener, one_worker};

const JWT_AUTHN: &str = "envoy.filters.http.jwt_authn";

/// An entry of `jwt` for tokens that the other filter has verified.
fn entry(more: &Value) -> Value {
    let entry = json!({"jwks_uri": null, "cluster": null, "verified_by": JWT_AUTHN});
    with_members(entry, more)
}

/// A provider of `jwt_authn` as it should be, with these additions, of which null removes.
fn provider(keys: &Value, more: &Value) -> Value {
    let provider = json!({
        "issuer": ISSUER, "audiences": ["orders"], "forward": true,
        "payload_in_metadata": "payload", "header_in_metadata": "header",
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
        "local_jwks": {"inline_string": keys.to_string()},
    });
    with_members(provider, more)
}

/// `jwt_authn` with these providers, and with this requirement of every request.
fn jwt_authn(providers: &Value, requires: &Value) -> Value {
    json!({
        "name": JWT_AUTHN,
        "typed_config": {
            "@type": "type.googleapis.com/\
                envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": providers,
            "rules": [{"match": {"prefix": "/"}, "requires": requires}],
        },
    })
}

/// An Envoy with both filters.
async fn behind(filter: Value, document: &Value) -> SetUp {
    let ends = Ends::start().await;
    let listener = Listener::to(LISTENER, "service")
        .filter(filter)
        .filter(WasmPlugin::new(document).filter("oauth2"));
    let bootstrap = ends.bootstrap().listener(logged(listener));
    ends.with(bootstrap).await
}

/// The same with one provider and one entry.
async fn simple(keys: &Value, more: &Value, requires: &Value) -> SetUp {
    let providers = json!({"p": provider(keys, more)});
    behind(jwt_authn(&providers, requires), &only_jwt(&entry(&json!({})), json!({}))).await
}

fn get(token: &str) -> Request {
    Request::get("/").bearer(token)
}

fn required() -> Value {
    json!({"provider_name": "p"})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_jwt_authn_has_verified_is_accepted() {
    if native::is_chosen() {
        return;
    }
    let key = Key::p256();
    let providers = json!({"p": provider(&set(&[(&key, "a")]), &json!({}))});
    let inbound = json!({
        "scope": "orders:read", "forward": {"claims": {"x-user": "sub", "x-big": "big"}},
    });
    let document = only_jwt(&entry(&json!({})), inbound);
    let set_up = behind(jwt_authn(&providers, &required()), &document).await;
    // Everything that JSON has, which metadata changes: numbers become doubles.
    let all = json!({
        "scope": "orders:read", "big": 9_007_199_254_740_991_u64, "negative": -1, "half": 0.5,
        "null": null, "list": [1, "a", null, [], {}], "object": {"a": {"b": [true, false]}},
        "": "", "text": "é\u{0}\"\\\n\u{1f600}", "https://claims.test/groups": ["a"],
    });
    let mut claims = claims(&json!({}));
    claims.as_object_mut().expect("an object").extend(all.as_object().expect("claims").clone());
    let token = key.sign("a", &claims);
    for http in BOTH {
        for _ in 0..3 {
            let answer = http.send(&get(&token), set_up.address()).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    for request in set_up.service.requests() {
        assert_eq!(request.header("x-user").as_deref(), Some("alice"));
        // From the token, not from the metadata.
        assert_eq!(request.header("x-big").as_deref(), Some("9007199254740991"));
    }
    claims["scope"] = "other".into();
    check(&set_up, get(&key.sign("a", &claims)), 403, "oauth2_insufficient_scope").await;
    claims["exp"] = Value::Null;
    claims.as_object_mut().expect("claims").remove("exp");
    check(&set_up, get(&key.sign("a", &claims)), 401, "oauth2_malformed_token").await;
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": "a"}).to_string();
    claims["exp"] = crate::exchanges::seconds_from_now(600).into();
    let id_token = key.sign_json(&header, &claims.to_string());
    check(&set_up, get(&id_token), 401, "oauth2_not_an_access_token").await;
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn algorithms_that_only_jwt_authn_has_are_accepted() {
    if native::is_chosen() {
        return;
    }
    let (rsa, ed25519) = (Key::rsa(), Key::ed25519());
    let keys = set(&[(&rsa, "PS256"), (&ed25519, "EdDSA")]);
    let providers = json!({"p": provider(&keys, &json!({}))});
    let filter = jwt_authn(&providers, &required());
    let more = entry(&json!({"algorithms": ["PS256", "EdDSA"]}));
    let document = only_jwt(&more, json!({}));
    let set_up = behind(filter, &document).await;
    for (key, name) in [(&rsa, "PS256"), (&ed25519, "EdDSA")] {
        let answer = set_up.send(&get(&signed_by(key, name, name))).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_all_its_metadata_no_token_is_accepted() {
    if native::is_chosen() {
        return;
    }
    let key = Key::p256();
    let keys = set(&[(&key, "a")]);
    let good = key.sign("a", &claims(&json!({})));
    for more in [
        json!({"payload_in_metadata": null}),
        json!({"header_in_metadata": null}),
        json!({"payload_in_metadata": null, "header_in_metadata": null}),
        // Their members are then merged.
        json!({"payload_in_metadata": "both", "header_in_metadata": "both"}),
        // What the filter adds to the payload makes it another.
        json!({"normalize_payload_in_metadata": {"space_delimited_claims": ["sub"]}}),
    ] {
        let set_up = simple(&keys, &more, &required()).await;
        let answer = check(&set_up, get(&good), 401, "oauth2_not_verified").await;
        let challenge = answer.header("www-authenticate").expect("a challenge");
        assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        assert!(set_up.service.requests().is_empty(), "{more}");
        set_up.comes_to_rest().await;
    }
    let set_up = simple(&keys, &json!({"forward": false}), &required()).await;
    check(&set_up, get(&good), 401, "oauth2_no_token").await;
    assert!(set_up.service.requests().is_empty());
    // No filter before ours.
    let document = only_jwt(&entry(&json!({})), json!({}));
    let ends = Ends::start().await;
    let bootstrap = ends.bootstrap().listener(logged(listener(&WasmPlugin::new(&document))));
    let set_up = ends.with(bootstrap).await;
    check(&set_up, get(&good), 401, "oauth2_not_verified").await;
    assert!(set_up.service.requests().is_empty());
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_jwt_authn_lets_pass_unverified_is_refused() {
    if native::is_chosen() {
        return;
    }
    let (key, other) = (Key::p256(), Key::p256());
    let keys = set(&[(&key, "a")]);
    let good = key.sign("a", &claims(&json!({})));
    let forged = other.sign("a", &claims(&json!({})));
    let foreign = other.sign("a", &claims(&json!({"iss": "https://other.test"})));
    let crit = key.sign_json(
        &json!({"alg": "ES256", "typ": "at+jwt", "kid": "a", "crit": ["x"], "x": 1}).to_string(),
        &claims(&json!({})).to_string(),
    );
    let status = json!({"failed_status_in_metadata": "failed"});
    for (word, more) in [
        ("allow_missing", json!({})),
        ("allow_missing_or_failed", json!({})),
        ("allow_missing", status.clone()),
        ("allow_missing_or_failed", status),
    ] {
        let requires =
            json!({"requires_any": {"requirements": [{"provider_name": "p"}, {word: {}}]}});
        let set_up = simple(&keys, &more, &requires).await;
        check(&set_up, get(&good), 200, "").await;
        check(&set_up, Request::get("/"), 401, "oauth2_no_token").await;
        assert_eq!(set_up.send(&get("opaque")).await.status, 401, "{word}");
        for bad in [&forged, &crit] {
            let answer = set_up.send(&get(bad)).await;
            assert_eq!(answer.status, 401, "{word}: {}", answer.text());
            // Another spelling of the scheme, which the other filter takes for no token.
            let request = Request::get("/").header("authorization", format!("bearer {bad}"));
            assert_eq!(set_up.send(&request).await.status, 401, "{word}");
        }
        let answer = set_up.send(&get(&foreign)).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
        let lower = Request::get("/").header("authorization", format!("bearer {good}"));
        assert_eq!(set_up.send(&lower).await.status, 401, "{word}: nobody has verified it");
        assert_eq!(set_up.service.requests().len(), 1, "{word}");
        set_up.comes_to_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_another_token_proves_nothing() {
    if native::is_chosen() {
        return;
    }
    let (a, b) = (Key::p256(), Key::p256());
    let issuer_b = "https://b.test";
    // By default, the token may also be in the query.
    let of_a = provider(&set(&[(&a, "a")]), &json!({"from_headers": null}));
    let of_b = provider(
        &set(&[(&b, "a")]),
        &json!({
            "from_headers": null, "issuer": issuer_b,
            "payload_in_metadata": "payload_b", "header_in_metadata": "header_b",
        }),
    );
    let one_key = with_members(
        of_b.clone(),
        &json!({"payload_in_metadata": "payload", "header_in_metadata": "header"}),
    );
    let any = |more: Option<&str>| {
        let mut requirements = vec![json!({"provider_name": "a"}), json!({"provider_name": "b"})];
        requirements.extend(more.map(|word| json!({word: {}})));
        json!({"requires_any": {"requirements": requirements}})
    };
    let (token_a, token_b) = (
        a.sign("a", &claims(&json!({}))),
        b.sign("a", &claims(&json!({"iss": issuer_b, "sub": "bob"}))),
    );
    let forged_b = a.sign("a", &claims(&json!({"iss": issuer_b, "sub": "mallory"})));
    let forged_a = b.sign("a", &claims(&json!({"sub": "mallory"})));
    let other_a = a.sign("a", &claims(&json!({"sub": "carol"})));
    let two = json!([
        with_members(super::entry(&json!({})), &entry(&json!({}))),
        with_members(super::entry(&json!({"issuer": issuer_b})), &entry(&json!({}))),
    ]);
    let document = json!({"inbound": {"jwt": two, "forward": {"claims": {"x-user": "sub"}}}});
    for (second, more) in [
        (&of_b, None),
        (&of_b, Some("allow_missing")),
        (&of_b, Some("allow_missing_or_failed")),
        (&one_key, Some("allow_missing_or_failed")),
    ] {
        let providers = json!({"a": of_a, "b": second});
        let set_up = behind(jwt_authn(&providers, &any(more)), &document).await;
        for (token, user) in [(&token_a, "alice"), (&token_b, "bob")] {
            set_up.service.clear();
            let answer = set_up.send(&get(token)).await;
            assert_eq!(answer.status, 200, "{more:?}: {}", answer.text());
            let request = set_up.service.requests().remove(0);
            assert_eq!(request.header("x-user").as_deref(), Some(user));
        }
        set_up.service.clear();
        let in_query = |header: &str, query: &str| {
            Request::get(&format!("/?access_token={query}")).bearer(header)
        };
        for (header, query) in [
            (&forged_a, &token_a),
            (&forged_a, &other_a),
            (&forged_a, &token_b),
            (&forged_b, &token_b),
            (&forged_b, &token_a),
            (&forged_a, &forged_b),
        ] {
            let answer = set_up.send(&in_query(header, query)).await;
            assert_eq!(answer.status, 401, "{more:?}: {}", answer.text());
        }
        // Only the query has one, where ours looks for none.
        let answer = set_up.send(&Request::get(&format!("/?access_token={token_a}"))).await;
        assert_eq!(answer.status, 401);
        assert!(set_up.service.requests().is_empty(), "{more:?}");
        // Good in both: accepted only with the payload of the token that ours reads.
        for (header, query) in [(&token_a, &other_a), (&token_a, &token_b), (&token_b, &token_a)] {
            set_up.service.clear();
            let answer = set_up.send(&in_query(header, query)).await;
            assert!(matches!(answer.status, 200 | 401), "{}", answer.text());
            for request in set_up.service.requests() {
                let user = if header == &token_a { "alice" } else { "bob" };
                assert_eq!(request.header("x-user").as_deref(), Some(user), "{more:?}");
            }
        }
        set_up.comes_to_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_other_issuers_are_introspected_or_refused() {
    if native::is_chosen() {
        return;
    }
    let (key, other) = (Key::p256(), Key::p256());
    let providers = json!({"p": provider(&set(&[(&key, "a")]), &json!({}))});
    let requires = json!({"requires_any": {"requirements": [
        {"provider_name": "p"}, {"allow_missing_or_failed": {}},
    ]}});
    let jwt = with_members(super::entry(&json!({})), &entry(&json!({})));
    let document = crate::set_up::document(json!({"jwt": jwt}));
    let set_up = behind(jwt_authn(&providers, &requires), &document).await;
    assert_eq!(set_up.send(&get("opaque")).await.status, 200);
    let foreign = other.sign("a", &claims(&json!({"iss": "https://other.test"})));
    assert_eq!(set_up.send(&get(&foreign)).await.status, 200);
    assert_eq!(set_up.calls(), 2);
    // What claims to be of the issuer is never introspected.
    let forged = other.sign("a", &claims(&json!({})));
    check(&set_up, get(&forged), 401, "oauth2_not_verified").await;
    check(&set_up, get("e30.e.e30"), 401, "oauth2_malformed_token").await;
    assert_eq!(set_up.calls(), 2);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dynamic_module_refuses_a_document_with_it() {
    let document = only_jwt(&entry(&json!({})), json!({}));
    let ends = Ends::start().await;
    let bootstrap = ends.bootstrap().listener(listener(&WasmPlugin::new(&document)));
    let started = Envoy::start_with(bootstrap, &one_worker()).await;
    match (started, native::is_chosen()) {
        (Ok(_), false) => {}
        (Err(error), true) => {
            let text = "inbound.jwt.verified_by: not in the dynamic module";
            assert!(error.log.contains(text), "{error}");
        }
        (started, _) => panic!("{started:?}"),
    }
}
