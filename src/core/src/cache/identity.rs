//! Identities of authorization servers and clients, which separate their responses and tokens from
//! those of others.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

/// Identifies a token across workers: SHA-256 of the [`Identity`] of its server or client, and the
/// token.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Fingerprint(pub(crate) [u8; 32]);

impl Fingerprint {
    /// A number that other fingerprints have with negligible probability.
    pub fn number(&self) -> u64 {
        self.0.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

/// Everything that a response of an authorization server depends on, except the token: the
/// endpoint, the client, its secret and its parameters. Equivalent configurations have equal
/// identities.
pub struct Identity {
    digest: [u8; 32],
    /// A key that cannot be derived without the secrets of the configuration.
    pub(crate) sealing_key: [u8; 32],
}

impl Identity {
    /// The identity of these lists. The length of each list and of each part is hashed too, so that
    /// different lists never look alike.
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
        let sealing = Sha256::new_with_prefix(b"oauth2-filter sealing").chain_update(digest);
        Self { digest, sealing_key: sealing.finalize().into() }
    }

    /// The identity of a value that depends on both.
    pub(crate) fn joined(first: &Self, second: &Self) -> Self {
        let name = |identity: &Self| Base64UrlUnpadded::encode_string(&identity.digest);
        Self::new(&[vec![&name(first), &name(second)]])
    }

    /// A name for keys and for other identities, which reveals nothing about the parts.
    pub fn name(&self) -> String {
        let hash = Sha256::new_with_prefix(b"oauth2-filter name").chain_update(self.digest);
        let hash = hash.finalize();
        Base64UrlUnpadded::encode_string(hash.first_chunk::<16>().unwrap_or(&[0; 16]))
    }

    pub(crate) fn fingerprint(&self, token: &str) -> Fingerprint {
        let hash = Sha256::new_with_prefix(self.digest).chain_update(token);
        Fingerprint(hash.finalize().into())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}
