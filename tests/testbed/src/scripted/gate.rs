//! Holding answers back until the test says so.

use std::sync::Arc;

use tokio::sync::watch;

use crate::wait;

/// Holds the answers it is given to until the test opens it. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<State>>);

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }

    /// Lets all pass, now and later.
    pub fn open(&self) {
        self.0.send_modify(|state| state.open = true);
    }

    /// Holds those that come from now on.
    pub fn close(&self) {
        self.0.send_modify(|state| state.open = false);
    }

    /// Waits until this many requests have come to the gate since the start.
    pub async fn arrived(&self, requests: usize) {
        let mut state = self.0.subscribe();
        let arrival = state.wait_for(|state| state.arrived >= requests);
        wait::within(&format!("{requests} requests at the gate"), arrival)
            .await
            .expect("the gate lives with its owner");
    }

    /// The number of requests at the gate now.
    pub fn waiting(&self) -> usize {
        self.0.borrow().waiting
    }

    /// Comes to the gate and waits until it is open.
    pub(super) async fn pass(&self) {
        let _visit = Visit::start(self);
        let mut state = self.0.subscribe();
        state.wait_for(|state| state.open).await.expect("the gate lives as long as its visitors");
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

#[derive(Debug, Default)]
struct State {
    open: bool,
    arrived: usize,
    waiting: usize,
}

/// One request's time at the gate.
struct Visit<'a>(&'a Gate);

impl<'a> Visit<'a> {
    fn start(gate: &'a Gate) -> Self {
        gate.0.send_modify(|state| {
            state.arrived += 1;
            state.waiting += 1;
        });
        Self(gate)
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.waiting -= 1);
    }
}
