//! What all workers and configurations of the process share, in ordinary memory: bounded, and freed
//! when it expires or is evicted.
//!
//! The records of different servers and clients are distinguished by their identities, which include
//! their secrets, so nothing is encrypted here.

use std::hash::BuildHasher;
use std::iter;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use fnv::FnvBuildHasher;
use lru::LruCache;
use oauth2_filter_core::{
    Acquire, CachedResponse, CachedToken, ClientKey, Failure, Fingerprint, Lease, LeaseKey,
    LeaseOwner, MAX_CLOCK_SKEW, NotWritten, ResponseKey, Store, Stored, Timestamp, TokenKey,
    Version,
};

use super::locked::lock;

/// The number of parts of a map, each with a lock of its own.
const SHARDS: usize = 16;

/// The capacity for exchanged tokens.
const EXCHANGED: usize = 4096;

/// The capacity for leases on calls about tokens; each call under way has one.
const LEASES: usize = 4096;

/// The capacity for clients.
const CLIENTS: usize = 4096;

/// The maximum length of a response that is stored, in bytes.
const MAX_BODY: usize = 64 << 10;

/// The maximum memory of a part of a map with responses, in bytes: 64 MiB for all parts.
const MAX_BYTES: usize = (64 << 20) / SHARDS;

/// How long a failure is stored for the fetchers that wait for the call.
const FAILED: Duration = Duration::from_secs(1);

/// What all configurations of the process share.
pub(crate) static STORE: LazyLock<MemoryStore> = LazyLock::new(MemoryStore::new);

/// A [`Store`] in memory.
pub(crate) struct MemoryStore {
    active: Sharded<CachedResponse>,
    rejected: Sharded<CachedResponse>,
    exchanged: Sharded<CachedToken>,
    leases: Sharded<LeaseState>,
    /// In parts, by the names of their records.
    clients: Vec<Mutex<LruCache<String, ClientState, FnvBuildHasher>>>,
}

/// What clients of one identity share.
#[derive(Default)]
struct ClientState {
    /// The record of the token, and the number of its last write.
    token: Option<(CachedToken, Version)>,
    /// The number of the last change.
    changes: Option<Version>,
    lease: Option<LeaseState>,
    /// The number of writes and changes.
    writes: u32,
}

impl ClientState {
    /// A number that no earlier write has.
    fn next(&mut self) -> Version {
        self.writes = self.writes.wrapping_add(1);
        Version(self.writes)
    }
}

/// The last lease of a key.
#[derive(Clone, Copy, Debug)]
struct LeaseState {
    owner: LeaseOwner,
    /// When it was acquired.
    since: Timestamp,
    /// When its owner is presumed dead; `None` once it is released.
    under_way_until: Option<Timestamp>,
    /// The last call that failed, and until when that is worth knowing.
    failed: Option<(LeaseOwner, Failure, Timestamp)>,
}

/// A map in parts. A fingerprint is a hash already, so some of its bits choose the part.
struct Sharded<V>(Vec<Mutex<Part<V>>>);

/// A part of a map.
struct Part<V> {
    values: LruCache<Fingerprint, Timed<V>, FnvBuildHasher>,
    /// What the values have on the heap, in bytes.
    bytes: usize,
}

/// A value that expires.
struct Timed<V> {
    expires: Timestamp,
    /// What it has on the heap, in bytes.
    bytes: usize,
    value: V,
}

impl<V> Part<V> {
    fn remove(&mut self, key: Fingerprint) {
        if let Some(removed) = self.values.pop(&key) {
            self.bytes = self.bytes.saturating_sub(removed.bytes);
        }
    }

    /// Stores a value in place of those that were not used for longest, so that there are at most
    /// `most`.
    fn put(&mut self, key: Fingerprint, value: Timed<V>, most: usize) {
        self.remove(key);
        self.bytes = self.bytes.saturating_add(value.bytes);
        self.values.put(key, value);
        while (self.values.len() > most || self.bytes > MAX_BYTES)
            && let Some((_, evicted)) = self.values.pop_lru()
        {
            self.bytes = self.bytes.saturating_sub(evicted.bytes);
        }
    }
}

