use std::{sync::OnceLock, time::Instant};

use tokio::task::JoinHandle;

use super::*;
use crate::{
    client::{Connection, Http2},
    scripted::{Answer, Gate, ScriptedServer},
    upstream::Upstream,
};

/// A filter that adds a response field.
fn header_mutation(value: &str) -> Value {
    let field = json!({"header": {"key": "x-filter", "value": value}});
    json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        "mutations": {"response_mutations": [{"append": field}]},
    })
}

async fn started(bootstrap: Bootstrap) -> Envoy {
    Envoy::start(bootstrap).await.expect("Envoy starts")
}

#[tokio::test]
async fn requests_are_routed_counted_and_logged() {
    let upstream = Upstream::start().await;
    let filter = json!({"name": "mutation", "typed_config": header_mutation("static")});
    let bootstrap = Bootstrap::new()
        .cluster("upstream", upstream.address())
        .listener(Listener::to("in", "upstream").filter(filter))
        .listener(Listener::answering("fixed", 418, "a teapot"));
    let envoy = started(bootstrap).await;

    let answer =
        Request::get("//a/%2e%2e/b?q").bearer("t").send(envoy.address("in")).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["path"], "//a/%2e%2e/b?q");
    assert_eq!(answer.header("x-filter").as_deref(), Some("static"));
    assert_eq!(upstream.requests()[0].header("authorization").as_deref(), Some("Bearer t"));
    assert_eq!(Request::get("/").send(envoy.address("fixed")).await.unwrap().status, 418);

    let entries = envoy.access_log_entries("in", 1).await;
    assert_eq!(entries[0]["status"], 200);
    assert_eq!(entries[0]["details"], "via_upstream");
    assert_eq!(entries[0]["path"], "//a/%2e%2e/b?q");
    assert_eq!(envoy.stat("http.in.downstream_rq_2xx").await, Some(1));
    assert_eq!(envoy.stat("http.in.no_such_stat").await, None);
    envoy.stat_reaches("http.fixed.downstream_rq_4xx", 1).await;
}

