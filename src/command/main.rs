//! `oauth2-filter`: checks and explains configurations of the filter, with the filter's own code.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::string_slice)]
#![warn(missing_docs, missing_debug_implementations)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing))]
#![cfg_attr(test, allow(clippy::arithmetic_side_effects))]

mod backstop;
mod chain;
mod check;
mod contents;
mod explain;
mod finder;
mod folder;
mod gateway;
mod istio;
mod json_text;
mod jwt_authn;
mod keys;
mod manifests;
mod mcp;
mod new;
mod objects;
mod paths;
mod proxy;
mod report;
mod review;
mod schema;
mod token;
mod tree;
mod uses;
mod yaml;

use std::fmt;
use std::io::{Read, Write};
use std::process::ExitCode;

use lexopt::{Arg, Parser, ValueExt};

/// The help text.
const USAGE: &str = "\
usage:
  oauth2-filter check [--strict] [--env] [--host module|native] [--format text|json|github] FILE...
  oauth2-filter explain FILE --url URL [--method METHOD] [--header 'NAME: VALUE']...
                        [--claims FILE | --scope 'A B' | --no-token] [--use NUMBER]
                        [--mcp-method METHOD] [--mcp-tool TOOL] [--host module|native]
  oauth2-filter schema
  oauth2-filter new inbound|outbound|both [--istio]

check    reports what is wrong with a configuration: a document of the filter (JSON or YAML), an
         Envoy configuration, or manifests of Istio (WasmPlugin, TrafficExtension, EnvoyFilter, mesh
         settings) and Envoy Gateway (EnvoyExtensionPolicy and the policies beside it). FILE may be
         - or a folder, of which it checks the files that `kubectl apply -f` reads. All files are
         checked together.
           --strict  treat warnings, but not notes, as errors
           --env     require variables that the proxy takes from its environment to be set here;
                     without this option, they are assumed to be set
           --host    what a document alone is for: the WebAssembly module, or native for the dynamic
                     module; an Envoy configuration says it itself
           --format  output format: text, json, or github for workflow annotations
         Exit status: 0 no errors, 1 errors, 2 wrong usage, an unreadable file, or no configuration
         of the filter in any of the files.
explain  shows what happens to a request: which rule decides, what it requires, and what the client
         or the upstream service receives. It verifies no signature: those of JWTs, also of one in
         --header, are assumed to be valid.
           --claims  a file with the introspection response, a JSON object, or with the claims of
                     a JWT, if their `iss` is that of an entry of `jwt`
           --scope   a token with this scope, and all else that the rule requires
           --mcp-method, --mcp-tool
                     a message of the Model Context Protocol, which is sent by POST; with a tool, a
                     call of it
           --use     which configuration of the filter, if FILE has several: 1 is the first
         Exit status: 0 whatever the decision is, 1 if the configuration has errors, 2 as above.
schema   prints the JSON Schema of the document, for editors.
new      prints a configuration to start with, for Envoy or for Istio.
";

/// The maximum size of a file.
const MOST_BYTES: u64 = 64 << 20;

fn main() -> ExitCode {
    match run(Parser::from_env()) {
        Ok(code) => code,
        Err(error) => {
            // Standard error may be closed.
            let _ = writeln!(std::io::stderr(), "oauth2-filter: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs a subcommand.
fn run(mut arguments: Parser) -> Result<ExitCode, Failure> {
    if std::env::args_os().any(|argument| argument == "--help" || argument == "-h") {
        return print(USAGE);
    }
    match arguments.next()? {
        Some(Arg::Value(command)) => match command.to_str() {
            Some("check") => check::run(arguments),
            Some("explain") => explain::run(arguments),
            Some("schema") => schema::run(arguments),
            Some("new") => new::run(arguments),
            _ => Err(Failure::usage(format!("unknown command `{}`", command.display()))),
        },
        Some(Arg::Short('V') | Arg::Long("version")) => {
            print(concat!("oauth2-filter ", env!("CARGO_PKG_VERSION"), "\n"))
        }
        Some(other) => Err(other.unexpected().into()),
        None => Err(Failure::usage("missing command")),
    }
}

/// Prints a text and succeeds.
fn print(text: &str) -> Result<ExitCode, Failure> {
    say(text)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints to standard output, which may be closed early, as by `| head`.
fn say(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure(format!("failed to write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Reads a file or standard input.
fn read_file(name: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let most = MOST_BYTES.saturating_add(1);
    let read = match name {
        "-" => std::io::stdin().take(most).read_to_string(&mut text),
        _ => std::fs::File::open(name).and_then(|file| file.take(most).read_to_string(&mut text)),
    };
    match read {
        Ok(bytes) if u64::try_from(bytes).is_ok_and(|bytes| bytes < most) => Ok(text),
        Ok(_) => Err(Failure(format!("{name}: larger than {} MiB", MOST_BYTES >> 20))),
        Err(error) => Err(Failure(format!("{name}: {error}"))),
    }
}

/// The next value as text.
fn text_value(arguments: &mut Parser) -> Result<String, Failure> {
    Ok(arguments.value()?.string()?)
}

/// A failure of the command itself.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    /// A usage error.
    fn usage(why: impl fmt::Display) -> Self {
        Self(format!("{why}; see `oauth2-filter --help`"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self::usage(error)
    }
}
