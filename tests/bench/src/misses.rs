//! What a proxy adds to the authorization server's own time when it has to ask.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Outcome;
use crate::authorization::AuthorizationServer;
use crate::open_loop::OpenLoop;
use crate::proxy::{Proxy, Surroundings};
use crate::request;
use crate::rounds::order;
use crate::statistics::percentile;
use crate::variants::{self, Answers, Filter, Variant};

/// Misses a second.
pub const RATE: u32 = 1_000;

/// A quarter of a second at the beginning of each turn.
const LEAD: usize = RATE as usize / 4;

/// New tokens in a turn: those of a second count.
const TOKENS: usize = LEAD + RATE as usize;

/// How often it is everybody's turn.
const TURNS: usize = 5;

/// So many that none waits for its turn.
const CONNECTIONS: usize = 32;

/// What asks, besides the load itself.
const ASKING: [&str; 3] = ["ours", "lua-short", "ext-authz"];

/// A proxy that hands the load's own question on. A miss takes the same way, so that its latency is
/// the least that any filter can have.
const HOP: Variant = Variant {
    name: "hop",
    what: "the server, asked through a proxy without a filter",
    filter: Filter::None,
    tokens: 1,
    answers: Answers::Server,
};

/// The latencies of what asks, and of the same question without a proxy between.
#[derive(Clone, Debug)]
pub struct Misses {
    /// Who asks.
    pub what: &'static str,
    /// How long the server takes.
    pub delay: Duration,
    /// In microseconds: the median.
    pub median: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// What the proxy adds to that of the server asked directly; not a number for that itself.
    pub added: f64,
    /// What its filter adds to that of a proxy without one; not a number for that, and before.
    pub added_to_hop: f64,
}

/// Where requests go: to a proxy, or to the server itself.
enum Asked {
    Proxy(Box<Proxy>),
    Server(SocketAddr),
}

impl Asked {
    const fn what(&self) -> &'static str {
        match self {
            Self::Proxy(proxy) => proxy.variant.what,
            Self::Server(_) => "the server, asked directly",
        }
    }

    fn run(&self, tokens: &[String], first: &str) -> Outcome<Vec<f64>> {
        let request = |token: &str| match self {
            Self::Proxy(proxy) if proxy.variant.answers == Answers::Server => {
                introspection(token, HOP.name)
            }
            Self::Proxy(_) => request::with_token(token),
            Self::Server(_) => introspection(token, "direct"),
        };
        let requests: Vec<String> = tokens.iter().map(|token| request(token)).collect();
        let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
        let address = match self {
            Self::Proxy(proxy) => proxy.address,
            Self::Server(address) => *address,
        };
        let first = &request(first);
        let _turn = match self {
            Self::Proxy(proxy) => Some(proxy.turn()?),
            Self::Server(_) => None,
        };
        let load = OpenLoop { address, rate: RATE, connections: CONNECTIONS, first, lead: LEAD };
        load.run(&requests)
    }
}

/// Measures all that ask a server of this delay.
pub async fn measure(surroundings: &Surroundings, delay: Duration) -> Outcome<Vec<Misses>> {
    eprintln!("== {RATE} misses/s, a server that takes {delay:?}");
    let server = AuthorizationServer::start(surroundings.tokens.clone(), delay)?;
    let mut asked = vec![Asked::Server(server.address)];
    for variant in [HOP].into_iter().chain(ASKING.into_iter().filter_map(variants::named)) {
        let proxy = Proxy::start(variant, surroundings, server.address, 1).await?;
        proxy.wait_for_turn()?;
        asked.push(Asked::Proxy(Box::new(proxy)));
    }
    let (first, tokens) = surroundings.tokens.all().split_last().ok_or("no tokens")?;
    let mut latencies = vec![Vec::new(); asked.len()];
    // Connections to the server are opened in a turn that does not count.
    for (turn, tokens) in tokens.chunks_exact(TOKENS).take(1 + TURNS).enumerate() {
        for place in order(asked.len(), turn as u32) {
            let taken = asked[place].run(tokens, first);
            let taken = taken.map_err(|error| format!("{}: {error}", asked[place].what()))?;
            if turn > 0 {
                latencies[place].extend(taken);
            }
        }
    }
    for proxy in &asked {
        if let Asked::Proxy(proxy) = proxy {
            let _turn = proxy.turn()?;
            proxy.check_answers().await?;
            let (calls, tokens) = (server.calls(proxy.variant.name), (1 + TURNS) * TOKENS);
            if calls < tokens as u64 {
                return Err(proxy.failed(&format!("{calls} calls for {tokens} new tokens")));
            }
        }
    }
    Ok(summary(&asked.iter().map(Asked::what).collect::<Vec<_>>(), delay, latencies))
}

/// The first are those of the server itself, and the next those of the hop.
fn summary(whats: &[&'static str], delay: Duration, latencies: Vec<Vec<f64>>) -> Vec<Misses> {
    let median_and_p99 = |mut latencies: Vec<f64>| {
        (percentile(&mut latencies, 0.5), percentile(&mut latencies, 0.99))
    };
    let figures: Vec<(f64, f64)> = latencies.into_iter().map(median_and_p99).collect();
    let misses = |(place, what): (usize, &&'static str)| {
        let (median, p99) = figures[place];
        let added_to = |base: usize| if place > base { p99 - figures[base].1 } else { f64::NAN };
        Misses { what, delay, median, p99, added: added_to(0), added_to_hop: added_to(1) }
    };
    whats.iter().enumerate().map(misses).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_the_difference_to_the_server_itself_and_to_a_hop() {
        let direct = (1..=100).map(|n| f64::from(n) + 1_000.0).collect();
        let hop = (1..=100).map(|n| f64::from(n) + 1_020.0).collect();
        let ours = (1..=100).map(|n| f64::from(n) * 2.0 + 1_000.0).collect();
        let latencies = vec![direct, hop, ours];
        let [direct, hop, ours] = summary(&["server", "hop", "ours"], Duration::ZERO, latencies)
            .try_into()
            .expect("three");
        assert!(direct.added.is_nan() && direct.added_to_hop.is_nan() && hop.added_to_hop.is_nan());
        assert_eq!((direct.median, direct.p99, hop.added), (1_050.0, 1_099.0, 20.0));
        assert_eq!((ours.median, ours.p99), (1_100.0, 1_198.0));
        assert_eq!((ours.added, ours.added_to_hop), (99.0, 79.0));
    }
}
