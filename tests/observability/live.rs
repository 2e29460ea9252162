//! Envoy under a load in which everything happens, and a Prometheus that looks at it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth2_filter_testbed::client::{Http2, Request};
use oauth2_filter_testbed::envoy::{
    Bootstrap, Cluster, Envoy, Listener, Options, WasmPlugin, example, merge,
};
use oauth2_filter_testbed::examples::InboundYaml;
use oauth2_filter_testbed::scripted::{Answer, Gate, ScriptedServer};
use oauth2_filter_testbed::upstream::Upstream;
use oauth2_filter_testbed::{Received, open_files, wait, workspace};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::prometheus::{Labels, Prometheus};
use crate::queries::{dashboard, panels, queries, variables};
use crate::series::{every_series, series};
use crate::{RULES, all_value};

/// The clients of the filter that calls others.
const CLIENTS: [&str; 5] = ["billing", "exchanged", "lost", "refused", "stuck"];

/// The issuers of JWTs: of one, the keys cannot be fetched.
const ISSUERS: [&str; 2] = ["https://as.test/known", "https://as.test/lost"];

/// Alerts that this cannot bring about: a service that refuses tokens for minutes, keys that are old,
/// and a module that loads once and never again. promtool shows how they fire.
const NOT_HERE: [&str; 3] = ["OAuth2TokensDropped", "OAuth2KeysStale", "OAuth2VmStaysDead"];

/// The alert that there is no filter any more.
const LAST: &str = "OAuth2FilterGone";

/// What may stay at zero here: a circuit breaker, requests in the moment in which a VM is away, and
/// that module.
const AT_REST: [&str; 5] = [
    "pending_overflow",
    "retry_overflow",
    "upstream_rq_retry{",
    "vm_reload_backoff",
    "vm_reload_failure",
];

/// How long Prometheus may take to see what has happened, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread")]
async fn every_query_has_data_and_every_alert_fires_when_it_should_and_not_before() {
    let stage = Stage::start().await;
    // Prometheus is to see no call that brings this token.
    assert_eq!(stage.call("stuck", "/").await, 200);
    let prometheus = stage.prometheus().await;
    stage.has_all_series(&prometheus).await;

    stage.all_goes_well().await;
    stage.is_seen_to_go_well(&prometheus).await;
    let waiting = stage.all_goes_wrong().await;
    // Only when they are answered are they slow.
    prometheus.has_seen_firing("OAuth2RequestsWait").await;
    stage.held.open();
    for rule in prometheus.rules().await.iter().filter(|rule| rule.is_alert()) {
        if rule.name() == LAST {
            continue;
        }
        if NOT_HERE.contains(&rule.name()) {
            // The expression without its threshold.
            let (measured, _) = rule.query().rsplit_once(" > ").expect("a threshold");
            assert!(!prometheus.query(measured).await.is_empty(), "{measured}");
        } else {
            prometheus.has_seen_firing(rule.name()).await;
        }
    }
    for rule in prometheus.rules().await {
        for annotations in rule.alerts() {
            assert!(
                !annotations.contains("error") && !annotations.contains("no value"),
                "{annotations}"
            );
            assert!(annotations.contains("shop/envoy"), "{annotations}");
        }
    }
    stage.every_panel_has_data(&prometheus).await;
    stage.late.open();
    for status in waiting.join_all().await {
        assert_eq!(status, 200);
    }
    for (name, value) in stage.inbound.stats("vm_reload_failure").await {
        assert_eq!(value, 0, "{name}");
    }
    drop(stage);
    prometheus.has_seen_firing(LAST).await;
}

/// Two Envoys, and what stands around them.
struct Stage {
    _server: ScriptedServer,
    _service: Upstream,
    /// Checks tokens; its statistics have labels.
    inbound: Envoy,
    /// Puts tokens on requests; its labels are in the names of its statistics.
    outbound: Envoy,
    /// Holds what the server says of tokens that begin with `held`.
    held: Gate,
    /// The same of tokens that begin with `late`.
    late: Gate,
    /// Holds the failure of the renewal of a token.
    renewals: Gate,
    /// Whether the server answers for `stale` tokens.
    fails: Arc<AtomicBool>,
    /// The folder with the listeners that a control plane would send to the first.
    listeners: TempDir,
}

