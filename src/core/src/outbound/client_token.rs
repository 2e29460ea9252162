//! A client's token in this worker, as it is shared with all of them.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::oauth::access_token::AccessToken;
use crate::oauth::cached_token::CachedToken;
use crate::outbound::client::Client;
use crate::store::{NotWritten, Store, Stored, Version};
use crate::timestamp::Timestamp;

/// How often a write is tried against those of other workers.
const TRIES: usize = 8;

/// What is known of one client's token.
#[derive(Default)]
pub(crate) struct ClientToken {
    /// The record as it was last read or written here.
    pub(crate) record: CachedToken,
    /// Its version.
    version: Option<Version>,
    /// The last change that was seen here.
    changes: Option<Version>,
    /// Its token, if it was good then.
    current: Option<Arc<AccessToken>>,
    /// The token before: requests that were sent with it may still be under way.
    before: Option<Arc<AccessToken>>,
    /// Whether the current token was put on a request here.
    pub(crate) used: bool,
}

impl ClientToken {
    /// The token, if it is good for all that this worker knows.
    pub(crate) fn current(&self, now: Timestamp) -> Option<&Arc<AccessToken>> {
        self.current.as_ref().filter(|current| now < current.expires)
    }

    /// The token to be put on a request, if it is good for all that any worker knows.
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

    /// Whether a header's value is what this worker puts on requests, or has until lately. How long
    /// it takes to compare tells nothing of the token but its length.
    pub(crate) fn is_ours(&self, value: &[u8]) -> bool {
        self.known().any(|known| known.value.as_bytes().ct_eq(value).into())
    }

    /// The same for the token alone.
    pub(crate) fn is_our_token(&self, token: &[u8]) -> bool {
        self.known().any(|known| known.token.reveal().as_bytes().ct_eq(token).into())
    }

    /// The tokens that may be on requests which are under way.
    fn known(&self) -> impl Iterator<Item = &Arc<AccessToken>> {
        self.current.iter().chain(&self.before)
    }

    /// Whether there is a token to be looked after.
    pub(crate) fn has_token(&self) -> bool {
        self.current.is_some()
    }

    /// Reads the record if another worker has written it.
    pub(crate) fn sync(&mut self, client: &Client, store: &dyn Store, now: Timestamp) {
        match store.client_token(&client.key, self.version) {
            // A store that has lost the record takes no token with it.
            Stored::Absent => self.version = None,
            Stored::Unchanged => {}
            Stored::Changed(record, version) => {
                self.version = Some(version);
                self.take_in(client, record, now);
            }
        }
    }

    /// Writes what `next` makes of the record, again where another worker has written meanwhile,
    /// until it makes nothing of it. Whether it was written.
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

    /// Writes a record in place of the one that was read.
    ///
    /// # Errors
    /// It is no longer that one, or the host refuses.
    fn write(
        &mut self,
        client: &Client,
        store: &dyn Store,
        next: CachedToken,
        now: Timestamp,
    ) -> Result<(), NotWritten> {
        store.publish_client_token(&client.key, &next, self.version)?;
        // The host does not tell the version of a write, so the next look reads it again.
        self.version = None;
        self.take_in(client, next, now);
        Ok(())
    }

    /// Takes a record in, and makes its token ready.
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

    /// Goes on with a token that was obtained for this worker.
    pub(crate) fn adopt(&mut self, token: &Arc<AccessToken>) {
        if self.current.as_ref().is_none_or(|current| current.number != token.number) {
            self.replace(Some(Arc::clone(token)));
            self.used = false;
        }
    }

    /// Goes on with another token, or none, and remembers the one before.
    fn replace(&mut self, next: Option<Arc<AccessToken>>) {
        let before = std::mem::replace(&mut self.current, next);
        self.before = before.or_else(|| self.before.take());
    }

    /// Lets go of a token that has expired.
    pub(crate) fn let_go(&mut self, now: Timestamp) {
        if self.current.as_ref().is_some_and(|current| now >= current.expires) {
            self.replace(None);
            self.used = false;
        }
    }
}
