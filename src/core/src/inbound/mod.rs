//! The inbound direction: the proxy protects a resource (RFC 6750, RFC 7662).
//!
//! The input is the heads of requests and the states of their tokens; the output is verdicts, and
//! lookups of states that are not cached. This module does not depend on the outbound direction:
//! the caller recognizes the proxy's own tokens.

pub(crate) mod forwarding;
pub(crate) mod guard;
pub(crate) mod introspection_cache;
pub(crate) mod mcp;
pub(crate) mod outage;
pub(crate) mod policy;
pub(crate) mod resource_metadata;
pub(crate) mod servers;
use std::sync::Arc;
use std::time::Duration;

use log::debug;

use crate::cache::footprint::Footprint;
use crate::cache::local::{CacheKey, KeySpace, Keyed};
use crate::defect;
use crate::http::head::{Head, is_grpc};
use crate::ids::ServerId;
use crate::inbound::guard::{Admission, Bearer, Guard, Outcome};
use crate::inbound::introspection_cache::IntrospectionCache;
use crate::lookup::{Introspect, Introspected, Unavailable};
use crate::metrics::{self, Counter, Decision, Event};
use crate::oauth::failure::Failure;
use crate::oauth::reason::Reason;
use crate::oauth::secret::Secret;
use crate::oauth::standing::Standing;
use crate::oauth::token_source::Presented;
use crate::oauth::token_state::TokenState;
use crate::run::Run;
use crate::verdict::{Attributes, Verdict, VerifiedSubject};

/// How long a stale response is served before the unavailable server is called again.
const STALE_PAUSE: Duration = Duration::from_secs(1);

/// A decision, or the lookup that it depends on.
pub(crate) enum Progress<D> {
    Decided(D),
    /// The request's token has to be introspected.
    Waiting(Box<Waiter>, Introspect),
}

/// A request whose token is being introspected.
pub(crate) struct Waiter {
    bearer: Bearer,
    grpc: bool,
}

impl Footprint for Waiter {
    fn owned_bytes(&self) -> usize {
        size_of::<Self>().saturating_add(self.bearer.owned_bytes())
    }
}

/// The inbound direction of one configuration in one worker.
pub(crate) struct Inbound {
    guard: Arc<Guard>,
    keyed: Keyed,
    cache: IntrospectionCache,
    /// Whether the choice of the server depends on the host of a request.
    by_host: bool,
    /// Whether there are rules, so that their names are worth reporting.
    has_rules: bool,
}

impl Inbound {
    /// Creates the state of one worker. `seed` is random.
    pub(crate) fn new(guard: Arc<Guard>, seed: [u8; 16]) -> Self {
        Self {
            keyed: Keyed::new(seed),
            cache: IntrospectionCache::new(&guard.cache),
            by_host: guard.servers.iter().any(|server| server.when.hosts.is_some()),
            has_rules: !guard.rules.is_empty(),
            guard,
        }
    }

    /// Whether a trailer with this name must not be forwarded.
    pub(crate) fn is_reserved(&self, name: &[u8]) -> bool {
        self.guard.forward.is_reserved(name)
    }

