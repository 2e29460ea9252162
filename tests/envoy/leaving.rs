//! Clients that leave, thousands of times.

use std::{io, time::Duration};

use oauth2_filter_testbed::client::{Connection, Http2, Request, Response};
use oauth2_filter_testbed::scripted::{Gate, ScriptedServer};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::set_up::{ENDPOINT, LISTENER, SetUp, active, inactive};

/// Requests of impatient clients: enough that some leave at every moment there is.
const CLIENTS: u64 = 50;
const REQUESTS: u64 = 80;

/// Streams of one HTTP/2 connection.
const AT_ONCE: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn d6_13_thousands_of_http1_clients_that_leave_do_no_harm() {
    let set_up = asking_often().await;
    let gate = answer_some_in_vain(&set_up.server);
    let address = set_up.address();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(async move {
            let mut dice = Dice::new(client);
            for _ in 0..REQUESTS {
                let (request, patience) = dice.request();
                let mut connection = Connection::open(address).await.expect("a connection");
                connection.send_head(&request).await.expect("a request");
                if let Ok(answer) = timeout(patience, connection.response("GET")).await {
                    is_judged(answer);
                } else if dice.roll(4) > 0 {
                    connection.abort();
                }
            }
        });
    }
    clients.join_all().await;
    let total = format!("http.{LISTENER}.downstream_cx_total");
    set_up.envoy.stat_reaches(&total, CLIENTS * REQUESTS).await;
    many_have_left(&set_up).await;
    gate.open();
    still_works(&set_up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_13_thousands_of_http2_clients_that_leave_do_no_harm() {
    let set_up = asking_often().await;
    let gate = answer_some_in_vain(&set_up.server);
    let address = set_up.address();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(async move {
            let mut dice = Dice::new(client);
            // A connection for each: Envoy closes one that resets hundreds of streams.
            let connection = Http2::open(address).await.expect("a connection");
            let mut streams = JoinSet::new();
            for _ in 0..REQUESTS {
                let (request, patience) = dice.request();
                let connection = connection.clone();
                streams.spawn(async move {
                    if let Ok(answer) = timeout(patience, connection.send(&request)).await {
                        is_judged(answer);
                    }
                });
                if streams.len() == AT_ONCE {
                    streams.join_next().await;
                }
            }
            if client % 5 == 0 {
                // The whole connection goes, with all that wait on it.
                drop(connection);
                streams.shutdown().await;
            } else {
                streams.join_all().await;
                is_judged(connection.send(&Request::get("/").bearer("1")).await);
            }
        });
    }
    clients.join_all().await;
    many_have_left(&set_up).await;
    gate.open();
    still_works(&set_up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_13_clients_that_leave_just_as_the_answer_comes_do_no_harm() {
    let set_up = SetUp::new(json!({})).await;
    for round in 0..20 {
        let gate = Gate::new();
        let said = if round % 2 == 0 { active() } else { inactive() };
        set_up.server.on(ENDPOINT, said.held_by(&gate));
        let request = Request::get("/").bearer(&format!("token-{round}"));
        let mut waiting = Vec::new();
        for _ in 0..50 {
            let mut connection = Connection::open(set_up.address()).await.expect("a connection");
            connection.send_head(&request).await.expect("a request");
            waiting.push(connection);
        }
        let connection = Http2::open(set_up.address()).await.expect("a connection");
        let mut streams = Vec::new();
        for _ in 0..50 {
            streams.push(connection.send_head(&request).await.expect("a request"));
        }
        set_up.under_way(100).await;
        let stay = waiting.split_off(25);
        gate.open();
        waiting.into_iter().for_each(Connection::abort);
        drop(streams);
        for mut connection in stay {
            let answer = connection.response("GET").await.expect("an answer");
            let status = if round % 2 == 0 { 200 } else { 401 };
            assert_eq!(answer.status, status, "{}", answer.text());
        }
    }
    still_works(&set_up).await;
}

/// Answers are kept for a moment only, so that requests wait again and again.
async fn asking_often() -> SetUp {
    SetUp::new(json!({"cache": {"max_ttl": "20ms", "negative_ttl": "20ms"}})).await
}

/// The server answers after some milliseconds, or at once; of every fourth token it says nothing
/// while the gate is closed.
fn answer_some_in_vain(server: &ScriptedServer) -> Gate {
    let gate = Gate::new();
    let closed = gate.clone();
    server.on_each(ENDPOINT, move |call| {
        let number = call.parameter("token").and_then(|token| token.parse::<u64>().ok());
        let number = number.expect("a token of ours");
        let said = if number % 2 == 0 { active() } else { inactive() };
        if number % 4 == 0 {
            said.held_by(&closed)
        } else {
            said.delayed(Duration::from_millis(number % 5))
        }
    });
    gate
}

/// The answer says what the server said of the token.
fn is_judged(answer: io::Result<Response>) {
    let answer = answer.expect("an answer");
    assert!(matches!(answer.status, 200 | 401), "{}: {}", answer.status, answer.text());
}

/// The test has done what it is for.
async fn many_have_left(set_up: &SetUp) {
    let requests = set_up.envoy.stats(&format!("^http.{LISTENER}.downstream_rq_")).await;
    let count = |what: &str| requests[&format!("http.{LISTENER}.downstream_rq_{what}")];
    assert!(count("rx_reset") >= 1000, "{requests:?}");
    assert!(count("completed") >= 500, "{requests:?}");
}

/// Nothing is stuck, no VM has failed, and a new client is served.
async fn still_works(set_up: &SetUp) {
    set_up.comes_to_rest().await;
    let calls = set_up.calls();
    set_up.server.on(ENDPOINT, active());
    assert_eq!(set_up.get("another").await.status, 200);
    assert_eq!(set_up.calls(), calls + 1);
    set_up.comes_to_rest().await;
}

/// Random numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % sides
    }

    /// A request, and how long its client waits for the answer.
    fn request(&mut self) -> (Request, Duration) {
        // Few are new: a server that is asked more than it can accept would be another test.
        let several = if self.roll(8) == 0 { 1_000_000_000 } else { 100 };
        let (number, patience) = match self.roll(4) {
            // In vain.
            0 => (4 * self.roll(100), self.impatience()),
            // As long as it takes.
            1 => (4 * self.roll(several) + 1 + self.roll(2), Duration::MAX),
            _ => (4 * self.roll(several) + 1 + self.roll(2), self.impatience()),
        };
        (Request::get("/").bearer(&number.to_string()), patience)
    }

    /// From less than an answer takes to more, on a slow machine too.
    fn impatience(&mut self) -> Duration {
        let magnitude = 1 << (8 + self.roll(10));
        Duration::from_micros(magnitude + self.roll(magnitude))
    }
}
