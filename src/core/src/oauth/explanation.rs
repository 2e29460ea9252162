//! What an authorization server says about a call that it refuses, for the log.
//!
//! Servers repeat what they were sent, and the log must not contain tokens, secrets or line breaks.

use std::fmt;

use serde_json::Value;

use crate::oauth::call::Answer;
use crate::oauth::failure::{Failure, OAuthError};
use crate::oauth::json;

/// The most bytes of a server's words in a log line.
const MAX: usize = 200;

/// A text with so many bytes of a secret in a row is not logged. All of a shorter secret counts.
const PART: usize = 8;

/// The longest character reference of HTML that is recognized, in bytes after `&`.
const MAX_ENTITY: u8 = 8;

/// So many letters and digits in a row are not words, but probably a token of another kind.
const LONG: usize = 24;

/// Shows each secret of a call to the function.
pub(crate) type Secrets<'a> = dyn Fn(&mut dyn FnMut(&str)) + 'a;

/// A failure, with the words of the server for it.
pub(crate) struct Explained {
    failure: Failure,
    /// Empty if there are none.
    words: String,
}

impl Explained {
    /// The explanation of a failed call that contained these secrets.
    pub(crate) fn new(
        failure: Failure,
        outcome: Result<&Answer, Failure>,
        secrets: &Secrets<'_>,
    ) -> Self {
        let words = outcome.ok().and_then(|answer| words(failure, answer, secrets));
        Self { failure, words: words.unwrap_or_default() }
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failure.fmt(f)?;
        if self.words.is_empty() {
            return Ok(());
        }
        write!(f, "; the server says \"{}\"", self.words)
    }
}

/// The error code, unless the failure names it, and its description. `None` if there are none, or
/// the response may repeat a secret.
fn words(failure: Failure, answer: &Answer, secrets: &Secrets<'_>) -> Option<String> {
    let Failure::Refused { error, .. } = failure else { return None };
    let response = json::parse(&answer.body).ok().filter(|response| !holds_secrets(response))?;
    let text = |name| response.get(name).and_then(Value::as_str).unwrap_or_default();
    let code = match error {
        None | Some(OAuthError::Other) => text("error"),
        Some(_) => "",
    };
    let description = text("error_description");
    let separator = if code.is_empty() || description.is_empty() { "" } else { ": " };
    let said = [code, separator, description].concat().into_bytes();
    let said = said.get(..MAX).unwrap_or(&said);
    let mut is_repeated = false;
    let said_letters = letters(said, true);
    secrets(&mut |secret| {
        let secret = secret.as_bytes();
        for (said, secret) in [(said, secret), (&said_letters, &letters(secret, false))] {
            let part = secret.len().clamp(1, PART);
            is_repeated |= secret.windows(part).any(|part| contains(said, part));
        }
    });
    (!is_repeated).then(|| printable(said))
}

/// The letters and digits of a text. If it may be encoded, without what replaces other characters in
/// forms, in the credentials of HTTP Basic, and in HTML (`%20`, `&amp;`).
fn letters(text: &[u8], is_encoded: bool) -> Vec<u8> {
    let mut letters = Vec::new();
    let mut skipped: u8 = 0;
    for byte in text {
        let is_skipped = skipped > 0 && is_encoded;
        skipped = match byte {
            b'%' => 2,
            b'&' => MAX_ENTITY,
            b';' => 0,
            _ => skipped.saturating_sub(1),
        };
        if byte.is_ascii_alphanumeric() && !is_skipped {
            letters.push(*byte);
        }
    }
    letters
}

/// Whether a text contains this part, in any letter case.
fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|there| there.eq_ignore_ascii_case(part))
}

/// Whether a member, at any depth, is named like a secret.
fn holds_secrets(value: &Value) -> bool {
    let is_secret = |name: &str| {
        let words = ["token", "secret", "assertion", "password", "jwt"];
        words.iter().any(|word| contains(name.as_bytes(), word.as_bytes()))
    };
    match value {
        Value::Object(members) => {
            members.iter().any(|(name, value)| is_secret(name) || holds_secrets(value))
        }
        Value::Array(elements) => elements.iter().any(holds_secrets),
        _ => false,
    }
}

