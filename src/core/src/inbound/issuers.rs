//! The issuers whose JWTs are verified by the filter, and what their tokens must be (RFC 7519, RFC
//! 9068).

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use crate::http::proto_struct;
use crate::ids::{IssuerId, ServerId};
use crate::jose::algorithm::SignatureAlgorithm;
use crate::jose::jws::UnverifiedJwt;
use crate::jose::key_set::KeySet;
use crate::jose::upkeep::KeyTimes;
use crate::oauth::claims::{ClaimPath, ClaimTest, Claims, is_exact, strings};
use crate::oauth::introspection::ServerReading;
use crate::oauth::introspection_response::Response;
use crate::oauth::key_endpoint::KeyEndpoint;
use crate::oauth::reason::Reason;
use crate::timestamp::Timestamp;

/// How a token is verified.
#[derive(Debug)]
pub(crate) enum Verifier<'t> {
    /// Its authorization server is asked.
    Introspect(ServerId),
    /// With the keys of its issuer.
    Keys(IssuerId, UnverifiedJwt<'t>),
    /// Envoy's filter `jwt_authn` has verified it with the keys of its issuer.
    VerifiedByHost(IssuerId, UnverifiedJwt<'t>),
    /// With the keys of its issuer; then its authorization server is asked, too.
    Both(IssuerId, ServerId, UnverifiedJwt<'t>),
}

impl Verifier<'_> {
    /// The server that is asked.
    pub(crate) fn server(&self) -> Option<ServerId> {
        match self {
            Self::Introspect(server) | Self::Both(_, server, _) => Some(*server),
            Self::Keys(..) | Self::VerifiedByHost(..) => None,
        }
    }
}

/// An issuer whose JWTs are verified by the filter.
#[derive(Debug)]
pub(crate) struct Issuer {
    /// Its identifier, and how its claims are read.
    pub(crate) reading: ServerReading,
    /// The audiences of which a token must have one; any if empty.
    pub(crate) audience: Vec<Box<str>>,
    /// Tests that the claims of each token must meet.
    pub(crate) claims: Vec<(ClaimPath, ClaimTest)>,
    /// The algorithms that are accepted.
    pub(crate) algorithms: Vec<SignatureAlgorithm>,
    /// The accepted header types, in lower case and without `application/`.
    pub(crate) types: Vec<Box<str>>,
    pub(crate) keys: KeySource,
    /// Whether its tokens are introspected, too.
    pub(crate) introspect: bool,
}

/// Where an issuer's keys come from.
#[derive(Debug)]
pub(crate) enum KeySource {
    /// They are in the configuration.
    Fixed(Arc<KeySet>),
    /// They are fetched.
    Fetched(Box<KeyEndpoint>, KeyTimes),
    /// The filter has none: `jwt_authn` has them.
    JwtAuthn,
}

impl Issuer {
    /// The identifier of the issuer.
    pub(crate) fn identifier(&self) -> &str {
        self.reading.issuer.as_deref().unwrap_or_default()
    }

    /// Checks what can be checked of a token without a key: a signature costs whoever forges it
    /// nothing, and the proxy much.
    ///
    /// # Errors
    /// It is rejected, whoever has signed it.
    pub(crate) fn check(&self, jwt: &UnverifiedJwt<'_>, now: Timestamp) -> Result<(), Reason> {
        let header = jwt.header.as_ref().ok_or(Reason::MalformedToken)?;
        if jwt.signed().is_none() {
            return Err(Reason::MalformedToken);
        }
        if !header.algorithm.is_some_and(|algorithm| self.algorithms.contains(&algorithm)) {
            return Err(Reason::BadSignature);
        }
        // An absent type is the general one.
        let token_type = header.token_type.as_deref().unwrap_or("jwt");
        if !self.types.iter().any(|accepted| **accepted == *token_type) {
            return Err(Reason::NotAnAccessToken);
        }
        if jwt.claims.get(ACTIVE).is_some_and(|active| *active != true) {
            return Err(Reason::Inactive);
        }
        // RFC 9068 section 2.2.
        let exp = jwt.claims.get("exp").filter(|exp| !exp.is_null());
        let end = Timestamp::from_numeric_date(exp.ok_or(Reason::MalformedToken)?);
        if end.is_none_or(|end| now >= end.plus(self.reading.clock_skew.late)) {
            return Err(Reason::Expired);
        }
        let is_for_us =
            |audience: &str| self.audience.iter().any(|accepted| **accepted == *audience);
        if !self.audience.is_empty() && !strings(jwt.claims.get("aud")).any(is_for_us) {
            return Err(Reason::WrongAudience);
        }
        Ok(())
    }

    /// Whether the claims of a token, which was verified, meet all tests.
    pub(crate) fn is_met_by(&self, jwt: &UnverifiedJwt<'_>) -> bool {
        self.claims.iter().all(|(path, test)| test.is_met(path.find(&jwt.claims)))
    }
}

/// The member of introspection responses that says that a token is active.
const ACTIVE: &str = "active";

/// What a token says that was checked, in the form of the response to its introspection.
pub(crate) fn into_response(jwt: UnverifiedJwt<'_>) -> Response<'static> {
    let UnverifiedJwt { mut claims, mut payload, .. } = jwt;
    if !claims.contains_key(ACTIVE) {
        let rest = payload.trim_ascii_start().get(1..).unwrap_or_default();
        let comma = if claims.is_empty() { "" } else { "," };
        payload = [br#"{"active":true"#, comma.as_bytes(), rest].concat();
        claims.insert(ACTIVE.to_owned(), true.into());
    }
    Response::Active { claims, json: Cow::Owned(payload) }
}

/// Whether `jwt_authn` has verified this very token: everything that it has stored is the token's
/// payload or its header, and both are there. Values of other tokens, or of a failure, are a reason
/// to refuse it.
pub(crate) fn is_verified_by_host(jwt: &UnverifiedJwt<'_>, stored: &[u8]) -> bool {
    let Some(Value::Object(stored)) = proto_struct::decode(stored) else { return false };
    let is = |value: &Value, members: &Claims| {
        value.as_object().is_some_and(|value| are_equal(value, members))
    };
    let (mut has_payload, mut has_header) = (false, false);
    for value in stored.values() {
        match (is(value, &jwt.claims), is(value, &jwt.header_members)) {
            (false, false) => return false,
            (payload, header) => {
                (has_payload, has_header) = (has_payload | payload, has_header | header);
            }
        }
    }
    has_payload && has_header
}

/// Whether an object of metadata is equal to another one, with numbers as doubles, which is how
/// metadata has them. A number that a double may have rounded is equal to none: it may be that of
/// another token.
fn are_equal(one: &Claims, other: &Claims) -> bool {
    fn same(one: &Value, other: &Value) -> bool {
        match (one, other) {
            (Value::Number(stored), Value::Number(other)) => {
                is_exact(one) && stored.as_f64() == other.as_f64()
            }
            (Value::Array(one), Value::Array(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same(a, b))
            }
            (Value::Object(one), Value::Object(other)) => are_equal(one, other),
            _ => one == other,
        }
    }
    one.len() == other.len()
        && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same(value, other)))
}

/// Whether the claims of a token and those of the response to its introspection are about the same
/// grant.
pub(crate) fn agree(signed: &Claims, introspected: &Claims) -> bool {
    ["iss", "sub", "client_id"].into_iter().all(|name| {
        match (signed.get(name), introspected.get(name)) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        }
    })
}
