//! The real Envoy before callers that know nothing of OAuth: the filter gets tokens, and puts them
//! on requests to the service, which the other Envoy guards.

use std::{
    cell::Cell,
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use oauth2_filter_testbed::{
    client::{Connection, Request},
    envoy::{Bootstrap, Cluster, Envoy, Listener, Options, WasmPlugin},
    story::{self, Arrival, NotAsExpected, Page, READ, expect},
    wait,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::stage::{self, GUARDED, ORDER, Stage};

/// What outbound steps are played on.
pub(crate) struct Outbound {
    /// The proxy.
    pub(crate) envoy: Envoy,
}

impl Outbound {
    /// Starts Envoy with these configurations of the filter, each on the listener of its name.
    pub(crate) async fn start(
        page: &mut Page,
        stage: &Stage,
        clusters: impl IntoIterator<Item = Cluster>,
        documents: &[(&'static str, Value)],
    ) -> Result<Self, String> {
        page.begin("Starting another Envoy, in which the filter is the client");
        let bootstrap = Bootstrap::new()
            .cluster("service", stage.envoy.address(GUARDED))
            .cluster("as", stage.scene.server.address);
        let bootstrap = clusters.into_iter().fold(bootstrap, Bootstrap::custom_cluster);
        let bootstrap = documents.iter().fold(bootstrap, |bootstrap, (name, document)| {
            let filter = WasmPlugin::new(document).filter("oauth2");
            bootstrap.listener(Listener::to(name, "service").filter(filter))
        });
        let options = Options { concurrency: WORKERS, ..Options::default() };
        let envoy = Envoy::start_with(bootstrap, &options).await;
        let envoy = envoy.map_err(|error| error.to_string())?;
        page.line(&format!("{WORKERS} worker threads"));
        page.blank();
        Ok(Self { envoy })
    }

    /// Sends a request to a listener: the service, and nobody else, must answer.
    pub(crate) async fn arrives(
        &self,
        page: &mut Page,
        listener: &str,
        request: &Request,
    ) -> Result<Arrival, NotAsExpected> {
        story::arrival(&page.exchange(self.envoy.address(listener), request).await?)
    }

    /// Sends two requests without a token to a listener: both must reach the service with one
    /// token of this client, which is told.
    pub(crate) async fn serves(
        &self,
        page: &mut Page,
        listener: &str,
        client_id: &str,
    ) -> Result<String, NotAsExpected> {
        let arrival = self.arrives(page, listener, &Request::get(ORDER)).await?;
        expect("x-client", arrival.headers.all("x-client").join(", ").as_str(), client_id)?;
        expect("x-scope", arrival.headers.all("x-scope").join(", ").as_str(), READ)?;
        let token = token_on(&arrival)?;
        let answer = Request::get(ORDER).send(self.envoy.address(listener)).await?;
        expect("the next request's token", &*token_on(&story::arrival(&answer)?)?, &*token)?;
        Ok(token)
    }

    /// Sends a request without a token to a listener: it must be refused with this status, and
    /// Envoy's access log must name this reason.
    pub(crate) async fn refuses(
        &self,
        page: &mut Page,
        listener: &str,
        status: u16,
        reason: &str,
    ) -> Result<(), NotAsExpected> {
        stage::refuses(&self.envoy, page, listener, Request::get, status, reason).await
    }

    /// Sends requests while the service does not take this token any more, until one arrives with
    /// another, which is told. Each worker may learn it by itself, and may have had an older one.
    pub(crate) async fn replaces(
        &self,
        page: &mut Page,
        listener: &str,
        token: &str,
    ) -> Result<String, NotAsExpected> {
        page.begin("   Sending requests until one reaches the service");
        let refused = Cell::new(0);
        let arrived =
            wait::poll("a request to reach the service", wait::LIMIT, async || match Request::get(
                ORDER,
            )
            .send(self.envoy.address(listener))
            .await
            {
                Ok(answer) if answer.status == 401 => {
                    refused.set(refused.get() + 1);
                    None
                }
                answer => Some(answer),
            });
        let arrived = arrived.await.map_err(|error| NotAsExpected::new(error.to_string()))??;
        page.line(&format!("{} got 401 before, of {WORKERS} workers.", refused.get()));
        page.blank();
        page.answer(&arrived);
        let next = token_on(&story::arrival(&arrived)?)?;
        if next == token {
            return Err(NotAsExpected::new("it is the old token"));
        }
        if refused.get() > 2 * WORKERS {
            return Err(NotAsExpected::new("a worker has sent a refused token again"));
        }
        Ok(next)
    }

    /// Sends requests on many connections, one after the other on each, until `done`: every one
    /// must reach the service.
    pub(crate) async fn load(
        &self,
        page: &mut Page,
        listener: &str,
        done: impl AsyncFn() -> Result<bool, NotAsExpected>,
    ) -> Result<Load, NotAsExpected> {
        page.begin(&format!("   Sending requests on {CONNECTIONS} connections"));
        let before = self.connections().await;
        let address = self.envoy.address(listener);
        let stop = Arc::new(AtomicBool::new(false));
        let mut loads = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let connection = Connection::open(address).await?;
            loads.spawn(requests(connection, Arc::clone(&stop)));
        }
        let done = wait::poll("what the load is for", LOAD_LIMIT, async || match done().await {
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        })
        .await;
        stop.store(true, Relaxed);
        let mut all = Load::default();
        for load in loads.join_all().await {
            let Load { requests, tokens } = load?;
            all.requests += requests;
            all.tokens.extend(tokens);
        }
        page.line(&format!("{} of them, all answered with 200.", all.requests));
        page.blank();
        done.map_err(|timed_out| NotAsExpected::new(timed_out.to_string()))??;
        let connected = self.connections().await;
        if before.iter().zip(&connected).any(|(before, after)| before == after) {
            return Err(NotAsExpected::new("a worker had nothing to do"));
        }
        Ok(all)
    }

    /// How many connections each worker has taken so far.
    async fn connections(&self) -> Vec<u64> {
        let stats = self.envoy.stats("worker_.*downstream_cx_total").await;
        let of = |worker: u32| {
            let part = format!(".worker_{worker}.");
            stats.iter().filter(|(name, _)| name.contains(&part)).map(|(_, count)| count).sum()
        };
        (0..WORKERS).map(of).collect()
    }
}

/// What came of many requests.
#[derive(Default)]
pub(crate) struct Load {
    /// How many there were.
    pub(crate) requests: usize,
    /// With which tokens they reached the service.
    pub(crate) tokens: BTreeSet<String>,
}

async fn requests(
    mut connection: Connection,
    stop: Arc<AtomicBool>,
) -> Result<Load, NotAsExpected> {
    let mut load = Load::default();
    while !stop.load(Relaxed) {
        let answer = connection.send(&Request::get(ORDER)).await?;
        if answer.status != 200 {
            let text = format!("request {} got {} {}", load.requests, answer.status, answer.text());
            return Err(NotAsExpected::new(text));
        }
        load.tokens.insert(token_on(&story::arrival(&answer)?)?);
        load.requests += 1;
    }
    Ok(load)
}

/// The token with which a request has reached the service.
pub(crate) fn token_on(arrival: &Arrival) -> Result<String, NotAsExpected> {
    match &*arrival.headers.all("authorization") {
        [value] => value
            .strip_prefix("Bearer ")
            .map(ToOwned::to_owned)
            .ok_or_else(|| NotAsExpected::new("the service got no bearer token")),
        all => Err(NotAsExpected::new(format!("the service got {} tokens", all.len()))),
    }
}

/// A client of the server at this token endpoint, without what it authenticates with.
pub(crate) fn client(endpoint: &str, client_id: &str, grant_type: &str) -> Value {
    json!({
        "grant_type": grant_type, "endpoint": endpoint, "cluster": "as", "client_id": client_id,
        "scope": READ,
    })
}

/// A document with one client, for every request.
pub(crate) fn one(client: &Value) -> Value {
    json!({"outbound": {"clients": {"orders": client}}})
}

const WORKERS: u32 = 2;
const CONNECTIONS: usize = 32;
const LOAD_LIMIT: Duration = Duration::from_mins(1);
