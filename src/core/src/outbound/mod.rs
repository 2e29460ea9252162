//! The outbound direction: the proxy is a client of authorization servers (RFC 6749).
//!
//! A request that a rule gives to a client gets that client's token. While a good token is held,
//! nothing waits and nothing is asked; it is renewed ahead of its end by one worker. Without one,
//! requests wait for one call, whichever worker makes it.

pub(crate) mod cached_token;
pub(crate) mod client;
pub(crate) mod client_token;
pub(crate) mod exchange;
mod obtain;
mod outcome;
mod plan;
mod upkeep;

use std::rc::Rc;

use log::info;

use crate::cache::footprint::Footprint;
use crate::cache::local::Keyed;
use crate::cache::shared::SharedData;
use crate::cache::single_flight::{CallId, Direction};
use crate::cache::single_flight::{StreamId, Waiting};
use crate::defect;
use crate::http::head::Head;
use crate::http::head::is_grpc;
use crate::metrics::client::{ClientEvent, Injection, TokenEvent};
use crate::metrics::{Counter, Decision, Event};
use crate::oauth::call::{Call, Sent};
use crate::oauth::denial::{Denial, Resource};
use crate::oauth::failure::Failure;
use crate::oauth::failure_log::Health;
use crate::oauth::reason::Reason;
use crate::oauth::token_source::TokenSource;
use crate::outbound::client::Client;
use crate::outbound::client_token::{Current, Holder};
use crate::outbound::exchange::{Exchanges, Subject};
use crate::random::Random;
use crate::rules::index::RuleIndex;
use crate::timestamp::Timestamp;
use crate::verdict::{Attributes, Fate, Verdict};
use obtain::{Flight, Found};
pub(crate) use plan::Plan;
use plan::{Errand, Presentation};

/// What the configuration says of the outbound direction.
#[derive(Debug)]
pub(crate) struct ClientConfig {
    /// The clients, in the order of their names.
    pub(crate) clients: Vec<Client>,
    /// Whose token requests get; `None` to leave them alone. The first that fits decides.
    pub(crate) rules: RuleIndex<Option<usize>>,
    /// Where callers' tokens are looked for, to be exchanged.
    pub(crate) token_sources: Vec<TokenSource>,
    /// Whether callers' tokens are checked before.
    pub(crate) guarded: bool,
    /// What challenges say.
    pub(crate) resource: Resource,
}

/// What has to be done outside.
#[derive(Default)]
pub(crate) struct Outbox {
    /// Calls to be made.
    pub(crate) calls: Vec<Call>,
    /// What is done with requests that waited.
    pub(crate) verdicts: Vec<(StreamId, Verdict)>,
    /// Calls that cannot be made, since the token that they need is not to be had.
    pub(crate) unmade: Vec<(CallId, Failure)>,
}

/// A request that waits for a token.
struct Waiter {
    /// What is done with it, but for the token.
    verdict: Verdict,
    /// What it needs.
    errand: Errand,
}

impl Footprint for Waiter {
    fn owned_bytes(&self) -> usize {
        let forward = match &self.verdict.fate {
            Fate::Forward(forward) => forward.owned_bytes(),
            Fate::Answer(_) => 0,
        };
        [forward, self.errand.owned_bytes()]
            .into_iter()
            .fold(size_of::<Self>(), usize::saturating_add)
    }
}

/// The outbound direction of one configuration in one worker.
pub(crate) struct Outbound {
    /// What the operator wants.
    config: ClientConfig,
    /// The clients' tokens.
    holders: Vec<Holder>,
    /// Whether each token endpoint answers.
    health: Vec<Health>,
    /// The tokens of callers.
    exchanges: Exchanges,
    /// The requests that wait.
    waiting: Waiting<Flight, Waiter>,
    /// Names flights.
    keyed: Keyed,
    /// Jitter and numbers.
    random: Random,
    /// What has to be done outside.
    pub(crate) outbox: Outbox,
    /// What has happened since the host last asked.
    pub(crate) events: Vec<Event>,
    /// When tokens are reported next.
    report_at: Timestamp,
    /// Whether there is more to report than zeros, or the last report was more.
    reporting: bool,
}

