//! Where a request may carry its token, and how to remove it (RFC 6750, section 2).

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use url::form_urlencoded;

use crate::cache::footprint::Footprint;
use crate::http::base64;
use crate::http::head::{Fields, Head};
use crate::http::header_name::{Spelling, is_token_char};
use crate::http::parameter::{Match, match_cookie, match_rest, parameters};
use crate::oauth::bearer::{BearerToken, credentials, holds, is_repeated};
use crate::oauth::reason::Reason;

/// A place in a request that may contain a token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum TokenSource {
    /// A header with a scheme and the token.
    Scheme {
        /// The header, in lower case.
        header: Arc<str>,
        /// The scheme, case-insensitive.
        scheme: Box<str>,
    },
    /// A header with the token alone.
    Header(Arc<str>),
    /// A query parameter.
    Query(Box<str>),
    Cookie(Box<str>),
    /// The element of `Sec-WebSocket-Protocol` after this one, for browsers, which can set no other
    /// header of a WebSocket.
    WebSocketProtocol(Box<str>),
    /// The password of Basic credentials (RFC 7617).
    BasicPassword,
}

const AUTHORIZATION: &str = "authorization";
const BASIC: &str = "Basic";
const WEBSOCKET_PROTOCOL: &str = "sec-websocket-protocol";

/// A token in its place.
pub(crate) struct Found<'h> {
    pub(crate) token: Presented<'h>,
    /// Removes it from the request, and with it the tokens that do not count.
    pub(crate) removals: Removals,
    /// Whether one was in the query, which appears in caches and logs.
    pub(crate) in_query: bool,
}

/// A token that a request presents.
pub(crate) struct Presented<'h> {
    /// The text that contains it.
    text: Cow<'h, [u8]>,
    at: Range<usize>,
    /// The scheme before it, after which further credentials may follow.
    scheme: Option<&'h str>,
}

/// How to remove a token from a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Removal {
    /// The header is removed.
    Remove(Arc<str>),
    /// The header, or `:path`, gets this value.
    Replace(Arc<str>, Arc<str>),
}

/// How to remove all tokens from a request: at most one change of each header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Removals {
    /// The only one, unless there are tokens in several headers.
    pub(super) first: Removal,
    others: Vec<Removal>,
}

impl From<Removal> for Removals {
    fn from(first: Removal) -> Self {
        Self { first, others: Vec::new() }
    }
}

impl Removals {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Removal> {
        [&self.first].into_iter().chain(&self.others)
    }

    /// Adds a change to a head that these have been applied to.
    pub(super) fn add(&mut self, later: Removal) {
        if self.first.header() == later.header() {
            self.first = later;
        } else {
            self.others.retain(|earlier| earlier.header() != later.header());
            self.others.push(later);
        }
    }

    /// The head after these changes.
    pub(super) fn apply(&self, head: &Fields) -> Fields {
        let mut head = head.clone();
        for removal in self.iter() {
            match removal {
                Removal::Remove(name) => head.set(name, None),
                Removal::Replace(name, value) => head.set(name, Some(value)),
            }
        }
        head
    }
}

impl Removal {
    /// The header that changes.
    fn header(&self) -> &Arc<str> {
        match self {
            Self::Remove(name) | Self::Replace(name, _) => name,
        }
    }
}

impl Footprint for Removal {
    fn owned_bytes(&self) -> usize {
        match self {
            // The name borrows from the configuration.
            Self::Remove(_) => 0,
            Self::Replace(_, value) => value.owned_bytes(),
        }
    }
}

impl Footprint for Removals {
    fn owned_bytes(&self) -> usize {
        let Self { first, others } = self;
        first.owned_bytes().saturating_add(others.owned_bytes())
    }
}

impl<'h> Found<'h> {
    /// A token that is the whole `text`.
    fn whole(text: impl Into<Cow<'h, [u8]>>, removal: Removal) -> Self {
        let text = text.into();
        let token = Presented { at: 0..text.len(), text, scheme: None };
        Self { token, removals: removal.into(), in_query: false }
    }
}

impl Presented<'_> {
    /// The text in place of the token, which may not be valid.
    pub(crate) fn unchecked(&self) -> &[u8] {
        self.text.get(self.at.clone()).unwrap_or_default()
    }

    /// The token, if its syntax is valid and it has at most this many bytes.
    ///
    /// # Errors
    /// [`Reason::TokenTooLong`], [`Reason::MalformedToken`], or [`Reason::RepeatedToken`] if others
    /// are joined to it.
    pub(crate) fn parse(&self, max_bytes: usize) -> Result<BearerToken<'_>, Reason> {
        // No token contains the comma that joins them.
        BearerToken::parse(self.unchecked(), max_bytes).map_err(|reason| match self.scheme {
            Some(scheme) if is_repeated(&self.text, scheme) => Reason::RepeatedToken,
            _ => reason,
        })
    }
}

impl TokenSource {
    pub(crate) fn authorization() -> Self {
        Self::Scheme { header: AUTHORIZATION.into(), scheme: "Bearer".into() }
    }

