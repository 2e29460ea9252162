//! `cors`: the origins whose scripts may call the service.

use std::time::Duration;

#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Json, Required, Words},
    KeyRow, KeyTable,
};
use super::policy::{list, method};
use super::reader::{Field, Object};
use super::values::{boolean, header_name, text, ttl};
use crate::http::url::{HttpUrl, is_absolute_uri, split_scheme};
use crate::inbound::cors::Cors;
use crate::oauth::token_source::TokenSource;

#[cfg(feature = "review")]
pub(super) const CORS_TABLE: KeyTable = KeyTable {
    heading: "### `inbound.cors`",
    parts: &[&[
        KeyRow::new(
            &["allow_origins"],
            "list",
            Required,
            "the origins, exactly as browsers send them: `\"https://app.example.com\"`",
        ),
        KeyRow::new(
            &["allow_methods"],
            "list",
            Json(r#"["GET", "HEAD", "POST"]"#),
            "the methods that scripts may use",
        ),
        KeyRow::new(
            &["allow_headers"],
            "list",
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
        field.list_of("a list of origins such as \"https://app.example.com\"", origin)
    });
    let methods = list(&mut object, "allow_methods", "methods such as \"GET\"", method);
    let headers = object.read("allow_headers", |field| {
        field.list_of("a list of headers such as \"authorization\"", allowed_header)
    });
    let max_age = object.read("max_age", max_age);
    let allow_credentials = object.read("allow_credentials", boolean).unwrap_or(false);
    object.check_keys();
    check_credentials(&object, allow_credentials, sources);
    Some(Cors {
        origins: origins?.into_iter().map(Into::into).collect(),
        methods: methods.unwrap_or_else(|| ["GET", "HEAD", "POST"].map(Box::from).into()),
        headers: headers.unwrap_or_default(),
        max_age: max_age.map(|age| age.as_secs()),
        allow_credentials,
    })
}

fn check_credentials(object: &Object<'_>, allow_credentials: bool, sources: &[TokenSource]) {
    let is_cookie = |source: &TokenSource| matches!(source, TokenSource::Cookie(_));
    if !allow_credentials && sources.iter().any(is_cookie) {
        object.at("allow_credentials").mistake::<()>(
            "must be true: without it, browsers do not send the cookie of `token_sources`",
        );
    }
}

/// An origin in the form in which browsers send it (RFC 6454, section 6.2).
fn origin(field: &Field<'_>) -> Option<String> {
    let origin = text(field, "an origin such as \"https://app.example.com\"")?;
    let is_normal = match HttpUrl::parse(&origin) {
        Ok(url) => url.text().strip_suffix('/') == Some(&*origin),
        Err(_) => split_scheme(&origin).is_some_and(|(scheme, host)| {
            !matches!(scheme, "http" | "https")
                && is_absolute_uri(&origin)
                && !host.is_empty()
                && !origin.contains(|c: char| c.is_ascii_uppercase() || "*@?".contains(c))
                && !host.contains('/')
        }),
    };
    if is_normal {
        Some(origin)
    } else {
        field.mistake(
            "expected an origin as browsers send it, such as \"https://app.example.com\": in lower \
             case, without default port, path and slash at the end; not \"*\" or \"null\"",
        )
    }
}

/// A header name, or the beginning of some with an asterisk.
fn allowed_header(field: &Field<'_>) -> Option<Box<str>> {
    let name = header_name(&text(field, "a header name")?, field)?;
    let begin = name.strip_suffix('*').unwrap_or(&name);
    if begin.is_empty() || begin.contains('*') {
        return field.mistake("expected a header name, or the beginning of one and an asterisk");
    }
    Some(name.into())
}

fn max_age(field: &Field<'_>) -> Option<Duration> {
    let age = ttl(field)?;
    if age.subsec_millis() != 0 {
        return field.mistake("must be whole seconds");
    }
    Some(age)
}
