//! Errors as a client gets them (RFC 6749 section 5.2).

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response,
    header::{ALLOW, HeaderValue, WWW_AUTHENTICATE},
};
use serde_json::json;

use super::json_response;

/// Why a call failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum OAuthError {
    /// The request is malformed.
    InvalidRequest(&'static str),
    /// The request lacks this parameter.
    MissingParameter(&'static str),
    /// The client is unknown, did not authenticate, or may not call this endpoint.
    InvalidClient,
    /// The client may not use this grant, or this token.
    UnauthorizedClient,
    /// There is no such grant.
    UnsupportedGrantType,
    /// The client may not have this scope.
    InvalidScope,
    /// The client may not have a token for this resource (RFC 8707 section 2).
    InvalidTarget,
    /// The endpoint wants this method.
    MethodNotAllowed(&'static str),
    /// There is no such endpoint.
    NotFound,
}

impl OAuthError {
    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let missing;
        let (status, error, description) = match self {
            Self::InvalidRequest(description) => (400, "invalid_request", description),
            Self::MissingParameter(name) => {
                missing = format!("{name} is missing");
                (400, "invalid_request", missing.as_str())
            }
            Self::InvalidClient => (401, "invalid_client", "client authentication failed"),
            Self::UnauthorizedClient => (400, "unauthorized_client", "not for this client"),
            Self::UnsupportedGrantType => (400, "unsupported_grant_type", "no such grant"),
            Self::InvalidScope => (400, "invalid_scope", "not a scope this client may have"),
            Self::InvalidTarget => (400, "invalid_target", "not a resource this client may have"),
            Self::MethodNotAllowed(_) => (405, "invalid_request", "not the endpoint's method"),
            Self::NotFound => (404, "not_found", "no such endpoint"),
        };
        let body = json!({"error": error, "error_description": description});
        let mut response = json_response(status, &body);
        match self {
            Self::InvalidClient => {
                let challenge = HeaderValue::from_static(r#"Basic realm="authorization server""#);
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            Self::MethodNotAllowed(method) => {
                response.headers_mut().insert(ALLOW, HeaderValue::from_static(method));
            }
            _ => {}
        }
        response
    }
}
