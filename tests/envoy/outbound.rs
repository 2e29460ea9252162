//! The outbound direction: tokens that are obtained, kept, renewed and put on requests.

mod both;
mod crowds;
mod failing;
mod machines;
mod malformed;
mod observing;
mod placing;
mod renewing;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use oauth2_filter_testbed::Received;
use oauth2_filter_testbed::client::{Http2, Request, Response};
use oauth2_filter_testbed::envoy::{Envoy, Options, WasmPlugin, merge};
use oauth2_filter_testbed::scripted::Answer;
use oauth2_filter_testbed::wait;
use serde_json::{Value, json};

use crate::set_up::{Ends, SetUp, listener};

/// The path of the token endpoint.
const TOKEN: &str = "/token";

/// The gauge of requests that wait.
const WAITING: &str = "wasmcustom.oauth2_filter.waiting_requests";

/// A client, with this added.
fn client(more: Value) -> Value {
    let mut client = json!({
        "grant_type": "client_credentials",
        "endpoint": format!("http://as.test{TOKEN}"),
        "cluster": "as",
        "client_id": "orders",
        "client_secret": "orders-secret",
        "timeout": "30s",
        "retries": 0,
    });
    merge(&mut client, more);
    client
}

/// What the grant `password` adds to a client.
fn password() -> Value {
    json!({"grant_type": "password", "username": "alice", "password": "alice-password"})
}

/// One client for every request, with this added.
fn document(more: Value) -> Value {
    json!({"outbound": {"clients": {"billing": client(more)}}})
}

/// A token that serves this many seconds: it lives one more, which is the default of `clock_skew`.
/// One that serves none ends at once.
fn issued(token: &str, seconds: u64) -> Answer {
    let expires_in = if seconds == 0 { 0 } else { seconds + 1 };
    let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": expires_in});
    Answer::json(200, &body)
}

/// One listener, and this many workers.
async fn start(document: &Value, workers: u32) -> SetUp {
    let ends = Ends::start().await;
    let bootstrap = ends.bootstrap().listener(listener(&WasmPlugin::new(document)));
    let options = Options { concurrency: workers, ..Options::default() };
    ends.with_options(bootstrap, &options).await
}

/// A statistic of a client.
async fn of_client(envoy: &Envoy, metric: &str, rest: &str) -> u64 {
    let name = format!("wasmcustom.oauth2_filter.{metric}.client.billing{rest}");
    envoy.stat(&name).await.unwrap_or_else(|| panic!("no {name}"))
}

/// The `Authorization` of each request that the service had for a path.
fn seen(set_up: &SetUp, path: &str) -> Vec<Option<String>> {
    let requests = set_up.service.requests_to(path);
    requests.iter().map(|request| request.header("authorization")).collect()
}

/// The `Authorization` that the service shows in its answer.
fn shown(answer: &Response) -> Option<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let headers = answer.json()["headers"].clone();
    let headers: Vec<(String, String)> = serde_json::from_value(headers).expect("pairs");
    headers.into_iter().find(|(name, _)| name == "authorization").map(|(_, value)| value)
}

/// The response code details that stand in a refusal of the filter: none of the upstream's.
fn is_ours(answer: &Response) -> bool {
    answer.header("cache-control").as_deref() == Some("no-store")
        && answer.json().get("error").is_some()
}

impl SetUp {
    /// How many token calls the server has had.
    fn token_calls(&self) -> usize {
        self.server.count(TOKEN)
    }

    /// How many requests wait.
    async fn waiting(&self) -> u64 {
        self.envoy.stat(WAITING).await.expect("the gauge")
    }

    /// Waits until so many wait.
    async fn waits(&self, requests: u64) {
        let what = format!("{requests} requests to wait");
        wait::until(&what, async || self.waiting().await == requests).await;
    }

    /// Connections of which each of the two workers has one. They have sent this request.
    async fn connections(&self, request: &Request) -> [Http2; 2] {
        let accepted = async || {
            let stats = self.envoy.stats("listener.*worker_.*downstream_cx_total").await;
            let first = stats.iter().find(|(name, _)| name.contains(".worker_0."));
            *first.expect("the first worker").1
        };
        let mut connections = [None, None];
        while connections.iter().any(Option::is_none) {
            let before = accepted().await;
            let connection = Http2::open(self.address()).await.expect("a connection");
            connection.send(request).await.expect("an answer");
            let worker = usize::from(accepted().await == before);
            connections[worker] = Some(connection);
        }
        connections.map(|connection| connection.expect("one for each worker"))
    }
}

/// An authorization server's memory: it numbers its tokens, rotates refresh tokens, and takes
/// everything back when one is used twice, as a server does that suspects a thief.
#[derive(Clone, Default)]
struct Issuer(Arc<Mutex<Issued>>);

#[derive(Default)]
struct Issued {
    /// How many tokens.
    tokens: usize,
    /// The refresh token that may be used.
    refresh: Option<String>,
    /// Those that have been used.
    used: BTreeSet<String>,
    /// What was asked that should not have been.
    offences: Vec<String>,
    /// How often each grant was run.
    grants: BTreeSet<(String, usize)>,
}

impl Issuer {
    /// One that takes `r0` as the first refresh token.
    fn new() -> Self {
        let issuer = Self::default();
        issuer.issued().refresh = Some("r0".to_owned());
        issuer
    }

    /// Answers a token call with a token that serves this many seconds: `t1`, `t2` and so on.
    fn answer(&self, call: &Received, seconds: u64) -> Answer {
        let mut issued = self.issued();
        let grant = call.parameter("grant_type").unwrap_or_default();
        if grant == "refresh_token" {
            let token = call.parameter("refresh_token").unwrap_or_default();
            if issued.refresh.as_ref() != Some(&token) {
                issued.offences.push(format!("refresh token {token}"));
                issued.refresh = None;
                return Answer::json(400, &json!({"error": "invalid_grant"}));
            }
            issued.used.insert(token);
        }
        issued.tokens += 1;
        let number = issued.tokens;
        issued.grants.insert((grant, number));
        issued.refresh = Some(format!("r{number}"));
        Answer::json(
            200,
            &json!({
                "access_token": format!("t{number}"), "token_type": "Bearer",
                "expires_in": seconds + 1, "refresh_token": format!("r{number}"),
            }),
        )
    }

    /// How many tokens it has issued.
    fn tokens(&self) -> usize {
        self.issued().tokens
    }

    /// How many refresh tokens have been used, each once.
    fn used(&self) -> usize {
        self.issued().used.len()
    }

    /// How many tokens were issued by this grant.
    fn by(&self, grant: &str) -> usize {
        self.issued().grants.iter().filter(|(name, _)| name == grant).count()
    }

    /// What was asked that should not have been.
    fn offences(&self) -> Vec<String> {
        self.issued().offences.clone()
    }

    fn issued(&self) -> std::sync::MutexGuard<'_, Issued> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
