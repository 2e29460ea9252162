//! JWTs that the filter verifies itself, with keys that it fetches.

mod down;
mod examples;
mod fetching;
mod updates;
mod verified_by;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{
    Envoy, Listener, Options, WasmPlugin, merge, native, with_members,
};
use oauth2_filter_testbed::scripted::Answer;
use oauth2_filter_testbed::wait;
use serde_json::{Value, json};

use crate::exchanges::seconds_from_now;
use crate::exchanges::signing::Key;
use crate::set_up::{BOTH, ENDPOINT, Ends, LISTENER, SetUp, document, listener, one_worker};

const ISSUER: &str = "https://login.test/tenant";

/// The header that finds a request in the access log.
const CHECK: &str = "x-check";

/// The path of the keys.
const KEYS: &str = "/keys";

/// An entry of `jwt` with these additions, of which null removes.
fn entry(more: &Value) -> Value {
    let entry = json!({
        "issuer": ISSUER, "audience": "orders", "jwks_uri": format!("http://login.test{KEYS}"),
        "cluster": "as",
    });
    with_members(entry, more)
}

/// A document without `introspection`, with this entry and these members of `inbound`.
fn only_jwt(more: &Value, inbound: Value) -> Value {
    let mut document = json!({"inbound": {"jwt": entry(more)}});
    merge(&mut document["inbound"], inbound);
    document
}

/// Claims that are accepted, with these additions, of which null removes.
fn claims(more: &Value) -> Value {
    let claims =
        json!({"iss": ISSUER, "aud": "orders", "sub": "alice", "exp": seconds_from_now(600)});
    with_members(claims, more)
}

/// A JWK set.
fn set(keys: &[(&Key, &str)]) -> Value {
    json!({"keys": keys.iter().map(|(key, id)| key.jwk(id)).collect::<Vec<_>>()})
}

/// The answer of the key server.
fn keys(keys: &[(&Key, &str)]) -> Answer {
    Answer::json(200, &set(keys))
}

/// One worker, whose keys these are.
async fn scene(more: &Value, inbound: Value, answer: Answer) -> SetUp {
    scene_with(more, inbound, answer, &one_worker()).await
}

/// An Envoy with these options.
async fn scene_with(more: &Value, inbound: Value, answer: Answer, options: &Options) -> SetUp {
    let ends = Ends::start().await;
    ends.server.on(KEYS, answer);
    let plugin = WasmPlugin::new(&only_jwt(more, inbound));
    let bootstrap = ends.bootstrap().listener(logged(listener(&plugin)));
    ends.with_options(bootstrap, options).await
}

/// The listener with the filter state in its access log.
fn logged(listener: Listener) -> Listener {
    let fields = ["decision", "reason", "rule", "subject", "client", "scope"];
    let listener = listener.access_log_field("check", &format!("%REQ({CHECK})%"));
    fields.into_iter().fold(listener, |listener, field| {
        let format = format!("%FILTER_STATE(wasm.oauth2_{field}:PLAIN)%");
        listener.access_log_field(field, &format)
    })
}

/// The filter's counters that are not zero, without their common prefix.
async fn counters(envoy: &Envoy) -> BTreeMap<String, u64> {
    let prefix = "wasmcustom.oauth2_filter.";
    let all = envoy.stats("oauth2_filter").await.into_iter().filter(|(_, count)| *count > 0);
    all.filter_map(|(name, count)| Some((name.strip_prefix(prefix)?.to_owned(), count))).collect()
}

/// The same once so many requests are counted: the dynamic module does that a moment later.
async fn counted(envoy: &Envoy, requests: u64) -> BTreeMap<String, u64> {
    let what = format!("{requests} requests to be counted");
    wait::until(&what, async || {
        let counters = counters(envoy).await;
        let of_requests = counters.iter().filter(|(name, _)| name.starts_with("requests."));
        of_requests.map(|(_, count)| count).sum::<u64>() == requests
    })
    .await;
    counters(envoy).await
}

