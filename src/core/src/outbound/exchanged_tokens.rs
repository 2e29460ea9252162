//! Tokens that were exchanged for callers' tokens (RFC 8693), cached for each caller in bounded
//! memory.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::identity::Fingerprint;
use crate::cache::issued::IssuedTokens;
use crate::cache::local::{CacheKey, ClockCache, Room};
use crate::lookup::Exchanged;
use crate::oauth::access_token::AccessToken;
use crate::oauth::cached_token::CachedToken;
use crate::outbound::client::Client;
use crate::store::{Store, TokenKey, Version};
use crate::timestamp::Timestamp;

/// The capacity for the state of callers, such as their exchanged tokens.
pub(crate) const ROOM: Room = Room { entries: 4096, bytes: 16 << 20 };

/// The pause between two attempts to renew a token that is still usable.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);

/// The exchanged token of one caller.
struct Entry {
    /// The record that workers share.
    record: CachedToken,
    /// The token, prepared for requests.
    current: Arc<AccessToken>,
    /// Identifies the record in the store.
    fingerprint: Fingerprint,
    /// When the caller's token expires, if known.
    subject_expires: Option<Timestamp>,
    /// The last change of the client's records that this worker has seen.
    changes: Option<Version>,
    /// When the next request triggers a renewal.
    renew_at: Timestamp,
}

/// An exchanged token that can be put on a request.
pub(crate) struct Usable {
    pub(crate) token: Arc<AccessToken>,
    /// Whether the token is due for renewal.
    pub(crate) is_due: bool,
}

/// The exchanged tokens of all callers.
pub(crate) struct ExchangedTokens {
    /// The entries, by the key of the caller's token.
    entries: ClockCache<Entry>,
    /// The exchanged tokens themselves.
    issued: IssuedTokens,
}

impl ExchangedTokens {
    /// Creates an empty cache. `seed` is random.
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        Self { entries: ClockCache::new(ROOM), issued: IssuedTokens::new(ROOM.entries, seed) }
    }

    /// The token that was exchanged for a caller's. After a change of the client's records, the
    /// store is read to see whether this token has changed.
    pub(crate) fn find(
        &mut self,
        client: &Client,
        key: CacheKey,
        store: &dyn Store,
        now: Timestamp,
    ) -> Option<Usable> {
        let entry = self.entries.get(key, now)?;
        let changes = store.changes(&client.key);
        if entry.changes != changes {
            entry.changes = changes;
            self.sync(client, key, store, now);
        }
        let entry = self.entries.get(key, now).filter(|entry| !entry.record.dropped)?;
        let is_due = now >= entry.renew_at
            && entry.subject_expires.is_none_or(|end| entry.current.expires < end);
        if is_due {
            entry.renew_at = now.plus(RENEWAL_PAUSE);
        }
        Some(Usable { token: Arc::clone(&entry.current), is_due })
    }

    /// How many tokens in a row that were exchanged for this caller were rejected; zero if the last
    /// one was not.
    pub(crate) fn drops(&mut self, key: CacheKey, now: Timestamp) -> u32 {
        let entry = self.entries.get(key, now).filter(|entry| entry.record.dropped);
        entry.map_or(0, |entry| entry.record.drops)
    }

    /// Adopts the record of the store, if it is newer.
    fn sync(&mut self, client: &Client, key: CacheKey, store: &dyn Store, now: Timestamp) {
        let Some(entry) = self.entries.get(key, now) else { return };
        let token = TokenKey { identity: &client.key.identity, token: entry.fingerprint };
        if let Some(record) = store.exchanged_token(token, now)
            && record.replaces(&entry.record)
        {
            let (fingerprint, subject_expires) = (entry.fingerprint, entry.subject_expires);
            self.insert(client, key, Exchanged { record, fingerprint, subject_expires }, now);
        }
    }

    /// Caches a token, and returns it prepared for requests.
    pub(crate) fn insert(
        &mut self,
        client: &Client,
        key: CacheKey,
        exchanged: Exchanged,
        now: Timestamp,
    ) -> Option<Arc<AccessToken>> {
        let Exchanged { record, fingerprint, subject_expires } = exchanged;
        let token = record.token.as_ref()?;
        let value = client.placement.value(&token.access_token);
        let current = Arc::new(AccessToken::new(token, record.number, value));
        let until = current.expires;
        self.issued.add(&token.access_token, until, now);
        let bytes = token.access_token.len().saturating_mul(3).saturating_add(256);
        let entry = Entry {
            record,
            renew_at: current.renew_at,
            current: Arc::clone(&current),
            fingerprint,
            subject_expires,
            changes: None,
        };
        self.entries.insert(key, entry, bytes, until, now);
        Some(current)
    }

    /// Whether a token was exchanged for a caller's.
    pub(crate) fn has_issued(&self, token: &[u8], now: Timestamp) -> bool {
        self.issued.has(token, now)
    }

    /// Handles the rejection of a token by the upstream service. Returns the record to publish, if
    /// the token is the current one of all workers.
    pub(crate) fn reject(
        &mut self,
        client: &Client,
        key: CacheKey,
        number: u64,
        store: &dyn Store,
        now: Timestamp,
    ) -> Option<(Fingerprint, CachedToken)> {
        // Another worker may have dropped the token already, and have obtained another.
        self.sync(client, key, store, now);
        let entry = self.entries.get(key, now)?;
        let next = entry.record.dropped(number, now)?;
        entry.record = next.clone();
        Some((entry.fingerprint, next))
    }
}
