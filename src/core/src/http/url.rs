//! Absolute `http` and `https` URLs, strictly as in RFC 3986: what browsers silently repair is an
//! error.

use crate::http::authority::Authority;

/// A normalized absolute `http` or `https` URL, except for its path, which is sent unchanged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct HttpUrl {
    /// Whether it is an `https` URL.
    pub(crate) is_https: bool,
    /// The host, in lower case.
    pub(crate) host: String,
    /// The port, unless it is the scheme's default.
    port: Option<u16>,
    /// The path; a slash if there is none.
    pub(crate) path: String,
    /// The query, if there is one.
    pub(crate) query: Option<String>,
}

impl HttpUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        /// The error for a text that is not a URL.
        const NONE: &str =
            "expected an absolute URL such as \"https://as.example.com/oauth2/introspect\"";
        if text.contains('#') {
            return Err("must not have a fragment (RFC 6749 section 3.2)");
        }
        if !text.bytes().all(is_uri_byte) {
            return Err(
                "must be ASCII without spaces, backslashes and \"<>^`{|}; percent-encode these, \
                 and write hosts as xn--…",
            );
        }
        let (scheme, rest) = split_scheme(text).ok_or(NONE)?;
        let is_https = scheme.eq_ignore_ascii_case("https");
        if !is_https && !scheme.eq_ignore_ascii_case("http") {
            return Err("expected an http or https URL");
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end).ok_or(NONE)?;
        if authority.is_empty() {
            return Err(NONE);
        }
        if authority.contains('@') {
            return Err("must not contain user information; use client_id and client_secret");
        }
        let read = Authority::parse(authority.as_bytes()).ok();
        let read = read.filter(|read| !read.host.is_empty() && read.port != Some(0));
        let Some(Authority { port, .. }) = read.filter(|_| !authority.ends_with(':')) else {
            return Err("expected a host name or address, with a port from 1 to 65535 or none");
        };
        // An address is kept as written, because it identifies the server.
        let host = match authority.rsplit_once(':') {
            Some((host, _)) if port.is_some() => host,
            _ => authority,
        };
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Ok(Self {
            is_https,
            host: host.to_ascii_lowercase(),
            port: port.filter(|port| *port != default_port(is_https)),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            query,
        })
    }

    /// `https` or `http`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }

    /// The effective port.
    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap_or_else(|| default_port(self.is_https))
    }

    /// Host and port, as in `Host`.
    pub(crate) fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// Path and query, as in a request.
    pub(crate) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The whole URL.
    pub(crate) fn text(&self) -> String {
        format!("{}://{}{}", self.scheme(), self.authority(), self.target())
    }
}

/// The port of a scheme.
const fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

/// Whether this is an absolute URI without a fragment (RFC 3986, section 4.3).
pub(crate) fn is_absolute_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(in_scheme)
        && !rest.is_empty()
        && !rest.contains('#')
        && rest.bytes().all(is_uri_byte)
}

/// A character of a URI, or `#`, which begins a fragment (RFC 3986, section 2).
fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)
}

/// The scheme of a URL, and what follows `://` (RFC 3986, section 3).
pub(crate) fn split_scheme(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    Some((scheme, rest.strip_prefix("//")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_in_their_normal_form() {
        for (text, normal, authority, target, port) in [
            ("https://as.test/i", "https://as.test/i", "as.test", "/i", 443),
            ("http://as.test", "http://as.test/", "as.test", "/", 80),
            ("HTTPS://AS.Test:443/I", "https://as.test/I", "as.test", "/I", 443),
            ("http://as.test:8080/", "http://as.test:8080/", "as.test:8080", "/", 8080),
            ("http://as.test:443/", "http://as.test:443/", "as.test:443", "/", 443),
            ("https://as.test?a=b%20c", "https://as.test/?a=b%20c", "as.test", "/?a=b%20c", 443),
            ("http://127.0.0.1:1/x?", "http://127.0.0.1:1/x?", "127.0.0.1:1", "/x?", 1),
            ("http://[::1]:9000/i", "http://[::1]:9000/i", "[::1]:9000", "/i", 9000),
            ("http://[2001:DB8::1]/i", "http://[2001:db8::1]/i", "[2001:db8::1]", "/i", 80),
            ("http://xn--4ca.test/", "http://xn--4ca.test/", "xn--4ca.test", "/", 80),
        ] {
            let url = HttpUrl::parse(text).unwrap_or_else(|what| panic!("{text}: {what}"));
            let parts = (&*url.text(), &*url.authority(), &*url.target(), url.port());
            assert_eq!(parts, (normal, authority, target, port), "{text}");
        }
    }

    #[test]
    fn what_browsers_would_repair_is_refused() {
        for text in [
            "",
            "/i",
            "as.test",
            "as.test/i",
            "as.test:80",
            "//as.test/i",
            "ftp://as.test/",
            "mailto:a@b",
            "http:",
            "http:/as.test/i",
            "http:as.test",
            "https:///introspect",
            "https:/h/x",
            "https:h/x",
            "HTTPS:\\\\h\\x",
            "http://",
            "http://:80/",
            "http://?x",
            "http://@h/x",
            "http://u@h/x",
            "http://u:p@h/x",
            "http://ex%41mple/x",
            "http://h:0/",
            "http://h:65536/",
            "http://h:+80/",
            "http://h/{x}",
            "http://h/?\"x\"",
            "http://[::1]x/",
            "http://h:/x",
            "http://h:x/",
            "http://[::1/",
            "http://[::x]/",
            "http://[]/",
            "http://127.1/",
            "http://as..test/",
            "http://as%2etest/",
            "http://a,b/",
            "http://h/a b",
            " http://h/",
            "http://h/ ",
            "http://h/\nx",
            "http://h/\t",
            "http://h/x#",
            "http://h/x#y",
            "http://ä.test/",
            "http://h/ä",
            "http://h\\x/",
        ] {
            assert!(HttpUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn absolute_uris_have_a_scheme_and_no_fragment() {
        for uri in ["https://api.test", "urn:example:api", "api:x", "a+b-c.1:/", "https://h/a?b=c"]
        {
            assert!(is_absolute_uri(uri), "{uri}");
        }
        for uri in [
            "",
            "api",
            "api:",
            ":x",
            "1a:x",
            "/a",
            "https://h/#",
            "https://h/a b",
            " https://h/",
            "https://h/ä",
            "https://h/\n",
            "https://h/<x>",
            "a b:c",
        ] {
            assert!(!is_absolute_uri(uri), "{uri}");
        }
    }
}
