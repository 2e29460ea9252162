//! Why a call to an authorization server failed. No text of a response is included.

use std::fmt;

use crate::http::date;
use crate::oauth::call::{Answer, CallFailure};
use crate::oauth::denial::{Denial, RETRY_AFTER};
use crate::oauth::outcome::CallOutcome;
use crate::oauth::reason::Reason;
use crate::oauth::standing::Standing;
use crate::table::table;
use crate::timestamp::Timestamp;

/// Why there is no valid response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// There is no response.
    Call(CallFailure),
    /// The server is temporarily unavailable.
    Busy {
        /// 429 or 5xx.
        status: u16,
        /// `Retry-After`, in seconds.
        retry_after: Option<u32>,
    },
    /// The server rejects the request.
    Refused {
        /// 400, 401 or 403; or 200 with an error in the body.
        status: u16,
        /// The error code (RFC 6749, section 5.2), if there is one.
        error: Option<OAuthError>,
    },
    /// Another status, including redirects, which are not followed.
    Status(u16),
    /// The body is not a JSON object, or has a duplicate key.
    NotJson,
    /// A member is missing or invalid.
    Member(&'static str),
    /// The token expired, and there is no grant or refresh token to obtain a new one.
    NoGrant,
    /// There is no secret to authenticate a call with, or its key cannot sign.
    NoSecret,
    /// The client backs off after a failed call.
    BackOff {
        /// The reason of that failure.
        reason: Reason,
        /// The seconds until the next call.
        retry_after: u32,
        /// The cause of that failure.
        cause: Cause,
    },
    /// The filter is in an impossible state.
    Defect,
}

/// The cause of a failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cause {
    /// The server is unavailable: a connection failure, a timeout, or 5xx.
    Outage,
    /// The call was not sent: the proxy has no such cluster, or no healthy host.
    Unsent,
    /// The request: 4xx, except 429.
    Request,
    /// Something else, such as an invalid response.
    Other,
}

impl Cause {
    /// Encodes the cause for other workers.
    const fn to_byte(self) -> u8 {
        match self {
            Self::Outage => 1,
            Self::Request => 2,
            Self::Other => 3,
            Self::Unsent => 4,
        }
    }

    /// Decodes a cause.
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Outage, Self::Unsent, Self::Request, Self::Other]
            .into_iter()
            .find(|cause| cause.to_byte() == byte)
    }
}

/// The callers of a token exchange that a failure concerns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Concern {
    /// All: the server is unavailable, or asks for a pause.
    All,
    /// All, if a call with the token of another caller fails in the same way: the server rejects
    /// the client.
    Client,
    /// Only the one whose token was sent.
    Caller,
}

table! {
    /// The error codes of token endpoints that the filter distinguishes.
    pub enum OAuthError {
        InvalidRequest => &("invalid_request", Blame::Request),
        InvalidClient => &("invalid_client", Blame::Client),
        InvalidGrant => &("invalid_grant", Blame::Token),
        UnauthorizedClient => &("unauthorized_client", Blame::Client),
        UnsupportedGrantType => &("unsupported_grant_type", Blame::Client),
        InvalidScope => &("invalid_scope", Blame::Use),
        /// RFC 8707, section 2.
        InvalidTarget => &("invalid_target", Blame::Use),
        /// RFC 6749, section 4.1.2.1.
        AccessDenied => &("access_denied", Blame::Use),
        /// RFC 6750, section 3.1.
        InvalidToken => &("invalid_token", Blame::Token),
        /// RFC 6750, section 3.1.
        InsufficientScope => &("insufficient_scope", Blame::Use),
        /// `OpenID` Connect Core 1.0, section 3.1.2.6: the user has to do something first.
        InteractionRequired => &("interaction_required", Blame::Use),
        LoginRequired => &("login_required", Blame::Use),
        ConsentRequired => &("consent_required", Blame::Use),
        /// Any other.
        Other => &("", Blame::Client),
    }
    /// The code, and what it blames in a token exchange.
    fn row() -> &'static (&'static str, Blame);
}

/// What the error code of a token exchange blames.
#[derive(Clone, Copy)]
enum Blame {
    /// The caller's token.
    Token,
    /// The request, or the caller's token in it (RFC 8693, section 2.2.2).
    Request,
    /// What the caller's token is to be used for.
    Use,
    /// The filter's registration or configuration.
    Client,
}

impl OAuthError {
    /// The error of this code.
    pub(crate) fn of(code: &str) -> Self {
        let known = Self::ALL.iter().copied().find(|error| error.row().0 == code);
        known.unwrap_or(Self::Other)
    }
}

