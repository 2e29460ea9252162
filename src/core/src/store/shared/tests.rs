//! Readers and writers of shared slots, honest and hostile.

use std::sync::LazyLock;

use super::*;
use crate::cache::identity::Identity;
use crate::oauth::call::CallFailure;
use crate::store::sealed::OVERHEAD;
use crate::store::shared_data::fixture::Memory;

const fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn record(written: u64, ends: u64, body: &str) -> Record {
    Record { written: at(written), ends: at(ends), body: body.into() }
}

static IDENTITY: LazyLock<Identity> =
    LazyLock::new(|| Identity::new(&[vec!["https://as.test/", "client", "secret"]]));

fn identity() -> &'static Identity {
    &IDENTITY
}

fn key(token: Fingerprint) -> TokenKey<'static> {
    TokenKey { identity: identity(), token }
}

const fn slots(records: usize) -> Slots {
    Slots { kind: 'a', records }
}

#[test]
fn what_one_worker_stores_another_finds_until_it_ends() {
    let (data, slots) = (Memory::default(), slots(100));
    let fingerprint = identity().fingerprint("t");
    SharedStore::new(&data).put(slots, key(fingerprint), &record(5, 10, "body"));
    let find = |now| SharedStore::new(&data).find(slots, key(fingerprint), at(now));
    assert_eq!(find(9), Some(record(5, 10, "body")));
    assert_eq!(find(10), None);
    SharedStore::new(&data).put(slots, key(fingerprint), &record(20, 30, "new"));
    assert_eq!(find(20), Some(record(20, 30, "new")));
    SharedStore::new(&data).remove(slots, fingerprint);
    assert_eq!(find(20), None);
}

#[test]
fn d1_03_d1_04_d1_09_d1_10_d1_11_another_token_or_server_or_client_finds_nothing() {
    let (data, slots) = (Memory::default(), slots(1));
    SharedStore::new(&data).put(slots, key(identity().fingerprint("t")), &record(0, 10, "body"));
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
        assert_eq!(
            SharedStore::new(&data).find(slots, TokenKey { identity: other, token: own }, at(0)),
            None
        );
        // Not even under the right fingerprint, because the record is sealed with another key.
        let stolen = identity().fingerprint("t");
        assert_eq!(
            SharedStore::new(&data).find(slots, TokenKey { identity: other, token: stolen }, at(0)),
            None
        );
    }
    assert_eq!(SharedStore::new(&data).find(slots, key(identity().fingerprint("u")), at(0)), None);
}

#[test]
fn a_reader_trusts_nothing_that_was_changed() {
    let (data, slots) = (Memory::default(), slots(1));
    let fingerprint = identity().fingerprint("t");
    SharedStore::new(&data).put(slots, key(fingerprint), &record(0, 10, "body"));
    let (name, good) = {
        let memory = data.0.borrow();
        let (name, (value, _)) = memory.0.iter().next().unwrap();
        (name.clone(), value.clone())
    };
    for n in 0..good.len() {
        let mut changed = good.clone();
        changed[n] ^= 1;
        _ = data.set(&name, &changed, None);
        assert_eq!(SharedStore::new(&data).find(slots, key(fingerprint), at(0)), None, "byte {n}");
        _ = data.set(&name, &good[..n], None);
        assert_eq!(SharedStore::new(&data).find(slots, key(fingerprint), at(0)), None, "{n} bytes");
    }
    _ = data.set(&name, &good, None);
    assert!(SharedStore::new(&data).find(slots, key(fingerprint), at(0)).is_some());
}

/// Values that another plugin may write under our keys.
fn rubbish(fingerprint: Fingerprint) -> Vec<Vec<u8>> {
    let of_ours = |ends| key(fingerprint).seal(&record(0, ends, "body"));
    let never_ends = Timestamp::NEVER.as_millis();
    let mut wrong_code = of_ours(never_ends);
    *wrong_code.last_mut().unwrap() ^= 1;
    let mut another_end = of_ours(10);
    another_end[41..49].copy_from_slice(&never_ends.to_le_bytes());
    let mut another_version = of_ours(never_ends);
    another_version[0] = VERSION + 1;
    // The header is valid, but the record is longer than any may be.
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
        key(fingerprint).seal(&too_long),
        vec![0xff; 10_000],
    ]
}

