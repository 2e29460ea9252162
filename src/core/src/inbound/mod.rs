//! The inbound direction: the proxy protects a resource (RFC 6750, RFC 7662).
//!
//! The input is the heads of requests and the states of their tokens; the output is verdicts, and
//! lookups of states that are not cached. This module does not depend on the outbound direction:
//! the caller recognizes the proxy's own tokens.

pub(crate) mod cors;
pub(crate) mod forwarding;
pub(crate) mod guard;
pub(crate) mod introspection_cache;
pub(crate) mod issuers;
pub(crate) mod keys;
pub(crate) mod mcp;
pub(crate) mod outage;
pub(crate) mod policy;
pub(crate) mod resource_metadata;
pub(crate) mod resources;
pub(crate) mod servers;
use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};

use crate::cache::footprint::Footprint;
use crate::cache::issued::IssuedTokens;
use crate::cache::local::{CacheKey, KeySpace, Keyed};
use crate::defect;
use crate::http::head::{Head, is_grpc};
use crate::ids::{HeaderId, IssuerId, ServerId};
use crate::inbound::cors::Cors;
use crate::inbound::guard::{Admission, Bearer, Guard, Outcome};
use crate::inbound::introspection_cache::IntrospectionCache;
use crate::inbound::issuers::{Verifier, is_verified_by_host};
use crate::inbound::keys::IssuerKeys;
use crate::jose::jws::UnverifiedJwt;
use crate::jose::upkeep::KeyNews;
use crate::jose::verify::Signed;
use crate::lookup::{Introspect, Introspected, KeysNeeded, Signer, Unavailable};
use crate::metrics::keys::KeyEvent;
use crate::metrics::{self, Counter, Decision, Event};
use crate::oauth::bearer::BearerToken;
use crate::oauth::claim_header::Dropped;
use crate::oauth::failure::{Cause, Failure};
use crate::oauth::reason::Reason;
use crate::oauth::secret::Secret;
use crate::oauth::standing::Standing;
use crate::oauth::token_source::Presented;
use crate::oauth::token_state::TokenState;
use crate::run::Run;
use crate::timestamp::Timestamp;
use crate::verdict::{Attributes, Verdict, VerifiedSubject};

/// How long a stale response is served before the unavailable server is called again.
const STALE_PAUSE: Duration = Duration::from_secs(1);

