//! Claims as the values of headers.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use serde_json::Value;

use crate::ids::HeaderId;
use crate::oauth::claims::{ClaimPath, is_exact, is_held, is_scalar};

/// The maximum length of a claim in a header or in filter state, in bytes.
pub(crate) const MAX_CLAIM: usize = 8 * 1024;

/// A header with the value of a claim.
#[derive(Clone, Debug)]
pub(crate) struct ClaimHeader {
    pub(crate) name: Arc<str>,
    pub(crate) claim: ClaimPath,
    pub(crate) text: ClaimText,
}

/// How the text of a claim is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClaimText {
    pub(crate) format: Format,
    pub(crate) encoding: Encoding,
}

/// What of a claim is forwarded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Format {
    /// Its value.
    #[default]
    Value,
    /// The names of its members whose value is neither false nor null.
    Members,
}

/// How each text is encoded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Encoding {
    #[default]
    Plain,
    /// Percent-encoded UTF-8; only the unreserved characters remain (RFC 3986, section 2.3).
    Percent,
    /// Without padding.
    Base64Url,
}

/// A header that is not set although its claim has a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Dropped {
    /// The header.
    pub header: HeaderId,
    /// Why it is not set.
    pub cause: DropCause,
}

/// Why a claim is not forwarded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DropCause {
    /// It was rounded.
    Inexact,
    /// The encoding is plain, and it is not printable ASCII, begins or ends with a space, or has an
    /// element with the separator: `"a,admin"` must not read as two elements.
    NeedsEncoding,
    /// It exceeds the limit of the header.
    TooLong,
    /// It has no members.
    NotAnObject,
}

impl fmt::Display for DropCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inexact => "an integer of more than 64 bits",
            Self::NeedsEncoding => "not printable ASCII, or ambiguous: set `encoding`",
            Self::TooLong => "too long for a header",
            Self::NotAnObject => "not an object",
        })
    }
}

impl ClaimText {
    /// The value of a header for a claim; `None` if the claim is empty. A list is joined with
    /// `separator`, each element encoded on its own.
    pub(crate) fn of(self, claim: &Value, separator: u8) -> Result<Option<String>, DropCause> {
        if !is_exact(claim) {
            return Err(DropCause::Inexact);
        }
        let mut list = TextList { encoding: self.encoding, separator, ..TextList::default() };
        match (self.format, claim) {
            (Format::Members, Value::Object(members)) => {
                for (name, value) in members {
                    if is_held(value) {
                        list.add(name);
                    }
                }
            }
            (Format::Members, _) => return Err(DropCause::NotAnObject),
            (Format::Value, Value::Array(elements)) if elements.iter().all(is_scalar) => {
                for element in elements {
                    list.add(&text(element));
                }
            }
            (Format::Value, _) => encode(self.encoding, &text(claim), &mut list.text),
        }
        let TextList { text, is_ambiguous, .. } = list;
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > MAX_CLAIM {
            return Err(DropCause::TooLong);
        }
        let is_printable = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        if is_ambiguous || !is_printable || text.starts_with(' ') || text.ends_with(' ') {
            return Err(DropCause::NeedsEncoding);
        }
        Ok(Some(text))
    }
}

/// The elements of a list, as they are joined.
#[derive(Default)]
struct TextList {
    encoding: Encoding,
    separator: u8,
    text: String,
    /// The number of elements.
    elements: usize,
    /// Whether an element contains the separator.
    is_ambiguous: bool,
}

impl TextList {
    fn add(&mut self, element: &str) {
        if self.elements > 0 {
            self.text.push(char::from(self.separator));
        }
        self.elements = self.elements.saturating_add(1);
        self.is_ambiguous |=
            self.encoding == Encoding::Plain && element.as_bytes().contains(&self.separator);
        encode(self.encoding, element, &mut self.text);
    }
}

/// The text of a string; other values as JSON.
fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    }
}

