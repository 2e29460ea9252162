//! The introspection endpoint (RFC 7662).

use hyper::HeaderMap;
use serde_json::{Value, json};

use super::{State, client_authentication::authenticate, form::Form, oauth_error::OAuthError};

pub(super) fn answer(state: &State, headers: &HeaderMap, form: &Form) -> Result<Value, OAuthError> {
    let client = authenticate(&state.registry, headers, form)?;
    if !client.introspects {
        return Err(OAuthError::InvalidClient);
    }
    let Some(token) = state.tokens.active(form.required("token")?, state.now()) else {
        return Ok(json!({"active": false}));
    };
    let mut answer = json!({
        "active": true,
        "scope": token.scope,
        "client_id": token.client_id,
        "token_type": "Bearer",
        "exp": token.expires_at,
        "iat": token.issued_at,
        "sub": token.subject,
        "aud": token.audience,
        "iss": state.issuer,
        "jti": token.id,
    });
    if let Some(thumbprint) = token.thumbprint {
        answer["cnf"] = json!({"x5t#S256": thumbprint});
    }
    if let Some(username) = token.username {
        answer["username"] = username.into();
    }
    Ok(answer)
}
