//! Bodies, which must not get by while their token is asked about.

use oauth2_filter_testbed::client::{HeaderMap, Http2, Request, Response};
use oauth2_filter_testbed::envoy::{Listener, native};
use oauth2_filter_testbed::scripted::{Answer, Gate};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::set_up::{BOTH, ENDPOINT, Ends, Http, LISTENER, SetUp, active, inactive, plugin};

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_held_until_its_token_is_known_to_be_good() {
    let set_up = SetUp::new(json!({})).await;
    for http in BOTH {
        let body = body(5_000_000);
        let held = Held::post(&set_up, http, &body, active()).await;
        held.gate.open();
        assert_eq!(held.answer.await.expect("an answer").status, 200, "{http:?}");
        let requests = set_up.service.requests();
        let [request] = requests.as_slice() else {
            panic!("{http:?}: {} requests", requests.len())
        };
        assert_eq!(request.body_bytes, 5_000_000, "{http:?}");
        assert!(body.starts_with(&request.body), "{http:?}: another body");
        set_up.service.clear();
    }
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_whose_token_is_no_good_never_reaches_the_service() {
    let set_up = SetUp::new(json!({})).await;
    for http in BOTH {
        let held = Held::post(&set_up, http, &body(5_000_000), inactive()).await;
        held.gate.open();
        assert_eq!(held.answer.await.expect("an answer").status, 401, "{http:?}");
    }
    set_up.service_is_untouched().await;
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_delivers_bodies_meanwhile_does_not_let_them_out() {
    if native::is_chosen() {
        return; // A dynamic module always holds bodies back.
    }
    let set_up = delivering_bodies_meanwhile().await;
    for http in BOTH {
        let held = Held::post(&set_up, http, &body(100_000), inactive()).await;
        held.gate.open();
        assert_eq!(held.answer.await.expect("an answer").status, 401, "{http:?}");

        // Perhaps more than Envoy has room for: it answers itself then.
        let held = Held::post(&set_up, http, &body(5_000_000), inactive()).await;
        held.gate.open();
        let status = held.answer.await.expect("an answer").status;
        assert!(matches!(status, 401 | 413), "{http:?}: {status}");
    }
    // A request that is whole, with trailers at its end.
    let (gate, answer) = with_trailers(&set_up, inactive()).await;
    gate.open();
    assert_eq!(answer.await.expect("an answer").status, 401);
    set_up.service_is_untouched().await;
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_delivers_bodies_meanwhile_sends_them_on_when_the_token_is_good() {
    if native::is_chosen() {
        return; // A dynamic module always holds bodies back.
    }
    let set_up = delivering_bodies_meanwhile().await;
    for http in BOTH {
        let body = body(100_000);
        let held = Held::post(&set_up, http, &body, active()).await;
        held.gate.open();
        assert_eq!(held.answer.await.expect("an answer").status, 200, "{http:?}");
        let request = set_up.service.requests().pop().expect("a request");
        assert_eq!(request.body_bytes, 100_000, "{http:?}");
        assert!(body.starts_with(&request.body), "{http:?}: another body");
    }
    let (gate, answer) = with_trailers(&set_up, active()).await;
    gate.open();
    assert_eq!(answer.await.expect("an answer").status, 200);
    let request = set_up.service.requests().pop().expect("a request");
    assert_eq!(request.body, b"body");
    // The token is known by now: nothing waits.
    let request = Request::post("/", body(3_000_000)).bearer("Two-100000");
    for http in BOTH {
        assert_eq!(http.send(&request, set_up.address()).await.status, 200, "{http:?}");
    }
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_come_in_any_way() {
    let set_up = SetUp::new(json!({})).await;
    let address = set_up.address();
    let post = || Request::post("/", body(100_000)).bearer("good");
    for (what, request) in [
        ("in chunks", post().chunked()),
        ("after 100 (Continue)", post().header("expect", "100-continue")),
    ] {
        let gate = Gate::new();
        set_up.server.on(ENDPOINT, active().held_by(&gate));
        let answer = tokio::spawn(async move { request.send(address).await });
        if set_up.calls() == 0 {
            gate.arrived(1).await;
        }
        gate.open();
        let answer = answer.await.expect("no panic").expect("an answer");
        assert_eq!(answer.status, 200, "{what}");
        let request = set_up.service.requests().pop().expect("a request");
        assert_eq!(request.body_bytes, 100_000, "{what}");
    }
    for request in [post().chunked(), post().header("expect", "100-continue")] {
        // Two tokens.
        assert_eq!(set_up.send(&request.bearer("other")).await.status, 400);
    }
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_go_along_with_their_request() {
    let set_up = SetUp::new(json!({})).await;
    let (gate, answer) = with_trailers(&set_up, active()).await;
    gate.open();
    assert_eq!(answer.await.expect("an answer").status, 200);
    let request = set_up.service.requests().pop().expect("a request");
    assert_eq!(request.body, b"body");
    set_up.comes_to_rest().await;
}

/// An Envoy that goes on with body and trailers while the filter waits.
async fn delivering_bodies_meanwhile() -> SetUp {
    let ends = Ends::start().await;
    let mut filter = plugin(json!({})).filter("oauth2");
    filter["typed_config"]["config"]["allow_on_headers_stop_iteration"] = json!(true);
    let bootstrap = ends.bootstrap().listener(Listener::to(LISTENER, "service").filter(filter));
    ends.with(bootstrap).await
}

/// A request whose body has come to Envoy, and whose token is being asked about.
struct Held {
    gate: Gate,
    answer: JoinHandle<Response>,
}

impl Held {
    /// Sends a POST of which the server says `said`, once the gate is opened.
    async fn post(set_up: &SetUp, http: Http, body: &[u8], said: Answer) -> Self {
        let gate = Gate::new();
        set_up.server.on(ENDPOINT, said.held_by(&gate));
        let received = format!("http.{LISTENER}.downstream_cx_rx_bytes_total");
        let before = set_up.envoy.stat(&received).await.unwrap_or_default();
        let sent = set_up.envoy.stat("cluster.service.upstream_rq_total").await;
        let request = Request::post("/", body).bearer(&format!("{http:?}-{}", body.len()));
        let address = set_up.address();
        let answer = tokio::spawn(async move { http.send(&request, address).await });
        gate.arrived(1).await;
        set_up.envoy.stat_reaches(&received, before + body.len().min(500_000) as u64).await;
        let now_sent = set_up.envoy.stat("cluster.service.upstream_rq_total").await;
        assert_eq!(now_sent, sent, "sent to the service before the token is known");
        Self { gate, answer }
    }
}

/// Sends a request with a body and trailers, and waits until its token is being asked about.
async fn with_trailers(set_up: &SetUp, said: Answer) -> (Gate, JoinHandle<Response>) {
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, said.held_by(&gate));
    let request = Request::new("POST", "/").bearer("trailers");
    let connection = Http2::open(set_up.address()).await.expect("a connection");
    let mut stream = connection.send_head(&request).await.expect("a stream");
    gate.arrived(1).await;
    stream.send_data("body", false).expect("a body");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "1".parse().expect("a value"));
    stream.send_trailers(trailers).expect("trailers");
    // What comes later on the connection has been read later.
    let later = Request::get("/later").bearer("not a token");
    assert_eq!(connection.send(&later).await.expect("an answer").status, 401);
    (gate, tokio::spawn(async move { stream.response().await.expect("an answer") }))
}

/// Bytes that differ from place to place.
fn body(length: u32) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}
