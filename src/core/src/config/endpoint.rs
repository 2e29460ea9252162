//! The endpoint block: the configuration of a call to an authorization server.

use std::sync::Arc;
use std::time::Duration;

use url::form_urlencoded;

#[cfg(feature = "review")]
use super::client_auth::AUTH_ROWS;
use super::client_auth::{AUTH_KEYS, client_auth};
#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Json, Required, Words},
    KeyRow, KeyTable,
};
use super::reader::{Field, Object};
use super::values::{count, endpoint_url, frames_or_steers, header_name, text, timeout};
use crate::oauth::client_auth::ClientAuth;
use crate::oauth::endpoint::EndpointOptions;

/// Keys of the endpoint block, without its URL and client authentication.
pub(super) const ENDPOINT_KEYS: [&str; 5] =
    ["cluster", "timeout", "retries", "headers", "parameters"];

/// Form parameters of client authentication, which cannot be configured.
const CLIENT_PARAMETERS: [&str; 4] =
    ["client_id", "client_secret", "client_assertion", "client_assertion_type"];

/// The keys of an endpoint block.
#[cfg(feature = "review")]
pub(super) const ENDPOINT_TABLE: KeyTable = KeyTable {
    heading: "### Endpoint blocks",
    parts: &[
        &[
            KeyRow::new(
                &["endpoint"],
                "URL",
                Required,
                "an absolute `http` or `https` URL, strictly as in RFC 3986. It sets path, query and \
             `Host` of the call; the cluster determines destination and TLS",
            ),
            KeyRow::new(
                &["cluster"],
                "string",
                Words("`outbound|PORT||HOST`"),
                "the Envoy cluster to call; the default is Istio's name for it",
            ),
            KeyRow::new(
                &["timeout"],
                "duration",
                Json(r#""5s""#),
                "for the whole call, including retries",
            ),
            KeyRow::new(
                &["retries"],
                "number",
                Json("1"),
                "retries after a connection failure, 502, 503 or 504, at most 10. Calls that can \
             succeed only once (refresh token, assertion) are retried only if they did not reach \
             the server",
            ),
            KeyRow::new(
                &["headers"],
                "object of strings",
                Json("{}"),
                "additional headers of the call",
            ),
            KeyRow::new(
                &["parameters"],
                "object of strings",
                Json("{}"),
                "additional form parameters of the call, other than those that the filter sends",
            ),
        ],
        AUTH_ROWS,
    ],
};

/// Reads the endpoint block's keys from `object`. `defined` are the form parameters that the
/// request itself sends.
pub(super) fn endpoint(
    object: &mut Object<'_>,
    defined: &[&str],
    defaults: Defaults<'_>,
) -> Option<EndpointOptions> {
    let base = match defaults {
        Defaults::Block(base) => Some(base),
        Defaults::Standard | Defaults::ClientToken => None,
    };
    let own_url = object.has("endpoint");
    // With its own URL, the block inherits neither cluster nor headers nor parameters.
    let place = base.filter(|_| !own_url);
    let url = match place {
        None => object.need("endpoint", "the endpoint URL", |field| {
            let url = endpoint_url(field)?;
            if !url.is_https {
                field.warn(
                    "plain http: tokens and client credentials are sent unencrypted; use https",
                );
            }
            let query = url.query.as_deref().unwrap_or_default();
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            if pairs.any(|(name, _)| is_ours(&name, defined)) {
                return field.mistake(
                    "the query must not contain credentials or parameters that the filter sends \
                     (RFC 6749 sections 2.3.1, 3.2)",
                );
            }
            Some(url)
        }),
        Some(base) => object.read("endpoint", endpoint_url).or_else(|| Some(base.url.clone())),
    };
    let cluster = object.read("cluster", |f| text(f, "an Envoy cluster name"));
    object.calls(|| {
        let cluster = cluster.clone().or_else(|| place?.cluster.clone());
        url.as_ref().map(|url| crate::oauth::endpoint::cluster(cluster, url))
    });
    let timeout = object.read("timeout", timeout).or_else(|| base.map(|base| base.timeout));
    let retries = object.read("retries", |f| count(f, 10)).or_else(|| base.map(|b| b.retries));
    let parameters = object.read("parameters", |f| parameters(f, defined));
    let headers_at = object.at("headers");
    let headers = object.read("headers", headers);
    let own_auth = AUTH_KEYS.into_iter().find(|key| object.has(key));
    // An error in one of them must not make the others unknown.
    object.know(&AUTH_KEYS);
    let auth = match defaults {
        Defaults::Block(base) if own_auth.is_none() => Arc::clone(&base.auth),
        Defaults::ClientToken => {
            if let Some(key) = own_auth {
                return object.at(key).mistake("conflicts with `client`; remove one of the two");
            }
            Arc::new(ClientAuth::None { client_id: None })
        }
        _ => Arc::new(client_auth(object)?),
    };
    let headers = headers.or_else(|| place.map(|base| base.headers.clone())).unwrap_or_default();
    let is_set = auth.sets_authorization() || matches!(defaults, Defaults::ClientToken);
    if is_set && headers.iter().any(|(name, _)| name == "authorization") {
        return headers_at
            .mistake("`authorization` is set by client authentication; remove it, or use auth_method \"none\"");
    }
    let parameters = parameters.or_else(|| place.map(|base| base.parameters.clone()));
    Some(EndpointOptions {
        url: url?,
        cluster: cluster.or_else(|| place?.cluster.clone()),
        auth,
        headers,
        parameters: parameters.unwrap_or_default(),
        timeout: timeout.unwrap_or(Duration::from_secs(5)),
        retries: retries.unwrap_or(1),
    })
}

/// The defaults of an endpoint block.
#[derive(Clone, Copy)]
pub(super) enum Defaults<'a> {
    Standard,
    /// The documented defaults, with the token of a client as authentication.
    ClientToken,
    /// Another block, including its endpoint if this one has none.
    Block(&'a EndpointOptions),
}

/// Whether the filter itself sends this parameter, or may send it.
fn is_ours(name: &str, defined: &[&str]) -> bool {
    defined.contains(&name) || CLIENT_PARAMETERS.contains(&name)
}

/// Additional form parameters, without those that the filter sends.
fn parameters(field: &Field<'_>, defined: &[&str]) -> Option<Vec<(String, String)>> {
    const WHAT: &str = "an object of form parameters, such as {\"name\": \"value\"}";
    field.members_of(WHAT, |name, field| {
        if name.is_empty() {
            return field.mistake("a parameter name must not be empty");
        }
        if is_ours(name, defined) {
            return field
                .mistake("reserved: the filter sends this parameter (RFC 6749 section 3.2)");
        }
        Some((name.to_owned(), field.string("a string")?.to_owned()))
    })
}

/// Additional headers, without those that frame the message or control the proxy.
pub(super) fn headers(field: &Field<'_>) -> Option<Vec<(String, String)>> {
    const WHAT: &str = "an object of headers, such as {\"x-name\": \"value\"}";
    let mut names: Vec<String> = Vec::new();
    field.members_of(WHAT, |name, field| {
        let name = header_name(name, field)?;
        if names.contains(&name) {
            return field.mistake("duplicate header; names are case-insensitive");
        }
        names.push(name.clone());
        if frames_or_steers(&name) {
            return field.mistake("reserved: the proxy sets this header");
        }
        let value = field.string("a string")?;
        if !value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) {
            return field.mistake("must be printable ASCII");
        }
        Some((name, value.to_owned()))
    })
}
