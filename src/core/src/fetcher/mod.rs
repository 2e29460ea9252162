//! The half of the filter that obtains introspection responses and access tokens that a decider has
//! not cached.
//!
//! The input is lookups and the outcomes of calls; the output is calls and the results of lookups.
//! One call serves all requests that need it, in this worker and, through leases in the store, in
//! all others. This module depends neither on requests nor on decisions.

mod exchange;
mod introspection;
mod issuer_health;
mod keys;
mod stage;
mod token;
mod upkeep;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use log::info;

use self::issuer_health::IssuerHealth;
use self::stage::{ExchangeStage, IntrospectionStage, ObtainingStage, Permit, Progress};
use crate::cache::identity::Fingerprint;
use crate::cache::local::{ClockCache, Keyed};
use crate::cache::single_flight::{CallId, SingleFlight, StreamId};
use crate::ids::ClientId;
use crate::inbound::guard::Guard;
use crate::inbound::issuers::Issuer;
use crate::inbound::outage::Outage;
use crate::inbound::servers::Server;
use crate::lookup::{Found, Lookup, Lookups, Resolved};
use crate::metrics::client::{ClientEvent, TokenEvent};
use crate::oauth::access_token::AccessToken;
use crate::oauth::back_off::BackOff;
use crate::oauth::cached_token::CachedToken;
use crate::oauth::call::{Answer, CallFailure};
use crate::oauth::failure::Failure;
use crate::oauth::failure_log::FailureLog;
use crate::oauth::secret::Secret;
use crate::outbound::client::Client;
use crate::outbound::client_token::ClientToken;
use crate::outbound::exchanged_tokens::ROOM;
use crate::outbound::{ClientConfig, of_client};
use crate::random::Random;
use crate::run::Run;
use crate::store::{Acquire, Lease, LeaseKey, LeaseOwner, TokenKey};
use crate::timestamp::Timestamp;

/// How much longer than its call a lease lasts, so that the response can be published.
const LEASE_GRACE: Duration = Duration::from_secs(1);

/// Obtains introspection responses and access tokens for the deciders of one configuration.
///
/// The driver makes the calls of [`Output::calls`](crate::Output::calls), and passes
/// [`Output::resolved`](crate::Output::resolved) on to the deciders.
pub struct Fetcher {
    guard: Option<Arc<Guard>>,
    config: Option<Arc<ClientConfig>>,
    flights: SingleFlight<Progress>,
    /// The lookups for which another worker makes the call. Some may have ended.
    followed: Vec<CallId>,
    servers: Vec<ServerHealth>,
    /// In the order of the issuers; `None` for one whose keys are not fetched.
    issuers: Vec<Option<IssuerHealth>>,
    /// In the order of the clients.
    tokens: Vec<ClientToken>,
    /// The failures of each client's token endpoint.
    failures: Vec<FailureLog>,
    /// The back-offs of callers whose exchanges fail.
    back_offs: ClockCache<BackOff>,
    /// Makes the keys of `flights`.
    keyed: Keyed,
    /// For jitter, and for the numbers of tokens and leases.
    random: Arc<Random>,
    /// When the gauges are reported next; `None` before the first report.
    report_at: Option<Timestamp>,
    /// Whether a gauge may differ from zero, so that another report is needed.
    reporting: bool,
}

/// The health of an authorization server.
struct ServerHealth {
    failures: FailureLog,
    outage: Outage,
}

/// The result of looking for a client's token.
enum Obtained {
    Token(Arc<AccessToken>),
    /// This lookup is obtaining it.
    Wait(CallId),
    Failed(Failure),
}

/// The result of an attempt to lead the call about a caller's token.
enum Turn<K> {
    /// The result is in the store, so no call is needed.
    Known(K),
    /// This worker makes the call.
    Ours(Permit),
    /// Another worker makes the call, since this time.
    Busy(LeaseOwner, Timestamp),
    /// The call that was waited for has failed, or it is too early for another one.
    Failed(Failure),
}

impl<K> Turn<K> {
    /// Returns the result that is `known` to all workers, or acquires the lease on a call about a
    /// token.
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
            (Acquire::Busy(owner, since), _) => Self::Busy(owner, since),
            (Acquire::Failed(failure), _) => Self::Failed(failure),
            // The call is made without a lease.
            (Acquire::Known | Acquire::Contended | Acquire::Refused, _) => Self::Ours(None),
        }
    }
}

impl Fetcher {
    /// Creates the state of one worker. `seed` is random.
    pub(crate) fn new(
        guard: Option<Arc<Guard>>,
        config: Option<Arc<ClientConfig>>,
        seed: [u8; 16],
        random: Arc<Random>,
    ) -> Self {
        let health = |server: &Server| {
            let cluster = &server.introspection.endpoint.cluster;
            let failures = FailureLog::new(format!("introspection at cluster {cluster}"));
            ServerHealth { failures, outage: Outage::default() }
        };
        let failures =
            |client: &Client| FailureLog::new(format!("token endpoint of client {}", client.name));
        let servers: &[Server] = guard.as_ref().map_or(&[], |guard| &guard.servers);
        let issuers: &[Issuer] = guard.as_ref().map_or(&[], |guard| &guard.issuers);
        let clients: &[Client] = config.as_ref().map_or(&[], |config| &config.clients);
        Self {
            servers: servers.iter().map(health).collect(),
            issuers: issuers.iter().map(IssuerHealth::of).collect(),
            tokens: clients.iter().map(|_| ClientToken::default()).collect(),
            failures: clients.iter().map(failures).collect(),
            flights: SingleFlight::new(),
            followed: Vec::new(),
            back_offs: ClockCache::new(ROOM),
            keyed: Keyed::new(seed),
            random,
            report_at: None,
            reporting: false,
            guard,
            config,
        }
    }

