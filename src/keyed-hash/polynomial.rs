//! The hash of targets that have a carry-less multiplication.

use polyval::Polyval;
use polyval::universal_hash::UniversalHash;

use super::KeyedHash;

/// POLYVAL (RFC 8452 section 3), for which processors have an instruction.
///
/// Finds cached values: no two texts can be searched for that have one hash, unless the key or a
/// hash is known (two texts of `n` blocks have one with a probability of `n` in 2^128). So neither
/// may leave the process.
#[derive(Clone)]
pub struct LookupHash(Polyval);

impl LookupHash {
    /// The hash of this key, which must be random and secret.
    pub fn new(key: [u8; 16]) -> Self {
        // Not the key itself: with one of zeros, every text would have the same hash.
        Self::of_point(KeyedHash::new(key).of(0, b"lookup").to_le_bytes())
    }

    /// The polynomial at this point.
    fn of_point(point: [u8; 16]) -> Self {
        Self(Polyval::new(&point.into()))
    }

    /// The hash of a number and a text.
    #[inline(never)]
    pub fn of(&self, number: u64, text: &[u8]) -> u128 {
        let mut hash = self.0.clone();
        let mut first = [0; 16];
        let (numbers, lengths) = first.split_at_mut(8);
        numbers.copy_from_slice(&number.to_le_bytes());
        // The last block is padded, so texts of different lengths may have equal blocks.
        lengths.copy_from_slice(&u64::try_from(text.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(&[first.into()]);
        hash.update_padded(text);
        u128::from_le_bytes(hash.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_polyval_of_the_number_the_length_and_the_padded_text() {
        let hex = |text: &str| u128::from_str_radix(text, 16).unwrap().to_be_bytes();
        // The key and the first block of RFC 8452, appendix A.
        let key = hex("25629347589242761d31f826ba4b757b");
        let block = hex("4f4f95668c83dfb6401762bb2d01a262");
        let mut number = [0; 16];
        number[..9].copy_from_slice(&[0, 1, 2, 3, 4, 5, 6, 7, 20]);
        let mut last = [0; 16];
        last[..4].copy_from_slice(b"rest");
        let mut blocks = Polyval::new(&key.into());
        blocks.update(&[number.into(), block.into(), last.into()]);
        let expected = u128::from_le_bytes(blocks.finalize().into());
        let text = [&block[..], b"rest"].concat();
        assert_eq!(LookupHash::of_point(key).of(0x0706_0504_0302_0100, &text), expected);
    }

    #[test]
    fn zeros_at_the_end_and_the_number_matter() {
        let hash = LookupHash::new([0; 16]);
        let hashes: Vec<u128> = (0..40).map(|length| hash.of(0, &vec![0; length])).collect();
        for (at, one) in hashes.iter().enumerate() {
            assert_eq!(hashes.iter().filter(|other| *other == one).count(), 1, "{at}");
        }
        assert_ne!(hash.of(1, b"t"), hash.of(2, b"t"));
    }
}
