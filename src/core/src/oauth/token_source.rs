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
mod tests {
    use super::*;
    use crate::oauth::token_sources::TokenSources;

    fn scheme(header: &str, scheme: &str) -> TokenSource {
        TokenSource::Scheme { header: header.into(), scheme: scheme.into() }
    }

    fn all() -> Vec<TokenSource> {
        vec![
            scheme("authorization", "Bearer"),
            scheme("x-auth", "Token"),
            TokenSource::Header("x-token".into()),
            TokenSource::Query("access_token".into()),
            TokenSource::Cookie("at".into()),
        ]
    }

    fn look(headers: &[(&str, &str)]) -> Result<Option<(String, Removal)>, Reason> {
        look_in(&all(), headers)
    }

    fn look_in(
        places: &[TokenSource],
        headers: &[(&str, &str)],
    ) -> Result<Option<(String, Removal)>, Reason> {
        let head = headers.iter().copied().collect::<Fields>();
        let sources = TokenSources { places: places.to_vec(), ..TokenSources::default() };
        let Some(found) = sources.find(&head, &|_| false)? else { return Ok(None) };
        let token = found.token.parse(sources.max_bytes)?.reveal().to_owned();
        Ok(Some((token, found.removals.first)))
    }

    fn remove(header: &str) -> Removal {
        Removal::Remove(header.into())
    }

    fn replace(header: &str, value: &str) -> Removal {
        Removal::Replace(header.into(), value.into())
    }

