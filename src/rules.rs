//! Which requests a rule is for. The first that fits decides: see [`rule_index`](crate::rule_index).

use crate::path::PathPattern;

/// Which requests a rule is for: each list that is given must fit.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    /// Any of these hosts.
    pub(crate) hosts: Option<Vec<HostPattern>>,
    /// Any of these methods.
    pub(crate) methods: Option<Vec<Box<str>>>,
    /// Any of these paths.
    pub(crate) paths: Option<Vec<PathPattern>>,
}

/// A host, or all hosts below one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum HostPattern {
    /// This host.
    Exact(Box<str>),
    /// Every host that ends so; the text begins with a dot.
    Below(Box<str>),
}

impl HostPattern {
    /// Reads `example.com` or `*.example.com`.
    ///
    /// # Errors
    /// What would be right.
    pub(crate) fn parse(pattern: &str) -> Result<Self, &'static str> {
        const WHAT: &str = "expected a host such as \"api.example.com\" or \"*.example.com\", \
                            without scheme, port or path";
        let (host, below) = match pattern.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (pattern, false),
        };
        let literal_v6 = host.starts_with('[') && host.ends_with(']');
        let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
        let inner = if literal_v6 { host.trim_matches(['[', ']']) } else { host };
        let known = if literal_v6 {
            inner.bytes().all(|b| b.is_ascii_hexdigit() || b":.".contains(&b)) && !below
        } else {
            inner.bytes().all(is_host) && !inner.starts_with('.') && !inner.ends_with('.')
        };
        if inner.is_empty() || !known {
            return Err(WHAT);
        }
        let host = host.to_ascii_lowercase();
        Ok(if below { Self::Below(format!(".{host}").into()) } else { Self::Exact(host.into()) })
    }

    /// Whether the host, in lower case, fits.
    pub(crate) fn fits(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
        }
    }
}

/// The host of an `:authority` value: lower case, without user information, without port and without
/// the root's dot.
pub(crate) fn host_of(authority: &[u8]) -> String {
    let host = authority.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
    let authority = String::from_utf8_lossy(host).to_ascii_lowercase();
    let port_at = match authority.rfind(']') {
        Some(bracket) => authority
            .get(bracket..)
            .and_then(|rest| rest.find(':').and_then(|colon| bracket.checked_add(colon))),
        None => authority.rfind(':'),
    };
    let host = port_at.and_then(|at| authority.get(..at)).unwrap_or(&authority);
    host.strip_suffix('.').unwrap_or(host).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_authority_has_no_port() {
        for (authority, host) in [
            ("api.example.com", "api.example.com"),
            ("API.Example.com:8080", "api.example.com"),
            ("api.example.com.", "api.example.com"),
            ("api.example.com.:80", "api.example.com"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("user@api.example.com", "api.example.com"),
            ("user:80@api.example.com:80", "api.example.com"),
            ("", ""),
            (":80", ""),
        ] {
            assert_eq!(host_of(authority.as_bytes()), host, "{authority}");
        }
    }

    #[test]
    fn host_patterns_fit_one_host_or_all_below_one() {
        for (pattern, host, fits) in [
            ("api.example.com", "api.example.com", true),
            ("API.example.com", "api.example.com", true),
            ("api.example.com", "xapi.example.com", false),
            ("*.example.com", "api.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "evilexample.com", false),
            ("[::1]", "[::1]", true),
            ("localhost", "", false),
        ] {
            assert_eq!(HostPattern::parse(pattern).unwrap().fits(host), fits, "{pattern} {host}");
        }
        for pattern in [
            "", "*", "*.", "*.*.com", "a:80", "http://a", "a/b", "a b", ".a", "a.", "[::1]:80",
            "[::1", "::1]", "[zz]", "*.[::1]", "[]",
        ] {
            assert!(HostPattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
