//! Verification of signatures.

use oauth2_filter_core::{PublicKey, SignatureAlgorithm, VerifyError};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};

/// Whether a signature of a text is one by this key.
///
/// # Errors
/// None: every algorithm is supported.
#[expect(clippy::unnecessary_wraps, reason = "hosts may fail")]
pub(crate) fn verify(
    algorithm: SignatureAlgorithm,
    key: &PublicKey,
    text: &[u8],
    signature: &[u8],
) -> Result<bool, VerifyError> {
    let algorithm: &dyn VerificationAlgorithm = match algorithm {
        SignatureAlgorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        SignatureAlgorithm::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
        SignatureAlgorithm::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        SignatureAlgorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
        SignatureAlgorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
        SignatureAlgorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
        SignatureAlgorithm::EdDsa => &ED25519,
    };
    let key = UnparsedPublicKey::new(algorithm, key.subject_public_key());
    Ok(key.verify(text, signature).is_ok())
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use oauth2_filter_core::KeyType;
    use ring::rand::SystemRandom;
    use ring::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    };

    use super::*;

    /// The public key of these coordinates.
    fn key(curve: &str, x: &[u8], y: Option<&[u8]>) -> PublicKey {
        let encode = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let kind = if y.is_some() { "EC" } else { "OKP" };
        let mut jwk = serde_json::json!({"kty": kind, "crv": curve, "x": encode(x)});
        if let Some(y) = y {
            jwk["y"] = encode(y).into();
        }
        PublicKey::of_jwk(jwk.as_object().unwrap()).unwrap()
    }

    /// Checks that the signature alone, of the text alone, is valid.
    fn check(algorithm: SignatureAlgorithm, key: &PublicKey, signature: &[u8]) {
        assert_eq!(verify(algorithm, key, b"text", signature), Ok(true));
        assert_eq!(verify(algorithm, key, b"texT", signature), Ok(false));
        for at in 0..signature.len() {
            let mut altered = signature.to_vec();
            altered[at] ^= 1;
            assert_eq!(verify(algorithm, key, b"text", &altered), Ok(false), "{at}");
        }
        assert_eq!(verify(algorithm, key, b"text", &signature[1..]), Ok(false));
        assert_eq!(verify(algorithm, key, b"text", &[]), Ok(false));
    }

    #[test]
    fn a_signature_by_ecdsa_is_valid_as_jose_has_it() {
        let curves: [(_, _, &EcdsaSigningAlgorithm); 2] = [
            (SignatureAlgorithm::Es256, "P-256", &ECDSA_P256_SHA256_FIXED_SIGNING),
            (SignatureAlgorithm::Es384, "P-384", &ECDSA_P384_SHA384_FIXED_SIGNING),
        ];
        let random = SystemRandom::new();
        for (algorithm, curve, signing) in curves {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(signing, pkcs8.as_ref(), &random).unwrap();
            let point = &pair.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            let key = key(curve, x, Some(y));
            check(algorithm, &key, pair.sign(&random, b"text").unwrap().as_ref());
        }
    }

    #[test]
    fn a_signature_by_ed25519_is_valid() {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let key = key("Ed25519", pair.public_key().as_ref(), None);
        assert_eq!(key.key_type(), KeyType::Ed25519);
        check(SignatureAlgorithm::EdDsa, &key, pair.sign(b"text").as_ref());
    }

    #[test]
    fn a_point_that_is_not_on_its_curve_verifies_nothing() {
        let key = key("P-256", &[1; 32], Some(&[2; 32]));
        let verified = verify(SignatureAlgorithm::Es256, &key, b"text", &[1; 64]);
        assert_eq!(verified, Ok(false));
    }
}
