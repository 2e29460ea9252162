//! The rounds: in each, every proxy is loaded for a moment as much as it can bear, in another order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::Outcome;
use crate::cores::{Busy, Cores};
use crate::proxy::Proxy;
use crate::wrk::Wrk;

/// What a proxy has done in a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Requests a second.
    pub rate: f64,
    /// Microseconds that its threads ran for each request.
    pub cpu: f64,
    /// The part of the time in which they ran: less than all of it if something else was the limit.
    pub share: f64,
    /// The part in which they waited for their core: other programs had it.
    pub waited: f64,
    /// The part in which wrk ran.
    pub wrk: f64,
    /// The part in which the other cores were busy, with wrk or with anything.
    pub others: f64,
}

/// The samples of each proxy, in the order of the rounds.
pub type Samples = BTreeMap<&'static str, Vec<Sample>>;

/// A proxy and the file of its tokens.
#[derive(Debug)]
pub struct Loaded<'a> {
    /// The proxy.
    pub proxy: &'a Proxy,
    /// The file.
    pub tokens: PathBuf,
}

/// Runs the rounds, and one before that does not count.
pub async fn run(
    proxies: &[Loaded<'_>],
    wrk: &Wrk,
    cores: &Cores,
    rounds: u32,
    seconds: u32,
) -> Outcome<Samples> {
    let mut samples = Samples::new();
    for round in 0..=rounds {
        eprintln!("== round {round} of {rounds}{}", if round == 0 { ", to warm up" } else { "" });
        for place in order(proxies.len(), round) {
            let Loaded { proxy, tokens } = &proxies[place];
            let seconds = if round == 0 { 1 } else { seconds };
            let _turn = proxy.turn()?;
            let sample = sample(proxy, tokens, wrk, cores, seconds);
            let sample = sample.map_err(|error| proxy.failed(&error.to_string()))?;
            proxy.check_answers().await?;
            if round > 0 {
                samples.entry(proxy.variant.name).or_default().push(sample);
            }
        }
    }
    Ok(samples)
}

fn sample(proxy: &Proxy, tokens: &Path, wrk: &Wrk, cores: &Cores, seconds: u32) -> Outcome<Sample> {
    let (before, others) = (proxy.core_time()?, Busy::now(&cores.others)?);
    let run = wrk.run(proxy.address, tokens, seconds)?;
    let (cpu, waited) = proxy.core_time()?.since(before);
    Ok(Sample {
        rate: run.requests as f64 / run.seconds,
        cpu: cpu * 1e6 / run.requests as f64,
        share: cpu / run.seconds,
        waited: waited / run.seconds,
        wrk: run.cpu / run.seconds,
        others: Busy::now(&cores.others)?.since(others),
    })
}

/// The places from zero in an order that differs from round to round, and is the same in every run.
pub fn order(number: usize, round: u32) -> Vec<usize> {
    let mut places: Vec<usize> = (0..number).collect();
    // xorshift64*, and Fisher and Yates.
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ (u64::from(round) + 1);
    for end in (1..number).rev() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let random = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        places.swap(end, random as usize % (end + 1));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_every_proxy_once_and_an_order_of_its_own() {
        let orders: Vec<Vec<usize>> = (0..10).map(|round| order(29, round)).collect();
        for places in &orders {
            let mut sorted = places.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..29).collect::<Vec<_>>());
        }
        let mut different = orders.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), orders.len());
        assert_eq!(order(29, 3), orders[3]);
        assert_eq!(order(0, 1), [0; 0]);
    }
}
