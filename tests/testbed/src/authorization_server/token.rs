//! The token endpoint (RFC 6749 section 3.2): one function for each grant.

use hyper::HeaderMap;
use serde_json::{Value, json};

use super::{
    AccessToken, State,
    client_authentication::authenticate,
    form::Form,
    oauth_error::OAuthError,
    registry::{Client, GrantType},
};

pub(super) fn answer(state: &State, headers: &HeaderMap, form: &Form) -> Result<Value, OAuthError> {
    let client = authenticate(&state.registry, headers, form)?;
    let grant_type = form.required("grant_type")?;
    let grant_type = GrantType::of_name(grant_type).ok_or(OAuthError::UnsupportedGrantType)?;
    if !client.grant_types.contains(&grant_type) {
        return Err(OAuthError::UnauthorizedClient);
    }
    let token = match grant_type {
        GrantType::ClientCredentials => client_credentials(state, client, form)?,
    };
    Ok(issue(state, token))
}

/// RFC 6749 section 4.4, with the `resource` of RFC 8707.
fn client_credentials(
    state: &State,
    client: &Client,
    form: &Form,
) -> Result<AccessToken, OAuthError> {
    let scope = client.grantable_scope(form.get("scope"))?;
    let audience = client.grantable_audience(form.get("resource"))?.to_owned();
    let token = AccessToken::new(client, scope, state.now(), state.access_token_ttl);
    Ok(AccessToken { audience, ..token })
}

/// RFC 6749 section 5.1.
fn issue(state: &State, token: AccessToken) -> Value {
    let expires_in = token.expires_at - token.issued_at;
    let scope = token.scope.clone();
    json!({
        "access_token": state.tokens.issue(token),
        "token_type": "Bearer",
        "expires_in": expires_in,
        "scope": scope,
    })
}
