//! Headers of forwarded requests: those that are set from the token, and those that are removed so
//! that a caller cannot forge them (RFC 9700, section 4.13).

use std::mem;
use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;

use crate::http::head::{Head, Lengths};
use crate::http::header_name::{CONNECTION, Spelling};
use crate::oauth::claims::{ClaimPath, Claims, is_exact};
use crate::oauth::reason::Reason;
use crate::oauth::token_source::{Removals, TokenSource};
use crate::verdict::Forward;

/// The maximum length of a claim in a header or in filter state, in bytes.
pub(crate) const MAX_CLAIM: usize = 8 * 1024;

/// The maximum length of the encoded payload header, in bytes. Hosts reject much larger heads
/// altogether.
const MAX_PAYLOAD: usize = 32 * 1024;

/// The configuration of forwarding.
#[derive(Debug, Default)]
pub(crate) struct Forwarding {
    /// Whether the token is forwarded.
    token: bool,
    /// Header names, and the claims that they carry.
    claims: Vec<(Arc<str>, ClaimPath)>,
    /// The header that carries the whole introspection response.
    payload: Option<Arc<str>>,
    /// All headers that the filter sets.
    own: Vec<Spelling>,
    /// The headers in which tokens are accepted.
    sources: Vec<Spelling>,
    /// Those of `sources` that have other spellings, each with its configured name.
    variants: Vec<(Spelling, Arc<str>)>,
    /// The lengths of all names to look for.
    lengths: Lengths,
}

impl Forwarding {
    /// Creates the configuration. Header names are in lower case.
    pub(crate) fn new(
        token: bool,
        claims: Vec<(String, ClaimPath)>,
        payload: Option<String>,
    ) -> Self {
        let names = claims.iter().map(|(name, _)| name).chain(&payload);
        let own = names.map(|name| Spelling::of(name)).collect();
        let claims = claims.into_iter().map(|(name, path)| (name.into(), path)).collect();
        let payload = payload.map(Into::into);
        let mut forwarding = Self { token, claims, payload, own, ..Self::default() };
        forwarding.set_token_sources(&[]);
        forwarding
    }

    /// Sets the sources of tokens, whose headers are protected too.
    pub(crate) fn set_token_sources(&mut self, sources: &[TokenSource]) {
        let headers = || sources.iter().filter_map(TokenSource::header);
        self.sources = headers().map(Spelling::of).collect();
        let pairs = headers().map(|name| (Spelling::of(name), name.into()));
        self.variants = pairs.filter(|(spelling, _)| spelling.has_others()).collect();
        let spellings = self.own.iter().chain(self.variants.iter().map(|(spelling, _)| spelling));
        self.lengths = spellings.map(Spelling::len).chain([CONNECTION.len()]).collect();
    }

    /// Forwards no token. Returns whether it was to be forwarded.
    pub(crate) fn withhold_token(&mut self) -> bool {
        mem::take(&mut self.token)
    }

    /// The changes that every request gets, on every path: the headers that the filter sets are
    /// removed in all spellings, and those in which tokens are accepted in all spellings but the
    /// configured one. Services treat `x_user` as `x-user`, so a caller could forge it.
    ///
    /// # Errors
    /// The name of such a header is not UTF-8, so that it cannot be removed. Envoy accepts no such
    /// names.
    pub(crate) fn clean(&self, head: &dyn Head) -> Result<Forward, Reason> {
        let mut forward = Forward::default();
        if !self.needs_whole_head() {
            return Ok(forward);
        }
        let fields = head.fields();
        for name in fields.names(self.lengths) {
            let is_variant = |(spelling, right): &(Spelling, Arc<str>)| {
                spelling.matches(name) && right.as_bytes() != name
            };
            if self.own.iter().any(|own| own.matches(name)) || self.variants.iter().any(is_variant)
            {
                let name = std::str::from_utf8(name).map_err(|_| Reason::HostError)?;
                forward.remove.push(name.into());
            } else if name == CONNECTION.as_bytes() {
                forward.keep_from_next_hop(fields, &self.own);
            }
        }
        Ok(forward)
    }