fn encode(encoding: Encoding, text: &str, encoded: &mut String) {
    match encoding {
        Encoding::Plain => encoded.push_str(text),
        Encoding::Base64Url => {
            encoded.push_str(&Base64UrlUnpadded::encode_string(text.as_bytes()));
        }
        Encoding::Percent => {
            let digit = |nibble: u8| {
                char::from(nibble.saturating_add(if nibble < 10 { b'0' } else { b'7' }))
            };
            for byte in text.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    encoded.push(char::from(byte));
                } else {
                    encoded.push('%');
                    encoded.push(digit(byte >> 4));
                    encoded.push(digit(byte & 15));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PLAIN: ClaimText = ClaimText { format: Format::Value, encoding: Encoding::Plain };

    #[test]
    fn d4_03_claims_that_can_stand_in_a_header_are_forwarded() {
        use DropCause::{Inexact, NeedsEncoding, TooLong};
        for (claim, expected) in [
            (json!("alice"), Ok("alice")),
            (json!("with space"), Ok("with space")),
            (json!(42), Ok("42")),
            (json!(1.5), Ok("1.5")),
            (json!(true), Ok("true")),
            (json!(["a", 1, true]), Ok("a,1,true")),
            (json!({"a": [1]}), Ok(r#"{"a":[1]}"#)),
            (json!([["a"], {"b": 1}]), Ok(r#"[["a"],{"b":1}]"#)),
            (json!(18_446_744_073_709_551_615_u64), Ok("18446744073709551615")),
            (json!(1e20), Err(Inexact)),
            (json!([1, 1e20]), Err(Inexact)),
            (json!({"a": [1e20]}), Err(Inexact)),
            (json!(["a,admin", "b"]), Err(NeedsEncoding)),
            (json!(" alice"), Err(NeedsEncoding)),
            (json!("alice "), Err(NeedsEncoding)),
            (json!("a\r\nx-user: root"), Err(NeedsEncoding)),
            (json!("a\nb"), Err(NeedsEncoding)),
            (json!("a\u{0}"), Err(NeedsEncoding)),
            (json!("a\tb"), Err(NeedsEncoding)),
            (json!("a\u{7f}"), Err(NeedsEncoding)),
            (json!("Jos\u{e9}"), Err(NeedsEncoding)),
            (json!({"a": "\u{e9}"}), Err(NeedsEncoding)),
            (json!("a".repeat(8193)), Err(TooLong)),
        ] {
            let expected = expected.map(|text| Some(text.to_owned()));
            assert_eq!(PLAIN.of(&claim, b','), expected, "{claim}");
        }
        let longest = "a".repeat(8192);
        assert_eq!(PLAIN.of(&json!(longest), b','), Ok(Some(longest)));
        // There is nothing to forward, so nothing is missing.
        for empty in [json!(""), json!([]), json!([""])] {
            assert_eq!(PLAIN.of(&empty, b','), Ok(None), "{empty}");
        }
    }

    #[test]
    fn an_encoded_claim_is_a_token_whatever_it_contains_and_each_element_stays_one() {
        for (claim, percent, base64url) in [
            (json!("Zoë Müller"), "Zo%C3%AB%20M%C3%BCller", "Wm_DqyBNw7xsbGVy"),
            (json!("a\r\nx-user: root"), "a%0D%0Ax-user%3A%20root", "YQ0KeC11c2VyOiByb290"),
            (json!(" a%,~"), "%20a%25%2C~", "IGElLH4"),
            (json!(["a,admin", "b"]), "a%2Cadmin,b", "YSxhZG1pbg,Yg"),
            (json!(["a", 1, true]), "a,1,true", "YQ,MQ,dHJ1ZQ"),
            (json!([["é"]]), "%5B%5B%22%C3%A9%22%5D%5D", "W1siw6kiXV0"),
            (json!({"a": 1}), "%7B%22a%22%3A1%7D", "eyJhIjoxfQ"),
            (json!(7), "7", "Nw"),
        ] {
            for (encoding, expected) in
                [(Encoding::Percent, percent), (Encoding::Base64Url, base64url)]
            {
                let text = ClaimText { encoding, ..PLAIN };
                assert_eq!(text.of(&claim, b','), Ok(Some(expected.to_owned())), "{claim}");
            }
        }
        for encoding in [Encoding::Percent, Encoding::Base64Url] {
            let text = ClaimText { encoding, ..PLAIN };
            assert_eq!(text.of(&json!("é".repeat(4097)), b','), Err(DropCause::TooLong));
            assert_eq!(text.of(&json!(1e20), b','), Err(DropCause::Inexact));
            assert_eq!(text.of(&json!([]), b','), Ok(None));
        }
        let percent = ClaimText { encoding: Encoding::Percent, ..PLAIN };
        assert_eq!(percent.of(&json!(["a b", "c"]), b' '), Ok(Some("a%20b c".to_owned())));
    }

    #[test]
    fn names_of_members_are_a_list_that_is_never_ambiguous() {
        let of = |encoding, claim: Value| {
            ClaimText { format: Format::Members, encoding }.of(&claim, b',')
        };
        let text = |text: &str| Ok(Some(text.to_owned()));
        let roles = json!({"dev": {"1": "x"}, "admin": true, "no": false, "none": null});
        assert_eq!(of(Encoding::Plain, roles), text("admin,dev"));
        let comma = json!({"a,admin": {}, "b": {}});
        assert_eq!(of(Encoding::Plain, comma.clone()), Err(DropCause::NeedsEncoding));
        assert_eq!(of(Encoding::Percent, comma.clone()), text("a%2Cadmin,b"));
        assert_eq!(of(Encoding::Base64Url, comma), text("YSxhZG1pbg,Yg"));
        for other in [json!("admin"), json!(["admin"]), json!([{"admin": {}}]), json!(1)] {
            assert_eq!(of(Encoding::Plain, other), Err(DropCause::NotAnObject));
        }
        assert_eq!(of(Encoding::Plain, json!({"a": false})), Ok(None));
        let many: serde_json::Map<String, Value> =
            (0..3000).map(|n| (format!("g{n}"), json!(1))).collect();
        assert_eq!(of(Encoding::Plain, Value::Object(many)), Err(DropCause::TooLong));
    }
}
