//! How claims are read, tested and forwarded.

use serde_json::{Value, json};

use super::*;

/// Every exchange about them.
pub(super) fn exchanges() -> Vec<Exchange> {
    [scope_claims(), wildcards(), members()].into_iter().flatten().collect()
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