/// A text as RFC 6749 allows it (section 5.2), with dots in place of what may be a token.
fn printable(said: &[u8]) -> String {
    let mut text = String::with_capacity(said.len());
    let mut long: usize = 0;
    for byte in said {
        let is_of_word = byte.is_ascii_alphanumeric() || b"-+=~%".contains(byte);
        long = if is_of_word { long.saturating_add(1) } else { 0 };
        if long == LONG {
            text.truncate(text.len().saturating_sub(LONG - 1));
            text.push_str("...");
        }
        if long < LONG {
            let is_allowed = matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
            text.push(if is_allowed { char::from(*byte) } else { '?' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const REFUSED: Failure = Failure::Refused { status: 400, error: None };

    /// What is logged of a failure with this response, to a call with these secrets.
    fn logged(failure: Failure, body: &Value, secrets: &[&str]) -> String {
        let answer = Answer { status: 400, retry_after: None, body: body.to_string().into() };
        let secrets = |check: &mut dyn FnMut(&str)| secrets.iter().for_each(|secret| check(secret));
        let line = Explained::new(failure, Ok(&answer), &secrets).to_string();
        let begin = failure.to_string();
        line.strip_prefix(&begin).unwrap().to_owned()
    }

    /// What is logged of a description in the response to a call with these secrets.
    fn described(description: &str, secrets: &[&str]) -> String {
        logged(REFUSED, &json!({"error_description": description}), secrets)
    }

    #[test]
    fn the_code_is_told_once_and_the_description_with_it() {
        let both = json!({"error": "invalid_grant", "error_description": "Session not active"});
        let known = Failure::Refused { status: 400, error: Some(OAuthError::InvalidGrant) };
        let other = Failure::Refused { status: 400, error: Some(OAuthError::Other) };
        assert_eq!(logged(known, &both, &[]), r#"; the server says "Session not active""#);
        for failure in [REFUSED, other] {
            let said = logged(failure, &both, &[]);
            assert_eq!(said, r#"; the server says "invalid_grant: Session not active""#);
        }
        let code = json!({"error": "slow_down", "error_uri": "https://as.test/help"});
        assert_eq!(logged(other, &code, &[]), r#"; the server says "slow_down""#);
        for nothing in [json!({}), json!([]), json!({"error": 1, "error_description": ""})] {
            assert_eq!(logged(REFUSED, &nothing, &[]), "", "{nothing}");
        }
        for failure in [Failure::NotJson, Failure::Busy { status: 503, retry_after: None }] {
            assert_eq!(logged(failure, &both, &[]), "");
        }
    }

    #[test]
    fn a_description_is_printable_ascii_in_one_line_and_bounded() {
        let said = described("a\r\n[error] \u{1b}[31m\"b\" \\ \u{e9} \u{202e}", &[]);
        assert_eq!(said, "; the server says \"a??[error] ?[31m?b? ? ?? ???\"");
        let long = "ab ".repeat(1000);
        assert_eq!(described(&long, &[]).len(), "; the server says \"\"".len() + MAX);
        let wide = "\u{e9} ".repeat(100);
        assert!(described(&wide, &[]).len() <= "; the server says \"\"".len() + MAX);
    }

    #[test]
    fn d6_12_no_part_of_a_secret_that_was_sent_is_logged() {
        let token = "2YotnFZFEjr1zCsicMWpAA.tGzv3JOkF0XG5Qx2TlKWIA";
        for description in [
            token.to_owned(),
            format!("Token {token} not found"),
            "unknown token 2YotnFZF...".to_owned(),
            "unknown token ...5Qx2TlKWIA".to_owned(),
            "token=nFZFEjr1".to_owned(),
            token.to_uppercase(),
        ] {
            assert_eq!(described(&description, &["no", token]), "", "{description}");
        }
        for (description, secret) in [
            ("bad password: pw", "pw"),
            ("bad password: p%26s%25w%23rd+1", "p&s%w#rd 1"),
            ("bad password: p&s%w#rd 1", "p&s%w#rd 1"),
            ("alice:hunter2 is wrong", "hunter2"),
            ("no match for c:my%20pass%20word%2042", "my pass word 42"),
            ("no match for c:open+sesame7", "open sesame7"),
            ("bad secret p&amp;q&quot;r&lt;s", "p&q\"r<s"),
            ("bad secret p&#38;q&#x22;r&#60;s", "p&q\"r<s"),
        ] {
            assert_eq!(described(description, &[secret]), "", "{description}");
        }
        // An empty secret is in every text.
        assert_ne!(described("Not allowed", &[""]), "");
        // Less of a long one may be a common word.
        assert_ne!(described("Not allowed", &["allowed-by-nobody"]), "");
        let code = json!({"error": token});
        assert_eq!(logged(REFUSED, &code, &[token]), "");
    }

    #[test]
    fn d6_12_what_may_be_a_token_is_left_out() {
        let jwt = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ.eyJzdWIiOiJhbGljZSIsImlhdCI6MTUxNjIzOTAyMn0.\
                   c2lnbmF0dXJlLXNpZ25hdHVyZS1zaWduYXR1cmU";
        let said = described(&format!("bad {jwt}!"), &[]);
        assert_eq!(said, "; the server says \"bad ...........!\"");
        let basic = "Basic b3JkZXJzOm9yZGVycy1zZWNyZXQtc2VjcmV0";
        assert_eq!(described(basic, &[]), "; the server says \"Basic ...\"");
        let words =
            "urn:ietf:params:oauth:grant-type:token-exchange at https://as.example.com/token";
        assert_eq!(described(words, &[]), format!("; the server says \"{words}\""));
    }

    #[test]
    fn d6_12_nothing_is_logged_of_a_response_that_holds_a_token() {
        let description = "Not allowed";
        for member in [
            json!({"access_token": "t"}),
            json!({"id_token": null}),
            json!({"refreshToken": "t"}),
            json!({"details": [{"request": {"Client_Secret": "s"}}]}),
            json!({"request": {"assertion": "a"}}),
            json!({"form": {"password": "p"}}),
            json!({"logout_jwt": "j"}),
        ] {
            let mut body = json!({"error": "invalid_grant", "error_description": description});
            for (name, value) in member.as_object().unwrap() {
                body[name] = value.clone();
            }
            assert_eq!(logged(REFUSED, &body, &[]), "", "{body}");
        }
        let body = json!({"error_description": description, "error_codes": [1], "trace": {}});
        assert_ne!(logged(REFUSED, &body, &[]), "");
    }
}
