//! The introspection response (RFC 7662), as JSON or in the form of a JWT, which services verify
//! themselves (phantom tokens).
//!
//! A JWT is not verified here: the response is as trustworthy as the connection to the server, as
//! any other response is.

use std::borrow::Cow;

use serde_json::Value;

use crate::http::base64;
use crate::oauth::call::Answer;
use crate::oauth::claims::{Claims, jwt_parts};
use crate::oauth::failure::Failure;
use crate::oauth::json;
use crate::oauth::outcome::CallOutcome;
use crate::timestamp::Timestamp;

/// The claim with the text of the JWT.
const JWT: &str = "jwt";

const ACTIVE: &str = "active";

/// The type of a signed introspection response.
const TYPE_OF_RESPONSES: &str = "token-introspection+jwt";

/// The form of a server's responses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ResponseFormat {
    /// A JSON object (RFC 7662).
    Json,
    /// A JWT, or a JSON object with one.
    Jwt,
}

/// The introspection response for a token.
#[derive(Debug)]
pub(crate) enum Response<'b> {
    /// `"active": true`.
    Active {
        claims: Claims,
        /// The text of the claims.
        json: Cow<'b, [u8]>,
    },
    Inactive,
}

impl<'b> Response<'b> {
    /// Parses the response.
    ///
    /// # Errors
    /// The status is not 200, or the body does not have the format.
    pub(crate) fn read(
        outcome: Result<&'b Answer, Failure>,
        format: ResponseFormat,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let answer = outcome?;
        match (Failure::of_status(answer, now), format) {
            // There is no JWT for an inactive token.
            (Some(Failure::Status(204)), ResponseFormat::Jwt) => Ok(Self::Inactive),
            (Some(failure), _) => Err(failure),
            // 201 is not a valid status in RFC 7662.
            (None, _) if answer.status != 200 => Err(Failure::Status(answer.status)),
            (None, _) => Self::parse(&answer.body, format),
        }
    }

    /// Parses the body of a response with status 200.
    ///
    /// # Errors
    /// It does not have the format.
    pub(crate) fn parse(body: &'b [u8], format: ResponseFormat) -> Result<Self, Failure> {
        match format {
            ResponseFormat::Json => Self::from_json(body),
            ResponseFormat::Jwt => Self::from_jwt(body),
        }
    }

    fn from_json(body: &'b [u8]) -> Result<Self, Failure> {
        Self::of(json::object(body).ok_or(Failure::NotJson)?, body.into())
    }

    /// Parses a JWT, or a JSON object with one.
    fn from_jwt(body: &'b [u8]) -> Result<Self, Failure> {
        let body = body.trim_ascii();
        if body.starts_with(b"{") {
            let response = Self::from_json(body)?;
            if let Self::Active { claims, .. } = &response {
                Jwt::read(claims.get(JWT).and_then(Value::as_str).unwrap_or_default())?;
            }
            return Ok(response);
        }
        let text = std::str::from_utf8(body).unwrap_or_default();
        let Jwt { mut claims, payload } = Jwt::read(text)?;
        if !claims.contains_key(ACTIVE) {
            claims.insert(ACTIVE.to_owned(), true.into());
        }
        claims.insert(JWT.to_owned(), text.into());
        Self::of(claims, payload.into())
    }

    fn of(claims: Claims, json: Cow<'b, [u8]>) -> Result<Self, Failure> {
        match claims.get(ACTIVE) {
            Some(Value::Bool(true)) => Ok(Self::Active { claims, json }),
            Some(Value::Bool(false)) => Ok(Self::Inactive),
            _ => Err(Failure::Member("`active` is missing or not a boolean")),
        }
    }

    /// The outcome of the call as it is counted.
    pub(crate) fn outcome(&self) -> CallOutcome {
        match self {
            Self::Active { .. } => CallOutcome::Active,
            Self::Inactive => CallOutcome::Inactive,
        }
    }

    /// The body from which other workers read the same.
    pub(crate) fn shared<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        match self {
            Self::Active { .. } => body,
            Self::Inactive => br#"{"active":false}"#,
        }
    }
}

/// A signed JWT (RFC 7519), not verified.
struct Jwt {
    claims: Claims,
    /// The text of the claims.
    payload: Vec<u8>,
}

