//! `resource_metadata`: the members that RFC 9728, section 2 defines.

use serde_json::Value;

#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Required, Words},
    KeyRow, KeyTable,
};
use super::notes::Shape;
use super::reader::Field;
use super::values::{boolean, endpoint_url, one_or_any, text};
use crate::http::url::{HttpUrl, is_absolute_uri};
use crate::inbound::resource_metadata::ResourceMetadata;
use crate::oauth::denial::Resource;

const WHAT: &str = "an RFC 9728 document with resource";

/// Members that are lists of strings.
const LISTS: [&str; 6] = [
    "authorization_servers",
    "scopes_supported",
    "bearer_methods_supported",
    "resource_signing_alg_values_supported",
    "authorization_details_types_supported",
    "dpop_signing_alg_values_supported",
];

/// Members that are strings.
const STRINGS: [&str; 2] = ["jwks_uri", "signed_metadata"];

/// Human-readable members, which may have a language tag: `resource_name#de`.
const TEXTS: [&str; 4] =
    ["resource_name", "resource_documentation", "resource_policy_uri", "resource_tos_uri"];

/// Human-readable members that are URLs.
const PAGES: [&str; 3] = ["resource_documentation", "resource_policy_uri", "resource_tos_uri"];

/// Members that are true or false.
const FLAGS: [&str; 2] =
    ["tls_client_certificate_bound_access_tokens", "dpop_bound_access_tokens_required"];

#[cfg(feature = "review")]
pub(super) const METADATA_TABLE: KeyTable = KeyTable {
    heading: "### `inbound.resource_metadata`",
    parts: &[&[
        KeyRow::new(&["resource"], "URL", Required, "the resource identifier, a normalized URL"),
        KeyRow::new(
            &["authorization_servers"],
            "list",
            Words("none"),
            "issuer identifiers (URLs) of accepted authorization servers",
        ),
        KeyRow::new(
            &["scopes_supported"],
            "list",
            Words("none"),
            "scopes that clients may request",
        ),
        KeyRow::new(
            &["bearer_methods_supported"],
            "list",
            Words("none"),
            r#"how clients may send tokens: `"header"`, `"body"`, `"query"`"#,
        ),
        KeyRow::new(
            &["resource_signing_alg_values_supported"],
            "list",
            Words("none"),
            "algorithms with which the resource signs its responses",
        ),
        KeyRow::new(
            &["authorization_details_types_supported"],
            "list",
            Words("none"),
            "supported types of `authorization_details` (RFC 9396)",
        ),
        KeyRow::new(
            &["dpop_signing_alg_values_supported"],
            "list",
            Words("none"),
            "accepted algorithms of DPoP proofs (RFC 9449)",
        ),
        KeyRow::new(
            &["jwks_uri"],
            "URL",
            Words("none"),
            "the location of the resource's public keys",
        ),
        KeyRow::new(
            &["signed_metadata"],
            "string",
            Words("none"),
            "a JWT with members of this document as claims",
        ),
        KeyRow::new(&["resource_name"], "string", Words("none"), "the human-readable name"),
        KeyRow::new(
            &["resource_documentation", "resource_policy_uri", "resource_tos_uri"],
            "string",
            Words("none"),
            "URLs of pages for developers, on the use of data, and with the terms of service",
        ),
        KeyRow::new(
            &["tls_client_certificate_bound_access_tokens", "dpop_bound_access_tokens_required"],
            "boolean",
            Words("none"),
            "whether tokens may be bound to a client certificate (RFC 8705), and must be bound \
             with DPoP (RFC 9449). Informs clients only; `sender_constraint` enforces the former",
        ),
    ]],
};

/// Reads one document, or a list of them. What challenges have in common is in
/// `common`.
pub(super) fn documents(field: &Field<'_>, common: &Resource) -> Option<Vec<ResourceMetadata>> {
    let read = |field: &Field<'_>| metadata(field, common);
    match field.value {
        Value::Array(_) => {
            let list = field.list_of(&format!("a list of objects, each {WHAT}"), read)?;
            check_coverage(field, &list);
            Some(list)
        }
        Value::Object(_) => read(field).map(|metadata| vec![metadata]),
        _ => field.expected(&format!("{WHAT}, or a list of them")),
    }
}

