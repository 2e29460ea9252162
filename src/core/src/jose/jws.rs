//! JSON Web Signatures in compact serialization (RFC 7515 section 7.1).

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value};

use super::algorithm::SignatureAlgorithm;
use crate::oauth::claims::Claims;
use crate::oauth::json;

/// A signed JWT (RFC 7519), of which nothing is verified yet.
#[derive(Debug)]
pub(crate) struct UnverifiedJwt<'t> {
    pub(crate) header: Header,
    pub(crate) claims: Claims,
    /// What is signed.
    pub(crate) signing_input: &'t str,
    pub(crate) signature: Vec<u8>,
}

/// The parameters of a header that are used (RFC 7515 section 4.1). Keys that it embeds or refers
/// to (`jwk`, `jku`, `x5c`, `x5u`) are not: their issuer would be whoever wrote the token.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Header {
    /// `None` if it is one that nothing verifies.
    pub(crate) algorithm: Option<SignatureAlgorithm>,
    /// `kid`.
    pub(crate) key_id: Option<Box<str>>,
    /// `typ`, in lower case and without `application/`.
    pub(crate) token_type: Option<Box<str>>,
}

/// A token that is no signed JWT which could be verified.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Malformed;

/// Splits a token into the parts of a signed JWT. A JWE has five parts, an opaque token other ones.
fn parts(token: &str) -> Option<[&str; 3]> {
    let mut parts = token.split('.');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}

/// The JSON object of a part. `None` if it is not one, or has duplicate names.
fn object(part: &str) -> Option<Map<String, Value>> {
    // Rejects padding, white space and bits that are not zero at the end.
    match json::parse(&Base64UrlUnpadded::decode_vec(part).ok()?) {
        Ok(Value::Object(members)) => Some(members),
        _ => None,
    }
}

/// The issuer that a token claims to have, if it looks like a signed JWT: header and payload are
/// JSON objects. It is not verified.
pub(crate) fn claimed_issuer(token: &str) -> Option<String> {
    let [header, payload, _] = parts(token)?;
    object(header)?.get("alg")?.as_str()?;
    match object(payload)?.remove("iss") {
        Some(Value::String(issuer)) => Some(issuer),
        _ => None,
    }
}

impl<'t> UnverifiedJwt<'t> {
    /// Parses a token.
    ///
    /// # Errors
    /// It is not a signed JWT, or its header requires what is not supported (`crit`, RFC 7515
    /// section 4.1.11).
    pub(crate) fn parse(token: &'t str) -> Result<Self, Malformed> {
        let [header, payload, signature] = parts(token).ok_or(Malformed)?;
        let header = Header::of(&object(header).ok_or(Malformed)?)?;
        let claims = object(payload).ok_or(Malformed)?;
        let signature = Base64UrlUnpadded::decode_vec(signature).map_err(|_| Malformed)?;
        let signing_input = token.rsplit_once('.').ok_or(Malformed)?.0;
        Ok(Self { header, claims, signing_input, signature })
    }
}

impl Header {
    fn of(members: &Map<String, Value>) -> Result<Self, Malformed> {
        let text = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(&**text)),
            Some(_) => Err(Malformed),
        };
        // No extension is understood, so every critical one is a reason to reject the token.
        if members.contains_key("crit") {
            return Err(Malformed);
        }
        let algorithm = text("alg")?.ok_or(Malformed)?;
        let token_type = text("typ")?.map(|token_type| {
            let lower = token_type.to_ascii_lowercase();
            lower.strip_prefix("application/").unwrap_or(&lower).into()
        });
        Ok(Self {
            algorithm: SignatureAlgorithm::of_name(algorithm),
            key_id: text("kid")?.map(Into::into),
            token_type,
        })
    }
}
