//! A client's token in one worker, synchronized with the record that all workers share.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::oauth::access_token::AccessToken;
use crate::oauth::cached_token::CachedToken;
use crate::outbound::client::Client;
use crate::store::{NotWritten, Store, Stored, Version};
use crate::timestamp::Timestamp;

/// The maximum number of attempts to write a record that other workers write too.
const TRIES: usize = 8;

/// A client's token, as one worker knows it.
#[derive(Default)]
pub(crate) struct ClientToken {
    /// The record, as this worker last read or wrote it.
    pub(crate) record: CachedToken,
    /// The version of `record`, if known.
    version: Option<Version>,
    /// The last change of the client's records that this worker has seen.
    changes: Option<Version>,
    /// The token of `record`, if it was usable when the record was read.
    current: Option<Arc<AccessToken>>,
    /// The previous token, which requests under way may carry.
    before: Option<Arc<AccessToken>>,
    /// Whether the current token was put on a request.
    pub(crate) used: bool,
}

impl ClientToken {
    /// The token, if it is usable as far as this worker knows.
    pub(crate) fn current(&self, now: Timestamp) -> Option<&Arc<AccessToken>> {
        self.current.as_ref().filter(|current| now < current.expires)
    }

    /// The token to put on a request, if it is usable as far as any worker knows.
    pub(crate) fn take(
        &mut self,
        client: &Client,
        store: &dyn Store,
        now: Timestamp,
    ) -> Option<&Arc<AccessToken>> {
        let changes = store.changes(&client.key);
        if changes != self.changes {
            self.changes = changes;
            self.sync(client, store, now);
        }
        self.current(now)
    }

    /// Whether a header value is the one that this worker puts on requests, or the previous one.
    /// The duration of the comparison reveals only the length of the token.
    pub(crate) fn is_ours(&self, value: &[u8]) -> bool {
        self.known().any(|known| known.value.as_bytes().ct_eq(value).into())
    }

    /// Like [`is_ours`](Self::is_ours), for the token alone.
    pub(crate) fn is_our_token(&self, token: &[u8]) -> bool {
        self.known().any(|known| known.token.reveal().as_bytes().ct_eq(token).into())
    }

    /// The tokens that requests under way may carry.
    pub(crate) fn known(&self) -> impl Iterator<Item = &Arc<AccessToken>> {
        self.current.iter().chain(&self.before)
    }

    /// Whether there is a token, which may have expired.
    pub(crate) fn has_token(&self) -> bool {
        self.current.is_some()
    }

    /// Reads the record, if its version has changed.
    pub(crate) fn sync(&mut self, client: &Client, store: &dyn Store, now: Timestamp) {
        match store.client_token(&client.key, self.version) {
            // A store that has lost the record does not invalidate the token.
            Stored::Absent => self.version = None,
            Stored::Unchanged => {}
            Stored::Changed(record, version) => {
                self.version = Some(version);
                self.take_in(client, record, now);
            }
        }
    }

    /// Writes the record that `next` derives from the current one, until `next` returns `None`.
    /// Tries again if another worker writes at the same time. Returns whether a record was written.
    pub(crate) fn update(
        &mut self,
        client: &Client,
        store: &dyn Store,
        now: Timestamp,
        next: &mut dyn FnMut(&CachedToken) -> Option<CachedToken>,
    ) -> bool {
        for _ in 0..TRIES {
            self.sync(client, store, now);
            let Some(next) = next(&self.record) else { return false };
            match self.write(client, store, next, now) {
                Ok(()) => return true,
                Err(NotWritten::Lost) => {}
                Err(NotWritten::Refused) => return false,
            }
        }
        false
    }

    /// Replaces the record that was last read.
    ///
    /// # Errors
    /// Another worker has written the record, or the host refuses.
    fn write(
        &mut self,
        client: &Client,
        store: &dyn Store,
        next: CachedToken,
        now: Timestamp,
    ) -> Result<(), NotWritten> {
        store.publish_client_token(&client.key, &next, self.version)?;
        // The host does not return the version of a write, so the next read gets the record again.
        self.version = None;
        self.take_in(client, next, now);
        Ok(())
    }

    /// Adopts a record, and prepares its token for requests.
    fn take_in(&mut self, client: &Client, record: CachedToken, now: Timestamp) {
        self.record = record;
        let number = self.record.number;
        match self.record.good(now) {
            Some(_) if self.current.as_ref().is_some_and(|c| c.number == number) => {}
            Some(token) => {
                let value = client.placement.value(&token.access_token);
                let current = Arc::new(AccessToken::new(token, number, value));
                self.replace(Some(current));
                self.used = false;
            }
            None => self.replace(None),
        }
    }

    /// Adopts a token that was obtained for this worker.
    pub(crate) fn adopt(&mut self, token: &Arc<AccessToken>) {
        if self.current.as_ref().is_none_or(|current| current.number != token.number) {
            self.replace(Some(Arc::clone(token)));
            self.used = false;
        }
    }

    /// Replaces the current token, and remembers the previous one.
    fn replace(&mut self, next: Option<Arc<AccessToken>>) {
        let before = std::mem::replace(&mut self.current, next);
        self.before = before.or_else(|| self.before.take());
    }

    /// Stops using the token of this number, which a service has rejected, until the fetcher says
    /// whether it is dropped.
    pub(crate) fn doubt(&mut self, number: u64) {
        if self.current.as_ref().is_some_and(|current| current.number == number) {
            self.replace(None);
        }
    }

    /// Drops the token if it has expired.
    pub(crate) fn let_go(&mut self, now: Timestamp) {
        if self.current.as_ref().is_some_and(|current| now >= current.expires) {
            self.replace(None);
            self.used = false;
        }
    }
}
