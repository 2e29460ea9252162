//! The bearer token of a request (RFC 6750, section 2.1).

use std::ops::Range;

use crate::denial::Reason;

/// The longest token that is looked at.
const MAX_TOKEN: usize = 16 * 1024;

/// A token that has the syntax of one. It is never shown.
#[derive(Clone, Copy)]
pub(crate) struct BearerToken<'a>(&'a str);

impl<'a> BearerToken<'a> {
    /// Checks the syntax: `b64token`, at most 16 KiB.
    pub(crate) fn parse(token: &'a [u8]) -> Result<Self, Reason> {
        if token.len() > MAX_TOKEN {
            return Err(Reason::TokenTooLong);
        }
        let text = std::str::from_utf8(token).map_err(|_| Reason::MalformedToken)?;
        let body = text.trim_end_matches('=');
        let is_b64 = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b);
        if body.is_empty() || !body.bytes().all(is_b64) {
            return Err(Reason::MalformedToken);
        }
        Ok(Self(text))
    }

    /// The token's text, for the call that asks about it and for its key.
    pub(crate) fn reveal(self) -> &'a str {
        self.0
    }
}

/// Where in a header's value the credentials of a scheme stand, if the value is of that scheme.
/// Whether there are others beside them is not looked at.
pub(crate) fn credentials(value: &[u8], wanted: &str) -> Option<Range<usize>> {
    let end = value.trim_ascii_end().len();
    let start = value.len().saturating_sub(value.trim_ascii_start().len());
    let text = value.get(start..end).unwrap_or_default();
    let scheme = text.split(|b| *b == b' ').next().unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(wanted.as_bytes()) {
        return None;
    }
    let after = text.get(scheme.len()..).unwrap_or_default().trim_ascii_start();
    Some(end.saturating_sub(after.len())..end)
}

/// Whether the value holds more than one header's credentials: the host joins repeated
/// `Authorization` headers with commas.
///
/// A comma may stand inside the parameters of one header (`Digest a="b", c="d"`). It begins a
/// second header where what follows is again a scheme with credentials, and after the `wanted`
/// scheme, whose token can hold no comma.
pub(crate) fn is_repeated(value: &[u8], wanted: &str) -> bool {
    if !value.contains(&b',') {
        return false;
    }
    let mut quoted = false;
    let mut escaped = false;
    let mut parts = value.split(|b| {
        let comma = *b == b',' && !quoted;
        match *b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        comma
    });
    let first = parts.next().unwrap_or_default();
    let is_wanted = |scheme: &[u8]| scheme.eq_ignore_ascii_case(wanted.as_bytes());
    let of_token = scheme(first, wanted).is_some_and(is_wanted);
    parts.any(|part| of_token || scheme(part, wanted).is_some())
}

/// The scheme that a part between commas begins with, if it does: a word that is followed by
/// credentials, not by `=`, or the `wanted` one by itself.
fn scheme<'p>(part: &'p [u8], wanted: &str) -> Option<&'p [u8]> {
    let part = part.trim_ascii();
    let end = part.iter().position(|b| !b.is_ascii_alphanumeric() && !b"-._+".contains(b));
    let Some(end) = end else {
        return part.eq_ignore_ascii_case(wanted.as_bytes()).then_some(part);
    };
    let (word, rest) = part.split_at_checked(end)?;
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
        let Some(at) = credentials(value, "Bearer") else { return Ok(None) };
        BearerToken::parse(&value[at]).map(|token| Some(token.reveal()))
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
        for bad in [&b"Bearer a\xffb"[..], "Bearer ö".as_bytes(), b"Bearer\ta", b"Bearer \x00"] {
            assert_ne!(token(bad).ok().flatten(), Some("a"), "{bad:?}");
        }
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
        ] {
            assert_eq!(token(repeated.as_bytes()), Err(Reason::RepeatedToken), "{repeated}");
        }
        for single in [
            "Digest username=\"a\", realm=\"b\"",
            "Digest a=\"x, Bearer y\", b = \"c\"",
            "Digest a=\"\\\", Bearer y\", b=c",
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