    /// Removes the servers, which only happens in tests.
    #[cfg(test)]
    pub(crate) fn lose_servers(&mut self) {
        self.guard = None;
    }

    /// Handles the lookups of a decider.
    pub fn look_up(&mut self, lookups: Lookups, run: &mut Run<'_>) {
        for lookup in lookups.0 {
            self.handle(lookup, run);
        }
    }

    fn handle(&mut self, lookup: Lookup, run: &mut Run<'_>) {
        match lookup {
            Lookup::Introspect(stream, introspect) => self.introspect(stream, introspect, run),
            Lookup::Keys(stream, issuer, needed) => self.look_up_keys(stream, issuer, needed, run),
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

    /// Handles the outcome of a call.
    pub fn call_ended(
        &mut self,
        id: CallId,
        outcome: Result<&Answer, CallFailure>,
        run: &mut Run<'_>,
    ) {
        let outcome = outcome.map_err(Failure::Call);
        let Some((progress, flight)) = self.flights.take(id) else { return };
        match progress {
            Progress::Introspection(introspection) => {
                self.introspection_ended(flight, introspection, outcome, run);
            }
            Progress::ClientToken(obtaining) => {
                self.token_call_ended(flight, obtaining, outcome, run);
            }
            Progress::Exchange(exchange) => self.exchange_ended(flight, exchange, outcome, run),
            Progress::Keys(fetch) => self.key_call_ended(flight, &fetch, outcome, run),
        }
    }

    /// Removes a request that has ended while it waited. A call of this worker continues, because
    /// its outcome is worth caching; a call of another worker is no longer followed.
    pub fn stream_ended(&mut self, stream: StreamId) {
        let Some(id) = self.flights.leave(stream) else { return };
        let is_abandoned = match self.flights.state(id) {
            Some(Progress::Introspection(introspection)) => {
                matches!(introspection.stage, IntrospectionStage::Following(..))
            }
            Some(Progress::Exchange(exchange)) => {
                matches!(exchange.stage, ExchangeStage::Following(_))
            }
            Some(Progress::ClientToken(obtaining)) => {
                matches!(obtaining.stage, ObtainingStage::Following)
                    && obtaining.dependents.is_empty()
            }
            Some(Progress::Keys(_)) | None => false,
        };
        if is_abandoned && let Some((_, flight)) = self.flights.take(id) {
            self.flights.end(flight);
        }
    }

    fn client(&mut self, id: ClientId) -> Option<(&Client, &mut ClientToken)> {
        client_of(self.config.as_deref(), &mut self.tokens, id)
    }

    /// Handles the rejection of a client's token. Returns whether it was dropped, so that the next
    /// request gets another one.
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

    /// Publishes the rejection of an exchanged token to all workers.
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

    /// Logs and counts a token that is no longer used.
    fn dropped(&mut self, id: ClientId, run: &mut Run<'_>) {
        if let Some((client, _)) = self.client(id) {
            info!("client {}: token rejected, dropping it", client.name);
        }
        run.count_client(id, ClientEvent::Token(TokenEvent::Dropped));
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

/// A client and its token. Borrows only what these are in, for use beside other fields.
fn client_of<'f>(
    config: Option<&'f ClientConfig>,
    tokens: &'f mut [ClientToken],
    id: ClientId,
) -> Option<(&'f Client, &'f mut ClientToken)> {
    of_client(config?, tokens, id)
}

/// The tokens that a call may have contained: `sent`, and the proxy's own.
fn each_token(sent: Option<&Secret>, own: &[ClientToken], check: &mut dyn FnMut(&str)) {
    let own = own.iter().flat_map(ClientToken::known).map(|token| &token.token);
    own.chain(sent).for_each(|token| check(token.reveal()));
}

/// A new lease for a call with this timeout.
fn lease(random: &Random, timeout: Duration, now: Timestamp) -> Lease {
    Lease { owner: LeaseOwner(random.number()), ends: now.plus(timeout).plus(LEASE_GRACE) }
}

/// Reports a result to the requests that waited for it.
fn resolve(streams: Vec<StreamId>, found: Found, run: &mut Run<'_>) {
    run.output.resolved.push(Resolved { streams, found });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::filter::Configuration;

    #[test]
    fn no_fetcher_of_a_configuration_has_the_leases_of_another() {
        let environment = Environment::new(&|_| None, [1; 16]);
        let document = br#"{"inbound": {"introspection": {
            "endpoint": "https://as.test/introspect", "cluster": "as",
            "client_id": "service", "client_secret": "secret"
        }}}"#;
        let (configuration, _) = Configuration::load(document, &environment).unwrap();
        let owner = |fetcher: Fetcher| {
            lease(&fetcher.random, Duration::ZERO, Timestamp::from_millis(1)).owner
        };
        let of_route = configuration.clone();
        let owners = [configuration.fetcher(), configuration.fetcher(), of_route.fetcher()];
        let [first, second, third] = owners.map(owner);
        assert!(first != second && second != third && first != third, "{first:?}");
    }
}