    /// Whether another source is the same place.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scheme { header: one, .. } | Self::Header(one), Self::Header(other))
            | (Self::Header(one), Self::Scheme { header: other, .. }) => {
                Spelling::of(one) == Spelling::of(other)
            }
            (Self::Scheme { header, scheme }, Self::Scheme { header: other, scheme: others }) => {
                let is_same = Spelling::of(header) == Spelling::of(other);
                is_same && (header != other || scheme.eq_ignore_ascii_case(others))
            }
            (Self::WebSocketProtocol(one), Self::WebSocketProtocol(other)) => {
                one.eq_ignore_ascii_case(other)
            }
            (Self::WebSocketProtocol(_), Self::Scheme { header, .. } | Self::Header(header))
            | (Self::Scheme { header, .. } | Self::Header(header), Self::WebSocketProtocol(_)) => {
                Spelling::of(header) == Spelling::of(WEBSOCKET_PROTOCOL)
            }
            _ => self == other,
        }
    }

    /// The header of this source, unless it is `cookie` or the path.
    pub(crate) fn header(&self) -> Option<&str> {
        match self {
            Self::Scheme { header, .. } | Self::Header(header) => Some(header),
            Self::WebSocketProtocol(_) => Some(WEBSOCKET_PROTOCOL),
            Self::BasicPassword => Some(AUTHORIZATION),
            Self::Query(_) | Self::Cookie(_) => None,
        }
    }

    /// Whether all headers must be read to find the token: the host only shows repeated values of a
    /// header then, except for `authorization`, whose values it joins.
    pub(crate) fn needs_whole_head(&self) -> bool {
        match self {
            Self::Scheme { header, .. } => **header != *AUTHORIZATION,
            Self::Header(_) | Self::Cookie(_) | Self::WebSocketProtocol(_) => true,
            Self::Query(_) | Self::BasicPassword => false,
        }
    }

    /// The token in this place, if any.
    ///
    /// # Errors
    /// [`Reason::RepeatedToken`] if there is more than one.
    pub(super) fn look<'h>(&'h self, head: &'h dyn Head) -> Result<Option<Found<'h>>, Reason> {
        match self {
            Self::Scheme { .. } | Self::BasicPassword => {
                let (header, scheme) = match self {
                    Self::Scheme { header, scheme } => (Some(header), &**scheme),
                    _ => (None, BASIC),
                };
                let name = header.map_or(AUTHORIZATION, |header| header);
                let Some(token) = after_scheme(name, scheme, head)? else { return Ok(None) };
                let Some(header) = header else { return in_basic_password(&token) };
                let removals = Removal::Remove(Arc::clone(header)).into();
                Ok(Some(Found { token, removals, in_query: false }))
            }
            Self::WebSocketProtocol(marker) => in_websocket_protocol(marker, head),
            Self::Header(header) => {
                let mut values = head.fields().values(header);
                let Some(value) = values.next() else { return Ok(None) };
                if values.next().is_some() {
                    return Err(Reason::RepeatedToken);
                }
                let text = value.trim_ascii();
                let removal = Removal::Remove(Arc::clone(header));
                Ok((!text.is_empty()).then(|| Found::whole(text, removal)))
            }
            Self::Query(parameter) => in_query(parameter, head),
            Self::Cookie(name) => in_cookie(name, head),
        }
    }
}

/// The credentials of this scheme in a header.
fn after_scheme<'h>(
    header: &str,
    scheme: &'h str,
    head: &'h dyn Head,
) -> Result<Option<Presented<'h>>, Reason> {
    let Some(text) = head.value(header) else { return Ok(None) };
    match credentials(&text, scheme) {
        Some(at) => Ok(Some(Presented { text, at, scheme: Some(scheme) })),
        None if is_repeated(&text, scheme) || holds(&text, scheme) => Err(Reason::RepeatedToken),
        None => Ok(None),
    }
}

/// The token in the password of Basic credentials. The user name is ignored.
fn in_basic_password<'h>(credentials: &Presented<'_>) -> Result<Option<Found<'h>>, Reason> {
    if is_repeated(&credentials.text, BASIC) {
        return Err(Reason::RepeatedToken);
    }
    let decoded = base64::decode(credentials.unchecked());
    let password = decoded.and_then(|mut decoded| {
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        Some(decoded.split_off(colon.saturating_add(1)))
    });
    let token = password.map_or(Value::Malformed, Value::Text).token();
    Ok(token.map(|token| Found::whole(token, Removal::Remove(AUTHORIZATION.into()))))
}

