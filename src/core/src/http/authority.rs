//! The host of a request, from `Host` or `:authority` (RFC 9110, section 7.2).
//!
//! As with paths, a value that services may interpret as different hosts is rejected.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A validated host and port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Authority<'a> {
    /// The host in lower case, without a trailing dot; an IPv6 address as 32 digits in brackets. It
    /// may be empty, and then matches no host pattern.
    pub(crate) host: Cow<'a, str>,
    /// The port, if there is one.
    pub(crate) port: Option<u16>,
}

/// A value that services interpret in different ways.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct BadHost;

impl<'a> Authority<'a> {
    /// Parses `host` or `host:port`.
    ///
    /// # Errors
    /// - user information;
    /// - a port that is not a number of 16 bits;
    /// - a host with other characters than letters, digits, `-`, `.` and `_`, or with an empty label;
    /// - an address in a form that not all readers know (`127.1`, `0x7f.0.0.1`, `[::1%25lo]`).
    pub(crate) fn parse(authority: &'a [u8]) -> Result<Self, BadHost> {
        let text = std::str::from_utf8(authority).map_err(|_| BadHost)?;
        let (host, after) = if text.starts_with('[') {
            text.split_at_checked(text.find(']').ok_or(BadHost)?.saturating_add(1))
        } else {
            let colon = authority.iter().position(|byte| *byte == b':');
            text.split_at_checked(colon.unwrap_or(text.len()))
        }
        .ok_or(BadHost)?;
        let port = match after.strip_prefix(':') {
            None if after.is_empty() => None,
            Some("") => None,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| BadHost)?)
            }
            _ => return Err(BadHost),
        };
        Ok(Self { host: host_name(host)?, port })
    }
}

/// A host without its port.
fn host_name(host: &str) -> Result<Cow<'_, str>, BadHost> {
    if is_plain(host) { Ok(host.into()) } else { normal(host) }
}

/// Whether a host is already normalized, as most are: a name in lower case without a trailing dot,
/// whose last label begins with a letter.
fn is_plain(host: &str) -> bool {
    let (mut begins, mut is_letter) = (true, false);
    for byte in host.bytes() {
        match byte {
            b'.' if begins => return false,
            b'.' => begins = true,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {
                is_letter = if begins { byte.is_ascii_lowercase() } else { is_letter };
                begins = false;
            }
            _ => return false,
        }
    }
    is_letter && !begins
}

/// The normal form of any other host.
fn normal(host: &str) -> Result<Cow<'_, str>, BadHost> {
    if let Some(literal) = host.strip_prefix('[') {
        let address: Ipv6Addr =
            literal.strip_suffix(']').ok_or(BadHost)?.parse().map_err(|_| BadHost)?;
        return Ok(canonical(address).into());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !name.bytes().all(is_in_name) {
        return Err(BadHost);
    }
    if host.is_empty() {
        return Ok("".into());
    }
    if name.split('.').any(str::is_empty) {
        return Err(BadHost);
    }
    // Browsers and URL parsers interpret every host whose last label is a number as an address.
    if is_number(name.rsplit('.').next().unwrap_or_default()) {
        let _: Ipv4Addr = name.parse().map_err(|_| BadHost)?;
    }
    Ok(if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    })
}

/// The normal form in which addresses are compared. The formatting of the standard library would
/// add 3 kB to the module.
fn canonical(address: Ipv6Addr) -> String {
    let mut text = "[".to_owned();
    for octet in address.octets() {
        for nibble in [octet >> 4, octet & 15] {
            text.push(char::from_digit(nibble.into(), 16).unwrap_or_default());
        }
    }
    text.push(']');
    text
}

/// Whether a label is a number: decimal, octal or hexadecimal.
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => label.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// A host, or all hosts below one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum HostPattern {
    Exact(Box<str>),
    /// Every host that ends with this text, which begins with a dot.
    Below(Box<str>),
}

