//! The module in an Envoy that only pretends, in one process: what an address sanitizer can look at
//! (`make native-asan`). Requests wait and are aborted, calls end and break off, configurations come
//! and go, and hooks panic, all by chance and in three threads.

mod host;
mod random;
#[expect(dead_code, reason = "other tests have keys of other kinds")]
#[path = "../../../../../tests/signing/mod.rs"]
mod signing;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use host::{Config, OF_WORKERS, Outcome, Route, Stream, WORKERS};
use oauth2_filter_dynamic_module as _;
use random::{one_in, random, seed};
use serde_json::{Value, json};
use signing::Key;

/// What each worker does.
const STEPS: usize = 5_000;

/// How many updates there are at most.
const UPDATES: usize = 50;

/// How many requests may wait in each worker.
const WAITING: usize = 50;

/// How many opaque tokens there are; every other one is active.
const TOKENS: usize = 400;

/// How many JWTs there are; every third one is forged.
const JWTS: usize = 60;

/// How many runs there are at least, and at most if some outcome is rare in them.
const RUNS: Range<u64> = 4..30;

/// For how many hundredths of a second, or events, requests may wait at the end.
const PATIENCE: usize = 6000;

/// The hooks that may be told to panic.
const HOOKS: [&str; 5] =
    ["request_headers", "scheduled", "response_headers", "stream_complete", "main_thread"];

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A token of a request.
#[derive(Clone, Debug)]
struct Token {
    text: String,
    /// Whether it is to be accepted.
    is_good: bool,
}

/// The JWTs, and the keys of their issuer: the first one it always has, the other one sometimes.
struct Issuer {
    jwts: Vec<Token>,
    keys: [Value; 2],
}

static ISSUER: LazyLock<Issuer> = LazyLock::new(|| {
    let (one, other, forger) = (Key::p256(), Key::ed25519(), Key::p256());
    let jwt = |number: usize| {
        let claims = json!({
            "iss": "https://as.test", "aud": "service", "exp": 4_102_444_800_u64, "jti": number,
        });
        let (key, id) = [(&forger, "a"), (&one, "a"), (&other, "b")][number % 3];
        Token { text: key.sign(id, &claims), is_good: !number.is_multiple_of(3) }
    };
    Issuer { jwts: (0..JWTS).map(jwt).collect(), keys: [one.jwk("a"), other.jwk("b")] }
});

/// The document of a configuration. Callers are checked, and requests get another token, by a client
/// of this run's own: after a failed call it backs off for longer than the run takes. Every other
/// document has the keys of JWTs in it.
fn document(run: u64, number: usize) -> String {
    let keys = if number.is_multiple_of(2) {
        r#""jwks_uri": "https://as.test/keys", "cluster": "as", "refresh_interval": "1s""#
            .to_owned()
    } else {
        format!(r#""jwks": {}"#, json!({"keys": ISSUER.keys}))
    };
    format!(
        r#"{{
            "inbound": {{
                "introspection": {{
                    "endpoint": "https://as.test/introspect", "cluster": "as",
                    "client_id": "service", "client_secret": "secret"
                }},
                "jwt": {{
                    "issuer": "https://as.test", "audience": "service",
                    "algorithms": ["ES256", "EdDSA"], {keys}
                }},
                "realm": "realm {number}"
            }},
            "outbound": {{
                "clients": {{"client": {{
                    "grant_type": "client_credentials", "endpoint": "https://as.test/token",
                    "cluster": "as", "client_id": "client {run}", "client_secret": "secret"
                }}}},
                "rules": [{{"hosts": ["service.test"], "client": "client"}}]
            }}
        }}"#
    )
}

