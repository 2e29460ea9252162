//! How claims are read, tested and forwarded.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::{Value, json};

use super::*;

/// Every exchange about them.
pub(super) fn exchanges() -> Vec<Exchange> {
    [scope_claims(), wildcards(), members(), headers(), phantom_tokens(), jwt_responses()]
        .into_iter()
        .flatten()
        .collect()
}

fn lacks(scope: &'static str) -> Refusal {
    insufficient_scope(match scope {
        "a" => r#", error="insufficient_scope", scope="a""#,
        _ => r#", error="insufficient_scope", scope="patient/Observation.read""#,
    })
}

fn scope_claims() -> Vec<Exchange> {
    vec![
        exchange("rs_7662_07 of several scope claims, the first that is present counts")
            .inbound(json!({
                "scope": "a", "scope_claim": ["scope", "realm_access.roles"],
                "forward": {"claims": {"x-roles": "realm_access.roles"}}
            }))
            .server(
                [
                    json!({"scope": "a"}),
                    json!({"realm_access": {"roles": ["b", "a"]}}),
                    json!({"scope": null, "realm_access": {"roles": ["a"]}}),
                    json!({"scope": "", "realm_access": {"roles": ["a"]}}),
                    json!({"scope": "b", "realm_access": {"roles": ["a"]}}),
                ]
                .map(active),
            )
            .passes(get("/").bearer("1"))
            .passes(get("/").bearer("2"))
            .with("x-roles", "b a")
            .passes(get("/").bearer("3"))
            .refuses(get("/").bearer("4"), lacks("a"))
            .refuses(get("/").bearer("5"), lacks("a")),
        exchange("each server has a scope claim of its own")
            .inbound(json!({
                "scope": "a",
                "scope_claim": "roles",
                "introspection": [
                    {"endpoint": "http://as.test/{prefix}/scp", "when": {"token_prefix": "s-"},
                     "scope_claim": ["scp"]},
                    {}
                ]
            }))
            .server([active(json!({"roles": "a", "scp": "b"})), active(json!({"scp": "a"}))])
            .other("/scp", [active(json!({"scp": ["a"]})), active(json!({"roles": "a"}))])
            .passes(get("/").bearer("1"))
            .refuses(get("/").bearer("2"), lacks("a"))
            .passes(get("/").bearer("s-1"))
            .refuses(get("/").bearer("s-2"), lacks("a")),
    ]
}

fn wildcards() -> Vec<Exchange> {
    let needed = "patient/Observation.read";
    let answers = |scopes: &[&str]| -> Vec<Scripted> {
        scopes.iter().map(|scope| active(json!({ "scope": scope }))).collect()
    };
    let narrow = ["patient/Observation*.read", "*", "*.*", "*/*.*", "patient/*", "user/*.read"];
    vec![
        exchange("a granted scope with a wildcard is taken literally")
            .inbound(json!({"scope": needed}))
            .server(answers(&["patient/*.read"]))
            .refuses(get("/").bearer("1"), lacks(needed)),
        exchange("scope_wildcards: a wildcard stands for one component beside a literal one")
            .inbound(json!({"scope": needed, "scope_wildcards": true}))
            .server(answers(&[&["openid patient/*.read"][..], &narrow[..]].concat()))
            .passes(get("/").bearer("wide"))
            .refuses_tokens(narrow.len(), lacks(needed)),
        exchange("scope_wildcards of one server do not count for another")
            .inbound(json!({
                "scope": needed,
                "introspection": [
                    {"endpoint": "http://as.test/{prefix}/smart", "when": {"token_prefix": "s-"},
                     "scope_wildcards": true},
                    {}
                ]
            }))
            .server(answers(&["patient/*.read"]))
            .other("/smart", answers(&["patient/*.read"]))
            .passes(get("/").bearer("s-1"))
            .refuses(get("/").bearer("1"), lacks(needed)),
    ]
}

