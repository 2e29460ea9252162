//! Configurations that change while Envoy runs, and those that it refuses.

use oauth2_filter_testbed::client::{Http2, Request, Response};
use oauth2_filter_testbed::envoy::{Cluster, Envoy, Listener, StartError, WasmPlugin, native};
use oauth2_filter_testbed::scripted::{Answer, Gate};
use oauth2_filter_testbed::wait;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::set_up::{ENDPOINT, Ends, LISTENER, SetUp, active, inactive, listener, plugin};

/// The name of the filter whose configuration changes.
const FILTER: &str = "oauth2";

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_during_an_update_are_answered_by_the_configuration_they_came_under() {
    let set_up = updatable(named("old")).await;
    let old = Gate::new();
    set_up.server.on(ENDPOINT, active().held_by(&old));
    // More than are answered in one callback.
    let waiting = send(&set_up, "token", 200).await;
    old.arrived(1).await;
    set_up.under_way(200).await;
    update(&set_up, "new", named("new")).await;

    // A new configuration knows nothing of the old one's calls.
    let new = Gate::new();
    set_up.server.on(ENDPOINT, active().held_by(&new));
    let answer = send(&set_up, "token", 1).await;
    new.arrived(1).await;
    new.open();
    assert_eq!(passed_under(answer, "new").await, 1);
    set_up.under_way(200).await;

    // Again, and back to the first, while its requests still wait.
    update(&set_up, "newer", named("newer")).await;
    set_up.server.on(ENDPOINT, active());
    assert_eq!(passed_under(send(&set_up, "token", 1).await, "newer").await, 1);
    update(&set_up, "old", named("old")).await;
    old.open();
    assert_eq!(passed_under(waiting, "old").await, 200);
    assert_eq!(passed_under(send(&set_up, "another", 1).await, "old").await, 1);
    set_up.comes_to_rest_after_updates().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_during_an_update_are_refused_by_the_configuration_they_came_under() {
    let mut inbound = named("old");
    inbound["scope"] = json!("a");
    let set_up = updatable(inbound).await;
    for (said, status) in [(active(), 403), (inactive(), 401)] {
        let gate = Gate::new();
        set_up.server.on(ENDPOINT, said.held_by(&gate));
        let waiting = send(&set_up, &format!("token-{status}"), 200).await;
        gate.arrived(1).await;
        set_up.under_way(200).await;
        let name = format!("new-{status}");
        update(&set_up, &name, named(&name)).await;
        gate.open();
        for answer in waiting.join_all().await {
            assert_eq!(answer.status, status);
        }
        set_up.server.on(ENDPOINT, active());
        assert_eq!(set_up.get(&format!("token-{status}")).await.status, 200, "asked again");

        let mut inbound = named("old");
        inbound["scope"] = json!("a");
        update(&set_up, "old", inbound).await;
    }
    assert_eq!(set_up.service.requests().len(), 2);
    set_up.comes_to_rest_after_updates().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_while_configurations_change() {
    let set_up = updatable(named("n0")).await;
    let load = set_up.under_load(20, "/", async || {
        for n in 1..10 {
            let name = format!("n{n}");
            update(&set_up, &name, named(&name)).await;
        }
    });
    let requests = load.await;
    assert_eq!(set_up.service.requests().len(), requests);
    assert!(set_up.calls() >= requests, "every token is new");
    set_up.comes_to_rest_after_updates().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_11_an_update_with_a_mistake_is_refused_and_the_old_configuration_stays() {
    let set_up = updatable(named("old")).await;
    assert_eq!(set_up.get("kept").await.status, 200);
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, active().held_by(&gate));
    let waiting = send(&set_up, "waits", 20).await;
    gate.arrived(1).await;
    set_up.under_way(20).await;
    for (mistake, place) in [
        (json!({"rules": [{"paths": ["/**"], "scope": ""}]}), "inbound.rules[0].scope: "),
        (json!({"reslm": "new"}), "inbound.reslm: "),
        (json!({"introspection": {"timeout": 5}}), "inbound.introspection.timeout: "),
        (
            json!({"introspection": {"client_secret": {"env": "UNSET"}}}),
            "inbound.introspection.client_secret.env: environment variable `UNSET` is unset",
        ),
    ] {
        let config = plugin(mistake).typed_config();
        assert!(set_up.envoy.update_filter(FILTER, &config).await.is_err(), "{place}");
        set_up.envoy.logged(place).await;
    }
    assert_eq!(set_up.calls(), 2);
    assert_eq!(set_up.get("kept").await.status, 200);
    assert_eq!(set_up.calls(), 2, "what was kept is still kept");
    gate.open();
    assert_eq!(passed_under(waiting, "old").await, 20);
    assert_eq!(passed_under(send(&set_up, "new", 1).await, "old").await, 1);
    set_up.under_way(0).await;
    let reloads = set_up.envoy.stat("wasm.oauth2.vm_reload").await;
    assert_eq!(reloads, (!native::is_chosen()).then_some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_with_the_same_meaning_forgets_nothing() {
    let set_up = updatable(json!({"realm": "old"})).await;
    assert_eq!(set_up.get("token").await.status, 200);
    update(&set_up, "new", json!({"realm": "new", "scope": "a"})).await;
    assert_eq!(set_up.get("token").await.status, 403, "judged anew");
    update(&set_up, "newer", json!({"realm": "newer", "rules": [{"paths": ["/**"]}]})).await;
    assert_eq!(set_up.get("token").await.status, 200);
    assert_eq!(set_up.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_nobody_here_waits_for_outlives_its_configuration() {
    let set_up = updatable(json!({"realm": "old"})).await;
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, active().held_by(&gate));
    let leaves = send(&set_up, "token", 1).await;
    gate.arrived(1).await;
    drop(leaves);
    set_up.under_way(0).await;
    update(&set_up, "new", json!({"realm": "new"})).await;
    // The next one finds that somebody asks already.
    let waits = send(&set_up, "token", 1).await;
    set_up.under_way(1).await;
    gate.open();
    for answer in waits.join_all().await {
        assert_eq!(answer.status, 200);
    }
    assert_eq!(set_up.calls(), 1);
    // Nothing of the old configuration is left that could act once more.
    update(&set_up, "newer", json!({"realm": "newer"})).await;
    assert_eq!(set_up.get("another").await.status, 200);
    set_up.comes_to_rest_after_updates().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d1_11_nothing_that_was_kept_for_one_client_is_used_for_another() {
    let set_up = updatable(named("old")).await;
    let who = |call: &oauth2_filter_testbed::Received| call.parameter("client_id");
    let asks = |client: &str| {
        let mut inbound = named(client);
        inbound["introspection"] = json!({
            "client_id": client, "auth_method": "client_secret_post",
        });
        inbound
    };
    // Back at the first, what was kept for it is found again.
    for (client, calls, last) in [("one", 1, "one"), ("two", 2, "two"), ("one", 2, "two")] {
        update(&set_up, client, asks(client)).await;
        for _ in 0..3 {
            assert_eq!(set_up.get("token").await.status, 200);
        }
        assert_eq!(set_up.calls(), calls, "{client}");
        let call = set_up.server.requests(ENDPOINT).pop().expect("a call");
        assert_eq!(who(&call).as_deref(), Some(last));
    }
    set_up.comes_to_rest_after_updates().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_changes_in_how_a_server_is_asked_starts_from_nothing_kept() {
    let ends = Ends::start().await;
    ends.server.on("/other", active());
    let listener = Listener::to(LISTENER, "service")
        .discovered_filter(FILTER, &plugin(json!({"realm": "r0"})).typed_config());
    let twin = Cluster::new("twin", ends.server.address());
    let bootstrap = ends.bootstrap().custom_cluster(twin).listener(listener);
    let set_up = ends.with(bootstrap).await;
    let calls = || set_up.calls() + set_up.server.count("/other");
    assert_eq!(set_up.get("token").await.status, 200);
    for (n, changed) in [
        json!({"client_id": "other"}),
        json!({"client_secret": "other"}),
        json!({"auth_method": "client_secret_post"}),
        json!({"endpoint": "http://as.test/other"}),
        json!({"endpoint": format!("http://as.test{ENDPOINT}?tenant=b")}),
        json!({"endpoint": format!("http://other.test{ENDPOINT}")}),
        json!({"cluster": "twin"}),
        json!({"parameters": {"tenant": "b"}}),
        json!({"headers": {"x-tenant": "b"}}),
        json!({"token_type_hint": ""}),
        json!({"issuer": "https://as.test"}),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("r{}", n + 1);
        update(&set_up, &name, json!({"realm": name, "introspection": changed})).await;
        for _ in 0..2 {
            assert_eq!(set_up.get("token").await.status, 200, "{changed}");
        }
        assert_eq!(calls(), n + 2, "{changed}");
    }
    set_up.comes_to_rest_after_updates().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_only_in_how_answers_are_used_forgets_nothing() {
    let set_up = updatable(json!({"realm": "r0"})).await;
    let said = json!({"active": true, "scope": "a", "sub": "somebody"});
    set_up.server.on(ENDPOINT, Answer::json(200, &said));
    assert_eq!(set_up.get("token").await.status, 200);
    for (n, (mut changed, status)) in [
        (json!({"scope": "a"}), 200),
        (json!({"scope": "b"}), 403),
        (json!({"audience": "here"}), 401),
        (json!({"rules": [{"name": "all", "paths": ["/**"]}]}), 200),
        (json!({"rules": [{"paths": ["/**"], "claims": {"sub": "another"}}]}), 403),
        (json!({"forward": {"claims": {"x-user": "sub"}}}), 200),
        (json!({"token_sources": [{"header": "authorization", "scheme": "bearer"}]}), 200),
        (json!({"cache": {"max_ttl": "50s", "negative_ttl": "1s", "stale_if_error": "1s"}}), 200),
        (json!({"cache": {"negative_max_entries": 10}}), 200),
        (json!({"introspection": {"timeout": "3s"}}), 200),
        (json!({"introspection": {"when": {"token_prefix": "tok"}}}), 200),
        (json!({"failure_mode_allow": true}), 200),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("r{}", n + 1);
        changed["realm"] = json!(name);
        update(&set_up, &name, changed.clone()).await;
        assert_eq!(set_up.get("token").await.status, status, "{changed}");
        assert_eq!(set_up.calls(), 1, "{changed}");
    }
    set_up.comes_to_rest_after_updates().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_11_envoy_does_not_start_with_a_mistake_and_says_where_it_is() {
    for (plugin, text) in [
        (plugin(json!({"scopes": "a"})), "inbound.scopes: "),
        (
            plugin(json!({"introspection": {"client_secret": {"env": "SECRET"}}}))
                .env("OTHER", "s"),
            "inbound.introspection.client_secret.env: environment variable `SECRET` is unset",
        ),
        (plugin(json!({"cache": {"max_ttl": 60}})), "inbound.cache.max_ttl: "),
        (WasmPlugin::unconfigured(), "configuration: "),
        (WasmPlugin::new(""), "configuration: "),
        (WasmPlugin::new("{"), "configuration: "),
        (WasmPlugin::with_struct(&json!({})), "configuration: "),
        (WasmPlugin::new("{}"), "configuration: "),
        (WasmPlugin::new(r#"{"inbond": {}}"#), "inbond: "),
    ] {
        let error = start(&plugin).await.expect_err(text);
        assert!(error.log.contains(text), "{text}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_01_a_mistake_is_told_without_the_values_around_it() {
    let secret = "s3cr3t-of-the-client";
    let introspection = json!({"client_secret": [secret], "client_id": secret, "timeout": secret});
    let error = start(&plugin(json!({"introspection": introspection}))).await.expect_err("three");
    for place in ["client_secret: ", "timeout: "] {
        assert!(error.log.contains(&format!("inbound.introspection.{place}")), "{error}");
    }
    assert!(!error.log.contains(secret), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_comes_from_the_environment_of_the_vm() {
    let ends = Ends::start().await;
    let secret = json!({"auth_method": "client_secret_post", "client_secret": {"env": "SECRET"}});
    let plugin = plugin(json!({"introspection": secret})).env("SECRET", "from the environment");
    let bootstrap = ends.bootstrap().listener(listener(&plugin));
    let set_up = ends.with(bootstrap).await;
    assert_eq!(set_up.get("token").await.status, 200);
    let call = set_up.server.requests(ENDPOINT).pop().expect("a call");
    assert_eq!(call.parameter("client_secret").as_deref(), Some("from the environment"));
}

/// Starts an Envoy with this filter and no servers.
async fn start(plugin: &WasmPlugin) -> Result<Envoy, StartError> {
    let ends = Ends::start().await;
    Envoy::start(ends.bootstrap().listener(listener(plugin))).await
}

/// An Envoy whose filter can be updated.
async fn updatable(inbound: Value) -> SetUp {
    let ends = Ends::start().await;
    let listener = Listener::to(LISTENER, "service")
        .discovered_filter(FILTER, &plugin(inbound).typed_config());
    let bootstrap = ends.bootstrap().listener(listener);
    ends.with(bootstrap).await
}

/// A configuration that shows by its name what it has done.
fn named(name: &str) -> Value {
    json!({
        // Asked in a way of its own, it shares no answer with another.
        "introspection": {"parameters": {"asked_by": name}},
        "realm": name,
        "forward": {"claims": {format!("x-{name}"): "active"}}
    })
}

/// Updates the filter to a [`named`] configuration, and waits until the worker has it.
async fn update(set_up: &SetUp, name: &str, inbound: Value) {
    let config = plugin(inbound).typed_config();
    set_up.envoy.update_filter(FILTER, &config).await.expect("a configuration without mistakes");
    let challenge = format!("Bearer realm=\"{name}\"");
    wait::until(&format!("the worker to have {name}"), async || {
        let answer = set_up.send(&Request::get("/")).await;
        let told = answer.header("www-authenticate").expect("a challenge");
        told == challenge || told.starts_with(&format!("{challenge},"))
    })
    .await;
}

/// Sends so many requests with this token.
async fn send(set_up: &SetUp, token: &str, requests: usize) -> JoinSet<Response> {
    let connection = Http2::open(set_up.address()).await.expect("a connection");
    let mut answers = JoinSet::new();
    for _ in 0..requests {
        let (connection, request) = (connection.clone(), Request::get("/").bearer(token));
        answers.spawn(async move { connection.send(&request).await.expect("an answer") });
    }
    answers
}

/// Checks that all of these requests passed under the configuration of this name; how many.
async fn passed_under(answers: JoinSet<Response>, name: &str) -> usize {
    let answers = answers.join_all().await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let headers = answer.json()["headers"].clone();
        let headers: Vec<(String, String)> = serde_json::from_value(headers).expect("pairs");
        let ours = headers.into_iter().filter(|(_, value)| value == "true");
        assert!(ours.map(|(name, _)| name).eq([format!("x-{name}")]), "{}", answer.text());
    }
    answers.len()
}
