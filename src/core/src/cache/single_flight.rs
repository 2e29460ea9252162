//! Request coalescing: one call serves all requests that need its result.

use fnv::FnvHashMap;

use crate::cache::local::{CacheKey, KeyMap};

/// Identifies a request of one [`Filter`](crate::Filter) until it ends. Later requests have larger
/// numbers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub u32);

/// Identifies a call of one [`Filter`](crate::Filter) from its start to its outcome.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CallId(pub(crate) u64);

/// The lookups in flight, and the requests that wait for each.
///
/// A flight is [taken](Self::take) out to advance, and then either [resumed](Self::resume) in
/// another state or [ended](Self::end).
pub(crate) struct SingleFlight<T> {
    flights: FnvHashMap<CallId, Box<(T, Flight)>>,
    /// The flights that further requests may join.
    joinable: KeyMap<CallId>,
    /// The flight that each request waits for.
    streams: FnvHashMap<StreamId, CallId>,
    next: u64,
}

/// A lookup, and the requests that wait for it.
#[must_use]
pub(crate) struct Flight {
    pub(crate) id: CallId,
    /// The key under which other requests may join.
    key: Option<CacheKey>,
    /// The requests that have joined, in the order of their IDs. Some may have ended.
    joined: Vec<StreamId>,
    /// The number of requests that have joined and not ended.
    waiting: usize,
}

impl<T> SingleFlight<T> {
    pub(crate) fn new() -> Self {
        let (flights, joinable, streams) = Default::default();
        Self { flights, joinable, streams, next: 0 }
    }

    /// The flight that requests with this key may join.
    pub(crate) fn find(&self, key: CacheKey) -> Option<CallId> {
        self.joinable.get(&key).copied()
    }

    /// Starts a flight. With a key, others may join it once it is [resumed](Self::resume).
    pub(crate) fn lead(&mut self, key: Option<CacheKey>) -> Flight {
        let id = CallId(self.next);
        self.next = self.next.wrapping_add(1);
        if let Some(key) = key {
            self.joinable.insert(key, id);
        }
        Flight { id, key, joined: Vec::new(), waiting: 0 }
    }

    /// Adds a request to a flight that is under way.
    pub(crate) fn join(&mut self, id: CallId, stream: StreamId) {
        if let Some((_, flight)) = self.flights.get_mut(&id).map(|flight| &mut **flight) {
            flight.add(stream);
            self.streams.insert(stream, id);
        }
    }

    /// Adds a request to a flight that is not under way yet.
    pub(crate) fn add(&mut self, flight: &mut Flight, stream: StreamId) {
        flight.add(stream);
        self.streams.insert(stream, flight.id);
    }

    /// Removes a request that has ended. Returns the flight that it waited for, if no other request
    /// waits for it.
    pub(crate) fn leave(&mut self, stream: StreamId) -> Option<CallId> {
        let id = self.streams.remove(&stream)?;
        let (_, flight) = &mut **self.flights.get_mut(&id)?;
        flight.waiting = flight.waiting.saturating_sub(1);
        (flight.waiting == 0).then_some(id)
    }

    pub(crate) fn state(&mut self, id: CallId) -> Option<&mut T> {
        self.flights.get_mut(&id).map(|flight| &mut flight.0)
    }

    /// The number of requests that wait for a flight.
    pub(crate) fn waiting(&self, id: CallId) -> usize {
        self.flights.get(&id).map_or(0, |flight| flight.1.waiting)
    }

    /// Takes out a flight with its state.
    pub(crate) fn take(&mut self, id: CallId) -> Option<(T, Flight)> {
        self.flights.remove(&id).map(|flight| *flight)
    }

    /// Puts a flight back, in this state.
    pub(crate) fn resume(&mut self, flight: Flight, state: T) -> CallId {
        let id = flight.id;
        self.flights.insert(id, Box::new((state, flight)));
        id
    }

