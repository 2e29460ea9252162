//! Latency at a rate that every proxy can bear, and the warming up before.

use std::collections::BTreeMap;

use crate::Outcome;
use crate::open_loop::OpenLoop;
use crate::proxy::Proxy;
use crate::rounds::order;

/// Requests a second.
pub const RATE: u32 = 3_000;

/// How often it is each proxy's turn.
const TURNS: u32 = 3;

/// A quarter of a second at the beginning of each turn.
const LEAD: usize = RATE as usize / 4;

/// As many as wrk has.
const CONNECTIONS: usize = 8;

/// The latencies of each proxy, in microseconds.
pub type Latencies = BTreeMap<&'static str, Vec<f64>>;

/// A proxy and the requests that it gets in turn.
pub type WithRequests<'a> = (&'a Proxy, Vec<String>);

/// Sends every request of every proxy once, so that every answer is kept.
pub async fn warm_up(proxies: &[WithRequests<'_>]) -> Outcome<()> {
    for (proxy, requests) in proxies {
        let requests: Vec<&str> = requests.iter().map(String::as_str).collect();
        let _turn = proxy.turn()?;
        run(proxy, &requests)?;
        proxy.check_answers().await?;
    }
    Ok(())
}

/// Measures all of them in turns of so many seconds.
pub async fn measure(proxies: &[WithRequests<'_>], seconds: u32) -> Outcome<Latencies> {
    let mut latencies = Latencies::new();
    for turn in 0..TURNS {
        eprintln!("== latency at {RATE} requests/s, turn {} of {TURNS}", turn + 1);
        for place in order(proxies.len(), turn) {
            let (proxy, requests) = &proxies[place];
            let number = LEAD + (RATE * seconds) as usize;
            let requests: Vec<&str> =
                requests.iter().map(String::as_str).cycle().take(number).collect();
            let _turn = proxy.turn()?;
            let taken = run(proxy, &requests)?;
            proxy.check_answers().await?;
            latencies.entry(proxy.variant.name).or_default().extend(taken);
        }
    }
    Ok(latencies)
}

fn run(proxy: &Proxy, requests: &[&str]) -> Outcome<Vec<f64>> {
    let first = requests.first().copied().unwrap_or_default();
    let (address, connections) = (proxy.address, CONNECTIONS);
    let load = OpenLoop { address, rate: RATE, connections, first, lead: LEAD };
    load.run(requests).map_err(|error| proxy.failed(&error.to_string()))
}
