//! VMs that die, configurations that change, and plugins side by side: what becomes of tokens.

use oauth2_filter_testbed::client::{Http2, Request};
use oauth2_filter_testbed::envoy::{Listener, Options, WasmPlugin};
use oauth2_filter_testbed::scripted::{Answer, Gate, ScriptedServer};
use oauth2_filter_testbed::wait;
use serde_json::{Value, json};

use super::{TOKEN, client, document, issued, shown};
use crate::killed::that_panics;
use crate::set_up::{Ends, LISTENER, SetUp, listener, one_worker};

/// The name of the filter whose configuration changes.
const FILTER: &str = "oauth2";

/// A document in which `/free` gets no token.
fn with_free_path(more: Value) -> Value {
    let mut document = document(more);
    document["outbound"]["rules"] =
        json!([{"paths": ["/free"], "client": null}, {"client": "billing"}]);
    document
}

/// Two workers whose VMs can be killed.
async fn mortal(more: Value) -> (SetUp, [Http2; 2]) {
    let ends = Ends::start().await;
    let plugin = that_panics(&with_free_path(more));
    let bootstrap = ends.bootstrap().listener(listener(&plugin));
    let set_up = ends.with_options(bootstrap, &Options::default()).await;
    let connections = set_up.connections(&Request::get("/free")).await;
    assert_eq!(set_up.token_calls(), 0);
    (set_up, connections)
}

