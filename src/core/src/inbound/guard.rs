//! The decisions of the inbound direction that depend only on one configuration, a request and the
//! state of its token. This module has no state of its own.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::cache::footprint::Footprint;
use crate::http::head::{Head, is_grpc};
use crate::ids::ServerId;
use crate::inbound::cors::Cors;
use crate::inbound::forwarding::{Forwarding, MAX_CLAIM, header_value};
use crate::inbound::introspection_cache::{CacheConfig, Freshness};
use crate::inbound::policy::{Access, Needs, Rule};
use crate::inbound::resources::Resources;
use crate::inbound::servers::{self, Server};
use crate::lookup::{Introspected, Unavailable};
use crate::metrics::Decision;
use crate::oauth::bearer::BearerToken;
use crate::oauth::claims::{ClaimPath, Claims};
use crate::oauth::denial::{Denial, Resource};
use crate::oauth::introspection::{IntrospectedToken, Reading, Response};
use crate::oauth::reason::Reason;
use crate::oauth::sender_constraint::{Confirmation, MutualTls};
use crate::oauth::token_source::{Presented, Removal, TokenSource, present};
use crate::oauth::token_state::{ActiveToken, TokenAttribute, TokenState};
use crate::rules::index::RuleIndex;
use crate::rules::target::{Target, host_of};
use crate::timestamp::Timestamp;
use crate::verdict::{Action, Forward};

/// The inbound configuration, ready to be applied.
#[derive(Debug)]
pub(crate) struct Guard {
    /// The first server whose `when` matches introspects a token.
    pub(crate) servers: Vec<Server>,
    pub(crate) cache: CacheConfig,
    pub(crate) token_sources: Vec<TokenSource>,
    /// The resources behind the proxy, with their metadata (RFC 9728).
    pub(crate) resources: Resources,
    /// The first rule that matches applies.
    pub(crate) rules: RuleIndex<Rule>,
    /// Applies to requests that no other rule matches.
    pub(crate) unmatched: Rule,
    /// How introspection responses are interpreted.
    pub(crate) reading: Reading,
    /// Leeway for `exp`, `nbf` and `max_age`.
    pub(crate) clock_skew: Duration,
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

/// A decision that has not been counted yet.
pub(crate) struct Outcome {
    pub(crate) action: Action,
    pub(crate) decision: Decision,
    /// The name of the rule that applied.
    pub(crate) rule: Arc<str>,
    /// The token of the request, if it was found active.
    pub(crate) known: Option<Arc<ActiveToken>>,
    /// The resource that a request with a token is for.
    pub(crate) resource: Option<Arc<Resource>>,
}

/// The parts of a request that are needed once the state of its token is known.
pub(crate) struct Bearer {
    pub(crate) needs: Arc<Needs>,
    /// The resource that the request is for.
    pub(crate) resource: Arc<Resource>,
    /// Changes to the head that do not depend on the token.
    pub(crate) clean: Forward,
    /// Removes the token from the request.
    pub(crate) removal: Removal,
    pub(crate) in_query: bool,
    /// The SHA-256 digest of the client's TLS certificate.
    pub(crate) certificate: Option<[u8; 32]>,
}

impl Footprint for Bearer {
    fn owned_bytes(&self) -> usize {
        let Self { needs: _, resource: _, clean, removal, in_query: _, certificate: _ } = self;
        clean.owned_bytes().saturating_add(removal.owned_bytes())
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
    ) -> Result<Admission<'h>, Outcome> {
        if self.forward.needs_whole_head()
            || self.rules.looks_at_several()
            || self.resources.look_at_several()
            || self.token_sources.iter().any(TokenSource::needs_whole_head)
        {
            // Read first, because single values are then taken from it.
            head.fields();
        }
        let undecided = |reason: Reason| {
            let what = if reason == Reason::BadHost { "host" } else { "path" };
            let resource = self.resources.of_unknown();
            Outcome::denied(&Denial::new(reason), &what.into(), resource, is_grpc(head))
        };
        let clean = self.forward.clean(head).map_err(undecided)?;
        let target = Target::new(head);
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
        let matching = self.rules.find(&target).map_err(|why| undecided(why.into()))?;
        let rule = matching.unwrap_or(&self.unmatched);
        let public = |clean| {
            let action = Action::Forward(clean);
            Admission::Decided(Outcome::of(action, Decision::Public, Arc::clone(&rule.name)))
        };
        let refuse = |reason, rule: &Arc<str>| {
            Outcome::denied(&Denial::new(reason), rule, self.resources.of_unknown(), is_grpc(head))
        };
        let covering = || match self.resources.covering(&target) {
            Ok(Some(resource)) => Ok(resource),
            Ok(None) => Err(refuse(Reason::Unmatched, &METADATA.into())),
            Err(why) => Err(undecided(why.into())),
        };
        let (needs, optional) = match &rule.access {
            Access::Public => {
                // A rule may make requests public that are for none of the resources.
                if matching.is_none() {
                    covering()?;
                }
                return Ok(public(clean));
            }
            Access::Deny(reason) => return Err(refuse(*reason, &rule.name)),
            Access::Token(needs) => (needs, false),
            Access::Optional(needs) => (needs, true),
        };
        let resource = covering()?;
        if self.is_preflight(&target, head) {
            return Ok(public(clean));
        }
        let deny = |reason| Outcome::of_token(reason, needs, resource, is_grpc(head));
        // Envoy may run a request through the filter again after one of the proxy's own tokens was
        // put on it: the caller did not present that token.
        let presented = present(&self.token_sources, head).map_err(deny)?;
        let presented = match presented.filter(|presented| !is_ours(presented)) {
            Some(presented) => presented,
            None if optional => return Ok(public(clean)),
            None => return Err(deny(Reason::NoToken)),
        };
        let bearer = Bearer {
            needs: Arc::clone(needs),
            resource: Arc::clone(resource),
            clean,
            removal: presented.removal.clone(),
            in_query: presented.in_query,
            certificate: match self.mutual_tls {
                MutualTls::Off => None,
                MutualTls::Optional | MutualTls::Required => head.peer_certificate(),
            },
        };
        Ok(Admission::NeedsToken(bearer, presented))
    }

