//! Signatures of client assertions.

use oauth2_filter_core::SignError;
use oauth2_filter_private_key::PrivateKey;

/// Signs the SHA-256 hash of a text with a private key in PEM format.
///
/// # Errors
/// It is no key that can sign.
pub(crate) fn sign(private_key: &str, text: &[u8]) -> Result<Vec<u8>, SignError> {
    let signature = PrivateKey::read(private_key).and_then(|key| key.sign(text));
    signature.map_err(|_| SignError::BadKey)
}
