//! Loads. wrk sends as many requests as eight connections take. The other has a fixed rate: each
//! request has a time at which it is due, and its latency counts from then, so what one slow answer
//! does to those behind it is not left out.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use oauth2_filter_testbed::workspace;
use rustix::thread::set_current_timer_slack;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::Outcome;

/// How many requests were answered, and in how many seconds.
pub type Run = (f64, f64);

/// wrk with the files that its script reads.
#[derive(Debug)]
pub struct Wrk(TempDir);

impl Wrk {
    /// Writes the head of the requests.
    pub fn new() -> Outcome<Self> {
        let directory = TempDir::with_prefix("bench-")?;
        fs::write(directory.path().join("head"), FIELDS)?;
        Ok(Self(directory))
    }

    /// Writes the file of a proxy's tokens.
    pub fn tokens(&self, proxy: &str, tokens: &[String]) -> Outcome<PathBuf> {
        let path = self.0.path().join(format!("tokens-{proxy}"));
        fs::write(&path, tokens.join("\n"))?;
        Ok(path)
    }

    /// Sends requests with these tokens for so many seconds. Any answer but 200 is an error.
    pub fn run(&self, address: SocketAddr, tokens: &Path, seconds: u32) -> Outcome<Run> {
        let output = Command::new("wrk")
            .args(["--threads", "1", "--connections", "8", "--timeout", "5s"])
            .args(["--duration", &format!("{seconds}s"), "--script"])
            .arg(workspace().join("tests/bench/lua/load.lua"))
            .args([&format!("http://{address}/"), "--"])
            .args([&self.0.path().join("head"), tokens])
            .output()
            .map_err(|error| format!("failed to run wrk ({error}). Debian: apt-get install wrk"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        parse(&text, seconds).map_err(|error| format!("wrk: {error}\n{text}").into())
    }
}

/// Reads the line of the script: requests, microseconds, and the errors in connecting, reading and
/// writing, of statuses, and of answers that came too late.
fn parse(output: &str, seconds: u32) -> Result<Run, String> {
    let line = output.lines().find_map(|line| line.strip_prefix("bench "));
    let figures: Value = serde_json::from_str(line.unwrap_or_default())
        .map_err(|error| format!("no figures ({error})"))?;
    let [requests, microseconds] = ["requests", "microseconds"].map(|name| figures[name].as_f64());
    let (requests, took) = requests.zip(microseconds).ok_or("figures are missing")?;
    if figures["errors"] != json!([0, 0, 0, 0, 0]) || requests == 0.0 {
        return Err(format!("errors, or no responses: {figures}"));
    }
    if took / 1e6 < 0.95 * f64::from(seconds) {
        return Err(format!("the run was too short: {figures}"));
    }
    Ok((requests, took / 1e6))
}

/// Latencies in nanoseconds.
pub type Latencies = Histogram<u64>;

/// A load at a fixed rate.
#[derive(Clone, Copy, Debug)]
pub struct OpenLoop<'a> {
    /// Where requests go.
    pub address: SocketAddr,
    /// Requests a second.
    pub rate: u32,
    /// The number of connections that take turns.
    pub connections: usize,
    /// What goes over each connection before, uncounted.
    pub first: &'a str,
}

impl OpenLoop<'_> {
    /// Sends the requests. Those of the first quarter of a second do not count: they meet a proxy,
    /// and a kernel, that have been idle. Any answer but 200 is an error.
    pub fn run(&self, requests: &[&str]) -> Outcome<Latencies> {
        self.run_from(|| Instant::now() + Duration::from_millis(20), requests)
    }

