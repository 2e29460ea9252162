//! Verification of signatures, which the host provides.

use super::algorithm::SignatureAlgorithm;
use super::jwk::PublicKey;
use super::jws::UnverifiedJwt;
use super::key_set::{Key, KeySet};

/// Whether a signature of a text is one by this key. The signature is as JOSE has it: `r` and `s` of
/// ECDSA, one after the other. Type of key and size of signature fit the algorithm.
///
/// # Errors
/// The host did not verify it, so nothing is known about the signature.
pub type Verify =
    fn(SignatureAlgorithm, &PublicKey, text: &[u8], signature: &[u8]) -> Result<bool, VerifyError>;

/// Why a signature was not verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VerifyError {
    /// The host cannot verify signatures, or failed to.
    Failed,
    /// The host cannot verify signatures by this algorithm.
    Unsupported,
}

/// Whether a token is signed by its issuer.
#[derive(Debug)]
pub(crate) enum Signed<'k> {
    /// By this key.
    By(&'k Key),
    /// By none of the keys that its header admits.
    ByNobody,
    /// Its issuer has no key with the identifier that its header names, at least not yet.
    ByUnknownKey,
}

impl KeySet {
    /// Finds the key that has signed a token.
    ///
    /// # Errors
    /// The host did not verify the signature.
    pub(crate) fn signer(
        &self,
        jwt: &UnverifiedJwt<'_>,
        verify: Verify,
    ) -> Result<Signed<'_>, VerifyError> {
        let Some(algorithm) = jwt.header.algorithm else { return Ok(Signed::ByNobody) };
        let id = jwt.header.key_id.as_deref();
        if id.is_some_and(|id| !self.knows(id)) {
            return Ok(Signed::ByUnknownKey);
        }
        for key in self.candidates(id, algorithm) {
            let text = jwt.signing_input.as_bytes();
            if key.public.fits(algorithm, &jwt.signature)
                && verify(algorithm, &key.public, text, &jwt.signature)?
            {
                return Ok(Signed::By(key));
            }
        }
        Ok(Signed::ByNobody)
    }
}
