//! The fetcher of a configuration, which the main thread runs.

use std::time::Duration;

use oauth2_filter_core::{Answer, CallFailure, Context, Fetcher, Output, Run, Timestamp};

use super::callers::{FetcherCall, FetcherId};
use super::shared::ToMain;
use super::store::STORE;

/// A fetcher, and what identifies its calls.
pub(crate) struct Fetching {
    fetcher: Fetcher,
    pub(crate) id: FetcherId,
    output: Output,
}

/// An event for a fetcher.
pub(crate) enum Input {
    /// Messages, and whether a tick is due.
    Look(Vec<ToMain>, bool),
    Tick,
    CallEnded(FetcherCall, Result<Answer, CallFailure>),
}

impl Fetching {
    pub(crate) fn new(fetcher: Fetcher) -> Self {
        Self { fetcher, id: FetcherId::default(), output: Output::default() }
    }

    /// Puts another fetcher in the place of this one, which is returned.
    pub(crate) fn replace(&mut self, fetcher: Fetcher) -> Self {
        let id = self.id.next();
        std::mem::replace(self, Self { id, ..Self::new(fetcher) })
    }

    /// Handles an event. Returns what is to be done, and how often the fetcher needs ticks.
    pub(crate) fn handle(&mut self, input: Input, now: Timestamp) -> (Output, Option<Duration>) {
        match input {
            Input::Look(messages, is_tick_due) => {
                for message in messages {
                    self.read(message, now);
                }
                if is_tick_due {
                    self.tick(now);
                }
            }
            Input::Tick => self.tick(now),
            Input::CallEnded(call, result) => {
                self.call_ended(call, result.as_ref().map_err(|failure| *failure), now);
            }
        }
        (std::mem::take(&mut self.output), self.fetcher.tick_period())
    }

    fn read(&mut self, message: ToMain, now: Timestamp) {
        match message {
            ToMain::Lookups(lookups) => {
                let run = &mut Run::new(Context { now, store: &*STORE }, &mut self.output);
                self.fetcher.look_up(lookups, run);
            }
            ToMain::StreamEnded(stream) => self.fetcher.stream_ended(stream),
            ToMain::CallEnded(call, failure) => self.call_ended(call, Err(failure), now),
            ToMain::Count(event) => self.output.events.push(event),
        }
    }

    fn tick(&mut self, now: Timestamp) {
        self.fetcher.tick(&mut Run::new(Context { now, store: &*STORE }, &mut self.output));
    }

    /// Ends a call, unless it is one of an earlier fetcher.
    fn call_ended(
        &mut self,
        call: FetcherCall,
        result: Result<&Answer, CallFailure>,
        now: Timestamp,
    ) {
        if call.fetcher == self.id {
            let run = &mut Run::new(Context { now, store: &*STORE }, &mut self.output);
            self.fetcher.call_ended(call.id, result, run);
        }
    }

    /// Handles the end of a call whose result nobody waits for any more.
    pub(crate) fn abandon(&mut self, call: FetcherCall, now: Timestamp) {
        self.call_ended(call, Err(CallFailure::Unreachable), now);
        self.output = Output::default();
    }
}