/// Values made of rubbish: as it is, as a record, as every record, and before one of ours.
fn values(rubbish: &[u8], fingerprint: Fingerprint) -> Vec<Vec<u8>> {
    let framed = |record: &[u8]| {
        let length = u16::try_from(record.len()).unwrap_or(u16::MAX);
        [&length.to_le_bytes(), record].concat()
    };
    let neighbour = key(identity().fingerprint("u")).seal(&record(0, 99, "neighbour"));
    assert_ne!(fingerprint, identity().fingerprint("u"));
    let one = framed(rubbish);
    let before_ours = [&*one, &framed(&neighbour)].concat();
    vec![rubbish.to_vec(), one.clone(), one.repeat(9), before_ours]
}

#[test]
fn rubbish_in_our_slots_is_not_believed_and_written_over() {
    let fingerprint = identity().fingerprint("t");
    for (n, rubbish) in rubbish(fingerprint).iter().enumerate() {
        for (form, value) in values(rubbish, fingerprint).iter().enumerate() {
            let (data, slots) = (Memory::default(), slots(1));
            _ = data.set(&slots.group(fingerprint).unwrap(), value, None);
            let find = || SharedStore::new(&data).find(slots, key(fingerprint), at(0));
            assert_eq!(find(), None, "{n}, {form}");
            SharedStore::new(&data).remove(slots, fingerprint);
            assert_eq!(find(), None, "{n}, {form}");
            SharedStore::new(&data).put(slots, key(fingerprint), &record(0, 10, "body"));
            assert_eq!(find(), Some(record(0, 10, "body")), "{n}, {form}");
            let values = &data.0.borrow().0;
            assert_eq!(values.len(), 1);
            assert!(values.values().all(|(value, _)| value.len() < 2 * MAX_RECORD));
        }
    }
}

#[test]
fn rubbish_in_the_slots_of_leases_lets_no_worker_wait() {
    let fingerprint = identity().fingerprint("t");
    for (n, rubbish) in rubbish(fingerprint).iter().enumerate() {
        for (form, value) in values(rubbish, fingerprint).iter().enumerate() {
            let data = Memory::default();
            _ = data.set(&Slots::LEASES.group(fingerprint).unwrap(), value, None);
            assert_eq!(acquire(&data, "t", 1, None, 0), Acquire::Ours, "{n}, {form}");
            let busy = Acquire::Busy(LeaseOwner(1), at(0));
            assert_eq!(acquire(&data, "t", 2, None, 0), busy, "{n}, {form}");
        }
    }
}

#[test]
fn the_longest_answer_that_is_shared_is_found_again() {
    let (data, slots) = (Memory::default(), slots(1));
    let fingerprint = identity().fingerprint("t");
    let longest = record(0, 10, &"x".repeat(MAX_SHARED));
    SharedStore::new(&data).put(slots, key(fingerprint), &longest);
    assert_eq!(SharedStore::new(&data).find(slots, key(fingerprint), at(0)), Some(longest));
}

#[test]
fn d3_01_a_million_tokens_fill_a_fixed_number_of_slots() {
    let (data, slots) = (Memory::default(), slots(10));
    for n in 0..2_000 {
        let fingerprint = identity().fingerprint(&n.to_string());
        SharedStore::new(&data).put(slots, key(fingerprint), &record(n, n + 10, "body"));
        assert!(SharedStore::new(&data).find(slots, key(fingerprint), at(n)).is_some());
    }
    assert_eq!(data.0.borrow().0.len(), 3);
    let none = Slots { kind: 'a', records: 0 };
    let token = key(identity().fingerprint("t"));
    SharedStore::new(&data).put(none, token, &record(0, 10, "body"));
    assert_eq!(SharedStore::new(&data).find(none, token, at(0)), None);
}

