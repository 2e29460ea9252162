//! Headers of forwarded requests: those that are set from the token, and those that are removed so
//! that a caller cannot forge them (RFC 9700, section 4.13).

use std::mem;
use std::sync::Arc;

use crate::http::head::{Head, Lengths};
use crate::http::header_name::{CONNECTION, Spelling};
use crate::ids::HeaderId;
use crate::oauth::bearer::is_b64token;
use crate::oauth::claim_header::{ClaimHeader, DropCause, Dropped};
use crate::oauth::claims::{ClaimPath, Claims};
use crate::oauth::failure::Failure;
use crate::oauth::reason::Reason;
use crate::oauth::scope::ScopeReading;
use crate::oauth::token_source::{Removals, TokenSource};
use crate::oauth::token_state::SharedHeaders;
use crate::verdict::Forward;
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;

/// The maximum length of the encoded payload header, in bytes. Hosts reject much larger heads
/// altogether.
const MAX_PAYLOAD: usize = 32 * 1024;

/// The maximum length of a token that takes the place of the caller's, in bytes.
const MAX_BEARER: usize = 32 * 1024;

const AUTHORIZATION: &str = "authorization";

/// The scheme before a token.
const BEARER: &str = "Bearer ";

/// The configuration of forwarding.
#[derive(Debug, Default)]
pub(crate) struct Forwarding {
    /// Whether the token is forwarded.
    token: bool,
    claims: Vec<ClaimHeader>,
    /// The header that carries the whole introspection response.
    payload: Option<Arc<str>>,
    /// The claim whose text takes the place of the caller's token.
    bearer: Option<ClaimPath>,
    /// All headers that the filter sets.
    own: Vec<Spelling>,
    /// The headers in which tokens are accepted, `cookie` included.
    sources: Vec<Spelling>,
    /// Those of `sources` that have other spellings, each with its configured name.
    variants: Vec<(Spelling, Arc<str>)>,
    /// The lengths of all names to look for.
    lengths: Lengths,
}

/// The headers with the claims of a token.
#[derive(Debug, Default)]
pub(crate) struct ClaimHeaders {
    pub(crate) set: Vec<(Arc<str>, Arc<str>)>,
    pub(crate) dropped: Vec<Dropped>,
}

impl ClaimHeaders {
    fn add(&mut self, header: HeaderId, name: &Arc<str>, value: Result<Option<String>, DropCause>) {
        match value {
            Ok(None) => {}
            Ok(Some(value)) => self.set.push((Arc::clone(name), value.into())),
            Err(cause) => self.dropped.push(Dropped { header, cause }),
        }
    }
}

impl Forwarding {
    /// Creates the configuration. Header names are in lower case.
    pub(crate) fn new(
        token: bool,
        claims: Vec<ClaimHeader>,
        payload: Option<Arc<str>>,
        bearer: Option<ClaimPath>,
    ) -> Self {
        let mut forwarding = Self { token, claims, payload, bearer, ..Self::default() };
        let of_bearer = forwarding.bearer.as_ref().map(|_| AUTHORIZATION);
        let mut own = Vec::new();
        for name in forwarding.claim_headers().chain(of_bearer) {
            own.push(Spelling::of(name));
        }
        forwarding.own = own;
        forwarding.set_token_sources(&[]);
        forwarding
    }

    /// The names of the headers with claims, in the order of [`HeaderId`].
    pub(crate) fn claim_headers(&self) -> impl Iterator<Item = &str> {
        self.claims.iter().map(|header| &*header.name).chain(self.payload.as_deref())
    }

