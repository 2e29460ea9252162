//! Lines of the standards about clients: what token requests hold, and what follows from answers.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use oauth2_filter_core::CallFailure;
use serde_json::{Value, json};

use crate::exchanges::get;
use crate::exchanging::{exchange, exchanged};
use crate::host::SimulatedHost;
use crate::outbound::{client, document, form, host, parameter, password, seen, token};

const SECOND: Duration = Duration::from_secs(1);

/// A header of the oldest open call.
fn header<'h>(host: &'h SimulatedHost, name: &str) -> Option<&'h str> {
    let headers = &host.calls.first().expect("an open call").headers;
    headers.iter().find(|(n, _)| **n == *name).map(|(_, value)| &**value)
}

/// A client that signs assertions.
fn signing() -> Value {
    json!({
        "client_secret": null, "auth_method": "private_key_jwt", "private_key": "k3y",
        "aud": "https://as.test", "kid": "k1", "resource": "https://api.test/",
    })
}

/// The payload of the assertion in the oldest open call.
fn asserted(host: &SimulatedHost) -> Value {
    let assertion = parameter(host, "client_assertion").expect("an assertion");
    let parts: Vec<&str> = assertion.split('.').collect();
    assert_eq!(parts.len(), 3, "{assertion}");
    let payload = URL_SAFE_NO_PAD.decode(parts[1]).expect("base64url");
    serde_json::from_slice(&payload).expect("JSON")
}

