//! Kept answers: a map that never holds more than it was given room for.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::timestamp::Timestamp;

/// Names an answer in this worker: a keyed hash (SipHash-2-4, 128 bits) of all that identifies it.
///
/// The token itself is kept nowhere. The hash key is random and known to this worker only, so
/// nobody outside can look for two tokens with one key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Key(u128);

/// Makes keys.
pub(crate) struct Keyed(SipHasher24);

impl Keyed {
    /// Keys that depend on `seed`.
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(&seed))
    }

    /// The key of the answer that one of the servers gives on a token.
    pub(crate) fn key(&self, server: usize, token: &str) -> Key {
        let mut hash = self.0;
        hash.write_usize(server);
        hash.write(token.as_bytes());
        Key(hash.finish128().as_u128())
    }
}

/// Hands a part of the key on as the hash: it is one already.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[allow(clippy::cast_possible_truncation)]
    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

/// A bounded map from keys to values that end.
///
/// Room is made by the clock algorithm: a hand goes round the slots and takes the first that has
/// ended or was not read since it last came by. One insertion looks at each slot at most twice.
pub(crate) struct Kept<V> {
    /// Where each key's slot is.
    index: HashMap<Key, usize, BuildHasherDefault<KeyHasher>>,
    /// The slots in use; never more than `capacity`.
    slots: Vec<Slot<V>>,
    /// How many there may be.
    capacity: usize,
    /// The slot that the hand points at.
    hand: usize,
}

/// A value with its end.
struct Slot<V> {
    /// Whose value it is.
    key: Key,
    /// From then on it is not used.
    until: Timestamp,
    /// Whether it was read since the hand last came by.
    read: bool,
    /// The value.
    value: V,
}

impl<V> Kept<V> {
    /// Room for `capacity` values.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { index: HashMap::default(), slots: Vec::new(), capacity, hand: 0 }
    }

    /// The value that is kept under `key` and has not ended.
    pub(crate) fn get(&mut self, key: Key, now: Timestamp) -> Option<&mut V> {
        let slot = self.slots.get_mut(*self.index.get(&key)?)?;
        if now >= slot.until {
            return None;
        }
        slot.read = true;
        Some(&mut slot.value)
    }

    /// Keeps a value until `until`, in place of what `key` had.
    pub(crate) fn insert(&mut self, key: Key, value: V, until: Timestamp, now: Timestamp) {
        if self.capacity == 0 || until <= now {
            return;
        }
        let slot = Slot { key, until, read: false, value };
        let at = match self.index.get(&key) {
            Some(at) => *at,
            None if self.slots.len() < self.capacity => {
                self.index.insert(key, self.slots.len());
                self.slots.push(slot);
                return;
            }
            None => self.make_room(now),
        };
        if let Some(old) = self.slots.get_mut(at) {
            self.index.remove(&old.key);
            *old = slot;
            self.index.insert(key, at);
        }
    }

    /// Keeps nothing under `key` any more.
    pub(crate) fn remove(&mut self, key: Key) {
        if let Some(slot) = self.index.get(&key).and_then(|at| self.slots.get_mut(*at)) {
            slot.until = Timestamp::from_millis(0);
        }
    }

    /// The slot whose value is to go.
    fn make_room(&mut self, now: Timestamp) -> usize {
        loop {
            let at = self.hand;
            self.hand = at.saturating_add(1);
            match self.slots.get_mut(at) {
                Some(slot) if slot.read && now < slot.until => slot.read = false,
                Some(_) => return at,
                None => self.hand = 0,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_value_is_kept_until_it_ends_and_not_longer() {
        let mut kept = Kept::new(2);
        kept.insert(Key(1), 'a', at(10), at(0));
        assert_eq!(kept.get(Key(1), at(9)), Some(&mut 'a'));
        assert_eq!(kept.get(Key(1), at(10)), None);
        kept.insert(Key(1), 'b', at(20), at(10));
        assert_eq!(kept.get(Key(1), at(19)), Some(&mut 'b'));
        assert_eq!(kept.get(Key(2), at(0)), None);
    }

    #[test]
    fn what_is_removed_is_not_found() {
        let mut kept = Kept::new(2);
        kept.insert(Key(1), 'a', at(10), at(0));
        kept.insert(Key(2), 'b', at(10), at(0));
        kept.remove(Key(1));
        kept.remove(Key(3));
        assert_eq!(kept.get(Key(1), at(0)), None);
        assert_eq!(kept.get(Key(2), at(0)), Some(&mut 'b'));
        kept.insert(Key(1), 'c', at(10), at(0));
        assert_eq!(kept.get(Key(1), at(0)), Some(&mut 'c'));
    }

    #[test]
    fn what_has_ended_on_arrival_is_not_kept() {
        let mut kept = Kept::new(2);
        kept.insert(Key(1), 'a', at(5), at(5));
        assert_eq!(kept.get(Key(1), at(0)), None);
        assert_eq!(kept.slots.len(), 0);
    }

    #[test]
    fn there_is_never_more_than_there_is_room_for() {
        let mut kept = Kept::new(3);
        for n in 0..1000 {
            kept.insert(Key(n), n, at(100), at(0));
            assert!(kept.slots.len() <= 3 && kept.index.len() == kept.slots.len());
            assert_eq!(kept.get(Key(n), at(0)), Some(&mut n.clone()));
        }
        let mut none = Kept::new(0);
        none.insert(Key(1), 'a', at(10), at(0));
        assert_eq!(none.get(Key(1), at(0)), None);
    }

    #[test]
    fn what_is_read_outlives_what_is_not() {
        let mut kept = Kept::new(4);
        kept.insert(Key(0), 0, at(100), at(0));
        for n in 1..100 {
            kept.insert(Key(n), n, at(100), at(0));
            assert_eq!(kept.get(Key(0), at(0)), Some(&mut 0), "after {n}");
        }
    }

    #[test]
    fn what_has_ended_goes_first() {
        let mut kept = Kept::new(2);
        kept.insert(Key(1), 1, at(10), at(0));
        kept.insert(Key(2), 2, at(100), at(0));
        kept.get(Key(1), at(0));
        kept.insert(Key(3), 3, at(100), at(50));
        assert_eq!(kept.get(Key(2), at(50)), Some(&mut 2));
        assert_eq!(kept.get(Key(3), at(50)), Some(&mut 3));
    }

    #[test]
    fn keys_differ_by_token_and_by_seed() {
        let keyed = Keyed::new([1; 16]);
        assert_eq!(keyed.key(0, "a"), keyed.key(0, "a"));
        assert_ne!(keyed.key(0, "a"), keyed.key(0, "b"));
        assert_ne!(keyed.key(0, "a"), keyed.key(1, "a"));
        assert_ne!(keyed.key(0, "a"), Keyed::new([2; 16]).key(0, "a"));
    }
}
