//! `envoy/jwt-and-opaque.yaml`: JWTs are verified, opaque tokens introspected, and the same rules hold.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{Envoy, Options, example};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::upstream::Upstream;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};

use super::port;
use crate::set_up::{BOTH, ENDPOINT, Http, one_worker};

/// The file, running.
struct Scene {
    server: ScriptedServer,
    service: Upstream,
    envoy: Envoy,
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
        server.on("/jwks", Answer::json(200, &key_set()));
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
        Self { server, service, envoy }
    }

    /// What a request gets that also tries to set the headers that the rules look at.
    async fn send(&self, http: Http, request: Request) -> Response {
        let request = request.header("x-scope", "orders:write").header("x-user", "root");
        http.send(&request, self.envoy.address("inbound")).await
    }
}

fn key() -> EcdsaKeyPair {
    let pem = include_str!("../keys/p256-pkcs8.pem");
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let key = BASE64_STANDARD.decode(text).expect("base64");
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &SystemRandom::new())
        .expect("a key")
}

/// What `jwks_uri` gives.
fn key_set() -> Value {
    let key = key();
    // One byte says that the point is not compressed.
    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let [x, y] = [x, y].map(|number| BASE64_URL_SAFE_NO_PAD.encode(number));
    json!({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "a", "x": x, "y": y}]})
}

/// A JWT with these claims besides those that every one has; null takes one out.
fn jwt(more: &Value) -> String {
    let claims = json!({
        "iss": "https://as.example.com", "aud": "https://orders.example.com", "sub": "somebody",
        "exp": 4_102_444_800_u64,
    });
    let claims = oauth2_filter_testbed::envoy::with_members(claims, more);
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(json!({"alg": "ES256", "kid": "a"})), part(claims));
    let signature = key().sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_rules_hold_for_both_kinds_of_tokens() {
    let scene = Scene::start().await;
    let tokens =
        |scope: &str| [jwt(&json!({"scope": format!("a orders:{scope} b")})), scope.to_owned()];
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
    let good = jwt(&json!({"scope": "orders:write"}));
    let forged = format!("{}AAAAAAAA", &good[..good.len() - 8]);
    let without_signature = good[..=good.rfind('.').expect("a dot")].to_owned();
    let get = || Request::get("/orders/1");
    let in_query = |token: &str| Request::get(&format!("/orders/1?access_token={token}"));
    let poor = jwt(&json!({"scope": "orders:read"}));
    let with_both = Request::new("PUT", &format!("/orders/1?access_token={good}")).bearer(&poor);
    let refused = [
        ("none", get(), 401),
        ("forged", get().bearer(&forged), 401),
        ("without a signature", get().bearer(&without_signature), 401),
        ("expired", get().bearer(&jwt(&json!({"scope": "orders:read", "exp": 1}))), 401),
        ("for ever", get().bearer(&jwt(&json!({"scope": "orders:read", "exp": null}))), 401),
        ("another issuer", get().bearer(&jwt(&json!({"scope": "orders:read", "iss": "x"}))), 401),
        ("another audience", get().bearer(&jwt(&json!({"scope": "orders:read", "aud": "x"}))), 403),
        ("no scope", get().bearer(&jwt(&json!({}))), 403),
        ("a scope that contains it", get().bearer(&jwt(&json!({"scope": "orders:reader"}))), 403),
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
    // Over HTTP/2, Envoy resets the stream.
    let underscore = get().bearer("read").header("x_scope", "orders:write");
    assert_eq!(scene.send(Http::One, underscore).await.status, 400);
    assert!(scene.service.requests().is_empty());
}
