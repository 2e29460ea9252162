//! Token answers of every shape: what is injected, what callers get, and that no shape stops later
//! recovery.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::{Options, WasmPlugin};
use oauth2_filter_testbed::scripted::Answer;
use oauth2_filter_testbed::wait;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{client, is_ours, issued, shown};
use crate::set_up::{Ends, SetUp, listener};

/// What is done with an answer.
#[derive(Clone, Debug)]
enum Row {
    /// The token is used, for this many seconds.
    Used(String, RangeInclusive<u64>),
    /// The token is used by those who waited for it, and not kept.
    Once(&'static str),
    /// Callers get this.
    Refused(u16),
}

/// Seconds that are left of an hour, of a minute, and of a year and a day.
const HOUR: RangeInclusive<u64> = 3_000..=3_600;
const MINUTE: RangeInclusive<u64> = 10..=60;
const YEAR: RangeInclusive<u64> = 31_000_000..=31_622_400;

fn rows() -> Vec<(&'static str, Answer, Row)> {
    let with = |member: &str, value: Value| {
        let mut body = json!({"access_token": "t", "token_type": "Bearer", "expires_in": 60});
        body[member] = value;
        Answer::json(200, &body)
    };
    let without = |member: &str| {
        let mut body = json!({"access_token": "t", "token_type": "Bearer", "expires_in": 60});
        body.as_object_mut().expect("an object").remove(member);
        Answer::json(200, &body)
    };
    let text =
        |body: &str| Answer::status(200).header("content-type", "application/json").body(body);
    let good = r#"{"access_token": "t", "token_type": "Bearer", "expires_in": 60}"#;
    let used = |seconds| Row::Used("t".to_owned(), seconds);
    let long = "x".repeat(20_000);
    let see = |status| Answer::status(status).header("location", "/elsewhere");
    vec![
        ("no-expiry", without("expires_in"), used(HOUR)),
        ("expiry-null", with("expires_in", Value::Null), used(HOUR)),
        ("expiry-word", with("expires_in", json!("soon")), used(HOUR)),
        ("expiry-string", with("expires_in", json!("60")), used(MINUTE)),
        ("expiry-float", with("expires_in", json!(59.5)), used(MINUTE)),
        ("expiry-huge", with("expires_in", json!(1e18)), used(YEAR)),
        ("expiry-zero", with("expires_in", json!(0)), Row::Once("t")),
        ("expiry-negative", with("expires_in", json!(-1)), Row::Once("t")),
        ("no-type", without("token_type"), Row::Refused(502)),
        ("type-na", with("token_type", json!("N_A")), Row::Refused(502)),
        ("type-mac", with("token_type", json!("mac")), Row::Refused(502)),
        ("type-bearer", with("token_type", json!("bearer")), used(MINUTE)),
        ("no-token", without("access_token"), Row::Refused(502)),
        ("empty-token", with("access_token", json!("")), Row::Refused(502)),
        ("token-number", with("access_token", json!(1)), Row::Refused(502)),
        ("token-crlf", with("access_token", json!("t\r\nx-admin: 1")), Row::Refused(502)),
        ("token-nul", with("access_token", json!("t\0")), Row::Refused(502)),
        ("token-space", with("access_token", json!("t u")), Row::Refused(502)),
        ("token-20k", with("access_token", json!(long)), Row::Used(long, MINUTE)),
        ("error-in-200", with("error", json!("invalid_scope")), Row::Refused(502)),
        ("html", text("<html>Sign in</html>"), Row::Refused(502)),
        ("empty", text(""), Row::Refused(502)),
        ("array", text(&format!("[{good}]")), Row::Refused(502)),
        ("half", text(&good[..good.len() / 2]), Row::Refused(502)),
        (
            "twice",
            text(r#"{"access_token":"t","access_token":"u","token_type":"Bearer"}"#),
            Row::Refused(502),
        ),
        ("deep", text(&"[".repeat(100_000)), Row::Refused(502)),
        (
            "created",
            Answer::json(201, &json!({"access_token": "t", "token_type": "Bearer"})),
            used(HOUR),
        ),
        ("no-content", Answer::status(204), Row::Refused(502)),
        ("moved", see(301), Row::Refused(502)),
        ("found", see(302), Row::Refused(502)),
        ("temporary", see(307), Row::Refused(502)),
        ("a-mebibyte", text(good).padded_to(1 << 20), used(MINUTE)),
        ("more", text(good).padded_to((1 << 20) + 1), Row::Refused(502)),
        ("cut-off", text(good).truncated(20), Row::Refused(503)),
        ("reset", text(good).reset_after_head(), Row::Refused(503)),
        (
            "chunks",
            Answer::raw(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno length\r\n{\"access_token\"",
            ),
            Row::Refused(503),
        ),
        ("garbage", Answer::raw("garbage\r\n\r\n"), Row::Refused(503)),
        ("chunked", text(good).chunked(), used(MINUTE)),
        ("until-close", text(good).until_close(), used(MINUTE)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_6749_11_12_and_14_token_answers_of_every_shape() {
    let rows = rows();
    let ends = Ends::start().await;
    let client = |name: &str| client(json!({"endpoint": format!("http://as.test/{name}")}));
    let clients: BTreeMap<_, _> = rows.iter().map(|(name, ..)| (*name, client(name))).collect();
    let rule = |name: &str| json!({"hosts": [format!("{name}.test")], "client": name});
    let rules: Vec<Value> = rows.iter().map(|(name, ..)| rule(name)).collect();
    let document = json!({"outbound": {"clients": clients, "rules": rules}});
    let bootstrap = ends.bootstrap().listener(listener(&WasmPlugin::new(&document)));
    let set_up = Arc::new(ends.with_options(bootstrap, &Options::default()).await);
    set_up.server.on("/elsewhere", issued("elsewhere", 60));
    let mut checks = JoinSet::new();
    for (name, said, row) in rows {
        let set_up = Arc::clone(&set_up);
        checks.spawn(async move { check(&set_up, name, said, &row).await });
    }
    checks.join_all().await;
    assert_eq!(set_up.server.count("/elsewhere"), 0, "redirects are not followed");
    for request in set_up.service.requests() {
        assert!(!request.headers.contains("x-admin"), "{request:?}");
        let value = request.header("authorization").expect("a token");
        let ours =
            value == "Bearer t" || value == "Bearer good" || value.starts_with("Bearer xxxx");
        assert!(ours, "{value}");
    }
    set_up.comes_to_rest().await;
}

async fn check(set_up: &SetUp, name: &str, said: Answer, row: &Row) {
    let path = format!("/{name}");
    set_up.server.on(&path, said);
    let request = Request::get("/").authority(&format!("{name}.test")).bearer("callers-own");
    let send = async || set_up.send(&request).await;
    let calls = || set_up.server.count(&path);
    let first = send().await;
    match row {
        Row::Used(token, seconds) => {
            assert_eq!(shown(&first), Some(format!("Bearer {token}")), "{name}");
            for _ in 0..4 {
                assert_eq!(shown(&send().await), Some(format!("Bearer {token}")), "{name}");
            }
            assert_eq!(calls(), 1, "{name}: it is kept");
            let gauge = format!("wasmcustom.oauth2_filter.token_expires_in_seconds.client.{name}");
            wait::until(&format!("{name} to live {seconds:?}"), async || {
                set_up.envoy.stat(&gauge).await.is_some_and(|left| seconds.contains(&left))
            })
            .await;
            return;
        }
        Row::Once(token) => {
            assert_eq!(shown(&first), Some(format!("Bearer {token}")), "{name}");
            assert_eq!(shown(&send().await), Some(format!("Bearer {token}")), "{name}");
            assert_eq!(calls(), 2, "{name}: each is used once");
        }
        Row::Refused(status) => {
            assert_eq!(first.status, *status, "{name}: {}", first.text());
            assert!(is_ours(&first), "{name}: {}", first.text());
        }
    }
    set_up.server.on(&path, issued("good", 3600));
    wait::until(&format!("{name} to recover"), async || {
        let answer = send().await;
        if answer.status == 200 {
            assert_eq!(shown(&answer).as_deref(), Some("Bearer good"), "{name}");
        }
        answer.status == 200
    })
    .await;
}
