//! Refusing a request: the reasons, and the one answer that belongs to each (RFC 6750, section 3).

use std::borrow::Cow;
use std::fmt;

use crate::http::authority::BadHost;
use crate::http::path::BadPath;
use crate::rules::target::Undecided;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reason {
    /// No token, or another scheme than Bearer.
    NoToken,
    /// More than one token, or a repeated `Authorization`.
    RepeatedToken,
    /// The path cannot be compared safely.
    BadPath,
    /// The host cannot be compared safely.
    BadHost,
    /// What was sent is not a `b64token`.
    MalformedToken,
    /// The token is over 16 KiB.
    TokenTooLong,
    /// The server says that the token is not active.
    Inactive,
    /// The token's `exp` has passed.
    Expired,
    /// The token's `nbf` has not come.
    NotYetValid,
    /// The token is of another issuer than the rule needs.
    WrongIssuer,
    /// The token is meant for another audience than the rule needs.
    WrongAudience,
    /// The server says that it is a refresh token or an ID token.
    NotAnAccessToken,
    /// The token is bound to a key that the request did not prove to have.
    UnprovedCnf,
    /// The token does not hold the scope that the rule needs.
    InsufficientScope,
    /// Another claim is not what the rule needs.
    ClaimNotMet,
    /// The user was not authenticated as the rule needs it, or too long ago.
    InsufficientUserAuthentication,
    /// No configured authorization server answers for this token.
    NoServer,
    /// The rule that decides says `deny`.
    AccessDenied,
    /// No rule fits, and `unmatched` is `deny`.
    Unmatched,
    /// The authorization server cannot be reached, or says that it cannot answer now.
    ServerUnavailable,
    /// The authorization server did not answer in time.
    ServerTimeout,
    /// The authorization server refused our own request: the filter's credentials are wrong.
    ServerRefusedClient,
    /// What the authorization server answered is no introspection response, or no token response.
    ServerBadAnswer,
    /// Nothing is left that an outbound client could ask for a token with.
    NoGrant,
    /// The authorization server does not exchange this caller's token.
    SubjectRefused,
    /// The authorization server does not exchange this caller's token for what is needed.
    ExchangeRefused,
    /// The filter has no configuration.
    Unconfigured,
    /// Too much is held for requests that wait.
    Overloaded,
    /// The host did not do what it has to do, or the filter has reached a state that cannot be.
    HostError,
}

/// What one reason looks like from outside.
struct Row {
    /// `%RESPONSE_CODE_DETAILS%`.
    details: &'static str,
    /// The HTTP status.
    status: u16,
    /// Whether a challenge goes with it, and the `error` in that.
    challenge: Challenge,
    /// The `error` of the body.
    error: &'static str,
    /// The `error_description` of the body, and the message of a gRPC answer.
    description: &'static str,
}

/// What `WWW-Authenticate` says.
enum Challenge {
    /// There is none.
    Absent,
    /// One without an error code.
    Bare,
    /// One with this `error`.
    Error(&'static str),
}

impl Reason {
    /// Each of them.
    pub(crate) const ALL: [Self; 29] = [
        Self::NoToken,
        Self::RepeatedToken,
        Self::BadPath,
        Self::BadHost,
        Self::MalformedToken,
        Self::TokenTooLong,
        Self::Inactive,
        Self::Expired,
        Self::NotYetValid,
        Self::WrongIssuer,
        Self::WrongAudience,
        Self::NotAnAccessToken,
        Self::UnprovedCnf,
        Self::InsufficientScope,
        Self::ClaimNotMet,
        Self::InsufficientUserAuthentication,
        Self::NoServer,
        Self::AccessDenied,
        Self::Unmatched,
        Self::ServerUnavailable,
        Self::ServerTimeout,
        Self::ServerRefusedClient,
        Self::ServerBadAnswer,
        Self::NoGrant,
        Self::SubjectRefused,
        Self::ExchangeRefused,
        Self::Unconfigured,
        Self::Overloaded,
        Self::HostError,
    ];

    /// The name of this reason in `%RESPONSE_CODE_DETAILS%`, logs and metrics.
    pub fn details(self) -> &'static str {
        self.row().details
    }

