//! Private keys that Envoy accepts: checked without signing.

use base64ct::{Base64, Encoding};
use oauth2_filter_core::SignError;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, RsaKeyPair};

/// The placeholder for a secret that is unknown or must not be shown, and for an RSA key.
pub(crate) const ASSUMED: &str = "SECRET";

/// The placeholder for an elliptic curve key.
pub(crate) const ASSUMED_ES256: &str = "SECRET-ES256";

/// The algorithm identifier of an elliptic curve key in PKCS #8: `id-ecPublicKey`, P-256.
const P256: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
    0xce, 0x3d, 0x03, 0x01, 0x07,
];

/// The placeholder for this secret.
pub(crate) fn assumed(secret: &str) -> &'static str {
    match sign(secret, b"") {
        _ if secret.is_empty() => "",
        Ok(signature) if signature.len() < 256 => ASSUMED_ES256,
        _ => ASSUMED,
    }
}

/// A value in the form of a signature with this key, if Envoy would accept the key.
///
/// # Errors
/// Envoy would reject the key.
pub(crate) fn sign(private_key: &str, _: &[u8]) -> Result<Vec<u8>, SignError> {
    let by_p256 = || [&[0x30, 68, 2, 32][..], &[1; 32], &[2, 32], &[1; 32]].concat();
    match private_key {
        ASSUMED => return Ok(vec![1; 256]),
        ASSUMED_ES256 => return Ok(by_p256()),
        _ => {}
    }
    let (label, key) = pem(private_key).ok_or(SignError::BadKey)?;
    let rsa = match label {
        "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&key),
        _ => RsaKeyPair::from_der(&key),
    };
    match rsa {
        Ok(rsa) if label != "EC PRIVATE KEY" => return Ok(vec![1; rsa.public().modulus_len()]),
        // Only this library rejects it as too large.
        Err(error) if error.to_string() == "TooLarge" => return Ok(vec![1; 1024]),
        _ => {}
    }
    let pkcs8 = match label {
        "EC PRIVATE KEY" => element(0x30, &[&[2, 1, 0][..], &P256, &element(0x04, &key)].concat()),
        _ => key,
    };
    let random = SystemRandom::new();
    match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8, &random) {
        Ok(_) => Ok(by_p256()),
        Err(_) => Err(SignError::BadKey),
    }
}

/// The first private key in PEM format: its label and its content.
fn pem(text: &str) -> Option<(&str, Vec<u8>)> {
    text.split("-----BEGIN ").skip(1).find_map(|block| {
        let (label, rest) = block.split_once("-----")?;
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
    use super::*;

    /// A signature's length, if there is one.
    fn signs(key: &str) -> Option<usize> {
        sign(key, b"").ok().map(|signature| signature.len())
    }

    #[test]
    fn keys_are_taken_that_envoy_takes_and_no_others() {
        /// The keys that the tests in Envoy try.
        macro_rules! key {
            ($name:literal) => {
                include_str!(concat!("../../tests/envoy/keys/", $name, ".pem"))
            };
        }
        for key in [key!("p256-pkcs8"), key!("p256-sec1"), ASSUMED_ES256] {
            assert_eq!(signs(key), Some(70), "{key}");
        }
        for key in [key!("rsa-pkcs1"), key!("rsa-pkcs8"), ASSUMED] {
            assert_eq!(signs(key), Some(256));
        }
        for key in [
            key!("ed25519-pkcs8"),
            key!("p384-pkcs8"),
            key!("p521-pkcs8"),
            key!("rsa-encrypted"),
            key!("rsa-public"),
            key!("rsa1024-pkcs8"),
            "",
            "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----",
            "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----",
        ] {
            assert_eq!(signs(key), None, "{key}");
        }
    }
}
