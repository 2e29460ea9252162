//! The filter of one configuration in one worker: the whole of what a host drives.

use std::fmt;
use std::time::Duration;

use fnv::FnvHashMap;

use crate::cache::footprint::Footprint;
use crate::cache::single_flight::{CallId, Direction, MAX_HELD, StreamId};
use crate::config::{self, ConfigError, ConfigErrors};
use crate::defect;
use crate::environment::Environment;
use crate::http::head::Head;
use crate::inbound::Inbound;
use crate::oauth::call::{Answer, Call, TokenUse};
use crate::oauth::denial::{Denial, Reply, Resource};
use crate::oauth::failure::Failure;
use crate::oauth::reason::Reason;
use crate::oauth::token_source::Presented;
use crate::outbound::{Injection, Outbound};
use crate::run::{Context, Input, Output, Run, Step};
use crate::verdict::Verdict;

/// A configured filter. It holds what is cached and who waits; it does nothing by itself.
///
/// The host calls [`Filter::handle`] for whatever happens, and then does what the [`Output`] says.
pub struct Filter {
    /// The proxy guards a resource.
    pub(crate) inbound: Option<Inbound>,
    /// The proxy is a client.
    pub(crate) outbound: Option<Outbound>,
    /// What the outbound direction has planned for requests that still wait for the inbound one.
    plans: FnvHashMap<StreamId, Box<Injection>>,
    /// What these plans hold, in bytes.
    planned: usize,
    /// Introspection calls under way that carry a token of ours.
    carrying: FnvHashMap<CallId, Box<Call>>,
}

impl Filter {
    /// Makes a filter from the document that the host hands over. Beside it come warnings: what is
    /// accepted but should be known.
    ///
    /// # Errors
    /// Every mistake in the document, with its place.
    pub fn load(
        document: &[u8],
        environment: &Environment<'_>,
    ) -> Result<(Self, Vec<ConfigError>), ConfigErrors> {
        let (config, warnings) = config::load(document, environment)?;
        let seed = environment.seed;
        let filter = Self {
            inbound: config.inbound.map(|guard| Inbound::new(guard, seed)),
            outbound: config.outbound.map(|clients| Outbound::new(clients, seed)),
            plans: FnvHashMap::default(),
            planned: 0,
            carrying: FnvHashMap::default(),
        };
        Ok((filter, warnings))
    }

    /// The names of the outbound clients, by their numbers.
    pub fn clients(&self) -> impl Iterator<Item = &str> {
        self.outbound.iter().flat_map(Outbound::names)
    }

    /// Takes in what has happened: what follows for its stream is returned, and all else is added to
    /// `output`.
    pub fn handle(&mut self, input: Input<'_>, context: Context<'_>, output: &mut Output) -> Step {
        let run = &mut Run { now: context.now, data: context.data, output };
        let mut requested = None;
        match input {
            Input::Request(stream, head) => {
                requested = Some((stream, self.request(stream, head, run)));
            }
            Input::CallEnded(id, outcome) => {
                self.call_ended(id, outcome.map_err(Failure::Call), run);
            }
            Input::Response(sent, status) => {
                if let Some(outbound) = &mut self.outbound {
                    outbound.response(sent, status, run);
                }
            }
            Input::StreamEnded(stream) => self.stream_ended(stream, run),
            Input::Tick => self.tick(run),
        }
        self.settle(run);
        run.output.timer = self.tick_period();
        let Some((stream, verdict)) = requested else { return Step::Nothing };
        match verdict.or_else(|| decided_at_once(stream, run)) {
            Some(verdict) => Step::Decided(verdict),
            None => Step::Waiting,
        }
    }

