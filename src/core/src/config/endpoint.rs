//! The endpoint block: what every call the filter makes is configured with.

use std::rc::Rc;
use std::time::Duration;

use url::form_urlencoded;

use super::reader::{Field, Object};
use super::values::{
    count, duration, endpoint_url, frames_or_steers, header_name, secret, text, timeout,
};
use crate::oauth::client_assertion::{Algorithm, AssertionOptions, Assertions, SignError};
use crate::oauth::client_auth::ClientAuth;
use crate::oauth::endpoint::EndpointOptions;
use crate::oauth::secret::Secret;

/// Form parameters that client authentication uses; no operator may send them twice.
const CLIENT_PARAMETERS: [&str; 4] =
    ["client_id", "client_secret", "client_assertion", "client_assertion_type"];

/// Reads the endpoint block's keys from `object`. `defined` are the form parameters that the
/// request itself sends.
pub(super) fn endpoint(
    object: &mut Object<'_>,
    defined: &[&str],
    rest: Rest<'_>,
) -> Option<EndpointOptions> {
    let base = match rest {
        Rest::Block(base) => Some(base),
        Rest::Defaults | Rest::ClientToken => None,
    };
    let own_url = object.has("endpoint");
    // What belongs to an endpoint does not belong to another one.
    let place = base.filter(|_| !own_url);
    let url = match place {
        None => object.need("endpoint", "the URL to call", |field| {
            let url = endpoint_url(field)?;
            if !url.is_https {
                field.warn("plain http: tokens and client credentials travel in clear text");
            }
            let query = url.query.as_deref().unwrap_or_default();
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            if pairs.any(|(name, _)| is_ours(&name, defined)) {
                return field.mistake(
                    "its query repeats a parameter that the filter sends itself, and credentials \
                     never stand in a URL (RFC 6749 sections 2.3.1, 3.2)",
                );
            }
            Some(url)
        }),
        Some(base) => object.read("endpoint", endpoint_url).or_else(|| Some(base.url.clone())),
    };
    let cluster = object.read("cluster", |f| text(f, "the name of an Envoy cluster"));
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
    // A mistake in one of them does not make the others unknown.
    object.know(&AUTH_KEYS);
    let auth = match rest {
        Rest::Block(base) if own_auth.is_none() => Rc::clone(&base.auth),
        Rest::ClientToken => {
            if let Some(key) = own_auth {
                return object
                    .at(key)
                    .mistake("the token of `client` takes its place: drop one of the two");
            }
            Rc::new(ClientAuth::None { client_id: None })
        }
        _ => Rc::new(client_auth(object)?),
    };
    let headers = headers.or_else(|| place.map(|base| base.headers.clone())).unwrap_or_default();
    let is_set = auth.authorization().is_some() || matches!(rest, Rest::ClientToken);
    if is_set && headers.iter().any(|(name, _)| name == "authorization") {
        return headers_at.mistake(
            "authorization is set by the filter, from what it authenticates with; drop it here, or \
             use auth_method \"none\"",
        );
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

/// What an endpoint block is completed with.
#[derive(Clone, Copy)]
pub(super) enum Rest<'a> {
    /// The defaults.
    Defaults,
    /// The defaults, and the token of a client for authentication.
    ClientToken,
    /// Another block: its place too, where this one names none.
    Block(&'a EndpointOptions),
}

/// The keys of client authentication: those from `private_key` on belong to `private_key_jwt`.
pub(super) const AUTH_KEYS: [&str; 9] = [
    "client_id",
    "client_secret",
    "auth_method",
    "private_key",
    "alg",
    "kid",
    "typ",
    "aud",
    "lifetime",
];

/// The keys of client authentication, which belong together.
fn client_auth(object: &mut Object<'_>) -> Option<ClientAuth> {
    /// What `auth_method` may be.
    const METHODS: [&str; 6] = [
        "client_secret_basic",
        "client_secret_basic_raw",
        "client_secret_post",
        "private_key_jwt",
        "tls_client_auth",
        "none",
    ];
    let id_field = object.take("client_id");
    let secret_field = object.take("client_secret");
    let method_field = object.take("auth_method");
    let client_id = id_field.as_ref().and_then(|field| text(field, "the client's identifier"));
    let method = method_field.as_ref().and_then(|field| field.choice(&METHODS));
    if method == Some("private_key_jwt") {
        if secret_field.is_some() {
            return object.at("client_secret").mistake("private_key_jwt sends no secret");
        }
        return private_key_jwt(object, client_id, id_field.is_some());
    }
    for key in AUTH_KEYS.iter().skip(3) {
        if object.take(key).is_some() {
            return object.at(key).mistake("belongs to auth_method \"private_key_jwt\"");
        }
    }
    let client_secret = secret_field.as_ref().and_then(secret);
    let sends_none = matches!(method, Some("none" | "tls_client_auth"));
    if secret_field.is_some() && id_field.is_none() && !sends_none {
        let _: Option<()> = object.at("client_id").mistake("required beside client_secret");
    }
    if client_id.is_none() && id_field.is_some()
        || method.is_none() && method_field.is_some()
        || client_secret.is_none() && secret_field.is_some()
    {
        return None;
    }
    let make: fn(&str, &Secret) -> ClientAuth = match (method, &client_secret) {
        (Some("none"), None) => return Some(ClientAuth::None { client_id }),
        (Some("tls_client_auth"), None) => {
            return match client_id {
                Some(_) => Some(ClientAuth::None { client_id }),
                None => object.at("client_id").mistake(
                    "required: the server looks for the certificate of this client (RFC 8705 \
                     section 2)",
                ),
            };
        }
        (Some(method @ ("none" | "tls_client_auth")), Some(_)) => {
            return object
                .at("client_secret")
                .mistake(format_args!("auth_method {method:?} sends no secret"));
        }
        (None, None) => {
            return object.at("client_secret").mistake(
                "required: the server must know who asks (RFC 7662 section 2.1, RFC 6749 section \
                 4.4.2); give client_id and client_secret, or auth_method \"none\" if it truly asks \
                 for nothing",
            );
        }
        (Some("client_secret_basic_raw"), _) => ClientAuth::basic_raw,
        (Some("client_secret_post"), _) => |client_id, client_secret| ClientAuth::Post {
            client_id: client_id.to_owned(),
            client_secret: client_secret.clone(),
        },
        // Any other has returned.
        (Some(_) | None, _) => ClientAuth::basic,
    };
    let Some(client_secret) = client_secret else {
        return object.at("client_secret").mistake("required by this auth_method");
    };
    Some(make(&client_id?, &client_secret))
}

/// The keys of `private_key_jwt`.
fn private_key_jwt(
    object: &mut Object<'_>,
    client_id: Option<String>,
    has_id: bool,
) -> Option<ClientAuth> {
    let private_key = object.need("private_key", "the client's private key, in PEM", secret);
    let aud = object.need(
        "aud",
        "the issuer identifier of the authorization server (RFC 10070); some servers want the \
         endpoint's URL",
        |f| text(f, "the issuer identifier of the authorization server"),
    );
    let alg = object.read("alg", |field| match field.choice(&["RS256", "ES256"])? {
        "RS256" => Some(Algorithm::Rs256),
        _ => Some(Algorithm::Es256),
    });
    let kid = object.read("kid", |f| text(f, "the key's identifier"));
    let typ = object.read("typ", |f| text(f, "the `typ` of the header"));
    let lifetime = object.read("lifetime", |field| {
        let lifetime = duration(field)?;
        // RFC 7523 section 3: servers refuse assertions that live unreasonably long.
        if (Duration::from_secs(1)..=Duration::from_mins(5)).contains(&lifetime) {
            Some(lifetime)
        } else {
            field.mistake("an assertion lives from one second to five minutes")
        }
    });
    if !has_id {
        return object.at("client_id").mistake("required: the assertion is this client's");
    }
    let client_id = client_id?;
    let key_at = object.at("private_key");
    let options = AssertionOptions {
        client_id,
        aud: aud?,
        kid,
        typ: typ.unwrap_or_else(|| "client-authentication+jwt".to_owned()),
        lifetime: lifetime.unwrap_or(Duration::from_mins(1)),
        private_key: private_key?,
        sign: key_at.reader.host.sign,
    };
    match Assertions::new(options, key_at.reader.host.seed) {
        Ok(assertions) if alg.is_none_or(|alg| alg == assertions.algorithm) => {
            Some(ClientAuth::PrivateKeyJwt(Box::new(assertions)))
        }
        Ok(assertions) => object
            .at("alg")
            .mistake(format_args!("the key is one for {}", assertions.algorithm.name())),
        Err(SignError::Absent) => object
            .at("auth_method")
            .mistake("this host cannot sign (Envoy can from 1.37 on): use another method"),
        Err(SignError::BadKey) => key_at
            .mistake("the host does not take this key: expected RSA or P-256, in PEM (PKCS #8)"),
    }
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
        Some((name.to_owned(), field.string("a string")?.to_owned()))
    })
}

/// Extra headers: none that frame the call or steer the proxy.
fn headers(field: &Field<'_>) -> Option<Vec<(String, String)>> {
    const WHAT: &str = "an object of headers, such as {\"x-name\": \"value\"}";
    let mut names: Vec<String> = Vec::new();
    field.members_of(WHAT, |name, field| {
        let name = header_name(name, field)?;
        if names.contains(&name) {
            return field.mistake("the same header as one before it, in another case");
        }
        names.push(name.clone());
        if frames_or_steers(&name) {
            return field.mistake("this header is the proxy's own to set");
        }
        let value = field.string("a string")?;
        if !value.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)) {
            return field.mistake("a header value has printable ASCII characters only");
        }
        Some((name, value.to_owned()))
    })
}
