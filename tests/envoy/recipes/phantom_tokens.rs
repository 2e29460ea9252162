//! `docs/recipes/phantom-tokens.md`: the service gets the JWT of the introspection response.

use std::fs;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{Bootstrap, Envoy, Listener, WasmPlugin};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::workspace;
use serde_json::{Value, json};

use crate::set_up::{BOTH, Http, LISTENER, one_worker};

const INTROSPECT: &str = "/realms/shop/protocol/openid-connect/token/introspect";

/// An Envoy with the page's document, whose routes follow redirects.
struct Scene {
    server: ScriptedServer,
    service: ScriptedServer,
    envoy: Envoy,
}

impl Scene {
    /// The server returns a JWT of as many bytes as the token says, after a word: `object` for JSON
    /// with it, `bare` for itself, anything else for JSON without it.
    async fn start(change: impl FnOnce(&mut Value)) -> Self {
        let page = fs::read_to_string(workspace().join("docs/recipes/phantom-tokens.md"));
        let page = page.expect("the page");
        let (_, block) = page.split_once("```json\n").expect("the block");
        let block = block.split("```").next().expect("its end");
        let mut document = serde_json::from_str(block).expect("JSON");
        change(&mut document);
        let (server, service) = (ScriptedServer::start().await, ScriptedServer::start().await);
        server.on_each(INTROSPECT, |call| {
            assert_eq!(call.header("accept").as_deref(), Some("application/jwt"));
            let token = call.parameter("token").expect("a token");
            let (form, bytes) = token.split_once('-').expect("a form and a size");
            let jwt = jwt(bytes.parse().expect("a size"));
            let known = json!({
                "active": true, "sub": "somebody", "aud": "orders-api",
                "iss": "https://keycloak.example.com/realms/shop",
            });
            match form {
                "bare" => Answer::status(200).header("content-type", "application/jwt").body(jwt),
                "object" => {
                    let mut known = known;
                    known["jwt"] = jwt.into();
                    Answer::json(200, &known)
                }
                _ => Answer::json(200, &known),
            }
        });
        for path in ["/", "/public", "/end"] {
            service.on(path, Answer::status(200));
        }
        for (path, to) in [("/go", "/end"), ("/go-public", "/public")] {
            let location = format!("http://shop.test{to}");
            service.on(path, Answer::status(302).header("location", &location));
        }
        let plugin = WasmPlugin::new(&document).env("ORDERS_API_SECRET", "secret");
        let route = json!({"cluster": "service", "internal_redirect_policy": {}});
        let routes = json!([{"match": {"prefix": "/"}, "route": route}]);
        let bootstrap = Bootstrap::new()
            .cluster("as", server.address())
            .cluster("service", service.address())
            .listener(Listener::routing(LISTENER, routes).filter(plugin.filter("oauth2")));
        let envoy = Envoy::start_with(bootstrap, &one_worker()).await.expect("Envoy");
        Self { server, service, envoy }
    }

    async fn get(&self, http: Http, path: &str, token: &str) -> Response {
        let request = Request::get(path).authority("shop.test").bearer(token);
        http.send(&request, self.envoy.address(LISTENER)).await
    }

    /// The tokens in the only request that the service got for this path.
    fn seen(&self, path: &str) -> Vec<String> {
        let requests = self.service.requests(path);
        assert_eq!(requests.len(), 1, "{path}");
        requests[0].headers.all("authorization")
    }
}

/// A JWT of at least this many bytes.
fn jwt(bytes: usize) -> String {
    let claims = json!({
        "aud": "orders-api", "iss": "https://keycloak.example.com/realms/shop",
        "filler": "x".repeat(bytes * 3 / 4),
    });
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2ln", part(r#"{"alg":"RS256"}"#), part(&claims.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_gets_the_jwt_of_the_introspection_response() {
    let scene = Scene::start(|_| ()).await;
    let mut calls = 0;
    for form in ["object", "bare"] {
        // Within a slot of shared data, beyond it, and beyond what a claim header may have.
        for bytes in [100, 5_000, 30_000] {
            calls += 1;
            for http in BOTH {
                scene.service.clear();
                let answer = scene.get(http, "/", &format!("{form}-{bytes}")).await;
                assert_eq!(answer.status, 200, "{http:?} {form} {bytes}: {}", answer.text());
                let expected = format!("Bearer {}", jwt(bytes));
                assert_eq!(scene.seen("/"), [expected], "{http:?} {form} {bytes}");
            }
        }
    }
    assert_eq!(scene.server.count(INTROSPECT), calls);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_jwt_nothing_is_forwarded() {
    let scene = Scene::start(|_| ()).await;
    for token in ["none-0", "bare-33000", "object-33000"] {
        let answer = scene.get(Http::One, "/", token).await;
        assert_eq!(answer.status, 502, "{token}: {}", answer.text());
    }
    assert!(scene.service.requests("/").is_empty());
    let log = scene.envoy.log();
    assert!(log.contains("invalid response: neither a signed JWT nor an object with one"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jwt_is_nobodys_token_after_a_redirect() {
    let scene = Scene::start(|document| {
        document["inbound"]["rules"] =
            json!([{"paths": ["/public"], "access": "public"}, {"paths": ["/**"]}]);
    })
    .await;
    let jwt = format!("Bearer {}", jwt(100));
    assert_eq!(scene.get(Http::One, "/go", "bare-100").await.status, 401);
    assert_eq!(scene.seen("/go"), [&*jwt]);
    assert!(scene.service.requests("/end").is_empty());
    assert_eq!(scene.get(Http::One, "/go-public", "bare-100").await.status, 200);
    assert_eq!(scene.seen("/go-public"), [&*jwt]);
    assert_eq!(scene.seen("/public"), [""; 0]);
    assert_eq!(scene.server.count(INTROSPECT), 1);
}
