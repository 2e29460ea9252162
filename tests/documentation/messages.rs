//! Lists every message of the filter and of the command in one page, for review.
//! `UPDATE=1 cargo test --test documentation` writes the page.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use syn::buffer::{Cursor, TokenBuffer};
use syn::visit::{self, Visit};

use crate::modules::is_test;
use crate::{files_below, generated, root};

/// The page.
const PAGE: &str = "tests/MESSAGES.md";

/// The macros that log.
const LOG_MACROS: [&str; 5] = ["error!", "warn!", "info!", "debug!", "log!"];

/// A part of the page: its heading, a sentence on it, and whether a text is listed there.
type Part = (&'static str, &'static str, fn(&Text) -> bool);

/// The parts of the page. Each text is listed in the first part that takes it.
const PARTS: [Part; 7] = [
    ("Log lines", "Written to Envoy's log. `docs/operations.md` explains each.", |text| {
        LOG_MACROS.contains(&text.kind()) || text.file.ends_with("oauth/failure_log.rs")
    }),
    ("Failed calls", "The causes that log lines give.", |text| {
        text.is_in("src/core/src/oauth")
            && ["write!", "write_str", "Failure::Member"].contains(&text.kind())
    }),
    ("Responses", "The `error_description` of a body, or the `grpc-message`.", |text| {
        text.file.ends_with("oauth/reason.rs")
    }),
    (
        "Configuration warnings",
        "Logged when a configuration is loaded; `oauth2-filter check` prints them too, with advice and notes of its own.",
        |text| {
            text.is_in("src/core/src/config")
                && ["warn", "advise", "note"].iter().any(|kind| text.has(kind))
        },
    ),
    (
        "Configuration errors",
        "The configuration is rejected. Texts that begin with an article complete \"expected …\" or \"required: …\".",
        |text| text.is_in("src/core/src/config"),
    ),
    (
        "Other texts of the filter",
        "Parts of log lines and of configuration errors; and texts that are sent or compared, which are not messages.",
        |text| text.is_in("src/core") || text.is_in("src/hosts"),
    ),
    (
        "The command",
        "Printed by `oauth2-filter`. The files that `oauth2-filter new` prints are in `src/command/new`.",
        |_| true,
    ),
];

/// A text, and where it is in the code.
#[derive(Clone, Debug)]
pub struct Text {
    /// The file, relative to the root.
    pub file: String,
    /// The text itself.
    pub content: String,
    /// The calls and macros around it, from the outside in.
    around: Vec<String>,
}

impl Text {
    /// The call or macro that takes it.
    pub fn kind(&self) -> &str {
        self.around.last().map_or("", String::as_str)
    }

    /// Whether one of the calls around it has this name.
    pub fn has(&self, name: &str) -> bool {
        self.around.iter().any(|call| call == name)
    }

    /// Whether its file is below a folder.
    pub fn is_in(&self, folder: &str) -> bool {
        self.file.starts_with(folder)
    }

    /// Whether it is a description of a key, which `docs/reference.md` shows.
    fn is_of_a_key(&self) -> bool {
        let described = ["KeyRow::new", "strong", "link"];
        self.is_in("src/core/src/config")
            && (described.iter().any(|call| self.has(call)) || self.content.starts_with('#'))
    }
}

/// Collects the texts of a file, leaving out its tests.
#[derive(Default)]
struct Collector {
    /// The calls, macros and fields around the current expression, from the outside in.
    around: Vec<String>,
    /// Each text with what is around it.
    found: Vec<(String, Vec<String>)>,
}

impl Collector {
    /// Collects a text if it is logged, or has more than one word.
    fn add(&mut self, text: &str) {
        let is_logged = self.around.last().is_some_and(|call| LOG_MACROS.contains(&call.as_str()));
        if is_logged || (text.contains(' ') && text.contains(|c: char| c.is_ascii_alphabetic())) {
            self.found.push((text.to_owned(), self.around.clone()));
        }
    }

    /// Visits what is inside a call of this name.
    fn inside(&mut self, name: &str, visit: impl FnOnce(&mut Self)) {
        self.around.push(name.to_owned());
        visit(self);
        self.around.pop();
    }

