//! Plays both directions of the filter against authorization servers of others. Each is installed,
//! started on loopback ports, and stopped in the end.

mod django_oauth_toolkit;
mod glewlwyd;
mod inbound;
mod jwt;
mod keycloak;
mod load;
mod oidc_provider;
mod outage;
mod outbound;
mod rows;
mod server;
mod user;
mod world;

use std::{env, pin::Pin, process::ExitCode};

use oauth2_filter_testbed::process::interrupted;
use tokio::select;

use self::world::{Outcome, World};

/// The folders of `tests/interop`, and the steps that are not in their tables.
const SERVERS: [(&str, Steps); 7] = [
    ("oidc-provider", oidc_provider::steps),
    ("glewlwyd", glewlwyd::steps),
    ("django-oauth-toolkit", django_oauth_toolkit::steps),
    ("keycloak", keycloak::steps),
    ("hydra", table_steps),
    ("spring", table_steps),
    ("zitadel", table_steps),
];

/// Plays steps.
type Steps = for<'a> fn(&'a World, &'a mut Report) -> Boxed<'a>;

type Boxed<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// The steps with a server so far.
#[derive(Clone, Copy, Default)]
struct Report {
    steps: usize,
    failures: usize,
}

/// What came of a visit.
enum Visit {
    /// It cannot be installed.
    NotRun,
    /// It did not start, or its steps could not be played.
    Broken(String),
    /// All steps were played, with the server of this name.
    Played(String, Report),
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

/// The steps of servers whose tables say it all.
fn table_steps<'a>(world: &'a World, report: &'a mut Report) -> Boxed<'a> {
    Box::pin(async move {
        rows::play(world, report, "outbound", &world.client).await;
    })
}

#[tokio::main]
async fn main() -> ExitCode {
    let wanted: Vec<_> = env::args().skip(1).collect();
    let known = |name: &String| SERVERS.iter().any(|(folder, _)| folder == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        let all = SERVERS.map(|(folder, _)| folder).join(", ");
        eprintln!("error: there is no server {unknown}; there are {all}");
        return ExitCode::FAILURE;
    }
    let servers = SERVERS
        .iter()
        .filter(|(folder, _)| wanted.is_empty() || wanted.iter().any(|name| name == folder));
    let all = async {
        let mut visits = Vec::new();
        for (folder, steps) in servers {
            println!("{folder}");
            let visit = visit(folder, *steps).await;
            visits.push((folder, visit.unwrap_or_else(|error| Visit::Broken(error.to_string()))));
            println!();
        }
        visits
    };
    let visits = select! {
        biased;
        () = interrupted() => return ExitCode::from(INTERRUPTED),
        visits = all => visits,
    };
    println!("Summary");
    let (mut passed, mut failed) = (0, 0);
    for (folder, visit) in visits {
        match visit {
            Visit::NotRun => println!("   {folder}: NOT RUN: it cannot be installed"),
            Visit::Broken(error) => {
                failed += 1;
                println!("   {folder}: FAILED: {error}");
            }
            Visit::Played(name, Report { steps, failures }) => {
                passed += steps - failures;
                failed += failures;
                println!("   {name}: {} of {steps} steps as expected", steps - failures);
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if passed > 0 && failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays all steps with a server.
async fn visit(folder: &str, steps: Steps) -> Outcome<Visit> {
    if !server::script(folder, "install")?.status()?.success() {
        return Ok(Visit::NotRun);
    }
    let world = World::start(folder).await?;
    let mut report = Report::default();
    inbound::play(&world, &mut report).await;
    jwt::play(&world, &mut report).await;
    steps(&world, &mut report).await;
    world.show_logs(report.failures > 0);
    if !world.setup.table["clients"]["outage"].is_null() {
        let before = report.failures;
        outage::play(&world, &mut report).await;
        world.show_logs(report.failures > before);
    }
    Ok(Visit::Played(world.setup.text("name").to_owned(), report))
}

/// What shells make of SIGINT.
const INTERRUPTED: u8 = 130;