impl Stage {
    async fn start() -> Self {
        open_files::allow_many();
        let (server, service) = (ScriptedServer::start().await, Upstream::start().await);
        let (held, late, fails) = (Gate::new(), Gate::new(), Arc::new(AtomicBool::new(false)));
        let (gates, failing) = ([held.clone(), late.clone()], Arc::clone(&fails));
        server
            .on_each("/introspect", move |call| introspected(call, &gates, failing.load(Relaxed)));
        let (renewals, first) = (Gate::new(), AtomicBool::new(true));
        let held_renewals = renewals.clone();
        server.on_each("/keys", |_| Answer::json(200, &key_set()));
        server.on_each("/lost", |_| Answer::status(503));
        server.on_each("/token", move |call| {
            issued(call, &held_renewals, || first.swap(false, Relaxed))
        });
        let ends = |server: &ScriptedServer| {
            let many = json!({
                "max_connections": 4_000, "max_pending_requests": 4_000, "max_requests": 4_000,
            });
            Bootstrap::new()
                .custom_cluster(Cluster::new("as", server.address()).thresholds(&many))
                .custom_cluster(Cluster::new("service", service.address()).thresholds(&many))
                .yaml("stats_flush_interval: 0.2s\n")
        };
        let labels = InboundYaml::named("inbound-observed.yaml").field("stats_config");
        // What Istio's sidecars have instead.
        let of_istio = "stats_config:\n  use_all_default_tags: false\n  stats_tags:\n    \
                        - { tag_name: cluster_name, regex: '^cluster\\.((.+?)\\.)' }\n";
        let listener = |name: &str, plugin: WasmPlugin| {
            Listener::to(name, "service").filter(plugin.filter("oauth2"))
        };
        let mortal = workspace().join("target/oauth2_filter_panics.wasm");
        assert!(mortal.is_file(), "no {}: run `make panics`", mortal.display());
        let listeners = TempDir::with_prefix("listeners-").expect("a temporary directory");
        let file = write_listeners(listeners.path(), &json!([]));
        let source = json!({"lds_config": {"path_config_source": {"path": file}}});
        let inbound = ends(&server)
            .yaml(&labels)
            .yaml(&format!("dynamic_resources: {source}\n"))
            .listener(listener("in", guarding(json!({}))))
            .listener(listener("open", guarding(json!({"failure_mode_allow": true}))))
            .listener(listener(
                "stale",
                guarding(json!({"cache": {"max_ttl": "1s", "stale_if_error": "1h"}})),
            ))
            .listener(listener("jwt", verifying()))
            .listener(listener("mortal", guarding(json!({})).file(mortal).vm_id("mortal")));
        let outbound =
            ends(&server).yaml(of_istio).listener(listener("out", WasmPlugin::new(&calling())));
        let options = Options { concurrency: 1, ..Options::default() };
        Self {
            inbound: Envoy::start_with(inbound, &options).await.expect("Envoy that checks tokens"),
            outbound: Envoy::start_with(outbound, &options).await.expect("Envoy that fetches them"),
            _server: server,
            _service: service,
            held,
            late,
            renewals,
            fails,
            listeners,
        }
    }

    /// A Prometheus with the file's configuration, but that it looks every second, and that alerts
    /// need not hold for minutes.
    async fn prometheus(&self) -> Prometheus {
        let targets =
            format!("targets: [\"{}\", \"{}\"]", self.inbound.admin(), self.outbound.admin());
        // As the targets of a PodMonitor are labelled.
        let labelled = format!("{targets}\n        labels: {{ namespace: shop, endpoint: http }}");
        let configuration = example(
            "observability/prometheus.yaml",
            &[
                ("scrape_interval: 15s", "scrape_interval: 1s"),
                ("evaluation_interval: 15s", "evaluation_interval: 1s"),
                ("targets: [\"127.0.0.1:9901\"]", &labelled),
            ],
        );
        let is_period = |line: &&str| line.trim_start().starts_with("for: ");
        let rules: Vec<&str> = RULES.lines().filter(|line| !is_period(line)).collect();
        Prometheus::start(&configuration, &rules.join("\n")).await
    }