impl Failure {
    /// The failure that the status of a response indicates, if any.
    pub(crate) fn of_status(answer: &Answer, now: Timestamp) -> Option<Self> {
        match answer.status {
            200 | 201 => None,
            status @ (400 | 401 | 403) => Some(Self::Refused { status, error: None }),
            status @ (429 | 500..) => {
                let retry_after = answer.retry_after.as_deref().and_then(|text| seconds(text, now));
                Some(Self::Busy { status, retry_after })
            }
            status => Some(Self::Status(status)),
        }
    }

    /// Encodes the failure for other workers.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut bytes = self.retry_after().unwrap_or(RETRY_AFTER).to_le_bytes().to_vec();
        bytes.push(self.cause().to_byte());
        bytes.extend_from_slice(self.reason().details().as_bytes());
        bytes
    }

    /// Decodes the failure of another worker.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let told = bytes.split_first_chunk().and_then(|(retry_after, rest)| {
            let (cause, details) = rest.split_first()?;
            Some(Self::BackOff {
                reason: Reason::of_details(std::str::from_utf8(details).ok()?)?,
                retry_after: u32::from_le_bytes(*retry_after),
                cause: Cause::from_byte(*cause)?,
            })
        });
        told.unwrap_or(Self::Defect)
    }

    /// The reason in the response to the caller.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Call(CallFailure::Timeout) => Reason::ServerTimeout,
            Self::Call(CallFailure::TooLarge)
            | Self::Status(_)
            | Self::NotJson
            | Self::Member(_) => Reason::ServerBadAnswer,
            Self::Call(_) | Self::Busy { .. } => Reason::ServerUnavailable,
            Self::Refused { .. } => Reason::ServerRefusedClient,
            Self::NoGrant => Reason::NoGrant,
            Self::NoSecret => Reason::NoSecret,
            Self::Defect => Reason::HostError,
            Self::BackOff { reason, .. } => reason,
        }
    }

    /// The reason in the response to the caller of a token exchange (RFC 8693, section 2.2.2).
    pub(crate) fn exchange_reason(self, subject: Standing) -> Reason {
        let Self::Refused { status, error: Some(error) } = self else { return self.reason() };
        match error.row().1 {
            Blame::Token => Reason::SubjectRefused,
            // Whatever the code, the server rejects the client.
            _ if status == 401 => self.reason(),
            // Another token would be as active as this one.
            Blame::Request if subject == Standing::Active => Reason::ExchangeRefused,
            Blame::Request => Reason::SubjectRefused,
            Blame::Use => Reason::ExchangeRefused,
            Blame::Client => self.reason(),
        }
    }

    /// Whether the cause of a failed token exchange may be the actor's token.
    pub(crate) fn may_concern_actor(self) -> bool {
        let Self::Refused { error: Some(error), .. } = self else { return false };
        matches!(error.row().1, Blame::Token | Blame::Request)
    }

    /// The callers of a token exchange that this failure concerns.
    pub(crate) fn concern(self) -> Concern {
        match self {
            Self::Refused { error: Some(error), .. } if matches!(error.row().1, Blame::Token) => {
                Concern::Caller
            }
            Self::Refused { status: 401, .. }
            | Self::Refused {
                error: Some(OAuthError::InvalidClient | OAuthError::UnsupportedGrantType),
                ..
            } => Concern::Client,
            Self::Busy { status: 500 | 501 | 505.., .. }
            | Self::Call(CallFailure::TooLarge)
            | Self::Refused { .. }
            | Self::Status(_)
            | Self::NotJson
            | Self::Member(_) => Concern::Caller,
            Self::Call(_)
            | Self::Busy { .. }
            | Self::NoGrant
            | Self::NoSecret
            | Self::BackOff { .. }
            | Self::Defect => Concern::All,
        }
    }

    /// The cause of the failure.
    pub(crate) fn cause(self) -> Cause {
        match self {
            Self::Call(CallFailure::Unreachable | CallFailure::Timeout)
            | Self::Busy { status: 500.., .. } => Cause::Outage,
            Self::Call(CallFailure::UnknownCluster | CallFailure::NotSent) => Cause::Unsent,
            Self::Refused { .. } | Self::Status(400..=499) => Cause::Request,
            Self::BackOff { cause, .. } => cause,
            _ => Cause::Other,
        }
    }

    /// Whether there was a response of the server.
    pub(crate) fn is_answer(self) -> bool {
        match self {
            Self::Call(failure) => failure == CallFailure::TooLarge,
            Self::Busy { status, .. } => status < 500,
            Self::Refused { .. } | Self::Status(_) | Self::NotJson | Self::Member(_) => true,
            Self::NoGrant | Self::NoSecret | Self::BackOff { .. } | Self::Defect => false,
        }
    }

    /// The seconds to wait, according to the server or the back-off.
    pub(crate) fn retry_after(self) -> Option<u32> {
        match self {
            Self::Busy { retry_after, .. } => retry_after,
            Self::BackOff { retry_after, .. } => Some(retry_after),
            _ => None,
        }
    }

    /// The response to the caller.
    pub(crate) fn denial(self) -> Denial {
        Denial::new(self.reason()).with_retry_after(self.retry_after())
    }

    /// The outcome in metrics.
    pub(crate) fn outcome(self) -> CallOutcome {
        match self.reason() {
            Reason::ServerTimeout => CallOutcome::Timeout,
            Reason::ServerRefusedClient => CallOutcome::RefusedClient,
            Reason::ServerUnavailable | Reason::NoSecret => CallOutcome::Unavailable,
            _ => CallOutcome::BadAnswer,
        }
    }

    /// Whether the server may have processed the request.
    pub(crate) fn is_unsure(self) -> bool {
        match self {
            Self::Call(failure) => {
                !matches!(failure, CallFailure::UnknownCluster | CallFailure::NotSent)
            }
            Self::Status(_) | Self::NotJson | Self::Member(_) => true,
            _ => false,
        }
    }

    /// Whether the server accepts the client, but rejects its grant.
    pub(crate) fn refuses_grant(self) -> bool {
        let Self::Refused { error: Some(error), .. } = self else { return false };
        !matches!(error, OAuthError::InvalidClient | OAuthError::Other)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(failure) => failure.fmt(f),
            Self::Busy { status, .. } => write!(f, "server returned {status}"),
            Self::Refused { status, error: Some(OAuthError::Other) } => {
                write!(f, "server returned {status} with an unknown error code")
            }
            Self::Refused { status, error: Some(error) } => {
                write!(f, "server returned {status} {}", error.row().0)
            }
            Self::Refused { status: status @ (200 | 201 | 400), .. } => {
                write!(f, "server returned {status}: it rejects the request or this type of token")
            }
            Self::Refused { status, .. } => {
                write!(f, "server returned {status}: check client_id, client_secret, auth_method")
            }
            Self::Status(status) => write!(f, "server returned {status}, expected 200"),
            Self::NotJson => f.write_str("response is not a JSON object"),
            Self::Member(what) => write!(f, "invalid response: {what}"),
            Self::NoGrant => f.write_str("token expired; no grant or refresh token to renew it"),
            Self::NoSecret => f.write_str("no secret, or a key that cannot sign"),
            Self::BackOff { .. } => f.write_str("backing off after a failed call"),
            Self::Defect => f.write_str("internal error"),
        }
    }
}

