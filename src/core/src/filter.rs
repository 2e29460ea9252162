//! The filter of one configuration in one worker, as a host drives it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cache::single_flight::StreamId;
use crate::config::{self, Config, ConfigError, ConfigErrors};
use crate::decider::Decider;
use crate::environment::Environment;
use crate::fetcher::Fetcher;
use crate::inbound::Inbound;
use crate::inbound::guard::Guard;
use crate::metrics::Event;
use crate::oauth::denial::{Denial, Reply, Resource};
use crate::oauth::reason::Reason;
use crate::oauth::secret::OpenSecret;
use crate::outbound::{ClientConfig, Outbound};
use crate::random::Random;
use crate::run::{Context, Input, Output, Run, Step};
use crate::verdict::Verdict;

/// A valid configuration, from which a host makes the halves of a filter that it places apart: a
/// decider in each worker, and one fetcher for all of them.
#[derive(Clone)]
pub struct Configuration {
    inbound: Option<Arc<Guard>>,
    outbound: Option<Arc<ClientConfig>>,
    seed: [u8; 16],
    /// Shared by all fetchers, so that none has the leases of another.
    random: Arc<Random>,
}

impl Configuration {
    /// Reads a configuration document. Returns warnings too, about settings that are valid but
    /// deserve attention.
    ///
    /// # Errors
    /// All errors in the document, with their paths.
    pub fn load(
        document: &[u8],
        environment: &Environment<'_>,
    ) -> Result<(Self, Vec<ConfigError>), ConfigErrors> {
        let (config, warnings) = config::load(document, environment)?;
        Ok((Self::new(config, environment), warnings))
    }

    /// Like [`Configuration::load`], for a host whose secrets may change: `open` opens their
    /// sources.
    ///
    /// # Errors
    /// All errors in the document, with their paths.
    pub fn load_with_sources(
        document: &[u8],
        environment: &Environment<'_>,
        open: OpenSecret<'_>,
    ) -> Result<(Self, Vec<ConfigError>), ConfigErrors> {
        let (config, warnings) = config::load_with_sources(document, environment, open)?;
        Ok((Self::new(config, environment), warnings))
    }

    fn new(config: Config, environment: &Environment<'_>) -> Self {
        let (inbound, outbound) = (config.inbound.map(Arc::new), config.outbound.map(Arc::new));
        let seed = environment.seed;
        Self { inbound, outbound, seed, random: Arc::new(Random::new(seed, "fetcher")) }
    }

    /// The names of the outbound clients, in the order of
    /// [`ClientId::index`](crate::ClientId::index).
    pub fn clients(&self) -> impl Iterator<Item = &str> {
        let clients = self.outbound.iter().flat_map(|outbound| &outbound.clients);
        clients.map(|client| &*client.name)
    }

    /// The names of the headers with claims, in the order of
    /// [`HeaderId::index`](crate::HeaderId::index).
    pub fn claim_headers(&self) -> impl Iterator<Item = &str> {
        self.inbound.iter().flat_map(|guard| guard.forward.claim_headers())
    }

    /// The identifiers of the issuers of JWTs, in the order of
    /// [`IssuerId::index`](crate::IssuerId::index); `None` for one whose keys are not fetched.
    pub fn key_issuers(&self) -> impl Iterator<Item = Option<&str>> {
        self.inbound.iter().flat_map(|guard| guard.key_issuers())
    }

    /// A decider, with an empty cache.
    pub fn decider(&self) -> Decider {
        let inbound = self.inbound.clone().map(|guard| Inbound::new(guard, self.seed));
        let outbound = self.outbound.clone().map(|clients| Outbound::new(clients, self.seed));
        Decider::new(inbound, outbound)
    }

    /// A decider and its fetcher in one.
    pub fn filter(&self) -> Filter {
        Filter { decider: self.decider(), fetcher: self.fetcher() }
    }

    /// The fetcher of these deciders.
    pub fn fetcher(&self) -> Fetcher {
        let random = Arc::clone(&self.random);
        Fetcher::new(self.inbound.clone(), self.outbound.clone(), self.seed, random)
    }
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration").finish_non_exhaustive()
    }
}

/// A configured filter: a decider and its fetcher in one worker.
///
/// The host calls [`Filter::handle`] for every event, and then carries out the [`Output`].
pub struct Filter {
    pub(crate) decider: Decider,
    fetcher: Fetcher,
}

impl Filter {
    /// Creates a filter from a configuration document. Returns warnings too, about settings that
    /// are valid but deserve attention.
    ///
    /// # Errors
    /// All errors in the document, with their paths.
    pub fn load(
        document: &[u8],
        environment: &Environment<'_>,
    ) -> Result<(Self, Vec<ConfigError>), ConfigErrors> {
        let (configuration, warnings) = Configuration::load(document, environment)?;
        Ok((configuration.filter(), warnings))
    }

    /// The names of the outbound clients, in the order of
    /// [`ClientId::index`](crate::ClientId::index).
    pub fn clients(&self) -> impl Iterator<Item = &str> {
        self.decider.outbound.iter().flat_map(Outbound::names)
    }

    /// The names of the headers with claims, in the order of
    /// [`HeaderId::index`](crate::HeaderId::index).
    pub fn claim_headers(&self) -> impl Iterator<Item = &str> {
        self.decider.inbound.iter().flat_map(Inbound::claim_headers)
    }

    /// The identifiers of the issuers of JWTs, in the order of
    /// [`IssuerId::index`](crate::IssuerId::index); `None` for one whose keys are not fetched.
    pub fn key_issuers(&self) -> impl Iterator<Item = Option<&str>> {
        self.decider.inbound.iter().flat_map(Inbound::key_issuers)
    }