/// What the authorization server answers to the body of a request, which is empty if it is for keys.
fn answer(request: &str) -> Option<String> {
    let parameter = |name: &str| {
        let pairs = request.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(other, _)| *other == name).map(|(_, value)| value).next()
    };
    let is_token_call = parameter("grant_type") == Some("client_credentials");
    if one_in(if is_token_call { 100 } else { 10 }) {
        return None;
    }
    if request.is_empty() {
        let keys = &ISSUER.keys[..=random(2)];
        return Some(json!({"keys": keys}).to_string());
    }
    if is_token_call {
        let issued = r#"{"access_token": "proxy-token", "token_type": "Bearer", "expires_in": 2}"#;
        return Some(issued.to_owned());
    }
    let is_active = parameter("token")?.starts_with("active");
    Some(format!(r#"{{"active": {is_active}}}"#))
}

/// What came of all requests.
#[derive(Debug, Default)]
struct Counts {
    forwarded: AtomicUsize,
    refused: AtomicUsize,
    failed: AtomicUsize,
    left: AtomicUsize,
}

impl Counts {
    /// Whether each outcome was seen often enough.
    fn are_enough(&self) -> bool {
        let all = [&self.forwarded, &self.refused, &self.failed, &self.left];
        all.into_iter().all(|count| count.load(Ordering::Relaxed) > 100)
    }
}

/// What requests that arrive are handled by.
struct Current {
    config: Arc<Config>,
    /// The document of the route that half of them take.
    route: Arc<Route>,
}

impl Current {
    fn load(run: u64, number: usize) -> Self {
        Self {
            config: Config::load(&document(run, number)).expect("a good document"),
            route: Route::load(&document(run, number / 2)).expect("a good document"),
        }
    }
}

/// One worker.
struct Worker<'t> {
    number: usize,
    current: &'t Mutex<Current>,
    counts: &'t Counts,
    streams: BTreeMap<u64, (Box<Stream>, Option<Token>)>,
}

impl Worker<'_> {
    /// A request arrives.
    fn arrive(&mut self) {
        let token = match random(10) {
            0 => None,
            1..4 => Some(ISSUER.jwts[random(JWTS)].clone()),
            _ => {
                let number = random(TOKENS);
                let is_good = number.is_multiple_of(2);
                let state = if is_good { "active" } else { "unknown" };
                Some(Token { text: format!("{state}-{number}"), is_good })
            }
        };
        let bearer = token.as_ref().map(|token| format!("Bearer {}", token.text));
        let mut headers = vec![
            (":method", "GET"),
            (":path", "/"),
            (":scheme", "https"),
            (":authority", "service.test"),
        ];
        if let Some(bearer) = &bearer {
            headers.push(("authorization", bearer));
        }
        if one_in(4) {
            headers.push(("content-type", "application/grpc"));
        }
        if cfg!(feature = "panic-on-command") && one_in(100) {
            headers.push(("x-panic-on-command", HOOKS[random(HOOKS.len())]));
        }
        let (config, route) = {
            let current = lock(self.current);
            (Arc::clone(&current.config), one_in(2).then(|| Arc::clone(&current.route)))
        };
        let stream = Stream::arrive(self.number, (config, route), &headers);
        self.streams.insert(stream.number(), (stream, token));
    }

    /// Runs the hook for events, if one is due.
    fn handle_event(&mut self, patience: Duration) {
        let event = OF_WORKERS[self.number].pop(patience);
        // Envoy drops events of requests that have ended.
        if let Some((stream, _)) = event.and_then(|number| self.streams.get(&number))
            && !stream.has_ended()
        {
            stream.scheduled();
        }
    }

    /// The number of a request that has not ended.
    fn any(&self) -> Option<u64> {
        let living = self.streams.values().filter(|(stream, _)| !stream.has_ended());
        let living: Vec<u64> = living.map(|(stream, _)| stream.number()).collect();
        living.get(random(living.len().max(1))).copied()
    }

    fn waiting(&self) -> usize {
        let streams = self.streams.values();
        streams.filter(|(stream, _)| stream.outcome() == Outcome::Waits).count()
    }

    /// Requests leave that have been decided.
    fn sweep(&mut self) {
        let decided =
            |(stream, _): &(Box<Stream>, Option<Token>)| stream.outcome() != Outcome::Waits;
        let leaving: BTreeSet<u64> = self
            .streams
            .iter()
            .filter(|(_, stream)| decided(stream) && (stream.0.has_ended() || one_in(4)))
            .map(|(number, _)| *number)
            .collect();
        for number in leaving {
            self.leave(number);
        }
    }

    fn leave(&mut self, number: u64) {
        let Some((stream, token)) = self.streams.remove(&number) else { return };
        let is_good = token.as_ref().is_some_and(|token| token.is_good);
        let counted = match stream.outcome() {
            Outcome::Forwarded => {
                assert!(is_good, "{token:?} is forwarded");
                let sent = stream.header("authorization");
                assert_eq!(sent.as_deref(), Some("Bearer proxy-token"), "what the service gets");
                &self.counts.forwarded
            }
            Outcome::Answered(401) => {
                assert!(!is_good, "{token:?} is refused");
                &self.counts.refused
            }
            Outcome::Answered(status) => {
                assert!(matches!(status, 502..=504), "{status}");
                &self.counts.failed
            }
            Outcome::Waits | Outcome::Gone => &self.counts.left,
        };
        counted.fetch_add(1, Ordering::Relaxed);
        stream.leave();
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            match random(8) {
                0..3 if self.waiting() < WAITING => self.arrive(),
                3 if one_in(4) => {
                    self.any().into_iter().for_each(|number| self.leave(number));
                }
                4 => {
                    if let Some((stream, _)) = self.any().and_then(|it| self.streams.get(&it)) {
                        stream.continue_request();
                    }
                }
                _ => self.handle_event(Duration::from_micros(50)),
            }
            self.sweep();
        }
        for _ in 0..PATIENCE {
            if self.waiting() == 0 {
                break;
            }
            self.handle_event(Duration::from_millis(10));
            self.sweep();
        }
        assert_eq!(self.waiting(), 0, "requests hang");
        self.streams.keys().copied().collect::<Vec<_>>().into_iter().for_each(|it| self.leave(it));
    }
}

