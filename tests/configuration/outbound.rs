//! The `outbound` object: every mistake in it, and every warning.

use prost::Message;
use serde_json::{Value, json};

use crate::documents::{
    self, EXCHANGE, JWT_BEARER, client, document, password, rules, signing, with_grant,
};
use crate::{load, load_bytes, to_struct};

/// Loads each document of a table of mistakes: each has one, at this place, in words that begin so.
fn check(table: impl IntoIterator<Item = (Value, &'static str, &'static str)>) {
    let mut wrong = Vec::new();
    for (document, place, words) in table {
        let mistakes = load(&document).expect_err(&format!("accepted: {document}"));
        let found: Vec<_> = mistakes.iter().collect();
        let is_it = matches!(&*found, [it] if it.place == place && it.text.starts_with(words));
        if !is_it || mistakes.to_string().contains("s3cr3t") {
            wrong.push(format!("expected: {place}: {words}\n   found: {mistakes}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The same for a client: places are those in it.
fn check_clients(table: impl IntoIterator<Item = (Value, &'static str, &'static str)>) {
    check(table.into_iter().map(|(client, key, words)| {
        let place = format!("outbound.clients.a{}{key}", if key.is_empty() { "" } else { "." });
        (document(client), &*place.leak(), words)
    }));
}

#[test]
fn every_key_of_a_client_is_read() {
    for good in documents::good_clients() {
        assert_eq!(load(&document(good.clone())).unwrap(), Vec::<String>::new(), "{good}");
    }
    let refresh = json!({"refresh": {
        "endpoint": "https://as.test/refresh", "scope": "a", "parameters": {"b": "c"},
        "client_id": "other", "client_secret": "s", "auth_method": "client_secret_post",
    }});
    for legacy in [refresh, json!({"refresh": false}), json!({"refresh": {}})] {
        assert_eq!(load(&document(password(legacy))).unwrap().len(), 1);
    }
}

#[test]
fn d6_11_a_mistake_in_clients_or_rules_names_its_place_and_what_would_be_right() {
    check(documents::rule_mistakes());
}

#[test]
fn d6_11_a_mistake_in_a_grant_names_its_place_and_what_would_be_right() {
    check_clients(documents::grant_mistakes());
}

#[test]
fn cl_8707_01_a_resource_is_an_absolute_uri_without_fragment() {
    check_clients(documents::resource_mistakes());
}

#[test]
fn cl_6749_07_a_scope_is_words_of_the_characters_that_the_standard_has() {
    for scope in ["a", "a b", "!#[]~", " a  b "] {
        assert!(load(&document(client(json!({"scope": scope})))).is_ok(), "{scope}");
    }
    let words = "expected space-separated scopes such as \"orders:read orders:write\",";
    check_clients(
        ["a\"", "a\\b", "a\tb", "a\n", "ö", "\u{7f}"]
            .map(|scope| (client(json!({"scope": scope})), "scope", words)),
    );
    check_clients([(password(json!({"refresh": {"scope": "\""}})), "refresh.scope", words)]);
}

#[test]
fn d6_11_a_mistake_in_the_endpoint_of_a_client_names_its_place_and_what_would_be_right() {
    check_clients(documents::endpoint_mistakes());
}

#[test]
fn d6_11_a_mistake_in_how_long_or_where_a_token_serves_names_its_place() {
    check_clients(documents::service_mistakes());
}

#[test]
fn cl_6749_02_a_token_endpoint_has_no_fragment_and_its_query_nothing_that_is_sent() {
    check_clients(documents::url_mistakes());
}

#[test]
fn cl_6749_03_no_parameter_is_one_that_the_grant_defines() {
    let common = ["grant_type", "scope", "audience", "resource", "client_id", "client_secret"];
    let assertions = ["client_assertion", "client_assertion_type"];
    let exchange = ["subject_token", "subject_token_type", "requested_token_type"];
    let own: [(&str, &[&str]); 6] = [
        ("client_credentials", &[]),
        ("password", &["username", "password", "refresh_token"]),
        ("refresh_token", &["refresh_token"]),
        ("direct_token", &["refresh_token"]),
        (JWT_BEARER, &["assertion", "refresh_token"]),
        (EXCHANGE, &[&exchange[..], &["actor_token", "actor_token_type"]].concat()),
    ];
    for (grant, own) in own {
        for name in common.iter().chain(&assertions).chain(own) {
            let client = with_grant(grant, json!({"parameters": {*name: "s3cr3t"}}));
            let place = &*format!("parameters.{name}").leak();
            check_clients([(
                client,
                place,
                "reserved: the filter sends this parameter (RFC 6749 section 3.2)",
            )]);
        }
        let free = with_grant(grant, json!({"parameters": {"tenant": "a"}}));
        assert!(load(&document(free)).is_ok(), "{grant}");
    }
}

#[test]
fn cl_6749_05_cl_8705_01_each_way_to_authenticate_has_what_it_needs_and_no_more() {
    check_clients(documents::authentication_mistakes());
}

#[test]
fn cl_10070_01_d6_05_the_audience_of_an_assertion_is_configured_as_one_value() {
    check_clients(documents::assertion_mistakes());
}

#[test]
fn cl_6749_09_client_credentials_without_credentials_are_asked_for_in_so_many_words() {
    let bare = json!({"client_id": null, "client_secret": null});
    check_clients([(
        client(bare),
        "client_secret",
        "required: set client_id and client_secret, or auth_method \"none\" if the server requires \
         no client authentication (RFC 7662 section 2.1, RFC 6749 section 4.4.2)",
    )]);
    let none = json!({"client_secret": null, "auth_method": "none"});
    let warnings = load(&document(client(none))).unwrap();
    assert_eq!(
        warnings,
        [
            "outbound.clients.a: client_credentials requires client authentication (RFC 6749 section \
             4.4.2); set credentials"
        ]
    );
}

#[test]
fn cl_9700_01_the_password_grant_is_warned_of() {
    let warnings = load(&document(password(json!({})))).unwrap();
    let expected = "outbound.clients.a.grant_type: the password grant is deprecated (RFC 9700 \
         section 2.4); use client_credentials if possible";
    assert_eq!(warnings, [expected]);
}

#[test]
fn what_is_accepted_but_risky_is_warned_of_at_its_place() {
    let no_hosts = rules(json!([
        {"hosts": ["a.test"], "client": "a"}, {"paths": ["/x"], "client": null}, {"client": "b"},
    ]));
    let by_itself = json!({"outbound": {"clients": {"a": client(json!({}))}}});
    for (document, place, words) in [
        (
            document(client(json!({"endpoint": "http://as.test/token"}))),
            "outbound.clients.a.endpoint",
            "plain http: tokens and client credentials are sent unencrypted; use https",
        ),
        (
            document(with_grant(
                "direct_token",
                json!({"refresh": {
                    "endpoint": "http://as.test/token", "refresh_token": "s3cr3t",
                }}),
            )),
            "outbound.clients.a.refresh.endpoint",
            "plain http",
        ),
        (
            document(client(json!({"failure_mode_allow": true}))),
            "outbound.clients.a.failure_mode_allow",
            "while no token is available, requests are forwarded without one",
        ),
        (no_hosts, "outbound.rules", "a rule without hosts sends its token to every host"),
        (by_itself, "outbound.rules", "a rule without hosts sends its token to every host"),
        (
            document(with_grant("direct_token", json!({}))),
            "outbound.clients.a.endpoint",
            "never called: without `refresh`, the token is not renewed; add `refresh` or remove \
             `endpoint`",
        ),
    ] {
        let warnings = load(&document).unwrap();
        let expected = format!("{place}: {words}");
        assert!(
            matches!(&*warnings, [warning] if warning.starts_with(&expected)),
            "expected: {expected}\n   found: {warnings:?}"
        );
    }
}

#[test]
fn the_client_for_introspection_and_actors_are_not_for_requests() {
    let document = json!({
        "inbound": {
            "introspection": {"endpoint": "https://as.test/introspect", "client": "own"},
            "audience": "https://api.test",
        },
        "outbound": {"clients": {
            "own": client(json!({})), "actor": client(json!({"client_id": "actor"})),
            "billing": with_grant(EXCHANGE, json!({"actor": "actor"})),
        }},
    });
    let warnings = load(&document).unwrap();
    assert!(matches!(&*warnings, [one] if one.starts_with("outbound.rules: a rule without hosts")));
    let mut alone = document.clone();
    alone["outbound"]["clients"].as_object_mut().unwrap().remove("billing");
    alone["outbound"]["clients"].as_object_mut().unwrap().remove("actor");
    assert_eq!(load(&alone).unwrap(), Vec::<String>::new(), "no request gets its token");
    let mut unknown = document;
    unknown["inbound"]["introspection"]["client"] = json!("onw");
    let words = "unknown client; known clients: actor, billing, own";
    check([(unknown, "inbound.introspection.client", words)]);
}

#[test]
fn all_mistakes_of_clients_and_rules_stand_in_one_message() {
    let document = json!({"outbound": {
        "clients": {
            "a": client(json!({"scope": 1, "header": "host", "extra": 1})),
            "b": password(json!({"username": null, "endpoint": "x"})),
        },
        "rules": [{"client": "c"}, {"hosts": [], "client": "a"}],
    }});
    let mistakes = load(&document).unwrap_err();
    let places: Vec<_> = mistakes.iter().map(|mistake| mistake.place.as_str()).collect();
    let expected = [
        "outbound.clients.a.scope",
        "outbound.clients.a.header",
        "outbound.clients.a.extra",
        "outbound.clients.b.username",
        "outbound.clients.b.endpoint",
        "outbound.rules[0].client",
        "outbound.rules[1].hosts",
    ];
    assert_eq!(places, expected);
}

#[test]
fn an_outbound_struct_is_read_from_its_wire_format() {
    let numbers = json!({"retries": 2, "renew_on_status": [401, 403]});
    let bytes = to_struct(&document(client(numbers))).encode_to_vec();
    assert_eq!(load_bytes(&bytes).unwrap(), Vec::<String>::new());
    let mut with_null = rules(json!([{"hosts": ["a.test"], "client": null}]));
    assert!(load_bytes(&to_struct(&with_null).encode_to_vec()).is_ok());
    with_null["outbound"]["clients"]["a"]["renew_on_status"] = json!([401.5]);
    let mistakes = load_bytes(&to_struct(&with_null).encode_to_vec()).unwrap_err().to_string();
    let expected = "outbound.clients.a.renew_on_status[0]: expected a whole number from 400 to 599";
    assert_eq!(mistakes, expected);
}

#[test]
fn d6_01_a_secret_in_the_wrong_place_is_not_repeated() {
    let secret = "s3cr3t";
    for key in [
        "grant_type",
        "endpoint",
        "cluster",
        "timeout",
        "retries",
        "headers",
        "parameters",
        "auth_method",
        "scope",
        "resource",
        "refresh",
        "refresh_before",
        "clock_skew",
        "default_expires_in",
        "renew_on_status",
        "header",
        "scheme",
        "overwrite",
        "lifetime",
        "failure_mode_allow",
        "username",
        "actor",
        "alg",
    ] {
        for value in [json!(secret), json!([secret]), json!({"x": secret}), json!({"env": "UNSET"})]
        {
            for client in [client(json!({key: value})), signing(json!({key: value}))] {
                if let Err(mistakes) = load(&document(client)) {
                    assert!(!mistakes.to_string().contains(secret), "{key}: {mistakes}");
                }
            }
        }
    }
    let named = rules(json!([{"hosts": ["a.test"], "client": secret}]));
    assert!(!load(&named).unwrap_err().to_string().contains(secret));
}
