//! The endpoint block: what every call the filter makes is configured with.

use std::time::Duration;

use super::reader::{Field, Object};
use super::values::{count, endpoint_url, frames_or_steers, header_name, secret, text, timeout};
use crate::client_auth::ClientAuth;
use crate::endpoint::{Endpoint, EndpointOptions};
use crate::secret::Secret;

/// Form parameters that client authentication uses; no operator may send them twice.
const CLIENT_PARAMETERS: [&str; 4] =
    ["client_id", "client_secret", "client_assertion", "client_assertion_type"];

/// Reads the endpoint block's keys from `object`. `defined` are the form parameters that the
/// request itself sends.
pub(super) fn endpoint(object: &mut Object<'_>, defined: &[&str]) -> Option<Endpoint> {
    let url = object.need("endpoint", "the URL to call", |field| {
        let url = endpoint_url(field)?;
        if url.scheme() == "http" {
            field.warn("plain http: tokens and client credentials travel in clear text");
        }
        if url.query_pairs().any(|(name, _)| is_ours(&name, defined)) {
            return field.mistake(
                "its query repeats a parameter that the filter sends itself, and credentials \
                 never stand in a URL (RFC 6749 sections 2.3.1, 3.2)",
            );
        }
        Some(url)
    });
    let cluster = object.read("cluster", |f| text(f, "the name of an Envoy cluster"));
    let timeout = object.read("timeout", timeout).unwrap_or(Duration::from_secs(5));
    let retries = object.read("retries", |f| count(f, 10)).unwrap_or(1);
    let parameters = object.read("parameters", |f| parameters(f, defined)).unwrap_or_default();
    let headers_at = object.at("headers");
    let headers = object.read("headers", headers).unwrap_or_default();
    let auth = client_auth(object)?;
    if auth.authorization().is_some() && headers.iter().any(|(name, _)| name == "authorization") {
        return headers_at.mistake(
            "authorization is set from client_id and client_secret; drop it here, or use \
             auth_method \"none\"",
        );
    }
    Some(Endpoint::new(EndpointOptions {
        url: url?,
        cluster,
        auth,
        headers,
        parameters,
        timeout,
        retries,
    }))
}

/// `client_id`, `client_secret` and `auth_method`, which belong together.
fn client_auth(object: &mut Object<'_>) -> Option<ClientAuth> {
    /// What `auth_method` may be.
    const METHODS: &str = "\"client_secret_basic\", \"client_secret_basic_raw\", \
                           \"client_secret_post\" or \"none\"";
    let id_field = object.take("client_id");
    let secret_field = object.take("client_secret");
    let method_field = object.take("auth_method");
    let client_id = match &id_field {
        Some(field) => Some(text(field, "the client's identifier")?),
        None => None,
    };
    let client_secret = match &secret_field {
        Some(field) => Some(secret(field)?),
        None => None,
    };
    let method = match &method_field {
        Some(field) => Some(field.string(METHODS)?),
        None => None,
    };
    let make: fn(&str, &Secret) -> ClientAuth = match (method.as_deref(), &client_secret) {
        (Some("none"), None) => return Some(ClientAuth::None { client_id }),
        (Some("none"), Some(_)) => {
            return object.at("client_secret").mistake("auth_method \"none\" sends no secret");
        }
        (None, None) => {
            return object.at("client_secret").mistake(
                "required: the server must know who asks (RFC 7662 section 2.1); give client_id \
                 and client_secret, or auth_method \"none\" if it truly asks for nothing",
            );
        }
        (Some("client_secret_basic") | None, _) => ClientAuth::basic,
        (Some("client_secret_basic_raw"), _) => ClientAuth::basic_raw,
        (Some("client_secret_post"), _) => |client_id, client_secret| ClientAuth::Post {
            client_id: client_id.to_owned(),
            client_secret: client_secret.clone(),
        },
        (Some(_), _) => {
            return object.at("auth_method").mistake(format!("expected {METHODS}"));
        }
    };
    let Some(client_secret) = client_secret else {
        return object.at("client_secret").mistake("required by this auth_method");
    };
    let Some(client_id) = client_id else {
        return object.at("client_id").mistake("required beside client_secret");
    };
    Some(make(&client_id, &client_secret))
}

/// Whether the filter sends this parameter itself, or may.
fn is_ours(name: &str, defined: &[&str]) -> bool {
    defined.contains(&name) || CLIENT_PARAMETERS.contains(&name)
}

/// Extra form parameters: none that the request defines itself.
fn parameters(field: &Field<'_>, defined: &[&str]) -> Option<Vec<(String, String)>> {
    const WHAT: &str = "an object of form parameters, such as {\"name\": \"value\"}";
    field.members_of(WHAT, |name, field| {
        if name.is_empty() {
            return field.mistake("a form parameter has a name");
        }
        if is_ours(name, defined) {
            return field.mistake("the filter sends this parameter itself (RFC 6749 section 3.2)");
        }
        Some((name.to_owned(), field.string("a string")?))
    })
}

/// Extra headers: none that frame the call or steer the proxy.
fn headers(field: &Field<'_>) -> Option<Vec<(String, String)>> {
    const WHAT: &str = "an object of headers, such as {\"x-name\": \"value\"}";
    field.members_of(WHAT, |name, field| {
        let name = header_name(name, field)?;
        if frames_or_steers(&name) {
            return field.mistake("this header is the proxy's own to set");
        }
        let value = field.string("a string")?;
        if !value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) {
            return field.mistake("a header value has printable ASCII characters only");
        }
        Some((name, value))
    })
}
