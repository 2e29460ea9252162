//! Private keys of client assertions, where Envoy does not sign: the same keys that Envoy's function
//! `sign` accepts, except RSA keys above 4096 bits, and Ed25519.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::string_slice)]
#![warn(missing_docs, missing_debug_implementations)]

use base64ct::{Base64, Encoding};
use oauth2_filter_core::Algorithm;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaEncoding, RsaKeyPair,
};

/// A private key.
#[derive(Debug)]
pub enum PrivateKey {
    /// For RS256 and PS256 (RFC 7518, sections 3.3 and 3.5).
    Rsa(RsaKeyPair),
    /// For ES256 (RFC 7518, section 3.4).
    P256(EcdsaKeyPair),
    /// For `EdDSA` (RFC 8037, section 3.1).
    Ed25519(Ed25519KeyPair),
}

/// Why a key is rejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyError {
    /// It is an RSA key of more than 4096 bits, which Envoy accepts.
    TooLarge,
    /// It is no key in PEM format, or one of another kind.
    Invalid,
}

/// The algorithm identifier of an elliptic curve key in PKCS #8: `id-ecPublicKey`, P-256.
const P256: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];

impl PrivateKey {
    /// Reads the first private key in PEM format: in PKCS #8, PKCS #1 or SEC 1.
    ///
    /// # Errors
    /// There is no key, or one that cannot sign.
    pub fn read(text: &str) -> Result<Self, KeyError> {
        let (label, key) = pem(text).ok_or(KeyError::Invalid)?;
        let rsa = match label {
            "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&key),
            _ => RsaKeyPair::from_der(&key),
        };
        match rsa {
            Ok(rsa) if label != "EC PRIVATE KEY" => return Ok(Self::Rsa(rsa)),
            Err(error) if error.to_string() == "TooLarge" => return Err(KeyError::TooLarge),
            _ => {}
        }
        let pkcs8 = match label {
            "EC PRIVATE KEY" => {
                element(0x30, &[&[2, 1, 0][..], &P256, &element(0x04, &key)].concat())
            }
            _ => key,
        };
        // The second version of PKCS #8 has the public key, too.
        if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pkcs8) {
            return Ok(Self::Ed25519(key));
        }
        let random = SystemRandom::new();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &random)
            .map(Self::P256)
            .map_err(|_| KeyError::Invalid)
    }

    /// Signs a text; a signature by ECDSA is in DER.
    ///
    /// # Errors
    /// The key is not one of this algorithm or contradicts itself, or there are no random bytes.
    pub fn sign(&self, algorithm: Algorithm, text: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        let by_rsa = |key: &RsaKeyPair, encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; key.public().modulus_len()];
            let signed = key.sign(encoding, &random, text, &mut signature);
            signed.map(|()| signature).map_err(|_| KeyError::Invalid)
        };
        match (self, algorithm) {
            (Self::Rsa(key), Algorithm::Rs256) => by_rsa(key, &RSA_PKCS1_SHA256),
            (Self::Rsa(key), Algorithm::Ps256) => by_rsa(key, &RSA_PSS_SHA256),
            (Self::P256(key), Algorithm::Es256) => {
                let signature = key.sign(&random, text).map_err(|_| KeyError::Invalid)?;
                Ok(signature.as_ref().to_vec())
            }
            (Self::Ed25519(key), Algorithm::EdDsa) => Ok(key.sign(text).as_ref().to_vec()),
            _ => Err(KeyError::Invalid),
        }
    }
}

/// The first private key in PEM format: its label and its content.
fn pem(text: &str) -> Option<(&str, Vec<u8>)> {
    text.split("-----BEGIN ").skip(1).find_map(|block| {
        let (label, rest) = block.split_once("-----")?;
        // Envoy requires lines.
        let rest = rest.trim_start_matches([' ', '\t', '\r']).strip_prefix('\n')?;
        let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
        let body: String = body.split_ascii_whitespace().collect();
        let is_key = matches!(label, "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY");
        is_key.then(|| Base64::decode_vec(&body).ok()).flatten().map(|key| (label, key))
    })
}

/// An element of DER; it has less than 64 KiB.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    // The shortest form of the length is the only one.
    let length: &[u8] = match (high, low) {
        (0, 0..0x80) => &[low],
        (0, _) => &[0x81, low],
        _ => &[0x82, high, low],
    };
    [&[tag], length, content].concat()
}

#[cfg(test)]
mod tests {
    use ring::signature::{
        ECDSA_P256_SHA256_ASN1, ED25519, KeyPair, RSA_PKCS1_2048_8192_SHA256,
        RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
    };

    use super::*;

    /// The keys that the tests in Envoy try.
    macro_rules! key {
        ($name:literal) => {
            PrivateKey::read(include_str!(concat!("../../tests/envoy/keys/", $name, ".pem")))
        };
    }

    /// Whether the public key of this one verifies the signature of a text by this algorithm.
    fn is_verified(key: &PrivateKey, algorithm: Algorithm, text: &[u8], signature: &[u8]) -> bool {
        let by_rsa = |key: &RsaKeyPair, how: &'static dyn VerificationAlgorithm| {
            UnparsedPublicKey::new(how, key.public().as_ref().to_vec())
        };
        let public = match (key, algorithm) {
            (PrivateKey::Rsa(key), Algorithm::Rs256) => by_rsa(key, &RSA_PKCS1_2048_8192_SHA256),
            (PrivateKey::Rsa(key), _) => by_rsa(key, &RSA_PSS_2048_8192_SHA256),
            (PrivateKey::P256(key), _) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.public_key().as_ref().to_vec())
            }
            (PrivateKey::Ed25519(key), _) => {
                UnparsedPublicKey::new(&ED25519, key.public_key().as_ref().to_vec())
            }
        };
        public.verify(text, signature).is_ok()
    }

    #[test]
    fn keys_sign_so_that_their_public_keys_verify() {
        use Algorithm::{EdDsa, Es256, Ps256, Rs256};
        for (key, algorithms) in [
            (key!("p256-pkcs8"), &[Es256][..]),
            (key!("p256-sec1"), &[Es256]),
            (key!("rsa-pkcs1"), &[Rs256, Ps256]),
            (key!("rsa-pkcs8"), &[Rs256, Ps256]),
            (key!("ed25519-pkcs8"), &[EdDsa]),
        ] {
            let key = key.expect("a key that Envoy accepts");
            for algorithm in [Rs256, Es256, Ps256, EdDsa] {
                let signature = key.sign(algorithm, b"text");
                assert_eq!(signature.is_ok(), algorithms.contains(&algorithm), "{algorithm:?}");
                let Ok(signature) = signature else { continue };
                assert!(is_verified(&key, algorithm, b"text", &signature), "{algorithm:?}");
                assert!(!is_verified(&key, algorithm, b"other", &signature), "{algorithm:?}");
            }
        }
    }

    #[test]
    fn keys_that_envoy_rejects_are_rejected_except_ed25519() {
        for key in [
            key!("p384-pkcs8"),
            key!("p521-pkcs8"),
            key!("rsa-encrypted"),
            key!("rsa-public"),
            key!("rsa1024-pkcs8"),
            PrivateKey::read(""),
            PrivateKey::read(
                &include_str!("../../tests/envoy/keys/rsa-pkcs8.pem").replace('\n', " "),
            ),
            PrivateKey::read("-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----"),
            PrivateKey::read("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----"),
        ] {
            assert_eq!(key.err(), Some(KeyError::Invalid));
        }
    }
}