/// Shared data to which others write concurrently, this many times.
struct Busy(Memory, std::cell::Cell<u32>);

impl SharedData for Busy {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.0.get(key)
    }

    fn set(&self, key: &str, value: &[u8], after: Option<u32>) -> Result<(), NotWritten> {
        if let Some(left) = self.1.get().checked_sub(1) {
            self.1.set(left);
            let _ = self.0.set(key, b"another's", None);
        }
        self.0.set(key, value, after)
    }
}

#[test]
fn a_write_that_loses_against_another_is_tried_again_and_not_for_ever() {
    for (lost, found) in [(0, true), (3, true), (4, false), (u32::MAX, false)] {
        let (data, slots) = (Busy(Memory::default(), lost.into()), slots(1));
        let fingerprint = identity().fingerprint("t");
        _ = data.0.set(&slots.group(fingerprint).unwrap(), b"", None);
        SharedStore::new(&data).put(slots, key(fingerprint), &record(0, 10, "body"));
        let find = SharedStore::new(&data).find(slots, key(fingerprint), at(0));
        assert_eq!(find.is_some(), found, "{lost} lost");
    }
}

#[test]
fn what_ends_first_makes_room() {
    let (data, slots) = (Memory::default(), slots(1));
    let fingerprints: Vec<_> = (0..5).map(|n| identity().fingerprint(&format!("t{n}"))).collect();
    for (n, fingerprint) in fingerprints.iter().enumerate() {
        let ends = [50, 20, 60, 40, 70][n];
        SharedStore::new(&data).put(slots, key(*fingerprint), &record(0, ends, "body"));
    }
    let found = |f: &&Fingerprint| SharedStore::new(&data).find(slots, key(**f), at(0)).is_some();
    let left: Vec<_> = fingerprints.iter().map(|f| found(&f)).collect();
    assert_eq!(left, [true, false, true, true, true]);
}

#[test]
fn a_record_takes_the_place_of_the_one_before_and_of_no_neighbours() {
    let (data, slots) = (Memory::default(), slots(1));
    let fingerprints = ["t", "u", "v", "w"].map(|token| identity().fingerprint(token));
    for round in 0..3 {
        for fingerprint in fingerprints {
            SharedStore::new(&data).put(slots, key(fingerprint), &record(round, 99, "body"));
        }
    }
    let found = fingerprints.map(|f| SharedStore::new(&data).find(slots, key(f), at(3)));
    assert_eq!(found, [(); 4].map(|()| Some(record(2, 99, "body"))));
}

#[test]
fn of_more_records_than_have_room_only_those_that_have_are_seen_or_written_again() {
    let (data, slots) = (Memory::default(), slots(1));
    let fingerprints: Vec<_> = (0..9).map(|n| identity().fingerprint(&format!("t{n}"))).collect();
    let mut value = Vec::new();
    for fingerprint in &fingerprints {
        let sealed = key(*fingerprint).seal(&record(0, 99, "body"));
        value.extend(u16::try_from(sealed.len()).unwrap().to_le_bytes());
        value.extend(sealed);
    }
    _ = data.set(&slots.group(fingerprints[0]).unwrap(), &value, None);
    let found = |f: &&Fingerprint| SharedStore::new(&data).find(slots, key(**f), at(0)).is_some();
    assert_eq!(fingerprints.iter().filter(found).count(), WAYS);
    SharedStore::new(&data).put(slots, key(identity().fingerprint("t")), &record(0, 99, "body"));
    let written = data.get(&slots.group(fingerprints[0]).unwrap()).unwrap().0.len();
    assert!(written < value.len() / 2, "{written} of {}", value.len());
}

