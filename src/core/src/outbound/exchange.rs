//! Tokens that were exchanged for callers' tokens (RFC 8693): one for each caller, kept in bounded
//! room in this worker and for all of them.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;

use crate::cache::local::{ClockCache, Key, Keyed, Room};
use crate::cache::record::{Fingerprint, Identity, MAX_CLOCK_SKEW, MAX_SHARED, Record};
use crate::cache::shared::{Acquire, SharedCache};
use crate::cache::store::SharedData;
use crate::oauth::claims::unverified_claims;
use crate::oauth::failure::Failure;
use crate::oauth::secret::Secret;
use crate::outbound::cached_token::{CachedToken, GrantedToken, LONGEST_PAUSE};
use crate::outbound::client::Client;
use crate::outbound::client_token::AccessToken;
use crate::random::Random;
use crate::timestamp::Timestamp;

/// Room for callers' tokens.
const CALLERS: usize = 4096;

/// Room in bytes, in one worker.
const BYTES: usize = 16 << 20;

/// What a failure takes of that room.
const FAILURE_BYTES: usize = 256;

/// A caller's token.
#[derive(Clone)]
pub(crate) struct Subject {
    /// The token.
    pub(crate) token: Secret,
    /// What it is kept under in this worker.
    pub(crate) key: Key,
    /// What it is kept under for all.
    fingerprint: Fingerprint,
    /// When it ends, if that is known.
    pub(crate) expires: Option<Timestamp>,
}

impl Subject {
    /// A token that ends at `expires`, or when it says so itself.
    pub(crate) fn new(
        token: Secret,
        expires: Option<Timestamp>,
        key: Key,
        identity: &Identity,
    ) -> Self {
        let fingerprint = identity.fingerprint(token.reveal());
        let expires = expires.or_else(|| {
            Timestamp::from_numeric_date(unverified_claims(token.reveal())?.get("exp")?)
        });
        Self { token, key, fingerprint, expires }
    }
}

/// A caller's exchanged token in this worker.
struct Entry {
    /// The token, with all that is kept of it.
    holding: CachedToken,
    /// The token, ready for requests.
    current: Arc<AccessToken>,
    /// What it is kept under for all.
    fingerprint: Fingerprint,
    /// The last word that a token was dropped, of those after which this one was looked up.
    heard: Option<u32>,
}

/// All callers' tokens.
pub(crate) struct Exchanges {
    /// Here.
    kept: ClockCache<Entry>,
    /// Whose exchanges fail, and when each is tried again.
    failed: ClockCache<CachedToken>,
    /// The tokens themselves.
    issued: ClockCache<()>,
    /// Names them.
    keyed: Keyed,
    /// For all workers.
    shared: SharedCache,
    /// What is being exchanged.
    asked: SharedCache,
}