    /// Waits until every series of the filter is there, under the same names from both.
    async fn has_all_series(&self, prometheus: &Prometheus) {
        let of_client = |client: &str| {
            let names = oauth2_filter_core::ClientEvent::all().map(|event| event.name(client));
            names.map(|name| series(&name)).collect::<Vec<_>>()
        };
        let clients = CLIENTS.into_iter().flat_map(of_client);
        let of_issuer = |issuer: &str| {
            let names =
                oauth2_filter_core::KeyEvent::ALL.into_iter().map(|event| event.name(issuer));
            names.map(|name| series(&name)).collect::<Vec<_>>()
        };
        let keys = ISSUERS.into_iter().flat_map(of_issuer);
        let calls = [oauth2_filter_core::TOKEN_CALL_TIME, oauth2_filter_core::KEY_CALL_TIME];
        let [token_calls, key_calls] = calls.map(series);
        let with = |more: &mut dyn Iterator<Item = String>| {
            every_series().into_iter().chain(more).collect::<BTreeSet<String>>()
        };
        let inbound = with(&mut keys.chain([key_calls]));
        let outbound = with(&mut clients.chain([token_calls]));
        for (envoy, expected) in [(&self.inbound, inbound), (&self.outbound, outbound)] {
            let query =
                format!("{{__name__=~\"oauth2_filter_.+\", instance=\"{}\"}}", envoy.admin());
            wait::until(&query, async || !prometheus.query(&query).await.is_empty()).await;
            let found = prometheus.query(&query).await;
            let found: BTreeSet<String> = found.iter().filter_map(name_of).collect();
            let expected: BTreeSet<String> = expected.iter().map(|name| in_order(name)).collect();
            assert_eq!(found, expected);
        }
        let cluster = "envoy_cluster_upstream_rq_total{envoy_cluster_name=\"as\"}";
        let found = prometheus.query(&format!("sum by (instance) ({cluster})")).await;
        assert_eq!(found.len(), 2, "{found:?}");
        // Prometheus would make this label too, where Envoy does not.
        let text = self.inbound.admin_get("/stats/prometheus").await;
        assert!(text.contains("envoy_wasm_vm_reload_success{plugin=\"oauth2\"} 0"), "{text}");
    }

    /// Sends a request, and waits for its status.
    async fn get(&self, connection: &Http2, path: &str, token: &str) -> u16 {
        let request = Request::get(path).bearer(token);
        connection.send(&request).await.expect("an answer").status
    }

    /// A request that has no token of its own, to a host.
    async fn call(&self, host: &str, path: &str) -> u16 {
        let request = Request::get(path).authority(&format!("{host}.test"));
        request.send(self.outbound.address("out")).await.expect("an answer").status
    }

    /// A request that is to go on with a token that this one is exchanged for.
    async fn exchange(&self, token: Option<&str>) -> u16 {
        let request = Request::get("/").authority("exchanged.test");
        let request = if let Some(token) = token { request.bearer(token) } else { request };
        request.send(self.outbound.address("out")).await.expect("an answer").status
    }

    async fn open(&self, listener: &str) -> Http2 {
        Http2::open(self.inbound.address(listener)).await.expect("a connection")
    }

