//! The `outbound` object: every mistake in it, and every warning.

#![expect(clippy::needless_pass_by_value, reason = "tables of JSON read better without `&`")]

use prost::Message;
use serde_json::{Value, json};

use crate::{load, load_bytes, to_struct};

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// A client without mistakes, with these members set; null takes one out.
fn client(more: Value) -> Value {
    let mut client = json!({
        "grant_type": "client_credentials", "endpoint": "https://as.test/token",
        "client_id": "orders", "client_secret": "s3cr3t",
    });
    let members = client.as_object_mut().expect("an object");
    for (key, value) in more.as_object().expect("members") {
        if value.is_null() {
            members.remove(key);
        } else {
            members.insert(key.clone(), value.clone());
        }
    }
    client
}

/// The same with a grant and what it needs.
fn with_grant(grant_type: &str, more: Value) -> Value {
    let mut client = client(json!({ "grant_type": grant_type }));
    let own = match grant_type {
        "password" => json!({"username": "alice", "password": "s3cr3t"}),
        "refresh_token" => json!({"refresh_token": "s3cr3t"}),
        "direct_token" => json!({"access_token": "s3cr3t"}),
        JWT_BEARER => json!({"assertion": "s3cr3t"}),
        _ => json!({}),
    };
    for (key, value) in [own, more].iter().flat_map(|part| part.as_object().expect("members")) {
        if value.is_null() {
            client.as_object_mut().expect("an object").remove(key);
        } else {
            client[key] = value.clone();
        }
    }
    client
}

fn password(more: Value) -> Value {
    with_grant("password", more)
}

/// A token from elsewhere, without an endpoint.
fn direct(more: Value) -> Value {
    let mut direct = json!({"grant_type": "direct_token", "access_token": "s3cr3t"});
    for (key, value) in more.as_object().expect("members") {
        direct[key] = value.clone();
    }
    direct
}

/// A client that signs assertions.
fn signing(more: Value) -> Value {
    let mut signing = client(json!({
        "client_secret": null, "auth_method": "private_key_jwt",
        "private_key": "elliptic s3cr3t", "aud": "https://as.test",
    }));
    for (key, value) in more.as_object().expect("members") {
        if value.is_null() {
            signing.as_object_mut().expect("an object").remove(key);
        } else {
            signing[key] = value.clone();
        }
    }
    signing
}

/// A document with this client and one rule, which warns of nothing.
fn document(client: Value) -> Value {
    json!({"outbound": {
        "clients": {"a": client}, "rules": [{"hosts": ["api.test"], "client": "a"}],
    }})
}

/// A document with these rules, and the clients a and b.
fn rules(rules: Value) -> Value {
    let clients = json!({"a": client(json!({})), "b": client(json!({"client_id": "b"}))});
    json!({"outbound": {"clients": clients, "rules": rules}})
}

/// A document with these clients and a rule for the one called a.
fn clients(clients: Value) -> Value {
    json!({"outbound": {"clients": clients, "rules": [{"hosts": ["api.test"], "client": "a"}]}})
}

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
    let all = json!({
        "endpoint": "https://as.test/token?tenant=1", "cluster": "as", "timeout": "2s",
        "retries": 0, "headers": {"x-api-key": "k"}, "parameters": {"realm": "a"},
        "scope": "a b", "audience": "billing", "resource": ["https://a.test/", "urn:b"],
        "refresh_before": "10s", "clock_skew": "5s", "default_expires_in": "10m",
        "renew_on_status": [401, 403], "header": "X-Token", "scheme": "", "overwrite": false,
        "failure_mode_allow": false,
    });
    let signs = json!({
        "kid": "k1", "alg": "ES256", "typ": "JWT", "lifetime": "5m",
    });
    let refresh = json!({"refresh": {
        "endpoint": "https://as.test/refresh", "scope": "a", "parameters": {"b": "c"},
        "client_id": "other", "client_secret": "s", "auth_method": "client_secret_post",
    }});
    for good in [
        client(all.clone()),
        client(json!({"auth_method": "client_secret_basic_raw"})),
        client(json!({"client_secret": null, "auth_method": "tls_client_auth"})),
        client(json!({"client_secret": {"env": "SECRET"}})),
        client(json!({"renew_on_status": []})),
        signing(signs),
        signing(json!({"private_key": "rsa", "alg": "RS256"})),
        with_grant("refresh_token", all.clone()),
        with_grant(JWT_BEARER, all.clone()),
        with_grant(JWT_BEARER, json!({"client_secret": null, "auth_method": "none"})),
        with_grant(EXCHANGE, all),
        with_grant(EXCHANGE, json!({"subject_token_type": "x:y", "requested_token_type": "x:z"})),
        direct(json!({"expires_in": "1h"})),
        direct(json!({"refresh": false})),
        with_grant("direct_token", json!({"refresh": {"refresh_token": "r"}})),
    ] {
        assert_eq!(load(&document(good.clone())).unwrap(), Vec::<String>::new(), "{good}");
    }
    for legacy in [refresh, json!({"refresh": false}), json!({"refresh": {}})] {
        assert_eq!(load(&document(password(legacy))).unwrap().len(), 1);
    }
}

