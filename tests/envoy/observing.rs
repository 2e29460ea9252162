//! What operators see: statistics, access logs, policies and routes that go by filter state, and
//! what becomes of `Cache-Control`.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use oauth2_filter_core::Counter;
use oauth2_filter_testbed::client::{Connection, Http2, Request};
use oauth2_filter_testbed::envoy::{Bootstrap, Envoy, Listener, Options, native};
use oauth2_filter_testbed::examples::InboundYaml;
use oauth2_filter_testbed::scripted::{Answer, Gate, ScriptedServer};
use oauth2_filter_testbed::{upstream::Upstream, wait};
use serde_json::{Value, json};

use crate::series::{every_series, series};
use crate::set_up::{ENDPOINT, Ends, LISTENER, SetUp, active, inactive, listener, plugin};

/// The file that shows operators what there is.
const FILE: &str = "inbound-observed.yaml";

/// A bootstrap that labels the statistics as the file does, and puts them out quickly.
fn observed(ends: &Ends) -> Bootstrap {
    let labels = InboundYaml::named(FILE).field("stats_config");
    ends.bootstrap().yaml(&labels).yaml("stats_flush_interval: 0.1s\n")
}

/// The filter's series in Prometheus, labels in alphabetical order.
async fn exported(envoy: &Envoy) -> BTreeMap<String, u64> {
    let text = envoy.admin_get("/stats/prometheus").await;
    let ours = text.lines().filter(|line| line.starts_with("oauth2_filter_"));
    ours.filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((name.trim_end_matches("{}").to_owned(), value.parse().ok()?))
    })
    .collect()
}

/// What has changed between two looks.
fn moved(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let more = |(name, value): (&String, &u64)| {
        let more = value - before.get(name).copied().unwrap_or_default();
        // The histogram has series of its own, put out a moment later.
        (more > 0 && !name.contains("_milliseconds_")).then(|| (name.clone(), more))
    };
    after.iter().filter_map(more).collect()
}

/// A step of the script: a request, and what the authorization server says if it is asked.
struct Step {
    /// To which listener.
    listener: &'static str,
    /// What is sent.
    request: Request,
    /// What the server says.
    said: Option<Answer>,
    /// The status that the caller gets.
    status: u16,
    /// What is counted, by the ends of names.
    counted: Vec<String>,
}

/// A request with a token.
fn get(path: &str, token: &str) -> Request {
    Request::get(path).bearer(token)
}

/// A request that is decided without a look for its token.
fn unseen(request: Request, status: u16, decision: &str) -> Step {
    let counted = vec![format!("requests.decision.{decision}")];
    Step { listener: LISTENER, request, said: None, status, counted }
}

/// A request whose token is asked about.
fn asked(request: Request, said: Answer, outcome: &str, status: u16, decision: &str) -> Step {
    let counted = vec![
        format!("requests.decision.{decision}"),
        "lookups.result.miss".to_owned(),
        format!("calls.endpoint.introspection.outcome.{outcome}"),
    ];
    Step { listener: LISTENER, request, said: Some(said), status, counted }
}

/// A request whose token is known.
fn kept(request: Request, result: &str, status: u16, decision: &str) -> Step {
    let counted = vec![format!("requests.decision.{decision}"), format!("lookups.result.{result}")];
    Step { listener: LISTENER, request, said: None, status, counted }
}

