//! The leases, with several threads that want one at once. The keys are those of a real fetcher.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use oauth2_filter_core::{
    Body, CallFailure, Configuration, Context, Environment, Fields, Head, Output, Run, StreamId,
};

use super::*;

/// How many threads want each lease.
const THREADS: usize = 4;

/// How many leases there are, one after the other.
const LEASES: usize = 300;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

/// A request with a token for `service.test`.
#[derive(Default)]
struct Request(Fields);

impl Head for Request {
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let value: &[u8] = match name {
            ":method" => b"GET",
            ":path" => b"/",
            ":authority" => b"service.test",
            "authorization" => b"Bearer token",
            _ => return None,
        };
        Some(value.into())
    }

    fn fields(&self) -> &Fields {
        &self.0
    }

    fn peer_certificate(&self) -> Option<[u8; 32]> {
        None
    }

    fn body(&self) -> Body {
        Body::Empty
    }
}

/// A store that has threads want each lease that a fetcher asks for.
#[derive(Default)]
struct Contended {
    keys: AtomicUsize,
}

impl Contended {
    /// Whether the call for this key was made, as others learn it.
    fn is_known(store: &MemoryStore, key: LeaseKey<'_>) -> bool {
        match key {
            LeaseKey::Client(client) => {
                matches!(store.client_token(client, None), Stored::Changed(..))
            }
            LeaseKey::Token(token) => store.response(response_key(token), NOW).is_some(),
        }
    }

    fn publish(store: &MemoryStore, key: LeaseKey<'_>) {
        match key {
            LeaseKey::Client(client) => {
                let written = store.publish_client_token(client, &CachedToken::default(), None);
                assert!(written.is_ok(), "a second token");
            }
            LeaseKey::Token(token) => {
                let expires = NOW.plus(Duration::from_mins(1));
                let response =
                    CachedResponse { is_active: true, body: b"{}".to_vec(), at: NOW, expires };
                store.publish_response(response_key(token), &response);
            }
        }
    }

    /// One thread wants a lease until somebody has made the call. The first call fails.
    fn want(store: &MemoryStore, key: LeaseKey<'_>, thread: usize, world: &World) {
        for owner in (thread..).step_by(THREADS) {
            let owner = LeaseOwner(owner as u64);
            let lease = Lease { owner, ends: NOW.plus(Duration::from_secs(10)) };
            let mut is_known = || Self::is_known(store, key);
            match store.acquire(key, lease, None, NOW, &mut is_known) {
                Acquire::Known => return,
                Acquire::Ours => {
                    assert_eq!(world.holders.fetch_add(1, Ordering::SeqCst), 0, "two holders");
                    assert!(!Self::is_known(store, key), "a second call");
                    thread::yield_now();
                    let is_first = world.calls.fetch_add(1, Ordering::SeqCst) == 0;
                    let failure = is_first.then_some(Failure::Call(CallFailure::Unreachable));
                    if failure.is_none() {
                        Self::publish(store, key);
                    }
                    world.holders.fetch_sub(1, Ordering::SeqCst);
                    assert!(store.release(key, owner, failure, NOW), "nobody has taken it over");
                    assert!(!store.release(key, owner, failure, NOW), "it is released once");
                }
                Acquire::Busy(other, since) => {
                    assert_ne!(other, owner);
                    assert_eq!(since, NOW);
                    thread::yield_now();
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

/// What threads see of each other.
#[derive(Default)]
struct World {
    holders: AtomicUsize,
    calls: AtomicUsize,
}

fn response_key(token: TokenKey<'_>) -> ResponseKey<'_> {
    ResponseKey { token, max_entries: 100, negative_max_entries: 100 }
}

impl Store for Contended {
    fn response(&self, _: ResponseKey<'_>, _: Timestamp) -> Option<CachedResponse> {
        None
    }

    fn publish_response(&self, _: ResponseKey<'_>, _: &CachedResponse) {}

    fn exchanged_token(&self, _: TokenKey<'_>, _: Timestamp) -> Option<CachedToken> {
        None
    }

    fn publish_exchanged_token(&self, _: TokenKey<'_>, _: &CachedToken, _: Timestamp) {}

    fn client_token(&self, _: &ClientKey, _: Option<Version>) -> Stored {
        Stored::Absent
    }

    fn publish_client_token(
        &self,
        _: &ClientKey,
        _: &CachedToken,
        _: Option<Version>,
    ) -> Result<(), NotWritten> {
        Err(NotWritten::Refused)
    }

    fn changes(&self, _: &ClientKey) -> Option<Version> {
        None
    }

    fn count_change(&self, _: &ClientKey) {}

    fn acquire(
        &self,
        key: LeaseKey<'_>,
        _: Lease,
        _: Option<LeaseOwner>,
        _: Timestamp,
        _: &mut dyn FnMut() -> bool,
    ) -> Acquire {
        for _ in 0..LEASES {
            let (store, world) = (MemoryStore::new(), World::default());
            let (store, world) = (&store, &world);
            thread::scope(|scope| {
                for thread in 0..THREADS {
                    scope.spawn(move || Self::want(store, key, thread, world));
                }
            });
            // The first fails, the second does not.
            assert_eq!(world.calls.load(Ordering::SeqCst), 2);
        }
        self.keys.fetch_add(1, Ordering::Relaxed);
        Acquire::Refused
    }

    fn release(&self, _: LeaseKey<'_>, _: LeaseOwner, _: Option<Failure>, _: Timestamp) -> bool {
        false
    }
}

/// Has a request come under this document, and its lease wanted.
fn contend(document: &str) {
    let environment = Environment::new(&|_| None, [1; 16]);
    let (configuration, _) = Configuration::load(document.as_bytes(), &environment).unwrap();
    let (mut decider, mut fetcher) = (configuration.decider(), configuration.fetcher());
    let (store, mut output) = (Contended::default(), Output::default());
    let context = Context { now: NOW, store: &store };
    let verdict =
        decider.request(StreamId(1), &Request::default(), &mut Run::new(context, &mut output));
    assert!(verdict.is_none(), "it needs a lookup");
    let lookups = std::mem::take(&mut output.lookups);
    fetcher.look_up(lookups, &mut Run::new(context, &mut output));
    assert_eq!(store.keys.load(Ordering::Relaxed), 1);
}

#[test]
fn a_lease_on_an_introspection_has_one_holder_at_a_time_and_no_result_is_missed() {
    contend(
        r#"{"inbound": {"introspection": {
            "endpoint": "https://as.test/introspect", "cluster": "as",
            "client_id": "service", "client_secret": "secret"
        }}}"#,
    );
}

#[test]
fn a_lease_on_a_clients_token_has_one_holder_at_a_time_and_no_result_is_missed() {
    contend(
        r#"{"outbound": {
            "clients": {"client": {
                "grant_type": "client_credentials", "endpoint": "https://as.test/token",
                "cluster": "as", "client_id": "client", "client_secret": "secret"
            }},
            "rules": [{"hosts": ["service.test"], "client": "client"}]
        }}"#,
    );
}
