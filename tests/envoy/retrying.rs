//! A program behind Envoy calls a service that refuses a token: the files of `envoy/` themselves,
//! with the filter among the listener's filters, and among the upstream filters of a cluster and of
//! the router; or, as a dynamic module, of a cluster.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use oauth2_filter_testbed::client::{Connection, Http2, Request, Response};
use oauth2_filter_testbed::envoy::{Envoy, Options, example, native};
use oauth2_filter_testbed::scripted::{Answer, Gate, ScriptedServer};
use oauth2_filter_testbed::{Received, open_files, wait};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::set_up::{BOTH, Http, one_worker};

/// The file with the filter among the listener's filters.
const LISTENER: &str = "outbound.yaml";

/// The files with the filter among the upstream filters of a cluster, and of the router.
const CLUSTER: &str = "outbound-retry-cluster.yaml";
const ROUTER: &str = "outbound-retry-router.yaml";

/// The file with a dynamic module among the upstream filters of a cluster.
const NATIVE: &str = "native/outbound.yaml";

/// The files with the filter among upstream filters, in the host that is chosen.
fn upstream() -> &'static [&'static str] {
    if native::is_chosen() { &[NATIVE] } else { &[CLUSTER, ROUTER] }
}

/// The path of the service.
const INVOICES: &str = "/invoices";

/// The path of the token endpoint.
const TOKEN: &str = "/token";

/// An Envoy that runs one of the files, between an authorization server and a service.
struct Scene {
    /// It issues t1, t2, t3, …
    server: ScriptedServer,
    /// It refuses tokens that are older than this number.
    service: ScriptedServer,
    oldest: Arc<AtomicUsize>,
    envoy: Envoy,
    /// What the names of the filter's statistics begin with.
    metrics: &'static str,
}

impl Scene {
    /// Runs this file.
    async fn start(file: &str) -> Self {
        Self::start_with(file, &[]).await
    }

    /// Runs this file with other changes to its text.
    async fn start_with(file: &str, changes: &[(&str, &str)]) -> Self {
        Self::start_edited(file, changes, |text| text).await
    }

    /// Runs this file with other changes to its text, and `edit` as the last of them.
    async fn start_edited(
        file: &str,
        changes: &[(&str, &str)],
        edit: impl FnOnce(String) -> String,
    ) -> Self {
        open_files::allow_many();
        let (server, service) = (ScriptedServer::start().await, ScriptedServer::start().await);
        server.on_each(TOKEN, issue(None));
        let oldest = Arc::new(AtomicUsize::new(0));
        service.on_each(INVOICES, answer(&oldest, None));
        let port = |server: &ScriptedServer| format!("port_value: {} ", server.address().port());
        let (endpoint, as_port, service_port) =
            (format!("{}/", server.address()), port(&server), port(&service));
        let mut replacements = vec![
            ("127.0.0.1:9000/", endpoint.as_str()),
            ("port_value: 9000 ", &as_port),
            ("port_value: 9001 ", &service_port),
            ("port_value: 10000 ", "port_value: 0 "),
        ];
        replacements.extend(changes);
        let secret = ("BILLING_SECRET".to_owned(), "orders-secret".to_owned());
        let options = Options { environment: vec![secret], ..one_worker() };
        let envoy = Envoy::start_with(edit(example(file, &replacements)), &options).await;
        // A cluster counts for a dynamic module among its filters.
        let metrics = if file == NATIVE { "cluster.service.wasmcustom" } else { "wasmcustom" };
        let envoy = envoy.expect("Envoy with the filter");
        Self { server, service, oldest, envoy, metrics }
    }

    fn address(&self) -> SocketAddr {
        self.envoy.address("outbound")
    }

    /// From now on the service refuses every token but the next ones.
    fn revoke(&self) {
        self.oldest.store(self.calls() + 1, Ordering::Relaxed);
    }

    /// Sends a request on a connection of its own.
    async fn send(&self, request: &Request) -> Response {
        Http::One.send(request, self.address()).await
    }

    /// Sends a request of the program.
    async fn get(&self) -> Response {
        self.send(&invoices()).await
    }

    /// How many calls the token endpoint has had.
    fn calls(&self) -> usize {
        self.server.count(TOKEN)
    }

    /// The tokens that have reached the service, in order.
    fn seen(&self) -> Vec<String> {
        self.service.requests(INVOICES).iter().map(token).collect()
    }

