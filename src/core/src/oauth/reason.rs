//! Why requests are refused: one table of the reasons, with the response and the metrics of each.

use crate::http::authority::BadHost;
use crate::http::path::BadPath;
use crate::rules::target::Undecided;
use crate::table::table;

table! {
    /// Why a request is refused.
    pub enum Reason {
        /// No token, or another scheme than Bearer.
        NoToken => &Row {
            details: "oauth2_no_token",
            error: &UNAUTHORIZED,
            description: "An access token is required.",
            counted: Counted::Everywhere,
        },
        /// More than one token, or a repeated `Authorization`.
        RepeatedToken => &Row {
            details: "oauth2_repeated_token",
            error: &INVALID_REQUEST,
            description: "The request contains more than one access token.",
            counted: Counted::Inbound,
        },
        /// The path cannot be compared safely.
        BadPath => &Row {
            details: "oauth2_bad_path",
            error: &INVALID_REQUEST,
            description: "The path is ambiguous.",
            counted: Counted::Inbound,
        },
        /// The host cannot be compared safely.
        BadHost => &Row {
            details: "oauth2_bad_host",
            error: &INVALID_REQUEST,
            description: "The host is ambiguous.",
            counted: Counted::Inbound,
        },
        /// A header that a rule tests cannot be compared safely.
        BadHeader => &Row {
            details: "oauth2_bad_header",
            error: &INVALID_REQUEST,
            description: "A header is ambiguous.",
            counted: Counted::Inbound,
        },
        /// The request has a body that Envoy's filter `mcp` has not read.
        NoMcpMetadata => &Row {
            details: "oauth2_no_mcp_metadata",
            error: &INVALID_REQUEST,
            description: "The request must be a POST with a message of the Model Context Protocol.",
            counted: Counted::Inbound,
        },
        /// The body is not one whole message, or differs from the headers that repeat its content.
        BadMcpMessage => &Row {
            details: "oauth2_bad_mcp_message",
            error: &INVALID_REQUEST,
            description: "The message is ambiguous, or differs from its headers.",
            counted: Counted::Inbound,
        },
        /// The token is not a `b64token`.
        MalformedToken => &Row {
            details: "oauth2_malformed_token",
            error: &INVALID_TOKEN,
            description: "The access token is malformed.",
            counted: Counted::Inbound,
        },
        /// The token is longer than `max_token_bytes`.
        TokenTooLong => &Row {
            details: "oauth2_token_too_long",
            error: &TOO_LARGE,
            description: "The access token is too long.",
            counted: Counted::Inbound,
        },
        /// The authorization server reports that the token is not active.
        Inactive => &Row {
            details: "oauth2_inactive",
            error: &INVALID_TOKEN,
            description: "The access token is not active.",
            counted: Counted::Inbound,
        },
        /// The token has expired (`exp`).
        Expired => &Row {
            details: "oauth2_expired",
            error: &INVALID_TOKEN,
            description: "The access token has expired.",
            counted: Counted::Inbound,
        },
        /// The token is not valid yet (`nbf`).
        NotYetValid => &Row {
            details: "oauth2_not_yet_valid",
            error: &INVALID_TOKEN,
            description: "The access token is not yet valid.",
            counted: Counted::Inbound,
        },
        /// The token's issuer is not one that the rule allows.
        WrongIssuer => &Row {
            details: "oauth2_wrong_issuer",
            error: &INVALID_TOKEN,
            description: "The issuer of the access token is not accepted.",
            counted: Counted::Inbound,
        },
        /// The token's audience is not one that the rule allows.
        WrongAudience => &Row {
            details: "oauth2_wrong_audience",
            error: &INVALID_TOKEN,
            description: "The access token was issued for another audience.",
            counted: Counted::Inbound,
        },
        /// The authorization server reports another kind of token, or none although one is
        /// required; or the type in the header of a JWT is not accepted.
        NotAnAccessToken => &Row {
            details: "oauth2_not_an_access_token",
            error: &INVALID_TOKEN,
            description: "The token is not an access token.",
            counted: Counted::Inbound,
        },
        /// The token is bound to a key, and the request does not prove possession of it.
        UnprovedCnf => &Row {
            details: "oauth2_unproved_cnf",
            error: &INVALID_TOKEN,
            description: "The access token requires proof of possession of its key.",
            counted: Counted::Inbound,
        },
        /// No key of its issuer has signed the token, or not with an accepted algorithm.
        BadSignature => &Row {
            details: "oauth2_bad_signature",
            error: &INVALID_TOKEN,
            description: "The signature of the access token is not accepted.",
            counted: Counted::Inbound,
        },
        /// Envoy's filter `jwt_authn` has not verified the token, or its introspection response is
        /// about another grant.
        NotVerified => &Row {
            details: "oauth2_not_verified",
            error: &INVALID_TOKEN,
            description: "The access token was not verified.",
            counted: Counted::Inbound,
        },
        /// The issuer has no key with the identifier that the token names, at least not yet.
        UnknownKey => &Row {
            details: "oauth2_unknown_key",
            error: &TEMPORARILY_UNAVAILABLE,
            description: NOT_NOW,
            counted: Counted::Inbound,
        },
        /// There are no keys of the token's issuer.
        NoKeys => &Row {
            details: "oauth2_no_keys",
            error: &TEMPORARILY_UNAVAILABLE,
            description: NOT_NOW,
            counted: Counted::Inbound,
        },
        /// The token lacks a scope that the rule requires.
        InsufficientScope => &Row {
            details: "oauth2_insufficient_scope",
            error: &INSUFFICIENT_SCOPE,
            description: "The access token lacks the required scope.",
            counted: Counted::Inbound,
        },
        /// Another claim does not have a value that the rule requires.
        ClaimNotMet => &Row {
            details: "oauth2_claim_not_met",
            error: &ACCESS_DENIED,
            description: DENIED,
            counted: Counted::Inbound,
        },
        /// The user was authenticated too long ago, or not in a way that the rule requires.
        InsufficientUserAuthentication => &Row {
            details: "oauth2_insufficient_user_authentication",
            error: &INSUFFICIENT_USER_AUTHENTICATION,
            description: "A more recent or different user authentication is required.",
            counted: Counted::Inbound,
        },
        /// None of the configured authorization servers is responsible for this token.
        NoServer => &Row {
            details: "oauth2_no_server",
            error: &INVALID_TOKEN,
            description: "The access token was not issued by a trusted authorization server.",
            counted: Counted::Inbound,
        },
        /// The rule that matches is `deny`.
        AccessDenied => &Row {
            details: "oauth2_access_denied",
            error: &ACCESS_DENIED,
            description: DENIED,
            counted: Counted::Inbound,
        },
        /// No rule matches, and `unmatched` is `deny`.
        Unmatched => &Row {
            details: "oauth2_unmatched",
            error: &ACCESS_DENIED,
            description: DENIED,
            counted: Counted::Inbound,
        },
        /// The authorization server cannot be reached, or reports that it is unavailable.
        ServerUnavailable => &Row {
            details: "oauth2_server_unavailable",
            error: &TEMPORARILY_UNAVAILABLE,
            description: NOT_NOW,
            counted: Counted::Everywhere,
        },
        /// The authorization server did not answer in time.
        ServerTimeout => &Row {
            details: "oauth2_server_timeout",
            error: &TEMPORARILY_UNAVAILABLE,
            description: NOT_NOW,
            counted: Counted::Everywhere,
        },
        /// The authorization server rejected the filter's own credentials or request.
        ServerRefusedClient => &Row {
            details: "oauth2_server_refused_client",
            error: &SERVER_ERROR,
            description: NOT_OBTAINED,
            counted: Counted::Everywhere,
        },
        /// The authorization server's response is not an introspection response or token response.
        ServerBadAnswer => &Row {
            details: "oauth2_server_bad_answer",
            error: &SERVER_ERROR,
            description: NOT_OBTAINED,
            counted: Counted::Everywhere,
        },
        /// An outbound client has neither a grant nor a refresh token to obtain a token with.
        NoGrant => &Row {
            details: "oauth2_no_grant",
            error: &SERVER_ERROR,
            description: NOT_OBTAINED,
            counted: Counted::Everywhere,
        },
        /// A secret of the configuration is missing, or its key cannot sign.
        NoSecret => &Row {
            details: "oauth2_no_secret",
            error: &TEMPORARILY_UNAVAILABLE,
            description: NOT_NOW,
            counted: Counted::Everywhere,
        },
        /// The authorization server does not exchange this caller's token.
        SubjectRefused => &Row {
            details: "oauth2_subject_refused",
            error: &INVALID_TOKEN,
            description: "The access token cannot be exchanged for the required token.",
            counted: Counted::Outbound,
        },
        /// The authorization server does not exchange this caller's token for what is needed.
        ExchangeRefused => &Row {
            details: "oauth2_exchange_refused",
            error: &ACCESS_DENIED,
            description: DENIED,
            counted: Counted::Outbound,
        },
        /// The filter has no configuration: its counters are not defined yet.
        Unconfigured => &Row {
            details: "oauth2_unconfigured",
            error: &TEMPORARILY_UNAVAILABLE,
            description: NOT_NOW,
            counted: Counted::Nowhere,
        },
        /// The waiting requests use too much memory.
        Overloaded => &Row {
            details: "oauth2_overloaded",
            error: &TEMPORARILY_UNAVAILABLE,
            description: NOT_NOW,
            counted: Counted::Everywhere,
        },
        /// The host failed to do what the filter asked, or the filter is in an impossible state.
        HostError => &Row {
            details: "oauth2_host_error",
            error: &TEMPORARILY_UNAVAILABLE,
            description: NOT_NOW,
            counted: Counted::Everywhere,
        },
    }
    /// The row of this reason.
    pub(crate) fn row() -> &'static Row;
}

