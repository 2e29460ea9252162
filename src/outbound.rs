//! The outbound direction: the proxy is a client of authorization servers (RFC 6749).
//!
//! A request that a rule gives to a client gets that client's token. While a good token is held,
//! nothing waits and nothing is asked; it is renewed ahead of its end by one worker. Without one,
//! requests wait for one call, whichever worker makes it.

use std::rc::Rc;
use std::time::Duration;

use log::{info, log};

use crate::cached_token::CachedToken;
use crate::call::{Answer, Call, CallId, Direction, Sent};
use crate::client::{Ask, Client, Exchanged, Grant};
use crate::client_metrics::{ClientEvent, ClientGauge, Injection, TokenEvent};
use crate::denial::{Denial, Reason, Reply, Resource};
use crate::exchange::{Exchanges, Subject, Turn};
use crate::failure::Failure;
use crate::guard::{Fate, Verdict, is_grpc};
use crate::head::Head;
use crate::health::Health;
use crate::holder::{Current, Holder};
use crate::kept::{Key, Keyed};
use crate::metrics::Event;
use crate::path::{BadPath, NormalPath};
use crate::random::Random;
use crate::rule_index::{RuleIndex, Target};
use crate::rules::host_of;
use crate::secret::Secret;
use crate::shared::SharedData;
use crate::timestamp::Timestamp;
use crate::token_response::Issued;
use crate::token_source::{TokenSource, present};
use crate::waiting::{StreamId, Waiters, Waiting};

/// How much longer than a call its lease lasts: until the answer has been taken in.
const LEASE_GRACE: Duration = Duration::from_secs(1);

/// How often a write is tried against those of other workers.
const TRIES: usize = 8;

/// The pause between two looks at what other workers obtain.
const LOOK_PERIOD: Duration = Duration::from_millis(4);

/// The pause between two looks at tokens that are held: how exactly renewals are timed.
const CARE_PERIOD: Duration = Duration::from_millis(100);

/// The pause between two reports of how old tokens are.
const REPORT_PERIOD: Duration = Duration::from_secs(1);

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
}

/// What a request's head says about its way out.
#[derive(Debug)]
pub(crate) enum Plan {
    /// No client's token is for it. These headers of ours must not go where it goes.
    Leave(Vec<Rc<str>>),
    /// It gets a client's token.
    Inject(Errand),
}

/// A request that gets a client's token.
#[derive(Debug)]
pub(crate) struct Errand {
    /// The client.
    client: usize,
    /// The caller's token, if it is to be exchanged.
    subject: Option<Secret>,
    /// Whether the caller has set the header.
    own_header: bool,
    /// Headers of ours, of another client, that must not go where it goes.
    strays: Vec<Rc<str>>,
    /// Whether it is a gRPC request; looked at if it may have to be told why it is refused.
    grpc: bool,
}

impl Plan {
    /// Takes what is needed later, when the head is gone.
    pub(crate) fn without_head(self, head: &dyn Head) -> Self {
        match self {
            Self::Inject(errand) => Self::Inject(errand.without_head(head)),
            Self::Leave(strays) => Self::Leave(strays),
        }
    }
}

