//! Answers that all workers share.

use oauth2_filter_testbed::client::{Connection, Request};
use oauth2_filter_testbed::envoy::{Bootstrap, Envoy, Listener, Options, WasmPlugin};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use serde_json::json;
use tokio::task::JoinSet;

use crate::exchanges::exchange;

const ENDPOINT: &str = "/p/introspect";
const TOKENS: usize = 500;
const CONNECTIONS: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_costs_one_introspection_whatever_the_workers() {
    let server = ScriptedServer::start().await;
    server.on(ENDPOINT, Answer::json(200, &json!({"active": true})));
    let plugin = WasmPlugin::new(&exchange("").document("p"));
    let bootstrap = Bootstrap::new()
        .cluster("as", server.address())
        .listener(Listener::answering("guarded", 200, "ok").filter(plugin.filter("oauth2")));
    let options = Options { concurrency: 2, ..Options::default() };
    let envoy = Envoy::start_with(bootstrap, &options).await.expect("Envoy with two workers");
    let address = envoy.address("guarded");

    let mut clients = JoinSet::new();
    for client in 0..CONNECTIONS {
        clients.spawn(async move {
            let mut connection = Connection::open(address).await.expect("a connection");
            for n in 0..TOKENS {
                // All begin at the same token, so that many ask about each at once.
                let token = format!("token-{}", n + client % 2);
                let answer = connection.send(&Request::get("/").bearer(&token)).await;
                assert_eq!(answer.expect("an answer").status, 200);
            }
        });
    }
    clients.join_all().await;
    let both = envoy.stats("listener.").await;
    let busy = both.iter().filter(|(name, n)| {
        name.contains("worker_") && name.ends_with("downstream_cx_total") && **n > 1
    });
    assert_eq!(busy.count(), 2, "both workers have had connections: {both:?}");
    // The race for a slot that was never written is the only one that can cost a second call.
    let calls = server.count(ENDPOINT);
    assert!((TOKENS + 1..=TOKENS + 5).contains(&calls), "{calls} calls for {} tokens", TOKENS + 1);
}
