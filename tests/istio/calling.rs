//! Istio gives a workload's requests a token: `outbound.yaml`, and `outbound-retry.yaml` in its
//! place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::{Received, open_files};
use serde_json::{Value, json};

use crate::manifests::{
    AUTHORIZATION_SERVER, INBOUND, INBOUND_PLUGIN, OUTBOUND, OUTBOUND_PLUGIN, OUTBOUND_RETRY,
    PROTECTED_SERVICE, object,
};
use crate::sidecar::{Host, Sidecar, module};

/// The paths of the authorization server and of the service.
const TOKEN: &str = "/token";
const INTROSPECT: &str = "/introspect";
const INVOICES: &str = "/invoices";

/// The cluster of the service.
const BILLING: &str = "cluster.outbound|80||billing.example.com";

/// A workload that calls a protected service.
struct Scene {
    /// It issues t1, t2, t3, …
    server: ScriptedServer,
    /// It refuses tokens that are older than this number.
    service: ScriptedServer,
    oldest: Arc<AtomicUsize>,
    sidecar: Sidecar,
}

impl Scene {
    /// Of these files, besides what makes the hosts reachable.
    async fn start(files: &[&str]) -> Self {
        Self::start_with(files, "billing.example.com").await
    }

    /// The same, with the service's certificate of this name.
    async fn start_with(files: &[&str], certificate: &'static str) -> Self {
        open_files::allow_many();
        let (server, service) = (ScriptedServer::start().await, ScriptedServer::start().await);
        let issued = AtomicUsize::new(0);
        server.on_each(TOKEN, move |call| {
            assert_eq!(call.authority.as_deref(), Some("as.example.com"));
            assert!(call.header("authorization").is_some_and(|value| value.starts_with("Basic ")));
            assert_eq!(call.parameter("scope").as_deref(), Some("invoices:read"));
            let token = format!("t{}", issued.fetch_add(1, Ordering::Relaxed) + 1);
            let issued = json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600});
            Answer::json(200, &issued)
        });
        let oldest = Arc::new(AtomicUsize::new(0));
        let refused = Arc::clone(&oldest);
        service.on_each(INVOICES, move |request| {
            let number: usize = token(request)[1..].parse().expect("a token of ours");
            let status = if number < refused.load(Ordering::Relaxed) { 401 } else { 200 };
            Answer::status(status)
        });
        let hosts = [
            Host::new("as.example.com", server.address()),
            Host { certificate, ..Host::new("billing.example.com", service.address()) },
        ];
        let secrets = [("BILLING_SECRET", "orders-secret"), ("ORDERS_API_SECRET", "api-secret")];
        let files = [&[AUTHORIZATION_SERVER, PROTECTED_SERVICE], files].concat();
        let sidecar = Sidecar::start(&files, &hosts, &secrets).await;
        Self { server, service, oldest, sidecar }
    }

    /// The status of a request of the program.
    async fn status(&self, request: &Request) -> u16 {
        self.sidecar.send_out(request).await.status
    }

    /// From now on the service refuses every token that was issued.
    fn revoke(&self) {
        self.oldest.store(self.server.count(TOKEN) + 1, Ordering::Relaxed);
    }

    /// The tokens that have reached the service, in order.
    fn seen(&self) -> Vec<String> {
        self.service.requests(INVOICES).iter().map(token).collect()
    }
}

/// The token that a request carries.
fn token(request: &Received) -> String {
    let values = request.headers.all("authorization");
    let [value] = values.as_slice() else { panic!("one token: {values:?}") };
    value.strip_prefix("Bearer ").expect("a bearer token").to_owned()
}

