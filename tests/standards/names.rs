//! The names of tests, and the lines that they carry.

use std::iter;

/// A test's name.
#[derive(Debug, Eq, PartialEq)]
pub struct Name {
    /// The lines at its head, as `RS-6750-02`.
    pub ids: Vec<String>,
    /// The rest, in words.
    pub sentence: String,
}

impl Name {
    /// Takes a name apart; words have `_` or spaces between.
    ///
    /// # Panics
    /// If a line stands anywhere but at the head, where nobody would see it.
    pub fn parse(name: &str) -> Self {
        let words: Vec<&str> = name.split(['_', ' ']).collect();
        let mut rest = words.as_slice();
        let ids: Vec<String> = iter::from_fn(|| {
            let (id, after) = rest.split_at_checked(id_length(rest))?;
            rest = after;
            (!id.is_empty()).then(|| id.join("-").to_uppercase())
        })
        .collect();
        let later = (0..rest.len()).find(|at| id_length(&rest[*at..]) > 0);
        assert_eq!(later, None, "{name}: lines stand at the head of a name");
        Self { ids, sentence: rest.join(" ") }
    }
}

/// How many words at the head of `words` are an identifier: `rs 6750 02`, `rs http 04`, `mcp 05`,
/// `d1 01`.
fn id_length(words: &[&str]) -> usize {
    let is_number = |word: &&&str| word.bytes().all(|b| b.is_ascii_digit()) && !word.is_empty();
    let numbers = |of: &[&str]| of.iter().take_while(is_number).count();
    match words {
        ["rs" | "cl", document, rest @ ..] if *document == "http" || is_number(&document) => {
            2 + numbers(rest).min(1)
        }
        ["mcp", rest @ ..] => numbers(rest).min(1) * 2,
        [kind, rest @ ..] if kind.strip_prefix('d').as_ref().is_some_and(|n| is_number(&n)) => {
            numbers(rest).min(1) * 2
        }
        _ => 0,
    }
}

/// The names of the tests in a source file: functions with a test attribute that are not ignored,
/// and rows of the table of exchanges, which begin with a line.
pub fn names_in(source: &str) -> Vec<Name> {
    let mut names = Vec::new();
    let mut attributes = Vec::new();
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[") {
            attributes.push(line);
        } else if let Some(name) = function(line) {
            let is_test = |at: &str| at.starts_with("#[test]") || at.starts_with("#[tokio::test");
            let is_ignored = |at: &str| at.starts_with("#[ignore");
            if attributes.iter().any(|at| is_test(at))
                && !attributes.iter().any(|at| is_ignored(at))
            {
                names.push(Name::parse(name));
            }
            attributes.clear();
        } else if !line.starts_with("//") {
            attributes.clear();
        }
    }
    for row in source.split("exchange(").skip(1) {
        let name = row.trim_start().strip_prefix('"').and_then(|text| text.split('"').next());
        names.extend(name.map(Name::parse).filter(|name| !name.ids.is_empty()));
    }
    names
}

/// The name of the function that begins in this line.
fn function(line: &str) -> Option<&str> {
    let line = line.strip_prefix("pub ").unwrap_or(line);
    let line = line.strip_prefix("async ").unwrap_or(line);
    line.strip_prefix("fn ")?.split(['(', '<']).next()
}

#[test]
fn a_name_begins_with_its_lines() {
    for (name, ids, sentence) in [
        ("rs_6750_02_a_token", &["RS-6750-02"][..], "a token"),
        ("rs_http_04 d1_01 mcp_05 it is so", &["RS-HTTP-04", "D1-01", "MCP-05"], "it is so"),
        ("a_token_has_16_kib", &[], "a token has 16 kib"),
        ("rs_6750_is_cut_short", &["RS-6750"], "is cut short"),
        ("mcp_clients_and_d_words", &[], "mcp clients and d words"),
    ] {
        let parsed = Name::parse(name);
        assert_eq!(parsed.ids, ids);
        assert_eq!(parsed.sentence, sentence);
    }
}

#[test]
fn names_are_those_of_tests_that_run_and_of_rows() {
    // In parts, so that this file holds no such test itself.
    let source = [
        "#[test]\nfn cl_6749_01_one() {}\n",
        "#[tokio::test(flavor = \"x\")]\n#[expect(x)]\nasync fn cl_6749_02_two() {}\n",
        "#[test]\n#[ignore = \"x\"]\nfn cl_6749_03_three() {}\n",
        "fn cl_6749_04_four() {}\n// #[test]\nfn cl_6749_05_five() {}\n",
        "exchange",
        "(\n    \"cl_6749_06 six\")",
    ];
    let ids: Vec<_> = names_in(&source.concat()).into_iter().flat_map(|name| name.ids).collect();
    assert_eq!(ids, ["CL-6749-01", "CL-6749-02", "CL-6749-06"]);
}
