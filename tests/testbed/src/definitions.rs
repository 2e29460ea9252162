//! Checks of files by the definitions that others publish on npm, for which Node.js runs.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::workspace;

/// What the program `check.mjs` of a folder below `target` finds wrong in each object; panics if the
/// target of make that brings it was not made.
pub fn mistakes(
    folder: &str,
    target: &str,
    objects: &BTreeMap<String, Value>,
) -> BTreeMap<String, Vec<String>> {
    let program = workspace().join("target").join(folder).join("check.mjs");
    assert!(program.is_file(), "no {}: run `make {target}`", program.display());
    let mut node = Command::new("node");
    let mut node =
        node.arg(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node");
    let input = json!(objects).to_string();
    node.stdin.take().expect("its input").write_all(input.as_bytes()).expect("it reads");
    let output = node.wait_with_output().expect("it ends");
    assert!(output.status.success(), "node: {}", output.status);
    serde_json::from_slice(&output.stdout).expect("the mistakes")
}