#[test]
fn d6_11_a_mistake_in_clients_or_rules_names_its_place_and_what_would_be_right() {
    let endless = json!({"a": with_grant(EXCHANGE, json!({"actor": "a"}))});
    let chain = json!({
        "a": with_grant(EXCHANGE, json!({"actor": "b"})), "b": with_grant(EXCHANGE, json!({})),
    });
    check([
        (json!({"outbound": 1}), "outbound", "expected an object with clients and rules"),
        (json!({"outbound": {}}), "outbound.clients", "required: an object of clients"),
        (json!({"outbound": {"clients": []}}), "outbound.clients", "expected an object of clients"),
        (json!({"outbound": {"clients": {}}}), "outbound.clients", "names no client"),
        (
            json!({"outbound": {"clients": {"": client(json!({}))}}}),
            "outbound.clients.",
            "a client has a name",
        ),
        (
            json!({"outbound": {"clients": {"a": client(json!({}))}, "client": "a"}}),
            "outbound.client",
            "unknown key; did you mean `clients`?",
        ),
        (
            json!({"outbound": {"clients": rules(json!(0))["outbound"]["clients"]}}),
            "outbound.rules",
            "required where there are several clients: which requests get whose token, such as \
             [{\"hosts\": [\"api.example.com\"], \"client\": \"NAME\"}]",
        ),
        (rules(json!({})), "outbound.rules", "expected rules, found an object"),
        (rules(json!([])), "outbound.rules", "an empty list fits nothing"),
        (rules(json!(["a"])), "outbound.rules[0]", "expected a rule with hosts, methods, paths"),
        (
            rules(json!([{"hosts": ["a.test"]}])),
            "outbound.rules[0].client",
            "required: whose token requests get, or null for none",
        ),
        (
            rules(json!([{"hosts": ["a.test"], "client": "c"}])),
            "outbound.rules[0].client",
            "no client has this name; there are: a, b",
        ),
        (
            rules(json!([{"hosts": ["a.test"], "client": false}])),
            "outbound.rules[0].client",
            "expected the name of a client, found",
        ),
        (
            rules(json!([{"host": ["a.test"], "client": "a"}])),
            "outbound.rules[0].host",
            "unknown key; did you mean `hosts`?",
        ),
        (
            rules(json!([{"client": "a", "hosts": ["https://a.test"]}])),
            "outbound.rules[0].hosts[0]",
            "expected a host such as",
        ),
        (
            rules(json!([{"client": "a", "hosts": ["a.test"], "paths": ["x"]}])),
            "outbound.rules[0].paths[0]",
            "a path pattern begins with a slash",
        ),
        (
            rules(json!([{"client": "a", "hosts": ["a.test"], "access": "deny"}])),
            "outbound.rules[0].access",
            "unknown key; known here: name, hosts, methods, paths, client",
        ),
        (
            clients(endless),
            "outbound.clients.a.actor",
            "expected a client that has a token of its own, not one that exchanges callers'",
        ),
        (clients(chain), "outbound.clients.a.actor", "expected a client that has a token of its"),
        (
            json!({
                "inbound": {
                    "introspection": {"endpoint": "https://as.test/introspect", "client": "a"},
                    "audience": "x",
                },
                "outbound": {"clients": {"a": with_grant(EXCHANGE, json!({}))}},
            }),
            "outbound.clients.a.grant_type",
            "this client authenticates introspection calls, so it needs a token of its own",
        ),
    ]);
}

