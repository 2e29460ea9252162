//! Every line that the filter can log stands in the operator's page, and no other.

use std::collections::BTreeSet;

use crate::messages::{Text, texts};
use crate::pages::OPERATIONS;

/// What stands for what differs, in the page.
const PLACEHOLDERS: [&str; 13] = [
    "ADDRESS", "CLIENT", "CLUSTER", "CODE", "DETAILS", "ISSUER", "N", "NAME", "PLACE", "RULE",
    "STATUS", "TEXT", "WHY",
];

/// The macros that log, and what Envoy calls their level.
const LEVELS: [(&str, &str); 4] =
    [("error!", "error"), ("warn!", "warning"), ("info!", "info"), ("debug!", "debug")];

/// The texts of the filter, without those of the command.
fn texts_of_the_filter() -> Vec<Text> {
    texts().into_iter().filter(|text| !text.file.starts_with("src/command")).collect()
}

/// A text of the code with a star for each thing that differs.
fn starred(text: &str) -> String {
    let mut parts = text.split('{');
    let first = parts.next().expect("a part").to_owned();
    parts.fold(first, |text, part| {
        let (_, rest) = part.split_once('}').expect("the end of what differs");
        text + "*" + rest
    })
}

/// The same of a text of the page.
fn told(cell: &str) -> String {
    let inner = cell.strip_prefix("`` ").and_then(|cell| cell.strip_suffix(" ``"));
    let inner = inner.unwrap_or_else(|| cell.trim_matches('`'));
    let is_word = |c: char| c.is_ascii_uppercase();
    let mut text = String::new();
    let mut rest = inner;
    while let Some(at) = rest.find(is_word) {
        let (before, word) = rest.split_at(at);
        let end = word.find(|c| !is_word(c)).unwrap_or(word.len());
        text.push_str(before);
        text.push_str(if PLACEHOLDERS.contains(&&word[..end]) { "*" } else { &word[..end] });
        rest = &word[end..];
    }
    text + rest
}

/// The first cells below a heading, with stars.
fn column(heading: &str) -> BTreeSet<String> {
    let rows = OPERATIONS.rows(heading, "| text");
    let texts: BTreeSet<String> = rows.iter().map(|cells| told(cells[0])).collect();
    assert_eq!(texts.len(), rows.len(), "{heading}: one line each");
    texts
}

#[test]
fn every_log_line_stands_in_the_page_with_its_level_and_no_other() {
    let texts = texts_of_the_filter();
    let mut lines: BTreeSet<(String, String)> = BTreeSet::new();
    let mut add = |level: &str, line: &str| lines.insert((level.to_owned(), line.to_owned()));
    for text in &texts {
        for (_, level) in LEVELS.iter().filter(|(call, _)| text.kind() == *call) {
            match text.content.as_str() {
                "{mistakes}" => {
                    add(level, "*: *");
                    add(level, "configuration: *");
                }
                "{warning}" => _ = add(level, "*: *"),
                line => _ = add(level, &starred(line)),
            }
        }
        // What is logged so is what `failure_log` returns.
        assert!(text.kind() != "log!" || text.content == "{line}", "{text:?}");
    }
    // These are logged at a level that depends on the call's outcome.
    let failures: Vec<&Text> = texts
        .iter()
        .filter(|text| text.is_in("src/core/src/oauth/failure_log.rs"))
        .filter(|text| text.kind() == "format!")
        .collect();
    let named: Vec<&Text> = texts.iter().filter(|text| text.has("FailureLog::new")).collect();
    assert_eq!((failures.len(), named.len()), (2, 3), "{failures:?} {named:?}");
    for line in failures {
        let level = if line.content.contains("recovered") { "info" } else { "warning" };
        for name in &named {
            add(level, &starred(&line.content.replace("{name}", &name.content)));
        }
    }
    let rows = OPERATIONS.rows("## Log lines", "| level");
    let page: BTreeSet<_> =
        rows.iter().map(|cells| (cells[0].trim_matches('`').to_owned(), told(cells[1]))).collect();
    assert_eq!(page, lines);
    assert_eq!(page.len(), rows.len(), "one line each");
}

#[test]
fn every_reason_why_a_call_fails_stands_in_the_page_and_no_other() {
    let texts = texts_of_the_filter();
    let displayed = |file: &str| -> Vec<String> {
        let is_displayed = |text: &&Text| {
            text.file.ends_with(file) && ["write!", "write_str"].contains(&text.kind())
        };
        texts.iter().filter(is_displayed).map(|text| text.content.clone()).collect()
    };
    let calls = displayed("oauth/call.rs");
    assert!(calls.len() >= 5, "{calls:?}");
    let mut expected: BTreeSet<String> = calls.iter().map(|text| starred(text)).collect();
    let members: Vec<&str> = texts
        .iter()
        .filter(|text| text.has("Failure::Member") || text.has("Self::Member"))
        .map(|text| text.content.as_str())
        .collect();
    assert!(members.len() >= 8, "{members:?}");
    for text in displayed("oauth/failure.rs") {
        match text.strip_suffix("{what}") {
            Some(begin) => expected.extend(members.iter().map(|member| format!("{begin}{member}"))),
            None => _ = expected.insert(starred(&text)),
        }
    }
    assert_eq!(column("### Why a call fails"), expected);
}

#[test]
fn every_warning_on_a_configuration_stands_in_the_page_and_no_other() {
    let texts = texts_of_the_filter();
    let warnings = texts.iter().filter(|text| text.kind() == "warn");
    assert_eq!(column("### Warnings"), warnings.map(|text| text.content.clone()).collect());
}

#[test]
fn what_differs_is_a_star() {
    assert_eq!(starred("a {b} c {}"), "a * c *");
    assert_eq!(told("`a CLIENT: JSON N`"), "a *: JSON *");
    assert_eq!(told("`` a `b` ``"), "a `b`");
}
