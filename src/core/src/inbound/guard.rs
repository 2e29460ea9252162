//! The decisions of the inbound direction that depend only on one configuration, a request and the
//! state of its token. This module has no state of its own.

use std::sync::Arc;

use serde_json::Value;

use crate::cache::footprint::Footprint;
use crate::http::head::{Head, is_grpc};
use crate::http::path::EncodedSlash;
use crate::ids::{IssuerId, ServerId};
use crate::inbound::cors::Cors;
use crate::inbound::forwarding::{ClaimHeaders, Forwarding};
use crate::inbound::introspection_cache::{CacheConfig, Freshness};
use crate::inbound::issuers::{Issuer, KeySource, Verifier, agree, into_response};
use crate::inbound::mcp::McpRequest;
use crate::inbound::policy::{Access, McpRule, Needs, Rule};
use crate::inbound::resources::Resources;
use crate::inbound::servers::{self, Server};
use crate::jose::jws::{self, Token, UnverifiedJwt};
use crate::jose::verify::Verify;
use crate::lookup::{Introspect, Introspected, Unavailable};
use crate::metrics::Decision;
use crate::oauth::bearer::BearerToken;
use crate::oauth::claim_header::{ClaimText, MAX_CLAIM};
use crate::oauth::claims::Claims;
use crate::oauth::denial::{Denial, Resource};
use crate::oauth::failure::Failure;
use crate::oauth::introspection::{IntrospectedToken, Reading, ServerReading};
use crate::oauth::introspection_response::Response;
use crate::oauth::reason::Reason;
use crate::oauth::scope::ScopeReading;
use crate::oauth::sender_constraint::{Confirmation, MutualTls};
use crate::oauth::standing::Standing;
use crate::oauth::token_source::{Presented, Removals, TokenSource};
use crate::oauth::token_sources::TokenSources;
use crate::oauth::token_state::{ActiveToken, TokenAttribute, TokenState};
use crate::rules::index::RuleIndex;
use crate::rules::target::{Target, Undecided, host_of};
use crate::timestamp::Timestamp;
use crate::verdict::{Action, Forward};

/// The inbound configuration, ready to be applied.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question by itself")]
pub(crate) struct Guard {
    /// The issuers whose JWTs are verified by the filter.
    pub(crate) issuers: Vec<Issuer>,
    /// Verifies signatures.
    pub(crate) verify: Verify,
    /// The first server whose `when` matches introspects any other token.
    pub(crate) servers: Vec<Server>,
    pub(crate) cache: CacheConfig,
    /// Whether rules limit the age of responses, so that several calls about one token may be under
    /// way.
    pub(crate) limits_age: bool,
    pub(crate) token_sources: TokenSources,
    /// The resources behind the proxy, with their metadata (RFC 9728).
    pub(crate) resources: Resources,
    /// The first rule that matches applies.
    pub(crate) rules: RuleIndex<Rule>,
    /// Whether any rule is one on messages.
    pub(crate) reads_messages: bool,
    /// Applies to requests that no other rule matches.
    pub(crate) unmatched: Rule,
    /// What becomes of escaped slashes in paths.
    pub(crate) encoded_slash: EncodedSlash,
    /// How introspection responses are interpreted.
    pub(crate) reading: Reading,
    /// The requirements on certificate-bound tokens (RFC 8705).
    pub(crate) mutual_tls: MutualTls,
    /// Whether CORS preflight requests are allowed without a token.
    pub(crate) allow_cors_preflight: bool,
    /// How scripts of other origins are treated.
    pub(crate) cors: Option<Cors>,
    /// Whether requests are forwarded unchecked while the authorization server is unavailable.
    pub(crate) failure_mode_allow: bool,
    pub(crate) forward: Forwarding,
}

/// What decides, in place of a rule, where `resource_metadata` does.
const METADATA: &str = "resource_metadata";

/// What an introspected token says itself.
struct Signed<'t> {
    claims: &'t Claims,
    reading: &'t ServerReading,
}

