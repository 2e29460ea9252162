//! `envoy/observability`: what it asks of Prometheus is there, and its alerts fire when they should
//! and not before. A real Prometheus looks at a real Envoy.

mod live;
mod prometheus;
mod queries;
#[path = "../envoy/series.rs"]
mod series;

use std::collections::{BTreeMap, BTreeSet};

use oauth2_filter::{ClientEvent, TOKEN_CALL_TIME};
use serde_json::Value;

use prometheus::{Prometheus, promtool};
use queries::{Selector, dashboard, panels, queries as queries_of, selectors, variables};
use series::{every_series, series};

const README: &str = include_str!("../../README.md");
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
        let anchor = format!("README.md#{}", name.to_lowercase());
        assert_eq!(alert.annotation("runbook"), Some(&*anchor), "{name}");
        assert!(
            TESTS_OF_RULES.contains(&format!("alertname=\"{name}\", alertstate=\"firing\"")),
            "{name} is not tested"
        );
    }
    // And no heading is left behind.
    let told = README.lines().filter_map(|line| line.strip_prefix("### OAuth2"));
    let told: BTreeSet<String> = told.map(|name| format!("OAuth2{name}")).collect();
    assert_eq!(told, alerts.iter().map(|alert| alert.name().to_owned()).collect());
}

#[test]
fn each_panel_says_what_it_shows_and_lets_its_viewer_choose() {
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        assert!(ids.insert(panel["id"].as_u64()), "{}", panel["id"]);
    }
    let panels = panels(&dashboard);
    assert!(panels.len() > 10);
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(panel["description"].as_str().is_some_and(|text| text.len() > 20), "{title}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{title}");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        for query in queries_of(&panel) {
            for Selector { metric, matchers } in selectors(&query) {
                for chosen in ["job", "namespace", "instance"] {
                    let chosen = (chosen.to_owned(), "=~".to_owned(), format!("${chosen}"));
                    assert!(matchers.contains(&chosen), "{title}: {metric} without {chosen:?}");
                }
            }
        }
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
    /// All that the filter exports, for a client of any name, and what is Envoy's own.
    fn all() -> Self {
        let of_clients = ClientEvent::all().map(|event| series(&event.name("NAME")));
        let all = every_series().into_iter().chain(of_clients).chain([series(TOKEN_CALL_TIME)]);
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
const ENVOYS: [(&str, &str); 8] = [
    ("envoy_wasm_vm_reload_success", "plugin"),
    ("envoy_wasm_vm_reload_backoff", "plugin"),
    ("envoy_wasm_vm_reload_failure", "plugin"),
    ("envoy_wasm_envoy_wasm_runtime_v8_active", "job"),
    ("envoy_cluster_upstream_rq_total", "envoy_cluster_name"),
    ("envoy_cluster_upstream_rq_pending_overflow", "envoy_cluster_name"),
    ("envoy_cluster_upstream_rq_retry_overflow", "envoy_cluster_name"),
    ("envoy_cluster_upstream_rq_retry", "envoy_cluster_name"),
];

/// The text of a dashboard's variable that stands for everything.
fn all_value(dashboard: &Value, variable: &str) -> String {
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let found = variables.iter().find(|candidate| candidate["name"] == variable);
    let value = found.and_then(|variable| variable["allValue"].as_str());
    value.expect("a variable with a value for all").to_owned()
}
