//! The inbound direction: the proxy protects a resource (RFC 6750, RFC 7662).
//!
//! The input is the heads of requests and the states of their tokens; the output is verdicts, and
//! lookups of states that are not cached. This module does not depend on the outbound direction:
//! the caller recognizes the proxy's own tokens.

pub(crate) mod cors;
mod evaluation;
pub(crate) mod forwarding;
pub(crate) mod guard;
pub(crate) mod introspection_cache;
pub(crate) mod issuers;
pub(crate) mod keys;
pub(crate) mod mcp;
pub(crate) mod outage;
pub(crate) mod policy;
mod progress;
pub(crate) mod resource_metadata;
pub(crate) mod resources;
pub(crate) mod servers;
mod verification;

use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};

use crate::cache::issued::IssuedTokens;
use crate::cache::local::{CacheKey, KeySpace, Keyed};
use crate::defect;
use crate::http::head::{Head, is_grpc};
use crate::ids::{HeaderId, IssuerId, ServerId};
use crate::inbound::cors::Cors;
use crate::inbound::guard::{Admission, Bearer, Guard, Outcome};
use crate::inbound::introspection_cache::IntrospectionCache;
use crate::inbound::keys::IssuerKeys;
use crate::inbound::progress::Verification;
pub(crate) use crate::inbound::progress::{KeyWaiter, Progress, Waiter};
use crate::jose::upkeep::KeyNews;
use crate::lookup::{Introspected, Unavailable};
use crate::metrics::{self, Counter, Decision, Event};
use crate::oauth::claim_header::Dropped;
use crate::oauth::failure::Failure;
use crate::oauth::reason::Reason;
use crate::oauth::standing::Standing;
use crate::oauth::token_source::Presented;
use crate::oauth::token_state::TokenState;
use crate::run::Run;
use crate::timestamp::Timestamp;
use crate::verdict::{Attributes, Verdict, VerifiedSubject};

/// How long a stale response is served before the unavailable server is called again.
const STALE_PAUSE: Duration = Duration::from_secs(1);

/// The inbound direction of one configuration in one worker.
pub(crate) struct Inbound {
    guard: Arc<Guard>,
    keyed: Keyed,
    cache: IntrospectionCache,
    /// The keys of the issuers whose JWTs are verified.
    keys: IssuerKeys,
    /// Whether the choice of the server depends on the host of a request.
    by_host: bool,
    /// Whether there are rules, so that their names are worth reporting.
    has_rules: bool,
    /// The tokens that have taken the place of callers'.
    issued: IssuedTokens,
    /// The headers about which the log says that their claims are not forwarded.
    reported: Vec<HeaderId>,
}

impl Inbound {
    /// Creates the state of one worker. `seed` is random.
    pub(crate) fn new(guard: Arc<Guard>, seed: [u8; 16]) -> Self {
        Self {
            keyed: Keyed::new(seed),
            cache: IntrospectionCache::new(&guard.cache),
            keys: IssuerKeys::new(&guard.issuers),
            by_host: guard.servers.iter().any(|server| server.when.hosts.is_some()),
            has_rules: !guard.rules.is_empty(),
            issued: IssuedTokens::new(guard.cache.max_entries, seed),
            reported: Vec::new(),
            guard,
        }
    }

    /// Whether a trailer with this name must not be forwarded.
    pub(crate) fn is_reserved(&self, name: &[u8]) -> bool {
        self.guard.forward.is_reserved(name) || self.guard.rules.tests_header(name)
    }

    /// The names of the headers with claims.
    pub(crate) fn claim_headers(&self) -> impl Iterator<Item = &str> {
        self.guard.forward.claim_headers()
    }

    /// The identifiers of the issuers, in their order; `None` for one whose keys are not fetched.
    pub(crate) fn key_issuers(&self) -> impl Iterator<Item = Option<&str>> {
        self.guard.key_issuers()
    }

