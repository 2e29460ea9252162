//! One run of the filter: what comes in, what it may look at, and where its effects go.

use std::fmt;
use std::time::Duration;

use crate::cache::single_flight::{CallId, StreamId};
use crate::http::head::Head;
use crate::ids::ClientId;
use crate::lookup::{Lookup, Resolved};
use crate::metrics::client::ClientEvent;
use crate::metrics::{Counter, Decision, Event};
use crate::oauth::call::{Answer, Call, CallFailure, TokenUse};
use crate::oauth::denial::Reply;
use crate::oauth::reason::Reason;
use crate::store::Store;
use crate::timestamp::Timestamp;
use crate::verdict::{Action, Attributes, Verdict};

/// What has happened.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    /// The head of a request has come. The stream must not be in use.
    Request(StreamId, &'a dyn Head),
    /// The upstream service has answered a request that was sent with a token of ours, with this
    /// status. What the proxy answers in its place says nothing about the token, and is no input.
    Response(TokenUse, u16),
    /// A call of [`Output::calls`] has ended.
    CallEnded(CallId, Result<&'a Answer, CallFailure>),
    /// The time of [`Output::timer`] has passed.
    Tick,
}

/// What a run may look at.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The clock.
    pub now: Timestamp,
    /// What all workers share.
    pub store: &'a dyn Store,
}

/// A head carries tokens, so it is not shown.
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

/// What is to be done after a run. A host keeps one, and takes out what it has done.
#[derive(Debug, Default)]
pub struct Output {
    /// What is decided on requests that waited, in the order in which they came.
    pub decided: Vec<(StreamId, Verdict)>,
    /// Calls to be made. The end of each is an [`Input::CallEnded`].
    pub calls: Vec<Call>,
    /// What is to be counted.
    pub events: Vec<Event>,
    /// How often the filter wants an [`Input::Tick`] from now on; `None` if not at all.
    pub timer: Option<Duration>,
    /// What the decider asks of the fetcher.
    pub(crate) lookups: Vec<Lookup>,
    /// What the fetcher has for the decider.
    pub(crate) resolved: Vec<Resolved>,
}

/// What follows for the stream of an input.
#[derive(Debug)]
#[must_use]
pub enum Step {
    /// This is decided on the request.
    Decided(Verdict),
    /// The request waits: its verdict comes in [`Output::decided`].
    Waiting,
    /// The input was no request.
    Nothing,
}

/// A run, as its parts see it.
pub(crate) struct Run<'r> {
    /// The clock.
    pub(crate) now: Timestamp,
    /// What all workers share.
    pub(crate) store: &'r dyn Store,
    /// Where effects go.
    pub(crate) output: &'r mut Output,
}

impl Run<'_> {
    /// Counts something.
    pub(crate) fn count(&mut self, event: Event) {
        self.output.events.push(event);
    }

    /// Refuses a request for this reason, which is counted and told to access logs.
    pub(crate) fn refuse(&mut self, reason: Reason, reply: Reply) -> Verdict {
        let decision = Decision::Denied(reason);
        self.count(Event::Count(Counter::Request(decision)));
        let attributes = Attributes { decision: Some(decision), ..Attributes::default() };
        Verdict { attributes, ..Verdict::of(Action::Respond(reply)) }
    }

    /// Counts something of an outbound client.
    pub(crate) fn count_client(&mut self, client: ClientId, event: ClientEvent) {
        self.output.events.push(Event::Client(client, event));
    }
}