/// Checks the status of an answer and, if it is a refusal, the reason in the access log.
async fn check(set_up: &SetUp, request: Request, status: u16, details: &str) -> Response {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_string();
    let answer = set_up.send(&request.header(CHECK, &number)).await;
    assert_eq!(answer.status, status, "{details}: {}", answer.text());
    if status != 200 {
        let is_it = |entry: &Value| entry["check"] == number;
        wait::until("the entry in the access log", async || {
            set_up.envoy.access_log(LISTENER).iter().any(is_it)
        })
        .await;
        let log = set_up.envoy.access_log(LISTENER);
        assert_eq!(log.into_iter().find(is_it).expect("an entry")["details"], details);
    }
    answer
}

/// How many fetchers there are: one in each worker thread and in the main thread, which has a VM,
/// too; natively one in the process.
const fn fetchers(workers: usize, is_native: bool) -> usize {
    if is_native { 1 } else { workers + 1 }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_fetched_before_the_first_request() {
    let key = Key::p256();
    for workers in [1, 3] {
        let options = Options { concurrency: workers, ..Options::default() };
        let answer = keys(&[(&key, "a")]);
        let set_up = scene_with(&json!({}), json!({}), answer, &options).await;
        let fetchers = fetchers(workers as usize, native::is_chosen());
        set_up.server.arrived(KEYS, fetchers).await;
        for n in 0..20 {
            let token = key.sign("a", &claims(&json!({"n": n})));
            assert_eq!(set_up.get(&token).await.status, 200);
        }
        assert_eq!(set_up.server.count(KEYS), fetchers, "{workers} workers");
        set_up.comes_to_rest().await;
    }
}

/// Claims of which the filter forwards some.
fn telling() -> Value {
    json!({
        "iss": ISSUER, "aud": ["orders", "other"], "sub": "alice", "client_id": "shop",
        "scope": "orders:read other", "exp": seconds_from_now(600), "groups": ["a", "b"],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_is_treated_as_an_introspected_token_is() {
    let key = Key::p256();
    let ends = Ends::start().await;
    ends.server.on(KEYS, keys(&[(&key, "a")]));
    let mut claims = telling();
    claims["active"] = true.into();
    ends.server.on(ENDPOINT, Answer::json(200, &claims));
    let inbound = json!({
        "jwt": entry(&json!({})), "issuer": ISSUER, "audience": "orders", "realm": "orders",
        "rules": [
            {"name": "read", "methods": ["GET"], "scope": "orders:read"},
            {"name": "write", "methods": ["POST"], "scope": "orders:write"},
        ],
        "forward": {"token": false, "claims": {
            "x-user": "sub", "x-scope": "scope", "x-groups": "groups", "x-active": "active",
        }},
    });
    let plugin = WasmPlugin::new(&document(inbound));
    let bootstrap = ends.bootstrap().listener(logged(listener(&plugin)));
    let set_up = ends.with(bootstrap).await;
    let jwt = key.sign("a", &telling());
    let mut seen = Vec::new();
    for (token, requests) in [(jwt.as_str(), 5), ("opaque", 10)] {
        set_up.service.clear();
        let before = counters(&set_up.envoy).await;
        for http in BOTH {
            let answer = http.send(&Request::get("/orders").bearer(token), set_up.address()).await;
            assert_eq!(answer.status, 200, "{token}: {}", answer.text());
            let request = Request::post("/orders", "{}").bearer(token);
            let answer = http.send(&request, set_up.address()).await;
            assert_eq!(answer.status, 403);
            let challenge = answer.header("www-authenticate").expect("a challenge");
            assert!(challenge.contains("scope=\"orders:write\""), "{challenge}");
        }
        let request = Request::grpc("/orders.Orders/Write", b"").bearer(token);
        let answer = request.send_http2(set_up.address()).await.expect("an answer");
        let grpc = (answer.grpc_status(), answer.grpc_message());
        let mut headers: Vec<Vec<(String, String)>> = Vec::new();
        for request in set_up.service.requests() {
            let ours = request.headers.iter().filter(|(name, _)| {
                name.starts_with("x-")
                    && !name.starts_with("x-request-id")
                    && !name.starts_with("x-envoy")
                    && *name != "x-forwarded-proto"
            });
            assert_eq!(request.header("authorization"), None);
            headers.push(
                ours.map(|(n, v)| (n.to_owned(), String::from_utf8_lossy(v).into())).collect(),
            );
        }
        assert_eq!(headers.len(), 2);
        let log = set_up.envoy.access_log_entries(LISTENER, 5 * (seen.len() + 1)).await;
        let log: Vec<Value> = log[log.len() - 5..]
            .iter()
            .map(|entry| {
                ["status", "details", "decision", "reason", "rule", "subject", "client", "scope"]
                    .map(|field| entry[field].clone())
                    .into()
            })
            .collect();
        let mut more = counted(&set_up.envoy, requests).await;
        for (name, count) in before {
            *more.entry(name).or_default() -= count;
        }
        more.retain(|name, count| *count > 0 && name.starts_with("requests"));
        seen.push((headers, log, more, grpc));
    }
    assert_eq!(seen[0], seen[1]);
    let (headers, log, more, _) = &seen[0];
    assert!(headers[0].contains(&("x-user".to_owned(), "alice".to_owned())), "{headers:?}");
    assert_eq!(
        log[0],
        json!([200, "via_upstream", "allowed", null, "read", "alice", "shop", "orders:read other"])
    );
    assert_eq!(more["requests.decision.allowed.reason.token"], 2, "{more:?}");
    let counters = counters(&set_up.envoy).await;
    let lookups = ["verified", "miss", "hit"].map(|it| counters[&format!("lookups.result.{it}")]);
    assert_eq!(lookups, [1, 1, 8], "one signature was verified, one token introspected");
    assert_eq!(set_up.server.count(ENDPOINT), 1);
    set_up.comes_to_rest().await;
}

/// A key, an algorithm, and whether only the dynamic module has it.
fn algorithms() -> [(Key, &'static str, bool); 7] {
    [
        (Key::rsa(), "RS256", false),
        (Key::rsa(), "RS384", false),
        (Key::rsa(), "RS512", false),
        (Key::p256(), "ES256", false),
        (Key::p384(), "ES384", false),
        (Key::rsa(), "PS256", true),
        (Key::ed25519(), "EdDSA", true),
    ]
}

/// A token that is signed by this algorithm.
fn signed_by(key: &Key, algorithm: &str, id: &str) -> String {
    signed_with(key, algorithm, id, &claims(&json!({"by": algorithm})))
}

/// A token with these claims that is signed by this algorithm.
fn signed_with(key: &Key, algorithm: &str, id: &str, claims: &Value) -> String {
    let header = json!({"alg": algorithm, "typ": "at+jwt", "kid": id});
    key.sign_json(&header.to_string(), &claims.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_by_each_algorithm_of_the_host_are_verified() {
    let algorithms = algorithms();
    let all = algorithms.iter().filter(|(.., only)| !only || native::is_chosen());
    let names: Vec<&str> = all.clone().map(|(_, name, _)| *name).collect();
    let sets: Vec<(&Key, &str)> = all.clone().map(|(key, name, _)| (key, *name)).collect();
    let set_up = scene(&json!({"algorithms": names}), json!({}), keys(&sets)).await;
    for (key, name, _) in all {
        let token = signed_by(key, name, name);
        let answer = set_up.get(&token).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let (head, signature) = token.rsplit_once('.').expect("a signature");
        let other = if signature.starts_with('A') { "B" } else { "A" };
        let altered = format!("{head}.{other}{}", &signature[1..]);
        check(&set_up, Request::get("/").bearer(&altered), 401, "oauth2_bad_signature").await;
    }
    // One that the entry does not accept, whatever the host can.
    let set_up = scene(&json!({"algorithms": ["ES256"]}), json!({}), keys(&sets)).await;
    for (key, name, _) in &algorithms {
        let (status, details) =
            if *name == "ES256" { (200, "") } else { (401, "oauth2_bad_signature") };
        check(&set_up, Request::get("/").bearer(&signed_by(key, name, name)), status, details)
            .await;
    }
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_algorithm_that_the_host_does_not_have_is_an_error_at_load() {
    for name in ["PS256", "EdDSA"] {
        let ends = Ends::start().await;
        let document = only_jwt(&json!({"algorithms": ["ES256", name]}), json!({}));
        let bootstrap = ends.bootstrap().listener(listener(&WasmPlugin::new(&document)));
        let started = Envoy::start_with(bootstrap, &one_worker()).await;
        match (started, native::is_chosen()) {
            (Ok(_), true) => {}
            (Err(error), false) => {
                let text = "inbound.jwt.algorithms[1]: only in the dynamic module";
                assert!(error.log.contains(text), "{error}");
            }
            (started, _) => panic!("{name}: {started:?}"),
        }
    }
}
