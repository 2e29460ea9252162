//! The filter of one configuration in one worker: the whole of what a host drives.

use std::fmt;
use std::time::Duration;

use fnv::FnvHashMap;

use crate::cache::footprint::Footprint;
use crate::cache::shared::SharedData;
use crate::cache::single_flight::{CallId, Direction};
use crate::cache::single_flight::{MAX_HELD, StreamId};
use crate::config::{self, Mistake, Mistakes};
use crate::defect;
use crate::environment::Environment;
use crate::http::head::Head;
use crate::inbound::Inbound;
use crate::metrics::Event;
use crate::oauth::call::{Answer, Call, CallFailure, Sent};
use crate::oauth::denial::{Denial, Reply, Resource};
use crate::oauth::failure::Failure;
use crate::oauth::reason::Reason;
use crate::oauth::token_source::Presented;
use crate::outbound::{Outbound, Plan};
use crate::timestamp::Timestamp;
use crate::verdict::Verdict;

/// A configured filter. It holds what is kept and who waits; it does nothing by itself.
///
/// The host calls [`Filter::request`] for each request. Whatever it calls, it then makes the calls
/// of [`Filter::calls`] and hands the outcome of each to [`Filter::answer`], which says what
/// becomes of requests that waited. A request that ends while it waits is reported to
/// [`Filter::gone`].
pub struct Filter {
    /// The proxy guards a resource.
    pub(crate) inbound: Option<Inbound>,
    /// The proxy is a client.
    pub(crate) outbound: Option<Outbound>,
    /// What the outbound direction has planned for requests that still wait for the inbound one.
    plans: FnvHashMap<StreamId, Box<Plan>>,
    /// What these plans hold, in bytes.
    planned: usize,
    /// Introspection calls under way that carry a token of ours.
    carrying: FnvHashMap<CallId, Box<Call>>,
    /// Calls to be made.
    calls: Vec<Call>,
    /// What is done with requests that waited.
    decided: Verdicts,
}

/// What follows from a request's head.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// All is known.
    Decide(Verdict),
    /// The request waits.
    Wait,
}

/// What is done with requests that waited.
pub type Verdicts = Vec<(StreamId, Verdict)>;

impl Filter {
    /// Makes a filter from the document that the host hands over. Beside it come warnings: what is
    /// accepted but should be known.
    ///
    /// # Errors
    /// Every mistake in the document, with its place.
    pub fn load(
        document: &[u8],
        environment: &Environment<'_>,
    ) -> Result<(Self, Vec<Mistake>), Mistakes> {
        let (config, warnings) = config::load(document, environment)?;
        let seed = environment.seed;
        let filter = Self {
            inbound: config.inbound.map(|guard| Inbound::new(guard, seed)),
            outbound: config.outbound.map(|clients| Outbound::new(clients, seed)),
            plans: FnvHashMap::default(),
            planned: 0,
            carrying: FnvHashMap::default(),
            calls: Vec::new(),
            decided: Vec::new(),
        };
        Ok((filter, warnings))
    }

    /// The names of the outbound clients, by their numbers.
    pub fn clients(&self) -> impl Iterator<Item = &str> {
        self.outbound.iter().flat_map(Outbound::names)
    }

    /// A new request. `stream` must not be in use.
    pub fn request(
        &mut self,
        stream: StreamId,
        head: &dyn Head,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Step {
        let plan = match &mut self.outbound {
            None => None,
            Some(outbound) => match outbound.plan(head) {
                Ok(plan) => Some(plan),
                Err(reason) => return Step::Decide(outbound.turn_away(reason, head)),
            },
        };
        let outbound = self.outbound.as_ref().zip(plan.as_ref());
        let is_ours = |presented: &Presented<'_>| {
            outbound.is_some_and(|(outbound, plan)| outbound.is_ours(plan, presented, now))
        };
        let verdict = match &mut self.inbound {
            None => Some(Verdict::unchanged()),
            Some(inbound) => inbound.request(stream, head, &is_ours, data, now),
        };
        let verdict = match (verdict, plan) {
            (verdict, None) => verdict,
            (Some(verdict), Some(plan)) => match &mut self.outbound {
                Some(outbound) => outbound.send(stream, Some(head), plan, verdict, data, now),
                None => Some(self.lose()),
            },
            (None, Some(plan)) => self.keep_plan(stream, head, plan),
        };
        self.collect(data, now);
        if let Some(verdict) = verdict {
            return Step::Decide(verdict);
        }
        // What it waits for may have failed at once.
        match self.decided.iter().position(|(decided, _)| *decided == stream) {
            Some(at) => Step::Decide(self.decided.swap_remove(at).1),
            None => Step::Wait,
        }
    }

