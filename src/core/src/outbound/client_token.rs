//! A client's token in this worker, and its record in shared data.

use std::sync::Arc;

use prost::Message;
use subtle::ConstantTimeEq;

use crate::cache::record::Identity;
use crate::cache::store::{NEVER_WRITTEN, SharedData};
use crate::oauth::call::{Call, TokenUse};
use crate::oauth::secret::Secret;
use crate::outbound::cached_token::{CachedToken, GrantedToken};
use crate::outbound::client::Placement;
use crate::timestamp::Timestamp;

/// How often a write is tried against those of other workers.
pub(crate) const TRIES: usize = 8;

/// A token that is ready to be put on requests.
#[derive(Debug)]
pub(crate) struct AccessToken {
    /// The header's value.
    pub(crate) value: Arc<str>,
    /// The token itself.
    pub(crate) token: Secret,
    /// Which one it is.
    pub(crate) number: u64,
    /// From then on it is not used.
    pub(crate) expires: Timestamp,
    /// From then on another one is obtained.
    pub(crate) renew_at: Timestamp,
    /// When it was obtained.
    pub(crate) obtained: Timestamp,
}

impl AccessToken {
    /// Makes a token ready.
    pub(crate) fn new(token: &GrantedToken, number: u64, placement: &Placement) -> Self {
        Self {
            value: placement.value(&token.access_token),
            token: Secret::new(token.access_token.clone()),
            number,
            expires: token.expires(),
            renew_at: Timestamp::from_millis(token.renew_at),
            obtained: Timestamp::from_millis(token.obtained_at),
        }
    }

    /// Puts the token of a client on a call to an authorization server, in place of the one that it had.
    pub(crate) fn authorize(&self, client: usize, call: &mut Call) {
        call.headers.retain(|(name, _)| **name != *"authorization");
        let value = format!("Bearer {}", self.token.reveal());
        call.headers.push(("authorization".into(), value.into()));
        call.sent = Some(TokenUse { client, number: self.number, subject: None });
    }
}

/// What a worker knows of one client's record.
pub(crate) struct ClientToken {
    /// The key of the record. Configurations that mean the same have the same.
    key: String,
    /// The key of an empty value that is written after each write of the record, and when a token
    /// is dropped that was exchanged: how often costs next to nothing to ask, so it is asked for
    /// each request.
    signal: String,
    /// The number of its last write that was seen here.
    signalled: Option<u32>,
    /// Where the token goes.
    placement: Placement,
    /// The record as it was last read or written here.
    pub(crate) holding: CachedToken,
    /// The number of that write.
    written: Option<u32>,
    /// Its token, if it was good then.
    current: Option<Arc<AccessToken>>,
    /// The token before: requests that were sent with it may still be under way.
    before: Option<Arc<AccessToken>>,
    /// Whether the current token was put on a request here.
    pub(crate) used: bool,
}

impl ClientToken {
    /// Nothing is known yet.
    pub(crate) fn new(identity: &Identity, placement: &Placement) -> Self {
        Self {
            key: format!("oauth2_filter.1.t.{}", identity.name()),
            signal: format!("oauth2_filter.1.s.{}", identity.name()),
            signalled: None,
            placement: placement.clone(),
            holding: CachedToken::default(),
            written: None,
            current: None,
            before: None,
            used: false,
        }
    }

    /// The number of the write that was last read here.
    pub(crate) fn written(&self) -> Option<u32> {
        self.written
    }

    /// The token, if it is good for all that this worker knows.
    pub(crate) fn current(&self, now: Timestamp) -> Option<&Arc<AccessToken>> {
        self.current.as_ref().filter(|current| now < current.expires)
    }

