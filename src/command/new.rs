//! `new`: prints a configuration to start with.

use std::process::ExitCode;

use lexopt::{Arg, Parser};

use crate::{Failure, print};

/// A direction, and its parts of the configuration.
struct Direction {
    name: &'static str,
    document: &'static str,
    /// The environment variable with the secret.
    variable: &'static str,
    /// The name of the upstream cluster.
    upstream: &'static str,
    cluster: &'static str,
    /// Where Envoy listens.
    listen: (&'static str, &'static str),
    /// The mode of a `TrafficExtension`.
    mode: &'static str,
    /// Its place in the filter chain, as a line.
    phase: &'static str,
}

const DIRECTIONS: [Direction; 2] = [
    Direction {
        name: "inbound",
        document: include_str!("new/inbound.yaml"),
        variable: "INTROSPECTION_SECRET",
        upstream: "service",
        cluster: include_str!("new/service.yaml"),
        listen: ("0.0.0.0", "10000"),
        mode: "SERVER",
        phase: "  # Before Istio's own authentication and authorization.\n  phase: AUTHN\n",
    },
    Direction {
        name: "outbound",
        document: include_str!("new/outbound.yaml"),
        variable: "TOKEN_SECRET",
        upstream: "billing",
        cluster: include_str!("new/billing.yaml"),
        listen: ("127.0.0.1", "10001"),
        mode: "CLIENT",
        phase: "",
    },
];

/// Runs the command.
pub(crate) fn run(mut arguments: Parser) -> Result<ExitCode, Failure> {
    let (mut wanted, mut istio) = (None, false);
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("istio") => istio = true,
            Arg::Value(word) if wanted.is_none() => wanted = Some(word),
            other => return Err(other.unexpected().into()),
        }
    }
    let wanted = wanted.as_ref().and_then(|word| word.to_str());
    let is_wanted =
        |direction: &&Direction| wanted == Some("both") || wanted == Some(direction.name);
    let directions: Vec<_> = DIRECTIONS.iter().filter(is_wanted).collect();
    if directions.is_empty() {
        return Err(Failure::usage("expected new inbound, new outbound or new both"));
    }
    print(&if istio { for_istio(&directions) } else { for_envoy(&directions) })
}

/// The title.
fn title(directions: &[&Direction], who: &str) -> String {
    match directions {
        [only] if only.name == "inbound" => {
            format!("{who} protects a service: requests require an access token.")
        }
        [_] => format!("{who} adds an access token to requests to a service."),
        _ => format!("{who} protects a service and adds access tokens to its outgoing requests."),
    }
}

/// An Envoy bootstrap configuration.
fn for_envoy(directions: &[&Direction]) -> String {
    let listener = |direction: &&Direction| {
        let document = direction.document.replace("# CLUSTER", "cluster: as");
        include_str!("new/listener.yaml")
            .replace("# DOCUMENT\n", &indented(&document, 28))
            .replace("DIRECTION", direction.name)
            .replace("ADDRESS", direction.listen.0)
            .replace("PORT", direction.listen.1)
            .replace("UPSTREAM", direction.upstream)
            .replace("VARIABLE", direction.variable)
    };
    let variables: Vec<_> = directions.iter().map(|direction| direction.variable).collect();
    let clusters: Vec<_> = directions.iter().map(|direction| direction.cluster).collect();
    include_str!("new/envoy.yaml")
        .replace("TITLE", &title(directions, "Envoy"))
        .replace("VARIABLES", &variables.join("=... "))
        .replace("# LISTENERS\n", &directions.iter().map(listener).collect::<Vec<_>>().join("\n"))
        .replace("# CLUSTERS\n", &clusters.join("\n"))
}

/// Istio manifests.
fn for_istio(directions: &[&Direction]) -> String {
    let extension = |direction: &&Direction| {
        // Without the key, Istio's name of the cluster is the default.
        let document = direction.document.lines().filter(|line| !line.contains("# CLUSTER"));
        let document = document.collect::<Vec<_>>().join("\n");
        include_str!("new/extension.yaml")
            .replace("# DOCUMENT\n", &indented(&document, 6))
            .replace("DIRECTION", direction.name)
            .replace("# PHASE\n", direction.phase)
            .replace("MODE", direction.mode)
            .replace("VARIABLE", direction.variable)
            .replace("VERSION", env!("CARGO_PKG_VERSION"))
    };
    let extensions: String = directions.iter().map(extension).collect();
    include_str!("new/istio.yaml").replace("TITLE", &title(directions, "The sidecar")) + &extensions
}

/// The indented lines.
fn indented(text: &str, spaces: usize) -> String {
    let spaces = " ".repeat(spaces);
    text.lines().fold(String::new(), |text, line| text + &spaces + line + "\n")
}