impl HostPattern {
    /// Parses `example.com` or `*.example.com`.
    ///
    /// # Errors
    /// What is expected.
    pub(crate) fn parse(pattern: &str) -> Result<Self, &'static str> {
        const WHAT: &str = "expected a host such as \"api.example.com\" or \"*.example.com\", \
                            without scheme, port or path";
        let (host, below) = match pattern.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (pattern, false),
        };
        let is_name = !host.is_empty() && !host.ends_with('.');
        let read = host_name(host).ok().filter(|_| is_name).ok_or(WHAT)?;
        match below {
            true if host.starts_with('[') => Err(WHAT),
            true => Ok(Self::Below(format!(".{read}").into())),
            false => Ok(Self::Exact(read.into())),
        }
    }

    /// Whether it matches a host of [`Authority`].
    pub(crate) fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_authority_has_no_port() {
        for (authority, host, port) in [
            ("api.example.com", "api.example.com", None),
            ("API.Example.com:8080", "api.example.com", Some(8080)),
            ("api.example.com.", "api.example.com", None),
            ("api.example.com.:80", "api.example.com", Some(80)),
            ("a_b.test:", "a_b.test", None),
            ("127.0.0.1:80", "127.0.0.1", Some(80)),
            ("[::1]:8080", "[00000000000000000000000000000001]", Some(8080)),
            ("[0:0::0001]", "[00000000000000000000000000000001]", None),
            ("[::FFFF:1.2.3.4]", "[00000000000000000000ffff01020304]", None),
            ("1a.test", "1a.test", None),
            ("", "", None),
            (":80", "", Some(80)),
        ] {
            let read = Authority::parse(authority.as_bytes());
            assert_eq!(read, Ok(Authority { host: host.into(), port }), "{authority}");
        }
    }

    #[test]
    fn plain_hosts_are_read_as_others() {
        let mut plain = 0;
        let mut hosts: Vec<String> = vec![String::new()];
        for _ in 0..6 {
            let longer = |host: &String| {
                let host = host.clone();
                "a.1x-_A%".chars().map(move |character| format!("{host}{character}"))
            };
            hosts = hosts.iter().flat_map(longer).collect();
            for host in &hosts {
                assert_eq!(host_name(host), normal(host), "{host}");
                plain += usize::from(is_plain(host));
            }
        }
        assert!(plain > 10_000, "{plain}");
    }

    #[test]
    fn a_host_that_services_read_in_different_ways_is_bad() {
        for authority in [
            // User information, and what only looks like a port.
            "user@b.test",
            "a.test:80@b.test",
            "b.test:a.test",
            "b.test:80:90",
            "b.test:+80",
            "b.test:80 ",
            "b.test:65536",
            "@b.test",
            "b.test@",
            // Other characters.
            "b%2etest",
            "b.test/x",
            "b.test?x",
            "b.test#x",
            "b.test\\x",
            "b.test,a.test",
            " b.test",
            "b.test\t",
            "bücher.test",
            "b\u{3002}test",
            "a.test;b.test",
            "b.test\0",
            // Empty labels.
            ".",
            "..",
            ".b.test",
            "b..test",
            "b.test..",
            // Addresses.
            "127.1",
            "0x7f.0.0.1",
            "0177.0.0.1",
            "2130706433",
            "127.0.0.01",
            "1.2.3.4.5",
            "256.1.1.1",
            "b.0x1",
            "b.1",
            "0x",
            "::1",
            "[::1",
            "[::1]x",
            "[::1%25lo]",
            "[]",
            "[b.test]",
            "[1.2.3.4]",
        ] {
            assert_eq!(Authority::parse(authority.as_bytes()), Err(BadHost), "{authority}");
        }
        assert_eq!(Authority::parse(b"b\xff.test"), Err(BadHost));
    }

    #[test]
    fn host_patterns_match_one_host_or_all_below_one() {
        for (pattern, host, matches) in [
            ("api.example.com", "api.example.com", true),
            ("API.example.com", "api.example.com", true),
            ("api.example.com", "xapi.example.com", false),
            ("*.example.com", "api.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "evilexample.com", false),
            ("[::1]", "[::1]", true),
            ("[0::1]", "[::1]", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("localhost", "", false),
        ] {
            let read = HostPattern::parse(pattern).unwrap();
            let host = host_name(host).unwrap_or_else(|_| host.into());
            assert_eq!(read.matches(&host), matches, "{pattern} {host}");
        }
        for pattern in [
            "", "*", "*.", "*.*.com", "a:80", "http://a", "a/b", "a b", ".a", "a.", "[::1]:80",
            "[::1", "::1]", "[zz]", "*.[::1]", "[]", "127.1", "a..b",
        ] {
            assert!(HostPattern::parse(pattern).is_err(), "{pattern}");
        }
    }
}
