//! The store in the shared data of proxy-wasm.
//!
//! The host never frees a key, and every plugin with the same `vm_id` may read and write every
//! value. So there is a fixed number of slots that are overwritten in place, and they are encrypted
//! with a key that requires the secrets of this configuration.

use std::fmt;
use std::mem;
use std::ops::Range;
use std::time::Duration;

use prost::Message;

use super::record::{Header, LeaseRecord, MAX_RECORD, MAX_SHARED, Record, VERSION};
use super::shared_data::{NEVER_WRITTEN, SharedData};
use super::{
    Acquire, CachedResponse, ClientKey, Lease, LeaseKey, LeaseOwner, MAX_CLOCK_SKEW, NotWritten,
    ResponseKey, Store, Stored, TokenKey, Version,
};
use crate::cache::identity::Fingerprint;
use crate::oauth::cached_token::CachedToken;
use crate::oauth::failure::Failure;
use crate::timestamp::Timestamp;

/// The number of slots in a group: a record may be in any slot of its group.
const WAYS: usize = 4;

/// The capacity for leases on calls about tokens; each call under way has one.
const LEASES: usize = 1024;

/// The capacity for exchanged tokens.
const EXCHANGED: usize = 4096;

/// How long a failure is stored for the workers that wait for the call, which look every few
/// milliseconds.
const FAILED: Duration = Duration::from_secs(1);

/// The maximum number of attempts to write a group that other workers write too.
const TRIES: usize = 4;

/// A [`Store`] in the shared data of a host.
pub struct SharedStore<'a>(&'a dyn SharedData);

/// A fixed number of slots in groups. The fingerprint of a record determines its group. A group is
/// one value, so that one read returns all of it, and a later write detects whether anything in it
/// has changed.
#[derive(Clone, Copy, Debug)]
struct Slots {
    /// The letter of these slots in the names of groups.
    kind: char,
    /// The capacity in records, rounded up to whole groups.
    records: usize,
}

impl Slots {
    /// Responses on active tokens.
    const fn active(key: ResponseKey<'_>) -> Self {
        Self { kind: 'a', records: key.max_entries }
    }

    /// Negative cache entries, which have slots of their own so that they never evict responses on
    /// active tokens.
    const fn rejected(key: ResponseKey<'_>) -> Self {
        Self { kind: 'r', records: key.negative_max_entries }
    }

    /// Tokens that were exchanged for callers' tokens.
    const EXCHANGED: Self = Self { kind: 'x', records: EXCHANGED };

    /// Leases on calls about tokens.
    const LEASES: Self = Self { kind: 'm', records: LEASES };

    /// The name of the group of a fingerprint, unless there are no slots.
    fn group(self, fingerprint: Fingerprint) -> Option<String> {
        let groups = u32::try_from(self.records.div_ceil(WAYS)).unwrap_or(u32::MAX);
        let [a, b, c, d, ..] = fingerprint.0;
        let number = u32::from_le_bytes([a, b, c, d]).checked_rem(groups)?;
        Some(format!("oauth2_filter.{VERSION}.{}.{number}", self.kind))
    }
}

impl LeaseKey<'_> {
    /// The name of the group of a lease, and the key of the lease in it.
    fn place(&self) -> Option<(String, TokenKey<'_>)> {
        match self {
            Self::Token(key) => Some((Slots::LEASES.group(key.token)?, *key)),
            Self::Client(client) => {
                let token = client.identity.fingerprint("");
                let key = TokenKey { identity: &client.identity, token };
                Some((client.lease.clone(), key))
            }
        }
    }
}

impl<'a> SharedStore<'a> {
    /// Creates a store in this data.
    pub fn new(data: &'a dyn SharedData) -> Self {
        Self(data)
    }

    /// The newest record of a key, unless it has expired or was written before the clock was set
    /// back.
    fn find(&self, slots: Slots, key: TokenKey<'_>, now: Timestamp) -> Option<Record> {
        Group::load(self.0, slots.group(key.token)?).find(key, now)
    }

    /// Writes a record in place of the least useful one of its group. A record that loses every
    /// attempt is not written, because everything that is cached here can be obtained again.
    fn put(&self, slots: Slots, key: TokenKey<'_>, record: &Record) {
        let Some(name) = slots.group(key.token) else { return };
        let sealed = key.seal(record);
        for _ in 0..TRIES {
            let group = Group::load(self.0, name.clone());
            if group.put(self.0, key.token, &sealed, record.written) != Err(NotWritten::Lost) {
                return;
            }
        }
    }

    /// Removes the records of a fingerprint.
    fn remove(&self, slots: Slots, fingerprint: Fingerprint) {
        let Some(name) = slots.group(fingerprint) else { return };
        for _ in 0..TRIES {
            let mut group = Group::load(self.0, name.clone());
            let is_there = group.remove(fingerprint);
            if !is_there || group.write(self.0, None) != Err(NotWritten::Lost) {
                return;
            }
        }
    }
}

