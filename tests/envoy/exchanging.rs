//! `envoy/exchange.yaml`: callers' tokens are checked, exchanged, and never go upstream.

use std::net::SocketAddr;

use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{Envoy, Options, example};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::upstream::Upstream;
use serde_json::json;

use crate::set_up::{BOTH, Http, one_worker};

const INTROSPECT: &str = "/introspect";
const TOKEN: &str = "/token";

/// The file, running.
struct Scene {
    server: ScriptedServer,
    service: Upstream,
    envoy: Envoy,
}

impl Scene {
    /// The authorization server knows every token as active, and exchanges `t` for `for-t`.
    async fn start() -> Self {
        let (server, service) = (ScriptedServer::start().await, Upstream::start().await);
        let known = json!({
            "active": true, "aud": "https://gateway.example.com", "scope": "invoices:read",
        });
        server.on(INTROSPECT, Answer::json(200, &known));
        server.on_each(TOKEN, |call| {
            let subject = call.parameter("subject_token").expect("a subject token");
            let issued = json!({
                "access_token": format!("for-{}", subject.to_uppercase()),
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "token_type": "Bearer", "expires_in": 300,
            });
            Answer::json(200, &issued)
        });
        let port = |address: SocketAddr| format!("port_value: {} ", address.port());
        let replacements = [
            ("127.0.0.1:9000/", &*format!("{}/", server.address())),
            ("port_value: 9000 ", &port(server.address())),
            ("port_value: 9001 ", &port(service.address())),
            ("port_value: 10000 ", "port_value: 0 "),
        ];
        let secret = ("GATEWAY_SECRET".to_owned(), "gateway-secret".to_owned());
        let options = Options { environment: vec![secret], ..one_worker() };
        let envoy = Envoy::start_with(example("exchange.yaml", &replacements), &options).await;
        Self { server, service, envoy: envoy.expect("Envoy with the filter") }
    }

    /// Sends a request with this token.
    async fn send(&self, http: Http, request: Request, token: &str) -> Response {
        let request = request.authority("gateway.example.com").bearer(token);
        http.send(&request, self.envoy.address("exchange")).await
    }

    async fn get(&self, token: &str) -> Response {
        self.send(Http::One, Request::get("/invoices/1"), token).await
    }

    /// How many calls introspection and the token endpoint have had.
    fn calls(&self) -> (usize, usize) {
        (self.server.count(INTROSPECT), self.server.count(TOKEN))
    }

    /// Checks that this caller's token has not reached the service in any header, target or body.
    fn has_kept_back(&self, token: &str) {
        for request in self.service.requests() {
            let headers = request.headers.iter().map(|(_, value)| value);
            for text in headers.chain([request.target.as_bytes(), &request.body]) {
                let text = String::from_utf8_lossy(text);
                assert!(!text.contains(token), "{text}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_07_cl_8693_01_the_service_gets_an_exchanged_token_and_never_the_callers() {
    let scene = Scene::start().await;
    for http in BOTH {
        for request in [Request::get("/invoices/1"), Request::post("/invoices/1", "a line")] {
            for token in ["alice", "bob"] {
                let answer = scene.send(http, request.clone(), token).await;
                assert_eq!(answer.status, 200, "{http:?}: {}", answer.text());
                let received = scene.service.requests().pop().expect("a request");
                let expected = format!("Bearer for-{}", token.to_uppercase());
                assert_eq!(received.headers.all("authorization"), [expected], "{http:?}");
            }
        }
    }
    assert_eq!(scene.calls(), (2, 2), "each caller's token is checked and exchanged once");
    let call = &scene.server.requests(TOKEN)[0];
    let expected = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", "alice"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("audience", "https://billing.example.com"),
    ];
    for (name, value) in expected {
        assert_eq!(call.parameter(name).as_deref(), Some(value), "{name}");
    }
    assert!(call.header("authorization").is_some_and(|value| value.starts_with("Basic ")));
    scene.has_kept_back("alice");
    scene.has_kept_back("bob");
    let log = scene.envoy.log();
    for hidden in ["alice", "ALICE", "gateway-secret"] {
        assert!(!log.contains(hidden), "{hidden} in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_8693_05_a_token_that_is_refused_or_cannot_be_exchanged_goes_nowhere() {
    let scene = Scene::start().await;
    let gateway = Request::get("/invoices/1").authority("gateway.example.com");
    let answer = Http::One.send(&gateway, scene.envoy.address("exchange")).await;
    assert_eq!((answer.status, scene.calls()), (401, (0, 0)), "without a token");

    let refused = json!({"error": "invalid_grant"});
    scene.server.on(TOKEN, Answer::json(400, &refused));
    assert_eq!(scene.get("carol").await.status, 401, "a subject token that is not taken");
    let refused = json!({"error": "invalid_request"});
    scene.server.on(TOKEN, Answer::json(400, &refused));
    assert_eq!(scene.get("frank").await.status, 403, "one that is active all the same");
    scene.server.on(INTROSPECT, Answer::json(200, &json!({"active": false})));
    assert_eq!(scene.get("mallory").await.status, 401);
    assert_eq!(scene.calls(), (3, 2), "what is not active is not exchanged");
    let known = json!({"active": true, "aud": "https://gateway.example.com", "scope": "other"});
    scene.server.on(INTROSPECT, Answer::json(200, &known));
    assert_eq!(scene.get("dave").await.status, 403);
    assert_eq!(scene.calls(), (4, 2), "nor what lacks the scope");
    assert!(scene.service.requests().is_empty());

    // What needs no token is left alone.
    let health = scene.send(Http::One, Request::get("/healthz"), "erin").await;
    assert_eq!((health.status, scene.calls()), (200, (4, 2)));
}