    /// The same in labels of metrics.
    pub(crate) fn label(self) -> &'static str {
        self.details().split_once('_').map_or("", |(_, label)| label)
    }

    /// The reason of this name.
    pub(crate) fn of_details(details: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.details() == details)
    }

    /// The table of all answers.
    const fn row(self) -> Row {
        use Challenge::{Absent, Bare, Error};
        let (details, status, challenge, error, description) = match self {
            Self::NoToken => {
                ("oauth2_no_token", 401, Bare, "unauthorized", "An access token is required.")
            }
            Self::RepeatedToken => (
                "oauth2_repeated_token",
                400,
                Error("invalid_request"),
                "invalid_request",
                "The request carries more than one access token.",
            ),
            Self::BadPath => (
                "oauth2_bad_path",
                400,
                Error("invalid_request"),
                "invalid_request",
                "The path can be read in more than one way.",
            ),
            Self::BadHost => (
                "oauth2_bad_host",
                400,
                Error("invalid_request"),
                "invalid_request",
                "The host can be read in more than one way.",
            ),
            Self::MalformedToken => {
                invalid_token("oauth2_malformed_token", "The access token is malformed.")
            }
            Self::TokenTooLong => {
                invalid_token("oauth2_token_too_long", "The access token is too long.")
            }
            Self::Inactive => invalid_token("oauth2_inactive", "The access token is not active."),
            Self::Expired => invalid_token("oauth2_expired", "The access token has expired."),
            Self::NotYetValid => {
                invalid_token("oauth2_not_yet_valid", "The access token is not valid yet.")
            }
            Self::WrongIssuer => {
                invalid_token("oauth2_wrong_issuer", "The access token is of another issuer.")
            }
            Self::WrongAudience => {
                invalid_token("oauth2_wrong_audience", "The access token is for another audience.")
            }
            Self::NotAnAccessToken => {
                invalid_token("oauth2_not_an_access_token", "The token is not an access token.")
            }
            Self::UnprovedCnf => invalid_token(
                "oauth2_unproved_cnf",
                "The access token is bound to a key that was not proved.",
            ),
            Self::InsufficientScope => (
                "oauth2_insufficient_scope",
                403,
                Error("insufficient_scope"),
                "insufficient_scope",
                "The access token does not hold the scope that is needed.",
            ),
            Self::ClaimNotMet => {
                ("oauth2_claim_not_met", 403, Absent, "access_denied", "Access is denied.")
            }
            Self::InsufficientUserAuthentication => (
                "oauth2_insufficient_user_authentication",
                401,
                Error("insufficient_user_authentication"),
                "insufficient_user_authentication",
                "The user has to be authenticated anew, or by other means.",
            ),
            Self::NoServer => invalid_token(
                "oauth2_no_server",
                "The access token is of no authorization server that is known here.",
            ),
            Self::AccessDenied => {
                ("oauth2_access_denied", 403, Absent, "access_denied", "Access is denied.")
            }
            Self::Unmatched => {
                ("oauth2_unmatched", 403, Absent, "access_denied", "Access is denied.")
            }
            Self::ServerUnavailable => unavailable("oauth2_server_unavailable"),
            Self::ServerTimeout => unavailable("oauth2_server_timeout"),
            Self::ServerRefusedClient => server_error("oauth2_server_refused_client"),
            Self::ServerBadAnswer => server_error("oauth2_server_bad_answer"),
            Self::NoGrant => server_error("oauth2_no_grant"),
            Self::SubjectRefused => invalid_token(
                "oauth2_subject_refused",
                "The access token cannot be exchanged for one that is needed here.",
            ),
            Self::ExchangeRefused => {
                ("oauth2_exchange_refused", 403, Absent, "access_denied", "Access is denied.")
            }
            Self::Unconfigured => unavailable("oauth2_unconfigured"),
            Self::Overloaded => unavailable("oauth2_overloaded"),
            Self::HostError => unavailable("oauth2_host_error"),
        };
        Row { details, status, challenge, error, description }
    }
}

impl From<BadPath> for Reason {
    fn from(BadPath: BadPath) -> Self {
        Self::BadPath
    }
}

impl From<BadHost> for Reason {
    fn from(BadHost: BadHost) -> Self {
        Self::BadHost
    }
}

impl From<Undecided> for Reason {
    fn from(undecided: Undecided) -> Self {
        match undecided {
            Undecided::BadPath => Self::BadPath,
            Undecided::BadHost => Self::BadHost,
            Undecided::Lost => Self::HostError,
        }
    }
}

/// A row of [`Reason::row`].
type RowParts = (&'static str, u16, Challenge, &'static str, &'static str);

/// 401: the token itself is no good.
const fn invalid_token(details: &'static str, description: &'static str) -> RowParts {
    (details, 401, Challenge::Error("invalid_token"), "invalid_token", description)
}

/// 503: the token cannot be judged now.
const fn unavailable(details: &'static str) -> RowParts {
    let description = "No access token can be checked or obtained at the moment.";
    (details, 503, Challenge::Absent, "temporarily_unavailable", description)
}

/// 502: the authorization server's answer cannot be used.
const fn server_error(details: &'static str) -> RowParts {
    let description = "No access token could be checked or obtained.";
    (details, 502, Challenge::Absent, "server_error", description)
}

/// A refusal: the reason and what its answer says besides. A denial is its reply: there is no way
/// to let the request through with one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub(crate) struct Denial {
    /// Why.
    pub(crate) reason: Reason,
    /// The `scope` of the challenge, if the rule needs one.
    scope: Option<String>,
    /// The `acr_values` of the challenge (RFC 9470).
    acr_values: Option<String>,
    /// The `max_age` of the challenge, in seconds (RFC 9470).
    max_age: Option<u64>,
    /// Seconds for `Retry-After`, for answers that have it.
    retry_after: u32,
}

