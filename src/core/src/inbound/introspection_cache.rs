//! What one worker caches of tokens: responses on active ones, and rejections.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::footprint::Footprint;
use crate::cache::local::{CacheKey, ClockCache, Room};
use crate::lookup::Introspected;
use crate::oauth::reason::Reason;
use crate::oauth::token_state::{ActiveToken, TokenState};
use crate::store::MAX_CLOCK_SKEW;
use crate::timestamp::Timestamp;

/// How long and how many responses are cached.
#[derive(Clone, Debug)]
pub(crate) struct CacheConfig {
    /// For an active token, and never past its `exp`; zero to introspect for every request.
    pub(crate) max_ttl: Duration,
    /// For a rejected token; zero to cache none.
    pub(crate) negative_ttl: Duration,
    /// Room for active tokens.
    pub(crate) max_entries: usize,
    /// Room for rejected tokens, apart, so that they never push out an active one.
    pub(crate) negative_max_entries: usize,
    /// How long past `max_ttl`, never past `exp`, a response serves while the server fails.
    pub(crate) stale_if_error: Duration,
}

/// How long a response serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freshness {
    /// From then on the server is asked again, unless it fails.
    pub(crate) fresh_until: Timestamp,
    /// From then on it does not serve even then.
    pub(crate) stale_until: Timestamp,
}

impl CacheConfig {
    /// How long a response serves. `skew` is the leeway for `exp`.
    pub(crate) fn freshness(&self, response: &Introspected, skew: Duration) -> Freshness {
        match &response.state {
            TokenState::Active(active) => {
                let end = active.token.expires.map_or(Timestamp::NEVER, |end| end.plus(skew));
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

/// An active token in this worker.
struct Active {
    /// What is known.
    token: Arc<ActiveToken>,
    /// When the server said it.
    at: Timestamp,
    /// From then on the server is asked again, unless it fails.
    fresh_until: Timestamp,
}

/// A rejected token in this worker.
#[derive(Clone, Copy)]
struct Rejected {
    /// Why.
    reason: Reason,
    /// When the server said it.
    at: Timestamp,
}

/// The responses that one worker caches.
pub(crate) struct IntrospectionCache {
    /// Active tokens.
    active: ClockCache<Active>,
    /// Rejected tokens.
    rejected: ClockCache<Rejected>,
}

/// Whether a response has been given already. One from the future is from before the clock was set
/// back, and might serve for as long as the clock was ahead.
fn is_past(at: Timestamp, now: Timestamp) -> bool {
    at <= now.plus(MAX_CLOCK_SKEW)
}

/// What a response on an active token may take of memory on average. Few take a quarter of it.
const BYTES_PER_ENTRY: usize = 4 * 1024;

/// The least memory for active tokens: few entries may well be large ones.
const LEAST_BYTES: usize = 1 << 20;

/// The most memory for active tokens: half of what a worker's VM can have.
const MOST_BYTES: usize = 512 << 20;

impl IntrospectionCache {
    /// Nothing is cached yet.
    pub(crate) fn new(config: &CacheConfig) -> Self {
        let bytes = config.max_entries.saturating_mul(BYTES_PER_ENTRY);
        let room =
            Room { entries: config.max_entries, bytes: bytes.clamp(LEAST_BYTES, MOST_BYTES) };
        // Each takes the same, so their number bounds them.
        let negative_room = Room { entries: config.negative_max_entries, bytes: 0 };
        Self { active: ClockCache::new(room), rejected: ClockCache::new(negative_room) }
    }

    /// What is cached, and fresh.
    pub(crate) fn find(&mut self, key: CacheKey, now: Timestamp) -> Option<TokenState> {
        let is_fresh = |entry: &&mut Active| now < entry.fresh_until && is_past(entry.at, now);
        if let Some(entry) = self.active.get(key, now).filter(is_fresh) {
            return Some(TokenState::Active(Arc::clone(&entry.token)));
        }
        let rejected = self.rejected.get(key, now).filter(|rejected| is_past(rejected.at, now));
        rejected.map(|rejected| TokenState::Rejected(rejected.reason))
    }

    /// Caches a response.
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
            TokenState::Active(token) => {
                let entry = Active { token: Arc::clone(token), at, fresh_until };
                self.active.insert(key, entry, token.owned_bytes(), stale_until, now);
            }
            TokenState::Rejected(reason) => {
                self.active.remove(key);
                self.rejected.insert(key, Rejected { reason: *reason, at }, 0, fresh_until, now);
            }
        }
    }

    /// What may be served stale while the server fails. It serves without another call for `pause`.
    pub(crate) fn stale(
        &mut self,
        key: CacheKey,
        pause: Duration,
        now: Timestamp,
    ) -> Option<Arc<ActiveToken>> {
        let entry = self.active.get(key, now).filter(|entry| is_past(entry.at, now))?;
        entry.fresh_until = now.plus(pause);
        Arc::make_mut(&mut entry.token).stale = true;
        Some(Arc::clone(&entry.token))
    }
}
