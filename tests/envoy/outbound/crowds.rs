//! Many requests at once: on a cold start, and when they leave while they wait.

use std::time::Duration;

use oauth2_filter_testbed::client::{Connection, Http2, Request};
use oauth2_filter_testbed::scripted::{Answer, Gate};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{TOKEN, document, issued, seen, start};
use crate::set_up::{BOTH, LISTENER};

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_requests_at_once_on_a_cold_start_cost_one_token_call() {
    let set_up = start(&document(json!({})), 2).await;
    let gate = Gate::new();
    set_up.server.on(TOKEN, issued("t1", 3600).held_by(&gate));
    let address = set_up.address();
    let mut requests = JoinSet::new();
    for n in 0..200 {
        let request = Request::get("/");
        requests.spawn(async move { BOTH[n % 2].send(&request, address).await });
    }
    set_up.waits(200).await;
    gate.arrived(1).await;
    assert!(set_up.service.requests().is_empty());
    gate.open();
    for answer in requests.join_all().await {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(set_up.token_calls(), 1);
    assert_eq!(seen(&set_up, "/"), vec![Some("Bearer t1".to_owned()); 200]);
    set_up.waits(0).await;
    set_up.comes_to_rest().await;
}

/// Requests of impatient clients.
const CLIENTS: u64 = 40;
const REQUESTS: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn d6_13_masses_of_clients_that_leave_while_they_wait_for_a_token_do_no_harm() {
    let set_up = start(&document(json!({})), 2).await;
    // Each token is used once, so that requests wait again and again; every third call fails.
    let gate = Gate::new();
    let (held, mut calls) = (gate.clone(), 0_u64);
    let calls = std::sync::Mutex::new(move || {
        calls += 1;
        calls
    });
    set_up.server.on_each(TOKEN, move |_| {
        let number = (calls.lock().expect("a counter"))();
        if number == 1 { Answer::json(200, &json!({})).held_by(&held) } else { answer(number) }
    });
    let address = set_up.address();
    // The first call is held until a crowd has come and gone.
    let mut crowd = Vec::new();
    let connection = Http2::open(address).await.expect("a connection");
    let mut streams = Vec::new();
    for _ in 0..100 {
        let mut one = Connection::open(address).await.expect("a connection");
        one.send_head(&Request::get("/")).await.expect("a request");
        crowd.push(one);
        streams.push(connection.send_head(&Request::get("/")).await.expect("a request"));
    }
    set_up.waits(200).await;
    gate.arrived(1).await;
    crowd.into_iter().for_each(Connection::abort);
    drop(streams);
    set_up.waits(0).await;
    gate.open();

    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(async move {
            let http2 = Http2::open(address).await.expect("a connection");
            let mut answered = 0;
            for request in 0..REQUESTS {
                let patience = Duration::from_micros(200 << ((client + request) % 8));
                let get = Request::get("/");
                let status = if request % 2 == 0 {
                    timeout(patience, http2.send(&get)).await.ok()
                } else {
                    let mut http1 = Connection::open(address).await.expect("a connection");
                    http1.send_head(&get).await.expect("a request");
                    let answer = timeout(patience, http1.response("GET")).await.ok();
                    if answer.is_none() {
                        http1.abort();
                    }
                    answer
                };
                if let Some(answer) = status {
                    let answer = answer.expect("an answer");
                    assert!(matches!(answer.status, 200 | 502 | 503), "{}", answer.text());
                    answered += 1;
                }
            }
            answered
        });
    }
    let answered: u64 = clients.join_all().await.into_iter().sum();
    let reset = format!("http.{LISTENER}.downstream_rq_rx_reset");
    let left = set_up.envoy.stat(&reset).await.expect("a counter");
    assert!(answered >= 100 && left >= 100, "{answered} answered, {left} left");
    set_up.waits(0).await;
    set_up.comes_to_rest().await;
    set_up.server.on(TOKEN, issued("last", 3600));
    oauth2_filter_testbed::wait::until("a request to pass", async || {
        set_up.send(&Request::get("/last")).await.status == 200
    })
    .await;
    assert_eq!(seen(&set_up, "/last").pop(), Some(Some("Bearer last".to_owned())));
    set_up.comes_to_rest().await;
}

/// A token that is used once, after a moment.
fn answer(number: u64) -> Answer {
    issued(&format!("t{number}"), 0).delayed(Duration::from_millis(number % 4))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_requests_that_wait_for_a_token_are_all_answered() {
    for (said, status) in [(issued("t1", 3600), 200), (Answer::status(400), 502)] {
        let set_up = start(&document(json!({})), 1).await;
        let gate = Gate::new();
        set_up.server.on(TOKEN, said.held_by(&gate));
        let mut requests = JoinSet::new();
        for _ in 0..40 {
            let connection = Http2::open(set_up.address()).await.expect("a connection");
            for _ in 0..50 {
                let connection = connection.clone();
                requests.spawn(async move { connection.send(&Request::get("/")).await });
            }
        }
        set_up.waits(2000).await;
        gate.open();
        for answer in requests.join_all().await {
            assert_eq!(answer.expect("an answer").status, status);
        }
        assert_eq!(set_up.token_calls(), 1);
        set_up.waits(0).await;
        set_up.comes_to_rest().await;
    }
}
