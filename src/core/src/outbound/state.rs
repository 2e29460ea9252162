//! The state of the outbound direction in one worker.

use std::sync::Arc;

use crate::cache::footprint::Footprint;
use crate::cache::local::Keyed;
use crate::ids::ClientId;
use crate::oauth::denial::Resource;
use crate::oauth::token_sources::TokenSources;
use crate::outbound::client::Client;
use crate::outbound::client_token::ClientToken;
use crate::outbound::exchanged_tokens::ExchangedTokens;
use crate::outbound::injection::PendingInjection;
use crate::rules::index::RuleIndex;
use crate::verdict::{Action, Verdict};

/// The configuration of the outbound direction.
#[derive(Debug)]
pub(crate) struct ClientConfig {
    /// The clients, in the order of their names.
    pub(crate) clients: Vec<Client>,
    /// The client whose token a request gets, if any. The first rule that matches applies.
    pub(crate) rules: RuleIndex<Option<ClientId>>,
    /// Where callers' tokens to exchange are found.
    pub(crate) token_sources: TokenSources,
    /// Whether the inbound direction checks callers' tokens first.
    pub(crate) guarded: bool,
    /// Parameters of every `WWW-Authenticate` challenge.
    pub(crate) resource: Arc<Resource>,
}

impl ClientConfig {
    pub(crate) fn client(&self, ClientId(place): ClientId) -> Option<&Client> {
        self.clients.get(place)
    }

    /// Whether a rule puts a token into this header.
    pub(crate) fn sets(&self, header: &str) -> bool {
        let used = self.rules.iter().flatten().filter_map(|client| self.client(*client));
        used.into_iter().any(|client| *client.placement.header == *header)
    }
}

/// A request that waits for a token.
pub(crate) struct Waiter {
    /// The verdict without the token.
    pub(super) verdict: Verdict,
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
    pub(super) config: Arc<ClientConfig>,
    /// The clients' tokens, in the order of the clients.
    pub(super) tokens: Vec<ClientToken>,
    /// Tokens that were exchanged for callers'.
    pub(super) exchanged: ExchangedTokens,
    /// Makes the keys of callers' tokens.
    pub(super) keyed: Keyed,
}

pub(crate) fn of_client<'o>(
    config: &'o ClientConfig,
    tokens: &'o mut [ClientToken],
    id: ClientId,
) -> Option<(&'o Client, &'o mut ClientToken)> {
    config.client(id).zip(tokens.get_mut(id.index()))
}

impl Outbound {
    /// Creates the state of one worker. `seed` is random.
    pub(crate) fn new(config: Arc<ClientConfig>, seed: [u8; 16]) -> Self {
        Self {
            tokens: config.clients.iter().map(|_| ClientToken::default()).collect(),
            exchanged: ExchangedTokens::new(seed),
            keyed: Keyed::new(seed),
            config,
        }
    }

    /// The names of the clients, in their order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.config.clients.iter().map(|client| &*client.name)
    }

    /// Removes the clients, which only happens in tests.
    #[cfg(test)]
    pub(crate) fn lose_clients(&mut self) {
        let ClientConfig { token_sources, guarded, resource, .. } = &*self.config;
        self.config = Arc::new(ClientConfig {
            clients: Vec::new(),
            rules: RuleIndex::new([]),
            token_sources: token_sources.clone(),
            guarded: *guarded,
            resource: Arc::clone(resource),
        });
    }
}
