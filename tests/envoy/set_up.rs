//! What the tests in the real Envoy stand on: an authorization server that does as it is told, a
//! service that keeps what reaches it, and an Envoy with the filter between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oauth2_filter_testbed::client::{Http2, Request, Response};
use oauth2_filter_testbed::envoy::{
    Bootstrap, Cluster, Envoy, Listener, Options, WasmPlugin, merge,
};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::{open_files, upstream::Upstream, wait};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// The path of the introspection endpoint.
pub const ENDPOINT: &str = "/introspect";

/// The name of the listener, and of its statistics.
pub const LISTENER: &str = "in";

/// What stands at both ends of Envoy.
pub struct Ends {
    /// The authorization server; it says of every token that it is active.
    pub server: ScriptedServer,
    /// The service behind.
    pub service: Upstream,
}

impl Ends {
    /// Starts both.
    pub async fn start() -> Self {
        open_files::allow_many();
        let server = ScriptedServer::start().await;
        server.on(ENDPOINT, active());
        Self { server, service: Upstream::start().await }
    }

    /// The clusters `as` and `service`, with room for crowds.
    pub fn bootstrap(&self) -> Bootstrap {
        let many = json!({
            "max_connections": 4_000, "max_pending_requests": 4_000, "max_requests": 4_000,
        });
        let few_connections = json!({"max_connections": 200, "max_pending_requests": 4_000});
        let cluster = |name, address, thresholds| {
            // On a busy machine, many connections at once can take more than the usual second.
            Cluster::new(name, address)
                .thresholds(thresholds)
                .with(json!({"connect_timeout": "30s"}))
        };
        Bootstrap::new()
            .custom_cluster(cluster("as", self.server.address(), &many))
            .custom_cluster(cluster("service", self.service.address(), &few_connections))
    }

    /// Starts an Envoy of one worker between them.
    pub async fn with(self, bootstrap: Bootstrap) -> SetUp {
        self.with_options(bootstrap, &one_worker()).await
    }

    /// Starts an Envoy between them.
    pub async fn with_options(self, bootstrap: Bootstrap, options: &Options) -> SetUp {
        let Self { server, service } = self;
        let envoy = Envoy::start_with(bootstrap, options).await.expect("Envoy with the filter");
        let machines = envoy.stat(MACHINES).await;
        SetUp { server, service, envoy, machines }
    }
}

/// All that a test needs, running.
pub struct SetUp {
    /// The authorization server.
    pub server: ScriptedServer,
    /// The service behind.
    pub service: Upstream,
    /// The Envoy between.
    pub envoy: Envoy,
    /// How many VMs Envoy had made when it was up.
    machines: Option<u64>,
}

impl SetUp {
    /// One listener and one worker, with this added to the `inbound` object.
    pub async fn new(inbound: Value) -> Self {
        let ends = Ends::start().await;
        let bootstrap = ends.bootstrap().listener(listener(&plugin(inbound)));
        ends.with(bootstrap).await
    }

    /// Where Envoy listens.
    pub fn address(&self) -> SocketAddr {
        self.envoy.address(LISTENER)
    }

    /// A GET with this token; panics if there is no answer.
    pub async fn get(&self, token: &str) -> Response {
        self.send(&Request::get("/").bearer(token)).await
    }

