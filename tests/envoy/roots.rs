//! Root contexts: who shares one.

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::{Bootstrap, Envoy, Listener, Options, WasmPlugin};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use serde_json::json;

use crate::exchanges::exchange;

#[tokio::test(flavor = "multi_thread")]
async fn listeners_with_the_same_configuration_share_what_is_kept() {
    let server = ScriptedServer::start().await;
    server.on("/p/introspect", Answer::json(200, &json!({"active": true})));
    let plugin = WasmPlugin::new(&exchange("").document("p"));
    let guarded = |name| Listener::answering(name, 200, "ok").filter(plugin.filter("oauth2"));
    let bootstrap = Bootstrap::new()
        .cluster("as", server.address())
        .listener(guarded("one"))
        .listener(guarded("other"));
    let options = Options { concurrency: 1, ..Options::default() };
    let envoy = Envoy::start_with(bootstrap, &options).await.expect("the same filter, twice");

    for listener in ["one", "other", "one", "other"] {
        let answer = Request::get("/").bearer("t").send(envoy.address(listener)).await;
        assert_eq!(answer.expect("an answer").status, 200, "{listener}");
    }
    assert_eq!(server.count("/p/introspect"), 1);
}
