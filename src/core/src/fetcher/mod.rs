//! The half of a filter that obtains what its deciders do not have: responses on tokens, and access tokens.
//!
//! In come lookups, and the outcomes of calls; out come calls, and what was looked up. One call serves all
//! requests that need it, in this worker and, by leases in the store, in all others. Nothing here decides on a
//! request, or sees one.

mod exchange;
mod introspection;
mod stage;
mod token;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use log::info;

use self::stage::{ExchangeStage, IntrospectionStage, ObtainingStage, Permit, Progress};
use crate::cache::identity::Fingerprint;
use crate::cache::local::{ClockCache, Keyed};
use crate::cache::single_flight::{CallId, SingleFlight, StreamId};
use crate::ids::ClientId;
use crate::inbound::guard::Guard;
use crate::inbound::outage::Outage;
use crate::inbound::servers::Server;
use crate::lookup::{Found, Lookup, Resolved};
use crate::metrics::client::{ClientEvent, TokenEvent};
use crate::oauth::access_token::AccessToken;
use crate::oauth::back_off::BackOff;
use crate::oauth::cached_token::CachedToken;
use crate::oauth::call::Answer;
use crate::oauth::failure::Failure;
use crate::oauth::failure_log::FailureLog;
use crate::outbound::client::Client;
use crate::outbound::client_token::ClientToken;
use crate::outbound::exchanged_tokens::ROOM;
use crate::outbound::{ClientConfig, of_client};
use crate::random::Random;
use crate::run::Run;
use crate::store::{Acquire, Lease, LeaseKey, LeaseOwner, TokenKey};
use crate::timestamp::Timestamp;

/// How much longer than a call its lease lasts: until the response has been published.
const LEASE_GRACE: Duration = Duration::from_secs(1);

/// Obtains what is looked up.
pub(crate) struct Fetcher {
    /// What the operator wants of the inbound direction.
    guard: Option<Arc<Guard>>,
    /// What the operator wants of the outbound direction.
    config: Option<Arc<ClientConfig>>,
    /// What is under way.
    flights: SingleFlight<Progress>,
    /// Those lookups for which another worker makes the call; some may have ended.
    followed: Vec<CallId>,
    /// What is known of each server.
    servers: Vec<ServerHealth>,
    /// The clients' tokens, in their order.
    tokens: Vec<ClientToken>,
    /// Whether each token endpoint answers.
    failures: Vec<FailureLog>,
    /// Whose exchanges fail, and when each is tried again.
    back_offs: ClockCache<BackOff>,
    /// Names what is under way.
    keyed: Keyed,
    /// Jitter, numbers of tokens and leases.
    random: Random,
    /// When tokens are reported next, if they have ever been.
    report_at: Option<Timestamp>,
    /// Whether there is more to report than zeros, or the last report was more.
    reporting: bool,
}

/// What is known of a server.
struct ServerHealth {
    /// Whether it answers.
    failures: FailureLog,
    /// Whether it is down for everybody.
    outage: Outage,
}

/// What there is in answer to the wish for a client's token.
enum Obtained {
    /// This one.
    Token(Arc<AccessToken>),
    /// It is being obtained.
    Wait(CallId),
    /// None.
    Failed(Failure),
}

/// What comes of the attempt to be the one who calls about a caller's token.
enum Turn<K> {
    /// There is no need to: this is known.
    Known(K),
    /// This worker calls.
    Ours(Permit),
    /// Another worker calls.
    Busy(LeaseOwner),
    /// The call that was waited for has failed, or it is too early for one.
    Failed(Failure),
}

impl<K> Turn<K> {
    /// Looks for what is `known` to all workers, or else acquires the lease on a call about a token.
    fn take(
        key: LeaseKey<'_>,
        lease: Lease,
        after: Option<LeaseOwner>,
        run: &Run<'_>,
        known: impl Fn() -> Option<K>,
    ) -> Self {
        let mut found = None;
        let acquired = run.store.acquire(key, lease, after, run.now, &mut || {
            found = known();
            found.is_some()
        });
        match (acquired, found) {
            (Acquire::Known, Some(known)) => Self::Known(known),
            (Acquire::Ours, _) => Self::Ours(Some(lease.owner)),
            (Acquire::Busy(owner), _) => Self::Busy(owner),
            (Acquire::Failed(failure), _) => Self::Failed(failure),
            // The call is made without a lease.
            (Acquire::Known | Acquire::Contended | Acquire::Refused, _) => Self::Ours(None),
        }
    }
}

impl Fetcher {
    /// Nothing is under way. `seed` is random.
    pub(crate) fn new(
        guard: Option<Arc<Guard>>,
        config: Option<Arc<ClientConfig>>,
        seed: [u8; 16],
    ) -> Self {
        let health = |server: &Server| {
            let cluster = &server.introspection.endpoint.cluster;
            let failures = FailureLog::new(format!("introspection at cluster {cluster}"));
            ServerHealth { failures, outage: Outage::default() }
        };
        let failures =
            |client: &Client| FailureLog::new(format!("token endpoint of client {}", client.name));
        let clients = || config.iter().flat_map(|config| &config.clients);
        Self {
            servers: guard.iter().flat_map(|guard| &guard.servers).map(health).collect(),
            tokens: clients().map(|_| ClientToken::default()).collect(),
            failures: clients().map(failures).collect(),
            flights: SingleFlight::new(),
            followed: Vec::new(),
            back_offs: ClockCache::new(ROOM),
            keyed: Keyed::new(seed),
            random: Random::new(seed, "fetcher"),
            report_at: None,
            reporting: false,
            guard,
            config,
        }
    }

