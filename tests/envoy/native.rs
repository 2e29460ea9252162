//! What only the dynamic module has: panics that leave the rest of the proxy alone, and updates in
//! great number. With the WebAssembly module, these tests have nothing to do.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use oauth2_filter_testbed::client::{Http2, Request, Response};
use oauth2_filter_testbed::envoy::{Envoy, Listener, Options, WasmPlugin, example, native};
use oauth2_filter_testbed::scripted::{Answer, Gate};
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::set_up::{ENDPOINT, Ends, LISTENER, SetUp, active, document, plugin};

/// So often the configuration is updated under load.
const UPDATES: usize = 1000;

/// The details of a request that is denied because of a panic.
const HOST_ERROR: &str = "oauth2_host_error";

/// Two workers whose hooks can be told to panic.
async fn two_workers() -> SetUp {
    let ends = Ends::start().await;
    let config = native::that_panics(&WasmPlugin::new(&document(json!({}))));
    let filter = json!({"name": "oauth2", "typed_config": config});
    let bootstrap = ends.bootstrap().listener(Listener::to(LISTENER, "service").filter(filter));
    ends.with_options(bootstrap, &Options::default()).await
}

/// Sends a request; its answer comes from the task.
fn send(connection: &Http2, token: &str) -> JoinHandle<Response> {
    let (connection, request) = (connection.clone(), Request::get("/").bearer(token));
    tokio::spawn(async move { connection.send(&request).await.expect("an answer") })
}

/// Tells a hook to panic at this request.
async fn panic_in(connection: &Http2, hook: &str, token: &str) -> Response {
    let request = Request::get("/").bearer(token).header("x-panic-on-command", hook);
    connection.send(&request).await.expect("an answer")
}

