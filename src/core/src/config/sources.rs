//! `token_sources`: where tokens are looked for.

#[cfg(feature = "review")]
use super::key_table::{DefaultValue::Words, KeyRow, KeyTable};
use super::reader::{Field, Object};
use super::values::{count_from, frames_or_steers, header_name, text};
use crate::http::header_name::is_token_char;
use crate::oauth::bearer::MAX_TOKEN_BYTES;
use crate::oauth::token_source::TokenSource;
use crate::oauth::token_sources::{Precedence, TokenSources};

/// The maximum of `max_token_bytes`: with it, the other headers fit into Envoy's default of
/// `max_request_headers_kb`, 60.
const MOST_TOKEN_BYTES: u32 = 48 * 1024;

/// Reads the keys of `inbound` about tokens in requests.
pub(super) fn token_sources(object: &mut Object<'_>) -> TokenSources {
    let places = object.read("token_sources", places);
    let precedence = object.take("token_precedence");
    let precedence = precedence.and_then(|field| field.choice(&["single", "first"]));
    let max_bytes = object.take("max_token_bytes");
    let max_bytes = max_bytes.and_then(|field| count_from(&field, 1, MOST_TOKEN_BYTES));
    TokenSources {
        places: places.unwrap_or_else(|| vec![TokenSource::authorization()]),
        precedence: match precedence {
            Some("first") => Precedence::First,
            _ => Precedence::Single,
        },
        max_bytes: max_bytes.and_then(|bytes| bytes.try_into().ok()).unwrap_or(MAX_TOKEN_BYTES),
    }
}

/// Reads the list.
fn places(field: &Field<'_>) -> Option<Vec<TokenSource>> {
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
            "the scheme before the token; required for `authorization`. Not `Basic`: use `basic`",
        ),
        KeyRow::new(
            &["query"],
            "string",
            Words("none"),
            "a query parameter name, with a warning: URLs appear in logs",
        ),
        KeyRow::new(&["cookie"], "string", Words("none"), "a cookie name"),
        KeyRow::new(
            &["websocket_protocol"],
            "string",
            Words("none"),
            "a subprotocol such as `\"bearer\"`: the next one in `Sec-WebSocket-Protocol` is the \
             token. Both are removed, the others are forwarded",
        ),
        KeyRow::new(
            &["basic"],
            "string",
            Words("none"),
            "`\"password\"`: the password of Basic credentials is the token; the user name is \
             ignored. Whatever callers send as a password goes to the authorization server",
        ),
    ]],
};

/// One source: exactly one place.
fn source(field: &Field<'_>) -> Option<TokenSource> {
    let mut object = field.object("an object with header, query or cookie")?;
    #[cfg(feature = "review")]
    object.described(&[&SOURCE_TABLE]);
    let [header, scheme, query, cookie, protocol, basic] =
        ["header", "scheme", "query", "cookie", "websocket_protocol", "basic"]
            .map(|key| object.take(key));
    object.check_keys();
    if scheme.is_some() && header.is_none() {
        return object.at("scheme").mistake("requires `header`");
    }
    match (header, query, cookie, protocol, basic) {
        (Some(header), None, None, None, None) => in_header(&header, scheme),
        (None, Some(query), None, None, None) => {
            query.warn(
                "tokens in URLs are exposed in logs and caches (RFC 9700 section 4.3.2); \
                 use a header",
            );
            Some(TokenSource::Query(text(&query, "a query parameter name")?.into()))
        }
        (None, None, Some(cookie), None, None) => {
            Some(TokenSource::Cookie(word(&cookie, "a cookie name")?.into()))
        }
        (None, None, None, Some(protocol), None) => {
            let marker = word(&protocol, "a subprotocol such as \"bearer\"")?;
            Some(TokenSource::WebSocketProtocol(marker.into()))
        }
        (None, None, None, None, Some(basic)) => {
            basic.choice(&["password"]).map(|_| TokenSource::BasicPassword)
        }
        _ => field
            .mistake("expected exactly one of header, query, cookie, websocket_protocol and basic"),
    }
}

/// A header with the token alone, or with a scheme before it.
fn in_header(field: &Field<'_>, scheme: Option<Field<'_>>) -> Option<TokenSource> {
    let name = header_name(&text(field, "a header name")?, field)?;
    // It would be removed from the request.
    if frames_or_steers(&name) {
        return field.mistake("reserved header; choose another");
    }
    match scheme {
        Some(scheme) => {
            let text = word(&scheme, "a scheme such as \"Bearer\"")?;
            // Introspection would send a user name and a password to the authorization server.
            if text.eq_ignore_ascii_case("Basic") {
                return scheme.mistake(
                    "Basic credentials are not tokens; the filter would send callers' passwords to \
                     the authorization server. For tokens as passwords, use {\"basic\": \"password\"}",
                );
            }
            Some(TokenSource::Scheme { header: name.into(), scheme: text.into() })
        }
        None if name == "authorization" => {
            field.mistake("`authorization` requires a scheme; add \"scheme\": \"Bearer\"")
        }
        None if name == "cookie" => field.mistake("reserved header; use {\"cookie\": \"NAME\"}"),
        None => Some(TokenSource::Header(name.into())),
    }
}

/// One word.
fn word(field: &Field<'_>, what: &str) -> Option<String> {
    let word = text(field, what)?;
    if word.bytes().all(is_token_char) {
        Some(word)
    } else {
        field.mistake(format_args!("expected {what}: letters, digits, - and _"))
    }
}
