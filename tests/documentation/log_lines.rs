//! Every line that the filter can log stands in the operator's page, and no other.

use std::collections::BTreeSet;
use std::fs;

use crate::pages::OPERATIONS;
use crate::{files_below, root};

/// What stands for what differs, in the page.
const PLACEHOLDERS: [&str; 11] =
    ["CLIENT", "CLUSTER", "CODE", "DETAILS", "N", "NAME", "PLACE", "RULE", "STATUS", "TEXT", "WHY"];

/// The macros that log, and what Envoy calls their level.
const LEVELS: [(&str, &str); 4] =
    [("error!(", "error"), ("warn!(", "warning"), ("info!(", "info"), ("debug!(", "debug")];

/// The code of the filter without its tests, by file.
fn code() -> Vec<(String, String)> {
    let files = files_below(&root().join("src"), "rs");
    // Neither the command nor the tools are what Envoy runs.
    let others = ["src/command", "src/tools"].map(|folder| root().join(folder));
    let files = files.into_iter().filter(|file| {
        !others.iter().any(|folder| file.starts_with(folder)) && !file.ends_with("tests.rs")
    });
    let read = |file: &std::path::PathBuf| fs::read_to_string(file).expect("a file of code");
    let files = files.map(|file| (file.display().to_string(), read(&file)));
    files
        .map(|(name, text)| {
            let code = text.split("#[cfg(test)]\nmod tests").next().expect("a part");
            (name, code.to_owned())
        })
        .collect()
}

/// The code of one file.
fn code_of(name: &str) -> String {
    let file = code().into_iter().find(|(file, _)| file.ends_with(name));
    file.unwrap_or_else(|| panic!("no {name}")).1
}

/// The string literals in a piece of code, in which lines that go on are one.
fn literals(code: &str) -> Vec<String> {
    let mut literals = Vec::new();
    let mut chars = code.chars();
    while let Some(c) = chars.next() {
        if c == '\'' {
            // A quote as a character is no literal.
            let mut ahead = chars.clone();
            if ahead.next() == Some('"') {
                chars = ahead;
            }
        }
        if c != '"' {
            continue;
        }
        let mut literal = String::new();
        while let Some(c) = chars.next().filter(|c| *c != '"') {
            match c {
                '\\' => match chars.next().expect("what is escaped") {
                    '\n' => {
                        let rest = chars.as_str().trim_start();
                        chars = rest.chars();
                    }
                    c => literal.push(c),
                },
                c => literal.push(c),
            }
        }
        literals.push(literal);
    }
    literals
}

/// The first literal after each place where a text stands in the code.
fn after<'c>(code: &'c str, text: &'c str) -> impl Iterator<Item = String> {
    let calls = code.split(text).skip(1);
    calls.filter_map(|rest| literals(rest.split(';').next()?).into_iter().next())
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
    let mut lines: BTreeSet<(String, String)> = BTreeSet::new();
    let mut add = |level: &str, line: &str| lines.insert((level.to_owned(), line.to_owned()));
    for (file, code) in code() {
        for (call, level) in LEVELS {
            for line in after(&code, call) {
                match line.as_str() {
                    "{mistakes}" => {
                        add(level, "*: *");
                        add(level, "configuration: *");
                    }
                    "{warning}" => _ = add(level, "*: *"),
                    line => _ = add(level, &starred(line)),
                }
            }
        }
        // What is logged so is what `failure_log` says.
        assert!(after(&code, "log!(").all(|line| line == "{line}"), "{file}");
        for name in after(&code, "FailureLog::new(") {
            let texts = literals(&code_of("src/core/src/oauth/failure_log.rs"));
            for line in texts.iter().filter(|line| *line != "{line}") {
                let level = if line.contains("works") { "info" } else { "warning" };
                add(level, &starred(&line.replace("{name}", &name)));
            }
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
    let display = |file: &str, of: &str| {
        let code = code_of(file);
        let (_, display) = code.split_once(&format!("impl fmt::Display for {of}")).expect("it");
        let (display, _) = display.split_once("\n}").expect("its end");
        literals(display)
    };
    let calls = display("src/core/src/oauth/call.rs", "CallFailure");
    let mut texts: BTreeSet<String> = calls.iter().map(|text| starred(text)).collect();
    let members: Vec<String> = code()
        .iter()
        .flat_map(|(_, code)| after(code, "Failure::Member(").collect::<Vec<_>>())
        .collect();
    assert!(members.len() >= 4, "{members:?}");
    for text in display("src/core/src/oauth/failure.rs", "Failure") {
        match text.strip_suffix("{what}") {
            Some(begin) => texts.extend(members.iter().map(|member| format!("{begin}{member}"))),
            None => _ = texts.insert(starred(&text)),
        }
    }
    assert_eq!(column("### Why a call fails"), texts);
}

#[test]
fn every_warning_on_a_configuration_stands_in_the_page_and_no_other() {
    let warnings = code().into_iter().flat_map(|(_, code)| {
        // The first is what takes them in.
        after(&code, ".warn(").collect::<Vec<_>>()
    });
    assert_eq!(column("### Warnings"), warnings.collect());
}

#[test]
fn literals_are_read_as_the_compiler_reads_them() {
    let code = "a(\"x \\\n      y\", '\"', \"{a} \\\"q\\\"\");";
    assert_eq!(literals(code), ["x y", "{a} \"q\""]);
    assert_eq!(starred("a {b} c {}"), "a * c *");
    assert_eq!(told("`a CLIENT: JSON N`"), "a *: JSON *");
    assert_eq!(told("`` a `b` ``"), "a `b`");
}