    /// Whether [`clean`](Self::clean) has to read the whole head.
    pub(crate) fn needs_whole_head(&self) -> bool {
        !self.own.is_empty() || !self.variants.is_empty()
    }

    /// Whether a trailer with this name must not be forwarded: some services merge trailers into
    /// the head.
    pub(crate) fn is_reserved(&self, name: &[u8]) -> bool {
        self.own.iter().chain(&self.sources).any(|spelling| spelling.matches(name))
    }

    /// The headers that are set for an active token. `claims` was parsed from the response `body`.
    pub(crate) fn headers(
        &self,
        claims: &Claims,
        scope_claim: &ClaimPath,
        body: &[u8],
    ) -> Vec<(Arc<str>, Arc<str>)> {
        let mut headers = Vec::new();
        for (name, path) in &self.claims {
            let separator = if path == scope_claim { ' ' } else { ',' };
            let value = path.find(claims).and_then(|claim| header_value(claim, separator));
            if let Some(value) = value {
                headers.push((Arc::clone(name), value.into()));
            }
        }
        if let Some(name) = &self.payload {
            let value = Base64UrlUnpadded::encode_string(body);
            if value.len() <= MAX_PAYLOAD {
                headers.push((Arc::clone(name), value.into()));
            }
        }
        headers
    }

    /// Adds to `clean` the headers that are set for the token, and the token's removal if it is not
    /// forwarded.
    pub(crate) fn with_token(
        &self,
        clean: Forward,
        removals: &Removals,
        in_query: bool,
        headers: &[(Arc<str>, Arc<str>)],
    ) -> Forward {
        let mut forward = Forward { private: in_query, ..clean };
        if forward.set.is_empty() {
            forward.set = headers.to_vec();
        } else {
            forward.set.extend_from_slice(headers);
        }
        // URLs are logged on every hop, so a token in the query is never forwarded.
        if in_query || !self.token {
            removals.iter().for_each(|removal| forward.take_out(removal));
        }
        forward
    }
}

