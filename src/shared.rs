//! Answers that all workers share, in the host's shared data.
//!
//! The host never frees a key, and every plugin with the same `vm_id` may read and write every
//! value. So there is a fixed number of slots, written in place; and what stands there is encrypted
//! with a key that nobody has without this configuration's secrets.

use std::fmt;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use crate::sealed::{OVERHEAD, SealingKey};
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

/// The names of the slots that one answer may stand in.
const WAYS: [&str; 4] = ["0", "1", "2", "3"];

/// The form of a record; others are not read.
const VERSION: u8 = 1;

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
    /// An answer's body; empty in a marker.
    pub(crate) body: Vec<u8>,
}

/// A fixed number of slots, in groups: each fingerprint has one group that it may stand in.
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
        let groups = u32::try_from(records.div_ceil(WAYS.len())).unwrap_or(u32::MAX);
        Self { kind, groups }
    }

    /// The newest record of a fingerprint that has not ended.
    pub(crate) fn find(
        self,
        data: &dyn SharedData,
        identity: &Identity,
        fingerprint: Fingerprint,
        now: Timestamp,
    ) -> Option<Record> {
        let mut newest: Option<Record> = None;
        for key in self.group(fingerprint)? {
            let record = data.get(&key).and_then(|(bytes, _)| identity.open(&bytes, fingerprint));
            if let Some(record) = record.filter(|record| now < record.ends)
                && newest.as_ref().is_none_or(|newest| newest.written < record.written)
            {
                newest = Some(record);
            }
        }
        newest
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
        for _ in WAYS {
            match self.least_useful(data, fingerprint, record.written, &mut |_| ()) {
                Some(room) if !data.set(&room.key, &sealed, room.last_write) => {}
                _ => return,
            }
        }
    }

    /// Looks for an answer, or else puts up a marker, unless one stands that was put up by `since`:
    /// who has waited for one waits for no other.
    ///
    /// An answer is looked for between the look at the markers and ours, which takes the place of
    /// what was seen there: so an answer that came with its marker gone is not overlooked.
    pub(crate) fn claim(
        self,
        data: &dyn SharedData,
        identity: &Identity,
        fingerprint: Fingerprint,
        marker: &Record,
        since: Timestamp,
        is_known: &mut dyn FnMut() -> bool,
    ) -> Claim {
        // Each round lost is a round that another worker won, on one of a few slots.
        for _ in WAYS {
            let mut standing = None;
            let room = self.least_useful(data, fingerprint, marker.written, &mut |bytes| {
                let record = identity.open(bytes, fingerprint);
                let until = record.filter(|record| marker.written < record.ends);
                standing = standing.max(until.map(|record| record.written));
            });
            if is_known() {
                return Claim::Known;
            }
            if let Some(written) = standing.filter(|written| *written <= since) {
                return Claim::Others(written);
            }
            let Some(Room { way, key, last_write }) = room else { break };
            let after = last_write.or(Some(NEVER_WRITTEN));
            if data.set(&key, &identity.seal(fingerprint, marker), after) {
                return Claim::Ours(Some(Mark(way)));
            }
        }
        Claim::Ours(None)
    }

    /// Takes the marker down that we put up then, if it still stands.
    pub(crate) fn release(
        self,
        data: &dyn SharedData,
        identity: &Identity,
        fingerprint: Fingerprint,
        mark: Mark,
        written: Timestamp,
    ) {
        if let Some(key) = self.group(fingerprint).and_then(|keys| keys.into_iter().nth(mark.0)) {
            clear(data, identity, fingerprint, &key, Some(written));
        }
    }

    /// Takes the records of a fingerprint away.
    pub(crate) fn clear(
        self,
        data: &dyn SharedData,
        identity: &Identity,
        fingerprint: Fingerprint,
    ) {
        for key in self.group(fingerprint).into_iter().flatten() {
            clear(data, identity, fingerprint, &key, None);
        }
    }

    /// The slot to write a fingerprint's record to: its own, or one whose record has ended, or the
    /// one that ends first. `see` is shown what stands in each.
    fn least_useful(
        self,
        data: &dyn SharedData,
        fingerprint: Fingerprint,
        now: Timestamp,
        see: &mut dyn FnMut(&[u8]),
    ) -> Option<Room> {
        let mut best: Option<(Timestamp, Room)> = None;
        for (way, key) in self.group(fingerprint)?.into_iter().enumerate() {
            let mut rating = Timestamp::from_millis(1);
            let mut last_write = None;
            if let Some((bytes, written)) = data.get(&key) {
                see(&bytes);
                last_write = Some(written);
                // What another configuration wrote cannot be verified, but it can be left in peace.
                if let Some(header) = Header::read(&bytes) {
                    if header.fingerprint == fingerprint {
                        rating = Timestamp::from_millis(0);
                    } else if now < header.ends {
                        rating = header.ends;
                    }
                }
            }
            if best.as_ref().is_none_or(|(best, _)| rating < *best) {
                best = Some((rating, Room { way, key, last_write }));
            }
        }
        best.map(|(_, room)| room)
    }

    /// The keys of a fingerprint's group.
    fn group(self, fingerprint: Fingerprint) -> Option<[String; WAYS.len()]> {
        let [a, b, c, d, ..] = fingerprint.0;
        let group = u32::from_le_bytes([a, b, c, d]).checked_rem(self.groups)?;
        let group = format!("oauth2_filter.{VERSION}.{}.{group}.", self.kind);
        Some(WAYS.map(|way| group.clone() + way))
    }
}

