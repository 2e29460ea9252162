//! `docs/recipes/phantom-tokens.md`: the service gets the JWT of the introspection response.

use std::fs;

use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{Bootstrap, Envoy, Listener, WasmPlugin, merge};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::upstream::Upstream;
use oauth2_filter_testbed::workspace;
use serde_json::json;

use super::yaml;
use crate::set_up::{BOTH, Http, one_worker};

const INTROSPECT: &str = "/realms/shop/protocol/openid-connect/token/introspect";

/// An Envoy with the page's document, and a listener that also has its route.
struct Scene {
    server: ScriptedServer,
    service: Upstream,
    envoy: Envoy,
}

impl Scene {
    /// The server returns a JWT of as many bytes as the token says, and none for 0.
    async fn start() -> Self {
        let page = fs::read_to_string(workspace().join("docs/recipes/phantom-tokens.md"));
        let page = page.expect("the page");
        let block = |language: &str| {
            let (_, block) = page.split_once(&format!("```{language}\n")).expect("the block");
            block.split("```").next().expect("its end").to_owned()
        };
        let (server, service) = (ScriptedServer::start().await, Upstream::start().await);
        server.on_each(INTROSPECT, |call| {
            let bytes: usize =
                call.parameter("token").and_then(|t| t.parse().ok()).expect("a size");
            let mut known = json!({
                "active": true, "sub": "somebody", "aud": "orders-api",
                "iss": "https://keycloak.example.com/realms/shop",
            });
            if bytes > 0 && call.header("accept").as_deref() == Some("application/jwt") {
                known["jwt"] = jwt(bytes).into();
            }
            Answer::json(200, &known)
        });
        let plugin = WasmPlugin::new(&block("json")).env("ORDERS_API_SECRET", "secret");
        let [moved] =
            <[_; 1]>::try_from(yaml::documents(&block("yaml")).expect("YAML")).expect("one");
        let mut route = json!({"match": {"prefix": "/"}, "route": {"cluster": "service"}});
        let filter = plugin.filter("oauth2");
        let header = Listener::routing("header", json!([route])).filter(filter.clone());
        merge(&mut route, moved);
        let bearer = Listener::routing("bearer", json!([route])).filter(filter);
        let bootstrap = Bootstrap::new()
            .cluster("as", server.address())
            .cluster("service", service.address())
            .listener(header)
            .listener(bearer);
        let envoy = Envoy::start_with(bootstrap, &one_worker()).await.expect("Envoy");
        Self { server, service, envoy }
    }

    /// What a client gets that also tries to set the header.
    async fn get(&self, http: Http, listener: &str, token: &str) -> Response {
        let request = Request::get("/").bearer(token).header("x-jwt", "forged");
        http.send(&request, self.envoy.address(listener)).await
    }
}

fn jwt(bytes: usize) -> String {
    format!("e30.{}.c2ln", "x".repeat(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_gets_the_jwt_of_the_introspection_response() {
    let scene = Scene::start().await;
    for http in BOTH {
        for bytes in [100, 5_000] {
            let token = bytes.to_string();
            for (listener, header, value) in [
                ("header", "x-jwt", jwt(bytes)),
                ("bearer", "authorization", format!("Bearer {}", jwt(bytes))),
            ] {
                let answer = scene.get(http, listener, &token).await;
                assert_eq!(answer.status, 200, "{http:?} {listener}: {}", answer.text());
                let request = scene.service.requests().pop().expect("a request");
                assert_eq!(request.headers.all(header), [value], "{http:?} {listener}");
                if listener == "header" {
                    assert_eq!(request.header("authorization"), None, "{http:?}");
                }
            }
        }
    }
    assert_eq!(scene.server.count(INTROSPECT), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_jwt_nothing_is_forwarded_that_looks_like_one() {
    let scene = Scene::start().await;
    for listener in ["header", "bearer"] {
        let answer = scene.get(Http::One, listener, "0").await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(scene.service.requests().is_empty());
    }
    // What does not fit into a header leaves nothing, least of all the client's own.
    for listener in ["header", "bearer"] {
        assert_eq!(scene.get(Http::One, listener, "9000").await.status, 200);
        let request = scene.service.requests().pop().expect("a request");
        assert_eq!(request.header("x-jwt"), None);
        let authorization = request.header("authorization");
        assert!(authorization.is_none_or(|it| it.trim() == "Bearer"), "{request:?}");
    }
}
