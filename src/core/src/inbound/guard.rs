//! The decisions of the inbound direction that depend only on one configuration, a request and the
//! state of its token. This module has no state of its own.

use std::sync::Arc;

use crate::cache::footprint::Footprint;
use crate::http::head::{Head, is_grpc};
use crate::http::path::EncodedSlash;
use crate::ids::ServerId;
use crate::inbound::cors::Cors;
use crate::inbound::forwarding::Forwarding;
use crate::inbound::introspection_cache::{CacheConfig, Freshness};
use crate::inbound::issuers::Issuer;
use crate::inbound::mcp::McpRequest;
use crate::inbound::policy::{Access, McpRule, Needs, Rule};
use crate::inbound::resources::Resources;
use crate::inbound::servers::Server;
use crate::jose::verify::Verify;
use crate::lookup::{Introspected, Unavailable};
use crate::metrics::Decision;
use crate::oauth::denial::{Denial, Resource};
use crate::oauth::introspection::Reading;
use crate::oauth::reason::Reason;
use crate::oauth::sender_constraint::MutualTls;
use crate::oauth::standing::Standing;
use crate::oauth::token_source::{Presented, Removals, TokenSource};
use crate::oauth::token_sources::TokenSources;
use crate::oauth::token_state::{ActiveToken, TokenState};
use crate::rules::index::RuleIndex;
use crate::rules::target::{Target, Undecided};
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

    pub(crate) fn server(&self, ServerId(place): ServerId) -> Option<&Server> {
        self.servers.get(place)
    }

    pub(crate) fn freshness(&self, response: &Introspected) -> Freshness {
        self.cache.freshness(response)
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
    pub(crate) fn fail(&self, unavailable: &Unavailable, bearer: Bearer, grpc: bool) -> Outcome {
        let Bearer { needs, resource, flaw, clean, removals, in_query, .. } = bearer;
        let Unavailable { failure, excused, .. } = *unavailable;
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
