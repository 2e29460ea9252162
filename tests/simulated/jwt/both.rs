//! Tokens that are verified, and then introspected.

use super::*;

/// A host with keys of its own, and a server that introspects, with these additions.
fn both(key: &Key, inbound: Value) -> SimulatedHost {
    let entry = json!({
        "jwks_uri": null, "cluster": null, "jwks": set(&[(key, "a")]), "introspect": true
    });
    let mut document = document(entry);
    document["inbound"]["introspection"] = introspection();
    document["inbound"] = replaced(document["inbound"].take(), &inbound);
    SimulatedHost::new(&document)
}

/// Sends a token with these claims, which is introspected with this response.
fn ask(host: &mut SimulatedHost, key: &Key, claims: Value, response: Value) -> &'static str {
    let stream = host.send(&get("/").bearer(&key.sign("a", &with(claims))));
    if host.state(stream) == "waits" {
        host.answer_with(&replaced(json!({"active": true}), &response));
    }
    host.state(stream)
}

#[test]
fn what_both_say_must_agree() {
    let key = Key::p256();
    for (claims, response, state) in [
        (json!({}), json!({}), "passed"),
        (json!({}), json!({"iss": ISSUER, "sub": "alice"}), "passed"),
        (json!({}), json!({"client_id": "shop"}), "passed"),
        (json!({"client_id": "shop"}), json!({"client_id": "shop"}), "passed"),
        (json!({"client_id": "shop"}), json!({"client_id": "app"}), "oauth2_not_verified"),
        (json!({}), json!({"sub": "bob"}), "oauth2_not_verified"),
        (json!({}), json!({"sub": "Alice"}), "oauth2_not_verified"),
        (json!({}), json!({"sub": null}), "oauth2_not_verified"),
        (json!({"sub": 1}), json!({"sub": "1"}), "oauth2_not_verified"),
        (json!({}), json!({"iss": format!("{ISSUER}/")}), "oauth2_not_verified"),
        (json!({}), json!({"iss": [ISSUER]}), "oauth2_not_verified"),
        (json!({}), json!({"active": false}), "oauth2_inactive"),
        (json!({"active": false}), json!({}), "oauth2_inactive"),
        (json!({}), json!({"token_type": "refresh_token"}), "oauth2_not_an_access_token"),
        (json!({"typ": "Refresh"}), json!({}), "oauth2_not_an_access_token"),
    ] {
        let mut host = both(&key, json!({}));
        assert_eq!(
            ask(&mut host, &key, claims.clone(), response.clone()),
            state,
            "{claims} {response}"
        );
    }
}

#[test]
fn the_times_of_both_count() {
    let key = Key::p256();
    let at = seconds_from_now;
    for (claims, response, state) in [
        (json!({"nbf": at(60)}), json!({}), "oauth2_not_yet_valid"),
        (json!({}), json!({"nbf": at(60)}), "oauth2_not_yet_valid"),
        (json!({"nbf": at(60)}), json!({"nbf": at(-60)}), "oauth2_not_yet_valid"),
        (json!({}), json!({"exp": at(-1)}), "oauth2_expired"),
        (json!({"exp": at(-1)}), json!({"exp": at(60)}), "oauth2_expired"),
    ] {
        let mut host = both(&key, json!({}));
        assert_eq!(
            ask(&mut host, &key, claims.clone(), response.clone()),
            state,
            "{claims} {response}"
        );
    }
    for (claims, response) in [
        (json!({"exp": at(10)}), json!({"exp": at(600)})),
        (json!({"exp": at(600)}), json!({"exp": at(10)})),
        (json!({"exp": at(10)}), json!({})),
    ] {
        let mut host = both(&key, json!({"cache": {"max_ttl": "1h", "stale_if_error": "1h"}}));
        let request = get("/").bearer(&key.sign("a", &with(claims.clone())));
        let stream = host.send(&request);
        let mut body = json!({"active": true});
        body["exp"] = response["exp"].clone();
        host.answer_with(&body);
        assert_eq!(host.state(stream), "passed");
        // The clock of the host may be up to a second behind that of `at`.
        host.advance(8 * SECOND);
        assert_eq!((host.state_of(&request), host.made), ("passed", 1), "cached");
        host.advance(3 * SECOND);
        let state = host.state_of(&request);
        assert!(["oauth2_expired", "waits"].contains(&state), "{claims} {response}: {state}");
    }
}

