//! Tokens that the filter puts on requests: they stay where a rule sends them, and callers' tokens
//! do not go in their place.

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::Listener;
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use serde_json::{Value, json};

use crate::services::SERVICES;
use crate::set_up::{BOTH, Http, SetUp, Wrong, guarded, inbound, listener, outbound, routes};

/// One host redirects to the other, and Envoy follows.
fn redirected(name: &str, document: &Value) -> Listener {
    let redirecting = json!([{
        "match": {"prefix": "/"},
        "route": {"cluster": "as", "internal_redirect_policy": {"max_internal_redirects": 2}},
    }]);
    let virtual_hosts = json!([
        {"name": "api", "domains": ["api.test"], "routes": redirecting},
        {"name": "other", "domains": ["*"], "routes": routes("/", "other")},
    ]);
    guarded(Listener::routing(name, json!([])), document)
        .connection_manager(json!({"route_config": {"virtual_hosts": virtual_hosts}}))
}

/// Both directions: a client of ours for one host, and callers whose tokens stay on their requests.
fn both(client: &Value, cache: &Value) -> Value {
    let mut document = inbound(json!({"cache": cache, "forward": {"token": true}}));
    let clients = json!({"header": "x-upstream-token", "scheme": ""});
    let ours = outbound(clients, &json!([{"hosts": ["api.test"], "client": "ours"}]));
    document["outbound"] = ours["outbound"].clone();
    for (key, value) in client.as_object().expect("members") {
        document["outbound"]["clients"]["ours"][key] = value.clone();
    }
    if client["grant_type"].is_string() {
        let ours = document["outbound"]["clients"]["ours"].as_object_mut().expect("an object");
        ours.remove("access_token");
    }
    document
}

/// The token endpoint issues `our-token` and exchanges every caller's.
fn issue(server: &ScriptedServer) {
    server.on_each("/token", |call| {
        let subject = call.parameter("subject_token");
        let token =
            subject.map_or_else(|| "our-token".to_owned(), |subject| format!("for-{subject}"));
        let kind = "urn:ietf:params:oauth:token-type:access_token";
        Answer::json(
            200,
            &json!({
                "access_token": token, "token_type": "Bearer", "expires_in": 3600,
                "issued_token_type": kind,
            }),
        )
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_follows_no_redirect_to_another_host() {
    let given = json!({});
    let obtained = json!({
        "grant_type": "client_credentials", "endpoint": "http://as.test/token", "cluster": "as",
        "client_id": "orders", "client_secret": "orders-secret",
    });
    let uncached = json!({"max_ttl": "0s"});
    let mut alone = both(&given, &json!({}));
    alone.as_object_mut().expect("an object").remove("inbound");
    let documents = [
        ("uncached", both(&given, &uncached)),
        ("cached", both(&given, &json!({}))),
        ("obtained", both(&obtained, &uncached)),
        ("alone", alone),
    ];
    let listeners = documents.iter().map(|(name, document)| redirected(name, document));
    let Some(set_up) = SetUp::start(listeners).await else { return };
    issue(&set_up.server);
    let redirect = Answer::status(302).header("location", "http://other.test/end");
    set_up.server.on("/start", redirect);
    let mut wrong = Wrong::default();
    for service in SERVICES {
        let start = Request::get("/start").authority("api.test").bearer("alice-token");
        // Envoy follows, where only the outbound direction is there.
        let reading = set_up.arrives("alone", service, &start).await;
        assert!(reading.is_for("other.test"), "{reading}");
        for (name, _) in &documents {
            // The first has to wait for more than the second.
            for http in [Http::One, Http::One, Http::Two] {
                set_up.server.clear();
                let outcome = set_up.send(http, name, service, &start).await;
                let first = set_up.server.requests("/start");
                assert_eq!(first.len(), 1, "{name} {service}");
                let token = first[0].header("x-upstream-token");
                assert_eq!(token.as_deref(), Some("our-token"), "{name} {service}");
                let safe = outcome.reading().is_none_or(|r| !r.has_in_headers("our-token"));
                wrong.unless(safe, format!("{name} {service} {http:?}"), &outcome);
            }
        }
    }
    wrong.none();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checked_request_is_exchanged_or_refused_whatever_the_caller_says_of_redirects() {
    let client = json!({
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "endpoint": "http://as.test/token", "cluster": "as",
        "client_id": "orders", "client_secret": "orders-secret",
    });
    let exchange = |inbound: Option<Value>| {
        let mut document = inbound.unwrap_or_else(|| json!({}));
        document["outbound"] = json!({
            "clients": {"ours": client}, "rules": [{"hosts": ["api.test"], "client": "ours"}],
        });
        document
    };
    let forwarding = inbound(json!({"forward": {"token": true}}));
    let documents = [
        ("checked", exchange(Some(inbound(json!({}))))),
        ("forwarding", exchange(Some(forwarding))),
        ("unchecked", exchange(None)),
    ];
    // Envoy takes the header from nobody but callers that it counts as internal.
    let internal = json!({
        "use_remote_address": true,
        "internal_address_config": {
            "cidr_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}],
        },
    });
    let listeners = documents
        .iter()
        .map(|(name, document)| listener(name, document).connection_manager(internal.clone()));
    let Some(set_up) = SetUp::start(listeners).await else { return };
    issue(&set_up.server);
    let mut wrong = Wrong::default();
    for service in SERVICES {
        for (name, _) in &documents {
            let plain = Request::get("/").authority("api.test").bearer("alice-token");
            let reading = set_up.arrives(name, service, &plain).await;
            let exchanged = "Bearer for-alice-token";
            assert_eq!(reading.header("authorization"), Some(exchanged), "{reading}");
            for http in BOTH {
                for url in ["http://api.test/", "http://other.test/x", "x", ""] {
                    let request = plain.clone().header("x-envoy-original-url", url);
                    let outcome = set_up.send(http, name, service, &request).await;
                    let safe = match outcome.reading() {
                        Some(reading) => reading.header("authorization") == Some(exchanged),
                        None => outcome.refusal() == Some(401),
                    };
                    wrong.unless(safe, format!("{name} {service} {http:?} {url:?}"), &outcome);
                }
            }
        }
    }
    wrong.none();
}
