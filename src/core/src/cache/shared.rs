//! Answers that all workers share, in the host's shared data.
//!
//! The host never frees a key, and every plugin with the same `vm_id` may read and write every
//! value. So there is a fixed number of slots, written in place; and what stands there is encrypted
//! with a key that nobody has without this configuration's secrets.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use crate::cache::sealed::{OVERHEAD, SealingKey};
use crate::timestamp::Timestamp;

/// The host's shared data: values by key, with a number that changes with each write.
pub trait SharedData {
    /// The value of a key, if it was ever written, and the number of the write.
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)>;

    /// Writes a value; with `after`, only if the last write was that one, or if the key was never
    /// written. Whether it was written.
    fn set(&self, key: &str, value: &[u8], after: Option<u32>) -> bool;
}

/// A number that no write has. With it, of two who write a key for the first time one succeeds.
pub(crate) const NEVER_WRITTEN: u32 = u32::MAX;

/// The longest answer that is shared, in bytes. With it, a slot takes up to 4.2 kB of memory.
pub(crate) const MAX_SHARED: usize = 4 * 1024;

/// How much younger than who finds it a marker may be: workers look at the clock when they begin.
/// One that is younger still was put up before the clock was set back, and may stand for long.
pub(crate) const YOUNGER: Duration = Duration::from_secs(1);

/// How many records a group has room for: an answer may stand in any slot of its group.
const WAYS: usize = 4;

/// Room for markers; there is one for each call under way.
const MARKERS: usize = 1024;

/// How long it stands that a call has failed: workers that wait look every few milliseconds.
const FAILED: Duration = Duration::from_secs(1);

/// How often a write is tried against those of other workers.
const TRIES: usize = 4;

/// The form of groups and records; others are not read.
const VERSION: u8 = 3;

/// The longest record.
const MAX_RECORD: usize = Header::LENGTH + MAX_SHARED + OVERHEAD;

/// What identifies an answer to all workers: SHA-256 of the server's identity and the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Fingerprint([u8; 32]);

/// Who is asked and as whom: all but the token that an answer depends on. It also encrypts records:
/// the client's secret is a part of it, so no other plugin knows it.
pub(crate) struct Identity {
    /// Digest of the parts.
    digest: [u8; 32],
    /// Encrypts records.
    pub(crate) sealing: SealingKey,
}

impl Identity {
    /// The identity of these lists, each with its number of parts and each part with its length,
    /// so that no two of them look the same.
    pub(crate) fn new(lists: &[Vec<&str>]) -> Self {
        let mut hash = Sha256::new_with_prefix(b"oauth2-filter identity");
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX).to_le_bytes();
        for list in lists {
            hash.update(number(list.len()));
            for part in list {
                hash.update(number(part.len()));
                hash.update(part);
            }
        }
        let digest: [u8; 32] = hash.finalize().into();
        let key = Sha256::new_with_prefix(b"oauth2-filter sealing").chain_update(digest);
        Self { digest, sealing: SealingKey::new(key.finalize().into()) }
    }

    /// The identity of what depends on two.
    pub(crate) fn joined(first: &Self, second: &Self) -> Self {
        let name = |identity: &Self| Base64UrlUnpadded::encode_string(&identity.digest);
        Self::new(&[vec![&name(first), &name(second)]])
    }

    /// A name for keys and for other identities: it tells nothing of what it is made of.
    pub(crate) fn name(&self) -> String {
        let hash = Sha256::new_with_prefix(b"oauth2-filter name").chain_update(self.digest);
        let hash = hash.finalize();
        Base64UrlUnpadded::encode_string(hash.first_chunk::<16>().unwrap_or(&[0; 16]))
    }

    /// The fingerprint of a token's answer.
    pub(crate) fn fingerprint(&self, token: &str) -> Fingerprint {
        let hash = Sha256::new_with_prefix(self.digest).chain_update(token);
        Fingerprint(hash.finalize().into())
    }
}

/// What a slot holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Record {
    /// When it was written: for an answer, when the server gave it.
    pub(crate) written: Timestamp,
    /// From then on nobody needs it.
    pub(crate) ends: Timestamp,
    /// An answer's body; in a marker a [`Note`], or nothing.
    pub(crate) body: Vec<u8>,
}

