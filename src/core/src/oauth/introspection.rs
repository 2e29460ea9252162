//! Token introspection (RFC 7662): the request, and what is read from the response.

use serde_json::Value;

use crate::cache::footprint::Footprint;
use crate::cache::single_flight::CallId;
use crate::ids::ClientId;
use crate::oauth::call::{Call, Purpose};
use crate::oauth::claims::{ClaimPath, Claims, strings};
use crate::oauth::clock_skew::ClockSkew;
use crate::oauth::endpoint::{Endpoint, Repeat};
use crate::oauth::introspection_response::ResponseFormat;
use crate::oauth::reason::Reason;
use crate::oauth::scope::{Implied, ScopeReading, ScopeSet};
use crate::oauth::secret::Secret;
use crate::oauth::sender_constraint::Confirmation;
use crate::timestamp::Timestamp;

/// An introspection endpoint, and how to call it.
#[derive(Debug)]
pub(crate) struct Introspection {
    pub(crate) endpoint: Endpoint,
    /// The value of `token_type_hint`; empty to send none.
    pub(crate) token_type_hint: String,
    /// The outbound client whose token authenticates the call.
    pub(crate) client: Option<ClientId>,
    pub(crate) format: ResponseFormat,
}

/// The form parameters of the request itself.
pub(crate) const PARAMETERS: [&str; 2] = ["token", "token_type_hint"];

impl Introspection {
    /// The introspection request for a token.
    ///
    /// # Errors
    /// There is no secret to authenticate with.
    pub(crate) fn request(&self, id: CallId, token: &Secret, now: Timestamp) -> Option<Call> {
        let token = ("token", token.reveal());
        let hint = ("token_type_hint", self.token_type_hint.as_str());
        let with_hint = [token, hint];
        let parameters = if hint.1.is_empty() { &with_hint[..1] } else { &with_hint[..] };
        self.endpoint.call(id, Purpose::Introspection, parameters, Repeat::Harmless, now)
    }
}

/// The cached part of an active access token: what rules and forwarding require, and no more (RFC
/// 7662, section 5).
#[derive(Debug, Default)]
pub(crate) struct IntrospectedToken {
    /// When it is no longer accepted: `exp`, with the tolerance for it.
    pub(crate) end: Option<Timestamp>,
    /// When it is accepted first: `nbf`, with the tolerance for it.
    pub(crate) start: Option<Timestamp>,
    /// `iss`, or the configured issuer of the server.
    pub(crate) issuer: Option<Box<str>>,
    /// `aud`, one or more.
    pub(crate) audience: Vec<Box<str>>,
    /// The scope claim, and what its scopes imply.
    pub(crate) scope: ScopeSet,
    /// `acr`: how the user was authenticated.
    pub(crate) acr: Option<Box<str>>,
    /// When the user was authenticated: `auth_time`, with the tolerance for `max_age`.
    pub(crate) authenticated: Option<Timestamp>,
    /// What `cnf` binds it to.
    pub(crate) confirmation: Option<Confirmation>,
    /// The claims that rules require, in the order of [`Reading::claims`].
    pub(crate) claims: Vec<Option<Value>>,
}

/// What the type of a token may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TokenType {
    /// Some responses on access tokens have a `token_type`.
    Optional,
    /// All have one, so a response without it is on a token of another type.
    Required,
    /// ID tokens are accepted, too.
    IdToken,
}

/// How the responses of one server are read.
#[derive(Clone, Debug)]
pub(crate) struct ServerReading {
    /// The issuer of its tokens, if known.
    pub(crate) issuer: Option<String>,
    /// What the type of its tokens may be.
    pub(crate) token_type: TokenType,
    pub(crate) scope: ScopeReading,
    /// The tolerance for the times of its tokens.
    pub(crate) clock_skew: ClockSkew,
}

/// How responses are read: which claims matter.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The scopes that other scopes imply.
    pub(crate) implied: Implied,
    /// The claims that rules require.
    pub(crate) claims: Vec<ClaimPath>,
    /// What else they require.
    pub(crate) asked: RequiredClaims,
}

/// What rules require of tokens. Nothing else is cached.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question by itself")]
pub(crate) struct RequiredClaims {
    /// Whether any rule requires an issuer.
    pub(crate) issuer: bool,
    /// Whether any rule requires an audience.
    pub(crate) audience: bool,
    /// Whether any rule requires scopes.
    pub(crate) scope: bool,
    /// Whether any rule requires authentication context classes.
    pub(crate) acr: bool,
}

