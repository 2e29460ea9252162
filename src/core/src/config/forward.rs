//! The `forward` object.

use serde_json::Value;

#[cfg(feature = "review")]
use super::key_table::{
    DefaultValue::{Json, Required, Words},
    KeyRow, KeyTable,
};
use super::reader::Field;
use super::values::{boolean, claim_path, frames_or_steers, header_name, text};
use crate::http::header_name::Spelling;
use crate::inbound::forwarding::Forwarding;
use crate::oauth::claim_header::{ClaimHeader, ClaimText, Encoding, Format};
use crate::oauth::claims::ClaimPath;

/// Headers with a meaning of their own, in which no claim is allowed.
const RESERVED_HEADERS: [&str; 6] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "expect",
    "sec-websocket-protocol",
    "trailer",
];

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
            "object",
            Json("{}"),
            "headers and their claims, such as `{\"x-user\": \"sub\"}`, with dots for nested \
             claims. Lists are joined with commas (the scope claim with spaces), objects are JSON",
        )
        .see("inboundforwardclaims"),
        KeyRow::new(
            &["bearer"],
            "object",
            Words("none"),
            "`{\"claim\": \"jwt\"}`: the text of this claim, a token of up to 32 KiB, replaces the \
             caller's token as `Authorization: Bearer`; 502 without it. The caller's \
             `Authorization` is removed on every path, public ones too. Not with `token`, or an \
             outbound client that sets that header",
        ),
        KeyRow::new(
            &["payload"],
            "string",
            Words(""),
            "a header for the whole introspection response as base64url-encoded JSON, up to 32 KiB",
        ),
    ]],
};

/// The keys of a claim in `forward.claims`.
#[cfg(feature = "review")]
pub(super) const CLAIM_TABLE: KeyTable = KeyTable {
    heading: "#### `inbound.forward.claims`",
    parts: &[&[
        KeyRow::new(&["claim"], "string", Required, "the claim, with dots for nested claims"),
        KeyRow::new(
            &["encoding"],
            "string",
            Words("none"),
            "`\"percent\"` (UTF-8, all but letters, digits and `-._~`) or `\"base64url\"`, of each \
             element of a list on its own",
        ),
        KeyRow::new(
            &["format"],
            "string",
            Words("its value"),
            "`\"members\"`: the names of the object's members whose value is neither false nor \
             null, as a list",
        ),
    ]],
};

/// A claim, and how its text is made.
fn claim(field: &Field<'_>) -> Option<(ClaimPath, ClaimText)> {
    const WHAT: &str = "a claim name, with dots for nested claims, or an object with claim, \
                        encoding, format";
    match field.value {
        Value::String(_) => Some((claim_path(field)?, ClaimText::default())),
        Value::Object(_) => {
            let mut object = field.object(WHAT)?;
            #[cfg(feature = "review")]
            object.described(&[&CLAIM_TABLE]);
            let claim = object.need("claim", "a claim name", claim_path);
            let encoding =
                object.read("encoding", |field| match field.choice(&["percent", "base64url"])? {
                    "percent" => Some(Encoding::Percent),
                    _ => Some(Encoding::Base64Url),
                });
            let format = object.read("format", |field| field.choice(&["members"]));
            object.check_keys();
            let format = format.map_or(Format::Value, |_| Format::Members);
            Some((claim?, ClaimText { format, encoding: encoding.unwrap_or_default() }))
        }
        _ => field.expected(WHAT),
    }
}

/// `bearer`: the claim with the token.
fn bearer(field: &Field<'_>) -> Option<ClaimPath> {
    let mut object = field.object("an object with claim")?;
    #[cfg(feature = "review")]
    object.described(&[&CLAIM_TABLE]);
    let claim = object.need("claim", "a claim name", claim_path);
    object.check_keys();
    claim
}

pub(super) fn forward(field: &Field<'_>) -> Option<Forwarding> {
    let mut object = field.object("an object with token, bearer, claims, payload")?;
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
            |name, field| {
                let name = own_header(name, field)?.into();
                let (claim, text) = claim(field)?;
                Some(ClaimHeader { name, claim, text })
            },
        )
    });
    let payload = object.read("payload", |field| own_header(&text(field, "a header name")?, field));
    let bearer = object.read("bearer", |field| {
        let claim = bearer(field)?;
        if token {
            return field.mistake("conflicts with `token`; remove one of the two");
        }
        Some(claim)
    });
    object.check_keys();
    let (claims, payload) = (claims.unwrap_or_default(), payload.map(Into::into));
    Some(Forwarding::new(token, claims, payload, bearer))
}
