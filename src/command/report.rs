//! What was found, for people, programs and code reviews.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::tree::Position;
use crate::uses::Contents;

/// Something about a file.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Where.
    pub(crate) at: Position,
    /// How bad it is.
    pub(crate) level: Level,
    /// The place in the document; empty if it is about what stands around it.
    pub(crate) place: String,
    /// What is wrong and what would be right.
    pub(crate) text: String,
    /// Which use of the filter it is about, in words.
    pub(crate) within: String,
}

impl Finding {
    /// The same in the filter's own words.
    fn said(&self) -> String {
        if self.place.is_empty() {
            self.text.clone()
        } else {
            format!("{}: {}", self.place, self.text)
        }
    }
}

/// How bad something is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Level {
    /// The configuration is refused.
    Error,
    /// It is accepted, but should be known.
    Warning,
    /// It is a risk or not, by something that no file says.
    Note,
}

impl Level {
    /// Its name, as compilers have it.
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// What was found in all files.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Each file, how often it uses the filter, and what is to be said of it.
    files: Vec<(String, usize, Vec<Finding>)>,
}

impl Report {
    /// Adds a file.
    pub(crate) fn add(&mut self, file: &str, contents: &Contents, findings: Vec<Finding>) {
        self.files.push((file.to_owned(), contents.uses.len(), findings));
    }

    /// Whether nothing is wrong.
    pub(crate) fn is_fine(&self, strict: bool) -> bool {
        self.count(Level::Error) == 0 && (!strict || self.count(Level::Warning) == 0)
    }

    /// Whether no file has anything to do with the filter.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.iter().all(|(_, uses, findings)| *uses == 0 && findings.is_empty())
    }

    /// How many there are of a level.
    fn count(&self, level: Level) -> usize {
        let findings = self.files.iter().flat_map(|(_, _, findings)| findings);
        findings.filter(|finding| finding.level == level).count()
    }
}

/// How a report is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// A line each, as compilers have it.
    Text,
    /// One JSON object.
    Json,
    /// Annotations of a GitHub workflow.
    Github,
}

impl Format {
    /// The format of this name.
    pub(crate) fn of_name(name: &str) -> Result<Self, &'static str> {
        match name {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "github" => Ok(Self::Github),
            _ => Err("expected text, json or github"),
        }
    }

    /// The report in this format.
    pub(crate) fn write(self, report: &Report) -> String {
        match self {
            Self::Text => text(report),
            Self::Json => json_object(report),
            Self::Github => annotations(report),
        }
    }
}

/// A line for each finding, and one for each file.
fn text(report: &Report) -> String {
    let mut text = String::new();
    for (file, uses, findings) in &report.files {
        for finding in findings {
            let Position { line, column } = finding.at;
            let level = finding.level.name();
            let said = finding.said();
            // Writing to a String does not fail.
            let _ = write!(text, "{file}:{line}:{column}: {level}: {said}");
            // Where there are several, the line alone does not tell which.
            if *uses > 1 && !finding.within.is_empty() {
                let _ = write!(text, " [{}]", finding.within);
            }
            text.push('\n');
        }
        if *uses == 0 && findings.is_empty() {
            let _ = writeln!(text, "{file}: no configuration of the filter");
            continue;
        }
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        let notes = count(Level::Note);
        let times = if *uses > 1 {
            format!("{uses} configurations of the filter, ")
        } else {
            String::new()
        };
        let _ = writeln!(
            text,
            "{file}: {times}{}, {}{}",
            plural(count(Level::Error), "error"),
            plural(count(Level::Warning), "warning"),
            if notes > 0 { format!(", {}", plural(notes, "note")) } else { String::new() },
        );
    }
    text
}

/// So many things.
fn plural(count: usize, thing: &str) -> String {
    match count {
        0 => format!("no {thing}s"),
        1 => format!("1 {thing}"),
        _ => format!("{count} {thing}s"),
    }
}

/// One JSON object.
fn json_object(report: &Report) -> String {
    let finding = |finding: &Finding| {
        json!({
            "line": finding.at.line, "column": finding.at.column, "level": finding.level.name(),
            "place": finding.place, "text": finding.text, "within": finding.within,
        })
    };
    let file = |(file, uses, findings): &(String, usize, Vec<Finding>)| {
        let findings: Vec<Value> = findings.iter().map(finding).collect();
        json!({"file": file, "uses": uses, "findings": findings})
    };
    let files: Vec<Value> = report.files.iter().map(file).collect();
    let object = json!({
        "mistakes": report.count(Level::Error), "warnings": report.count(Level::Warning),
        "files": files,
    });
    format!("{object:#}\n")
}

/// Workflow commands, which GitHub shows beside the line.
fn annotations(report: &Report) -> String {
    let escape = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let mut text = String::new();
    for (file, _, findings) in &report.files {
        for finding in findings {
            let Position { line, column } = finding.at;
            let file = escape(file).replace(':', "%3A").replace(',', "%2C");
            let level = if finding.level == Level::Note { "notice" } else { finding.level.name() };
            let said = escape(&finding.said());
            let _ = writeln!(text, "::{level} file={file},line={line},col={column}::{said}");
        }
    }
    text
}