fn members() -> Vec<Exchange> {
    let roles = |held: Value| active(json!({"urn:zitadel:iam:org:project:roles": held}));
    let refused = [
        json!({"clerk": {"1": "example.org"}}),
        json!({"admin": false, "editor": null}),
        json!({}),
        json!(["admin"]),
        json!("admin"),
        json!([{"admin": {}}]),
        json!({"x": {"admin": {}}}),
        Value::Null,
    ];
    let count = refused.len();
    vec![
        exchange("members: a claim is an object with one of several members")
            .inbound(json!({"claims": {
                "urn:zitadel:iam:org:project:roles": {"members": ["admin", "editor"]}
            }}))
            .server(
                [json!({"clerk": {}, "editor": {"1": "example.org"}})]
                    .into_iter()
                    .chain(refused)
                    .map(roles),
            )
            .passes(get("/").bearer("editor"))
            .refuses_tokens(count, access_denied("oauth2_claim_not_met")),
    ]
}

fn headers() -> Vec<Exchange> {
    let groups: Vec<String> = (0..300).map(|n| format!("group-{n:032}")).collect();
    vec![
        exchange("rs_7662_11 d4_03 an encoded claim is forwarded whatever it contains, and splits no header")
            .inbound(json!({"forward": {"claims": {
                "x-name": {"claim": "name", "encoding": "percent"},
                "x-note": {"claim": "note", "encoding": "base64url"},
                "x-groups": {"claim": "groups", "encoding": "percent"},
                "x-scope": {"claim": "scope", "encoding": "percent"},
                "x-sub": {"claim": "sub"},
            }}}))
            .server([active(json!({
                "name": "Zoë Müller", "note": "a\r\nx-admin: true", "groups": ["a,admin", "é"],
                "scope": "a b", "sub": "zoe"
            }))])
            .passes(get("/").bearer("t").header("x-note", "evil"))
            .with("x-name", "Zo%C3%AB%20M%C3%BCller")
            .with("x-note", "YQ0KeC1hZG1pbjogdHJ1ZQ")
            .with("x-groups", "a%2Cadmin,%C3%A9")
            .with("x-scope", "a%20b")
            .with("x-sub", "zoe")
            .without("x-admin"),
        exchange("d4_03 names of members are a list in which none reads as two")
            .inbound(json!({"forward": {"claims": {
                "x-roles": {"claim": "roles", "format": "members"},
                "x-encoded": {"claim": "roles", "format": "members", "encoding": "percent"},
            }}}))
            .server(
                [
                    json!({"dev": {"1": "example.org"}, "admin": true, "no": false, "none": null}),
                    json!({"a,admin": {}, "b": {}}),
                    json!({"Rôle\r\nx-admin: 1": {}}),
                    json!(["admin"]),
                    json!("admin"),
                    json!({}),
                ]
                .map(|roles| active(json!({ "roles": roles }))),
            )
            .passes(get("/").bearer("1"))
            .with("x-roles", "admin,dev")
            .with("x-encoded", "admin,dev")
            .passes(get("/").bearer("2").header("x-roles", "evil"))
            .without("x-roles")
            .with("x-encoded", "a%2Cadmin,b")
            .passes(get("/").bearer("3"))
            .without("x-roles")
            .without("x-admin")
            .with("x-encoded", "R%C3%B4le%0D%0Ax-admin%3A%201")
            .passes(get("/").bearer("4").header("x-encoded", "evil"))
            .without("x-roles")
            .without("x-encoded")
            .passes(get("/").bearer("5"))
            .without("x-roles")
            .without("x-encoded")
            .passes(get("/").bearer("6"))
            .without("x-roles")
            .without("x-encoded"),
        exchange("d4_03 a claim of more than 8 KiB is not forwarded, encoded or not")
            .inbound(json!({"forward": {"claims": {
                "x-groups": "groups", "x-encoded": {"claim": "groups", "encoding": "base64url"},
                "x-user": "sub",
            }}}))
            .server([active(json!({"groups": groups, "sub": "alice"}))])
            .passes(get("/").bearer("t").header("x-groups", "evil").header("x-encoded", "evil"))
            .without("x-groups")
            .without("x-encoded")
            .with("x-user", "alice"),
    ]
}

/// A JWT with these claims, in a valid form.
fn jwt(typ: &str, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({"alg": "RS256", "typ": typ})), part(claims))
}