impl Footprint for IntrospectedToken {
    fn owned_bytes(&self) -> usize {
        let Self {
            // These own no memory; they are listed so that no new field is forgotten.
            end: _,
            start: _,
            authenticated: _,
            confirmation: _,
            issuer,
            audience,
            scope,
            acr,
            claims,
        } = self;
        let owned: [&dyn Footprint; 5] = [issuer, audience, scope, acr, claims];
        owned.iter().map(|part| part.owned_bytes()).fold(0, usize::saturating_add)
    }
}

impl IntrospectedToken {
    /// Adds the restrictions of what the token says itself.
    pub(crate) fn restrict(&mut self, signed: &Self) {
        self.end = self.end.into_iter().chain(signed.end).min();
        self.start = self.start.into_iter().chain(signed.start).max();
        self.confirmation = match (self.confirmation.take(), signed.confirmation.clone()) {
            (Some(one), Some(other)) if one != other => Some(Confirmation::Other),
            (one, other) => one.or(other),
        };
    }

    /// Extracts what is required from an active response of a server.
    ///
    /// # Errors
    /// [`Reason::NotAnAccessToken`], [`Reason::UnprovedCnf`] or [`Reason::WrongIssuer`]: no rule
    /// accepts it.
    pub(crate) fn from_claims(
        claims: &Claims,
        reading: &Reading,
        server: &ServerReading,
    ) -> Result<Self, Reason> {
        let present = |name: &str| claims.get(name).filter(|value| !value.is_null());
        let mut of_type_dpop = false;
        for kind in ["token_type", "token_use", "typ"] {
            for value in strings(present(kind)) {
                match Kind::of(value)? {
                    Kind::Access => {}
                    Kind::Dpop => of_type_dpop = true,
                    Kind::Id if server.token_type == TokenType::IdToken => {}
                    Kind::Id => return Err(Reason::NotAnAccessToken),
                }
            }
        }
        let text = |name| present(name).and_then(Value::as_str).map(Box::<str>::from);
        if server.token_type == TokenType::Required
            && text("token_type").is_none_or(|token_type| token_type.is_empty())
        {
            return Err(Reason::NotAnAccessToken);
        }
        let issuer = server.issuer.as_deref();
        if let (Some(claimed), Some(issuer)) = (present("iss"), issuer)
            && claimed.as_str() != Some(issuer)
        {
            return Err(Reason::WrongIssuer);
        }
        // A token with an invalid time must not be accepted: it counts as expired, or as never
        // valid.
        let time = |name, unreadable| {
            present(name).map(|v| Timestamp::from_numeric_date(v).unwrap_or(unreadable))
        };
        let (asked, skew) = (reading.asked, server.clock_skew);
        let audience = present("aud").filter(|_| asked.audience);
        let confirmation = present("cnf").map(Confirmation::from_claim);
        Ok(Self {
            end: time("exp", Timestamp::from_millis(0)).map(|end| end.plus(skew.late)),
            start: time("nbf", Timestamp::NEVER).map(|start| start.minus(skew.early)),
            issuer: text("iss").or_else(|| issuer.map(Into::into)).filter(|_| asked.issuer),
            audience: strings(audience).map(Into::into).collect(),
            scope: if asked.scope {
                server.scope.scopes(claims).with_implied(&reading.implied)
            } else {
                ScopeSet::default()
            },
            acr: text("acr").filter(|_| asked.acr),
            authenticated: present("auth_time")
                .and_then(Timestamp::from_numeric_date)
                .map(|then| then.plus(skew.late)),
            // Bound to a key according to its type, but presented as a bearer token (RFC 9449,
            // section 7.2).
            confirmation: if of_type_dpop { Some(Confirmation::Other) } else { confirmation },
            claims: reading.claims.iter().map(|path| path.find(claims).cloned()).collect(),
        })
    }
}

/// The type of a token, as far as it may be an access token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// An access token, or an unspecified type.
    Access,
    /// An access token that is bound to a key.
    Dpop,
    /// An ID token.
    Id,
}

