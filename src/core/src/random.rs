//! Unpredictable numbers, from a seed that the host provides once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use oauth2_filter_keyed_hash::KeyedHash;

/// Generates numbers: a keyed hash (SipHash-2-4, 128 bits) of a counter.
pub(crate) struct Random {
    hash: KeyedHash,
    drawn: AtomicU64,
}

impl Random {
    /// Creates a generator. Different purposes get different numbers from one seed.
    pub(crate) fn new(seed: [u8; 16], purpose: &str) -> Self {
        // No cache key from this seed is hashed with this number.
        let key = KeyedHash::new(seed).of(u64::MAX, purpose.as_bytes());
        Self { hash: KeyedHash::new(key.to_le_bytes()), drawn: AtomicU64::new(0) }
    }

    /// The next number.
    pub(crate) fn draw(&self) -> u128 {
        self.hash.of(self.drawn.fetch_add(1, Ordering::Relaxed), &[])
    }

    /// The next number, in 64 bits.
    pub(crate) fn number(&self) -> u64 {
        let bytes = self.draw().to_le_bytes();
        bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// A duration from zero to `most`, inclusive, in whole milliseconds.
    pub(crate) fn up_to(&self, most: Duration) -> Duration {
        let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        Duration::from_millis(self.number().checked_rem(most).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_differ_by_seed_and_purpose_and_from_one_to_the_next() {
        let random = Random::new([1; 16], "a");
        let numbers = [
            random.draw(),
            random.draw(),
            Random::new([2; 16], "a").draw(),
            Random::new([1; 16], "b").draw(),
        ];
        for (n, number) in numbers.iter().enumerate() {
            assert!(!numbers[..n].contains(number), "{n}");
        }
        assert_eq!(numbers[0], Random::new([1; 16], "a").draw());
    }

    #[test]
    fn no_token_has_the_key_that_numbers_are_drawn_with() {
        let drawn = Random::new([1; 16], "a").draw();
        let of_token = KeyedHash::new(KeyedHash::new([1; 16]).of(0, b"a").to_le_bytes());
        assert_ne!(drawn, of_token.of(0, &[]));
    }

    #[test]
    fn a_duration_is_never_above_its_bound() {
        let random = Random::new([1; 16], "a");
        let bound = Duration::from_millis(3);
        let drawn: Vec<Duration> = (0..100).map(|_| random.up_to(bound)).collect();
        assert!(drawn.iter().all(|d| *d <= bound));
        assert!(drawn.contains(&bound) && drawn.contains(&Duration::ZERO));
        assert_eq!(random.up_to(Duration::ZERO), Duration::ZERO);
    }
}