/// The answer of a request that must come within a second.
async fn soon(answer: JoinHandle<Response>) -> u16 {
    let answer = timeout(Duration::from_secs(1), answer).await.expect("it does not hang");
    answer.expect("an answer").status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_a_hook_denies_what_depends_on_its_state_and_nothing_else() {
    if !native::is_chosen() {
        return;
    }
    let set_up = two_workers().await;
    assert_eq!(set_up.get("known").await.status, 200);
    for hook in ["request_headers", "scheduled", "response_headers", "stream_complete"] {
        let [panicking, other] = set_up.connections_to_each_worker().await;
        let gate = Gate::new();
        set_up.server.on(ENDPOINT, active().held_by(&gate));
        let waiting =
            [send(&panicking, &format!("{hook}-1")), send(&panicking, &format!("{hook}-2"))];
        let elsewhere = send(&other, &format!("{hook}-3"));
        gate.arrived(3).await;
        set_up.under_way(3).await;
        // A request waits before it is scheduled.
        let token = if hook == "scheduled" { "scheduled-1" } else { "known" };
        let commanded = if hook == "scheduled" {
            let (connection, token) = (panicking.clone(), token.to_owned());
            let commanded =
                tokio::spawn(async move { panic_in(&connection, "scheduled", &token).await });
            set_up.under_way(4).await;
            gate.open();
            commanded.await.expect("an answer").status
        } else {
            panic_in(&panicking, hook, token).await.status
        };
        // At its end, the request has been answered.
        let denied = hook != "stream_complete";
        assert_eq!(commanded, if denied { 503 } else { 200 }, "{hook}");
        for waiting in waiting {
            let status = soon(waiting).await;
            // The first that is scheduled may have been decided before the panic.
            assert!(status == 503 || hook == "scheduled" && status == 200, "{hook}: {status}");
        }
        gate.open();
        assert_eq!(soon(elsewhere).await, 200, "{hook}: the other worker");
        set_up.server.on(ENDPOINT, active());
        assert_eq!(soon(send(&panicking, "known")).await, 200, "{hook}: its worker goes on");
        assert_eq!(soon(send(&panicking, &format!("{hook}-4"))).await, 200, "{hook}");
    }
    let counter = "wasmcustom.oauth2_filter.requests.decision.denied.reason.host_error";
    assert!(set_up.envoy.stat(counter).await > Some(0));
    assert!(set_up.envoy.log().contains(HOST_ERROR));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_on_the_main_thread_denies_what_waits_and_changes_nothing_that_is_cached() {
    if !native::is_chosen() {
        return;
    }
    let set_up = two_workers().await;
    assert_eq!(set_up.get("known").await.status, 200);
    let [one, other] = set_up.connections_to_each_worker().await;
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, active().held_by(&gate));
    let waiting = [send(&one, "one"), send(&other, "two"), send(&other, "one")];
    gate.arrived(2).await;
    set_up.under_way(3).await;
    // The command is carried out when the main thread has something to do next.
    let commanded = {
        let connection = one.clone();
        tokio::spawn(async move { panic_in(&connection, "main_thread", "three").await })
    };
    for waiting in waiting {
        assert_eq!(soon(waiting).await, 503);
    }
    assert_eq!(soon(commanded).await, 503);
    set_up.server.on(ENDPOINT, active());
    for connection in [&one, &other] {
        // Calls about "one" and "two" are still in flight, but nobody waits for them.
        for token in ["known", "one", "two", "four"] {
            assert_eq!(soon(send(connection, token)).await, 200, "{token}");
        }
    }
    gate.open();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute: make native-test runs it"]
async fn a_thousand_updates_under_load_lose_no_request_let_none_through_and_keep_no_memory() {
    if !native::is_chosen() {
        return;
    }
    let ends = Ends::start().await;
    let config = |n: usize| plugin(json!({"realm": format!("realm {n}")})).typed_config();
    let listener = Listener::to(LISTENER, "service").discovered_filter("oauth2", &config(0));
    let bootstrap = ends.bootstrap().listener(listener);
    let options = Options { concurrency: 4, ..Options::default() };
    let set_up = ends.with_options(bootstrap, &options).await;
    let address = set_up.address();
    let ended = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for client in 0..8 {
        let ended = Arc::clone(&ended);
        clients.spawn(async move {
            let connection = Http2::open(address).await.expect("a connection");
            let mut passed = 0;
            while !ended.load(Ordering::Relaxed) {
                let token = format!("token-{client}-{passed}");
                for (request, status) in [
                    (Request::get("/").bearer(&token), 200),
                    (Request::get("/").bearer("known"), 200),
                    (Request::get("/"), 401),
                ] {
                    let answer = connection.send(&request).await.expect("an answer");
                    assert_eq!(answer.status, status, "{}", answer.text());
                }
                passed += 2;
            }
            passed
        });
    }
    let mut settled = 0;
    for n in 1..=UPDATES {
        set_up.envoy.update_filter("oauth2", &config(n)).await.expect("no mistake");
        if n == UPDATES / 4 {
            settled = resident(set_up.envoy.pid());
        }
    }
    let resident = resident(set_up.envoy.pid());
    ended.store(true, Ordering::Relaxed);
    let passed: usize = clients.join_all().await.into_iter().sum();
    assert!(passed > UPDATES, "there was load: {passed}");
    assert_eq!(set_up.service.requests().len(), passed);
    assert!(resident < settled + 16_384, "{settled} kB at first, then {resident} kB");
    println!(
        "{UPDATES} updates, {passed} requests, {settled} kB after a quarter, {resident} kB at the end"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn native_inbound_yaml_guards_the_service() {
    if !native::is_chosen() {
        return;
    }
    let ends = Ends::start().await;
    let port = |address: SocketAddr| format!("port_value: {} ", address.port());
    let text = example(
        "native/inbound.yaml",
        &[
            ("port_value: 10000 ", "port_value: 0 "),
            ("port_value: 9000 ", &port(ends.server.address())),
            ("port_value: 9001 ", &port(ends.service.address())),
        ],
    );
    let environment = vec![("ORDERS_API_SECRET".to_owned(), "secret".to_owned())];
    let options = Options { environment, ..Options::default() };
    let envoy = Envoy::start_with(text, &options).await.expect("native/inbound.yaml");
    let said = json!({
        "active": true, "aud": "https://orders.example.com", "scope": "orders:read", "sub": "alice",
    });
    ends.server.on(ENDPOINT, Answer::json(200, &said));
    let send = async |request: Request| {
        request.send(envoy.address("inbound")).await.expect("an answer").status
    };
    assert_eq!(send(Request::get("/orders/1")).await, 401);
    assert_eq!(send(Request::get("/orders/1").bearer("token")).await, 200);
    assert_eq!(send(Request::post("/orders/1", "").bearer("token")).await, 403);
    let requests = ends.service.requests();
    let [request] = requests.as_slice() else { panic!("{} requests", requests.len()) };
    assert_eq!(request.header("x-user").as_deref(), Some("alice"));
    let series = "oauth2_filter_requests{decision=\"allowed\",reason=\"token\"} 1";
    assert!(envoy.admin_get("/stats/prometheus").await.contains(series));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_cannot_be_fetched_leaves_nothing_open() {
    if !native::is_chosen() {
        return;
    }
    let ends = Ends::start().await;
    ends.server.on("/module.so", Answer::status(404));
    let mut filter = plugin(json!({})).filter("oauth2");
    filter["typed_config"]["dynamic_module_config"] = json!({
        "module": {"remote": {
            "http_uri": {"uri": "http://as.test/module.so", "cluster": "as", "timeout": "5s"},
            "sha256": "0".repeat(64),
        }},
        "nack_on_cache_miss": true,
        "do_not_close": true,
    });
    let bootstrap = ends.bootstrap().listener(Listener::to(LISTENER, "service").filter(filter));
    let error = Envoy::start_with(bootstrap, &Options::default()).await.expect_err("no module");
    assert!(error.log.contains("Remote module not cached"), "{error}");
}

/// The resident memory of a process, in kB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