    /// Sets the sources of tokens, whose headers are protected too.
    pub(crate) fn set_token_sources(&mut self, sources: &[TokenSource]) {
        self.sources = Vec::new();
        self.variants = Vec::new();
        for name in sources.iter().filter_map(TokenSource::header) {
            let spelling = Spelling::of(name);
            if spelling.has_others() {
                self.variants.push((Spelling::of(name), name.into()));
            }
            self.sources.push(spelling);
        }
        if sources.iter().any(|source| matches!(source, TokenSource::Cookie(_))) {
            self.sources.push(Spelling::of("cookie"));
        }
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
    ///
    /// # Errors
    /// The response lacks the token that takes the place of the caller's.
    pub(crate) fn headers(
        &self,
        claims: &Claims,
        scope: &ScopeReading,
        body: &[u8],
    ) -> Result<ClaimHeaders, Failure> {
        let mut headers = ClaimHeaders::default();
        for (place, ClaimHeader { name, claim, text }) in self.claims.iter().enumerate() {
            let separator = if scope.claims.contains(claim) { b' ' } else { b',' };
            let value = claim.find(claims).map_or(Ok(None), |claim| text.of(claim, separator));
            headers.add(HeaderId(place), name, value);
        }
        if let Some(name) = &self.payload {
            let value = Base64UrlUnpadded::encode_string(body);
            let fits = value.len() <= MAX_PAYLOAD;
            let value = if fits { Ok(Some(value)) } else { Err(DropCause::TooLong) };
            headers.add(HeaderId(self.claims.len()), name, value);
        }
        if let Some(value) = self.bearer(claims)? {
            headers.set.push((AUTHORIZATION.into(), value));
        }
        Ok(headers)
    }

    /// Whether the filter sets `Authorization`.
    pub(crate) fn sets_authorization(&self) -> bool {
        self.bearer.is_some()
    }

    /// The claim with the token that takes the place of the caller's.
    #[cfg(feature = "review")]
    pub(crate) fn bearer_claim(&self) -> Option<&ClaimPath> {
        self.bearer.as_ref()
    }

    /// The value of `Authorization` with the token that takes the place of the caller's, if one does.
    fn bearer(&self, claims: &Claims) -> Result<Option<Arc<str>>, Failure> {
        let Some(claim) = &self.bearer else { return Ok(None) };
        let token = claim.find(claims).and_then(Value::as_str);
        let token = token.filter(|token| token.len() <= MAX_BEARER && is_b64token(token));
        let token = token.ok_or(Failure::Member("the claim of `forward.bearer` is not a token"))?;
        Ok(Some([BEARER, token].concat().into()))
    }

    /// The token that takes the place of the caller's, among the headers of a token.
    pub(crate) fn bearer_in<'s>(&self, set: &'s [(Arc<str>, Arc<str>)]) -> Option<&'s str> {
        let (_, value) = set.last().filter(|_| self.sets_authorization())?;
        value.strip_prefix(BEARER)
    }

    /// Adds to `clean` the headers that are set for the token, and the token's removal if it is not
    /// forwarded.
    pub(crate) fn with_token(
        &self,
        clean: Forward,
        removals: &Removals,
        in_query: bool,
        headers: Option<&SharedHeaders>,
    ) -> Forward {
        // `clean` removes every value that the caller sent.
        let mut forward = Forward {
            private: in_query,
            add: headers.filter(|headers| !headers.is_empty()).cloned(),
            ..clean
        };
        // URLs are logged on every hop, so a token in the query is never forwarded.
        if in_query || !self.token {
            removals.iter().for_each(|removal| forward.take_out(removal));
        }
        forward
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::Fields;
    use crate::oauth::claim_header::ClaimText;

    fn claim() -> Vec<ClaimHeader> {
        let (claim, text) = (ClaimPath::new("sub"), ClaimText::default());
        vec![ClaimHeader { name: "x-user".into(), claim, text }]
    }

    #[test]
    fn rs_9700_05_d4_02_every_spelling_of_our_headers_is_taken_out() {
        let mut forwarding = Forwarding::new(false, claim(), Some("x-payload".into()), None);
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
    fn rs_9700_05_no_trailer_can_be_read_as_a_cookie_with_a_token() {
        let mut forwarding = Forwarding::default();
        assert!(!forwarding.is_reserved(b"cookie"));
        forwarding.set_token_sources(&[TokenSource::Cookie("at".into())]);
        assert!(forwarding.is_reserved(b"cookie") && !forwarding.needs_whole_head());
    }

    #[test]
    fn a_name_that_cannot_be_taken_out_refuses_the_request() {
        let forwarding = Forwarding::new(false, claim(), None, None);
        let head = Fields::from_iter([(b"x\xffuser", b"root")]);
        assert_eq!(forwarding.clean(&head), Err(Reason::HostError));
    }

    #[test]
    fn the_next_hop_is_not_told_to_take_our_headers_out() {
        let forwarding = Forwarding::new(false, claim(), None, None);
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
        let payload = || Some("x-payload".into());
        assert!(Forwarding::new(false, claim(), None, None).needs_whole_head());
        assert!(Forwarding::new(false, Vec::new(), payload(), None).needs_whole_head());
        assert!(!Forwarding::new(true, Vec::new(), None, None).needs_whole_head());
    }

    #[test]
    fn the_payload_is_the_answer_as_it_came() {
        let body = br#"{"active": true, "sub":"a"}"#;
        let Ok(Value::Object(claims)) = crate::oauth::json::parse(body) else { unreachable!() };
        let scope = ScopeReading { claims: Vec::new(), wildcards: false };
        let forwarding = Forwarding::new(false, Vec::new(), Some("x-payload".into()), None);
        let headers = forwarding.headers(&claims, &scope, body).unwrap();
        assert_eq!(&*headers.set[0].1, "eyJhY3RpdmUiOiB0cnVlLCAic3ViIjoiYSJ9");
        // 32 KiB of base64 encode 24 KiB.
        assert_eq!(
            forwarding.headers(&claims, &scope, &vec![b' '; 24 * 1024]).unwrap().set.len(),
            1
        );
        let headers = forwarding.headers(&claims, &scope, &vec![b' '; 24 * 1024 + 1]).unwrap();
        assert!(headers.set.is_empty());
        let dropped = Dropped { header: HeaderId(0), cause: DropCause::TooLong };
        assert_eq!(headers.dropped, [dropped]);
    }
}