    /// The token to be put on a request, if it is good for all that any worker knows.
    pub(crate) fn take(
        &mut self,
        identity: &Identity,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Option<Arc<AccessToken>> {
        self.look(identity, data);
        let current = self.current(now).cloned();
        self.used |= current.is_some();
        current
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

    /// The tokens that may stand on requests which are under way.
    fn known(&self) -> impl Iterator<Item = &Arc<AccessToken>> {
        self.current.iter().chain(&self.before)
    }

    /// Whether there is a token to be looked after.
    pub(crate) fn has_token(&self) -> bool {
        self.current.is_some()
    }

    /// Reads the record if another worker says that it has written it.
    fn look(&mut self, identity: &Identity, data: &dyn SharedData) {
        let heard = self.heard(data);
        if heard != self.signalled {
            self.signalled = heard;
            self.sync(identity, data);
        }
    }

    /// The number of the last word of any worker that something has changed.
    pub(crate) fn heard(&self, data: &dyn SharedData) -> Option<u32> {
        data.get(&self.signal).map(|(_, written)| written)
    }

    /// Tells all workers that something has changed.
    pub(crate) fn tell(&self, data: &dyn SharedData) {
        data.set(&self.signal, b"", None);
    }

    /// Reads the record if another worker has written it. What cannot be opened is none of ours.
    pub(crate) fn sync(&mut self, identity: &Identity, data: &dyn SharedData) {
        let Some((sealed, written)) = data.get(&self.key) else {
            // Shared data that has gone takes no token with it.
            self.written = None;
            return;
        };
        if self.written == Some(written) {
            return;
        }
        let opened = identity.sealing.open(self.key.as_bytes(), &sealed);
        let holding =
            opened.and_then(|bytes| CachedToken::decode(&*bytes).ok()).unwrap_or_default();
        self.adopt(holding, written);
    }

    /// Writes what `next` makes of the record, again where another worker has written meanwhile,
    /// until it makes nothing of it. Whether it was written.
    pub(crate) fn update(
        &mut self,
        identity: &Identity,
        data: &dyn SharedData,
        now: Timestamp,
        next: &mut dyn FnMut(&CachedToken) -> Option<CachedToken>,
    ) -> bool {
        for _ in 0..TRIES {
            self.sync(identity, data);
            let Some(next) = next(&self.holding) else { return false };
            if self.write(identity, data, next, now) {
                return true;
            }
        }
        false
    }

    /// Writes a record in place of the one that was read. Whether it was still that one.
    pub(crate) fn write(
        &mut self,
        identity: &Identity,
        data: &dyn SharedData,
        next: CachedToken,
        now: Timestamp,
    ) -> bool {
        let sealed = identity.sealing.seal(self.key.as_bytes(), &next.encode_to_vec());
        if !data.set(&self.key, &sealed, self.written.or(Some(NEVER_WRITTEN))) {
            return false;
        }
        self.tell(data);
        // The host does not tell the number of a write, so the next look reads it again.
        self.written = None;
        self.take_in(next, now);
        true
    }

    /// Takes a record in that was read.
    fn adopt(&mut self, holding: CachedToken, written: u32) {
        self.written = Some(written);
        self.take_in(holding, Timestamp::from_millis(0));
    }

    /// Takes a record in, and makes its token ready.
    fn take_in(&mut self, holding: CachedToken, now: Timestamp) {
        self.holding = holding;
        let number = self.holding.number;
        match self.holding.good(now) {
            Some(_) if self.current.as_ref().is_some_and(|c| c.number == number) => {}
            Some(token) => {
                let current = Arc::new(AccessToken::new(token, number, &self.placement));
                self.replace(Some(current));
                self.used = false;
            }
            None => self.replace(None),
        }
    }

    /// Goes on with another token, or none, and remembers the one before.
    fn replace(&mut self, next: Option<Arc<AccessToken>>) {
        let before = std::mem::replace(&mut self.current, next);
        self.before = before.or_else(|| self.before.take());
    }

    /// Lets go of a token that has ended.
    pub(crate) fn let_go(&mut self, now: Timestamp) {
        if self.current.as_ref().is_some_and(|current| now >= current.expires) {
            self.replace(None);
            self.used = false;
        }
    }
}
