//! The `forward` object.

use super::reader::Field;
use super::values::{boolean, claim_path, frames_or_steers, header_name, text};
use crate::http::header_name::Spelling;
use crate::inbound::forwarding::Forwarding;

/// Headers that mean something to whoever reads the request: no claim may stand there.
const RESERVED_HEADERS: [&str; 5] =
    ["authorization", "proxy-authorization", "cookie", "expect", "trailer"];

/// `forward`.
pub(super) fn forward(field: &Field<'_>) -> Option<Forwarding> {
    let mut object = field.object("an object with token, claims, payload")?;
    let token = object.read("token", boolean).unwrap_or(false);
    let mut names: Vec<Spelling> = Vec::new();
    let mut own_header = |name: &str, field: &Field<'_>| {
        let name = header_name(name, field)?;
        if RESERVED_HEADERS.contains(&name.as_str()) || frames_or_steers(&name) {
            return field.mistake("this header has a meaning of its own; choose another");
        }
        let spelling = Spelling::of(&name);
        if names.contains(&spelling) {
            return field.mistake(
                "this header is named twice: services take all bytes that are neither letters nor \
                 digits for the same",
            );
        }
        names.push(spelling);
        Some(name)
    };
    let claims = object.read("claims", |field| {
        field.members_of(
            "an object {header: claim}, such as {\"x-user\": \"sub\"}",
            |name, field| Some((own_header(name, field)?, claim_path(field)?)),
        )
    });
    let payload =
        object.read("payload", |field| own_header(&text(field, "the name of a header")?, field));
    object.check_keys();
    Some(Forwarding::new(token, claims.unwrap_or_default(), payload))
}
