//! A map that is bounded in number of values and in bytes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use oauth2_filter_keyed_hash::LookupHash;

use crate::ids::{ClientId, ServerId};
use crate::timestamp::Timestamp;

/// The key of a cached value in this worker: a keyed hash of everything that identifies the
/// value.
///
/// The token itself is not stored. The hash key is random and secret to this worker, so an attacker
/// cannot search for two tokens with one key. No key leaves this worker.
///
/// Stored in parts of 32 bits, because the alignment of a `u128` would make every place with a key
/// a third larger.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct CacheKey([u32; 4]);

impl Hash for CacheKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [first, second, ..] = self.0.map(u64::from);
        state.write_u64(first | second << 32);
    }
}

/// Makes keys with a secret hash key.
pub(crate) struct Keyed(LookupHash);

/// Separates the keys that one token has for different purposes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeySpace {
    /// Responses of this server.
    Server(ServerId),
    /// Tokens that this client obtained in exchange for the token.
    Client(ClientId),
    /// Tokens that clients obtained.
    Issued,
}

impl KeySpace {
    /// A number that no other key space has.
    fn number(self) -> u64 {
        // No list is long enough to contain the largest number.
        let number = |place: usize| u64::try_from(place).unwrap_or(u64::MAX).wrapping_mul(2);
        match self {
            Self::Server(ServerId(place)) => number(place),
            Self::Client(ClientId(place)) => number(place).wrapping_add(1),
            Self::Issued => u64::MAX.wrapping_sub(2),
        }
    }
}

impl Keyed {
    /// Makes keys that depend on `seed`.
    pub(crate) fn new(seed: [u8; 16]) -> Self {
        Self(LookupHash::new(seed))
    }

    /// The key of a token in a key space.
    pub(crate) fn key(&self, space: KeySpace, token: impl AsRef<[u8]>) -> CacheKey {
        let hash = self.0.of(space.number(), token.as_ref()).to_le_bytes();
        let (parts, _) = hash.as_chunks();
        let mut key = CacheKey([0; 4]);
        for (to, from) in key.0.iter_mut().zip(parts) {
            *to = u32::from_le_bytes(*from);
        }
        key
    }
}

/// Uses a part of the key as its hash, because the key is a hash already.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

pub(crate) type KeyMap<V> = HashMap<CacheKey, V, BuildHasherDefault<KeyHasher>>;

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// A bounded map from keys to values that expire.
///
/// Eviction uses the clock algorithm: a hand moves round the slots and evicts the first one that
/// has expired or was not read since the hand last passed. It visits each slot at most twice for
/// each one that it evicts.
pub(crate) struct ClockCache<V> {
    /// The position of each key in `slots`.
    index: KeyMap<usize>,
    slots: Vec<Slot<V>>,
    room: Room,
    /// The size of all values together.
    bytes: usize,
    /// The slot that the hand visits next.
    hand: usize,
}

/// The capacity of a cache.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Room {
    /// The maximum number of values.
    pub(crate) entries: usize,
    /// The maximum size of all values together, in bytes.
    pub(crate) bytes: usize,
}

struct Slot<V> {
    key: CacheKey,
    /// When the value expires.
    until: Timestamp,
    /// Whether the value was read since the hand last passed.
    read: bool,
    bytes: usize,
    value: V,
}

impl<V> ClockCache<V> {
    pub(crate) fn new(room: Room) -> Self {
        Self { index: KeyMap::default(), slots: Vec::new(), room, bytes: 0, hand: 0 }
    }

    /// Whether a value is cached, without counting as a read of it.
    pub(crate) fn has(&self, key: CacheKey, now: Timestamp) -> bool {
        let slot = self.index.get(&key).and_then(|at| self.slots.get(*at));
        slot.is_some_and(|slot| now < slot.until)
    }

    /// The value of a key, unless it has expired.
    pub(crate) fn get(&mut self, key: CacheKey, now: Timestamp) -> Option<&mut V> {
        let slot = self.slots.get_mut(*self.index.get(&key)?)?;
        if now >= slot.until {
            return None;
        }
        slot.read = true;
        Some(&mut slot.value)
    }

