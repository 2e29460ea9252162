//! The inbound direction: the proxy guards a resource (RFC 6750, RFC 7662).

use std::rc::Rc;
use std::time::Duration;

use log::{debug, log};

use crate::bearer::BearerToken;
use crate::call::{Answer, Call, CallFailure, CallId};
use crate::claims::ClaimPath;
use crate::denial::{Denial, Reason, Reply};
use crate::forward::{Edits, Forwarding};
use crate::head::Head;
use crate::health::Health;
use crate::introspection::{AccessToken, Failure, Introspection, Response};
use crate::kept::{Kept, Key, Keyed};
use crate::path::{BadPath, NormalPath};
use crate::rules::{Matcher, Target, host_of};
use crate::scope::ScopeNeed;
use crate::timestamp::Timestamp;
use crate::waiting::{Joined, StreamId, Waiting};

/// What the configuration says of the inbound direction.
#[derive(Debug)]
pub(crate) struct InboundConfig {
    /// Who is asked about tokens.
    pub(crate) introspection: Introspection,
    /// How long and how many answers are kept.
    pub(crate) cache: CacheConfig,
    /// The `realm` of every challenge.
    pub(crate) realm: String,
    /// In order; the first that fits decides.
    pub(crate) rules: Vec<Rule>,
    /// Decides on requests that no other rule fits.
    pub(crate) unmatched: Rule,
    /// The claim that holds the scopes.
    pub(crate) scope_claim: ClaimPath,
    /// Leeway for `exp` and `nbf`.
    pub(crate) clock_skew: Duration,
    /// What passing requests take along.
    pub(crate) forward: Forwarding,
}

/// How long and how many answers are kept, by each worker.
#[derive(Debug)]
pub(crate) struct CacheConfig {
    /// For an active token, and never past its `exp`; zero to ask every time.
    pub(crate) max_ttl: Duration,
    /// For a refused token; zero to keep none.
    pub(crate) negative_ttl: Duration,
    /// Room for active tokens.
    pub(crate) max_entries: usize,
    /// Room for refused tokens, apart, so that they never push out an active one.
    pub(crate) negative_max_entries: usize,
}

/// Which requests, and what they need.
#[derive(Debug)]
pub(crate) struct Rule {
    /// What logs call it.
    pub(crate) name: Rc<str>,
    /// Which requests.
    pub(crate) matcher: Matcher,
    /// What they need.
    pub(crate) access: Access,
}

/// What a request needs.
#[derive(Debug)]
pub(crate) enum Access {
    /// Nothing.
    Public,
    /// Nothing that it could have.
    Deny(Reason),
    /// A token that meets the needs.
    Token(Rc<Needs>),
    /// The same if it has a token at all.
    Optional(Rc<Needs>),
}

/// What a token must be like.
#[derive(Debug)]
pub(crate) struct Needs {
    /// The name of the rule that needs it.
    pub(crate) rule: Rc<str>,
    /// One of these must be its issuer; none given, any will do.
    pub(crate) issuer: Vec<Box<str>>,
    /// One of these must be in its audience; none given, any will do.
    pub(crate) audience: Vec<Box<str>>,
    /// What it must hold.
    pub(crate) scope: Option<ScopeNeed>,
}

impl Needs {
    /// A denial for a token of which no scopes are known.
    fn deny(&self, reason: Reason) -> Denial {
        Denial::new(reason).with_scope(self.scope.as_ref().map(ScopeNeed::shortest))
    }

    /// Judges a token. Kept answers are judged like new ones, on every request.
    fn check(&self, token: &AccessToken, skew: Duration, now: Timestamp) -> Result<(), Denial> {
        if token.expires.is_some_and(|end| now >= end.plus(skew)) {
            return Err(self.deny(Reason::Expired));
        }
        if token.not_before.is_some_and(|start| now.plus(skew) < start) {
            return Err(self.deny(Reason::NotYetValid));
        }
        if !self.issuer.is_empty() && !self.issuer.iter().any(|i| token.issuer.as_ref() == Some(i))
        {
            return Err(self.deny(Reason::WrongIssuer));
        }
        if !self.audience.is_empty() && !self.audience.iter().any(|a| token.audience.contains(a)) {
            return Err(self.deny(Reason::WrongAudience));
        }
        match &self.scope {
            Some(scope) => scope.check(&token.scope).map_err(|nearest| {
                Denial::new(Reason::InsufficientScope).with_scope(Some(nearest))
            }),
            None => Ok(()),
        }
    }
}

