//! Public keys in JSON (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::algorithm::{KeyType, SignatureAlgorithm};
use super::der::{self, Parameters};
use crate::http::base64;

/// The sizes of RSA moduli that are accepted, in bits. RFC 7518 section 3.3 requires at least 2048;
/// verification takes the longer the larger a key is.
const MODULUS_BITS: RangeInclusive<usize> = 2048..=8192;

/// The longest public exponent of RSA, in bytes: 33 bits are the most that Envoy's library takes,
/// and in use are 3 and 65537.
const MAX_EXPONENT: usize = 4;

/// The identifiers of algorithms and curves, in the form of DER.
const RSA_ENCRYPTION: [u8; 9] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const EC_PUBLIC_KEY: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: [u8; 5] = [0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: [u8; 3] = [0x2b, 0x65, 0x70];

/// A public key that verifies signatures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicKey {
    key_type: KeyType,
    /// `SubjectPublicKeyInfo` in DER.
    info: Box<[u8]>,
    /// Where the key itself begins in `info`: it reaches to the end.
    key: usize,
    /// The size of an RSA modulus in bytes; zero for other keys.
    modulus: usize,
}

impl PublicKey {
    /// What it is.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// `SubjectPublicKeyInfo` in DER (RFC 5280 section 4.1).
    pub fn subject_public_key_info(&self) -> &[u8] {
        &self.info
    }

    /// The key without its kind: `RSAPublicKey` in DER (RFC 8017 appendix A.1.1), an uncompressed
    /// point, or the bytes of an Ed25519 key.
    pub fn subject_public_key(&self) -> &[u8] {
        self.info.get(self.key..).unwrap_or_default()
    }

    /// Whether a signature can be one of this key, by type and size.
    pub(crate) fn fits(&self, algorithm: SignatureAlgorithm, signature: &[u8]) -> bool {
        algorithm.key_type() == self.key_type
            && signature.len() == algorithm.signature_size(self.modulus)
    }

    fn new(key_type: KeyType, algorithm: Vec<u8>, key: &[u8], modulus: usize) -> Self {
        let info = der::public_key_info(algorithm, key);
        let start = info.len().saturating_sub(key.len());
        Self { key_type, info: info.into(), key: start, modulus }
    }

    /// An RSA key, from its modulus and exponent.
    fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, BadKey> {
        let (modulus, exponent) = (significant(modulus), significant(exponent));
        let first = modulus.first().ok_or(BadKey::Member("n"))?;
        let bits = modulus.len().saturating_mul(8).saturating_sub(first.leading_zeros() as usize);
        let is_odd = |number: &[u8]| number.last().is_some_and(|last| last & 1 == 1);
        if !MODULUS_BITS.contains(&bits) {
            return Err(BadKey::Size);
        }
        if !is_odd(modulus) {
            return Err(BadKey::Member("n"));
        }
        if !is_odd(exponent) || exponent == [1] || exponent.len() > MAX_EXPONENT {
            return Err(BadKey::Member("e"));
        }
        let key = der::sequence(&[der::unsigned(modulus), der::unsigned(exponent)]);
        let algorithm = der::algorithm(&RSA_ENCRYPTION, &Parameters::Null);
        Ok(Self::new(KeyType::Rsa, algorithm, &key, modulus.len()))
    }

    /// A point on an elliptic curve. Whether it is on the curve is for the host to find.
    fn point(
        key_type: KeyType,
        curve: &[u8],
        size: usize,
        x: &[u8],
        y: &[u8],
    ) -> Result<Self, BadKey> {
        // RFC 7518 section 6.2.1.2: of the whole size of a coordinate.
        for (name, coordinate) in [("x", x), ("y", y)] {
            if coordinate.len() != size {
                return Err(BadKey::Member(name));
            }
        }
        let key = [&[4], x, y].concat();
        let algorithm = der::algorithm(&EC_PUBLIC_KEY, &Parameters::Curve(curve));
        Ok(Self::new(key_type, algorithm, &key, 0))
    }

    /// The key of a JWK.
    ///
    /// # Errors
    /// It is no public key of a supported kind, or one of an unacceptable size.
    pub fn of_jwk(jwk: &Map<String, Value>) -> Result<Self, BadKey> {
        let text =
            |name: &'static str| jwk.get(name).and_then(Value::as_str).ok_or(BadKey::Member(name));
        let bytes = |name: &'static str| {
            base64::decode_url(text(name)?.as_bytes()).ok_or(BadKey::Member(name))
        };
        match text("kty")? {
            "RSA" => Self::rsa(&bytes("n")?, &bytes("e")?),
            "EC" => {
                let (key_type, curve, size) = match text("crv")? {
                    "P-256" => (KeyType::P256, &P256[..], 32),
                    "P-384" => (KeyType::P384, &P384[..], 48),
                    _ => return Err(BadKey::Unsupported),
                };
                Self::point(key_type, curve, size, &bytes("x")?, &bytes("y")?)
            }
            "OKP" => match text("crv")? {
                "Ed25519" => {
                    let key = bytes("x")?;
                    if key.len() != 32 {
                        return Err(BadKey::Member("x"));
                    }
                    let algorithm = der::algorithm(&ED25519, &Parameters::Absent);
                    Ok(Self::new(KeyType::Ed25519, algorithm, &key, 0))
                }
                _ => Err(BadKey::Unsupported),
            },
            _ => Err(BadKey::Unsupported),
        }
    }
}

/// A number without leading zeros.
fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Why a JWK cannot verify signatures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BadKey {
    /// This member is missing or invalid.
    Member(&'static str),
    /// A kind of key, or a curve, that verifies none of the algorithms.
    Unsupported,
    /// An RSA modulus that is too short or too long.
    Size,
}
