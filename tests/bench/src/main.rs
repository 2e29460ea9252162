//! `bench`: measures the filter beside what people use instead, and writes `tests/bench/RESULTS.md`.
//!
//! | module | is |
//! | --- | --- |
//! | [`variants`], [`filters`] | what is compared |
//! | [`proxy`] | a running Envoy with a core of its own |
//! | [`servers`], [`tokens`] | whom proxies ask, and about what |
//! | [`load`] | as many requests as a proxy can bear (wrk), and requests at a fixed rate |
//! | [`measure`] | throughput and latency in interleaved rounds, memory, cache misses |
//! | [`results`] | what comes of it |
//! | `equivalence` (tests) | that what is compared does the same |
//!
//! Every proxy is up all the time, on one core, and stopped while it is another's turn; load,
//! servers and service are on the other cores.

// Figures are rounded anyway.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]

#[cfg(test)]
mod equivalence;
mod filters;
mod load;
mod measure;
mod proxy;
mod results;
mod servers;
mod tokens;
mod variants;

use std::error::Error;
use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lexopt::{Arg, Parser, ValueExt};
use oauth2_filter_testbed::process::interrupted;
use oauth2_filter_testbed::{open_files, workspace};
use tokio::select;

use proxy::{Cores, Surroundings};
use results::Results;
use tokens::Tokens;

/// A value, or why there is none.
pub type Outcome<T> = Result<T, Box<dyn Error>>;

/// What of the whole is run.
#[derive(Debug)]
pub struct Options {
    /// How many rounds there are.
    pub rounds: u32,
    /// How long each proxy is loaded in each.
    pub seconds: u32,
    /// The variants and parts that are run; empty for all.
    pub only: Vec<String>,
    /// Whether `RESULTS.md` is written though less than the whole was run.
    write: bool,
}

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
    open_files::allow_many();
    eprintln!("== signing {TOKENS} tokens");
    let tokens = Arc::new(Tokens::sign(TOKENS)?);
    // All that is started from here on is on these cores, but for the proxies.
    cores.to_others()?;
    let surroundings = Surroundings::new(cores, tokens).await?;
    let mut results = Results::new(&options)?;
    results.proxies = measure::proxies(&options, &surroundings).await?;
    if options.has(MEMORY) {
        for name in FILLED {
            results.memory.push(measure::memory(name, &surroundings).await?);
        }
    }
    if options.has(MISSES) {
        for delay in DELAYS {
            results.misses.extend(measure::misses(&surroundings, delay).await?);
        }
    }
    let page = results.page();
    println!("{page}");
    if !options.are_written() {
        eprintln!("== partial run: the results are not written (WRITE=1 writes them)");
        return Ok(());
    }
    let shown = workspace().join("docs/performance.md");
    let spliced = results::splice(&fs::read_to_string(&shown)?, &page)?;
    fs::write(workspace().join("tests/bench/RESULTS.md"), page)?;
    fs::write(shown, spliced)?;
    eprintln!("== written to tests/bench/RESULTS.md and docs/performance.md");
    Ok(())
}

impl Options {
    fn parse(mut parser: Parser) -> Outcome<Self> {
        let mut options = Self { rounds: 9, seconds: 2, only: Vec::new(), write: false };
        while let Some(argument) = parser.next()? {
            match argument {
                Arg::Long("rounds") => options.rounds = parser.value()?.parse()?,
                Arg::Long("seconds") => options.seconds = parser.value()?.parse()?,
                Arg::Long("only") => {
                    let names = parser.value()?.string()?;
                    options.only = names.split(',').map(str::to_owned).collect();
                }
                Arg::Long("write") => options.write = true,
                other => return Err(other.unexpected().into()),
            }
        }
        if options.rounds == 0 || options.seconds == 0 {
            return Err("rounds and seconds must be at least 1".into());
        }
        let names = variants::ALL.iter().map(|variant| variant.name).chain([MEMORY, MISSES]);
        let names: Vec<&str> = names.collect();
        match options.only.iter().find(|name| !names.contains(&name.as_str())) {
            Some(name) => {
                Err(format!("unknown variant or part {name}; known: {}", names.join(", ")).into())
            }
            None => Ok(options),
        }
    }

    /// Whether a part is run.
    fn has(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == part)
    }

    /// Whether the results are those of the whole, or are to be taken for that.
    fn are_written(&self) -> bool {
        self.write || (self.rounds >= 9 && self.seconds >= 2 && self.only.is_empty())
    }
}

/// Parts of the whole that are no variants.
const MEMORY: &str = "memory";
const MISSES: &str = "misses";

/// How many tokens there are.
const TOKENS: usize = 10_000;

/// The proxies that are filled with cached responses.
const FILLED: [&str; 3] = ["ours", "ours-full", "lua-full"];

/// How long authorization servers take.
const DELAYS: [Duration; 2] = [Duration::from_millis(2), Duration::ZERO];

/// What shells make of SIGINT.
const INTERRUPTED: u8 = 130;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_is_written_unless_that_is_asked_for() {
        let written = |arguments: &[&str]| {
            Options::parse(Parser::from_args(arguments)).expect("options").are_written()
        };
        assert!(written(&[]) && written(&["--rounds", "20"]));
        assert!(!written(&["--rounds", "8"]) && !written(&["--only", "ours,memory"]));
        assert!(written(&["--seconds", "1", "--write"]));
        let error = Options::parse(Parser::from_args(["--only", "hours"])).unwrap_err();
        assert!(
            error.to_string().starts_with("unknown variant or part hours; known: plain, "),
            "{error}"
        );
    }
}
