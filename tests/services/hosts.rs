//! The host that rules see is the host that the service, and Envoy's router, read.

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::{Listener, merge};
use oauth2_filter_testbed::scripted::Answer;
use serde_json::{Value, json};

use crate::reading::Reading;
use crate::services::SERVICES;
use crate::set_up::{BOTH, Http, SetUp, Wrong, guarded, inbound, outbound, routes};

/// Values of `Host` that name both hosts, or one of them in some spelling.
const HOSTS: [&str; 46] = [
    "a.test:80@b.test",
    "a.test@b.test",
    "a.test:@b.test",
    "a.test:80@b.test:80",
    "b.test@a.test",
    "b.test:80@a.test",
    "u@b.test",
    "u:p@b.test",
    "@b.test",
    "b.test:a.test",
    "a.test:b.test",
    "b.test:80:90",
    "a.test:80:90",
    "a.test:80:b.test",
    "b.test:80:a.test",
    "b.test:",
    "b.test:x",
    "b.test:-1",
    "b.test:+80",
    "b.test:99999",
    "b.test:80 ",
    "a.test,b.test",
    "a.test, b.test",
    "a.test;b.test",
    "a.test b.test",
    "a.test\tb.test",
    "a.test#@b.test",
    "a.test?@b.test",
    "a.test/@b.test",
    "a.test/b.test",
    "a.test\\@b.test",
    "a.test\\b.test",
    "a.test%40b.test",
    "a.test%3a80@b.test",
    "a.test%00b.test",
    "a.test%2fb.test",
    "b%2etest",
    "b.test.",
    "b.test..",
    ".b.test",
    "b.test.:80",
    "a.test.:80@b.test.",
    "[a.test]@b.test",
    "[::1]@b.test",
    "[b.test]",
    "b.test]",
];

/// Spellings of hosts that have no name.
const NUMBERS: [&str; 16] = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "127.0.0.1.",
    "127.0.0.1:80",
    "127.0.0.1:80:90",
    "127.0.0.2@127.0.0.1",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::0001]:80",
    "[::1]:80:90",
    "[::2]@[::1]",
    "[::ffff:127.0.0.1]",
];

/// A listener that routes by hosts, and shows to services by which.
fn by_host(name: &str, document: &Value, more: Value) -> Listener {
    let virtual_host = |host: &str, domains: Value| json!({"name": host, "domains": domains, "routes": routes("/", host)});
    let mut fields = json!({"route_config": {"virtual_hosts": [
        virtual_host("a.test", json!(["a.test", "a.test:*"])),
        virtual_host("b.test", json!(["b.test", "b.test:*"])),
        virtual_host("other", json!(["*"])),
    ]}});
    merge(&mut fields, more);
    guarded(Listener::routing(name, json!([])), document).connection_manager(fields)
}

/// The listener as it is, and with the ports taken off the hosts.
fn both(name: &str, document: &Value) -> [Listener; 2] {
    [
        by_host(name, document, json!({})),
        by_host(&format!("{name}-stripped"), document, json!({"strip_any_host_port": true})),
    ]
}

/// Whether a service, or Envoy's router, reads the request as for this host.
fn is_for(reading: &Reading, host: &str) -> bool {
    reading.is_for(host) || reading.route() == Some(host)
}