impl Exchanges {
    /// Nothing is kept here yet. `seed` is random.
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        let room = Room { entries: CALLERS, bytes: BYTES };
        Self {
            kept: ClockCache::new(room),
            failed: ClockCache::new(room),
            issued: ClockCache::new(room),
            keyed: Keyed::new(seed),
            shared: SharedCache::new('x', CALLERS),
            asked: SharedCache::for_markers(),
        }
    }

    /// Whether a token should be replaced while it still serves, and can be by one that lives
    /// longer.
    pub(crate) fn is_due(current: &AccessToken, subject: &Subject, now: Timestamp) -> bool {
        now >= current.renew_at && subject.expires.is_none_or(|end| current.expires < end)
    }

    /// What this worker keeps. `heard` is the last word that a token of the client was dropped:
    /// after a new one it is looked up whether that was this one.
    pub(crate) fn current(
        &mut self,
        client: &Client,
        subject: &Subject,
        heard: Option<u32>,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Option<Arc<AccessToken>> {
        let entry = self.kept.get(subject.key, now)?;
        if entry.heard != heard {
            entry.heard = heard;
            self.look_up(client, subject.key, subject.fingerprint, data, now);
        }
        self.here(subject.key, now)
    }

    /// What this worker keeps.
    fn here(&mut self, key: Key, now: Timestamp) -> Option<Arc<AccessToken>> {
        let entry = self.kept.get(key, now).filter(|entry| !entry.holding.dropped)?;
        Some(Arc::clone(&entry.current))
    }

    /// Takes in what all workers keep, if it is newer: what is kept here then.
    fn look_up(
        &mut self,
        client: &Client,
        key: Key,
        fingerprint: Fingerprint,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Option<Arc<AccessToken>> {
        let record = self.shared.find(data, &client.identity, fingerprint, now)?;
        let holding = CachedToken::decode(&*record.body).ok()?;
        if self.kept.get(key, now).is_none_or(|entry| holding.replaces(&entry.holding)) {
            self.take_in(client, key, fingerprint, holding, now);
        }
        self.here(key, now)
    }

    /// What all workers keep, now kept here too.
    pub(crate) fn recall(
        &mut self,
        client: &Client,
        subject: &Subject,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Option<Arc<AccessToken>> {
        self.look_up(client, subject.key, subject.fingerprint, data, now)
    }

    /// Takes in what is known of a caller: the token, ready for requests.
    fn take_in(
        &mut self,
        client: &Client,
        key: Key,
        fingerprint: Fingerprint,
        holding: CachedToken,
        now: Timestamp,
    ) -> Option<Arc<AccessToken>> {
        let token = holding.token.as_ref()?;
        let current = Arc::new(AccessToken::new(token, holding.number, &client.placement));
        let until = current.expires;
        let issued = self.keyed.key(0, &token.access_token);
        self.issued.insert(issued, (), 0, until, now);
        let bytes = token.access_token.len().saturating_mul(3).saturating_add(256);
        let entry = Entry { holding, current: Arc::clone(&current), fingerprint, heard: None };
        self.kept.insert(key, entry, bytes, until, now);
        Some(current)
    }

    /// Keeps a token for all workers. Tokens of other workers have other numbers.
    pub(crate) fn keep(
        &mut self,
        client: &Client,
        subject: &Subject,
        token: GrantedToken,
        number: u64,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Option<Arc<AccessToken>> {
        let before = self.kept.get(subject.key, now).map(|entry| entry.holding.clone());
        let holding = CachedToken { number, ..before.unwrap_or_default().accepted(token) };
        self.share(client, subject.fingerprint, &holding, data, now);
        self.failed.remove(subject.key);
        self.take_in(client, subject.key, subject.fingerprint, holding, now)
    }

    /// Writes what is known of a caller for all workers.
    fn share(
        &self,
        client: &Client,
        fingerprint: Fingerprint,
        holding: &CachedToken,
        data: &dyn SharedData,
        now: Timestamp,
    ) {
        let Some(ends) = holding.token.as_ref().map(GrantedToken::expires) else { return };
        let body = holding.encode_to_vec();
        if ends > now && body.len() <= MAX_SHARED {
            let record = Record { written: now, ends, body };
            self.shared.store(data, &client.identity, fingerprint, &record);
        }
    }

    /// Looks once more for a token that `serves`, or else puts up the marker of a call that ends by
    /// `deadline`, unless another worker has one up.
    pub(crate) fn claim(
        &mut self,
        client: &Client,
        subject: &Subject,
        deadline: Timestamp,
        serves: impl Fn(&AccessToken) -> bool,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Acquire<Arc<AccessToken>> {
        let marker = Record { written: now, ends: deadline, body: Vec::new() };
        let (identity, fingerprint, since) =
            (&client.identity, subject.fingerprint, now.plus(MAX_CLOCK_SKEW));
        let asked = self.asked;
        asked.acquire(data, identity, fingerprint, &marker, since, &mut || {
            self.recall(client, subject, data, now).filter(|current| serves(current))
        })
    }

    /// Whether a token is one that was exchanged for a caller's.
    pub(crate) fn has_issued(&self, token: &[u8], now: Timestamp) -> bool {
        self.issued.has(self.keyed.key(0, token), now)
    }

    /// Takes the marker down that was put up then.
    pub(crate) fn unclaim(&self, subject: &Subject, marked: Timestamp, data: &dyn SharedData) {
        self.asked.release(data, subject.fingerprint, marked);
    }

    /// Takes note that a caller's token was not exchanged, which is no reason not to exchange
    /// another's: what that caller is told, until the next try.
    pub(crate) fn fail(
        &mut self,
        key: Key,
        failure: Failure,
        random: &Random,
        now: Timestamp,
    ) -> Failure {
        let before = self.failed.get(key, now).cloned().unwrap_or_default();
        let (reason, retry_after) = (failure.exchange_reason(), failure.retry_after());
        let holding = before.failed(reason, retry_after, false, random, now);
        let told = holding.backs_off(now).unwrap_or(failure);
        // After the pause it counts how many there were in a row.
        let pause = Duration::from_secs(told.retry_after().unwrap_or_default().into());
        let until = now.plus(pause).plus(LONGEST_PAUSE);
        self.failed.insert(key, holding, FAILURE_BYTES, until, now);
        told
    }

    /// Why a caller's token is not exchanged now.
    pub(crate) fn failure(&mut self, key: Key, now: Timestamp) -> Option<Failure> {
        self.failed.get(key, now)?.backs_off(now)
    }

    /// The upstream did not take a token: whether it was the one that all workers use.
    pub(crate) fn drop_token(
        &mut self,
        client: &Client,
        key: Key,
        number: u64,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> bool {
        let Some(Entry { fingerprint, .. }) = self.kept.get(key, now) else { return false };
        let fingerprint = *fingerprint;
        // Another worker may have dropped it already, and have another one.
        self.look_up(client, key, fingerprint, data, now);
        let Some(entry) = self.kept.get(key, now) else { return false };
        let Some(next) = entry.holding.dropped(number, now) else { return false };
        entry.holding = next.clone();
        self.share(client, fingerprint, &next, data, now);
        true
    }
}
