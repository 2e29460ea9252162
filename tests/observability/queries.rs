//! What is asked of Prometheus: the dashboard's queries, and the metrics and labels in a query.

use std::fs;

use oauth2_filter_testbed::workspace;
use serde_json::Value;

/// The dashboard.
pub fn dashboard() -> Value {
    let path = workspace().join("envoy/observability/dashboard.json");
    let text = fs::read_to_string(path).expect("the dashboard");
    serde_json::from_str(&text).expect("JSON")
}

/// Its panels, without the rows that hold them together.
pub fn panels(dashboard: &Value) -> Vec<Value> {
    let panels = dashboard["panels"].as_array().expect("panels");
    panels.iter().filter(|panel| panel["type"] != "row").cloned().collect()
}

/// The queries of a panel.
pub fn queries(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array().expect("targets");
    targets.iter().map(|target| target["expr"].as_str().expect("a query").to_owned()).collect()
}

/// The metric and the label in `label_values(METRIC, LABEL)` of each variable.
pub fn variables(dashboard: &Value) -> Vec<(String, String, String)> {
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let variables = variables.iter().filter(|variable| variable["type"] == "query");
    let parts = variables.map(|variable| {
        let query = variable["definition"].as_str()?;
        assert_eq!(variable["query"]["query"], query);
        let (metric, label) =
            query.strip_prefix("label_values(")?.strip_suffix(')')?.rsplit_once(", ")?;
        Some((variable["name"].as_str()?.to_owned(), metric.to_owned(), label.to_owned()))
    });
    parts.collect::<Option<_>>().expect("variables of the form label_values(METRIC, LABEL)")
}

/// A metric in a query, and what its labels are to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Selector {
    /// The metric.
    pub metric: String,
    /// Label, operator and value.
    pub matchers: Vec<(String, String, String)>,
}

/// The metrics in a query. It may be any of ours, which name each metric outside of braces.
pub fn selectors(query: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = query;
    while let Some(first) = rest.chars().next() {
        let of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let length = rest.find(|c| !of_name(c)).unwrap_or(rest.len());
        if first == '[' {
            rest = rest.split_once(']').expect("the end of a range").1;
        } else if length == 0 {
            rest = &rest[first.len_utf8()..];
        } else {
            let (name, after) = rest.split_at(length);
            let follows = after.trim_start();
            rest = after;
            if GROUPINGS.contains(&name) && follows.starts_with('(') {
                // Labels stand there, and no metrics.
                rest = follows.split_once(')').expect("the end of a list").1;
            } else if let Some(labels) = follows.strip_prefix('{') {
                let (labels, after) = labels.split_once('}').expect("the end of labels");
                found.push(Selector { metric: name.to_owned(), matchers: matchers(labels) });
                rest = after;
            } else if !first.is_ascii_digit()
                && !follows.starts_with('(')
                && !GROUPINGS.contains(&name)
                && !OPERATORS.contains(&name)
            {
                found.push(Selector { metric: name.to_owned(), matchers: Vec::new() });
            }
        }
    }
    found
}

/// `a="b", c=~"d"`.
fn matchers(labels: &str) -> Vec<(String, String, String)> {
    let mut quoted = labels.split('"');
    let mut found = Vec::new();
    while let (Some(label), Some(value)) = (quoted.next(), quoted.next()) {
        let label = label.trim_start_matches([',', ' ']).trim();
        let operator = label.find(['=', '!']).expect("an operator");
        let (label, operator) = label.split_at(operator);
        found.push((label.to_owned(), operator.to_owned(), value.to_owned()));
    }
    found
}

const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
/// Operators that are words; those that take a list of labels before what they work on, too.
const OPERATORS: [&str; 9] =
    ["and", "or", "unless", "bool", "offset", "sum", "min", "max", "count"];

#[test]
fn metrics_and_matchers_are_found_in_a_query() {
    let query = "sum by (le, a) (rate(m_bucket{a=~\"x|y\", b!=\"\"}[$__r])) / on (a) group_left 2 * n:o \
                 unless on (a) sum by (a) (p offset 15m) > 0.5";
    let pair = |label: &str, operator: &str, value: &str| {
        (label.to_owned(), operator.to_owned(), value.to_owned())
    };
    let selector = |metric: &str, matchers| Selector { metric: metric.to_owned(), matchers };
    let matched = vec![pair("a", "=~", "x|y"), pair("b", "!=", "")];
    assert_eq!(
        selectors(query),
        [selector("m_bucket", matched), selector("n:o", vec![]), selector("p", vec![])]
    );
}