/// What is done with a request.
#[derive(Debug, Eq, PartialEq)]
#[must_use]
pub enum Verdict {
    /// It goes on to the service, after these changes to its head.
    Forward(Edits),
    /// It ends here, with this answer.
    Refuse(Reply),
}

/// What follows from a request's head.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// All is known.
    Decide(Verdict),
    /// The request waits for the answer to a call: to this one if it has to be made, or else to
    /// one under way.
    Wait(Option<Call>),
}

/// A token that may pass, as it is kept.
#[derive(Debug)]
struct Known {
    /// What is judged.
    token: AccessToken,
    /// The headers that its requests get.
    headers: Vec<(Rc<str>, Rc<str>)>,
}

/// A request that waits for an answer.
struct Waiter {
    /// What it needs.
    needs: Rc<Needs>,
    /// Whether it is a gRPC request.
    grpc: bool,
    /// The headers that it must not bring.
    spoofed: Vec<Rc<str>>,
}

/// The inbound direction of one configuration in one worker.
pub(crate) struct Inbound {
    /// What the operator wants.
    config: InboundConfig,
    /// Makes the keys of answers. Server, client and configuration are the same for all that one
    /// `Inbound` keeps, so the token is all that tells its answers apart.
    keyed: Keyed,
    /// Active tokens.
    known: Kept<Rc<Known>>,
    /// Refused tokens.
    refused: Kept<Reason>,
    /// The requests that wait.
    waiting: Waiting<Waiter>,
    /// Whether the server answers.
    health: Health,
}

impl Inbound {
    /// Nothing is kept and nobody waits.
    pub(crate) fn new(config: InboundConfig, seed: [u8; 16]) -> Self {
        let known = Kept::new(config.cache.max_entries);
        let refused = Kept::new(config.cache.negative_max_entries);
        let health = Health::new(&config.introspection.endpoint.cluster);
        Self { config, keyed: Keyed::new(seed), known, refused, waiting: Waiting::new(), health }
    }

    /// A new request.
    pub(crate) fn request(&mut self, stream: StreamId, head: &dyn Head, now: Timestamp) -> Step {
        // Names first: a host that hands them all over at once has the values then, too.
        let spoofed = self.config.forward.spoofed(head);
        let config = &self.config;
        let Ok(rule) = config.rule(head) else {
            let denial = Denial::new(Reason::BadPath);
            return Step::Decide(config.refuse(&denial, "the path", is_grpc(head)));
        };
        let (needs, optional) = match &rule.access {
            Access::Public => return Step::Decide(Verdict::Forward(Forwarding::bare(spoofed))),
            Access::Deny(reason) => {
                let denial = Denial::new(*reason);
                return Step::Decide(config.refuse(&denial, &rule.name, is_grpc(head)));
            }
            Access::Token(needs) => (needs, false),
            Access::Optional(needs) => (needs, true),
        };
        let deny = |reason| {
            let denial = needs.deny(reason);
            Step::Decide(config.refuse(&denial, &needs.rule, is_grpc(head)))
        };
        let authorization = head.value("authorization").unwrap_or_default();
        let token = match BearerToken::from_authorization(&authorization) {
            Ok(Some(token)) => token,
            Ok(None) if optional => {
                return Step::Decide(Verdict::Forward(Forwarding::bare(spoofed)));
            }
            Ok(None) => return deny(Reason::NoToken),
            Err(reason) => return deny(reason),
        };
        let key = self.keyed.key(token.reveal());
        if let Some(known) = self.known.get(key, now) {
            return Step::Decide(config.judge(known, needs, spoofed, || is_grpc(head), now));
        }
        if let Some(reason) = self.refused.get(key, now) {
            return deny(*reason);
        }
        let waiter = Waiter { needs: Rc::clone(needs), grpc: is_grpc(head), spoofed };
        // Who asks every time gets an answer to his own question, not to one asked before it.
        let alone = config.cache.max_ttl.is_zero();
        match self.waiting.join(key, stream, waiter, alone) {
            Joined::Existing => Step::Wait(None),
            Joined::New(id) => Step::Wait(Some(config.introspection.request(id, token))),
        }
    }

