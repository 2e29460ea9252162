//! What is kept of tokens, in two levels: in this worker, and in shared data for all workers.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::footprint::Footprint;
use crate::cache::local::{ClockCache, Key, Room};
use crate::cache::record::{Fingerprint, Identity, MAX_CLOCK_SKEW, MAX_SHARED, Record};
use crate::cache::shared::SharedCache;
use crate::cache::store::SharedData;
use crate::oauth::introspection::IntrospectedToken;
use crate::oauth::reason::Reason;
use crate::timestamp::Timestamp;
use crate::verdict::TokenAttribute;

/// How long and how many answers are kept.
#[derive(Clone, Debug)]
pub(crate) struct CacheConfig {
    /// For an active token, and never past its `exp`; zero to ask every time.
    pub(crate) max_ttl: Duration,
    /// For a refused token; zero to keep none.
    pub(crate) negative_ttl: Duration,
    /// Room for active tokens.
    pub(crate) max_entries: usize,
    /// Room for refused tokens, apart, so that they never push out an active one.
    pub(crate) negative_max_entries: usize,
    /// How long past `max_ttl`, never past `exp`, an answer serves while the server fails.
    pub(crate) stale_if_error: Duration,
}

/// A token that may pass, as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct ActiveToken {
    /// What is judged.
    pub(crate) token: IntrospectedToken,
    /// The headers that its requests get.
    pub(crate) headers: Vec<(Arc<str>, Arc<str>)>,
    /// What its requests get as filter state, besides rule and decision.
    pub(crate) attributes: Arc<[TokenAttribute]>,
    /// Whether the answer is past its time, and serves since the server fails.
    pub(crate) stale: bool,
}

impl Footprint for ActiveToken {
    fn owned_bytes(&self) -> usize {
        let Self { token, headers, attributes, stale: _ } = self;
        let owned: [&dyn Footprint; 3] = [token, headers, attributes];
        owned.iter().map(|part| part.owned_bytes()).fold(size_of::<Self>(), usize::saturating_add)
    }
}

/// What is known of a token.
#[derive(Clone, Debug)]
pub(crate) enum TokenState {
    /// It is active: it is judged by each rule.
    Active(Arc<ActiveToken>),
    /// It is no good, whatever the rule.
    Rejected(Reason),
}

/// What an answer said and when, whoever asked.
pub(crate) struct CachedResponse<'b> {
    /// What follows from it.
    pub(crate) finding: TokenState,
    /// When the server said it.
    pub(crate) at: Timestamp,
    /// The answer's body, to be shared.
    pub(crate) body: &'b [u8],
}

/// Names an answer at both levels.
#[derive(Clone, Copy)]
pub(crate) struct CacheKey<'i> {
    /// In this worker.
    pub(crate) key: Key,
    /// For all workers.
    pub(crate) fingerprint: Fingerprint,
    /// Who was asked, and as whom.
    pub(crate) identity: &'i Identity,
}

/// A rejected token in this worker.
#[derive(Clone, Copy)]
struct RejectedToken {
    /// Why.
    reason: Reason,
    /// When the server said it.
    at: Timestamp,
}

/// An active token in this worker.
struct Entry {
    /// What is known.
    known: Arc<ActiveToken>,
    /// When the server said it.
    at: Timestamp,
    /// From then on the server is asked again, unless it fails.
    fresh_until: Timestamp,
}

/// Everything that is kept.
pub(crate) struct IntrospectionCache {
    /// How long and how many.
    config: CacheConfig,
    /// Leeway for `exp`.
    skew: Duration,
    /// Active tokens, here.
    known: ClockCache<Entry>,
    /// Refused tokens, here.
    refused: ClockCache<RejectedToken>,
    /// Active tokens, for all workers.
    shared_known: SharedCache,
    /// Refused tokens, for all workers.
    shared_refused: SharedCache,
    /// Markers: who is being asked about.
    asked: SharedCache,
}

/// Whether a response has been given already. One from the future is from before the clock was set
/// back, and might serve for as long as the clock was ahead.
fn is_past(at: Timestamp, now: Timestamp) -> bool {
    at <= now.plus(MAX_CLOCK_SKEW)
}

/// What an active answer may take of memory on average. Few take a quarter of it.
const BYTES_PER_ENTRY: usize = 4 * 1024;

/// The least memory for active answers: few entries may well be large ones.
const LEAST_BYTES: usize = 1 << 20;

/// The most memory for active answers: half of what a worker's VM can have.
const MOST_BYTES: usize = 512 << 20;

