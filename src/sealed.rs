//! Secrets in shared data, where every plugin with the same `vm_id` can read and write: encrypted
//! with a key that only this configuration can make (ChaCha20-Poly1305, RFC 8439).

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};

/// The form of what is sealed; others are not read.
const VERSION: u8 = 1;

/// Bytes of a nonce.
const NONCE: usize = 12;

/// Seals and opens.
pub(crate) struct SealingKey(ChaCha20Poly1305);

impl SealingKey {
    /// The key of these bytes.
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self(ChaCha20Poly1305::new(&key.into()))
    }

    /// The sealed form of `plain`, to be opened only where it was sealed for. `nonce` is never the
    /// same for two texts: a random number.
    pub(crate) fn seal(&self, place: &str, nonce: u128, plain: &[u8]) -> Vec<u8> {
        let mut bytes = Nonce::default();
        for (to, from) in bytes.iter_mut().zip(nonce.to_le_bytes()) {
            *to = from;
        }
        let payload = Payload { msg: plain, aad: place.as_bytes() };
        // It fails only for texts of 256 GiB.
        let sealed = self.0.encrypt(&bytes, payload).unwrap_or_default();
        [[VERSION].as_slice(), &bytes, &sealed].concat()
    }

    /// The text, if it was sealed with this key for this place.
    pub(crate) fn open(&self, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (version, rest) = sealed.split_first()?;
        let (nonce, msg) = rest.split_first_chunk::<NONCE>()?;
        if *version != VERSION {
            return None;
        }
        self.0.decrypt(&(*nonce).into(), Payload { msg, aad: place.as_bytes() }).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_in_the_same_place_only() {
        let key = SealingKey::new([1; 32]);
        let sealed = key.seal("here", 7, b"s3cr3t");
        assert!(!sealed.windows(6).any(|part| part == b"s3cr3t"));
        assert_eq!(key.open("here", &sealed).as_deref(), Some(b"s3cr3t".as_slice()));
        assert_eq!(key.open("there", &sealed), None);
        assert_eq!(SealingKey::new([2; 32]).open("here", &sealed), None);
        assert_ne!(key.seal("here", 8, b"s3cr3t"), sealed);
    }

    #[test]
    fn what_was_changed_or_cut_does_not_open() {
        let key = SealingKey::new([1; 32]);
        let sealed = key.seal("here", 7, b"text");
        for n in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[n] ^= 1;
            assert_eq!(key.open("here", &changed), None, "byte {n}");
            assert_eq!(key.open("here", &sealed[..n]), None, "{n} bytes");
        }
    }
}
