//! The defaults that the reference tells are those that are taken.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::load::{Config, load};
use crate::cache::single_flight::{CallId, Direction};
use crate::environment::Environment;
use crate::oauth::endpoint::{Endpoint, Repeat};
use crate::outbound::client::Client;
use crate::timestamp::Timestamp;

/// The page.
const REFERENCE: &str = include_str!("../../../../docs/reference.md");

/// A table of keys: its heading, and where its object is in the document below.
const TABLES: [(&str, &str); 9] = [
    ("### Endpoint blocks", "/inbound/introspection"),
    ("### Endpoint blocks", "/outbound/clients/a"),
    ("### `inbound`", "/inbound"),
    ("### `inbound.introspection`", "/inbound/introspection"),
    ("### `inbound.cache`", "/inbound/cache"),
    ("### `inbound.rules`", "/inbound/rules/0"),
    ("### `inbound.forward`", "/inbound/forward"),
    ("### `inbound.sender_constraint`", "/inbound/sender_constraint"),
    ("### `outbound.clients`", "/outbound/clients/a"),
];

/// The same for the keys of grants.
const GRANTS: (&str, &str) = ("#### Keys of grants", "/outbound/clients/exchange");

/// A value of each key that is not its default.
const OTHERS: [(&str, &str); 31] = [
    ("access", r#""optional""#),
    ("allow_cors_preflight", "true"),
    ("auth_method", r#""client_secret_post""#),
    ("claims", r#"{"x-user": "sub"}"#),
    ("clock_skew", r#""7s""#),
    ("default_expires_in", r#""7s""#),
    ("failure_mode_allow", "true"),
    ("header", r#""x-token""#),
    ("headers", r#"{"x-a": "b"}"#),
    ("lifetime", r#""7s""#),
    ("max_entries", "7"),
    ("max_ttl", r#""7s""#),
    ("mtls", r#""required""#),
    ("negative_max_entries", "7"),
    ("negative_ttl", r#""7s""#),
    ("overwrite", "false"),
    ("parameters", r#"{"a": "b"}"#),
    ("realm", r#""a""#),
    ("renew_on_status", "[403]"),
    ("retries", "7"),
    ("scheme", r#""DPoP""#),
    ("scope_claim", r#""scp""#),
    ("scope_implies", r#"{"a": ["b"]}"#),
    ("stale_if_error", r#""7s""#),
    ("subject_token_type", r#""urn:ietf:params:oauth:token-type:jwt""#),
    ("timeout", r#""7s""#),
    ("token", "true"),
    ("token_sources", r#"[{"header": "x-token"}]"#),
    ("token_type_hint", r#""""#),
    ("typ", r#""JWT""#),
    ("unmatched", r#""token""#),
];

/// A document in which every object has a place.
fn document() -> Value {
    json!({
        "inbound": {
            "introspection": {
                "endpoint": "https://as.test/", "client_id": "a", "client_secret": "s",
            },
            "cache": {}, "rules": [{}], "forward": {}, "sender_constraint": {},
        },
        "outbound": {
            "clients": {
                "a": {
                    "grant_type": "client_credentials", "endpoint": "https://as.test/token",
                    "client_id": "a", "client_secret": "s",
                },
                "exchange": {
                    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                    "endpoint": "https://as.test/token", "client_id": "a", "client_secret": "s",
                },
            },
            "rules": [{"client": "a"}],
        },
    })
}

/// The keys below a heading whose default is a value, with that.
fn defaults(heading: &str) -> Vec<(&'static str, Value)> {
    let (_, below) = REFERENCE.split_once(&format!("\n{heading}\n")).unwrap();
    let table = below.lines().skip_while(|line| !line.starts_with("| key |")).skip(2);
    let rows = table.take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| {
        let mut cells = row.split(" | ");
        let key = cells.next()?.trim_start_matches("| ").trim_matches('`');
        let default = cells.nth(1)?;
        // Words may follow: where it is the default.
        let default = default.split("` if ").next()?.trim_matches('`');
        Some((key, serde_json::from_str(default).ok()?))
    })
    .collect()
}

/// All that a configuration makes the filter do, as text.
fn picture(document: &Value) -> String {
    let variable = |_: &str| None;
    let sign = |_: &str, text: &[u8]| Ok([text, &[0; 256]].concat()[..256].to_vec());
    let environment = Environment { variable: &variable, seed: [0; 16], sign };
    let loaded = load(document.to_string().as_bytes(), &environment);
    let (config, _) = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}\n{document:#}"));
    let Config { inbound, outbound } = config;
    let (guard, clients) = (inbound.unwrap(), outbound.unwrap());
    let mut parts = vec![format!("{guard:?} {clients:?}")];
    parts.extend(guard.servers.iter().map(|server| call(&server.introspection.endpoint)));
    for client in clients.clients {
        // Whole, so that a field that is added is not forgotten here.
        let Client {
            name,
            grant,
            endpoint,
            refresh,
            asked,
            lifetime,
            placement,
            renew_on_status,
            failure_mode_allow,
            identity: _,
        } = client;
        parts.extend(endpoint.as_deref().map(call));
        parts.push(format!("{name} {grant:?} {refresh:?} {asked:?} {lifetime:?} {placement:?}"));
        parts.push(format!("{renew_on_status:?} {failure_mode_allow}"));
    }
    parts.join("\n")
}

/// A call, as text. That of an endpoint is not shown otherwise, since it has secrets in it.
fn call(endpoint: &Endpoint) -> String {
    let id = CallId(Direction::Inbound, 0);
    let call = endpoint.call(id, &[], Repeat::Harmless, Timestamp::from_millis(0));
    format!("{} {:?} {} {:?}", call.cluster, call.headers, call.body, call.timeout)
}

/// The document with a key set at a place, and what belongs to that key.
fn with(place: &str, key: &str, value: Value) -> Value {
    let mut document = document();
    let object = document.pointer_mut(place).and_then(Value::as_object_mut).unwrap();
    if ["typ", "lifetime"].contains(&key) {
        object.remove("client_secret");
        object.insert("auth_method".into(), json!("private_key_jwt"));
        object.insert("private_key".into(), json!("k"));
        object.insert("aud".into(), json!("https://as.test"));
    }
    if !value.is_null() {
        object.insert(key.to_owned(), value);
    }
    document
}

#[test]
fn what_the_reference_calls_the_default_is_the_default() {
    let mut tested = BTreeSet::new();
    for (heading, place) in TABLES.into_iter().chain([GRANTS]) {
        for (key, default) in defaults(heading) {
            let without = picture(&with(place, key, Value::Null));
            let explicit = picture(&with(place, key, default.clone()));
            assert_eq!(explicit, without, "{heading}: {key} is not {default}");
            // What makes no difference would prove nothing.
            let other = OTHERS.into_iter().find(|(known, _)| *known == key);
            let (_, other) = other.unwrap_or_else(|| panic!("no other value of {key} is known"));
            let other = picture(&with(place, key, serde_json::from_str(other).unwrap()));
            assert_ne!(other, without, "{heading}: {key} shows nowhere");
            tested.insert(key);
        }
    }
    assert_eq!(tested, OTHERS.into_iter().map(|(key, _)| key).collect());
}
