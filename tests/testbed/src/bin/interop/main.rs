//! Plays the demo's story, and some more, against authorization servers that are not ours: the
//! filter asks them about tokens, and then gets tokens from them. It installs them, starts them on
//! loopback ports, and stops them in the end.

mod child;
mod django_oauth_toolkit;
mod glewlwyd;
mod oidc_provider;
mod outbound;
mod stage;

use std::{net::SocketAddr, process::ExitCode};

use oauth2_filter_testbed::{
    process::{end_of_log, interrupted},
    story::{self, Page, Server},
};
use serde_json::Value;
use tokio::select;

use self::{
    child::Child, django_oauth_toolkit::DjangoOauthToolkit, glewlwyd::Glewlwyd,
    oidc_provider::OidcProvider, outbound::Outbound, stage::Stage,
};

#[tokio::main]
async fn main() -> ExitCode {
    let visits = async {
        [
            visit(OidcProvider::default()).await,
            visit(Glewlwyd).await,
            visit(DjangoOauthToolkit).await,
        ]
    };
    let visits = select! {
        biased;
        () = interrupted() => {
            println!();
            return ExitCode::from(INTERRUPTED);
        }
        visits = visits => visits,
    };
    let mut page = Page::of_terminal();
    page.title("Summary");
    for Visit { name, outcome } in &visits {
        page.line(&match outcome {
            Outcome::Right(steps) => format!("{name}: all {steps} steps as expected"),
            Outcome::Wrong(what) => format!("{name}: FAILED: {what}"),
            Outcome::NotRun(why) => format!("{name}: NOT RUN: {why}"),
        });
    }
    let any = |wanted: fn(&Outcome) -> bool| visits.iter().any(|visit| wanted(&visit.outcome));
    let wrong = any(|outcome| matches!(outcome, Outcome::Wrong(_)));
    let right = any(|outcome| matches!(outcome, Outcome::Right(_)));
    if right && !wrong { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// An authorization server that is not ours.
trait Foreign {
    /// Its name, with the version that is installed here.
    const NAME: &'static str;

    /// Makes sure that it is installed. An error says why it cannot be, and what helps.
    fn install(&self, page: &mut Page) -> Result<(), String>;

    /// Starts it, with its clients registered.
    async fn start(&self) -> Result<Child, String>;

    /// What a story has to know of it.
    fn server(&self, child: &Child, admin: SocketAddr) -> Server;

    /// Configurations of the filter by the name of a listener; the story's is called
    /// [`STORY`](stage::STORY).
    fn documents(&self, child: &Child) -> Vec<(&'static str, Value)>;

    /// The steps that follow the story: what is special here.
    async fn specials(&self, stage: &Stage, page: &mut Page);

    /// The steps in which the filter gets tokens from it, in an Envoy of their own.
    async fn outbound(
        &self,
        child: &Child,
        stage: &Stage,
        page: &mut Page,
    ) -> Result<Outbound, String>;
}

/// How it went with a server.
struct Visit {
    name: &'static str,
    outcome: Outcome,
}

enum Outcome {
    /// This many steps came out right.
    Right(usize),
    /// Something did not.
    Wrong(String),
    /// The server could not be installed.
    NotRun(String),
}

async fn visit<F: Foreign>(foreign: F) -> Visit {
    let mut page = Page::of_terminal();
    page.title(F::NAME);
    let outcome = match foreign.install(&mut page) {
        Ok(()) => play(&foreign, &mut page).await.unwrap_or_else(|error| {
            page.line(&error);
            Outcome::Wrong("it could not be set up".to_owned())
        }),
        Err(why) => Outcome::NotRun(why),
    };
    page.blank();
    Visit { name: F::NAME, outcome }
}

async fn play(foreign: &impl Foreign, page: &mut Page) -> Result<Outcome, String> {
    page.begin("Starting it");
    let child = foreign.start().await?;
    page.line(&format!("http://{}", child.address));
    page.begin("Starting Envoy with the filter");
    let documents = foreign.documents(&child);
    let stage = Stage::start(child.address, &documents, |admin| foreign.server(&child, admin));
    let stage = stage.await?;
    page.line(&format!("http://{}", stage.scene.envoy));
    page.blank();

    story::play(&stage.scene, page).await;
    foreign.specials(&stage, page).await;
    let outbound = foreign.outbound(&child, &stage, page).await?;
    if page.failures() == 0 {
        page.verdict();
        return Ok(Outcome::Right(page.steps()));
    }
    page.line(&end_of_log("Envoy", &stage.envoy.log()));
    page.line(&end_of_log("Envoy as a client", &outbound.envoy.log()));
    page.line(&end_of_log("the authorization server", &child.log()));
    page.blank();
    page.verdict();
    Ok(Outcome::Wrong(format!("{} of {} steps", page.failures(), page.steps())))
}

/// What shells make of SIGINT.
const INTERRUPTED: u8 = 130;
