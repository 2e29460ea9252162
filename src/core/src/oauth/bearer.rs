//! The bearer token of a request (RFC 6750, section 2.1).

use std::ops::Range;

use crate::http::base64::is_url_safe;
use crate::http::header_name::is_token_char;
use crate::oauth::reason::Reason;

/// The default maximum length of a token, in bytes.
pub(crate) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A token with valid syntax. It is never displayed.
#[derive(Clone, Copy)]
pub(crate) struct BearerToken<'a>(&'a str);

impl<'a> BearerToken<'a> {
    /// Checks the syntax, `b64token`, and the length.
    pub(crate) fn parse(token: &'a [u8], max_bytes: usize) -> Result<Self, Reason> {
        if token.len() > max_bytes {
            return Err(Reason::TokenTooLong);
        }
        let text = std::str::from_utf8(token).map_err(|_| Reason::MalformedToken)?;
        if is_b64token(text) { Ok(Self(text)) } else { Err(Reason::MalformedToken) }
    }

    /// The text of the token, for the introspection call and the cache key.
    pub(crate) fn reveal(self) -> &'a str {
        self.0
    }
}

/// Whether the text is a `b64token` of any length.
pub(crate) fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let is_b64 = |byte: u8| is_url_safe(byte) || matches!(byte, b'.' | b'~' | b'+' | b'/');
    !body.is_empty() && body.bytes().all(is_b64)
}

/// The range of the credentials of a scheme in a header value (RFC 9110, section 11.4), if the
/// value has that scheme. Other credentials in it are not checked here.
///
/// A value that begins with the scheme as a whole word has that scheme: services also split it at
/// tabs and no-break spaces, and some drop what precedes the scheme. Only what follows spaces is
/// credentials; anything else counts as empty credentials, which are not a valid token.
pub(crate) fn credentials(value: &[u8], wanted: &str) -> Option<Range<usize>> {
    let is_begin =
        |byte: &u8| byte.is_ascii_alphanumeric() || wanted.as_bytes().starts_with(&[*byte]);
    let begin = value.iter().position(is_begin)?;
    let (before, text) = value.split_at_checked(begin)?;
    let (word, after) = text.split_at_checked(wanted.len())?;
    let goes_on = after.first().is_some_and(|byte| *byte != b' ' && is_token_char(*byte));
    // Most clients write it as registered.
    let is_wanted = word == wanted.as_bytes() || word.eq_ignore_ascii_case(wanted.as_bytes());
    if goes_on || !is_wanted {
        return None;
    }
    let trailing = value.iter().rev().take_while(|byte| is_blank(**byte)).count();
    let end = value.len().saturating_sub(trailing);
    let spaces = after.iter().take_while(|byte| **byte == b' ').count();
    let start = value.len().saturating_sub(after.len()).saturating_add(spaces);
    let is_separated = spaces > 0 && start < end && before.iter().all(|byte| is_blank(*byte));
    Some(if is_separated { start..end } else { end..end })
}

/// Whether a value of another scheme contains the `wanted` scheme followed by white space: some
/// services search for it anywhere in the value.
pub(crate) fn holds(value: &[u8], wanted: &str) -> bool {
    let is_space = |byte: &u8| *byte <= b' ' || !byte.is_ascii();
    value.windows(wanted.len().saturating_add(1)).any(|window| {
        window.split_last().is_some_and(|(after, word)| {
            is_space(after) && word.eq_ignore_ascii_case(wanted.as_bytes())
        })
    })
}

