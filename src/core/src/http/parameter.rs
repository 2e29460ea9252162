//! Names of query parameters and cookies, and the spellings that services treat as equal.
//!
//! PHP decodes the name of a parameter or cookie, drops blanks before it, takes `[…]` at its end for
//! an array, and replaces dots and blanks by underscores; other frameworks do some of it.

use std::borrow::Cow;

use url::form_urlencoded;

/// How a name compares with the wanted one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Match {
    /// It is equal.
    Exact,
    /// Some services treat it as equal.
    Variant,
    /// It is different.
    Other,
}

/// The parameters of a query, each with how its name compares with the wanted one. Some services
/// end a parameter at `;` too, or begin the query at its last `?`, so the name after these is a
/// variant.
pub(crate) fn parameters<'q>(
    query: &'q [u8],
    wanted: &str,
) -> impl Iterator<Item = (&'q [u8], Match)> {
    query.split(|byte| *byte == b'&').map(move |parameter| {
        let mut parts = parameter.split(|byte| matches!(byte, b';' | b'?'));
        let first = parts.next().map_or(Match::Other, |part| match_parameter(part, wanted));
        let mut is_hidden = || parts.any(|part| match_parameter(part, wanted) != Match::Other);
        (parameter, if first == Match::Other && is_hidden() { Match::Variant } else { first })
    })
}

/// Compares the name of a query parameter, or of a part of one.
fn match_parameter(parameter: &[u8], wanted: &str) -> Match {
    let name = parameter.split(|byte| *byte == b'=').next().unwrap_or_default();
    match decoded(name, wanted) {
        Some(name) if name == wanted => Match::Exact,
        Some(name) if is_variant(&name, wanted) => Match::Variant,
        _ => Match::Other,
    }
}

/// How a cookie that has another name compares: some services begin a new one after a blank or a comma.
pub(crate) fn match_rest(cookie: &[u8], wanted: &str) -> Match {
    let mut parts = cookie.split(|byte| matches!(byte, b' ' | b'\t' | b','));
    let is_named = |part: &[u8]| {
        let end = part.iter().position(|byte| *byte == b'=');
        let name = end.and_then(|end| part.get(..end));
        name.is_some_and(|name| match_cookie(name, wanted) != Match::Other)
    };
    if parts.any(is_named) { Match::Variant } else { Match::Other }
}

/// Compares the name of a cookie (RFC 6265, section 4.2): it is not decoded there, but by PHP.
pub(crate) fn match_cookie(name: &[u8], wanted: &str) -> Match {
    match decoded(name, wanted) {
        _ if name == wanted.as_bytes() => Match::Exact,
        Some(name) if is_variant(&name, wanted) => Match::Variant,
        _ => Match::Other,
    }
}

/// The decoded name, unless it is too short to be equal.
fn decoded<'n>(name: &'n [u8], wanted: &str) -> Option<Cow<'n, str>> {
    if name.len() < wanted.len() {
        return None;
    }
    form_urlencoded::parse(name).next().map(|(name, _)| name)
}

/// Whether some services treat a decoded name as equal to the wanted one.
fn is_variant(name: &str, wanted: &str) -> bool {
    let folded = |byte: u8| if byte.is_ascii_alphanumeric() { byte } else { b'_' };
    let is_same = |name: &str| {
        let name = name.trim();
        name.len() == wanted.len() && name.bytes().map(folded).eq(wanted.bytes().map(folded))
    };
    // An array's name ends at its bracket, unless the bracket begins or is a part of the name.
    is_same(name.split(['[', '\0']).next().unwrap_or_default())
        || is_same(name)
        || is_same(name.trim_matches(['[', ']', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_has_one_name_and_several_spellings() {
        for (parameter, expected) in [
            ("access_token=t", Match::Exact),
            ("access_token", Match::Exact),
            ("access%5Ftoken=t", Match::Exact),
            ("access_token=t;a=b", Match::Exact),
            ("access_token[]=t", Match::Variant),
            ("access_token%5B0%5D=t", Match::Variant),
            ("access_token[a][b]=t", Match::Variant),
            ("access[token=t", Match::Variant),
            ("[access_token]=t", Match::Variant),
            ("[access_token=t", Match::Variant),
            ("access.token=t", Match::Variant),
            ("access%2etoken=t", Match::Variant),
            ("access+token=t", Match::Variant),
            ("access%20token=t", Match::Variant),
            ("access-token=t", Match::Variant),
            ("+access_token=t", Match::Variant),
            ("%20%20access_token=t", Match::Variant),
            ("access_token%20=t", Match::Variant),
            ("access_token%00x=t", Match::Variant),
            ("a=1;access_token=t", Match::Variant),
            ("a;access.token=t", Match::Variant),
            ("?access_token=t", Match::Variant),
            ("a=1?access.token=t", Match::Variant),
            ("a=1;b;c", Match::Other),
            ("a=1?b?c", Match::Other),
            ("access_tokens=t", Match::Other),
            ("xaccess_token=t", Match::Other),
            ("Access_Token=t", Match::Other),
            ("token=access_token", Match::Other),
            ("=access_token", Match::Other),
            ("", Match::Other),
        ] {
            let found = parameters(parameter.as_bytes(), "access_token").next().unwrap();
            assert_eq!(found, (parameter.as_bytes(), expected), "{parameter}");
        }
        assert_eq!(parameters(b"a=1&access_token=t&access_token=u", "access_token").count(), 3);
    }

    #[test]
    fn a_cookie_has_one_name_and_several_spellings() {
        for (cookie, expected) in [
            ("a=1 access_token=t", Match::Variant),
            ("a=1,access_token=t", Match::Variant),
            ("a=1, access.token=t", Match::Variant),
            ("a=access_token", Match::Other),
            ("a=1 access_tokens=t", Match::Other),
        ] {
            assert_eq!(match_rest(cookie.as_bytes(), "access_token"), expected, "{cookie}");
        }
        for (name, expected) in [
            ("access_token", Match::Exact),
            ("access%5Ftoken", Match::Variant),
            ("access.token", Match::Variant),
            ("access_token[]", Match::Variant),
            ("access_tokens", Match::Other),
            ("at", Match::Other),
        ] {
            assert_eq!(match_cookie(name.as_bytes(), "access_token"), expected, "{name}");
        }
    }
}
