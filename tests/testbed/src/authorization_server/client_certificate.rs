//! The certificate of the client (RFC 8705), as a TLS proxy before the server names it (RFC 9440).

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use hyper::HeaderMap;
use sha2::{Digest, Sha256};

use super::oauth_error::OAuthError;

/// The certificate's `x5t#S256`; `None` where the client has shown none.
pub(super) fn thumbprint(headers: &HeaderMap) -> Result<Option<String>, OAuthError> {
    let Some(value) = headers.get("client-cert") else { return Ok(None) };
    let certificate = value
        .to_str()
        .ok()
        .and_then(|value| value.strip_prefix(':')?.strip_suffix(':'))
        .and_then(|value| BASE64_STANDARD.decode(value).ok())
        .ok_or(OAuthError::InvalidRequest("client-cert is not `:BASE64:`"))?;
    Ok(Some(BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(certificate))))
}