/// A row of the table.
pub(crate) struct Row {
    /// `%RESPONSE_CODE_DETAILS%`: `oauth2_`, then the value of the label `reason` of metrics.
    details: &'static str,
    /// The error code of the response, which determines its status.
    pub(crate) error: &'static ErrorCode,
    /// The `error_description` of the body, and the message of a gRPC response.
    pub(crate) description: &'static str,
    /// The metrics that have this reason.
    counted: Counted,
}

/// The metrics that have a reason: those that it can occur in.
#[derive(Clone, Copy)]
enum Counted {
    /// Those of inbound requests.
    Inbound,
    /// Those of outbound clients.
    Outbound,
    /// Those of inbound requests, and those of outbound clients.
    Everywhere,
    Nowhere,
}

/// An error code, and the response that belongs to it whatever the reason (RFC 6750, section 3.1).
pub(crate) struct ErrorCode {
    /// The `error` of the body.
    pub(crate) code: &'static str,
    /// The HTTP status.
    pub(crate) status: u16,
    /// The gRPC status that a gRPC request gets instead.
    pub(crate) grpc_status: u8,
    /// The content of `WWW-Authenticate`.
    pub(crate) challenge: Challenge,
}

/// The content of `WWW-Authenticate`.
#[derive(Clone, Copy)]
pub(crate) enum Challenge {
    /// No such header.
    Absent,
    /// A challenge without an error code: the request had no credentials.
    WithoutError,
    /// A challenge with the error code of the body.
    WithError,
}