impl Kind {
    /// Rejects the types that servers report for tokens other than access tokens.
    fn of(name: &str) -> Result<Self, Reason> {
        let name = name.to_ascii_lowercase();
        let name = name.rsplit([':', '/']).next().unwrap_or_default();
        match name {
            // Keycloak reports "Offline" for a refresh token that outlives the session.
            "refresh_token" | "refresh-token" | "refreshtoken" | "refresh" | "offline"
            | "rt+jwt" | "logout_token" | "logout" | "logout+jwt" | "vp_token" | "vp"
            | "vp+jwt" => Err(Reason::NotAnAccessToken),
            "id_token" | "id-token" | "idtoken" | "id" | "id+jwt" => Ok(Self::Id),
            "dpop" => Ok(Self::Dpop),
            _ => Ok(Self::Access),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn token(claims: &Value) -> Result<IntrospectedToken, Reason> {
        token_of(claims, None, TokenType::Optional)
    }

    fn token_of(
        claims: &Value,
        issuer: Option<&str>,
        token_type: TokenType,
    ) -> Result<IntrospectedToken, Reason> {
        let server = ServerReading {
            issuer: issuer.map(str::to_owned),
            token_type,
            scope: ScopeReading { claims: vec![ClaimPath::new("scope")], wildcards: false },
            clock_skew: std::time::Duration::ZERO.into(),
        };
        let reading = Reading {
            implied: Implied::default(),
            claims: Vec::new(),
            asked: RequiredClaims { issuer: true, audience: true, scope: true, acr: true },
        };
        IntrospectedToken::from_claims(claims.as_object().unwrap(), &reading, &server)
    }

    #[test]
    fn a_server_answers_for_its_own_issuer_only() {
        let issuer = |claims: &Value, of: Option<&str>| {
            token_of(claims, of, TokenType::Optional).map(|token| token.issuer)
        };
        assert_eq!(issuer(&json!({"iss": "a"}), None), Ok(Some("a".into())));
        assert_eq!(issuer(&json!({"iss": "a"}), Some("a")), Ok(Some("a".into())));
        assert_eq!(issuer(&json!({}), Some("a")), Ok(Some("a".into())));
        for other in [json!({"iss": "b"}), json!({"iss": ["a"]}), json!({"iss": 1})] {
            assert_eq!(issuer(&other, Some("a")), Err(Reason::WrongIssuer), "{other}");
        }
    }

    #[test]
    fn rs_9449_02_a_token_of_type_dpop_is_bound_whatever_its_cnf() {
        for claims in [json!({"token_type": "DPoP"}), json!({"cnf": {"jkt": "x"}})] {
            assert_eq!(token(&claims).unwrap().confirmation, Some(Confirmation::Other));
        }
        assert_eq!(token(&json!({"cnf": null})).unwrap().confirmation, None);
    }

    #[test]
    fn rs_7662_10_d5_03_kinds_that_are_no_access_token_are_refused_under_any_of_their_names() {
        for name in ["token_type", "token_use", "typ"] {
            for kind in [
                "refresh_token",
                "Refresh",
                "OFFLINE",
                "id",
                "ID",
                "id_token",
                "rt+jwt",
                "VP_token",
            ] {
                assert_eq!(token(&json!({name: kind})).unwrap_err(), Reason::NotAnAccessToken);
            }
            for kind in [json!("Bearer"), json!("access"), json!("at+jwt"), json!("JWT"), json!(5)]
            {
                assert!(token(&json!({ name: kind })).is_ok(), "{name} {kind}");
            }
        }
    }

    #[test]
    fn rs_7662_10_where_access_tokens_have_a_token_type_what_has_none_is_no_access_token() {
        for (claims, is_accepted) in [
            (json!({"token_type": "Bearer"}), true),
            (json!({"token_type": "bearer", "typ": "JWT"}), true),
            (json!({}), false),
            (json!({"token_type": null}), false),
            (json!({"token_type": ""}), false),
            (json!({"token_type": 1}), false),
            (json!({"token_type": ["Bearer"]}), false),
            (json!({"token_use": "access", "typ": "at+jwt"}), false),
            (json!({"token_type": "refresh_token"}), false),
        ] {
            let required = token_of(&claims, None, TokenType::Required).map(|_| ());
            let expected = if is_accepted { Ok(()) } else { Err(Reason::NotAnAccessToken) };
            assert_eq!(required, expected, "{claims}");
        }
    }

    #[test]
    fn rs_7662_06_times_that_cannot_be_read_do_not_let_a_token_live() {
        let unreadable = token(&json!({"exp": "soon", "nbf": [1]})).unwrap();
        assert_eq!(unreadable.end, Some(Timestamp::from_millis(0)));
        assert_eq!(unreadable.start, Some(Timestamp::NEVER));
        let absent = token(&json!({"exp": null})).unwrap();
        assert_eq!((absent.end, absent.start), (None, None));
    }
}
