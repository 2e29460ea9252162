//! `envoy/jwt-and-opaque.yaml`: JWTs are verified, opaque tokens introspected, and the same rules hold.

use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{Envoy, Options, example, with_members};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::upstream::Upstream;
use serde_json::{Value, json};

use super::port;
use crate::exchanges::signing::Key;
use crate::set_up::{BOTH, ENDPOINT, Http, one_worker};

/// The file, running.
struct Scene {
    server: ScriptedServer,
    service: Upstream,
    envoy: Envoy,
    key: Key,
}

impl Scene {
    /// Opaque tokens are known by their scope, `read` or `write`, or not at all.
    async fn start() -> Self {
        let (server, service) = (ScriptedServer::start().await, Upstream::start().await);
        server.on_each(ENDPOINT, |call| {
            let token = call.parameter("token").expect("a token");
            let is_known = ["read", "write"].contains(&token.as_str());
            let known = json!({
                "active": is_known, "sub": "somebody", "scope": format!("orders:{token}"),
                "iss": "https://as.example.com", "aud": "https://orders.example.com",
            });
            Answer::json(200, &known)
        });
        let key = Key::p256();
        server.on("/jwks", Answer::json(200, &json!({"keys": [key.jwk("a")]})));
        let text = example(
            "jwt-and-opaque.yaml",
            &[
                ("127.0.0.1:9000/", &format!("{}/", server.address())),
                ("port_value: 9000 ", &port(server.address())),
                ("port_value: 9001 ", &port(service.address())),
                ("port_value: 10000 ", "port_value: 0 "),
            ],
        );
        let environment = vec![("ORDERS_API_SECRET".to_owned(), "secret".to_owned())];
        let options = Options { environment, ..one_worker() };
        let envoy = Envoy::start_with(text, &options).await.expect("jwt-and-opaque.yaml");
        Self { server, service, envoy, key }
    }

    /// What a request gets that also tries to set the headers that the rules look at.
    async fn send(&self, http: Http, request: Request) -> Response {
        let request = request.header("x-scope", "orders:write").header("x-user", "root");
        http.send(&request, self.envoy.address("inbound")).await
    }

    /// A JWT with these claims besides those that every one has; null takes one out.
    fn jwt(&self, more: &Value) -> String {
        let claims = json!({
            "iss": "https://as.example.com", "aud": "https://orders.example.com",
            "sub": "somebody", "exp": 4_102_444_800_u64,
        });
        self.key.sign("a", &with_members(claims, more))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_rules_hold_for_both_kinds_of_tokens() {
    let scene = Scene::start().await;
    let tokens = |scope: &str| {
        [scene.jwt(&json!({"scope": format!("a orders:{scope} b")})), scope.to_owned()]
    };
    for http in BOTH {
        for (scope, method, status) in [
            ("read", "GET", 200),
            ("write", "GET", 200),
            ("read", "PUT", 403),
            ("write", "PUT", 200),
        ] {
            for token in tokens(scope) {
                scene.service.clear();
                let request = Request::new(method, "/orders/1").bearer(&token);
                let answer = scene.send(http, request).await;
                assert_eq!(answer.status, status, "{http:?} {method} {token}: {}", answer.text());
                let requests = scene.service.requests();
                assert_eq!(requests.len(), usize::from(status == 200));
                for request in requests {
                    assert_eq!(request.headers.all("x-user"), ["somebody"], "{token}");
                    assert!(request.headers.all("x-scope")[0].contains(scope), "{token}");
                    assert_eq!(request.header("authorization"), None, "{token}");
                }
            }
        }
    }
    // No JWT was introspected.
    assert_eq!(scene.server.count(ENDPOINT), 2);
    assert_eq!(scene.server.count("/jwks"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_form_of_a_token_leads_around_both() {
    let scene = Scene::start().await;
    let good = scene.jwt(&json!({"scope": "orders:write"}));
    let forged = format!("{}AAAAAAAA", &good[..good.len() - 8]);
    let without_signature = good[..=good.rfind('.').expect("a dot")].to_owned();
    let get = || Request::get("/orders/1");
    let in_query = |token: &str| Request::get(&format!("/orders/1?access_token={token}"));
    let poor = scene.jwt(&json!({"scope": "orders:read"}));
    let with_both = Request::new("PUT", &format!("/orders/1?access_token={good}")).bearer(&poor);
    let with = |claims: Value| get().bearer(&scene.jwt(&claims));
    let claims = |name: &str, value: Value| json!({"scope": "orders:read", name: value});
    let refused = [
        ("none", get(), 401),
        ("forged", get().bearer(&forged), 401),
        ("without a signature", get().bearer(&without_signature), 401),
        ("expired", with(claims("exp", json!(1))), 401),
        ("for ever", with(claims("exp", Value::Null)), 401),
        ("another issuer", with(claims("iss", json!("x"))), 401),
        ("another audience", with(claims("aud", json!("x"))), 401),
        ("no scope", with(json!({})), 403),
        ("a scope that contains it", with(json!({"scope": "orders:reader"})), 403),
        ("unknown", get().bearer("unknown"), 401),
        ("a good one and another", get().bearer(&good).bearer("unknown"), 400),
        ("another and a good one", get().bearer("unknown").bearer(&good), 400),
        ("both in one", get().header("authorization", format!("Bearer {good}, Bearer x")), 400),
        ("two schemes", get().header("authorization", format!("Basic eA==, Bearer {good}")), 400),
        ("in the query", in_query(&good), 401),
        ("a better one in the query", with_both, 403),
        ("in the query too", in_query(&good).bearer(&forged), 401),
    ];
    for (what, request, status) in refused {
        for http in BOTH {
            let answer = scene.send(http, request.clone()).await;
            assert_eq!(answer.status, status, "{http:?} {what}: {}", answer.text());
        }
    }
    assert!(scene.service.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_opaque_tokens_are_accepted_and_no_jwt() {
    let scene = Scene::start().await;
    scene.server.on("/jwks", Answer::status(500));
    // Its key is unknown, so that keys are fetched now.
    let claims = json!({
        "iss": "https://as.example.com", "aud": "https://orders.example.com", "sub": "somebody",
        "exp": 4_102_444_800_u64, "scope": "orders:read",
    });
    let token = Key::p256().sign("b", &claims);
    let answer = scene.send(Http::One, Request::get("/orders/1").bearer(&token)).await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    assert!(scene.service.requests().is_empty());
    let answer = scene.send(Http::One, Request::get("/orders/1").bearer("read")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}
