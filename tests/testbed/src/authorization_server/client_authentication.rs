//! Client authentication by password (RFC 6749 section 2.3.1).

use base64::{Engine, prelude::BASE64_STANDARD};
use hyper::{HeaderMap, header::AUTHORIZATION};
use percent_encoding::percent_decode_str;

use super::{
    form::Form,
    oauth_error::OAuthError,
    registry::{Client, Registry},
};

/// The methods' registered names, for the metadata.
pub(super) const METHODS: [&str; 2] = ["client_secret_basic", "client_secret_post"];

/// The client that sent the request.
pub(super) fn authenticate<'a>(
    registry: &'a Registry,
    headers: &HeaderMap,
    form: &Form,
) -> Result<&'a Client, OAuthError> {
    let by_form = form.get("client_secret");
    let (id, secret) = if headers.contains_key(AUTHORIZATION) {
        if by_form.is_some() {
            return Err(OAuthError::InvalidRequest("two ways of client authentication"));
        }
        let (id, secret) = basic(headers).ok_or(OAuthError::InvalidClient)?;
        if form.get("client_id").is_some_and(|form_id| form_id != id) {
            return Err(OAuthError::InvalidRequest("two client ids"));
        }
        (id, secret)
    } else {
        let id = form.get("client_id").ok_or(OAuthError::InvalidClient)?;
        let secret = by_form.ok_or(OAuthError::InvalidClient)?;
        (id.to_owned(), secret.to_owned())
    };
    registry.client(&id).filter(|client| client.secret == secret).ok_or(OAuthError::InvalidClient)
}

/// Id and secret of the Basic scheme, each form-encoded before they were joined.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, credentials) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let credentials = String::from_utf8(BASE64_STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (id, secret) = credentials.split_once(':')?;
    Some((form_decoded(id)?, form_decoded(secret)?))
}

fn form_decoded(text: &str) -> Option<String> {
    let text = text.replace('+', " ");
    Some(percent_decode_str(&text).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Request;

    #[test]
    fn id_and_secret_are_form_decoded() {
        let request = Request::get("/").basic("a:b c", "p%+ö&=");
        let value = request.headers().get("authorization").unwrap();
        let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
        assert_eq!(basic(&headers), Some(("a:b c".to_owned(), "p%+ö&=".to_owned())));
    }
}