/// Takes a fingerprint's record away, if it stands there: of whatever time, or of this.
fn clear(
    data: &dyn SharedData,
    identity: &Identity,
    fingerprint: Fingerprint,
    key: &str,
    written: Option<Timestamp>,
) {
    if let Some((bytes, last_write)) = data.get(key)
        && let Some(record) = identity.open(&bytes, fingerprint)
        && written.is_none_or(|written| written == record.written)
    {
        data.set(key, b"", Some(last_write));
    }
}

/// A slot to write to.
struct Room {
    /// Its number in the group.
    way: usize,
    /// Its key.
    key: String,
    /// The number of its last write, if it was ever written.
    last_write: Option<u32>,
}

/// What came of a [claim](Slots::claim).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Claim {
    /// Nobody has to ask: the answer is known.
    Known,
    /// The marker is up; none if others won every time, and who asks then asks unseen.
    Ours(Option<Mark>),
    /// Another worker's marker is up, put up then.
    Others(Timestamp),
}

/// Where in its group a marker of ours was put up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mark(usize);

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

    /// The record in these bytes, if it is this fingerprint's and was sealed by this identity.
    fn open(&self, bytes: &[u8], fingerprint: Fingerprint) -> Option<Record> {
        let header = Header::read(bytes).filter(|header| header.fingerprint == fingerprint)?;
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
        slots.clear(&data, &identity(), fingerprint);
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

    #[test]
    fn rubbish_in_our_slots_is_not_believed_and_written_over() {
        let fingerprint = identity().fingerprint("t");
        for (n, rubbish) in rubbish(fingerprint).iter().enumerate() {
            let (data, slots) = (Memory::default(), Slots::new('a', 1));
            let keys: Vec<String> = slots.group(fingerprint).unwrap().to_vec();
            for key in &keys {
                data.set(key, rubbish, None);
            }
            let find = || slots.find(&data, &identity(), fingerprint, at(0));
            assert_eq!(find(), None, "{n}");
            slots.clear(&data, &identity(), fingerprint);
            assert_eq!(find(), None, "{n}");
            slots.store(&data, &identity(), fingerprint, &record(0, 10, "body"));
            assert_eq!(find(), Some(record(0, 10, "body")), "{n}");
            assert_eq!(data.0.borrow().0.len(), keys.len());
        }
    }

    #[test]
    fn rubbish_in_the_slots_of_markers_lets_nobody_wait() {
        let fingerprint = identity().fingerprint("t");
        for (n, rubbish) in rubbish(fingerprint).iter().enumerate() {
            let (data, slots) = (Memory::default(), Slots::new('m', 1));
            for key in slots.group(fingerprint).unwrap() {
                data.set(&key, rubbish, None);
            }
            let claim = || claimed(&data, slots, fingerprint, &record(0, 10, ""), at(0));
            assert!(claim(), "{n}");
            assert!(!claim(), "{n}: and then it is up");
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
        assert_eq!(data.0.borrow().0.len(), 12);
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
            for key in slots.group(fingerprint).unwrap() {
                data.0.set(&key, b"", None);
            }
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

    /// Whether a marker is put up where nobody has an answer.
    fn claimed(
        data: &Memory,
        slots: Slots,
        fingerprint: Fingerprint,
        marker: &Record,
        since: Timestamp,
    ) -> bool {
        let claim = slots.claim(data, &identity(), fingerprint, marker, since, &mut || false);
        matches!(claim, Claim::Ours(Some(_)))
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
                    slots.release(&data, &identity(), fingerprint, Mark(0), at(1));
                }
                looks == 2
            });
        assert_eq!(claim, Claim::Known);
        assert_eq!(slots.find(&data, &identity(), fingerprint, at(1)), None);
    }

    #[test]
    fn only_an_own_marker_is_taken_down() {
        let (data, slots) = (Memory::default(), Slots::new('m', 1));
        let [ours, other] = ["t", "u"].map(|token| identity().fingerprint(token));
        let claim = slots.claim(&data, &identity(), ours, &record(0, 5, ""), at(0), &mut || false);
        let Claim::Ours(Some(mark)) = claim else { panic!("the marker is up") };
        // It has ended, and another's stands in its place.
        assert!(claimed(&data, slots, other, &record(6, 9, ""), at(6)));
        slots.release(&data, &identity(), ours, mark, at(0));
        assert!(slots.find(&data, &identity(), other, at(6)).is_some());
        slots.release(&data, &identity(), other, mark, at(0));
        assert!(slots.find(&data, &identity(), other, at(6)).is_some());
        slots.release(&data, &identity(), other, mark, at(6));
        assert_eq!(slots.find(&data, &identity(), other, at(6)), None);
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
        slots.clear(&data, &identity(), fingerprint);
        assert!(claim(11, 21));
        let other = identity().fingerprint("u");
        assert!(claimed(&data, slots, other, &record(11, 21, ""), at(11)));
        // Who waits since before that marker was put up has waited for another already.
        let late = |since| claimed(&data, slots, other, &record(12, 22, ""), at(since));
        assert!(!late(11));
        assert!(late(10));
    }
}
