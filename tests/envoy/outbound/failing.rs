//! Authorization servers that fail and come back, and services that refuse every token.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{Listener, Options, WasmPlugin};
use oauth2_filter_testbed::scripted::{Answer, Gate, ScriptedServer};
use oauth2_filter_testbed::wait;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::renewing::Load;
use super::{TOKEN, client, document, is_ours, issued, of_client, start};
use crate::set_up::{Ends, LISTENER, SetUp, listener};

/// A way to fail.
#[derive(Clone, Debug)]
struct Kind {
    /// The name of the client that meets it.
    name: &'static str,
    /// What the token endpoint does; nothing if it cannot be reached.
    said: Option<Answer>,
    /// What callers get.
    status: u16,
    /// How long each pause is at least, in seconds, as the server asks.
    asked: u64,
}

fn kinds() -> Vec<Kind> {
    let kind = |name, said, status| Kind { name, said, status, asked: 0 };
    let error = |status, code| Some(Answer::json(status, &json!({"error": code})));
    let html = Answer::status(200).header("content-type", "text/html").body("<html>Sorry</html>");
    let busy = Answer::status(429).header("retry-after", "3");
    vec![
        kind("refused", None, 503),
        kind("timeout", Some(Answer::hang()), 503),
        kind("reset", Some(Answer::reset()), 503),
        kind("close", Some(Answer::close()), 503),
        Kind { asked: 3, ..kind("busy", Some(busy), 503) },
        kind("error-500", Some(Answer::status(500)), 503),
        kind("error-503", Some(Answer::status(503)), 503),
        kind("error-401", error(401, "invalid_client"), 502),
        kind("error-400", error(400, "unauthorized_client"), 502),
        kind("html", Some(html), 502),
    ]
}

/// A server of which each way to fail has an endpoint, and another that can be out of reach.
struct Failing {
    set_up: SetUp,
    gone: ScriptedServer,
}

impl Failing {
    async fn start(kinds: &[Kind]) -> Self {
        let ends = Ends::start().await;
        let gone = ScriptedServer::start().await;
        let client = |kind: &Kind| {
            client(json!({
                "endpoint": format!("http://as.test/{}", kind.name),
                "cluster": if kind.said.is_some() { "as" } else { "gone" },
                "timeout": if kind.name == "timeout" { "500ms" } else { "30s" },
                "refresh_before": "2500ms",
            }))
        };
        let clients: BTreeMap<_, _> = kinds.iter().map(|kind| (kind.name, client(kind))).collect();
        let rule = |kind: &Kind| json!({"hosts": [host(kind)], "client": kind.name});
        let rules: Vec<Value> = kinds.iter().map(rule).collect();
        let document = json!({"outbound": {"clients": clients, "rules": rules}});
        let bootstrap = ends
            .bootstrap()
            .cluster("gone", gone.address())
            .listener(listener(&WasmPlugin::new(&document)));
        let set_up = ends.with_options(bootstrap, &Options::default()).await;
        Self { set_up, gone }
    }

    async fn breaks(&self, kind: &Kind) {
        match &kind.said {
            Some(said) => self.set_up.server.on(&format!("/{}", kind.name), said.clone()),
            None => self.gone.refuse().await,
        }
    }

    fn heals(&self, kind: &Kind, token: &str, seconds: u64) {
        let path = format!("/{}", kind.name);
        if kind.said.is_some() {
            self.set_up.server.on(&path, issued(token, seconds));
        } else {
            self.gone.on(&path, issued(token, seconds));
            self.gone.accept();
        }
    }

    async fn send(&self, kind: &Kind) -> Response {
        // Each by itself: either worker may get it.
        let request = Request::get("/").authority(&host(kind)).bearer("callers-own");
        self.set_up.send(&request).await
    }

    /// How many token calls have failed, and how many brought a token.
    async fn calls(&self, kind: &Kind) -> (u64, u64) {
        let prefix = format!("token_calls.client.{}.outcome.", kind.name);
        let (mut failed, mut brought) = (0, 0);
        for (name, count) in self.set_up.envoy.stats(&prefix).await {
            if name.ends_with(".issued") { brought += count } else { failed += count }
        }
        (failed, brought)
    }

    /// Waits until the token comes, and checks that it took one call after the server was healed.
    async fn recovers(&self, kind: &Kind, token: &str) {
        let (_, brought) = self.calls(kind).await;
        wait::until(&format!("{} to pass", kind.name), async || {
            let answer = self.send(kind).await;
            if answer.status == 200 {
                return true;
            }
            is_refused(kind, &answer);
            false
        })
        .await;
        assert_eq!(self.calls(kind).await.1, brought + 1, "{kind:?}");
        let expected = format!("Bearer {token}");
        assert_eq!(super::shown(&self.send(kind).await), Some(expected), "{kind:?}");
    }
}

/// The host whose requests get a client's token.
fn host(kind: &Kind) -> String {
    format!("{}.test", kind.name)
}

