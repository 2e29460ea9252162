//! One configuration in one worker thread: its decider, and the requests that wait.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use fnv::FnvHashMap;
use oauth2_filter_core::{
    Configuration, Context, Decider, Event, Output, Resolved, Run, StreamId, Timestamp, TokenUse,
    Verdict,
};
use oauth2_filter_driver::{HostCall, HostError};

use super::locked::lock;
use super::metrics::{Counting, Counts};
use super::request::{Request, StreamScheduler};
use super::shared::{Shared, ToMain};
use super::store::STORE;

/// The state of a worker thread, which other threads wake. It shares no cache line with that of
/// another worker, which processors fetch in pairs.
#[repr(align(128))]
pub(crate) struct Slot {
    number: u32,
    /// Whether trailers must be checked.
    pub(crate) guards_trailers: bool,
    worker: Mutex<Worker>,
    inbox: Mutex<Inbox>,
    /// Whether the inbox may have something.
    has_mail: AtomicBool,
    /// What wakes the requests that wait.
    waiting: Mutex<FnvHashMap<StreamId, StreamScheduler>>,
}

/// What other threads have for a worker.
#[derive(Default)]
struct Inbox {
    resolved: Vec<Resolved>,
    /// Events that only a worker can count.
    events: Vec<Event>,
    /// Whether what requests wait for is lost.
    is_lost: bool,
}

/// What the worker thread alone uses.
struct Worker {
    decider: Decider,
    output: Output,
    /// Verdicts on requests whose hook has not run yet.
    decided: FnvHashMap<StreamId, Verdict>,
    counts: Counts,
    /// The next stream's number.
    next: u32,
    /// The number of workers: a stream's number modulo this one is that of its worker.
    workers: u32,
}

/// A decision, or that it follows.
pub(crate) enum Step {
    Decided(Verdict),
    Waiting(StreamId),
    Failed(HostError),
}

/// The cause of a denial of a request whose state is lost, because a callback has panicked or
/// because of a state that cannot happen.
pub(crate) const LOST: HostError = HostError { call: HostCall::Hook, status: 0 };

impl Worker {
    /// A number that no stream of the process has that waits.
    fn next_stream(&mut self) -> StreamId {
        let stream = self.next;
        self.next = stream
            .checked_add(self.workers)
            .unwrap_or_else(|| stream.checked_rem(self.workers).unwrap_or_default());
        StreamId(stream)
    }

    /// Counts events, and posts lookups. `more` is by how many more requests wait. Returns whether
    /// the lookups will be handled.
    fn finish(
        &mut self,
        shared: &Arc<Shared>,
        request: Request<'_>,
        now: Timestamp,
        more: i64,
    ) -> bool {
        let waiting = (more != 0).then_some(Event::Waiting(more));
        let had_counts = !self.counts.is_empty();
        let counting = Counting {
            host: &request,
            metrics: &shared.metrics,
            counts: RefCell::new(&mut self.counts),
        };
        for event in self.output.events.drain(..).chain(waiting) {
            shared.statistics.add(&counting, &shared.reports, event);
        }
        if self.counts.are_due(now) {
            self.counts.flush(&request, now);
        } else if !had_counts && !self.counts.is_empty() {
            shared.flush_soon();
        }
        self.output.lookups.is_empty()
            || shared.post(ToMain::Lookups(std::mem::take(&mut self.output.lookups)))
    }
}

impl Slot {
    pub(crate) fn new(configuration: &Configuration, number: u32, workers: u32) -> Self {
        let decider = configuration.decider();
        let guards_trailers = decider.guards_trailers();
        let worker = Worker {
            decider,
            output: Output::default(),
            decided: FnvHashMap::default(),
            counts: Counts::default(),
            next: number,
            workers,
        };
        Self {
            number,
            guards_trailers,
            worker: Mutex::new(worker),
            inbox: Mutex::default(),
            has_mail: AtomicBool::new(false),
            waiting: Mutex::default(),
        }
    }