impl Jwt {
    /// Parses a JWT.
    ///
    /// # Errors
    /// It is not one, or is a signed introspection response (RFC 9701, section 5), which must not be
    /// mistaken for an access token (section 8.1).
    fn read(text: &str) -> Result<Self, Failure> {
        let (header, jwt) = Self::parts(text)
            .ok_or(Failure::Member("neither a signed JWT nor an object with one as `jwt`"))?;
        let typ = header.get("typ").and_then(Value::as_str).unwrap_or_default();
        // A prefix such as `application/` makes no difference.
        let end = typ.get(typ.len().saturating_sub(TYPE_OF_RESPONSES.len())..);
        if end.is_some_and(|end| end.eq_ignore_ascii_case(TYPE_OF_RESPONSES)) {
            return Err(Failure::Member("a signed introspection response (RFC 9701)"));
        }
        Ok(jwt)
    }

    /// The header, and the rest.
    fn parts(text: &str) -> Option<(Claims, Self)> {
        let decode = |part: &str| base64::decode_url(part.as_bytes());
        let [header, payload, signature] = jwt_parts(text)?;
        if decode(signature)?.is_empty() {
            return None;
        }
        let payload = decode(payload)?;
        Some((json::object(&decode(header)?)?, Self { claims: json::object(&payload)?, payload }))
    }
}

#[cfg(test)]
mod tests {
    use base64ct::{Base64UrlUnpadded, Encoding};
    use serde_json::json;

    use super::*;

    const NEITHER: Failure =
        Failure::Member("neither a signed JWT nor an object with one as `jwt`");
    const SIGNED: Failure = Failure::Member("a signed introspection response (RFC 9701)");

    fn jwt(header: &str, payload: &str) -> String {
        let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        format!("{}.{}.c2ln", encode(header), encode(payload))
    }

    fn read_jwt(body: &str) -> Result<Option<Claims>, Failure> {
        match Response::parse(body.as_bytes(), ResponseFormat::Jwt)? {
            Response::Active { claims, .. } => Ok(Some(claims)),
            Response::Inactive => Ok(None),
        }
    }