    /// Caches a value of this size until `until`, in place of the previous value of `key`. A value
    /// that has expired already, or exceeds the capacity by itself, only removes the previous one.
    pub(crate) fn insert(
        &mut self,
        key: CacheKey,
        value: V,
        bytes: usize,
        until: Timestamp,
        now: Timestamp,
    ) {
        self.remove(key);
        let Some(rest) = self.room.bytes.checked_sub(bytes) else { return };
        if self.room.entries == 0 || until <= now {
            return;
        }
        let mut at = self.slots.len();
        while self.slots.len() >= self.room.entries || self.bytes > rest {
            at = self.least_useful(now);
            self.take(at);
        }
        let end = self.slots.len();
        self.slots.push(Slot { key, until, read: false, bytes, value });
        self.bytes = self.bytes.saturating_add(bytes);
        // The hand has just passed this slot, so it visits all others first.
        let at = at.min(end);
        self.slots.swap(at, end);
        self.note_place(at);
        self.note_place(end);
    }

    pub(crate) fn remove(&mut self, key: CacheKey) {
        if let Some(at) = self.index.get(&key) {
            self.take(*at);
        }
    }

    /// Removes all values.
    pub(crate) fn clear(&mut self) {
        self.retain(|_| false);
    }

    /// Removes all values but these.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&V) -> bool) {
        let mut at = 0;
        while let Some(slot) = self.slots.get(at) {
            if keep(&slot.value) {
                at = at.saturating_add(1);
            } else {
                self.take(at);
            }
        }
    }

    /// The slot to evict. There must be at least one slot.
    fn least_useful(&mut self, now: Timestamp) -> usize {
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

    /// Removes a slot; the last one moves to its place.
    fn take(&mut self, at: usize) {
        if at < self.slots.len() {
            let slot = self.slots.swap_remove(at);
            self.index.remove(&slot.key);
            self.bytes = self.bytes.saturating_sub(slot.bytes);
            self.note_place(at);
        }
    }

    /// Updates the index for the slot that is now at this position.
    fn note_place(&mut self, at: usize) {
        if let Some(slot) = self.slots.get(at) {
            self.index.insert(slot.key, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    fn key(number: u32) -> CacheKey {
        CacheKey([number, 0, 0, 0])
    }

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    /// Room for this many values of one byte.
    const fn room(entries: usize) -> Room {
        Room { entries, bytes: entries }
    }

    #[test]
    fn a_value_is_kept_until_it_ends_and_not_longer() {
        let mut kept = ClockCache::new(room(2));
        kept.insert(key(1), 'a', 1, at(10), at(0));
        assert_eq!(kept.get(key(1), at(9)), Some(&mut 'a'));
        assert_eq!(kept.get(key(1), at(10)), None);
        kept.insert(key(1), 'b', 1, at(20), at(10));
        assert_eq!(kept.get(key(1), at(19)), Some(&mut 'b'));
        assert_eq!(kept.get(key(2), at(0)), None);
    }

    #[test]
    fn what_is_removed_is_not_found() {
        let mut kept = ClockCache::new(room(2));
        kept.insert(key(1), 'a', 1, at(10), at(0));
        kept.insert(key(2), 'b', 1, at(10), at(0));
        kept.remove(key(1));
        kept.remove(key(3));
        assert_eq!(kept.get(key(1), at(0)), None);
        assert_eq!(kept.get(key(2), at(0)), Some(&mut 'b'));
        kept.insert(key(1), 'c', 1, at(10), at(0));
        assert_eq!(kept.get(key(1), at(0)), Some(&mut 'c'));
    }

    #[test]
    fn d2_04_what_has_ended_on_arrival_is_not_kept() {
        let mut kept = ClockCache::new(room(2));
        kept.insert(key(1), 'a', 1, at(5), at(5));
        assert_eq!(kept.get(key(1), at(0)), None);
        assert_eq!(kept.slots.len(), 0);
        // The value that it would have replaced is removed too.
        kept.insert(key(2), 'a', 1, at(10), at(0));
        kept.insert(key(2), 'b', 1, at(5), at(5));
        assert_eq!(kept.get(key(2), at(5)), None);
        assert_eq!(kept.bytes, 0);
    }

    #[test]
    fn d3_01_there_is_never_more_than_there_is_room_for() {
        let mut kept = ClockCache::new(room(3));
        for n in 0..1000 {
            kept.insert(key(n), n, 1, at(100), at(0));
            assert!(kept.slots.len() <= 3 && kept.index.len() == kept.slots.len());
            assert_eq!(kept.get(key(n), at(0)), Some(&mut n.clone()));
        }
        let mut none = ClockCache::new(room(0));
        none.insert(key(1), 'a', 1, at(10), at(0));
        assert_eq!(none.get(key(1), at(0)), None);
    }

    #[test]
    fn what_is_read_outlives_what_is_not() {
        let mut kept = ClockCache::new(room(4));
        kept.insert(key(0), 0, 1, at(100), at(0));
        for n in 1..100 {
            kept.insert(key(n), n, 1, at(100), at(0));
            assert_eq!(kept.get(key(0), at(0)), Some(&mut 0), "after {n}");
        }
    }

    #[test]
    fn what_has_ended_goes_first() {
        let mut kept = ClockCache::new(room(2));
        kept.insert(key(1), 1, 1, at(10), at(0));
        kept.insert(key(2), 2, 1, at(100), at(0));
        kept.get(key(1), at(0));
        kept.insert(key(3), 3, 1, at(100), at(10));
        assert_eq!(kept.get(key(2), at(10)), Some(&mut 2));
        assert_eq!(kept.get(key(3), at(10)), Some(&mut 3));
    }

    #[test]
    fn large_values_push_out_others_and_the_bytes_of_all_stay_within_the_room() {
        let mut kept = ClockCache::new(Room { entries: 100, bytes: 1_000 });
        for n in 0..10_000_u32 {
            let bytes = usize::try_from(n * 7_919 % 1_000).unwrap() + 1;
            kept.insert(key(n), n, bytes, at(100), at(0));
            assert_eq!(kept.get(key(n), at(0)), Some(&mut n.clone()));
            let held: usize = kept.slots.iter().map(|slot| slot.bytes).sum();
            assert!(held == kept.bytes && held <= 1_000 && kept.slots.len() <= 100);
            assert_eq!(kept.index.len(), kept.slots.len());
            for (at, slot) in kept.slots.iter().enumerate() {
                assert_eq!(kept.index[&slot.key], at);
            }
        }
    }

    #[test]
    fn a_value_that_is_read_outlives_large_ones_that_are_not() {
        let mut kept = ClockCache::new(Room { entries: 100, bytes: 1_000 });
        kept.insert(key(0), 0, 10, at(100), at(0));
        for n in 1..100 {
            kept.insert(key(n), n, 400, at(100), at(0));
            assert_eq!(kept.get(key(0), at(0)), Some(&mut 0), "after {n}");
        }
        assert_eq!(kept.slots.len(), 3);
    }

    #[test]
    fn a_value_larger_than_the_room_is_not_kept_and_pushes_out_only_its_own_older_one() {
        let mut kept = ClockCache::new(Room { entries: 10, bytes: 100 });
        kept.insert(key(1), 'a', 40, at(10), at(0));
        kept.insert(key(2), 'b', 40, at(10), at(0));
        kept.insert(key(1), 'c', 101, at(10), at(0));
        assert_eq!(kept.get(key(1), at(0)), None);
        assert_eq!(kept.get(key(2), at(0)), Some(&mut 'b'));
        assert_eq!(kept.bytes, 40);
        kept.insert(key(1), 'd', 100, at(10), at(0));
        assert_eq!(kept.get(key(1), at(0)), Some(&mut 'd'));
        assert_eq!((kept.slots.len(), kept.bytes), (1, 100));
    }

    #[test]
    fn what_is_pushed_out_is_the_oldest_of_equals() {
        let mut kept = ClockCache::new(room(3));
        for n in 0..100 {
            kept.insert(key(n), n, 1, at(100), at(0));
            for left in n.saturating_sub(2)..=n {
                assert!(kept.index.contains_key(&key(left)), "{left} after {n}");
            }
        }
    }

    #[test]
    fn a_part_of_the_key_is_its_hash_and_every_byte_counts_in_others() {
        let hash = |key| BuildHasherDefault::<KeyHasher>::default().hash_one(key);
        assert_eq!(hash(CacheKey([7, 0, 5, 0])), 7);
        assert_eq!(hash(CacheKey([u32::MAX; 4])), u64::MAX);
        let of_bytes = |bytes: &[u8]| {
            let mut hasher = KeyHasher::default();
            hasher.write(bytes);
            hasher.finish()
        };
        assert_eq!(of_bytes(&[1, 2]), 0x0102);
        assert_eq!(of_bytes(&[0xff; 9]), u64::MAX << 8);
    }

    #[test]
    fn d1_03_keys_differ_by_token_by_server_and_by_seed() {
        let keyed = Keyed::new([1; 16]);
        let server = |place| KeySpace::Server(ServerId(place));
        let key = keyed.key(server(0), "a");
        assert_eq!(key, keyed.key(server(0), "a"));
        let others = [server(1), KeySpace::Client(ClientId(0)), KeySpace::Issued];
        assert!(others.iter().all(|other| keyed.key(*other, "a") != key));
        assert_ne!(key, keyed.key(server(0), "b"));
        assert_ne!(key, Keyed::new([2; 16]).key(server(0), "a"));
    }
}
