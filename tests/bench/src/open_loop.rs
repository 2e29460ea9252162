//! A load at a fixed rate. Each request has a time at which it is due, and its latency counts from
//! then: what one slow answer does to those behind it is not left out.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

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
}

impl OpenLoop<'_> {
    /// Sends the requests: how many microseconds each took. Any answer but 200 is an error.
    pub fn run(&self, requests: &[&str]) -> Outcome<Vec<f64>> {
        let mut connections = Vec::new();
        for _ in 0..self.connections {
            let mut connection = Connection::open(self.address)?;
            connection.exchange(self.first)?;
            connections.push(connection);
        }
        let schedule = Schedule {
            start: Instant::now() + Duration::from_millis(20),
            rate: self.rate,
            connections: self.connections,
        };
        thread::scope(|scope| {
            let threads: Vec<_> = connections
                .into_iter()
                .enumerate()
                .map(|(place, mut connection)| {
                    let own = requests.iter().skip(place).step_by(self.connections);
                    scope.spawn(move || {
                        wake_at_once();
                        own.enumerate()
                            .map(|(number, request)| {
                                let due = schedule.due(place, number);
                                sleep_until(due);
                                connection.exchange(request)?;
                                Ok(due.elapsed().as_secs_f64() * 1e6)
                            })
                            .collect::<std::io::Result<Vec<f64>>>()
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::server;

    #[test]
    fn a_slow_answer_counts_for_all_requests_that_were_due_behind_it() {
        let slow = Duration::from_millis(60);
        let address = server::serve(move |request| {
            if request.path == "/slow" {
                thread::sleep(slow);
            }
            (200, String::new())
        });
        let load = OpenLoop {
            address: address.expect("a free port"),
            rate: 100,
            connections: 1,
            first: "GET /first HTTP/1.1\r\n\r\n",
        };
        let quick = "GET / HTTP/1.1\r\n\r\n";
        let latencies =
            load.run(&["GET /slow HTTP/1.1\r\n\r\n", quick, quick]).expect("all are answered");
        // One is due every 10 ms, and all of them came after the 60 ms of the first.
        for (place, latency) in latencies.iter().enumerate() {
            assert!(*latency >= 60_000.0 - 10_000.0 * place as f64, "{latencies:?}");
        }
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
        };
        let latencies = load.run(&["GET / HTTP/1.1\r\n\r\n"; 100]).expect("all are answered");
        assert_eq!((latencies.len(), seen.load(Ordering::Relaxed)), (100, 103));
        let error = load.run(&["GET /bad HTTP/1.1\r\n\r\n"]).expect_err("a refusal");
        assert!(error.to_string().contains("401"), "{error}");
    }
}