impl Introspected {
    /// A token that no rule accepts.
    pub(crate) fn rejected(reason: Reason, at: Timestamp) -> Self {
        Self { state: TokenState::Rejected(reason), dropped: Vec::new(), at, signer: None }
    }
}

/// A decision that has not been counted yet.
pub(crate) struct Outcome {
    pub(crate) action: Action,
    pub(crate) decision: Decision,
    /// The name of the rule that applied.
    pub(crate) rule: Arc<str>,
    /// The token of the request, if it was found active.
    pub(crate) known: Option<(Arc<ActiveToken>, Standing)>,
    /// The resource that a request with a token is for.
    pub(crate) resource: Option<Arc<Resource>>,
}

/// The parts of a request that are needed once the state of its token is known.
pub(crate) struct Bearer {
    pub(crate) needs: Arc<Needs>,
    /// The resource that the request is for.
    pub(crate) resource: Arc<Resource>,
    /// Why the request is denied, whatever its token.
    pub(crate) flaw: Option<Reason>,
    /// Changes to the head that do not depend on the token.
    pub(crate) clean: Forward,
    /// Removes the token from the request.
    pub(crate) removals: Removals,
    pub(crate) in_query: bool,
    /// The SHA-256 digest of the client's TLS certificate.
    pub(crate) certificate: Option<[u8; 32]>,
}

impl Footprint for Bearer {
    fn owned_bytes(&self) -> usize {
        let Self { needs: _, resource: _, flaw: _, clean, removals, in_query: _, certificate: _ } =
            self;
        clean.owned_bytes().saturating_add(removals.owned_bytes())
    }
}

/// The result of looking at the head alone.
pub(crate) enum Admission<'h> {
    /// The decision does not depend on a token.
    Decided(Outcome),
    /// The decision depends on the state of the token that the request presents.
    NeedsToken(Bearer, Presented<'h>),
}

