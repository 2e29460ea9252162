//! The verification of tokens that are not cached: without a call, where keys are there for that.

use std::sync::Arc;

use super::Inbound;
use super::progress::{KeyWaiter, Progress, Verification, Waiter};
use crate::cache::local::CacheKey;
use crate::http::head::{Head, is_grpc};
use crate::ids::{IssuerId, ServerId};
use crate::inbound::guard::Bearer;
use crate::inbound::issuers::{Verifier, is_verified_by_host};
use crate::jose::jws::UnverifiedJwt;
use crate::jose::verify::Signed;
use crate::lookup::{Introspect, Introspected, KeysNeeded, Signer, Unavailable};
use crate::metrics::Event;
use crate::metrics::keys::KeyEvent;
use crate::oauth::bearer::BearerToken;
use crate::oauth::failure::{Cause, Failure};
use crate::oauth::reason::Reason;
use crate::oauth::secret::Secret;
use crate::run::Run;
use crate::timestamp::Timestamp;

/// Why the state of a token with a known issuer is not known.
enum Obstacle {
    /// It is signed by this key, and has to be introspected, too.
    Unintrospected(ServerId, Signer),
    /// It cannot be verified without these keys.
    Lacks(KeysNeeded),
    /// It cannot be verified now.
    Failed(Failure),
}

impl Inbound {
    /// Verifies a token whose state is not cached.
    pub(super) fn verify(
        &self,
        verifier: Verifier<'_>,
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
        let (issuer, server, jwt) = match verifier {
            Verifier::Introspect(server) => {
                let age = waiter.bearer.needs.age;
                let introspect = Introspect { server, token: secret(), key, age, signer: None };
                return Verification::Unknown(Progress::Waiting(Box::new(waiter), introspect));
            }
            Verifier::VerifiedByHost(issuer, jwt) => {
                return match self.verified_by_host(issuer, jwt, head, now) {
                    Ok(known) => Verification::Known(waiter, None, known),
                    Err(failure) => self.cannot_verify(waiter, failure),
                };
            }
            Verifier::Keys(issuer, jwt) => (issuer, None, jwt),
            Verifier::Both(issuer, server, jwt) => (issuer, Some(server), jwt),
        };
        match self.check(issuer, server, jwt, now) {
            Ok(known) => Verification::Known(waiter, key, known),
            Err(obstacle) => {
                if matches!(obstacle, Obstacle::Lacks(KeysNeeded::Newer)) {
                    run.count(Event::Keys(issuer, KeyEvent::Unknown));
                }
                let waiter = KeyWaiter { waiter, issuer, server, token: secret(), key };
                self.obstructed(waiter, obstacle, false, now)
            }
        }
    }

    /// Verifies the token of a request that has waited for keys.
    pub(super) fn verify_again(&self, waiter: KeyWaiter, now: Timestamp) -> Verification {
        let checked = match self.guard.issuer_of(waiter.token.reveal()) {
            Ok(Some((_, jwt))) => self.check(waiter.issuer, waiter.server, jwt, now),
            _ => Err(Obstacle::Failed(Failure::Defect)),
        };
        match checked {
            Ok(known) => Verification::Known(waiter.waiter, waiter.key, known),
            Err(obstacle) => self.obstructed(waiter, obstacle, true, now),
        }
    }

    /// What a token says whose signature is that of its issuer.
    fn check(
        &self,
        issuer_id: IssuerId,
        server: Option<ServerId>,
        jwt: UnverifiedJwt<'_>,
        now: Timestamp,
    ) -> Result<Introspected, Obstacle> {
        let rejected = |reason| Ok(Introspected::rejected(reason, now));
        let issuer = self.guard.issuer(issuer_id).ok_or(Obstacle::Failed(Failure::Defect))?;
        if let Err(reason) = issuer.check(&jwt, now) {
            return rejected(reason);
        }
        let keys = self.keys.of(issuer_id, now).ok_or(Obstacle::Lacks(KeysNeeded::Any))?;
        match keys.signer(&jwt, self.guard.verify) {
            Ok(Signed::By(_)) if !issuer.is_met_by(&jwt) => rejected(Reason::ClaimNotMet),
            Ok(Signed::By(key)) => {
                let signer = Signer { issuer: issuer_id, key: Arc::clone(key) };
                if let Some(server) = server {
                    return Err(Obstacle::Unintrospected(server, signer));
                }
                let known = self.guard.verified(issuer, jwt, now).map_err(Obstacle::Failed)?;
                Ok(Introspected { signer: Some(signer), ..known })
            }
            Ok(Signed::ByUnknownKey) if self.keys.retry_at(issuer_id).is_some() => {
                Err(Obstacle::Lacks(KeysNeeded::Newer))
            }
            Ok(Signed::ByNobody | Signed::ByUnknownKey) => rejected(Reason::BadSignature),
            Err(_) => Err(Obstacle::Failed(Failure::Defect)),
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

    /// Makes a request wait whose token cannot be verified yet, or denies it. With `has_waited` it
    /// waits for no other keys.
    fn obstructed(
        &self,
        waiter: KeyWaiter,
        obstacle: Obstacle,
        has_waited: bool,
        now: Timestamp,
    ) -> Verification {
        match obstacle {
            Obstacle::Failed(failure) => self.cannot_verify(waiter.waiter, failure),
            Obstacle::Unintrospected(server, signer) => {
                let KeyWaiter { waiter, token, key, .. } = waiter;
                let age = waiter.bearer.needs.age;
                let introspect = Introspect { server, token, key, age, signer: Some(signer) };
                Verification::Unknown(Progress::Waiting(Box::new(waiter), introspect))
            }
            Obstacle::Lacks(needed) => {
                let retry_at = self.keys.retry_at(waiter.issuer);
                if !has_waited && retry_at.is_some_and(|retry_at| now >= retry_at) {
                    let progress = Progress::WaitingForKeys(Box::new(waiter), needed);
                    return Verification::Unknown(progress);
                }
                let failure = lacks_keys(needed, retry_at.unwrap_or(now), now);
                self.cannot_verify(waiter.waiter, failure)
            }
        }
    }

    /// Denies a request whose token cannot be verified now.
    fn cannot_verify(&self, waiter: Waiter, failure: Failure) -> Verification {
        let Waiter { bearer, grpc } = waiter;
        // Never excused: without keys, anybody could have written the token.
        let unavailable = Unavailable { failure, excused: false, stale: None };
        let outcome = self.guard.fail(&unavailable, bearer, grpc);
        Verification::Unknown(Progress::Decided(outcome))
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
        Err(Unavailable { failure, excused: false, stale: None })
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