#[tokio::test]
async fn http2_works_on_both_sides_and_a_dropped_stream_is_reset() {
    let upstream = Upstream::start().await;
    let scripted = ScriptedServer::start().await;
    let gate = Gate::new();
    scripted.on("/held", Answer::status(200).held_by(&gate));
    let routes = json!([
        {"match": {"prefix": "/held"}, "route": {"cluster": "scripted"}},
        {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}},
    ]);
    let bootstrap = Bootstrap::new()
        .custom_cluster(Cluster::new("upstream", upstream.address()).http2())
        .cluster("scripted", scripted.address())
        .listener(Listener::routing("in", routes));
    let envoy = started(bootstrap).await;
    let connection = Http2::open(envoy.address("in")).await.unwrap();

    let answer = connection.send(&Request::post("/a", "body")).await.unwrap();
    assert_eq!(answer.json()["version"], "HTTP/2.0");
    assert_eq!(answer.json()["body_bytes"], 4);

    let requests: Vec<_> = (0..40)
        .map(|_| {
            let connection = connection.clone();
            tokio::spawn(async move { connection.send(&Request::get("/held")).await })
        })
        .collect();
    gate.arrived(40).await;
    let (aborted, kept) = requests.split_at(20);
    aborted.iter().for_each(JoinHandle::abort);
    wait::until("the aborted requests to leave", async || gate.waiting() == 20).await;
    envoy.stat_reaches("http.in.downstream_rq_rx_reset", 20).await;
    gate.open();
    wait::until("the other requests to end", async || kept.iter().all(JoinHandle::is_finished))
        .await;
    for request in requests.into_iter().skip(20) {
        assert_eq!(request.await.unwrap().unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_grpc_request_gets_its_status() {
    let server = ScriptedServer::start().await;
    let bootstrap =
        Bootstrap::new().cluster("gone", server.address()).listener(Listener::to("in", "gone"));
    let envoy = started(bootstrap).await;
    server.refuse().await;
    let request = Request::grpc("/orders.Orders/List", b"");
    let answer = request.send_http2(envoy.address("in")).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.grpc_status(), Some(14));
    assert!(answer.grpc_message().unwrap().contains("connect error"), "{answer:?}");
}

#[tokio::test]
async fn what_the_scripted_server_spoils_envoy_notices() {
    let server = ScriptedServer::start().await;
    let hello = || Answer::status(200).body("hello");
    server.on("/whole", hello());
    server.on("/chunked", hello().chunked());
    server.on("/hints", hello().early_hints());
    server.on("/garbage", Answer::raw("garbage\r\n\r\n"));
    server.on("/close", Answer::close());
    server.on("/reset", Answer::reset());
    server.on("/slow", Answer::hang());
    let bootstrap = Bootstrap::new()
        .cluster("server", server.address())
        .listener(Listener::to("in", "server").stream_idle_timeout(Duration::from_millis(300)));
    let envoy = started(bootstrap).await;
    let mut connection = Connection::open(envoy.address("in")).await.unwrap();
    let cases = [
        ("/whole", 200),
        ("/chunked", 200),
        ("/hints", 200),
        ("/garbage", 502),
        ("/close", 503),
        ("/reset", 503),
        ("/slow", 504),
    ];
    for (path, status) in cases {
        let answer = connection.send(&Request::get(path)).await.unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        if status == 504 {
            break;
        }
    }
    let connections: Vec<_> =
        ["/whole", "/chunked"].map(|path| server.requests(path)[0].connection).into();
    assert_eq!(connections[0], connections[1], "kept alive");

    server.refuse().await;
    assert_eq!(Request::get("/whole").send(envoy.address("in")).await.unwrap().status, 503);
    server.accept();
    assert_eq!(Request::get("/whole").send(envoy.address("in")).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_discovered_filter_can_be_replaced_and_a_bad_one_is_refused() {
    let listener =
        Listener::answering("in", 200, "").discovered_filter("mutation", &header_mutation("1"));
    let envoy = started(Bootstrap::new().listener(listener)).await;
    let value = async || {
        Request::get("/").send(envoy.address("in")).await.unwrap().header("x-filter").unwrap()
    };
    assert_eq!(value().await, "1");
    envoy.update_filter("mutation", &header_mutation("2")).await.unwrap();
    wait::until("every worker to have it", async || value().await == "2").await;
    let bad = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
    });
    envoy.update_filter("mutation", &bad).await.unwrap_err();
    assert_eq!(value().await, "2");
}

#[tokio::test]
async fn upstream_filters_and_thresholds_are_taken() {
    let upstream = Upstream::start().await;
    let filter = json!({"name": "mutation", "typed_config": header_mutation("upstream")});
    let cluster = Cluster::new("upstream", upstream.address())
        .http2()
        .upstream_filters(vec![filter])
        .thresholds(&json!({"max_requests": 1}));
    let bootstrap =
        Bootstrap::new().custom_cluster(cluster).listener(Listener::to("in", "upstream"));
    let envoy = started(bootstrap).await;
    let answer = Request::get("/").send(envoy.address("in")).await.unwrap();
    assert_eq!(answer.header("x-filter").as_deref(), Some("upstream"));
    assert_eq!(answer.json()["version"], "HTTP/2.0");
}

#[tokio::test]
async fn a_refused_configuration_is_an_error_with_the_log() {
    let start = Instant::now();
    let error = Envoy::start("static_resources: {no_such_field: 1}").await.unwrap_err();
    assert!(error.reason.contains("exit status"), "{error}");
    assert!(error.log.contains("no_such_field"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());

    let plugin = WasmPlugin::new("{}").file("/no/such.wasm");
    let listener = Listener::answering("in", 200, "").filter(plugin.filter("oauth2"));
    let error = Envoy::start(Bootstrap::new().listener(listener)).await.unwrap_err();
    assert!(error.log.contains("/no/such.wasm"), "{error}");
}

#[tokio::test]
async fn text_is_a_configuration_whose_admin_address_is_replaced() {
    let text = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 1}}}";
    let envoy = Envoy::start(text).await.expect("Envoy starts");
    assert_ne!(envoy.admin().port(), 1);
    assert!(envoy.admin_get("/server_info").await.contains("LIVE"));
}

#[test]
fn it_ends_and_leaves_nothing_when_it_is_dropped() {
    static LEFT: OnceLock<(PathBuf, u32)> = OnceLock::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let panic = runtime.block_on(runtime.spawn(async {
        let envoy = started(Bootstrap::new()).await;
        LEFT.set((envoy.directory.path().to_owned(), envoy.pid())).unwrap();
        panic!("on purpose: Envoy's log stands after this");
    }));
    assert!(panic.unwrap_err().is_panic());
    let (directory, pid) = LEFT.get().unwrap();
    assert!(!directory.exists());
    assert!(!Path::new("/proc").join(pid.to_string()).exists());
}
