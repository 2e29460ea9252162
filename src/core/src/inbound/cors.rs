//! Cross-origin requests of scripts (CORS, Fetch standard): their preflights are answered, and they
//! may read the filter's own responses.

use std::sync::Arc;

use crate::http::head::Head;
use crate::http::header_name::is_token_char;
use crate::oauth::denial::Reply;

/// The headers of the filter's responses that scripts may read; the last two are those of gRPC-Web.
const EXPOSED: &str = "www-authenticate, retry-after, grpc-status, grpc-message";

/// The origins whose scripts may call the service, and what they may send.
#[derive(Debug)]
pub(crate) struct Cors {
    /// As browsers send them: compared byte for byte.
    pub(crate) origins: Vec<Arc<str>>,
    pub(crate) methods: Vec<Box<str>>,
    /// In lower case; an asterisk at the end stands for any characters.
    pub(crate) headers: Vec<Box<str>>,
    /// How many seconds a browser may cache the response to a preflight.
    pub(crate) max_age: Option<u64>,
    /// Whether scripts may send cookies.
    pub(crate) allow_credentials: bool,
}

impl Cors {
    /// The origin of a request, if it is listed.
    pub(crate) fn origin(&self, head: &dyn Head) -> Option<&Arc<str>> {
        let origin = only(head, "origin")?;
        self.origins.iter().find(|listed| listed.as_bytes() == origin)
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
        let is_exact = |listed: &&Box<str>| !listed.ends_with('*');
        let mut allowed: Vec<&str> = self.headers.iter().filter(is_exact).map(|h| &**h).collect();
        let asked = head.fields().values("access-control-request-headers");
        for name in asked.flat_map(|value| value.split(|byte| *byte == b',')) {
            let name = name.trim_ascii();
            // A list may have empty elements (RFC 9110, section 5.6.1).
            if name.is_empty() || allowed.iter().any(|known| is_same(known.as_bytes(), name)) {
                continue;
            }
            allowed.push(self.below_a_prefix(name)?);
        }
        let mut headers = vec![
            ("cache-control", "no-store".into()),
            ("access-control-allow-methods", self.methods.join(", ").into()),
        ];
        if !allowed.is_empty() {
            headers.push(("access-control-allow-headers", allowed.join(", ").into()));
        }
        if let Some(seconds) = self.max_age {
            headers.push(("access-control-max-age", seconds.to_string().into()));
        }
        let (details, body) = ("oauth2_cors_preflight", String::new());
        Some(Reply { status: 200, grpc_status: 0, details, headers, body })
    }

    /// The name, if it begins like a listed one that ends in an asterisk.
    fn below_a_prefix<'n>(&self, name: &'n [u8]) -> Option<&'n str> {
        let mut prefixes = self.headers.iter().filter_map(|listed| listed.strip_suffix('*'));
        let begins = |prefix: &str| {
            name.get(..prefix.len()).is_some_and(|begin| is_same(prefix.as_bytes(), begin))
        };
        let is_name = prefixes.any(begins) && name.iter().copied().all(is_token_char);
        std::str::from_utf8(name).ok().filter(|_| is_name)
    }

    /// Lets scripts of a listed origin read a response. The metadata document has an origin of its
    /// own: any.
    pub(crate) fn expose(&self, reply: &mut Reply, origin: Option<&Arc<str>>) {
        const ALLOW_ORIGIN: &str = "access-control-allow-origin";
        let headers = &mut reply.headers;
        headers.push(("vary", "origin".into()));
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

fn is_same(name: &[u8], other: &[u8]) -> bool {
    name.eq_ignore_ascii_case(other)
}

/// The value of a header that the request has once.
fn only<'h>(head: &'h dyn Head, name: &str) -> Option<&'h [u8]> {
    let mut values = head.fields().values(name);
    values.next().filter(|_| values.next().is_none())
}
