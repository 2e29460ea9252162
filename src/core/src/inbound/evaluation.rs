//! Who verifies a token, and what its claims make of it.

use std::sync::Arc;

use serde_json::Value;

use crate::http::head::Head;
use crate::ids::IssuerId;
use crate::inbound::forwarding::ClaimHeaders;
use crate::inbound::guard::Guard;
use crate::inbound::issuers::{Issuer, KeySource, Verifier, agree, into_response};
use crate::inbound::servers::{self, Server};
use crate::jose::jws::{self, Token, UnverifiedJwt};
use crate::lookup::{Introspect, Introspected};
use crate::oauth::bearer::BearerToken;
use crate::oauth::claim_header::{ClaimText, MAX_CLAIM};
use crate::oauth::claims::Claims;
use crate::oauth::failure::Failure;
use crate::oauth::introspection::{IntrospectedToken, ServerReading};
use crate::oauth::introspection_response::Response;
use crate::oauth::reason::Reason;
use crate::oauth::scope::ScopeReading;
use crate::oauth::sender_constraint::Confirmation;
use crate::oauth::standing::Standing;
use crate::oauth::token_state::{ActiveToken, TokenAttribute, TokenState};
use crate::rules::target::host_of;
use crate::timestamp::Timestamp;

/// What an introspected token says itself.
struct Signed<'t> {
    claims: &'t Claims,
    reading: &'t ServerReading,
}

