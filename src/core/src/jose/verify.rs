//! Verification of signatures, which the host provides.

use std::sync::Arc;

use super::algorithm::SignatureAlgorithm;
use super::jwk::PublicKey;
use super::jws::{self, Header, Token, UnverifiedJwt};
use super::key_set::{Key, KeySet};
use crate::oauth::json;

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

/// The example of RFC 7515 appendix A.3.
const EXAMPLE_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const EXAMPLE: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

/// Whether a host verifies signatures: a known one is valid, and not that of another text.
pub(crate) fn works(verify: Verify) -> bool {
    let algorithm = SignatureAlgorithm::Es256;
    let try_it = || {
        let key = json::parse(EXAMPLE_KEY.as_bytes()).ok()?;
        let key = PublicKey::of_jwk(key.as_object()?).ok()?;
        let Token::Jwt(jwt) = jws::read(EXAMPLE) else { return None };
        let (text, signature) = jwt.signed()?;
        let is_valid = verify(algorithm, &key, text, signature).ok()?;
        let is_other_valid = verify(algorithm, &key, &jwt.payload, signature).ok()?;
        Some(is_valid && !is_other_valid)
    };
    try_it().unwrap_or(false)
}

/// Whether a host verifies signatures by this algorithm.
///
/// # Errors
/// It does not.
pub(crate) fn supports(verify: Verify, algorithm: SignatureAlgorithm) -> Result<(), VerifyError> {
    let key = json::parse(EXAMPLE_KEY.as_bytes()).map_err(|_| VerifyError::Failed)?;
    let key = key.as_object().and_then(|key| PublicKey::of_jwk(key).ok());
    // The key is of another kind, which makes a signature invalid, not an algorithm unsupported.
    verify(algorithm, &key.ok_or(VerifyError::Failed)?, &[], &[]).map(|_| ())
}

/// Whether this is the text that [`works`] tries: an answer for hosts that are only pretended.
#[cfg(feature = "review")]
pub fn is_example(text: &[u8]) -> bool {
    EXAMPLE.as_bytes().starts_with(text) && text.contains(&b'.')
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