    /// How scripts of other origins are treated, if that is configured.
    pub(crate) fn cors(&self) -> Option<&Cors> {
        self.guard.cors.as_ref()
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
            Ok(progress) => progress.map(|outcome| self.pronounce(outcome, run)),
            Err(outcome) => Progress::Decided(self.pronounce(*outcome, run)),
        }
    }

    /// Decides on a request, or returns the lookup that the decision depends on.
    fn meet(
        &mut self,
        head: &dyn Head,
        is_ours: &dyn Fn(&Presented<'_>) -> bool,
        run: &mut Run<'_>,
    ) -> Result<Progress<Outcome>, Box<Outcome>> {
        // After a redirect within Envoy, the head is the one that the filter has changed.
        let is_issued = |presented: &Presented<'_>| {
            self.guard.forward.sets_authorization()
                && head.value("x-envoy-original-url").is_some()
                && self.issued.has(presented.unchecked(), run.now)
        };
        let is_ours = |presented: &Presented<'_>| is_ours(presented) || is_issued(presented);
        let (bearer, presented) = match self.guard.admit(head, &is_ours)? {
            Admission::Decided(decided) => return Ok(Progress::Decided(decided)),
            Admission::NeedsToken(bearer, presented) => (bearer, presented),
        };
        let deny = |reason| {
            let Bearer { needs, resource, .. } = &bearer;
            Box::new(Outcome::of_token(reason, needs, resource, is_grpc(head)))
        };
        // Without conditions on hosts, the token alone determines the server, so responses are
        // found before the server is determined. Only valid tokens are cached, so a hit needs no
        // check of the syntax.
        let mut key = self.keyed.key(KeySpace::Server(ServerId(0)), presented.unchecked());
        let mut verifier = None;
        if self.by_host {
            let token = presented.parse(self.guard.token_sources.max_bytes).map_err(deny)?;
            let of_host = self.guard.verifier_for(token, head).map_err(deny)?;
            if let Some(server) = of_host.server() {
                key = self.keyed.key(KeySpace::Server(server), token.reveal());
            }
            verifier = Some(of_host);
        }
        if let Some(state) = self.cache.find(key, bearer.needs.age, run.now) {
            run.count(Event::Count(Counter::Lookup(match state {
                TokenState::Active(_, Standing::Unknown) => metrics::Lookup::Stale,
                TokenState::Active(_, Standing::Active) => metrics::Lookup::Hit,
                TokenState::Rejected(_) => metrics::Lookup::Negative,
            })));
            return Ok(Progress::Decided(self.guard.judge(
                state,
                bearer,
                &|| is_grpc(head),
                run.now,
            )));
        }
        let token = presented.parse(self.guard.token_sources.max_bytes).map_err(deny)?;
        let verifier = match verifier {
            Some(verifier) => verifier,
            None => self.guard.verifier_for(token, head).map_err(deny)?,
        };
        let verification = self.verify(verifier, token, key, (bearer, head), run);
        Ok(self.take_note(verification, run))
    }

    /// Caches the state of a token that was verified, and decides on its request.
    fn take_note(&mut self, verification: Verification, run: &mut Run<'_>) -> Progress<Outcome> {
        let (waiter, key, known) = match verification {
            Verification::Known(waiter, key, known) => (waiter, key, known),
            Verification::Unknown(progress) => return progress,
        };
        run.count(Event::Count(Counter::Lookup(metrics::Lookup::Verified)));
        self.resolve(key, &known, run);
        let Waiter { bearer, grpc } = waiter;
        Progress::Decided(self.guard.judge(known.state, bearer, &|| grpc, run.now))
    }

    /// Adopts what is new about the keys of an issuer.
    pub(crate) fn adopt_keys(&mut self, issuer: IssuerId, news: &KeyNews) {
        if let Some(keys) = self.keys.adopt(issuer, news) {
            self.cache.keys_changed(issuer, &keys);
        }
    }

    /// Decides on a request that has waited for keys, or returns the lookup that the decision
    /// depends on.
    pub(crate) fn go_on(&mut self, waiter: KeyWaiter, run: &mut Run<'_>) -> Progress<Verdict> {
        let verification = self.verify_again(waiter, run.now);
        let progress = self.take_note(verification, run);
        progress.map(|outcome| self.pronounce(outcome, run))
    }

    /// Denies a request for which there is no room to wait.
    pub(crate) fn overloaded(&self, waiter: &Waiter, run: &mut Run<'_>) -> Verdict {
        let Bearer { needs, resource, .. } = &waiter.bearer;
        let outcome = Outcome::of_token(Reason::Overloaded, needs, resource, waiter.grpc);
        self.pronounce(outcome, run)
    }

    /// Takes note of the result of a lookup, and caches it if it has a key.
    pub(crate) fn resolve(
        &mut self,
        key: Option<CacheKey>,
        response: &Introspected,
        run: &mut Run<'_>,
    ) {
        self.note_dropped(&response.dropped, run);
        self.note_issued(&response.state, run.now);
        if let Some(key) = key {
            let freshness = self.guard.freshness(response);
            self.cache.insert(key, response, freshness, run.now);
        }
    }

    /// Remembers the token that takes the place of a caller's.
    fn note_issued(&mut self, state: &TokenState, now: Timestamp) {
        if let TokenState::Active(token, _) = state
            && let Some(bearer) = self.guard.forward.bearer_in(&token.headers)
        {
            let until = token.token.end.unwrap_or(Timestamp::NEVER);
            self.issued.add(bearer, until, now);
        }
    }

    /// Counts the claims of a response that are not forwarded, and logs the first of each header.
    fn note_dropped(&mut self, dropped: &[Dropped], run: &mut Run<'_>) {
        for one @ Dropped { header, cause } in dropped {
            run.count(Event::Dropped(*one));
            if !self.reported.contains(header) {
                self.reported.push(*header);
                let name = self.guard.forward.claim_headers().nth(header.index());
                warn!("header {} is not set: its claim is {cause}", name.unwrap_or_default());
            }
        }
    }

    /// Decides on a request with the result of its lookup.
    pub(crate) fn conclude(
        &mut self,
        waiter: Waiter,
        key: Option<CacheKey>,
        result: &Result<Introspected, Unavailable>,
        run: &mut Run<'_>,
    ) -> Verdict {
        let Waiter { bearer, grpc } = waiter;
        let state = match result {
            Ok(response) => Ok(response.state.clone()),
            Err(unavailable) => self.stale(&bearer, key, unavailable, run).ok_or(unavailable),
        };
        let decided = match state {
            Ok(state) => self.guard.judge(state, bearer, &|| grpc, run.now),
            Err(Unavailable { failure: Failure::Defect, .. }) => {
                return defect::refuse("no state for an introspection call", run);
            }
            Err(unavailable) => self.guard.fail(unavailable, bearer, grpc),
        };
        self.pronounce(decided, run)
    }

    /// The response that is served to a request although the server is unavailable.
    fn stale(
        &mut self,
        bearer: &Bearer,
        key: Option<CacheKey>,
        unavailable: &Unavailable,
        run: &mut Run<'_>,
    ) -> Option<TokenState> {
        let (key, shared) = (key?, unavailable.stale.as_deref()?);
        if bearer.needs.age.is_limited() {
            return None;
        }
        let known = self.cache.stale(key, STALE_PAUSE, run.now);
        let (state, is_first) = known.or_else(|| {
            // Another worker has introspected the token.
            self.resolve(Some(key), shared, run);
            self.cache.stale(key, STALE_PAUSE, run.now)
        })?;
        if is_first {
            run.count(Event::Count(Counter::Lookup(metrics::Lookup::Stale)));
        }
        Some(state)
    }

    /// Counts and logs a decision, and turns it into a verdict.
    fn pronounce(&self, outcome: Outcome, run: &mut Run<'_>) -> Verdict {
        let Outcome { action, decision, rule, known, resource } = outcome;
        if let Decision::Denied(reason) = decision {
            debug!("denied by {rule}: {}", reason.details());
        }
        run.count(Event::Count(Counter::Request(decision)));
        let attributes = Attributes {
            decision: Some(decision),
            rule: self.has_rules.then_some(rule),
            token: known.as_ref().map(|(known, _)| Arc::clone(&known.attributes)),
        };
        let checked =
            known.map(|(known, standing)| VerifiedSubject { end: known.token.end, standing });
        Verdict { action, attributes, sent: None, checked, resource }
    }
}
