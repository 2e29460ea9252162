//! The pages whose every word is held against the code.

/// A page of text.
#[derive(Clone, Copy)]
pub struct Page {
    /// Its place in the repository.
    pub path: &'static str,
    /// What stands in it.
    pub text: &'static str,
}

/// The front page.
pub const README: Page = page("README.md", include_str!("../../README.md"));
/// How to change it.
pub const CONTRIBUTING: Page = page("CONTRIBUTING.md", include_str!("../../CONTRIBUTING.md"));
/// Answers, keys and statistics.
pub const REFERENCE: Page = page("docs/reference.md", include_str!("../../docs/reference.md"));
/// Log lines, and what to do.
pub const OPERATIONS: Page = page("docs/operations.md", include_str!("../../docs/operations.md"));
/// What is promised, threat by threat.
pub const SECURITY: Page = page("docs/security.md", include_str!("../../docs/security.md"));
/// The tests of every promise and every threat.
pub const THREATS: Page = page("tests/THREATS.md", include_str!("../THREATS.md"));
/// How fast it is.
pub const PERFORMANCE: Page =
    page("docs/performance.md", include_str!("../../docs/performance.md"));
/// From what others use.
pub const MIGRATION: Page = page("docs/migration.md", include_str!("../../docs/migration.md"));

/// All of these, and those that tell how to use them.
pub const OURS: [Page; 8] = [
    README,
    CONTRIBUTING,
    REFERENCE,
    page("docs/design.md", include_str!("../../docs/design.md")),
    MIGRATION,
    OPERATIONS,
    PERFORMANCE,
    SECURITY,
];

const fn page(path: &'static str, text: &'static str) -> Page {
    Page { path, text }
}

impl Page {
    /// The blocks of code in this language.
    pub fn blocks(self, language: &str) -> impl Iterator<Item = &'static str> {
        let fence = format!("```{language}\n");
        let blocks: Vec<_> = self.text.split(&fence).skip(1).collect();
        blocks.into_iter().map(|rest| rest.split("```").next().expect("the end of a block"))
    }

    /// What stands below a heading, up to the next one of its level or above.
    pub fn section(self, heading: &str) -> &'static str {
        let start = format!("\n{heading}\n");
        let (_, below) = self.text.split_once(&start).unwrap_or_else(|| {
            panic!("{} has no heading {heading:?}", self.path);
        });
        let level = heading.chars().take_while(|c| *c == '#').count();
        let ends = (1..=level).filter_map(|level| below.find(&format!("\n{} ", "#".repeat(level))));
        &below[..ends.min().unwrap_or(below.len())]
    }

    /// The rows of the first table below a heading whose head begins so, each as its cells.
    pub fn rows(self, heading: &str, head: &str) -> Vec<Vec<&'static str>> {
        let lines = self.section(heading).lines();
        let table = lines.skip_while(|line| !line.starts_with(head)).skip(2);
        let rows = table.take_while(|line| line.starts_with('|'));
        rows.map(|row| cells(row).collect()).collect()
    }
}

/// The cells of a row.
fn cells(row: &'static str) -> impl Iterator<Item = &'static str> {
    let inner = row.strip_prefix('|').and_then(|row| row.strip_suffix('|')).expect("a row");
    // An escaped line is one of the text.
    let mut was_escape = false;
    let is_line = move |c| {
        let is_line = c == '|' && !was_escape;
        was_escape = c == '\\';
        is_line
    };
    inner.split(is_line).map(str::trim)
}

/// What stands in a cell between commas, without the signs around it.
pub fn listed(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split(',').map(|part| part.trim().trim_matches('`')).filter(|part| !part.is_empty())
}
