//! Verification of signatures with Envoy's function `verify_signature`, which uses protobuf messages.

use prost::Message;

use oauth2_filter_core::{KeyType, PublicKey, SignatureAlgorithm, VerifyError, ecdsa_to_der};
use oauth2_filter_driver::ProxyWasm;

/// The argument of the function.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
struct Arguments {
    /// The name of the hash.
    #[prost(string, tag = "1")]
    hash_function: String,
    /// `SubjectPublicKeyInfo` in DER.
    #[prost(bytes = "vec", tag = "2")]
    public_key: Vec<u8>,
    /// That of ECDSA in DER.
    #[prost(bytes = "vec", tag = "3")]
    signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    text: Vec<u8>,
}

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
    let signature = match algorithm.key_type() {
        KeyType::P256 | KeyType::P384 => ecdsa_to_der(signature),
        KeyType::Rsa | KeyType::Ed25519 => signature.to_vec(),
    };
    let arguments = Arguments {
        hash_function: hash.to_owned(),
        public_key: key.subject_public_key_info().to_vec(),
        signature,
        text: text.to_vec(),
    };
    let result = host.foreign_function("verify_signature", &arguments.encode_to_vec());
    let result = result.ok().flatten().ok_or(VerifyError::Failed)?;
    Ok(result == VALID)
}