    /// Ends a flight. Returns the requests that still wait for it, in order, so that none overtakes
    /// another.
    pub(crate) fn end(&mut self, flight: Flight) -> Vec<StreamId> {
        let Flight { id, key, mut joined, .. } = flight;
        if let Some(key) = key
            && self.joinable.get(&key) == Some(&id)
        {
            self.joinable.remove(&key);
        }
        joined.retain(|stream| self.streams.remove(stream).is_some());
        joined
    }
}

impl Flight {
    /// Adds a request at its place in the order.
    fn add(&mut self, stream: StreamId) {
        let at = self.joined.partition_point(|earlier| *earlier < stream);
        self.joined.insert(at, stream);
        self.waiting = self.waiting.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::local::{KeySpace, Keyed};
    use crate::ids::ServerId;

    fn key(token: &str) -> CacheKey {
        Keyed::new([0; 16]).key(KeySpace::Server(ServerId(0)), token)
    }

    fn begin(flights: &mut SingleFlight<char>, token: &str) -> CallId {
        let flight = flights.lead(Some(key(token)));
        flights.resume(flight, 's')
    }

    /// Ends a flight and returns the requests that waited.
    fn end(flights: &mut SingleFlight<char>, id: CallId) -> Option<Vec<u32>> {
        let (_, flight) = flights.take(id)?;
        Some(flights.end(flight).into_iter().map(|stream| stream.0).collect())
    }

    #[test]
    fn requests_with_the_same_key_share_one_flight() {
        let mut flights = SingleFlight::new();
        assert_eq!(flights.find(key("a")), None);
        let id = begin(&mut flights, "a");
        assert_eq!((flights.find(key("a")), flights.find(key("b"))), (Some(id), None));
        flights.join(id, StreamId(1));
        flights.join(id, StreamId(2));
        assert_eq!(end(&mut flights, id), Some(vec![1, 2]));
        assert_eq!(end(&mut flights, id), None);
        assert_eq!(flights.find(key("a")), None);
        assert_ne!(begin(&mut flights, "a"), id);
    }

    #[test]
    fn requests_go_on_in_the_order_in_which_they_came() {
        let mut flights = SingleFlight::new();
        let id = begin(&mut flights, "a");
        for stream in [2, 3, 1] {
            flights.join(id, StreamId(stream));
        }
        assert_eq!(flights.leave(StreamId(2)), None);
        assert_eq!(end(&mut flights, id), Some(vec![1, 3]));
    }

    #[test]
    fn a_flight_outlives_the_request_that_began_it_and_the_last_to_leave_is_noticed() {
        let mut flights = SingleFlight::new();
        let id = begin(&mut flights, "a");
        flights.join(id, StreamId(1));
        flights.join(id, StreamId(2));
        assert_eq!(flights.leave(StreamId(1)), None);
        assert_eq!(flights.leave(StreamId(1)), None, "it has left");
        assert_eq!(flights.leave(StreamId(9)), None, "it never came");
        assert_eq!(flights.find(key("a")), Some(id));
        assert_eq!(flights.leave(StreamId(2)), Some(id));
        assert_eq!(end(&mut flights, id), Some(Vec::new()));
        assert!(flights.streams.is_empty() && flights.joinable.is_empty());
    }

    #[test]
    fn a_flight_goes_on_in_another_state_with_its_requests() {
        let mut flights = SingleFlight::new();
        let id = begin(&mut flights, "a");
        flights.join(id, StreamId(1));
        let (state, flight) = flights.take(id).unwrap();
        assert_eq!(state, 's');
        assert_eq!(flights.resume(flight, 't'), id);
        assert_eq!(flights.state(id), Some(&mut 't'));
        flights.join(id, StreamId(2));
        assert_eq!(end(&mut flights, id), Some(vec![1, 2]));
    }

    #[test]
    fn a_flight_without_a_key_is_not_found() {
        let mut flights = SingleFlight::new();
        let alone = flights.lead(None);
        let alone = flights.resume(alone, 's');
        assert_eq!(flights.find(key("a")), None);
        let shared = begin(&mut flights, "a");
        end(&mut flights, alone).unwrap();
        assert_eq!(flights.find(key("a")), Some(shared));
    }
}
