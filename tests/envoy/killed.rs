//! VMs that die: what becomes of the requests in them, of those beside them, and of what was kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use oauth2_filter_testbed::client::{Http2, Request, Response};
use oauth2_filter_testbed::envoy::{Listener, Options, WasmPlugin};
use oauth2_filter_testbed::scripted::Gate;
use oauth2_filter_testbed::{wait, workspace};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::set_up::{ENDPOINT, Ends, LISTENER, SetUp, active, document, inactive, one_worker};

const TOKENS: usize = 50;

/// The requests that are served under load before, and again after.
const SERVED: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_dies_under_load_comes_back_and_nothing_that_was_kept_is_lost() {
    let set_up = two_workers(json!({}), Duration::from_mins(5)).await;
    for n in 0..TOKENS {
        assert_eq!(set_up.get(&format!("token-{n}")).await.status, 200);
    }
    let [dying, other] = set_up.connections_to_each_worker().await;
    let load = [Load::start(&dying), Load::start(&other)];
    for load in &load {
        load.serves(SERVED).await;
    }
    assert_eq!(kill(&dying).await.status, 503);
    serves_again(&dying, "token-0").await;
    for load in &load {
        load.serves(load.served() + SERVED).await;
    }
    let [dying, other] = load;
    let (dying, other) = (dying.end().await, other.end().await);
    assert!(dying.iter().all(|status| matches!(status, 200 | 503)), "{dying:?}");
    assert!(other.iter().all(|status| *status == 200), "the other worker goes on: {other:?}");
    assert_eq!(set_up.calls(), TOKENS, "nothing is asked again");
    set_up.reloaded(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_vm_that_asks_dies_another_asks_in_its_place() {
    let asked = json!({"introspection": {"timeout": "1s", "retries": 0}});
    let set_up = two_workers(asked, Duration::from_secs(4)).await;
    let [dying, other] = set_up.connections_to_each_worker().await;
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, active().held_by(&gate));
    let asks = send(&dying, "token");
    gate.arrived(1).await;
    let waits = send(&other, "token");
    set_up.under_way(2).await;
    set_up.server.on(ENDPOINT, active());
    assert_eq!(kill(&dying).await.status, 503);

    // The marker of the call outlives the VM that put it up, but not for long.
    assert_eq!(waits.await.expect("an answer").status, 200);
    assert_eq!(set_up.calls(), 2);
    // Envoy holds what waited in the dead VM, until its own limit: nobody can answer it before.
    let held = asks.await.expect("an answer").status;
    assert!(matches!(held, 408 | 503 | 504), "{held}");
    let ended = |entry: &Value| entry["flags"].as_str().is_some_and(|flags| flags.contains("SI"));
    wait::until("one stream to have been idle for too long", async || {
        set_up.envoy.access_log(LISTENER).iter().filter(|entry| ended(entry)).count() == 1
    })
    .await;
    serves_again(&dying, "token").await;
    assert_eq!(set_up.calls(), 2, "the VM that came back is told what others know");
    set_up.reloaded(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_that_comes_back_while_its_own_marker_is_up_waits_for_no_answer_that_cannot_come() {
    let asked = json!({"introspection": {"timeout": "4s", "retries": 0}});
    let set_up = two_workers(asked, Duration::from_mins(5)).await;
    let [dying, _] = set_up.connections_to_each_worker().await;
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, active().held_by(&gate));
    let _asks = send(&dying, "new");
    gate.arrived(1).await;
    set_up.server.on(ENDPOINT, active());
    assert_eq!(set_up.get("known").await.status, 200);
    assert_eq!(kill(&dying).await.status, 503);
    serves_again(&dying, "known").await;
    assert_eq!(set_up.calls(), 2);
    assert_eq!(send(&dying, "new").await.expect("an answer").status, 200);
    assert_eq!(set_up.calls(), 3);
    set_up.reloaded(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_whose_vm_dies_changes_no_decision_of_another() {
    let ends = Ends::start().await;
    let asking = |server: &str, vm_id: &str| {
        let inbound = json!({
            "introspection": {"endpoint": format!("http://as.test/{server}")},
            "cache": {"negative_ttl": "60s"},
        });
        that_panics(&document(inbound)).root_id(server).vm_id(vm_id)
    };
    let guarded =
        |name: &str, plugin: WasmPlugin| Listener::to(name, "service").filter(plugin.filter("f"));
    let bootstrap = ends
        .bootstrap()
        .listener(guarded(LISTENER, asking("yes", "shared")))
        .listener(guarded("same-vm", asking("no", "shared")))
        .listener(guarded("own-vm", asking("no", "own")));
    let set_up = ends.with_options(bootstrap, &one_worker()).await;
    set_up.server.on("/yes", active());
    set_up.server.on("/no", inactive());
    let connect = async |listener| Http2::open(set_up.envoy.address(listener)).await;
    let dying = connect(LISTENER).await.expect("a connection");
    let same_vm = connect("same-vm").await.expect("a connection");
    let own_vm = connect("own-vm").await.expect("a connection");
    let status =
        async |connection: &Http2| send(connection, "token").await.expect("an answer").status;
    assert_eq!(status(&dying).await, 200);
    assert_eq!((status(&same_vm).await, status(&own_vm).await), (401, 401));

    assert_eq!(kill(&dying).await.status, 503);
    wait::until("both plugins of the VM to be back", async || {
        let (passed, refused) = (status(&dying).await, status(&same_vm).await);
        assert!(matches!((passed, refused), (200 | 503, 401 | 503)), "{passed} {refused}");
        assert_eq!(status(&own_vm).await, 401, "the other VM lives");
        (passed, refused) == (200, 401)
    })
    .await;
    let count = |server| set_up.server.count(server);
    assert_eq!((count("/yes"), count("/no")), (1, 2), "one call for each VM id and server");
    assert_eq!(set_up.service.requests().len(), set_up.passed().await);
}

/// The filter with a request that kills it.
pub fn that_panics(document: &Value) -> WasmPlugin {
    let file = workspace().join("target/oauth2_filter_panics.wasm");
    assert!(file.is_file(), "no {}: run `make panics`", file.display());
    WasmPlugin::new(document).file(file)
}

/// Two workers whose VMs can be killed, and this limit for streams on which nothing happens.
async fn two_workers(inbound: Value, idle: Duration) -> SetUp {
    let ends = Ends::start().await;
    let listener = Listener::to(LISTENER, "service")
        .filter(that_panics(&document(inbound)).filter("oauth2"))
        .stream_idle_timeout(idle);
    let bootstrap = ends.bootstrap().listener(listener);
    ends.with_options(bootstrap, &Options::default()).await
}

/// Kills the VM of a connection's worker.
async fn kill(connection: &Http2) -> Response {
    let request = Request::get("/").bearer("token").header("x-panic-on-command", "now");
    connection.send(&request).await.expect("an answer of Envoy itself")
}

/// Sends a request; its answer comes from the task.
fn send(connection: &Http2, token: &str) -> tokio::task::JoinHandle<Response> {
    let (connection, request) = (connection.clone(), Request::get("/").bearer(token));
    tokio::spawn(async move { connection.send(&request).await.expect("an answer") })
}

/// Waits until a worker whose VM has died serves this token.
async fn serves_again(connection: &Http2, token: &str) {
    wait::until("the worker to serve again", async || {
        let status = send(connection, token).await.expect("an answer").status;
        assert!(matches!(status, 200 | 503), "{status}");
        status == 200
    })
    .await;
}

/// Clients that send requests with known tokens over one connection, until they are to end.
struct Load {
    clients: JoinSet<Vec<u16>>,
    ended: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
}

impl Load {
    fn start(connection: &Http2) -> Self {
        let (ended, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut clients = JoinSet::new();
        for client in 0..8 {
            let (connection, ended, served) =
                (connection.clone(), Arc::clone(&ended), Arc::clone(&served));
            clients.spawn(async move {
                let mut statuses = Vec::new();
                while !ended.load(Relaxed) {
                    let token = format!("token-{}", (client + statuses.len()) % TOKENS);
                    let request = Request::get("/").bearer(&token);
                    let status = connection.send(&request).await.expect("an answer").status;
                    served.fetch_add(usize::from(status == 200), Relaxed);
                    statuses.push(status);
                }
                statuses
            });
        }
        Self { clients, ended, served }
    }

    /// How many requests have passed.
    fn served(&self) -> usize {
        self.served.load(Relaxed)
    }

    /// Waits until so many have.
    async fn serves(&self, requests: usize) {
        wait::until("requests to pass", async || self.served() >= requests).await;
    }

    /// Ends it: the status of every answer.
    async fn end(self) -> Vec<u16> {
        self.ended.store(true, Relaxed);
        self.clients.join_all().await.concat()
    }
}

impl SetUp {
    /// Connections of which each of the two workers has one.
    pub async fn connections_to_each_worker(&self) -> [Http2; 2] {
        let accepted = async || {
            let stats = self.envoy.stats("listener.*worker_.*downstream_cx_total").await;
            let of = |worker: &str| {
                stats.iter().find_map(|(name, n)| name.contains(worker).then_some(*n))
            };
            [of(".worker_0."), of(".worker_1.")]
        };
        let mut connections = [None, None];
        while connections.iter().any(Option::is_none) {
            let before = accepted().await;
            let connection = Http2::open(self.address()).await.expect("a connection");
            let refused = connection.send(&Request::get("/")).await.expect("an answer");
            assert_eq!(refused.status, 401);
            let after = accepted().await;
            let worker = usize::from(after[0] == before[0]);
            connections[worker] = Some(connection);
        }
        connections.map(|connection| connection.expect("one for each worker"))
    }

    /// Checks that Envoy has made so many VMs anew, and none in vain.
    pub async fn reloaded(&self, times: u64) {
        let reloads = self.envoy.stats("vm_reload").await;
        let count = |what: &str| -> u64 {
            reloads.iter().filter(|(name, _)| name.ends_with(what)).map(|(_, n)| n).sum()
        };
        assert_eq!((count("_success"), count("_failure")), (times, 0), "{reloads:?}");
        assert_eq!(self.envoy.log().matches("on command").count(), 1, "one has panicked");
    }

    /// How many requests the first listener has let pass.
    async fn passed(&self) -> usize {
        let name = format!("http.{LISTENER}.downstream_rq_2xx");
        usize::try_from(self.envoy.stat(&name).await.expect("a counter")).expect("a small number")
    }
}
