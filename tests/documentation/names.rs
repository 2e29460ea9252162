//! Every name by which others know the filter: reasons, statistics, filter state.

use std::collections::BTreeSet;

use oauth2_filter_core::{
    ClientEvent, KEY_CALL_TIME, KeyEvent, Reason, TOKEN_CALL_TIME, claims_dropped,
};
use oauth2_filter_testbed::examples::InboundYaml;

use crate::pages::{OURS, REFERENCE};
use crate::series::{every_series, series};

/// Where the responses that are not refusals are made.
const OTHERS: [&str; 2] = [
    include_str!("../../src/core/src/inbound/resource_metadata.rs"),
    include_str!("../../src/core/src/inbound/cors.rs"),
];

#[test]
fn every_reason_stands_in_the_reference_and_no_page_has_another() {
    let refusals = Reason::ALL.iter().map(|reason| reason.details());
    let known: BTreeSet<&str> = refusals.chain(OTHERS.into_iter().flat_map(reasons)).collect();
    assert_eq!(known.len(), Reason::ALL.len() + OTHERS.len(), "{known:?}");
    assert_eq!(reasons(REFERENCE.text), known);
    for page in OURS {
        let others: Vec<_> = reasons(page.text).difference(&known).copied().collect();
        assert!(others.is_empty(), "{}: {others:?}", page.path);
    }
}

/// The names of response code details in a text.
fn reasons(text: &'static str) -> BTreeSet<&'static str> {
    words(text)
        .filter(|word| word.starts_with("oauth2_") && !word.starts_with("oauth2_filter"))
        .filter(|word| *word != "oauth2_")
        .collect()
}

/// The words of a text that could be names; those with dots are whole.
fn words(text: &'static str) -> impl Iterator<Item = &'static str> {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.".contains(c);
    text.split(move |c| !is_name(c))
}

#[test]
fn every_statistic_stands_in_the_reference_and_no_other() {
    let rows = REFERENCE.rows("## Statistics", "| series");
    let told: BTreeSet<String> = rows
        .iter()
        .flat_map(|cells| cells[0].trim_matches('`').split("`, `").map(str::to_owned))
        .collect();
    // The reasons stand in the tables of refusals.
    let denied = "decision=\"denied\",reason=\"";
    let short = |series: String| match series.split_once(denied) {
        Some((before, _)) => format!("{before}{denied}…\"}}"),
        None => series,
    };
    let all = every_series().into_iter().chain(every_series_of_names());
    assert_eq!(told, all.map(short).collect());
}

/// Every statistic of outbound clients, headers and issuers, for one of the name `NAME`.
fn every_series_of_names() -> impl Iterator<Item = String> {
    let of_all = [TOKEN_CALL_TIME.to_owned(), KEY_CALL_TIME.to_owned(), claims_dropped("NAME")];
    let of_clients = ClientEvent::all().map(|event| event.name("NAME"));
    let names =
        of_clients.chain(KeyEvent::ALL.into_iter().map(|event| event.name("NAME"))).chain(of_all);
    names.map(|name| series(&name))
}

#[test]
fn no_page_names_a_statistic_that_is_none() {
    let all = every_series().into_iter().chain(every_series_of_names());
    let known: BTreeSet<String> =
        all.map(|series| series.split('{').next().expect("a name").to_owned()).collect();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut named = 0;
    for page in OURS {
        for (at, _) in page.text.match_indices("oauth2_filter_") {
            let rest = &page.text[at..];
            let name = &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())];
            // Without labels of their own, they are a part of the name; histograms have parts.
            let is_known = known.iter().any(|known| name.starts_with(known.as_str()));
            assert!(is_known, "{}: {name}", page.path);
            named += 1;
        }
    }
    assert!(named > known.len(), "{named}");
}

#[test]
fn every_label_is_taken_out_of_the_names_of_statistics() {
    let file = InboundYaml::named("inbound-observed.yaml").field("stats_config");
    assert_eq!(file, InboundYaml::named("outbound.yaml").field("stats_config"));
    let tags = file.lines().filter_map(|line| line.trim().strip_prefix("- tag_name: "));
    // Envoy's own: the name of the plugin in the statistics on its VMs.
    let tags: BTreeSet<String> = tags.filter(|tag| *tag != "plugin").map(str::to_owned).collect();
    let all = every_series().into_iter().chain(every_series_of_names());
    let labels = all.flat_map(|series| {
        let (_, labels) = series.split_once('{').unwrap_or_default();
        let label = |pair: &str| pair.split_once('=').map(|(label, _)| label.to_owned());
        labels.split(',').filter_map(label).collect::<Vec<_>>()
    });
    assert_eq!(tags, labels.collect());
}

#[test]
fn all_filter_state_stands_in_the_reference_and_in_its_example_and_no_other() {
    let code = [
        include_str!("../../src/core/src/inbound/evaluation.rs"),
        include_str!("../../src/core/src/verdict.rs"),
    ];
    let set: BTreeSet<&str> = code.into_iter().flat_map(reasons).collect();
    let named = |text: &'static str| -> BTreeSet<&str> {
        words(text).filter_map(|word| word.strip_prefix("wasm.")).collect()
    };
    assert_eq!(named(REFERENCE.text), set);
    assert_eq!(named(include_str!("../../envoy/inbound-observed.yaml")), set);
    for page in OURS {
        let is_state = |word: &&&str| word.starts_with("oauth2_");
        let others = named(page.text);
        let others: Vec<_> = others.difference(&set).filter(is_state).collect();
        assert!(others.is_empty(), "{}: {others:?}", page.path);
    }
}
