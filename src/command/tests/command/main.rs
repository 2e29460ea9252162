//! The command `oauth2-filter`, as people run it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

mod check;
mod corpus;
#[path = "../../../../tests/configuration/documents.rs"]
mod documents;
#[path = "../../../../tests/exchanges/mod.rs"]
#[expect(dead_code, unused_imports, reason = "only their configurations are looked at")]
mod exchanges;
mod explain;
mod fail_open;
mod folder;
mod gateway;
mod help;
mod istio;
mod jwt;
mod letter_case;
mod manifests;
mod mcp;
mod native;
mod new;
mod paths;
mod printed;
mod schema;

/// What the command has printed, and its exit status.
struct Ran {
    out: String,
    err: String,
    /// The exit status.
    status: i32,
}

/// Runs the command in the folder of the project.
fn run<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Ran {
    run_with(arguments, "", &[])
}

/// Runs it with this on standard input, and these environment variables.
fn run_with<A: AsRef<std::ffi::OsStr>>(
    arguments: impl IntoIterator<Item = A>,
    input: &str,
    environment: &[(&str, &str)],
) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_oauth2-filter"))
        .args(arguments)
        .current_dir(root())
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    // It need not read what it has no use for.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let status = output.status.code().expect("no signal ends it");
    Ran { out: text(output.stdout), err: text(output.stderr), status }
}

/// A file with this text, which is written anew in each run.
fn file(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("command").join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder to write to");
    fs::write(&path, text).expect("a folder to write to");
    path
}

/// A file with this text and an ending, that no other test writes.
fn own_file(ending: &str, text: &str) -> PathBuf {
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    file(&format!("own/{}.{ending}", WRITTEN.fetch_add(1, Ordering::Relaxed)), text)
}

/// The lines, each after so many spaces.
fn indented(text: &str, spaces: usize) -> String {
    let spaces = " ".repeat(spaces);
    text.lines().fold(String::new(), |text, line| text + &spaces + line + "\n")
}

/// An HTTP filter of Envoy with these settings.
fn http_filter(name: &str, of: &str, settings: &str) -> String {
    format!(
        "- name: {name}
  typed_config:
    \"@type\": type.googleapis.com/envoy.extensions.filters.http.{of}
{}",
        indented(settings, 4)
    )
}

/// The folder of the project.
fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
