//! JSON Web Signatures in compact serialization (RFC 7515 section 7.1).

use serde_json::Value;

use super::algorithm::SignatureAlgorithm;
use crate::http::base64;
use crate::oauth::claims::{Claims, jwt_parts};
use crate::oauth::json;

/// A signed JWT (RFC 7519), of which nothing is verified yet.
#[derive(Debug)]
pub(crate) struct UnverifiedJwt<'t> {
    /// `None` if it requires what is not supported (`crit`, RFC 7515 section 4.1.11), or has a
    /// parameter of a wrong type.
    pub(crate) header: Option<Header>,
    /// The members of the header.
    pub(crate) header_members: Claims,
    pub(crate) claims: Claims,
    /// The JSON text of the claims.
    pub(crate) payload: Vec<u8>,
    /// What is signed.
    signing_input: &'t str,
    /// `None` if it is not in base64url.
    signature: Option<Vec<u8>>,
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

/// What a token looks like.
#[derive(Debug)]
pub(crate) enum Token<'t> {
    /// Not like a signed JWT: a JWE (RFC 7516) has five parts, an opaque token any other form.
    Opaque,
    /// Like a signed JWT, but header or payload are no JSON objects, or have duplicate names, so
    /// that it is uncertain whose it is.
    Malformed,
    Jwt(UnverifiedJwt<'t>),
}

/// Reads a token.
pub(crate) fn read(token: &str) -> Token<'_> {
    // Rejects padding, white space and bits that are not zero at the end.
    let decode = |part: &str| base64::decode_url(part.as_bytes());
    let Some([header, payload, signature]) = jwt_parts(token) else { return Token::Opaque };
    let Some(header) = decode(header) else { return Token::Opaque };
    if !header.trim_ascii_start().starts_with(b"{") {
        return Token::Opaque;
    }
    let payload = decode(payload).and_then(|payload| Some((json::object(&payload)?, payload)));
    let signing_input = token.rsplit_once('.').map(|(input, _)| input);
    let (Some(header_members), Some((claims, payload)), Some(signing_input)) =
        (json::object(&header), payload, signing_input)
    else {
        return Token::Malformed;
    };
    Token::Jwt(UnverifiedJwt {
        header: Header::of(&header_members),
        header_members,
        claims,
        payload,
        signing_input,
        signature: decode(signature),
    })
}

impl UnverifiedJwt<'_> {
    /// The issuer that it claims to have.
    pub(crate) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// What is signed, and the signature.
    pub(crate) fn signed(&self) -> Option<(&[u8], &[u8])> {
        Some((self.signing_input.as_bytes(), self.signature.as_deref()?))
    }
}

/// A header type in lower case and without `application/` (RFC 7515 section 4.1.9).
pub(crate) fn normal_type(token_type: &str) -> Box<str> {
    let lower = token_type.to_ascii_lowercase();
    lower.strip_prefix("application/").unwrap_or(&lower).into()
}

impl Header {
    /// The algorithm, and the identifier of the key if there is one.
    pub(crate) fn signed_by(&self) -> Option<(SignatureAlgorithm, Option<&str>)> {
        Some((self.algorithm?, self.key_id.as_deref()))
    }

    fn of(members: &Claims) -> Option<Self> {
        let text = |name: &str| match members.get(name) {
            None => Some(None),
            Some(Value::String(text)) => Some(Some(&**text)),
            Some(_) => None,
        };
        // No extension is understood, so every critical one is a reason to reject the token.
        if members.contains_key("crit") {
            return None;
        }
        let algorithm = text("alg")??;
        let token_type = text("typ")?.map(normal_type);
        Some(Self {
            algorithm: SignatureAlgorithm::of_name(algorithm),
            key_id: text("kid")?.map(Into::into),
            token_type,
        })
    }
}