/// A request of the program, which knows nothing of tokens and of TLS.
fn invoices() -> Request {
    Request::get(INVOICES).authority("billing.example.com")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_gets_a_token_and_no_other_host_does() {
    for file in [OUTBOUND, OUTBOUND_RETRY] {
        let scene = Scene::start(&[file]).await;
        assert_eq!(scene.status(&invoices()).await, 200, "{file}");
        let with_port = Request::get(INVOICES).authority("billing.example.com:80");
        assert_eq!(scene.status(&with_port).await, 200, "{file}");
        assert_eq!(scene.seen(), ["t1", "t1"], "{file}");
        let elsewhere = Request::get(INVOICES).authority("other.example.com");
        assert_eq!(scene.status(&elsewhere).await, 200, "{file}");
        let [request] = scene.sidecar.others.requests().try_into().expect("one request");
        assert_eq!(request.header("authorization"), None, "{file}");
        // What comes to the workload is nobody's business here.
        assert_eq!(scene.sidecar.send(&Request::get(INVOICES)).await.status, 200, "{file}");
        let [request] = scene.sidecar.workload.requests().try_into().expect("one request");
        assert_eq!(request.header("authorization"), None, "{file}");
        assert_eq!(scene.server.count(TOKEN), 1, "{file}");
        scene.sidecar.is_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_a_certificate_of_another_name_gets_no_token() {
    for file in [OUTBOUND, OUTBOUND_RETRY] {
        let scene = Scene::start_with(&[file], "evil.example.com").await;
        assert_eq!(scene.status(&invoices()).await, 503, "{file}");
        assert_eq!(scene.seen(), [""; 0], "{file}");
        scene.sidecar.is_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_request_after_a_refused_token_has_a_new_one() {
    let scene = Scene::start(&[OUTBOUND]).await;
    assert_eq!(scene.status(&invoices()).await, 200);
    scene.revoke();
    assert_eq!(scene.status(&invoices()).await, 401);
    assert_eq!(scene.status(&invoices()).await, 200);
    assert_eq!(scene.seen(), ["t1", "t1", "t2"]);
    scene.sidecar.is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_is_sent_again_with_a_new_token() {
    let body = "a line of an invoice; ".repeat(4_000);
    let post = Request::post(INVOICES, body.as_str()).authority("billing.example.com");
    for request in [invoices(), post] {
        let scene = Scene::start(&[OUTBOUND_RETRY]).await;
        assert_eq!(scene.status(&invoices()).await, 200);
        scene.revoke();
        scene.service.clear();
        assert_eq!(scene.status(&request).await, 200);
        assert_eq!(scene.seen(), ["t1", "t2"]);
        let [refused, taken] = scene.service.requests(INVOICES).try_into().expect("two");
        assert!(refused.body == taken.body, "another body");
        let retries = format!("{BILLING}.upstream_rq_retry_success");
        assert_eq!(scene.sidecar.stat(&retries).await, 1);
        scene.sidecar.is_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_refuses_the_second_token_too_is_heard() {
    let scene = Scene::start(&[OUTBOUND_RETRY]).await;
    scene.oldest.store(usize::MAX, Ordering::Relaxed);
    assert_eq!(scene.status(&invoices()).await, 401);
    assert_eq!(scene.seen(), ["t1", "t2"]);
    scene.sidecar.is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_for_each_direction_stands_in_one_sidecar() {
    for files in [[INBOUND, OUTBOUND], [INBOUND_PLUGIN, OUTBOUND_PLUGIN]] {
        runs_both(&files).await;
    }
}

/// Runs a plugin for each direction.
async fn runs_both(files: &[&str]) {
    let scene = Scene::start(files).await;
    scene.server.on_each(INTROSPECT, |call| {
        let audience = "https://orders.example.com";
        let active = call.parameter("token").as_deref() == Some("good");
        Answer::json(200, &json!({"active": active, "aud": audience, "scope": "orders:read"}))
    });
    for _ in ["fresh", "kept"] {
        let order = Request::get("/orders/1").bearer("good");
        assert_eq!(scene.sidecar.send(&order).await.status, 200);
        assert_eq!(scene.status(&invoices()).await, 200);
        assert_eq!(scene.sidecar.send(&Request::get("/orders/1")).await.status, 401);
    }
    assert_eq!((scene.server.count(INTROSPECT), scene.server.count(TOKEN)), (1, 1));
    assert_eq!(scene.seen(), ["t1", "t1"]);
    scene.sidecar.is_well();
}

#[test]
fn both_ways_out_have_the_same_document() {
    let extension = object(OUTBOUND, "TrafficExtension");
    let plugin = extension["spec"]["wasm"]["pluginConfig"].clone();
    let filter = object(OUTBOUND_RETRY, "EnvoyFilter");
    let options = &filter["spec"]["configPatches"][0]["patch"]["value"]["typed_extension_protocol_options"]
        ["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    let document = &options["http_filters"][0]["typed_config"]["config"]["configuration"]["value"];
    let document: Value = serde_json::from_str(document.as_str().expect("JSON")).expect("JSON");
    assert_eq!(document, plugin);
}

#[test]
fn the_module_fits_into_a_config_map() {
    // Kubernetes takes no more than 1 MiB, the name included.
    let size = module().metadata().expect("the module").len();
    assert!(size < 1024 * 1024 - 1024, "{size} bytes");
}
