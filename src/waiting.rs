//! One call for all requests that wait for the same answer.

use std::collections::{BTreeMap, HashMap};

use crate::call::CallId;
use crate::kept::Key;

/// Names a request of one [`Filter`](crate::Filter) while it lives. Later ones have larger numbers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub u32);

/// The calls under way, and who waits for each.
pub(crate) struct Waiting<W> {
    /// What each call is for.
    flights: HashMap<CallId, Flight<W>>,
    /// The call that others may join, by what it asks.
    joinable: HashMap<Key, CallId>,
    /// The call that each request waits for.
    streams: HashMap<StreamId, CallId>,
    /// The number of the next call.
    next: u64,
}

/// A call and those who wait for it, first come first.
struct Flight<W> {
    /// What it asks.
    key: Key,
    /// What each request needs to go on. Ordered, so that nobody is overtaken.
    waiters: BTreeMap<StreamId, W>,
}

/// How a request came to wait.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Joined {
    /// The answer was already asked for.
    Existing,
    /// This call has to be made.
    New(CallId),
}

impl<W> Waiting<W> {
    /// Nobody waits.
    pub(crate) fn new() -> Self {
        let (flights, joinable, streams) = Default::default();
        Self { flights, joinable, streams, next: 0 }
    }

    /// Lets a request wait for the answer to `key`. With `alone`, it gets a call of its own.
    pub(crate) fn join(&mut self, key: Key, stream: StreamId, waiter: W, alone: bool) -> Joined {
        if !alone
            && let Some(id) = self.joinable.get(&key)
            && let Some(flight) = self.flights.get_mut(id)
        {
            flight.waiters.insert(stream, waiter);
            self.streams.insert(stream, *id);
            return Joined::Existing;
        }
        let id = CallId(self.next);
        self.next = self.next.wrapping_add(1);
        self.flights.insert(id, Flight { key, waiters: BTreeMap::from([(stream, waiter)]) });
        self.streams.insert(stream, id);
        if !alone {
            self.joinable.insert(key, id);
        }
        Joined::New(id)
    }

    /// Forgets a request that has gone. Its call goes on: the answer is worth keeping.
    pub(crate) fn forget(&mut self, stream: StreamId) {
        if let Some(id) = self.streams.remove(&stream)
            && let Some(flight) = self.flights.get_mut(&id)
        {
            flight.waiters.remove(&stream);
        }
    }

    /// Ends a call: what it asked, and who waited for it.
    pub(crate) fn finish(&mut self, id: CallId) -> Option<(Key, BTreeMap<StreamId, W>)> {
        let flight = self.flights.remove(&id)?;
        if self.joinable.get(&flight.key) == Some(&id) {
            self.joinable.remove(&flight.key);
        }
        for stream in flight.waiters.keys() {
            self.streams.remove(stream);
        }
        Some((flight.key, flight.waiters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kept::Keyed;

    fn key(token: &str) -> Key {
        Keyed::new([0; 16]).key(token)
    }

    #[test]
    fn requests_with_the_same_key_wait_for_one_call() {
        let mut waiting = Waiting::new();
        assert_eq!(waiting.join(key("a"), StreamId(1), 'x', false), Joined::New(CallId(0)));
        assert_eq!(waiting.join(key("a"), StreamId(2), 'y', false), Joined::Existing);
        assert_eq!(waiting.join(key("b"), StreamId(3), 'z', false), Joined::New(CallId(1)));
        let (asked, waiters) = waiting.finish(CallId(0)).unwrap();
        assert_eq!(asked, key("a"));
        assert!(waiters.into_values().eq(['x', 'y']));
        assert!(waiting.finish(CallId(0)).is_none());
        assert_eq!(waiting.join(key("a"), StreamId(4), 'x', false), Joined::New(CallId(2)));
    }

    #[test]
    fn the_call_outlives_the_request_that_started_it() {
        let mut waiting = Waiting::new();
        waiting.join(key("a"), StreamId(1), 'x', false);
        waiting.join(key("a"), StreamId(2), 'y', false);
        waiting.forget(StreamId(1));
        waiting.forget(StreamId(1));
        waiting.forget(StreamId(9));
        assert_eq!(waiting.join(key("a"), StreamId(3), 'z', false), Joined::Existing);
        let (_, waiters) = waiting.finish(CallId(0)).unwrap();
        assert!(waiters.into_values().eq(['y', 'z']));
        assert!(waiting.streams.is_empty() && waiting.joinable.is_empty());
    }

    #[test]
    fn a_request_that_waits_alone_is_joined_by_nobody() {
        let mut waiting = Waiting::new();
        assert_eq!(waiting.join(key("a"), StreamId(1), 'x', true), Joined::New(CallId(0)));
        assert_eq!(waiting.join(key("a"), StreamId(2), 'y', true), Joined::New(CallId(1)));
        assert_eq!(waiting.join(key("a"), StreamId(3), 'z', false), Joined::New(CallId(2)));
        waiting.finish(CallId(0)).unwrap();
        assert_eq!(waiting.join(key("a"), StreamId(4), 'w', false), Joined::Existing);
    }
}