    /// The period of the [`Input::Tick`] that the filter needs before the first request.
    pub fn tick_period(&self) -> Option<Duration> {
        self.fetcher.tick_period()
    }

    /// Handles an event. The result for its stream is returned; everything else is added to
    /// `output`.
    pub fn handle(&mut self, input: Input<'_>, context: Context<'_>, output: &mut Output) -> Step {
        let run = &mut Run::new(context, output);
        let waited = self.decider.waiting();
        match input {
            Input::Request(stream, head) => {
                let verdict = self.decider.request(stream, head, run);
                self.settle(waited, run);
                return match verdict {
                    Some(verdict) => Step::Decided(verdict),
                    None => decided_at_once(stream, run).map_or(Step::Waiting, Step::Decided),
                };
            }
            Input::CallEnded(id, outcome) => {
                self.fetcher.call_ended(id, outcome, run);
            }
            Input::Response(sent, status) => self.decider.response(sent, status, run),
            Input::Tick => self.fetcher.tick(run),
        }
        self.settle(waited, run);
        Step::Nothing
    }

    /// Completes what the halves have for each other. `waited` is the number of requests that
    /// waited before.
    fn settle(&mut self, waited: usize, run: &mut Run<'_>) {
        if !run.output.lookups.is_empty() || !run.output.resolved.is_empty() {
            self.join(run);
        }
        let waits = self.decider.waiting();
        if waits != waited {
            let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
            run.count(Event::Waiting(count(waits).saturating_sub(count(waited))));
        }
        run.output.timer = self.fetcher.tick_period();
    }

    /// Passes lookups and results between the halves until none is left.
    #[cold]
    fn join(&mut self, run: &mut Run<'_>) {
        while !(run.output.lookups.is_empty() && run.output.resolved.is_empty()) {
            let lookups = std::mem::take(&mut run.output.lookups);
            self.fetcher.look_up(lookups, run);
            for resolved in std::mem::take(&mut run.output.resolved) {
                self.decider.resolved(resolved, run);
            }
        }
    }

    /// Handles the end of a request. If it waited, no verdict follows.
    pub fn stream_ended(&mut self, stream: StreamId, output: &mut Output) {
        if self.decider.stream_ended(stream) {
            self.fetcher.stream_ended(stream);
            output.events.push(Event::Waiting(-1));
            output.timer = self.fetcher.tick_period();
        }
    }

    /// The half that decides, for what a host asks about a request.
    pub fn decider(&self) -> &Decider {
        &self.decider
    }

    /// The response to a request that reaches a filter without a configuration.
    pub fn unconfigured() -> Reply {
        Denial::new(Reason::Unconfigured).reply(&Resource::default(), false)
    }

    /// The response to a request to which the host could not apply a verdict.
    pub fn host_error() -> Reply {
        Denial::host_error()
    }
}

/// The verdict on a request whose lookup was resolved at once.
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
    use crate::cache::single_flight::CallId;
    use crate::http::head::Fields;
    use crate::metrics::{Counter, Decision, Event};
    use crate::oauth::call::Answer;
    use crate::store::shared::SharedStore;
    use crate::store::shared_data::fixture::Memory;
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
        let environment = Environment::new(&|_| None, [1; 16]);
        let text = document.to_string();
        let (mut filter, _) = Filter::load(text.as_bytes(), &environment).unwrap();
        let head = [(":method", "GET"), (":path", "/"), ("authorization", "Bearer t")];
        let head = Fields::from_iter(head);
        let data = Memory::default();
        let store = SharedStore::new(&data);
        let context = Context { now: Timestamp::from_millis(1000), store: &store };
        let mut output = Output::default();
        let step = filter.handle(Input::Request(StreamId(7), &head), context, &mut output);
        assert!(matches!(step, Step::Waiting), "{step:?}");
        (filter, output.calls[0].id)
    }

    /// The introspection endpoint reports that the token is active.
    fn answer(filter: &mut Filter, id: CallId) -> Output {
        let body = json!({"active": true}).to_string().into_bytes();
        let active = Answer { status: 200, retry_after: None, body };
        let data = Memory::default();
        let store = SharedStore::new(&data);
        let context = Context { now: Timestamp::from_millis(2000), store: &store };
        let mut output = Output::default();
        let step = filter.handle(Input::CallEnded(id, Ok(&active)), context, &mut output);
        assert!(matches!(step, Step::Nothing), "{step:?}");
        output
    }

    /// Checks that the request is denied and that this was counted.
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
    fn a_request_whose_plan_nobody_carries_out_is_refused() {
        let (mut filter, id) = waiting();
        filter.decider.outbound = None;
        check_refused(&answer(&mut filter, id));
    }

    #[test]
    fn a_request_whose_client_is_lost_is_refused() {
        let (mut filter, id) = waiting();
        filter.decider.outbound.as_mut().unwrap().lose_clients();
        check_refused(&answer(&mut filter, id));
    }

    #[test]
    fn a_token_for_a_client_that_is_lost_goes_nowhere() {
        let (mut filter, _) = waiting();
        let outbound = filter.decider.outbound.as_mut().unwrap();
        let plan = outbound.plan(&Fields::from_iter([(":path", "/")])).unwrap();
        outbound.lose_clients();
        let mut output = Output::default();
        let now = Timestamp::from_millis(1000);
        let data = Memory::default();
        let store = SharedStore::new(&data);
        let mut run = Run { now, store: &store, output: &mut output };
        let verdict = outbound.inject_any(plan, &mut run).unwrap();
        output.decided.push((StreamId(7), verdict));
        check_refused(&output);
    }

    #[test]
    fn a_request_whose_server_is_lost_is_refused() {
        let (mut filter, id) = waiting();
        filter.fetcher.lose_servers();
        check_refused(&answer(&mut filter, id));
    }
}
