//! The bearer token of a request (RFC 6750, section 2.1).

use crate::denial::Reason;

/// The longest token that is looked at.
const MAX_TOKEN: usize = 16 * 1024;

/// A token that has the syntax of one. It is never shown.
#[derive(Clone, Copy)]
pub(crate) struct BearerToken<'a>(&'a str);

impl<'a> BearerToken<'a> {
    /// The token in an `Authorization` value, if that is of the `Bearer` scheme.
    ///
    /// The host joins repeated `Authorization` headers with commas, so a second one shows as a
    /// comma that the first cannot hold.
    ///
    /// # Errors
    /// [`Reason::RepeatedToken`], [`Reason::TokenTooLong`] or [`Reason::MalformedToken`].
    pub(crate) fn from_authorization(value: &'a [u8]) -> Result<Option<Self>, Reason> {
        if is_repeated(value) {
            return Err(Reason::RepeatedToken);
        }
        let value = value.trim_ascii();
        let (scheme, credentials) = match value.iter().position(|b| *b == b' ') {
            Some(space) => value.split_at_checked(space).unwrap_or((value, b"")),
            None => (value, &b""[..]),
        };
        if !scheme.eq_ignore_ascii_case(b"bearer") {
            return Ok(None);
        }
        Self::parse(credentials.trim_ascii_start()).map(Some)
    }

    /// Checks the syntax: `b64token`, at most 16 KiB.
    fn parse(token: &'a [u8]) -> Result<Self, Reason> {
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

/// Whether the value holds more than one header's credentials.
///
/// A comma may stand inside the parameters of one header (`Digest a="b", c="d"`). It begins a
/// second header where what follows is again a scheme with credentials, and after `Bearer`, whose
/// token can hold no comma.
fn is_repeated(value: &[u8]) -> bool {
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
    let bearer = scheme(first).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"));
    parts.any(|part| bearer || scheme(part).is_some())
}

/// The scheme that a part between commas begins with, if it does: a word that is followed by
/// credentials, not by `=`, or `Bearer` by itself.
fn scheme(part: &[u8]) -> Option<&[u8]> {
    let part = part.trim_ascii();
    let end = part.iter().position(|b| !b.is_ascii_alphanumeric() && !b"-._+".contains(b));
    let Some(end) = end else { return part.eq_ignore_ascii_case(b"bearer").then_some(part) };
    let (word, rest) = part.split_at_checked(end)?;
    let after = rest.trim_ascii_start();
    (rest.first() == Some(&b' ') && after.first() != Some(&b'=')).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(value: &[u8]) -> Result<Option<&str>, Reason> {
        BearerToken::from_authorization(value).map(|token| token.map(BearerToken::reveal))
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
    fn a_token_has_at_most_16_kib() {
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
