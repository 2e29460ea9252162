//! Istio guards a workload: `inbound.yaml`, and `authorization-policy.yaml` on top of it.

use std::path::Path;

use oauth2_filter_testbed::authorization_server::{
    AuthorizationServer, Client, ORDERS_API_SECRET, Options, SHOP,
};
use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::wait;

use crate::manifests::{AUTHORIZATION_POLICY, AUTHORIZATION_SERVER, INBOUND};
use crate::sidecar::{Host, Sidecar, module, panicking_module};

/// The client that the policy lets do more.
const BACK_OFFICE: &str = "back-office";

/// The host of the authorization server.
const AUTHORIZATION_SERVER_HOST: &str = "as.example.com";

/// The secret of the filter.
const SECRET: (&str, &str) = ("ORDERS_API_SECRET", ORDERS_API_SECRET);

/// A guarded workload, and the authorization server that knows its callers.
struct Scene {
    server: AuthorizationServer,
    sidecar: Sidecar,
}

impl Scene {
    /// Of these files.
    async fn start(files: &[&str]) -> Self {
        Self::start_with(&module(), files, AUTHORIZATION_SERVER_HOST).await
    }

    /// The same with another module, or the authorization server with a certificate of this name.
    async fn start_with(module: &Path, files: &[&str], certificate: &'static str) -> Self {
        let back_office = Client {
            id: BACK_OFFICE.to_owned(),
            subject: BACK_OFFICE.to_owned(),
            ..Client::shop()
        };
        let clients = vec![Client::shop(), back_office, Client::orders_api()];
        let options = Options { clients, ..Options::default() };
        let server = AuthorizationServer::start(options).await.expect("an authorization server");
        let host = Host { certificate, ..Host::new(AUTHORIZATION_SERVER_HOST, server.address()) };
        let sidecar = Sidecar::start_with(module, files, &[host], &[SECRET]).await;
        Self { server, sidecar }
    }

    /// The status of a request with a token of this client.
    async fn status(&self, request: Request, client: &str, scope: &str) -> u16 {
        let token = self.server.issue(client, scope);
        self.sidecar.send(&request.bearer(&token)).await.status
    }
}

/// A request that the workload sees as `path`.
fn get(path: &str) -> Request {
    Request::get(path).authority("orders.example.com")
}

