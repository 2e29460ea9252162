//! Cross-origin requests of scripts (CORS, Fetch standard): their preflights are answered, and they
//! may read the filter's own responses.

use crate::http::head::Head;
use crate::http::header_name::is_token_char;
use crate::oauth::denial::Reply;

/// The headers of the filter's responses that scripts may read; the last two are those of gRPC-Web.
const EXPOSED: &str = "www-authenticate, retry-after, grpc-status, grpc-message";

/// The origins whose scripts may call the service, and what they may send.
#[derive(Debug)]
pub(crate) struct Cors {
    /// As browsers send them: compared byte for byte.
    pub(crate) origins: Vec<Box<str>>,
    pub(crate) methods: Vec<Box<str>>,
    /// In any case; an asterisk at the end stands for any characters.
    pub(crate) headers: Vec<Box<str>>,
    /// How many seconds a browser may cache the response to a preflight.
    pub(crate) max_age: Option<String>,
    /// Whether scripts may send cookies.
    pub(crate) allow_credentials: bool,
}

/// A listed origin, by its position.
#[derive(Clone, Copy)]
pub(crate) struct Origin(usize);

impl Cors {
    /// The origin of a request, if it is listed.
    pub(crate) fn origin(&self, head: &dyn Head) -> Option<Origin> {
        let origin = only(head, "origin")?;
        self.origins.iter().position(|listed| listed.as_bytes() == origin).map(Origin)
    }

    /// The response to a preflight of which origin, method and headers are listed.
    pub(crate) fn preflight(&self, method: &str, head: &dyn Head) -> Option<Reply> {
        if method != "OPTIONS" {
            return None;
        }
        self.origin(head)?;
        let method = only(head, "access-control-request-method")?;
        if !self.methods.iter().any(|listed| listed.as_bytes() == method) {
            return None;
        }
        let mut allowed = String::new();
        for listed in self.names() {
            add(&mut allowed, listed);
        }
        for names in head.fields().values("access-control-request-headers") {
            for name in names.split(|byte| *byte == b',') {
                let name = name.trim_ascii();
                // A list may have empty elements (RFC 9110, section 5.6.1).
                let is_same = |listed: &str| listed.as_bytes().eq_ignore_ascii_case(name);
                if !name.is_empty() && !self.names().any(is_same) {
                    add(&mut allowed, self.below_a_prefix(name)?);
                }
            }
        }
        let mut headers = vec![
            ("cache-control", "no-store".into()),
            ("access-control-allow-methods", self.methods.join(", ").into()),
        ];
        if !allowed.is_empty() {
            headers.push(("access-control-allow-headers", allowed.into()));
        }
        if let Some(seconds) = &self.max_age {
            headers.push(("access-control-max-age", seconds.clone().into()));
        }
        let (details, body) = ("oauth2_cors_preflight", String::new());
        Some(Reply { status: 200, grpc_status: 0, details, headers, body })
    }

    /// The listed headers that are named in full.
    fn names(&self) -> impl Iterator<Item = &str> {
        let names = self.headers.iter().filter(|listed| !listed.ends_with('*'));
        names.map(|name| &**name)
    }

    /// The name, if it begins like a listed one that ends in an asterisk.
    fn below_a_prefix<'n>(&self, name: &'n [u8]) -> Option<&'n str> {
        let mut prefixes = self.headers.iter().filter_map(|listed| listed.strip_suffix('*'));
        let is_below = prefixes.any(|prefix| {
            let prefix = prefix.as_bytes();
            let begin = name.get(..prefix.len());
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
        });
        let is_name = |byte: &u8| is_token_char(*byte) && *byte != b'*';
        std::str::from_utf8(name).ok().filter(|_| is_below && name.iter().all(is_name))
    }

    /// Lets scripts of a listed origin read a response. The metadata document has an origin of its
    /// own: any.
    pub(crate) fn expose(&self, reply: &mut Reply, origin: Option<Origin>) {
        const ALLOW_ORIGIN: &str = "access-control-allow-origin";
        let headers = &mut reply.headers;
        headers.push(("vary", "origin".into()));
        let origin = origin.and_then(|Origin(at)| self.origins.get(at));
        let Some(origin) = origin else { return };
        if headers.iter().any(|(name, _)| *name == ALLOW_ORIGIN) {
            return;
        }
        headers.push((ALLOW_ORIGIN, origin.to_string().into()));
        headers.push(("access-control-expose-headers", EXPOSED.into()));
        if self.allow_credentials {
            headers.push(("access-control-allow-credentials", "true".into()));
        }
    }
}

/// Adds to a list.
fn add(list: &mut String, element: &str) {
    let separator = if list.is_empty() { "" } else { ", " };
    list.extend([separator, element]);
}

/// The value of a header that the request has once.
fn only<'h>(head: &'h dyn Head, name: &str) -> Option<&'h [u8]> {
    let mut values = head.fields().values(name);
    values.next().filter(|_| values.next().is_none())
}
