//! The life of tokens under load: renewed while requests flow, each refresh token used once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use oauth2_filter_testbed::Received;
use oauth2_filter_testbed::client::{Connection, Request};
use oauth2_filter_testbed::envoy::{Envoy, Listener, Options, WasmPlugin, merge};
use oauth2_filter_testbed::scripted::{Answer, Gate, ScriptedServer};
use oauth2_filter_testbed::wait;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Issuer, TOKEN, client, document, issued, of_client, password, shown, start};
use crate::set_up::{Ends, LISTENER, listener};

const CONNECTIONS: usize = 64;

/// The grants by which a token can be renewed.
fn grants() -> [Value; 3] {
    [json!({}), password(), json!({"grant_type": "refresh_token", "refresh_token": "r0"})]
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_9700_03_under_load_no_request_fails_and_each_refresh_token_is_used_once() {
    for grant in grants() {
        let figures = Renewals::run(&grant, 1, 4).await;
        figures.hold(&grant);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes minutes: `make renewals`"]
async fn a_minute_of_tokens_that_live_three_seconds() {
    println!("{:>18} | seconds | requests | token calls | refresh tokens | longest", "grant");
    for grant in grants() {
        let figures = Renewals::run(&grant, 3, 25).await;
        let name = grant.get("grant_type").and_then(Value::as_str).unwrap_or("client_credentials");
        println!(
            "{name:>18} | {:>7.1} | {:>8} | {:>11} | {:>14} | {} ms",
            figures.elapsed.as_secs_f64(),
            figures.requests,
            figures.calls,
            figures.refresh_tokens,
            figures.longest.as_millis(),
        );
        figures.hold(&grant);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_refresh_token_is_kept_though_its_configuration_ends_meanwhile() {
    let refreshes = json!({"grant_type": "refresh_token", "refresh_token": "r0"});
    // The same client, among others: a request to /probe shows which configuration it came under.
    let config = |probe: &str, clients: Value| {
        let given = json!({"grant_type": "direct_token", "access_token": probe});
        let mut document = json!({"outbound": {
            "clients": {"given": given},
            "rules": [{"paths": ["/probe"], "client": "given"}],
        }});
        merge(&mut document["outbound"], clients);
        WasmPlugin::new(&document).typed_config()
    };
    let billing = || {
        json!({
            "clients": {"billing": client(refreshes.clone())},
            "rules": [{"paths": ["/probe"], "client": "given"}, {"client": "billing"}],
        })
    };
    let ends = Ends::start().await;
    let listener =
        Listener::to(LISTENER, "service").discovered_filter("oauth2", &config("old", billing()));
    let bootstrap = ends.bootstrap().listener(listener);
    let set_up = ends.with(bootstrap).await;
    let update = async |probe: &str, clients: Value| {
        set_up.envoy.update_filter("oauth2", &config(probe, clients)).await.expect("no mistake");
        let value = Some(format!("Bearer {probe}"));
        wait::until("the worker to have it", async || {
            shown(&set_up.send(&Request::get("/probe")).await) == value
        })
        .await;
    };
    let (issuer, gate) = (Arc::new(Issuer::new()), Gate::new());
    let (answers, held) = (Arc::clone(&issuer), gate.clone());
    set_up.server.on_each(TOKEN, move |call| answers.answer(call, 3600).held_by(&held));
    let mut connection = Connection::open(set_up.address()).await.expect("a connection");
    connection.send_head(&Request::get("/held")).await.expect("a request");
    gate.arrived(1).await;
    connection.abort();
    set_up.under_way(0).await;
    update("new", billing()).await;
    gate.open();
    let answer = set_up.send(&Request::get("/held")).await;
    assert_eq!(shown(&answer).as_deref(), Some("Bearer t1"));
    assert_eq!((issuer.offences(), issuer.used(), issuer.tokens()), (Vec::new(), 1, 1));
    let left = "wasmcustom.oauth2_filter.token_expires_in_seconds.client.billing";
    // With the dynamic module, the metric may end with its configuration.
    let left = async || set_up.envoy.stat(left).await.unwrap_or(0);
    wait::until("a report", async || left().await > 3500).await;
    // Nothing more is said of a client that is no more.
    update("newer", json!({})).await;
    wait::until("the end of reports", async || left().await == 0).await;
    set_up.comes_to_rest_after_updates().await;
}

/// What came of a run.
#[derive(Debug)]
struct Renewals {
    requests: usize,
    /// The statuses that were not 200.
    failed: Vec<u16>,
    calls: usize,
    tokens: usize,
    by_grant: usize,
    refresh_tokens: usize,
    offences: Vec<String>,
    /// The tokens that the service did not take.
    refused: usize,
    obtained: u64,
    renewed: u64,
    elapsed: Duration,
    longest: Duration,
}

impl Renewals {
    /// Two workers, 64 connections, until so many tokens that live so long have been issued.
    async fn run(grant: &Value, lives: u64, tokens: usize) -> Self {
        let issuer = Issuer::new();
        let ends = Ends::start().await;
        let (answering, judging) = (issuer.clone(), issuer.clone());
        ends.server.on_each(TOKEN, move |call| answering.answer(call, lives));
        // The service knows which tokens there are, and takes the last and the one before it.
        let service = ScriptedServer::start().await;
        let refused = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&refused);
        service.on_each("/", move |request| {
            let fresh = fresh(request, judging.tokens());
            counted.fetch_add(usize::from(!fresh), Relaxed);
            Answer::status(if fresh { 200 } else { 403 })
        });
        let document = document(grant.clone());
        let bootstrap = ends.bootstrap().cluster("judge", service.address()).listener(
            Listener::to(LISTENER, "judge").filter(WasmPlugin::new(&document).filter("oauth2")),
        );
        let set_up = ends.with_options(bootstrap, &Options::default()).await;
        #[expect(clippy::disallowed_methods, reason = "it is shown, and nothing depends on it")]
        let started = Instant::now();
        let load = Load::start(&set_up.envoy, CONNECTIONS).await;
        let what = format!("{tokens} tokens");
        let limit = Duration::from_secs(lives) * u32::try_from(tokens).expect("few") * 2;
        let seen_waiting = AtomicUsize::new(0);
        wait::poll(&what, limit, async || {
            if issuer.tokens() > 1 && set_up.waiting().await > 0 {
                seen_waiting.fetch_add(1, Relaxed);
            }
            // What the service remembers is not needed.
            service.clear();
            (issuer.tokens() >= tokens).then_some(())
        })
        .await
        .unwrap_or_else(|error| panic!("{error}: {} were issued", issuer.tokens()));
        let (statuses, longest) = load.end().await;
        let elapsed = started.elapsed();
        assert_eq!(seen_waiting.load(Relaxed), 0, "requests waited");
        let figures = Self {
            requests: statuses.len(),
            failed: statuses.into_iter().filter(|status| *status != 200).collect(),
            calls: set_up.token_calls(),
            tokens: issuer.tokens(),
            by_grant: issuer.tokens() - issuer.by("refresh_token"),
            refresh_tokens: issuer.used(),
            offences: issuer.offences(),
            refused: refused.load(Relaxed),
            obtained: of_client(&set_up.envoy, "tokens", ".event.obtained").await,
            renewed: of_client(&set_up.envoy, "tokens", ".event.renewed").await,
            elapsed,
            longest,
        };
        set_up.comes_to_rest().await;
        figures
    }

    /// Checks what must hold.
    fn hold(&self, grant: &Value) {
        assert_eq!(self.failed, [0; 0], "{grant}: {self:?}");
        assert_eq!(self.refused, 0, "{grant}: {self:?}");
        assert_eq!(self.offences, [""; 0], "{grant}: {self:?}");
        assert_eq!(self.calls, self.tokens, "{grant}: one call for each token: {self:?}");
        // The last may be under way.
        let taken = usize::try_from(self.obtained + self.renewed).expect("few");
        assert!(taken <= self.tokens && taken + 1 >= self.tokens, "{grant}: {self:?}");
        assert_eq!(self.obtained, 1, "{grant}: the others were renewed in time: {self:?}");
        let expected = match grant.get("grant_type").and_then(Value::as_str) {
            None => (self.tokens, 0),
            Some("password") => (1, self.tokens - 1),
            Some(_) => (0, self.tokens),
        };
        assert_eq!((self.by_grant, self.refresh_tokens), expected, "{grant}: {self:?}");
        assert!(self.requests > CONNECTIONS * self.tokens, "{grant}: {self:?}");
    }
}

/// Whether a request carries the last token that was issued or, since it may just have been
/// replaced, the one before.
fn fresh(request: &Received, tokens: usize) -> bool {
    let value = request.header("authorization").unwrap_or_default();
    let number = value.strip_prefix("Bearer t").and_then(|number| number.parse::<usize>().ok());
    number.is_some_and(|number| number <= tokens && number + 1 >= tokens)
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_good_token_is_held_nobody_waits_for_its_renewal() {
    let set_up = start(&document(json!({"refresh_before": "9s"})), 2).await;
    let gate = Gate::new();
    set_up.server.on(TOKEN, vec![issued("t1", 10), issued("t2", 3600).held_by(&gate)]);
    assert_eq!(set_up.send(&Request::get("/")).await.status, 200);
    let load = Load::start(&set_up.envoy, CONNECTIONS).await;
    gate.arrived(1).await;
    // The call is under way, and each client gets two more answers: the second is to a request
    // that was sent after the call.
    load.each_gets(2).await;
    assert_eq!(set_up.waiting().await, 0);
    let last = set_up.service.requests().pop().expect("a request");
    assert_eq!(last.header("authorization").as_deref(), Some("Bearer t1"));
    gate.open();
    wait::until("the new token", async || {
        let last = set_up.service.requests().pop().expect("a request");
        last.header("authorization").as_deref() == Some("Bearer t2")
    })
    .await;
    let (statuses, _) = load.end().await;
    assert!(statuses.iter().all(|status| *status == 200));
    assert_eq!(set_up.token_calls(), 2);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_proxy_makes_no_token_call() {
    let ends = Ends::start().await;
    // No worker has a request: neither they nor the main thread's VM may call.
    let bootstrap = ends.bootstrap().listener(listener(&WasmPlugin::new(&document(json!({})))));
    let set_up = ends.with_options(bootstrap, &Options::default()).await;
    for total in ["upstream_rq_total", "upstream_cx_total"] {
        assert_eq!(set_up.envoy.stat(&format!("cluster.as.{total}")).await, Some(0), "{total}");
    }
    // A token that nobody uses ends, and is not renewed.
    set_up.server.on(TOKEN, issued("t1", 2));
    assert_eq!(set_up.send(&Request::get("/")).await.status, 200);
    let age = async || of_client(&set_up.envoy, "token_age_seconds", "").await;
    wait::until("a token of a second's age", async || age().await == 1).await;
    wait::until("no token", async || age().await == 0).await;
    assert_eq!(set_up.token_calls(), 1);
    assert_eq!(set_up.send(&Request::get("/")).await.status, 200);
    assert_eq!(set_up.token_calls(), 2);
    set_up.comes_to_rest().await;
}

/// Clients with a connection each, that send one request after the other until they are to end.
pub(super) struct Load {
    clients: JoinSet<(Vec<u16>, Duration)>,
    ended: Arc<AtomicBool>,
    answers: Arc<Vec<AtomicUsize>>,
}

impl Load {
    /// Starts so many.
    pub(super) async fn start(envoy: &Envoy, connections: usize) -> Self {
        let address = envoy.address(LISTENER);
        let ended = Arc::new(AtomicBool::new(false));
        let answers: Vec<_> = (0..connections).map(|_| AtomicUsize::new(0)).collect();
        let answers = Arc::new(answers);
        let mut clients = JoinSet::new();
        for client in 0..connections {
            let (ended, answers) = (Arc::clone(&ended), Arc::clone(&answers));
            let mut connection = Connection::open(address).await.expect("a connection");
            clients.spawn(async move {
                let (mut statuses, mut longest) = (Vec::new(), Duration::ZERO);
                while !ended.load(Relaxed) {
                    #[expect(clippy::disallowed_methods, reason = "it is shown only")]
                    let sent = Instant::now();
                    let answer = connection.send(&Request::get("/")).await.expect("an answer");
                    // The first waits.
                    if !statuses.is_empty() {
                        longest = longest.max(sent.elapsed());
                    }
                    statuses.push(answer.status);
                    answers[client].fetch_add(1, Relaxed);
                }
                (statuses, longest)
            });
        }
        Self { clients, ended, answers }
    }

    /// Waits until each client has had so many more answers.
    pub(super) async fn each_gets(&self, more: usize) {
        let counts = || self.answers.iter().map(|answers| answers.load(Relaxed));
        let before: Vec<_> = counts().collect();
        wait::until("more answers", async || {
            counts().zip(&before).all(|(now, before)| now >= before + more)
        })
        .await;
    }

    /// Ends it: the statuses, and the longest time that an answer took.
    pub(super) async fn end(self) -> (Vec<u16>, Duration) {
        let (statuses, longest) = self.end_each().await;
        (statuses.concat(), longest)
    }

    /// The same, with the statuses of each client by themselves.
    pub(super) async fn end_each(self) -> (Vec<Vec<u16>>, Duration) {
        self.ended.store(true, Relaxed);
        let (statuses, longest): (Vec<_>, Vec<_>) =
            self.clients.join_all().await.into_iter().unzip();
        (statuses, longest.into_iter().max().unwrap_or_default())
    }
}