#[test]
fn the_newest_response_on_a_token_counts_and_a_rejection_leaves_no_other() {
    let data = Memory::default();
    let store = SharedStore::new(&data);
    let token = key(identity().fingerprint("t"));
    let key = ResponseKey { token, max_entries: 8, negative_max_entries: 8 };
    let response = |is_active, millis| CachedResponse {
        is_active,
        body: b"body".to_vec(),
        at: at(millis),
        expires: at(millis + 10),
    };
    store.publish_response(key, &response(false, 5));
    assert_eq!(store.response(key, at(5)), Some(response(false, 5)));
    store.publish_response(key, &response(true, 5));
    assert_eq!(store.response(key, at(5)), Some(response(true, 5)), "it takes its place");
    store.publish_response(key, &response(true, 7));
    assert_eq!(store.response(key, at(7)), Some(response(true, 7)));
    store.publish_response(key, &response(false, 6));
    assert_eq!(store.response(key, at(7)), Some(response(false, 6)));
    assert_eq!(store.response(key, at(16)), None);
    // One that is too long to be stored leaves no other, either.
    store.publish_response(key, &response(true, 17));
    store.publish_response(
        key,
        &CachedResponse { body: vec![b'x'; MAX_SHARED + 1], ..response(true, 18) },
    );
    assert_eq!(store.response(key, at(18)), None);
}

/// The lease on a call about a token.
fn lease_key(token: &str) -> LeaseKey<'static> {
    LeaseKey::Token(key(identity().fingerprint(token)))
}

/// Acquires a lease of ten milliseconds while no result is known.
fn acquire(
    data: &dyn SharedData,
    token: &str,
    owner: u64,
    after: Option<u64>,
    now: u64,
) -> Acquire {
    let lease = Lease { owner: LeaseOwner(owner), ends: at(now + 10) };
    let after = after.map(LeaseOwner);
    SharedStore::new(data).acquire(lease_key(token), lease, after, at(now), &mut || false)
}

/// Acquires a lease on `t` as worker 1, which another worker disturbs while this one looks for the first
/// time whether the result is known. Returns how often it looked, too.
fn acquire_disturbed(
    data: &dyn SharedData,
    known_at: Option<usize>,
    disturb: &dyn Fn(),
) -> (Acquire, usize) {
    let mut looks = 0;
    let lease = Lease { owner: LeaseOwner(1), ends: at(9) };
    let acquired = SharedStore::new(data).acquire(lease_key("t"), lease, None, at(1), &mut || {
        looks += 1;
        if looks == 1 {
            disturb();
        }
        known_at == Some(looks)
    });
    (acquired, looks)
}

fn release(data: &dyn SharedData, token: &str, owner: u64, failure: Option<Failure>) -> bool {
    SharedStore::new(data).release(lease_key(token), LeaseOwner(owner), failure, at(5))
}

#[test]
fn a_response_that_comes_while_one_looks_for_it_is_found_and_no_lease_is_acquired() {
    let data = Memory::default();
    let acquired = acquire_disturbed(&data, Some(2), &|| {
        // Another worker makes the call and finishes it.
        assert_eq!(acquire(&data, "t", 2, None, 1), Acquire::Ours);
        assert!(release(&data, "t", 2, None));
    });
    assert_eq!(acquired, (Acquire::Known, 2));
    assert_eq!(acquire(&data, "t", 3, None, 1), Acquire::Ours);
}

#[test]
fn only_an_own_lease_is_given_back() {
    let data = Memory::default();
    assert_eq!(acquire(&data, "t", 1, None, 0), Acquire::Ours);
    // It has expired: another worker has acquired a lease, besides that of a third one.
    assert_eq!(acquire(&data, "t", 2, None, 10), Acquire::Ours);
    assert_eq!(acquire(&data, "u", 3, None, 10), Acquire::Ours);
    assert!(!release(&data, "t", 1, None));
    assert_eq!(acquire(&data, "t", 4, None, 11), Acquire::Busy(LeaseOwner(2), at(10)));
    assert!(release(&data, "t", 2, None));
    assert_eq!(acquire(&data, "t", 4, None, 11), Acquire::Ours);
    assert_eq!(acquire(&data, "u", 5, None, 11), Acquire::Busy(LeaseOwner(3), at(10)));
}