    async fn stat(&self, name: &str) -> u64 {
        self.envoy.stat(name).await.unwrap_or_else(|| panic!("no {name}"))
    }

    /// How many tokens were dropped.
    async fn dropped(&self) -> u64 {
        let name = "oauth2_filter.tokens.client.billing.event.dropped";
        self.stat(&format!("{}.{name}", self.metrics)).await
    }

    /// How many requests wait for a token.
    async fn waiting(&self) -> u64 {
        self.stat(&format!("{}.oauth2_filter.waiting_requests", self.metrics)).await
    }

    /// Waits until this many requests are under way.
    async fn under_way(&self, requests: u64) {
        let what = format!("{requests} requests under way");
        wait::until(&what, async || {
            self.stat("http.outbound.downstream_rq_active").await == requests
        })
        .await;
    }

    /// Waits until nothing is under way, and checks that no VM has died.
    async fn comes_to_rest(&self) {
        self.under_way(0).await;
        for cluster in ["as", "service"] {
            let active = format!("cluster.{cluster}.upstream_rq_active");
            wait::until(&active, async || self.stat(&active).await == 0).await;
        }
        assert_eq!(self.waiting().await, 0);
        let log = self.envoy.log();
        for failure in ["panicked", "Function: proxy_", "[critical]", "[error]", "orders-secret"] {
            assert!(!log.contains(failure), "{failure:?} in Envoy's log");
        }
    }
}

/// A request of the program, which knows nothing of tokens.
fn invoices() -> Request {
    Request::get(INVOICES).authority("billing.example.com")
}

/// The same with this body.
fn invoice(body: impl Into<Vec<u8>>) -> Request {
    Request::post(INVOICES, body).authority("billing.example.com")
}

/// The token that a request carries.
fn token(request: &Received) -> String {
    let values = request.headers.all("authorization");
    let [value] = values.as_slice() else { panic!("one token: {values:?}") };
    value.strip_prefix("Bearer ").expect("a bearer token").to_owned()
}

/// Issues t1, t2, t3, …, once the gate is open.
fn issue(gate: Option<&Gate>) -> impl Fn(&Received) -> Answer + Send + 'static {
    let (issued, gate) = (AtomicUsize::new(0), gate.cloned());
    move |call| {
        // An upstream filter that served its own calls would have put a token there.
        assert!(call.header("authorization").is_some_and(|value| value.starts_with("Basic ")));
        let number = issued.fetch_add(1, Ordering::Relaxed) + 1;
        let token = format!("t{number}");
        let answer = json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600});
        let answer = Answer::json(200, &answer);
        gate.iter().fold(answer, Answer::held_by)
    }
}

