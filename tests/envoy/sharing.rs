//! Answers that all workers share.

use oauth2_filter_testbed::client::{Connection, Request};
use oauth2_filter_testbed::envoy::{Bootstrap, Envoy, Listener, Options, WasmPlugin, native};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::wait;
use serde_json::json;
use tokio::task::JoinSet;

use crate::exchanges::exchange;

const ENDPOINT: &str = "/p/introspect";
const TOKENS: usize = 500;
const CONNECTIONS: usize = 64;

/// Over each connection: some five seconds' worth on a small machine.
const REQUESTS: usize = 2_500;

#[tokio::test(flavor = "multi_thread")]
async fn rs_7662_09_a_token_costs_one_introspection_whatever_the_workers() {
    let server = ScriptedServer::start().await;
    server.on(ENDPOINT, Answer::json(200, &json!({"active": true})));
    // Longer than any run of this test takes.
    let cache = json!({"max_ttl": "1h"});
    let plugin = WasmPlugin::new(&exchange("").inbound(json!({"cache": cache})).document("p"));
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
            for n in 0..REQUESTS {
                // All go through the tokens in step, so that many ask about each at once.
                let token = format!("token-{}", (n + client % 2) % TOKENS);
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
    // Two first writes to one slot at once are the only race that can cost a second call.
    let calls = server.count(ENDPOINT);
    println!("{calls} calls for {TOKENS} tokens in {} requests", CONNECTIONS * REQUESTS);
    assert!((TOKENS..=TOKENS + 5).contains(&calls), "{calls} calls for {TOKENS} tokens");
    let sent = u64::try_from(CONNECTIONS * REQUESTS).expect("a small number");
    if native::is_chosen() {
        // Its counts may be some milliseconds late.
        wait::until("all counts", async || {
            envoy.stats("oauth2_filter.requests.decision").await.values().sum::<u64>() >= sent
        })
        .await;
    }
    let requests = envoy.stats("oauth2_filter.requests.decision").await;
    let decided: u64 = requests.values().sum();
    let allowed = |name: &str| name.contains("decision.allowed");
    let allowed: u64 = requests.iter().filter(|(name, _)| allowed(name)).map(|(_, n)| n).sum();
    assert_eq!((decided, allowed), (sent, sent), "{requests:?}");
}