impl Store for SharedStore<'_> {
    fn response(&self, key: ResponseKey<'_>, now: Timestamp) -> Option<CachedResponse> {
        let find =
            |slots, is_active| Some(self.find(slots, key.token, now)?.into_response(is_active));
        let active = find(Slots::active(key), true);
        active.into_iter().chain(find(Slots::rejected(key), false)).max_by_key(|found| found.at)
    }

    fn publish_response(&self, key: ResponseKey<'_>, response: &CachedResponse) {
        let CachedResponse { is_active, body, at, expires } = response;
        let (mut slots, mut others) = (Slots::active(key), Slots::rejected(key));
        if !is_active {
            mem::swap(&mut slots, &mut others);
        }
        self.remove(others, key.token.token);
        if body.len() <= MAX_SHARED && expires > at {
            let record = Record { written: *at, ends: *expires, body: body.clone() };
            self.put(slots, key.token, &record);
        } else {
            self.remove(slots, key.token.token);
        }
    }

    fn exchanged_token(&self, key: TokenKey<'_>, now: Timestamp) -> Option<CachedToken> {
        CachedToken::decode(&*self.find(Slots::EXCHANGED, key, now)?.body).ok()
    }

    fn publish_exchanged_token(&self, key: TokenKey<'_>, token: &CachedToken, now: Timestamp) {
        let Some(ends) = token.expires() else { return };
        let body = token.encode_to_vec();
        if ends > now && body.len() <= MAX_SHARED {
            self.put(Slots::EXCHANGED, key, &Record { written: now, ends, body });
        }
    }

    fn client_token(&self, client: &ClientKey, seen: Option<Version>) -> Stored {
        let Some((sealed, written)) = self.0.get(&client.record) else { return Stored::Absent };
        let version = Version(written);
        if seen == Some(version) {
            return Stored::Unchanged;
        }
        // A record that cannot be opened was not written with this configuration.
        let opened = client.identity.sealing().open(client.record.as_bytes(), &sealed);
        let token = opened.and_then(|bytes| CachedToken::decode(&*bytes).ok());
        Stored::Changed(token.unwrap_or_default(), version)
    }

    fn publish_client_token(
        &self,
        client: &ClientKey,
        token: &CachedToken,
        over: Option<Version>,
    ) -> Result<(), NotWritten> {
        let sealing = client.identity.sealing();
        let sealed = sealing.seal(client.record.as_bytes(), &token.encode_to_vec());
        let over = over.map_or(NEVER_WRITTEN, |version| version.0);
        self.0.set(&client.record, &sealed, Some(over))?;
        self.count_change(client);
        Ok(())
    }

    fn changes(&self, client: &ClientKey) -> Option<Version> {
        self.0.get(&client.changes).map(|(_, written)| Version(written))
    }

    fn count_change(&self, client: &ClientKey) {
        // If the host refuses, other workers learn of the change when they read the record.
        let _ = self.0.set(&client.changes, b"", None);
    }

    fn acquire(
        &self,
        key: LeaseKey<'_>,
        lease: Lease,
        after: Option<LeaseOwner>,
        now: Timestamp,
        is_known: &mut dyn FnMut() -> bool,
    ) -> Acquire {
        let place = key.place();
        // Another worker wins each attempt that is lost, and there are many groups, so a few
        // attempts suffice.
        for _ in 0..TRIES {
            let group = place.as_ref().map(|(name, key)| (Group::load(self.0, name.clone()), key));
            if is_known() {
                return Acquire::Known;
            }
            let Some((group, key)) = group else { break };
            let mut failed = None;
            let record = group.find(*key, now);
            let since = record.as_ref().map_or(now, |record| record.written);
            if let Some(other) = record.and_then(|record| LeaseRecord::read(&record.body)) {
                failed = other.failed;
                if let Some((owner, why)) = failed
                    && Some(owner) == after
                {
                    return Acquire::Failed(why);
                }
                if other.is_under_way && after.is_none_or(|after| after == other.owner) {
                    return Acquire::Busy(other.owner, since);
                }
            }
            let record = LeaseRecord { owner: lease.owner, is_under_way: true, failed };
            let record = Record { written: now, ends: lease.ends, body: record.write() };
            match group.put(self.0, key.token, &key.seal(&record), now) {
                Ok(()) => return Acquire::Ours,
                Err(NotWritten::Lost) => {}
                Err(NotWritten::Refused) => return Acquire::Refused,
            }
        }
        Acquire::Contended
    }

    fn release(
        &self,
        key: LeaseKey<'_>,
        owner: LeaseOwner,
        failure: Option<Failure>,
        now: Timestamp,
    ) -> bool {
        let Some((name, key)) = key.place() else { return false };
        let failed = failure.map(|failure| {
            let body = LeaseRecord { owner, is_under_way: false, failed: Some((owner, failure)) };
            let record = Record { written: now, ends: now.plus(FAILED), body: body.write() };
            key.seal(&record)
        });
        for _ in 0..TRIES {
            let mut group = Group::load(self.0, name.clone());
            // An expired lease is still this worker's, unless another one has replaced it.
            let lease = group.newest(key, &|_| true);
            let lease = lease.and_then(|record| LeaseRecord::read(&record.body));
            if lease.is_none_or(|lease| lease.owner != owner) {
                return false;
            }
            group.remove(key.token);
            if group.write(self.0, failed.as_deref()) != Err(NotWritten::Lost) {
                break;
            }
        }
        true
    }
}

