//! Readers and writers of shared slots, honest and hostile.

use super::*;
use crate::cache::record::*;
use crate::cache::sealed::OVERHEAD;
use crate::cache::store::SharedData;
use crate::cache::store::fixture::Memory;

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
    let (data, slots) = (Memory::default(), SharedCache::new('a', 100));
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
    let (data, slots) = (Memory::default(), SharedCache::new('a', 1));
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
    let (data, slots) = (Memory::default(), SharedCache::new('a', 1));
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
fn key(slots: SharedCache, fingerprint: Fingerprint) -> String {
    slots.group(&Memory::default(), fingerprint).unwrap().key
}

#[test]
fn rubbish_in_our_slots_is_not_believed_and_written_over() {
    let fingerprint = identity().fingerprint("t");
    for (n, rubbish) in rubbish(fingerprint).iter().enumerate() {
        for (form, value) in values(rubbish, fingerprint).iter().enumerate() {
            let (data, slots) = (Memory::default(), SharedCache::new('a', 1));
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
            let (data, slots) = (Memory::default(), SharedCache::new('m', 1));
            data.set(&key(slots, fingerprint), value, None);
            let claim = || claimed(&data, slots, fingerprint, &record(0, 10, ""), at(0));
            assert!(claim(), "{n}, {form}");
            assert!(!claim(), "{n}, {form}: and then it is up");
        }
    }
}

#[test]
fn the_longest_answer_that_is_shared_is_found_again() {
    let (data, slots) = (Memory::default(), SharedCache::new('a', 1));
    let fingerprint = identity().fingerprint("t");
    let longest = record(0, 10, &"x".repeat(MAX_SHARED));
    slots.store(&data, &identity(), fingerprint, &longest);
    assert_eq!(slots.find(&data, &identity(), fingerprint, at(0)), Some(longest));
}

#[test]
fn d3_01_a_million_tokens_fill_a_fixed_number_of_slots() {
    let (data, slots) = (Memory::default(), SharedCache::new('a', 10));
    for n in 0..2_000 {
        let fingerprint = identity().fingerprint(&n.to_string());
        slots.store(&data, &identity(), fingerprint, &record(n, n + 10, "body"));
        assert!(slots.find(&data, &identity(), fingerprint, at(n)).is_some());
    }
    assert_eq!(data.0.borrow().0.len(), 3);
    let none = SharedCache::new('a', 0);
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
        let (data, slots) = (Busy(Memory::default(), lost.into()), SharedCache::new('a', 1));
        let fingerprint = identity().fingerprint("t");
        data.0.set(&key(slots, fingerprint), b"", None);
        slots.store(&data, &identity(), fingerprint, &record(0, 10, "body"));
        let find = slots.find(&data, &identity(), fingerprint, at(0));
        assert_eq!(find.is_some(), found, "{lost} lost");
    }
}

#[test]
fn what_ends_first_makes_room() {
    let (data, slots) = (Memory::default(), SharedCache::new('a', 1));
    let fingerprints: Vec<_> = (0..5).map(|n| identity().fingerprint(&format!("t{n}"))).collect();
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
    let (data, slots) = (Memory::default(), SharedCache::new('a', 1));
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
    let (data, slots) = (Memory::default(), SharedCache::new('a', 1));
    let fingerprints: Vec<_> = (0..9).map(|n| identity().fingerprint(&format!("t{n}"))).collect();
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
    slots: SharedCache,
    fingerprint: Fingerprint,
    marker: &Record,
    since: Timestamp,
) -> bool {
    let claim = slots.acquire(data, &identity(), fingerprint, marker, since, &mut || None::<()>);
    claim == Acquire::Ours { marked: true }
}

#[test]
fn an_answer_that_comes_while_one_looks_for_it_is_found_and_no_marker_is_put_up() {
    let (data, slots) = (Memory::default(), SharedCache::new('m', 1));
    let fingerprint = identity().fingerprint("t");
    let mut looks = 0;
    let claim =
        slots.acquire(&data, &identity(), fingerprint, &record(1, 9, ""), at(1), &mut || {
            looks += 1;
            if looks == 1 {
                // Another worker asks, and is done, while this one looks for its answer.
                assert!(claimed(&data, slots, fingerprint, &record(1, 9, ""), at(1)));
                slots.release(&data, fingerprint, at(1));
            }
            (looks == 2).then_some("answer")
        });
    assert_eq!(claim, Acquire::Known("answer"));
    assert_eq!(slots.find(&data, &identity(), fingerprint, at(1)), None);
}

#[test]
fn only_an_own_marker_is_taken_down() {
    let (data, slots) = (Memory::default(), SharedCache::new('m', 1));
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
    let (data, slots) = (Memory::default(), SharedCache::new('m', 1));
    let [ours, other] = ["t", "u"].map(|token| identity().fingerprint(token));
    // A neighbour's marker stands, and is taken down while an answer is looked for; in that
    // moment a second worker puts up one for our token.
    assert!(claimed(&data, slots, other, &record(1, 9, ""), at(1)));
    let mut looks = 0;
    let claim = slots.acquire(&data, &identity(), ours, &record(1, 9, ""), at(1), &mut || {
        looks += 1;
        if looks == 1 {
            slots.release(&data, other, at(1));
            assert!(claimed(&data, slots, ours, &record(1, 9, ""), at(1)));
        }
        None::<()>
    });
    assert_eq!(claim, Acquire::Others(at(1)));
    assert_eq!(looks, 2);
}

#[test]
fn one_worker_at_a_time_holds_the_marker_of_a_token() {
    let (data, slots) = (Memory::default(), SharedCache::new('m', 8));
    let fingerprint = identity().fingerprint("t");
    let claim = |now, until| claimed(&data, slots, fingerprint, &record(now, until, ""), at(now));
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
