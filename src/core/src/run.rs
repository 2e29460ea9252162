//! One run of the filter: its input, its context and its output.

use std::fmt;
use std::time::Duration;

use crate::cache::single_flight::{CallId, StreamId};
use crate::http::head::Head;
use crate::ids::ClientId;
use crate::lookup::{Lookups, Resolved};
use crate::metrics::client::ClientEvent;
use crate::metrics::{Counter, Decision, Event};
use crate::oauth::call::{Answer, Call, CallFailure, TokenUse};
use crate::oauth::denial::Reply;
use crate::oauth::reason::Reason;
use crate::store::Store;
use crate::timestamp::Timestamp;
use crate::verdict::{Action, Attributes, Verdict};

/// An event for the filter.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// The head of a request has arrived. The stream ID must not be in use.
    Request(StreamId, &'a dyn Head),
    /// The upstream service has responded to a request with one of the proxy's tokens, with this
    /// status. A response that the proxy generates says nothing about the token, and must not be
    /// passed in.
    Response(TokenUse, u16),
    /// A call of [`Output::calls`] has ended.
    CallEnded(CallId, Result<&'a Answer, CallFailure>),
    /// The period of [`Output::timer`] has passed.
    Tick,
}

/// The clock and the storage of a run.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The current time.
    pub now: Timestamp,
    /// What all workers share.
    pub store: &'a dyn Store,
}

/// Omits the head, because it may contain tokens.
impl fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Request(..) => "Request",
            Self::Response(..) => "Response",
            Self::CallEnded(..) => "CallEnded",
            Self::Tick => "Tick",
        })
    }
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("now", &self.now).finish_non_exhaustive()
    }
}

/// The actions that a run leaves to the host. A host reuses one value, and removes what it has
/// done.
#[derive(Debug, Default)]
pub struct Output {
    /// Verdicts on requests that waited, in the order in which the requests arrived.
    pub decided: Vec<(StreamId, Verdict)>,
    /// Calls to make. Each ends with an [`Input::CallEnded`].
    pub calls: Vec<Call>,
    /// Events to count.
    pub events: Vec<Event>,
    /// The period of the [`Input::Tick`] that the filter needs from now on; `None` for no ticks.
    pub timer: Option<Duration>,
    /// Messages of a decider for its fetcher. A [`Filter`](crate::Filter) leaves none.
    pub lookups: Lookups,
    /// Messages of a fetcher for its deciders. A [`Filter`](crate::Filter) leaves none.
    pub resolved: Vec<Resolved>,
}

/// The result of an input for its stream.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// The verdict on the request.
    Decided(Verdict),
    /// The request waits. Its verdict follows in [`Output::decided`].
    Waiting,
    /// The input was not a request.
    Nothing,
}

/// The context and the output of a run.
pub struct Run<'r> {
    pub(crate) now: Timestamp,
    pub(crate) store: &'r dyn Store,
    pub(crate) output: &'r mut Output,
}

impl<'r> Run<'r> {
    /// A run in this context, which adds to this output.
    pub fn new(context: Context<'r>, output: &'r mut Output) -> Self {
        let Context { now, store } = context;
        Self { now, store, output }
    }

    pub(crate) fn count(&mut self, event: Event) {
        self.output.events.push(event);
    }

    /// Denies a request. The reason is counted and available to access logs.
    pub(crate) fn refuse(&mut self, reason: Reason, reply: Reply) -> Verdict {
        let decision = Decision::Denied(reason);
        self.count(Event::Count(Counter::Request(decision)));
        let attributes = Attributes { decision: Some(decision), ..Attributes::default() };
        Verdict { attributes, ..Verdict::of(Action::Respond(reply)) }
    }

    /// Counts an event of an outbound client.
    pub(crate) fn count_client(&mut self, client: ClientId, event: ClientEvent) {
        self.output.events.push(Event::Client(client, event));
    }
}

impl fmt::Debug for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("now", &self.now).finish_non_exhaustive()
    }
}