#[test]
fn rs_8705_02_a_binding_that_either_knows_of_is_checked() {
    let key = Key::p256();
    let bound =
        |byte: u8| json!({"cnf": {"x5t#S256": crate::exchanges::signing::encode([byte; 32])}});
    for (claims, response, certificate, state) in [
        (bound(1), json!({}), Some([1; 32]), "passed"),
        (json!({}), bound(1), Some([1; 32]), "passed"),
        (bound(1), bound(1), Some([1; 32]), "passed"),
        (bound(1), json!({}), None, "oauth2_unproved_cnf"),
        (json!({}), bound(1), None, "oauth2_unproved_cnf"),
        (bound(1), json!({}), Some([2; 32]), "oauth2_unproved_cnf"),
        (bound(1), bound(2), Some([1; 32]), "oauth2_unproved_cnf"),
        (bound(1), bound(2), Some([2; 32]), "oauth2_unproved_cnf"),
        (json!({"cnf": {"jkt": "x"}}), json!({}), Some([1; 32]), "oauth2_unproved_cnf"),
        (json!({"cnf": {"jkt": "x"}}), bound(1), Some([1; 32]), "oauth2_unproved_cnf"),
    ] {
        let mut host = both(&key, json!({"sender_constraint": {"mtls": "optional"}}));
        host.certificate = certificate;
        let seen = ask(&mut host, &key, claims.clone(), response.clone());
        assert_eq!(seen, state, "{claims} {response} {certificate:?}");
    }
}

#[test]
fn rules_read_the_response_and_an_entry_the_token() {
    let key = Key::p256();
    let inbound = || json!({"scope": "a", "audience": "api"});
    for (claims, response, state) in [
        (json!({"scope": "a"}), json!({"aud": "api"}), "oauth2_insufficient_scope"),
        (json!({}), json!({"aud": "api", "scope": "a"}), "passed"),
        (json!({"aud": ["orders", "api"]}), json!({"scope": "a"}), "oauth2_wrong_audience"),
        (
            json!({"aud": "api"}),
            json!({"aud": ["api", "orders"], "scope": "a"}),
            "oauth2_wrong_audience",
        ),
    ] {
        let mut host = both(&key, inbound());
        assert_eq!(
            ask(&mut host, &key, claims.clone(), response.clone()),
            state,
            "{claims} {response}"
        );
    }
}

#[test]
fn d5_01_neither_stale_responses_nor_failure_mode_allow_replace_a_signature() {
    let key = Key::p256();
    let mut host = both(
        &key,
        json!({
            "failure_mode_allow": true, "cache": {"max_ttl": "10s", "stale_if_error": "1h"}
        }),
    );
    let down = Err(CallFailure::Unreachable);
    let forged = || get("/").bearer(&Key::p256().sign("a", &claims()));
    // A token that is signed passes while its server is down, as one that is only introspected:
    // once the server has not answered about another.
    for state in ["oauth2_server_unavailable", "passed"] {
        let stream = send(&mut host, &key, "a");
        host.answer(&down);
        assert_eq!(host.state(stream), state);
    }
    assert_eq!(host.state_of(&forged()), "oauth2_bad_signature");
    assert!(host.calls.is_empty());
    // One whose keys cannot be had does not, even if a stale response is there.
    let mut document = document(json!({
        "introspect": true, "refresh_interval": "30s", "stale_if_error": "0s"
    }));
    document["inbound"]["failure_mode_allow"] = true.into();
    document["inbound"]["cache"] = json!({"max_ttl": "10s", "stale_if_error": "1h"});
    document["inbound"]["introspection"] = introspection();
    let mut host = SimulatedHost::new(&document);
    host.tick();
    host.answer_with(&set(&[(&key, "a")]));
    let request = get("/").bearer(&key.sign("a", &claims()));
    let stream = host.send(&request);
    host.answer_with(&json!({"active": true}));
    assert_eq!(host.state(stream), "passed");
    host.advance(15 * SECOND);
    let stream = host.send(&request);
    host.answer(&down);
    assert_eq!(host.state(stream), "passed", "stale");
    host.advance(15 * SECOND);
    host.tick();
    host.answer(&down);
    assert_eq!(host.state_of(&request), "oauth2_no_keys");
}

#[test]
fn the_server_of_the_issuer_is_asked() {
    let key = Key::p256();
    let server = |name: &str, more: Value| {
        let mut server = json!({
            "endpoint": format!("https://login.test/{name}"), "cluster": "login",
            "client_id": "rs", "client_secret": "s"
        });
        for (member, value) in more.as_object().expect("an object") {
            server[member] = value.clone();
        }
        server
    };
    for (servers, asked) in [
        (
            json!([
                server(
                    "a",
                    json!({"issuer": "https://other.test", "when": {"hosts": ["api.test"]}})
                ),
                server("b", json!({}))
            ]),
            "/b",
        ),
        (
            json!([server("a", json!({"when": {"token_prefix": "x"}})), server("b", json!({}))]),
            "/b",
        ),
        (
            json!([
                server(
                    "a",
                    json!({"issuer": "https://other.test", "when": {"hosts": ["api.test"]}})
                ),
                server("b", json!({"issuer": ISSUER}))
            ]),
            "/b",
        ),
    ] {
        let mut host = both(&key, json!({"introspection": servers}));
        host.send(&get("/").bearer(&key.sign("a", &claims())));
        assert_eq!(path(&host.calls[0]), asked, "{servers}");
    }
    // A server that is responsible for other tokens only leaves none.
    let only = json!([server("a", json!({"when": {"token_prefix": "x"}}))]);
    let mut host = both(&key, json!({"introspection": only}));
    let state = host.state_of(&get("/").bearer(&key.sign("a", &claims())));
    assert_eq!((state, host.made), ("oauth2_no_server", 0));
}
