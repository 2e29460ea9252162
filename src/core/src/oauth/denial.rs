//! The response to a denied request (RFC 6750, section 3).

use std::borrow::Cow;
use std::fmt;

use crate::oauth::reason::{Challenge, ErrorCode, Reason, Row};

/// A denial: the reason, and the parts of the response that depend on the request. It can only be
/// turned into a reply, so a denied request cannot be forwarded.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub(crate) struct Denial {
    pub(crate) reason: Reason,
    /// The `scope` of the challenge, if the rule requires one.
    scope: Option<String>,
    /// The `acr_values` of the challenge (RFC 9470).
    acr_values: Option<String>,
    /// The `max_age` of the challenge, in seconds (RFC 9470).
    max_age: Option<u64>,
    /// The seconds of `Retry-After`, for responses that have it.
    retry_after: u32,
}

impl Denial {
    pub(crate) fn new(reason: Reason) -> Self {
        Self { reason, scope: None, acr_values: None, max_age: None, retry_after: RETRY_AFTER }
    }

    /// The response to a request that the proxy does not change as decided, or that cannot be decided.
    pub(crate) fn host_error() -> Reply {
        Self::new(Reason::HostError).reply(&Resource::default(), false)
    }

    /// Adds the scope that the rule requires.
    pub(crate) fn with_scope(self, scope: Option<&str>) -> Self {
        Self { scope: scope.map(str::to_owned), ..self }
    }

    /// Adds the authentication requirements of the rule.
    pub(crate) fn with_authentication(
        self,
        acr_values: Option<String>,
        max_age: Option<u64>,
    ) -> Self {
        Self { acr_values, max_age, ..self }
    }

    /// Adds the `Retry-After` of the authorization server.
    pub(crate) fn with_retry_after(self, seconds: Option<u32>) -> Self {
        Self { retry_after: seconds.unwrap_or(self.retry_after), ..self }
    }

    /// The response to the caller. A gRPC request gets the gRPC status, with the text as its message.
    pub(crate) fn reply(&self, resource: &Resource, grpc: bool) -> Reply {
        let Row { error, description, .. } = *self.reason.row();
        let ErrorCode { code, status, grpc_status, challenge } = *error;
        let mut headers: Vec<(&'static str, Cow<'static, str>)> =
            vec![("cache-control", "no-store".into())];
        if !grpc {
            headers.push(("content-type", "application/json".into()));
        }
        if status == 503 {
            headers.push(("retry-after", self.retry_after.to_string().into()));
        }
        let error_code = match challenge {
            Challenge::Absent => None,
            Challenge::WithoutError => Some(None),
            Challenge::WithError => Some(Some(code)),
        };
        if let Some(error_code) = error_code {
            headers.push(("www-authenticate", self.challenge(resource, error_code).into()));
        }
        if status == 401 && resource.accepts_basic {
            let mut challenge = String::from("Basic ");
            push_parameter(&mut challenge, "realm", &resource.realm);
            headers.push(("www-authenticate", challenge.into()));
        }
        let body = if grpc {
            description.to_owned()
        } else {
            format!(r#"{{"error":"{code}","error_description":"{description}"}}"#)
        };
        let details = self.reason.details();
        Reply { status, grpc_status, details, headers, body }
    }

    /// The value of `WWW-Authenticate`.
    fn challenge(&self, resource: &Resource, error: Option<&str>) -> String {
        let mut challenge = String::from("Bearer ");
        let max_age = self.max_age.map(|seconds| seconds.to_string());
        let parameters = [
            ("realm", Some(&*resource.realm)),
            ("error", error),
            ("scope", self.scope.as_deref()),
            ("acr_values", self.acr_values.as_deref()),
            ("max_age", max_age.as_deref()),
            ("resource_metadata", resource.metadata_url.as_deref()),
        ];
        let mut separator = "";
        for (name, value) in parameters {
            let Some(value) = value else { continue };
            challenge.push_str(separator);
            separator = ", ";
            push_parameter(&mut challenge, name, value);
        }
        challenge
    }
}

/// Adds a parameter to a challenge, as a quoted string.
fn push_parameter(challenge: &mut String, name: &str, value: &str) {
    challenge.extend([name, "=\""]);
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            challenge.push('\\');
        }
        challenge.push(c);
    }
    challenge.push('"');
}