    /// What is decided on a request now, or nothing while it waits.
    fn request(&mut self, stream: StreamId, head: &dyn Head, run: &mut Run<'_>) -> Option<Verdict> {
        let plan = match &self.outbound {
            None => None,
            Some(outbound) => match outbound.plan(head) {
                Ok(plan) => Some(plan),
                Err(reason) => return Some(outbound.turn_away(reason, head, run)),
            },
        };
        let outbound = self.outbound.as_ref().zip(plan.as_ref());
        let now = run.now;
        let is_ours = |presented: &Presented<'_>| {
            outbound.is_some_and(|(outbound, plan)| outbound.is_ours(plan, presented, now))
        };
        let verdict = match &mut self.inbound {
            None => Some(Verdict::unchanged()),
            Some(inbound) => inbound.request(stream, head, &is_ours, run),
        };
        match (verdict, plan) {
            (verdict, None) => verdict,
            (Some(verdict), Some(plan)) => match &mut self.outbound {
                Some(outbound) => outbound.send(stream, Some(head), plan, verdict, run),
                None => Some(lose(run)),
            },
            (None, Some(plan)) => self.keep_plan(stream, head, plan, run),
        }
    }

    /// Keeps what the outbound direction has planned for a request that waits. Even one that gets no
    /// token has a plan, which names the headers that must not be forwarded with it.
    fn keep_plan(
        &mut self,
        stream: StreamId,
        head: &dyn Head,
        plan: Injection,
        run: &mut Run<'_>,
    ) -> Option<Verdict> {
        let plan = plan.without_head(head);
        let planned = self.planned.saturating_add(plan.owned_bytes());
        if planned > MAX_HELD
            && let Some(outbound) = &self.outbound
        {
            let verdict = outbound.turn_away(Reason::Overloaded, head, run);
            self.stream_ended(stream, run);
            return Some(verdict);
        }
        self.planned = planned;
        self.plans.insert(stream, Box::new(plan));
        None
    }

    /// The plan for a request that has waited.
    fn take_plan(&mut self, stream: StreamId) -> Option<Injection> {
        let plan = self.plans.remove(&stream)?;
        self.planned = self.planned.saturating_sub(plan.owned_bytes());
        Some(*plan)
    }

    /// Requests that have waited for the inbound side go on.
    fn go_on(&mut self, verdicts: Vec<(StreamId, Verdict)>, run: &mut Run<'_>) {
        for (stream, verdict) in verdicts {
            let plan = self.take_plan(stream);
            let verdict = match (&mut self.outbound, plan) {
                (Some(outbound), Some(plan)) => outbound.send(stream, None, plan, verdict, run),
                (None, None) => Some(verdict),
                (Some(_), None) | (None, Some(_)) => Some(lose(run)),
            };
            run.output.decided.extend(verdict.map(|verdict| (stream, verdict)));
        }
    }

    /// The outcome of a call.
    fn call_ended(&mut self, id: CallId, outcome: Result<&Answer, Failure>, run: &mut Run<'_>) {
        match (id.0, &mut self.outbound) {
            (Direction::Inbound, _) => self.introspected(id, outcome, run),
            (Direction::Outbound, Some(outbound)) => outbound.answer(id, outcome, run),
            (Direction::Outbound, None) => {}
        }
    }

    /// The outcome of an introspection call.
    fn introspected(&mut self, id: CallId, outcome: Result<&Answer, Failure>, run: &mut Run<'_>) {
        if let Some(call) = self.carrying.remove(&id)
            && let (Some(outbound), Some(client), Some(sent)) =
                (&mut self.outbound, call.client, call.sent)
            && outcome.is_ok_and(|answer| matches!(answer.status, 401 | 403))
            && outbound.is_replaced(sent, run)
            && !call.again
        {
            // The token had been taken back (RFC 6750 section 3.1: 401, but some answer 403): the
            // call goes again, with another.
            outbound.authorize(Call { again: true, ..*call }, client, run);
            return;
        }
        let Some(inbound) = &mut self.inbound else { return };
        let verdicts = inbound.answer(id, outcome, run);
        self.go_on(verdicts, run);
    }

    /// Has calls of the inbound direction carry the token that they need, until none waits to be made.
    fn settle(&mut self, run: &mut Run<'_>) {
        let Some(outbound) = &mut self.outbound else { return };
        let is_bare = |call: &mut Call| call.client.is_some() && call.sent.is_none();
        let bare: Vec<Call> = run.output.calls.extract_if(.., is_bare).collect();
        for call in bare {
            if let Some(client) = call.client {
                outbound.authorize(call, client, run);
            }
        }
        let carrying = run.output.calls.iter().filter(|call| call.sent.is_some());
        for call in carrying {
            self.carrying.entry(call.id).or_insert_with(|| Box::new(call.clone()));
        }
        while let Some(outbound) = &mut self.outbound
            && !outbound.unmade.is_empty()
        {
            for (id, failure) in std::mem::take(&mut outbound.unmade) {
                self.introspected(id, Err(failure), run);
            }
        }
    }

    /// Time has gone by: what follows for requests that wait for another worker's call.
    fn tick(&mut self, run: &mut Run<'_>) {
        if let Some(inbound) = &mut self.inbound {
            let verdicts = inbound.tick(run);
            self.go_on(verdicts, run);
        }
        if let Some(outbound) = &mut self.outbound {
            outbound.tick(run);
        }
    }

    /// How often time has to be taken note of, if at all.
    fn tick_period(&self) -> Option<Duration> {
        let inbound = self.inbound.as_ref().and_then(Inbound::tick_period);
        let outbound = self.outbound.as_ref().and_then(Outbound::tick_period);
        inbound.into_iter().chain(outbound).min()
    }

    /// Whether a service that answers with this status has rejected the token: only then is the
    /// response an [`Input::Response`].
    pub fn is_refusal(&self, sent: TokenUse, status: u16) -> bool {
        self.outbound.as_ref().is_some_and(|outbound| outbound.is_refusal(sent, status))
    }

    /// A request has ended.
    fn stream_ended(&mut self, stream: StreamId, run: &mut Run<'_>) {
        self.take_plan(stream);
        if let Some(inbound) = &mut self.inbound {
            inbound.gone(stream, run);
        }
        if let Some(outbound) = &mut self.outbound {
            outbound.gone(stream, run);
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

/// Refuses a request of which it is not known what must not go on with it.
fn lose(run: &mut Run<'_>) -> Verdict {
    defect::refuse("no injection state for a request", run)
}

/// The verdict on a request that was to wait, if what it was to wait for has failed at once.
fn decided_at_once(stream: StreamId, run: &mut Run<'_>) -> Option<Verdict> {
    let at = run.output.decided.iter().position(|(decided, _)| *decided == stream)?;
    Some(run.output.decided.swap_remove(at).1)
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
    use crate::cache::store::fixture::Memory;
    use crate::http::head::Fields;
    use crate::metrics::{Counter, Decision, Event};
    use crate::timestamp::Timestamp;
    use crate::verdict::Action;

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
        let context = Context { now: Timestamp::from_millis(1000), data: &Memory::default() };
        let mut output = Output::default();
        let step = filter.handle(Input::Request(StreamId(7), &head), context, &mut output);
        assert!(matches!(step, Step::Waiting), "{step:?}");
        (filter, output.calls[0].id)
    }

    /// The introspection endpoint says that the token is active.
    fn answer(filter: &mut Filter, id: CallId) -> Output {
        let body = json!({"active": true}).to_string().into_bytes();
        let active = Answer { status: 200, retry_after: None, body };
        let context = Context { now: Timestamp::from_millis(2000), data: &Memory::default() };
        let mut output = Output::default();
        let step = filter.handle(Input::CallEnded(id, Ok(&active)), context, &mut output);
        assert!(matches!(step, Step::Nothing), "{step:?}");
        output
    }

    /// Checks that the request is refused, and that this was counted.
    fn check_refused(output: &Output) {
        let [(StreamId(7), Verdict { action: Action::Respond(reply), attributes, .. })] =
            &output.decided[..]
        else {
            panic!("{output:?}")
        };
        assert_eq!((reply.status, reply.details), (503, "oauth2_host_error"));
        let decision = Decision::Denied(Reason::HostError);
        assert_eq!(attributes.decision, Some(decision));
        let event = Event::Count(Counter::Request(decision));
        assert!(output.events.contains(&event), "{output:?}");
    }

    #[test]
    fn a_request_that_waits_goes_on_as_planned() {
        let (mut filter, id) = waiting();
        let output = answer(&mut filter, id);
        assert!(output.decided.is_empty(), "it waits for its own token now");
        assert_eq!(output.calls.len(), 1);
    }

    #[test]
    fn a_request_whose_plan_is_lost_is_refused() {
        let (mut filter, id) = waiting();
        filter.plans.clear();
        check_refused(&answer(&mut filter, id));
    }

    #[test]
    fn a_request_whose_plan_nobody_carries_out_is_refused() {
        let (mut filter, id) = waiting();
        filter.outbound = None;
        check_refused(&answer(&mut filter, id));
    }

    #[test]
    fn a_request_whose_client_is_lost_is_refused() {
        let (mut filter, id) = waiting();
        filter.outbound.as_mut().unwrap().lose_clients();
        check_refused(&answer(&mut filter, id));
    }

    #[test]
    fn a_token_for_a_client_that_is_lost_goes_nowhere() {
        let (mut filter, _) = waiting();
        let outbound = filter.outbound.as_mut().unwrap();
        let plan = outbound.plan(&Fields::from_iter([(":path", "/")])).unwrap();
        outbound.lose_clients();
        let mut output = Output::default();
        let now = Timestamp::from_millis(1000);
        let mut run = Run { now, data: &Memory::default(), output: &mut output };
        let verdict = outbound.inject_any(plan, &mut run).unwrap();
        output.decided.push((StreamId(7), verdict));
        check_refused(&output);
    }

    #[test]
    fn a_request_whose_server_is_lost_is_refused() {
        let (mut filter, id) = waiting();
        filter.inbound.as_mut().unwrap().lose_servers();
        check_refused(&answer(&mut filter, id));
    }
}
