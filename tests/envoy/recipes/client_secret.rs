//! `envoy/rotating-secret.yaml`: the secret of the calls changes without a restart.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{Envoy, example};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::upstream::Upstream;
use oauth2_filter_testbed::wait;
use serde_json::json;

use super::mount::Mount;
use super::port;
use crate::set_up::{ENDPOINT, one_worker};

/// The name of the file with the secret.
const FILE: &str = "orders-api";

/// The file, running.
struct Scene {
    server: ScriptedServer,
    service: Upstream,
    envoy: Envoy,
    mount: Mount,
    tokens: AtomicUsize,
}

impl Scene {
    /// With this secret, if there is one. The server knows all tokens as active, whoever calls.
    async fn start(secret: Option<&str>) -> Self {
        let (server, service) = (ScriptedServer::start().await, Upstream::start().await);
        let known = json!({
            "active": true, "aud": "https://orders.example.com", "scope": "orders:read",
        });
        server.on(ENDPOINT, Answer::json(200, &known));
        let mut mount = Mount::new();
        if let Some(secret) = secret {
            mount.write(FILE, &credentials(secret));
        }
        let text = example(
            "rotating-secret.yaml",
            &[
                (
                    "envoy/sds/client-secret.yaml",
                    &mount.sds("client-secret.yaml", "/etc/envoy/secrets"),
                ),
                ("127.0.0.1:9000/", &format!("{}/", server.address())),
                ("port_value: 9000 ", &port(server.address())),
                ("port_value: 9001 ", &port(service.address())),
                ("port_value: 10000 ", "port_value: 0 "),
            ],
        );
        let envoy = Envoy::start_with(text, &one_worker()).await.expect("rotating-secret.yaml");
        Self { server, service, envoy, mount, tokens: AtomicUsize::new(0) }
    }

    /// A request with a token that has not been introspected yet.
    async fn get(&self) -> Response {
        let number = self.tokens.fetch_add(1, Ordering::Relaxed);
        let request = Request::get("/orders/1").bearer(&format!("token-{number}"));
        request.send(self.envoy.address("inbound")).await.expect("an answer")
    }

    /// What the last introspection call was authenticated with.
    fn last_credentials(&self) -> Option<String> {
        self.server.requests(ENDPOINT).pop().and_then(|call| call.header("authorization"))
    }

    /// Puts another secret into the volume, and waits until calls have it.
    async fn rotates_to(&mut self, secret: &str) {
        self.mount.write(FILE, &credentials(secret));
        let expected = format!("Basic {}", credentials(secret));
        wait::until("calls with the new secret", async || {
            self.get().await;
            self.last_credentials().as_ref() == Some(&expected)
        })
        .await;
    }
}

/// The file's content.
fn credentials(secret: &str) -> String {
    BASE64_STANDARD.encode(format!("orders-api:{secret}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_rotates_without_a_restart() {
    let mut scene = Scene::start(Some("first")).await;
    assert_eq!(scene.get().await.status, 200);
    assert_eq!(scene.last_credentials(), Some(format!("Basic {}", credentials("first"))));
    for secret in ["second", "third"] {
        scene.rotates_to(secret).await;
        assert_eq!(scene.get().await.status, 200, "{secret}");
    }
    // What was known before still is.
    let calls = scene.server.count(ENDPOINT);
    let first = Request::get("/orders/1").bearer("token-0");
    let answer = first.send(scene.envoy.address("inbound")).await.expect("an answer");
    assert_eq!((answer.status, scene.server.count(ENDPOINT)), (200, calls));
    assert_eq!(scene.envoy.stat("cluster.as.credential_injector.failed").await, Some(0));
    let told = [scene.envoy.log(), scene.envoy.admin_get("/config_dump?include_eds").await];
    for secret in ["first", "second", "third"] {
        assert!(!told.iter().any(|text| text.contains(&credentials(secret))), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_secret_no_call_is_sent() {
    let mut scene = Scene::start(None).await;
    let answer = scene.get().await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.json()["error"], "temporarily_unavailable");
    assert_eq!(scene.server.count(ENDPOINT), 0, "an unauthenticated call");
    assert!(scene.service.requests().is_empty());
    assert!(scene.envoy.stat("cluster.as.credential_injector.failed").await > Some(0));
    // It comes late, as a Secret may that another controller writes.
    scene.rotates_to("late").await;
    assert_eq!(scene.get().await.status, 200);
}
