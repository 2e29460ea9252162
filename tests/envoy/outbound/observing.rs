//! What operators see of clients: statistics in Prometheus, and the log.

use std::collections::BTreeMap;

use oauth2_filter_core::ClientEvent;
use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::WasmPlugin;
use oauth2_filter_testbed::examples::InboundYaml;
use oauth2_filter_testbed::scripted::{Answer, Gate};
use oauth2_filter_testbed::wait;
use serde_json::json;

use super::{TOKEN, client, issued};
use crate::series::series;
use crate::set_up::{Ends, SetUp, listener};

/// The series of the clients in Prometheus, but for the histogram.
async fn exported(set_up: &SetUp) -> BTreeMap<String, u64> {
    let text = set_up.envoy.admin_get("/stats/prometheus").await;
    let ours = text.lines().filter(|line| line.starts_with("oauth2_filter_"));
    let ours = ours.filter(|line| line.contains("client=\"") || line.contains("waiting"));
    ours.filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        Some((in_order(name.trim_end_matches("{}")), value.parse().ok()?))
    })
    .collect()
}

/// A series with its labels in alphabetical order.
fn in_order(series: &str) -> String {
    let Some((name, labels)) = series.trim_end_matches('}').split_once('{') else {
        return series.to_owned();
    };
    let mut labels: Vec<_> = labels.split(',').collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}

/// Two clients, and labels as the file for operators has them.
async fn observed() -> SetUp {
    let ends = Ends::start().await;
    let document = json!({"outbound": {
        "clients": {
            "billing": client(json!({"refresh_before": "0s"})),
            "keeps": client(json!({"overwrite": false, "client_id": "keeps"})),
            "lenient": client(json!({"failure_mode_allow": true, "client_id": "lenient"})),
        },
        "rules": [
            {"hosts": ["billing.test"], "client": "billing"},
            {"hosts": ["keeps.test"], "client": "keeps"},
            {"hosts": ["lenient.test"], "client": "lenient"},
        ],
    }});
    let labels = InboundYaml::named("inbound-observed.yaml").field("stats_config");
    let bootstrap = ends
        .bootstrap()
        .yaml(&labels)
        .yaml("stats_flush_interval: 0.1s\n")
        .listener(listener(&WasmPlugin::new(&document)));
    ends.with(bootstrap).await
}

