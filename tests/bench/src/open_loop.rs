//! A load at a fixed rate. Each request has a time at which it is due, and its latency counts from
//! then: what one slow answer does to those behind it is not left out.

use std::net::SocketAddr;
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::Outcome;
use crate::connection::Connection;
use crate::pacing::{Schedule, sleep_until, wake_at_once};

/// A load.
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
    /// How many of the requests do not count: those at the beginning meet a proxy, and a kernel,
    /// that have been idle.
    pub lead: usize,
}

impl OpenLoop<'_> {
    /// Sends the requests: how many microseconds each took that counts. Any answer but 200 is an error.
    pub fn run(&self, requests: &[&str]) -> Outcome<Vec<f64>> {
        self.run_from(|| Instant::now() + Duration::from_millis(20), requests)
    }

    /// The same; `start` says, once all connections are open, when the first request is due.
    fn run_from(&self, start: impl Fn() -> Instant, requests: &[&str]) -> Outcome<Vec<f64>> {
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            let mut connection = Connection::open(self.address)?;
            connection.exchange(self.first)?;
            connections.push(connection);
        }
        let schedule = Schedule { start: start(), rate: self.rate, connections: connections.len() };
        thread::scope(|scope| {
            let threads: Vec<_> = connections
                .into_iter()
                .enumerate()
                .map(|(place, connection)| {
                    let own = requests.iter().skip(place).step_by(self.connections);
                    let uncounted = self.lead.saturating_sub(place).div_ceil(self.connections);
                    scope.spawn(move || {
                        let latencies = take_turns(connection, place, schedule, own)?;
                        io::Result::Ok(latencies.into_iter().skip(uncounted))
                    })
                })
                .collect();
            let mut latencies = Vec::new();
            for thread in threads {
                latencies.extend(thread.join().map_err(|_| "a thread of the load panicked")??);
            }
            Ok(latencies)
        })
    }
}

/// What one connection does.
fn take_turns<'a>(
    mut connection: Connection,
    place: usize,
    schedule: Schedule,
    requests: impl Iterator<Item = &'a &'a str>,
) -> io::Result<Vec<f64>> {
    wake_at_once();
    let exchange = |(number, request): (usize, &&str)| {
        let due = schedule.due(place, number);
        sleep_until(due);
        connection.exchange(request)?;
        Ok(due.elapsed().as_secs_f64() * 1e6)
    };
    requests.enumerate().map(exchange).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::server;

    #[test]
    fn a_latency_counts_from_when_the_request_was_due() {
        let address = server::serve(|_| (200, String::new())).expect("a free port");
        let quick = "GET / HTTP/1.1\r\n\r\n";
        let load = OpenLoop { address, rate: 10, connections: 1, first: quick, lead: 1 };
        // As if something had been slow for a minute: all of them are late, each by less.
        let minute_ago = || Instant::now().checked_sub(Duration::from_mins(1)).expect("uptime");
        let latencies = load.run_from(minute_ago, &[quick; 3]).expect("all are answered");
        // The first does not count.
        let [second, third] = latencies[..] else { panic!("{latencies:?}") };
        assert!(second >= 60e6 - 1e5 && third >= 60e6 - 2e5, "{latencies:?}");
    }

    #[test]
    fn every_request_is_sent_once_and_a_refusal_is_an_error() {
        let seen = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&seen);
        let address = server::serve(move |request| {
            count.fetch_add(1, Ordering::Relaxed);
            (if request.path == "/bad" { 401 } else { 200 }, String::new())
        });
        let load = OpenLoop {
            address: address.expect("a free port"),
            rate: 10_000,
            connections: 3,
            first: "GET /first HTTP/1.1\r\n\r\n",
            lead: 10,
        };
        let latencies = load.run(&["GET / HTTP/1.1\r\n\r\n"; 100]).expect("all are answered");
        assert_eq!((latencies.len(), seen.load(Ordering::Relaxed)), (90, 103));
        let error = load.run(&["GET /bad HTTP/1.1\r\n\r\n"]).expect_err("a refusal");
        assert!(error.to_string().contains("401"), "{error}");
    }
}