    /// Whether this is a CORS preflight request (Fetch standard), and those are allowed.
    fn is_preflight(&self, target: &Target<'_>, head: &dyn Head) -> bool {
        self.allow_cors_preflight
            && target.method() == "OPTIONS"
            && head.value("origin").is_some()
            && head.value("access-control-request-method").is_some()
    }

    /// The server that introspects this token.
    ///
    /// # Errors
    /// No server matches, or the host is ambiguous.
    pub(crate) fn server_for(
        &self,
        token: BearerToken<'_>,
        head: &dyn Head,
    ) -> Result<ServerId, Reason> {
        servers::place(&self.servers, token, || host_of(head))?.ok_or(Reason::NoServer)
    }

    pub(crate) fn server(&self, ServerId(place): ServerId) -> Option<&Server> {
        self.servers.get(place)
    }

    pub(crate) fn freshness(&self, response: &Introspected) -> Freshness {
        self.cache.freshness(response, self.clock_skew)
    }

    /// Evaluates a response that the server returned at this time.
    pub(crate) fn introspected(
        &self,
        server: &Server,
        response: &Response,
        body: &[u8],
        at: Timestamp,
    ) -> Introspected {
        Introspected { state: self.state(server, response, body, at), at }
    }

    /// The state of a token according to a response.
    fn state(
        &self,
        server: &Server,
        response: &Response,
        body: &[u8],
        now: Timestamp,
    ) -> TokenState {
        let Response::Active(claims) = response else {
            return TokenState::Rejected(Reason::Inactive);
        };
        let issuer = server.issuer.as_deref();
        let token =
            IntrospectedToken::from_claims(claims, &self.reading, issuer, server.token_type);
        match token {
            Err(reason) => TokenState::Rejected(reason),
            Ok(token) if token.expires.is_some_and(|end| now >= end.plus(self.clock_skew)) => {
                TokenState::Rejected(Reason::Expired)
            }
            Ok(token) if token.confirmation == Some(Confirmation::Other) => {
                TokenState::Rejected(Reason::UnprovedCnf)
            }
            Ok(token) => {
                let attributes = attributes(claims, &self.reading.scope_claim);
                let mut headers = self.forward.headers(claims, &self.reading.scope_claim, body);
                // Both are cached for long and often have equal values, which are shared.
                for (_, value) in &mut headers {
                    if let Some((_, same)) = attributes.iter().find(|(_, text)| text == value) {
                        *value = Arc::clone(same);
                    }
                }
                TokenState::Active(Arc::new(ActiveToken {
                    token,
                    headers,
                    attributes,
                    stale: false,
                }))
            }
        }
    }

    /// Decides on a request from the state of its token.
    pub(crate) fn judge(
        &self,
        finding: TokenState,
        bearer: Bearer,
        grpc: impl FnOnce() -> bool,
        now: Timestamp,
    ) -> Outcome {
        let Bearer { needs, resource, clean, removal, in_query, certificate } = bearer;
        let known = match finding {
            TokenState::Active(known) => known,
            TokenState::Rejected(reason) => {
                return Outcome::of_token(reason, &needs, &resource, grpc());
            }
        };
        let confirmation = known.token.confirmation.as_ref();
        let judged = if self.mutual_tls.allows(confirmation, || certificate) {
            needs.check(&known.token, &resource, self.clock_skew, now)
        } else {
            Err(needs.deny(Reason::UnprovedCnf))
        };
        match judged {
            Ok(()) => Outcome {
                action: Action::Forward(self.forward.with_token(
                    clean,
                    &removal,
                    in_query,
                    &known.headers,
                )),
                decision: if known.stale { Decision::Stale } else { Decision::Allowed },
                rule: Arc::clone(&needs.rule),
                known: Some(known),
                resource: Some(resource),
            },
            Err(denial) => {
                let known = Some(known);
                Outcome { known, ..Outcome::denied(&denial, &needs.rule, &resource, grpc()) }
            }
        }
    }

    /// Decides on a request whose token could not be introspected.
    pub(crate) fn fail(&self, unavailable: Unavailable, bearer: Bearer, grpc: bool) -> Outcome {
        let Bearer { needs, resource, clean, removal, in_query, .. } = bearer;
        let Unavailable { failure, excused, .. } = unavailable;
        if !self.failure_mode_allow || !excused {
            return Outcome::denied(&failure.denial(), &needs.rule, &resource, grpc);
        }
        Outcome {
            action: Action::Forward(self.forward.with_token(clean, &removal, in_query, &[])),
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
fn attributes(claims: &Claims, scope_claim: &ClaimPath) -> Arc<[TokenAttribute]> {
    let text = |claim: Option<&Value>| {
        let text = claim.and_then(Value::as_str).filter(|text| text.len() <= MAX_CLAIM);
        text.map(Arc::<str>::from)
    };
    let scope = scope_claim.find(claims).and_then(|claim| header_value(claim, ' '));
    let attributes = [
        ("oauth2_subject", text(claims.get("sub"))),
        ("oauth2_client", text(claims.get("client_id"))),
        ("oauth2_scope", scope.map(Into::into)),
    ];
    attributes.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}
