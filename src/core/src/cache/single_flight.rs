//! One call for all requests that wait for the same answer.

use fnv::{FnvHashMap, FnvHashSet};

use crate::cache::footprint::Footprint;
use crate::cache::local::{Key, KeyMap};

/// Names a request of one [`Filter`](crate::Filter) while it lives. Later ones have larger numbers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamId(pub u32);

/// Names a call of one [`Filter`](crate::Filter) from its start to its outcome.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct CallId(pub(crate) Direction, pub(crate) u64);

/// Which side of the filter a call belongs to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Direction {
    /// Tokens are introspected.
    Inbound,
    /// Tokens are obtained.
    Outbound,
}

/// The most that is held for requests that wait, in bytes. Each holds a few hundred, but some what a
/// client has sent: a path or a cookie of many kilobytes.
pub(crate) const MAX_HELD: usize = 32 << 20;

/// The calls under way, here or in another worker, and who waits for each.
pub(crate) struct SingleFlight<Q, W> {
    /// What all that wait hold, in bytes.
    held: usize,
    /// What each call is for.
    flights: FnvHashMap<CallId, Box<Flight<Q, W>>>,
    /// The call that others may join, by what it asks.
    joinable: KeyMap<CallId>,
    /// The call that each request waits for.
    streams: FnvHashMap<StreamId, CallId>,
    /// The calls that another worker makes.
    elsewhere: FnvHashSet<CallId>,
    /// Whose calls these are.
    direction: Direction,
    /// The number of the next call.
    next: u64,
}

/// Requests and what each needs to go on, in the order of requests: nobody is overtaken.
pub(crate) type Waiters<W> = Vec<(StreamId, W)>;

/// A call and those who wait for it, first come first.
struct Flight<Q, W> {
    /// What its answer is kept under.
    key: Key,
    /// What it asks.
    question: Q,
    /// Who waits, in the order of requests; nobody stands where one has gone.
    waiters: Vec<(StreamId, Option<W>)>,
    /// How many have gone.
    gone: usize,
}

impl<Q, W: Footprint> SingleFlight<Q, W> {
    /// Nobody waits.
    pub(crate) fn new(direction: Direction) -> Self {
        let (flights, joinable, streams, elsewhere) = Default::default();
        Self { held: 0, flights, joinable, streams, elsewhere, direction, next: 0 }
    }

    /// Whether there is room for one more that waits.
    pub(crate) fn has_room(&self, waiter: &W) -> bool {
        self.held.saturating_add(waiter.owned_bytes()) <= MAX_HELD
    }

    /// The call that asks for this, if others may join it.
    pub(crate) fn find(&self, key: Key) -> Option<CallId> {
        self.joinable.get(&key).copied()
    }

    /// Begins a call that others may join, or not.
    pub(crate) fn lead(&mut self, key: Key, question: Q, joinable: bool) -> CallId {
        let id = CallId(self.direction, self.next);
        self.next = self.next.wrapping_add(1);
        let flight = Flight { key, question, waiters: Vec::new(), gone: 0 };
        self.flights.insert(id, Box::new(flight));
        if joinable {
            self.joinable.insert(key, id);
        }
        id
    }

    /// Lets a request wait for a call.
    pub(crate) fn join(&mut self, id: CallId, stream: StreamId, waiter: W) {
        if let Some(flight) = self.flights.get_mut(&id) {
            self.held = self.held.saturating_add(waiter.owned_bytes());
            let at = flight.waiters.partition_point(|(earlier, _)| *earlier < stream);
            flight.waiters.insert(at, (stream, Some(waiter)));
            self.streams.insert(stream, id);
        }
    }

    /// What a call asks.
    pub(crate) fn question(&mut self, id: CallId) -> Option<&mut Q> {
        self.flights.get_mut(&id).map(|flight| &mut flight.question)
    }

    /// Forgets a request that has gone: the call that it waited for, which goes on here: its answer
    /// is worth keeping.
    pub(crate) fn forget(&mut self, stream: StreamId) -> Option<CallId> {
        let id = self.streams.remove(&stream)?;
        let Flight { waiters, gone, .. } = &mut **self.flights.get_mut(&id)?;
        let place = waiters.binary_search_by_key(&stream, |(waiting, _)| *waiting).ok();
        let waiter = place.and_then(|place| waiters.get_mut(place)?.1.take());
        let held = waiter.as_ref().map_or(0, W::owned_bytes);
        self.held = self.held.saturating_sub(held);
        *gone = gone.saturating_add(usize::from(waiter.is_some()));
        // Closing each gap at once would move all who wait behind it.
        if *gone > waiters.len() / 2 {
            waiters.retain(|(_, waiter)| waiter.is_some());
            *gone = 0;
        }
        waiter.map(|_| id)
    }

