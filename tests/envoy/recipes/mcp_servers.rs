//! `envoy/mcp-servers.yaml`: several MCP servers behind one Envoy, each a resource of its own.

use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{Envoy, Options, example};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::upstream::Upstream;
use serde_json::json;

use super::port;
use crate::set_up::{BOTH, ENDPOINT, Http, one_worker};

/// The file, running.
struct Scene {
    _server: ScriptedServer,
    orders: Upstream,
    billing: Upstream,
    envoy: Envoy,
}

impl Scene {
    /// A token is the name of the server that it is for, and has the scopes of both.
    async fn start() -> Self {
        let server = ScriptedServer::start().await;
        let (orders, billing) = (Upstream::start().await, Upstream::start().await);
        server.on_each(ENDPOINT, |call| {
            let token = call.parameter("token").expect("a token");
            let known = json!({
                "active": true, "sub": "somebody", "scope": "orders:tools billing:tools",
                "aud": format!("https://mcp.example.com/{token}"),
            });
            Answer::json(200, &known)
        });
        let text = example(
            "mcp-servers.yaml",
            &[
                ("port_value: 9000 ", &port(server.address())),
                ("port_value: 9001 ", &port(orders.address())),
                ("port_value: 9003 ", &port(billing.address())),
                ("port_value: 10000 ", "port_value: 0 "),
            ],
        );
        let environment = vec![("MCP_SERVER_SECRET".to_owned(), "secret".to_owned())];
        let options = Options { environment, ..one_worker() };
        let envoy = Envoy::start_with(text, &options).await.expect("mcp-servers.yaml");
        Self { _server: server, orders, billing, envoy }
    }

    async fn send(&self, http: Http, request: Request) -> Response {
        http.send(&request, self.envoy.address("mcp")).await
    }
}

/// A request to the host of the servers.
fn post(path: &str) -> Request {
    Request::post(path, "{}").authority("mcp.example.com")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mcp_server_has_metadata_and_audience_of_its_own() {
    let scene = Scene::start().await;
    for http in BOTH {
        for name in ["orders", "billing"] {
            let path = format!("/{name}");
            let answer = scene.send(http, post(&path)).await;
            assert_eq!(answer.status, 401, "{http:?} {name}");
            let place = format!("/.well-known/oauth-protected-resource/{name}");
            let challenge = answer.header("www-authenticate").expect("a challenge");
            assert_eq!(
                challenge,
                format!(
                    "Bearer realm=\"oauth2\", scope=\"{name}:tools\", \
                     resource_metadata=\"https://mcp.example.com{place}\""
                )
            );
            let document =
                scene.send(http, Request::get(&place).authority("mcp.example.com:443")).await;
            assert_eq!(document.json()["resource"], format!("https://mcp.example.com/{name}"));
            assert_eq!(document.json()["scopes_supported"], json!([format!("{name}:tools")]));
            for (token, status) in [("orders", 200), ("billing", 200), ("other", 401)] {
                let status = if token == name { status } else { 401 };
                let answer = scene.send(http, post(&path).bearer(token)).await;
                assert_eq!(answer.status, status, "{http:?} {name} {token}");
            }
        }
        for (path, status) in [
            // Where a client finds nothing, it must see so.
            ("/orders/", 404),
            ("/.well-known/oauth-protected-resource", 404),
            ("/.well-known/oauth-protected-resource/orders/", 404),
            ("/.well-known/oauth-protected-resource/other", 404),
            ("/.well-known/oauth-authorization-server", 404),
            ("/other", 403),
            ("/ordersx", 403),
            ("/orders/x", 403),
        ] {
            let request = Request::get(path).authority("mcp.example.com").bearer("orders");
            let answer = scene.send(http, request).await;
            assert_eq!(answer.status, status, "{http:?} {path}");
            assert_eq!(answer.header("www-authenticate"), None, "{http:?} {path}");
        }
        let elsewhere = Request::post("/orders", "{}").authority("other.example.com");
        assert_eq!(scene.send(http, elsewhere.bearer("orders")).await.status, 403, "{http:?}");
    }
    for (service, name) in [(&scene.orders, "orders"), (&scene.billing, "billing")] {
        let received = service.requests();
        assert_eq!(received.len(), 2, "{name}");
        for request in received {
            assert_eq!((request.target.as_str(), request.header("authorization")), ("/mcp", None));
            assert_eq!(request.headers.all("x-user"), ["somebody"]);
        }
    }
}
