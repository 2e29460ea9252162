//! The dashboard against the types that Grafana publishes (`make observability`).

use std::collections::BTreeMap;

use oauth2_filter_testbed::definitions::mistakes;
use serde_json::{Value, json};

use crate::queries::dashboard;

#[test]
#[ignore = "needs Node.js and npm: make observability"]
fn the_dashboard_is_as_grafana_defines_dashboards() {
    let mistakes = check(&BTreeMap::from([("dashboard".to_owned(), dashboard())]));
    assert!(mistakes["dashboard"].is_empty(), "{mistakes:#?}");
}

#[test]
#[ignore = "needs Node.js and npm: make observability"]
fn grafanas_types_refuse_what_it_does_not_know() {
    let wrong = [
        ("/title", json!(1)),
        ("/titel", json!("oauth2-filter")),
        ("/schemaVersion", json!("39")),
        ("/graphTooltip", json!(7)),
        ("/templating/list/1/type", json!("querry")),
        ("/templating/list/1/refresh", json!(5)),
        ("/panels/1/type", json!("stats")),
        ("/panels/1/gridPos/x", json!("0")),
        ("/panels/1/descripton", json!("")),
        ("/panels/1/options/colorMode", json!("vaule")),
        ("/panels/1/fieldConfig/defaults/thresholds/mode", json!("abs")),
        ("/panels/8/fieldConfig/defaults/custom/drawStyle", json!("lines")),
        ("/panels/8/fieldConfig/defaults/custom/fillOpacty", json!(1)),
        ("/panels/8/fieldConfig/defaults/custom/stacking/mode", json!("sum")),
        ("/panels/8/options/legend/placement", json!("below")),
    ];
    let dashboards = wrong.into_iter().map(|(place, value)| {
        let mut dashboard = dashboard();
        let (parent, name) = place.rsplit_once('/').expect("a place");
        dashboard.pointer_mut(parent).expect("what is there")[name] = value;
        (place.to_owned(), dashboard)
    });
    let dashboards: BTreeMap<_, _> = dashboards.collect();
    assert_eq!(dashboards.len(), 15);
    let missed = check(&dashboards).into_iter().filter(|(_, mistakes)| mistakes.is_empty());
    let missed: Vec<_> = missed.map(|(mistake, _)| mistake).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

/// The mistakes of each dashboard; panics if what `make observability` installs is not there.
fn check(dashboards: &BTreeMap<String, Value>) -> BTreeMap<String, Vec<String>> {
    mistakes("grafana-schema", "observability", dashboards)
}
