//! What one configuration makes of a request and of what is known of its token: nothing here
//! remembers anything.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::cache::footprint::Footprint;
use crate::http::head::{Head, is_grpc};
use crate::ids::ServerId;
use crate::inbound::forwarding::{Forwarding, MAX_CLAIM, header_value};
use crate::inbound::introspection_cache::{CacheConfig, Freshness};
use crate::inbound::policy::{Access, Needs, Rule};
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
use crate::rules::target::{Target, host_of};
use crate::timestamp::Timestamp;
use crate::verdict::{Action, Forward};

/// What the configuration says of the inbound direction, ready to be applied.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Who is asked about tokens: the first whose `when` fits.
    pub(crate) servers: Vec<Server>,
    /// How long and how many answers are kept.
    pub(crate) cache: CacheConfig,
    /// Where tokens are looked for.
    pub(crate) token_sources: Vec<TokenSource>,
    /// What every challenge says.
    pub(crate) resource: Resource,
    /// The document that says it in full.
    pub(crate) metadata: Option<ResourceMetadata>,
    /// In order; the first that fits decides.
    pub(crate) rules: RuleIndex<Rule>,
    /// Decides on requests that no other rule fits.
    pub(crate) unmatched: Rule,
    /// How answers are read.
    pub(crate) reading: Reading,
    /// Leeway for `exp`, `nbf` and `max_age`.
    pub(crate) clock_skew: Duration,
    /// What is asked of tokens in respect of the caller's certificate.
    pub(crate) mutual_tls: MutualTls,
    /// Whether browsers may ask first without a token.
    pub(crate) allow_cors_preflight: bool,
    /// Whether requests pass unchecked while the server fails.
    pub(crate) failure_mode_allow: bool,
    /// What passing requests take along.
    pub(crate) forward: Forwarding,
}

/// A verdict before it is counted.
pub(crate) struct Outcome {
    /// Whether the request goes on.
    pub(crate) action: Action,
    /// In a word.
    pub(crate) decision: Decision,
    /// The name of the rule that decided.
    pub(crate) rule: Arc<str>,
    /// Its token, if that is known.
    pub(crate) known: Option<Arc<ActiveToken>>,
}

/// What a request brings that matters once its token is known.
pub(crate) struct Bearer {
    /// What it needs.
    pub(crate) needs: Arc<Needs>,
    /// What is taken out of it in any case.
    pub(crate) clean: Forward,
    /// What takes its token out.
    pub(crate) removal: Removal,
    /// Whether its token came in the query.
    pub(crate) in_query: bool,
    /// The certificate of its connection.
    pub(crate) certificate: Option<[u8; 32]>,
}

impl Footprint for Bearer {
    fn owned_bytes(&self) -> usize {
        let Self { needs: _, clean, removal, in_query: _, certificate: _ } = self;
        clean.owned_bytes().saturating_add(removal.owned_bytes())
    }
}

/// What a request's head alone says of it.
pub(crate) enum Admission<'h> {
    /// No token matters: this is decided.
    Decided(Outcome),
    /// The token has to be judged that it presents.
    NeedsToken(Bearer, Presented<'h>),
}

