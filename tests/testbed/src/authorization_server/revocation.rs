//! The revocation endpoint (RFC 7009).

use hyper::HeaderMap;
use serde_json::Value;

use super::{State, client_authentication::authenticate, form::Form, oauth_error::OAuthError};

pub(super) fn answer(state: &State, headers: &HeaderMap, form: &Form) -> Result<Value, OAuthError> {
    let client = authenticate(&state.registry, headers, form)?;
    let value = form.required("token")?;
    // An unknown token is as good as revoked (section 2.2).
    if let Some(token) = state.tokens.active(value, state.now()) {
        if token.client_id != client.id {
            return Err(OAuthError::UnauthorizedClient);
        }
        state.tokens.revoke(value);
    }
    Ok(Value::Null)
}