    #[test]
    fn a_token_is_found_in_each_place_and_can_be_taken_out_there() {
        type Headers<'h> = &'h [(&'h str, &'h str)];
        let table: [(Headers<'_>, &str, Removal); 12] = [
            (&[("authorization", "Bearer t")], "t", remove("authorization")),
            (&[("x-auth", "token t")], "t", remove("x-auth")),
            (&[("x-token", "t")], "t", remove("x-token")),
            (&[(":path", "/a?access_token=t")], "t", replace(":path", "/a")),
            (&[(":path", "/a?access_token=t&b=1")], "t", replace(":path", "/a?b=1")),
            (&[(":path", "/a?x&access_token=t&b=1")], "t", replace(":path", "/a?x&b=1")),
            (&[(":path", "/a?b=%20&access%5Ftoken=t%2F")], "t/", replace(":path", "/a?b=%20")),
            (&[("cookie", "at=t")], "t", remove("cookie")),
            (&[("cookie", "a=1; at=t; b=2")], "t", replace("cookie", "a=1; b=2")),
            (&[("cookie", "a=1"), ("cookie", "at=t")], "t", replace("cookie", "a=1")),
            (&[("cookie", "at=\"t\"")], "t", remove("cookie")),
            (&[("cookie", "xat=1;at=t==")], "t==", replace("cookie", "xat=1")),
        ];
        for (headers, token, removal) in table {
            assert_eq!(look(headers), Ok(Some((token.to_owned(), removal))), "{headers:?}");
        }
    }

    #[test]
    fn rs_6750_03_two_tokens_are_one_too_many_wherever_they_are() {
        let table: [&[(&str, &str)]; 12] = [
            &[("authorization", "Bearer t"), (":path", "/?access.token=t")],
            &[(":path", "/?access_token=t&access_token[]=t")],
            &[(":path", "/?access_token=t&+access_token=t")],
            &[("cookie", "at=t; at[]=u")],
            &[("authorization", "Bearer t"), ("x-token", "t")],
            &[("authorization", "Bearer t"), (":path", "/?access_token=t")],
            &[("x-token", "t"), ("cookie", "at=t")],
            &[("x-token", "t"), ("x-token", "t")],
            &[(":path", "/?access_token=t&access_token=t")],
            &[("cookie", "at=t; at=u")],
            &[("cookie", "at=t"), ("cookie", "at=u")],
            &[("x-auth", "Token t,Token u")],
        ];
        for headers in table {
            assert_eq!(look(headers), Err(Reason::RepeatedToken), "{headers:?}");
        }
    }

    #[test]
    fn what_only_looks_like_a_token_is_none() {
        let table: [&[(&str, &str)]; 11] = [
            &[],
            &[("authorization", "Basic dTpw")],
            &[("x-token", "")],
            &[(":path", "/?access_token=")],
            &[(":path", "/?a&access_token")],
            &[("cookie", "at=")],
            &[("cookie", "a=1; at=\"\"; b=2")],
            &[(":path", "/access_token=t")],
            &[(":path", "/?access_tokens=t&Access_Token=t")],
            &[("cookie", "At=t; xat=t; at")],
            &[("x-auth", "Bearer t")],
        ];
        for headers in table {
            assert_eq!(look(headers), Ok(None), "{headers:?}");
        }
    }

    #[test]
    fn an_empty_value_is_no_token_beside_one_and_two_values_are_too_many() {
        let found = |token: &str, removal| Ok(Some((token.to_owned(), removal)));
        for (headers, expected) in [
            ([("cookie", "at="), ("x-token", "t")], found("t", remove("x-token"))),
            ([(":path", "/?access_token="), ("x-token", "t")], found("t", remove("x-token"))),
            ([("cookie", "at="), ("cookie", "at=t")], Err(Reason::RepeatedToken)),
            ([("x-token", ""), ("x-token", "t")], Err(Reason::RepeatedToken)),
            ([("cookie", "at=; at[]=u"), ("x-a", "")], Err(Reason::RepeatedToken)),
            ([("cookie", "at[]="), ("x-token", "t")], Err(Reason::RepeatedToken)),
        ] {
            assert_eq!(look(&headers), expected, "{headers:?}");
        }
    }

    #[test]
    fn a_variant_of_its_name_is_a_malformed_token() {
        for headers in [
            [(":path", "/?access_token[]=t")],
            [(":path", "/?a=1;access_token=t")],
            [("cookie", "a%74=t")],
            [("cookie", "at[]=t")],
            [("cookie", "at[]=")],
            [("x-token", "a b")],
            [("x-auth", "Token\tt")],
        ] {
            assert_eq!(look(&headers), Err(Reason::MalformedToken), "{headers:?}");
        }
    }

    #[test]
    fn a_websocket_hands_over_its_token_in_the_list_of_subprotocols() {
        let sources = [TokenSource::WebSocketProtocol("bearer".into())];
        let (malformed, repeated) = (Err(Reason::MalformedToken), Err(Reason::RepeatedToken));
        let found = |token: &str, removal| Ok(Some((token.to_owned(), removal)));
        let rest = |rest| replace(WEBSOCKET_PROTOCOL, rest);
        let table: [(&[&str], _); 26] = [
            (&["bearer, t"], found("t", remove(WEBSOCKET_PROTOCOL))),
            (&["bearer,t,chat"], found("t", rest("chat"))),
            (&["chat.v1,  bearer , t-._~+/== ,, v2"], found("t-._~+/==", rest("chat.v1, v2"))),
            (&["bearer,, t, chat"], found("t", rest("chat"))),
            // Several headers are one list.
            (&["chat", "bearer, t"], found("t", rest("chat"))),
            (&["bearer, t", "chat, v2"], found("t", rest("chat, v2"))),
            (&["chat, bearer", "t, v2"], found("t", rest("chat, v2"))),
            (&[], Ok(None)),
            (&["", ","], Ok(None)),
            (&["chat, bearers, x-bearer, bearer.v1"], Ok(None)),
            (&["bearer"], malformed.clone()),
            (&["chat, bearer"], malformed.clone()),
            (&["bearer, a b"], malformed.clone()),
            (&["bearer, \"t\""], malformed.clone()),
            (&["Bearer, t"], malformed.clone()),
            (&["chat, BEARER"], malformed.clone()),
            (&["\"bearer\", t"], malformed.clone()),
            (&["\"bearer, t\""], malformed.clone()),
            (&["bearer t"], malformed.clone()),
            (&["bearer=t, chat"], malformed.clone()),
            (&["chat\tbearer, t"], malformed),
            (&["bearer, bearer"], repeated.clone()),
            (&["bearer, bearer, t"], repeated.clone()),
            (&["bearer, t, bearer, t"], repeated.clone()),
            (&["bearer, t", "Bearer, u"], repeated.clone()),
            (&["Bearer, bearer, t"], repeated),
        ];
        for (values, expected) in table {
            let headers: Vec<_> = values.iter().map(|value| (WEBSOCKET_PROTOCOL, *value)).collect();
            assert_eq!(look_in(&sources, &headers), expected, "{values:?}");
        }
    }

    #[test]
    fn the_password_of_basic_credentials_is_a_token() {
        let sources = [TokenSource::authorization(), TokenSource::BasicPassword];
        let (malformed, repeated) = (Err(Reason::MalformedToken), Err(Reason::RepeatedToken));
        let found = |token: &str| Ok(Some((token.to_owned(), remove(AUTHORIZATION))));
        let table: [(&[&str], _); 20] = [
            // user:t, :t, ü:t, and a user name with a colon, which the first one ends.
            (&["Basic dXNlcjp0"], found("t")),
            (&["basic  OnQ="], found("t")),
            (&["BASIC w7w6dA=="], found("t")),
            (&["Bearer t"], found("t")),
            (&["Basic dXNlcjo="], Ok(None)),
            (&["Basicx dXNlcjp0"], Ok(None)),
            (&["Digest a=\"b\", c=\"d\""], Ok(None)),
            (&["Basic"], malformed.clone()),
            (&["Basic "], malformed.clone()),
            // No colon, several, a blank, a byte that is no UTF-8.
            (&["Basic dXNlcg=="], malformed.clone()),
            (&["Basic dXNlcjphOmI="], malformed.clone()),
            (&["Basic dXNlcjphIGI="], malformed.clone()),
            (&["Basic dXNlcjr/"], malformed.clone()),
            // Padding, an alphabet and last bits that are not those of RFC 4648, section 4.
            (&["Basic OnQ"], malformed.clone()),
            (&["Basic OnR="], malformed.clone()),
            (&["Basic dX-_cjp0"], malformed.clone()),
            (&["Basic dXNl cjp0"], malformed),
            (&["Basic dXNlcjp0,Basic dXNlcjp0"], repeated.clone()),
            (&["Basic dXNlcjp0", "Bearer t"], repeated.clone()),
            (&["Digest a=\"b\", Basic dXNlcjp0"], repeated),
        ];
        for (values, expected) in table {
            let headers: Vec<_> = values.iter().map(|value| (AUTHORIZATION, *value)).collect();
            assert_eq!(look_in(&sources, &headers), expected, "{values:?}");
        }
    }
}