    /// A call that was begun is made by another worker.
    pub(crate) fn follow(&mut self, id: CallId) {
        self.elsewhere.insert(id);
    }

    /// A call that another worker was to make is made here.
    pub(crate) fn take_over(&mut self, id: CallId) {
        self.elsewhere.remove(&id);
    }

    /// Whether another worker makes any of the calls.
    pub(crate) fn has_elsewhere(&self) -> bool {
        !self.elsewhere.is_empty()
    }

    /// The calls that other workers make, and what each asks.
    pub(crate) fn elsewhere(&self) -> impl Iterator<Item = (CallId, Key, &Q)> {
        let flight = |id: &CallId| self.flights.get(id).map(|f| (*id, f.key, &f.question));
        self.elsewhere.iter().filter_map(flight)
    }

    /// A call that another worker makes and for which nobody waits here any more.
    pub(crate) fn abandoned(&self, id: CallId) -> Option<&Q> {
        let flight = self.flights.get(&id).filter(|_| self.elsewhere.contains(&id))?;
        flight.waiters.iter().all(|(_, waiter)| waiter.is_none()).then_some(&flight.question)
    }

    /// Ends a call: what it asked, and who waited for it.
    pub(crate) fn finish(&mut self, id: CallId) -> Option<(Key, Q, Waiters<W>)> {
        let Flight { key, question, waiters, .. } = *self.flights.remove(&id)?;
        self.elsewhere.remove(&id);
        if self.joinable.get(&key) == Some(&id) {
            self.joinable.remove(&key);
        }
        for (stream, waiter) in &waiters {
            self.streams.remove(stream);
            let held = waiter.as_ref().map_or(0, W::owned_bytes);
            self.held = self.held.saturating_sub(held);
        }
        let waiters = waiters.into_iter().filter_map(|(stream, waiter)| Some((stream, waiter?)));
        Some((key, question, waiters.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::local::Keyed;

    impl Footprint for char {
        fn owned_bytes(&self) -> usize {
            1
        }
    }

    impl Footprint for u32 {
        fn owned_bytes(&self) -> usize {
            1
        }
    }

    fn key(token: &str) -> Key {
        Keyed::new([0; 16]).key(0, token)
    }

    #[test]
    fn requests_with_the_same_key_wait_for_one_call() {
        let mut waiting = SingleFlight::new(Direction::Inbound);
        assert_eq!(waiting.find(key("a")), None);
        let id = waiting.lead(key("a"), "q", true);
        waiting.join(id, StreamId(1), 'x');
        assert_eq!(waiting.find(key("a")), Some(id));
        assert_eq!(waiting.find(key("b")), None);
        waiting.join(id, StreamId(2), 'y');
        let (asked, question, waiters) = waiting.finish(id).unwrap();
        assert_eq!((asked, question), (key("a"), "q"));
        assert_eq!(waiters, [(StreamId(1), 'x'), (StreamId(2), 'y')]);
        assert!(waiting.finish(id).is_none());
        assert_eq!(waiting.find(key("a")), None);
        assert_ne!(waiting.lead(key("a"), "q", true), id);
    }

    #[test]
    fn requests_go_on_in_the_order_in_which_they_came() {
        let mut waiting = SingleFlight::new(Direction::Inbound);
        let id = waiting.lead(key("a"), (), true);
        for (stream, waiter) in [(2, 'y'), (3, 'z'), (1, 'x')] {
            waiting.join(id, StreamId(stream), waiter);
        }
        assert_eq!(waiting.forget(StreamId(2)), Some(id));
        let (_, (), waiters) = waiting.finish(id).unwrap();
        assert_eq!(waiters, [(StreamId(1), 'x'), (StreamId(3), 'z')]);
    }

    #[test]
    fn the_call_outlives_the_request_that_started_it() {
        let mut waiting = SingleFlight::new(Direction::Inbound);
        let id = waiting.lead(key("a"), (), true);
        waiting.join(id, StreamId(1), 'x');
        waiting.join(id, StreamId(2), 'y');
        assert_eq!(waiting.forget(StreamId(1)), Some(id));
        assert_eq!(waiting.forget(StreamId(1)), None);
        assert_eq!(waiting.forget(StreamId(9)), None);
        assert_eq!(waiting.find(key("a")), Some(id));
        let (_, (), waiters) = waiting.finish(id).unwrap();
        assert_eq!(waiters, [(StreamId(2), 'y')]);
        assert!(waiting.streams.is_empty() && waiting.joinable.is_empty());
    }

    #[test]
    fn those_who_have_gone_leave_the_others_in_their_order() {
        let mut waiting = SingleFlight::new(Direction::Inbound);
        let id = waiting.lead(key("a"), (), true);
        for n in 0..1000 {
            waiting.join(id, StreamId(n), n);
        }
        for n in (0..1000).filter(|n| n % 3 > 0) {
            assert_eq!(waiting.forget(StreamId(n)), Some(id));
            assert_eq!(waiting.forget(StreamId(n)), None);
        }
        waiting.join(id, StreamId(1000), 1000);
        assert!(waiting.flights[&id].waiters.len() < 700);
        let (_, (), waiters) = waiting.finish(id).unwrap();
        let left = (0..1000).filter(|n| n % 3 == 0).chain([1000]);
        assert!(waiters.into_iter().eq(left.map(|n| (StreamId(n), n))));
    }

    #[test]
    fn a_call_is_elsewhere_until_it_is_taken_over_or_ends() {
        let mut waiting = SingleFlight::<char, char>::new(Direction::Inbound);
        let [a, b, c] = ['a', 'b', 'c'].map(|q| waiting.lead(key(&q.to_string()), q, true));
        waiting.follow(a);
        waiting.follow(b);
        let elsewhere = |waiting: &SingleFlight<char, char>| -> String {
            let mut questions: Vec<char> = waiting.elsewhere().map(|(_, _, q)| *q).collect();
            questions.sort_unstable();
            questions.into_iter().collect()
        };
        assert_eq!(elsewhere(&waiting), "ab");
        waiting.finish(c).unwrap();
        waiting.take_over(a);
        assert_eq!(elsewhere(&waiting), "b");
        assert!(waiting.has_elsewhere());
        waiting.finish(b).unwrap();
        assert!(!waiting.has_elsewhere());
    }

    #[test]
    fn a_call_that_nobody_may_join_is_not_found() {
        let mut waiting = SingleFlight::<(), char>::new(Direction::Inbound);
        let alone = waiting.lead(key("a"), (), false);
        assert_eq!(waiting.find(key("a")), None);
        let shared = waiting.lead(key("a"), (), true);
        waiting.finish(alone).unwrap();
        assert_eq!(waiting.find(key("a")), Some(shared));
    }

    #[test]
    fn what_waits_has_bounded_room_which_is_free_again_when_it_goes() {
        struct Large;

        impl Footprint for Large {
            fn owned_bytes(&self) -> usize {
                MAX_HELD / 4
            }
        }

        let mut waiting = SingleFlight::new(Direction::Inbound);
        let id = waiting.lead(key("a"), (), true);
        for stream in 0..4 {
            assert!(waiting.has_room(&Large), "{stream}");
            waiting.join(id, StreamId(stream), Large);
        }
        assert!(!waiting.has_room(&Large));
        waiting.forget(StreamId(1));
        assert!(waiting.has_room(&Large));
        waiting.finish(id).unwrap();
        assert_eq!(waiting.held, 0);
    }

    #[test]
    fn a_call_elsewhere_is_abandoned_when_nobody_waits_for_it_any_more() {
        let mut waiting = SingleFlight::new(Direction::Inbound);
        let [here, there] = ["a", "b"].map(|token| waiting.lead(key(token), token, true));
        waiting.follow(there);
        for (stream, id) in [(1, here), (2, there), (3, there)] {
            waiting.join(id, StreamId(stream), 'x');
        }
        waiting.forget(StreamId(1));
        waiting.forget(StreamId(2));
        assert_eq!((waiting.abandoned(here), waiting.abandoned(there)), (None, None));
        waiting.forget(StreamId(3));
        assert_eq!((waiting.abandoned(here), waiting.abandoned(there)), (None, Some(&"b")));
    }
}
