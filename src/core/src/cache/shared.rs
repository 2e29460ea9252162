//! Answers that all workers share, in the host's shared data.
//!
//! The host never frees a key, and every plugin with the same `vm_id` may read and write every
//! value. So there is a fixed number of slots, written in place; and what stands there is encrypted
//! with a key that nobody has without this configuration's secrets.

use std::ops::Range;
use std::time::Duration;

use crate::cache::record::{
    Fingerprint, Header, Identity, MAX_CLOCK_SKEW, MAX_RECORD, Note, Record, VERSION,
};
use crate::cache::store::{NEVER_WRITTEN, SharedData};
use crate::timestamp::Timestamp;

/// How many records a group has room for: an answer may stand in any slot of its group.
const WAYS: usize = 4;

/// Room for markers; there is one for each call under way.
const MARKERS: usize = 1024;

/// How long it stands that a call has failed: workers that wait look every few milliseconds.
const FAILED: Duration = Duration::from_secs(1);

/// How often a write is tried against those of other workers.
const TRIES: usize = 4;

/// A fixed number of slots, in groups: each fingerprint has one group that it may stand in. A group
/// is one value, so that one look shows all of it, and a write that follows a look tells whether
/// anything there has changed in between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedCache {
    /// The letter in the names of these slots' keys.
    kind: char,
    /// How many groups there are; may be none.
    groups: u32,
}

impl SharedCache {
    /// Slots for this many records, rounded up to whole groups. `kind` tells them from others.
    pub(crate) fn new(kind: char, records: usize) -> Self {
        let groups = u32::try_from(records.div_ceil(WAYS)).unwrap_or(u32::MAX);
        Self { kind, groups }
    }

    /// Slots for the markers of calls: the same for both directions.
    pub(crate) fn for_markers() -> Self {
        Self::new('m', MARKERS)
    }

    /// The newest record of a fingerprint that has not ended, and was not written before the clock
    /// was set back.
    pub(crate) fn find(
        self,
        data: &dyn SharedData,
        identity: &Identity,
        fingerprint: Fingerprint,
        now: Timestamp,
    ) -> Option<Record> {
        self.group(data, fingerprint)?.find(identity, fingerprint, now)
    }

    /// Writes a record in place of the group's least useful one. One that loses against others
    /// again and again is left: what is kept here can be asked for again.
    pub(crate) fn store(
        self,
        data: &dyn SharedData,
        identity: &Identity,
        fingerprint: Fingerprint,
        record: &Record,
    ) {
        let sealed = identity.seal(fingerprint, record);
        for _ in 0..TRIES {
            let Some(group) = self.group(data, fingerprint) else { return };
            if group.put(data, fingerprint, &sealed, record.written) {
                return;
            }
        }
    }

    /// Looks for a response, or else puts up a marker, unless there is one that was put up by `since`. A
    /// request that has waited for one call does not wait for another, and learns if that call failed.
    ///
    /// An answer is looked for between the look at the markers and ours, which goes up only if
    /// nothing has changed there: so an answer that came with its marker gone is not overlooked.
    pub(crate) fn acquire<K>(
        self,
        data: &dyn SharedData,
        identity: &Identity,
        fingerprint: Fingerprint,
        marker: &Record,
        since: Timestamp,
        known: &mut dyn FnMut() -> Option<K>,
    ) -> Acquire<K> {
        // Each round lost is a round that another worker won, in one of many groups.
        for _ in 0..TRIES {
            let group = self.group(data, fingerprint);
            if let Some(known) = known() {
                return Acquire::Known(known);
            }
            let Some(group) = group else { break };
            let standing = group.find(identity, fingerprint, marker.written);
            let mut body = Vec::new();
            if let Some(Record { written, body: standing, .. }) = &standing {
                let note = Note::read(standing);
                let is_under_way = note.as_ref().is_none_or(|note| note.under_way);
                if let Some(note) = note {
                    if note.call == since {
                        return Acquire::Failed(note.why.to_vec());
                    }
                    body = Note { under_way: true, ..note }.write();
                }
                if is_under_way && *written <= since {
                    return Acquire::Others(*written);
                }
            }
            let sealed = identity.seal(fingerprint, &Record { body, ..marker.clone() });
            if group.put(data, fingerprint, &sealed, marker.written) {
                return Acquire::Ours { marked: true };
            }
        }
        Acquire::Ours { marked: false }
    }

    /// Takes the marker down that we put up then, if it still stands.
    pub(crate) fn release(
        self,
        data: &dyn SharedData,
        fingerprint: Fingerprint,
        written: Timestamp,
    ) {
        self.take(data, fingerprint, &|header| header.written == written);
    }

