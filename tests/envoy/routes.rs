//! Documents for routes. Only the dynamic module has them.

use std::fs;

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::{Envoy, Listener, WasmPlugin, native, workspace};
use oauth2_filter_testbed::scripted::{Answer, Gate};
use oauth2_filter_testbed::wait;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::set_up::{ENDPOINT, Ends, LISTENER, SetUp, active, document, one_worker, plugin};

/// The configuration of the filter for a route, with this document.
fn of_route(document: &Value) -> Value {
    let mut config = WasmPlugin::new(document).typed_config();
    config["@type"] = json!(
        "type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.\
         DynamicModuleFilterPerRoute"
    );
    config
}

/// A route to the service for this prefix, with this configuration of the filter.
fn route(prefix: &str, config: &Value) -> Value {
    json!({
        "match": {"prefix": prefix}, "route": {"cluster": "service"},
        "typed_per_filter_config": {"oauth2": config},
    })
}

/// The route of everything else, which has no document.
fn rest() -> Value {
    json!({"match": {"prefix": "/"}, "route": {"cluster": "service"}})
}

/// A listener with these routes, whose filter requires a token with the scope `filter`.
fn listener(routes: Value) -> Listener {
    let filter = plugin(json!({"scope": "filter"})).filter("oauth2");
    Listener::routing(LISTENER, routes).filter(filter)
}

async fn set_up(routes: Value) -> SetUp {
    let ends = Ends::start().await;
    let scope = json!({"active": true, "scope": "filter"});
    ends.server.on(ENDPOINT, Answer::json(200, &scope));
    let bootstrap = ends.bootstrap().listener(listener(routes));
    ends.with(bootstrap).await
}

