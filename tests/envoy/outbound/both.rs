//! Both directions in one document: callers are checked, and their tokens exchanged; introspection
//! with a token of our own.

use std::sync::{Arc, Mutex};

use oauth2_filter_testbed::client::{Http2, Request};
use oauth2_filter_testbed::scripted::{Answer, Gate};
use oauth2_filter_testbed::wait;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{TOKEN, client, document, issued, start};
use crate::set_up::{BOTH, ENDPOINT, SetUp};

/// Callers' tokens are checked and exchanged.
async fn exchanging(more: Value) -> SetUp {
    let inbound = json!({
        "introspection": {
            "endpoint": format!("http://as.test{ENDPOINT}"), "cluster": "as",
            "client_id": "rs", "client_secret": "rs-secret", "timeout": "30s",
        },
        "rules": [
            {"paths": ["/public"], "access": "public"},
            {"paths": ["/**"], "scope": "orders:read"},
        ],
    });
    let mut exchange = json!({
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": "billing",
    });
    oauth2_filter_testbed::envoy::merge(&mut exchange, more);
    let mut both = document(exchange);
    both["inbound"] = inbound;
    let set_up = start(&both, 2).await;
    set_up.server.on_each(ENDPOINT, |call| {
        let token = call.parameter("token").unwrap_or_default();
        let scope = if token.starts_with("poor") { "other" } else { "orders:read" };
        Answer::json(200, &json!({"active": !token.starts_with("bad"), "scope": scope}))
    });
    set_up.server.on_each(TOKEN, |call| {
        let subject = call.parameter("subject_token").unwrap_or_default();
        match subject.split('-').next() {
            Some("unknown") => Answer::json(400, &json!({"error": "invalid_grant"})),
            Some("unlucky") => Answer::status(503),
            _ => exchanged(&subject),
        }
    });
    set_up
}

