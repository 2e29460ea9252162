//! JWTs that the filter verifies itself, with keys that it fetches.


use std::collections::BTreeMap;

use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{Envoy, Listener, Options, native, with_members};
use oauth2_filter_testbed::scripted::Answer;
use oauth2_filter_testbed::wait;
use serde_json::{Value, json};

use crate::exchanges::seconds_from_now;
use crate::set_up::{BOTH, ENDPOINT, Ends, LISTENER, SetUp, document, listener, one_worker};
use crate::signing::Key;

const ISSUER: &str = "https://login.test/tenant";

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
    let mut document = json!({"inbound": inbound});
    document["inbound"]["jwt"] = entry(more);
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
    let plugin = oauth2_filter_testbed::envoy::WasmPlugin::new(&only_jwt(more, inbound));
    let bootstrap = ends.bootstrap().listener(logged(listener(&plugin)));
    ends.with_options(bootstrap, options).await
}

/// The listener with the filter state in its access log.
fn logged(listener: Listener) -> Listener {
    let fields = ["decision", "reason", "rule", "subject", "client", "scope"];
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

/// Checks the status of an answer, and the reason in the access log.
async fn check(set_up: &SetUp, request: Request, status: u16, details: &str) -> Response {
    let before = set_up.envoy.access_log(LISTENER).len();
    let answer = set_up.send(&request).await;
    assert_eq!(answer.status, status, "{details}: {}", answer.text());
    if status != 200 {
        let log = set_up.envoy.access_log_entries(LISTENER, before + 1).await;
        assert_eq!(log.last().expect("an entry")["details"], details);
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