    /// Keeps what the outbound direction has planned for a request that waits. Even one that gets no
    /// token has a plan, which names the headers that must not be forwarded with it.
    fn keep_plan(&mut self, stream: StreamId, head: &dyn Head, plan: Plan) -> Option<Verdict> {
        let plan = plan.without_head(head);
        let planned = self.planned.saturating_add(plan.owned_bytes());
        if planned > MAX_HELD
            && let Some(outbound) = &mut self.outbound
        {
            let verdict = outbound.turn_away(Reason::Overloaded, head);
            self.gone(stream);
            return Some(verdict);
        }
        self.planned = planned;
        self.plans.insert(stream, Box::new(plan));
        None
    }

    /// The plan for a request that has waited.
    fn take_plan(&mut self, stream: StreamId) -> Option<Plan> {
        let plan = self.plans.remove(&stream)?;
        self.planned = self.planned.saturating_sub(plan.owned_bytes());
        Some(*plan)
    }

    /// Refuses a request of which it is not known what must not go on with it.
    fn lose(&mut self) -> Verdict {
        let events = match (&mut self.inbound, &mut self.outbound) {
            (Some(inbound), _) => &mut inbound.events,
            (None, Some(outbound)) => &mut outbound.events,
            (None, None) => &mut Vec::new(),
        };
        defect::refuse("the plan for a request is lost", events)
    }

    /// Requests that have waited for the inbound side go on.
    fn go_on(&mut self, verdicts: Verdicts, data: &dyn SharedData, now: Timestamp) {
        for (stream, verdict) in verdicts {
            let plan = self.take_plan(stream);
            let verdict = match (&mut self.outbound, plan) {
                (Some(outbound), Some(plan)) => {
                    outbound.send(stream, None, plan, verdict, data, now)
                }
                (None, None) => Some(verdict),
                (Some(_), None) | (None, Some(_)) => Some(self.lose()),
            };
            self.decided.extend(verdict.map(|verdict| (stream, verdict)));
        }
    }

    /// The outcome of a call: what is done with requests that waited for it, first come first.
    pub fn answer(
        &mut self,
        id: CallId,
        outcome: Result<&Answer, CallFailure>,
        data: &dyn SharedData,
        now: Timestamp,
    ) -> Verdicts {
        let outcome = outcome.map_err(Failure::Call);
        match (id.0, &mut self.outbound) {
            (Direction::Inbound, _) => self.introspected(id, outcome, data, now),
            (Direction::Outbound, Some(outbound)) => outbound.answer(id, outcome, data, now),
            (Direction::Outbound, None) => {}
        }
        self.collect(data, now);
        std::mem::take(&mut self.decided)
    }

    /// The outcome of an introspection call.
    fn introspected(
        &mut self,
        id: CallId,
        outcome: Result<&Answer, Failure>,
        data: &dyn SharedData,
        now: Timestamp,
    ) {
        if let Some(call) = self.carrying.remove(&id)
            && let (Some(outbound), Some(client), Some(sent)) =
                (&mut self.outbound, call.client, call.sent)
            && outcome.is_ok_and(|answer| matches!(answer.status, 401 | 403))
            && outbound.is_replaced(sent, data, now)
            && !call.again
        {
            // The token had been taken back (RFC 6750 section 3.1: 401, but some answer 403): the
            // call goes again, with another.
            outbound.authorize(Call { again: true, ..*call }, client, data, now);
            return;
        }
        let Some(inbound) = &mut self.inbound else { return };
        let verdicts = inbound.answer(id, outcome, data, now);
        self.go_on(verdicts, data, now);
    }

