//! The page that a story prints: explanations, exchanges, and whether each step came out right.

use std::{
    env, fmt,
    io::{self, IsTerminal, Write},
    net::SocketAddr,
};

use hyper::StatusCode;
use serde_json::Value;

use super::{Arrival, NotAsExpected};
use crate::client::{Request, Response};

/// What has been printed so far, and how it went.
pub struct Page {
    out: Box<dyn Write>,
    colours: bool,
    steps: usize,
    failures: usize,
}

impl Page {
    /// On standard output; in colours on a terminal, unless `NO_COLOR` is set.
    pub fn of_terminal() -> Self {
        let no_colour = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        let out = io::stdout();
        Self::new(out.is_terminal() && !no_colour && !dumb, out)
    }

    pub(super) fn new(colours: bool, out: impl Write + 'static) -> Self {
        Self { out: Box::new(out), colours, steps: 0, failures: 0 }
    }

    /// The number of steps so far.
    pub const fn steps(&self) -> usize {
        self.steps
    }

    /// How many of them did not come out right.
    pub const fn failures(&self) -> usize {
        self.failures
    }

    /// A title.
    pub fn title(&mut self, text: &str) {
        self.write(&self.coloured(BOLD, text));
        self.write(&"=".repeat(text.chars().count()));
        self.blank();
    }

    /// A line as it is.
    pub fn line(&mut self, text: &str) {
        self.write(text);
    }

    /// An empty line.
    pub fn blank(&mut self) {
        self.write("");
    }

    /// The beginning of a line that [`line`](Self::line) ends, for what takes its time.
    pub fn begin(&mut self, text: &str) {
        // What nobody reads is nobody's loss, here and below.
        let _ = write!(self.out, "{text} … ");
        let _ = self.out.flush();
    }

    /// A step: its heading, what it does, and whether that came out right.
    pub async fn step<T>(
        &mut self,
        heading: &str,
        step: impl AsyncFnOnce(&mut Self) -> Result<T, NotAsExpected>,
    ) -> Option<T> {
        self.steps += 1;
        self.write(&self.coloured(BOLD, &format!("{}. {heading}", self.steps)));
        self.blank();
        let outcome = step(self).await;
        let mark = match &outcome {
            Ok(_) => self.coloured(GREEN, "ok"),
            Err(wrong) => self.coloured(RED, &format!("NOT AS EXPECTED: {wrong}")),
        };
        self.indented(&mark);
        self.blank();
        self.failures += usize::from(outcome.is_err());
        outcome.ok()
    }

    /// An explanation within a step.
    pub fn say(&mut self, text: &str) {
        for line in wrapped(text.split_whitespace(), "", "") {
            self.indented(&line);
        }
        self.blank();
    }

    /// A request as a line for curl; then it is sent, and the answer shown.
    pub async fn exchange(
        &mut self,
        address: SocketAddr,
        request: &Request,
    ) -> Result<Response, NotAsExpected> {
        let answer = self.send(address, request).await?;
        self.answer(&answer);
        Ok(answer)
    }

    /// The same, with only the status of the answer.
    pub async fn brief_exchange(
        &mut self,
        address: SocketAddr,
        request: &Request,
    ) -> Result<Response, NotAsExpected> {
        let answer = self.send(address, request).await?;
        self.status(&answer);
        self.blank();
        Ok(answer)
    }

    /// Shows a request, and sends it.
    async fn send(
        &mut self,
        address: SocketAddr,
        request: &Request,
    ) -> Result<Response, NotAsExpected> {
        self.curl(&request.curl(address));
        Ok(request.send(address).await?)
    }

    /// A line for curl, in pieces that stay whole.
    pub fn curl(&mut self, pieces: &[String]) {
        let pieces: Vec<_> = pieces.iter().map(|piece| shortened(piece)).collect();
        for line in wrapped(pieces.iter().map(String::as_str), "  ", " \\") {
            self.indented(&self.coloured(CYAN, &line));
        }
        self.blank();
    }