/// The default of `Retry-After`, in seconds.
pub(crate) const RETRY_AFTER: u32 = 1;

/// The default `realm` of challenges.
pub(crate) const REALM: &str = "oauth2";

/// A protected resource, as challenges describe it in printable ASCII and tokens name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Resource {
    /// The protected space.
    pub(crate) realm: String,
    /// The URL of the resource's metadata (RFC 9728, section 5.1).
    pub(crate) metadata_url: Option<String>,
    /// Whether Basic credentials may contain a token: clients such as git send them only after a
    /// Basic challenge.
    pub(crate) accepts_basic: bool,
    /// The values of `aud` that name it.
    pub(crate) audience: Vec<Box<str>>,
}

impl Default for Resource {
    fn default() -> Self {
        Self {
            realm: REALM.to_owned(),
            metadata_url: None,
            accepts_basic: false,
            audience: Vec::new(),
        }
    }
}

/// A response that the filter itself sends.
#[derive(Clone, Eq, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The gRPC status that a gRPC request gets instead.
    pub grpc_status: u8,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: &'static str,
    /// The headers; their values are safe to send as they are.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The body: JSON, or the message for a gRPC request.
    pub body: String,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {:?} {}", self.status, self.details, self.headers, self.body)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use super::*;

    /// The parameters of a Bearer challenge, each of which stands once.
    fn parameters(challenge: &str) -> BTreeMap<String, String> {
        let mut rest = challenge.strip_prefix("Bearer ").unwrap();
        let mut parameters = BTreeMap::new();
        loop {
            let (name, after) = rest.split_once("=\"").unwrap();
            let mut value = String::new();
            let mut chars = after.chars();
            loop {
                match chars.next().unwrap() {
                    '"' => break,
                    '\\' => value.push(chars.next().unwrap()),
                    c => value.push(c),
                }
            }
            assert_eq!(parameters.insert(name.to_owned(), value), None, "{name} in {challenge}");
            rest = match chars.as_str() {
                "" => return parameters,
                more => more.strip_prefix(", ").unwrap(),
            };
        }
    }

    /// Where the resource's metadata is.
    const METADATA: &str = "https://api.test/.well-known/oauth-protected-resource";

    /// Every answer that there is, with all that can stand in it.
    fn every_answer() -> impl Iterator<Item = (Reason, bool, Reply)> {
        let resource = Resource {
            realm: r#"a "b" \c"#.to_owned(),
            metadata_url: Some(METADATA.to_owned()),
            accepts_basic: false,
            audience: Vec::new(),
        };
        let denial = |reason| {
            Denial::new(reason)
                .with_scope(Some("a b"))
                .with_authentication(Some("gold".to_owned()), Some(300))
                .with_retry_after(Some(7))
        };
        Reason::ALL.iter().copied().flat_map(move |reason| {
            [false, true].map(|grpc| (reason, grpc, denial(reason).reply(&resource, grpc)))
        })
    }

    fn header<'r>(reply: &'r Reply, name: &str) -> Vec<&'r str> {
        reply.headers.iter().filter(|(n, _)| *n == name).map(|(_, value)| &**value).collect()
    }

    #[test]
    fn rs_6750_06_rs_6750_11_rs_6750_12_rs_9728_05_rs_http_01_each_challenge_says_each_thing_once()
    {
        let registered = [
            "invalid_request",
            "invalid_token",
            "insufficient_scope",
            "insufficient_user_authentication",
        ];
        for (reason, _, reply) in every_answer() {
            let challenges = header(&reply, "www-authenticate");
            assert!(challenges.len() <= 1, "{reason:?}");
            assert!(reply.status != 401 || challenges.len() == 1, "{reason:?}");
            let Some(challenge) = challenges.first() else { continue };
            let parameters = parameters(challenge);
            assert_eq!(parameters["realm"], r#"a "b" \c"#, "{reason:?}");
            assert_eq!(parameters["scope"], "a b", "{reason:?}");
            assert_eq!(parameters["resource_metadata"], METADATA, "{reason:?}");
            match parameters.get("error") {
                None => assert_eq!(reason, Reason::NoToken),
                Some(error) => assert!(registered.contains(&error.as_str()), "{reason:?} {error}"),
            }
        }
    }

    #[test]
    fn rs_http_03_d6_12_each_answer_is_a_refusal_that_nobody_keeps() {
        for (reason, grpc, reply) in every_answer() {
            assert!(matches!(reply.status, 400..=599), "{reason:?}");
            assert!(matches!(reply.grpc_status, 3 | 7 | 14 | 16), "{reason:?}");
            assert_eq!(header(&reply, "cache-control"), ["no-store"], "{reason:?}");
            let waits = if reply.status == 503 { &["7"][..] } else { &[] };
            assert_eq!(header(&reply, "retry-after"), waits, "{reason:?}");
            for (name, value) in &reply.headers {
                assert!(value.bytes().all(|b| (b' '..=b'~').contains(&b)), "{reason:?} {name}");
            }
            let text = if grpc {
                reply.body
            } else {
                let body: Value = serde_json::from_str(&reply.body).unwrap();
                assert!(body["error"].is_string(), "{reason:?}");
                body["error_description"].as_str().unwrap().to_owned()
            };
            // What RFC 6750 section 3 allows in `error_description`.
            let is_allowed = |b: u8| matches!(b, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            assert!(!text.is_empty() && text.bytes().all(is_allowed), "{reason:?} {text}");
        }
    }

    /// The rows of a table of the reference, each as its cells, from the line that begins so.
    fn rows_of_reference(begin: &str) -> Vec<Vec<&'static str>> {
        let (_, table) = include_str!("../../../../docs/reference.md").split_once(begin).unwrap();
        let rows = table.lines().skip(3).take_while(|line| line.starts_with('|'));
        rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
    }

    #[test]
    fn the_reference_tells_of_every_reason_what_its_answer_is() {
        let inbound = rows_of_reference("Responses to inbound requests:\n");
        let outbound = rows_of_reference("Responses to outbound requests only:\n");
        let bodies = rows_of_reference("### Bodies\n");
        let mut told: Vec<&str> = Vec::new();
        for row in inbound.iter().chain(&outbound).filter(|row| row[1] != "as above") {
            for details in row[3].split(", ").map(|details| details.trim_matches('`')) {
                let reason = Reason::of_details(details).expect(details);
                let reply = Denial::new(reason).reply(&Resource::default(), false);
                let waits = if reply.status == 503 { ", `Retry-After`" } else { "" };
                assert_eq!(row[1], format!("{}{waits}", reply.status), "{details}");
                let challenge = header(&reply, "www-authenticate");
                let error =
                    challenge.first().map(|challenge| parameters(challenge).remove("error"));
                match error {
                    None => assert_eq!(row[2], "none", "{details}"),
                    Some(None) => assert_eq!(row[2], "", "{details}"),
                    Some(Some(error)) => {
                        let first = row[2].split(", ").next().unwrap();
                        assert_eq!(first, format!("`error=\"{error}\"`"), "{details}");
                    }
                }
                told.push(details);
            }
        }
        let mut with_body: Vec<&str> = Vec::new();
        for row in bodies {
            for details in row[2].split(", ").map(|details| details.trim_matches('`')) {
                let reason = Reason::of_details(details).expect(details);
                let reply = Denial::new(reason).reply(&Resource::default(), false);
                let body: Value = serde_json::from_str(&reply.body).unwrap();
                assert_eq!(format!("`{}`", body["error"].as_str().unwrap()), row[0], "{details}");
                assert_eq!(body["error_description"], row[1], "{details}");
                with_body.push(details);
            }
        }
        let all: BTreeSet<&str> = Reason::ALL.iter().copied().map(Reason::details).collect();
        assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), all);
        assert_eq!(with_body.len(), all.len());
        assert_eq!(with_body.into_iter().collect::<BTreeSet<_>>(), all);
    }
}