/// Checks that requests tell resources apart by host and path.
fn check_coverage(field: &Field<'_>, list: &[ResourceMetadata]) {
    for (n, metadata) in list.iter().enumerate() {
        let is_same = |other: &ResourceMetadata| {
            metadata.host == other.host && metadata.base() == other.base()
        };
        if metadata.query.is_some() {
            field.element(n).mistake::<()>(
                "`resource` has a query; in a list, requests are assigned by host and path",
            );
        } else if list.iter().take(n).any(is_same) {
            field.element(n).mistake::<()>(
                "`resource` has the host and path of another one; remove one of the two",
            );
        }
    }
}

/// Reads a document.
fn metadata(field: &Field<'_>, common: &Resource) -> Option<ResourceMetadata> {
    field.looks_for(|| {
        let keys = ["resource"].into_iter().chain(LISTS).chain(STRINGS).chain(TEXTS).chain(FLAGS);
        Shape::Keys(keys.collect())
    });
    field.looks_for(|| Shape::Languages(&TEXTS));
    let mut object = field.object(WHAT)?;
    #[cfg(feature = "review")]
    object.described(&[&METADATA_TABLE]);
    let resource = object.need("resource", "the resource identifier", resource);
    let members = field.members_of(WHAT, |name, field| {
        let value = match name.split('#').next().unwrap_or_default() {
            "resource" => field.value.clone(),
            _ if LISTS.contains(&name) => list(name, field)?,
            _ if FLAGS.contains(&name) => Value::Bool(boolean(field)?),
            "jwks_uri" => {
                endpoint_url(field)?;
                field.value.clone()
            }
            base if PAGES.contains(&base) => Value::String(page(field)?),
            base if TEXTS.contains(&base) || STRINGS.contains(&name) => {
                Value::String(text(field, "a string")?)
            }
            _ => return field.mistake("unknown key; not defined by RFC 9728 section 2"),
        };
        Some((name.to_owned(), value))
    });
    let metadata = ResourceMetadata::new(&resource?, common, members?);
    metadata.or_else(|| {
        field.mistake(
            "the path of `resource` contains an escape sequence that is rejected in requests",
        )
    })
}

fn resource(field: &Field<'_>) -> Option<HttpUrl> {
    let url = endpoint_url(field)?;
    if !url.is_https {
        field.warn("plain http: a resource identifier must be an https URL (RFC 9728 section 1.2)");
    }
    // Clients derive the URL of the document from this value, so it must be normalized.
    let normal = url.text();
    let is_normal = |text: &str| text == normal || format!("{text}/") == normal;
    let is_dots = |segment: &str| [".", "..", "%2e", ".%2e", "%2e.", "%2e%2e"].contains(&segment);
    let has_dots = url.path.to_ascii_lowercase().split('/').any(is_dots);
    if field.value.as_str().is_some_and(is_normal) && !has_dots {
        Some(url)
    } else {
        field.mistake(
            "expected a normalized URL: lowercase scheme and host, no default port, no dot \
             segments, a slash before a query",
        )
    }
}

/// The URL of a page, with or without a fragment.
fn page(field: &Field<'_>) -> Option<String> {
    let url = text(field, "an absolute URL")?;
    if is_absolute_uri(url.split('#').next().unwrap_or_default()) {
        Some(url)
    } else {
        field.mistake("expected an absolute URL")
    }
}

/// A list of strings, which may be empty.
fn list(name: &str, field: &Field<'_>) -> Option<Value> {
    field.looks_for(|| Shape::List { least: 0 });
    match field.value.as_array() {
        None => return field.expected("a list of strings"),
        Some(elements) if elements.is_empty() => return Some(field.value.clone()),
        Some(_) => {}
    }
    if name == "authorization_servers" {
        field.list_of("a list of URLs", endpoint_url)?;
    }
    let strings = one_or_any(field, "a string")?;
    if name == "scopes_supported" && strings.iter().any(|scope| **scope == *"offline_access") {
        field.warn("offline_access is for clients, not for resources; remove it");
    }
    Some(field.value.clone())
}
