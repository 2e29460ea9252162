//! One of `outbound.clients`: its token request, token endpoint, and use of the token.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::client_auth::AUTH_KEYS;
#[cfg(feature = "review")]
use super::endpoint::ENDPOINT_TABLE;
use super::endpoint::{Defaults, ENDPOINT_KEYS, endpoint};
#[cfg(feature = "review")]
use super::grants::GRANT_TABLE;
use super::grants::{GRANTS, GrantType, RefreshTokens, refuse_keys_of_others};
#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Json, Required, Words},
    KeyRow, KeyTable,
};
use super::names::Names;
use super::notes::Shape;
use super::reader::{Field, Object};
use super::values::{
    boolean, count_from, frames_or_steers, header_name, lives, scope_text, secret, text, ttl,
};
use crate::cache::identity::Identity;
use crate::http::header_name::is_token_char;
use crate::http::url::is_absolute_uri;
use crate::oauth::cached_token::Lifetime;
use crate::oauth::endpoint::{Endpoint, EndpointOptions};
use crate::oauth::secret::Secret;
use crate::outbound::client::{Client, Grant, Placement, Refresh, RequestedScope};
use crate::store::ClientKey;

/// The keys of every client, without those of its endpoint block and grant.
#[cfg(feature = "review")]
pub(super) const CLIENT_TABLE: KeyTable = KeyTable {
    heading: "### `outbound.clients`",
    parts: &[&[
        KeyRow::new(&["grant_type"], "string", Required, "how the client obtains tokens")
            .see("grants"),
        KeyRow::new(
            &["scope"],
            "string",
            Words("none"),
            "the requested scopes, separated by spaces",
        ),
        KeyRow::new(&["audience"], "string", Words("none"), "the requested audience"),
        KeyRow::new(
            &["resource"],
            "string or list",
            Words("none"),
            "an absolute URI without a fragment, or a list of them, each sent as one parameter \
             (RFC 8707)",
        ),
        KeyRow::new(
            &["refresh_before"],
            "duration",
            Words("a fifth of the lifetime, at most a minute"),
            "renews a token in use in the background when it expires within this time, plus up to \
             a quarter, which spreads renewals",
        ),
        KeyRow::new(
            &["clock_skew"],
            "duration",
            Json(r#""1s""#),
            "subtracted from `expires_in`, because servers round `exp` down. A token that does not \
             live longer serves only the requests that wait for it",
        ),
        KeyRow::new(
            &["default_expires_in"],
            "duration",
            Json(r#""1h""#),
            "the lifetime if the response has none",
        ),
        KeyRow::new(
            &["renew_on_status"],
            "list",
            Json("[401]"),
            "statuses that reject the token, which is then dropped. `[]` disables this",
        ),
        KeyRow::new(&["header"], "string", Json(r#""authorization""#), "the header for the token"),
        KeyRow::new(
            &["scheme"],
            "string",
            Json(r#""Bearer""#),
            r#"the authentication scheme; `""` sends the token alone"#,
        ),
        KeyRow::new(
            &["overwrite"],
            "boolean",
            Json("true"),
            "false: requests that have the header keep it. Not if it contains callers' tokens to \
             exchange",
        ),
        KeyRow::new(
            &["failure_mode_allow"],
            "boolean",
            Json("false"),
            "forwards requests without a token if none is available. The caller's value of the \
             header is removed all the same",
        ),
    ]],
};

/// Reads a client of this name.
pub(super) fn client(name: &str, field: &Field<'_>, names: Names<'_>) -> Option<Client> {
    let mut object =
        field.object("an object with grant_type, endpoint, client_id, client_secret")?;
    #[cfg(feature = "review")]
    object.described(&[&CLIENT_TABLE, &GRANT_TABLE, &ENDPOINT_TABLE]);
    if name.is_empty() {
        return field.mistake("a client name must not be empty");
    }
    let mut known = String::new();
    for grant in GRANTS {
        let separator = if known.is_empty() { "" } else { ", " };
        known.extend([separator, "\"", grant.name, "\""]);
    }
    let kind = object.need("grant_type", &known, |field| {
        field.looks_for(|| Shape::Kind(GRANTS.iter().map(|grant| grant.name).collect()));
        let name = field.string("a grant type")?;
        let kind = GRANTS.iter().find(|grant| grant.name == name);
        kind.or_else(|| field.mistake(format_args!("expected one of {known}")))
    });
    // It determines which other keys are valid.
    let kind = kind?;
    let grant = (kind.read)(&mut object, names);
    let options = if !kind.needs_endpoint && !object.has("endpoint") {
        // A token obtained elsewhere requires no endpoint.
        object.divides("endpoint");
        for key in ENDPOINT_KEYS.into_iter().chain(AUTH_KEYS) {
            if object.has(key) {
                object.know(&[key]);
                let _: Option<()> = object.at(key).mistake("has no effect without `endpoint`");
            }
        }
        Some(None)
    } else {
        endpoint(&mut object, kind.parameters, Defaults::Standard).map(Some)
    };
    let asked = asked(&mut object);
    let (refresh, given) = if let Some(options) = &options {
        refresh(kind, &mut object, options.as_ref())
    } else {
        if kind.has_refresh() {
            // Its defaults are not known.
            object.know(&["refresh"]);
        }
        (None, None)
    };
    if !kind.needs_endpoint && refresh.is_none() && matches!(options, Some(Some(_))) {
        object.at("endpoint").warn(
            "never called: without `refresh`, the token is not renewed; add \
             `refresh` or remove `endpoint`",
        );
    }
    #[cfg(feature = "review")]
    if let Some(Grant::JwtBearer { .. }) = &grant {
        super::advice::advise_on_assertion(&object.at("assertion"), asked.scope.as_deref());
    }
    let lifetime = lifetime(&mut object);
    if let Some(Grant::DirectToken { expires_in: Some(lives), .. }) = &grant
        && *lives <= lifetime.clock_skew
    {
        let _: Option<()> =
            object.at("expires_in").mistake("must be longer than `clock_skew` (default \"1s\")");
    }
    let placement = placement(&mut object);
    let renew_on_status = object.read("renew_on_status", statuses);
    let failure_mode_allow = object.read("failure_mode_allow", |field| {
        let allow = boolean(field)?;
        if allow {
            field.warn("while no token is available, requests are forwarded without one");
        }
        Some(allow)
    });
    refuse_keys_of_others(&mut object);
    object.check_keys();
    let endpoint = options?.map(|options| Arc::new(Endpoint::new(options)));
    let grant = match grant? {
        Grant::DirectToken { access_token, expires_in, .. } => {
            Grant::DirectToken { access_token, expires_in, refresh_token: given }
        }
        grant => grant,
    };
    let says_none = field.value.get("auth_method").is_some_and(|method| method == "none");
    if matches!(grant, Grant::ClientCredentials) && says_none {
        // Without an explicit `auth_method`, missing credentials are an error.
        field.warn(
            "client_credentials requires client authentication (RFC 6749 section 4.4.2); \
             set credentials",
        );
    }
    let identity = identity(kind.name, &grant, endpoint.as_deref(), refresh.as_ref(), &asked);
    Some(Client {
        name: name.into(),
        grant,
        endpoint,
        refresh,
        asked,
        lifetime,
        placement,
        renew_on_status: renew_on_status.unwrap_or_else(|| vec![401]),
        failure_mode_allow: failure_mode_allow.unwrap_or(false),
        key: ClientKey::new(identity),
    })
}

/// `scope`, `audience` and `resource`.
fn asked(object: &mut Object<'_>) -> RequestedScope {
    let scope = object.read("scope", scope_text);
    let audience = object.read("audience", |f| text(f, "an audience"));
    let resource = object.read("resource", |field| match field.value {
        Value::Array(_) => field.list_of("a URI or a list of URIs", resource),
        _ => resource(field).map(|resource| vec![resource]),
    });
    RequestedScope { scope, audience, resource: resource.unwrap_or_default() }
}

/// A resource (RFC 8707, section 2).
fn resource(field: &Field<'_>) -> Option<String> {
    let resource = text(field, "an absolute URI")?;
    if is_absolute_uri(&resource) {
        Some(resource)
    } else {
        field.mistake("expected an absolute URI without a fragment (RFC 8707 section 2)")
    }
}

/// The keys of `refresh`, without those of its endpoint block.
#[cfg(feature = "review")]
pub(super) const REFRESH_TABLE: KeyTable = KeyTable {
    heading: "#### `refresh`",
    parts: &[&[
        KeyRow::new(
            &["refresh_token"],
            "secret",
            Words("required for `direct_token`"),
            "the first refresh token; for `password` it is in the token response",
        ),
        KeyRow::new(
            &["scope"],
            "string",
            Words("none"),
            "the requested scopes, within those originally granted (RFC 6749 section 6)",
        ),
    ]],
};

/// `refresh`: how refresh tokens are used, and the refresh token of a direct token.
fn refresh(
    kind: &GrantType,
    object: &mut Object<'_>,
    options: Option<&EndpointOptions>,
) -> (Option<Refresh>, Option<Secret>) {
    let refresh = |options: EndpointOptions, scope| {
        Some(Refresh { endpoint: Arc::new(Endpoint::new(options)), scope })
    };
    let inferred = || refresh(options?.clone(), None);
    let is_given = kind.refresh == RefreshTokens::AsRefreshSays;
    let field = match kind.refresh {
        RefreshTokens::Unused => return (None, None),
        RefreshTokens::AtEndpoint => return (inferred(), None),
        RefreshTokens::UnlessRefreshSays | RefreshTokens::AsRefreshSays => object.take("refresh"),
    };
    let Some(field) = field else {
        return (if is_given { None } else { inferred() }, None);
    };
    field.looks_for(|| Shape::Only(false));
    if *field.value == Value::Bool(false) {
        return (None, None);
    }
    let what = "false or an object with endpoint, scope, parameters";
    let Some(mut object) = field.object(what) else { return (None, None) };
    #[cfg(feature = "review")]
    object.described(&[&REFRESH_TABLE, &ENDPOINT_TABLE]);
    let token =
        if is_given { object.need("refresh_token", "the refresh token", secret) } else { None };
    let scope = object.read("scope", scope_text);
    let rest = options.map_or(Defaults::Standard, Defaults::Block);
    let own = endpoint(&mut object, kind.parameters, rest);
    object.check_keys();
    (own.and_then(|options| refresh(options, scope)), token)
}

/// `refresh_before`, `clock_skew` and `default_expires_in`.
fn lifetime(object: &mut Object<'_>) -> Lifetime {
    let refresh_before = object.read("refresh_before", ttl);
    let clock_skew = object.read("clock_skew", ttl).unwrap_or(Duration::from_secs(1));
    let default_expires_in = object.read("default_expires_in", lives);
    let default_expires_in = default_expires_in.unwrap_or(Duration::from_hours(1));
    Lifetime { refresh_before, clock_skew, default_expires_in }
}

/// `header`, `scheme` and `overwrite`.
fn placement(object: &mut Object<'_>) -> Placement {
    let header = object.read("header", |field| {
        let name = header_name(&text(field, "a header name")?, field)?;
        if frames_or_steers(&name) || name == "cookie" {
            return field.mistake("reserved header; choose another");
        }
        Some(name)
    });
    let scheme = object.read("scheme", |field| {
        let scheme = field.string("a scheme such as \"Bearer\", or \"\" for none")?;
        if scheme.bytes().all(is_token_char) {
            Some(scheme)
        } else {
            field.mistake("must be one word such as \"Bearer\"")
        }
    });
    Placement::new(
        header.as_deref().unwrap_or("authorization"),
        scheme.unwrap_or("Bearer").to_owned(),
        object.read("overwrite", boolean).unwrap_or(true),
    )
}

fn statuses(field: &Field<'_>) -> Option<Vec<u16>> {
    const WHAT: &str = "a list of HTTP statuses from 400 to 599, such as [401]";
    field.looks_for(|| Shape::List { least: 0 });
    if field.value.as_array().is_some_and(Vec::is_empty) {
        // An empty list disables renewal by status.
        return Some(Vec::new());
    }
    field.list_of(WHAT, |field| {
        let status = count_from(field, 400, 599)?;
        u16::try_from(status).ok()
    })
}

/// Everything that a token depends on.
fn identity(
    grant_type: &str,
    grant: &Grant,
    endpoint: Option<&Endpoint>,
    refresh: Option<&Refresh>,
    asked: &RequestedScope,
) -> Identity {
    // The lifetime of a direct token is part of the configuration. Settings that only affect how
    // responses are read are not part of the identity: cached tokens stay valid.
    let lives = match grant {
        Grant::DirectToken { expires_in: Some(lives), .. } => lives.as_millis().to_string(),
        _ => String::new(),
    };
    let mut parts = Vec::new();
    match grant {
        Grant::ClientCredentials => {}
        Grant::Password { username, password } => {
            parts.push(username.reveal());
            password.identify(&mut parts);
        }
        Grant::RefreshToken(token) => parts.push(token.reveal()),
        Grant::DirectToken { access_token, refresh_token, .. } => {
            parts.extend([access_token.reveal(), &lives]);
            parts.extend(refresh_token.as_ref().map(Secret::reveal));
        }
        Grant::JwtBearer { assertion } => assertion.identify(&mut parts),
        Grant::TokenExchange { subject_token_type, requested_token_type, .. } => {
            parts.push(subject_token_type);
            parts.extend(requested_token_type.as_deref());
        }
    }
    let mut lists = vec![vec![grant_type], parts];
    for endpoint in [endpoint, refresh.map(|refresh| &*refresh.endpoint)] {
        match endpoint {
            Some(endpoint) => lists.extend(endpoint.identity()),
            None => lists.push(Vec::new()),
        }
    }
    lists.push(refresh.and_then(|refresh| refresh.scope.as_deref()).into_iter().collect());
    lists.push(asked.scope.as_deref().into_iter().collect());
    lists.push(asked.audience.as_deref().into_iter().collect());
    lists.push(asked.resource.iter().map(String::as_str).collect());
    Identity::new(&lists)
}