    /// Sends a request by itself; panics if there is no answer.
    pub async fn send(&self, request: &Request) -> Response {
        request.send(self.address()).await.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// Sends requests for a path from so many connections, each request with a token of its own,
    /// while `change` runs. All are allowed. Returns how many there were.
    pub async fn under_load(
        &self,
        connections: usize,
        path: &'static str,
        change: impl AsyncFnOnce(),
    ) -> usize {
        let address = self.address();
        let ended = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for client in 0..connections {
            let ended = Arc::clone(&ended);
            clients.spawn(async move {
                let connection = Http2::open(address).await.expect("a connection");
                let mut requests = 0;
                while !ended.load(Ordering::Relaxed) {
                    let request = Request::get(path).bearer(&format!("token-{client}-{requests}"));
                    let answer = connection.send(&request).await.expect("an answer");
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    requests += 1;
                }
                requests
            });
        }
        change().await;
        ended.store(true, Ordering::Relaxed);
        clients.join_all().await.into_iter().sum()
    }

    /// How many introspection calls the server has had.
    pub fn calls(&self) -> usize {
        self.server.count(ENDPOINT)
    }

    /// Waits until this many requests are under way in Envoy, neither more nor less.
    pub async fn under_way(&self, requests: u64) {
        let what = format!("{requests} requests under way");
        let active = format!("http.{LISTENER}.downstream_rq_active");
        wait::until(&what, async || self.envoy.stat(&active).await == Some(requests)).await;
    }

    /// Checks that nothing at all has gone to the service.
    pub async fn service_is_untouched(&self) {
        for total in ["upstream_rq_total", "upstream_cx_total"] {
            let total = format!("cluster.service.{total}");
            assert_eq!(self.envoy.stat(&total).await, Some(0), "{total}");
        }
    }

    /// Waits until nothing is under way any more, and checks that the VMs are those of the start.
    pub async fn comes_to_rest(&self) {
        self.comes_to_rest_after_updates().await;
        assert_eq!(self.envoy.stat(MACHINES).await, self.machines, "VMs were made anew");
    }

    /// The same after updates, for which Envoy makes VMs to try them in.
    pub async fn comes_to_rest_after_updates(&self) {
        self.under_way(0).await;
        for cluster in ["as", "service"] {
            let active = format!("cluster.{cluster}.upstream_rq_active");
            let what = format!("{active} to be 0");
            wait::until(&what, async || self.envoy.stat(&active).await == Some(0)).await;
        }
        for (name, value) in self.envoy.stats("vm_reload").await {
            assert_eq!(value, 0, "{name}");
        }
        let log = self.envoy.log();
        for failure in ["panicked", "Function: proxy_", "[critical]", "[error]"] {
            assert!(!log.contains(failure), "{failure:?} in Envoy's log");
        }
    }
}

/// The versions of HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

pub const BOTH: [Http; 2] = [Http::One, Http::Two];

impl Http {
    /// Sends a request; panics if there is no answer.
    pub async fn send(self, request: &Request, address: SocketAddr) -> Response {
        let answer = match self {
            Self::One => request.send(address).await,
            Self::Two => request.send_http2(address).await,
        };
        answer.unwrap_or_else(|error| panic!("{self:?}: no answer: {error}"))
    }
}

/// The counter of VMs made.
const MACHINES: &str = "wasm.envoy.wasm.runtime.v8.created";

/// One worker, since each asks for itself.
pub fn one_worker() -> Options {
    Options { concurrency: 1, ..Options::default() }
}

/// The listener, with this filter before the service.
pub fn listener(plugin: &WasmPlugin) -> Listener {
    Listener::to(LISTENER, "service").filter(plugin.filter("oauth2"))
}

/// The filter, with this added to the `inbound` object.
pub fn plugin(inbound: Value) -> WasmPlugin {
    WasmPlugin::new(&document(inbound))
}

/// A configuration, with this added to the `inbound` object.
pub fn document(inbound: Value) -> Value {
    let mut document = json!({
        "inbound": {
            "introspection": {
                "endpoint": format!("http://as.test{ENDPOINT}"),
                "cluster": "as",
                "client_id": "rs",
                "client_secret": "rs-secret",
                "timeout": "30s",
            },
        },
    });
    merge(&mut document["inbound"], inbound);
    document
}

/// The server says that the token is active, and nothing more.
pub fn active() -> Answer {
    Answer::json(200, &json!({"active": true}))
}

/// The server says that the token is not active.
pub fn inactive() -> Answer {
    Answer::json(200, &json!({"active": false}))
}