impl Errand {
    /// The same.
    fn without_head(self, head: &dyn Head) -> Self {
        Self { grpc: is_grpc(head), ..self }
    }
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

/// A token that is being obtained.
struct Flight {
    /// For this client.
    client: usize,
    /// For this caller's token.
    subject: Option<Subject>,
    /// The call, unless another worker makes it.
    ours: Option<Ours>,
    /// When the call was made.
    since: Timestamp,
    /// Calls to be made with the token.
    calls: Vec<Call>,
    /// Exchanges to be made with the token as the actor's.
    exchanges: Vec<CallId>,
}

/// A call of this worker.
struct Ours {
    /// What it sends.
    ask: Ask,
    /// The number of its lease.
    owner: u64,
    /// When the marker of an exchange was put up, if it is.
    marked: Option<Timestamp>,
}

/// A request that waits for a token.
struct Waiter {
    /// What is done with it, but for the token.
    verdict: Verdict,
    /// What it needs.
    errand: Errand,
}

/// What there is in answer to the wish for a token.
enum Found {
    /// This one.
    Token(Rc<Current>),
    /// It is being obtained.
    Wait(CallId),
    /// None.
    Failed(Failure),
}

/// What comes of an attempt to obtain a token.
enum Attempt {
    /// There is one now.
    Token(Rc<Current>),
    /// Another worker obtains it.
    Busy,
    /// It is too early.
    Failed(Failure),
    /// This worker may call.
    Ours(Ours),
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
    events: Vec<Event>,
    /// When tokens are reported next.
    report_at: Timestamp,
    /// Whether there is more to report than zeros, or the last report was more.
    reporting: bool,
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
            exchanges: Exchanges::new(),
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

    /// What a request's head says about its way out.
    pub(crate) fn plan(&self, head: &dyn Head) -> Result<Plan, Reply> {
        let number = self.client_for(head)?;
        let strays = self.strays(head);
        let Some(number) = number else { return Ok(Plan::Leave(strays)) };
        let Some(client) = self.config.clients.get(number) else {
            return Ok(Plan::Leave(Vec::new()));
        };
        let refuse = |reason| Denial::new(reason).reply(&Resource::default(), is_grpc(head));
        // After a redirect it is a token of ours that stands there, and the caller's is lost.
        let subject = if client.is_exchange() && strays.is_empty() {
            let subject = subject(&self.config.token_sources, head);
            // Where callers' tokens are checked, that is where a bad one is refused, or let pass.
            if self.config.guarded {
                subject.unwrap_or_default()
            } else {
                subject.map_err(refuse)?
            }
        } else {
            None
        };
        let placement = &client.placement;
        // Where Envoy sends a request again, among a cluster's filters or after a redirect, it does
        // so with the head that we had made: that is not the caller's own.
        let is_ours = |value: &[u8]| {
            strays.contains(&placement.header)
                || self.holders.get(number).is_some_and(|holder| holder.is_ours(value))
        };
        let own_header = !placement.overwrite
            && head.value(&placement.header).is_some_and(|value| !is_ours(&value));
        Ok(Plan::Inject(Errand { client: number, subject, own_header, strays, grpc: false }))
    }

    /// The client whose token the request gets.
    fn client_for(&self, head: &dyn Head) -> Result<Option<usize>, Reply> {
        let found = self.config.rules.find(&Target::new(head));
        // Where it cannot be told which rule fits, nobody's token is for it.
        let refuse =
            |BadPath| Denial::new(Reason::BadPath).reply(&Resource::default(), is_grpc(head));
        Ok(found.map_err(refuse)?.copied().flatten())
    }

    /// The same for people who ask beforehand.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn chosen(&self, head: &dyn Head) -> Option<&Client> {
        self.config.clients.get(self.client_for(head).ok()??)
    }

    /// The headers in which a request carries a token that was meant for where it came from: Envoy
    /// has followed a redirect with the head that we had made (`internal_redirect_policy`).
    fn strays(&self, head: &dyn Head) -> Vec<Rc<str>> {
        let Some(original) = head.value("x-envoy-original-url") else { return Vec::new() };
        let mut headers: Vec<Rc<str>> = Vec::new();
        for client in self.clients_of_url(&String::from_utf8_lossy(&original)) {
            let header = &client.placement.header;
            if !headers.contains(header) {
                headers.push(Rc::clone(header));
            }
        }
        headers.retain(|header| head.value(header).is_some());
        headers
    }

