//! What is measured: in rounds, every proxy is loaded for a moment as much as it can bear, in another
//! order each time; then latency at a fixed rate, the memory of cached responses, and what a cache
//! miss adds to the authorization server's own time.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use crate::load::{Connection, Latencies, OpenLoop, Wrk, histogram, request};
use crate::proxy::{Memory, Proxy, Surroundings};
use crate::servers::{AuthorizationServer, Sidecar};
use crate::variants::{self, Answers, Variant, variant};
use crate::{Options, Outcome};

/// What a proxy has done.
#[derive(Debug)]
pub struct Measured {
    /// Which.
    pub variant: Variant,
    /// The rounds.
    pub samples: Vec<Sample>,
    /// Latencies at a fixed rate.
    pub latencies: Latencies,
    /// How often it has asked.
    pub calls: u64,
    /// Its memory in the end.
    pub memory: Memory,
}

/// What a proxy has done in a round.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Requests a second.
    pub rate: f64,
    /// Microseconds that its threads ran for each request.
    pub cpu: f64,
    /// The part of the time in which they ran: less than all of it if something else was the limit.
    pub share: f64,
    /// The part in which they waited for their core: other programs had it.
    pub waited: f64,
}

/// Requests a second at the fixed rate, which every proxy can bear.
pub const RATE: u32 = 3_000;

/// How often it is each proxy's turn at the fixed rate.
const TURNS: u32 = 3;

/// Runs the rounds, and one before that does not count; then the fixed rate.
pub async fn proxies(options: &Options, surroundings: &Surroundings) -> Outcome<Vec<Measured>> {
    let mut variants = variants::chosen(&options.only);
    if !Sidecar::can_run() {
        eprintln!("== Node.js not found: skipping the ext_authz sidecar");
        variants.retain(|variant| !variant.has_sidecar());
    }
    if variants.is_empty() {
        return Ok(Vec::new());
    }
    let Surroundings { tokens, .. } = surroundings;
    let server = AuthorizationServer::start(tokens.clone(), Duration::ZERO)?;
    let wrk = Wrk::new()?;
    eprintln!("== starting {} proxies, and sending every token once", variants.len());
    let (mut proxies, mut measured) = (Vec::new(), Vec::new());
    for variant in variants {
        let proxy = Proxy::start(variant, surroundings, server.address, 1).await?;
        let own = variant.tokens_of(tokens);
        let requests: Vec<String> = own.iter().map(|token| request(token)).collect();
        at_fixed_rate(&proxy, &requests, requests.len()).await?;
        proxy.wait_for_turn()?;
        proxies.push((proxy, requests, wrk.tokens(variant.name, own)?));
        let (samples, latencies) = (Vec::new(), histogram());
        measured.push(Measured { variant, samples, latencies, calls: 0, memory: [0.0; 2] });
    }
    for round in 0..=options.rounds {
        eprintln!("== round {round} of {} (round 0 is a warm-up)", options.rounds);
        for place in order(proxies.len(), round) {
            let (proxy, _, tokens) = &proxies[place];
            let _turn = proxy.turn()?;
            let before = proxy.core_time()?;
            let run = wrk.run(proxy.address, tokens, if round == 0 { 1 } else { options.seconds });
            let (requests, seconds) = run.map_err(|error| proxy.failed(&error.to_string()))?;
            let [ran, waited] = proxy.core_time()?;
            let (ran, waited) = (ran - before[0], waited - before[1]);
            proxy.check_answers().await?;
            let (rate, cpu) = (requests / seconds, ran * 1e6 / requests);
            let sample = Sample { rate, cpu, share: ran / seconds, waited: waited / seconds };
            measured[place].samples.extend((round > 0).then_some(sample));
        }
    }
    for turn in 0..TURNS {
        eprintln!("== latency at {RATE} requests/s, turn {} of {TURNS}", turn + 1);
        for place in order(proxies.len(), turn) {
            let (proxy, requests, _) = &proxies[place];
            let _turn = proxy.turn()?;
            let number = (RATE / 4 + RATE * options.seconds) as usize;
            measured[place].latencies.add(at_fixed_rate(proxy, requests, number).await?)?;
        }
    }
    for ((proxy, ..), measured) in proxies.iter().zip(&mut measured) {
        let _turn = proxy.turn()?;
        measured.calls = server.calls(proxy.variant.name);
        measured.memory = proxy.memory().await?;
    }
    Ok(measured)
}

/// Sends so many requests, these in turn, over as many connections as wrk has.
async fn at_fixed_rate(proxy: &Proxy, requests: &[String], number: usize) -> Outcome<Latencies> {
    let requests: Vec<&str> = requests.iter().map(String::as_str).cycle().take(number).collect();
    let load = OpenLoop { address: proxy.address, rate: RATE, connections: 8, first: requests[0] };
    let latencies = load.run(&requests).map_err(|error| proxy.failed(&error.to_string()))?;
    proxy.check_answers().await?;
    Ok(latencies)
}

/// The places from zero in an order that differs from round to round, and is the same in every run.
fn order(number: usize, round: u32) -> impl Iterator<Item = usize> {
    // Another beginning each time, and backwards every other time.
    let place = move |place: usize| (place + 7 * round as usize) % number;
    (0..number).map(move |n| place(if round.is_multiple_of(2) { n } else { number - 1 - n }))
}