/// The parts of the map of clients.
fn clients() -> Vec<Mutex<LruCache<String, ClientState, FnvBuildHasher>>> {
    let part = || Mutex::new(LruCache::unbounded_with_hasher(FnvBuildHasher::default()));
    iter::repeat_with(part).take(SHARDS).collect()
}

impl<V> Sharded<V> {
    fn new() -> Self {
        let values = || LruCache::unbounded_with_hasher(FnvBuildHasher::default());
        let part = || Mutex::new(Part { values: values(), bytes: 0 });
        Self(iter::repeat_with(part).take(SHARDS).collect())
    }

    /// Runs `with` with the part of a fingerprint, unless there are no parts.
    fn with<R>(&self, key: Fingerprint, with: impl FnOnce(&mut Part<V>) -> R) -> Option<R> {
        let parts = u64::try_from(self.0.len()).ok()?;
        let part = usize::try_from(key.number().checked_rem(parts)?).ok()?;
        self.0.get(part).map(|part| with(&mut lock(part)))
    }

    /// The value of a key, unless it has expired.
    fn get(&self, key: Fingerprint, now: Timestamp) -> Option<V>
    where
        V: Clone,
    {
        self.with(key, |part| {
            let found = part.values.get(&key)?;
            if now < found.expires {
                return Some(found.value.clone());
            }
            part.remove(key);
            None
        })?
    }

    /// Stores a value with this many bytes on the heap, so that there are at most `most`.
    fn put(&self, key: Fingerprint, value: V, bytes: usize, expires: Timestamp, most: usize) {
        if most > 0 {
            let value = Timed { expires, bytes, value };
            self.with(key, |part| part.put(key, value, most.div_ceil(SHARDS)));
        }
    }

    fn remove(&self, key: Fingerprint) {
        self.with(key, |part| part.remove(key));
    }
}

impl MemoryStore {
    pub(crate) fn new() -> Self {
        Self {
            active: Sharded::new(),
            rejected: Sharded::new(),
            exchanged: Sharded::new(),
            leases: Sharded::new(),
            clients: clients(),
        }
    }

    /// Runs `with` with the state of a client, unless there are no parts.
    fn client<R>(&self, client: &ClientKey, with: impl FnOnce(&mut ClientState) -> R) -> Option<R> {
        let name = &client.record;
        let hash = FnvBuildHasher::default().hash_one(name);
        let part = usize::try_from(hash.checked_rem(SHARDS as u64)?).ok()?;
        let part = &mut *lock(self.clients.get(part)?);
        if part.peek(name).is_none() && part.len() >= CLIENTS.div_ceil(SHARDS) {
            part.pop_lru();
        }
        Some(with(part.get_or_insert_mut_ref(name, ClientState::default)))
    }
}

/// Tries to acquire a lease in place of the last one.
fn acquire(
    last: Option<LeaseState>,
    lease: Lease,
    after: Option<LeaseOwner>,
    now: Timestamp,
) -> Result<LeaseState, Acquire> {
    let failed = last.and_then(|last| last.failed).filter(|(.., until)| now < *until);
    if let Some((owner, failure, _)) = failed
        && Some(owner) == after
    {
        return Err(Acquire::Failed(failure));
    }
    let other = last.filter(|last| last.under_way_until.is_some_and(|until| now < until));
    if let Some(other) = other
        && after.is_none_or(|after| after == other.owner)
    {
        return Err(Acquire::Busy(other.owner, other.since));
    }
    Ok(LeaseState { owner: lease.owner, since: now, under_way_until: Some(lease.ends), failed })
}

/// Releases a lease, if it is still this one.
fn release(
    last: &mut LeaseState,
    owner: LeaseOwner,
    failure: Option<Failure>,
    now: Timestamp,
) -> bool {
    if last.owner != owner || last.under_way_until.is_none() {
        return false;
    }
    last.under_way_until = None;
    if let Some(failure) = failure {
        last.failed = Some((owner, failure, now.plus(FAILED)));
    }
    true
}

impl Store for MemoryStore {
    fn response(&self, key: ResponseKey<'_>, now: Timestamp) -> Option<CachedResponse> {
        let token = key.token.token;
        let found = self.active.get(token, now).into_iter().chain(self.rejected.get(token, now));
        // A response from the future was cached before the clock was set back.
        let latest = now.plus(MAX_CLOCK_SKEW);
        found.filter(|found| found.at <= latest).max_by_key(|found| found.at)
    }