    /// The outcome of a call: what is done with each request that waited for it.
    pub(crate) fn answer(
        &mut self,
        id: CallId,
        outcome: Result<&Answer, CallFailure>,
        now: Timestamp,
    ) -> Vec<(StreamId, Verdict)> {
        let Some((key, waiters)) = self.waiting.finish(id) else { return Vec::new() };
        let said = self.learn(key, outcome, now);
        let verdict = |Waiter { needs, grpc, spoofed }| match &said {
            Said::Known(known) => self.config.judge(known, &needs, spoofed, || grpc, now),
            Said::Refused(reason) => self.config.refuse(&needs.deny(*reason), &needs.rule, grpc),
            Said::Nothing(failure) => self.config.refuse(&failure.denial(), &needs.rule, grpc),
        };
        waiters.into_iter().map(|(stream, waiter)| (stream, verdict(waiter))).collect()
    }

    /// A request that waited has gone.
    pub(crate) fn gone(&mut self, stream: StreamId) {
        self.waiting.forget(stream);
    }

    /// Takes in what the server says of the token with this key, and keeps it.
    fn learn(&mut self, key: Key, outcome: Result<&Answer, CallFailure>, now: Timestamp) -> Said {
        let InboundConfig { cache, forward, scope_claim, clock_skew, .. } = &self.config;
        let response = Response::read(outcome);
        if let Some((level, line)) = self.health.note(response.as_ref().err(), now) {
            log!(level, "{line}");
        }
        let token = match response {
            Err(failure) => return Said::Nothing(failure),
            Ok(Response::Inactive) => Err(Reason::Inactive),
            Ok(Response::Active(claims)) => AccessToken::from_claims(&claims, scope_claim)
                .and_then(|token| {
                    let ended = token.expires.is_some_and(|end| now >= end.plus(*clock_skew));
                    if ended { Err(Reason::Expired) } else { Ok(token) }
                })
                .map(|token| {
                    let body = outcome.map(|answer| answer.body.as_slice()).unwrap_or_default();
                    let headers = forward.headers(&claims, scope_claim, body);
                    Rc::new(Known { token, headers })
                }),
        };
        match token {
            Ok(known) => {
                let end = known.token.expires.map_or(Timestamp::NEVER, |end| end.plus(*clock_skew));
                let until = end.min(now.plus(cache.max_ttl));
                self.known.insert(key, Rc::clone(&known), until, now);
                Said::Known(known)
            }
            Err(reason) => {
                self.refused.insert(key, reason, now.plus(cache.negative_ttl), now);
                Said::Refused(reason)
            }
        }
    }
}

/// What came of a call.
enum Said {
    /// The token is active.
    Known(Rc<Known>),
    /// The token is no good, whatever the rule.
    Refused(Reason),
    /// The server said nothing of it.
    Nothing(Failure),
}

impl InboundConfig {
    /// The rule that decides on this request.
    fn rule(&self, head: &dyn Head) -> Result<&Rule, BadPath> {
        let path = head.value(":path").map(|path| NormalPath::parse(&path)).transpose()?;
        if self.rules.is_empty() {
            return Ok(&self.unmatched);
        }
        let method = head.value(":method").unwrap_or_default();
        let target = Target {
            method: std::str::from_utf8(&method).unwrap_or_default(),
            host: &host_of(&head.value(":authority").unwrap_or_default()),
            path: path.as_ref(),
        };
        let rule = self.rules.iter().find(|rule| rule.matcher.fits(&target));
        Ok(rule.unwrap_or(&self.unmatched))
    }

    /// What is done with a request whose token is known.
    fn judge(
        &self,
        known: &Known,
        needs: &Needs,
        spoofed: Vec<Rc<str>>,
        grpc: impl FnOnce() -> bool,
        now: Timestamp,
    ) -> Verdict {
        match needs.check(&known.token, self.clock_skew, now) {
            Ok(()) => Verdict::Forward(self.forward.with_token(spoofed, &known.headers)),
            Err(denial) => self.refuse(&denial, &needs.rule, grpc()),
        }
    }

    /// Refuses a request on the word of `rule`.
    fn refuse(&self, denial: &Denial, rule: &str, grpc: bool) -> Verdict {
        debug!("refused by {rule}: {}", denial.reason.details());
        Verdict::Refuse(denial.reply(&self.realm, grpc))
    }
}

/// Whether Envoy takes this for a gRPC request.
fn is_grpc(head: &dyn Head) -> bool {
    let content_type = head.value("content-type").unwrap_or_default();
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}