    /// Gathers what has to be done outside.
    fn collect(&mut self, data: &dyn SharedData, now: Timestamp) {
        if let Some(inbound) = &mut self.inbound
            && !inbound.calls.is_empty()
        {
            for call in inbound.calls.drain(..) {
                match (call.client, &mut self.outbound) {
                    (Some(client), Some(outbound)) => outbound.authorize(call, client, data, now),
                    _ => self.calls.push(call),
                }
            }
        }
        while let Some(outbound) = &mut self.outbound {
            self.decided.append(&mut outbound.outbox.verdicts);
            for call in outbound.outbox.calls.drain(..) {
                if call.sent.is_some() {
                    self.carrying.insert(call.id, Box::new(call.clone()));
                }
                self.calls.push(call);
            }
            let unmade = std::mem::take(&mut outbound.outbox.unmade);
            if unmade.is_empty() {
                break;
            }
            for (id, failure) in unmade {
                self.introspected(id, Err(failure), data, now);
            }
        }
    }

    /// Calls to be made: each outcome is to be handed to [`Filter::answer`].
    pub fn calls(&mut self) -> Vec<Call> {
        std::mem::take(&mut self.calls)
    }

    /// Time has gone by: what follows for requests that wait for another worker's call. To be
    /// called as often as [`Filter::tick_period`] says.
    pub fn tick(&mut self, data: &dyn SharedData, now: Timestamp) -> Verdicts {
        if let Some(inbound) = &mut self.inbound {
            let verdicts = inbound.tick(data, now);
            self.go_on(verdicts, data, now);
        }
        if let Some(outbound) = &mut self.outbound {
            outbound.tick(data, now);
        }
        self.collect(data, now);
        std::mem::take(&mut self.decided)
    }

    /// How often time has to be taken note of, if at all.
    pub fn tick_period(&self) -> Option<Duration> {
        let inbound = self.inbound.as_ref().and_then(Inbound::tick_period);
        let outbound = self.outbound.as_ref().and_then(Outbound::tick_period);
        inbound.into_iter().chain(outbound).min()
    }

    /// Whether a service that answers with this status has not taken the token. What the proxy
    /// answers in its place says nothing about the token, and is no [`Filter::response`].
    pub fn is_refusal(&self, sent: Sent, status: u16) -> bool {
        self.outbound.as_ref().is_some_and(|outbound| outbound.is_refusal(sent, status))
    }

    /// The service has answered a request that went on with a token of ours.
    pub fn response(&mut self, sent: Sent, status: u16, data: &dyn SharedData, now: Timestamp) {
        if let Some(outbound) = &mut self.outbound {
            outbound.response(sent, status, data, now);
        }
    }

    /// What has happened since this was last called, to be counted.
    pub fn events(&mut self) -> impl Iterator<Item = Event> {
        let inbound = self.inbound.iter_mut().flat_map(Inbound::take_events);
        inbound.chain(self.outbound.iter_mut().flat_map(Outbound::take_events))
    }

    /// A request has ended. If it waited, nothing comes for it any more.
    pub fn gone(&mut self, stream: StreamId) {
        self.take_plan(stream);
        if let Some(inbound) = &mut self.inbound {
            inbound.gone(stream);
        }
        if let Some(outbound) = &mut self.outbound {
            outbound.gone(stream);
        }
    }

    /// Whether trailers are to be checked for names that [`Filter::is_reserved`] knows: wherever there
    /// are headers that the filter sets, or that tokens come in.
    pub fn guards_trailers(&self) -> bool {
        self.inbound.is_some() || self.outbound.is_some()
    }

    /// Whether a trailer of this name must not reach the service: it is a header that the filter sets,
    /// or one that tokens come in, in some spelling.
    pub fn is_reserved(&self, name: &[u8]) -> bool {
        self.inbound.as_ref().is_some_and(|inbound| inbound.is_reserved(name))
            || self.outbound.as_ref().is_some_and(|outbound| outbound.is_reserved(name))
    }

    /// The answer to a request that reaches a filter without a configuration.
    pub fn unconfigured() -> Reply {
        Denial::new(Reason::Unconfigured).reply(&Resource::default(), false)
    }