    fn publish_response(&self, key: ResponseKey<'_>, response: &CachedResponse) {
        let token = key.token.token;
        let (responses, others, most) = if response.is_active {
            (&self.active, &self.rejected, key.max_entries)
        } else {
            (&self.rejected, &self.active, key.negative_max_entries)
        };
        others.remove(token);
        if response.body.len() <= MAX_BODY && response.expires > response.at {
            responses.put(token, response.clone(), response.body.len(), response.expires, most);
        } else {
            responses.remove(token);
        }
    }

    fn exchanged_token(&self, key: TokenKey<'_>, now: Timestamp) -> Option<CachedToken> {
        self.exchanged.get(key.token, now)
    }

    fn publish_exchanged_token(&self, key: TokenKey<'_>, token: &CachedToken, now: Timestamp) {
        if let Some(expires) = token.expires().filter(|expires| *expires > now) {
            self.exchanged.put(key.token, token.clone(), token.size(), expires, EXCHANGED);
        }
    }

    fn client_token(&self, client: &ClientKey, seen: Option<Version>) -> Stored {
        self.client(client, |state| match &state.token {
            None => Stored::Absent,
            Some((_, version)) if seen == Some(*version) => Stored::Unchanged,
            Some((token, version)) => Stored::Changed(token.clone(), *version),
        })
        .unwrap_or(Stored::Absent)
    }

    fn publish_client_token(
        &self,
        client: &ClientKey,
        token: &CachedToken,
        over: Option<Version>,
    ) -> Result<(), NotWritten> {
        self.client(client, |state| {
            if state.token.as_ref().map(|(_, version)| *version) != over {
                return Err(NotWritten::Lost);
            }
            let version = state.next();
            state.token = Some((token.clone(), version));
            state.changes = Some(version);
            Ok(())
        })
        .unwrap_or(Err(NotWritten::Refused))
    }

    fn changes(&self, client: &ClientKey) -> Option<Version> {
        self.client(client, |state| state.changes)?
    }

    fn count_change(&self, client: &ClientKey) {
        self.client(client, |state| state.changes = Some(state.next()));
    }

    fn acquire(
        &self,
        key: LeaseKey<'_>,
        lease: Lease,
        after: Option<LeaseOwner>,
        now: Timestamp,
        is_known: &mut dyn FnMut() -> bool,
    ) -> Acquire {
        if is_known() {
            return Acquire::Known;
        }
        let acquired = match key {
            LeaseKey::Client(client) => self.client(client, |state| {
                state.lease = Some(acquire(state.lease, lease, after, now)?);
                Ok(())
            }),
            LeaseKey::Token(key) => self.leases.with(key.token, |part| {
                let last = part.values.get(&key.token).map(|last| last.value);
                let value = acquire(last, lease, after, now)?;
                let value = Timed { expires: lease.ends, bytes: 0, value };
                part.put(key.token, value, LEASES.div_ceil(SHARDS));
                Ok(())
            }),
        };
        match acquired.unwrap_or(Err(Acquire::Refused)) {
            Err(other) => other,
            // A result may have been published, and its lease released, before this one was
            // acquired.
            Ok(()) if is_known() => {
                self.release(key, lease.owner, None, now);
                Acquire::Known
            }
            Ok(()) => Acquire::Ours,
        }
    }

    fn release(
        &self,
        key: LeaseKey<'_>,
        owner: LeaseOwner,
        failure: Option<Failure>,
        now: Timestamp,
    ) -> bool {
        let release = |last: Option<&mut LeaseState>| {
            last.is_some_and(|last| release(last, owner, failure, now))
        };
        let released = match key {
            LeaseKey::Client(client) => self.client(client, |state| release(state.lease.as_mut())),
            LeaseKey::Token(key) => self.leases.with(key.token, |part| {
                let last = part.values.get_mut(&key.token);
                let released = release(last.map(|last| &mut last.value));
                if released && failure.is_none() {
                    part.remove(key.token);
                }
                released
            }),
        };
        released.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