const GRPC_INVALID_ARGUMENT: u8 = 3;
const GRPC_PERMISSION_DENIED: u8 = 7;
const GRPC_UNAVAILABLE: u8 = 14;
const GRPC_UNAUTHENTICATED: u8 = 16;

/// There is no token.
static UNAUTHORIZED: ErrorCode = ErrorCode {
    code: "unauthorized",
    status: 401,
    grpc_status: GRPC_UNAUTHENTICATED,
    challenge: Challenge::WithoutError,
};

/// The request itself is malformed.
static INVALID_REQUEST: ErrorCode = ErrorCode {
    code: "invalid_request",
    status: 400,
    grpc_status: GRPC_INVALID_ARGUMENT,
    challenge: Challenge::WithError,
};

/// The request is malformed because of its size (RFC 6585, section 5). A new token would be as long,
/// so the client must not conclude that the token is invalid.
static TOO_LARGE: ErrorCode = ErrorCode { status: 431, ..INVALID_REQUEST };

/// The token cannot be accepted by any rule.
static INVALID_TOKEN: ErrorCode = ErrorCode {
    code: "invalid_token",
    status: 401,
    grpc_status: GRPC_UNAUTHENTICATED,
    challenge: Challenge::WithError,
};

/// The token is valid, and lacks a scope.
static INSUFFICIENT_SCOPE: ErrorCode = ErrorCode {
    code: "insufficient_scope",
    status: 403,
    grpc_status: GRPC_PERMISSION_DENIED,
    challenge: Challenge::WithError,
};