impl Guard {
    /// How this token is verified.
    ///
    /// # Errors
    /// Nobody verifies it, it is malformed, or the host is ambiguous.
    pub(crate) fn verifier_for<'t>(
        &self,
        token: BearerToken<'t>,
        head: &dyn Head,
    ) -> Result<Verifier<'t>, Reason> {
        let server = |issuer: Option<&str>| {
            let place = servers::place(&self.servers, issuer, token, || host_of(head))?;
            place.ok_or(Reason::NoServer)
        };
        if let Some((issuer, jwt)) = self.issuer_of(token.reveal())? {
            return Ok(match self.issuer(issuer) {
                Some(Issuer { introspect: true, reading, .. }) => {
                    Verifier::Both(issuer, server(reading.issuer.as_deref())?, jwt)
                }
                Some(Issuer { keys: KeySource::JwtAuthn, .. }) => {
                    Verifier::VerifiedByHost(issuer, jwt)
                }
                _ => Verifier::Keys(issuer, jwt),
            });
        }
        server(None).map(Verifier::Introspect)
    }

    /// The issuer whose token this claims to be, if the filter verifies its JWTs.
    ///
    /// # Errors
    /// The token looks like a JWT, and whose it is is uncertain.
    pub(crate) fn issuer_of<'t>(
        &self,
        token: &'t str,
    ) -> Result<Option<(IssuerId, UnverifiedJwt<'t>)>, Reason> {
        if self.issuers.is_empty() {
            return Ok(None);
        }
        let jwt = match jws::read(token) {
            Token::Jwt(jwt) => jwt,
            Token::Opaque => return Ok(None),
            Token::Malformed => return Err(Reason::MalformedToken),
        };
        let claimed = jwt.issuer();
        let place = self.issuers.iter().position(|issuer| claimed == Some(issuer.identifier()));
        Ok(place.map(|place| (IssuerId(place), jwt)))
    }

    pub(crate) fn issuer(&self, IssuerId(place): IssuerId) -> Option<&Issuer> {
        self.issuers.get(place)
    }

    /// The identifiers of the issuers, in their order; `None` for one whose keys are not fetched.
    pub(crate) fn key_issuers(&self) -> impl Iterator<Item = Option<&str>> {
        self.issuers.iter().map(|issuer| match issuer.keys {
            KeySource::Fetched(..) => Some(issuer.identifier()),
            KeySource::Fixed(_) | KeySource::JwtAuthn => None,
        })
    }

    /// Evaluates a JWT whose signature has been verified.
    ///
    /// # Errors
    /// It lacks the token that requests are to have.
    pub(crate) fn verified(
        &self,
        issuer: &Issuer,
        jwt: UnverifiedJwt<'_>,
        at: Timestamp,
    ) -> Result<Introspected, Failure> {
        self.evaluate(&issuer.reading, &into_response(jwt), None, at)
    }

    /// Evaluates a response that the server returned at this time on this token.
    ///
    /// # Errors
    /// The response lacks the token that requests are to have.
    pub(crate) fn introspected(
        &self,
        server: &Server,
        introspect: &Introspect,
        response: &Response<'_>,
        at: Timestamp,
    ) -> Result<Introspected, Failure> {
        let Some(signer) = &introspect.signer else {
            return self.evaluate(&server.reading, response, None, at);
        };
        let known = self.issuer_of(introspect.token.reveal()).ok().flatten();
        let issuer = self.issuer(signer.issuer);
        let (Some((_, jwt)), Some(issuer)) = (known, issuer) else { return Err(Failure::Defect) };
        let of_token = Signed { claims: &jwt.claims, reading: &issuer.reading };
        let mut introspected = self.evaluate(&server.reading, response, Some(&of_token), at)?;
        introspected.signer = Some(signer.clone());
        Ok(introspected)
    }

    /// Evaluates what a server says about a token, or the token itself. `signed` is what else a
    /// token says that was introspected.
    ///
    /// # Errors
    /// It lacks the token that requests are to have.
    fn evaluate(
        &self,
        reading: &ServerReading,
        response: &Response<'_>,
        signed: Option<&Signed<'_>>,
        at: Timestamp,
    ) -> Result<Introspected, Failure> {
        let accepted = match response {
            Response::Active { claims, json } => {
                self.accept(reading, claims, signed, at).map(|token| (claims, json, token))
            }
            Response::Inactive => Err(Reason::Inactive),
        };
        let (claims, json, token) = match accepted {
            Ok(accepted) => accepted,
            Err(reason) => return Ok(Introspected::rejected(reason, at)),
        };
        let scope = &reading.scope;
        let attributes = attributes(claims, scope);
        let ClaimHeaders { set: mut headers, dropped } =
            self.forward.headers(claims, scope, json)?;
        // Both are cached for long and often have equal values, which are shared.
        for (_, value) in &mut headers {
            if let Some((_, same)) = attributes.iter().find(|(_, text)| text == value) {
                *value = Arc::clone(same);
            }
        }
        let token = ActiveToken { token, headers: headers.into(), attributes };
        let state = TokenState::Active(Arc::new(token), Standing::Active);
        Ok(Introspected { state, dropped, at, signer: None })
    }

    /// The token that an active response describes.
    ///
    /// # Errors
    /// It is rejected, whatever the rule.
    fn accept(
        &self,
        reading: &ServerReading,
        claims: &Claims,
        signed: Option<&Signed<'_>>,
        now: Timestamp,
    ) -> Result<IntrospectedToken, Reason> {
        let mut token = IntrospectedToken::from_claims(claims, &self.reading, reading)?;
        if let Some(signed) = signed {
            if !agree(signed.claims, claims) {
                return Err(Reason::NotVerified);
            }
            let other =
                IntrospectedToken::from_claims(signed.claims, &self.reading, signed.reading)?;
            token.restrict(&other);
        }
        if token.end.is_some_and(|end| now >= end) {
            return Err(Reason::Expired);
        }
        if token.confirmation == Some(Confirmation::Other) {
            return Err(Reason::UnprovedCnf);
        }
        Ok(token)
    }
}

/// The filter state of requests with a token.
fn attributes(claims: &Claims, scope: &ScopeReading) -> Arc<[TokenAttribute]> {
    let text = |claim: Option<&Value>| {
        let text = claim.and_then(Value::as_str).filter(|text| text.len() <= MAX_CLAIM);
        text.map(Arc::<str>::from)
    };
    let scope = scope.claim(claims);
    let scope = scope.and_then(|claim| ClaimText::default().of(claim, b' ').ok().flatten());
    let mut attributes = Vec::new();
    for (name, value) in [
        ("oauth2_subject", text(claims.get("sub"))),
        ("oauth2_client", text(claims.get("client_id"))),
        ("oauth2_scope", scope.map(Into::into)),
    ] {
        if let Some(value) = value {
            attributes.push((name, value));
        }
    }
    attributes.into()
}
