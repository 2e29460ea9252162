//! Configurations that change while JWTs are verified.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use oauth2_filter_testbed::client::{Http2, Request};
use oauth2_filter_testbed::envoy::{Envoy, Listener, Options, WasmPlugin, native};
use oauth2_filter_testbed::scripted::Gate;
use oauth2_filter_testbed::wait;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::{KEYS, check, claims, entry, keys, logged, only_jwt};
use crate::exchanges::signing::{Key, encode};
use crate::set_up::{Ends, LISTENER, SetUp, document, listener, one_worker};

/// The name of the filter whose configuration changes.
const FILTER: &str = "oauth2";

/// The configuration of this name, which challenges show.
fn named(name: &str) -> Value {
    only_jwt(&json!({"headers": {"x-name": name}}), json!({"realm": name}))
}

/// An Envoy whose filter can be updated.
async fn updatable(document: &Value, options: &Options, key: &Key) -> SetUp {
    let ends = Ends::start().await;
    ends.server.on(KEYS, keys(&[(key, "a")]));
    let config = WasmPlugin::new(document).typed_config();
    let listener = Listener::to(LISTENER, "service").discovered_filter(FILTER, &config);
    let bootstrap = ends.bootstrap().listener(logged(listener));
    ends.with_options(bootstrap, options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_under_load_refuse_no_good_token() {
    let key = Arc::new(Key::p256());
    let set_up = updatable(&named("n0"), &Options::default(), &key).await;
    let (address, ended) = (set_up.address(), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for client in 0..6 {
        let (key, ended) = (Arc::clone(&key), Arc::clone(&ended));
        clients.spawn(async move {
            let connection = Http2::open(address).await.expect("a connection");
            let mut requests = 0;
            while !ended.load(Ordering::Relaxed) {
                let token = key.sign("a", &claims(&json!({"jti": [client, requests]})));
                let request = Request::get("/").bearer(&token);
                let answer = connection.send(&request).await.expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.text());
                requests += 1;
            }
            requests
        });
    }
    for n in 1..8 {
        let name = format!("n{n}");
        let config = WasmPlugin::new(&named(&name)).typed_config();
        set_up.envoy.update_filter(FILTER, &config).await.expect("no mistake");
        let challenge = format!("Bearer realm=\"{name}\"");
        wait::until("a worker to have it", async || {
            let answer = set_up.send(&Request::get("/")).await;
            answer.header("www-authenticate").expect("a challenge").starts_with(&challenge)
        })
        .await;
        wait::until("load", async || set_up.service.requests().len() > 20 * n).await;
    }
    // The last configuration has fetched its own.
    wait::until("its keys", async || {
        let calls = set_up.server.requests(KEYS);
        calls.iter().any(|call| call.header("x-name").as_deref() == Some("n7"))
    })
    .await;
    ended.store(true, Ordering::Relaxed);
    let requests: usize = clients.join_all().await.into_iter().sum();
    assert_eq!(set_up.service.requests().len(), requests);
    set_up.comes_to_rest_after_updates().await;
}

/// The listener of a bootstrap in the file that tells Envoy of it (LDS).
fn write_listener(directory: &Path, listener: &Value) {
    let mut resource = listener.clone();
    resource["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener".into();
    let written = directory.join("written");
    fs::write(&written, json!({"resources": [resource]}).to_string()).expect("a file");
    fs::rename(written, directory.join("watched/lds.json")).expect("a move");
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_of_the_listener_refuse_no_good_token() {
    let key = Arc::new(Key::p256());
    let ends = Ends::start().await;
    ends.server.on(KEYS, keys(&[(&key, "a")]));
    let directory = TempDir::with_prefix("lds-").expect("a folder");
    let watched = directory.path().join("watched");
    fs::create_dir(&watched).expect("a folder");
    // Each has the folder of its access log.
    let bootstraps: Vec<_> = (0..5)
        .map(|n| {
            let plugin = WasmPlugin::new(&named(&format!("n{n}")));
            ends.bootstrap().listener(logged(listener(&plugin)))
        })
        .collect();
    let listener_of = |n: usize| bootstraps[n].value()["static_resources"]["listeners"][0].clone();
    let mut bootstrap = bootstraps[0].value();
    bootstrap["static_resources"]["listeners"] = json!([]);
    bootstrap["dynamic_resources"] = json!({"lds_config": {
        "resource_api_version": "V3",
        "path_config_source": {
            "path": watched.join("lds.json"), "watched_directory": {"path": watched},
        },
    }});
    write_listener(directory.path(), &listener_of(0));
    let envoy = Envoy::start_with(bootstrap, &Options::default()).await.expect("Envoy");
    let (address, ended) = (envoy.address(LISTENER), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for client in 0..4 {
        let (key, ended) = (Arc::clone(&key), Arc::clone(&ended));
        clients.spawn(async move {
            let mut requests = 0;
            while !ended.load(Ordering::Relaxed) {
                let token = key.sign("a", &claims(&json!({"jti": [client, requests]})));
                let request = Request::get("/").bearer(&token);
                let answer = request.send(address).await.expect("an answer");
                assert_eq!(answer.status, 200, "{}", answer.text());
                requests += 1;
            }
            requests
        });
    }
    for n in 1..bootstraps.len() {
        write_listener(directory.path(), &listener_of(n));
        let challenge = format!("Bearer realm=\"n{n}\"");
        wait::until("the listener to have changed", async || {
            let answer = Request::get("/").send(address).await.expect("an answer");
            answer.header("www-authenticate").expect("a challenge").starts_with(&challenge)
        })
        .await;
        wait::until("load", async || ends.service.requests().len() > 20 * n).await;
    }
    ended.store(true, Ordering::Relaxed);
    let requests: usize = clients.join_all().await.into_iter().sum();
    assert_eq!(ends.service.requests().len(), requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_for_keys_are_decided_by_the_configuration_they_came_under() {
    let key = Key::p256();
    let set_up = updatable(&named("old"), &one_worker(), &key).await;
    let gate = Gate::new();
    // The first requests come before its first keys, or wait for one that is unknown.
    set_up.server.on(KEYS, keys(&[(&key, "a"), (&key, "b")]).held_by(&gate));
    let address = set_up.address();
    let mut waiting = JoinSet::new();
    for number in 0..20 {
        let token = key.sign("b", &claims(&json!({"jti": number})));
        let request = Request::get("/").bearer(&token);
        waiting.spawn(async move { request.send(address).await.expect("an answer") });
    }
    gate.arrived(1).await;
    set_up.under_way(20).await;
    let other = only_jwt(&json!({"audience": "others"}), json!({"realm": "new"}));
    let config = WasmPlugin::new(&other).typed_config();
    set_up.envoy.update_filter(FILTER, &config).await.expect("no mistake");
    wait::until("the worker to have it", async || {
        let answer = set_up.send(&Request::get("/")).await;
        answer.header("www-authenticate").expect("a challenge").contains("new")
    })
    .await;
    gate.open();
    for answer in waiting.join_all().await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let request = Request::get("/").bearer(&key.sign("b", &claims(&json!({}))));
    check(&set_up, request, 401, "oauth2_wrong_audience").await;
    set_up.comes_to_rest_after_updates().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_with_other_keys_in_the_document_is_in_force_at_once() {
    let (old, new) = (Key::p256(), Key::p256());
    let fixed = |key: &Key| {
        let more = json!({
            "jwks_uri": null, "cluster": null, "jwks": super::set(&[(key, "a")]),
        });
        only_jwt(&more, json!({"realm": encode(key.jwk("a")["x"].to_string())}))
    };
    let set_up = updatable(&fixed(&old), &one_worker(), &old).await;
    let token = |key: &Key| Request::get("/").bearer(&key.sign("a", &claims(&json!({}))));
    let (of_old, of_new) = (token(&old), token(&new));
    assert_eq!(set_up.send(&of_old).await.status, 200);
    check(&set_up, of_new.clone(), 401, "oauth2_bad_signature").await;
    let unknown = Request::get("/").bearer(&old.sign("b", &claims(&json!({}))));
    check(&set_up, unknown, 401, "oauth2_bad_signature").await;
    let config = WasmPlugin::new(&fixed(&new)).typed_config();
    set_up.envoy.update_filter(FILTER, &config).await.expect("no mistake");
    wait::until("the new key", async || set_up.send(&of_new).await.status == 200).await;
    check(&set_up, of_old, 401, "oauth2_bad_signature").await;
    assert_eq!(set_up.server.count(KEYS), 0);
    set_up.comes_to_rest_after_updates().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_of_a_route_has_issuers_of_its_own() {
    if !native::is_chosen() {
        return;
    }
    let (key, other) = (Key::p256(), Key::p256());
    let ends = Ends::start().await;
    ends.server.on(KEYS, keys(&[(&key, "a")]));
    ends.server.on("/other", keys(&[(&other, "a")]));
    let of_route = |document: &Value| {
        let mut config = WasmPlugin::new(document).typed_config();
        config["@type"] = "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.\
            DynamicModuleFilterPerRoute"
            .into();
        json!({
            "match": {"prefix": "/route"}, "route": {"cluster": "service"},
            "typed_per_filter_config": {"oauth2": config},
        })
    };
    let route = only_jwt(&json!({"jwks_uri": "http://login.test/other"}), json!({}));
    let rest = json!({"match": {"prefix": "/"}, "route": {"cluster": "service"}});
    let filter = WasmPlugin::new(&document(json!({"jwt": entry(&json!({}))}))).filter("oauth2");
    let listener = Listener::routing(LISTENER, json!([of_route(&route), rest])).filter(filter);
    let bootstrap = ends.bootstrap().listener(logged(listener));
    let set_up = ends.with_options(bootstrap, &Options::default()).await;
    let request = |path: &str, key: &Key| {
        Request::get(path).bearer(&key.sign("a", &claims(&json!({"p": path}))))
    };
    for _ in 0..10 {
        check(&set_up, request("/", &key), 200, "").await;
        check(&set_up, request("/route", &other), 200, "").await;
        check(&set_up, request("/", &other), 401, "oauth2_bad_signature").await;
        check(&set_up, request("/route", &key), 401, "oauth2_bad_signature").await;
    }
    // A document of a route fetches its keys for its first request; once for all workers.
    assert_eq!(set_up.server.count(KEYS), 1);
    assert_eq!(set_up.server.count("/other"), 1);
    // Opaque tokens are introspected where there is a server for them.
    assert_eq!(set_up.send(&Request::get("/").bearer("opaque")).await.status, 200);
    let opaque = Request::get("/route").bearer("opaque");
    check(&set_up, opaque, 401, "oauth2_no_server").await;
    set_up.comes_to_rest().await;
}