    /// Whether this is that worker thread.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.number == other.number
    }

    /// Decides on a request.
    pub(crate) fn decide(
        &self,
        shared: &Arc<Shared>,
        request: Request<'_>,
        end_of_stream: bool,
        now: Timestamp,
    ) -> Step {
        let worker = &mut *lock(&self.worker);
        self.handle_mail(worker, shared, request, now);
        let stream = worker.next_stream();
        let (verdict, failure) = request.read_head(end_of_stream, |head| {
            let context = Context { now, store: &*STORE };
            let run = &mut Run::new(context, &mut worker.output);
            (worker.decider.request(stream, head, run), head.failure())
        });
        if let Some(error) = failure {
            worker.decider.stream_ended(stream);
            worker.output = Output::default();
            return Step::Failed(error);
        }
        if let Some(verdict) = verdict {
            worker.finish(shared, request, now, 0);
            return Step::Decided(verdict);
        }
        // Before the lookup, whose result may come at once.
        lock(&self.waiting).insert(stream, request.scheduler());
        if worker.finish(shared, request, now, 1) {
            Step::Waiting(stream)
        } else {
            self.ended(worker, shared, stream);
            Step::Failed(LOST)
        }
    }

    /// The verdict on a request that waits; `None` if it still does.
    pub(crate) fn take(
        &self,
        shared: &Arc<Shared>,
        request: Request<'_>,
        stream: StreamId,
        now: Timestamp,
    ) -> Option<Result<Verdict, HostError>> {
        let worker = &mut *lock(&self.worker);
        self.handle_mail(worker, shared, request, now);
        let verdict = worker.decided.remove(&stream);
        if verdict.is_none() && worker.decider.is_waiting(stream) {
            return None;
        }
        lock(&self.waiting).remove(&stream);
        Some(verdict.ok_or(LOST))
    }

    /// A request that waited has ended.
    pub(crate) fn gone(&self, shared: &Arc<Shared>, stream: StreamId) {
        self.ended(&mut lock(&self.worker), shared, stream);
    }

    /// Removes a request that waited.
    fn ended(&self, worker: &mut Worker, shared: &Arc<Shared>, stream: StreamId) {
        lock(&self.waiting).remove(&stream);
        worker.decided.remove(&stream);
        if worker.decider.stream_ended(stream) {
            shared.post(ToMain::StreamEnded(stream));
            shared.post(ToMain::Count(Event::Waiting(-1)));
        }
    }

    /// The counts that Envoy does not have yet.
    pub(crate) fn take_counts(&self) -> Vec<(u32, i64)> {
        lock(&self.worker).counts.take()
    }

    /// Whether an upstream response rejects a token.
    pub(crate) fn is_refusal(&self, sent: TokenUse, status: u16) -> bool {
        lock(&self.worker).decider.is_refusal(sent, status)
    }

    /// Runs `with` with the decider.
    pub(crate) fn with_decider<R>(&self, with: impl FnOnce(&Decider) -> R) -> R {
        with(&lock(&self.worker).decider)
    }

    /// The upstream service has rejected a token.
    pub(crate) fn rejected(
        &self,
        shared: &Arc<Shared>,
        request: Request<'_>,
        (sent, status): (TokenUse, u16),
        now: Timestamp,
    ) {
        let worker = &mut *lock(&self.worker);
        let run = &mut Run::new(Context { now, store: &*STORE }, &mut worker.output);
        worker.decider.response(sent, status, run);
        worker.finish(shared, request, now, 0);
    }

    /// Handles what other threads have posted.
    fn handle_mail(
        &self,
        worker: &mut Worker,
        shared: &Arc<Shared>,
        request: Request<'_>,
        now: Timestamp,
    ) {
        if !self.has_mail.swap(false, Ordering::Acquire) {
            return;
        }
        let Inbox { resolved, events, is_lost } = std::mem::take(&mut *lock(&self.inbox));
        let before = worker.decider.waiting();
        worker.output.events.extend(events);
        if is_lost {
            // What is cached is sound.
            for stream in lock(&self.waiting).keys() {
                worker.decider.stream_ended(*stream);
            }
        }
        for resolved in resolved {
            let run = &mut Run::new(Context { now, store: &*STORE }, &mut worker.output);
            worker.decider.resolved(resolved, run);
        }
        worker.decided.extend(worker.output.decided.drain(..));
        let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let more = signed(worker.decider.waiting()).saturating_sub(signed(before));
        worker.finish(shared, request, now, more);
    }

    /// Passes on the result of a lookup, and wakes the requests that wait for it.
    pub(crate) fn resolved(&self, resolved: Resolved) {
        let streams = resolved.streams().to_vec();
        {
            let inbox = &mut *lock(&self.inbox);
            // A worker without requests reads nothing for long.
            inbox.resolved.retain(|earlier| !resolved.replaces(earlier));
            inbox.resolved.push(resolved);
        }
        self.has_mail.store(true, Ordering::Release);
        let waiting = lock(&self.waiting);
        for scheduler in streams.iter().filter_map(|stream| waiting.get(stream)) {
            scheduler.schedule();
        }
    }

    /// Has the next request count these events.
    pub(crate) fn count_later(&self, events: Vec<Event>) {
        lock(&self.inbox).events.extend(events);
        self.has_mail.store(true, Ordering::Release);
    }

    /// What requests wait for is lost: all of them are denied.
    pub(crate) fn lose_waiting(&self) {
        lock(&self.inbox).is_lost = true;
        self.has_mail.store(true, Ordering::Release);
        lock(&self.waiting).values().for_each(StreamScheduler::schedule);
    }

    /// Replaces a decider that is in an unknown state. All requests that wait are denied.
    pub(crate) fn lose_decider(&self, shared: &Arc<Shared>) {
        let worker = &mut *lock(&self.worker);
        worker.decider = shared.configuration.decider();
        worker.output = Output::default();
        worker.decided.clear();
        lock(&self.waiting).values().for_each(StreamScheduler::schedule);
    }
}
