//! Token responses (RFC 6749, sections 5.1 and 5.2).

use std::time::Duration;

use serde_json::{Map, Value};

use crate::oauth::call::Answer;
use crate::oauth::failure::{Failure, OAuthError};
use crate::oauth::json;
use crate::oauth::secret::Secret;
use crate::timestamp::Timestamp;

/// The maximum length of a token, in bytes. No server accepts a header of this size.
const MAX_TOKEN: usize = 64 * 1024;

/// The maximum lifetime.
const MAX_LIFETIME: Duration = Duration::from_hours(366 * 24);

/// An issued token.
#[derive(Debug)]
pub(crate) struct TokenResponse {
    /// The token, valid in a header.
    pub(crate) access_token: Secret,
    /// The refresh token.
    pub(crate) refresh_token: Option<Secret>,
    /// The lifetime, if the server returned one; zero if the token is to be used once.
    pub(crate) expires_in: Option<Duration>,
    /// The granted scope, if the server returned one; otherwise the requested scope.
    pub(crate) scope: Option<String>,
}

/// The kind of a token response, which has further requirements.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TokenResponseKind<'a> {
    /// The response to any other grant.
    AnyGrant,
    /// The response to a token exchange (RFC 8693, section 2.2.1), with the requested type if any.
    Exchange { requested: Option<&'a str> },
}

impl TokenResponse {
    /// Parses the response.
    ///
    /// # Errors
    /// There is no usable bearer token.
    pub(crate) fn read(
        outcome: Result<&Answer, Failure>,
        expected: TokenResponseKind<'_>,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let answer = outcome?;
        let members = json::object(&answer.body);
        let text = |members: &Map<String, Value>, name: &str| {
            members.get(name).and_then(Value::as_str).map(str::to_owned)
        };
        let error = members.as_ref().and_then(|members| text(members, "error"));
        match Failure::of_status(answer, now) {
            Some(Failure::Refused { status, .. }) => {
                let error = error.map(|code| OAuthError::of(&code));
                return Err(Failure::Refused { status, error });
            }
            Some(failure) => return Err(failure),
            None => {}
        }
        let members = members.ok_or(Failure::NotJson)?;
        if let Some(code) = error.filter(|code| !code.is_empty()) {
            // Some servers respond with 200 in every case.
            return Err(Failure::Refused {
                status: answer.status,
                error: Some(OAuthError::of(&code)),
            });
        }
        if !text(&members, "token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
            return Err(Failure::Member("`token_type` is missing or not Bearer"));
        }
        let access_token = text(&members, "access_token").filter(|token| is_usable(token));
        let access_token =
            access_token.ok_or(Failure::Member("`access_token` is missing or invalid"))?;
        if let TokenResponseKind::Exchange { requested } = expected {
            let issued = text(&members, "issued_token_type");
            let fits = |kind: &str| requested.is_none_or(|requested| requested == kind);
            if !issued.is_some_and(|kind| fits(&kind)) {
                return Err(Failure::Member("`issued_token_type` is missing or not as requested"));
            }
        }
        Ok(Self {
            access_token: Secret::new(access_token),
            refresh_token: refresh_token(&members),
            expires_in: members.get("expires_in").and_then(lifetime),
            scope: text(&members, "scope"),
        })
    }
}

/// The refresh token in a response without a usable access token. The one that was sent may be spent
/// all the same (RFC 6749, section 6).
pub(crate) fn rotated(failure: Failure, answer: &Answer) -> Option<Secret> {
    if !matches!(failure, Failure::Member(_)) {
        return None;
    }
    refresh_token(&json::object(&answer.body)?)
}

fn refresh_token(members: &Map<String, Value>) -> Option<Secret> {
    let token = members.get("refresh_token")?.as_str().filter(|token| !token.is_empty())?;
    Some(Secret::new(token.to_owned()))
}

