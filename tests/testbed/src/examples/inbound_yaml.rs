//! `envoy/inbound.yaml`, the configuration that stories are played with, and its relatives.

use std::{fs, time::Duration};

use serde_json::Value;

use crate::workspace;

/// The text of `envoy/inbound.yaml`, or of another file there.
#[derive(Clone, Debug)]
pub struct InboundYaml(String);

impl InboundYaml {
    /// Reads the file; panics if it is not there.
    pub fn read() -> Self {
        Self::named("inbound.yaml")
    }

    /// Reads the file of this name in `envoy/`; panics if it is not there.
    pub fn named(name: &str) -> Self {
        let path = workspace().join("envoy").join(name);
        let text = fs::read_to_string(&path);
        Self(text.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The filter's document that is embedded in it.
    pub fn document(&self) -> Value {
        let (_, block) = self.0.split_once("value: |\n").expect("a block of text: the document");
        let depth = |line: &str| line.len() - line.trim_start().len();
        let indented = depth(block);
        let document: Vec<_> = block.lines().take_while(|line| depth(line) >= indented).collect();
        serde_json::from_str(&document.join("\n")).expect("a document of JSON")
    }

    /// The text of a field at the top, with its name; panics if there is none.
    pub fn field(&self, name: &str) -> String {
        let is_head = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest == ":");
        let mut lines = self.0.lines().skip_while(|line| !is_head(line));
        let head = lines.next().unwrap_or_else(|| panic!("no {name} in the file"));
        let below = lines.take_while(|line| line.starts_with(' '));
        let lines: Vec<&str> = [head].into_iter().chain(below).chain([""]).collect();
        lines.join("\n")
    }

    /// The document's `cache.max_ttl`, in seconds.
    pub fn max_ttl(&self) -> Duration {
        let max_ttl = &self.document()["inbound"]["cache"]["max_ttl"];
        let seconds = max_ttl.as_str().and_then(|text| text.strip_suffix('s')?.parse().ok());
        Duration::from_secs(seconds.expect("a cache.max_ttl in seconds, such as \"5s\""))
    }

    /// Replaces a port, as an address and in URLs; panics if the file does not name it.
    #[must_use]
    pub fn with_port(self, port: u16, other: u16) -> Self {
        let address = format!("port_value: {port} ");
        assert!(self.0.contains(&address), "the file does not name port {port}");
        let text = self.0.replace(&address, &format!("port_value: {other} "));
        Self(text.replace(&format!("127.0.0.1:{port}/"), &format!("127.0.0.1:{other}/")))
    }
}