/// The value of a header for a claim, if it is printable ASCII without spaces at the ends.
///
/// A list is joined with `separator`, unless an element contains it: `"a,admin"` must not read as
/// two elements.
pub(crate) fn header_value(claim: &Value, separator: char) -> Option<String> {
    if !is_exact(claim) {
        return None;
    }
    let scalar = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    let text = match claim {
        Value::Array(elements) => {
            let words: Option<Vec<String>> = elements.iter().map(scalar).collect();
            match words {
                Some(words) if words.iter().any(|word| word.contains(separator)) => return None,
                Some(words) => words.join(separator.encode_utf8(&mut [0; 4])),
                None => claim.to_string(),
            }
        }
        Value::Object(_) => claim.to_string(),
        _ => scalar(claim)?,
    };
    let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
    (printable && !text.is_empty() && text.len() <= MAX_CLAIM && text.trim() == text)
        .then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::head::Fields;

    #[test]
    fn d4_03_claims_that_can_stand_in_a_header_are_forwarded() {
        for (claim, expected) in [
            (json!("alice"), Some("alice")),
            (json!("with space"), Some("with space")),
            (json!(42), Some("42")),
            (json!(1.5), Some("1.5")),
            (json!(true), Some("true")),
            (json!(["a", 1, true]), Some("a,1,true")),
            (json!({"a": [1]}), Some(r#"{"a":[1]}"#)),
            (json!([["a"], {"b": 1}]), Some(r#"[["a"],{"b":1}]"#)),
            (json!(1e20), None),
            (json!([1, 1e20]), None),
            (json!({"a": [1e20]}), None),
            (json!(18_446_744_073_709_551_615_u64), Some("18446744073709551615")),
            (json!(["a,admin", "b"]), None),
            (json!([]), None),
            (json!(""), None),
            (json!(" alice"), None),
            (json!("alice "), None),
            (json!("a\r\nx-user: root"), None),
            (json!("a\nb"), None),
            (json!("a\u{0}"), None),
            (json!("a\tb"), None),
            (json!("Jos\u{e9}"), None),
            (json!({"a": "\u{e9}"}), None),
            (json!("a".repeat(8193)), None),
        ] {
            assert_eq!(header_value(&claim, ',').as_deref(), expected, "{claim}");
        }
    }

    #[test]
    fn a_forwarded_claim_has_at_most_8_kib() {
        let longest = "a".repeat(8192);
        assert_eq!(header_value(&json!(longest), ','), Some(longest));
    }

    #[test]
    fn rs_9700_05_d4_02_every_spelling_of_our_headers_is_taken_out() {
        let claims = vec![("x-user".to_owned(), ClaimPath::new("sub"))];
        let mut forwarding = Forwarding::new(false, claims, Some("x-payload".to_owned()));
        forwarding.set_token_sources(&[
            TokenSource::authorization(),
            TokenSource::Header("x-token".into()),
        ]);
        let names = [
            "x-user",
            "X_User",
            "x.user",
            "x~user",
            "x!user",
            "x-users",
            "X-PAYLOAD",
            "xuser",
            "accept",
            "x-token",
            "x_token",
            "x|token",
            "authorization",
        ];
        let head = Fields::from_iter(names.map(|name| (name, "v")));
        let clean = forwarding.clean(&head).unwrap();
        let removed: Vec<&str> = clean.removed().map(|name| &**name).collect();
        assert_eq!(
            removed,
            ["x-user", "X_User", "x.user", "x~user", "x!user", "X-PAYLOAD", "x_token", "x|token"]
        );
        assert!(clean.set.is_empty());
        assert_eq!(Forwarding::default().clean(&head), Ok(Forward::default()));
        let reserved: Vec<&str> =
            names.into_iter().filter(|name| forwarding.is_reserved(name.as_bytes())).collect();
        assert_eq!(reserved.len(), names.len() - 3, "{reserved:?}");
    }

    #[test]
    fn a_name_that_cannot_be_taken_out_refuses_the_request() {
        let claims = vec![("x-user".to_owned(), ClaimPath::new("sub"))];
        let forwarding = Forwarding::new(false, claims, None);
        let head = Fields::from_iter([(b"x\xffuser", b"root")]);
        assert_eq!(forwarding.clean(&head), Err(Reason::HostError));
    }

    #[test]
    fn the_next_hop_is_not_told_to_take_our_headers_out() {
        let claims = vec![("x-user".to_owned(), ClaimPath::new("sub"))];
        let forwarding = Forwarding::new(false, claims, None);
        let clean = |value: &str| {
            let head = Fields::from_iter([("connection", value), ("upgrade", "websocket")]);
            forwarding.clean(&head).unwrap()
        };
        assert_eq!(clean("upgrade"), Forward::default());
        assert_eq!(clean("upgrade, x_user").set, [("connection".into(), "upgrade".into())]);
        assert_eq!(clean("X-User").removed().collect::<Vec<_>>(), [&"connection".into()]);
    }

    #[test]
    fn the_whole_head_is_needed_where_a_header_of_ours_could_be_spoofed() {
        let claim = || vec![("x-user".to_owned(), ClaimPath::new("sub"))];
        let payload = || Some("x-payload".to_owned());
        assert!(Forwarding::new(false, claim(), None).needs_whole_head());
        assert!(Forwarding::new(false, Vec::new(), payload()).needs_whole_head());
        assert!(!Forwarding::new(true, Vec::new(), None).needs_whole_head());
    }

    #[test]
    fn the_payload_is_the_answer_as_it_came() {
        let body = br#"{"active": true, "sub":"a"}"#;
        let Ok(Value::Object(claims)) = crate::oauth::json::parse(body) else { unreachable!() };
        let scope = ClaimPath::new("scope");
        let forwarding = Forwarding::new(false, Vec::new(), Some("x-payload".to_owned()));
        let headers = forwarding.headers(&claims, &scope, body);
        assert_eq!(&*headers[0].1, "eyJhY3RpdmUiOiB0cnVlLCAic3ViIjoiYSJ9");
        // 32 KiB of base64 encode 24 KiB.
        assert_eq!(forwarding.headers(&claims, &scope, &vec![b' '; 24 * 1024]).len(), 1);
        assert!(forwarding.headers(&claims, &scope, &vec![b' '; 24 * 1024 + 1]).is_empty());
    }
}
