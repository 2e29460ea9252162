//! The documented defaults are the defaults of the readers.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::client::CLIENT_TABLE;
use super::cors::CORS_TABLE;
use super::endpoint::ENDPOINT_TABLE;
use super::forward::FORWARD_TABLE;
use super::grants::GRANT_TABLE;
use super::inbound::{CACHE_TABLE, INBOUND_TABLE, SENDER_TABLE};
use super::jwt::JWT_TABLE;
use super::key_table::{DefaultValue, KeyTable};
use super::load::{Config, load};
use super::policy::RULE_TABLE;
use super::servers::SERVER_TABLE;
use crate::cache::single_flight::CallId;
use crate::environment::Environment;
use crate::inbound::issuers::KeySource;
use crate::oauth::call::{Call, Purpose};
use crate::oauth::endpoint::{Endpoint, Repeat};
use crate::outbound::client::Client;
use crate::timestamp::Timestamp;

/// A table of keys, and where its object is in the document below.
const TABLES: [(&KeyTable, &str); 12] = [
    (&ENDPOINT_TABLE, "/inbound/introspection"),
    (&ENDPOINT_TABLE, "/outbound/clients/a"),
    (&INBOUND_TABLE, "/inbound"),
    (&SERVER_TABLE, "/inbound/introspection"),
    (&JWT_TABLE, "/inbound/jwt/0"),
    (&CACHE_TABLE, "/inbound/cache"),
    (&RULE_TABLE, "/inbound/rules/0"),
    (&FORWARD_TABLE, "/inbound/forward"),
    (&CORS_TABLE, "/inbound/cors"),
    (&SENDER_TABLE, "/inbound/sender_constraint"),
    (&CLIENT_TABLE, "/outbound/clients/a"),
    (&GRANT_TABLE, "/outbound/clients/exchange"),
];