fn delete(path: &str) -> Request {
    Request::new("DELETE", path).authority("orders.example.com")
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_there_is_a_challenge_and_with_one_the_workload_learns_who_calls() {
    let scene = Scene::start(&[AUTHORIZATION_SERVER, INBOUND]).await;
    let answer = scene.sidecar.send(&get("/orders/1")).await;
    assert_eq!(answer.status, 401);
    assert_eq!(
        answer.header("www-authenticate").as_deref(),
        Some(r#"Bearer realm="oauth2", scope="orders:read""#)
    );
    assert!(scene.sidecar.workload.requests().is_empty());
    assert_eq!(scene.server.stats().introspect, 0);

    let token = scene.server.issue(SHOP, "orders:read");
    let spoofed = get("/orders/1").bearer(&token).header("x-client", BACK_OFFICE);
    assert_eq!(scene.sidecar.send(&spoofed).await.status, 200);
    let [request] = scene.sidecar.workload.requests().try_into().expect("one request");
    assert_eq!(request.headers.all("x-user"), [SHOP]);
    assert_eq!(request.headers.all("x-client"), [SHOP]);
    assert_eq!(request.headers.all("x-scope"), ["orders:read"]);
    assert_eq!(request.header("authorization"), None);

    assert_eq!(scene.status(delete("/orders/1"), SHOP, "orders:read").await, 403);
    assert_eq!(scene.status(delete("/orders/1"), SHOP, "orders:write").await, 200);
    assert_eq!(scene.status(get("/other"), SHOP, "orders:read").await, 403);
    assert_eq!(scene.sidecar.send(&get("/orders/1").bearer("unknown")).await.status, 401);
    assert_eq!(scene.sidecar.send(&get("/healthz")).await.status, 200);
    let details = scene.sidecar.details(7).await;
    assert_eq!(
        details,
        [
            "oauth2_no_token",
            "via_upstream",
            "oauth2_insufficient_scope",
            "via_upstream",
            "oauth2_unmatched",
            "oauth2_inactive",
            "via_upstream",
        ]
    );
    scene.sidecar.is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_leaves_what_the_workload_sends_alone() {
    let scene = Scene::start(&[AUTHORIZATION_SERVER, INBOUND]).await;
    let request = Request::get("/orders/1").authority("elsewhere.example.com").bearer("theirs");
    assert_eq!(scene.sidecar.send_out(&request).await.status, 200);
    let [request] = scene.sidecar.others.requests().try_into().expect("one request");
    assert_eq!(request.header("authorization").as_deref(), Some("Bearer theirs"));
    assert_eq!(scene.server.stats().introspect, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_certificate_of_another_name_is_told_nothing() {
    let files = [AUTHORIZATION_SERVER, INBOUND];
    let scene = Scene::start_with(&module(), &files, "evil.example.com").await;
    assert_eq!(scene.status(get("/orders/1"), SHOP, "orders:read").await, 503);
    assert_eq!(scene.sidecar.details(1).await, ["oauth2_server_unavailable"]);
    assert_eq!(scene.server.stats().introspect, 0);
    assert!(scene.sidecar.workload.requests().is_empty());
    scene.sidecar.is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorization_policy_allows_and_refuses_by_what_the_filter_has_forwarded() {
    let scene = Scene::start(&[AUTHORIZATION_SERVER, INBOUND, AUTHORIZATION_POLICY]).await;
    let status = async |request: Request, client| {
        scene.status(request, client, "orders:read orders:write").await
    };
    assert_eq!(status(get("/orders/1"), SHOP).await, 200);
    assert_eq!(status(get("/orders/1"), BACK_OFFICE).await, 200);
    assert_eq!(status(delete("/orders/1"), BACK_OFFICE).await, 200);
    assert_eq!(status(delete("/orders/1"), SHOP).await, 403);
    // Nobody makes himself somebody else.
    let spoofed =
        delete("/orders/1").header("x-client", BACK_OFFICE).header("X_Client", BACK_OFFICE);
    assert_eq!(status(spoofed, SHOP).await, 403);
    // The filter comes first: its refusals tell the client what it lacks.
    assert_eq!(scene.sidecar.send(&delete("/orders/1")).await.status, 401);
    assert_eq!(scene.sidecar.send(&get("/healthz")).await.status, 200);
    let details = scene.sidecar.details(7).await;
    let denied = "rbac_access_denied_matched_policy[none]";
    assert_eq!(
        details,
        [
            "via_upstream",
            "via_upstream",
            "via_upstream",
            denied,
            denied,
            "oauth2_no_token",
            "via_upstream"
        ]
    );
    assert_eq!(scene.sidecar.workload.requests().len(), 4);
    assert_eq!(scene.sidecar.stat("http.inbound_0.0.0.0_8080;.rbac.denied").await, 2);
    scene.sidecar.is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_slashes_which_istio_does_not_merge_by_default_never_reach_the_workload() {
    let scene = Scene::start(&[AUTHORIZATION_SERVER, INBOUND]).await;
    for (path, status) in [("//orders//1", 400), ("/x/../orders/./1", 200)] {
        assert_eq!(scene.status(get(path), SHOP, "orders:read").await, status, "{path}");
    }
    let paths: Vec<_> = scene.sidecar.workload.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(paths, ["/orders/1"]);
    scene.sidecar.is_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_has_crashed_is_started_anew_and_meanwhile_nobody_passes() {
    let files = [AUTHORIZATION_SERVER, INBOUND];
    let scene = Scene::start_with(&panicking_module(), &files, AUTHORIZATION_SERVER_HOST).await;
    let kill = get("/orders/1").bearer("token").header("x-panic-on-command", "now");
    assert_eq!(scene.sidecar.send(&kill).await.status, 503);
    wait::until("a filter that serves again", async || {
        match scene.status(get("/orders/1"), SHOP, "orders:read").await {
            200 => true,
            503 => false,
            other => panic!("{other}"),
        }
    })
    .await;
    assert_eq!(scene.sidecar.send(&get("/orders/1")).await.status, 401);
    assert_eq!(scene.sidecar.workload.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_that_cannot_pull_the_module_lets_nobody_pass() {
    let scene = Scene::start(&[AUTHORIZATION_SERVER, INBOUND]).await;
    assert_eq!(scene.status(get("/orders/1"), SHOP, "orders:read").await, 200);
    scene.sidecar.workload.clear();
    scene.sidecar.cannot_pull().await;
    assert_eq!(scene.status(get("/orders/1"), SHOP, "orders:read").await, 403);
    assert_eq!(scene.sidecar.send(&get("/healthz")).await.status, 403);
    assert!(scene.sidecar.workload.requests().is_empty());
}
