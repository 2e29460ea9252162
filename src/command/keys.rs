//! Keys that a host accepts: checked without signing or verifying.

use oauth2_filter_core::{
    Algorithm, PublicKey, SignError, SignatureAlgorithm, VerifyError, is_example,
};
use oauth2_filter_private_key::{KeyError, PrivateKey};

/// The placeholder for a secret that is unknown or must not be shown, and for a key of any
/// algorithm.
pub(crate) const ASSUMED: &str = "SECRET";

/// The placeholder for this secret.
pub(crate) fn assumed(secret: &str) -> &'static str {
    if secret.is_empty() { "" } else { ASSUMED }
}

/// A value in the form of a signature with this key, if Envoy would accept the key and the
/// algorithm.
///
/// # Errors
/// Envoy would reject one of them.
pub(crate) fn sign_in_module(
    algorithm: Algorithm,
    private_key: &str,
    text: &[u8],
) -> Result<Vec<u8>, SignError> {
    match algorithm {
        Algorithm::Rs256 | Algorithm::Es256 => sign(algorithm, private_key, text),
        Algorithm::Ps256 | Algorithm::EdDsa => Err(SignError::Unsupported),
    }
}

/// The same for the dynamic module.
///
/// # Errors
/// The dynamic module would reject the key.
pub(crate) fn sign(
    algorithm: Algorithm,
    private_key: &str,
    _: &[u8],
) -> Result<Vec<u8>, SignError> {
    let by_p256 = || [&[0x30, 68, 2, 32][..], &[1; 32], &[2, 32], &[1; 32]].concat();
    let key = match private_key {
        ASSUMED => None,
        _ => Some(PrivateKey::read(private_key)),
    };
    match (algorithm, key) {
        (Algorithm::Rs256 | Algorithm::Ps256, None) => Ok(vec![1; 256]),
        (Algorithm::Rs256 | Algorithm::Ps256, Some(Ok(PrivateKey::Rsa(key)))) => {
            Ok(vec![1; key.public().modulus_len()])
        }
        // Envoy accepts it.
        (Algorithm::Rs256, Some(Err(KeyError::TooLarge))) => Ok(vec![1; 1024]),
        (Algorithm::Es256, None | Some(Ok(PrivateKey::P256(_)))) => Ok(by_p256()),
        (Algorithm::EdDsa, None | Some(Ok(PrivateKey::Ed25519(_)))) => Ok(vec![1; 64]),
        _ => Err(SignError::BadKey),
    }
}

/// The answer of the module to whether a signature is valid: for the one that it tries.
///
/// # Errors
/// Envoy cannot verify signatures by this algorithm.
pub(crate) fn verify_in_module(
    algorithm: SignatureAlgorithm,
    key: &PublicKey,
    text: &[u8],
    signature: &[u8],
) -> Result<bool, VerifyError> {
    match algorithm {
        SignatureAlgorithm::Ps256 | SignatureAlgorithm::EdDsa => Err(VerifyError::Unsupported),
        _ => verify(algorithm, key, text, signature),
    }
}

/// The same for the dynamic module.
///
/// # Errors
/// None.
#[expect(clippy::unnecessary_wraps, reason = "it is a `Verify`")]
pub(crate) fn verify(
    _: SignatureAlgorithm,
    _: &PublicKey,
    text: &[u8],
    _: &[u8],
) -> Result<bool, VerifyError> {
    Ok(is_example(text))
}

/// The answer to whether the signature of a token is valid that `explain` is asked about: it is
/// assumed to be. Loading tries a text of one part, too, which nobody signs.
///
/// # Errors
/// None.
#[expect(clippy::unnecessary_wraps, reason = "it is a `Verify`")]
pub(crate) fn assume(
    _: SignatureAlgorithm,
    _: &PublicKey,
    text: &[u8],
    _: &[u8],
) -> Result<bool, VerifyError> {
    Ok(text.contains(&b'.'))
}

#[cfg(test)]
mod tests {
    use oauth2_filter_core::Sign;

    use super::*;

    /// The algorithms of a key in a host.
    fn algorithms(sign: Sign, key: &str) -> Vec<Algorithm> {
        let all = [Algorithm::Rs256, Algorithm::Es256, Algorithm::Ps256, Algorithm::EdDsa];
        all.into_iter().filter(|algorithm| sign(*algorithm, key, b"").is_ok()).collect()
    }

    #[test]
    fn keys_are_taken_that_a_host_takes_and_no_others() {
        use Algorithm::{EdDsa, Es256, Ps256, Rs256};
        /// The keys that the tests in Envoy try.
        macro_rules! key {
            ($name:literal) => {
                include_str!(concat!("../../tests/envoy/keys/", $name, ".pem"))
            };
        }
        for (key, in_module, natively) in [
            (key!("p256-pkcs8"), &[Es256][..], &[Es256][..]),
            (key!("p256-sec1"), &[Es256], &[Es256]),
            (key!("rsa-pkcs1"), &[Rs256], &[Rs256, Ps256]),
            (key!("rsa-pkcs8"), &[Rs256], &[Rs256, Ps256]),
            (key!("ed25519-pkcs8"), &[], &[EdDsa]),
            (ASSUMED, &[Rs256, Es256], &[Rs256, Es256, Ps256, EdDsa]),
        ] {
            assert_eq!(algorithms(sign_in_module, key), in_module, "{key}");
            assert_eq!(algorithms(sign, key), natively, "{key}");
        }
        for key in [
            key!("p384-pkcs8"),
            key!("p521-pkcs8"),
            key!("rsa-encrypted"),
            key!("rsa-public"),
            key!("rsa1024-pkcs8"),
            "",
            "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----",
            "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----",
        ] {
            assert_eq!(algorithms(sign, key), [], "{key}");
        }
    }
}