/// Which proxy, and its memory with one cached response and with all.
pub type Growth = (&'static str, [Memory; 2]);

/// The memory that cached responses take in a proxy of two workers.
pub async fn memory(name: &str, surroundings: &Surroundings) -> Outcome<Growth> {
    let tokens = &surroundings.tokens.all;
    let variant = variants::named(name).ok_or("no such variant")?;
    eprintln!("== memory of {} cached responses: {name}", tokens.len());
    let server = AuthorizationServer::start(surroundings.tokens.clone(), Duration::ZERO)?;
    let proxy = Proxy::start(variant, surroundings, server.address, WORKERS).await?;
    let mut connections = one_for_each_worker(&proxy, &tokens[0]).await?;
    let mut send = |token: &str| -> Outcome<()> {
        connections.iter_mut().try_for_each(|connection| {
            let sent = connection.exchange(&request(token));
            sent.map_err(|error| proxy.failed(&error.to_string()))
        })
    };
    // As many requests as below: what they alone take is there before.
    tokens.iter().try_for_each(|_| send(&tokens[0]))?;
    let before = proxy.memory().await?;
    tokens.iter().try_for_each(|token| send(token))?;
    let after = proxy.memory().await?;
    proxy.check_answers().await?;
    Ok((variant.what, [before, after]))
}

const WORKERS: u32 = 2;

/// The kernel chooses the worker of a connection, so new ones are opened until each has one.
async fn one_for_each_worker(proxy: &Proxy, token: &str) -> Outcome<Vec<Connection>> {
    let mut connections = Vec::new();
    for _ in 0..64 {
        let mut connection = Connection::open(proxy.address)?;
        connection.exchange(&request(token)).map_err(|error| proxy.failed(&error.to_string()))?;
        connections.push(connection);
        let workers = proxy.connections().await;
        if workers.iter().filter(|connections| **connections > 0).count() == WORKERS as usize {
            return Ok(connections);
        }
    }
    Err(proxy.failed("not every worker got a connection"))
}

/// Misses a second.
pub const MISSES: u32 = 1_000;

/// What asks, besides the load itself.
const ASKING: [&str; 4] = ["ours", "native", "lua-short", "ext-authz"];

/// A proxy that forwards the load's own introspection request. A miss takes the same way, so that its
/// latency is the least that any filter can have.
const HOP: Variant =
    variant("hop", "call through a proxy without a filter", 1, |_, _| Value::Null, Answers::Server);

/// The latencies of what asks a server of this delay: first those of the server itself, then those of
/// a proxy without a filter.
#[derive(Debug)]
pub struct Misses {
    /// The server itself, or the proxy in front of it.
    pub what: &'static str,
    /// How long the server takes.
    pub delay: Duration,
    /// From when each request was due.
    pub latencies: Latencies,
}

/// Measures all that ask a server of this delay.
pub async fn misses(surroundings: &Surroundings, delay: Duration) -> Outcome<Vec<Misses>> {
    eprintln!("== {MISSES} cache misses/s, server delay {delay:?}");
    let server = AuthorizationServer::start(surroundings.tokens.clone(), delay)?;
    let mut proxies = Vec::new();
    for variant in [HOP].into_iter().chain(ASKING.into_iter().filter_map(variants::named)) {
        let proxy = Proxy::start(variant, surroundings, server.address, 1).await?;
        proxy.wait_for_turn()?;
        proxies.push(proxy);
    }
    let direct = ("direct call to the server", None);
    let asked = proxies.iter().map(|proxy| (proxy.variant.what, Some(proxy)));
    let asked: Vec<_> = [direct].into_iter().chain(asked).collect();
    let mut latencies = vec![histogram(); asked.len()];
    let (first, tokens) = surroundings.tokens.all.split_last().ok_or("no tokens")?;
    // New tokens in a turn: those of a second count, after the first quarter of one.
    let of_turn = (MISSES + MISSES / 4) as usize;
    let turns: Vec<_> = tokens.chunks_exact(of_turn).take(6).collect();
    // Connections to the server are opened in a turn that does not count.
    for (turn, tokens) in turns.iter().enumerate() {
        for place in order(asked.len(), turn as u32) {
            let (what, proxy) = asked[place];
            let taken = ask(proxy, server.address, tokens, first);
            let taken = taken.map_err(|error| format!("{what}: {error}"))?;
            if turn > 0 {
                latencies[place].add(taken)?;
            }
        }
    }
    for proxy in &proxies {
        let _turn = proxy.turn()?;
        proxy.check_answers().await?;
        let (calls, tokens) = (server.calls(proxy.variant.name), turns.len() * of_turn);
        if calls < tokens as u64 {
            return Err(proxy.failed(&format!("{calls} calls for {tokens} new tokens")));
        }
    }
    let rows = asked.iter().zip(latencies);
    Ok(rows.map(|((what, _), latencies)| Misses { what, delay, latencies }).collect())
}

/// Sends a request with each token to a proxy, or introspects each at the server itself.
fn ask(
    proxy: Option<&Proxy>,
    server: SocketAddr,
    tokens: &[String],
    first: &str,
) -> Outcome<Latencies> {
    let request = |token: &str| match proxy {
        Some(proxy) if proxy.variant.answers != Answers::Server => request(token),
        Some(_) => introspection(token, HOP.name),
        None => introspection(token, "direct"),
    };
    let requests: Vec<String> = tokens.iter().map(|token| request(token)).collect();
    let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
    let _turn = proxy.map(Proxy::turn).transpose()?;
    let address = proxy.map_or(server, |proxy| proxy.address);
    // So many connections that no request waits for its turn.
    let load = OpenLoop { address, rate: MISSES, connections: 32, first: &request(first) };
    load.run(&requests)
}

/// The question that the filter asks.
fn introspection(token: &str, who: &str) -> String {
    let body = format!("token={token}&token_type_hint=access_token");
    format!(
        "POST /introspect/{who} HTTP/1.1\r\nhost: as.test\r\n\
         authorization: Basic YmVuY2g6YmVuY2gtc2VjcmV0\r\n\
         content-type: application/x-www-form-urlencoded\r\naccept: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}
