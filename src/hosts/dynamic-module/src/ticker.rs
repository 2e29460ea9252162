//! The timer of fetchers: a thread that wakes the main thread.
//!
//! The thread runs while a fetcher needs ticks or a configuration lives, and has ended before the
//! last configuration is gone, so that Envoy may unload the module.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::error;

use super::locked::lock;

/// A configuration whose fetcher needs ticks.
pub(crate) trait Timed: Send + Sync + 'static {
    /// Whether ticks are handled.
    fn is_alive(&self) -> bool;

    /// A tick is due.
    fn tick_due(&self);

    /// Wakes the main thread.
    fn wake(&self);
}

/// The timer of all fetchers of the process.
pub(crate) struct Ticker<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    timers: Vec<Timer<T>>,
    /// Configurations to wake once.
    once: Vec<(Arc<T>, Instant)>,
    thread: Option<JoinHandle<()>>,
    is_ending: bool,
}

#[expect(clippy::disallowed_methods, reason = "this is the host")]
fn now() -> Instant {
    Instant::now()
}

/// A fetcher that needs ticks.
struct Timer<T> {
    of: Arc<T>,
    period: Duration,
    next: Instant,
}

impl<T> Default for Ticker<T> {
    fn default() -> Self {
        let state = State { timers: Vec::new(), once: Vec::new(), thread: None, is_ending: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }
}

impl<T: Timed> Ticker<T> {
    /// Sets the period of a configuration's ticks; `None` for no ticks.
    pub(crate) fn set(&'static self, of: &Arc<T>, period: Option<Duration>) {
        let mut state = lock(&self.state);
        // Under this lock, so that no timer is set after it is removed for good.
        let period = period.filter(|_| of.is_alive());
        let at = state.timers.iter().position(|timer| Arc::ptr_eq(&timer.of, of));
        let Some(period) = period else {
            at.map(|at| state.timers.swap_remove(at));
            return;
        };
        let next = now().checked_add(period);
        match (at.and_then(|at| state.timers.get_mut(at)), next) {
            (Some(timer), _) if timer.period == period => return,
            (Some(timer), Some(next)) => (timer.period, timer.next) = (period, next),
            (None, Some(next)) => {
                state.timers.push(Timer { of: Arc::clone(of), period, next });
            }
            (_, None) => return,
        }
        self.start(&mut state);
    }

    /// Wakes the main thread for a configuration after this time.
    pub(crate) fn once(&'static self, of: &Arc<T>, after: Duration) {
        let mut state = lock(&self.state);
        let at = now().checked_add(after).unwrap_or_else(now);
        state.once.push((Arc::clone(of), at));
        self.start(&mut state);
    }

    /// Has the thread run, and look again.
    fn start(&'static self, state: &mut State<T>) {
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
                    timer.of.tick_due();
                    timer.next = now.checked_add(timer.period).unwrap_or(now);
                }
            }
            state.once.retain(|(of, at)| {
                let is_due = *at <= now;
                if is_due {
                    of.wake();
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