    /// Has the marker that we put up then say that the call has failed, if it still stands.
    pub(crate) fn fail(
        self,
        data: &dyn SharedData,
        identity: &Identity,
        fingerprint: Fingerprint,
        written: Timestamp,
        why: &[u8],
        now: Timestamp,
    ) {
        let body = Note { under_way: false, call: written, why }.write();
        let record = Record { written, ends: now.plus(FAILED), body };
        let sealed = identity.seal(fingerprint, &record);
        for _ in 0..TRIES {
            let Some(group) = self.group(data, fingerprint) else { return };
            let mut markers = group.records.iter().map(|(header, _)| header);
            let stands = markers.any(|h| h.fingerprint == fingerprint && h.written == written);
            if !stands || group.put(data, fingerprint, &sealed, now) {
                return;
            }
        }
    }

    /// Takes the records of a fingerprint away.
    pub(crate) fn clear(self, data: &dyn SharedData, fingerprint: Fingerprint) {
        self.take(data, fingerprint, &|_| true);
    }

    /// Takes those records of a fingerprint away that `is_meant` says.
    fn take(
        self,
        data: &dyn SharedData,
        fingerprint: Fingerprint,
        is_meant: &dyn Fn(&Header) -> bool,
    ) {
        for _ in 0..TRIES {
            let Some(mut group) = self.group(data, fingerprint) else { return };
            let before = group.records.len();
            group
                .records
                .retain(|(header, _)| header.fingerprint != fingerprint || !is_meant(header));
            if group.records.len() == before || group.write(data, None) {
                return;
            }
        }
    }

    /// The group of a fingerprint, as it stands.
    fn group(self, data: &dyn SharedData, fingerprint: Fingerprint) -> Option<Group> {
        let [a, b, c, d, ..] = fingerprint.0;
        let number = u32::from_le_bytes([a, b, c, d]).checked_rem(self.groups)?;
        let key = format!("oauth2_filter.{VERSION}.{}.{number}", self.kind);
        let (bytes, last_write) = data.get(&key).unwrap_or((Vec::new(), NEVER_WRITTEN));
        let mut group = Group { key, bytes, last_write, records: Vec::with_capacity(WAYS) };
        group.read();
        Some(group)
    }
}

/// The value of a group: its records, each after its length in 16 bits, little-endian.
struct Group {
    /// Its key.
    key: String,
    /// All of it.
    bytes: Vec<u8>,
    /// The number of its last write.
    last_write: u32,
    /// Its records: their headers, and where they are.
    records: Vec<(Header, Range<usize>)>,
}

impl Group {
    /// Finds its records. What is none, and what stands behind it, is not looked at.
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

    /// The bytes of a record.
    fn part(&self, at: &Range<usize>) -> &[u8] {
        self.bytes.get(at.clone()).unwrap_or_default()
    }

    /// The newest record of a fingerprint that has not ended.
    fn find(
        &self,
        identity: &Identity,
        fingerprint: Fingerprint,
        now: Timestamp,
    ) -> Option<Record> {
        let mut newest: Option<Record> = None;
        for (header, at) in &self.records {
            if header.fingerprint == fingerprint
                && now < header.ends
                && header.written <= now.plus(MAX_CLOCK_SKEW)
                && newest.as_ref().is_none_or(|newest| newest.written < header.written)
                && let Some(record) = identity.open(header, self.part(at))
            {
                newest = Some(record);
            }
        }
        newest
    }

    /// Writes a fingerprint's record, in place of the one that it has; where there is no room, in
    /// place of the one that ends first. What another configuration wrote cannot be verified, but it
    /// is left in peace like any other. Whether nobody wrote in between.
    fn put(
        mut self,
        data: &dyn SharedData,
        fingerprint: Fingerprint,
        record: &[u8],
        now: Timestamp,
    ) -> bool {
        self.records.retain(|(header, _)| header.fingerprint != fingerprint && now < header.ends);
        if self.records.len() == WAYS
            && let Some((first, _)) =
                self.records.iter().enumerate().min_by_key(|(_, (header, _))| header.ends)
        {
            self.records.swap_remove(first);
        }
        self.write(data, Some(record))
    }

    /// Writes the records that are left, and one more. Whether nobody wrote in between.
    fn write(&self, data: &dyn SharedData, more: Option<&[u8]>) -> bool {
        let mut bytes = Vec::with_capacity(self.bytes.len().saturating_add(MAX_RECORD));
        for record in self.records.iter().map(|(_, at)| self.part(at)).chain(more) {
            // Longer than 16 bits can tell is none that was read or sealed.
            let Ok(length) = u16::try_from(record.len()) else { continue };
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(record);
        }
        data.set(&self.key, &bytes, Some(self.last_write))
    }
}

/// What came of a [acquisition](SharedCache::acquire).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Acquire<K> {
    /// Nobody has to ask: this is known.
    Known(K),
    /// It is ours to ask.
    Ours {
        /// Whether the marker is up. It is not if every write lost against another worker's: the call is then made without one.
        marked: bool,
    },
    /// Another worker's marker is up, put up then.
    Others(Timestamp),
    /// The call that was waited for has failed, for this reason.
    Failed(Vec<u8>),
}

#[cfg(test)]
mod tests;
