//! `token_sources`: where tokens are looked for.

#[cfg(feature = "review")]
use super::key_table::{DefaultValue::Words, KeyRow, KeyTable};
use super::reader::{Field, Object};
use super::values::{count_from, frames_or_steers, header_name, text};
use crate::http::header_name::is_token_char;
use crate::oauth::token_source::TokenSource;
use crate::oauth::token_sources::{Precedence, TokenSources};

/// The maximum of `max_token_bytes`: with it, the other headers fit into Envoy's default of
/// `max_request_headers_kb`, 60.
const MOST_TOKEN_BYTES: u32 = 48 * 1024;

/// Reads the keys of `inbound` about tokens in requests.
pub(super) fn token_sources(object: &mut Object<'_>) -> TokenSources {
    let defaults = TokenSources::default();
    let precedence = object.read("token_precedence", |field| {
        Some(match field.choice(&["single", "first"])? {
            "first" => Precedence::First,
            _ => Precedence::Single,
        })
    });
    let max_bytes = object.read("max_token_bytes", |field| {
        usize::try_from(count_from(field, 1, MOST_TOKEN_BYTES)?).ok()
    });
    TokenSources {
        places: object.read("token_sources", places).unwrap_or(defaults.places),
        precedence: precedence.unwrap_or(defaults.precedence),
        max_bytes: max_bytes.unwrap_or(defaults.max_bytes),
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
             ignored. 401 then also has a Basic challenge. What callers send as a password goes to \
             the authorization server",
        ),
    ]],
};

/// One source: exactly one place.
fn source(field: &Field<'_>) -> Option<TokenSource> {
    let mut object = field.object("an object with header, query or cookie")?;
    #[cfg(feature = "review")]
    object.described(&[&SOURCE_TABLE]);
    let scheme = object.take("scheme");
    let places = ["header", "query", "cookie", "websocket_protocol", "basic"];
    let mut given = places.into_iter().filter_map(|key| Some((key, object.take(key)?)));
    let (place, others) = (given.next(), given.count());
    object.check_keys();
    if scheme.is_some() && !matches!(place, Some(("header", _))) {
        return object.at("scheme").mistake("requires `header`");
    }
    let (key, field) = match (place, others) {
        (Some(place), 0) => place,
        _ => {
            return field.mistake(
                "expected exactly one of header, query, cookie, websocket_protocol and basic",
            );
        }
    };
    match key {
        "header" => header(&field, scheme),
        "query" => {
            field.warn(
                "tokens in URLs are exposed in logs and caches (RFC 9700 section 4.3.2); \
                 use a header",
            );
            Some(TokenSource::Query(text(&field, "a query parameter name")?.into()))
        }
        "cookie" => Some(TokenSource::Cookie(word(&field, "a cookie name")?.into())),
        "websocket_protocol" => {
            let marker = word(&field, "a subprotocol such as \"bearer\"")?;
            Some(TokenSource::WebSocketProtocol(marker.into()))
        }
        _ => field.choice(&["password"]).map(|_| TokenSource::BasicPassword),
    }
}

/// A header with the token alone, or with a scheme before it.
fn header(field: &Field<'_>, scheme: Option<Field<'_>>) -> Option<TokenSource> {
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