impl Guard {
    /// What a request's head says: whether its token matters.
    ///
    /// # Errors
    /// The request is refused.
    pub(crate) fn admit<'h>(
        &'h self,
        head: &'h dyn Head,
        is_ours: &dyn Fn(&Presented<'_>) -> bool,
    ) -> Result<Admission<'h>, Outcome> {
        if self.forward.needs_whole_head()
            || self.rules.looks_at_several()
            || self.token_sources.iter().any(TokenSource::needs_whole_head)
        {
            // First, since the host then has every header at hand.
            head.fields();
        }
        let undecided = |reason: Reason| {
            let what = if reason == Reason::BadHost { "host" } else { "path" };
            self.refuse(&Denial::new(reason), &what.into(), is_grpc(head))
        };
        let clean = self.forward.clean(head).map_err(undecided)?;
        let target = Target::new(head);
        // Where paths matter a bad one is refused, whichever rule would fit but for that.
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
        let rule = self.rules.find(&target).map_err(|why| undecided(why.into()))?;
        let rule = rule.unwrap_or(&self.unmatched);
        let public = |clean| {
            Admission::Decided(Outcome {
                action: Action::Forward(clean),
                decision: Decision::Public,
                rule: Arc::clone(&rule.name),
                known: None,
            })
        };
        let (needs, optional) = match &rule.access {
            Access::Public => return Ok(public(clean)),
            Access::Deny(reason) => {
                let denial = Denial::new(*reason);
                return Err(self.refuse(&denial, &rule.name, is_grpc(head)));
            }
            Access::Token(_) | Access::Optional(_) if self.is_preflight(&target, head) => {
                return Ok(public(clean));
            }
            Access::Token(needs) => (needs, false),
            Access::Optional(needs) => (needs, true),
        };
        let deny = |reason| self.deny(reason, needs, is_grpc(head));
        // Envoy may send a request through here again that we have put a token of ours on: whoever
        // caused that has not shown it.
        let presented = present(&self.token_sources, head).map_err(deny)?;
        let presented = match presented.filter(|presented| !is_ours(presented)) {
            Some(presented) => presented,
            None if optional => return Ok(public(clean)),
            None => return Err(deny(Reason::NoToken)),
        };
        let bearer = Bearer {
            needs: Arc::clone(needs),
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

    /// Whether this is a browser that asks what it may send (Fetch standard), and may do so.
    fn is_preflight(&self, target: &Target<'_>, head: &dyn Head) -> bool {
        self.allow_cors_preflight
            && target.method() == "OPTIONS"
            && head.value("origin").is_some()
            && head.value("access-control-request-method").is_some()
    }

    /// The server that answers for this token.
    ///
    /// # Errors
    /// There is none, or the host cannot be compared.
    pub(crate) fn server_for(
        &self,
        token: BearerToken<'_>,
        head: &dyn Head,
    ) -> Result<ServerId, Reason> {
        servers::place(&self.servers, token, || host_of(head))?.ok_or(Reason::NoServer)
    }

    /// A server.
    pub(crate) fn server(&self, ServerId(place): ServerId) -> Option<&Server> {
        self.servers.get(place)
    }

    /// How long a response serves.
    pub(crate) fn freshness(&self, response: &Introspected) -> Freshness {
        self.cache.freshness(response, self.clock_skew)
    }

    /// What follows from what a server has said at this time.
    pub(crate) fn introspected(
        &self,
        server: &Server,
        response: &Response,
        body: &[u8],
        at: Timestamp,
    ) -> Introspected {
        Introspected { state: self.state(server, response, body, at), at }
    }

    /// What is known of a token by what a server said.
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
        let token = IntrospectedToken::from_claims(claims, &self.reading, server.issuer.as_deref());
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
                // Both are kept for long, and often say the same.
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

    /// What is done with a request of whose token this is known.
    pub(crate) fn judge(
        &self,
        finding: TokenState,
        bearer: Bearer,
        grpc: impl FnOnce() -> bool,
        now: Timestamp,
    ) -> Outcome {
        let Bearer { needs, clean, removal, in_query, certificate } = bearer;
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

    /// What is done with a request of whose token nothing can be learnt.
    pub(crate) fn fail(&self, unavailable: Unavailable, bearer: Bearer, grpc: bool) -> Outcome {
        let Bearer { needs, clean, removal, in_query, .. } = bearer;
        let Unavailable { failure, excused, .. } = unavailable;
        if !self.failure_mode_allow || !excused {
            return self.refuse(&failure.denial(), &needs.rule, grpc);
        }
        Outcome {
            action: Action::Forward(self.forward.with_token(clean, &removal, in_query, &[])),
            decision: Decision::Unchecked,
            rule: Arc::clone(&needs.rule),
            known: None,
        }
    }

    /// Refuses a request with a token.
    pub(crate) fn deny(&self, reason: Reason, needs: &Needs, grpc: bool) -> Outcome {
        self.refuse(&needs.deny(reason), &needs.rule, grpc)
    }

    /// Refuses a request on the word of `rule`.
    fn refuse(&self, denial: &Denial, rule: &Arc<str>, grpc: bool) -> Outcome {
        Outcome {
            action: Action::Respond(denial.reply(&self.resource, grpc)),
            decision: Decision::Denied(denial.reason),
            rule: Arc::clone(rule),
            known: None,
        }
    }
}

/// The filter state that a token gives its requests.
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