impl fmt::Debug for SharedStore<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedStore")
    }
}

/// The value of a group: its records, each after its length in 16 bits, little-endian.
struct Group {
    key: String,
    bytes: Vec<u8>,
    /// The number of the last write.
    last_write: u32,
    /// The headers of the records, and their positions in `bytes`.
    records: Vec<(Header, Range<usize>)>,
}

impl Group {
    /// Reads the group of this name.
    fn load(data: &dyn SharedData, key: String) -> Self {
        let (bytes, last_write) = data.get(&key).unwrap_or((Vec::new(), NEVER_WRITTEN));
        let mut group = Self { key, bytes, last_write, records: Vec::with_capacity(WAYS) };
        group.read();
        group
    }

    /// Parses the records, up to the first one that is invalid.
    fn read(&mut self) {
        let mut rest = self.bytes.as_slice();
        while self.records.len() < WAYS
            && let Some((length, after)) = rest.split_first_chunk()
            && let Some((record, after)) =
                after.split_at_checked(u16::from_le_bytes(*length).into())
            && let Some(header) = Header::read(record)
        {
            let end = self.bytes.len().saturating_sub(after.len());
            self.records.push((header, end.saturating_sub(record.len())..end));
            rest = after;
        }
    }

    fn part(&self, at: &Range<usize>) -> &[u8] {
        self.bytes.get(at.clone()).unwrap_or_default()
    }

    /// The newest record of a key that is valid now.
    fn find(&self, key: TokenKey<'_>, now: Timestamp) -> Option<Record> {
        let latest = now.plus(MAX_CLOCK_SKEW);
        self.newest(key, &|header| now < header.ends && header.written <= latest)
    }

    /// The newest record of a key whose header satisfies `is_meant`.
    fn newest(&self, key: TokenKey<'_>, is_meant: &dyn Fn(&Header) -> bool) -> Option<Record> {
        let mut newest: Option<Record> = None;
        for (header, at) in &self.records {
            if header.fingerprint == key.token
                && is_meant(header)
                && newest.as_ref().is_none_or(|newest| newest.written < header.written)
                && let Some(record) = key.open(header, self.part(at))
            {
                newest = Some(record);
            }
        }
        newest
    }

    /// Removes the records of a fingerprint. Returns whether there were any.
    fn remove(&mut self, fingerprint: Fingerprint) -> bool {
        let before = self.records.len();
        self.records.retain(|(header, _)| header.fingerprint != fingerprint);
        self.records.len() != before
    }

    /// Writes the record of a fingerprint in place of its previous one or, in a full group, of the
    /// one that expires first. Records of other configurations cannot be verified, but are treated
    /// like all others.
    fn put(
        mut self,
        data: &dyn SharedData,
        fingerprint: Fingerprint,
        record: &[u8],
        now: Timestamp,
    ) -> Result<(), NotWritten> {
        self.records.retain(|(header, _)| header.fingerprint != fingerprint && now < header.ends);
        if self.records.len() == WAYS
            && let Some((first, _)) =
                self.records.iter().enumerate().min_by_key(|(_, (header, _))| header.ends)
        {
            self.records.swap_remove(first);
        }
        self.write(data, Some(record))
    }

    /// Writes the remaining records, and one more.
    fn write(&self, data: &dyn SharedData, more: Option<&[u8]>) -> Result<(), NotWritten> {
        let mut bytes = Vec::with_capacity(self.bytes.len().saturating_add(MAX_RECORD));
        for record in self.records.iter().map(|(_, at)| self.part(at)).chain(more) {
            // No record that was read or sealed is longer than 16 bits can express.
            let Ok(length) = u16::try_from(record.len()) else { continue };
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(record);
        }
        data.set(&self.key, &bytes, Some(self.last_write))
    }
}

#[cfg(test)]
mod tests;
