//! `bench`: measures the filter beside what people use instead, and writes `tests/bench/RESULTS.md`.
//!
//! | module | is |
//! | --- | --- |
//! | [`variants`], [`filters`] | what is compared |
//! | [`proxy`], [`cores`] | a running Envoy with a core of its own |
//! | [`server`], [`authorization`], [`sidecar`], [`tokens`] | whom proxies ask, and about what |
//! | [`rounds`], [`wrk`] | as many requests as a proxy can bear, in interleaved rounds |
//! | [`fixed_rate`], [`open_loop`], [`pacing`], [`connection`], [`request`] | latency at a fixed rate |
//! | [`kept`], [`misses`], [`stalls`] | memory of kept answers; what asking adds, and the machine |
//! | `equivalence` (tests) | that what is compared does the same |
//! | [`statistics`], [`goals`], [`results`], [`performance`], [`machine`] | what comes of it |
//!
//! Every proxy is up all the time, on one core, and stopped while it is another's turn; load,
//! servers and service are on the other cores.

mod authorization;
mod connection;
mod cores;
#[cfg(test)]
mod equivalence;
mod filters;
mod fixed_rate;
mod goals;
mod kept;
mod machine;
mod misses;
mod open_loop;
mod options;
mod pacing;
mod performance;
mod proxy;
mod request;
mod results;
mod rounds;
mod server;
mod sidecar;
mod stalls;
mod statistics;
mod tokens;
mod variants;
mod wrk;

use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lexopt::Parser;
use oauth2_filter_testbed::process::interrupted;
use oauth2_filter_testbed::{open_files, workspace};
use tokio::select;

use authorization::AuthorizationServer;
use cores::Cores;
use fixed_rate::Latencies;
use machine::Machine;
use options::{MEMORY, MISSES, Options};
use proxy::{Proxy, Surroundings};
use results::{Measured, Results};
use rounds::{Loaded, Samples};
use sidecar::Sidecar;
use stalls::Stalls;
use tokens::Tokens;
use variants::Variant;
use wrk::Wrk;

/// A value, or why there is none.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    select! {
        biased;
        // What runs by then ends with its handle, after the turn at hand.
        () = interrupted() => ExitCode::from(INTERRUPTED),
        outcome = bench() => match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

async fn bench() -> Outcome<()> {
    let options = Options::parse(Parser::from_env())?;
    let cores = Cores::of_this_process()?;
    let wrk = Wrk::new()?;
    open_files::allow_many();
    eprintln!("== signing {TOKENS} tokens");
    let tokens = Arc::new(Tokens::sign(TOKENS)?);
    // All that is started from here on is on these cores, but for the proxies.
    cores.to_others()?;
    let machine = Machine::here(1 + cores.others.len())?;
    let surroundings = Surroundings::new(cores, tokens).await?;
    let (proxies, samples, latencies) = loads(&options, &surroundings, &wrk).await?;
    let mut kept = Vec::new();
    if options.has(MEMORY) {
        eprintln!("== memory of {TOKENS} kept answers");
        let server = AuthorizationServer::start(surroundings.tokens.clone(), Duration::ZERO)?;
        for variant in FILLED.into_iter().filter_map(variants::named) {
            kept.push(kept::measure(variant, &surroundings, server.address).await?);
        }
    }
    let mut misses = Vec::new();
    let mut stalls = Stalls::default();
    if options.has(MISSES) {
        stalls = stalls::measure(&surroundings.cores)?;
        for delay in DELAYS {
            misses.extend(misses::measure(&surroundings, delay).await?);
        }
    }
    let mut goals = goals::of_rounds(&samples);
    goals.extend(goals::of_memory(&kept));
    goals.extend(goals::of_misses(&misses));
    goals.push(goals::of_module(&workspace().join("target/oauth2_filter.wasm"))?);
    let rounds = (options.rounds, options.seconds);
    let results =
        Results { machine, rounds, proxies, samples, latencies, kept, misses, stalls, goals };
    publish(&results.page(), &options)
}

/// The rounds and the latencies of all proxies that were chosen.
async fn loads(
    options: &Options,
    surroundings: &Surroundings,
    wrk: &Wrk,
) -> Outcome<(Vec<Measured>, Samples, Latencies)> {
    let Surroundings { cores, tokens, .. } = surroundings;
    let mut variants = variants::chosen(&options.only);
    if variants.iter().any(Variant::has_sidecar) && !Sidecar::can_run() {
        eprintln!("== no Node.js, so no sidecar of ext_authz");
        variants.retain(|variant| !variant.has_sidecar());
    }
    if variants.is_empty() {
        return Ok((Vec::new(), Samples::new(), Latencies::new()));
    }
    let server = AuthorizationServer::start(tokens.clone(), Duration::ZERO)?;
    eprintln!("== starting {} proxies", variants.len());
    let mut proxies = Vec::new();
    for variant in &variants {
        let proxy = Proxy::start(*variant, surroundings, server.address, 1).await?;
        proxy.wait_for_turn()?;
        proxies.push(proxy);
    }
    eprintln!("== sending every token once");
    let (mut loaded, mut with_requests) = (Vec::new(), Vec::new());
    for proxy in &proxies {
        let own = &tokens.all()[..proxy.variant.tokens];
        loaded.push(Loaded { proxy, tokens: wrk.tokens(own)? });
        let requests = own.iter().map(|token| request::with_token(token)).collect();
        with_requests.push((proxy, requests));
    }
    fixed_rate::warm_up(&with_requests).await?;
    let samples = rounds::run(&loaded, wrk, cores, options.rounds, options.seconds).await?;
    let latencies = fixed_rate::measure(&with_requests, options.seconds).await?;
    let mut measured = Vec::new();
    for proxy in &proxies {
        let Proxy { variant, .. } = *proxy;
        let calls = server.calls(variant.name);
        let _turn = proxy.turn()?;
        measured.push(Measured { variant, calls, memory: proxy.memory().await? });
    }
    Ok((measured, samples, latencies))
}

/// Shows the page, and keeps it if it is of the whole.
fn publish(page: &str, options: &Options) -> Outcome<()> {
    println!("{page}");
    if !options.are_written() {
        eprintln!("== this was not the whole: nothing is written (WRITE=1 does)");
        return Ok(());
    }
    let shown = workspace().join("docs/performance.md");
    let spliced = performance::splice(&fs::read_to_string(&shown)?, page)?;
    fs::write(workspace().join("tests/bench/RESULTS.md"), page)?;
    fs::write(shown, spliced)?;
    eprintln!("== written to tests/bench/RESULTS.md and docs/performance.md");
    Ok(())
}

/// How many tokens there are.
const TOKENS: usize = 10_000;

/// The proxies that are filled with answers.
const FILLED: [&str; 3] = ["ours", "ours-full", "lua-full"];

/// How long authorization servers take.
const DELAYS: [Duration; 2] = [Duration::from_millis(2), Duration::ZERO];

/// What shells make of SIGINT.
const INTERRUPTED: u8 = 130;