/// The user has to be authenticated again (RFC 9470).
static INSUFFICIENT_USER_AUTHENTICATION: ErrorCode = ErrorCode {
    code: "insufficient_user_authentication",
    status: 401,
    grpc_status: GRPC_UNAUTHENTICATED,
    challenge: Challenge::WithError,
};

/// No other token of this caller would help.
static ACCESS_DENIED: ErrorCode = ErrorCode {
    code: "access_denied",
    status: 403,
    grpc_status: GRPC_PERMISSION_DENIED,
    challenge: Challenge::Absent,
};

/// The same request can succeed later.
static TEMPORARILY_UNAVAILABLE: ErrorCode = ErrorCode {
    code: "temporarily_unavailable",
    status: 503,
    grpc_status: GRPC_UNAVAILABLE,
    challenge: Challenge::Absent,
};

/// The authorization server's response cannot be used.
static SERVER_ERROR: ErrorCode = ErrorCode {
    code: "server_error",
    status: 502,
    grpc_status: GRPC_UNAVAILABLE,
    challenge: Challenge::Absent,
};

/// For denials that do not reveal the rule.
const DENIED: &str = "Access is denied.";
/// For responses that do not reveal what is unavailable.
const NOT_NOW: &str = "Access tokens temporarily cannot be verified or obtained.";
/// For responses that do not reveal what is wrong with the authorization server.
const NOT_OBTAINED: &str = "Access tokens cannot be verified or obtained.";

impl Reason {
    /// The name of this reason in `%RESPONSE_CODE_DETAILS%`, logs and shared data.
    pub const fn details(self) -> &'static str {
        self.row().details
    }

    /// The value of the label `reason` of metrics.
    pub(crate) fn label(self) -> &'static str {
        self.details().split_once('_').map_or("", |(_, label)| label)
    }

    /// The reason of this name.
    pub(crate) fn of_details(details: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.details() == details)
    }

    /// The reasons in the metrics of inbound requests.
    pub(crate) fn counted_inbound() -> impl Iterator<Item = Self> {
        let is_counted = |counted| matches!(counted, Counted::Inbound | Counted::Everywhere);
        Self::ALL.iter().copied().filter(move |reason| is_counted(reason.row().counted))
    }

    /// The reasons in the metrics of each outbound client.
    pub(crate) fn counted_outbound() -> impl Iterator<Item = Self> {
        let is_counted = |counted| matches!(counted, Counted::Outbound | Counted::Everywhere);
        Self::ALL.iter().copied().filter(move |reason| is_counted(reason.row().counted))
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
            Undecided::BadHeader => Self::BadHeader,
            Undecided::Lost => Self::HostError,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_details_of_its_own_in_the_form_that_labels_are_taken_from() {
        let mut seen = BTreeSet::new();
        for reason in Reason::ALL.iter().copied() {
            let details = reason.details();
            assert_eq!(details, format!("oauth2_{}", reason.label()));
            assert_eq!(Reason::of_details(details), Some(reason));
            assert!(seen.insert(details), "{details}");
        }
    }

    #[test]
    fn the_grpc_status_is_the_one_that_clients_expect_for_the_http_status() {
        for reason in Reason::ALL.iter().copied() {
            let ErrorCode { status, grpc_status, .. } = reason.row().error;
            let expected = match status {
                400 | 431 => 3,
                401 => 16,
                403 => 7,
                502 | 503 => 14,
                _ => unreachable!("{reason:?}: {status}"),
            };
            assert_eq!(*grpc_status, expected, "{reason:?}");
        }
    }
}