/// A client, and what is known of its token.
fn of_client<'o>(
    config: &'o ClientConfig,
    holders: &'o mut [Holder],
    number: usize,
) -> Option<(&'o Client, &'o mut Holder)> {
    config.clients.get(number).zip(holders.get_mut(number))
}

impl Outbound {
    /// Nothing is held yet, and nobody waits. `seed` is random.
    pub(crate) fn new(config: ClientConfig, seed: [u8; 16]) -> Self {
        let holder = |client: &Client| Holder::new(&client.identity, &client.placement);
        let health =
            |client: &Client| Health::new(format!("the token endpoint of {}", client.name));
        Self {
            holders: config.clients.iter().map(holder).collect(),
            health: config.clients.iter().map(health).collect(),
            exchanges: Exchanges::new(seed),
            waiting: Waiting::new(Direction::Outbound),
            keyed: Keyed::new(seed),
            random: Random::new(seed, "outbound"),
            outbox: Outbox::default(),
            events: Vec::new(),
            report_at: Timestamp::from_millis(0),
            reporting: false,
            config,
        }
    }

    /// The names of the clients.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.config.clients.iter().map(|client| &*client.name)
    }

    /// A request that may go on, as `verdict` says: what is done with it now, or nothing while it
    /// waits. Without its head, it must have been planned for that ([`Plan::without_head`]).
    pub(crate) fn send(
        &mut self,
        stream: StreamId,
        head: Option<&dyn Head>,
        plan: Plan,
        mut verdict: Verdict,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Option<Verdict> {
        let Fate::Forward(forward) = &mut verdict.fate else { return Some(verdict) };
        let mut errand = match plan {
            Plan::Inject(errand) => errand,
            Plan::Leave(strays) => {
                forward.remove.extend(strays);
                return Some(verdict);
            }
        };
        let Some(client) = self.config.clients.get(errand.client) else {
            return Some(defect::refuse("a request's client is not known", &mut self.events));
        };
        forward.remove.extend(errand.strays.iter().cloned());
        if let Some(clean) = errand.clean.take() {
            forward.remove.extend(clean.remove);
            forward.add(clean.set);
        }
        // What was exchanged for a token, or was to be, is not for the service.
        if let Some(removal) = &errand.removal {
            forward.take_out(removal);
        }
        let header = &client.placement.header;
        if errand.own_header && !forward.remove.contains(header) {
            self.count(errand.client, ClientEvent::Request(Injection::Kept));
            return Some(verdict);
        }
        if !client.is_exchange()
            && let Some(holder) = self.holders.get_mut(errand.client)
            && let Some(current) = holder.take(&client.identity, data, now)
        {
            return Some(self.inject(&errand, &current, verdict));
        }
        if let Some(head) = head {
            errand = errand.without_head(head);
        }
        // Where callers' tokens are checked, one that was not, on a public path, counts as none.
        let guarded = self.config.guarded;
        let checked = verdict.checked.is_some();
        let subject = errand.token().filter(|_| !guarded || checked);
        let found = match (subject, &errand.subject) {
            _ if !client.is_exchange() => self.obtain(errand.client, data, now),
            (_, Presentation::Ambiguous(reason)) => {
                let denial = Denial::new(*reason);
                return Some(self.refuse(&errand, &denial, verdict));
            }
            (Some(subject), _) => {
                let subject = Subject::new(
                    subject.clone(),
                    verdict.checked.and_then(|checked| checked.expires),
                    self.keyed.key(errand.client, subject.reveal()),
                    &client.identity,
                );
                self.exchange(errand.client, subject, data, now)
            }
            // It was let in without a token, and goes on without one.
            (None, _) if guarded && !checked => {
                forward.remove.push(Rc::clone(header));
                return Some(verdict);
            }
            (None, _) => return Some(self.refuse(&errand, &Denial::new(Reason::NoToken), verdict)),
        };
        match found {
            Found::Token(current) => Some(self.inject(&errand, &current, verdict)),
            Found::Failed(failure) => Some(self.go_without(&errand, failure, verdict)),
            Found::Wait(id) => {
                let waiter = Waiter { verdict, errand };
                if !self.waiting.has_room(&waiter) {
                    let denial = Denial::new(Reason::Overloaded);
                    return Some(self.refuse(&waiter.errand, &denial, waiter.verdict));
                }
                self.waiting.add(id, stream, waiter);
                self.events.push(Event::Waiting(1));
                None
            }
        }
    }

    /// A call that is to carry a client's token: itself if there is one. Otherwise it comes to the
    /// outbox when it can be made, or when it cannot.
    pub(crate) fn authorize(
        &mut self,
        mut call: Call,
        client: usize,
        data: &dyn SharedData,
        now: Timestamp,
    ) {
        match self.obtain(client, data, now) {
            Found::Token(current) => {
                current.authorize(client, &mut call);
                self.outbox.calls.push(call);
            }
            Found::Failed(failure) => self.outbox.unmade.push((call.id, failure)),
            Found::Wait(id) => {
                if let Some(flight) = self.waiting.question(id) {
                    flight.calls.push(call);
                }
            }
        }
    }

    /// Puts the token on a request.
    fn inject(&mut self, errand: &Errand, current: &Current, mut verdict: Verdict) -> Verdict {
        let client = self.config.clients.get(errand.client);
        let (Fate::Forward(forward), Some(client)) = (&mut verdict.fate, client) else {
            return defect::refuse("there is no client for a token", &mut self.events);
        };
        let header = &client.placement.header;
        forward.remove.retain(|name| name != header);
        forward.set.retain(|(name, _)| name != header);
        forward.set.push((Rc::clone(header), Rc::clone(&current.value)));
        let subject = errand.token();
        let subject = subject.map(|token| self.keyed.key(errand.client, token.reveal()));
        verdict.sent = Some(Sent { client: errand.client, number: current.number, subject });
        self.count(errand.client, ClientEvent::Request(Injection::Injected));
        verdict
    }

    /// What is done with a request for which there is no token.
    fn go_without(&mut self, errand: &Errand, failure: Failure, mut verdict: Verdict) -> Verdict {
        let client = self.config.clients.get(errand.client);
        match (&mut verdict.fate, client) {
            _ if failure == Failure::Defect => {
                defect::refuse("no access token can be obtained", &mut self.events)
            }
            (Fate::Forward(forward), Some(client)) if client.failure_mode_allow => {
                // Nobody takes what the caller has put there for ours.
                forward.set.retain(|(name, _)| *name != client.placement.header);
                forward.remove.push(Rc::clone(&client.placement.header));
                self.count(errand.client, ClientEvent::Request(Injection::Unauthenticated));
                verdict
            }
            _ => self.refuse(errand, &failure.denial(), verdict),
        }
    }

    /// Refuses a request.
    fn refuse(&mut self, errand: &Errand, denial: &Denial, verdict: Verdict) -> Verdict {
        self.count(errand.client, ClientEvent::Request(Injection::Denied(denial.reason)));
        let fate = Fate::Answer(denial.reply(&self.config.resource, errand.grpc));
        let Verdict { mut attributes, .. } = verdict;
        // What the inbound direction has decided is not what becomes of the request.
        attributes.decision = attributes.decision.map(|_| Decision::Denied(denial.reason));
        Verdict { attributes, ..Verdict::of(fate) }
    }

    /// Refuses a request of which nobody can tell whose token is for it, or what to exchange.
    pub(crate) fn turn_away(&mut self, reason: Reason, head: &dyn Head) -> Verdict {
        let decision = Decision::Denied(reason);
        self.events.push(Event::Count(Counter::Request(decision)));
        let reply = Denial::new(reason).reply(&self.config.resource, is_grpc(head));
        let attributes = Attributes { decision: Some(decision), ..Attributes::default() };
        Verdict { attributes, ..Verdict::of(Fate::Answer(reply)) }
    }

    /// Whether an answer with this status says that the token was not taken.
    pub(crate) fn is_refusal(&self, sent: Sent, status: u16) -> bool {
        let client = self.config.clients.get(sent.client);
        client.is_some_and(|client| client.renew_on_status.contains(&status))
    }

    /// The upstream has answered a request that was sent with one of our tokens.
    pub(crate) fn response(
        &mut self,
        sent: Sent,
        status: u16,
        data: &dyn SharedData,
        now: Timestamp,
    ) {
        if self.is_refusal(sent, status) {
            self.drop_token(sent, data, now);
        }
    }

    /// A token was not taken: whether the next try gets another. Many calls may have carried it, of
    /// which the first that ends drops it.
    pub(crate) fn is_replaced(
        &mut self,
        sent: Sent,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> bool {
        self.drop_token(sent, data, now)
            || self.holders.get(sent.client).is_some_and(|holder| {
                holder.holding.number != sent.number || holder.holding.dropped
            })
    }

    /// A token was not taken: it is not used again, unless there can be no other.
    fn drop_token(&mut self, sent: Sent, data: &dyn SharedData, now: Timestamp) -> bool {
        let Some((client, holder)) = of_client(&self.config, &mut self.holders, sent.client) else {
            return false;
        };
        let dropped = match sent.subject {
            Some(key) => {
                let dropped = self.exchanges.drop_token(client, key, sent.number, data, now);
                if dropped {
                    holder.tell(data);
                }
                dropped
            }
            None if !client.can_renew() => false,
            None => holder.update(&client.identity, data, now, &mut |holding| {
                holding.dropped(sent.number, now)
            }),
        };
        if dropped {
            info!("client {}: the token was not taken, so it is dropped", client.name);
            self.count(sent.client, ClientEvent::Token(TokenEvent::Dropped));
        }
        dropped
    }

    /// A request that waited has gone.
    pub(crate) fn gone(&mut self, stream: StreamId) {
        if let Some(id) = self.waiting.forget(stream) {
            self.events.push(Event::Waiting(-1));
            let is_wanted =
                |flight: &Flight| !flight.calls.is_empty() || !flight.exchanges.is_empty();
            if self.waiting.abandoned(id).is_some_and(|flight| !is_wanted(flight)) {
                self.waiting.finish(id);
            }
        }
    }

    /// What has happened since this was last called.
    pub(crate) fn take_events(&mut self) -> impl Iterator<Item = Event> {
        self.events.drain(..)
    }

    /// Counts something of a client.
    fn count(&mut self, client: usize, event: ClientEvent) {
        self.events.push(Event::Client(client, event));
    }

    /// Forgets the clients, as nothing but a test does.
    #[cfg(test)]
    pub(crate) fn lose_clients(&mut self) {
        self.config.clients.clear();
    }

    /// Puts a token on a request, as if it had one.
    #[cfg(test)]
    pub(crate) fn inject_any(&mut self, plan: Plan) -> Option<Verdict> {
        use crate::outbound::cached_token::CachedToken;
        use crate::outbound::client::Placement;

        let Plan::Inject(errand) = plan else { return None };
        let token = CachedToken { access_token: "one".to_owned(), ..CachedToken::default() };
        let placement = Placement::new("authorization", "Bearer".to_owned(), true);
        let current = Current::new(&token, 1, &placement);
        Some(self.inject(&errand, &current, Verdict::unchanged()))
    }
}
