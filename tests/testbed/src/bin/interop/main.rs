//! Plays both directions of the filter against authorization servers of others. Each is installed,
//! started on loopback ports, and stopped in the end.

mod django_oauth_toolkit;
mod glewlwyd;
mod inbound;
mod oidc_provider;
mod outbound;
mod world;

use std::{pin::Pin, process::ExitCode};

use oauth2_filter_testbed::process::interrupted;
use tokio::select;

use self::{
    inbound::Guard,
    world::{Documents, Outcome, Setup, World},
};

/// The servers.
const SERVERS: [Server; 3] =
    [oidc_provider::SERVER, glewlwyd::SERVER, django_oauth_toolkit::SERVER];

/// An authorization server that is not ours; `tests/interop/FOLDER/server.sh` installs and starts it.
struct Server {
    /// Its name and version.
    name: &'static str,
    folder: &'static str,
    /// The paths of its endpoints.
    token: &'static str,
    introspection: &'static str,
    revocation: &'static str,
    /// What a request for a token has besides.
    parameters: &'static [(&'static str, &'static str)],
    /// The client with which a user gets tokens.
    user: (&'static str, &'static str),
    /// A client that is configured with a user's refresh token.
    refresher: Option<(&'static str, &'static str)>,
    /// Whether `/stats` and `/grants` tell what it was asked.
    tells: bool,
    /// Documents of the proxy that guards a service.
    guards: fn(&Setup) -> Documents,
    /// Documents of the proxy that gets tokens.
    clients: fn(&Setup) -> Documents,
    /// Its inbound steps, beside those of all servers.
    inbound: &'static [Guard],
    /// All other steps.
    steps: for<'a> fn(&'a World, &'a mut Report) -> Boxed<'a>,
}

type Boxed<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// The steps with a server so far.
#[derive(Default)]
struct Report {
    steps: usize,
    failures: usize,
}

impl Report {
    async fn step(&mut self, title: &str, step: impl Future<Output = Outcome>) {
        self.steps += 1;
        match step.await {
            Ok(()) => println!("   ok      {title}"),
            Err(error) => {
                self.failures += 1;
                println!("   FAILED  {title}: {error}");
            }
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let all = async {
        let mut summary = Vec::new();
        for server in &SERVERS {
            println!("{}", server.name);
            let outcome = visit(server).await.unwrap_or_else(|error| format!("FAILED: {error}"));
            summary.push(format!("{}: {outcome}", server.name));
            println!();
        }
        summary
    };
    let summary = select! {
        biased;
        () = interrupted() => return ExitCode::from(INTERRUPTED),
        summary = all => summary,
    };
    println!("Summary\n   {}", summary.join("\n   "));
    let any = |wanted: &str| summary.iter().any(|line| line.contains(wanted));
    if any("as expected") && !any("FAILED") { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// How it went with a server.
async fn visit(server: &'static Server) -> Outcome<String> {
    let installed = world::script(server, "install", &world::folder(server)?).status()?;
    if !installed.success() {
        return Ok("NOT RUN: it cannot be installed".to_owned());
    }
    let world = World::start(server).await?;
    let mut report = Report::default();
    inbound::play(&world, &mut report).await;
    (server.steps)(&world, &mut report).await;
    let Report { steps, failures } = report;
    if failures == 0 {
        return Ok(format!("all {steps} steps as expected"));
    }
    println!("{}", world.logs());
    Ok(format!("FAILED: {failures} of {steps} steps"))
}

/// What shells make of SIGINT.
const INTERRUPTED: u8 = 130;
