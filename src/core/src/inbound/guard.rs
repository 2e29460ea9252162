//! The decisions of the inbound direction that depend only on one configuration, a request and the
//! state of its token. This module has no state of its own.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::cache::footprint::Footprint;
use crate::http::head::{Head, is_grpc};
use crate::ids::ServerId;
use crate::inbound::forwarding::{Forwarding, MAX_CLAIM, header_value};
use crate::inbound::introspection_cache::{CacheConfig, Freshness};
use crate::inbound::mcp::McpRequest;
use crate::inbound::policy::{Access, McpRule, Needs, Rule};
use crate::inbound::resource_metadata::ResourceMetadata;
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
use crate::rules::target::{Target, Undecided, host_of};
use crate::timestamp::Timestamp;
use crate::verdict::{Action, Forward};

/// The inbound configuration, ready to be applied.
#[derive(Debug)]
pub(crate) struct Guard {
    /// The first server whose `when` matches introspects a token.
    pub(crate) servers: Vec<Server>,
    pub(crate) cache: CacheConfig,
    pub(crate) token_sources: Vec<TokenSource>,
    /// Parameters of every `WWW-Authenticate` challenge.
    pub(crate) resource: Resource,
    /// The metadata document of the resource (RFC 9728), if it is served.
    pub(crate) metadata: Option<ResourceMetadata>,
    /// The first rule that matches applies.
    pub(crate) rules: RuleIndex<Rule>,
    /// Whether any rule is one on messages.
    pub(crate) reads_messages: bool,
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
    /// Whether requests are forwarded unchecked while the authorization server is unavailable.
    pub(crate) failure_mode_allow: bool,
    pub(crate) forward: Forwarding,
}

/// A decision that has not been counted yet.
pub(crate) struct Outcome {
    pub(crate) action: Action,
    pub(crate) decision: Decision,
    /// The name of the rule that applied.
    pub(crate) rule: Arc<str>,
    /// The token of the request, if it was found active.
    pub(crate) known: Option<Arc<ActiveToken>>,
}

/// The parts of a request that are needed once the state of its token is known.
pub(crate) struct Bearer {
    pub(crate) needs: Arc<Needs>,
    /// Why the request is denied, whatever its token.
    pub(crate) flaw: Option<Reason>,
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
        let Self { needs: _, flaw: _, clean, removal, in_query: _, certificate: _ } = self;
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
            || self.token_sources.iter().any(TokenSource::needs_whole_head)
        {
            // Read first, because single values are then taken from it.
            head.fields();
        }
        let undecided = |reason: Reason| {
            let what = if reason == Reason::BadHost { "host" } else { "path" };
            self.refuse(&Denial::new(reason), &what.into(), is_grpc(head))
        };
        let clean = self.forward.clean(head).map_err(undecided)?;
        let target = Target::new(head);
        // Where paths matter, an ambiguous path is rejected whichever rule would match otherwise.
        if self.metadata.is_some() || self.rules.looks_at_paths() {
            target.path().map_err(|bad| undecided(bad.into()))?;
        }
        if let Some(metadata) = &self.metadata
            && let Some(reply) = metadata.answer(target.path().unwrap_or_default(), head)
        {
            let action = Action::Respond(reply);
            let rule = "resource_metadata".into();
            let decision = Decision::Metadata;
            return Ok(Admission::Decided(Outcome { action, decision, rule, known: None }));
        }
        let mut flaw = None;
        let rule = self.rule(&target, head, &mut flaw);
        let rule = rule.map_err(|why| undecided(why.into()))?;
        let public = |clean| {
            Admission::Decided(Outcome {
                action: Action::Forward(clean),
                decision: Decision::Public,
                rule: Arc::clone(&rule.name),
                known: None,
            })
        };
        let (needs, optional) = match (&rule.access, flaw) {
            (_, Some(reason)) => (self.needs_if_flawed(reason, rule, head)?, false),
            (Access::Public, None) => return Ok(public(clean)),
            (Access::Deny(reason), None) => {
                let denial = Denial::new(*reason);
                return Err(self.refuse(&denial, &rule.name, is_grpc(head)));
            }
            (Access::Token(_) | Access::Optional(_), None) if self.is_preflight(&target, head) => {
                return Ok(public(clean));
            }
            (Access::Token(needs), None) => (needs, false),
            (Access::Optional(needs), None) => (needs, true),
        };
        let deny = |reason| self.deny(reason, needs, is_grpc(head));
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
            flaw,
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
    ) -> Result<&'r Arc<Needs>, Outcome> {
        match (&rule.access, &rule.mcp) {
            (Access::Token(needs), _) => Ok(needs),
            (Access::Optional(needs), _) if self.has_token(head) => Ok(needs),
            (Access::Deny(_), Some(mcp)) => Ok(&mcp.needs),
            _ => Err(self.refuse(&Denial::new(reason), &rule.name, is_grpc(head))),
        }
    }

    /// Whether a request presents a token, or more than one.
    fn has_token(&self, head: &dyn Head) -> bool {
        !matches!(present(&self.token_sources, head), Ok(None))
    }

    /// The rule that decides. If it is one on messages, and which message the request has is
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
    ) -> Result<&Rule, Undecided> {
        let rule = if self.reads_messages {
            self.rule_on_message(target, head, flaw)
        } else {
            self.rules.find(target)
        };
        Ok(rule?.unwrap_or(&self.unmatched))
    }

    /// The same, where the message may decide; `None` if no rule matches.
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
        let Bearer { needs, flaw, clean, removal, in_query, certificate } = bearer;
        let known = match finding {
            TokenState::Active(known) => known,
            TokenState::Rejected(reason) => return self.deny(reason, &needs, grpc()),
        };
        let confirmation = known.token.confirmation.as_ref();
        let judged = if self.mutual_tls.allows(confirmation, || certificate) {
            needs.check(&known.token, self.clock_skew, now)
        } else {
            Err(needs.deny(Reason::UnprovedCnf))
        };
        if let (Ok(()), Some(reason)) = (&judged, flaw) {
            return Outcome { known: Some(known), ..self.deny(reason, &needs, grpc()) };
        }
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
            },
            Err(denial) => {
                let known = Some(known);
                Outcome { known, ..self.refuse(&denial, &needs.rule, grpc()) }
            }
        }
    }

    /// Decides on a request whose token could not be introspected.
    pub(crate) fn fail(&self, unavailable: Unavailable, bearer: Bearer, grpc: bool) -> Outcome {
        let Bearer { needs, flaw, clean, removal, in_query, .. } = bearer;
        let Unavailable { failure, excused, .. } = unavailable;
        if !self.failure_mode_allow || !excused || flaw.is_some() {
            return self.refuse(&failure.denial(), &needs.rule, grpc);
        }
        Outcome {
            action: Action::Forward(self.forward.with_token(clean, &removal, in_query, &[])),
            decision: Decision::Unchecked,
            rule: Arc::clone(&needs.rule),
            known: None,
        }
    }

    /// Denies a request that needs a token.
    pub(crate) fn deny(&self, reason: Reason, needs: &Needs, grpc: bool) -> Outcome {
        self.refuse(&needs.deny(reason), &needs.rule, grpc)
    }

    /// Denies a request in the name of `rule`.
    fn refuse(&self, denial: &Denial, rule: &Arc<str>, grpc: bool) -> Outcome {
        Outcome {
            action: Action::Respond(denial.reply(&self.resource, grpc)),
            decision: Decision::Denied(denial.reason),
            rule: Arc::clone(rule),
            known: None,
        }
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