    /// An answer: its status, what its head says to the caller, and its body, or what the body
    /// says of the request that reached the service.
    pub fn answer(&mut self, answer: &Response) {
        self.status(answer);
        for (name, value) in answer.headers.iter().filter(|(name, _)| TELLING.contains(name)) {
            self.indented(&shortened(&format!("{name}: {}", String::from_utf8_lossy(value))));
        }
        self.blank();
        if let Some(arrival) = Arrival::told_by(answer) {
            self.indented("What reached the service, as its answer tells:");
            self.indented(&format!("  {}", arrival.line));
            for header in arrival.notable() {
                self.indented(&shortened(&format!("  {header}")));
            }
            if !arrival.headers.contains("authorization") {
                self.indented("  (no authorization)");
            }
            self.blank();
        } else if !answer.body.is_empty() {
            for line in body(answer).lines() {
                self.indented(&shortened(line));
            }
            self.blank();
        }
    }

    /// The end: how many steps came out right.
    pub fn verdict(&mut self) {
        let Self { steps, failures, .. } = *self;
        let verdict = if failures == 0 {
            self.coloured(GREEN, &format!("All {steps} steps came out as expected."))
        } else {
            self.coloured(
                RED,
                &format!("{failures} of {steps} steps did NOT come out as expected."),
            )
        };
        self.write(&verdict);
    }

    fn status(&mut self, answer: &Response) {
        let reason = StatusCode::from_u16(answer.status).ok();
        let reason = reason.and_then(|status| status.canonical_reason()).unwrap_or_default();
        self.indented(&format!("HTTP/1.1 {} {reason}", answer.status));
    }

    fn indented(&mut self, line: &str) {
        self.write(&format!("{INDENT}{line}"));
    }

    fn write(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}");
    }

    fn coloured(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, failures, .. } = self;
        f.debug_struct("Page").field("steps", steps).field("failures", failures).finish()
    }
}

/// Words (or pieces) in lines that keep within the page: `indent` begins every further line, and
/// `continued` ends every line but the last.
fn wrapped<'a>(words: impl Iterator<Item = &'a str>, indent: &str, continued: &str) -> Vec<String> {
    let room = WIDTH - INDENT.len() - continued.len();
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                line.push(' ');
                line.push_str(word);
            }
            Some(line) => {
                line.push_str(continued);
                lines.push(format!("{indent}{word}"));
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A body: JSON on one line if it fits there.
fn body(answer: &Response) -> String {
    let text = answer.text();
    if shortened(&text).chars().count() <= WIDTH - INDENT.len() {
        return text;
    }
    let json: Result<Value, _> = serde_json::from_str(&text);
    json.map_or(text, |json| format!("{json:#}"))
}

/// The text with only the beginning of each word that is too long for a line, such as a token that
/// is a JWT.
fn shortened(text: &str) -> String {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    let mut short = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let word = rest.find(|c| !is_token(c)).unwrap_or(rest.len());
        if word > LONGEST_WORD {
            short.push_str(&rest[..LONGEST_WORD / 4]);
            short.push('…');
        } else {
            short.push_str(&rest[..word]);
        }
        let after = rest[word..].find(is_token).map_or(rest.len(), |after| word + after);
        short.push_str(&rest[word..after]);
        rest = &rest[after..];
    }
    short
}

/// The headers of an answer that say something to the caller.
const TELLING: [&str; 3] = ["www-authenticate", "retry-after", "cache-control"];
const WIDTH: usize = 100;
const INDENT: &str = "   ";
/// Tokens of this length are shown whole.
const LONGEST_WORD: usize = 64;
const BOLD: &str = "\x1b[1m";
const CYAN: &str = "\x1b[36m";
const GREEN: &str = "\x1b[1;32m";
const RED: &str = "\x1b[1;31m";
const PLAIN: &str = "\x1b[0m";

#[cfg(test)]
pub(super) mod tests;
