//! Every threat says what the filter does and what is left to the operator; `tests/THREATS.md` names
//! the tests of every threat and every promise. Every test that is named exists.

use std::fs;

use crate::pages::{Page, SECURITY, THREATS};
use crate::root;

/// The parts of what the page says of a threat.
const PARTS: [&str; 2] = ["- **Filter**: ", "- **You**: "];

/// The sections of the third level, each with its heading.
fn sections(page: Page) -> impl Iterator<Item = (&'static str, &'static str)> {
    let sections = page.text.split("\n### ").skip(1);
    sections.map(|section| {
        let (heading, rest) = section.split_once('\n').expect("a heading");
        (heading, rest.split("\n## ").next().expect("a part"))
    })
}

/// The numbers of the promises.
fn promises() -> Vec<&'static str> {
    let lines = SECURITY.section("## What is promised").lines();
    let numbered = lines.filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    numbered.map(|line| line.split('.').next().expect("a number")).collect()
}

/// The tests in a list of them: file and name.
fn tests_in(shown: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut file = None;
    let mut tests = Vec::new();
    // Every second part is code.
    for word in shown.split('`').skip(1).step_by(2) {
        if word.contains(".rs") || word.contains(".py") {
            file = Some(word);
        } else {
            tests.push((file.expect("the file first"), word));
        }
    }
    tests
}

/// Whether a file has a test of this name, which may begin with identifiers of standards.
fn has_test(file: &str, name: &str) -> bool {
    let text = fs::read_to_string(root().join(file));
    let text = text.unwrap_or_else(|error| panic!("{file}: {error}"));
    if file.contains(".py") {
        // A part of the checks, in the list of those that are made.
        let entries = [format!("\n        {name},\n"), format!("\n        native({name}),\n")];
        return text.contains(&format!("\ndef {name}("))
            && entries.iter().any(|entry| text.contains(entry));
    }
    if name.contains(' ') || file.ends_with("table.rs") {
        // A row of the table: its name is a text, after identifiers.
        return text.contains(&format!(" {name}\"")) || text.contains(&format!("\"{name}\""));
    }
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().enumerate().any(|(n, line)| {
        let Some((_, declared)) = line.split_once("fn ") else { return false };
        let declared = declared.split('(').next().expect("a name");
        let is_it = declared == name || declared.ends_with(&format!("_{name}"));
        is_it && lines[..n].iter().rev().take(2).any(|before| before.contains("test"))
    })
}

#[test]
fn every_threat_says_what_the_filter_does_and_what_is_left() {
    for (heading, threat) in sections(SECURITY) {
        let places = PARTS.map(|part| threat.find(part));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{heading}");
    }
}

#[test]
fn every_promise_and_every_threat_has_tests_and_they_exist() {
    let promises = promises();
    assert_eq!(promises.len(), 7);
    let threats = sections(SECURITY).map(|(heading, _)| heading);
    let expected: Vec<&str> = promises.into_iter().chain(threats).collect();
    let headings: Vec<&str> = sections(THREATS).map(|(heading, _)| heading).collect();
    assert_eq!(headings, expected);
    let mut count = 0;
    for (heading, section) in sections(THREATS) {
        let tests = tests_in(section);
        assert!(!tests.is_empty(), "{heading}");
        for (file, name) in tests {
            assert!(has_test(file, name), "{heading}: no test {name:?} in {file}");
            count += 1;
        }
    }
    assert!(count > 80, "{count}");
}

#[test]
fn a_test_is_found_by_its_whole_name_only() {
    for (file, name, there) in [
        ("src/core/src/oauth/secret.rs", "a_secret_does_not_show_in_debug_output", true),
        ("src/core/src/oauth/secret.rs", "d6_01_a_secret_does_not_show_in_debug_output", true),
        ("src/core/src/oauth/secret.rs", "a_secret_does_not_show", false),
        ("src/core/src/oauth/secret.rs", "secret", false),
        ("src/core/src/oauth/secret.rs", "new", false),
        ("tests/exchanges/table.rs", "only the boolean true is active", true),
        ("tests/exchanges/table.rs", "the boolean true", false),
        ("tests/cluster/cluster.py", "crash", true),
        ("tests/cluster/cluster.py", "cras", false),
        ("tests/cluster/cluster.py", "new_pod", false),
    ] {
        assert_eq!(has_test(file, name), there, "{file} {name}");
    }
}
