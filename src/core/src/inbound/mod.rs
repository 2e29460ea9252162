//! The inbound direction: the proxy guards a resource (RFC 6750, RFC 7662).
//!
//! In come requests' heads, and the outcomes of introspection calls; out come verdicts, calls and events.
//! Nothing here knows the outbound direction: whether a token is the proxy's own is asked of its caller.

pub(crate) mod forwarding;
pub(crate) mod guard;
pub(crate) mod introspection_cache;
pub(crate) mod outage;
pub(crate) mod policy;
pub(crate) mod resource_metadata;
pub(crate) mod servers;
use std::rc::Rc;
use std::time::Duration;

use log::debug;

use crate::cache::footprint::Footprint;
use crate::cache::local::Keyed;
use crate::cache::record::{Fingerprint, MAX_CLOCK_SKEW, Record};
use crate::cache::shared::Acquire;
use crate::cache::single_flight::{CallId, Direction, SingleFlight, StreamId, Waiters};
use crate::cache::store::SharedData;
use crate::defect;
use crate::http::head::{Head, is_grpc};
use crate::inbound::guard::{Admission, Bearer, Decided, Guard};
use crate::inbound::introspection_cache::{
    CacheKey, CachedResponse, IntrospectionCache, TokenState,
};
use crate::inbound::outage::Outage;
use crate::inbound::servers::Server;
use crate::metrics::{Counter, Decision, Event, Lookup};
use crate::oauth::bearer::BearerToken;
use crate::oauth::call::Answer;
use crate::oauth::failure::{Cause, Failure};
use crate::oauth::failure_log::FailureLog;
use crate::oauth::introspection::Response;
use crate::oauth::outcome::Outcome;
use crate::oauth::reason::Reason;
use crate::oauth::token_source::Presented;
use crate::run::Run;
use crate::timestamp::Timestamp;
use crate::verdict::{Attributes, Verdict, VerifiedSubject};

/// How long a stale answer serves before the failing server is asked again.
const STALE_PAUSE: Duration = Duration::from_secs(1);

/// How much longer than a call its marker stands: until the answer has been taken in.
const MARKER_GRACE: Duration = Duration::from_secs(1);

/// The pause between two looks at what other workers learn.
const LOOK_PERIOD: Duration = Duration::from_millis(4);

/// What a call, here or by another worker, asks.
struct InFlight {
    /// The place of the server.
    server: usize,
    /// The token, for as long as the call may still have to be made here.
    token: Option<String>,
    /// The answer's name in shared data.
    fingerprint: Fingerprint,
    /// When the call was made, here or by another worker.
    since: Timestamp,
    /// Whether its marker is up, and ours.
    marked: bool,
}

/// How far a request has come.
enum Progress {
    /// This is decided on it.
    Decided(Decided),
    /// It waits for a call.
    Waiting,
}

/// A request that waits.
struct Waiter {
    /// What it brings.
    bearer: Bearer,
    /// Whether it is a gRPC request.
    grpc: bool,
}

impl Footprint for Waiter {
    fn owned_bytes(&self) -> usize {
        size_of::<Self>().saturating_add(self.bearer.owned_bytes())
    }
}

/// The inbound direction of one configuration in one worker.
pub(crate) struct Inbound {
    /// What the operator wants.
    guard: Guard,
    /// Makes the keys of answers.
    keyed: Keyed,
    /// What is kept.
    answers: IntrospectionCache,
    /// The requests that wait.
    waiting: SingleFlight<InFlight, Waiter>,
    /// Whether it depends on a request's host which server is asked about its token.
    by_host: bool,
    /// Whether there are rules whose names are worth telling.
    has_rules: bool,
    /// Whether each server answers.
    health: Vec<FailureLog>,
    /// Whether each server is down for everybody.
    outages: Vec<Outage>,
}

impl Inbound {
    /// Nothing is kept here yet, and nobody waits. `seed` is random.
    pub(crate) fn new(guard: Guard, seed: [u8; 16]) -> Self {
        let answers = IntrospectionCache::new(guard.cache.clone(), guard.clock_skew);
        let health = |server: &Server| {
            let cluster = &server.introspection.endpoint.cluster;
            FailureLog::new(format!("introspection at cluster {cluster}"))
        };
        Self {
            keyed: Keyed::new(seed),
            answers,
            waiting: SingleFlight::new(Direction::Inbound),
            health: guard.servers.iter().map(health).collect(),
            outages: vec![Outage::default(); guard.servers.len()],
            by_host: guard.servers.iter().any(|server| server.when.hosts.is_some()),
            has_rules: !guard.rules.is_empty(),
            guard,
        }
    }

