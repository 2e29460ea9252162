//! How claims are read, tested and forwarded.

use serde_json::{Value, json};

use super::*;

/// Every exchange about them.
pub(super) fn exchanges() -> Vec<Exchange> {
    [scope_claims(), wildcards(), members(), headers()].into_iter().flatten().collect()
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
