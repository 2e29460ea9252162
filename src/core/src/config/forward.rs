//! The `forward` object.

#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Json, Words},
    KeyRow, KeyTable,
};
use super::reader::Field;
use super::values::{boolean, claim_path, frames_or_steers, header_name, text};
use crate::http::header_name::Spelling;
use crate::inbound::forwarding::Forwarding;

/// Headers with a meaning of their own, in which no claim is allowed.
const RESERVED_HEADERS: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "expect", "trailer"];

/// The keys of `forward`.
#[cfg(feature = "review")]
pub(super) const FORWARD_TABLE: KeyTable = KeyTable {
    heading: "### `inbound.forward`",
    parts: &[&[
        KeyRow::new(
            &["token"],
            "boolean",
            Json("false"),
            "whether the token is forwarded; otherwise it is removed where it was checked, but not \
             other cookies, parameters and schemes. On public paths tokens are neither checked nor \
             removed",
        ),
        KeyRow::new(
            &["claims"],
            "object of strings",
            Json("{}"),
            "headers and their claims, such as `{\"x-user\": \"sub\"}`, with dots for nested \
             claims. Lists are joined with commas (the scope claim with spaces), objects are JSON",
        ),
        KeyRow::new(
            &["payload"],
            "string",
            Words(""),
            "a header for the whole introspection response as base64url-encoded JSON, up to 32 KiB",
        ),
    ]],
};

pub(super) fn forward(field: &Field<'_>) -> Option<Forwarding> {
    let mut object = field.object("an object with token, claims, payload")?;
    #[cfg(feature = "review")]
    object.described(&[&FORWARD_TABLE]);
    let token = object.read("token", boolean).unwrap_or(false);
    let mut names: Vec<Spelling> = Vec::new();
    let mut own_header = |name: &str, field: &Field<'_>| {
        let name = header_name(name, field)?;
        if RESERVED_HEADERS.contains(&name.as_str()) || frames_or_steers(&name) {
            return field.mistake("reserved header; choose another");
        }
        let spelling = Spelling::of(&name);
        if names.contains(&spelling) {
            return field.mistake(
                "duplicate header; services may treat all characters other than letters and digits \
                 as equal",
            );
        }
        names.push(spelling);
        Some(name)
    };
    let claims = object.read("claims", |field| {
        field.members_of(
            "an object of headers and claims, such as {\"x-user\": \"sub\"}",
            |name, field| Some((own_header(name, field)?, claim_path(field)?)),
        )
    });
    let payload = object.read("payload", |field| own_header(&text(field, "a header name")?, field));
    object.check_keys();
    Some(Forwarding::new(token, claims.unwrap_or_default(), payload))
}
