//! The timer of fetchers: a thread that wakes the main thread.
//!
//! The thread runs while a fetcher needs ticks or a configuration lives, and has ended before the
//! last configuration is gone, so that Envoy may unload the module.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::error;

use super::filter::FilterConfig;
use super::locked::lock;

/// The timer of all fetchers of the process.
#[derive(Default)]
pub(crate) struct Ticker {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    timers: Vec<Timer>,
    /// Configurations to wake once.
    once: Vec<(Arc<FilterConfig>, Instant)>,
    thread: Option<JoinHandle<()>>,
    is_ending: bool,
}

#[expect(clippy::disallowed_methods, reason = "this is the host")]
fn now() -> Instant {
    Instant::now()
}

/// A fetcher that needs ticks.
struct Timer {
    filter: Arc<FilterConfig>,
    period: Duration,
    next: Instant,
}

impl Ticker {
    /// Sets the period of a configuration's ticks; `None` for no ticks.
    pub(crate) fn set(&'static self, filter: &Arc<FilterConfig>, period: Option<Duration>) {
        let mut state = lock(&self.state);
        // Under this lock, so that no timer is set after it is removed for good.
        let period = period.filter(|_| filter.is_alive());
        let at = state.timers.iter().position(|timer| Arc::ptr_eq(&timer.filter, filter));
        let Some(period) = period else {
            at.map(|at| state.timers.swap_remove(at));
            return;
        };
        let next = now().checked_add(period);
        match (at.and_then(|at| state.timers.get_mut(at)), next) {
            (Some(timer), _) if timer.period == period => return,
            (Some(timer), Some(next)) => (timer.period, timer.next) = (period, next),
            (None, Some(next)) => {
                state.timers.push(Timer { filter: Arc::clone(filter), period, next });
            }
            (_, None) => return,
        }
        self.start(&mut state);
    }

    /// Wakes the main thread for a configuration after this time.
    pub(crate) fn once(&'static self, filter: &Arc<FilterConfig>, after: Duration) {
        let mut state = lock(&self.state);
        let at = now().checked_add(after).unwrap_or_else(now);
        state.once.push((Arc::clone(filter), at));
        self.start(&mut state);
    }

    /// Has the thread run, and look again.
    fn start(&'static self, state: &mut State) {
        if state.thread.is_none() {
            state.is_ending = false;
            let thread = thread::Builder::new().name("oauth2_ticker".to_owned());
            match thread.spawn(|| self.run()) {
                Ok(thread) => state.thread = Some(thread),
                // Tokens are then renewed by the requests that need them.
                Err(error) => error!("failed to start the thread of the timer: {error}"),
            }
        }
        self.changed.notify_one();
    }

    /// Ends the thread.
    pub(crate) fn end(&self) {
        let thread = {
            let mut state = lock(&self.state);
            state.is_ending = true;
            state.timers.clear();
            state.once.clear();
            state.thread.take()
        };
        self.changed.notify_one();
        // It only waits for this lock and for schedulers.
        let _ = thread.map(JoinHandle::join);
    }

    fn run(&self) {
        let mut state = lock(&self.state);
        while !state.is_ending {
            let now = now();
            for timer in &mut state.timers {
                if timer.next <= now {
                    timer.filter.tick_due();
                    timer.next = now.checked_add(timer.period).unwrap_or(now);
                }
            }
            state.once.retain(|(filter, at)| {
                let is_due = *at <= now;
                if is_due {
                    filter.caller.schedule();
                }
                !is_due
            });
            let once = state.once.iter().map(|(_, at)| *at);
            let next = state.timers.iter().map(|timer| timer.next).chain(once).min();
            state = if let Some(next) = next {
                let pause = next.saturating_duration_since(now);
                let waited = self.changed.wait_timeout(state, pause);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                let waited = self.changed.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            };
        }
    }
}
