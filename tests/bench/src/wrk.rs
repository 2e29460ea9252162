//! wrk: as many requests as eight connections take.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use oauth2_filter_testbed::workspace;
use rustix::param::clock_ticks_per_second;
use tempfile::TempDir;

use crate::{Outcome, request};

/// How many connections there are.
const CONNECTIONS: &str = "8";

/// The load: wrk with its files.
#[derive(Debug)]
pub struct Wrk {
    directory: TempDir,
}

/// What a run has come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Run {
    /// Requests that were answered.
    pub requests: u64,
    /// How long it took.
    pub seconds: f64,
    /// How much of that time wrk itself ran.
    pub cpu: f64,
}

impl Wrk {
    /// Checks that wrk is there, and writes the files that its script reads.
    pub fn new() -> Outcome<Self> {
        // Asked for its version, it says so and fails.
        Command::new("wrk")
            .arg("--version")
            .output()
            .map_err(|error| format!("wrk does not run ({error}). Debian: apt-get install wrk"))?;
        let directory = TempDir::with_prefix("bench-")?;
        fs::write(directory.path().join(HEAD), request::head())?;
        Ok(Self { directory })
    }

    /// Writes a file of tokens.
    pub fn tokens(&self, tokens: &[String]) -> Outcome<PathBuf> {
        let path = self.directory.path().join(format!("tokens-{}", tokens.len()));
        fs::write(&path, tokens.join("\n"))?;
        Ok(path)
    }

    /// Sends requests with these tokens for so many seconds.
    pub fn run(&self, address: SocketAddr, tokens: &Path, seconds: u32) -> Outcome<Run> {
        let before = children_time()?;
        let output = Command::new("wrk")
            .args(["--threads", "1", "--connections", CONNECTIONS])
            .args(["--duration", &format!("{seconds}s"), "--timeout", "5s", "--script"])
            .arg(workspace().join("tests/bench/lua/load.lua"))
            .args([&format!("http://{address}/"), "--"])
            .arg(self.directory.path().join(HEAD))
            .arg(tokens)
            .output()?;
        let cpu = children_time()? - before;
        let text = String::from_utf8_lossy(&output.stdout);
        let run = parse(&text).map(|run| Run { cpu, ..run });
        run.and_then(|run| run.whole(seconds)).map_err(|error| {
            let errors = String::from_utf8_lossy(&output.stderr);
            format!("{error} ({})\n{text}{errors}", output.status).into()
        })
    }
}

impl Run {
    /// This run, if it lasted for as long as it should.
    fn whole(self, seconds: u32) -> Result<Self, String> {
        if self.requests == 0 {
            return Err("wrk: nothing was answered".to_owned());
        }
        if self.seconds < 0.95 * f64::from(seconds) {
            return Err(format!("wrk: a short run, {} of {seconds} seconds", self.seconds));
        }
        Ok(self)
    }
}

/// Reads the line of the script.
fn parse(output: &str) -> Result<Run, String> {
    let line = output.lines().find_map(|line| line.strip_prefix("bench "));
    let line = line.ok_or("wrk ended without its figures")?;
    let fields = line.split(' ').filter_map(|field| {
        let (name, value) = field.split_once('=')?;
        Some((name, value.parse::<u64>().ok()?))
    });
    let (mut requests, mut microseconds) = (None, None);
    for (name, value) in fields {
        match name {
            "requests" => requests = Some(value),
            "microseconds" => microseconds = Some(value),
            "status" if value > 0 => return Err(format!("wrk: {value} answers were refusals")),
            _ if value > 0 => return Err(format!("wrk: {value} errors of the kind {name}")),
            _ => {}
        }
    }
    let (Some(requests), Some(microseconds)) = (requests, microseconds) else {
        return Err(format!("wrk: figures are missing: {line}"));
    };
    Ok(Run { requests, seconds: microseconds as f64 / 1e6, cpu: 0.0 })
}

/// How many seconds the children of this process have run that have ended.
fn children_time() -> Outcome<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let ticks = children_ticks(&stat).ok_or("the kernel does not tell the time of children")?;
    Ok(ticks as f64 / clock_ticks_per_second() as f64)
}

/// `cutime` and `cstime`; the name of the program, in brackets, may hold anything.
fn children_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(13).map(|field| field.parse::<u64>().ok());
    Some(times.next()?? + times.next()??)
}

const HEAD: &str = "head";

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "Running 2s test @ http://127.0.0.1:1/\n  1 threads and 8 connections\n\
        bench requests=50021 microseconds=2000133 connect=0 read=0 write=0 status=0 timeout=0\n";

    #[test]
    fn the_figures_are_read() {
        let run = Run { requests: 50_021, seconds: 2.000_133, cpu: 0.0 };
        assert_eq!(parse(OUTPUT), Ok(run));
        assert_eq!(run.whole(2), Ok(run));
    }

    #[test]
    fn a_refusal_or_an_error_fails_the_run() {
        for (kind, said) in [
            ("status", "wrk: 3 answers were refusals"),
            ("timeout", "wrk: 3 errors of the kind timeout"),
            ("connect", "wrk: 3 errors of the kind connect"),
        ] {
            let output = OUTPUT.replace(&format!("{kind}=0"), &format!("{kind}=3"));
            assert_eq!(parse(&output), Err(said.to_owned()));
        }
    }

    #[test]
    fn a_run_that_was_cut_off_or_says_nothing_fails() {
        assert!(parse("Running 2s test").is_err());
        assert!(parse("bench requests=1").is_err());
        assert!(Run { requests: 9, seconds: 1.8, cpu: 0.0 }.whole(2).is_err());
        assert!(Run { requests: 0, seconds: 2.0, cpu: 0.0 }.whole(2).is_err());
    }

    #[test]
    fn the_time_of_children_is_read_whatever_the_program_is_called() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 90 80 0 0 11 12 30 5 20 0 1 0 99";
        assert_eq!(children_ticks(stat), Some(35));
        assert_eq!(children_ticks("7 (a) S 1"), None);
    }
}
