//! Where the keys of an issuer are fetched: a JWK set (RFC 7517 section 5), whose place is known or
//! is found in the metadata of the issuer (RFC 8414, `OpenID` Connect Discovery 1.0).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::cache::single_flight::CallId;
use crate::http::url::HttpUrl;
use crate::oauth::call::{Answer, Call, Purpose};
use crate::oauth::endpoint::{self, Repeat};
use crate::oauth::failure::Failure;
use crate::oauth::json;
use crate::timestamp::Timestamp;

/// Where the keys of an issuer are fetched, and how.
pub(crate) struct KeyEndpoint {
    /// The Envoy cluster to call.
    pub(crate) cluster: Arc<str>,
    /// The headers of every call, without `:path`.
    head: Vec<(Arc<str>, Arc<str>)>,
    /// For each call, including retries.
    pub(crate) timeout: Duration,
    /// How often to retry after a connection failure.
    retries: u32,
    pub(crate) place: KeyPlace,
}

/// The place of the keys.
#[derive(Debug)]
pub(crate) enum KeyPlace {
    /// The path and query of `jwks_uri`.
    Known(Arc<str>),
    /// It is in the metadata of the issuer.
    Discovered(Discovery),
}

/// The metadata of an issuer.
#[derive(Debug)]
pub(crate) struct Discovery {
    issuer: Box<str>,
    /// Scheme, host and port of the issuer.
    origin: HttpUrl,
    /// The paths at which the metadata may be, in their order.
    pub(crate) documents: [Arc<str>; 2],
}

/// The configuration of a [`KeyEndpoint`].
pub(crate) struct KeyEndpointOptions {
    /// The URL of the keys, or the issuer.
    pub(crate) url: HttpUrl,
    /// The Envoy cluster; `None` for Istio's name of it.
    pub(crate) cluster: Option<String>,
    /// The configured additional headers, with names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// For each call, including retries.
    pub(crate) timeout: Duration,
    /// How often to retry after a connection failure.
    pub(crate) retries: u32,
}

impl KeyEndpoint {
    /// The endpoint of keys at this URL.
    pub(crate) fn at(options: KeyEndpointOptions) -> Self {
        let place = KeyPlace::Known(options.url.target().into());
        Self::new(options, place)
    }

    /// The endpoint of keys whose place is found in the metadata of an issuer, of which
    /// `options.url` is the identifier.
    pub(crate) fn discovered(issuer: &str, options: KeyEndpointOptions) -> Self {
        let origin = options.url.clone();
        // RFC 8414 section 3.1 inserts, OpenID Connect appends.
        let path = origin.path.trim_end_matches('/');
        let documents = [
            ["/.well-known/oauth-authorization-server", path].concat().into(),
            [path, "/.well-known/openid-configuration"].concat().into(),
        ];
        let place = KeyPlace::Discovered(Discovery { issuer: issuer.into(), origin, documents });
        Self::new(options, place)
    }

    fn new(options: KeyEndpointOptions, place: KeyPlace) -> Self {
        let KeyEndpointOptions { url, cluster, headers, timeout, retries } = options;
        let mut head: Vec<(Arc<str>, Arc<str>)> = vec![
            (":method".into(), "GET".into()),
            (":scheme".into(), url.scheme().into()),
            (":authority".into(), url.authority().into()),
        ];
        endpoint::push_headers(&mut head, headers);
        let cluster = endpoint::cluster(cluster, &url).into();
        Self { cluster, head, timeout, retries, place }
    }

    /// The call that fetches the document at this path.
    pub(crate) fn get(&self, id: CallId, path: &Arc<str>) -> Call {
        let mut headers = self.head.clone();
        // Pseudo-headers come first.
        headers.insert(0, (":path".into(), Arc::clone(path)));
        endpoint::push_retries(&mut headers, self.retries, Repeat::Harmless);
        Call {
            id,
            cluster: Arc::clone(&self.cluster),
            headers,
            body: String::new(),
            timeout: self.timeout,
            purpose: Purpose::Keys,
        }
    }

    /// The configured headers, which may be secret.
    pub(crate) fn each_secret(&self, check: &mut dyn FnMut(&str)) {
        let configured = self.head.iter().filter(|(name, _)| !name.starts_with(':'));
        configured.for_each(|(_, value)| check(value));
    }
}

/// The body of a response.
///
/// # Errors
/// There is none, or its status is not 200.
pub(crate) fn document(
    outcome: Result<&Answer, Failure>,
    now: Timestamp,
) -> Result<&[u8], Failure> {
    let answer = outcome?;
    match (answer.status, Failure::of_status(answer, now)) {
        (200, _) => Ok(&answer.body),
        (_, Some(failure @ Failure::Busy { .. })) => Err(failure),
        (status, _) => Err(Failure::Status(status)),
    }
}

/// Why metadata names no place of keys.
#[derive(Debug)]
pub(crate) enum NoPlace {
    /// It is no metadata of the issuer.
    Failed(Failure),
    /// The keys are not on the origin of the issuer, but at this URL.
    Elsewhere(String),
}

impl From<Failure> for NoPlace {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Discovery {
    /// The path of the keys according to this metadata.
    ///
    /// # Errors
    /// It is not the metadata of the issuer, or the keys are elsewhere: a response never chooses
    /// whom the filter calls.
    pub(crate) fn place(&self, metadata: &[u8]) -> Result<Arc<str>, NoPlace> {
        let metadata = json::object(metadata).ok_or(Failure::NotJson)?;
        let text = |name: &str| metadata.get(name).and_then(Value::as_str);
        // RFC 8414 section 3.3.
        if text("issuer") != Some(&*self.issuer) {
            return Err(Failure::Member("`issuer` is not the configured one").into());
        }
        let jwks_uri = text("jwks_uri").ok_or(Failure::Member("`jwks_uri` is missing"))?;
        let url =
            HttpUrl::parse(jwks_uri).map_err(|_| Failure::Member("`jwks_uri` is not a URL"))?;
        let of = |url: &HttpUrl| (url.is_https, url.host.clone(), url.port());
        if of(&url) == of(&self.origin) {
            Ok(url.target().into())
        } else {
            Err(NoPlace::Elsewhere(jwks_uri.to_owned()))
        }
    }
}

/// The configured headers may be secrets, so they are not displayed.
impl fmt::Debug for KeyEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyEndpoint").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}