/// A decision, or the lookup that it depends on.
pub(crate) enum Progress<D> {
    Decided(D),
    /// The request's token has to be introspected.
    Waiting(Box<Waiter>, Introspect),
    /// The keys of the token's issuer are needed.
    WaitingForKeys(Box<KeyWaiter>, KeysNeeded),
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

/// A request that waits for the keys of its token's issuer.
pub(crate) struct KeyWaiter {
    waiter: Waiter,
    pub(crate) issuer: IssuerId,
    /// The server that introspects the token, too.
    server: Option<ServerId>,
    token: Secret,
    /// The key of the token's state in the cache; `None` if caching is off.
    key: Option<CacheKey>,
}

impl Footprint for KeyWaiter {
    fn owned_bytes(&self) -> usize {
        let token = self.token.reveal().len();
        size_of::<Self>().saturating_add(self.waiter.bearer.owned_bytes()).saturating_add(token)
    }
}

/// What the verification of a token without a call has come to.
enum Verification {
    /// The state of the token is known: it is to be cached, and the request decided.
    Known(Waiter, Option<CacheKey>, Introspected),
    /// The request is decided, or waits.
    Undecided(Progress<Outcome>),
}

/// What the keys of an issuer say about a token.
enum Checked {
    /// Its state, whatever else may be asked about it.
    Known(Introspected),
    /// It is signed, and has to be introspected, too.
    Signed(Signer),
    /// It cannot be verified without these keys.
    Needs(KeysNeeded),
    /// It cannot be verified now.
    Failed(Failure),
}

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
            Ok(Progress::Waiting(waiter, lookup)) => Progress::Waiting(waiter, lookup),
            Ok(Progress::WaitingForKeys(waiter, needed)) => {
                Progress::WaitingForKeys(waiter, needed)
            }
            Ok(Progress::Decided(outcome)) => Progress::Decided(self.pronounce(outcome, run)),
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
            if let Verifier::Introspect(server) | Verifier::Both(_, server) = of_host.0 {
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

    /// Verifies a token whose state is not cached.
    fn verify(
        &self,
        (verifier, jwt): (Verifier, Option<UnverifiedJwt<'_>>),
        token: BearerToken<'_>,
        key: CacheKey,
        (bearer, head): (Bearer, &dyn Head),
        run: &mut Run<'_>,
    ) -> Verification {
        let now = run.now;
        // With caching off, requests do not share a call.
        let key = (!self.guard.cache.max_ttl.is_zero()).then_some(key);
        let waiter = Waiter { grpc: is_grpc(head), bearer };
        let secret = || Secret::new(token.reveal().to_owned());
        let (issuer, server) = match verifier {
            Verifier::Introspect(server) => {
                let age = waiter.bearer.needs.age;
                let introspect = Introspect { server, token: secret(), key, age, signer: None };
                let progress = Progress::Waiting(Box::new(waiter), introspect);
                return Verification::Undecided(progress);
            }
            Verifier::VerifiedByHost(issuer) => {
                let known = jwt.map(|jwt| self.verified_by_host(issuer, jwt, head, now));
                return match known.unwrap_or(Err(Failure::Defect)) {
                    Ok(known) => Verification::Known(waiter, None, known),
                    Err(failure) => self.cannot_verify(waiter, failure),
                };
            }
            Verifier::Keys(issuer) => (issuer, None),
            Verifier::Both(issuer, server) => (issuer, Some(server)),
        };
        match jwt.map(|jwt| self.check(issuer, server, jwt, now)) {
            Some(Checked::Known(known)) => Verification::Known(waiter, key, known),
            Some(checked) => {
                if matches!(checked, Checked::Needs(KeysNeeded::Newer)) {
                    run.count(Event::Keys(issuer, KeyEvent::Unknown));
                }
                let waiter = KeyWaiter { waiter, issuer, server, token: secret(), key };
                self.checked(waiter, checked, run.now)
            }
            None => self.cannot_verify(waiter, Failure::Defect),
        }
    }

    /// What the keys of an issuer say about its token.
    fn check(
        &self,
        issuer_id: IssuerId,
        server: Option<ServerId>,
        jwt: UnverifiedJwt<'_>,
        now: Timestamp,
    ) -> Checked {
        let Some(issuer) = self.guard.issuer(issuer_id) else {
            return Checked::Failed(Failure::Defect);
        };
        if let Err(reason) = issuer.check(&jwt, now) {
            return Checked::Known(Introspected::rejected(reason, now));
        }
        let Some(keys) = self.keys.of(issuer_id, now) else {
            return Checked::Needs(KeysNeeded::Any);
        };
        match keys.signer(&jwt, self.guard.verify) {
            Ok(Signed::By(key)) => {
                let signer = Signer { issuer: issuer_id, key: Arc::clone(key) };
                if !issuer.is_met_by(&jwt) {
                    return Checked::Known(Introspected::rejected(Reason::ClaimNotMet, now));
                }
                if server.is_some() {
                    return Checked::Signed(signer);
                }
                match self.guard.verified(issuer, jwt, now) {
                    Ok(known) => Checked::Known(Introspected { signer: Some(signer), ..known }),
                    Err(failure) => Checked::Failed(failure),
                }
            }
            Ok(Signed::ByUnknownKey) if self.keys.retry_at(issuer_id).is_some() => {
                Checked::Needs(KeysNeeded::Newer)
            }
            Ok(Signed::ByNobody | Signed::ByUnknownKey) => {
                Checked::Known(Introspected::rejected(Reason::BadSignature, now))
            }
            Err(_) => Checked::Failed(Failure::Defect),
        }
    }

    /// What a token says that `jwt_authn` has verified in this request.
    ///
    /// # Errors
    /// It lacks the token that requests are to have.
    fn verified_by_host(
        &self,
        issuer: IssuerId,
        jwt: UnverifiedJwt<'_>,
        head: &dyn Head,
        now: Timestamp,
    ) -> Result<Introspected, Failure> {
        let issuer = self.guard.issuer(issuer).ok_or(Failure::Defect)?;
        if let Err(reason) = issuer.check(&jwt, now) {
            return Ok(Introspected::rejected(reason, now));
        }
        let is_verified = head.jwt_authn().is_some_and(|stored| is_verified_by_host(&jwt, &stored));
        if !is_verified {
            return Ok(Introspected::rejected(Reason::NotVerified, now));
        }
        if !issuer.is_met_by(&jwt) {
            return Ok(Introspected::rejected(Reason::ClaimNotMet, now));
        }
        self.guard.verified(issuer, jwt, now)
    }

    /// Decides on a request whose token was checked, unless that needs more.
    fn checked(&self, waiter: KeyWaiter, checked: Checked, now: Timestamp) -> Verification {
        let issuer = waiter.issuer;
        match checked {
            Checked::Known(known) => Verification::Known(waiter.waiter, waiter.key, known),
            Checked::Failed(failure) => self.cannot_verify(waiter.waiter, failure),
            Checked::Signed(signer) => {
                let KeyWaiter { waiter, server, token, key, .. } = waiter;
                let Some(server) = server else {
                    return self.cannot_verify(waiter, Failure::Defect);
                };
                let age = waiter.bearer.needs.age;
                let introspect = Introspect { server, token, key, age, signer: Some(signer) };
                Verification::Undecided(Progress::Waiting(Box::new(waiter), introspect))
            }
            Checked::Needs(needed) => match self.keys.retry_at(issuer) {
                Some(retry_at) if now >= retry_at => {
                    let progress = Progress::WaitingForKeys(Box::new(waiter), needed);
                    Verification::Undecided(progress)
                }
                retry_at => {
                    let failure = lacks_keys(needed, retry_at.unwrap_or(now), now);
                    self.cannot_verify(waiter.waiter, failure)
                }
            },
        }
    }

    /// Caches the state of a token that was verified, and decides on its request.
    fn take_note(&mut self, verified: Verification, run: &mut Run<'_>) -> Progress<Outcome> {
        let (waiter, key, known) = match verified {
            Verification::Known(waiter, key, known) => (waiter, key, known),
            Verification::Undecided(progress) => return progress,
        };
        run.count(Event::Count(Counter::Lookup(metrics::Lookup::Verified)));
        self.resolve(key, &known, run);
        let Waiter { bearer, grpc } = waiter;
        Progress::Decided(self.guard.judge(known.state, bearer, &|| grpc, run.now))
    }

    /// Denies a request whose token cannot be verified now.
    fn cannot_verify(&self, waiter: Waiter, failure: Failure) -> Verification {
        let Waiter { bearer, grpc } = waiter;
        // Never excused: without keys, anybody could have written the token.
        let unavailable = Unavailable { failure, excused: false, may_serve_stale: false };
        let outcome = self.guard.fail(unavailable, bearer, grpc);
        Verification::Undecided(Progress::Decided(outcome))
    }

    /// A response on a token, unless the token was signed by a key that its issuer has withdrawn
    /// while the response was on its way.
    pub(crate) fn confirmed(
        &self,
        response: Introspected,
        now: Timestamp,
    ) -> Result<Introspected, Unavailable> {
        let is_withdrawn = response.signer.as_ref().is_some_and(|signer| {
            !self.keys.of(signer.issuer, now).is_some_and(|keys| keys.has(&signer.key))
        });
        if !is_withdrawn {
            return Ok(response);
        }
        let failure = lacks_keys(KeysNeeded::Newer, now, now);
        Err(Unavailable { failure, excused: false, may_serve_stale: false })
    }

    /// Adopts what is new about the keys of an issuer.
    pub(crate) fn adopt_keys(&mut self, issuer: IssuerId, news: &KeyNews) {
        if let Some(keys) = self.keys.adopt(issuer, news) {
            self.cache.keys_changed(issuer, &keys);
        }
    }

    /// Decides on a request that has waited for keys, or returns the lookup that the decision
    /// depends on.
    pub(crate) fn go_on(
        &mut self,
        waiter: KeyWaiter,
        news: &KeyNews,
        run: &mut Run<'_>,
    ) -> Progress<Verdict> {
        let checked = match self.guard.issuer_of(waiter.token.reveal()) {
            Ok(Some((_, jwt))) => self.check(waiter.issuer, waiter.server, jwt, run.now),
            _ => Checked::Failed(Failure::Defect),
        };
        let verified = match checked {
            // It has waited once.
            Checked::Needs(needed) => {
                let failure = lacks_keys(needed, news.retry_at, run.now);
                self.cannot_verify(waiter.waiter, failure)
            }
            checked => self.checked(waiter, checked, run.now),
        };
        match self.take_note(verified, run) {
            Progress::Decided(outcome) => Progress::Decided(self.pronounce(outcome, run)),
            Progress::Waiting(waiter, introspect) => Progress::Waiting(waiter, introspect),
            Progress::WaitingForKeys(waiter, needed) => Progress::WaitingForKeys(waiter, needed),
        }
    }

    /// Denies a request for which there is no room to wait for keys.
    pub(crate) fn overloaded_for_keys(&self, waiter: &KeyWaiter, run: &mut Run<'_>) -> Verdict {
        self.overloaded(&waiter.waiter, run)
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
            Err(unavailable) => self.stale(&bearer, key, *unavailable, run).ok_or(unavailable),
        };
        let decided = match state {
            Ok(state) => self.guard.judge(state, bearer, &|| grpc, run.now),
            Err(Unavailable { failure: Failure::Defect, .. }) => {
                return defect::refuse("no state for an introspection call", run);
            }
            Err(unavailable) => self.guard.fail(*unavailable, bearer, grpc),
        };
        self.pronounce(decided, run)
    }

    /// The response that is served to a request although the server is unavailable.
    fn stale(
        &mut self,
        bearer: &Bearer,
        key: Option<CacheKey>,
        unavailable: Unavailable,
        run: &mut Run<'_>,
    ) -> Option<TokenState> {
        if !unavailable.may_serve_stale || bearer.needs.age.is_limited() {
            return None;
        }
        let (state, is_first) = self.cache.stale(key?, STALE_PAUSE, run.now)?;
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

/// The failure of a request that needs keys before this time.
fn lacks_keys(needed: KeysNeeded, retry_at: Timestamp, now: Timestamp) -> Failure {
    let reason = match needed {
        KeysNeeded::Any => Reason::NoKeys,
        KeysNeeded::Newer => Reason::UnknownKey,
    };
    let left = retry_at.since(now).div_ceil(1000).max(1);
    let retry_after = u32::try_from(left).unwrap_or(u32::MAX);
    Failure::BackOff { reason, retry_after, cause: Cause::Other }
}
