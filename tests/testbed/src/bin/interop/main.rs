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

use self::world::{Outcome, World};

/// The folders of `tests/interop`, and the steps that are not in their tables.
const SERVERS: [(&str, Steps); 3] = [
    ("oidc-provider", oidc_provider::steps),
    ("glewlwyd", glewlwyd::steps),
    ("django-oauth-toolkit", django_oauth_toolkit::steps),
];

/// Plays steps.
type Steps = for<'a> fn(&'a World, &'a mut Report) -> Boxed<'a>;

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
        for (folder, steps) in SERVERS {
            println!("{folder}");
            let outcome = visit(folder, steps).await;
            let outcome = outcome.unwrap_or_else(|error| format!("{folder}: FAILED: {error}"));
            summary.push(outcome);
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
async fn visit(folder: &str, steps: Steps) -> Outcome<String> {
    if !world::script(folder, "install")?.status()?.success() {
        return Ok(format!("{folder}: NOT RUN: it cannot be installed"));
    }
    let world = World::start(folder).await?;
    let mut report = Report::default();
    inbound::play(&world, &mut report).await;
    steps(&world, &mut report).await;
    let Report { steps, failures } = report;
    let name = world.setup.text("name");
    if failures == 0 {
        return Ok(format!("{name}: all {steps} steps as expected"));
    }
    println!("{}", world.logs());
    Ok(format!("{name}: FAILED: {failures} of {steps} steps"))
}

/// What shells make of SIGINT.
const INTERRUPTED: u8 = 130;