/// A value of each key, or of a key at one of these places, that is not its default.
const OTHERS: [(&str, &str); 43] = [
    ("/inbound/jwt/0/token", r#""id_token""#),
    ("access", r#""optional""#),
    ("algorithms", r#"["ES256"]"#),
    ("allow_cors_preflight", "true"),
    ("allow_credentials", "true"),
    ("allow_methods", r#"["PUT"]"#),
    ("auth_method", r#""client_secret_post""#),
    ("claims", r#"{"x-user": "sub"}"#),
    ("clock_skew", r#""7s""#),
    ("default_expires_in", r#""7s""#),
    ("encoded_slash", r#""keep""#),
    ("failure_mode_allow", "true"),
    ("header", r#""x-token""#),
    ("headers", r#"{"x-a": "b"}"#),
    ("introspect", "true"),
    ("lifetime", r#""7s""#),
    ("max_entries", "7"),
    ("max_token_bytes", "7"),
    ("max_ttl", r#""7s""#),
    ("mtls", r#""required""#),
    ("negative_max_entries", "7"),
    ("negative_ttl", r#""7s""#),
    ("overwrite", "false"),
    ("parameters", r#"{"a": "b"}"#),
    ("realm", r#""a""#),
    ("refresh_interval", r#""7s""#),
    ("renew_on_status", "[403]"),
    ("retries", "7"),
    ("response_format", r#""jwt""#),
    ("scheme", r#""DPoP""#),
    ("scope_claim", r#""scp""#),
    ("scope_wildcards", "true"),
    ("scope_implies", r#"{"a": ["b"]}"#),
    ("stale_if_error", r#""7s""#),
    ("subject_token_type", r#""urn:ietf:params:oauth:token-type:jwt""#),
    ("timeout", r#""7s""#),
    ("token", "true"),
    ("token_precedence", r#""first""#),
    ("token_sources", r#"[{"header": "x-token"}]"#),
    ("token_type", r#""required""#),
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
            "jwt": [{
                "issuer": "https://as.test", "audience": "a", "jwks_uri": "https://as.test/keys",
            }],
            "cache": {}, "rules": [{}], "forward": {}, "sender_constraint": {},
            "cors": {"allow_origins": ["https://app.test"]},
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

/// The keys of a table whose default is a value, with that.
fn defaults(table: &'static KeyTable) -> impl Iterator<Item = (&'static str, Value)> {
    table.rows().filter_map(|row| match (row.keys, row.default) {
        // The document below is one where it is the default.
        ([key], DefaultValue::Json(text) | DefaultValue::JsonIf(text, _)) => {
            Some((*key, serde_json::from_str(text).unwrap()))
        }
        (keys, DefaultValue::Json(_) | DefaultValue::JsonIf(..)) => panic!("{keys:?}"),
        (_, DefaultValue::Required | DefaultValue::Words(_)) => None,
    })
}

/// All that a configuration makes the filter do, as text.
fn picture(document: &Value) -> String {
    let variable = |_: &str| None;
    let sign = |_, _: &str, text: &[u8]| Ok([text, &[0; 256]].concat()[..256].to_vec());
    let environment = Environment { sign, ..Environment::pretended(&variable) };
    let loaded = load(document.to_string().as_bytes(), &environment);
    let (config, _) = loaded.unwrap_or_else(|mistakes| panic!("{mistakes}\n{document:#}"));
    let Config { inbound, outbound } = config;
    let (guard, clients) = (inbound.unwrap(), outbound.unwrap());
    let mut parts = vec![format!("{guard:?} {clients:?}")];
    parts.extend(guard.servers.iter().map(|server| call(&server.introspection.endpoint)));
    parts.extend(guard.issuers.iter().filter_map(|issuer| match &issuer.keys {
        KeySource::Fetched(endpoint, _) => Some(text(&endpoint.get(CallId(0), &"/".into()))),
        KeySource::Fixed(_) | KeySource::JwtAuthn => None,
    }));
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
            key: _,
        } = client;
        parts.extend(endpoint.as_deref().map(call));
        parts.push(format!("{name} {grant:?} {refresh:?} {asked:?} {lifetime:?} {placement:?}"));
        parts.push(format!("{renew_on_status:?} {failure_mode_allow}"));
    }
    parts.join("\n")
}

/// A call, as text. That of an endpoint is not shown otherwise, since it has secrets in it.
fn call(endpoint: &Endpoint) -> String {
    let (id, purpose) = (CallId(0), Purpose::Token);
    let now = Timestamp::from_millis(0);
    text(&endpoint.call(id, purpose, &[], Repeat::Harmless, now).unwrap())
}

fn text(call: &Call) -> String {
    format!("{} {:?} {} {:?}", call.cluster, call.headers, call.body, call.timeout)
}

/// The document with a key set at a place, and what belongs to that key.
fn with(place: &str, key: &str, value: Value) -> Value {
    let mut document = document();
    let object = document.pointer_mut(place).and_then(Value::as_object_mut).unwrap();
    if ["typ", "lifetime"].contains(&key) && !place.starts_with("/inbound/jwt") {
        object.remove("client_secret");
        object.insert("auth_method".into(), json!("private_key_jwt"));
        object.insert("private_key".into(), json!("k"));
        object.insert("aud".into(), json!("https://as.test"));
    }
    if key == "allow_cors_preflight" {
        object.remove("cors");
    }
    if !value.is_null() {
        object.insert(key.to_owned(), value);
    }
    document
}

#[test]
fn what_people_are_told_is_the_default_is_the_default() {
    let mut tested = BTreeSet::new();
    for (table, place) in TABLES {
        let heading = table.heading;
        for (key, default) in defaults(table) {
            let without = picture(&with(place, key, Value::Null));
            let explicit = picture(&with(place, key, default.clone()));
            assert_eq!(explicit, without, "{heading}: {key} is not {default}");
            // What makes no difference would prove nothing.
            let here = format!("{place}/{key}");
            let other = OTHERS.into_iter().find(|(known, _)| *known == here || *known == key);
            let (known, other) =
                other.unwrap_or_else(|| panic!("no other value of {key} is known"));
            let other = picture(&with(place, key, serde_json::from_str(other).unwrap()));
            assert_ne!(other, without, "{heading}: {key} shows nowhere");
            tested.insert(known);
        }
    }
    assert_eq!(tested, OTHERS.into_iter().map(|(key, _)| key).collect());
}