fn phantom_tokens() -> Vec<Exchange> {
    let forward = json!({"bearer": {"claim": "tokens.jwt"}});
    let holding = |token: Value| active(json!({"tokens": {"jwt": token}, "sub": "alice"}));
    // More than a slot of shared data holds.
    let (long, too_long) = ("a".repeat(32 * 1024), "a".repeat(32 * 1024 + 1));
    let bad = [
        json!(null),
        json!(""),
        json!("a b"),
        json!("a,b"),
        json!("a\r\nx-admin: true"),
        json!("\u{e9}"),
        json!(["a"]),
        json!({"a": "b"}),
        json!(1),
        json!(too_long),
    ];
    let count = bad.len();
    vec![
        exchange(
            "rs_9700_04 d4_01 forward.bearer takes the place of the caller's token, on every path",
        )
        .inbound(json!({
            "rules": [
                {"paths": ["/public"], "access": "public"},
                {"paths": ["/optional"], "access": "optional"},
                {"paths": ["/**"]}
            ],
            "forward": forward
        }))
        .server([holding(json!("phantom.a-._~+/=")), inactive()])
        .passes(get("/private").bearer("one"))
        .with("authorization", "Bearer phantom.a-._~+/=")
        .passes(get("/optional").bearer("one"))
        .with("authorization", "Bearer phantom.a-._~+/=")
        .calls(1)
        .passes(get("/public").bearer("one"))
        .without("authorization")
        .passes(get("/public").header("AUTHORIZATION", "Basic dTpw"))
        .without("authorization")
        .passes(get("/optional"))
        .without("authorization")
        .passes(get("/optional").header("authorization", "Basic dTpw"))
        .without("authorization")
        .passes(get("/public").bearer("one").header("connection", "keep-alive, authorization"))
        .without("authorization")
        .refuses(get("/optional").bearer("two"), invalid_token("oauth2_inactive"))
        .refuses(get("/private"), no_token()),
        exchange(
            "rs_9700_04 forward.bearer replaces a token of any source, and leaves none behind",
        )
        .inbound(json!({
            "token_sources": [{"header": "x-token"}, {"cookie": "at"}],
            "forward": forward
        }))
        .server([holding(json!("phantom"))])
        .passes(get("/").header("x-token", "one").header("authorization", "Basic dTpw"))
        .with("authorization", "Bearer phantom")
        .without("x-token")
        .passes(get("/").header("cookie", "at=one; b=c"))
        .with("authorization", "Bearer phantom")
        .with("cookie", "b=c"),
        exchange("a phantom token has up to 32 KiB, and is cached")
            .inbound(json!({"forward": forward}))
            .server([holding(json!(long))])
            .passes(get("/").bearer("one"))
            .with("authorization", format!("Bearer {long}"))
            .passes(get("/").bearer("one"))
            .with("authorization", format!("Bearer {long}"))
            .calls(1),
        exchange("a response without the phantom token is 502, and never cached")
            .inbound(json!({"forward": forward}))
            .server(bad.map(holding))
            .refuses_tokens(count, server_error("oauth2_server_bad_answer"))
            .refuses(get("/").bearer("token-0"), server_error("oauth2_server_bad_answer"))
            .calls(count + 1),
        exchange("a token that is rejected needs no phantom token")
            .inbound(json!({"forward": forward}))
            .server([inactive(), active(json!({"token_type": "refresh_token"}))])
            .refuses(get("/").bearer("one"), invalid_token("oauth2_inactive"))
            .refuses(get("/").bearer("two"), invalid_token("oauth2_not_an_access_token")),
        exchange("failure_mode_allow forwards neither the caller's token nor another's")
            .inbound(json!({
                "introspection": {"retries": 0}, "failure_mode_allow": true, "forward": forward
            }))
            .server([Scripted::Reset])
            .refuses(get("/").bearer("one"), unavailable("oauth2_server_unavailable"))
            .passes(get("/").bearer("two"))
            .without("authorization"),
    ]
}

