//! `envoy/inbound.yaml`, and its relatives, for tests to run.

use serde_json::Value;

use crate::envoy::example;

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
        Self(example(name, &[]))
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
        let text = self.0.split_once(&format!("\n{name}:\n"));
        let (_, text) = text.unwrap_or_else(|| panic!("no {name} in the file"));
        let below = text.lines().take_while(|line| line.starts_with(' '));
        [format!("{name}:\n")].into_iter().chain(below.map(|line| format!("{line}\n"))).collect()
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
