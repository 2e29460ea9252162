//! `docs/recipes/verify-and-introspect.md`: only what its issuer has signed is introspected.

use std::fs;

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::{Bootstrap, Envoy, Listener, WasmPlugin, with_members};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::upstream::Upstream;
use oauth2_filter_testbed::workspace;
use serde_json::{Value, json};

use crate::exchanges::signing::Key;
use crate::set_up::{ENDPOINT, LISTENER, one_worker};

/// An Envoy with the page's document.
struct Scene {
    server: ScriptedServer,
    service: Upstream,
    envoy: Envoy,
    key: Key,
}

impl Scene {
    async fn start() -> Self {
        let page = fs::read_to_string(workspace().join("docs/recipes/verify-and-introspect.md"));
        let page = page.expect("the page");
        let (_, block) = page.split_once("```json\n").expect("the block");
        let document: Value =
            serde_json::from_str(block.split("```").next().expect("its end")).expect("JSON");
        let (server, service) = (ScriptedServer::start().await, Upstream::start().await);
        let key = Key::p256();
        server.on("/jwks", Answer::json(200, &json!({"keys": [key.jwk("a")]})));
        let plugin = WasmPlugin::new(&document).env("ORDERS_API_SECRET", "secret");
        let bootstrap = Bootstrap::new()
            .cluster("as", server.address())
            .cluster("service", service.address())
            .listener(Listener::to(LISTENER, "service").filter(plugin.filter("oauth2")));
        let envoy = Envoy::start_with(bootstrap, &one_worker()).await.expect("Envoy");
        let scene = Self { server, service, envoy, key };
        scene.server_says(&json!({}));
        scene
    }

    /// From now on, the server says this about each token.
    fn server_says(&self, more: &Value) {
        let said = json!({
            "active": true, "sub": "alice", "aud": "https://orders.example.com",
            "scope": "orders:read orders:write",
        });
        self.server.on(ENDPOINT, Answer::json(200, &with_members(said, more)));
    }

    /// Checks what a request gets, and how many tokens were introspected for it.
    async fn check(&self, what: &str, request: &Request, status: u16, calls: usize) {
        let (made, seen) = (self.server.count(ENDPOINT), self.service.requests().len());
        let answer = request.send(self.envoy.address(LISTENER)).await.expect("an answer");
        assert_eq!(answer.status, status, "{what}: {}", answer.text());
        assert_eq!(self.server.count(ENDPOINT) - made, calls, "{what}");
        let is_forwarded = usize::from(status == 200);
        assert_eq!(self.service.requests().len() - seen, is_forwarded, "{what}");
    }
}

/// Claims that are accepted, but for these; `id` makes each token another one.
fn claims(id: &str, more: &Value) -> Value {
    let claims = json!({
        "iss": "https://as.example.com", "aud": "https://orders.example.com", "sub": "alice",
        "exp": 4_102_444_800_u64, "jti": id,
    });
    with_members(claims, more)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_its_issuer_has_signed_is_introspected_and_both_must_accept_it() {
    let scene = Scene::start().await;
    let get = |token: &str| Request::get("/orders/1").bearer(token);
    let of = |id: &str, more: &Value| scene.key.sign("a", &claims(id, more));
    let good = of("good", &json!({}));
    scene.check("a new token", &get(&good), 200, 1).await;
    scene.check("a known token", &get(&good), 200, 0).await;
    let forged = Key::p256().sign("a", &claims("forged", &json!({})));
    scene.check("forged", &get(&forged), 401, 0).await;
    scene.check("expired", &get(&of("old", &json!({"exp": 1}))), 401, 0).await;
    scene.check("for others", &get(&of("other", &json!({"aud": "x"}))), 401, 0).await;
    scene.check("opaque", &get("opaque"), 401, 0).await;
    scene.check("of another issuer", &get(&of("foreign", &json!({"iss": "x"}))), 401, 0).await;

    scene.server_says(&json!({"sub": "bob"}));
    scene.check("about another user", &get(&of("bob", &json!({}))), 401, 1).await;
    scene.server_says(&json!({"scope": "orders:write"}));
    let scope = json!({"scope": "orders:read"});
    scene.check("the scope of the response", &get(&of("scope", &scope)), 403, 1).await;
    scene.server_says(&json!({"aud": "x"}));
    scene.check("the audience of the response", &get(&of("aud", &json!({}))), 401, 1).await;

    scene.server_says(&json!({}));
    let put = Request::new("PUT", "/orders/1").bearer(&good);
    scene.check("a change", &put, 200, 1).await;
    scene.server_says(&json!({"active": false}));
    scene.check("reading", &get(&good), 200, 0).await;
    scene.check("a change by a revoked token", &put, 401, 1).await;
}