/// What the server gives for a caller's token.
fn exchanged(subject: &str) -> Answer {
    let body = json!({
        "access_token": format!("for-{subject}"), "token_type": "Bearer", "expires_in": 3600,
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
    });
    Answer::json(200, &body)
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_07_a_callers_token_is_checked_exchanged_and_never_goes_upstream() {
    let set_up = exchanging(json!({})).await;
    for http in BOTH {
        for (token, status) in [
            (Some("alice"), 200),
            (Some("bob"), 200),
            (Some("bad-mallory"), 401),
            (Some("poor-paul"), 403),
            (Some("unknown-eve"), 401),
            (None, 401),
        ] {
            let request = token.iter().fold(Request::get("/"), |r, token| r.bearer(token));
            let answer = http.send(&request, set_up.address()).await;
            assert_eq!(answer.status, status, "{http:?} {token:?}: {}", answer.text());
            if status == 200 {
                let expected = token.map(|token| format!("Bearer for-{token}"));
                assert_eq!(super::shown(&answer), expected, "{http:?}");
            }
        }
        let public = http.send(&Request::get("/public"), set_up.address()).await;
        assert_eq!(super::shown(&public), None);
    }
    // Whichever worker had the request; only refusals are remembered by each for itself.
    let calls = set_up.server.requests(TOKEN);
    let calls_for = |subject: &str| {
        calls.iter().filter(|call| call.parameter("subject_token").unwrap() == subject).count()
    };
    assert_eq!((calls_for("alice"), calls_for("bob")), (1, 1));
    assert!((1..=2).contains(&calls_for("unknown-eve")));
    assert_eq!((calls_for("bad-mallory"), calls_for("poor-paul")), (0, 0));
    for request in set_up.service.requests() {
        for value in request.headers.all("authorization") {
            assert!(["Bearer for-alice", "Bearer for-bob"].contains(&value.as_str()), "{value}");
        }
    }
    // The server's own failure is no fault of the caller's.
    let unlucky = set_up.send(&Request::get("/").bearer("unlucky")).await;
    assert_eq!(unlucky.status, 503, "{}", unlucky.text());
    assert!(unlucky.headers.contains("retry-after"));
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_told_whether_another_token_would_help_and_the_log_says_why() {
    let set_up = exchanging(json!({})).await;
    set_up.server.on_each(TOKEN, |call| {
        let subject = call.parameter("subject_token").unwrap_or_default();
        let refused = |status, error: &str, description: &str| {
            Answer::json(status, &json!({"error": error, "error_description": description}))
        };
        match subject.as_str() {
            "subject-1" => refused(400, "invalid_request", "Requested audience not available"),
            "subject-2" => refused(403, "access_denied", "Client not allowed to exchange"),
            "subject-3" => refused(400, "invalid_grant", "Session not active"),
            _ => refused(400, "odd_error", &format!("{subject} is odd")),
        }
    });
    for (subject, status, details) in [
        ("subject-1", 403, "oauth2_exchange_refused"),
        ("subject-2", 403, "oauth2_exchange_refused"),
        ("subject-3", 401, "oauth2_subject_refused"),
        ("subject-4", 502, "oauth2_server_refused_client"),
    ] {
        let answer = set_up.send(&Request::get("/").bearer(subject)).await;
        assert_eq!(answer.status, status, "{subject} {details}: {}", answer.text());
        assert!(!answer.text().contains("vailable"), "{}", answer.text());
        wait::until("the access log", async || {
            let log = set_up.envoy.access_log(crate::set_up::LISTENER);
            log.iter().any(|entry| entry["details"] == details)
        })
        .await;
    }
    let line = r#"server returned 400 invalid_request; the server says "Requested audience not"#;
    set_up.envoy.logged(line).await;
    assert!(!set_up.envoy.log().contains("subject-"), "{}", set_up.envoy.log());
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_07_a_grpc_callers_token_is_exchanged_too() {
    let set_up = exchanging(json!({})).await;
    let connection = Http2::open(set_up.address()).await.expect("a connection");
    for (token, status, grpc_status) in
        [("alice", 200, None), ("bad-mallory", 200, Some(16)), ("unknown-eve", 200, Some(16))]
    {
        let request = Request::grpc("/s.S/Any", b"message").bearer(token);
        let answer = connection.send(&request).await.expect("an answer");
        assert_eq!((answer.status, answer.grpc_status()), (status, grpc_status), "{token}");
    }
    assert_eq!(super::seen(&set_up, "/s.S/Any"), [Some("Bearer for-alice".to_owned())]);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_8693_01_callers_that_wait_at_once_are_never_mixed_up() {
    let set_up = exchanging(json!({})).await;
    let gate = Gate::new();
    let held = gate.clone();
    set_up.server.on_each(TOKEN, move |call| {
        exchanged(&call.parameter("subject_token").unwrap_or_default()).held_by(&held)
    });
    let address = set_up.address();
    let mut requests = JoinSet::new();
    for n in 0..300_usize {
        let token = format!("caller-{}", n % 30);
        let request = Request::get(&format!("/{n}")).bearer(&token);
        requests.spawn(async move { (token, BOTH[n % 2].send(&request, address).await) });
    }
    gate.arrived(30).await;
    set_up.waits(300).await;
    gate.open();
    for (token, answer) in requests.join_all().await {
        assert_eq!(super::shown(&answer), Some(format!("Bearer for-{token}")));
    }
    assert_eq!(set_up.token_calls(), 30, "one for each caller");
    set_up.waits(0).await;
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_introspection_token_that_was_taken_back_is_renewed_once_and_nobody_notices() {
    let introspecting = json!({
        "inbound": {"introspection": {
            "endpoint": format!("http://as.test{ENDPOINT}"), "cluster": "as", "client": "self",
            "timeout": "30s",
        }},
        "outbound": {"clients": {"self": client(json!({}))}},
    });
    let set_up = start(&introspecting, 2).await;
    let good = Arc::new(Mutex::new(1));
    let (issuing, judging) = (Arc::clone(&good), Arc::clone(&good));
    set_up
        .server
        .on_each(TOKEN, move |_| issued(&format!("i{}", issuing.lock().expect("a number")), 3600));
    set_up.server.on_each(ENDPOINT, move |call| {
        let expected = format!("Bearer i{}", judging.lock().expect("a number"));
        if call.header("authorization") == Some(expected) {
            Answer::json(200, &json!({"active": call.parameter("token") != Some("no".to_owned())}))
        } else {
            Answer::status(401).header("www-authenticate", "Bearer error=\"invalid_token\"")
        }
    });
    for n in 0..10 {
        assert_eq!(set_up.get(&format!("first-{n}")).await.status, 200);
    }
    assert_eq!(set_up.get("no").await.status, 401);
    assert_eq!((set_up.token_calls(), set_up.calls()), (1, 11));
    // The next are asked about with a token that the server has taken back.
    *good.lock().expect("a number") = 2;
    let address = set_up.address();
    let mut requests = JoinSet::new();
    for n in 0..20 {
        let request = Request::get("/").bearer(&format!("second-{n}"));
        requests.spawn(async move { BOTH[n % 2].send(&request, address).await });
    }
    for answer in requests.join_all().await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(set_up.token_calls(), 2, "one renewal");
    // The proxy's own token goes to the authorization server, and nowhere else.
    for request in set_up.service.requests() {
        assert!(!request.headers.contains("authorization"));
    }
    set_up.comes_to_rest().await;
}
