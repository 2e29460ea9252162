//! What the outbound direction remembers, and its parts that others are made of.

use super::flight::Flight;
use super::injection::PendingInjection;
use crate::cache::footprint::Footprint;
use crate::cache::local::Keyed;
use crate::cache::single_flight::{CallId, Direction, SingleFlight, StreamId};
use crate::metrics::Event;
use crate::oauth::denial::Resource;
use crate::oauth::failure::Failure;
use crate::oauth::failure_log::FailureLog;
use crate::oauth::token_source::TokenSource;
use crate::outbound::client::Client;
use crate::outbound::client_token::ClientToken;
use crate::outbound::exchange::Exchanges;
use crate::random::Random;
use crate::rules::index::RuleIndex;
use crate::run::Run;
use crate::timestamp::Timestamp;
use crate::verdict::{Action, Verdict};

/// What the configuration says of the outbound direction.
#[derive(Debug)]
pub(crate) struct ClientConfig {
    /// The clients, in the order of their names.
    pub(crate) clients: Vec<Client>,
    /// Whose token requests get; `None` to leave them alone. The first that fits decides.
    pub(crate) rules: RuleIndex<Option<usize>>,
    /// Where callers' tokens are looked for, to be exchanged.
    pub(crate) token_sources: Vec<TokenSource>,
    /// Whether callers' tokens are checked before.
    pub(crate) guarded: bool,
    /// What challenges say.
    pub(crate) resource: Resource,
}

/// A request that waits for a token.
pub(super) struct Waiter {
    /// What is done with it, but for the token.
    pub(super) verdict: Verdict,
    /// What it needs.
    pub(super) pending: PendingInjection,
}

impl Footprint for Waiter {
    fn owned_bytes(&self) -> usize {
        let forward = match &self.verdict.action {
            Action::Forward(forward) => forward.owned_bytes(),
            Action::Respond(_) => 0,
        };
        [forward, self.pending.owned_bytes()]
            .into_iter()
            .fold(size_of::<Self>(), usize::saturating_add)
    }
}

/// The outbound direction of one configuration in one worker.
pub(crate) struct Outbound {
    /// What the operator wants.
    pub(super) config: ClientConfig,
    /// The clients' tokens.
    pub(super) holders: Vec<ClientToken>,
    /// Whether each token endpoint answers.
    pub(super) health: Vec<FailureLog>,
    /// The tokens of callers.
    pub(super) exchanges: Exchanges,
    /// The requests that wait.
    pub(super) waiting: SingleFlight<Flight, Waiter>,
    /// Names flights.
    pub(super) keyed: Keyed,
    /// Jitter and numbers.
    pub(super) random: Random,
    /// Calls of the inbound direction that cannot be made, since the token that they need is not to be had.
    pub(crate) unmade: Vec<(CallId, Failure)>,
    /// When tokens are reported next.
    pub(super) report_at: Timestamp,
    /// Whether there is more to report than zeros, or the last report was more.
    pub(super) reporting: bool,
}

/// A client, and what is known of its token.
pub(super) fn of_client<'o>(
    config: &'o ClientConfig,
    holders: &'o mut [ClientToken],
    number: usize,
) -> Option<(&'o Client, &'o mut ClientToken)> {
    config.clients.get(number).zip(holders.get_mut(number))
}

impl Outbound {
    /// Nothing is held yet, and nobody waits. `seed` is random.
    pub(crate) fn new(config: ClientConfig, seed: [u8; 16]) -> Self {
        let holder = |client: &Client| ClientToken::new(&client.identity, &client.placement);
        let health =
            |client: &Client| FailureLog::new(format!("token endpoint of client {}", client.name));
        Self {
            holders: config.clients.iter().map(holder).collect(),
            health: config.clients.iter().map(health).collect(),
            exchanges: Exchanges::new(seed),
            waiting: SingleFlight::new(Direction::Outbound),
            keyed: Keyed::new(seed),
            random: Random::new(seed, "outbound"),
            unmade: Vec::new(),
            report_at: Timestamp::from_millis(0),
            reporting: false,
            config,
        }
    }

    /// The names of the clients.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.config.clients.iter().map(|client| &*client.name)
    }

    /// Forgets the clients, as nothing but a test does.
    #[cfg(test)]
    pub(crate) fn lose_clients(&mut self) {
        self.config.clients.clear();
    }

    /// A request that waited has gone.
    pub(crate) fn gone(&mut self, stream: StreamId, run: &mut Run<'_>) {
        if let Some(id) = self.waiting.forget(stream) {
            run.count(Event::Waiting(-1));
            let is_wanted =
                |flight: &Flight| !flight.calls.is_empty() || !flight.exchanges.is_empty();
            if self.waiting.abandoned(id).is_some_and(|flight| !is_wanted(flight)) {
                self.waiting.finish(id);
            }
        }
    }
}
