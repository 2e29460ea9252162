//! What a request that passes takes along, and what it must not bring (RFC 9700, section 4.13).

use std::rc::Rc;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;

use crate::claims::{ClaimPath, Claims, is_exact};
use crate::head::Head;
use crate::token_source::Removal;

/// The longest claim that is put in a header, or in filter state.
pub(crate) const MAX_CLAIM: usize = 8 * 1024;

/// The longest payload header, encoded. Hosts refuse much larger heads altogether.
const MAX_PAYLOAD: usize = 32 * 1024;

/// What the configuration says of forwarding.
#[derive(Debug, Default)]
pub(crate) struct Forwarding {
    /// Whether the token stays in the request.
    token: bool,
    /// Headers, and the claims they get.
    claims: Vec<(Rc<str>, ClaimPath)>,
    /// The header that gets the whole answer.
    payload: Option<Rc<str>>,
    /// Every header named here, folded.
    own: Vec<String>,
}

impl Forwarding {
    /// Puts the configured parts together. Header names are in lower case.
    pub(crate) fn new(
        token: bool,
        claims: Vec<(String, ClaimPath)>,
        payload: Option<String>,
    ) -> Self {
        let own = claims.iter().map(|(name, _)| name).chain(&payload).map(|n| fold(n)).collect();
        let claims = claims.into_iter().map(|(name, path)| (name.into(), path)).collect();
        Self { token, claims, payload: payload.map(Into::into), own }
    }

    /// The headers of the request that pass for ours under any spelling: all of them go, on every
    /// path, since a service behind reads `x_user` or `X-User` as if we had written it.
    pub(crate) fn spoofed(&self, head: &dyn Head) -> Vec<Rc<str>> {
        let mut spoofed = Vec::new();
        if self.own.is_empty() {
            return spoofed;
        }
        for (name, _) in head.fields().iter() {
            // Names of ours are ASCII, and so is every spelling of them.
            if self.own.iter().any(|own| is_spelling(name, own))
                && let Ok(name) = std::str::from_utf8(name)
            {
                spoofed.push(name.into());
            }
        }
        spoofed
    }

    /// Whether the whole head has to be looked at.
    pub(crate) fn needs_whole_head(&self) -> bool {
        !self.own.is_empty()
    }

    /// The headers that an active token's request gets: `body` is the answer that `claims` are of.
    pub(crate) fn headers(
        &self,
        claims: &Claims,
        scope_claim: &ClaimPath,
        body: &[u8],
    ) -> Vec<(Rc<str>, Rc<str>)> {
        let mut headers = Vec::new();
        for (name, path) in &self.claims {
            let separator = if path == scope_claim { ' ' } else { ',' };
            let value = path.find(claims).and_then(|claim| header_value(claim, separator));
            if let Some(value) = value {
                headers.push((Rc::clone(name), value.into()));
            }
        }
        if let Some(name) = &self.payload {
            let value = Base64UrlUnpadded::encode_string(body);
            if value.len() <= MAX_PAYLOAD {
                headers.push((Rc::clone(name), value.into()));
            }
        }
        headers
    }

    /// How a request goes on with its token, and what the token brings.
    pub(crate) fn with_token(
        &self,
        spoofed: Vec<Rc<str>>,
        removal: &Removal,
        in_query: bool,
        headers: &[(Rc<str>, Rc<str>)],
    ) -> Forward {
        let mut forward = Forward { remove: spoofed, set: headers.to_vec(), private: in_query };
        // A query is written to logs on every way on, so a token never stays in one.
        if in_query || !self.token {
            forward.take_out(removal);
        }
        forward
    }
}

/// How a request goes on: what goes from its head, then what is set there.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Forward {
    /// Headers to take out, every value of each.
    pub remove: Vec<Rc<str>>,
    /// Headers, or `:path`, to set; no other value of theirs stays.
    pub set: Vec<(Rc<str>, Rc<str>)>,
    /// Whether the service's answer is for this caller only (RFC 6750, section 2.3).
    pub private: bool,
}

impl Forward {
    /// Takes a token out.
    pub(crate) fn take_out(&mut self, removal: &Removal) {
        match removal {
            Removal::Remove(name) if self.remove.contains(name) => {}
            Removal::Remove(name) => self.remove.push(Rc::clone(name)),
            Removal::Replace(name, value) => {
                self.set.retain(|(set, _)| set != name);
                self.set.push((Rc::clone(name), Rc::clone(value)));
            }
        }
    }
}

/// A header name, in ASCII, as loose readers see it: case, `-`, `_` and `.` make no difference.
pub(crate) fn fold(name: &str) -> String {
    name.bytes().map(folded).map(char::from).collect()
}

/// Whether loose readers take this name for one that is folded.
fn is_spelling(name: &[u8], own: &str) -> bool {
    name.len() == own.len() && name.iter().map(|byte| folded(*byte)).eq(own.bytes())
}

/// A byte of a name as loose readers see it.
fn folded(byte: u8) -> u8 {
    match byte {
        b'_' | b'.' => b'-',
        byte => byte.to_ascii_lowercase(),
    }
}

/// A claim as a header value, if it can stand in one: printable ASCII without spaces at the ends.
///
/// A list is joined by `separator`, unless one of its elements holds that: `"a,admin"` must not
/// look like two.
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
    use crate::head::Fields;

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
    fn rs_9700_05_d4_02_every_spelling_of_our_headers_is_spoofed() {
        let claims = vec![("x-user".to_owned(), ClaimPath::new("sub"))];
        let forwarding = Forwarding::new(false, claims, Some("x-payload".to_owned()));
        let names = ["x-user", "X_User", "x.user", "x-users", "X-PAYLOAD", "xuser", "accept"];
        let head = Fields::from_iter(names.map(|name| (name, "v")));
        let spoofed = forwarding.spoofed(&head);
        let spoofed: Vec<&str> = spoofed.iter().map(|name| &**name).collect();
        assert_eq!(spoofed, ["x-user", "X_User", "x.user", "X-PAYLOAD"]);
        assert!(Forwarding::default().spoofed(&head).is_empty());
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
        let Ok(Value::Object(claims)) = crate::json::parse(body) else { unreachable!() };
        let scope = ClaimPath::new("scope");
        let forwarding = Forwarding::new(false, Vec::new(), Some("x-payload".to_owned()));
        let headers = forwarding.headers(&claims, &scope, body);
        assert_eq!(&*headers[0].1, "eyJhY3RpdmUiOiB0cnVlLCAic3ViIjoiYSJ9");
        // 32 KiB of base64 hold 24 KiB.
        assert_eq!(forwarding.headers(&claims, &scope, &vec![b' '; 24 * 1024]).len(), 1);
        assert!(forwarding.headers(&claims, &scope, &vec![b' '; 24 * 1024 + 1]).is_empty());
    }
}