/// Answers 200 or, for tokens that are older than this, 401, which the gate holds back.
fn answer(
    oldest: &Arc<AtomicUsize>,
    gate: Option<&Gate>,
) -> impl Fn(&Received) -> Answer + Send + 'static {
    let (oldest, gate) = (Arc::clone(oldest), gate.cloned());
    move |request| {
        let number: usize = token(request)[1..].parse().expect("a token of ours");
        if number < oldest.load(Ordering::Relaxed) {
            let refused = Answer::status(401).header("www-authenticate", "Bearer");
            gate.iter().fold(refused, Answer::held_by)
        } else {
            Answer::json(200, &json!({"invoices": number}))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_replaced_for_the_next_request() {
    let scene = Scene::start(LISTENER).await;
    assert_eq!(scene.get().await.status, 200);
    scene.revoke();
    assert_eq!(scene.get().await.status, 401);
    for http in BOTH {
        assert_eq!(http.send(&invoices(), scene.address()).await.status, 200);
    }
    assert_eq!(scene.seen(), ["t1", "t1", "t2", "t2"]);
    assert_eq!((scene.calls(), scene.dropped().await), (2, 1));
    scene.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_sees_no_401_when_the_service_refuses_a_token_once() {
    let body = "a line of an invoice; ".repeat(4_000);
    for &file in upstream() {
        for http in BOTH {
            for request in [invoices(), invoice(body.as_str()), invoice(body.as_str()).chunked()] {
                let scene = Scene::start(file).await;
                assert_eq!(scene.get().await.status, 200, "{file}");
                scene.revoke();
                scene.service.clear();
                let answer = http.send(&request, scene.address()).await;
                assert_eq!(answer.status, 200, "{file} {http:?}: {}", answer.text());
                assert_eq!(scene.seen(), ["t1", "t2"], "{file} {http:?}");
                let [refused, taken] = scene.service.requests(INVOICES).try_into().expect("two");
                assert_eq!(refused.method, taken.method, "{file} {http:?}");
                assert!(refused.body == taken.body, "{file} {http:?}: another body");
                let length = if taken.method == "GET" { 0 } else { body.len() };
                assert_eq!(taken.body.len(), length, "{file} {http:?}");
                assert_eq!((scene.calls(), scene.dropped().await), (2, 1), "{file} {http:?}");
                assert_eq!(scene.stat("cluster.service.upstream_rq_retry_success").await, 1);
                scene.comes_to_rest().await;
            }
        }
    }
}

/// 64 requests carry a token that is refused all at once: how many get through, by status.
async fn sixty_four_are_refused_at_once(scene: &Scene) -> (usize, usize) {
    assert_eq!(scene.get().await.status, 200);
    let gate = Gate::new();
    scene.service.on_each(INVOICES, answer(&scene.oldest, Some(&gate)));
    scene.revoke();
    scene.service.clear();
    let mut requests = JoinSet::new();
    for number in 0..64 {
        let (http, address) = (BOTH[number % 2], scene.address());
        let body = format!("invoice {number}");
        let request = if number < 32 { invoices() } else { invoice(body) };
        requests.spawn(async move { http.send(&request, address).await.status });
    }
    gate.arrived(64).await;
    gate.open();
    let statuses = requests.join_all().await;
    let of = |status| statuses.iter().filter(|s| **s == status).count();
    assert_eq!(of(200) + of(401), 64, "{statuses:?}");
    assert_eq!(scene.calls(), 2, "one new token for all");
    assert_eq!(scene.dropped().await, 1);
    scene.comes_to_rest().await;
    (of(200), of(401))
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_requests_that_are_refused_at_once_all_succeed_by_one_new_token() {
    for &file in upstream() {
        let scene = Scene::start(file).await;
        assert_eq!(sixty_four_are_refused_at_once(&scene).await, (64, 0), "{file}");
        assert_eq!(scene.stat("cluster.service.upstream_rq_retry").await, 64);
        assert_eq!(scene.stat("cluster.service.upstream_rq_retry_overflow").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_circuit_breakers_room_for_retries_most_of_them_see_the_401() {
    for &file in upstream() {
        // Envoy's default.
        let scene = Scene::start_with(file, &[("max_retries: 1024", "max_retries: 3")]).await;
        let (_, refused) = sixty_four_are_refused_at_once(&scene).await;
        assert!(refused >= 32, "{file}: only {refused} were refused");
        let overflow = scene.stat("cluster.service.upstream_rq_retry_overflow").await;
        assert_eq!(overflow, refused as u64, "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_refuses_every_token_is_heard_and_causes_no_loop() {
    for &file in upstream() {
        let scene = Scene::start(file).await;
        scene.oldest.store(usize::MAX, Ordering::Relaxed);
        for _ in 0..20 {
            assert_eq!(scene.get().await.status, 401, "{file}");
        }
        assert_eq!(scene.seen().len(), 40, "{file}: each is tried twice");
        // The first token is replaced at once, and the next ones after 1, 2, 4, … seconds.
        assert!((2..=5).contains(&scene.calls()), "{file}: {} calls", scene.calls());
        scene.comes_to_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_too_large_to_be_kept_is_not_sent_twice_and_the_next_request_has_a_new_token() {
    for &file in upstream() {
        let scene = Scene::start(file).await;
        assert_eq!(scene.get().await.status, 200);
        scene.revoke();
        let large = invoice(vec![b'x'; 3 << 20]);
        assert_eq!(scene.send(&large).await.status, 401, "{file}");
        assert_eq!(scene.send(&large).await.status, 200, "{file}");
        assert_eq!(scene.seen(), ["t1", "t1", "t2"], "{file}");
        scene.comes_to_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_requests_with_bodies_wait_for_the_first_token() {
    for &file in upstream() {
        let scene = Scene::start(file).await;
        let gate = Gate::new();
        scene.server.on_each(TOKEN, issue(Some(&gate)));
        let mut requests = JoinSet::new();
        for http in BOTH {
            for body in [0, 100, 5 << 20] {
                let (address, request) = (scene.address(), invoice(vec![b'x'; body]));
                requests.spawn(async move { http.send(&request, address).await.status });
            }
        }
        scene.under_way(6).await;
        gate.arrived(1).await;
        assert!(scene.seen().is_empty(), "{file}: something went on without a token");
        gate.open();
        assert_eq!(requests.join_all().await, [200; 6], "{file}");
        let mut bodies: Vec<_> =
            scene.service.requests(INVOICES).iter().map(|request| request.body.len()).collect();
        bodies.sort_unstable();
        assert_eq!(bodies, [0, 0, 100, 100, 5 << 20, 5 << 20], "{file}");
        assert_eq!(scene.calls(), 1, "{file}");
        scene.comes_to_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_leave_while_their_upstream_request_waits_do_no_harm() {
    for &file in upstream() {
        let scene = Scene::start(file).await;
        let gate = Gate::new();
        scene.server.on_each(TOKEN, issue(Some(&gate)));
        let mut leaving = Vec::new();
        for _ in 0..20 {
            let mut connection = Connection::open(scene.address()).await.expect("a connection");
            connection.send_head(&invoices()).await.expect("a request");
            leaving.push(connection);
        }
        scene.under_way(20).await;
        wait::until("all to wait", async || scene.waiting().await == 20).await;
        gate.arrived(1).await;
        leaving.into_iter().for_each(Connection::abort);
        scene.under_way(0).await;
        wait::until("nobody to wait", async || scene.waiting().await == 0).await;
        gate.open();
        assert_eq!(scene.get().await.status, 200, "{file}");
        assert_eq!((scene.seen().len(), scene.calls()), (1, 1), "{file}");
        scene.comes_to_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_a_token_counts_as_a_part_of_the_try_and_may_end_it() {
    for &file in upstream() {
        let limit = format!("num_retries: 1\n{}per_try_timeout: 0.2s", " ".repeat(30));
        let changes = [("num_retries: 1", limit.as_str())];
        let scene = Scene::start_with(file, &changes).await;
        let gate = Gate::new();
        scene.server.on_each(TOKEN, issue(Some(&gate)));
        assert_eq!(scene.get().await.status, 504, "{file}");
        assert!(scene.seen().is_empty(), "{file}");
        gate.open();
        // What the first request asked for serves the next.
        wait::until("a token", async || scene.get().await.status == 200).await;
        assert_eq!(scene.calls(), 1, "{file}");
        scene.comes_to_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_is_told_to_the_program_and_not_tried_again() {
    for &file in upstream() {
        let scene = Scene::start(file).await;
        scene.server.on(TOKEN, Answer::status(503).header("retry-after", "7"));
        let answer = scene.get().await;
        assert_eq!(answer.status, 503, "{file}");
        assert!(answer.header("retry-after").is_some(), "{file}");
        // Not the two that come of a retry by Envoy for what the service answers.
        assert_eq!(scene.stat("cluster.service.upstream_rq_retry").await, 0, "{file}");
        assert!(scene.seen().is_empty(), "{file}");
        scene.comes_to_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_programs_own_header_that_is_kept_is_told_from_the_token_of_the_first_try() {
    for &file in upstream() {
        let kept =
            [(r#""scope": "invoices:read""#, r#""scope": "invoices:read", "overwrite": false"#)];
        let scene = Scene::start_with(file, &kept).await;
        assert_eq!(scene.get().await.status, 200);
        scene.revoke();
        assert_eq!(scene.get().await.status, 200, "{file}");
        assert_eq!(scene.seen(), ["t1", "t1", "t2"], "{file}");
        let own = invoices().bearer("t99");
        assert_eq!(scene.send(&own).await.status, 200, "{file}");
        assert_eq!(scene.seen().last().map(String::as_str), Some("t99"), "{file}");
        scene.comes_to_rest().await;
    }
}

/// A filter of Envoy that answers 401 by itself.
fn refusing_filter(depth: usize) -> String {
    let pad = " ".repeat(depth);
    let lines = [
        "- name: refusing",
        "  typed_config:",
        "    \"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "    default_source_code:",
        "      inline_string: |",
        "        function envoy_on_request(handle)",
        "          if handle:headers():get(\"x-refuse\") then",
        "            handle:respond({[\":status\"] = \"401\"}, \"\")",
        "          end",
        "        end",
    ];
    lines.map(|line| [&pad, line, "\n"].concat()).concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_401_that_envoy_itself_answers_drops_no_token() {
    let before = [
        (LISTENER, 18, "- name: envoy.filters.http.router"),
        (CLUSTER, 12, "- name: envoy.filters.http.upstream_codec"),
        (ROUTER, 24, "- name: envoy.filters.http.upstream_codec"),
        (NATIVE, 12, "- name: envoy.filters.http.upstream_codec"),
    ];
    let is_run = |file: &str| file == LISTENER || upstream().contains(&file);
    for (file, depth, last) in before.into_iter().filter(|(file, ..)| is_run(file)) {
        let filter = refusing_filter(depth);
        let both = format!("{}\n{}{last}", filter.trim(), " ".repeat(depth));
        let scene = Scene::start_with(file, &[(last, &both)]).await;
        assert_eq!(scene.get().await.status, 200, "{file}");
        let answer = scene.send(&invoices().header("x-refuse", "1")).await;
        assert_eq!(answer.status, 401, "{file}");
        assert_eq!(scene.get().await.status, 200, "{file}");
        assert_eq!(scene.seen(), ["t1", "t1"], "{file}");
        assert_eq!((scene.calls(), scene.dropped().await), (1, 0), "{file}");
        // One of the service's own does.
        scene.revoke();
        scene.get().await;
        wait::until("the token to be dropped", async || scene.dropped().await == 1).await;
        scene.comes_to_rest().await;
    }
}

/// A file whose cluster `service` is discovered from another file: the rest of it, and that cluster.
fn discovered(text: &str, from: &Path) -> (String, String) {
    let (before, rest) = text.split_once("\n    - name: service\n").expect("a cluster");
    let (cluster, after) = rest.split_once("\n\n").expect("another cluster");
    // Envoy looks for the clusters of routes before it discovers them.
    let hosts = "                  virtual_hosts:";
    let before =
        before.replace(hosts, &format!("                  validate_clusters: false\n{hosts}"));
    let from = from.display();
    let rest = format!(
        "{before}\n{after}
node: {{id: testbed, cluster: testbed}}
dynamic_resources: {{cds_config: {{path_config_source: {{path: {from}}}}}}}
"
    );
    let kind = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    (rest, format!("resources:\n    - \"@type\": {kind}\n      name: service\n{cluster}\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_of_the_cluster_under_load_lose_no_request_and_no_token() {
    const UPDATES: usize = 30;
    let folder = TempDir::with_prefix("clusters-").expect("a folder");
    let file = folder.path().join("clusters.yaml");
    let write = |cluster: &str, number: usize| {
        let timeout = format!("type: STATIC\n      connect_timeout: {}s", number + 1);
        let new = folder.path().join("new");
        fs::write(&new, cluster.replacen("type: STATIC", &timeout, 1)).expect("a file");
        fs::rename(new, &file).expect("a file");
    };
    let mut cluster = String::new();
    let scene = Scene::start_edited(upstream()[0], &[], |text| {
        let (rest, discovered) = discovered(&text, &file);
        write(&discovered, 0);
        cluster = discovered;
        rest
    })
    .await;
    wait::until("the cluster", async || scene.get().await.status == 200).await;
    let (ended, mut load) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for _ in 0..8 {
        let (ended, address) = (Arc::clone(&ended), scene.address());
        load.spawn(async move {
            let connection = Http2::open(address).await.expect("a connection");
            let mut sent = 0;
            while !ended.load(Ordering::Relaxed) {
                let answer = connection.send(&invoices()).await.expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.text());
                sent += 1;
            }
            sent
        });
    }
    for number in 1..=UPDATES {
        write(&cluster, number);
        let modified = async || scene.stat("cluster_manager.cluster_modified").await;
        wait::until("an update", async || modified().await == number as u64).await;
        if number == UPDATES / 2 {
            scene.revoke();
            wait::until("a new token", async || scene.calls() == 2).await;
        }
    }
    ended.store(true, Ordering::Relaxed);
    let sent: usize = load.join_all().await.into_iter().sum();
    assert!(sent > UPDATES, "there was load: {sent}");
    assert_eq!(scene.calls(), 2, "one token, and one after its revocation");
    scene.comes_to_rest().await;
}