#[test]
fn d6_11_a_mistake_in_a_grant_names_its_place_and_what_would_be_right() {
    let no_type = client(json!({"grant_type": null}));
    let known = "required: \"client_credentials\", \"password\", \"refresh_token\", ";
    check_clients([
        (json!("a"), "", "expected a client with grant_type, endpoint"),
        (no_type, "grant_type", known),
        (client(json!({"grant_type": 1})), "grant_type", "expected the name of a grant, found"),
        (client(json!({"grant_type": "implicit"})), "grant_type", "expected one of \"client_cred"),
        (client(json!({"grant_type": "authorization_code"})), "grant_type", "expected one of"),
        // What each grant needs.
        (password(json!({"username": null})), "username", "required: whose password it is"),
        (password(json!({"password": null})), "password", "required: the user's password"),
        (password(json!({"password": 1})), "password", "expected the secret as a string"),
        (
            with_grant("refresh_token", json!({"refresh_token": null})),
            "refresh_token",
            "required: what tokens are asked for with",
        ),
        (
            with_grant("refresh_token", json!({"refresh_token": {"env": "UNSET"}})),
            "refresh_token.env",
            "the environment variable `UNSET` is unset or empty",
        ),
        (json!({"grant_type": "direct_token"}), "access_token", "required: the token"),
        (
            direct(json!({"access_token": "s3cr3t two"})),
            "access_token",
            "a token has visible ASCII characters only",
        ),
        (direct(json!({"expires_in": 60})), "expires_in", "expected a duration such as"),
        (direct(json!({"expires_in": "0s"})), "expires_in", "a token that lives no time is of"),
        (with_grant(JWT_BEARER, json!({"assertion": null})), "assertion", "required: one JWT"),
        (
            with_grant(EXCHANGE, json!({"subject_token_type": ""})),
            "subject_token_type",
            "expected a token type such as",
        ),
        (
            with_grant(EXCHANGE, json!({"requested_token_type": []})),
            "requested_token_type",
            "expected a token type such as",
        ),
        (with_grant(EXCHANGE, json!({"actor": "b"})), "actor", "no client has this name"),
        // What belongs to another grant, or to none.
        (client(json!({"username": "u"})), "username", "belongs to grant_type password"),
        (client(json!({"refresh": false})), "refresh", "belongs to grant_type password or direct"),
        (client(json!({"refresh_token": "s3cr3t"})), "refresh_token", "belongs to grant_type ref"),
        (
            direct(json!({"refresh_token": "s3cr3t"})),
            "refresh_token",
            "belongs to grant_type refresh_token; of a direct_token, it stands in `refresh`",
        ),
        (client(json!({"access_token": "s3cr3t"})), "access_token", "belongs to grant_type direct"),
        (client(json!({"expires_in": "1h"})), "expires_in", "belongs to grant_type direct_token"),
        (password(json!({"assertion": "s3cr3t"})), "assertion", "belongs to grant_type urn:ietf"),
        (client(json!({"actor": "a"})), "actor", "belongs to grant_type urn:ietf:params:oauth"),
        (
            password(json!({"subject_token_type": "t"})),
            "subject_token_type",
            "belongs to grant_type urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        (client(json!({"scopes": "a"})), "scopes", "unknown key; did you mean `scope`?"),
        (password(json!({"user_name": "s3cr3t"})), "user_name", "unknown key; did you mean `user"),
        (
            with_grant("refresh_token", json!({"refreshtoken": "s3cr3t"})),
            "refreshtoken",
            "unknown key; did you mean `refresh_token`?",
        ),
        (
            client(json!({"client_assertion": "s3cr3t"})),
            "client_assertion",
            "unknown key; known here: grant_type, endpoint, cluster,",
        ),
        // What is asked for.
        (client(json!({"scope": ["a"]})), "scope", "expected scopes with spaces between"),
        (client(json!({"scope": " "})), "scope", "names no scope; leave the key out"),
        (client(json!({"scope": "a\"b"})), "scope", "expected scopes with spaces between, such as"),
        (client(json!({"audience": ""})), "audience", "expected whom the token is for, found an"),
        (client(json!({"audience": ["a"]})), "audience", "expected whom the token is for, found"),
    ]);
}

#[test]
fn cl_8707_01_a_resource_is_an_absolute_uri_without_fragment() {
    check_clients([
        (
            client(json!({"resource": "https://api.test/#x"})),
            "resource",
            "expected an absolute URI without fragment (RFC 8707 section 2)",
        ),
        (client(json!({"resource": "/orders"})), "resource", "expected an absolute URI without"),
        (client(json!({"resource": ""})), "resource", "expected an absolute URI, found an empty"),
        (client(json!({"resource": []})), "resource", "an empty list fits nothing"),
        (
            client(json!({"resource": ["urn:a", "b"]})),
            "resource[1]",
            "expected an absolute URI without fragment",
        ),
    ]);
}

#[test]
fn cl_6749_07_a_scope_is_words_of_the_characters_that_the_standard_has() {
    for scope in ["a", "a b", "!#[]~", " a  b "] {
        assert!(load(&document(client(json!({"scope": scope})))).is_ok(), "{scope}");
    }
    let words = "expected scopes with spaces between";
    check_clients(
        ["a\"", "a\\b", "a\tb", "a\n", "ö", "\u{7f}"]
            .map(|scope| (client(json!({"scope": scope})), "scope", words)),
    );
    check_clients([(password(json!({"refresh": {"scope": "\""}})), "refresh.scope", words)]);
}

#[test]
fn d6_11_a_mistake_in_the_endpoint_of_a_client_names_its_place_and_what_would_be_right() {
    check_clients([
        (client(json!({"endpoint": null})), "endpoint", "required: the URL to call"),
        (client(json!({"endpoint": 1})), "endpoint", "expected an absolute URL such as"),
        (client(json!({"endpoint": "as.test/token"})), "endpoint", "expected an absolute URL such"),
        (client(json!({"endpoint": "ftp://as.test/"})), "endpoint", "expected an http or https"),
        (client(json!({"cluster": 1})), "cluster", "expected the name of an Envoy cluster"),
        (client(json!({"timeout": "0s"})), "timeout", "a timeout must be above zero"),
        (client(json!({"retries": 11})), "retries", "expected a whole number from 0 to 10"),
        (client(json!({"headers": {"host": "a"}})), "headers.host", "this header is the proxy's"),
        (
            client(json!({"headers": {"authorization": "s3cr3t"}})),
            "headers",
            "authorization is set by the filter",
        ),
        (direct(json!({"timeout": "5s"})), "timeout", "of no use without `endpoint`"),
        (direct(json!({"client_id": "a"})), "client_id", "of no use without `endpoint`"),
        // A renewal that could not be done.
        (
            direct(json!({"refresh": {"endpoint": "https://as.test/", "refresh_token": "s3cr3t"}})),
            "refresh.client_secret",
            "required: the server must know who asks",
        ),
        (direct(json!({"refresh": true})), "refresh", "expected false, or an object with endpoint"),
        (
            with_grant("direct_token", json!({"refresh": {}})),
            "refresh.refresh_token",
            "required: what renews the token",
        ),
        (password(json!({"refresh": "no"})), "refresh", "expected false, or an object with"),
        (password(json!({"refresh": null, "retries": []})), "retries", "expected a whole number"),
        (
            password(json!({"refresh": {"refresh_token": "s3cr3t"}})),
            "refresh.refresh_token",
            "unknown key; known here:",
        ),
        (
            password(json!({"refresh": {"scopes": "a"}})),
            "refresh.scopes",
            "unknown key; did you mean `scope`?",
        ),
        (
            password(json!({"refresh": {"parameters": {"username": "u"}}})),
            "refresh.parameters.username",
            "the filter sends this parameter itself",
        ),
        // A mistake in what `refresh` is completed with is told once.
        (
            password(json!({"endpoint": "x", "refresh": {"scope": "a"}})),
            "endpoint",
            "expected an absolute URL such as",
        ),
    ]);
}

#[test]
fn d6_11_a_mistake_in_how_long_or_where_a_token_serves_names_its_place() {
    check_clients([
        (client(json!({"refresh_before": 5})), "refresh_before", "expected a duration such as"),
        (client(json!({"refresh_before": "9000h"})), "refresh_before", "longer than a year"),
        (client(json!({"clock_skew": "-1s"})), "clock_skew", "expected a duration such as"),
        (
            client(json!({"default_expires_in": "0s"})),
            "default_expires_in",
            "a token that lives no time is of no use",
        ),
        (
            client(json!({"renew_on_status": 401})),
            "renew_on_status",
            "expected a list of HTTP statuses from 400 to 599, such as [401], found a number",
        ),
        (
            client(json!({"renew_on_status": [401, 302]})),
            "renew_on_status[1]",
            "expected a whole number from 400 to 599",
        ),
        (client(json!({"renew_on_status": [600]})), "renew_on_status[0]", "expected a whole numb"),
        (client(json!({"renew_on_status": ["401"]})), "renew_on_status[0]", "expected a whole nu"),
        (client(json!({"header": ""})), "header", "expected the name of a header, found an empty"),
        (client(json!({"header": "a b"})), "header", "not a header name"),
        (client(json!({"header": ":path"})), "header", "not a header name"),
        (client(json!({"header": "Host"})), "header", "this header has a meaning of its own"),
        (client(json!({"header": "content-length"})), "header", "this header has a meaning of"),
        (client(json!({"header": "cookie"})), "header", "this header has a meaning of its own"),
        (client(json!({"header": "x-envoy-retry-on"})), "header", "this header has a meaning of"),
        (client(json!({"scheme": "Bearer "})), "scheme", "a scheme is one word, such as"),
        (client(json!({"scheme": "A\r\nB"})), "scheme", "a scheme is one word, such as"),
        (client(json!({"scheme": false})), "scheme", "expected a scheme such as \"Bearer\""),
        (client(json!({"overwrite": "no"})), "overwrite", "expected true or false, found a string"),
        (client(json!({"failure_mode_allow": 1})), "failure_mode_allow", "expected true or false"),
    ]);
}

#[test]
fn cl_6749_02_a_token_endpoint_has_no_fragment_and_its_query_nothing_that_is_sent() {
    check_clients([
        (
            client(json!({"endpoint": "https://as.test/token#x"})),
            "endpoint",
            "an endpoint has no fragment (RFC 6749 section 3.2)",
        ),
        (
            client(json!({"endpoint": "https://as.test/?grant_type=s3cr3t"})),
            "endpoint",
            "its query repeats a parameter that the filter sends itself",
        ),
        (
            client(json!({"endpoint": "https://as.test/?client_secret=s3cr3t"})),
            "endpoint",
            "its query repeats a parameter that the filter sends itself",
        ),
    ]);
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
            check_clients([(client, place, "the filter sends this parameter itself (RFC 6749 s")]);
        }
        let free = with_grant(grant, json!({"parameters": {"tenant": "a"}}));
        assert!(load(&document(free)).is_ok(), "{grant}");
    }
}

