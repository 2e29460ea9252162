//! `envoy/workload-identity.yaml`: the workload's token, in place of a secret, becomes an access token.

use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{Envoy, example};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::upstream::Upstream;
use oauth2_filter_testbed::wait;
use serde_json::json;

use super::mount::Mount;
use super::port;
use crate::set_up::one_worker;

const TOKEN: &str = "/token";

/// The name of the file with the workload's token.
const FILE: &str = "as";

/// The file, running.
struct Scene {
    server: ScriptedServer,
    service: Upstream,
    envoy: Envoy,
    mount: Mount,
}

impl Scene {
    /// With this token of the workload, if there is one. The server exchanges `T` for `for-T`.
    async fn start(token: Option<&str>) -> Self {
        let (server, service) = (ScriptedServer::start().await, Upstream::start().await);
        server.on_each(TOKEN, |call| {
            let subject = call.parameter("subject_token").expect("a subject token");
            let issued = json!({
                "access_token": format!("for-{subject}"),
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "token_type": "Bearer", "expires_in": 300,
            });
            Answer::json(200, &issued)
        });
        let mut mount = Mount::new();
        if let Some(token) = token {
            mount.write(FILE, token);
        }
        let text = example(
            "workload-identity.yaml",
            &[
                (
                    "envoy/sds/workload-token.yaml",
                    &mount.sds("workload-token.yaml", "/var/run/secrets/tokens"),
                ),
                ("127.0.0.1:9000/", &format!("{}/", server.address())),
                ("port_value: 9000 ", &port(server.address())),
                ("port_value: 9001 ", &port(service.address())),
                ("port_value: 10000 ", "port_value: 0 "),
            ],
        );
        let envoy = Envoy::start_with(text, &one_worker()).await.expect("workload-identity.yaml");
        Self { server, service, envoy, mount }
    }

    async fn send(&self, request: Request) -> Response {
        request.send(self.envoy.address("outbound")).await.expect("an answer")
    }

    /// Sends a request to the service, and returns the tokens that it got.
    async fn tokens(&self, request: Request) -> Vec<String> {
        let answer = self.send(request.authority("billing.example.com")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        self.service.requests().pop().expect("a request").headers.all("authorization")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workloads_token_is_exchanged_whatever_the_program_sends() {
    let mut scene = Scene::start(Some("pod-1")).await;
    let get = || Request::get("/invoices/1");
    for request in [
        get(),
        get().bearer("of-another"),
        get().bearer("of-another").bearer("of-a-third"),
        get().header("Authorization", "Basic eA=="),
    ] {
        assert_eq!(scene.tokens(request).await, ["Bearer for-pod-1"]);
    }
    let call = &scene.server.requests(TOKEN)[0];
    for (name, value) in [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", "pod-1"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("audience", "https://billing.example.com"),
    ] {
        assert_eq!(call.parameter(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!((call.header("authorization"), scene.server.count(TOKEN)), (None, 1));

    // The kubelet writes a new one.
    scene.mount.write(FILE, "pod-2");
    wait::until("the new token", async || {
        scene.tokens(get().bearer("of-another")).await == ["Bearer for-pod-2"]
    })
    .await;
    let calls = scene.server.requests(TOKEN);
    let subjects: Vec<_> =
        calls.iter().filter_map(|call| call.parameter("subject_token")).collect();
    assert_eq!(subjects, ["pod-1", "pod-2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workloads_token_reaches_no_service() {
    let scene = Scene::start(Some("pod-1")).await;
    let get = |host: &str| scene.send(Request::get("/").authority(host));
    for host in ["other.example.com", "billing.example.com.", "billing.example.com:8080"] {
        assert_eq!(get(host).await.status, 404, "{host}");
    }
    assert!(scene.service.requests().is_empty());

    let scene = Scene::start(Some("pod-1")).await;
    scene.server.on(TOKEN, Answer::status(500));
    let get = |host: &str| scene.send(Request::get("/").authority(host));
    for (host, status) in [("billing.example.com", 503), ("other.example.com", 404)] {
        assert_eq!(get(host).await.status, status, "{host}");
    }
    assert!(scene.service.requests().is_empty());
    assert!(!scene.envoy.log().contains("pod-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_workloads_token_nothing_is_exchanged() {
    let mut scene = Scene::start(None).await;
    let get = || Request::get("/").authority("billing.example.com").bearer("of-another");
    let answer = scene.send(get()).await;
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert_eq!((scene.server.count(TOKEN), scene.service.requests().len()), (0, 0));
    scene.mount.write(FILE, "pod-1");
    wait::until("the token", async || scene.send(get()).await.status == 200).await;
}