    #[test]
    fn the_payload_of_a_jwt_is_the_response_and_its_text_a_claim() {
        for payload in [r#"{"sub":"a","jwt":"x"}"#, r#"{"active":true,"sub":"a"}"#] {
            let text = jwt(r#"{"alg":"RS256","typ":"at+jwt"}"#, payload);
            for body in [text.clone(), format!(" {text}\r\n")] {
                let claims = read_jwt(&body).unwrap().unwrap();
                assert_eq!((&claims["sub"], &claims["jwt"]), (&json!("a"), &json!(text)));
            }
            let response = Response::parse(text.as_bytes(), ResponseFormat::Jwt).unwrap();
            let Response::Active { json, .. } = response else { panic!("{payload}") };
            assert_eq!(*json, *payload.as_bytes());
        }
        assert_eq!(read_jwt(&jwt("{}", r#"{"active":false,"sub":"a"}"#)), Ok(None));
        for active in [r#""true""#, r#""false""#, "1", "null", "[true]"] {
            let failure = read_jwt(&jwt("{}", &format!(r#"{{"active":{active}}}"#))).unwrap_err();
            assert_eq!(
                failure,
                Failure::Member("`active` is missing or not a boolean"),
                "{active}"
            );
        }
    }

    #[test]
    fn an_object_has_a_jwt_unless_the_token_is_inactive() {
        let text = jwt("{}", "{}");
        let claims = read_jwt(&json!({"active": true, "sub": "a", "jwt": text}).to_string());
        assert_eq!(claims.unwrap().unwrap()["jwt"], json!(text));
        assert_eq!(read_jwt(r#"{"active":false}"#), Ok(None));
        for other in [json!(null), json!(""), json!("a.b.c"), json!([text]), json!({"a": text})] {
            let body = json!({"active": true, "jwt": other}).to_string();
            assert_eq!(read_jwt(&body), Err(NEITHER), "{body}");
        }
        assert_eq!(read_jwt(r#"{"active":true}"#), Err(NEITHER));
        assert_eq!(
            read_jwt(r#"{"active":"true"}"#).unwrap_err().to_string(),
            "invalid response: `active` is missing or not a boolean"
        );
        assert_eq!(read_jwt(r#"{"active":true,"active":true}"#), Err(Failure::NotJson));
    }

    #[test]
    fn what_is_no_signed_jwt_is_refused() {
        let good = jwt("{}", "{}");
        assert!(read_jwt(&good).is_ok());
        let encode = |text: &str| Base64UrlUnpadded::encode_string(text.as_bytes());
        for bad in [
            String::new(),
            "null".to_owned(),
            "[]".to_owned(),
            "<html>".to_owned(),
            format!("{good}.c2ln.c2ln"),
            format!("{good}.c2ln"),
            good.trim_end_matches("c2ln").to_owned(),
            good.trim_end_matches(".c2ln").to_owned(),
            good.replace("c2ln", "c2l="),
            good.replace("c2ln", "c2l"),
            good.replace("c2ln", "c+ln"),
            format!("{good} {good}"),
            format!("\"{good}\""),
            jwt("{}", "[]"),
            jwt("[]", "{}"),
            jwt("{}", r#"{"active":false,"active":true}"#),
            jwt(r#"{"typ":"token-introspection+jwt","typ":"JWT"}"#, "{}"),
            jwt("{}", "{}{}"),
            format!("{}.{}.\u{e9}", encode("{}"), encode("{}")),
        ] {
            assert_eq!(read_jwt(&bad), Err(NEITHER), "{bad}");
        }
    }

    #[test]
    fn a_signed_introspection_response_is_no_access_token() {
        for typ in [
            "token-introspection+jwt",
            "Token-Introspection+JWT",
            "application/token-introspection+jwt",
            "APPLICATION/token-introspection+jwt",
        ] {
            let text = jwt(&json!({ "typ": typ }).to_string(), "{}");
            assert_eq!(read_jwt(&text), Err(SIGNED), "{typ}");
            let body = json!({"active": true, "jwt": text}).to_string();
            assert_eq!(read_jwt(&body), Err(SIGNED), "{typ}");
        }
        for typ in [json!("JWT"), json!("at+jwt"), json!("introspection"), json!(null), json!(1)] {
            assert!(read_jwt(&jwt(&json!({ "typ": typ }).to_string(), "{}")).is_ok(), "{typ}");
        }
    }

    fn read(status: u16, body: &str) -> Result<bool, Failure> {
        read_as(ResponseFormat::Json, status, body)
    }

    fn read_as(format: ResponseFormat, status: u16, body: &str) -> Result<bool, Failure> {
        let body = body.as_bytes().to_vec();
        let answer = Answer { status, retry_after: None, body };
        let response = Response::read(Ok(&answer), format, Timestamp::from_millis(0))?;
        Ok(matches!(response, Response::Active { .. }))
    }

    #[test]
    fn no_content_says_that_a_token_is_inactive_where_responses_are_jwts() {
        assert_eq!(read_as(ResponseFormat::Jwt, 204, ""), Ok(false));
        assert_eq!(read_as(ResponseFormat::Json, 204, ""), Err(Failure::Status(204)));
        for status in [201, 202, 205, 304] {
            let failure = read_as(ResponseFormat::Jwt, status, r#"{"active":false}"#);
            assert_eq!(failure, Err(Failure::Status(status)));
        }
        let failure = read_as(ResponseFormat::Jwt, 200, "").unwrap_err();
        assert!(matches!(failure, Failure::Member(_)), "{failure}");
    }

    #[test]
    fn rs_7662_01_rs_7662_02_only_a_boolean_active_says_anything() {
        assert_eq!(read(200, r#"{"active":true}"#), Ok(true));
        assert_eq!(read(200, r#"{"active":false}"#), Ok(false));
        for body in [r#"{"active":"true"}"#, r#"{"active":1}"#, r#"{"active":null}"#, "{}"] {
            assert_eq!(
                read(200, body).unwrap_err(),
                Failure::Member("`active` is missing or not a boolean"),
                "{body}"
            );
        }
        for body in ["", "[]", "true", "{", r#"{"active":true,"active":true}"#] {
            assert_eq!(read(200, body).unwrap_err(), Failure::NotJson, "{body}");
        }
    }

    #[test]
    fn rs_7662_03_each_status_has_its_own_failure() {
        let body = r#"{"active":true}"#;
        for status in [400, 401, 403] {
            assert_eq!(read(status, body).unwrap_err(), Failure::Refused { status, error: None });
        }
        for status in [429, 500, 503, 599] {
            let failure = read(status, body).unwrap_err();
            assert_eq!(failure, Failure::Busy { status, retry_after: None });
        }
        for status in [100, 199, 201, 204, 301, 399, 402, 404, 428, 430, 499] {
            assert_eq!(read(status, body).unwrap_err(), Failure::Status(status));
        }
    }
}