    /// The answer to a request that the host does not change as a verdict says.
    pub fn host_error() -> Reply {
        Denial::host_error()
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::http::head::Fields;
    use crate::metrics::{Counter, Decision};
    use crate::verdict::Fate;

    /// Shared data that nobody else writes.
    struct Alone;

    impl SharedData for Alone {
        fn get(&self, _: &str) -> Option<(Vec<u8>, u32)> {
            None
        }

        fn set(&self, _: &str, _: &[u8], _: Option<u32>) -> bool {
            true
        }
    }

    /// A filter with both directions, and a request that waits for introspection.
    fn waiting() -> (Filter, CallId) {
        let server = json!({"endpoint": "http://as.test/introspect", "cluster": "as",
            "client_id": "api", "client_secret": "secret"});
        let client = json!({"grant_type": "client_credentials", "endpoint": "http://as.test/token",
            "cluster": "as", "client_id": "api", "client_secret": "secret"});
        let document: Value = json!({
            "inbound": {"introspection": server}, "outbound": {"clients": {"billing": client}},
        });
        let environment =
            Environment { variable: &|_| None, seed: [1; 16], sign: |_, _| Ok(Vec::new()) };
        let text = document.to_string();
        let (mut filter, _) = Filter::load(text.as_bytes(), &environment).unwrap();
        let head = [(":method", "GET"), (":path", "/"), ("authorization", "Bearer t")];
        let head = Fields::from_iter(head);
        let step = filter.request(StreamId(7), &head, &Alone, Timestamp::from_millis(1000));
        assert!(matches!(step, Step::Wait), "{step:?}");
        filter.events().for_each(drop);
        let id = filter.calls().pop().unwrap().id;
        (filter, id)
    }

    /// The introspection endpoint says that the token is active.
    fn answer(filter: &mut Filter, id: CallId) -> Verdicts {
        let body = json!({"active": true}).to_string().into_bytes();
        let active = Answer { status: 200, retry_after: None, body };
        filter.answer(id, Ok(&active), &Alone, Timestamp::from_millis(2000))
    }

    /// Checks that the request is refused, and that this was counted.
    fn check_refused(filter: &mut Filter, verdicts: &Verdicts) {
        let [(StreamId(7), Verdict { fate: Fate::Answer(reply), attributes, .. })] = &verdicts[..]
        else {
            panic!("{verdicts:?}")
        };
        assert_eq!((reply.status, reply.details), (503, "oauth2_host_error"));
        let decision = Decision::Denied(Reason::HostError);
        assert_eq!(attributes.decision, Some(decision));
        let events: Vec<Event> = filter.events().collect();
        assert!(events.contains(&Event::Count(Counter::Request(decision))), "{events:?}");
    }

    #[test]
    fn a_request_that_waits_goes_on_as_planned() {
        let (mut filter, id) = waiting();
        assert!(answer(&mut filter, id).is_empty(), "it waits for its own token now");
        assert_eq!(filter.calls().len(), 1);
    }

    #[test]
    fn a_request_whose_plan_is_lost_is_refused() {
        let (mut filter, id) = waiting();
        filter.plans.clear();
        let verdicts = answer(&mut filter, id);
        check_refused(&mut filter, &verdicts);
    }

    #[test]
    fn a_request_whose_plan_nobody_carries_out_is_refused() {
        let (mut filter, id) = waiting();
        filter.outbound = None;
        let verdicts = answer(&mut filter, id);
        check_refused(&mut filter, &verdicts);
    }

    #[test]
    fn a_request_whose_client_is_lost_is_refused() {
        let (mut filter, id) = waiting();
        filter.outbound.as_mut().unwrap().lose_clients();
        let verdicts = answer(&mut filter, id);
        check_refused(&mut filter, &verdicts);
    }

    #[test]
    fn a_token_for_a_client_that_is_lost_goes_nowhere() {
        let (mut filter, _) = waiting();
        let outbound = filter.outbound.as_mut().unwrap();
        let plan = outbound.plan(&Fields::from_iter([(":path", "/")])).unwrap();
        outbound.lose_clients();
        let verdict = outbound.inject_any(plan).unwrap();
        check_refused(&mut filter, &vec![(StreamId(7), verdict)]);
    }

    #[test]
    fn a_request_whose_server_is_lost_is_refused() {
        let (mut filter, id) = waiting();
        filter.inbound.as_mut().unwrap().lose_servers();
        let verdicts = answer(&mut filter, id);
        check_refused(&mut filter, &verdicts);
    }
}