/// Kills the VM of a connection's worker, and waits until it is back.
async fn kill(connection: &Http2) {
    let request = Request::get("/free").header("x-panic-on-command", "now");
    assert_eq!(connection.send(&request).await.expect("an answer").status, 503);
    wait::until("the worker to be back", async || {
        connection.send(&Request::get("/free")).await.expect("an answer").status == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_outlives_the_vm_that_obtained_it() {
    let (set_up, [one, other]) = mortal(json!({})).await;
    set_up.server.on(TOKEN, vec![issued("t1", 3600), issued("t2", 3600)]);
    let token =
        async |connection: &Http2| shown(&connection.send(&Request::get("/")).await.expect("one"));
    assert_eq!(token(&one).await.as_deref(), Some("Bearer t1"));
    kill(&one).await;
    for connection in [&one, &other] {
        assert_eq!(token(connection).await.as_deref(), Some("Bearer t1"));
    }
    assert_eq!(set_up.token_calls(), 1);
    set_up.reloaded(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_vm_that_calls_dies_others_call_when_its_lease_is_over() {
    let (set_up, [dying, other]) = mortal(json!({"timeout": "1s"})).await;
    let gate = Gate::new();
    set_up.server.on(TOKEN, vec![issued("t1", 3600).held_by(&gate), issued("t2", 3600)]);
    let send = |connection: &Http2| {
        let connection = connection.clone();
        tokio::spawn(async move { connection.send(&Request::get("/")).await })
    };
    let lost = send(&dying);
    gate.arrived(1).await;
    let waits = send(&other);
    set_up.waits(2).await;
    kill(&dying).await;
    let comes_back = send(&dying);
    for answer in [waits, comes_back] {
        let answer = answer.await.expect("a task").expect("an answer");
        assert_eq!(shown(&answer).as_deref(), Some("Bearer t2"));
    }
    assert_eq!(set_up.token_calls(), 2);
    lost.abort();
    set_up.reloaded(1).await;
}

/// An Envoy whose filter can be updated.
async fn updatable(document: &Value) -> SetUp {
    let ends = Ends::start().await;
    numbered(&ends.server);
    let listener = Listener::to(LISTENER, "service")
        .discovered_filter(FILTER, &WasmPlugin::new(document).typed_config());
    let bootstrap = ends.bootstrap().listener(listener);
    ends.with(bootstrap).await
}

/// The token endpoint numbers its tokens.
fn numbered(server: &ScriptedServer) {
    let issued_so_far = std::sync::atomic::AtomicUsize::new(0);
    server.on_each(TOKEN, move |_| {
        let number = 1 + issued_so_far.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        issued(&format!("t{number}"), 3600)
    });
}

/// Updates the filter, and waits until the worker has it: a rule names the configuration by the
/// path that gets no token from it.
async fn update(set_up: &SetUp, number: usize, mut document: Value) {
    let path = format!("/free-{number}");
    let rules = document["outbound"]["rules"].as_array_mut().expect("rules");
    rules.insert(0, json!({"paths": [path], "client": null}));
    let config = WasmPlugin::new(&document).typed_config();
    set_up.envoy.update_filter(FILTER, &config).await.expect("a configuration without mistakes");
    wait::until(&format!("the worker to have configuration {number}"), async || {
        shown(&set_up.send(&Request::get(&path)).await).is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_keeps_the_token_if_it_means_the_same_and_obtains_another_if_not() {
    let set_up = updatable(&with_free_path(json!({}))).await;
    let token = async || shown(&set_up.send(&Request::get("/")).await);
    assert_eq!(token().await.as_deref(), Some("Bearer t1"));
    for (number, (more, expected)) in [
        (json!({"renew_on_status": [401, 403]}), "t1"),
        (json!({"timeout": "7s", "retries": 1}), "t1"),
        (json!({"failure_mode_allow": true}), "t1"),
        (json!({"refresh_before": "1m"}), "t1"),
        (json!({"scope": "a"}), "t2"),
        (json!({"scope": "a b"}), "t3"),
        (json!({"client_secret": "new-secret"}), "t4"),
        (json!({"client_id": "other"}), "t5"),
        (json!({"audience": "there"}), "t6"),
        (json!({"parameters": {"tenant": "b"}}), "t7"),
        // What was obtained before is still there.
        (json!({"scope": "a"}), "t2"),
        (json!({}), "t1"),
    ]
    .into_iter()
    .enumerate()
    {
        update(&set_up, number, with_free_path(more.clone())).await;
        for _ in 0..3 {
            assert_eq!(token().await, Some(format!("Bearer {expected}")), "{more}");
        }
    }
    assert_eq!(set_up.token_calls(), 7);
    set_up.comes_to_rest_after_updates().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_removed_gives_no_more_tokens_and_comes_back_with_its_own() {
    let two = || {
        json!({"outbound": {
            "clients": {"a": client(json!({})), "b": client(json!({"client_id": "b"}))},
            "rules": [{"hosts": ["a.test"], "client": "a"}, {"hosts": ["b.test"], "client": "b"}],
        }})
    };
    let one = json!({"outbound": {
        "clients": {"a": client(json!({}))}, "rules": [{"hosts": ["a.test"], "client": "a"}],
    }});
    let set_up = updatable(&two()).await;
    let token =
        async |host| shown(&set_up.send(&Request::get("/").authority(host).bearer("mine")).await);
    assert_eq!(token("a.test").await.as_deref(), Some("Bearer t1"));
    assert_eq!(token("b.test").await.as_deref(), Some("Bearer t2"));
    let config = WasmPlugin::new(&one).typed_config();
    set_up.envoy.update_filter(FILTER, &config).await.expect("a configuration");
    wait::until("the worker to have it", async || {
        token("b.test").await.as_deref() == Some("Bearer mine")
    })
    .await;
    assert_eq!(token("a.test").await.as_deref(), Some("Bearer t1"));
    let config = WasmPlugin::new(&two()).typed_config();
    set_up.envoy.update_filter(FILTER, &config).await.expect("a configuration");
    wait::until("the worker to have it again", async || {
        token("b.test").await.as_deref() == Some("Bearer t2")
    })
    .await;
    assert_eq!(set_up.token_calls(), 2);
    set_up.comes_to_rest_after_updates().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_during_an_update_get_the_token_of_the_configuration_they_came_under() {
    let set_up = updatable(&with_free_path(json!({}))).await;
    let gate = Gate::new();
    let held = gate.clone();
    set_up.server.on_each(TOKEN, move |call| match call.parameter("scope") {
        Some(_) => issued("new", 3600),
        None => issued("old", 3600).held_by(&held),
    });
    let connection = Http2::open(set_up.address()).await.expect("a connection");
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let connection = connection.clone();
            tokio::spawn(async move { connection.send(&Request::get("/")).await })
        })
        .collect();
    gate.arrived(1).await;
    set_up.waits(100).await;
    update(&set_up, 1, with_free_path(json!({"scope": "a"}))).await;
    let after = set_up.send(&Request::get("/")).await;
    assert_eq!(shown(&after).as_deref(), Some("Bearer new"));
    gate.open();
    for answer in waiting {
        let answer = answer.await.expect("a task").expect("an answer");
        assert_eq!(shown(&answer).as_deref(), Some("Bearer old"));
    }
    assert_eq!(set_up.token_calls(), 2);
    set_up.waits(0).await;
    set_up.comes_to_rest_after_updates().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_of_one_vm_share_a_token_only_if_their_clients_are_the_same() {
    let ends = Ends::start().await;
    ends.server.on_each(TOKEN, |call| {
        let secret = call.parameter("client_secret").unwrap_or_default();
        if secret == "wrong" {
            return Answer::json(401, &json!({"error": "invalid_client"}));
        }
        issued(&format!("by-{secret}"), 3600)
    });
    let plugin = |root: &str, secret: &str| {
        let more = json!({"auth_method": "client_secret_post", "client_secret": secret});
        WasmPlugin::new(&document(more)).root_id(root).vm_id("shared").filter("oauth2")
    };
    let mut bootstrap = ends.bootstrap();
    let plugins = [
        (LISTENER, "first", "right"),
        ("same", "second", "right"),
        ("other", "third", "another"),
        ("wrong", "fourth", "wrong"),
    ];
    for (name, root, secret) in plugins {
        let listener = Listener::to(name, "service").filter(plugin(root, secret));
        bootstrap = bootstrap.listener(listener);
    }
    let set_up = ends.with_options(bootstrap, &one_worker()).await;
    for _ in 0..3 {
        for (listener, token) in [
            (LISTENER, Some("Bearer by-right")),
            ("same", Some("Bearer by-right")),
            ("other", Some("Bearer by-another")),
            ("wrong", None),
        ] {
            let answer = Request::get("/").send(set_up.envoy.address(listener)).await;
            let answer = answer.expect("an answer");
            if token.is_some() {
                assert_eq!(shown(&answer).as_deref(), token, "{listener}");
            } else {
                assert_eq!(answer.status, 502, "another's token is not for it");
            }
        }
    }
    let secrets: Vec<_> = set_up
        .server
        .requests(TOKEN)
        .iter()
        .filter_map(|call| call.parameter("client_secret"))
        .filter(|secret| secret != "wrong")
        .collect();
    assert_eq!(secrets, ["right", "another"], "one call each");
}