    #[cfg(feature = "review")]
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Handles the head of a request. `is_ours` recognizes the proxy's own tokens.
    pub(crate) fn request(
        &mut self,
        head: &dyn Head,
        is_ours: &dyn Fn(&Presented<'_>) -> bool,
        run: &mut Run<'_>,
    ) -> Progress<Verdict> {
        match self.meet(head, is_ours, run) {
            Ok(Progress::Waiting(waiter, lookup)) => Progress::Waiting(waiter, lookup),
            Ok(Progress::Decided(outcome)) | Err(outcome) => {
                Progress::Decided(self.pronounce(outcome, run))
            }
        }
    }

    /// Decides on a request, or returns the lookup that the decision depends on.
    fn meet(
        &mut self,
        head: &dyn Head,
        is_ours: &dyn Fn(&Presented<'_>) -> bool,
        run: &mut Run<'_>,
    ) -> Result<Progress<Outcome>, Outcome> {
        let (bearer, presented) = match self.guard.admit(head, is_ours)? {
            Admission::Decided(decided) => return Ok(Progress::Decided(decided)),
            Admission::NeedsToken(bearer, presented) => (bearer, presented),
        };
        let deny = |reason| self.guard.deny(reason, &bearer.needs, is_grpc(head));
        // Without conditions on hosts, the token alone determines the server, so responses are
        // found before the server is determined. Only valid tokens are cached, so a hit needs no
        // check of the syntax.
        let mut key = self.keyed.key(KeySpace::Server(ServerId(0)), presented.unchecked());
        let mut server = None;
        if self.by_host {
            let token = presented.token().map_err(deny)?;
            let of_host = self.guard.server_for(token, head).map_err(deny)?;
            key = self.keyed.key(KeySpace::Server(of_host), token.reveal());
            server = Some(of_host);
        }
        if let Some(state) = self.cache.find(key, run.now) {
            run.count(Event::Count(Counter::Lookup(match state {
                TokenState::Active(ref active) if active.stale => metrics::Lookup::Stale,
                TokenState::Active(_) => metrics::Lookup::Hit,
                TokenState::Rejected(_) => metrics::Lookup::Negative,
            })));
            return Ok(Progress::Decided(self.guard.judge(
                state,
                bearer,
                || is_grpc(head),
                run.now,
            )));
        }
        let token = presented.token().map_err(deny)?;
        let server = match server {
            Some(server) => server,
            None => self.guard.server_for(token, head).map_err(deny)?,
        };
        // With caching off, requests do not share a call.
        let key = (!self.guard.cache.max_ttl.is_zero()).then_some(key);
        let token = Secret::new(token.reveal().to_owned());
        let waiter = Waiter { grpc: is_grpc(head), bearer };
        Ok(Progress::Waiting(Box::new(waiter), Introspect { server, token, key }))
    }

    /// Denies a request for which there is no room to wait.
    pub(crate) fn overloaded(&self, waiter: &Waiter, run: &mut Run<'_>) -> Verdict {
        let needs = &waiter.bearer.needs;
        self.pronounce(self.guard.deny(Reason::Overloaded, needs, waiter.grpc), run)
    }

    /// Caches the result of a lookup. Returns the state of the token, which may be served stale.
    pub(crate) fn resolve(
        &mut self,
        key: Option<CacheKey>,
        result: Result<Introspected, Unavailable>,
        run: &mut Run<'_>,
    ) -> Result<TokenState, Unavailable> {
        match (result, key) {
            (Ok(response), Some(key)) => {
                let freshness = self.guard.freshness(&response);
                self.cache.insert(key, &response, freshness, run.now);
                Ok(response.state)
            }
            (Ok(response), None) => Ok(response.state),
            (Err(unavailable), Some(key)) if unavailable.may_serve_stale => {
                let stale = self.cache.stale(key, STALE_PAUSE, run.now).ok_or(unavailable)?;
                run.count(Event::Count(Counter::Lookup(metrics::Lookup::Stale)));
                Ok(TokenState::Active(stale))
            }
            (Err(unavailable), _) => Err(unavailable),
        }
    }

    /// Decides on a request with the result of its lookup.
    pub(crate) fn conclude(
        &self,
        waiter: Waiter,
        result: &Result<TokenState, Unavailable>,
        run: &mut Run<'_>,
    ) -> Verdict {
        let Waiter { bearer, grpc } = waiter;
        let decided = match result {
            Ok(state) => self.guard.judge(state.clone(), bearer, || grpc, run.now),
            Err(Unavailable { failure: Failure::Defect, .. }) => {
                return defect::refuse("no state for an introspection call", run);
            }
            Err(unavailable) => self.guard.fail(*unavailable, bearer, grpc),
        };
        self.pronounce(decided, run)
    }

    /// Counts and logs a decision, and turns it into a verdict.
    fn pronounce(&self, outcome: Outcome, run: &mut Run<'_>) -> Verdict {
        let Outcome { action, decision, rule, known } = outcome;
        if let Decision::Denied(reason) = decision {
            debug!("denied by {rule}: {}", reason.details());
        }
        run.count(Event::Count(Counter::Request(decision)));
        let attributes = Attributes {
            decision: Some(decision),
            rule: self.has_rules.then_some(rule),
            token: known.as_ref().map(|known| Arc::clone(&known.attributes)),
        };
        let checked = known.map(|known| VerifiedSubject {
            expires: known.token.expires,
            standing: if known.stale { Standing::Unknown } else { Standing::Active },
        });
        Verdict { action, attributes, sent: None, checked }
    }
}
