//! Signature algorithms.

use super::der;

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1). There is neither `none` nor
/// HMAC, for which a public key would be a secret.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

/// What a key is, which decides on the algorithms that it verifies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyType {
    /// An RSA key.
    Rsa,
    /// A point on P-256.
    P256,
    /// A point on P-384.
    P384,
    /// A point on Curve25519, for Ed25519.
    Ed25519,
}

impl SignatureAlgorithm {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Rs256, Self::Rs384, Self::Rs512, Self::Ps256, Self::Es256, Self::Es384, Self::EdDsa];

    /// Its name in JOSE, which is case-sensitive.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of this name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The keys that it needs.
    pub fn key_type(self) -> KeyType {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 => KeyType::Rsa,
            Self::Es256 => KeyType::P256,
            Self::Es384 => KeyType::P384,
            Self::EdDsa => KeyType::Ed25519,
        }
    }

    /// The size in bytes of its signatures by a key, as JOSE has them: `r` and `s` of ECDSA, each
    /// padded to the size of the field (RFC 7518 section 3.4).
    pub(crate) fn signature_size(self, modulus: usize) -> usize {
        match self.key_type() {
            KeyType::Rsa => modulus,
            KeyType::P256 | KeyType::Ed25519 => 64,
            KeyType::P384 => 96,
        }
    }
}

/// The signature of ECDSA in DER, as most libraries want it, from the form that JOSE has.
pub fn ecdsa_to_der(signature: &[u8]) -> Vec<u8> {
    let (r, s) = signature.split_at(signature.len() / 2);
    der::sequence(&[der::unsigned(r), der::unsigned(s)])
}
