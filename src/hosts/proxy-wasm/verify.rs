//! Verification of signatures with Envoy's function `verify_signature`, which uses protobuf messages.

use oauth2_filter_core::protobuf::push;
use oauth2_filter_core::{KeyType, PublicKey, SignatureAlgorithm, VerifyError, ecdsa_to_der};
use oauth2_filter_driver::ProxyWasm;

/// The fields of the function's argument: the name of the hash, `SubjectPublicKeyInfo` in DER, the
/// signature, with that of ECDSA in DER, and the text.
const HASH: u64 = 1;
const PUBLIC_KEY: u64 = 2;
const SIGNATURE: u64 = 3;
const TEXT: u64 = 4;

/// What the function returns for a valid signature: `bool result = 1`. For all others the member is
/// absent.
const VALID: [u8; 2] = [0x08, 0x01];

/// Whether a signature of a text is one by this key, using the function of the host. It checks
/// neither the type nor the size of the key.
///
/// # Errors
/// The host has no such function, or cannot verify this algorithm.
pub fn verify<H: ProxyWasm>(
    host: &H,
    algorithm: SignatureAlgorithm,
    key: &PublicKey,
    text: &[u8],
    signature: &[u8],
) -> Result<bool, VerifyError> {
    let hash = match algorithm {
        SignatureAlgorithm::Rs256 | SignatureAlgorithm::Es256 => "sha256",
        SignatureAlgorithm::Rs384 | SignatureAlgorithm::Es384 => "sha384",
        SignatureAlgorithm::Rs512 => "sha512",
        SignatureAlgorithm::Ps256 | SignatureAlgorithm::EdDsa => {
            return Err(VerifyError::Unsupported);
        }
    };
    let mut argument = Vec::new();
    push(&mut argument, HASH, hash.as_bytes());
    push(&mut argument, PUBLIC_KEY, key.subject_public_key_info());
    match algorithm.key_type() {
        KeyType::P256 | KeyType::P384 => push(&mut argument, SIGNATURE, &ecdsa_to_der(signature)),
        KeyType::Rsa | KeyType::Ed25519 => push(&mut argument, SIGNATURE, signature),
    }
    push(&mut argument, TEXT, text);
    let result = host.foreign_function("verify_signature", &argument);
    let result = result.ok().flatten().ok_or(VerifyError::Failed)?;
    Ok(result == VALID)
}