    /// A load as it should be.
    async fn all_goes_well(&self) {
        let connection = self.open("in").await;
        for n in 0..800 {
            let token = format!("good-{}", n % 5);
            assert_eq!(self.get(&connection, "/", &token).await, 200);
        }
        for status in ["bad", "bad"].map(|token| self.get(&connection, "/", token)) {
            assert_eq!(status.await, 401);
        }
        assert_eq!(self.get(&self.open("stale").await, "/", "stale").await, 200);
        for _ in 0..20 {
            assert_eq!(self.call("billing", "/").await, 200);
        }
        assert_eq!(self.call("billing", "/status/401").await, 401);
        for _ in 0..200 {
            assert_eq!(self.exchange(Some("caller")).await, 200);
        }
        let renewed = "wasmcustom.oauth2_filter.tokens.client.billing.event.renewed";
        wait::until("a renewal", async || {
            assert_eq!(self.call("billing", "/").await, 200);
            self.outbound.stat(renewed).await > Some(0)
        })
        .await;
    }

    /// Waits until Prometheus has looked at that for a while, and has found nothing wrong.
    async fn is_seen_to_go_well(&self, prometheus: &Prometheus) {
        let seen = "count_over_time((oauth2_filter:lookups:hit_ratio5m > 0.9)[5m:1s]) >= 6";
        prometheus.finds(seen).await;
        let firing = prometheus.query("max_over_time(ALERTS[5m])").await;
        assert!(firing.is_empty(), "{firing:?}");
    }

    /// All that can go wrong does. What waits for the authorization server is handed back.
    async fn all_goes_wrong(&self) -> JoinSet<u16> {
        let connection = self.open("in").await;
        let mut waiting = JoinSet::new();
        for group in 0..10 {
            let connection = self.open("in").await;
            for n in 0..60 {
                let what = if group == 0 { "late" } else { "held" };
                let request = Request::get("/").bearer(&format!("{what}-{group}-{n}"));
                let connection = connection.clone();
                waiting.spawn(async move {
                    connection.send(&request).await.map_or(0, |answer| answer.status)
                });
            }
        }
        for n in 0..600 {
            assert_eq!(connection.send(&Request::get("/")).await.expect("an answer").status, 401);
            let unknown = [("503", 503), ("401", 502), ("odd", 502)];
            let (token, status) = unknown[n % 3];
            assert_eq!(self.get(&connection, "/", &format!("{token}-{n}")).await, status);
        }
        let connection = self.open("jwt").await;
        for issuer in ISSUERS {
            // Neither the key of one nor all keys of the other are known.
            for _ in 0..200 {
                assert_eq!(self.get(&connection, "/", &jwt(issuer)).await, 503);
            }
        }
        let connection = self.open("open").await;
        for n in 0..10 {
            // The server is down for everybody once calls about two tokens have failed.
            let status = if n == 0 { 503 } else { 200 };
            assert_eq!(self.get(&connection, "/", &format!("503-open-{n}")).await, status);
        }
        self.fails.store(true, Relaxed);
        self.renewals.open();
        let connection = self.open("stale").await;
        let stale = "wasmcustom.oauth2_filter.requests.decision.allowed.reason.stale";
        wait::until("an answer past its time to serve", async || {
            assert_eq!(self.get(&connection, "/", "stale").await, 200);
            self.inbound.stat(stale).await > Some(0)
        })
        .await;
        let connection = self.open("mortal").await;
        let command = Request::get("/").bearer("good").header("x-panic-on-command", "now");
        assert_eq!(connection.send(&command).await.expect("an answer").status, 503);
        wait::until("the VM to be back", async || self.get(&connection, "/", "good").await == 200)
            .await;
        for _ in 0..400 {
            assert_eq!(self.exchange(None).await, 401);
        }
        let invalid = guarding(json!({"audiance": "https://orders.test"})).filter("oauth2");
        write_listeners(self.listeners.path(), &json!([listener_with(&invalid)]));
        for (host, status) in [("stuck", 200), ("lost", 503), ("refused", 502)] {
            for _ in 0..10 {
                assert_eq!(self.call(host, "/").await, status, "{host}");
            }
        }
        waiting
    }