    /// Forgets the servers, as nothing but a test does.
    #[cfg(test)]
    pub(crate) fn lose_servers(&mut self) {
        self.guard = None;
    }

    /// Takes in what a decider asks.
    pub(crate) fn look_up(&mut self, lookup: Lookup, run: &mut Run<'_>) {
        match lookup {
            Lookup::Introspect(stream, introspect) => self.introspect(stream, introspect, run),
            Lookup::ClientToken(stream, client) => match self.obtain(client, run) {
                Obtained::Wait(id) => self.flights.join(id, stream),
                Obtained::Token(token) => {
                    resolve(vec![stream], Found::ClientToken(client, Ok(token)), run);
                }
                Obtained::Failed(failure) => {
                    resolve(vec![stream], Found::ClientToken(client, Err(failure)), run);
                }
            },
            Lookup::ExchangedToken(stream, client, subject) => {
                self.exchange(stream, client, subject, run);
            }
            Lookup::RenewExchanged(client, subject) => self.renew_exchanged(client, subject, run),
            Lookup::Used(client) => {
                if let Some((config, token)) = self.client(client) {
                    token.sync(config, run.store, run.now);
                    token.used = true;
                }
            }
            Lookup::Rejected(client, number) => _ = self.reject(client, number, run),
            Lookup::RejectedExchanged(client, fingerprint, record) => {
                self.reject_exchanged(client, fingerprint, &record, run);
            }
        }
    }

    /// The outcome of a call.
    pub(crate) fn call_ended(
        &mut self,
        id: CallId,
        outcome: Result<&Answer, Failure>,
        run: &mut Run<'_>,
    ) {
        let Some((progress, flight)) = self.flights.take(id) else { return };
        match progress {
            Progress::Introspection(introspection) => {
                self.introspection_ended(flight, introspection, outcome, run);
            }
            Progress::ClientToken(obtaining) => {
                self.token_call_ended(flight, obtaining, outcome, run);
            }
            Progress::Exchange(exchange) => self.exchange_ended(flight, exchange, outcome, run),
        }
    }

    /// A request has ended that waited. A call of this worker goes on, since its outcome is worth
    /// caching; another worker's is no longer followed.
    pub(crate) fn stream_ended(&mut self, stream: StreamId) {
        let Some(id) = self.flights.leave(stream) else { return };
        let is_abandoned = match self.flights.state(id) {
            Some(Progress::Introspection(introspection)) => {
                matches!(introspection.stage, IntrospectionStage::Following(_))
            }
            Some(Progress::Exchange(exchange)) => {
                matches!(exchange.stage, ExchangeStage::Following(_))
            }
            Some(Progress::ClientToken(obtaining)) => {
                matches!(obtaining.stage, ObtainingStage::Following)
                    && obtaining.dependents.is_empty()
            }
            None => false,
        };
        if is_abandoned && let Some((_, flight)) = self.flights.take(id) {
            self.flights.end(flight);
        }
    }

    /// A client, and its token.
    fn client(&mut self, id: ClientId) -> Option<(&Client, &mut ClientToken)> {
        of_client(self.config.as_deref()?, &mut self.tokens, id)
    }

    /// A token of a client was rejected: whether the next request gets another.
    fn reject(&mut self, id: ClientId, number: u64, run: &mut Run<'_>) -> bool {
        let (store, now) = (run.store, run.now);
        let Some((client, token)) = self.client(id) else { return false };
        let is_dropped = client.can_renew()
            && token.update(client, store, now, &mut |record| record.dropped(number, now));
        if is_dropped {
            self.dropped(id, run);
        }
        is_dropped
    }

    /// A token that was exchanged for a caller's was rejected: all workers are to know.
    fn reject_exchanged(
        &mut self,
        id: ClientId,
        fingerprint: Fingerprint,
        record: &CachedToken,
        run: &mut Run<'_>,
    ) {
        let Some((client, _)) = self.client(id) else { return };
        let key = TokenKey { identity: &client.key.identity, token: fingerprint };
        run.store.publish_exchanged_token(key, record, run.now);
        run.store.count_change(&client.key);
        self.dropped(id, run);
    }

    /// A token is not used any more.
    fn dropped(&mut self, id: ClientId, run: &mut Run<'_>) {
        if let Some((client, _)) = self.client(id) {
            info!("client {}: token rejected, dropping it", client.name);
        }
        run.count_client(id, ClientEvent::Token(TokenEvent::Dropped));
    }
}

/// A new lease for a call that takes so long at most.
fn lease(random: &Random, timeout: Duration, now: Timestamp) -> Lease {
    Lease { owner: LeaseOwner(random.number()), ends: now.plus(timeout).plus(LEASE_GRACE) }
}

/// What was looked up goes to those who have waited for it.
fn resolve(streams: Vec<StreamId>, found: Found, run: &mut Run<'_>) {
    run.output.resolved.push(Resolved { streams, found });
}