/// Whether a token is valid in a header: visible ASCII only.
pub(crate) fn is_usable(token: &str) -> bool {
    (1..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(|b| (0x21..=0x7e).contains(&b))
}

/// `expires_in`: a number of seconds, also in a string. Anything else counts as missing.
fn lifetime(expires_in: &Value) -> Option<Duration> {
    let seconds = match expires_in {
        Value::String(text) => json::parse(text.as_bytes()).ok()?.as_f64()?,
        number => number.as_f64()?,
    };
    // A float cast saturates: negative values become zero.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let lives = Duration::from_millis((seconds * 1000.0) as u64);
    Some(lives.min(MAX_LIFETIME))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The time of every answer.
    const NOW: Timestamp = Timestamp::from_millis(0);

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, retry_after: None, body: body.into() }
    }

    fn read(body: &Value) -> Result<TokenResponse, Failure> {
        TokenResponse::read(Ok(&answer(200, &body.to_string())), TokenResponseKind::AnyGrant, NOW)
    }

    fn with(name: &str, value: Value) -> Value {
        let mut body = json!({"access_token": "t", "token_type": "Bearer", "expires_in": 60});
        body[name] = value;
        body
    }

    #[test]
    fn cl_6749_12_d2_04_lifetimes_of_every_shape_are_read_without_overflow() {
        let year = Some(MAX_LIFETIME);
        for (value, expected) in [
            (json!(3600), Some(Duration::from_hours(1))),
            (json!("3600"), Some(Duration::from_hours(1))),
            (json!(1.5), Some(Duration::from_millis(1500))),
            (json!("1.5"), Some(Duration::from_millis(1500))),
            (json!(0), Some(Duration::ZERO)),
            (json!(-1), Some(Duration::ZERO)),
            (json!("0"), Some(Duration::ZERO)),
            (json!(1e18), year),
            (json!(1e300), year),
            (json!("1e18"), year),
            (json!(" 60 "), Some(Duration::from_mins(1))),
            (json!("inf"), None),
            (json!("[60]"), None),
            (json!(u64::MAX), year),
            (json!("NaN"), None),
            (json!("soon"), None),
            (json!(""), None),
            (json!(null), None),
            (json!(true), None),
            (json!([60]), None),
        ] {
            assert_eq!(read(&with("expires_in", value.clone())).unwrap().expires_in, expected);
        }
        let missing = read(&json!({"access_token": "t", "token_type": "Bearer"})).unwrap();
        assert_eq!(missing.expires_in, None);
    }

    #[test]
    fn cl_6749_11_cl_6749_17_only_bearer_tokens_are_used_in_any_case_of_the_word() {
        for kind in [json!("Bearer"), json!("bearer"), json!("BEARER")] {
            assert!(read(&with("token_type", kind)).is_ok());
        }
        for kind in [json!("N_A"), json!("mac"), json!("DPoP"), json!(""), json!(null), json!(1)] {
            let failure = read(&with("token_type", kind)).unwrap_err();
            assert!(matches!(failure, Failure::Member(what) if what.contains("token_type")));
        }
    }

    #[test]
    fn tokens_that_cannot_stand_in_a_header_are_refused() {
        for token in ["", "a b", "a\r\nx: y", "a\0", "ö", "\u{7f}"] {
            let failure = read(&with("access_token", token.into())).unwrap_err();
            assert!(matches!(failure, Failure::Member(what) if what.contains("access_token")));
        }
        assert!(read(&with("access_token", json!(1))).is_err());
        assert!(read(&with("access_token", "x".repeat(20_000).into())).is_ok());
        assert!(read(&with("access_token", "x".repeat(MAX_TOKEN + 1).into())).is_err());
    }

    #[test]
    fn cl_6749_14_d6_02_errors_are_errors_whatever_the_status() {
        for (status, code, error) in [
            (400, "invalid_grant", Some(OAuthError::InvalidGrant)),
            (401, "invalid_client", Some(OAuthError::InvalidClient)),
            (400, "something_else", Some(OAuthError::Other)),
        ] {
            let body = json!({"error": code, "error_description": "s3cr3t"}).to_string();
            let failure =
                TokenResponse::read(Ok(&answer(status, &body)), TokenResponseKind::AnyGrant, NOW)
                    .unwrap_err();
            assert_eq!(failure, Failure::Refused { status, error });
            assert!(!failure.to_string().contains("s3cr3t"));
        }
        let in_200 = read(&with("error", json!("invalid_scope"))).unwrap_err();
        let error = Some(OAuthError::InvalidScope);
        assert_eq!(in_200, Failure::Refused { status: 200, error });
        assert!(read(&with("error", json!(""))).is_ok(), "no error has no name");
    }

    #[test]
    fn d6_07_what_is_no_json_object_or_a_redirect_is_a_bad_answer() {
        for body in ["", "<html>", "[]", "\"t\"", "{\"access_token\": \"t\"", "null"] {
            let failure =
                TokenResponse::read(Ok(&answer(200, body)), TokenResponseKind::AnyGrant, NOW)
                    .unwrap_err();
            assert_eq!(failure, Failure::NotJson, "{body}");
        }
        for status in [204, 301, 302, 404] {
            let failure =
                TokenResponse::read(Ok(&answer(status, "")), TokenResponseKind::AnyGrant, NOW)
                    .unwrap_err();
            assert_eq!(failure, Failure::Status(status));
        }
    }

    #[test]
    fn cl_8693_03_an_exchanged_token_says_what_it_is() {
        let kind = "urn:ietf:params:oauth:token-type:access_token";
        let read = |body: &Value, requested| {
            let answer = answer(200, &body.to_string());
            TokenResponse::read(Ok(&answer), TokenResponseKind::Exchange { requested }, NOW).is_ok()
        };
        assert!(!read(&with("scope", json!("a")), None));
        assert!(read(&with("issued_token_type", json!(kind)), None));
        assert!(read(&with("issued_token_type", json!(kind)), Some(kind)));
        assert!(!read(&with("issued_token_type", json!(kind)), Some("other")));
    }
}