    /// Sends each query of the dashboard as Grafana would, with everything chosen and with some.
    async fn every_panel_has_data(&self, prometheus: &Prometheus) {
        let dashboard = dashboard();
        let all = |variable: &str| all_value(&dashboard, variable);
        // What was chosen of several stands in parentheses, with what is special escaped.
        let proxies = [&self.inbound, &self.outbound].map(|envoy| envoy.admin().to_string());
        let proxies = format!("({})", proxies.join("|").replace('.', "\\\\."));
        let chosen = |variable: &str| match variable {
            "job" => "envoy".to_owned(),
            "namespace" => "shop".to_owned(),
            "instance" => proxies.clone(),
            "client" => format!("({})", CLIENTS.join("|")),
            "cluster" => "as".to_owned(),
            other => panic!("what is ${other}?"),
        };
        for choose in [&all as &dyn Fn(&str) -> String, &chosen] {
            let fill = |query: &str| {
                let mut query = query.replace("$__rate_interval", "5m");
                for variable in ["job", "namespace", "instance", "client", "cluster"] {
                    query = query.replace(&format!("${variable}"), &choose(variable));
                }
                assert!(!query.contains('$'), "{query}");
                query
            };
            for panel in panels(&dashboard) {
                for query in queries(&panel).iter().map(|query| fill(query)) {
                    if AT_REST.iter().any(|name| query.contains(name)) {
                        assert!(!prometheus.query(&query).await.is_empty(), "{query}");
                    } else {
                        prometheus.finds(&format!("({query}) > 0")).await;
                    }
                }
            }
            for (variable, metric, label) in variables(&dashboard) {
                let found = prometheus.query(&fill(&metric)).await;
                let values = found.iter().filter_map(|series| series.get(&label));
                let values: BTreeSet<&String> = values.collect();
                assert!(!values.is_empty(), "nothing to choose from for ${variable}");
            }
        }
    }
}

impl Prometheus {
    /// Waits until a query finds something.
    async fn finds(&self, query: &str) {
        let found = wait::poll(query, PATIENCE, async || {
            (!self.query(query).await.is_empty()).then_some(())
        });
        found.await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Waits until it has seen an alert that fires.
    async fn has_seen_firing(&self, alert: &str) {
        self.finds(&format!("max_over_time(ALERTS{{alertname=\"{alert}\"}}[5m])")).await;
    }
}

/// Moves a file with these listeners to the place that Envoy watches.
fn write_listeners(folder: &Path, listeners: &Value) -> PathBuf {
    let (file, written) = (folder.join("listeners.json"), folder.join("written.json"));
    fs::write(&written, json!({"resources": listeners}).to_string()).expect("a file");
    fs::rename(written, &file).expect("its place");
    file
}

/// A listener with a filter, as a control plane sends it.
fn listener_with(filter: &Value) -> Value {
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    json!({
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "sent",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.network.\
                    http_connection_manager.v3.HttpConnectionManager",
                "stat_prefix": "sent",
                "route_config": {},
                "http_filters": [
                    filter,
                    {"name": "envoy.filters.http.router", "typed_config": {"@type": router}},
                ],
            },
        }]}],
    })
}

/// What the server says of a token.
fn introspected(call: &Received, [held, late]: &[Gate; 2], fails: bool) -> Answer {
    let token = call.parameter("token").unwrap_or_default();
    let active = Answer::json(200, &json!({"active": true}));
    match token.split('-').next() {
        Some("held") => active.held_by(held),
        Some("late") => active.held_by(late),
        Some("bad") => Answer::json(200, &json!({"active": false})),
        Some("503") => Answer::status(503),
        Some("401") => Answer::status(401),
        Some("odd") => Answer::status(200).body("odd"),
        Some("stale") if fails => Answer::status(503),
        _ => active,
    }
}

