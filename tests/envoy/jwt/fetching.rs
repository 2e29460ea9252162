//! How keys are fetched: when, how often, and what is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use oauth2_filter_testbed::client::{Connection, Http2, Request};
use oauth2_filter_testbed::envoy::{Options, native};
use oauth2_filter_testbed::scripted::{Answer, Gate};
use oauth2_filter_testbed::wait;
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};

use super::{ISSUER, KEYS, check, claims, counted, fetchers, keys, scene, scene_with};
use crate::exchanges::signing::Key;
use crate::set_up::ENDPOINT;

/// The places of metadata, in the order in which they are tried.
const METADATA: [&str; 2] =
    ["/.well-known/oauth-authorization-server/tenant", "/tenant/.well-known/openid-configuration"];

/// A token of a key.
fn token(key: &Key, id: &str) -> String {
    key.sign(id, &claims(&json!({})))
}

/// A token that no request has had yet.
fn new_token(key: &Key, id: &str, number: usize) -> String {
    key.sign(id, &claims(&json!({"jti": number})))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_for_keys_has_no_body_and_asks_for_no_encoding() {
    let key = Key::p256();
    let more = json!({"headers": {"x-tenant": "a"}});
    let set_up = scene(&more, json!({}), keys(&[(&key, "a")])).await;
    set_up.server.arrived(KEYS, 1).await;
    let call = set_up.server.requests(KEYS).remove(0);
    assert_eq!((call.method.as_str(), call.target.as_str()), ("GET", KEYS));
    assert_eq!(call.authority.as_deref(), Some("login.test"));
    assert!(call.body.is_empty());
    for name in ["content-length", "transfer-encoding", "content-type", "accept-encoding"] {
        assert_eq!(call.header(name), None, "{name}");
    }
    assert_eq!(call.header("accept").as_deref(), Some("application/json"));
    assert_eq!(call.header("x-tenant").as_deref(), Some("a"));
    let agent = call.header("user-agent").expect("the name of the filter");
    assert!(agent.starts_with("oauth2-filter/"), "{agent}");
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_read_in_whatever_pieces_it_comes_up_to_256_kib() {
    let key = Key::p256();
    let good = keys(&[(&key, "a")]);
    let moment = Duration::from_millis(1);
    let gzip = good.clone().header("content-encoding", "gzip").body([0x1f, 0x8b, 8, 0, 0]);
    let cases = [
        ("in chunks", good.clone().chunked(), 200),
        ("in drops", good.clone().chunked().dripping(20, moment), 200),
        ("until the end", good.clone().until_close(), 200),
        ("as large as can be", good.clone().padded_to(256 * 1024), 200),
        ("as large as can be, in chunks", good.clone().padded_to(256 * 1024).chunked(), 200),
        ("too large", good.clone().padded_to(256 * 1024 + 1), 503),
        ("far too large", good.clone().padded_to(5_000_000), 503),
        ("encoded although nobody has asked", gzip, 503),
        ("broken off", good.clone().truncated(30), 503),
        ("after early hints", good.early_hints(), 200),
    ];
    for (what, answer, status) in cases {
        let set_up = scene(&json!({"retries": 0}), json!({}), answer).await;
        let details = if status == 200 { "via_upstream" } else { "oauth2_no_keys" };
        let answer = check(&set_up, Request::get("/").bearer(&token(&key, "a")), status, details);
        assert_eq!(answer.await.header("retry-after").is_some(), status == 503, "{what}");
        set_up.comes_to_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_found_by_the_metadata_of_the_issuer() {
    let key = Key::p256();
    let metadata =
        |jwks_uri: &str| Answer::json(200, &json!({"issuer": ISSUER, "jwks_uri": jwks_uri}));
    let good = || metadata("https://login.test/found?tenant=a");
    let [rfc, oidc] = METADATA;
    for places in [vec![(rfc, good())], vec![(oidc, good())]] {
        let set_up = scene(&json!({"jwks_uri": null}), json!({}), Answer::status(404)).await;
        for (place, answer) in &places {
            set_up.server.on(place, answer.clone());
        }
        set_up.server.on("/found", keys(&[(&key, "a")]));
        wait::until("the keys", async || set_up.get(&token(&key, "a")).await.status == 200).await;
        let call = set_up.server.requests("/found").remove(0);
        assert_eq!(call.target, "/found?tenant=a");
        assert_eq!(set_up.server.count(KEYS), 0);
        set_up.comes_to_rest().await;
    }
    let set_up = scene(&json!({"jwks_uri": null}), json!({}), Answer::status(404)).await;
    set_up.server.on(rfc, metadata("https://elsewhere.test/keys"));
    set_up.envoy.logged("is not on the origin of its issuer").await;
    let log = set_up.envoy.log();
    assert!(log.contains("https://elsewhere.test/keys"), "{log}");
    check(&set_up, Request::get("/").bearer(&token(&key, "a")), 503, "oauth2_no_keys").await;
    assert_eq!(set_up.server.count(KEYS), 0);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_requests_wait_for_a_key_and_all_for_the_first_keys() {
    let (key, other) = (Key::p256(), Key::p256());
    let gate = Gate::new();
    let answer = keys(&[(&key, "a")]).held_by(&gate);
    let set_up = scene(&json!({"timeout": "30s"}), json!({}), answer).await;
    let connection = Http2::open(set_up.address()).await.expect("a connection");
    let send = |numbers: std::ops::Range<usize>, key: &Key, id: &str| {
        let mut answers = JoinSet::new();
        for number in numbers {
            let request = Request::get("/").bearer(&new_token(key, id, number));
            let connection = connection.clone();
            answers.spawn(async move { connection.send(&request).await.expect("an answer") });
        }
        answers
    };
    let first = send(0..90, &key, "a");
    set_up.under_way(90).await;
    gate.open();
    for answer in first.join_all().await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // The main thread may be later than the requests.
    let calls = fetchers(1, native::is_chosen());
    set_up.server.arrived(KEYS, calls).await;

    let gate = Gate::new();
    set_up.server.on(KEYS, keys(&[(&key, "a"), (&other, "b")]).held_by(&gate));
    let mut waiting = send(0..90, &other, "b");
    for _ in 64..90 {
        let answer = waiting.join_next().await.expect("a request").expect("no panic");
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(answer.header("retry-after").is_some());
    }
    gate.arrived(1).await;
    set_up.under_way(64).await;
    // The known key needs no call.
    assert_eq!(set_up.get(&new_token(&key, "a", 100)).await.status, 200);
    gate.open();
    for answer in waiting.join_all().await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(set_up.server.count(KEYS), calls + 1);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_keys_causes_one_fetch() {
    let (key, other) = (Key::p256(), Key::p256());
    let set_up = scene(&json!({}), json!({}), keys(&[(&key, "a")])).await;
    let first = fetchers(1, native::is_chosen());
    set_up.server.arrived(KEYS, first).await;
    assert_eq!(set_up.get(&token(&key, "a")).await.status, 200);
    let address = set_up.address();
    // The signature alone takes long in a test.
    let (head, signature) = {
        let token = token(&other, "KID");
        let (head, signature) = token.rsplit_once('.').expect("a signature");
        (head.to_owned(), signature.to_owned())
    };
    let payload = head.split_once('.').expect("a payload").1.to_owned();
    let mut clients = JoinSet::new();
    for client in 0..20 {
        let (payload, signature) = (payload.clone(), signature.clone());
        clients.spawn(async move {
            let connection = Http2::open(address).await.expect("a connection");
            for number in 0..150 {
                let header = json!({
                    "alg": "ES256", "typ": "at+jwt", "kid": format!("{client}-{number}"),
                });
                let header = crate::exchanges::signing::encode(header.to_string());
                let token = format!("{header}.{payload}.{signature}");
                let request = Request::get("/").bearer(&token);
                let answer = connection.send(&request).await.expect("an answer");
                assert_eq!(answer.status, 503, "{}", answer.text());
                let seconds = answer.header("retry-after").expect("a pause");
                let seconds: u32 = seconds.parse().expect("seconds");
                assert!((1..=30).contains(&seconds), "{seconds}");
                assert_eq!(answer.header("www-authenticate"), None);
            }
        });
    }
    clients.join_all().await;
    assert_eq!(set_up.server.count(KEYS), first + 1);
    let counters = counted(&set_up.envoy, 3_001).await;
    assert_eq!(counters["requests.decision.denied.reason.unknown_key"], 3_000);
    // No token was cached as rejected, and none has taken the place of a good one.
    assert_eq!(counters.get("lookups.result.negative"), None, "{counters:?}");
    assert_eq!(set_up.get(&token(&key, "a")).await.status, 200);
    assert_eq!(set_up.server.count(KEYS), first + 1);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_leave_while_they_wait_for_keys_do_no_harm() {
    let key = Key::p256();
    let gate = Gate::new();
    let answer = keys(&[(&key, "a")]).held_by(&gate);
    let set_up = scene(&json!({"timeout": "30s"}), json!({}), answer).await;
    let connection = Http2::open(set_up.address()).await.expect("a connection");
    let (mut connections, mut streams) = (Vec::new(), Vec::new());
    for number in 0..40 {
        let request = Request::get("/").bearer(&new_token(&key, "a", number));
        let mut one = Connection::open(set_up.address()).await.expect("a connection");
        one.send_head(&request).await.expect("a request");
        connections.push(one);
        let two = connection.clone();
        streams.push(tokio::spawn(async move { two.send(&request).await.expect("an answer") }));
    }
    set_up.under_way(80).await;
    let (stay, stay_too) = (connections.split_off(20), streams.split_off(20));
    connections.into_iter().for_each(Connection::abort);
    // A request that is dropped is reset.
    streams.iter().for_each(JoinHandle::abort);
    set_up.under_way(40).await;
    let waiting = "wasmcustom.oauth2_filter.waiting_requests";
    wait::until("40 that wait", async || set_up.envoy.stat(waiting).await == Some(40)).await;
    gate.open();
    for mut connection in stay {
        assert_eq!(connection.response("GET").await.expect("an answer").status, 200);
    }
    for answer in stay_too {
        assert_eq!(answer.await.expect("an answer").status, 200);
    }
    assert_eq!(set_up.service.requests().len(), 40);
    assert_eq!(set_up.envoy.stat(waiting).await, Some(0));
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_requests_learns_of_new_keys() {
    let (old, new) = (Key::p256(), Key::p256());
    let cache = json!({"cache": {"max_ttl": "1h"}});
    let answer = keys(&[(&old, "a")]);
    let set_up = scene_with(&json!({}), cache, answer, &Options::default()).await;
    let [one, other] = set_up.connections_to_each_worker().await;
    let status = async |connection: &Http2, token: &str| {
        let request = Request::get("/").bearer(token);
        connection.send(&request).await.expect("an answer").status
    };
    let (of_old, of_new) = (token(&old, "a"), token(&new, "b"));
    for connection in [&one, &other] {
        assert_eq!(status(connection, &of_old).await, 200);
    }
    set_up.server.on(KEYS, keys(&[(&new, "b")]));
    set_up.server.clear();
    assert_eq!(status(&one, &of_new).await, 200);
    assert_eq!(status(&one, &of_old).await, 503, "it was cached");
    assert_eq!(set_up.server.count(KEYS), 1);
    if native::is_chosen() {
        // It has no reason to ask for keys.
        let is_told = async || status(&other, &of_old).await == 503;
        wait::until("the other worker to be told", is_told).await;
    } else {
        assert_eq!(status(&other, &of_old).await, 200, "it knows nothing of that");
    }
    assert_eq!(status(&other, &of_new).await, 200);
    assert_eq!(status(&other, &of_old).await, 503);
    assert_eq!(set_up.server.count(KEYS), if native::is_chosen() { 1 } else { 2 });
    set_up.comes_to_rest().await;
}

/// The longest time for which a token is accepted after its key is gone.
const GONE_AFTER: Duration = Duration::from_secs(1 + 1 + 2);

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_under_load() {
    let ids = ["k0", "k1", "k2", "k3"];
    let of: Arc<Vec<Key>> = Arc::new(ids.iter().map(|_| Key::p256()).collect());
    let first = keys(&[(&of[0], ids[0])]);
    let more = json!({"refresh_interval": "1s", "timeout": "2s"});
    let cache = json!({"cache": {"max_ttl": "1s"}});
    let set_up = scene_with(&more, cache, first, &Options::default()).await;
    let (current, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let address = set_up.address();
    let mut clients = JoinSet::new();
    for client in 0..6 {
        let (of, current, ended) = (Arc::clone(&of), Arc::clone(&current), Arc::clone(&ended));
        clients.spawn(async move {
            let connection = Http2::open(address).await.expect("a connection");
            let mut statuses = [0, 0];
            let mut number = client;
            while !ended.load(Ordering::Relaxed) {
                let now = current.load(Ordering::Relaxed);
                let request = Request::get("/").bearer(&new_token(&of[now], ids[now], number));
                number += 6;
                let answer = connection.send(&request).await.expect("an answer");
                match answer.status {
                    200 => statuses[0] += 1,
                    503 => {
                        assert!(answer.header("retry-after").is_some());
                        statuses[1] += 1;
                    }
                    status => panic!("{status}: {}", answer.text()),
                }
            }
            statuses
        });
    }
    let workers = set_up.connections_to_each_worker().await;
    let status = async |connection: &Http2, token: &str| {
        let request = Request::get("/").bearer(token);
        connection.send(&request).await.expect("an answer").status
    };
    for place in 1..ids.len() {
        let old = token(&of[place - 1], ids[place - 1]);
        for connection in &workers {
            wait::until("a key to serve", async || status(connection, &old).await == 200).await;
        }
        set_up.server.on(KEYS, keys(&[(&of[place], ids[place])]));
        current.store(place, Ordering::Relaxed);
        let gone = wait::poll("the old key to be gone", GONE_AFTER, async || {
            let mut statuses = Vec::new();
            for connection in &workers {
                statuses.push(status(connection, &old).await);
            }
            (statuses == [503, 503]).then_some(())
        });
        gone.await.expect("the old key is gone in time");
    }
    ended.store(true, Ordering::Relaxed);
    let statuses = clients.join_all().await;
    let passed: usize = statuses.iter().map(|[passed, _]| passed).sum();
    assert!(passed > 50, "there was load: {statuses:?}");
    assert_eq!(set_up.server.count(ENDPOINT), 0);
    set_up.comes_to_rest().await;
}
