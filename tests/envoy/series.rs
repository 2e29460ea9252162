//! The filter's statistics as Prometheus names them.

use std::collections::BTreeSet;

use oauth2_filter_core::{CALL_TIME, Counter, WAITING};

/// `oauth2_filter.lookups.result.hit` as `oauth2_filter_lookups{result="hit"}`, which the
/// `stats_tags` of `envoy/inbound-observed.yaml` make of it.
pub fn series(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let (metric, labels) = parts.split_at(2);
    let label = |pair: &[&str]| format!("{}=\"{}\"", pair[0], pair[1]);
    let labels: Vec<String> = labels.chunks_exact(2).map(label).collect();
    if labels.is_empty() {
        metric.join("_")
    } else {
        format!("{}{{{}}}", metric.join("_"), labels.join(","))
    }
}

/// Every statistic of the filter.
pub fn every_series() -> BTreeSet<String> {
    let others = [WAITING, CALL_TIME].map(str::to_owned);
    Counter::all().map(Counter::name).chain(others).map(|name| series(&name)).collect()
}
