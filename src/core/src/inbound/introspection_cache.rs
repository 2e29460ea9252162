//! The introspection responses that one worker caches: active tokens and negative cache entries.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::age::AgeLimit;
use crate::cache::footprint::Footprint;
use crate::cache::local::{CacheKey, ClockCache, Room};
use crate::ids::IssuerId;
use crate::jose::key_set::KeySet;
use crate::lookup::{Introspected, Signer};
use crate::oauth::reason::Reason;
use crate::oauth::standing::Standing;
use crate::oauth::token_state::{ActiveToken, TokenState};
use crate::store::MAX_CLOCK_SKEW;
use crate::timestamp::Timestamp;

/// The lifetimes and the capacity of the cache.
#[derive(Clone, Debug)]
pub(crate) struct CacheConfig {
    /// The lifetime of a response on an active token, limited by the token's `exp`; zero turns
    /// caching off.
    pub(crate) max_ttl: Duration,
    /// The lifetime of a negative cache entry; zero turns negative caching off.
    pub(crate) negative_ttl: Duration,
    /// The maximum number of active tokens.
    pub(crate) max_entries: usize,
    /// The maximum number of negative cache entries, which have room of their own so that they
    /// never evict an active token.
    pub(crate) negative_max_entries: usize,
    /// How long after `max_ttl`, but never after `exp`, a response may be served stale while the
    /// authorization server is unavailable.
    pub(crate) stale_if_error: Duration,
}

/// How long a response may be served.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freshness {
    /// When the token is introspected again. Until then no call is made.
    pub(crate) fresh_until: Timestamp,
    /// When the response may no longer be served stale either.
    pub(crate) stale_until: Timestamp,
}

impl CacheConfig {
    /// Computes how long a response may be served.
    pub(crate) fn freshness(&self, response: &Introspected) -> Freshness {
        match &response.state {
            TokenState::Active(active, _) => {
                let end = active.token.end.unwrap_or(Timestamp::NEVER);
                let fresh = response.at.plus(self.max_ttl);
                Freshness {
                    fresh_until: end.min(fresh),
                    stale_until: end.min(fresh.plus(self.stale_if_error)),
                }
            }
            TokenState::Rejected(_) => {
                let end = response.at.plus(self.negative_ttl);
                Freshness { fresh_until: end, stale_until: end }
            }
        }
    }
}

struct Active {
    token: Arc<ActiveToken>,
    /// Whether the response is served stale.
    standing: Standing,
    /// When the authorization server returned the response.
    at: Timestamp,
    /// When the token is introspected again.
    fresh_until: Timestamp,
    /// The key that has signed the token, if the filter has verified that.
    signer: Option<Signer>,
}

#[derive(Clone, Copy)]
struct Rejected {
    reason: Reason,
    /// When the authorization server returned the response.
    at: Timestamp,
}

pub(crate) struct IntrospectionCache {
    active: ClockCache<Active>,
    rejected: ClockCache<Rejected>,
}

/// Whether a response is from the past. One from the future was cached before the clock was set
/// back, and could be served for as long as the clock was ahead.
fn is_past(at: Timestamp, now: Timestamp) -> bool {
    at <= now.plus(MAX_CLOCK_SKEW)
}

/// The average memory for a response on an active token, in bytes. Few responses take a quarter of
/// it.
const BYTES_PER_ENTRY: usize = 4 * 1024;

/// The minimum memory for active tokens, in bytes: a small number of entries may all be large.
const LEAST_BYTES: usize = 1 << 20;

/// The maximum memory for active tokens, in bytes: half of the memory that a worker's VM can have.
const MOST_BYTES: usize = 512 << 20;

impl IntrospectionCache {
    pub(crate) fn new(config: &CacheConfig) -> Self {
        let bytes = config.max_entries.saturating_mul(BYTES_PER_ENTRY);
        let room =
            Room { entries: config.max_entries, bytes: bytes.clamp(LEAST_BYTES, MOST_BYTES) };
        // All negative entries have one size, so their number bounds their memory.
        let negative_room = Room { entries: config.negative_max_entries, bytes: 0 };
        Self { active: ClockCache::new(room), rejected: ClockCache::new(negative_room) }
    }

    /// The state of a token, if it is cached, fresh and within this limit.
    pub(crate) fn find(
        &mut self,
        key: CacheKey,
        age: AgeLimit,
        now: Timestamp,
    ) -> Option<TokenState> {
        let is_usable = |at| is_past(at, now) && age.allows(at, now);
        let is_fresh = |entry: &&mut Active| now < entry.fresh_until && is_usable(entry.at);
        if let Some(entry) = self.active.get(key, now).filter(is_fresh) {
            return Some(TokenState::Active(Arc::clone(&entry.token), entry.standing));
        }
        let rejected = self.rejected.get(key, now).filter(|rejected| is_usable(rejected.at));
        rejected.map(|rejected| TokenState::Rejected(rejected.reason))
    }

    /// Caches a response in place of an earlier one.
    pub(crate) fn insert(
        &mut self,
        key: CacheKey,
        response: &Introspected,
        freshness: Freshness,
        now: Timestamp,
    ) {
        let Freshness { fresh_until, stale_until } = freshness;
        let at = response.at;
        match &response.state {
            TokenState::Active(token, standing) => {
                let (token_of, standing) = (Arc::clone(token), *standing);
                let signer = response.signer.clone();
                let entry = Active { token: token_of, standing, at, fresh_until, signer };
                self.rejected.remove(key);
                self.active.insert(key, entry, token.owned_bytes(), stale_until, now);
            }
            TokenState::Rejected(reason) => {
                self.active.remove(key);
                self.rejected.insert(key, Rejected { reason: *reason, at }, 0, fresh_until, now);
            }
        }
    }

    /// The keys of an issuer have changed: what was rejected may now be accepted, and what a key
    /// has signed that is no longer there may not.
    pub(crate) fn keys_changed(&mut self, issuer: IssuerId, keys: &KeySet) {
        self.rejected.clear();
        self.active.retain(|entry| {
            let signer = entry.signer.as_ref().filter(|signer| signer.issuer == issuer);
            signer.is_none_or(|signer| keys.has(&signer.key))
        });
    }

    /// Returns a response to serve while the server is unavailable. One that is no longer fresh is
    /// served stale from now on, without another call for `pause`; returns whether this begins.
    pub(crate) fn stale(
        &mut self,
        key: CacheKey,
        pause: Duration,
        now: Timestamp,
    ) -> Option<(TokenState, bool)> {
        let entry = self.active.get(key, now).filter(|entry| is_past(entry.at, now))?;
        let begins = now >= entry.fresh_until;
        if begins {
            entry.fresh_until = now.plus(pause);
            entry.standing = Standing::Unknown;
        }
        Some((TokenState::Active(Arc::clone(&entry.token), entry.standing), begins))
    }
}