/// What a marker says of a call that has failed: who waits for it in another worker learns so that
/// it has, and does not ask once more.
struct Note<'r> {
    /// Whether a later call is under way, whose marker it is.
    under_way: bool,
    /// When the marker of the call that has failed was put up.
    call: Timestamp,
    /// Why it has failed.
    why: &'r [u8],
}

impl<'r> Note<'r> {
    /// What stands in a marker.
    fn read(body: &'r [u8]) -> Option<Self> {
        let (under_way, rest) = body.split_first()?;
        let (call, why) = rest.split_first_chunk()?;
        let call = Timestamp::from_millis(u64::from_le_bytes(*call));
        Some(Self { under_way: *under_way == 1, call, why })
    }

    /// The same in bytes.
    fn write(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.under_way)];
        bytes.extend(self.call.as_millis().to_le_bytes());
        bytes.extend_from_slice(self.why);
        bytes
    }
}

/// A fixed number of slots, in groups: each fingerprint has one group that it may stand in. A group
/// is one value, so that one look shows all of it, and a write that follows a look tells whether
/// anything there has changed in between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    /// The letter in the names of these slots' keys.
    kind: char,
    /// How many groups there are; may be none.
    groups: u32,
}

impl Slots {
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

    /// Looks for an answer, or else puts up a marker, unless one stands that was put up by `since`:
    /// who has waited for one waits for no other, and hears if its call has failed.
    ///
    /// An answer is looked for between the look at the markers and ours, which goes up only if
    /// nothing has changed there: so an answer that came with its marker gone is not overlooked.
    pub(crate) fn claim<K>(
        self,
        data: &dyn SharedData,
        identity: &Identity,
        fingerprint: Fingerprint,
        marker: &Record,
        since: Timestamp,
        known: &mut dyn FnMut() -> Option<K>,
    ) -> Claim<K> {
        // Each round lost is a round that another worker won, in one of many groups.
        for _ in 0..TRIES {
            let group = self.group(data, fingerprint);
            if let Some(known) = known() {
                return Claim::Known(known);
            }
            let Some(group) = group else { break };
            let standing = group.find(identity, fingerprint, marker.written);
            let mut body = Vec::new();
            if let Some(Record { written, body: standing, .. }) = &standing {
                let note = Note::read(standing);
                let is_under_way = note.as_ref().is_none_or(|note| note.under_way);
                if let Some(note) = note {
                    if note.call == since {
                        return Claim::Failed(note.why.to_vec());
                    }
                    body = Note { under_way: true, ..note }.write();
                }
                if is_under_way && *written <= since {
                    return Claim::Others(*written);
                }
            }
            let sealed = identity.seal(fingerprint, &Record { body, ..marker.clone() });
            if group.put(data, fingerprint, &sealed, marker.written) {
                return Claim::Ours { marked: true };
            }
        }
        Claim::Ours { marked: false }
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

/// What stands in a group: records, each after its length in 16 bits, the lowest first.
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
                && header.written <= now.plus(YOUNGER)
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

/// What came of a [claim](Slots::claim).
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Claim<K> {
    /// Nobody has to ask: this is known.
    Known(K),
    /// It is ours to ask.
    Ours {
        /// Whether the marker is up. If others won every time, it is not, and who asks asks unseen.
        marked: bool,
    },
    /// Another worker's marker is up, put up then.
    Others(Timestamp),
    /// The call that was waited for has failed, for this reason.
    Failed(Vec<u8>),
}

/// What stands before a record's body: version, fingerprint, two times.
struct Header {
    /// Whose record it is.
    fingerprint: Fingerprint,
    /// As in [`Record`].
    written: Timestamp,
    /// As in [`Record`].
    ends: Timestamp,
}

impl Header {
    /// Its length in bytes.
    const LENGTH: usize = 1 + 32 + 8 + 8;

    /// Reads it, whoever wrote it. What is longer than any record of ours is none: nobody is to
    /// have us compute the code of megabytes.
    fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_RECORD {
            return None;
        }
        let (version, rest) = bytes.split_first()?;
        let (fingerprint, rest) = rest.split_first_chunk()?;
        let (written, rest) = rest.split_first_chunk()?;
        let (ends, _) = rest.split_first_chunk()?;
        let time = |bytes: &[u8; 8]| Timestamp::from_millis(u64::from_le_bytes(*bytes));
        (*version == VERSION).then(|| Self {
            fingerprint: Fingerprint(*fingerprint),
            written: time(written),
            ends: time(ends),
        })
    }
}

impl Identity {
    /// The bytes of a record: header, and the body, sealed for it.
    fn seal(&self, fingerprint: Fingerprint, record: &Record) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(fingerprint.0);
        bytes.extend(record.written.as_millis().to_le_bytes());
        bytes.extend(record.ends.as_millis().to_le_bytes());
        let body = self.sealing.seal(&bytes, &record.body);
        bytes.extend(body);
        bytes
    }