/// Sends a request for each host to each service.
async fn judge(
    set_up: &SetUp,
    listener: &str,
    request: &Request,
    hosts: &[&str],
    is_safe: impl Fn(&Reading) -> bool,
    wrong: &mut Wrong,
) {
    for name in [listener.to_owned(), format!("{listener}-stripped")] {
        for service in SERVICES {
            for host in hosts {
                for http in BOTH {
                    let request = request.clone().authority(host);
                    let outcome = set_up.send(http, &name, service, &request).await;
                    let safe = outcome.reading().is_none_or(&is_safe);
                    wrong.unless(safe, format!("{name} {service} {http:?} {host}"), &outcome);
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rule_for_a_host_applies_to_what_is_read_as_for_another() {
    let public = inbound(json!({"rules": [
        {"hosts": ["a.test"], "scope": "admin"},
        {"hosts": ["b.test"], "access": "public"},
    ]}));
    // Some rule fits every host, so none may hide that it is the one that is guarded.
    let others = inbound(json!({"rules": [
        {"hosts": ["a.test"], "scope": "admin"},
        {"access": "public"},
    ]}));
    let introspection = |when: Value, path: &str| {
        let mut server = json!({
            "endpoint": format!("http://as.test{path}"), "cluster": "as", "client_id": "rs",
            "client_secret": "rs-secret", "timeout": "30s",
        });
        merge(&mut server, when);
        server
    };
    let when = json!({"inbound": {"introspection": [
        introspection(json!({"when": {"hosts": ["b.test"]}}), "/of-b"),
        introspection(json!({}), "/introspect"),
    ]}});
    let ours = outbound(json!({}), &json!([{"hosts": ["b.test"], "client": "ours"}]));
    let listeners = [("public", public), ("others", others), ("when", when), ("out", ours)];
    let listeners = listeners.iter().flat_map(|(name, document)| both(name, document));
    let Some(set_up) = SetUp::start(listeners).await else { return };
    set_up.server.on("/of-b", Answer::json(200, &json!({"active": true, "sub": "b"})));

    let plain = Request::get("/");
    for service in SERVICES {
        for host in ["b.test", "B.TEST:8080"] {
            let request = plain.clone().authority(host);
            let reading = set_up.arrives("public", service, &request).await;
            assert!(reading.is_for("b.test"), "{reading}");
            let reading = set_up.arrives("when", service, &request.clone().bearer("of-b")).await;
            assert!(is_for(&reading, "b.test"), "{reading}");
            let reading = set_up.arrives("out", service, &request).await;
            assert_eq!(reading.header("authorization"), Some("Bearer our-token"), "{reading}");
        }
        let admin = plain.clone().authority("a.test").bearer("admin-token");
        let reading = set_up.arrives("public", service, &admin).await;
        assert!(is_for(&reading, "a.test"), "{reading}");
        let refused = set_up.send(Http::One, "when", service, &admin.bearer("of-b")).await;
        assert!(refused.refusal().is_some(), "{refused}");
    }
    let mut wrong = Wrong::default();
    let elsewhere = |reading: &Reading| !is_for(reading, "a.test");
    judge(&set_up, "public", &plain, &HOSTS, elsewhere, &mut wrong).await;
    judge(&set_up, "others", &plain, &HOSTS, elsewhere, &mut wrong).await;
    judge(&set_up, "when", &plain.clone().bearer("of-b"), &HOSTS, elsewhere, &mut wrong).await;
    let without = |reading: &Reading| elsewhere(reading) || !reading.has_in_headers("our-token");
    judge(&set_up, "out", &plain, &HOSTS, without, &mut wrong).await;
    wrong.none();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rule_for_an_address_applies_to_what_is_read_as_for_another() {
    let guarded = json!(["127.0.0.2", "[::2]"]);
    let document = inbound(json!({"rules": [
        {"hosts": guarded, "scope": "admin"},
        {"hosts": ["127.0.0.1", "[::1]"], "access": "public"},
    ]}));
    let Some(set_up) = SetUp::start(both("public", &document)).await else { return };
    for service in SERVICES {
        for host in ["127.0.0.1", "[::1]:80"] {
            let request = Request::get("/").authority(host);
            let reading = set_up.arrives("public", service, &request).await;
            assert_eq!(reading.route(), Some("other"), "{reading}");
        }
    }
    let mut wrong = Wrong::default();
    let is_safe = |reading: &Reading| !is_for(reading, "127.0.0.2") && !is_for(reading, "[::2]");
    judge(&set_up, "public", &Request::get("/"), &NUMBERS, is_safe, &mut wrong).await;
    wrong.none();
}