/// The status of a request with a token.
async fn status(set_up: &SetUp, path: &str) -> u16 {
    set_up.send(&Request::get(path).bearer("token")).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_of_a_route_replaces_that_of_the_filter() {
    if !native::is_chosen() {
        return;
    }
    let public = json!({"unmatched": "public"});
    let disabled = json!({
        "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": true,
    });
    let set_up = set_up(json!([
        route("/strict", &of_route(&document(json!({"scope": "strict"})))),
        route("/public", &of_route(&document(public))),
        route("/disabled", &disabled),
        rest(),
    ]))
    .await;
    for (path, with_token, without) in
        [("/", 200, 401), ("/strict", 403, 401), ("/public", 200, 200), ("/disabled", 200, 200)]
    {
        assert_eq!(status(&set_up, path).await, with_token, "{path}");
        assert_eq!(set_up.send(&Request::get(path)).await.status, without, "{path}");
    }
    // The responses are those of one server and client, which all documents share.
    assert_eq!(set_up.calls(), 1);
    let log = set_up.envoy.access_log_entries(LISTENER, 8).await;
    let details: Vec<_> = log.iter().filter_map(|entry| entry["details"].as_str()).collect();
    assert!(details.contains(&"oauth2_insufficient_scope"), "{details:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_has_calls_and_statistics_of_its_own() {
    if !native::is_chosen() {
        return;
    }
    let client = json!({
        "grant_type": "client_credentials", "endpoint": "http://as.test/token", "cluster": "as",
        "client_id": "orders", "client_secret": "s",
    });
    let outbound = json!({"outbound": {"clients": {"of-route": client}}});
    let set_up = set_up(json!([route("/out", &of_route(&outbound)), rest()])).await;
    let gate = Gate::new();
    let token = json!({"access_token": "t", "token_type": "Bearer", "expires_in": 3600});
    set_up.server.on("/token", Answer::json(200, &token).held_by(&gate));
    let mut waiting = JoinSet::new();
    let address = set_up.address();
    for _ in 0..5 {
        waiting.spawn(async move { Request::get("/out").send(address).await.expect("an answer") });
    }
    gate.arrived(1).await;
    set_up.under_way(5).await;
    gate.open();
    for answer in waiting.join_all().await {
        assert_eq!(answer.status, 200);
    }
    assert_eq!(set_up.server.count("/token"), 1);
    let received = set_up.service.requests();
    assert!(received.iter().all(|it| it.headers.all("authorization") == ["Bearer t"]));
    let is_counted = async || {
        let stats = set_up.envoy.stats("outbound_requests.*of-route").await;
        stats.values().sum::<u64>() == 5
    };
    wait::until("the requests of the route's client to be counted", is_counted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_a_route_that_is_no_good_is_rejected() {
    if !native::is_chosen() {
        return;
    }
    let secret = |secret: Value| document(json!({"introspection": {"client_secret": secret}}));
    let mut other_name = of_route(&document(json!({})));
    other_name["filter_name"] = json!("oauth");
    for (config, mistake) in [
        (other_name, "filter_name is \"oauth\"; the filter of this module is \"oauth2\""),
        (of_route(&document(json!({"scop": "a"}))), "inbound.scop: unknown key; did you mean"),
        (
            of_route(&secret(json!({"sds": "a"}))),
            "inbound.introspection.client_secret.sds: not in a document for a route, to which \
             Envoy gives no secrets; use `file`, or the document of the filter",
        ),
        (of_route(&secret(json!({"file": "/absent"}))), "client_secret.file: failed to read"),
    ] {
        let ends = Ends::start().await;
        let bootstrap = ends.bootstrap().listener(listener(json!([route("/a", &config), rest()])));
        let started = Envoy::start_with(bootstrap, &one_worker()).await;
        let log = started.expect_err("a configuration that is rejected").log;
        assert!(log.contains(mistake), "{mistake}\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_of_a_copy_of_the_module_denies_requests() {
    if !native::is_chosen() {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let copy = directory.path().join("liboauth2_filter.so");
    fs::copy(workspace().join("target/liboauth2_filter.so"), &copy).expect("a copy");
    let mut config = of_route(&document(json!({"unmatched": "public"})));
    config["dynamic_module_config"]["module"] = json!({"local": {"filename": copy}});
    let set_up = set_up(json!([route("/copy", &config), rest()])).await;
    assert_eq!(status(&set_up, "/copy").await, 503);
    assert_eq!(status(&set_up, "/").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_edited_headers_select_another_document_is_denied() {
    if !native::is_chosen() {
        return;
    }
    let claims = document(json!({"forward": {"claims": {"x-user": "sub"}}}));
    let mut strict = route("/", &of_route(&document(json!({"scope": "strict"}))));
    strict["match"]["headers"] = json!([{"name": "x-user", "string_match": {"exact": "strict"}}]);
    let set_up = set_up(json!([strict, route("/", &of_route(&claims))])).await;
    for (user, status) in [("free", 200), ("strict", 503)] {
        let body = json!({"active": true, "sub": user});
        set_up.server.on(ENDPOINT, Answer::json(200, &body));
        assert_eq!(set_up.get(user).await.status, status, "{user}");
    }
    assert_eq!(set_up.service.requests().len(), 1);
}

/// A route configuration for discovery.
fn route_configuration(routes: &Value) -> Value {
    json!({"resources": [{
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        "name": "routes",
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}],
    }]})
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_while_documents_of_routes_change() {
    if !native::is_chosen() {
        return;
    }
    let directory = TempDir::new().expect("a temporary directory");
    let file = directory.path().join("routes.json");
    let write = |n: usize| {
        let realm = json!({"realm": format!("r{n}")});
        let routes = json!([route("/routed", &of_route(&document(realm))), rest()]);
        let next = directory.path().join("next.json");
        fs::write(&next, route_configuration(&routes).to_string()).expect("a file");
        fs::rename(&next, &file).expect("renamed");
    };
    write(0);
    let ends = Ends::start().await;
    let mut routed = listener(json!([]));
    routed = routed.connection_manager(json!({"route_config": null, "rds": {
        "route_config_name": "routes", "config_source": {"path_config_source": {"path": file}},
    }}));
    let bootstrap = ends.bootstrap().listener(routed);
    let set_up = ends.with(bootstrap).await;
    set_up.server.on(ENDPOINT, active());
    let reloads = format!("http.{LISTENER}.rds.routes.config_reload");
    set_up.envoy.stat_reaches(&reloads, 1).await;

    // These wait while their document is replaced.
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, active().held_by(&gate));
    let address = set_up.address();
    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        waiting.spawn(async move {
            Request::get("/routed").bearer("waits").send(address).await.expect("an answer")
        });
    }
    gate.arrived(1).await;
    set_up.under_way(20).await;
    write(1);
    set_up.envoy.stat_reaches(&reloads, 2).await;
    gate.open();
    for answer in waiting.join_all().await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    set_up.server.on(ENDPOINT, active());
    let load = set_up.under_load(10, "/routed", async || {
        for n in 2..50 {
            write(n);
            set_up.envoy.stat_reaches(&reloads, n as u64 + 1).await;
            let realm = format!("realm=\"r{n}\"");
            wait::until(&realm, async || {
                let refused = set_up.send(&Request::get("/routed")).await;
                refused.headers.get("www-authenticate").is_some_and(|it| it.contains(&realm))
            })
            .await;
        }
    });
    assert!(load.await > 0);
    set_up.comes_to_rest().await;
}