    /// The record in these bytes, which begin with this header, if this identity has sealed it.
    fn open(&self, header: &Header, bytes: &[u8]) -> Option<Record> {
        let (place, sealed) = bytes.split_at_checked(Header::LENGTH)?;
        let body = self.sealing.open(place, sealed)?;
        Some(Record { written: header.written, ends: header.ends, body })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Shared data that a test can look into.

    use std::cell::RefCell;
    use std::collections::HashMap;

    use super::SharedData;

    /// Values in memory, with the host's rules.
    #[derive(Default)]
    pub(crate) struct Memory(pub(crate) RefCell<(Values, u32)>);

    /// Values by key, each with the number of its write.
    type Values = HashMap<String, (Vec<u8>, u32)>;

    impl SharedData for Memory {
        fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
            self.0.borrow().0.get(key).cloned()
        }

        fn set(&self, key: &str, value: &[u8], after: Option<u32>) -> bool {
            let (values, writes) = &mut *self.0.borrow_mut();
            let current = values.get(key).map(|(_, written)| *written);
            if after.is_some() && current.is_some() && after != current {
                return false;
            }
            *writes += 1;
            values.insert(key.to_owned(), (value.to_vec(), *writes));
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::Memory;
    use super::*;

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn record(written: u64, ends: u64, body: &str) -> Record {
        Record { written: at(written), ends: at(ends), body: body.into() }
    }

    fn identity() -> Identity {
        Identity::new(&[vec!["https://as.test/", "client", "secret"]])
    }

    #[test]
    fn what_one_worker_stores_another_finds_until_it_ends() {
        let (data, slots) = (Memory::default(), Slots::new('a', 100));
        let fingerprint = identity().fingerprint("t");
        slots.store(&data, &identity(), fingerprint, &record(5, 10, "body"));
        let find = |now| slots.find(&data, &identity(), fingerprint, at(now));
        assert_eq!(find(9), Some(record(5, 10, "body")));
        assert_eq!(find(10), None);
        slots.store(&data, &identity(), fingerprint, &record(20, 30, "new"));
        assert_eq!(find(20), Some(record(20, 30, "new")));
        slots.clear(&data, fingerprint);
        assert_eq!(find(20), None);
    }

    #[test]
    fn d1_03_d1_04_d1_09_d1_10_d1_11_another_token_or_server_or_client_finds_nothing() {
        let (data, slots) = (Memory::default(), Slots::new('a', 1));
        slots.store(&data, &identity(), identity().fingerprint("t"), &record(0, 10, "body"));
        let others = [
            Identity::new(&[vec!["https://as.test/", "client", "other"]]),
            Identity::new(&[vec!["https://as.test/", "other", "secret"]]),
            Identity::new(&[vec!["https://as.test/client", "", "secret"]]),
            Identity::new(&[vec!["https://as.test/", "clients", "ecret"]]),
            Identity::new(&[vec!["https://as.test/", "client"], vec!["secret"]]),
            Identity::new(&[vec!["https://as.test/"], vec!["client", "secret"]]),
            Identity::new(&[vec!["https://as.test/", "client", "secret"], vec![]]),
        ];
        for other in &others {
            let own = other.fingerprint("t");
            assert_eq!(slots.find(&data, other, own, at(0)), None);
            // Not even under the right fingerprint: the code is another's.
            let stolen = identity().fingerprint("t");
            assert_eq!(slots.find(&data, other, stolen, at(0)), None);
        }
        assert_eq!(slots.find(&data, &identity(), identity().fingerprint("u"), at(0)), None);
    }

    #[test]
    fn a_reader_trusts_nothing_that_was_changed() {
        let (data, slots) = (Memory::default(), Slots::new('a', 1));
        let fingerprint = identity().fingerprint("t");
        slots.store(&data, &identity(), fingerprint, &record(0, 10, "body"));
        let (key, good) = {
            let memory = data.0.borrow();
            let (key, (value, _)) = memory.0.iter().next().unwrap();
            (key.clone(), value.clone())
        };
        for n in 0..good.len() {
            let mut changed = good.clone();
            changed[n] ^= 1;
            data.set(&key, &changed, None);
            assert_eq!(slots.find(&data, &identity(), fingerprint, at(0)), None, "byte {n}");
            data.set(&key, &good[..n], None);
            assert_eq!(slots.find(&data, &identity(), fingerprint, at(0)), None, "{n} bytes");
        }
        data.set(&key, &good, None);
        assert!(slots.find(&data, &identity(), fingerprint, at(0)).is_some());
    }

    /// What another plugin may write under our keys.
    fn rubbish(fingerprint: Fingerprint) -> Vec<Vec<u8>> {
        let of_ours = |ends| identity().seal(fingerprint, &record(0, ends, "body"));
        let never_ends = Timestamp::NEVER.as_millis();
        let mut wrong_code = of_ours(never_ends);
        *wrong_code.last_mut().unwrap() ^= 1;
        let mut another_end = of_ours(10);
        another_end[41..49].copy_from_slice(&never_ends.to_le_bytes());
        let mut another_version = of_ours(never_ends);
        another_version[0] = VERSION + 1;
        // The head is right, and all the rest of it too large for anybody.
        let mut oversized = of_ours(never_ends);
        oversized.resize(50 << 20, 0);
        let too_long = record(0, never_ends, &"x".repeat(MAX_SHARED + 1));
        vec![
            Vec::new(),
            vec![VERSION],
            b"not a record at all".to_vec(),
            of_ours(never_ends)[..Header::LENGTH].to_vec(),
            of_ours(never_ends)[..Header::LENGTH + OVERHEAD - 1].to_vec(),
            wrong_code,
            another_end,
            another_version,
            oversized,
            identity().seal(fingerprint, &too_long),
            vec![0xff; 10_000],
        ]
    }

    /// Values made of it: as it is, as a record, as every record, and before one of ours.
    fn values(rubbish: &[u8], fingerprint: Fingerprint) -> Vec<Vec<u8>> {
        let framed = |record: &[u8]| {
            let length = u16::try_from(record.len()).unwrap_or(u16::MAX);
            [&length.to_le_bytes(), record].concat()
        };
        let neighbour = identity().seal(identity().fingerprint("u"), &record(0, 99, "neighbour"));
        assert_ne!(fingerprint, identity().fingerprint("u"));
        let one = framed(rubbish);
        let before_ours = [&*one, &framed(&neighbour)].concat();
        vec![rubbish.to_vec(), one.clone(), one.repeat(9), before_ours]
    }

    /// The key of a fingerprint's group.
    fn key(slots: Slots, fingerprint: Fingerprint) -> String {
        slots.group(&Memory::default(), fingerprint).unwrap().key
    }

    #[test]
    fn rubbish_in_our_slots_is_not_believed_and_written_over() {
        let fingerprint = identity().fingerprint("t");
        for (n, rubbish) in rubbish(fingerprint).iter().enumerate() {
            for (form, value) in values(rubbish, fingerprint).iter().enumerate() {
                let (data, slots) = (Memory::default(), Slots::new('a', 1));
                data.set(&key(slots, fingerprint), value, None);
                let find = || slots.find(&data, &identity(), fingerprint, at(0));
                assert_eq!(find(), None, "{n}, {form}");
                slots.clear(&data, fingerprint);
                assert_eq!(find(), None, "{n}, {form}");
                slots.store(&data, &identity(), fingerprint, &record(0, 10, "body"));
                assert_eq!(find(), Some(record(0, 10, "body")), "{n}, {form}");
                let values = &data.0.borrow().0;
                assert_eq!(values.len(), 1);
                assert!(values.values().all(|(value, _)| value.len() < 2 * MAX_RECORD));
            }
        }
    }

    #[test]
    fn rubbish_in_the_slots_of_markers_lets_nobody_wait() {
        let fingerprint = identity().fingerprint("t");
        for (n, rubbish) in rubbish(fingerprint).iter().enumerate() {
            for (form, value) in values(rubbish, fingerprint).iter().enumerate() {
                let (data, slots) = (Memory::default(), Slots::new('m', 1));
                data.set(&key(slots, fingerprint), value, None);
                let claim = || claimed(&data, slots, fingerprint, &record(0, 10, ""), at(0));
                assert!(claim(), "{n}, {form}");
                assert!(!claim(), "{n}, {form}: and then it is up");
            }
        }
    }

    #[test]
    fn the_longest_answer_that_is_shared_is_found_again() {
        let (data, slots) = (Memory::default(), Slots::new('a', 1));
        let fingerprint = identity().fingerprint("t");
        let longest = record(0, 10, &"x".repeat(MAX_SHARED));
        slots.store(&data, &identity(), fingerprint, &longest);
        assert_eq!(slots.find(&data, &identity(), fingerprint, at(0)), Some(longest));
    }

    #[test]
    fn d3_01_a_million_tokens_fill_a_fixed_number_of_slots() {
        let (data, slots) = (Memory::default(), Slots::new('a', 10));
        for n in 0..2_000 {
            let fingerprint = identity().fingerprint(&n.to_string());
            slots.store(&data, &identity(), fingerprint, &record(n, n + 10, "body"));
            assert!(slots.find(&data, &identity(), fingerprint, at(n)).is_some());
        }
        assert_eq!(data.0.borrow().0.len(), 3);
        let none = Slots::new('a', 0);
        none.store(&data, &identity(), identity().fingerprint("t"), &record(0, 10, "body"));
        assert_eq!(none.find(&data, &identity(), identity().fingerprint("t"), at(0)), None);
    }

    /// Shared data in which others write at the same moment, so many times.
    struct Busy(Memory, std::cell::Cell<u32>);

    impl SharedData for Busy {
        fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
            self.0.get(key)
        }

        fn set(&self, key: &str, value: &[u8], after: Option<u32>) -> bool {
            if let Some(left) = self.1.get().checked_sub(1) {
                self.1.set(left);
                self.0.set(key, b"another's", None);
            }
            self.0.set(key, value, after)
        }
    }

    #[test]
    fn a_write_that_loses_against_another_is_tried_again_and_not_for_ever() {
        for (lost, found) in [(0, true), (3, true), (4, false), (u32::MAX, false)] {
            let (data, slots) = (Busy(Memory::default(), lost.into()), Slots::new('a', 1));
            let fingerprint = identity().fingerprint("t");
            data.0.set(&key(slots, fingerprint), b"", None);
            slots.store(&data, &identity(), fingerprint, &record(0, 10, "body"));
            let find = slots.find(&data, &identity(), fingerprint, at(0));
            assert_eq!(find.is_some(), found, "{lost} lost");
        }
    }

    #[test]
    fn what_ends_first_makes_room() {
        let (data, slots) = (Memory::default(), Slots::new('a', 1));
        let fingerprints: Vec<_> =
            (0..5).map(|n| identity().fingerprint(&format!("t{n}"))).collect();
        for (n, fingerprint) in fingerprints.iter().enumerate() {
            let ends = [50, 20, 60, 40, 70][n];
            slots.store(&data, &identity(), *fingerprint, &record(0, ends, "body"));
        }
        let found = |f: &&Fingerprint| slots.find(&data, &identity(), **f, at(0)).is_some();
        let left: Vec<_> = fingerprints.iter().map(|f| found(&f)).collect();
        assert_eq!(left, [true, false, true, true, true]);
    }

    #[test]
    fn a_record_takes_the_place_of_the_one_before_and_of_no_neighbours() {
        let (data, slots) = (Memory::default(), Slots::new('a', 1));
        let fingerprints = ["t", "u", "v", "w"].map(|token| identity().fingerprint(token));
        for round in 0..3 {
            for fingerprint in fingerprints {
                slots.store(&data, &identity(), fingerprint, &record(round, 99, "body"));
            }
        }
        let found = fingerprints.map(|f| slots.find(&data, &identity(), f, at(3)));
        assert_eq!(found, [(); 4].map(|()| Some(record(2, 99, "body"))));
    }

    #[test]
    fn of_more_records_than_have_room_only_those_that_have_are_seen_or_written_again() {
        let (data, slots) = (Memory::default(), Slots::new('a', 1));
        let fingerprints: Vec<_> =
            (0..9).map(|n| identity().fingerprint(&format!("t{n}"))).collect();
        let mut value = Vec::new();
        for fingerprint in &fingerprints {
            let sealed = identity().seal(*fingerprint, &record(0, 99, "body"));
            value.extend(u16::try_from(sealed.len()).unwrap().to_le_bytes());
            value.extend(sealed);
        }
        data.set(&key(slots, fingerprints[0]), &value, None);
        let found = |f: &&Fingerprint| slots.find(&data, &identity(), **f, at(0)).is_some();
        assert_eq!(fingerprints.iter().filter(found).count(), WAYS);
        slots.store(&data, &identity(), identity().fingerprint("t"), &record(0, 99, "body"));
        let written = data.get(&key(slots, fingerprints[0])).unwrap().0.len();
        assert!(written < value.len() / 2, "{written} of {}", value.len());
    }

    /// Whether a marker is put up where nobody has an answer.
    fn claimed(
        data: &Memory,
        slots: Slots,
        fingerprint: Fingerprint,
        marker: &Record,
        since: Timestamp,
    ) -> bool {
        let claim = slots.claim(data, &identity(), fingerprint, marker, since, &mut || None::<()>);
        claim == Claim::Ours { marked: true }
    }

    #[test]
    fn an_answer_that_comes_while_one_looks_for_it_is_found_and_no_marker_is_put_up() {
        let (data, slots) = (Memory::default(), Slots::new('m', 1));
        let fingerprint = identity().fingerprint("t");
        let mut looks = 0;
        let claim =
            slots.claim(&data, &identity(), fingerprint, &record(1, 9, ""), at(1), &mut || {
                looks += 1;
                if looks == 1 {
                    // Another worker asks, and is done, while this one looks for its answer.
                    assert!(claimed(&data, slots, fingerprint, &record(1, 9, ""), at(1)));
                    slots.release(&data, fingerprint, at(1));
                }
                (looks == 2).then_some("answer")
            });
        assert_eq!(claim, Claim::Known("answer"));
        assert_eq!(slots.find(&data, &identity(), fingerprint, at(1)), None);
    }

    #[test]
    fn only_an_own_marker_is_taken_down() {
        let (data, slots) = (Memory::default(), Slots::new('m', 1));
        let [ours, other] = ["t", "u"].map(|token| identity().fingerprint(token));
        let stands = |fingerprint| slots.find(&data, &identity(), fingerprint, at(6)).is_some();
        assert!(claimed(&data, slots, ours, &record(0, 5, ""), at(0)));
        // It has ended: another worker has put up its own, and stands beside a third's.
        assert!(claimed(&data, slots, ours, &record(6, 9, ""), at(6)));
        assert!(claimed(&data, slots, other, &record(6, 9, ""), at(6)));
        slots.release(&data, ours, at(0));
        assert!(stands(ours) && stands(other));
        slots.release(&data, ours, at(6));
        assert!(!stands(ours) && stands(other));
        slots.release(&data, other, at(6));
        assert_eq!(data.get(&key(slots, ours)).map(|(value, _)| value), Some(Vec::new()));
    }

    #[test]
    fn what_changes_a_group_between_look_and_write_is_looked_at_anew() {
        let (data, slots) = (Memory::default(), Slots::new('m', 1));
        let [ours, other] = ["t", "u"].map(|token| identity().fingerprint(token));
        // A neighbour's marker stands, and is taken down while an answer is looked for; in that
        // moment a second worker puts up one for our token.
        assert!(claimed(&data, slots, other, &record(1, 9, ""), at(1)));
        let mut looks = 0;
        let claim = slots.claim(&data, &identity(), ours, &record(1, 9, ""), at(1), &mut || {
            looks += 1;
            if looks == 1 {
                slots.release(&data, other, at(1));
                assert!(claimed(&data, slots, ours, &record(1, 9, ""), at(1)));
            }
            None::<()>
        });
        assert_eq!(claim, Claim::Others(at(1)));
        assert_eq!(looks, 2);
    }

    #[test]
    fn one_worker_at_a_time_holds_the_marker_of_a_token() {
        let (data, slots) = (Memory::default(), Slots::new('m', 8));
        let fingerprint = identity().fingerprint("t");
        let claim =
            |now, until| claimed(&data, slots, fingerprint, &record(now, until, ""), at(now));
        assert!(claim(0, 10));
        assert!(!claim(1, 11));
        assert!(!claim(9, 19));
        assert!(claim(10, 20));
        slots.clear(&data, fingerprint);
        assert!(claim(11, 21));
        let other = identity().fingerprint("u");
        assert!(claimed(&data, slots, other, &record(11, 21, ""), at(11)));
        // Who waits since before that marker was put up has waited for another already.
        let late = |since| claimed(&data, slots, other, &record(12, 22, ""), at(since));
        assert!(!late(11));
        assert!(late(10));
    }
}
