//! `token_sources`: where tokens are looked for.

#[cfg(feature = "review")]
use super::key_table::{DefaultValue::Words, KeyRow, KeyTable};
use super::reader::Field;
use super::values::{frames_or_steers, header_name, text};
use crate::http::header_name::is_token_char;
use crate::oauth::token_source::TokenSource;

/// Reads the list.
pub(super) fn token_sources(field: &Field<'_>) -> Option<Vec<TokenSource>> {
    let sources =
        field.list_of("a list of token sources, such as {\"header\": \"x-token\"}", source)?;
    for (n, source) in sources.iter().enumerate() {
        if sources.iter().take(n).any(|before| before.is_same_place(source)) {
            return field.element(n).mistake("duplicate token source");
        }
    }
    Some(sources)
}

/// The keys of a source.
#[cfg(feature = "review")]
pub(super) const SOURCE_TABLE: KeyTable = KeyTable {
    heading: "### `inbound.token_sources`",
    parts: &[&[
        KeyRow::new(&["header"], "string", Words("none"), "a header name, case-insensitive"),
        KeyRow::new(
            &["scheme"],
            "string",
            Words("none"),
            "the scheme before the token; required for `authorization`. Not `Basic`, which is a \
             user name and a password",
        ),
        KeyRow::new(
            &["query"],
            "string",
            Words("none"),
            "a query parameter name, with a warning: URLs appear in logs",
        ),
        KeyRow::new(&["cookie"], "string", Words("none"), "a cookie name"),
    ]],
};

/// One source: exactly one of `header`, `query` and `cookie`.
fn source(field: &Field<'_>) -> Option<TokenSource> {
    const WHAT: &str = "an object with header, query or cookie";
    let mut object = field.object(WHAT)?;
    #[cfg(feature = "review")]
    object.described(&[&SOURCE_TABLE]);
    let (header, scheme) = (object.take("header"), object.take("scheme"));
    let (query, cookie) = (object.take("query"), object.take("cookie"));
    object.check_keys();
    if scheme.is_some() && header.is_none() {
        return object.at("scheme").mistake("requires `header`");
    }
    let word = |field: &Field<'_>, what: &str| {
        let word = text(field, what)?;
        if word.bytes().all(is_token_char) {
            Some(word)
        } else {
            field.mistake(format_args!("expected {what}: letters, digits, - and _"))
        }
    };
    match (header, query, cookie) {
        (Some(header), None, None) => {
            let name = header_name(&text(&header, "a header name")?, &header)?;
            // It would be removed from the request.
            if frames_or_steers(&name) {
                return header.mistake("reserved header; choose another");
            }
            match scheme {
                Some(scheme) => {
                    let text = word(&scheme, "a scheme such as \"Bearer\"")?;
                    // Introspection would send a user name and a password to the authorization
                    // server.
                    if text.eq_ignore_ascii_case("Basic") {
                        return scheme.mistake(
                            "Basic credentials are not tokens; the filter would send callers' \
                             passwords to the authorization server",
                        );
                    }
                    Some(TokenSource::Scheme { header: name.into(), scheme: text.into() })
                }
                None if name == "authorization" => {
                    header.mistake("`authorization` requires a scheme; add \"scheme\": \"Bearer\"")
                }
                None if name == "cookie" => {
                    header.mistake("reserved header; use {\"cookie\": \"NAME\"}")
                }
                None => Some(TokenSource::Header(name.into())),
            }
        }
        (None, Some(query), None) => {
            query.warn(
                "tokens in URLs are exposed in logs and caches (RFC 9700 section 4.3.2); \
                 use a header",
            );
            Some(TokenSource::Query(text(&query, "a query parameter name")?.into()))
        }
        (None, None, Some(cookie)) => {
            Some(TokenSource::Cookie(word(&cookie, "a cookie name")?.into()))
        }
        _ => field.mistake(format_args!("expected exactly one of header, query and cookie")),
    }
}