fn jwt_responses() -> Vec<Exchange> {
    let answer =
        |text: &str| Scripted::Answer(200, vec![("content-type", "application/jwt")], text.into());
    let claims = json!({"iss": "https://as.test", "aud": "api", "sub": "alice", "scope": "a"});
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let inbound = || {
        json!({
            "introspection": {"response_format": "jwt", "issuer": "https://as.test"},
            "audience": "api", "scope": "a",
            "forward": {
                "bearer": {"claim": "jwt"}, "claims": {"x-user": "sub"}, "payload": "x-payload"
            }
        })
    };
    let good = jwt("at+jwt", &claims);
    let payload = good.split('.').nth(1).expect("a payload").to_owned();
    let object = json!({
        "active": true, "jwt": good, "sub": "bob", "scope": "a", "aud": ["api"],
        "iss": "https://as.test"
    });
    let seconds = seconds_from_now;
    let scope = Some(r#", error="invalid_token", scope="a""#);
    let rejected = |details| Refusal { challenge: scope, ..invalid_token(details) };
    let bad = [
        format!("{good}.c2ln.c2ln"),
        format!("{good}=="),
        good.replace(".c2ln", ""),
        good.replace("c2ln", ""),
        jwt("token-introspection+jwt", &claims),
        jwt("application/Token-Introspection+JWT", &claims),
        jwt("JWT", &with("active", json!("true"))),
        jwt("JWT", &json!([])),
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(br#"{"sub":"a","sub":"b"}"#)),
        json!({"active": true, "sub": "a"}).to_string(),
        json!({"active": true, "jwt": "a.b.c"}).to_string(),
        json!({"active": true, "jwt": jwt("token-introspection+jwt", &claims)}).to_string(),
        "<html>".to_owned(),
        String::new(),
    ];
    let count = bad.len();
    vec![
        exchange("the payload of a JWT is the response, and its text a claim")
            .inbound(inbound())
            .server([answer(&good), says(object.to_string()), answer(&format!("{good}\n"))])
            .passes(get("/").bearer("bare"))
            .call(ExpectedCall {
                path: "/introspect",
                headers: vec![("accept", "application/jwt")],
                lacks: Vec::new(),
                body: "token=bare&token_type_hint=access_token",
            })
            .with("authorization", format!("Bearer {good}"))
            .with("x-user", "alice")
            .with("x-payload", payload)
            .passes(get("/").bearer("object"))
            .with("authorization", format!("Bearer {good}"))
            .with("x-user", "bob")
            .passes(get("/").bearer("line"))
            .with("authorization", format!("Bearer {good}"))
            .calls(3),
        exchange("the claims of a JWT are checked as those of any response")
            .inbound(inbound())
            .server([
                answer(&jwt("JWT", &with("iss", json!("https://evil.test")))),
                answer(&jwt("JWT", &with("aud", json!("other")))),
                answer(&jwt("JWT", &with("exp", json!(seconds(-10))))),
                answer(&jwt("JWT", &with("nbf", json!(seconds(600))))),
                answer(&jwt("JWT", &with("active", json!(false)))),
                answer(&jwt("JWT", &with("typ", json!("Refresh")))),
                answer(&jwt("JWT", &with("cnf", json!({"jkt": "x"})))),
                Scripted::Answer(204, Vec::new(), Vec::new()),
                says(r#"{"active":false}"#),
                answer(&jwt("JWT", &with("active", json!(true)))),
            ])
            .refuses(get("/").bearer("1"), rejected("oauth2_wrong_issuer"))
            .refuses(get("/").bearer("2"), rejected("oauth2_wrong_audience"))
            .refuses(get("/").bearer("3"), rejected("oauth2_expired"))
            .refuses(get("/").bearer("4"), rejected("oauth2_not_yet_valid"))
            .refuses(get("/").bearer("5"), rejected("oauth2_inactive"))
            .refuses(get("/").bearer("6"), rejected("oauth2_not_an_access_token"))
            .refuses(get("/").bearer("7"), rejected("oauth2_unproved_cnf"))
            .refuses(get("/").bearer("8"), rejected("oauth2_inactive"))
            .refuses(get("/").bearer("8"), rejected("oauth2_inactive"))
            .calls(8)
            .refuses(get("/").bearer("9"), rejected("oauth2_inactive"))
            .passes(get("/").bearer("10")),
        exchange("what is neither a signed JWT nor an object with one is 502")
            .inbound(inbound())
            .server(bad.iter().map(|body| answer(body)))
            .refuses_tokens(count, server_error("oauth2_server_bad_answer")),
        exchange("without response_format, a JWT and 204 are invalid responses")
            .server([answer(&good), Scripted::Answer(204, Vec::new(), Vec::new())])
            .refuses_tokens(2, server_error("oauth2_server_bad_answer")),
    ]
}