impl IntrospectionCache {
    /// Nothing is kept here yet.
    pub(crate) fn new(config: CacheConfig, skew: Duration) -> Self {
        let bytes = config.max_entries.saturating_mul(BYTES_PER_ENTRY);
        let room =
            Room { entries: config.max_entries, bytes: bytes.clamp(LEAST_BYTES, MOST_BYTES) };
        // Each takes the same, so their number bounds them.
        let negative_room = Room { entries: config.negative_max_entries, bytes: 0 };
        Self {
            known: ClockCache::new(room),
            refused: ClockCache::new(negative_room),
            shared_known: SharedCache::new('a', config.max_entries),
            shared_refused: SharedCache::new('r', config.negative_max_entries),
            asked: SharedCache::for_markers(),
            config,
            skew,
        }
    }

    /// Whether each request asks for itself.
    pub(crate) fn ask_every_time(&self) -> bool {
        self.config.max_ttl.is_zero()
    }

    /// What this worker keeps.
    pub(crate) fn find(&mut self, key: Key, now: Timestamp) -> Option<TokenState> {
        let is_fresh = |entry: &&mut Entry| now < entry.fresh_until && is_past(entry.at, now);
        if let Some(entry) = self.known.get(key, now).filter(is_fresh) {
            return Some(TokenState::Active(Arc::clone(&entry.known)));
        }
        let refused = self.refused.get(key, now).filter(|refused| is_past(refused.at, now));
        refused.map(|refused| TokenState::Rejected(refused.reason))
    }

    /// An answer that all workers keep: its body, and when it was given.
    pub(crate) fn recall(
        &self,
        data: &dyn SharedData,
        name: CacheKey<'_>,
        now: Timestamp,
    ) -> Option<(Vec<u8>, Timestamp)> {
        let find = |slots: SharedCache| slots.find(data, name.identity, name.fingerprint, now);
        let record = find(self.shared_known).into_iter().chain(find(self.shared_refused));
        record.max_by_key(|record| record.written).map(|record| (record.body, record.written))
    }

    /// Until when a finding serves, and until when it may serve while the server fails.
    fn ends(&self, said: &CachedResponse<'_>) -> (Timestamp, Timestamp) {
        match &said.finding {
            TokenState::Active(known) => {
                let end = known.token.expires.map_or(Timestamp::NEVER, |e| e.plus(self.skew));
                let fresh = said.at.plus(self.config.max_ttl);
                (end.min(fresh), end.min(fresh.plus(self.config.stale_if_error)))
            }
            TokenState::Rejected(_) => {
                let end = said.at.plus(self.config.negative_ttl);
                (end, end)
            }
        }
    }

    /// Keeps what was said in this worker. Whether it still serves.
    pub(crate) fn keep(&mut self, key: Key, said: &CachedResponse<'_>, now: Timestamp) -> bool {
        let (fresh_until, until) = self.ends(said);
        match &said.finding {
            TokenState::Active(known) => {
                let entry = Entry { known: Arc::clone(known), at: said.at, fresh_until };
                self.known.insert(key, entry, known.owned_bytes(), until, now);
            }
            TokenState::Rejected(reason) => {
                self.known.remove(key);
                let refused = RejectedToken { reason: *reason, at: said.at };
                self.refused.insert(key, refused, 0, fresh_until, now);
            }
        }
        now < fresh_until
    }

    /// Keeps what was said for all workers, unless it is too long for that.
    pub(crate) fn share(
        &self,
        data: &dyn SharedData,
        name: CacheKey<'_>,
        said: &CachedResponse<'_>,
    ) {
        let slots = match &said.finding {
            TokenState::Active(_) => self.shared_known,
            TokenState::Rejected(_) => {
                self.shared_known.clear(data, name.fingerprint);
                self.shared_refused
            }
        };
        let (_, ends) = self.ends(said);
        if said.body.len() <= MAX_SHARED && ends > said.at {
            let record = Record { written: said.at, ends, body: said.body.to_vec() };
            slots.store(data, name.identity, name.fingerprint, &record);
        }
    }

    /// What may be served stale while the server fails: only as long as the shared response is there,
    /// which a worker that hears of a rejection takes away. It serves without another call for
    /// `pause`.
    pub(crate) fn stale(
        &mut self,
        data: &dyn SharedData,
        name: CacheKey<'_>,
        pause: Duration,
        now: Timestamp,
    ) -> Option<Arc<ActiveToken>> {
        if self.config.stale_if_error.is_zero() {
            return None;
        }
        let entry = self.known.get(name.key, now).filter(|entry| is_past(entry.at, now))?;
        let shared = self.shared_known.find(data, name.identity, name.fingerprint, now);
        if shared.is_none() {
            self.known.remove(name.key);
            return None;
        }
        entry.fresh_until = now.plus(pause);
        Arc::make_mut(&mut entry.known).stale = true;
        Some(Arc::clone(&entry.known))
    }

    /// Where the markers of calls are.
    pub(crate) fn asked(&self) -> SharedCache {
        self.asked
    }
}
