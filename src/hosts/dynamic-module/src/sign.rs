//! Signatures of client assertions.

use oauth2_filter_core::{Algorithm, SignError};
use oauth2_filter_private_key::PrivateKey;

/// Signs a text with a private key in PEM format.
///
/// # Errors
/// It is no key of this algorithm.
pub(crate) fn sign(
    algorithm: Algorithm,
    private_key: &str,
    text: &[u8],
) -> Result<Vec<u8>, SignError> {
    let signature = PrivateKey::read(private_key).and_then(|key| key.sign(algorithm, text));
    signature.map_err(|_| SignError::BadKey)
}
