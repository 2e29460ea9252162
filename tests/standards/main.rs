//! Every line of the standards has a test, and `tests/STANDARDS.md` says which.
//!
//! A test proves a line by carrying its identifier at the head of its name:
//! `rs_6750_02_a_token_is_a_b64token`; so does a row of the table of exchanges.
//! `UPDATE=1 cargo test --test standards` writes the page anew.

#[path = "../generated/mod.rs"]
mod generated;
mod lines;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use lines::{GROUPS, Line, Scope};
use names::{Name, names_in};

#[test]
fn every_line_has_an_identifier_of_its_own() {
    let mut seen = BTreeSet::new();
    for Line { id, .. } in lines() {
        assert!(seen.insert(id), "{id} stands twice");
        let name = Name::parse(&format!("{}_x", id.to_lowercase().replace('-', "_")));
        assert_eq!(name.ids, [*id], "no test name could carry it");
    }
}

#[test]
fn every_line_that_is_for_this_filter_has_a_test() {
    let tests = tests();
    let bare: Vec<_> = lines()
        .filter(|line| matches!(line.scope, Scope::Proved) && !tests.contains_key(line.id))
        .map(|line| line.id)
        .collect();
    assert!(bare.is_empty(), "no test carries {}", bare.join(", "));
}

#[test]
fn no_test_names_a_line_that_is_not_there() {
    let known: BTreeMap<_, _> = lines().map(|line| (line.id, line)).collect();
    for (id, tests) in tests() {
        let line = known.get(id.as_str());
        let line = line.unwrap_or_else(|| panic!("{id} is no line: {}", tests.join(", ")));
        let applies = !matches!(line.scope, Scope::NotApplicable(_));
        assert!(applies, "{id} is said not to apply, and has tests: {}", tests.join(", "));
    }
}

#[test]
fn the_page_says_what_is_proved_where() {
    generated::check(&root().join("tests/STANDARDS.md"), &page(), "standards");
}

/// Every line.
fn lines() -> impl Iterator<Item = &'static Line> {
    GROUPS.iter().flat_map(|group| group.lines)
}

/// The tests that carry each identifier, as cells of the page show them.
fn tests() -> BTreeMap<String, Vec<String>> {
    let mut tests: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for file in ["src", "tests"].iter().flat_map(|folder| rust_files(&root().join(folder))) {
        let text = fs::read_to_string(&file).expect("a source file");
        let path = file.strip_prefix(root()).expect("a file of ours").display().to_string();
        let link = match path.strip_prefix("tests/") {
            Some(below) => below.to_owned(),
            None => format!("../{path}"),
        };
        for Name { ids, sentence } in names_in(&text) {
            for id in ids {
                tests.entry(id).or_default().push(format!("[{path}]({link}): {sentence}"));
            }
        }
    }
    tests
}

/// The page.
fn page() -> String {
    let tests = tests();
    let count = |wanted: fn(&Scope) -> bool| lines().filter(|line| wanted(&line.scope)).count();
    let proved = count(|scope| matches!(scope, Scope::Proved));
    let not_offered = count(|scope| matches!(scope, Scope::NotOffered(_)));
    let not_applicable = count(|scope| matches!(scope, Scope::NotApplicable(_)));
    let mut page = format!(
        "# Standards, line by line\n\n\
         <!-- Written by `UPDATE=1 cargo test --test standards`; a stale page fails that test. -->\n\n\
         What the standards ask of a filter that guards a resource and of a client, what went wrong in others, and the\n\
         tests that prove each line. A test's name begins with the lines that it proves, so\n\
         `grep -r rs_6750_02 src tests` finds them. Rows of [exchanges/table.rs](exchanges/table.rs) run in the\n\
         simulated host and in the real Envoy. The lines themselves are in\n\
         [standards/lines.rs](standards/lines.rs), in our words; \"own\" is what we took from a text that does not\n\
         say it, or from what happened elsewhere.\n\n\
         {proved} lines are proved. {not_offered} are about features that the filter does not have, and \
         {not_applicable} do\nnot apply: each says why.\n"
    );
    for group in GROUPS {
        let origin = group.origin;
        let heading = format!("\n## {}\n\n| | level | {origin} | statement | tests |", group.title);
        writeln!(page, "{heading}\n| --- | --- | --- | --- | --- |").expect("a String grows");
        for Line { id, level, origin, statement, scope } in group.lines {
            let why = match scope {
                Scope::Proved => None,
                Scope::NotOffered(why) => Some(format!("not offered: {why}")),
                Scope::NotApplicable(why) => Some(format!("does not apply: {why}")),
            };
            let tests = tests.get(*id).into_iter().flatten();
            let cell: Vec<_> = why.iter().chain(tests).map(String::as_str).collect();
            let cell = cell.join("<br>").replace('|', "\\|");
            writeln!(page, "| {id} | {level} | {origin} | {statement} | {cell} |")
                .expect("a String grows");
        }
    }
    page
}

/// Every Rust file below a folder, in order.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut entries: Vec<_> = entries.collect();
    entries.sort();
    entries
        .into_iter()
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