#[expect(clippy::too_many_lines, reason = "a script, step by step")]
#[tokio::test(flavor = "multi_thread")]
async fn the_statistics_of_clients_are_zero_at_first_and_move_rightly() {
    let set_up = observed().await;
    let first = exported(&set_up).await;
    for client in ["billing", "keeps", "lenient"] {
        for event in ClientEvent::all() {
            let name = series(&event.name(client));
            assert_eq!(first.get(&name), Some(&0), "{name}: {first:#?}");
        }
    }
    let send = async |host: &str| {
        set_up.send(&Request::get("/").authority(host).bearer("mine")).await.status
    };
    let basic = |token: &str| issued(token, 3600);
    let steps: [(&str, Answer, u16, &[&str]); 8] = [
        (
            "billing",
            Answer::status(500),
            503,
            &[
                "token_calls{client=\"billing\",outcome=\"unavailable\"}",
                "outbound_requests{client=\"billing\",decision=\"denied\",reason=\"server_unavailable\"}",
            ],
        ),
        // In back-off, without a call.
        (
            "billing",
            basic("t1"),
            503,
            &[
                "outbound_requests{client=\"billing\",decision=\"denied\",reason=\"server_unavailable\"}",
            ],
        ),
        (
            "keeps",
            basic("t2"),
            200,
            &["outbound_requests{client=\"keeps\",decision=\"kept\",reason=\"own_header\"}"],
        ),
        (
            "lenient",
            Answer::status(401),
            200,
            &[
                "token_calls{client=\"lenient\",outcome=\"refused_client\"}",
                "outbound_requests{client=\"lenient\",decision=\"unauthenticated\",\
                reason=\"failure_mode_allow\"}",
            ],
        ),
        ("other", basic("t3"), 200, &[]),
        // After the pause, which is waited for.
        (
            "billing",
            basic("t4"),
            200,
            &[
                "tokens{client=\"billing\",event=\"obtained\"}",
                "token_calls{client=\"billing\",outcome=\"issued\"}",
                "outbound_requests{client=\"billing\",decision=\"injected\",reason=\"token\"}",
            ],
        ),
        (
            "billing",
            basic("t5"),
            200,
            &["outbound_requests{client=\"billing\",decision=\"injected\",reason=\"token\"}"],
        ),
        ("other", basic("t6"), 200, &[]),
    ];
    let gauge = |name: &str| format!("oauth2_filter_token_{name}_seconds{{client=\"billing\"}}");
    let mut before = first;
    for (n, (host, said, status, counted)) in steps.into_iter().enumerate() {
        if n == 5 {
            // The back-off shows, and ends.
            wait::until("the back-off to end", async || {
                exported(&set_up).await[&gauge("backoff")] == 0
            })
            .await;
            before = exported(&set_up).await;
        }
        set_up.server.on(TOKEN, said);
        assert_eq!(send(&format!("{host}.test")).await, status, "{n}");
        let mut expected: Vec<String> =
            counted.iter().map(|name| format!("oauth2_filter_{name}")).collect();
        expected.sort();
        let after = exported(&set_up).await;
        let counters = after.iter().filter(|(name, _)| !name.contains("_seconds"));
        let moved: Vec<_> =
            counters.filter(|(name, value)| before.get(*name) != Some(value)).collect();
        let names: Vec<_> = moved.iter().map(|(name, _)| (*name).clone()).collect();
        assert_eq!(names, expected, "step {n}");
        for (name, value) in moved {
            assert_eq!(*value, before[name] + 1, "{name}");
        }
        if n == 0 {
            wait::until("the back-off to show", async || {
                exported(&set_up).await[&gauge("backoff")] > 0
            })
            .await;
        }
        before = exported(&set_up).await;
    }
    wait::until("the age and the rest of the token", async || {
        let now = exported(&set_up).await;
        let (age, rest) = (now[&gauge("age")], now[&gauge("expires_in")]);
        (1..600).contains(&age) && (3_000..3_600).contains(&rest)
    })
    .await;
    let text = set_up.envoy.admin_get("/stats/prometheus").await;
    let calls = "oauth2_filter_call_milliseconds_count{endpoint=\"token\"} 3";
    assert!(text.contains(calls), "{text}");
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drops_and_renewals_are_counted_as_such() {
    let ends = Ends::start().await;
    let document = super::document(json!({"refresh_before": "4s"}));
    let bootstrap = ends.bootstrap().listener(listener(&WasmPlugin::new(&document)));
    let set_up = ends.with(bootstrap).await;
    let gate = Gate::new();
    set_up
        .server
        .on(TOKEN, vec![issued("t1", 5), issued("t2", 7200).held_by(&gate), issued("t3", 7200)]);
    assert_eq!(set_up.send(&Request::get("/")).await.status, 200);
    let count = async |event: &str| {
        super::of_client(&set_up.envoy, "tokens", &format!(".event.{event}")).await
    };
    // It is in use when it is time.
    wait::until("the renewal", async || {
        assert_eq!(set_up.send(&Request::get("/")).await.status, 200);
        gate.waiting() == 1
    })
    .await;
    gate.open();
    wait::until("the new token", async || count("renewed").await == 1).await;
    let refused = set_up.send(&Request::get("/status/401")).await;
    assert_eq!(refused.status, 401);
    assert_eq!(set_up.send(&Request::get("/")).await.status, 200);
    assert_eq!((count("obtained").await, count("dropped").await), (2, 1));
    assert_eq!(set_up.token_calls(), 3);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_01_no_token_and_no_secret_stands_in_the_log() {
    let ends = Ends::start().await;
    let mut more = super::password();
    more["client_secret"] = json!("s3cr3t-client");
    more["password"] = json!("s3cr3t-password");
    let bootstrap = ends.bootstrap().listener(listener(&WasmPlugin::new(&super::document(more))));
    let set_up = ends.with(bootstrap).await;
    let said = json!({"error": "invalid_request", "error_description": "bad: s3cr3t-client"});
    set_up.server.on(TOKEN, Answer::json(400, &said));
    let answer = set_up.send(&Request::get("/").bearer("s3cr3t-own")).await;
    assert_eq!(answer.status, 502);
    assert!(!answer.text().contains("s3cr3t"), "{}", answer.text());
    let said = json!({
        "access_token": "s3cr3t-token", "token_type": "Bearer", "refresh_token": "s3cr3t-refresh",
    });
    set_up.server.on(TOKEN, Answer::json(200, &said));
    wait::until("a token", async || set_up.send(&Request::get("/")).await.status == 200).await;
    assert_eq!(set_up.send(&Request::get("/status/401")).await.status, 401);
    set_up.envoy.logged("token rejected, dropping it").await;
    set_up.envoy.logged("server returned 400").await;
    let log = set_up.envoy.log();
    assert!(!log.contains("s3cr3t"), "{log}");
    set_up.comes_to_rest().await;
}
