//! The memory that 10,000 kept answers take in a proxy of two workers.

use std::net::SocketAddr;

use crate::Outcome;
use crate::connection::Connection;
use crate::proxy::{Memory, Proxy, Surroundings};
use crate::request;
use crate::variants::Variant;

/// A proxy's memory with one kept answer and with all.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Which proxy.
    pub what: &'static str,
    /// With one.
    pub before: Memory,
    /// With all.
    pub after: Memory,
}

impl Kept {
    /// What the answers take, in bytes: the larger of the two figures.
    pub fn growth(&self) -> u64 {
        let Self { before, after, .. } = self;
        let resident = after.resident.saturating_sub(before.resident);
        resident.max(after.allocated.saturating_sub(before.allocated))
    }
}

const WORKERS: u32 = 2;

/// Fills a proxy.
pub async fn measure(
    variant: Variant,
    surroundings: &Surroundings,
    server: SocketAddr,
) -> Outcome<Kept> {
    let proxy = Proxy::start(variant, surroundings, server, WORKERS).await?;
    let tokens = surroundings.tokens.all();
    let mut connections = one_for_each_worker(&proxy, &tokens[0]).await?;
    let one = request::with_token(&tokens[0]);
    // As many requests as below: what they alone take is there before.
    send(&proxy, &mut connections, tokens.iter().map(|_| one.clone()))?;
    let before = proxy.memory().await?;
    send(&proxy, &mut connections, tokens.iter().map(|token| request::with_token(token)))?;
    let after = proxy.memory().await?;
    proxy.check_answers().await?;
    Ok(Kept { what: variant.what, before, after })
}

fn send(
    proxy: &Proxy,
    connections: &mut [Connection],
    requests: impl Iterator<Item = String>,
) -> Outcome<()> {
    for request in requests {
        for connection in &mut *connections {
            connection.exchange(&request).map_err(|error| proxy.failed(&error.to_string()))?;
        }
    }
    Ok(())
}

/// The kernel chooses the worker of a connection, so new ones are opened until each has one.
async fn one_for_each_worker(proxy: &Proxy, token: &str) -> Outcome<Vec<Connection>> {
    let request = request::with_token(token);
    let (mut firsts, mut others) = (Vec::new(), Vec::new());
    let mut before = proxy.connections().await;
    for _ in 0..TRIES {
        let mut connection = Connection::open(proxy.address)?;
        connection.exchange(&request).map_err(|error| proxy.failed(&error.to_string()))?;
        let now = proxy.connections().await;
        let worker = now.iter().zip(&before).position(|(now, before)| now > before);
        // The first of its worker.
        if worker.is_some_and(|worker| before[worker] == 0) {
            firsts.push(connection);
        } else {
            others.push(connection);
        }
        before = now;
        if firsts.len() == WORKERS as usize {
            return Ok(firsts);
        }
    }
    Err(proxy.failed("not every worker got a connection"))
}

const TRIES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_growth_counts() {
        let memory = |allocated, resident| Memory { allocated, resident };
        let kept = |after| Kept { what: "", before: memory(100, 1_000), after };
        assert_eq!(kept(memory(150, 1_070)).growth(), 70);
        assert_eq!(kept(memory(150, 1_020)).growth(), 50);
        assert_eq!(kept(memory(90, 900)).growth(), 0);
    }
}