impl Denial {
    /// A denial that names no scope.
    pub(crate) fn new(reason: Reason) -> Self {
        Self { reason, scope: None, acr_values: None, max_age: None, retry_after: RETRY_AFTER }
    }

    /// The answer to a request that the proxy does not change as decided, or that nothing can be decided
    /// on.
    pub(crate) fn host_error() -> Reply {
        Self::new(Reason::HostError).reply(&Resource::default(), false)
    }

    /// The same, with the scope that the caller needs.
    pub(crate) fn with_scope(self, scope: Option<&str>) -> Self {
        Self { scope: scope.map(str::to_owned), ..self }
    }

    /// The same, with what is asked of the user's authentication.
    pub(crate) fn with_authentication(
        self,
        acr_values: Option<String>,
        max_age: Option<u64>,
    ) -> Self {
        Self { acr_values, max_age, ..self }
    }

    /// The same, with the seconds that the authorization server asked us to wait.
    pub(crate) fn with_retry_after(self, seconds: Option<u32>) -> Self {
        Self { retry_after: seconds.unwrap_or(self.retry_after), ..self }
    }

    /// The answer to the caller. A gRPC request gets its status, and the text as its message.
    pub(crate) fn reply(&self, resource: &Resource, grpc: bool) -> Reply {
        let Row { details, status, challenge, error, description } = self.reason.row();
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
            Challenge::Bare => Some(None),
            Challenge::Error(error) => Some(Some(error)),
        };
        if let Some(error_code) = error_code {
            headers.push(("www-authenticate", self.challenge(resource, error_code).into()));
        }
        let body = if grpc {
            description.to_owned()
        } else {
            format!(r#"{{"error":"{error}","error_description":"{description}"}}"#)
        };
        let grpc_status = match status {
            400 => 3,
            401 => 16,
            403 => 7,
            _ => 14,
        };
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
            challenge.extend([separator, name, "=\""]);
            separator = ", ";
            for c in value.chars() {
                if matches!(c, '"' | '\\') {
                    challenge.push('\\');
                }
                challenge.push(c);
            }
            challenge.push('"');
        }
        challenge
    }
}

/// The `Retry-After`, in seconds, of which the authorization server has said nothing.
pub(crate) const RETRY_AFTER: u32 = 1;

/// The `realm` of challenges where none is configured.
pub(crate) const REALM: &str = "oauth2";

/// What challenges say of the resource, whatever the reason. All of it is printable ASCII.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    /// The protected space.
    pub(crate) realm: String,
    /// Where the resource's metadata is (RFC 9728, section 5.1).
    pub(crate) metadata_url: Option<String>,
}

impl Default for Resource {
    fn default() -> Self {
        Self { realm: REALM.to_owned(), metadata_url: None }
    }
}

/// An answer that the filter itself gives to a request.
#[derive(Clone, Eq, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The gRPC status that a gRPC request gets instead.
    pub grpc_status: u8,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: &'static str,
    /// The head; values are safe to be sent as they are.
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
        let resource =
            Resource { realm: r#"a "b" \c"#.to_owned(), metadata_url: Some(METADATA.to_owned()) };
        let denial = |reason| {
            Denial::new(reason)
                .with_scope(Some("a b"))
                .with_authentication(Some("gold".to_owned()), Some(300))
                .with_retry_after(Some(7))
        };
        Reason::ALL.into_iter().flat_map(move |reason| {
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
        let inbound = rows_of_reference("it guards a service:\n");
        let outbound = rows_of_reference("no token to put on a request:\n");
        let bodies = rows_of_reference("### Bodies\n");
        let mut told: Vec<&str> = Vec::new();
        for row in inbound.iter().chain(&outbound).filter(|row| row[1] != "as above") {
            let details = row[3].trim_matches('`');
            let reason = Reason::of_details(details).expect(details);
            let reply = Denial::new(reason).reply(&Resource::default(), false);
            let waits = if reply.status == 503 { ", `Retry-After`" } else { "" };
            assert_eq!(row[1], format!("{}{waits}", reply.status), "{details}");
            let challenge = header(&reply, "www-authenticate");
            let error = challenge.first().map(|challenge| parameters(challenge).remove("error"));
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
        let all: BTreeSet<&str> = Reason::ALL.into_iter().map(Reason::details).collect();
        assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), all);
        assert_eq!(with_body.len(), all.len());
        assert_eq!(with_body.into_iter().collect::<BTreeSet<_>>(), all);
    }
}
