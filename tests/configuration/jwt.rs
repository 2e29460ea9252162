//! `jwt`: every mistake in it, what is warned of, and what other keys mean beside it.

use oauth2_filter_core::{Environment, Review, Verify, VerifyError, is_example, review};
use serde_json::{Value, json};

use crate::documents::{self, entry, entry_without_calls, jwk, jwt, jwt_and_introspection};
use crate::{load, mistake};

/// The review of a document in a host that verifies like this.
fn reviewed(document: &Value, verify: Verify, reads_jwt_authn: bool) -> Review {
    let environment =
        Environment { verify, reads_jwt_authn, ..Environment::new(&|_| None, [0; 16]) };
    review(document.to_string().as_bytes(), &environment, None)
}

/// The answer of a host that verifies by any algorithm.
const WORKS: Verify = |_, _, text, _| Ok(is_example(text));

/// What the command warns of, without the warnings of loading.
fn advice(document: &Value) -> Vec<String> {
    let Review { mistakes, warnings, .. } = reviewed(document, WORKS, true);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let loaded = load(document).expect("no mistake");
    let all = warnings.iter().map(ToString::to_string);
    all.filter(|warning| !loaded.contains(warning)).collect()
}

#[test]
fn a_mistake_names_its_place_and_what_would_be_right() {
    let mut wrong = Vec::new();
    for (document, at, text) in documents::jwt_mistakes() {
        let found = mistake(&document);
        let dot = if at.is_empty() || at.starts_with('[') { "" } else { "." };
        let expected = format!("inbound.jwt{dot}{at}: {text}");
        if !found.starts_with(&expected) {
            wrong.push(format!("expected: {expected}\n   found: {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_mistakes_of_an_entry_are_told_at_once() {
    let document = jwt(json!([
        {"issuer": 1, "audience": 1, "timeout": 1, "typ": 1, "x": 1},
        {"issuer": "b", "jwks": 1, "verified_by": 1, "algorithms": 1, "introspect": 1},
    ]));
    let mistakes = load(&document).unwrap_err();
    let places: Vec<_> = mistakes.iter().map(|mistake| mistake.place.as_str()).collect();
    let first = ["issuer", "audience", "timeout", "typ", "x"].map(|it| format!("[0].{it}"));
    let second = ["audience", "jwks", "verified_by", "algorithms", "introspect"];
    for place in first.into_iter().chain(second.map(|it| format!("[1].{it}"))) {
        let place = format!("inbound.jwt{place}");
        assert!(places.contains(&&*place), "{place}: {mistakes}");
    }
}

#[test]
fn it_is_an_object_or_a_list_with_or_without_introspection() {
    let none = Vec::<String>::new();
    let other = || entry(json!({"issuer": "https://login.test/tenant/"}));
    for it in [
        entry(json!({})),
        json!([entry(json!({}))]),
        // Issuers are compared byte by byte.
        json!([entry(json!({})), other()]),
        entry(json!({"jwks_uri": null})),
        entry(json!({"jwks_uri": null, "cluster": null, "issuer": "https://login.test"})),
        entry_without_calls(json!({"jwks": {"keys": [jwk()]}})),
        entry_without_calls(json!({"verified_by": "envoy.filters.http.jwt_authn"})),
        entry_without_calls(
            json!({"verified_by": "envoy.filters.http.jwt_authn", "introspect": false}),
        ),
        entry(json!({"audience": "*", "claims": {"client_id": ["a", "b"]}})),
        entry(json!({"issuer": "not a URL"})),
    ] {
        assert_eq!(load(&jwt(it.clone())).unwrap(), none, "{it}");
        assert_eq!(load(&jwt_and_introspection(it.clone(), json!({}))).unwrap(), none, "{it}");
    }
    let neither = mistake(&json!({"inbound": {"audience": "a"}}));
    assert!(
        neither == "inbound.introspection: required: the introspection endpoint, or `jwt`",
        "{neither}"
    );
    // The other direction of the choice is known, too.
    let typo = mistake(&json!({"inbound": {"jwt": entry(json!({})), "introspecton": {}}}));
    assert!(typo.contains("did you mean `introspection`?"), "{typo}");
}

#[test]
fn a_token_is_introspected_too_by_a_server_that_is_for_its_issuer() {
    let issuer = "https://login.test/tenant";
    let document = |more: Value| jwt_and_introspection(entry(json!({"introspect": true})), more);
    for more in [
        json!({}),
        json!({"issuer": issuer}),
        json!({"when": {"issuer": ["https://other.test", issuer]}}),
        json!({"when": {"hosts": ["a.test"]}}),
    ] {
        assert_eq!(load(&document(more.clone())).unwrap(), Vec::<String>::new(), "{more}");
    }
    // Without `introspect`, it may be that of another.
    let other = json!({"issuer": "https://other.test"});
    assert!(load(&jwt_and_introspection(entry(json!({})), other)).is_ok());
    // What is wrong with the server is no mistake of the entry.
    let found = mistake(&document(json!({"timeout": 1})));
    assert!(found.starts_with("inbound.introspection.timeout: "), "{found}");
}

#[test]
fn only_what_the_host_can_do_is_accepted() {
    let found = |document: &Value, verify: Verify, reads_jwt_authn| {
        let Review { mistakes, .. } = reviewed(document, verify, reads_jwt_authn);
        mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    };
    let as_module: Verify = |algorithm, _, text, _| match algorithm.name() {
        "PS256" | "EdDSA" => Err(VerifyError::Unsupported),
        _ => Ok(is_example(text)),
    };
    for name in ["RS256", "RS384", "RS512", "ES256", "ES384", "PS256", "EdDSA"] {
        let document = jwt(entry(json!({"algorithms": ["RS256", name]})));
        assert_eq!(found(&document, WORKS, false), "", "{name}");
        let in_module = found(&document, as_module, true);
        if ["PS256", "EdDSA"].contains(&name) {
            let text = "inbound.jwt.algorithms[1]: only in the dynamic module; use another \
                        algorithm, or verified_by";
            assert_eq!(in_module, text, "{name}");
        } else {
            assert_eq!(in_module, "", "{name}");
        }
    }
    // No host is trusted that cannot tell a valid signature from another.
    let broken: [Verify; 4] = [
        |_, _, _, _| Err(VerifyError::Failed),
        |_, _, _, _| Err(VerifyError::Unsupported),
        |_, _, _, _| Ok(true),
        |_, _, _, _| Ok(false),
    ];
    let verified = |more: Value| jwt(entry_without_calls(more));
    let by_host = verified(json!({"verified_by": "envoy.filters.http.jwt_authn"}));
    for verify in broken {
        let text = "inbound.jwt: the host cannot verify signatures (Envoy 1.36 or later can); use \
                    introspection or verified_by";
        assert_eq!(found(&jwt(entry(json!({}))), verify, true), text);
        assert_eq!(found(&verified(json!({"jwks": {"keys": [jwk()]}})), verify, true), text);
        assert_eq!(found(&by_host, verify, true), "");
    }
    let text = "inbound.jwt.verified_by: only in the WebAssembly module; use jwks_uri";
    assert_eq!(found(&by_host, WORKS, false), text);
}

#[test]
fn what_makes_it_weak_is_warned_of() {
    let plain = load(&jwt(entry(json!({"jwks_uri": "http://login.test/keys"})))).unwrap();
    assert_eq!(plain.len(), 1, "{plain:?}");
    let text = "inbound.jwt.jwks_uri: plain http: keys can be replaced on their way; use https";
    assert_eq!(plain[0], text);

    // Keys that are missing are never excused.
    let mut document = jwt(entry(json!({})));
    document["inbound"]["failure_mode_allow"] = json!(true);
    let warnings = load(&document).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let text = "inbound.failure_mode_allow: no effect without introspection";
    assert!(warnings[0].starts_with(text), "{warnings:?}");
    let mut both = jwt_and_introspection(entry(json!({})), json!({}));
    both["inbound"]["failure_mode_allow"] = json!(true);
    let warnings = load(&both).unwrap();
    assert!(warnings[0].contains("requests are forwarded unchecked"), "{warnings:?}");
    // An introspected token has the audience of the rule only.
    both["inbound"].as_object_mut().unwrap().remove("audience");
    assert_eq!(load(&both).unwrap().len(), 2);
}

#[test]
fn id_tokens_that_nothing_tells_from_access_tokens_are_warned_of() {
    let typ = |more: Value| advice(&jwt(entry(more)));
    for more in [
        // The general type, in all its forms, and an audience that may be a client.
        json!({"typ": ["JWT"], "audience": "orders"}),
        json!({"typ": ["at+jwt", "application/JWT"], "audience": ["api://orders", "orders"]}),
        json!({"typ": "jwt", "audience": "8b5c…"}),
    ] {
        let warnings = typ(more.clone());
        assert_eq!(warnings.len(), 1, "{more}: {warnings:?}");
        assert!(warnings[0].starts_with("inbound.jwt.typ: \"JWT\" is the type of ID tokens, too"));
        assert!(!warnings[0].contains("api://orders"), "{warnings:?}");
    }
    for more in [
        json!({"typ": ["JWT"]}),
        json!({"typ": ["JWT"], "audience": ["https://orders.test", "urn:orders"]}),
        json!({"typ": ["JWT"], "audience": "orders", "claims": {"token_use": "access"}}),
        json!({"typ": ["at+jwt"], "audience": "orders"}),
        json!({"audience": "orders"}),
        // That is what is wanted.
        json!({"audience": "orders", "token": "id_token"}),
        json!({"typ": ["JWT"], "audience": "orders", "token": "id_token"}),
    ] {
        assert_eq!(typ(more.clone()), Vec::<String>::new(), "{more}");
    }
}

#[test]
fn keys_that_serve_too_long_or_never_are_warned_of() {
    for (more, key) in [
        (json!({"refresh_interval": "59s"}), "refresh_interval: keys are fetched this often"),
        (json!({"refresh_interval": "169h"}), "refresh_interval: a key that the issuer has"),
        (json!({"stale_if_error": "169h"}), "stale_if_error: a key that the issuer has"),
    ] {
        let warnings = advice(&jwt(entry(more)));
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with(&format!("inbound.jwt.{key}")), "{warnings:?}");
    }
    let fine = json!({"refresh_interval": "1m", "stale_if_error": "168h"});
    assert_eq!(advice(&jwt(entry(fine))), Vec::<String>::new());

    let keys = json!({"keys": [jwk()]});
    let fixed = |more: Value| {
        let mut entry = entry_without_calls(json!({ "jwks": keys }));
        entry["algorithms"] = more;
        advice(&jwt(entry))
    };
    assert_eq!(fixed(json!(["RS256", "ES256"])), Vec::<String>::new());
    let warnings = fixed(json!(["RS256", "ES384"]));
    let text = "inbound.jwt.jwks: no key is for any of `algorithms`: every token is rejected";
    assert_eq!(warnings, [text]);
}

#[test]
fn other_keys_mean_what_they_mean_for_introspected_tokens() {
    let mut document = jwt(entry(json!({})));
    for (key, value) in [
        ("cache", json!({"max_ttl": "5m", "negative_ttl": "1s"})),
        ("token_sources", json!([{"cookie": "session"}])),
        ("forward", json!({"claims": {"x-user": "sub"}})),
        ("sender_constraint", json!({"mtls": "required"})),
        ("scope_implies", json!({"a": ["b"]})),
        ("clock_skew", json!("5s")),
        ("rules", json!([{"paths": ["/a"], "scope": "b", "max_ttl": "1m"}])),
        ("resource_metadata", json!({"resource": "https://api.test"})),
    ] {
        document["inbound"][key] = value;
        assert_eq!(load(&document).unwrap(), Vec::<String>::new(), "{key}");
    }
}

#[test]
fn the_cluster_of_keys_is_known_as_that_of_introspection_is() {
    let clusters = |it: Value| reviewed(&jwt(it), WORKS, true).clusters;
    let of = |place: &str, cluster: &str| (place.to_owned(), cluster.to_owned());
    assert_eq!(clusters(entry(json!({}))), [of("inbound.jwt", "login")]);
    let istio = entry(json!({"cluster": null, "jwks_uri": "https://keys.test:8443/a"}));
    assert_eq!(clusters(istio), [of("inbound.jwt", "outbound|8443||keys.test")]);
    let discovered = entry(json!({"cluster": null, "jwks_uri": null}));
    let list = json!([discovered, entry(json!({"issuer": "b"}))]);
    let both = [of("inbound.jwt[0]", "outbound|443||login.test"), of("inbound.jwt[1]", "login")];
    assert_eq!(clusters(list), both);
    assert_eq!(clusters(entry_without_calls(json!({"jwks": {"keys": [jwk()]}}))), []);
}