/// A script that has every decision, lookup and outcome that a single worker can have.
fn script() -> Vec<Step> {
    let says = |claims: Value| {
        let mut said = json!({"active": true});
        oauth2_filter_testbed::envoy::merge(&mut said, claims);
        Answer::json(200, &said)
    };
    let denied = |reason: &str| format!("denied.reason.{reason}");
    let refused = |token: &str, path: &str, claims: Value, status, reason: &str| {
        asked(get(path, token), says(claims), "active", status, &denied(reason))
    };
    let failing = |token: &str, said: Answer, outcome: &str, status, reason: &str| {
        asked(get("/", token), said, outcome, status, &denied(reason))
    };
    let mut steps = vec![
        asked(get("/", "t-good"), active(), "active", 200, "allowed.reason.token"),
        kept(get("/", "t-good"), "hit", 200, "allowed.reason.token"),
        kept(get("/scoped", "t-good"), "hit", 403, &denied("insufficient_scope")),
        kept(get("/claims", "t-good"), "hit", 403, &denied("claim_not_met")),
        kept(get("/acr", "t-good"), "hit", 401, &denied("insufficient_user_authentication")),
        kept(get("/audience", "t-good"), "hit", 401, &denied("wrong_audience")),
        kept(get("/issuer", "t-good"), "hit", 401, &denied("wrong_issuer")),
        asked(get("/", "t-bad"), inactive(), "inactive", 401, &denied("inactive")),
        kept(get("/", "t-bad"), "negative", 401, &denied("inactive")),
        refused("t-old", "/", json!({"exp": 1}), 401, "expired"),
        refused("t-new", "/", json!({"nbf": 99_999_999_999_u64}), 401, "not_yet_valid"),
        refused("t-cnf", "/", json!({"cnf": {"jkt": "x"}}), 401, "unproved_cnf"),
        refused(
            "t-refresh",
            "/",
            json!({"token_type": "refresh_token"}),
            401,
            "not_an_access_token",
        ),
        failing("t-503", Answer::status(503), "unavailable", 503, "server_unavailable"),
        failing("t-hang", Answer::hang(), "timeout", 503, "server_timeout"),
        failing("t-401", Answer::status(401), "refused_client", 502, "server_refused_client"),
        failing("t-odd", Answer::status(200).body("odd"), "bad_answer", 502, "server_bad_answer"),
        unseen(Request::get("/"), 401, &denied("no_token")),
        unseen(get("/", "t-good").bearer("t-good"), 400, &denied("repeated_token")),
        unseen(get("/a%2fb", "t-good"), 400, &denied("bad_path")),
        unseen(Request::get("/header").header("x_tenant", "a"), 400, &denied("bad_header")),
        unseen(get("/", "no b64token"), 401, &denied("malformed_token")),
        unseen(get("/", &"t".repeat(16 * 1024 + 1)), 431, &denied("token_too_long")),
        unseen(get("/", "other"), 401, &denied("no_server")),
        unseen(get("/deny", "t-good"), 403, &denied("access_denied")),
        unseen(Request::post("/", "").bearer("t-good"), 403, &denied("unmatched")),
        unseen(Request::get("/public"), 200, "allowed.reason.public"),
        unseen(
            Request::get("/.well-known/oauth-protected-resource"),
            200,
            "answered.reason.resource_metadata",
        ),
        unseen(
            Request::new("OPTIONS", "/deny")
                .header("origin", "https://app.test")
                .header("access-control-request-method", "GET"),
            200,
            "answered.reason.cors_preflight",
        ),
    ];
    // The server is down for everybody once calls about two tokens have failed.
    for (token, status, decision) in [
        ("t-503", 503, denied("server_unavailable")),
        ("t-503-too", 200, "allowed.reason.unchecked".to_owned()),
    ] {
        let said = Answer::status(503);
        let step = asked(get("/", token), said, "unavailable", status, &decision);
        steps.push(Step { listener: "open", ..step });
    }
    steps
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statistic_is_zero_at_first_and_moves_by_what_happens() {
    let rules = json!([
        {"paths": ["/public"], "access": "public"},
        {"paths": ["/deny"], "access": "deny"},
        {"paths": ["/scoped"], "scope": "a"},
        {"paths": ["/claims"], "claims": {"department": "sales"}},
        {"paths": ["/acr"], "acr_values": ["gold"]},
        {"paths": ["/audience"], "audience": "https://a.test"},
        {"paths": ["/issuer"], "issuer": "https://as.test"},
        {"paths": ["/header"], "headers": {"x-tenant": "a"}},
        {"methods": ["GET"], "paths": ["/**"]},
    ]);
    let guarded = plugin(json!({
        "introspection": {"timeout": "3s", "retries": 0, "when": {"token_prefix": ["t"]}},
        "rules": rules,
        "resource_metadata": {"resource": "https://api.test"},
        "cors": {"allow_origins": ["https://app.test"]},
    }));
    let open = plugin(json!({"introspection": {"retries": 0}, "failure_mode_allow": true}));
    let ends = Ends::start().await;
    let bootstrap = observed(&ends)
        .listener(listener(&guarded))
        .listener(Listener::to("open", "service").filter(open.filter("oauth2")));
    let set_up = ends.with(bootstrap).await;

    // As Envoy names them. (`usedonly`, whatever its value, would leave the zeros out.)
    let all = set_up.envoy.admin_get("/stats").await;
    for name in Counter::all().map(Counter::name) {
        assert!(all.lines().any(|line| line == format!("wasmcustom.{name}: 0")), "{name}");
    }
    assert!(all.contains("\nwasmcustom.oauth2_filter.waiting_requests: 0\n"));
    let call_time = "wasmcustom.oauth2_filter.call_milliseconds.endpoint.introspection";
    // The dynamic module's histograms begin with their first value.
    let has_empty = |series: &str| !native::is_chosen() || !series.contains("_milliseconds");
    assert!(!has_empty(call_time) || all.contains(&format!("\n{call_time}: No recorded values\n")));
    // As Prometheus does. A histogram is three series.
    let start = exported(&set_up.envoy).await;
    assert!(start.values().all(|value| *value == 0), "{start:?}");
    let time = "oauth2_filter_call_milliseconds";
    let names = start.keys().filter(|name| !name.contains("_bucket{") && !name.contains("_sum{"));
    let names = names.map(|name| name.replace("_milliseconds_count{", "_milliseconds{"));
    let expected: BTreeSet<_> = every_series().into_iter().filter(|name| has_empty(name)).collect();
    assert_eq!(names.collect::<BTreeSet<_>>(), expected);
    let bucket = format!("{time}_bucket{{endpoint=\"introspection\",le=\"5\"}}");
    assert_eq!(start.contains_key(&bucket), has_empty(&bucket));

    let mut calls = 0;
    for (n, step) in script().into_iter().enumerate() {
        let before = exported(&set_up.envoy).await;
        if let Some(said) = step.said {
            set_up.server.on(ENDPOINT, said);
            calls += 1;
        }
        let address = set_up.envoy.address(step.listener);
        let answer = step.request.send(address).await.expect("an answer");
        let counted: BTreeMap<String, u64> =
            step.counted.iter().map(|n| (series(&format!("oauth2_filter.{n}")), 1)).collect();
        assert_eq!(answer.status, step.status, "request {n}: {counted:?}");
        let after = exported(&set_up.envoy).await;
        assert_eq!(moved(&before, &after), counted, "request {n}");
    }

    let end = exported(&set_up.envoy).await;
    let untouched = end.iter().filter(|(name, n)| **n == 0 && !name.contains("_bucket{"));
    assert_eq!(
        untouched.map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        [
            // Shown by the tests below.
            "oauth2_filter_lookups{result=\"shared\"}",
            "oauth2_filter_lookups{result=\"stale\"}",
            // Those of JWTs are shown by the tests of these.
            "oauth2_filter_lookups{result=\"verified\"}",
            "oauth2_filter_requests{decision=\"allowed\",reason=\"stale\"}",
            // Shown in the simulated host, and by the driver in a simulated proxy.
            "oauth2_filter_requests{decision=\"denied\",reason=\"bad_host\"}",
            // Those on messages need Envoy's filter `mcp`; the table shows them.
            "oauth2_filter_requests{decision=\"denied\",reason=\"bad_mcp_message\"}",
            "oauth2_filter_requests{decision=\"denied\",reason=\"bad_signature\"}",
            "oauth2_filter_requests{decision=\"denied\",reason=\"host_error\"}",
            "oauth2_filter_requests{decision=\"denied\",reason=\"no_grant\"}",
            "oauth2_filter_requests{decision=\"denied\",reason=\"no_keys\"}",
            "oauth2_filter_requests{decision=\"denied\",reason=\"no_mcp_metadata\"}",
            // Only the dynamic module has secrets that may be missing.
            "oauth2_filter_requests{decision=\"denied\",reason=\"no_secret\"}",
            "oauth2_filter_requests{decision=\"denied\",reason=\"not_verified\"}",
            "oauth2_filter_requests{decision=\"denied\",reason=\"overloaded\"}",
            "oauth2_filter_requests{decision=\"denied\",reason=\"unknown_key\"}",
            "oauth2_filter_waiting_requests",
        ]
    );
    let count = format!("{time}_count{{endpoint=\"introspection\"}}");
    wait::until("the time of every call", async || {
        exported(&set_up.envoy).await.get(&count) == Some(&calls)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_labels_take_nothing_from_other_statistics() {
    let ends = Ends::start().await;
    let bootstrap = observed(&ends).listener(listener(&plugin(json!({}))));
    let labelled = ends.with(bootstrap).await;
    assert_eq!(labelled.get("t").await.status, 200);
    let text = labelled.envoy.admin_get("/stats/prometheus").await;
    let others = text.lines().filter(|line| line.starts_with("envoy_"));
    assert!(others.clone().count() > 100, "{text}");
    for line in others {
        for label in ["decision", "reason", "result", "endpoint", "outcome"] {
            let stands = |before| line.contains(&format!("{before}{label}=\""));
            assert!(!stands('{') && !stands(','), "{line}");
        }
    }
    if native::is_chosen() {
        return; // Its metrics have labels by themselves.
    }
    // Without labels names are long, and read well all the same.
    let plain = SetUp::new(json!({})).await;
    assert_eq!(plain.get("t").await.status, 200);
    let unlabelled = "oauth2_filter_requests_decision_allowed_reason_token";
    assert_eq!(exported(&plain.envoy).await[unlabelled], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_another_worker_got_is_counted_as_shared() {
    let ends = Ends::start().await;
    let bootstrap = observed(&ends).listener(listener(&plugin(json!({}))));
    let set_up = ends.with_options(bootstrap, &Options::default()).await;
    let requests = Cell::new(0);
    let lookups = async |result: &str| {
        let name = format!("oauth2_filter_lookups{{result=\"{result}\"}}");
        exported(&set_up.envoy).await[&name]
    };
    // Each connection may come to either of the two workers.
    wait::until("the other worker", async || {
        requests.set(requests.get() + 1);
        assert_eq!(set_up.get("token").await.status, 200);
        lookups("shared").await == 1
    })
    .await;
    assert_eq!(lookups("miss").await, 1);
    assert_eq!(lookups("hit").await, requests.get() - 2);
    assert_eq!(set_up.calls(), 1);
    let allowed = "oauth2_filter_requests{decision=\"allowed\",reason=\"token\"}";
    assert_eq!(exported(&set_up.envoy).await[allowed], requests.get());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_requests_that_wait_are_those_that_are_there() {
    let set_up = SetUp::new(json!({})).await;
    let waiting = async |requests: u64| {
        let name = "wasmcustom.oauth2_filter.waiting_requests";
        wait::until(&format!("{requests} requests that wait"), async || {
            set_up.envoy.stat(name).await == Some(requests)
        })
        .await;
    };
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, active().held_by(&gate));
    let first = get("/", "one");
    let mut one = Connection::open(set_up.address()).await.expect("a connection");
    one.send_head(&first).await.expect("a request");
    waiting(1).await;
    let two = Http2::open(set_up.address()).await.expect("a connection");
    let same = two.send_head(&first).await.expect("a request");
    let other = two.send_head(&get("/", "other")).await.expect("a request");
    waiting(3).await;
    // Who asked first leaves, then one of those who joined.
    one.abort();
    waiting(2).await;
    drop(same);
    waiting(1).await;
    let address = set_up.address();
    let last = tokio::spawn(async move { first.send(address).await });
    waiting(2).await;
    gate.open();
    assert_eq!(last.await.expect("a task").expect("an answer").status, 200);
    waiting(0).await;
    drop(other);
    set_up.comes_to_rest().await;
    assert_eq!(set_up.envoy.stat("wasmcustom.oauth2_filter.waiting_requests").await, Some(0));
}

/// Envoy with the file, in which only addresses are replaced.
struct Observed {
    envoy: Envoy,
    server: ScriptedServer,
    service: Upstream,
    beta: Upstream,
}

impl Observed {
    async fn start() -> Self {
        let server = ScriptedServer::start().await;
        let (service, beta) = (Upstream::start().await, Upstream::start().await);
        let file = InboundYaml::named(FILE)
            .with_port(9000, server.address().port())
            .with_port(9001, service.address().port())
            .with_port(9002, beta.address().port())
            .with_port(10000, 0);
        let secret = ("ORDERS_API_SECRET".to_owned(), "secret".to_owned());
        let options = Options { concurrency: 1, environment: vec![secret], ..Options::default() };
        let envoy = Envoy::start_with(file.text(), &options).await.expect("Envoy with the file");
        Self { envoy, server, service, beta }
    }

    /// The entry of the access log for this path.
    async fn entry(&self, path: &str) -> Value {
        let entries = || -> Vec<Value> {
            let log = self.envoy.log();
            let lines = log.lines().filter(|line| line.starts_with('{'));
            lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
        };
        let is_it = |entry: &Value| entry["path"] == path;
        wait::until(&format!("{path} in the access log"), async || entries().iter().any(is_it))
            .await;
        entries().into_iter().find(is_it).expect("the entry")
    }
}

/// What the server says of a token, which names its client and, after a dot, its subject.
fn answer_about(token: &str) -> Answer {
    let (client, subject) = token.split_once('.').unwrap_or_default();
    let subject = match subject {
        "odd" => "a\"b\nc: é".to_owned(),
        "long" => "a".repeat(8 * 1024 + 1),
        subject => subject.to_owned(),
    };
    let said = json!({
        "active": client != "nobody", "client_id": client, "sub": subject,
        "scope": "orders:read other", "aud": "https://orders.example.com",
    });
    Answer::json(200, &said)
}

/// The request with this token, and with headers that claim to be filter state of another's.
fn lying(mut request: Request, token: &str) -> Request {
    if !token.is_empty() {
        request = request.bearer(token);
    }
    let client = if token.starts_with("suspended") { "shop" } else { "beta-shop" };
    for name in ["wasm.oauth2_client", "oauth2_client", "oauth2-client"] {
        request = request.header(name, client);
    }
    for name in ["wasm.oauth2_subject", "oauth2_subject", "x-envoy-filter-state"] {
        request = request.header(name, "auditor");
    }
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_state_serves_access_logs_policies_and_routes() {
    let observed = Observed::start().await;
    observed
        .server
        .on_each(ENDPOINT, |call| answer_about(&call.parameter("token").unwrap_or_default()));
    let state = |decision: &str, reason: &str, rule: &str| {
        json!({
            "decision": decision, "reason": reason, "rule": rule,
            "subject": null, "client": null, "scope": null,
        })
    };
    let of = |client: &str, subject: &str| {
        let mut state = state("allowed", "", "read");
        state["reason"] = Value::Null;
        state["client"] = client.into();
        state["subject"] = subject.into();
        state["scope"] = "orders:read other".into();
        state
    };
    let suspended = "rbac_access_denied_matched_policy[suspended-client]";
    let export = "rbac_access_denied_matched_policy[export-is-for-the-auditor]";
    let passed = "via_upstream";
    let mut insufficient = of("shop", "alice");
    insufficient["decision"] = "denied".into();
    insufficient["reason"] = "insufficient_scope".into();
    insufficient["rule"] = "write".into();
    let mut long = of("shop", "");
    long["subject"] = Value::Null;
    let inactive = state("denied", "inactive", "read");
    for (n, (method, path, token, status, details, cluster, expected)) in [
        ("GET", "/orders", "shop.alice", 200, passed, "service", of("shop", "alice")),
        ("GET", "/orders", "shop.odd", 200, passed, "service", of("shop", "a\"b\nc: é")),
        ("GET", "/orders", "shop.long", 200, passed, "service", long),
        ("PUT", "/orders", "shop.alice", 403, "oauth2_insufficient_scope", "", insufficient),
        ("GET", "/orders", "nobody.x", 401, "oauth2_inactive", "", inactive),
        ("GET", "/healthz", "", 200, passed, "service", state("allowed", "public", "health")),
        ("GET", "/orders", "suspended-shop.a", 403, suspended, "", of("suspended-shop", "a")),
        ("GET", "/orders/export", "shop.alice", 403, export, "", of("shop", "alice")),
        ("GET", "/orders/export", "shop.auditor", 200, passed, "service", of("shop", "auditor")),
        ("GET", "/orders", "beta-shop.a", 200, passed, "service-beta", of("beta-shop", "a")),
    ]
    .into_iter()
    .enumerate()
    {
        for turn in ["fresh", "kept"] {
            let target = match path {
                "/healthz" => format!("/healthz?{n}"),
                path => format!("{path}/{n}-{turn}"),
            };
            let request = lying(Request::new(method, &target), token);
            let address = observed.envoy.address("inbound");
            let answer = request.send(address).await.expect("an answer");
            assert_eq!(answer.status, status, "{method} {target}");
            let logged = target.split('?').next().expect("the path");
            let mut entry = observed.entry(logged).await;
            assert_eq!(entry["details"], details, "{method} {target}");
            // Of a refused request the log says where it would have gone.
            if status == 200 {
                assert_eq!(entry["cluster"], cluster, "{method} {target}");
            }
            let fields = entry.as_object_mut().expect("an object");
            let state = expected.as_object().expect("an object");
            fields.retain(|name, _| state.contains_key(name));
            assert_eq!(fields, state, "{method} {target}");
        }
    }
    let came = |service: &Upstream| -> Vec<String> {
        service.requests().iter().map(|request| request.target.clone()).collect()
    };
    assert_eq!(
        came(&observed.service),
        [
            "/orders/0-fresh",
            "/orders/0-kept",
            "/orders/1-fresh",
            "/orders/1-kept",
            "/orders/2-fresh",
            "/orders/2-kept",
            "/healthz?5",
            "/healthz?5",
            "/orders/export/8-fresh",
            "/orders/export/8-kept",
        ]
    );
    assert_eq!(came(&observed.beta), ["/orders/9-fresh", "/orders/9-kept"]);
    // The token that was refused is kept too; the public path has none.
    assert_eq!(observed.server.count(ENDPOINT), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_goes_by_filter_state_also_where_the_request_is_not_changed() {
    let ends = Ends::start().await;
    let chosen = Upstream::start().await;
    let by = |key: &str, value: &str| {
        let state = [json!({"key": key, "string_match": {"exact": value}})];
        json!({"match": {"prefix": "/", "filter_state": state}, "route": {"cluster": "chosen"}})
    };
    let routes = json!([
        by("wasm.oauth2_client", "chosen"),
        by("wasm.oauth2_rule", "chosen"),
        by("wasm.oauth2_reason", "unchecked"),
        {"match": {"prefix": "/"}, "route": {"cluster": "service"}},
    ]);
    let plugin = plugin(json!({
        "introspection": {"retries": 0},
        "forward": {"token": true},
        "failure_mode_allow": true,
        "rules": [
            {"name": "chosen", "paths": ["/chosen"], "access": "public"},
            {"name": "chosen", "paths": ["/optional"], "access": "optional"},
            {"paths": ["/public"], "access": "public"},
            {"paths": ["/**"]},
        ],
    }));
    let bootstrap = ends
        .bootstrap()
        .cluster("chosen", chosen.address())
        .listener(Listener::routing(LISTENER, routes).filter(plugin.filter("oauth2")));
    let set_up = ends.with(bootstrap).await;
    set_up.server.on_each(ENDPOINT, |call| match call.parameter("token").as_deref() {
        Some("failing" | "first") => Answer::status(500),
        token => Answer::json(200, &json!({"active": true, "client_id": token})),
    });
    for (request, is_chosen) in [
        (Request::get("/chosen"), true),
        (Request::get("/optional"), true),
        (Request::get("/public"), false),
        // Each fresh, then kept; of a failing server nothing is kept.
        (get("/", "chosen"), true),
        (get("/", "chosen"), true),
        (get("/", "other"), false),
        (get("/", "other"), false),
        (get("/", "failing"), true),
        (get("/", "failing"), true),
    ] {
        // A server is down once calls about two tokens have failed; the first gets 503.
        if format!("{request:?}").contains("failing") && set_up.calls() == 2 {
            assert_eq!(set_up.get("first").await.status, 503);
        }
        let before = (chosen.requests().len(), set_up.service.requests().len());
        assert_eq!(set_up.send(&request).await.status, 200, "{request:?}");
        let after = (chosen.requests().len(), set_up.service.requests().len());
        let one = usize::from(is_chosen);
        assert_eq!(after, (before.0 + one, before.1 + 1 - one), "{request:?}");
    }
    // Unchanged, but for the token in its place.
    assert_eq!(chosen.requests()[2].header("authorization").as_deref(), Some("Bearer chosen"));
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_6750_05_an_answer_to_a_token_in_the_query_is_private() {
    let ends = Ends::start().await;
    let sources =
        json!([{"query": "access_token"}, {"header": "authorization", "scheme": "Bearer"}]);
    let plugin = plugin(json!({"token_sources": sources}));
    // The scripted server is the service too.
    let bootstrap =
        ends.bootstrap().listener(Listener::to(LISTENER, "as").filter(plugin.filter("oauth2")));
    let set_up = ends.with(bootstrap).await;
    for (n, (status, said, private)) in [
        (200, vec![], "private"),
        (204, vec![], "private"),
        (200, vec!["max-age=60"], "private, max-age=60"),
        (200, vec!["public, s-maxage=600, max-age=60"], "private, max-age=60"),
        (200, vec!["Public", "max-age=60"], "private, max-age=60"),
        (200, vec!["max-age=60", "public"], "private, max-age=60"),
        (200, vec!["private"], "private"),
        (200, vec!["no-store"], "no-store"),
        (200, vec!["no-cache"], "private, no-cache"),
        (404, vec!["max-age=60"], "private, max-age=60"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = said
            .iter()
            .fold(Answer::status(status), |answer, value| answer.header("cache-control", value));
        set_up.server.on("/document", answer);
        // Fresh, then kept.
        for turn in 0..2 {
            let at = format!("{status} {said:?}, turn {turn}");
            let request = Request::get(&format!("/document?a=b&access_token=t{n}"));
            let answer = set_up.send(&request).await;
            assert_eq!(answer.status, status, "{at}");
            assert_eq!(answer.headers.all("cache-control"), [private], "{at}");
            let answer = set_up.send(&get("/document", &format!("h{n}"))).await;
            assert_eq!(answer.headers.all("cache-control").join(","), said.join(","), "{at}");
        }
    }
    let calls = set_up.calls();
    assert_eq!(calls, 20, "each token is asked about once");
    assert!(set_up.server.requests("/document").iter().all(|r| !r.target.contains("token")));
    set_up.server.on(ENDPOINT, inactive());
    for _ in 0..2 {
        let answer = set_up.send(&Request::get("/document?access_token=bad")).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.headers.all("cache-control"), ["no-store"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_answer_is_seen_in_statistics_and_filter_state_until_the_server_is_back() {
    let cache = json!({"max_ttl": "1s", "stale_if_error": "10m"});
    let ends = Ends::start().await;
    let reason = "%FILTER_STATE(wasm.oauth2_reason:PLAIN)%";
    let plugin = plugin(json!({"introspection": {"retries": 0}, "cache": cache}));
    let listener = listener(&plugin).access_log_field("reason", reason);
    let bootstrap = observed(&ends).listener(listener);
    let set_up = ends.with(bootstrap).await;
    let counted = async |series: &str| exported(&set_up.envoy).await[series];
    let stale = "oauth2_filter_requests{decision=\"allowed\",reason=\"stale\"}";
    let fresh = "oauth2_filter_requests{decision=\"allowed\",reason=\"token\"}";
    let failed = "oauth2_filter_calls{endpoint=\"introspection\",outcome=\"unavailable\"}";
    let lookups = "oauth2_filter_lookups{result=\"stale\"}";
    let sent = Cell::new(0);
    let ask = async || {
        sent.set(sent.get() + 1);
        assert_eq!(set_up.get("token").await.status, 200, "request {}", sent.get());
    };

    ask().await;
    assert_eq!((counted(fresh).await, counted(stale).await), (1, 0));
    set_up.server.on(ENDPOINT, Answer::status(500));
    // The second one after a pause, in which nobody waits for the failing server.
    wait::until("two calls that fail", async || {
        ask().await;
        counted(failed).await == 2
    })
    .await;
    let served = counted(stale).await;
    assert!(served >= 2);
    assert_eq!(counted(lookups).await, served);
    set_up.server.on(ENDPOINT, active());
    let before = counted(fresh).await;
    wait::until("an answer of the server", async || {
        ask().await;
        counted(fresh).await > before
    })
    .await;
    let served = counted(stale).await;
    assert_eq!(counted(fresh).await + served, sent.get());

    let all = usize::try_from(sent.get()).expect("a small number");
    let entries = set_up.envoy.access_log_entries(LISTENER, all).await;
    let reasons: Vec<_> = entries.iter().map(|entry| entry["reason"].as_str()).collect();
    assert_eq!(reasons.iter().filter(|reason| **reason == Some("stale")).count() as u64, served);
    assert_eq!((reasons.first(), reasons.last()), (Some(&None), Some(&None)));
    set_up.envoy.logged("introspection at cluster as failed").await;
    set_up.envoy.logged("introspection at cluster as recovered").await;
}
