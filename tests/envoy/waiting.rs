//! Requests that wait for the answer to one call.

use std::{net::SocketAddr, time::Duration};

use oauth2_filter_testbed::client::{Connection, Http2, Http2Stream, Request};
use oauth2_filter_testbed::envoy::{Listener, Options};
use oauth2_filter_testbed::scripted::{Answer, Gate};
use serde_json::json;
use tokio::task::JoinSet;

use crate::set_up::{
    BOTH, ENDPOINT, Ends, Http, LISTENER, SetUp, active, inactive, listener, plugin,
};

#[tokio::test(flavor = "multi_thread")]
async fn rs_7662_09_two_hundred_requests_with_one_new_token_cost_one_introspection() {
    two_hundred_requests_cost_one_call_per_worker(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_requests_with_one_new_token_cost_one_introspection_per_worker() {
    two_hundred_requests_cost_one_call_per_worker(2).await;
}

async fn two_hundred_requests_cost_one_call_per_worker(workers: u32) {
    let ends = Ends::start().await;
    let bootstrap = ends.bootstrap().listener(listener(&plugin(json!({}))));
    let options = Options { concurrency: workers, ..Options::default() };
    let set_up = ends.with_options(bootstrap, &options).await;
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, active().held_by(&gate));

    let address = set_up.address();
    let mut requests = JoinSet::new();
    for n in 0..200 {
        let request = Request::get(&format!("/{n}")).bearer("new");
        requests.spawn(async move { BOTH[n % 2].send(&request, address).await });
    }
    set_up.under_way(200).await;
    gate.arrived(1).await;
    assert!(set_up.service.requests().is_empty());
    gate.open();
    for answer in requests.join_all().await {
        assert_eq!(answer.status, 200);
    }
    assert!((1..=workers as usize).contains(&set_up.calls()), "{} calls", set_up.calls());
    assert_eq!(set_up.service.requests().len(), 200);
    set_up.comes_to_rest().await;
}

/// A client whose request waits for the server, and what holds the answer up.
async fn held_up(set_up: &SetUp, how: Leaving, request: &Request) -> (Client, Gate) {
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, active().held_by(&gate));
    let client = Client::start(how, request, set_up.address()).await;
    gate.arrived(1).await;
    (client, gate)
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_13_the_others_are_answered_when_the_first_leaves() {
    let set_up = SetUp::new(json!({})).await;
    let address = set_up.address();
    for (way, how) in WAYS_TO_LEAVE.into_iter().enumerate() {
        let request = Request::get("/").bearer(&format!("token-{way}"));
        let (first, gate) = held_up(&set_up, how, &request).await;

        let mut others = JoinSet::new();
        for n in 0..20 {
            let request = request.clone();
            others.spawn(async move { BOTH[n % 2].send(&request, address).await });
        }
        set_up.under_way(21).await;
        let _connected = first.leave(how);
        set_up.under_way(20).await;
        gate.open();
        for answer in others.join_all().await {
            assert_eq!(answer.status, 200, "{how:?}");
        }
        assert_eq!(set_up.calls(), way + 1, "{how:?}");
    }
    assert_eq!(set_up.service.requests().len(), 20 * WAYS_TO_LEAVE.len());
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_13_the_answer_is_kept_when_all_who_asked_have_left() {
    let set_up = SetUp::new(json!({})).await;
    for (way, how) in WAYS_TO_LEAVE.into_iter().enumerate() {
        let token = format!("token-{way}");
        let (first, gate) = held_up(&set_up, how, &Request::get("/").bearer(&token)).await;
        let _connected = first.leave(how);
        set_up.under_way(0).await;
        gate.open();
        assert_eq!(set_up.get(&token).await.status, 200, "{how:?}");
        assert_eq!(set_up.calls(), way + 1, "{how:?}");
    }
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn d6_13_a_request_that_envoy_ends_while_it_waits_does_no_harm() {
    let ends = Ends::start().await;
    let listener = listener(&plugin(json!({}))).stream_idle_timeout(Duration::from_secs(1));
    let bootstrap = ends.bootstrap().listener(listener);
    let set_up = ends.with(bootstrap).await;
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, active().held_by(&gate));
    for http in BOTH {
        let answer = http.send(&Request::get("/").bearer("new"), set_up.address()).await;
        assert!(matches!(answer.status, 408 | 504), "{http:?}: {}", answer.status);
    }
    gate.open();
    assert_eq!(set_up.get("new").await.status, 200);
    assert_eq!(set_up.calls(), 1);
    assert_eq!(set_up.service.requests().len(), 1);
    set_up.comes_to_rest().await;
}

/// How a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leaving {
    /// It resets its HTTP/1.1 connection.
    Http1Reset,
    /// It closes its HTTP/1.1 connection.
    Http1Close,
    /// It resets its HTTP/2 stream.
    Http2Reset,
    /// It closes its HTTP/2 connection.
    Http2Close,
}

const WAYS_TO_LEAVE: [Leaving; 4] =
    [Leaving::Http1Reset, Leaving::Http1Close, Leaving::Http2Reset, Leaving::Http2Close];

/// A client that has sent its request and waits.
enum Client {
    Http1(Connection),
    Http2(Http2, Http2Stream),
}

impl Client {
    async fn start(leaving: Leaving, request: &Request, address: SocketAddr) -> Self {
        match leaving {
            Leaving::Http1Reset | Leaving::Http1Close => {
                let mut connection = Connection::open(address).await.expect("a connection");
                connection.send_head(request).await.expect("a request");
                Self::Http1(connection)
            }
            Leaving::Http2Reset | Leaving::Http2Close => {
                let connection = Http2::open(address).await.expect("a connection");
                let stream = connection.send_head(request).await.expect("a request");
                Self::Http2(connection, stream)
            }
        }
    }

    /// Leaves; what is returned stays connected.
    #[must_use]
    fn leave(self, leaving: Leaving) -> Option<Http2> {
        match (self, leaving) {
            (Self::Http1(connection), Leaving::Http1Reset) => connection.abort(),
            (Self::Http2(connection, stream), Leaving::Http2Reset) => {
                drop(stream);
                return Some(connection);
            }
            (client, _) => drop(client),
        }
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_requests_that_wait_all_pass() {
    let set_up = crowded(false).await;
    two_thousand_requests_are_answered(&set_up, active(), 200).await;
    assert_eq!(set_up.service.requests().len(), 2000);
    assert_eq!(set_up.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_requests_that_wait_all_pass_to_an_answer_of_envoy_itself() {
    let set_up = crowded(true).await;
    two_thousand_requests_are_answered(&set_up, active(), 200).await;
    assert_eq!(set_up.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_requests_that_wait_are_all_refused() {
    let set_up = crowded(false).await;
    two_thousand_requests_are_answered(&set_up, inactive(), 401).await;
    assert_eq!(set_up.calls(), 1);
    assert!(set_up.service.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_requests_that_wait_all_get_503_when_the_server_resets() {
    let set_up = crowded(false).await;
    two_thousand_requests_are_answered(&set_up, Answer::reset(), 503).await;
    assert_eq!(set_up.calls(), 2, "the call and its one retry");
    assert!(set_up.service.requests().is_empty());
}

/// A set-up with room for crowds, in which Envoy itself answers what passes, or the service.
async fn crowded(envoy_answers: bool) -> SetUp {
    let ends = Ends::start().await;
    let filter = plugin(json!({})).filter("oauth2");
    let listener = if envoy_answers {
        Listener::answering(LISTENER, 200, "passed")
    } else {
        Listener::to(LISTENER, "service")
    };
    let room = json!({"http2_protocol_options": {"max_concurrent_streams": 1000}});
    let listener = listener.filter(filter).connection_manager(room);
    let bootstrap = ends.bootstrap().listener(listener);
    ends.with(bootstrap).await
}

async fn two_thousand_requests_are_answered(set_up: &SetUp, answer: Answer, status: u16) {
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, answer.held_by(&gate));
    let mut requests = JoinSet::new();
    for _ in 0..4 {
        let connection = Http2::open(set_up.address()).await.expect("a connection");
        for _ in 0..500 {
            let connection = connection.clone();
            let request = Request::get("/").bearer("new");
            requests.spawn(async move { connection.send(&request).await });
        }
    }
    set_up.under_way(2000).await;
    gate.arrived(1).await;
    gate.open();
    for answer in requests.join_all().await {
        assert_eq!(answer.expect("an answer").status, status);
    }
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_are_asked_about_at_once_are_never_mixed_up() {
    let inbound = json!({"forward": {"claims": {"x-user": "sub", "x-token": "jti"}}});
    let set_up = SetUp::new(inbound).await;
    let gate = Gate::new();
    let held = gate.clone();
    set_up.server.on_each(ENDPOINT, move |call| {
        let token = call.parameter("token").unwrap_or_default();
        let number: u32 = token.trim_start_matches("token-").parse().expect("a token of ours");
        // Every tenth is not active.
        let said = json!({
            "active": !number.is_multiple_of(10), "sub": format!("user-{number}"), "jti": token,
        });
        Answer::json(200, &said).held_by(&held)
    });
    let address = set_up.address();
    let mut requests = JoinSet::new();
    for request in 0..500_u32 {
        let number = request % 100;
        let http = if request % 3 == 0 { Http::Two } else { Http::One };
        let request = Request::get(&format!("/{number}/{request}"))
            .bearer(&format!("token-{number}"))
            .header("x-user", "intruder");
        requests.spawn(async move { (number, http.send(&request, address).await) });
    }
    set_up.under_way(500).await;
    gate.arrived(100).await;
    gate.open();
    for (number, answer) in requests.join_all().await {
        let status = if number.is_multiple_of(10) { 401 } else { 200 };
        assert_eq!(answer.status, status, "token-{number}: {}", answer.text());
    }
    let passed = set_up.service.requests();
    assert_eq!(passed.len(), 450);
    for request in passed {
        let number = request.path().split('/').nth(1).expect("the number of the token");
        assert_eq!(request.headers.all("x-user"), [format!("user-{number}")]);
        assert_eq!(request.headers.all("x-token"), [format!("token-{number}")]);
        assert!(!request.headers.contains("authorization"));
    }
    assert_eq!(set_up.calls(), 100);
    set_up.comes_to_rest().await;
}