/// The seconds of a `Retry-After`, at most an hour: a number, or a date (RFC 9110, section 10.2.3).
fn seconds(retry_after: &[u8], now: Timestamp) -> Option<u32> {
    const MOST: u32 = 3600;
    let text = std::str::from_utf8(retry_after).ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(text.parse().unwrap_or(MOST).min(MOST));
    }
    // A date in the past is ignored.
    let millis = Some(date::parse(text)?.since(now)).filter(|millis| *millis > 0)?;
    Some(u32::try_from(millis.div_ceil(1000)).unwrap_or(MOST).min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rs_http_02_retry_after_is_seconds_or_a_date_up_to_an_hour() {
        for (text, expected) in [
            ("0", Some(0)),
            (" 7 ", Some(7)),
            ("3600", Some(3600)),
            ("99999999999999", Some(3600)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            // At 07:27:55.500 of that day, in each of the three forms of dates.
            ("Wed, 21 Oct 2026 07:28:00 GMT", Some(5)),
            ("Wednesday, 21-Oct-26 07:28:00 GMT", Some(5)),
            ("Wed Oct 21 07:28:00 2026", Some(5)),
            ("Wed, 21 Oct 2026 07:27:00 GMT", None),
            ("Fri, 21 Oct 2050 07:28:00 GMT", Some(3600)),
            ("Wed, 21 Oct 1950 07:28:00 GMT", None),
            ("Wed, 41 Oct 2026 07:28:00 GMT", None),
        ] {
            let now = Timestamp::from_millis(1_792_567_675_500);
            assert_eq!(seconds(text.as_bytes(), now), expected, "{text}");
        }
    }
}