#[test]
fn a_lease_that_has_ended_is_given_back_as_long_as_it_is_there() {
    let data = Memory::default();
    assert_eq!(acquire(&data, "t", 1, None, 0), Acquire::Ours);
    let late = SharedStore::new(&data).release(lease_key("t"), LeaseOwner(1), None, at(99));
    assert!(late);
    assert!(!release(&data, "t", 1, None), "once");
}

#[test]
fn what_changes_a_group_between_look_and_write_is_looked_at_anew() {
    let data = Memory::default();
    // In between, a second worker acquires the lease on our token.
    let acquired = acquire_disturbed(&data, None, &|| {
        assert_eq!(acquire(&data, "t", 2, None, 1), Acquire::Ours);
    });
    assert_eq!(acquired, (Acquire::Busy(LeaseOwner(2), at(1)), 2));
}

#[test]
fn one_worker_at_a_time_has_the_lease_of_a_token_and_one_that_has_waited_waits_for_no_other() {
    let data = Memory::default();
    assert_eq!(acquire(&data, "t", 1, None, 0), Acquire::Ours);
    assert_eq!(acquire(&data, "t", 2, None, 9), Acquire::Busy(LeaseOwner(1), at(0)));
    assert_eq!(acquire(&data, "t", 2, Some(1), 9), Acquire::Busy(LeaseOwner(1), at(0)));
    assert_eq!(acquire(&data, "t", 2, Some(1), 10), Acquire::Ours);
    assert_eq!(acquire(&data, "t", 3, None, 11), Acquire::Busy(LeaseOwner(2), at(10)));
    assert_eq!(acquire(&data, "t", 3, Some(1), 11), Acquire::Ours, "it has waited for the first");
}

#[test]
fn those_who_wait_learn_that_the_call_has_failed_and_those_who_come_later_do_not() {
    let failure = Failure::Call(CallFailure::Timeout);
    let data = Memory::default();
    assert_eq!(acquire(&data, "t", 1, None, 0), Acquire::Ours);
    assert!(release(&data, "t", 1, Some(failure)));
    let told = Failure::from_bytes(&failure.to_bytes());
    assert_eq!(acquire(&data, "t", 2, Some(1), 6), Acquire::Failed(told));
    // Also while the next call is under way.
    assert_eq!(acquire(&data, "t", 3, None, 6), Acquire::Ours);
    assert_eq!(acquire(&data, "t", 2, Some(1), 6), Acquire::Failed(told));
    assert_eq!(acquire(&data, "t", 4, None, 6), Acquire::Busy(LeaseOwner(3), at(6)));
}

#[test]
fn the_lease_on_a_clients_token_has_a_place_of_its_own() {
    let data = Memory::default();
    let client = ClientKey::new(Identity::new(&[vec!["client"]]));
    let lease = |owner| Lease { owner: LeaseOwner(owner), ends: at(10) };
    let acquire_client = |owner| {
        let key = LeaseKey::Client(&client);
        SharedStore::new(&data).acquire(key, lease(owner), None, at(0), &mut || false)
    };
    assert_eq!(acquire_client(1), Acquire::Ours);
    for n in 0..u64::try_from(LEASES * 2).unwrap() {
        assert_eq!(acquire(&data, &n.to_string(), n, None, 0), Acquire::Ours);
    }
    assert_eq!(acquire_client(2), Acquire::Busy(LeaseOwner(1), at(0)));
}

#[test]
fn a_host_that_refuses_writes_is_told_from_a_worker_that_was_faster() {
    struct Refusing;

    impl SharedData for Refusing {
        fn get(&self, _: &str) -> Option<(Vec<u8>, u32)> {
            None
        }

        fn set(&self, _: &str, _: &[u8], _: Option<u32>) -> Result<(), NotWritten> {
            Err(NotWritten::Refused)
        }
    }

    assert_eq!(acquire(&Refusing, "t", 1, None, 0), Acquire::Refused);
    let data = Busy(Memory::default(), u32::MAX.into());
    _ = data.0.set(&Slots::LEASES.group(identity().fingerprint("t")).unwrap(), b"", None);
    assert_eq!(acquire(&data, "t", 1, None, 0), Acquire::Contended);
}
