//! The main thread: runs fetchers, makes their calls, and passes their results to the workers.
//!
//! Envoy may announce the end of a call, or of several, before the function that makes it returns.
//! So all work is queued, and only the outermost hook of the main thread handles it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oauth2_filter_core::{Answer, CallFailure};

use super::callers::{Caller, FetcherCall};
use super::envoy;
use super::fetching::{Fetching, Input};
use super::filter::{FilterConfig, PROCESS};
use super::locked::lock;
use super::shared::TICKER;
use super::worker::Slot;

/// A fetcher that looks this often, or more often, follows a call of another configuration.
const FOLLOWING: Duration = Duration::from_millis(10);

/// Work for the main thread.
pub(crate) enum Work {
    /// Handle the messages and the tick of a configuration.
    Look(Arc<FilterConfig>),
    /// Look whether a call that a configuration follows has ended.
    Tick(Arc<FilterConfig>),
    /// A call has ended: its caller, Envoy's number, and its response if it is complete.
    CallEnded(Arc<Caller>, u64, Option<Result<Answer, CallFailure>>),
    /// A call was not made.
    NotMade(Arc<FilterConfig>, FetcherCall, CallFailure),
}

/// The work that is not handled yet.
static QUEUE: Mutex<Queue> = Mutex::new(Queue { work: VecDeque::new(), is_handled: false });

struct Queue {
    work: VecDeque<Work>,
    /// Whether a hook handles it.
    is_handled: bool,
}

/// Handles work on the main thread, now or when the outer hook continues.
pub(crate) fn handle(work: Work) {
    {
        let mut queue = lock(&QUEUE);
        queue.work.push_back(work);
        if queue.is_handled {
            return;
        }
        queue.is_handled = true;
    }
    loop {
        let next = {
            let mut queue = lock(&QUEUE);
            let next = queue.work.pop_front();
            queue.is_handled = next.is_some();
            next
        };
        let Some(work) = next else { return };
        // Whatever happens, the queue is handled to its end.
        let _ = catch_unwind(AssertUnwindSafe(|| work.run()));
    }
}

impl Work {
    fn run(self) {
        let Some((filter, input)) = self.input() else { return };
        let run = AssertUnwindSafe(|| {
            #[cfg(feature = "panic-on-command")]
            super::panic_on_command::obey_on_main_thread();
            filter.run(input);
        });
        if catch_unwind(run).is_err() {
            filter.lose_fetcher();
        }
    }

    /// The configuration, and the event for its fetcher.
    fn input(self) -> Option<(Arc<FilterConfig>, Input)> {
        Some(match self {
            Self::Look(filter) => {
                let (messages, is_tick_due) = (filter.shared.mail(), filter.shared.take_tick());
                (filter, Input::Look(messages, is_tick_due))
            }
            Self::Tick(filter) => (filter, Input::Tick),
            Self::NotMade(filter, call, failure) => (filter, Input::CallEnded(call, Err(failure))),
            Self::CallEnded(caller, number, result) => {
                let flight = PROCESS.callers.ended(&caller, number)?;
                let result = result.unwrap_or_else(|| {
                    // The same for a clock that fails as for a call that has used up its time.
                    let now = envoy::now()
                        .unwrap_or_else(|_| flight.call.started.plus(flight.call.timeout));
                    Err(flight.call.broken_off(now))
                });
                let call = flight.call();
                (flight.filter, Input::CallEnded(call, result))
            }
        })
    }
}

impl FilterConfig {
    /// Runs the fetcher, and carries out what it decides.
    fn run(self: &Arc<Self>, input: Input) {
        let now = match envoy::now() {
            Ok(now) => now,
            Err(error) => {
                let reports = &self.shared.reports;
                self.shared.with_metrics(|metrics| reports.clock_failed(metrics, error));
                return self.lose_fetcher();
            }
        };
        self.flush();
        let has_ended = matches!(input, Input::CallEnded(..));
        let ((output, period), fetcher) = {
            let fetching = &mut *lock(&self.fetching);
            (fetching.handle(input, now), fetching.id)
        };
        let is_following = period.is_some_and(|period| period <= FOLLOWING);
        self.follows.store(is_following, Ordering::Relaxed);
        TICKER.set(&self.shared, period);
        for resolved in output.resolved {
            for slot in self.slots() {
                let of_slot = |stream: &&_| self.slot_of(**stream).is_some_and(|of| of.is(slot));
                let streams: Vec<_> = resolved.streams().iter().filter(of_slot).copied().collect();
                if !streams.is_empty() || resolved.is_for_all() {
                    slot.resolved(resolved.for_streams(streams));
                }
            }
        }
        self.count(output.events);
        for call in output.calls {
            let made = PROCESS.callers.call((self, fetcher), &self.shared.caller, &call, now);
            if let Err(failure) = made {
                let call = FetcherCall { fetcher, id: call.id };
                handle(Work::NotMade(Arc::clone(self), call, failure));
            }
        }
        if has_ended {
            self.followers().into_iter().for_each(|other| handle(Work::Tick(other)));
        }
    }

    /// Replaces a fetcher that is in an unknown state. All requests that wait are denied.
    pub(crate) fn lose_fetcher(self: &Arc<Self>) {
        let fetcher = self.shared.configuration.fetcher();
        let lost = lock(&self.fetching).replace(fetcher);
        // The requests that posted them are denied, too. While messages are there, nothing wakes the
        // main thread.
        drop(self.shared.mail());
        self.slots().iter().for_each(Slot::lose_waiting);
        self.release_leases(lost);
    }

    /// Fails the calls of a lost fetcher, so that the next one need not wait for their leases to end.
    /// If that panics, too, leases end by themselves.
    fn release_leases(self: &Arc<Self>, mut lost: Fetching) {
        let Ok(now) = envoy::now() else { return };
        for call in PROCESS.callers.calls_of(self, lost.id) {
            let _ = catch_unwind(AssertUnwindSafe(|| lost.abandon(call, now)));
        }
    }
}
