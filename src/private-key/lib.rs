//! Private keys of client assertions, where Envoy does not sign: the same keys that Envoy's function
//! `sign` accepts, except RSA keys above 4096 bits.

#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable)]
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::string_slice)]
#![warn(missing_docs, missing_debug_implementations)]

use base64ct::{Base64, Encoding};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};

/// A private key.
#[derive(Debug)]
pub enum PrivateKey {
    /// For RS256 (RFC 7518, section 3.3).
    Rsa(RsaKeyPair),
    /// For ES256 (RFC 7518, section 3.4).
    P256(EcdsaKeyPair),
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
        let random = SystemRandom::new();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &random)
            .map(Self::P256)
            .map_err(|_| KeyError::Invalid)
    }

    /// Signs the SHA-256 hash of a text: with RSA (PKCS #1 v1.5), or ECDSA with the signature in
    /// DER.
    ///
    /// # Errors
    /// There are no random bytes, or the key contradicts itself.
    pub fn sign(&self, text: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                let signed = key.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature);
                signed.map(|()| signature).map_err(|_| KeyError::Invalid)
            }
            Self::P256(key) => {
                let signature = key.sign(&random, text).map_err(|_| KeyError::Invalid)?;
                Ok(signature.as_ref().to_vec())
            }
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
        ECDSA_P256_SHA256_ASN1, KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    };

    use super::*;

    /// The keys that the tests in Envoy try.
    macro_rules! key {
        ($name:literal) => {
            PrivateKey::read(include_str!(concat!("../../tests/envoy/keys/", $name, ".pem")))
        };
    }

    #[test]
    fn keys_sign_so_that_their_public_keys_verify() {
        for key in [key!("p256-pkcs8"), key!("p256-sec1"), key!("rsa-pkcs1"), key!("rsa-pkcs8")] {
            let key = key.expect("a key that Envoy accepts");
            let signature = key.sign(b"text").expect("a signature");
            let verified = match &key {
                PrivateKey::Rsa(key) => {
                    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public().as_ref())
                        .verify(b"text", &signature)
                }
                PrivateKey::P256(key) => {
                    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.public_key().as_ref())
                        .verify(b"text", &signature)
                }
            };
            assert!(verified.is_ok(), "{key:?}");
        }
    }

    #[test]
    fn keys_that_envoy_rejects_are_rejected() {
        for key in [
            key!("ed25519-pkcs8"),
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
