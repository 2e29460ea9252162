//! Tokens that Envoy's filter `jwt_authn` has verified.

use super::*;

fn by_host(more: Value) -> SimulatedHost {
    let mut entry = json!({
        "jwks_uri": null, "cluster": null, "verified_by": "envoy.filters.http.jwt_authn"
    });
    for (name, value) in more.as_object().expect("an object") {
        entry[name] = value.clone();
    }
    host(entry)
}

fn header() -> Value {
    json!({"alg": "ES256", "typ": "at+jwt", "kid": "a"})
}

/// A token that the filter cannot verify itself.
fn token(claims: &Value) -> String {
    Key::p256().sign_json(&header().to_string(), &claims.to_string())
}

#[test]
fn a_token_passes_if_all_that_is_stored_is_its_payload_and_its_header() {
    let own = claims();
    let other = with(json!({"sub": "bob"}));
    let (payload, head) = (&own, header());
    let mut more = head.clone();
    more["x"] = 1.into();
    let mut less = own.clone();
    less.as_object_mut().expect("an object").remove("sub");
    let mut text = own.clone();
    text["exp"] = own["exp"].to_string().into();
    for (stored, state) in [
        (json!({"jwt_payload": payload, "jwt_header": head}), "passed"),
        // Two providers have verified it.
        (json!({"a": payload, "b": head, "c": payload, "d": head}), "passed"),
        (json!({"a": payload}), "oauth2_not_verified"),
        (json!({"a": head}), "oauth2_not_verified"),
        (json!({}), "oauth2_not_verified"),
        (json!({"a": other, "b": head}), "oauth2_not_verified"),
        (json!({"a": less, "b": head}), "oauth2_not_verified"),
        (json!({"a": text, "b": head}), "oauth2_not_verified"),
        (json!({"a": payload, "b": more}), "oauth2_not_verified"),
        (json!({"a": payload, "b": {}}), "oauth2_not_verified"),
        (json!({"a": payload, "b": head, "c": other}), "oauth2_not_verified"),
        (json!({"a": payload, "b": head, "c": more}), "oauth2_not_verified"),
        (
            json!({"a": payload, "b": head, "failed_status": {"code": 16, "message": "x"}}),
            "oauth2_not_verified",
        ),
        (json!({"a": payload, "b": head, "c": null}), "oauth2_not_verified"),
        (json!({"a": payload, "b": head, "c": "x"}), "oauth2_not_verified"),
        (json!({"a": {"a": payload, "b": head}}), "oauth2_not_verified"),
        (json!({"a": [payload, head]}), "oauth2_not_verified"),
        (json!({"a": payload.to_string(), "b": head.to_string()}), "oauth2_not_verified"),
    ] {
        let mut host = by_host(json!({}));
        host.jwt_authn = Some(stored.clone());
        assert_eq!(host.state_of(&get("/").bearer(&token(&own))), state, "{stored}");
        assert_eq!((host.made, host.ticks()), (0, None));
    }
    let mut host = by_host(json!({}));
    assert_eq!(host.state_of(&get("/").bearer(&token(&own))), "oauth2_not_verified", "no metadata");
}

#[test]
fn numbers_are_equal_as_doubles_unless_those_are_rounded() {
    for (claim, is_exact) in [
        (json!(1.5), true),
        (json!([1, 2.5, {"a": -3}]), true),
        (json!(9_007_199_254_740_991_u64), true),
        (json!(9_007_199_254_740_992_u64), false),
        (json!(9_007_199_254_740_993_u64), false),
        (json!(u64::MAX), false),
        (json!(1e300), false),
    ] {
        let claims = with(json!({"x": claim}));
        let mut host = by_host(json!({}));
        host.jwt_authn = Some(json!({"a": claims, "b": header()}));
        let state = host.state_of(&get("/").bearer(&token(&claims)));
        assert_eq!(state == "passed", is_exact, "{claim}: {state}");
    }
    // As metadata has it.
    let mut host = by_host(json!({}));
    let mut stored = with(json!({"x": 7}));
    stored["x"] = json!(7.0);
    host.jwt_authn = Some(json!({"a": stored, "b": header()}));
    assert_eq!(host.state_of(&get("/").bearer(&token(&with(json!({"x": 7}))))), "passed");
    let in_another_order = with(json!({"x": [1, 2]}));
    host.jwt_authn = Some(json!({"a": with(json!({"x": [2, 1]})), "b": header()}));
    let state = host.state_of(&get("/").bearer(&token(&in_another_order)));
    assert_eq!(state, "oauth2_not_verified");
}

#[test]
fn each_request_needs_a_proof_of_its_own() {
    let (claims, mut host) = (claims(), by_host(json!({})));
    let request = get("/").bearer(&token(&claims));
    for (is_stored, state) in [
        (false, "oauth2_not_verified"),
        (true, "passed"),
        (false, "oauth2_not_verified"),
        (true, "passed"),
    ] {
        host.jwt_authn = is_stored.then(|| json!({"a": claims, "b": header()}));
        assert_eq!(host.state_of(&request), state);
    }
}

#[test]
fn what_an_entry_requires_of_tokens_is_required_whoever_has_verified_them() {
    for (more, state) in [
        (json!({"aud": "payments"}), "oauth2_wrong_audience"),
        (json!({"exp": 1}), "oauth2_expired"),
        (json!({"exp": null}), "oauth2_malformed_token"),
        (json!({"nbf": 99_999_999_999_u64}), "oauth2_not_yet_valid"),
        (json!({"typ": "Refresh"}), "oauth2_not_an_access_token"),
        (json!({"role": "user"}), "oauth2_claim_not_met"),
        (json!({"iss": "https://other.test"}), "oauth2_no_server"),
        (json!({}), "passed"),
    ] {
        let mut claims = with(json!({"role": "admin"}));
        for (name, value) in more.as_object().expect("an object") {
            claims[name] = value.clone();
        }
        let mut host = by_host(json!({"claims": {"role": "admin"}}));
        host.jwt_authn = Some(json!({"a": claims, "b": header()}));
        assert_eq!(host.state_of(&get("/").bearer(&token(&claims))), state, "{more}");
    }
    let mut host = by_host(json!({}));
    let header = json!({"alg": "none", "typ": "at+jwt"});
    let unsigned = Key::p256().sign_json(&header.to_string(), &claims().to_string());
    host.jwt_authn = Some(json!({"a": claims(), "b": header}));
    assert_eq!(host.state_of(&get("/").bearer(&unsigned)), "oauth2_bad_signature");
}
