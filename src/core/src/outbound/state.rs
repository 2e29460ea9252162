//! What the outbound direction remembers in one worker.

use std::sync::Arc;

use crate::cache::footprint::Footprint;
use crate::cache::local::Keyed;
use crate::ids::ClientId;
use crate::oauth::denial::Resource;
use crate::oauth::token_source::TokenSource;
use crate::outbound::client::Client;
use crate::outbound::client_token::ClientToken;
use crate::outbound::exchanged_tokens::ExchangedTokens;
use crate::outbound::injection::PendingInjection;
use crate::rules::index::RuleIndex;
use crate::verdict::{Action, Verdict};

/// What the configuration says of the outbound direction.
#[derive(Debug)]
pub(crate) struct ClientConfig {
    /// The clients, in the order of their names.
    pub(crate) clients: Vec<Client>,
    /// Whose token requests get; `None` to leave them alone. The first that fits decides.
    pub(crate) rules: RuleIndex<Option<ClientId>>,
    /// Where callers' tokens are looked for, to be exchanged.
    pub(crate) token_sources: Vec<TokenSource>,
    /// Whether callers' tokens are checked before.
    pub(crate) guarded: bool,
    /// What challenges say.
    pub(crate) resource: Resource,
}

impl ClientConfig {
    /// A client.
    pub(crate) fn client(&self, ClientId(place): ClientId) -> Option<&Client> {
        self.clients.get(place)
    }
}

/// A request that waits for a token.
pub(crate) struct Waiter {
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
    pub(super) config: Arc<ClientConfig>,
    /// The clients' tokens, in their order.
    pub(super) tokens: Vec<ClientToken>,
    /// The tokens of callers.
    pub(super) exchanged: ExchangedTokens,
    /// Names callers' tokens.
    pub(super) keyed: Keyed,
}

/// A client, and its token.
pub(crate) fn of_client<'o>(
    config: &'o ClientConfig,
    tokens: &'o mut [ClientToken],
    id: ClientId,
) -> Option<(&'o Client, &'o mut ClientToken)> {
    config.client(id).zip(tokens.get_mut(id.index()))
}

impl Outbound {
    /// Nothing is cached yet. `seed` is random.
    pub(crate) fn new(config: Arc<ClientConfig>, seed: [u8; 16]) -> Self {
        Self {
            tokens: config.clients.iter().map(|_| ClientToken::default()).collect(),
            exchanged: ExchangedTokens::new(seed),
            keyed: Keyed::new(seed),
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
        let ClientConfig { token_sources, guarded, resource, .. } = &*self.config;
        self.config = Arc::new(ClientConfig {
            clients: Vec::new(),
            rules: RuleIndex::new([]),
            token_sources: token_sources.clone(),
            guarded: *guarded,
            resource: resource.clone(),
        });
    }
}
