//! `envoy/observability`: what it asks of Prometheus is there, and its alerts fire when they should
//! and not before. A real Prometheus looks at a real Envoy.

mod grafana;
mod live;
mod prometheus;
mod queries;
#[path = "../envoy/series.rs"]
mod series;

use std::collections::{BTreeMap, BTreeSet};

use oauth2_filter_core::{ClientEvent, KEY_CALL_TIME, KeyEvent, TOKEN_CALL_TIME, claims_dropped};
use serde_json::{Value, json};

use prometheus::{Prometheus, promtool};
use queries::{Selector, dashboard, panels, queries as queries_of, selectors, variables};
use series::{every_series, series};

const PAGE: &str = include_str!("../../docs/alerts.md");
const RULES: &str = include_str!("../../envoy/observability/alerts.yaml");
const TESTS_OF_RULES: &str = include_str!("alerts.test.yaml");

#[test]
fn rules_and_scrape_configuration_are_as_prometheus_wants_them() {
    promtool(&["check", "rules", "alerts.yaml"]);
    promtool(&["check", "config", "prometheus.yaml"]);
}

#[test]
fn each_alert_fires_in_its_time_and_not_before() {
    promtool(&["test", "rules", "../../tests/observability/alerts.test.yaml"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alert_says_what_is_wrong_and_where_it_is_told_what_to_do() {
    let prometheus = Prometheus::start("rule_files: [alerts.yaml]", RULES).await;
    let rules = prometheus.rules().await;
    let alerts: Vec<_> = rules.iter().filter(|rule| rule.is_alert()).collect();
    assert!(!alerts.is_empty());
    for alert in &alerts {
        let name = alert.name();
        assert!(matches!(alert.label("severity"), Some("critical" | "warning")), "{name}");
        for annotation in ["summary", "description"] {
            assert!(alert.annotation(annotation).is_some_and(|text| text.len() > 20), "{name}");
        }
        let anchor = format!("docs/alerts.md#{}", name.to_lowercase());
        assert_eq!(alert.annotation("runbook_url"), Some(&*anchor), "{name}");
        assert!(PAGE.contains(&format!("[{name}](#{})", name.to_lowercase())), "{name}");
        assert!(
            TESTS_OF_RULES.contains(&format!("alertname=\"{name}\", alertstate=\"firing\"")),
            "{name} is not tested"
        );
    }
    // Each has a heading, which is what its anchor is made of, and no heading is left behind.
    let told = PAGE.lines().filter_map(|line| line.strip_prefix("## OAuth2"));
    let told: BTreeSet<String> = told.map(|name| format!("OAuth2{name}")).collect();
    assert_eq!(told, alerts.iter().map(|alert| alert.name().to_owned()).collect());
}

#[test]
fn each_panel_says_what_it_shows_and_lets_its_viewer_choose() {
    let dashboard = dashboard();
    let panels = panels(&dashboard);
    assert!(panels.len() > 10);
    let titles: BTreeSet<&str> =
        panels.iter().map(|panel| panel["title"].as_str().expect("a title")).collect();
    assert_eq!(titles.len(), panels.len(), "each title is there once");
    for panel in &panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(panel["description"].as_str().is_some_and(|text| text.len() > 20), "{title}");
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().expect("a unit");
        assert!(["reqps", "ops", "percentunit", "short", "s", "ms"].contains(&unit), "{title}");
        // A panel that another one's description sends its reader to.
        let description = panel["description"].as_str().expect("a description");
        for named in description.split('“').skip(1).filter_map(|rest| rest.split('”').next()) {
            assert!(titles.contains(named) || named == "What a caller gets", "{title}: {named}");
        }
        for query in queries_of(panel) {
            for Selector { metric, matchers } in selectors(&query) {
                for chosen in ["job", "namespace", "instance"] {
                    let chosen = (chosen.to_owned(), "=~".to_owned(), format!("${chosen}"));
                    assert!(matchers.contains(&chosen), "{title}: {metric} without {chosen:?}");
                }
            }
        }
    }
}

#[test]
fn the_dashboard_is_of_one_piece() {
    let dashboard = dashboard();
    // It can be imported as it is: no number of a database, no input to fill in.
    assert!(dashboard.get("id").is_none() && dashboard.get("__inputs").is_none());
    assert_eq!(dashboard["uid"], "oauth2-filter");
    let all = dashboard["panels"].as_array().expect("panels");
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in all {
        let title = &panel["title"];
        assert!(ids.insert(panel["id"].as_u64().expect("a number")), "{title}: {}", panel["id"]);
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().expect(key));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title} is wider than the page");
        for place in (y..y + h).flat_map(|y| (x..x + w).map(move |x| (x, y))) {
            assert!(taken.insert(place), "{title} lies on another panel at {place:?}");
        }
        let targets = panel["targets"].as_array().into_iter().flatten();
        let references: Vec<_> = targets.map(|target| target["refId"].as_str()).collect();
        assert!(references.iter().all(Option::is_some), "{title}");
        assert_eq!(references.iter().collect::<BTreeSet<_>>().len(), references.len(), "{title}");
    }
    // No line of the page is left empty.
    let lines: BTreeSet<u64> = taken.iter().map(|(_, y)| *y).collect();
    assert_eq!(lines.len() as u64, lines.last().expect("panels") + 1);
    // Every query is sent to the data source that the viewer has chosen.
    let asked = ["/templating/list/0/type", "/templating/list/0/name"];
    assert_eq!(asked.map(|place| dashboard.pointer(place)), [Some(&"datasource".into()); 2]);
    let panels = panels(&dashboard);
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let variables = dashboard["templating"]["list"].as_array().expect("variables").iter().skip(1);
    for part in panels.iter().chain(targets).chain(variables) {
        let source = json!({"type": "prometheus", "uid": "${datasource}"});
        assert_eq!(part["datasource"], source, "{part}");
    }
    // What is written as a variable is one, of the dashboard or of Grafana.
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let known: BTreeSet<&str> = variables.iter().filter_map(|v| v["name"].as_str()).collect();
    let text = dashboard.to_string();
    for used in text.split('$').skip(1) {
        let of_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
        let name: String = used.trim_start_matches('{').chars().take_while(of_name).collect();
        assert!(known.contains(&*name) || name == "__rate_interval" || name == "__all", "${name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_query_names_a_metric_or_a_label_that_is_not_exported() {
    let known = Exported::all();
    let dashboard = dashboard();
    let of_panels = panels(&dashboard).iter().flat_map(queries_of).collect::<Vec<_>>();
    let of_variables = variables(&dashboard).into_iter().map(|(_, metric, _)| metric);
    for query in of_panels.into_iter().chain(of_variables) {
        known.check(&query, &BTreeSet::new());
    }
    let prometheus = Prometheus::start("rule_files: [alerts.yaml]", RULES).await;
    let rules = prometheus.rules().await;
    let recorded = rules.iter().filter(|rule| !rule.is_alert());
    let recorded: BTreeSet<String> = recorded.map(|rule| rule.name().to_owned()).collect();
    for rule in &rules {
        known.check(rule.query(), &recorded);
    }
    // What is recorded serves some alert.
    let used = rules.iter().filter(|rule| rule.is_alert());
    let used: BTreeSet<String> = used
        .flat_map(|rule| selectors(rule.query()))
        .map(|selector| selector.metric)
        .filter(|metric| metric.contains(':'))
        .collect();
    assert_eq!(used, recorded);
}

/// What can be asked for: each metric, its labels, and their values.
struct Exported(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Exported {
    /// All that the filter exports, for a client, header or issuer of any name, and what is Envoy's own.
    fn all() -> Self {
        let of_clients = ClientEvent::all().map(|event| series(&event.name("NAME")));
        let of_keys = KeyEvent::ALL.into_iter().map(|event| series(&event.name("NAME")));
        let of_all = [TOKEN_CALL_TIME, KEY_CALL_TIME, &claims_dropped("NAME")].map(series);
        let all = every_series().into_iter().chain(of_clients).chain(of_keys).chain(of_all);
        let mut known = Self(BTreeMap::new());
        for series in all {
            let (metric, labels) = series.split_once('{').unwrap_or((&series, ""));
            let ends: &[&str] = match metric {
                "oauth2_filter_call_milliseconds" => &["_bucket", "_count", "_sum"],
                _ => &[""],
            };
            for end in ends {
                let known = known.0.entry(format!("{metric}{end}")).or_default();
                let labels = labels.trim_end_matches('}').split(',');
                for (label, value) in labels.filter_map(|label| label.split_once('=')) {
                    let values = known.entry(label.to_owned()).or_default();
                    values.insert(value.trim_matches('"').to_owned());
                }
            }
        }
        for (metric, label) in ENVOYS {
            let labels = BTreeMap::from([(label.to_owned(), BTreeSet::new())]);
            known.0.insert(metric.to_owned(), labels);
        }
        let rejected = BTreeMap::from([("type".to_owned(), BTreeSet::from(["ecds".to_owned()]))]);
        known.0.insert(OF_ISTIOD.to_owned(), rejected);
        known
    }

    /// Checks the metrics of a query, and the labels that it wants of them.
    fn check(&self, query: &str, recorded: &BTreeSet<String>) {
        for Selector { metric, matchers } in selectors(query) {
            // What is recorded of `oauth2_filter_calls` is `oauth2_filter:calls:…`.
            let base = match metric.split(':').collect::<Vec<_>>()[..] {
                [filter, base, _] if recorded.contains(&metric) => format!("{filter}_{base}"),
                _ => metric.clone(),
            };
            let Some(labels) = self.0.get(&base) else {
                assert!(recorded.contains(&metric) && matchers.is_empty(), "{metric} in {query}");
                continue;
            };
            for (label, operator, value) in matchers {
                if TARGETS.contains(&&*label) {
                    continue;
                }
                let values = labels.get(&label).unwrap_or_else(|| panic!("{label} in {query}"));
                let is_pattern = operator.ends_with('~');
                for wanted in value.split(|c| is_pattern && c == '|') {
                    let is_there = match wanted.strip_suffix(".*") {
                        Some(start) => values.iter().any(|value| value.starts_with(start)),
                        // A dashboard's variable.
                        None => wanted.starts_with('$') || values.contains(wanted),
                    };
                    assert!(is_there, "no {metric} has {label}={wanted:?}: {query}");
                }
            }
        }
    }
}

/// Labels of targets.
const TARGETS: [&str; 3] = ["job", "namespace", "instance"];

/// Envoy's own metrics, and the label that tells theirs apart. The live test sees that they exist.
const ENVOYS: [(&str, &str); 10] = [
    ("envoy_listener_manager_lds_update_rejected", "job"),
    ("envoy_wasm_vm_reload_success", "plugin"),
    ("envoy_wasm_vm_reload_backoff", "plugin"),
    ("envoy_wasm_vm_reload_failure", "plugin"),
    ("envoy_wasm_envoy_wasm_runtime_v8_active", "job"),
    ("envoy_cluster_upstream_rq_total", "envoy_cluster_name"),
    ("envoy_cluster_upstream_rq_pending_overflow", "envoy_cluster_name"),
    ("envoy_cluster_upstream_rq_active_overflow", "envoy_cluster_name"),
    ("envoy_cluster_upstream_rq_retry_overflow", "envoy_cluster_name"),
    ("envoy_cluster_upstream_rq_retry", "envoy_cluster_name"),
];

/// A metric of Istio's control plane, which does not run here.
const OF_ISTIOD: &str = "pilot_total_xds_rejects";

/// The text of a dashboard's variable that stands for everything.
fn all_value(dashboard: &Value, variable: &str) -> String {
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let found = variables.iter().find(|candidate| candidate["name"] == variable);
    let value = found.and_then(|variable| variable["allValue"].as_str());
    value.expect("a variable with a value for all").to_owned()
}
