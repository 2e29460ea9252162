use std::sync::OnceLock;

use super::*;
use crate::{
    client::{Connection, Http2},
    scripted::{Answer, ScriptedServer},
    upstream::Upstream,
};

#[tokio::test]
async fn requests_are_routed_counted_and_logged() {
    let upstream = Upstream::start().await;
    let bootstrap = Bootstrap::new()
        .custom_cluster(Cluster::new("upstream", upstream.address()).http2())
        .listener(Listener::to("in", "upstream"))
        .listener(Listener::answering("fixed", 418, "a teapot"));
    let envoy = Envoy::start(bootstrap).await.expect("Envoy starts");
    let connection = Http2::open(envoy.address("in")).await.unwrap();
    let answer = connection.send(&Request::post("//a/%2e%2e/b?q", "body")).await.unwrap();
    assert_eq!(
        (&answer.json()["path"], &answer.json()["version"]),
        (&json!("//a/%2e%2e/b?q"), &json!("HTTP/2.0"))
    );
    assert_eq!(Request::get("/").send(envoy.address("fixed")).await.unwrap().status, 418);
    let entries = envoy.access_log_entries("in", 1).await;
    assert_eq!(
        (&entries[0]["details"], &entries[0]["path"]),
        (&json!("via_upstream"), &json!("//a/%2e%2e/b?q"))
    );
    assert_eq!(envoy.stat("http.in.no_such_stat").await, None);
    envoy.stat_reaches("http.fixed.downstream_rq_4xx", 1).await;
}

#[tokio::test]
async fn what_the_scripted_server_spoils_envoy_notices() {
    let server = ScriptedServer::start().await;
    server.on("/whole", Answer::status(200).body("hello").chunked().early_hints());
    server.on("/garbage", Answer::raw("garbage\r\n\r\n"));
    server.on("/close", Answer::close());
    server.on("/reset", Answer::reset());
    server.on("/slow", Answer::hang());
    let bootstrap = Bootstrap::new()
        .cluster("server", server.address())
        .listener(Listener::to("in", "server").stream_idle_timeout(Duration::from_millis(300)));
    let envoy = Envoy::start(bootstrap).await.expect("Envoy starts");
    let mut connection = Connection::open(envoy.address("in")).await.unwrap();
    for (path, status) in
        [("/whole", 200), ("/garbage", 502), ("/close", 503), ("/reset", 503), ("/slow", 504)]
    {
        let answer = connection.send(&Request::get(path)).await.unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    let status = async || Request::get("/whole").send(envoy.address("in")).await.unwrap().status;
    server.refuse().await;
    assert_eq!(status().await, 503);
    server.accept();
    assert_eq!(status().await, 200);
}

#[tokio::test]
async fn a_refused_configuration_is_an_error_with_the_log() {
    let error = Envoy::start("static_resources: {no_such_field: 1}").await.unwrap_err();
    assert!(error.reason.contains("exit status"), "{error}");
    assert!(error.log.contains("no_such_field"), "{error}");
}

#[test]
fn it_ends_and_leaves_nothing_when_it_is_dropped() {
    static LEFT: OnceLock<(PathBuf, u32)> = OnceLock::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let panic = runtime.block_on(runtime.spawn(async {
        let envoy = Envoy::start(Bootstrap::new()).await.expect("Envoy starts");
        LEFT.set((envoy.directory.path().to_owned(), envoy.pid())).unwrap();
        panic!("on purpose: Envoy's log stands after this");
    }));
    assert!(panic.unwrap_err().is_panic());
    let (directory, pid) = LEFT.get().unwrap();
    assert!(!directory.exists());
    assert!(!Path::new("/proc").join(pid.to_string()).exists());
}