/// Whether a byte is white space around a header's value (`OWS` in RFC 9110, section 5.6.3).
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Whether the value contains the credentials of more than one header: Envoy joins repeated
/// `Authorization` headers with a comma.
///
/// A comma may be inside the parameters of one header (`Digest a="b", c="d"`). It begins a second
/// header where what follows is again a scheme with credentials, and after the `wanted` scheme,
/// whose token can hold no comma. A quote that does not end hides no comma, and none hides one that
/// the `wanted` scheme follows at once: two headers that are joined may share a pair of quotes.
pub(crate) fn is_repeated(value: &[u8], wanted: &str) -> bool {
    if !value.contains(&b',') {
        return false;
    }
    let is_wanted = |scheme: &[u8]| scheme.eq_ignore_ascii_case(wanted.as_bytes());
    let begins_wanted = |part: &[u8]| {
        let (word, after) = part.split_at_checked(wanted.len()).unwrap_or_default();
        is_wanted(word) && !after.first().is_some_and(|byte| is_token_char(*byte))
    };
    if value.split(|byte| *byte == b',').skip(1).any(begins_wanted) {
        return true;
    }
    let mut quotes = Quotes::default();
    for (at, byte) in value.iter().enumerate() {
        quotes.read(at, *byte);
    }
    let unterminated = quotes.open.unwrap_or(value.len());
    let mut at = 0_usize;
    let mut quotes = Quotes::default();
    let mut parts = value.split(|byte| {
        quotes.read(at, *byte);
        let is_inside = quotes.open.is_some_and(|open| open < unterminated);
        at = at.saturating_add(1);
        *byte == b',' && !is_inside
    });
    let first = parts.next().unwrap_or_default();
    let of_token = scheme(first, wanted).is_some_and(is_wanted);
    parts.any(|part| of_token || scheme(part, wanted).is_some())
}

/// Quoted strings in a header's value (RFC 9110, section 5.6.4).
#[derive(Default)]
struct Quotes {
    /// The start of the open quote.
    open: Option<usize>,
    /// Whether the next byte is escaped.
    escaped: bool,
}

impl Quotes {
    /// Reads the next byte.
    fn read(&mut self, at: usize, byte: u8) {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.open.is_some() => self.escaped = true,
            b'"' => self.open = if self.open.is_some() { None } else { Some(at) },
            _ => {}
        }
    }
}