/// Two workers with many requests, and the main thread, which this is.
fn run(number: u64, counts: &Counts) {
    let current = Mutex::new(Current::load(number, 0));
    let current = &current;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                scope.spawn(move || {
                    seed(number.wrapping_mul(3).wrapping_add(worker as u64));
                    Worker { number: worker, current, counts, streams: BTreeMap::new() }.run();
                })
            })
            .collect();
        seed(number.wrapping_mul(3).wrapping_add(WORKERS as u64));
        let mut updates = 0;
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            host::run_main(Duration::from_micros(100));
            if one_in(2) {
                host::end_a_call(answer);
            }
            if updates < UPDATES && one_in(300) {
                updates += 1;
                let new = Current::load(number, updates);
                // The old one is dropped outside of the lock.
                let old = std::mem::replace(&mut *lock(current), new);
                drop(old);
                assert!(Config::load("{").is_none(), "an update with a mistake");
                assert!(Route::load("{").is_none(), "the same for a route");
            }
        }
        println!("{updates} updates");
    });
}

#[test]
fn whatever_happens_every_request_is_decided_once_and_rightly() {
    host::load();
    let counts = Counts::default();
    for number in 0..RUNS.end {
        // Without the bootstrap extension, calls end with their configurations.
        let bootstrap = number % 2 == 1;
        let bootstrap = bootstrap.then(|| Config::bootstrap().expect("the extension"));
        run(number, &counts);
        println!("{counts:?}, {} calls under way", host::calls());
        drop(bootstrap);
        assert_eq!(host::living(), 0, "all configurations are destroyed");
        if RUNS.contains(&(number + 1)) && counts.are_enough() {
            break;
        }
    }
    assert!(counts.are_enough(), "{counts:?}");
    let log = host::log();
    let secrets = ["active-", "Bearer ", "proxy-token", "eyJ"];
    let leaked = log.iter().find(|line| secrets.iter().any(|secret| line.contains(secret)));
    assert_eq!(leaked, None, "no token is logged");
}
