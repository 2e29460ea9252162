//! Private keys that Envoy accepts: checked without signing.

use oauth2_filter_core::SignError;
use oauth2_filter_private_key::{KeyError, PrivateKey};

/// The placeholder for a secret that is unknown or must not be shown, and for an RSA key.
pub(crate) const ASSUMED: &str = "SECRET";

/// The placeholder for an elliptic curve key.
pub(crate) const ASSUMED_ES256: &str = "SECRET-ES256";

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
    match PrivateKey::read(private_key) {
        Ok(PrivateKey::Rsa(key)) => Ok(vec![1; key.public().modulus_len()]),
        Ok(PrivateKey::P256(_)) => Ok(by_p256()),
        Err(KeyError::TooLarge) => Ok(vec![1; 1024]),
        Err(KeyError::Invalid) => Err(SignError::BadKey),
    }
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