    /// Collects the string literals of a macro's input.
    fn tokens(&mut self, mut cursor: Cursor<'_>) {
        while !cursor.eof() {
            // An attribute, such as a doc comment.
            if let Some((punct, rest)) = cursor.punct()
                && punct.as_char() == '#'
            {
                cursor = rest.token_tree().map_or(rest, |(_, rest)| rest);
            } else if let Some((inside, _, _, rest)) = cursor.any_group() {
                self.tokens(inside);
                cursor = rest;
            } else if let Some((literal, rest)) = cursor.literal() {
                if let syn::Lit::Str(text) = syn::Lit::new(literal) {
                    self.add(&text.value());
                }
                cursor = rest;
            } else if let Some((_, rest)) = cursor.token_tree() {
                cursor = rest;
            }
        }
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.add(&text.value());
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let name = called.path.segments.last().map(|segment| format!("{}!", segment.ident));
        let tokens = TokenBuffer::new2(called.tokens.clone());
        self.inside(&name.unwrap_or_default(), |inside| inside.tokens(tokens.begin()));
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let name = match &*call.func {
            syn::Expr::Path(path) => {
                let names: Vec<_> =
                    path.path.segments.iter().map(|s| s.ident.to_string()).collect();
                names.join("::")
            }
            _ => String::new(),
        };
        self.inside(&name, |inside| visit::visit_expr_call(inside, call));
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.visit_expr(&call.receiver);
        let name = call.method.to_string();
        self.inside(&name, |inside| call.args.iter().for_each(|arg| inside.visit_expr(arg)));
    }
}

/// All texts of the filter and of the command.
pub fn texts() -> Vec<Text> {
    let folders = ["src/core/src", "src/hosts", "src/command"];
    let mut texts = Vec::new();
    for file in folders.iter().flat_map(|folder| files_below(&root().join(folder), "rs")) {
        let name = file.strip_prefix(root()).expect("a file of ours").display().to_string();
        let is_test = ["tests.rs", "documented.rs"].iter().any(|test| name.ends_with(test));
        if is_test || name.contains("/tests/") || name.ends_with("bench.rs") {
            continue;
        }
        let code = fs::read_to_string(&file).expect("a file of code");
        let parsed = syn::parse_file(&code).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut collector = Collector::default();
        collector.visit_file(&parsed);
        let text = |(content, around)| Text { file: name.clone(), content, around };
        texts.extend(collector.found.into_iter().map(text));
    }
    texts.retain(|text| !text.is_of_a_key());
    texts
}

/// A text as a cell of a table, on one line.
fn cell(text: &str) -> String {
    let text = text.trim().replace('\n', "⏎").replace('|', "\\|");
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

/// The page.
fn page() -> String {
    let mut page = String::from(
        "# Messages\n\n\
         <!-- Written by `UPDATE=1 cargo test --test documentation`; a stale page fails that test. -->\n\n\
         Every text that the filter logs, sends or reports, and every text that the command prints, for review in one\n\
         place. Texts of one word are listed only where they are logged; descriptions of keys are in\n\
         `docs/reference.md`.\n",
    );
    let mut rest = texts();
    for (heading, about, belongs) in PARTS {
        let (part, others): (Vec<Text>, Vec<Text>) = rest.into_iter().partition(belongs);
        rest = others;
        assert!(!part.is_empty(), "{heading} has no text");
        writeln!(page, "\n## {heading}\n\n{about}\n\n| text | kind | file |\n| --- | --- | --- |")
            .expect("a String grows");
        let row = |Text { file, content, around }: &Text| {
            let kind = around.last().map_or("", |kind| kind.trim_end_matches('!'));
            format!("| {} | {kind} | {file} |\n", cell(content))
        };
        let rows: BTreeSet<String> = part.iter().map(row).collect();
        page.extend(rows);
    }
    page
}

#[test]
fn the_page_lists_every_message() {
    generated::check(&root().join(PAGE), &page(), "documentation");
}

#[test]
fn texts_are_collected_from_calls_macros_and_tables_but_not_from_tests_and_comments() {
    let code = r#"
        table! { #[doc = "a comment"] A => Row { text: "in a table" } }
        const A: &str = "one \
                         text";
        /// a comment
        fn f() -> &'static str {
            warn!("{a} and {}", g("in a macro"));
            field.mistake("in a call");
            "word"
        }
        #[cfg(test)]
        mod tests {
            const A: &str = "in a test";
        }
    "#;
    let mut collector = Collector::default();
    collector.visit_file(&syn::parse_file(code).expect("code"));
    let found: Vec<_> =
        collector.found.iter().map(|(text, around)| (&**text, around.join(" "))).collect();
    let expected = [
        ("in a table", "table!"),
        ("one text", ""),
        ("{a} and {}", "warn!"),
        ("in a macro", "warn!"),
        ("in a call", "mistake"),
    ];
    assert_eq!(found, expected.map(|(text, around)| (text, around.to_owned())));
}
