//! The token endpoint (RFC 6749 section 3.2): one function for each grant.

use hyper::HeaderMap;
use serde_json::{Value, json};

use super::{
    AccessToken, State,
    client_authentication::authenticate,
    client_certificate::thumbprint,
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
    let mut token = match grant_type {
        GrantType::ClientCredentials => client_credentials(state, client, form)?,
        GrantType::TokenExchange => token_exchange(state, client, form)?,
    };
    token.thumbprint = thumbprint(headers)?;
    let mut answer = issue(state, token);
    if grant_type == GrantType::TokenExchange {
        answer["issued_token_type"] = ACCESS_TOKEN.into();
    }
    Ok(answer)
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

/// RFC 8693: the subject's token becomes one for `audience`, which lives no longer.
fn token_exchange(state: &State, client: &Client, form: &Form) -> Result<AccessToken, OAuthError> {
    if form.required("subject_token_type")? != ACCESS_TOKEN {
        return Err(OAuthError::InvalidRequest("the subject token is of another type"));
    }
    let subject = state.tokens.active(form.required("subject_token")?, state.now());
    let subject = subject.ok_or(OAuthError::InvalidRequest("the subject token is not active"))?;
    let audience = client.grantable_audience(form.get("audience"))?.to_owned();
    let own = AccessToken::new(client, subject.scope, state.now(), state.access_token_ttl);
    let expires_at = own.expires_at.min(subject.expires_at);
    Ok(AccessToken { audience, subject: subject.subject, expires_at, ..own })
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

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