/// What the token endpoint says to a client.
fn issued(call: &Received, renewals: &Gate, is_first: impl Fn() -> bool) -> Answer {
    let token = |seconds: u64| {
        let token = json!({"access_token": "t", "token_type": "Bearer", "expires_in": seconds});
        Answer::json(200, &token)
    };
    match call.parameter("client_id").unwrap_or_default().as_str() {
        "billing" => token(4),
        "exchanged" => Answer::json(
            200,
            &json!({
                "access_token": "t", "token_type": "Bearer", "expires_in": 3600,
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            }),
        ),
        "stuck" if is_first() => token(100),
        "stuck" => Answer::status(503).held_by(renewals),
        "refused" => Answer::json(401, &json!({"error": "invalid_client"})),
        _ => Answer::status(503).header("retry-after", "60"),
    }
}

/// The filter before a service, with this added to `inbound`.
fn guarding(more: Value) -> WasmPlugin {
    let mut inbound = json!({
        "introspection": {
            "endpoint": "http://as.test/introspect", "cluster": "as",
            "client_id": "rs", "client_secret": "rs-secret", "timeout": "5m", "retries": 0,
        },
    });
    merge(&mut inbound, more);
    WasmPlugin::new(&json!({"inbound": inbound}))
}

/// The filter before a service whose callers have JWTs.
fn verifying() -> WasmPlugin {
    let issuer = |issuer, path| {
        json!({
            "issuer": issuer, "audience": "https://orders.test",
            "jwks_uri": format!("http://as.test/{path}"), "cluster": "as", "retries": 0,
        })
    };
    let [known, lost] = ISSUERS;
    WasmPlugin::new(&json!({"inbound": {"jwt": [issuer(known, "keys"), issuer(lost, "lost")]}}))
}

/// A key, the example of RFC 7515 appendix A.3.
fn key_set() -> Value {
    json!({"keys": [{
        "kty": "EC", "crv": "P-256", "kid": "known",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }]})
}

/// A JWT that names a key which nobody has.
fn jwt(issuer: &str) -> String {
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": "unknown"});
    let end = 4_000_000_000_u64;
    let claims = json!({"iss": issuer, "aud": "https://orders.test", "exp": end});
    let parts = [header.to_string(), claims.to_string(), "?".repeat(64)];
    parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
}

/// The filter of a program that calls others.
fn calling() -> Value {
    let client = |id: &str, more: Value| {
        let mut client = json!({
            "grant_type": "client_credentials",
            "endpoint": "http://as.test/token", "cluster": "as", "retries": 0,
            "client_id": id, "client_secret": "secret", "auth_method": "client_secret_post",
        });
        merge(&mut client, more);
        client
    };
    let rule = |client| json!({"hosts": [format!("{client}.test")], "client": client});
    json!({"outbound": {
        "clients": {
            "billing": client("billing", json!({"refresh_before": "3s"})),
            "stuck": client("stuck", json!({"refresh_before": "99s", "timeout": "5m"})),
            "exchanged": client(
                "exchanged",
                json!({"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange"}),
            ),
            "lost": client("lost", json!({})),
            "refused": client("refused", json!({})),
        },
        "rules": CLIENTS.map(rule),
    }})
}

/// A series as the filter's own tests write it, without what its target adds.
fn name_of(series: &Labels) -> Option<String> {
    let of_target = ["__name__", "job", "namespace", "instance", "le"];
    let mut labels: Vec<_> = series.iter().collect();
    labels.retain(|(label, _)| !of_target.contains(&label.as_str()));
    // The target's label of that name stands on what has none of its own.
    let name = series.get("__name__")?;
    let metric = match name.strip_suffix("_count") {
        Some(histogram) if histogram.ends_with("_milliseconds") => histogram,
        _ if name.ends_with("_sum") || name.ends_with("_bucket") => return None,
        _ => name,
    };
    labels.retain(|(label, value)| *label != "endpoint" || *value != "http");
    let labels: Vec<String> =
        labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    Some(if labels.is_empty() {
        metric.to_owned()
    } else {
        format!("{metric}{{{}}}", labels.join(","))
    })
}

/// A series with its labels in alphabetical order.
fn in_order(series: &str) -> String {
    let Some((name, labels)) = series.trim_end_matches('}').split_once('{') else {
        return series.to_owned();
    };
    let mut labels: Vec<_> = labels.split(',').collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}