#[test]
fn cl_6749_05_cl_8705_01_each_way_to_authenticate_has_what_it_needs_and_no_more() {
    let tls = json!({"client_secret": null, "auth_method": "tls_client_auth"});
    let mut nobody = client(tls);
    nobody.as_object_mut().expect("an object").remove("client_id");
    check_clients([
        (
            nobody,
            "client_id",
            "required: the server looks for the certificate of this client (RFC 8705 section 2)",
        ),
        (
            client(json!({"auth_method": "tls_client_auth"})),
            "client_secret",
            "auth_method \"tls_client_auth\" sends no secret",
        ),
        (
            client(json!({"auth_method": "none"})),
            "client_secret",
            "auth_method \"none\" sends no secret",
        ),
        (client(json!({"client_secret": null})), "client_secret", "required: the server must know"),
        (client(json!({"client_id": null})), "client_id", "required beside client_secret"),
        (client(json!({"auth_method": "basic"})), "auth_method", "expected \"client_secret_basic"),
        (client(json!({"auth_method": 1})), "auth_method", "expected \"client_secret_basic\""),
        (
            client(json!({"client_secret": {"env": "UNSET"}})),
            "client_secret.env",
            "the environment variable `UNSET` is unset or empty",
        ),
        // Keys of the one that signs.
        (client(json!({"kid": "k"})), "kid", "belongs to auth_method \"private_key_jwt\""),
        (client(json!({"private_key": "s3cr3t"})), "private_key", "belongs to auth_method"),
        (signing(json!({"client_secret": "s3cr3t"})), "client_secret", "private_key_jwt sends no"),
        (signing(json!({"client_id": null})), "client_id", "required: the assertion is this"),
        (signing(json!({"client_id": 1})), "client_id", "expected the client's identifier"),
        (signing(json!({"private_key": null})), "private_key", "required: the client's private"),
        (
            signing(json!({"private_key": {"env": "UNSET"}})),
            "private_key.env",
            "the environment variable `UNSET` is unset or empty",
        ),
        (
            signing(json!({"private_key": "bad"})),
            "private_key",
            "the host does not take this key: expected RSA or P-256, in PEM (PKCS #8)",
        ),
        (
            signing(json!({"private_key": "no host"})),
            "auth_method",
            "this host cannot sign (Envoy can from 1.37 on): use another method",
        ),
        (signing(json!({"alg": "RS256"})), "alg", "the key is one for ES256"),
        (signing(json!({"private_key": "rsa", "alg": "ES256"})), "alg", "the key is one for RS256"),
        (signing(json!({"alg": "PS256"})), "alg", "expected \"RS256\" or \"ES256\""),
        (signing(json!({"alg": "none"})), "alg", "expected \"RS256\" or \"ES256\""),
        (signing(json!({"kid": ""})), "kid", "expected the key's identifier, found an empty"),
        (signing(json!({"typ": []})), "typ", "expected the `typ` of the header, found a list"),
        (signing(json!({"lifetime": "0s"})), "lifetime", "an assertion lives from one second"),
        (signing(json!({"lifetime": "301s"})), "lifetime", "an assertion lives from one second"),
        (signing(json!({"lifetime": 60})), "lifetime", "expected a duration such as"),
    ]);
}