#[test]
fn cl_6749_01_cl_6749_09_a_token_is_asked_for_in_an_authenticated_post_of_a_form() {
    let odd = json!({"client_id": "a:b c", "client_secret": "%+ö"});
    let mut host = host(odd);
    host.send(&get("/"));
    for (name, value) in [
        (":method", "POST"),
        (":path", "/token"),
        (":authority", "as.test"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("accept", "application/json"),
    ] {
        assert_eq!(header(&host, name), Some(value), "{name}");
    }
    // Each of both form-encoded first (RFC 6749, section 2.3.1).
    let credentials = STANDARD.encode("a%3Ab%20c:%25%2B%C3%B6");
    assert_eq!(header(&host, "authorization"), Some(&*format!("Basic {credentials}")));
    assert_eq!(form(&host), [("grant_type".to_owned(), "client_credentials".to_owned())]);
}

#[test]
fn cl_6749_13_the_scope_of_an_answer_changes_nothing_in_what_is_asked_for() {
    for granted in [Value::Null, json!(""), json!("a"), json!("a b c"), json!(["a"])] {
        let mut host = host(json!({"scope": "a b"}));
        let waits = host.send(&get("/"));
        assert_eq!(parameter(&host, "scope").as_deref(), Some("a b"));
        let mut answer = token("t1");
        answer["scope"] = granted.clone();
        host.answer_with(&answer);
        assert_eq!(seen(&host, waits).as_deref(), Some("Bearer t1"), "{granted}");
        host.advance(SECOND * 100);
        host.send(&get("/"));
        assert_eq!(parameter(&host, "scope").as_deref(), Some("a b"), "{granted}");
    }
}

#[test]
fn cl_7523_01_cl_9700_02_mcp_11_a_client_proves_itself_by_an_assertion() {
    let mut host = host(signing());
    host.send(&get("/"));
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    assert_eq!(parameter(&host, "client_assertion_type").as_deref(), Some(kind));
    let payload = asserted(&host);
    assert_eq!(payload["aud"], "https://as.test");
    assert_eq!(payload["sub"], parameter(&host, "client_id").expect("one").as_str());
    assert_eq!(payload["exp"], host.seconds() + 60);
    assert_eq!(header(&host, "authorization"), None);
    assert_eq!(parameter(&host, "client_secret"), None);
    assert_eq!(parameter(&host, "resource").as_deref(), Some("https://api.test/"));
    // The proxy repeats no call whose assertion the server may have seen.
    assert_eq!(header(&host, "x-envoy-retry-on"), Some("connect-failure,refused-stream"));
}

#[test]
fn cl_7523_04_d6_06_a_call_after_a_failure_has_a_new_assertion() {
    let mut host = host(signing());
    let mut seen = BTreeSet::new();
    for n in 1..=3 {
        host.send(&get("/"));
        let jti = asserted(&host)["jti"].as_str().expect("text").to_owned();
        assert!(seen.insert(jti), "call {n}");
        host.answer(&Err(CallFailure::Timeout));
        host.advance(SECOND * 60);
    }
}

#[test]
fn cl_10070_01_d6_05_no_answer_changes_the_audience_of_assertions() {
    let mut host = host(signing());
    host.send(&get("/"));
    let mut answer = token("t1");
    answer["iss"] = json!("https://evil.test");
    answer["issuer"] = json!("https://evil.test");
    answer["token_endpoint"] = json!("https://evil.test/token");
    host.answer_with(&answer);
    host.advance(SECOND * 100);
    host.send(&get("/"));
    assert_eq!(asserted(&host)["aud"], "https://as.test");
    assert_eq!(header(&host, ":authority"), Some("as.test"));
}

#[test]
fn cl_7523_05_cl_6749_16_cl_8707_02_what_the_server_refuses_is_asked_for_again_in_back_off_only() {
    for error in [
        "invalid_client",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",
        "something_else",
    ] {
        let mut host = host(signing());
        // A minute of a request each 100 ms.
        for _ in 0..600 {
            let stream = host.send(&get("/"));
            if !host.calls.is_empty() {
                host.answer_status(400, &json!({"error": error}));
            }
            assert_eq!(host.state(stream), "oauth2_server_refused_client", "{error}");
            host.advance(Duration::from_millis(100));
            host.tick();
        }
        // At once, and after 1, 2, 4, 8, 16 and 32 seconds at the earliest.
        assert!((5..=6).contains(&host.made), "{error}: {} calls", host.made);
    }
}

#[test]
fn cl_8705_01_cl_9700_02_a_client_with_a_certificate_sends_its_name_and_no_secret() {
    let mut host = host(json!({"client_secret": null, "auth_method": "tls_client_auth"}));
    host.send(&get("/"));
    let expected = [("grant_type", "client_credentials"), ("client_id", "orders")];
    assert_eq!(form(&host), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    assert_eq!(header(&host, "authorization"), None);
}

#[test]
fn cl_8707_01_mcp_10_each_resource_is_a_parameter_of_its_own_in_every_request() {
    let mut more = password();
    more["resource"] = json!(["https://a.test/mcp", "urn:b"]);
    let mut host = host(more);
    for grant in ["password", "refresh_token"] {
        host.send(&get("/"));
        assert_eq!(parameter(&host, "grant_type").as_deref(), Some(grant));
        let sent = form(&host).into_iter().filter(|(name, _)| name == "resource");
        let sent: Vec<String> = sent.map(|(_, value)| value).collect();
        assert_eq!(sent, ["https://a.test/mcp", "urn:b"], "{grant}");
        let mut answer = token("t");
        answer["refresh_token"] = json!("r");
        host.answer_with(&answer);
        host.advance(SECOND * 100);
    }
}

#[test]
fn d1_07_two_users_of_one_client_have_two_tokens() {
    let user = |name: &str, word: &str| {
        let mut more = password();
        more["username"] = json!(name);
        more["password"] = json!(word);
        document(more)
    };
    let mut alice = SimulatedHost::new(&user("alice", "a"));
    alice.send(&get("/"));
    alice.answer_with(&token("for-alice"));
    assert_eq!(alice.worker(&user("alice", "a")).state_of(&get("/")), "passed");
    // The name and the word, apart: neither "bob" nor "alicea" and "" are alice.
    for other in [user("bob", "a"), user("alice", "b"), user("al", "icea")] {
        assert_eq!(alice.worker(&other).state_of(&get("/")), "waits", "{other}");
    }
}

#[test]
fn cl_8693_01_what_an_exchange_is_asked_for_is_sent_if_it_is_set() {
    let mut host = host(exchange(json!({
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "scope": "a b", "resource": ["https://a.test/", "https://b.test/"],
    })));
    let stream = host.send(&get("/").bearer("alice"));
    let expected = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", "alice"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("scope", "a b"),
        ("audience", "billing"),
        ("resource", "https://a.test/"),
        ("resource", "https://b.test/"),
    ];
    assert_eq!(form(&host), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    host.answer_with(&exchanged("for-alice"));
    assert_eq!(seen(&host, stream).as_deref(), Some("Bearer for-alice"));
}

#[test]
fn cl_8693_03_an_exchange_that_brings_no_access_token_puts_nothing_on_the_request() {
    for (member, value) in [
        ("token_type", json!("N_A")),
        ("issued_token_type", Value::Null),
        ("issued_token_type", json!("urn:ietf:params:oauth:token-type:id_token")),
    ] {
        let kind = "urn:ietf:params:oauth:token-type:access_token";
        let mut host = host(exchange(json!({"requested_token_type": kind})));
        let stream = host.send(&get("/").bearer("alice"));
        let mut answer = exchanged("for-alice");
        answer[member] = value.clone();
        host.answer_with(&answer);
        assert_eq!(host.state(stream), "oauth2_server_bad_answer", "{member} {value}");
    }
}

#[test]
fn cl_8693_04_an_exchanged_token_serves_the_exchange_that_brought_it_and_no_other() {
    let mut host = host(exchange(json!({})));
    let request = get("/").bearer("alice");
    host.send(&request);
    host.answer_with(&exchanged("for-alice"));
    for (more, state) in [
        (json!({}), "passed"),
        (json!({"audience": "other"}), "waits"),
        (json!({"resource": "https://a.test/"}), "waits"),
        (json!({"scope": "a"}), "waits"),
        (json!({"subject_token_type": "urn:ietf:params:oauth:token-type:jwt"}), "waits"),
        (json!({"requested_token_type": "urn:ietf:params:oauth:token-type:jwt"}), "waits"),
        (json!({"client_id": "other"}), "waits"),
        (json!({"endpoint": "http://as.test/other"}), "waits"),
    ] {
        let mut other = host.worker(&document(exchange(more.clone())));
        assert_eq!(other.state_of(&request), state, "{more}");
    }
    // Nor one with an actor.
    let actor = json!({"outbound": {"clients": {
        "billing": client(exchange(json!({"actor": "self"}))), "self": client(json!({})),
    }}});
    assert_eq!(host.worker(&actor).state_of(&request), "waits");
}
