//! The half of the filter that decides on requests, from rules and from what is cached in this
//! worker.

use std::fmt;
use std::sync::Arc;

use fnv::FnvHashMap;

use crate::cache::footprint::Footprint;
use crate::cache::single_flight::StreamId;
use crate::defect;
use crate::http::head::Head;
use crate::inbound::cors::Origin;
use crate::inbound::{self, Inbound};
use crate::lookup::{Found, Lookup, Resolved};
use crate::oauth::access_token::AccessToken;
use crate::oauth::call::TokenUse;
use crate::oauth::failure::Failure;
use crate::oauth::token_source::Presented;
use crate::outbound::{self, Injection, Outbound};
use crate::run::Run;
use crate::verdict::{Action, Verdict};

/// The maximum memory of the requests that wait in one direction, in bytes. Most hold a few hundred
/// bytes, but some hold data from a client: a path or a cookie of many kilobytes.
const MAX_HELD: usize = 32 << 20;

/// Decides on the requests of one configuration in one worker.
///
/// The driver passes [`Output::lookups`](crate::Output::lookups) on to the [`Fetcher`](crate::Fetcher),
/// and its answers to [`Decider::resolved`].
pub struct Decider {
    /// Present if the proxy protects a resource.
    pub(crate) inbound: Option<Inbound>,
    /// Present if the proxy is an OAuth client.
    pub(crate) outbound: Option<Outbound>,
    waiting: FnvHashMap<StreamId, Held>,
    /// The memory of the requests that wait for the introspection of their token, in bytes.
    held_inbound: usize,
    /// The memory of the requests that wait for one of the proxy's tokens, in bytes.
    held_outbound: usize,
}

/// A request, as long as its decision may depend on a lookup.
#[derive(Clone, Copy)]
struct Caller {
    stream: StreamId,
    /// The origin of the script that sent it, if it may read responses.
    origin: Option<Origin>,
}

/// A request that waits, and the origin of its caller.
struct Held {
    waiting: Waiting,
    origin: Option<Origin>,
}

/// A request that waits, with everything that is needed to continue it.
enum Waiting {
    /// The request's token is being introspected. The request then continues with its outbound
    /// plan: even one that gets no token has a plan, which names the headers that must not be
    /// forwarded.
    Introspection(Box<inbound::Waiter>, Option<Injection>),
    /// The keys of the token's issuer are needed. The request then continues in the same way.
    Keys(Box<inbound::KeyWaiter>, Option<Injection>),
    /// The request waits for one of the proxy's tokens.
    Token(Box<outbound::Waiter>),
}

impl Footprint for Waiting {
    fn owned_bytes(&self) -> usize {
        match self {
            Self::Introspection(waiter, plan) => {
                waiter.owned_bytes().saturating_add(plan.owned_bytes())
            }
            Self::Keys(waiter, plan) => waiter.owned_bytes().saturating_add(plan.owned_bytes()),
            Self::Token(waiter) => waiter.owned_bytes(),
        }
    }
}

impl Decider {
    pub(crate) fn new(inbound: Option<Inbound>, outbound: Option<Outbound>) -> Self {
        let waiting = FnvHashMap::default();
        Self { inbound, outbound, waiting, held_inbound: 0, held_outbound: 0 }
    }

    /// Decides on a request; `None` if it waits, so that its verdict follows in
    /// [`Output::decided`](crate::Output::decided). The stream ID must not be in use.
    pub fn request(
        &mut self,
        stream: StreamId,
        head: &dyn Head,
        run: &mut Run<'_>,
    ) -> Option<Verdict> {
        let Some(cors) = self.inbound.as_ref().and_then(Inbound::cors) else {
            return self.decide(Caller { stream, origin: None }, head, run);
        };
        let origin = cors.origin(head);
        let mut verdict = self.decide(Caller { stream, origin }, head, run)?;
        self.expose(&mut verdict, origin);
        Some(verdict)
    }

    /// Lets scripts read a response, if their origin may.
    fn expose(&self, verdict: &mut Verdict, origin: Option<Origin>) {
        let cors = self.inbound.as_ref().and_then(Inbound::cors);
        if let (Some(cors), Action::Respond(reply)) = (cors, &mut verdict.action) {
            cors.expose(reply, origin);
        }
    }

