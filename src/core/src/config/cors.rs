//! `cors`: the origins whose scripts may call the service.

#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Json, Required, Words},
    KeyRow, KeyTable,
};
use super::policy::is_method;
use super::reader::{Field, Object};
use super::values::{boolean, one_or_any, whole_seconds};
use crate::http::authority::Authority;
use crate::http::header_name::is_token_char;
use crate::http::url::{is_absolute_uri, split_scheme};
use crate::inbound::cors::Cors;
use crate::oauth::token_source::TokenSource;

#[cfg(feature = "review")]
pub(super) const CORS_TABLE: KeyTable = KeyTable {
    heading: "### `inbound.cors`",
    parts: &[&[
        KeyRow::new(
            &["allow_origins"],
            "string or list",
            Required,
            "the origins, exactly as browsers send them: `\"https://app.example.com\"`",
        ),
        KeyRow::new(
            &["allow_methods"],
            "string or list",
            Json(r#"["GET", "HEAD", "POST"]"#),
            "the methods that scripts may use",
        ),
        KeyRow::new(
            &["allow_headers"],
            "string or list",
            Words("none"),
            "the headers that scripts may send, such as `authorization` and `content-type`; \
             `\"mcp-param-*\"` stands for all that begin so",
        ),
        KeyRow::new(
            &["max_age"],
            "duration",
            Words("the browser's"),
            "how long browsers may cache the response to a preflight, in whole seconds",
        ),
        KeyRow::new(
            &["allow_credentials"],
            "boolean",
            Json("false"),
            "whether scripts may send cookies; required if `token_sources` has a cookie",
        ),
    ]],
};

/// Reads it. A token in a cookie needs `allow_credentials`.
pub(super) fn cors(field: &Field<'_>, sources: &[TokenSource]) -> Option<Cors> {
    let mut object = field.object("an object with allow_origins")?;
    #[cfg(feature = "review")]
    object.described(&[&CORS_TABLE]);
    let origins = object.need("allow_origins", "the origins of scripts", |field| {
        texts(
            field,
            is_origin,
            "an origin",
            "an origin as browsers send it, such as \
             \"https://app.example.com\": in lower case, without default port, path and slash at \
             the end; not \"*\" or \"null\"",
        )
    });
    let methods = object.read("allow_methods", |field| {
        texts(field, is_method, "a method", "methods in upper case such as \"GET\"")
    });
    let headers = object.read("allow_headers", |field| {
        texts(
            field,
            is_header,
            "a header name",
            "names of headers, or the beginning of one and an asterisk",
        )
    });
    let max_age = object.read("max_age", |field| whole_seconds(field, "must be whole seconds"));
    let allow_credentials = object.read("allow_credentials", boolean).unwrap_or(false);
    object.check_keys();
    check_credentials(&object, allow_credentials, sources);
    Some(Cors {
        origins: origins?,
        methods: methods.unwrap_or_else(|| ["GET", "HEAD", "POST"].map(Box::from).into()),
        headers: headers.unwrap_or_default(),
        max_age: max_age.map(|age| age.as_secs().to_string()),
        allow_credentials,
    })
}

/// A text, or a list of them, which are all valid.
fn texts(
    field: &Field<'_>,
    is_valid: fn(&str) -> bool,
    what: &str,
    expected: &str,
) -> Option<Vec<Box<str>>> {
    let texts = one_or_any(field, what)?;
    if texts.iter().all(|text| is_valid(text)) {
        Some(texts)
    } else {
        field.mistake(format_args!("expected {expected}"))
    }
}

fn check_credentials(object: &Object<'_>, allow_credentials: bool, sources: &[TokenSource]) {
    let is_cookie = |source: &TokenSource| matches!(source, TokenSource::Cookie(_));
    if !allow_credentials && sources.iter().any(is_cookie) {
        object.at("allow_credentials").mistake::<()>(
            "must be true: without it, browsers do not send the cookie of `token_sources`",
        );
    }
}

/// Whether this is an origin in the form in which browsers send it (RFC 6454, section 6.2).
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = split_scheme(text) else { return false };
    let default = match scheme {
        "https" => Some(443),
        "http" => Some(80),
        _ => None,
    };
    let is_authority = Authority::parse(host.as_bytes()).is_ok_and(|authority| {
        !authority.host.is_empty() && (authority.port.is_none() || authority.port != default)
    });
    is_authority
        && !host.ends_with(':')
        && is_absolute_uri(text)
        && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Whether this is the name of a header in any case, or the beginning of some and an asterisk.
fn is_header(text: &str) -> bool {
    let begin = text.strip_suffix('*').unwrap_or(text);
    !begin.is_empty() && begin.bytes().all(|byte| is_token_char(byte) && byte != b'*')
}