/// The scheme that a part between commas begins with, if it does: a word that is followed by
/// credentials, not by `=`, or the `wanted` one, whatever follows.
fn scheme<'p>(part: &'p [u8], wanted: &str) -> Option<&'p [u8]> {
    let part = part.trim_ascii();
    let end = part.iter().position(|byte| !is_token_char(*byte)).unwrap_or(part.len());
    let (word, rest) = part.split_at_checked(end)?;
    if word.eq_ignore_ascii_case(wanted.as_bytes()) {
        return Some(word);
    }
    let after = rest.trim_ascii_start();
    (rest.first() == Some(&b' ') && after.first() != Some(&b'=')).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(value: &[u8]) -> Result<Option<&str>, Reason> {
        if is_repeated(value, "Bearer") {
            return Err(Reason::RepeatedToken);
        }
        let Some(at) = credentials(value, "Bearer") else {
            return if holds(value, "Bearer") { Err(Reason::RepeatedToken) } else { Ok(None) };
        };
        BearerToken::parse(&value[at], MAX_TOKEN_BYTES).map(|token| Some(token.reveal()))
    }

    #[test]
    fn rs_6750_01_the_scheme_is_bearer_in_any_case_with_spaces_after() {
        for value in ["Bearer abc", "bearer abc", "BEARER   abc", "Bearer abc "] {
            assert_eq!(token(value.as_bytes()), Ok(Some("abc")), "{value}");
        }
    }

    #[test]
    fn rs_6750_02_a_token_is_a_b64token() {
        for good in ["a", "aZ09-._~+/", "abc=", "abc=====", "eyJh.eyJz.c2ln"] {
            assert_eq!(token(format!("Bearer {good}").as_bytes()), Ok(Some(good)));
        }
        for bad in ["Bearer", "Bearer =", "Bearer a=b", "Bearer a b", "Bearer a\"b", "Bearer a&b"] {
            assert_eq!(token(bad.as_bytes()), Err(Reason::MalformedToken), "{bad}");
        }
        for bad in [&b"Bearer a\xffb"[..], "Bearer ö".as_bytes(), b"Bearer \x00"] {
            assert_eq!(token(bad), Err(Reason::MalformedToken), "{bad:?}");
        }
    }

    #[test]
    fn rs_6750_02_a_value_that_begins_with_the_scheme_is_of_the_scheme() {
        for bad in [
            &b"Bearer"[..],
            b"bearer ",
            b"Bearer\ta",
            b"Bearer \ta",
            b"Bearer\xa0a",
            b"Bearer\xc2\xa0a",
            b"Bearer\xe2\x80\x83a",
            b"Bearer\x0ba",
            b"Bearer\x00a",
            b"Bearer:a",
            b"Bearer=a",
            b"Bearer/a",
            b"Bearer\"a\"",
            b"Bearer;a",
            b"Bearer(a",
            b"\"Bearer a\"",
            b"\x0bBearer a",
            b"\xc2\xa0Bearer a",
            b"\xef\xbb\xbfBearer a",
            b":Bearer a",
            b"=Bearer a",
            b"-Bearer a",
        ] {
            assert_eq!(token(bad), Err(Reason::MalformedToken), "{:?}", bad.escape_ascii());
        }
        for other in [&b"Bearerx a"[..], b"Bearer-x a", b"Bearer.a", b"xBearer", b"Bear a"] {
            assert_eq!(token(other), Ok(None), "{:?}", other.escape_ascii());
        }
        assert_eq!(token(b"\t Bearer  a \t"), Ok(Some("a")));
    }

    #[test]
    fn d3_04_a_token_has_at_most_16_kib() {
        let longest = "a".repeat(16 * 1024);
        assert_eq!(token(format!("Bearer {longest}").as_bytes()), Ok(Some(longest.as_str())));
        assert_eq!(token(format!("Bearer {longest}a").as_bytes()), Err(Reason::TokenTooLong));
    }

    #[test]
    fn rs_6750_03_a_repeated_header_is_told_from_one_with_commas() {
        for repeated in [
            "Bearer a,Bearer b",
            "Bearer a, bearer b",
            "Bearer a,b",
            "Bearer a,",
            "Basic eA==,Bearer b",
            "Basic eA==, Basic eQ==",
            "Digest a=\"b\", c=\"d\", Bearer x",
            "Digest a=\"b,c\",Bearer x",
            "Digest a=\\\"b\",Bearer x",
            "Basic eA==,Bearer",
            "Bearer,Bearer",
            ",Bearer x",
            "Digest a=\"b,Bearer x",
            "Digest a=\"b, Bearer x",
            "Digest a=\"b\\\",Bearer x",
            "Digest a=\"b,Bearer\tx",
            "Digest a=\"b,Bearer x\"",
            "Digest a=\"b,bearer x\", c=\"d\"",
            "Digest a=\"b,Basic eA==",
            // Services that look for the word find it anywhere.
            "Basic Bearer x",
            "xBearer x",
            "a=bearer\tx",
            "Basic Bearer\u{a0}x",
            "Digest a=\"x, Bearer y\", b = \"c\"",
            "Digest a=\"\\\", Bearer y\", b=c",
        ] {
            assert_eq!(token(repeated.as_bytes()), Err(Reason::RepeatedToken), "{repeated}");
        }
        for single in [
            "Digest username=\"a\", realm=\"b\"",
            "Digest a=\"x, Basic y\", b = \"c\"",
            "Digest a=\"\\\", Basic y\", b=c",
            "Digest realm=\"Bearer\", a=bearer, b=Bearer",
            "Signature keyId=a,algorithm=b",
        ] {
            assert_eq!(token(single.as_bytes()), Ok(None), "{single}");
        }
    }

    #[test]
    fn rs_6750_14_other_schemes_are_no_bearer_credentials() {
        for other in ["", " ", "Basic eA==", "Negotiate abc", "DPoP abc", "Bearerabc", "abc"] {
            assert_eq!(token(other.as_bytes()), Ok(None), "{other}");
        }
    }
}