    /// The same; `start` says, once all connections are open, when the first request is due.
    fn run_from(&self, start: impl Fn() -> Instant, requests: &[&str]) -> Outcome<Latencies> {
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            let mut connection = Connection::open(self.address)?;
            connection.exchange(self.first)?;
            connections.push(connection);
        }
        let start = start();
        let take_turns = |place: usize, mut connection: Connection| {
            wake_at_once();
            let mut latencies = histogram();
            for (number, request) in
                requests.iter().enumerate().skip(place).step_by(self.connections)
            {
                let due = start + Duration::from_secs_f64(number as f64 / f64::from(self.rate));
                thread::sleep(due.saturating_duration_since(Instant::now()));
                connection.exchange(request)?;
                if number >= self.lead() {
                    latencies.saturating_record(due.elapsed().as_nanos() as u64);
                }
            }
            io::Result::Ok(latencies)
        };
        thread::scope(|scope| {
            let threads: Vec<_> = connections
                .into_iter()
                .enumerate()
                .map(|(place, connection)| scope.spawn(move || take_turns(place, connection)))
                .collect();
            let mut latencies = histogram();
            for thread in threads {
                latencies.add(thread.join().map_err(|_| "a thread of the load panicked")??)?;
            }
            Ok(latencies)
        })
    }

    /// How many requests do not count.
    pub const fn lead(&self) -> usize {
        self.rate as usize / 4
    }
}

/// No latencies; each is kept with three significant digits, up to ten minutes.
pub fn histogram() -> Latencies {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("bounds")
}

/// Has this thread wake up when its time has come: the kernel's habit is up to 50 µs later.
pub fn wake_at_once() {
    let _ = set_current_timer_slack(NonZeroU64::new(1));
}

/// A keep-alive HTTP/1.1 connection that blocks.
#[derive(Debug)]
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Opens it.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a whole request and reads the whole answer; any but 200 is an error.
    pub fn exchange(&mut self, request: &str) -> io::Result<()> {
        self.0.get_mut().write_all(request.as_bytes())?;
        let (mut head, mut end) = (String::new(), 0);
        while self.0.read_line(&mut head)? > 2 {
            end = head.len();
        }
        let length = head[..end].lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let status = head.lines().next().unwrap_or_default();
        let bad = || {
            io::Error::new(io::ErrorKind::InvalidData, format!("unexpected response: {status:?}"))
        };
        io::copy(&mut self.0.by_ref().take(length.ok_or_else(bad)?), &mut io::sink())?;
        if status.split(' ').nth(1) == Some("200") { Ok(()) } else { Err(bad()) }
    }
}

/// The one request that every proxy gets, with this token.
pub fn request(token: &str) -> String {
    format!("{FIELDS}Authorization: Bearer {token}\r\n\r\n")
}

/// Its head without the token, and without its end: a browser's fields, as services see them.
const FIELDS: &str = "GET /orders/1234 HTTP/1.1\r\nHost: orders.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: application/json, text/plain, */*\r\n\
    Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Cache-Control: no-cache\r\n\
    Cookie: session=4f2c1d0e9b8a7f6e5d4c3b2a19080706; theme=dark\r\n\
    Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::servers::AuthorizationServer;
    use crate::tokens::Tokens;

    #[test]
    fn a_latency_counts_from_when_the_request_was_due_and_a_rejection_is_an_error() {
        let tokens = Arc::new(Tokens::sign(1).expect("a token"));
        let server = AuthorizationServer::start(Arc::clone(&tokens), Duration::ZERO);
        let server = server.expect("a free port");
        let good: &str = &format!(
            "GET /authorize/a HTTP/1.1\r\nauthorization: Bearer {}\r\n\r\n",
            tokens.all[0]
        );
        let load = OpenLoop { address: server.address, rate: 10, connections: 1, first: good };
        // As if something had been slow for a minute: all of them are late. Two do not count.
        let minute_ago = || Instant::now().checked_sub(Duration::from_mins(1)).expect("uptime");
        let latencies = load.run_from(minute_ago, &[good; 4]).expect("all are answered");
        assert_eq!((latencies.len(), server.calls("a")), (2, 5));
        assert!(latencies.min() > 59_000_000_000, "{}", latencies.min());
        let error = load.run(&["GET /authorize/a HTTP/1.1\r\n\r\n"]).expect_err("a rejection");
        assert!(error.to_string().contains("401"), "{error}");
    }

    #[test]
    fn an_error_fails_a_run_and_so_does_a_short_one() {
        let good =
            r#"bench {"requests": 50021, "microseconds": 2000133, "errors": [0, 0, 0, 0, 0]}"#;
        assert_eq!(parse(good, 2), Ok((50_021.0, 2.000_133)));
        parse(&good.replace("0]", "3]"), 2).unwrap_err();
        parse("", 2).unwrap_err();
        parse(good, 3).unwrap_err();
    }
}
