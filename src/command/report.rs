//! Reports findings as text, as JSON, and as annotations for code reviews.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::tree::Position;
use crate::uses::Contents;

/// A finding in a file.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) at: Position,
    pub(crate) level: Level,
    /// The path in the document; empty if the finding is about the configuration around it.
    pub(crate) place: String,
    /// What is wrong, and what is expected.
    pub(crate) text: String,
    /// The use of the filter that it is about, in words.
    pub(crate) within: String,
}

impl Finding {
    /// The message with its path.
    fn said(&self) -> String {
        if self.place.is_empty() {
            self.text.clone()
        } else {
            format!("{}: {}", self.place, self.text)
        }
    }
}

/// The severity of a finding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Level {
    /// The configuration is rejected.
    Error,
    /// The configuration is accepted, but risky.
    Warning,
    /// It may be a risk, depending on information outside the files.
    Note,
}

impl Level {
    /// Its name, as in compilers.
    fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// The findings of all files.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Each file, the number of uses of the filter, and its findings.
    files: Vec<(String, usize, Vec<Finding>)>,
}

impl Report {
    /// Adds a file.
    pub(crate) fn add(&mut self, file: &str, contents: &Contents, findings: Vec<Finding>) {
        self.files.push((file.to_owned(), contents.uses.len(), findings));
    }

    /// Whether the check succeeds.
    pub(crate) fn is_fine(&self, strict: bool) -> bool {
        self.count(Level::Error) == 0 && (!strict || self.count(Level::Warning) == 0)
    }

    /// Whether no file configures the filter.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.iter().all(|(_, uses, findings)| *uses == 0 && findings.is_empty())
    }

    /// The number of findings of a level.
    fn count(&self, level: Level) -> usize {
        let findings = self.files.iter().flat_map(|(_, _, findings)| findings);
        findings.filter(|finding| finding.level == level).count()
    }
}

/// The format of a report.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// One line per finding, as in compilers.
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

/// One line per finding, and one per file.
fn text(report: &Report) -> String {
    let mut text = String::new();
    for (file, uses, findings) in &report.files {
        for finding in findings {
            let Position { line, column } = finding.at;
            let level = finding.level.name();
            let said = finding.said();
            // Writing to a String does not fail.
            let _ = write!(text, "{file}:{line}:{column}: {level}: {said}");
            // If there are several uses, the line number does not identify the use.
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

/// A number of things.
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
