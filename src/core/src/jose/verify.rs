//! Verification of signatures, which the host provides.

use std::sync::Arc;

use super::algorithm::SignatureAlgorithm;
use super::jwk::PublicKey;
use super::jws::{Header, UnverifiedJwt};
use super::key_set::{Key, KeySet};
use crate::http::base64;

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

/// The example of RFC 7515 appendix A.3: the coordinates of its key, what is signed, and the
/// signature.
const EXAMPLE_KEY: [&str; 2] =
    ["f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"];
const EXAMPLE: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const EXAMPLE_SIGNATURE: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

/// The result of verifying the signature of the example, by this algorithm and on this text.
fn try_it(verify: Verify, algorithm: SignatureAlgorithm, text: &[u8]) -> Result<bool, VerifyError> {
    let decode = |part: &str| base64::decode_url(part.as_bytes()).ok_or(VerifyError::Failed);
    let [x, y] = EXAMPLE_KEY;
    let key = PublicKey::p256(&decode(x)?, &decode(y)?).map_err(|_| VerifyError::Failed)?;
    verify(algorithm, &key, text, &decode(EXAMPLE_SIGNATURE)?)
}

/// Whether a host verifies signatures: a known one is valid, and not that of another text.
pub(crate) fn works(verify: Verify) -> bool {
    let is_valid = |text: &str| try_it(verify, SignatureAlgorithm::Es256, text.as_bytes());
    is_valid(EXAMPLE) == Ok(true) && is_valid(EXAMPLE_SIGNATURE) == Ok(false)
}

/// Whether a host verifies signatures by this algorithm.
///
/// # Errors
/// It does not.
pub(crate) fn supports(verify: Verify, algorithm: SignatureAlgorithm) -> Result<(), VerifyError> {
    // The key is of another kind, which makes a signature invalid, not an algorithm unsupported.
    try_it(verify, algorithm, &[]).map(|_| ())
}

/// Whether this is the text that `works` tries: an answer for hosts that are only pretended.
#[cfg(feature = "review")]
pub fn is_example(text: &[u8]) -> bool {
    text == EXAMPLE.as_bytes()
}

/// Whether a token is signed by its issuer.
#[derive(Debug)]
pub(crate) enum Signed<'k> {
    /// By this key.
    By(&'k Arc<Key>),
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
        let Some((algorithm, id)) = jwt.header.as_ref().and_then(Header::signed_by) else {
            return Ok(Signed::ByNobody);
        };
        let Some((text, signature)) = jwt.signed() else { return Ok(Signed::ByNobody) };
        if id.is_some_and(|id| !self.knows(id)) {
            return Ok(Signed::ByUnknownKey);
        }
        for key in self.candidates(id, algorithm) {
            if key.public.fits(algorithm, signature)
                && verify(algorithm, &key.public, text, signature)?
            {
                return Ok(Signed::By(key));
            }
        }
        Ok(Signed::ByNobody)
    }
}
