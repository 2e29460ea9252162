//! The encryption of shared data (ChaCha20-Poly1305, RFC 8439). Every plugin with the same `vm_id`
//! can read and write that data, but the key can only be derived from this configuration.

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use sha2::{Digest, Sha256};

/// The length of a nonce, in bytes.
const NONCE: usize = 12;

/// The number of bytes that sealing adds to a text.
pub(crate) const OVERHEAD: usize = NONCE + 16;

pub(crate) struct SealingKey {
    cipher: ChaCha20Poly1305,
    /// The key, from which nonces are derived too.
    key: [u8; 32],
}

impl SealingKey {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { cipher: ChaCha20Poly1305::new(&key.into()), key }
    }

    /// Seals `plain`, so that it can only be opened for the same `place`.
    ///
    /// The nonce is a keyed hash of both, so that different texts get different nonces. This needs
    /// no random numbers, and only reveals whether a text was written twice.
    pub(crate) fn seal(&self, place: &[u8], plain: &[u8]) -> Vec<u8> {
        let length = u64::try_from(place.len()).unwrap_or(u64::MAX).to_le_bytes();
        let hash = Sha256::new_with_prefix(b"oauth2-filter nonce").chain_update(self.key);
        let hash = hash.chain_update(length).chain_update(place).chain_update(plain).finalize();
        let mut nonce = Nonce::default();
        for (to, from) in nonce.iter_mut().zip(hash) {
            *to = from;
        }
        // Encryption only fails for texts of 256 GiB.
        let sealed = self.cipher.encrypt(&nonce, Payload { msg: plain, aad: place });
        [nonce.as_slice(), &sealed.unwrap_or_default()].concat()
    }

    /// The text, if it was sealed with this key for this place.
    pub(crate) fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, msg) = sealed.split_first_chunk::<NONCE>()?;
        self.cipher.decrypt(&(*nonce).into(), Payload { msg, aad: place }).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_in_the_same_place_only() {
        let key = SealingKey::new([1; 32]);
        let sealed = key.seal(b"here", b"s3cr3t");
        assert_eq!(sealed.len(), 6 + OVERHEAD);
        assert!(!sealed.windows(6).any(|part| part == b"s3cr3t"));
        assert_eq!(key.open(b"here", &sealed).as_deref(), Some(b"s3cr3t".as_slice()));
        assert_eq!(key.open(b"there", &sealed), None);
        assert_eq!(SealingKey::new([2; 32]).open(b"here", &sealed), None);
    }

    #[test]
    fn no_two_texts_or_places_or_keys_have_the_same_nonce() {
        let nonce = |key: u8, place: &[u8], plain: &[u8]| {
            SealingKey::new([key; 32]).seal(place, plain)[..NONCE].to_vec()
        };
        let first = nonce(1, b"here", b"text");
        assert_eq!(nonce(1, b"here", b"text"), first);
        assert_ne!(nonce(1, b"here", b"texts"), first);
        assert_ne!(nonce(1, b"there", b"text"), first);
        assert_ne!(nonce(2, b"here", b"text"), first);
        assert_ne!(nonce(1, b"heret", b"ext"), first);
    }

    #[test]
    fn what_was_changed_or_cut_does_not_open() {
        let key = SealingKey::new([1; 32]);
        let sealed = key.seal(b"here", b"text");
        for n in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[n] ^= 1;
            assert_eq!(key.open(b"here", &changed), None, "byte {n}");
            assert_eq!(key.open(b"here", &sealed[..n]), None, "{n} bytes");
        }
    }
}
