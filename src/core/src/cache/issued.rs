//! The tokens that the proxy has put on requests in place of their callers'.

use crate::cache::local::{ClockCache, KeySpace, Keyed, Room};
use crate::timestamp::Timestamp;

/// The keys of such tokens. The tokens themselves are not stored.
pub(crate) struct IssuedTokens {
    keys: ClockCache<()>,
    keyed: Keyed,
}

impl IssuedTokens {
    /// Creates an empty set with room for so many tokens. `seed` is random.
    pub(crate) fn new(entries: usize, seed: [u8; 16]) -> Self {
        Self { keys: ClockCache::new(Room { entries, bytes: 0 }), keyed: Keyed::new(seed) }
    }

    /// Adds a token.
    pub(crate) fn add(&mut self, token: &str, until: Timestamp, now: Timestamp) {
        self.keys.insert(self.keyed.key(KeySpace::Issued, token), (), 0, until, now);
    }

    /// Whether a token has been added.
    pub(crate) fn has(&self, token: &[u8], now: Timestamp) -> bool {
        self.keys.has(self.keyed.key(KeySpace::Issued, token), now)
    }
}
