//! Every promise names the tests that hold it; every threat says what the filter does, which tests
//! show it, and what is left to the operator. Every test that is named exists.

use std::fs;

use crate::pages::SECURITY;
use crate::root;

/// The parts of what is said of a threat.
const PARTS: [&str; 3] = ["- **Filter**: ", "- **Shown by**: ", "- **You**: "];

/// The threats, each with its heading.
fn threats() -> impl Iterator<Item = (&'static str, &'static str)> {
    let sections = SECURITY.text.split("\n### ").skip(1);
    sections.map(|section| {
        let (heading, rest) = section.split_once('\n').expect("a heading");
        (heading, rest.split("\n## ").next().expect("a part"))
    })
}

/// The tests that a threat names: file and name.
fn named(threat: &'static str) -> Vec<(&'static str, &'static str)> {
    let (_, shown) = threat.split_once(PARTS[1]).expect("the tests");
    let (shown, _) = shown.split_once(PARTS[2]).expect("the end of them");
    tests_in(shown)
}

/// The numbered promises.
fn promises() -> impl Iterator<Item = &'static str> {
    let (_, section) = SECURITY.text.split_once("\n## What is promised\n").expect("the promises");
    let (section, _) = section.split_once("\n## ").expect("the end of them");
    let begins = |line: &str| line.starts_with(|c: char| c.is_ascii_digit());
    let starts: Vec<usize> = section
        .split_inclusive('\n')
        .scan(0, |at, line| {
            let start = *at;
            *at += line.len();
            Some((start, line))
        })
        .filter(|(_, line)| begins(line))
        .map(|(start, _)| start)
        .collect();
    let ends: Vec<usize> = starts.iter().skip(1).copied().chain([section.len()]).collect();
    starts.into_iter().zip(ends).map(|(start, end)| &section[start..end])
}

/// The tests in a list of them: file and name.
fn tests_in(shown: &'static str) -> Vec<(&'static str, &'static str)> {
    let mut file = None;
    let mut tests = Vec::new();
    // Every second part stands between the signs of code.
    for word in shown.split('`').skip(1).step_by(2) {
        if word.contains(".rs") {
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
fn every_threat_says_what_is_done_what_shows_it_and_what_is_left() {
    let mut tests = 0;
    for (heading, threat) in threats() {
        let places = PARTS.map(|part| threat.find(part));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{heading}");
        assert!(!named(threat).is_empty(), "{heading}");
        for (file, name) in named(threat) {
            assert!(has_test(file, name), "{heading}: no test {name:?} in {file}");
            tests += 1;
        }
    }
    assert!(tests > 60, "{tests}");
}

#[test]
fn every_promise_names_tests_that_exist() {
    let mut count = 0;
    for promise in promises() {
        let (_, shown) = promise.split_once("Tested by").unwrap_or_else(|| panic!("{promise}"));
        let tests = tests_in(shown);
        assert!(!tests.is_empty(), "{promise}");
        for (file, name) in tests {
            assert!(has_test(file, name), "no test {name:?} in {file}: {promise}");
        }
        count += 1;
    }
    assert_eq!(count, 7);
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
    ] {
        assert_eq!(has_test(file, name), there, "{file} {name}");
    }
}
