//! Claims that are not forwarded, as operators see them.

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::examples::InboundYaml;
use oauth2_filter_testbed::scripted::Answer;
use oauth2_filter_testbed::wait;
use serde_json::json;

use crate::set_up::{ENDPOINT, Ends, listener, plugin};

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_not_forwarded_is_counted_by_its_header_and_logged() {
    let ends = Ends::start().await;
    let labels = InboundYaml::named("inbound-observed.yaml").field("stats_config");
    let inbound = json!({"forward": {"claims": {
        "x-client_event.a": "name", "x-percent": {"claim": "name", "encoding": "percent"},
    }}});
    let bootstrap = ends.bootstrap().yaml(&labels).listener(listener(&plugin(inbound)));
    let set_up = ends.with(bootstrap).await;
    let series = async |count: u64| {
        let line = format!("oauth2_filter_claims_dropped{{header=\"x-client_event_a\"}} {count}\n");
        let text = set_up.envoy.admin_get("/stats/prometheus").await;
        assert!(text.contains("oauth2_filter_claims_dropped{header=\"x-percent\"} 0\n"), "{text}");
        text.contains(&line)
    };
    assert!(series(0).await);
    let known = json!({"active": true, "name": "Zo\u{eb} M\u{fc}ller"});
    set_up.server.on(ENDPOINT, Answer::json(200, &known));
    for token in ["a", "a", "b"] {
        let answer = set_up.send(&Request::get("/").bearer(token)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let request = set_up.service.requests().pop().expect("a request");
        assert_eq!(request.header("x-client_event.a"), None);
        assert_eq!(request.headers.all("x-percent"), ["Zo%C3%AB%20M%C3%BCller"]);
    }
    wait::until("two responses to be counted", async || series(2).await).await;
    let log = set_up.envoy.log();
    let line = "header x-client_event.a is not set: its claim is not printable ASCII";
    assert_eq!(log.matches(line).count(), 1, "{log}");
    assert!(!log.contains("Zo"), "{log}");
}