    /// The clients whose tokens a request to this URL may have got: its method is not known.
    fn clients_of_url(&self, url: &str) -> impl Iterator<Item = &Client> {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let host = host_of(authority.as_bytes());
        let path = NormalPath::parse(path.as_bytes()).ok();
        let rules = self.config.rules.candidates(&host, path.as_ref());
        rules.into_iter().filter_map(|client| self.config.clients.get((*client)?))
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
        let Some(client) = self.config.clients.get(errand.client) else { return Some(verdict) };
        forward.remove.extend(errand.strays.iter().cloned());
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
        let subject = errand.subject.as_ref().filter(|_| !guarded || verdict.checked.is_some());
        let found = match subject {
            _ if !client.is_exchange() => self.obtain(errand.client, data, now),
            Some(subject) => {
                let subject = Subject::new(
                    subject.clone(),
                    verdict.checked.and_then(|checked| checked.expires),
                    self.keyed.key(errand.client, subject.reveal()),
                    &client.identity,
                );
                self.exchange(errand.client, subject, data, now)
            }
            // It was let in without a token, and goes on without one.
            None if guarded => {
                forward.remove.push(Rc::clone(header));
                return Some(verdict);
            }
            None => return Some(self.refuse(&errand, &Denial::new(Reason::NoToken), verdict)),
        };
        match found {
            Found::Token(current) => Some(self.inject(&errand, &current, verdict)),
            Found::Failed(failure) => Some(self.go_without(&errand, failure, verdict)),
            Found::Wait(id) => {
                self.waiting.add(id, stream, Waiter { verdict, errand });
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
                call.carry(client, &current);
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
        if let (Fate::Forward(forward), Some(client)) =
            (&mut verdict.fate, self.config.clients.get(errand.client))
        {
            let header = &client.placement.header;
            forward.remove.retain(|name| name != header);
            forward.set.retain(|(name, _)| name != header);
            forward.set.push((Rc::clone(header), Rc::clone(&current.value)));
            let subject = errand.subject.as_ref();
            let subject = subject.map(|token| self.keyed.key(errand.client, token.reveal()));
            verdict.sent = Some(Sent { client: errand.client, number: current.number, subject });
            self.count(errand.client, ClientEvent::Request(Injection::Injected));
        }
        verdict
    }

    /// What is done with a request for which there is no token.
    fn go_without(&mut self, errand: &Errand, failure: Failure, mut verdict: Verdict) -> Verdict {
        let client = self.config.clients.get(errand.client);
        match (&mut verdict.fate, client) {
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
        let fate = Fate::Answer(denial.reply(&Resource::default(), errand.grpc));
        Verdict { fate, ..verdict }
    }

    /// The token of a client that is no exchange.
    fn obtain(&mut self, client: usize, data: &dyn SharedData, now: Timestamp) -> Found {
        let (Some(holder), Some(Client { identity, .. })) =
            (self.holders.get_mut(client), self.config.clients.get(client))
        else {
            return Found::Failed(Failure::NoGrant);
        };
        if let Some(current) = holder.take(identity, data, now) {
            return Found::Token(current);
        }
        let key = self.keyed.key(client, "");
        if let Some(id) = self.waiting.find(key) {
            return Found::Wait(id);
        }
        match self.attempt(client, false, data, now) {
            Attempt::Token(current) => Found::Token(current),
            Attempt::Failed(failure) => Found::Failed(failure),
            Attempt::Busy => self.begin(key, client, None, None, data, now),
            Attempt::Ours(ours) => self.begin(key, client, None, Some(ours), data, now),
        }
    }

    /// Looks for a client's token, and takes a lease on obtaining one if there is none, or, with
    /// `renew`, if it is time for another.
    fn attempt(
        &mut self,
        client: usize,
        renew: bool,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Attempt {
        let nothing = Attempt::Failed(Failure::NoGrant);
        let Some(holder) = self.holders.get_mut(client) else { return nothing };
        let Some(client) = self.config.clients.get(client) else { return nothing };
        for _ in 0..TRIES {
            holder.sync(&client.identity, data);
            if let Grant::DirectToken { access_token, expires_in, .. } = &client.grant
                && holder.holding.number == 0
            {
                let expires = expires_in.map_or(Timestamp::NEVER, |lives| now.plus(lives));
                let token = CachedToken::given(access_token, expires, now);
                let next = holder.holding.clone().accepted(token);
                holder.write(&client.identity, data, next, now);
                continue;
            }
            if let Some(current) = holder.current(now).cloned()
                && !(renew && now >= current.renew_at)
            {
                holder.used = true;
                return Attempt::Token(current);
            }
            if holder.holding.is_leased(now) {
                return Attempt::Busy;
            }
            if let Some((reason, retry_after)) = holder.holding.backs_off(now) {
                return Attempt::Failed(Failure::BackOff { reason, retry_after });
            }
            let Some(ask) = client.ask(&holder.holding) else { return nothing };
            let owner = self.random.number();
            let ends = now.plus(client.timeout(&ask)).plus(LEASE_GRACE);
            let refreshes = matches!(ask, Ask::Refresh(_));
            let next = holder.holding.clone().leased(owner, ends, refreshes);
            if holder.write(&client.identity, data, next, now) {
                return Attempt::Ours(Ours { ask, owner, marked: None });
            }
        }
        // Others have written each time: one of them obtains a token.
        Attempt::Busy
    }

    /// A token that is exchanged for the caller's.
    fn exchange(
        &mut self,
        client: usize,
        subject: Subject,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Found {
        let key = subject.key;
        if let Some(current) = self.exchanges.current(key, now) {
            if Exchanges::is_due(&current, &subject, now)
                && self.waiting.find(key).is_none()
                && let Attempt::Ours(ours) =
                    self.attempt_exchange(client, &subject, true, data, now)
            {
                self.begin(key, client, Some(subject), Some(ours), data, now);
            }
            return Found::Token(current);
        }
        if let Some(id) = self.waiting.find(key) {
            return Found::Wait(id);
        }
        match self.attempt_exchange(client, &subject, false, data, now) {
            Attempt::Token(current) => Found::Token(current),
            Attempt::Failed(failure) => Found::Failed(failure),
            Attempt::Busy => self.begin(key, client, Some(subject), None, data, now),
            Attempt::Ours(ours) => self.begin(key, client, Some(subject), Some(ours), data, now),
        }
    }

    /// Looks for an exchanged token, and puts up a marker if there is none, or, with `renew`, if it
    /// is time for another.
    fn attempt_exchange(
        &mut self,
        client: usize,
        subject: &Subject,
        renew: bool,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Attempt {
        let nothing = Attempt::Failed(Failure::NoGrant);
        let Some(holder) = self.holders.get_mut(client) else { return nothing };
        let Some(client) = self.config.clients.get(client) else { return nothing };
        let serves = |current: &Current| !(renew && Exchanges::is_due(current, subject, now));
        if let Some(current) = self.exchanges.recall(client, subject, data, now)
            && serves(&current)
        {
            return Attempt::Token(current);
        }
        if let Some(failure) = self.exchanges.refusal(subject.key, now) {
            return Attempt::Failed(failure);
        }
        // The server's failures are everybody's.
        holder.sync(&client.identity, data);
        if let Some((reason, retry_after)) = holder.holding.backs_off(now) {
            return Attempt::Failed(Failure::BackOff { reason, retry_after });
        }
        let deadline = now.plus(client.timeout(&Ask::Grant)).plus(LEASE_GRACE);
        match self.exchanges.claim(client, subject, deadline, serves, data, now) {
            Turn::Known(current) => Attempt::Token(current),
            Turn::Others => Attempt::Busy,
            Turn::Ours(marked) => Attempt::Ours(Ours { ask: Ask::Grant, owner: 0, marked }),
        }
    }

    /// Begins to obtain a token, or to wait for another worker's.
    fn begin(
        &mut self,
        key: Key,
        client: usize,
        subject: Option<Subject>,
        ours: Option<Ours>,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Found {
        let is_ours = ours.is_some();
        let (calls, exchanges) = (Vec::new(), Vec::new());
        let flight = Flight { client, subject, ours, since: now, calls, exchanges };
        let id = self.waiting.open(key, flight, true);
        if !is_ours {
            self.waiting.leave_to_others(id);
            return Found::Wait(id);
        }
        match self.start(id, data, now) {
            Ok(()) => Found::Wait(id),
            Err(failure) => {
                self.fall_through(id, failure, data, now);
                Found::Failed(failure)
            }
        }
    }

    /// Makes the call of a flight of ours, when the actor's token is there.
    fn start(&mut self, id: CallId, data: &dyn SharedData, now: Timestamp) -> Result<(), Failure> {
        let flight = self.waiting.question(id).ok_or(Failure::NoGrant)?;
        let client = self.config.clients.get(flight.client).ok_or(Failure::NoGrant)?;
        let Grant::TokenExchange { actor: Some(actor), .. } = client.grant else {
            return self.dispatch(id, None, now);
        };
        match self.obtain(actor, data, now) {
            Found::Token(current) => self.dispatch(id, Some(current.token.clone()), now),
            Found::Failed(failure) => Err(failure),
            Found::Wait(actor) => {
                if let Some(flight) = self.waiting.question(actor) {
                    flight.exchanges.push(id);
                }
                Ok(())
            }
        }
    }

    /// Makes the call of a flight of ours.
    fn dispatch(
        &mut self,
        id: CallId,
        actor: Option<Secret>,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let flight = self.waiting.question(id).ok_or(Failure::NoGrant)?;
        let client = self.config.clients.get(flight.client).ok_or(Failure::NoGrant)?;
        let subject = flight.subject.as_ref().map(|subject| subject.token.clone());
        let exchanged = subject.map(|subject| Exchanged { subject, actor });
        flight.since = now;
        let ask = flight.ours.as_ref().map(|ours| ours.ask.clone()).ok_or(Failure::NoGrant)?;
        let call = client.call(id, &ask, exchanged.as_ref(), now).ok_or(Failure::NoGrant)?;
        self.outbox.calls.push(call);
        Ok(())
    }

    /// Ends a flight of ours whose call was never made.
    fn fall_through(
        &mut self,
        id: CallId,
        failure: Failure,
        data: &dyn SharedData,
        now: Timestamp,
    ) {
        let Some((_, flight, waiters)) = self.waiting.finish(id) else { return };
        if let (Some(subject), Some(ours)) = (&flight.subject, &flight.ours) {
            self.unclaim(subject, ours, data);
        }
        self.conclude(flight, waiters, &Err(failure), data, now);
    }

    /// Takes down the marker of a call that is over.
    fn unclaim(&self, subject: &Subject, ours: &Ours, data: &dyn SharedData) {
        if let Some(marked) = ours.marked {
            self.exchanges.unclaim(subject, marked, data);
        }
    }

    /// The outcome of a call.
    pub(crate) fn answer(
        &mut self,
        id: CallId,
        outcome: Result<&Answer, Failure>,
        data: &dyn SharedData,
        now: Timestamp,
    ) {
        let Some((key, mut flight, waiters)) = self.waiting.finish(id) else { return };
        let Some(ours) = flight.ours.take() else { return };
        let Some(client) = self.config.clients.get(flight.client) else { return };
        let response = Issued::read(outcome, client.expected());
        let outcome = response.as_ref().err().map(|failure| failure.outcome());
        self.events.push(Event::TokenCallTime(now.since(flight.since)));
        self.events.push(Event::Client(flight.client, ClientEvent::Call(outcome)));
        let health = self.health.get_mut(flight.client);
        let line = health.and_then(|health| health.note(response.as_ref().err(), now));
        if let Some((level, line)) = line {
            log!(level, "{line}");
        }
        match response {
            Ok(issued) => {
                let current = match &flight.subject {
                    Some(subject) => {
                        let event = ClientEvent::Token(TokenEvent::Obtained);
                        self.events.push(Event::Client(flight.client, event));
                        let (bound, asked) = (subject.expires, flight.since);
                        let token =
                            client.lifetime.begin(&issued, None, bound, &self.random, asked);
                        let token = CachedToken { refresh_token: String::new(), ..token };
                        let number = self.random.number();
                        let current =
                            self.exchanges.keep(client, subject, token, number, data, now);
                        self.unclaim(subject, &ours, data);
                        Some(current)
                    }
                    None => self.accept(flight.client, &issued, flight.since, data, now),
                };
                self.conclude(flight, waiters, &current.ok_or(Failure::NoGrant), data, now);
            }
            Err(failure) => {
                let Some(ask) = client.ask_instead(&ours.ask, failure) else {
                    let failure = self.note_failure(&flight, &ours, failure, data, now);
                    return self.conclude(flight, waiters, &Err(failure), data, now);
                };
                let ours = self.change_ask(flight.client, &ours, ask, data, now);
                let again = Flight { ours: Some(ours), since: now, ..flight };
                let id = self.waiting.open(key, again, true);
                for (stream, waiter) in waiters {
                    self.waiting.add(id, stream, waiter);
                }
                if let Err(failure) = self.start(id, data, now) {
                    self.fall_through(id, failure, data, now);
                }
            }
        }
    }

    /// Takes note of a failure, for all workers if it is the server's: what those who waited are
    /// told.
    fn note_failure(
        &mut self,
        flight: &Flight,
        ours: &Ours,
        failure: Failure,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Failure {
        let mut lease = Some(ours);
        if let Some(subject) = &flight.subject {
            self.unclaim(subject, ours, data);
            if let Some(refused) = self.exchanges.refuse(subject.key, failure, now) {
                return refused;
            }
            lease = None;
        }
        self.back_off(flight.client, lease, failure, data, now);
        failure
    }

    /// Takes a token in for all workers. It was asked for at `asked`: from then on it may live.
    fn accept(
        &mut self,
        client: usize,
        issued: &Issued,
        asked: Timestamp,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Option<Rc<Current>> {
        let holder = self.holders.get_mut(client)?;
        let Client { lifetime, placement, refresh, identity, .. } =
            self.config.clients.get(client)?;
        let had_token = holder.current(now).is_some();
        let mut token = CachedToken::default();
        for _ in 0..TRIES {
            holder.sync(identity, data);
            // Also if we were given up and another worker called: what came last is what the
            // server knows.
            let renewed = holder.holding.token.as_ref().filter(|_| refresh.is_some());
            token = lifetime.begin(issued, renewed, None, &self.random, asked);
            if refresh.is_none() {
                token.refresh_token.clear();
            }
            let next = holder.holding.clone().accepted(token.clone());
            if holder.write(identity, data, next, now) {
                break;
            }
        }
        holder.used = false;
        let event = if had_token { TokenEvent::Renewed } else { TokenEvent::Obtained };
        self.events.push(Event::Client(client, ClientEvent::Token(event)));
        let number = holder.holding.number;
        Some(match holder.current(now) {
            Some(current) => Rc::clone(current),
            // It is used once, by those who wait for it.
            None => Rc::new(Current::new(&token, number, placement)),
        })
    }

    /// Goes on with the lease, and sends something else.
    fn change_ask(
        &mut self,
        client: usize,
        ours: &Ours,
        ask: Ask,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Ours {
        if let (Some(holder), Some(client)) =
            (self.holders.get_mut(client), self.config.clients.get(client))
        {
            info!(
                "client {}: the refresh token is not taken, so the grant is run again",
                client.name
            );
            for _ in 0..TRIES {
                holder.sync(&client.identity, data);
                let ends = now.plus(client.timeout(&ask)).plus(LEASE_GRACE);
                let refreshes = matches!(ask, Ask::Refresh(_));
                let mut next = holder.holding.clone().leased(ours.owner, ends, refreshes);
                next.forget_refresh_token();
                next.refresh_unsure = refreshes;
                if holder.write(&client.identity, data, next, now) {
                    break;
                }
            }
        }
        Ours { ask, ..*ours }
    }

    /// Takes note of a failure for all workers.
    fn back_off(
        &mut self,
        client: usize,
        ours: Option<&Ours>,
        failure: Failure,
        data: &dyn SharedData,
        now: Timestamp,
    ) {
        let Some(holder) = self.holders.get_mut(client) else { return };
        let Some(Client { identity, .. }) = self.config.clients.get(client) else { return };
        self.reporting = true;
        let refreshed = ours.is_some_and(|ours| matches!(ours.ask, Ask::Refresh(_)));
        for _ in 0..TRIES {
            holder.sync(identity, data);
            let lease = holder.holding.lease.as_ref();
            if let (Some(ours), Some(lease)) = (ours, lease)
                && lease.owner != ours.owner
            {
                return;
            }
            // Of many exchanges that fail together, one counts.
            if ours.is_none() && holder.holding.backs_off(now).is_some() {
                return;
            }
            // A refresh token that is refused is not better next time either.
            let unsure = refreshed && (failure.is_unsure() || failure.refuses_grant());
            let (reason, retry_after) = (failure.reason(), failure.retry_after());
            let next = holder.holding.clone();
            let next = next.failed(reason, retry_after, unsure, &self.random, now);
            if holder.write(identity, data, next, now) {
                return;
            }
        }
    }

    /// What is done with all who waited for a token.
    fn conclude(
        &mut self,
        flight: Flight,
        waiters: Waiters<Waiter>,
        found: &Result<Rc<Current>, Failure>,
        data: &dyn SharedData,
        now: Timestamp,
    ) {
        for (stream, Waiter { verdict, errand }) in waiters {
            self.events.push(Event::Waiting(-1));
            let verdict = match found {
                Ok(current) => self.inject(&errand, current, verdict),
                Err(failure) => self.go_without(&errand, *failure, verdict),
            };
            self.outbox.verdicts.push((stream, verdict));
        }
        for mut call in flight.calls {
            match found {
                Ok(current) => {
                    call.carry(flight.client, current);
                    self.outbox.calls.push(call);
                }
                Err(failure) => self.outbox.unmade.push((call.id, *failure)),
            }
        }
        for id in flight.exchanges {
            let made = match found {
                Ok(current) => self.dispatch(id, Some(current.token.clone()), now),
                Err(failure) => Err(*failure),
            };
            if let Err(failure) = made {
                self.fall_through(id, failure, data, now);
            }
        }
    }

    /// Takes note of the time: looks whether other workers have obtained what is waited for, and
    /// renews tokens.
    pub(crate) fn tick(&mut self, data: &dyn SharedData, now: Timestamp) {
        self.look(data, now);
        for client in 0..self.holders.len() {
            self.care(client, data, now);
        }
        if now >= self.report_at {
            self.report_at = now.plus(REPORT_PERIOD);
            self.report(now);
        }
    }

    /// Looks whether other workers have obtained what is waited for.
    fn look(&mut self, data: &dyn SharedData, now: Timestamp) {
        let what = |(id, _, flight): (_, _, &Flight)| (id, flight.client, flight.subject.clone());
        let theirs: Vec<_> = self.waiting.elsewhere().map(what).collect();
        for (id, client, subject) in theirs {
            let attempt = match &subject {
                Some(subject) => self.attempt_exchange(client, subject, false, data, now),
                None => self.attempt(client, false, data, now),
            };
            let found = match attempt {
                Attempt::Busy => continue,
                Attempt::Token(current) => Ok(current),
                Attempt::Failed(failure) => Err(failure),
                Attempt::Ours(ours) => {
                    self.waiting.take_over(id);
                    if let Some(flight) = self.waiting.question(id) {
                        flight.ours = Some(ours);
                    }
                    if let Err(failure) = self.start(id, data, now) {
                        self.fall_through(id, failure, data, now);
                    }
                    continue;
                }
            };
            if let Some((_, flight, waiters)) = self.waiting.finish(id) {
                self.conclude(flight, waiters, &found, data, now);
            }
        }
    }

    /// Looks after a token that is held: another worker may have dropped or renewed it, or it may
    /// be time to renew it.
    fn care(&mut self, client: usize, data: &dyn SharedData, now: Timestamp) {
        let Some(holder) = self.holders.get_mut(client) else { return };
        let Some(Client { identity, .. }) = self.config.clients.get(client) else { return };
        // One that backs off learns here that another worker has obtained a token.
        if !holder.has_token() && holder.holding.backs_off(now).is_none() {
            return;
        }
        holder.let_go(now);
        holder.sync(identity, data);
        let due = holder.current(now).is_some_and(|current| now >= current.renew_at);
        let key = self.keyed.key(client, "");
        // A token that nobody uses is left to end.
        if !due || !holder.used || self.waiting.find(key).is_some() {
            return;
        }
        if let Attempt::Ours(ours) = self.attempt(client, true, data, now) {
            self.begin(key, client, None, Some(ours), data, now);
        }
    }

    /// Reports how old tokens are.
    fn report(&mut self, now: Timestamp) {
        let reports = self.holders.iter().enumerate().flat_map(|(client, holder)| {
            // Of a token that was obtained elsewhere nobody may know the end.
            let current = holder.current(now).filter(|c| c.expires != Timestamp::NEVER);
            let seconds = |millis: Option<u64>| millis.map_or(0, |millis| millis / 1000);
            let backs_off = holder.holding.backs_off(now).map_or(0, |(_, seconds)| seconds);
            [
                (ClientGauge::Age, seconds(current.map(|c| now.since(c.obtained)))),
                (ClientGauge::ExpiresIn, seconds(current.map(|c| c.expires.since(now)))),
                (ClientGauge::BackOff, backs_off.into()),
            ]
            .map(|(gauge, value)| Event::Client(client, ClientEvent::Gauge(gauge, value)))
        });
        let reports: Vec<Event> = reports.collect();
        // Gauges stay as they were last: at the end they are zero.
        let is_zero = |event: &Event| matches!(event, Event::Client(_, ClientEvent::Gauge(_, 0)));
        self.reporting = !reports.iter().all(is_zero);
        self.events.extend(reports);
    }

    /// How often time has to be taken note of.
    pub(crate) fn tick_period(&self) -> Option<Duration> {
        if self.waiting.has_elsewhere() {
            return Some(LOOK_PERIOD);
        }
        (self.reporting || self.holders.iter().any(Holder::has_token)).then_some(CARE_PERIOD)
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
        let Some(client) = self.config.clients.get(sent.client) else { return false };
        let Some(holder) = self.holders.get_mut(sent.client) else { return false };
        let dropped = match sent.subject {
            Some(key) => self.exchanges.drop_token(key, sent.number, data, now),
            None if !client.can_renew() => false,
            None => (0..TRIES).any(|_| {
                holder.sync(&client.identity, data);
                let Some(next) = holder.holding.dropped(sent.number, now) else { return false };
                holder.write(&client.identity, data, next, now)
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
        if self.waiting.forget(stream) {
            self.events.push(Event::Waiting(-1));
        }
    }

    /// What has happened since this was last called.
    pub(crate) fn events(&mut self) -> impl Iterator<Item = Event> {
        self.events.drain(..)
    }

    /// Counts something of a client.
    fn count(&mut self, client: usize, event: ClientEvent) {
        self.events.push(Event::Client(client, event));
    }
}

/// The caller's token.
fn subject(sources: &[TokenSource], head: &dyn Head) -> Result<Option<Secret>, Reason> {
    let Some(presented) = present(sources, head)? else { return Ok(None) };
    Ok(Some(Secret::new(presented.token()?.reveal().to_owned())))
}