/// The token after `marker` in the list of WebSocket subprotocols (RFC 6455, section 11.3.4), which
/// may be spread over several headers. The others stay.
fn in_websocket_protocol<'h>(
    marker: &str,
    head: &'h dyn Head,
) -> Result<Option<Found<'h>>, Reason> {
    let Some(list) = head.fields().joined(WEBSOCKET_PROTOCOL) else { return Ok(None) };
    // A subprotocol is one word, and compared with its letter case. Whatever else has the marker as
    // a word could be interpreted as the marker.
    let has_marker = |element: &[u8]| {
        let mut words = element.split(|byte| !is_token_char(*byte));
        words.any(|word| word.eq_ignore_ascii_case(marker.as_bytes()))
    };
    let mut found = None;
    let mut rest: Vec<&[u8]> = Vec::new();
    // After a marker: whether it was the exact one, so that the next element is the token.
    let mut next = None;
    for element in list.split(|byte| *byte == b',') {
        let element = element.trim_ascii();
        if element.is_empty() {
            continue;
        }
        match (next.take(), has_marker(element)) {
            (Some(_), true) => return Err(Reason::RepeatedToken),
            (None, true) if found.is_some() => return Err(Reason::RepeatedToken),
            (None, true) => {
                next = Some(element == marker.as_bytes());
                found = Some(Value::Malformed);
            }
            (Some(true), false) => found = Some(Value::Text(element.to_vec())),
            (Some(false), false) => {}
            (None, false) => rest.push(element),
        }
    }
    let Some(token) = found.and_then(Value::token) else { return Ok(None) };
    Ok(Some(Found::whole(token, rest_of_list(WEBSOCKET_PROTOCOL, &rest, b", "))))
}

/// Leaves these elements in the list of a header.
fn rest_of_list(header: &'static str, rest: &[&[u8]], separator: &[u8]) -> Removal {
    if rest.is_empty() {
        return Removal::Remove(header.into());
    }
    let rest = String::from_utf8_lossy(&rest.join(separator)).into_owned();
    Removal::Replace(header.into(), rest.into())
}

/// The value in the place of a token.
enum Value<T> {
    Text(T),
    /// What counts as a malformed token, such as the value of a variant of the name, which some
    /// services interpret as the token.
    Malformed,
}

impl<T: AsRef<[u8]> + Default> Value<T> {
    /// The text in place of the token, which is empty only if it counts as a malformed token. An
    /// empty value is what clients leave after signing out, and no token.
    fn token(self) -> Option<T> {
        match self {
            Self::Text(text) => (!text.as_ref().is_empty()).then_some(text),
            Self::Malformed => Some(T::default()),
        }
    }
}

/// The token in a query parameter, which is removed from the forwarded path.
fn in_query<'h>(parameter: &str, head: &'h dyn Head) -> Result<Option<Found<'h>>, Reason> {
    let path = head.value(":path").unwrap_or_default();
    let Some(mark) = path.iter().position(|b| *b == b'?') else { return Ok(None) };
    let (before, query) = path.split_at_checked(mark).unwrap_or_default();
    let query = query.strip_prefix(b"?").unwrap_or_default();
    let mut found = None;
    for (pair, name) in parameters(query, parameter) {
        let value = match name {
            Match::Exact => {
                let value = form_urlencoded::parse(pair).next().map(|(_, value)| value);
                Value::Text(value.unwrap_or_default().into_owned())
            }
            Match::Variant => Value::Malformed,
            Match::Other => continue,
        };
        if found.replace(value).is_some() {
            return Err(Reason::RepeatedToken);
        }
    }
    let Some(token) = found.and_then(Value::token) else { return Ok(None) };
    let mut kept: Vec<&[u8]> = Vec::new();
    for (pair, name) in parameters(query, parameter) {
        if name == Match::Other {
            kept.push(pair);
        }
    }
    let mut path = before.to_vec();
    if !kept.is_empty() {
        path.push(b'?');
        path.extend(kept.join(&b'&'));
    }
    let path = String::from_utf8(path).map_err(|_| Reason::BadPath)?;
    let removal = Removal::Replace(":path".into(), path.into());
    Ok(Some(Found { in_query: true, ..Found::whole(token.into_bytes(), removal) }))
}

/// The token in a cookie (RFC 6265, section 4.2). The other cookies stay.
fn in_cookie<'h>(wanted: &str, head: &'h dyn Head) -> Result<Option<Found<'h>>, Reason> {
    let mut found = None;
    let mut rest: Vec<&[u8]> = Vec::new();
    let headers = head.fields().values("cookie");
    let cookies = headers.flat_map(|value| value.split(|b| *b == b';'));
    for cookie in cookies.map(<[u8]>::trim_ascii).filter(|cookie| !cookie.is_empty()) {
        let mut parts = cookie.splitn(2, |b| *b == b'=');
        let name = parts.next().unwrap_or_default().trim_ascii_end();
        let matched = match match_cookie(name, wanted) {
            Match::Other => match_rest(cookie, wanted),
            matched => matched,
        };
        let value = match (parts.next(), matched) {
            (Some(value), Match::Exact) => {
                let value = value.trim_ascii();
                let quoted = value.strip_prefix(b"\"").and_then(|v| v.strip_suffix(b"\""));
                Value::Text(quoted.unwrap_or(value))
            }
            (Some(_), Match::Variant) => Value::Malformed,
            _ => {
                rest.push(cookie);
                continue;
            }
        };
        if found.replace(value).is_some() {
            return Err(Reason::RepeatedToken);
        }
    }
    let Some(token) = found.and_then(Value::token) else { return Ok(None) };
    let removal = rest_of_list("cookie", &rest, b"; ");
    Ok(Some(Found::whole(token, removal)))
}

#[cfg(test)]
mod tests;
