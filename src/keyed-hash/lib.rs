//! Keyed hashes of 128 bits.
//!
//! A crate by itself, because it is optimized for speed while the module is for size: each request
//! hashes its token, and what is generic or inline there gets the level of the crate that uses it.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

#[cfg(not(target_family = "wasm"))]
mod polynomial;
#[cfg(not(target_family = "wasm"))]
pub use polynomial::LookupHash;

/// Finds cached values: no two texts can be searched for that have one hash, unless the key or a
/// hash is known. So neither may leave the process.
#[cfg(target_family = "wasm")]
pub type LookupHash = KeyedHash;

/// SipHash-2-4 with 128 bits, a pseudorandom function: its hashes say nothing about its key.
#[derive(Clone, Copy)]
pub struct KeyedHash(SipHasher24);

impl KeyedHash {
    /// The hash of this key, which must be random and secret.
    pub fn new(key: [u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(&key))
    }

    /// The hash of a number and a text.
    #[inline(never)]
    pub fn of(&self, number: u64, text: &[u8]) -> u128 {
        let mut hash = self.0;
        hash.write_u64(number);
        hash.write(text);
        hash.finish128().as_u128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_siphash_2_4_of_the_number_in_eight_bytes_and_the_text() {
        // The reference implementation's vector for the bytes 0 to 14 under the key 0 to 15.
        let key = std::array::from_fn(|n| u8::try_from(n).unwrap());
        let text: Vec<u8> = (8..15).collect();
        let number = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]);
        let expected = [
            0x54, 0x93, 0xe9, 0x99, 0x33, 0xb0, 0xa8, 0x11, 0x7e, 0x08, 0xec, 0x0f, 0x97, 0xcf,
            0xc3, 0xd9,
        ];
        assert_eq!(KeyedHash::new(key).of(number, &text).to_le_bytes(), expected);
    }
}