impl Guard {
    /// Decides whether the request needs a token. `is_ours` recognizes the proxy's own tokens.
    ///
    /// # Errors
    /// The request is denied.
    pub(crate) fn admit<'h>(
        &'h self,
        head: &'h dyn Head,
        is_ours: &dyn Fn(&Presented<'_>) -> bool,
    ) -> Result<Admission<'h>, Box<Outcome>> {
        if self.forward.needs_whole_head()
            || self.rules.looks_at_several()
            || self.resources.look_at_several()
            || self.token_sources.places.iter().any(TokenSource::needs_whole_head)
        {
            // Read first, because single values are then taken from it.
            head.fields();
        }
        let undecided = |reason: Reason| {
            let what = match reason {
                Reason::BadHost => "host",
                Reason::BadHeader => "header",
                _ => "path",
            };
            Box::new(self.refuse(reason, &what.into(), head))
        };
        let clean = self.forward.clean(head).map_err(undecided)?;
        let target = Target::with(head, self.encoded_slash);
        // Where paths matter, an ambiguous path is rejected whichever rule would match otherwise.
        if self.resources.look_at_paths() || self.rules.looks_at_paths() {
            target.path().map_err(|bad| undecided(bad.into()))?;
        }
        let answer = self.resources.answer(&target, head);
        if let Some(reply) = answer.map_err(|why| undecided(why.into()))? {
            let action = Action::Respond(reply);
            let rule = METADATA.into();
            let decision = Decision::Metadata;
            return Ok(Admission::Decided(Outcome::of(action, decision, rule)));
        }
        if let Some(cors) = &self.cors
            && let Some(reply) = cors.preflight(target.method(), head)
        {
            let action = Action::Respond(reply);
            return Ok(Admission::Decided(Outcome::of(action, Decision::Preflight, "cors".into())));
        }
        let mut flaw = None;
        let matching = self.rule(&target, head, &mut flaw);
        let matching = matching.map_err(|why| undecided(why.into()))?;
        let rule = matching.unwrap_or(&self.unmatched);
        let public = |clean| {
            let action = Action::Forward(clean);
            Admission::Decided(Outcome::of(action, Decision::Public, Arc::clone(&rule.name)))
        };
        let covering = || match self.resources.covering(&target) {
            Ok(Some(resource)) => Ok(resource),
            Ok(None) => Err(Box::new(self.refuse(Reason::Unmatched, &METADATA.into(), head))),
            Err(why) => Err(undecided(why.into())),
        };
        let (needs, optional) = match (&rule.access, flaw) {
            (_, Some(reason)) => (self.needs_if_flawed(reason, rule, head)?, false),
            (Access::Public, None) => {
                // A rule may make requests public that are for none of the resources.
                if matching.is_none() {
                    covering()?;
                }
                return Ok(public(clean));
            }
            (Access::Deny(reason), None) => {
                return Err(Box::new(self.refuse(*reason, &rule.name, head)));
            }
            (Access::Token(needs), None) => (needs, false),
            (Access::Optional(needs), None) => (needs, true),
        };
        let resource = covering()?;
        if flaw.is_none() && self.is_preflight(&target, head) {
            return Ok(public(clean));
        }
        let deny = |reason| Box::new(Outcome::of_token(reason, needs, resource, is_grpc(head)));
        // Envoy may run a request through the filter again after one of the proxy's own tokens was
        // put on it: the caller did not present that token.
        let found = match self.token_sources.find(head, is_ours).map_err(deny)? {
            Some(found) => found,
            None if optional => return Ok(public(clean)),
            None => return Err(deny(Reason::NoToken)),
        };
        let bearer = Bearer {
            needs: Arc::clone(needs),
            resource: Arc::clone(resource),
            flaw,
            clean,
            removals: found.removals,
            in_query: found.in_query,
            certificate: match self.mutual_tls {
                MutualTls::Off => None,
                MutualTls::Optional | MutualTls::Required => head.peer_certificate(),
            },
        };
        Ok(Admission::NeedsToken(bearer, found.token))
    }

    /// What the token of a request must meet whose message is uncertain, before it is denied for
    /// that.
    ///
    /// # Errors
    /// It is denied now: the rule judges no token, or there is none and need not be one.
    #[cold]
    fn needs_if_flawed<'r>(
        &self,
        reason: Reason,
        rule: &'r Rule,
        head: &dyn Head,
    ) -> Result<&'r Arc<Needs>, Box<Outcome>> {
        match (&rule.access, &rule.mcp) {
            (Access::Token(needs), _) => Ok(needs),
            (Access::Optional(needs), _) if self.has_token(head) => Ok(needs),
            (Access::Deny(_), Some(mcp)) => Ok(&mcp.needs),
            _ => Err(Box::new(self.refuse(reason, &rule.name, head))),
        }
    }

    /// The refusal of a request, whatever resource it is for.
    fn refuse(&self, reason: Reason, rule: &Arc<str>, head: &dyn Head) -> Outcome {
        let resource = self.resources.of_unknown();
        Outcome::denied(&Denial::new(reason), rule, resource, is_grpc(head))
    }

    /// Whether a request presents a token, or more than one.
    fn has_token(&self, head: &dyn Head) -> bool {
        !matches!(self.token_sources.find(head, &|_| false), Ok(None))
    }

    /// The first rule that matches. If it is one on messages, and which message the request has is
    /// uncertain, `flaw` is set to the reason.
    ///
    /// # Errors
    /// No rule can be determined.
    #[inline]
    pub(crate) fn rule(
        &self,
        target: &Target<'_>,
        head: &dyn Head,
        flaw: &mut Option<Reason>,
    ) -> Result<Option<&Rule>, Undecided> {
        if self.reads_messages {
            self.rule_on_message(target, head, flaw)
        } else {
            self.rules.find(target)
        }
    }

    /// The same, where the message may decide.
    #[cold]
    fn rule_on_message(
        &self,
        target: &Target<'_>,
        head: &dyn Head,
        flaw: &mut Option<Reason>,
    ) -> Result<Option<&Rule>, Undecided> {
        let mcp = McpRequest::new(head);
        self.rules.find_where(target, |rule| {
            let Some(McpRule { pattern, .. }) = &rule.mcp else { return true };
            mcp.is_matched(pattern, target.method()).unwrap_or_else(|reason| {
                *flaw = Some(reason);
                true
            })
        })
    }

    /// Whether this is a CORS preflight request (Fetch standard), and those are allowed.
    fn is_preflight(&self, target: &Target<'_>, head: &dyn Head) -> bool {
        self.allow_cors_preflight
            && target.method() == "OPTIONS"
            && head.value("origin").is_some()
            && head.value("access-control-request-method").is_some()
    }

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

    pub(crate) fn server(&self, ServerId(place): ServerId) -> Option<&Server> {
        self.servers.get(place)
    }

    pub(crate) fn freshness(&self, response: &Introspected) -> Freshness {
        self.cache.freshness(response)
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

    /// Decides on a request from the state of its token.
    pub(crate) fn judge(
        &self,
        finding: TokenState,
        bearer: Bearer,
        grpc: &dyn Fn() -> bool,
        now: Timestamp,
    ) -> Outcome {
        let Bearer { needs, resource, flaw, clean, removals, in_query, certificate } = bearer;
        let (known, standing) = match finding {
            TokenState::Active(known, standing) => (known, standing),
            TokenState::Rejected(reason) => {
                return Outcome::of_token(reason, &needs, &resource, grpc());
            }
        };
        let confirmation = known.token.confirmation.as_ref();
        let judged = if self.mutual_tls.allows(confirmation, || certificate) {
            needs.check(&known.token, &resource, now)
        } else {
            Err(needs.deny(Reason::UnprovedCnf))
        };
        if let (Ok(()), Some(reason)) = (&judged, flaw) {
            return Outcome {
                known: Some((known, standing)),
                ..Outcome::of_token(reason, &needs, &resource, grpc())
            };
        }
        match judged {
            Ok(()) => Outcome {
                action: Action::Forward(self.forward.with_token(
                    clean,
                    &removals,
                    in_query,
                    Some(&known.headers),
                )),
                decision: match standing {
                    Standing::Active => Decision::Allowed,
                    Standing::Unknown => Decision::Stale,
                },
                rule: Arc::clone(&needs.rule),
                known: Some((known, standing)),
                resource: Some(resource),
            },
            Err(denial) => {
                let known = Some((known, standing));
                Outcome { known, ..Outcome::denied(&denial, &needs.rule, &resource, grpc()) }
            }
        }
    }

    /// Decides on a request whose token could not be introspected.
    pub(crate) fn fail(&self, unavailable: Unavailable, bearer: Bearer, grpc: bool) -> Outcome {
        let Bearer { needs, resource, flaw, clean, removals, in_query, .. } = bearer;
        let Unavailable { failure, excused, .. } = unavailable;
        if !self.failure_mode_allow || !excused || flaw.is_some() {
            return Outcome::denied(&failure.denial(), &needs.rule, &resource, grpc);
        }
        Outcome {
            action: Action::Forward(self.forward.with_token(clean, &removals, in_query, None)),
            decision: Decision::Unchecked,
            rule: Arc::clone(&needs.rule),
            known: None,
            resource: Some(resource),
        }
    }
}

impl Outcome {
    /// Denies a request that needs a token.
    pub(crate) fn of_token(reason: Reason, needs: &Needs, resource: &Resource, grpc: bool) -> Self {
        Self::denied(&needs.deny(reason), &needs.rule, resource, grpc)
    }

    /// Denies a request for `resource` in the name of `rule`.
    fn denied(denial: &Denial, rule: &Arc<str>, resource: &Resource, grpc: bool) -> Self {
        let action = Action::Respond(denial.reply(resource, grpc));
        Self::of(action, Decision::Denied(denial.reason), Arc::clone(rule))
    }

    /// A decision without a token.
    fn of(action: Action, decision: Decision, rule: Arc<str>) -> Self {
        Self { action, decision, rule, known: None, resource: None }
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