#[test]
fn cl_10070_01_d6_05_the_audience_of_an_assertion_is_configured_as_one_value() {
    check_clients([
        (
            signing(json!({"aud": null})),
            "aud",
            "required: the issuer identifier of the authorization server (RFC 10070)",
        ),
        (signing(json!({"aud": ["https://as.test"]})), "aud", "expected the issuer identifier of"),
        (signing(json!({"aud": ""})), "aud", "expected the issuer identifier of the authorization"),
    ]);
}

#[test]
fn cl_6749_09_client_credentials_without_credentials_are_asked_for_in_so_many_words() {
    let bare = json!({"client_id": null, "client_secret": null});
    check_clients([(client(bare), "client_secret", "required: the server must know who asks")]);
    let none = json!({"client_secret": null, "auth_method": "none"});
    let warnings = load(&document(client(none))).unwrap();
    assert_eq!(
        warnings,
        ["outbound.clients.a: client_credentials without credentials (RFC 6749 section 4.4.2)"]
    );
}

#[test]
fn cl_9700_01_the_password_grant_is_warned_of() {
    let warnings = load(&document(password(json!({})))).unwrap();
    let expected = "outbound.clients.a.grant_type: the password grant is legacy and must not be \
                    used where there is another (RFC 9700 section 2.4)";
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
            "plain http: tokens and client credentials travel in clear text",
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
            "while there is no token, requests go on without one",
        ),
        (no_hosts, "outbound.rules", "a rule without hosts: its token goes to every host"),
        (by_itself, "outbound.rules", "a rule without hosts: its token goes to every host"),
        (
            document(with_grant("direct_token", json!({}))),
            "outbound.clients.a.endpoint",
            "never called: the token is not renewed without `refresh`",
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
    let words = "no client has this name; there are: actor, billing, own";
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
