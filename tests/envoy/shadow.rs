//! `envoy/shadow.yaml`: the filter looks on, and nothing depends on it.

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::{Envoy, Options, example};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::upstream::Upstream;
use serde_json::json;

use crate::set_up::ENDPOINT;

#[tokio::test(flavor = "multi_thread")]
async fn shadow_yaml_counts_what_it_would_refuse_and_lets_everybody_pass() {
    let (server, service) = (ScriptedServer::start().await, Upstream::start().await);
    server.on_each(ENDPOINT, |call| {
        let is_good = call.parameter("token").as_deref() == Some("good");
        let said = json!({
            "active": is_good, "scope": "orders:read", "aud": "https://orders.example.com",
        });
        Answer::json(200, &said)
    });
    let (to_server, to_service) = (
        format!("port_value: {}", server.address().port()),
        format!("port_value: {}", service.address().port()),
    );
    let socket = format!("@oauth2-filter-shadow-{}", server.address().port());
    let file = example(
        "shadow.yaml",
        &[
            ("port_value: 9000", &to_server),
            ("port_value: 9001", &to_service),
            ("port_value: 10000", "port_value: 0"),
            ("@oauth2-filter-shadow", &socket),
        ],
    );
    let secret = ("ORDERS_API_SECRET".to_owned(), "secret".to_owned());
    let options = Options { environment: vec![secret], ..Options::default() };
    let envoy = Envoy::start_with(file, &options).await.expect("Envoy with the file");
    let requests = [
        (Request::get("/orders/1"), "denied.reason.no_token"),
        (Request::get("/orders/1").bearer("bad"), "denied.reason.inactive"),
        (Request::post("/orders/1", "body").bearer("good"), "denied.reason.insufficient_scope"),
        (Request::get("/none").bearer("good"), "denied.reason.unmatched"),
        (Request::get("/healthz"), "allowed.reason.public"),
        (Request::get("/orders/1").bearer("good").authority("a.test"), "allowed.reason.token"),
    ];
    for (request, _) in &requests {
        let answer = request.send(envoy.address("inbound")).await.expect("an answer");
        assert_eq!(answer.status, 200, "{request:?}: {}", answer.text());
    }
    for (_, decision) in &requests {
        let counter = format!("wasmcustom.oauth2_filter.requests.decision.{decision}");
        envoy.stat_reaches(&counter, 1).await;
        assert_eq!(envoy.stat(&counter).await, Some(1), "{decision}");
    }
    // The service got each request once, and with its token.
    let received = service.requests();
    assert_eq!(received.len(), requests.len());
    let tokens: Vec<_> = received.iter().map(|request| request.header("authorization")).collect();
    assert_eq!(tokens.iter().filter(|token| token.is_some()).count(), 4, "{tokens:?}");
}