/// The answer is what callers get when no token is to be had.
fn is_refused(kind: &Kind, answer: &Response) {
    assert_eq!(answer.status, kind.status, "{kind:?}: {}", answer.text());
    assert!(is_ours(answer), "{kind:?}: {answer:?}");
    let retry_after = answer.header("retry-after").map(|n| n.parse::<u64>().expect("seconds"));
    if kind.status == 503 {
        assert!(retry_after.is_some_and(|seconds| (1..=60).contains(&seconds)), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fail_is_told_backed_off_from_and_recovered_from() {
    let kinds = kinds();
    let failing = Arc::new(Failing::start(&kinds).await);
    let mut cycles = JoinSet::new();
    for kind in kinds {
        let failing = Arc::clone(&failing);
        cycles.spawn(async move { cycle(&failing, &kind).await });
    }
    cycles.join_all().await;
    // Nothing of the caller's ever took the place of ours.
    for request in failing.set_up.service.requests() {
        assert_ne!(request.header("authorization").as_deref(), Some("Bearer callers-own"));
    }
    failing.set_up.comes_to_rest().await;
}

async fn cycle(failing: &Failing, kind: &Kind) {
    // At first there is no token.
    failing.breaks(kind).await;
    let before = now();
    let first = failing.send(kind).await;
    is_refused(kind, &first);
    if kind.asked > 0 {
        assert_eq!(first.header("retry-after"), Some(kind.asked.to_string()));
    }
    let failures = if kind.asked > 0 { 2 } else { 3 };
    wait::until(&format!("{failures} calls of {}", kind.name), async || {
        is_refused(kind, &failing.send(kind).await);
        failing.calls(kind).await.0 >= failures
    })
    .await;
    // One call a pause: at first, after a second, after two more.
    let pauses: u64 = (0..failures - 1).map(|n| (1 << n).max(kind.asked)).sum();
    assert!(before.elapsed() >= Duration::from_secs(pauses), "{kind:?}: a storm");
    failing.heals(kind, "t1", 3);
    failing.recovers(kind, "t1").await;

    // Then it cannot be renewed.
    let (failed, brought) = failing.calls(kind).await;
    failing.breaks(kind).await;
    wait::until(&format!("the token of {} to end", kind.name), async || {
        let answer = failing.send(kind).await;
        if answer.status == 200 {
            return false;
        }
        is_refused(kind, &answer);
        true
    })
    .await;
    let (now_failed, now_brought) = failing.calls(kind).await;
    assert!(now_failed > failed, "{kind:?}: its renewal was tried");
    assert_eq!(now_brought, brought, "{kind:?}");
    failing.heals(kind, "t2", 3600);
    failing.recovers(kind, "t2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_for_a_while_is_not_stormed_and_missed_only_when_the_token_ends() {
    away_until(3, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes minutes: `make renewals`"]
async fn a_server_that_is_away_for_forty_seconds() {
    // The token serves for a few seconds. There is a call in each three.
    away_until(16, 5).await;
}

/// Under load, the server is away until so many calls have failed; its tokens live so long.
async fn away_until(failures: u64, lives: u64) {
    let set_up = start(&document(json!({"timeout": "1s"})), 2).await;
    let path = TOKEN;
    set_up.server.on(path, issued("before", lives));
    assert_eq!(set_up.send(&Request::get("/")).await.status, 200);
    let load = Load::start(&set_up.envoy, 16).await;
    set_up.server.refuse().await;
    let away = now();
    let failed = async || of_client(&set_up.envoy, "token_calls", ".outcome.unavailable").await;
    let limit = Duration::from_mins(1);
    wait::poll("calls to fail", limit, async || (failed().await >= failures).then_some(()))
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let elapsed = away.elapsed();
    let attempts = set_up.envoy.stat("cluster.as.upstream_cx_connect_fail").await;
    // After a second, after two more, and then every three seconds or a little less.
    let pauses: u64 = (0..failures - 1).map(|n| 2_400.min(1_000 << n)).sum();
    println!("away for {elapsed:?}: {failures} calls failed, {attempts:?} connections tried");
    assert!(elapsed >= Duration::from_millis(pauses), "a storm: {failures} calls in {elapsed:?}");
    assert!(attempts.is_some_and(|attempts| attempts <= failures + 1), "{attempts:?}");
    let refusal = set_up.send(&Request::get("/")).await;
    assert_eq!(refusal.status, 503, "{}", refusal.text());
    let told: u64 = refusal.header("retry-after").expect("seconds").parse().expect("a number");
    assert!(told <= 3, "{told} s");

    set_up.server.on(path, issued("after", 3600));
    set_up.server.clear();
    let back = now();
    set_up.server.accept();
    let limit = Duration::from_secs(told + 10);
    wait::poll("requests to pass again", limit, async || {
        (set_up.send(&Request::get("/")).await.status == 200).then_some(())
    })
    .await
    .unwrap_or_else(|error| panic!("{error}, and callers were told {told} s"));
    println!("back after {:?}, callers were told {told} s", back.elapsed());
    load.each_gets(2).await;
    let (statuses, _) = load.end_each().await;
    assert_eq!(set_up.server.count(path), 1, "the first call after it came back");
    for statuses in statuses {
        // Good, then refused, then good.
        let mut changes = statuses.clone();
        changes.dedup();
        assert_eq!(changes, [200, 503, 200]);
    }
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_refuses_every_token_causes_no_loop_and_is_heard() {
    refusing_until(5).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes minutes: `make renewals`"]
async fn a_service_that_refuses_every_token_for_a_minute() {
    refusing_until(8).await;
}

/// The service answers 401 to everything, until so many tokens have been issued.
async fn refusing_until(tokens: usize) {
    let ends = Ends::start().await;
    let times = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&times);
    ends.server.on_each(TOKEN, move |_| {
        let mut noted = noted.lock().expect("times");
        noted.push(now());
        issued(&format!("t{}", noted.len()), 3600)
    });
    let service = ScriptedServer::start().await;
    let refusal = Answer::json(401, &json!({"from": "the service"}))
        .header("www-authenticate", "Bearer error=\"invalid_token\"");
    service.on("/", refusal);
    let filter = WasmPlugin::new(&document(json!({}))).filter("oauth2");
    let bootstrap = ends
        .bootstrap()
        .cluster("refusing", service.address())
        .listener(Listener::to(LISTENER, "refusing").filter(filter));
    let set_up = ends.with_options(bootstrap, &Options::default()).await;
    let load = Load::start(&set_up.envoy, 8).await;
    wait::poll("tokens to be refused", Duration::from_secs(90), async || {
        service.clear();
        (times.lock().expect("times").len() >= tokens).then_some(())
    })
    .await
    .unwrap_or_else(|error| panic!("{error}"));
    let answer = set_up.send(&Request::get("/")).await;
    assert_eq!(answer.json(), json!({"from": "the service"}));
    assert!(answer.header("www-authenticate").is_some());
    let (statuses, _) = load.end().await;
    assert!(statuses.iter().all(|status| *status == 401), "the service's answer, always");
    let times = times.lock().expect("times").clone();
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    println!("{} requests were refused; token calls after {gaps:?}", statuses.len());
    for (n, gap) in gaps.iter().enumerate() {
        // Twice at once, then after 1, 2, 4 seconds and so on. The filter counts whole
        // milliseconds.
        let pause = Duration::from_secs(if n < 2 { 0 } else { 1 << (n - 2) });
        assert!(*gap + Duration::from_millis(5) >= pause, "{gaps:?}");
    }
    assert_eq!(
        of_client(&set_up.envoy, "tokens", ".event.dropped").await + 1,
        times.len() as u64,
        "each was dropped once"
    );
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_refused_once_is_renewed_once_and_no_worker_goes_on_with_it() {
    let ends = Ends::start().await;
    let service = ScriptedServer::start().await;
    let taken_back = Arc::new(Mutex::new(false));
    let judge = Arc::clone(&taken_back);
    service.on_each("/", move |request| {
        let old = request.header("authorization").as_deref() == Some("Bearer t1");
        Answer::status(if old && *judge.lock().expect("a flag") { 401 } else { 200 })
    });
    let gate = Gate::new();
    ends.server.on(TOKEN, vec![issued("t1", 3600), issued("t2", 3600).held_by(&gate)]);
    let filter = WasmPlugin::new(&document(json!({}))).filter("oauth2");
    let bootstrap = ends
        .bootstrap()
        .cluster("judge", service.address())
        .listener(Listener::to(LISTENER, "judge").filter(filter));
    let set_up = ends.with_options(bootstrap, &Options::default()).await;
    let [one, other] = set_up.connections(&Request::get("/")).await;
    assert_eq!(set_up.token_calls(), 1);
    *taken_back.lock().expect("a flag") = true;
    assert_eq!(one.send(&Request::get("/")).await.expect("an answer").status, 401);
    let get = |connection: &oauth2_filter_testbed::client::Http2| {
        let connection = connection.clone();
        tokio::spawn(async move { connection.send(&Request::get("/")).await })
    };
    let waiting = std::cell::RefCell::new(vec![get(&one)]);
    gate.arrived(1).await;
    // The other worker soon knows: its requests wait, and do not go on with the old one.
    wait::until("the other worker to know", async || {
        waiting.borrow_mut().push(get(&other));
        set_up.waiting().await > 1
    })
    .await;
    gate.open();
    let mut refused = 0;
    for answer in waiting.take() {
        let status = answer.await.expect("a task").expect("an answer").status;
        assert!(matches!(status, 200 | 401));
        refused += usize::from(status == 401);
    }
    println!("the other worker sent the old one {refused} times more");
    for connection in [&one, &other] {
        assert_eq!(connection.send(&Request::get("/")).await.expect("an answer").status, 200);
    }
    assert_eq!(set_up.token_calls(), 2, "one refusal, one renewal");
    assert_eq!(of_client(&set_up.envoy, "tokens", ".event.dropped").await, 1);
    set_up.comes_to_rest().await;
}

/// What the clock shows: pauses are at least as long as they are said to be.
#[expect(clippy::disallowed_methods, reason = "a pause is never too short on a slow machine")]
fn now() -> Instant {
    Instant::now()
}