    /// Whether a trailer of this name must not reach the service.
    pub(crate) fn is_reserved(&self, name: &[u8]) -> bool {
        self.guard.forward.is_reserved(name)
    }

    /// What the operator wants.
    #[cfg(feature = "review")]
    pub(crate) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// A new request: its verdict, or nothing while it waits for a call. `is_ours` tells the
    /// proxy's own tokens from callers'.
    pub(crate) fn request(
        &mut self,
        stream: StreamId,
        head: &dyn Head,
        is_ours: &dyn Fn(&Presented<'_>) -> bool,
        run: &mut Run<'_>,
    ) -> Option<Verdict> {
        match self.meet(stream, head, is_ours, run) {
            Ok(Progress::Waiting) => None,
            Ok(Progress::Decided(decided)) | Err(decided) => Some(self.pronounce(decided, run)),
        }
    }

    /// A request's way to its verdict, or to a call that it waits for.
    fn meet(
        &mut self,
        stream: StreamId,
        head: &dyn Head,
        is_ours: &dyn Fn(&Presented<'_>) -> bool,
        run: &mut Run<'_>,
    ) -> Result<Progress, Decided> {
        let (data, now) = (run.data, run.now);
        let (bearer, presented) = match self.guard.admit(head, is_ours)? {
            Admission::Decided(decided) => return Ok(Progress::Decided(decided)),
            Admission::NeedsToken(bearer, presented) => (bearer, presented),
        };
        let deny = |reason| self.guard.deny(reason, &bearer.needs, is_grpc(head));
        // The token alone says who is asked, so that its answer is found before that is worked out;
        // and what was kept was kept under a token, so that its syntax needs no second look.
        let mut key = self.keyed.key(0, presented.unchecked());
        let mut place = None;
        if self.by_host {
            let token = presented.token().map_err(deny)?;
            let server = self.guard.server(token, head).map_err(deny)?;
            key = self.keyed.key(server, token.reveal());
            place = Some(server);
        }
        if let Some(finding) = self.answers.find(key, now) {
            run.count(Event::Count(Counter::Lookup(match finding {
                TokenState::Active(ref known) if known.stale => Lookup::Stale,
                TokenState::Active(_) => Lookup::Hit,
                TokenState::Rejected(_) => Lookup::Negative,
            })));
            let decided = self.guard.judge(finding, bearer, || is_grpc(head), now);
            return Ok(Progress::Decided(decided));
        }
        let token = presented.token().map_err(deny)?;
        let place = match place {
            Some(place) => place,
            None => self.guard.server(token, head).map_err(deny)?,
        };
        let server = self.guard.servers.get(place).ok_or_else(|| deny(Reason::HostError))?;
        // Who asks every time gets an answer to his own question, not to one asked before it.
        let alone = self.answers.ask_every_time();
        let waiter = Waiter { grpc: is_grpc(head), bearer };
        if !self.waiting.has_room(&waiter) {
            return Err(self.guard.deny(Reason::Overloaded, &waiter.bearer.needs, waiter.grpc));
        }
        if !alone && let Some(id) = self.waiting.find(key) {
            self.wait(id, stream, waiter, run);
            return Ok(Progress::Waiting);
        }
        let Waiter { bearer, grpc } = waiter;
        let fingerprint = server.identity.fingerprint(token.reveal());
        let name = CacheKey { key, fingerprint, identity: &server.identity };
        let turn = if alone {
            Acquire::Ours { marked: false }
        } else {
            turn(&self.guard, server, &mut self.answers, data, name, now.plus(MAX_CLOCK_SKEW), now)
        };
        let (ours, since, marked) = match turn {
            Acquire::Known(finding) => {
                run.count(Event::Count(Counter::Lookup(Lookup::Shared)));
                let decided = self.guard.judge(finding, bearer, || grpc, now);
                return Ok(Progress::Decided(decided));
            }
            Acquire::Ours { marked } => (true, now, marked),
            Acquire::Others(since) => (false, since, false),
            // It has waited for none.
            Acquire::Failed(why) => {
                let failure = Failure::from_bytes(&why);
                let outage = self.outages.get(place).copied().unwrap_or_default();
                let decided = self.guard.fail(failure, outage, bearer, grpc);
                return Ok(Progress::Decided(decided));
            }
        };
        run.count(Event::Count(Counter::Lookup(Lookup::Miss)));
        let token_kept = (!ours).then(|| token.reveal().to_owned());
        let question = InFlight { server: place, token: token_kept, fingerprint, since, marked };
        let id = self.waiting.lead(key, question, !alone);
        if !ours {
            self.waiting.follow(id);
        }
        run.output.calls.extend(ours.then(|| server.introspection.request(id, token, now)));
        self.wait(id, stream, Waiter { bearer, grpc }, run);
        Ok(Progress::Waiting)
    }

    /// Lets a request wait.
    fn wait(&mut self, id: CallId, stream: StreamId, waiter: Waiter, run: &mut Run<'_>) {
        self.waiting.join(id, stream, waiter);
        run.count(Event::Waiting(1));
    }

    /// The outcome of a call: what is done with each request that waited for it.
    pub(crate) fn answer(
        &mut self,
        id: CallId,
        outcome: Result<&Answer, Failure>,
        run: &mut Run<'_>,
    ) -> Vec<(StreamId, Verdict)> {
        let (data, now) = (run.data, run.now);
        let Some((key, question, waiters)) = self.waiting.finish(id) else { return Vec::new() };
        let Some(server) = self.guard.servers.get(question.server) else {
            return self.conclude(&Err(Failure::Defect), Outage::None, waiters, run);
        };
        let name = CacheKey { key, fingerprint: question.fingerprint, identity: &server.identity };
        let response = Response::read(outcome, now);
        if let Some(health) = self.health.get_mut(question.server) {
            health.note(response.as_ref().err(), now);
        }
        let failure = response.as_ref().err().copied();
        let outage = note_outage(&mut self.outages, &question, failure);
        run.count(Event::Count(Counter::Call(call_outcome(&response))));
        run.count(Event::CallTime(now.since(question.since)));
        let shared = !self.answers.ask_every_time();
        let finding = response.map(|response| {
            let body = outcome.map(|answer| answer.body.as_slice()).unwrap_or_default();
            let said = CachedResponse {
                finding: self.guard.find(server, &response, body, now),
                at: now,
                body,
            };
            self.answers.keep(key, &said, now);
            if shared {
                self.answers.share(data, name, &said);
            }
            said.finding
        });
        let (asked, since) = (self.answers.asked(), question.since);
        match &finding {
            _ if !question.marked => {}
            Ok(_) => asked.release(data, name.fingerprint, since),
            Err(failure) => {
                let why = failure.to_bytes();
                asked.fail(data, name.identity, name.fingerprint, since, &why, now);
            }
        }
        let finding = finding.or_else(|failure| stale(&mut self.answers, data, name, failure, now));
        self.conclude(&finding, outage, waiters, run)
    }

    /// Takes note of the time: looks whether other workers have their answers.
    pub(crate) fn tick(&mut self, run: &mut Run<'_>) -> Vec<(StreamId, Verdict)> {
        let (data, now) = (run.data, run.now);
        let mut found = Vec::new();
        let mut ours = Vec::new();
        for (id, key, question) in self.waiting.elsewhere() {
            let server = self.guard.servers.get(question.server);
            let (Some(token), Some(server)) = (&question.token, server) else {
                found.push((id, Err(Failure::Defect), Outage::None));
                continue;
            };
            let name =
                CacheKey { key, fingerprint: question.fingerprint, identity: &server.identity };
            let since = question.since;
            match turn(&self.guard, server, &mut self.answers, data, name, since, now) {
                Acquire::Known(finding) => found.push((id, Ok(finding), Outage::None)),
                Acquire::Failed(why) => {
                    let failure = Failure::from_bytes(&why);
                    let outage = note_outage(&mut self.outages, question, Some(failure));
                    let finding = stale(&mut self.answers, data, name, failure, now);
                    found.push((id, finding, outage));
                }
                Acquire::Ours { marked } => match BearerToken::parse(token.as_bytes()) {
                    Ok(bearer) => {
                        run.output.calls.push(server.introspection.request(id, bearer, now));
                        ours.push((id, marked));
                    }
                    Err(_) => found.push((id, Err(Failure::Defect), Outage::None)),
                },
                Acquire::Others(_) => {}
            }
        }
        for (id, marked) in ours {
            self.waiting.take_over(id);
            if let Some(question) = self.waiting.question(id) {
                question.since = now;
                question.token = None;
                question.marked = marked;
            }
        }
        let mut verdicts = Vec::new();
        for (id, finding, outage) in found {
            let waiters = self.waiting.finish(id).map(|(_, _, waiters)| waiters);
            if finding.is_ok() {
                run.count(Event::Count(Counter::Lookup(Lookup::Shared)));
            }
            verdicts.extend(self.conclude(&finding, outage, waiters.unwrap_or_default(), run));
        }
        verdicts
    }

    /// How often time has to be taken note of: while anybody waits for another worker's call.
    pub(crate) fn tick_period(&self) -> Option<Duration> {
        self.waiting.has_elsewhere().then_some(LOOK_PERIOD)
    }

    /// A request that waited has gone.
    pub(crate) fn gone(&mut self, stream: StreamId, run: &mut Run<'_>) {
        if let Some(id) = self.waiting.forget(stream) {
            run.count(Event::Waiting(-1));
            if self.waiting.abandoned(id).is_some() {
                self.waiting.finish(id);
            }
        }
    }

    /// Forgets the servers, as nothing but a test does.
    #[cfg(test)]
    pub(crate) fn lose_servers(&mut self) {
        self.guard.servers.clear();
    }

    /// What is done with the requests that waited for this.
    fn conclude(
        &mut self,
        finding: &Result<TokenState, Failure>,
        outage: Outage,
        waiters: Waiters<Waiter>,
        run: &mut Run<'_>,
    ) -> Vec<(StreamId, Verdict)> {
        if matches!(finding, Ok(TokenState::Active(known)) if known.stale) {
            run.count(Event::Count(Counter::Lookup(Lookup::Stale)));
        }
        let mut verdicts = Vec::with_capacity(waiters.len());
        for (stream, Waiter { bearer, grpc }) in waiters {
            run.count(Event::Waiting(-1));
            let verdict = match finding {
                Ok(finding) => {
                    let decided = self.guard.judge(finding.clone(), bearer, || grpc, run.now);
                    self.pronounce(decided, run)
                }
                Err(Failure::Defect) => defect::refuse("no state for an introspection call", run),
                Err(failure) => {
                    let decided = self.guard.fail(*failure, outage, bearer, grpc);
                    self.pronounce(decided, run)
                }
            };
            verdicts.push((stream, verdict));
        }
        verdicts
    }

    /// The verdict, counted and logged.
    fn pronounce(&self, decided: Decided, run: &mut Run<'_>) -> Verdict {
        let Decided { action, decision, rule, known } = decided;
        if let Decision::Denied(reason) = decision {
            debug!("denied by {rule}: {}", reason.details());
        }
        run.count(Event::Count(Counter::Request(decision)));
        let attributes = Attributes {
            decision: Some(decision),
            rule: self.has_rules.then_some(rule),
            token: known.as_ref().map(|known| Rc::clone(&known.attributes)),
        };
        let checked = known.map(|known| VerifiedSubject { expires: known.token.expires });
        Verdict { action, attributes, sent: None, checked }
    }
}

/// Looks for what all workers know of a token, or else puts up the marker of a call. A request that
/// waits since `since` waits for one call of another worker, and not for one after the other.
fn turn(
    guard: &Guard,
    server: &Server,
    answers: &mut IntrospectionCache,
    data: &dyn SharedData,
    name: CacheKey<'_>,
    since: Timestamp,
    now: Timestamp,
) -> Acquire<TokenState> {
    let marker = Record { written: now, ends: server.deadline(now), body: Vec::new() };
    let asked = answers.asked();
    asked.acquire(data, name.identity, name.fingerprint, &marker, since, &mut || {
        recall(guard, server, answers, data, name, now)
    })
}

/// What all workers know of a token, now kept here too.
fn recall(
    guard: &Guard,
    server: &Server,
    answers: &mut IntrospectionCache,
    data: &dyn SharedData,
    name: CacheKey<'_>,
    now: Timestamp,
) -> Option<TokenState> {
    let (body, at) = answers.recall(data, name, now)?;
    let response = Response::parse(&body).ok()?;
    let said =
        CachedResponse { finding: guard.find(server, &response, &body, at), at, body: &body };
    answers.keep(name.key, &said, now).then_some(said.finding)
}

/// Takes note of how a call has ended: what is known of its server now.
fn note_outage(outages: &mut [Outage], question: &InFlight, failure: Option<Failure>) -> Outage {
    let Some(outage) = outages.get_mut(question.server) else { return Outage::None };
    outage.note(question.fingerprint, failure);
    *outage
}

/// What may be served stale after this failure: nothing where it may have to do with the token.
fn stale(
    answers: &mut IntrospectionCache,
    data: &dyn SharedData,
    name: CacheKey<'_>,
    failure: Failure,
    now: Timestamp,
) -> Result<TokenState, Failure> {
    if matches!(failure.cause(), Cause::Request) {
        return Err(failure);
    }
    answers.stale(data, name, STALE_PAUSE, now).map(TokenState::Active).ok_or(failure)
}

/// What a call's outcome is counted as.
fn call_outcome(response: &Result<Response, Failure>) -> Outcome {
    match response {
        Ok(Response::Active(_)) => Outcome::Active,
        Ok(Response::Inactive) => Outcome::Inactive,
        Err(failure) => failure.outcome(),
    }
}

impl Server {
    /// When the marker of a call that is made now has lost its meaning.
    fn deadline(&self, now: Timestamp) -> Timestamp {
        now.plus(self.introspection.endpoint.timeout).plus(MARKER_GRACE)
    }
}