    /// Decides on a request; `None` if it waits.
    fn decide(&mut self, caller: Caller, head: &dyn Head, run: &mut Run<'_>) -> Option<Verdict> {
        let plan = match &self.outbound {
            None => None,
            Some(outbound) => match outbound.plan(head) {
                Ok(plan) => Some(plan),
                Err(reason) => return Some(outbound.turn_away(reason, head, run)),
            },
        };
        let Some(inbound) = &mut self.inbound else {
            return self.forward(caller, Some(head), plan, Verdict::unchanged(), run);
        };
        let outbound = self.outbound.as_ref().zip(plan.as_ref());
        let now = run.now;
        let is_ours = |presented: &Presented<'_>| {
            outbound.is_some_and(|(outbound, plan)| outbound.is_ours(plan, presented, now))
        };
        match inbound.request(head, &is_ours, run) {
            inbound::Progress::Decided(verdict) if plan.is_none() => Some(verdict),
            progress => self.advance(caller, Some(head), plan, progress, run),
        }
    }

    /// Continues with a request as far as its token is verified; `None` if it waits.
    fn advance(
        &mut self,
        caller: Caller,
        head: Option<&dyn Head>,
        plan: Option<Injection>,
        progress: inbound::Progress<Verdict>,
        run: &mut Run<'_>,
    ) -> Option<Verdict> {
        let without_head = |plan: Option<Injection>| match head {
            Some(head) => plan.map(|plan| plan.without_head(head)),
            None => plan,
        };
        let (waiting, lookup) = match progress {
            inbound::Progress::Decided(verdict) => {
                return self.forward(caller, head, plan, verdict, run);
            }
            inbound::Progress::Waiting(waiter, introspect) => {
                let lookup = Lookup::Introspect(caller.stream, introspect);
                (Waiting::Introspection(waiter, without_head(plan)), lookup)
            }
            inbound::Progress::WaitingForKeys(waiter, needed) => {
                let lookup = Lookup::Keys(caller.stream, waiter.issuer, needed);
                (Waiting::Keys(waiter, without_head(plan)), lookup)
            }
        };
        self.wait(caller, waiting, lookup, run)
    }

    /// Applies the outbound plan to a request; `None` if it waits.
    fn forward(
        &mut self,
        caller: Caller,
        head: Option<&dyn Head>,
        plan: Option<Injection>,
        verdict: Verdict,
        run: &mut Run<'_>,
    ) -> Option<Verdict> {
        match (&mut self.outbound, plan) {
            (None, None) => Some(verdict),
            (Some(outbound), Some(plan)) => {
                match outbound.send(caller.stream, head, plan, verdict, run) {
                    outbound::Progress::Decided(verdict) => Some(verdict),
                    outbound::Progress::Waiting(waiter, lookup) => {
                        self.wait(caller, Waiting::Token(waiter), lookup, run)
                    }
                }
            }
            // Without the plan, the headers that must not be forwarded are unknown.
            (Some(_), None) | (None, Some(_)) => Some(lose(run)),
        }
    }

    /// Makes a request wait, or denies it if there is no room.
    fn wait(
        &mut self,
        caller: Caller,
        waiting: Waiting,
        lookup: Lookup,
        run: &mut Run<'_>,
    ) -> Option<Verdict> {
        let held = self.held(&waiting);
        let with = held.saturating_add(waiting.owned_bytes());
        if with <= MAX_HELD {
            *held = with;
            let Caller { stream, origin } = caller;
            self.waiting.insert(stream, Held { waiting, origin });
            run.output.lookups.0.push(lookup);
            return None;
        }
        Some(match (waiting, &self.inbound, &self.outbound) {
            (Waiting::Introspection(waiter, _), Some(inbound), _) => {
                inbound.overloaded(&waiter, run)
            }
            (Waiting::Keys(waiter, _), Some(inbound), _) => inbound.overloaded(&waiter.waiter, run),
            (Waiting::Token(waiter), _, Some(outbound)) => outbound.overloaded(*waiter, run),
            _ => lose(run),
        })
    }

    /// The memory of the requests that wait like this one.
    fn held(&mut self, waiting: &Waiting) -> &mut usize {
        match waiting {
            Waiting::Introspection(..) | Waiting::Keys(..) => &mut self.held_inbound,
            Waiting::Token(_) => &mut self.held_outbound,
        }
    }

    /// Takes out a request that waits.
    fn take(&mut self, stream: StreamId) -> Option<Held> {
        let taken = self.waiting.remove(&stream)?;
        let held = self.held(&taken.waiting);
        *held = held.saturating_sub(taken.waiting.owned_bytes());
        Some(taken)
    }

    /// The number of requests that wait, for the gauge [`WAITING`](crate::WAITING).
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Handles the result of a lookup, and decides on the requests that waited for it.
    pub fn resolved(&mut self, resolved: Resolved, run: &mut Run<'_>) {
        let Resolved { streams, found } = resolved;
        match found {
            Found::Response(key, result) => {
                let Some(inbound) = &mut self.inbound else { return self.lose_all(streams, run) };
                let result = result.and_then(|response| inbound.confirmed(response, run.now));
                if let Ok(response) = &result {
                    inbound.resolve(key, response, run);
                }
                for stream in streams {
                    let Some(Held { waiting, origin }) = self.take(stream) else { continue };
                    let verdict = match (waiting, &mut self.inbound) {
                        (Waiting::Introspection(waiter, plan), Some(inbound)) => {
                            let verdict = inbound.conclude(*waiter, key, &result, run);
                            let caller = Caller { stream, origin };
                            self.forward(caller, None, plan, verdict, run)
                        }
                        _ => Some(lose(run)),
                    };
                    if let Some(verdict) = verdict {
                        self.pass_on(Caller { stream, origin }, verdict, run);
                    }
                }
            }
            Found::Keys(issuer, news) => {
                let Some(inbound) = &mut self.inbound else { return self.lose_all(streams, run) };
                inbound.adopt_keys(issuer, &news);
                for stream in streams {
                    let Some(Held { waiting, origin }) = self.take(stream) else { continue };
                    let caller = Caller { stream, origin };
                    if let Some(verdict) = self.go_on(caller, waiting, run) {
                        self.pass_on(caller, verdict, run);
                    }
                }
            }
            Found::ClientToken(client, found) => {
                if let (Some(outbound), Ok(token)) = (&mut self.outbound, &found) {
                    outbound.adopt(client, token);
                }
                self.conclude(streams, &found, run);
            }
            Found::ExchangedToken(client, key, found) => {
                let found = found.and_then(|exchanged| match &mut self.outbound {
                    Some(outbound) => outbound.resolve(client, key, *exchanged, run),
                    None => Err(Failure::Defect),
                });
                self.conclude(streams, &found, run);
            }
        }
    }

    /// Continues with a request that has waited for keys; `None` if it waits again.
    fn go_on(&mut self, caller: Caller, waiting: Waiting, run: &mut Run<'_>) -> Option<Verdict> {
        let (Waiting::Keys(waiter, plan), Some(inbound)) = (waiting, &mut self.inbound) else {
            return Some(lose(run));
        };
        let progress = inbound.go_on(*waiter, run);
        self.advance(caller, None, plan, progress, run)
    }

    /// Decides on the requests that waited for one of the proxy's tokens.
    fn conclude(
        &mut self,
        streams: Vec<StreamId>,
        found: &Result<Arc<AccessToken>, Failure>,
        run: &mut Run<'_>,
    ) {
        for stream in streams {
            let Some(Held { waiting, origin }) = self.take(stream) else { continue };
            let verdict = match (waiting, &self.outbound) {
                (Waiting::Token(waiter), Some(outbound)) => outbound.conclude(*waiter, found, run),
                _ => lose(run),
            };
            self.pass_on(Caller { stream, origin }, verdict, run);
        }
    }

    /// Passes on the verdict on a request that waited.
    fn pass_on(&self, caller: Caller, mut verdict: Verdict, run: &mut Run<'_>) {
        self.expose(&mut verdict, caller.origin);
        run.output.decided.push((caller.stream, verdict));
    }

    /// Denies requests on which no decision is possible.
    fn lose_all(&mut self, streams: Vec<StreamId>, run: &mut Run<'_>) {
        for stream in streams {
            if let Some(Held { origin, .. }) = self.take(stream) {
                let verdict = lose(run);
                self.pass_on(Caller { stream, origin }, verdict, run);
            }
        }
    }

    /// Handles the upstream response to a request with one of the proxy's tokens. A response that
    /// the proxy generates says nothing about the token, and must not be passed in.
    pub fn response(&mut self, sent: TokenUse, status: u16, run: &mut Run<'_>) {
        if let Some(outbound) = &mut self.outbound {
            outbound.response(sent, status, run);
        }
    }

    /// Whether a request waits.
    pub fn is_waiting(&self, stream: StreamId) -> bool {
        self.waiting.contains_key(&stream)
    }

    /// Removes a request that has ended. Returns whether it waited; if so, the fetcher must be told
    /// with [`Fetcher::stream_ended`](crate::Fetcher::stream_ended).
    pub fn stream_ended(&mut self, stream: StreamId) -> bool {
        self.take(stream).is_some()
    }

    /// Whether an upstream response with this status rejects the token. Only such a response is
    /// passed to [`Decider::response`].
    pub fn is_refusal(&self, sent: TokenUse, status: u16) -> bool {
        self.outbound.as_ref().is_some_and(|outbound| outbound.is_refusal(sent, status))
    }

    /// Whether trailers must be checked with [`Decider::is_reserved`], which is the case wherever
    /// the filter sets headers or reads tokens from them.
    pub fn guards_trailers(&self) -> bool {
        self.inbound.is_some() || self.outbound.is_some()
    }

    /// Whether a trailer with this name must not be forwarded: it is a spelling of a header that
    /// the filter sets or in which tokens are accepted.
    pub fn is_reserved(&self, name: &[u8]) -> bool {
        let Self { inbound, outbound, .. } = self;
        inbound.as_ref().is_some_and(|inbound| inbound.is_reserved(name))
            || outbound.as_ref().is_some_and(|outbound| outbound.is_reserved(name))
    }
}

impl fmt::Debug for Decider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decider").finish_non_exhaustive()
    }
}

/// Denies a request for which the headers that must not be forwarded are unknown.
fn lose(run: &mut Run<'_>) -> Verdict {
    defect::refuse("no injection state for a request", run)
}
