//! Authorization servers that refuse, reset, hang, dawdle or talk nonsense, and then work again.

use std::{collections::HashMap, time::Duration};

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::{Bootstrap, Cluster};
use oauth2_filter_testbed::scripted::{Answer, Gate};
use oauth2_filter_testbed::{Received, wait};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::set_up::{ENDPOINT, Ends, LISTENER, SetUp, active, listener, plugin};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_used_again_when_it_is_up() {
    for retries in [0, 1] {
        let set_up = SetUp::new(json!({"introspection": {"retries": retries}})).await;
        set_up.server.refuse().await;
        assert_eq!(set_up.refusal("a").await, (503, "oauth2_server_unavailable".to_owned()));
        assert_eq!(set_up.calls(), 0);
        set_up.server.accept();
        assert_eq!(set_up.get("a").await.status, 200, "retries: {retries}");
        set_up.comes_to_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_http_02_a_server_that_fails_is_used_again_when_it_works() {
    let inbound = json!({"introspection": {"retries": 0, "timeout": "2s"}});
    let set_up = SetUp::new(inbound).await;
    let ok = || Answer::json(200, &json!({"active": true, "sub": "somebody"}));
    let long = Duration::from_mins(1);
    let unavailable = (503, "oauth2_server_unavailable");
    let timeout = (503, "oauth2_server_timeout");
    let bad_answer = (502, "oauth2_server_bad_answer");
    let cases = [
        ("resets", Answer::reset(), unavailable),
        ("closes", Answer::close(), unavailable),
        ("resets-after-the-head", ok().reset_after_head(), unavailable),
        ("breaks-off", ok().truncated(7), unavailable),
        ("breaks-off-in-a-chunk", ok().chunked().truncated(7), unavailable),
        ("hangs", Answer::hang(), timeout),
        ("hangs-after-the-head", ok().hang_after_head(), timeout),
        ("dawdles", ok().delayed(long), timeout),
        ("drips", ok().dripping(1, long), timeout),
        ("talks-another-protocol", Answer::raw("220 mail.test ESMTP\r\n"), unavailable),
        ("sends-bytes", Answer::raw([0, 255, 1, 254, 13, 10, 13, 10]), unavailable),
        ("says-500", Answer::status(500).body("{}"), unavailable),
        ("says-503", Answer::status(503), unavailable),
        ("says-429", Answer::status(429), unavailable),
        ("says-401", Answer::status(401), (502, "oauth2_server_refused_client")),
        ("says-302", Answer::status(302).header("location", "/"), bad_answer),
        ("says-204", Answer::status(204), bad_answer),
        ("says-no-json", Answer::status(200).body("active=true"), bad_answer),
        ("says-5-mb", ok().padded_to(5_000_000), bad_answer),
        ("says-5-mb-in-chunks", ok().padded_to(5_000_000).chunked(), bad_answer),
    ];
    // Each token has its own server, as it were, and all fail at once.
    let answers: HashMap<_, _> =
        cases.iter().map(|(what, answer, _)| (*what, answer.clone())).collect();
    set_up.server.on_each(ENDPOINT, move |call| {
        answers[call.parameter("token").expect("a token").as_str()].clone()
    });
    let address = set_up.address();
    let mut requests = JoinSet::new();
    for (what, _, _) in &cases {
        let request = Request::get(&format!("/{what}")).bearer(what);
        requests.spawn(async move { request.send(address).await.expect("an answer") });
    }
    requests.join_all().await;
    for (what, _, (status, details)) in &cases {
        let entry = set_up.logged(&format!("/{what}")).await;
        assert_eq!(
            (&entry["status"], &entry["details"]),
            (&json!(status), &json!(details)),
            "{what}"
        );
        let asked = |call: &Received| call.parameter("token").as_deref() == Some(what);
        let calls = set_up.server.requests(ENDPOINT).into_iter().filter(asked).count();
        assert_eq!(calls, 1, "{what}");
    }
    assert!(set_up.service.requests().is_empty());

    set_up.server.on(ENDPOINT, active());
    for (what, _, _) in cases {
        assert_eq!(set_up.get(what).await.status, 200, "after one that {what}");
    }
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_7662_02_d3_05_an_answer_larger_than_envoy_takes_is_a_failure() {
    let set_up = SetUp::new(json!({})).await;
    for (token, answer) in [("a", active()), ("b", active().chunked())] {
        set_up.server.on(ENDPOINT, answer.padded_to(40_000_000));
        let (status, details) = set_up.refusal(token).await;
        assert!(matches!(status, 502 | 503), "{status} {details}");
        set_up.server.on(ENDPOINT, active());
        assert_eq!(set_up.get(token).await.status, 200);
    }
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_says_how_long_it_is_because_many_servers_read_no_chunks() {
    let set_up = SetUp::new(json!({})).await;
    assert_eq!(set_up.get("token").await.status, 200);
    let call = set_up.server.requests(ENDPOINT).pop().expect("a call");
    assert_eq!(call.header("content-length"), Some(call.body.len().to_string()));
    assert_eq!(call.header("transfer-encoding"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_server_is_waited_for() {
    let set_up = SetUp::new(json!({})).await;
    let said = Answer::json(200, &json!({"active": true, "sub": "somebody"}));
    let moment = Duration::from_millis(20);
    let cases = [
        ("late", said.clone().delayed(Duration::from_millis(300))),
        ("in drops", said.clone().dripping(1, moment)),
        ("in chunks that drip", said.clone().chunked().dripping(2, moment)),
        ("until the end", said.clone().until_close().dripping(3, moment)),
        ("after early hints", said.early_hints().delayed(moment)),
    ];
    for (what, answer) in cases {
        set_up.server.on(ENDPOINT, answer);
        let answer = set_up.get(&what.replace(' ', "-")).await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
    }
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failure_is_made_good_by_a_retry() {
    let set_up = SetUp::new(json!({})).await;
    for (calls, failure) in
        [Answer::reset(), Answer::close(), Answer::status(502), Answer::status(503)]
            .into_iter()
            .enumerate()
    {
        set_up.server.on(ENDPOINT, [failure, active()]);
        assert_eq!(set_up.get(&format!("token-{calls}")).await.status, 200);
        assert_eq!(set_up.calls(), 2 * calls + 2);
    }
    // No answer in which the server speaks for itself.
    let before = set_up.calls();
    set_up.server.on(ENDPOINT, [Answer::status(401), active()]);
    assert_eq!(set_up.get("token").await.status, 502);
    assert_eq!(set_up.calls(), before + 1);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_has_closed_meanwhile_is_not_used() {
    let set_up = SetUp::new(json!({"introspection": {"retries": 0}})).await;
    for n in 0..5 {
        assert_eq!(set_up.get(&format!("a-{n}")).await.status, 200);
        set_up.server.refuse().await;
        let open = async || set_up.envoy.stat("cluster.as.upstream_cx_active").await;
        wait::until("no open connection", async || open().await == Some(0)).await;
        set_up.server.accept();
        assert_eq!(set_up.get(&format!("b-{n}")).await.status, 200);
    }
    let connections = set_up.envoy.stat("cluster.as.upstream_cx_total").await;
    assert_eq!(connections, Some(6), "kept alive from one call to the next");
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_envoy_does_not_have_is_no_reason_to_blame_the_token() {
    let set_up = SetUp::new(json!({"introspection": {"cluster": "elsewhere"}})).await;
    for token in ["a", "b"] {
        assert_eq!(set_up.refusal(token).await, (503, "oauth2_server_unavailable".to_owned()));
    }
    set_up.envoy.logged("unknown cluster").await;
    assert_eq!(set_up.calls(), 0);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_7662_09_a_full_circuit_breaker_gives_503_and_lets_the_others_finish() {
    let ends = Ends::start().await;
    let one = json!({"max_connections": 1, "max_pending_requests": 1, "max_requests": 1});
    let bootstrap = Bootstrap::new()
        .custom_cluster(Cluster::new("as", ends.server.address()).thresholds(&one))
        .cluster("service", ends.service.address())
        .listener(listener(&plugin(json!({}))));
    let set_up = ends.with(bootstrap).await;
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, active().held_by(&gate));
    let address = set_up.address();
    let mut requests = JoinSet::new();
    let mut send = |token: &str| {
        let request = Request::get("/").bearer(token);
        requests.spawn(async move { request.send(address).await });
    };
    // One call is under way, and one waits for its connection.
    send("a");
    gate.arrived(1).await;
    send("b");
    set_up.envoy.stat_reaches("cluster.as.upstream_rq_pending_active", 1).await;
    for n in 0..100 {
        let answer = set_up.get(&format!("c-{n}")).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.json()["error"], "temporarily_unavailable");
    }
    // More requests with those tokens need no call.
    send("a");
    send("b");
    set_up.under_way(4).await;
    gate.open();
    for answer in requests.join_all().await {
        assert_eq!(answer.expect("an answer").status, 200);
    }
    assert_eq!(set_up.get("c-0").await.status, 200);
    assert_eq!(set_up.calls(), 3);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_overflow_the_circuit_breaker_while_they_connect_were_not_sent() {
    // Calls that come at once each begin a connection; those whose connection is there after that
    // of the first find the breaker open.
    let ends = Ends::start().await;
    let bootstrap = Bootstrap::new()
        .custom_cluster(
            Cluster::new("as", ends.server.address()).thresholds(&json!({"max_requests": 1})),
        )
        .cluster("service", ends.service.address())
        .listener(listener(&plugin(json!({"introspection": {"retries": 0}}))));
    let set_up = ends.with(bootstrap).await;
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, active().held_by(&gate));
    let address = set_up.address();
    let mut requests = JoinSet::new();
    for n in 0..20 {
        let request = Request::get("/").bearer(&format!("t-{n}"));
        requests.spawn(async move { request.send(address).await.expect("an answer").status });
    }
    for _ in 0..19 {
        assert_eq!(requests.join_next().await.expect("a request").expect("no panic"), 503);
    }
    gate.open();
    assert_eq!(requests.join_next().await.expect("a request").expect("no panic"), 200);
    assert_eq!(set_up.calls(), 1);
    let overflow = set_up.envoy.stat("cluster.as.upstream_rq_active_overflow").await;
    assert_eq!(overflow, Some(19));
    set_up.envoy.logged("not sent: no healthy host, or circuit breaker open").await;
    assert!(!set_up.envoy.log().contains("connection failed"), "{}", set_up.envoy.log());
    set_up.comes_to_rest().await;
}

impl SetUp {
    /// The status, and the details, of the refusal that a request with this new token gets.
    async fn refusal(&self, token: &str) -> (u16, String) {
        let path = format!("/refusal/{token}");
        let status = self.send(&Request::get(&path).bearer(token)).await.status;
        let entry = self.logged(&path).await;
        (status, entry["details"].as_str().unwrap_or_default().to_owned())
    }

    /// The entry of the request for this path in the access log.
    async fn logged(&self, path: &str) -> Value {
        let entry = wait::poll("the request in the access log", wait::LIMIT, async || {
            self.envoy.access_log(LISTENER).into_iter().find(|entry| entry["path"] == path)
        });
        entry.await.unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}
