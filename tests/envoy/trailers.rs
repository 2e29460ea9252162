//! Trailers, in which no reserved header may reach the service.

use oauth2_filter_testbed::client::{HeaderMap, Http2, Request};
use oauth2_filter_testbed::envoy::{Bootstrap, Cluster, Listener, native};
use oauth2_filter_testbed::scripted::{Answer, Gate};
use serde_json::{Value, json};

use crate::set_up::{ENDPOINT, Ends, LISTENER, SetUp, plugin};

/// Trailers with which a caller tries to pass for another user.
const TRAILERS: [(&str, &str); 4] =
    [("x-user", "root"), ("x_user", "root"), ("x.user", "root"), ("x-checksum", "1")];

#[tokio::test(flavor = "multi_thread")]
async fn no_reserved_header_is_forwarded_in_trailers() {
    // A dynamic module always holds body and trailers back.
    let hosts: &[bool] = if native::is_chosen() { &[false] } else { &[false, true] };
    for delivers_meanwhile in hosts.iter().copied() {
        let claims = json!({"forward": {"claims": {"x-user": "sub"}}});
        let set_up = set_up(claims, delivers_meanwhile).await;
        // The first waits for its introspection, the next ones are decided at once.
        for waits in [true, false, false] {
            let fields = trailers_of_request(&set_up, waits).await;
            assert_eq!(fields, ["x-checksum"], "{delivers_meanwhile} {waits}");
        }
        set_up.comes_to_rest().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_are_forwarded_as_they_are_where_no_header_is_reserved() {
    let set_up = set_up(json!({}), false).await;
    for waits in [true, false] {
        let fields = trailers_of_request(&set_up, waits).await;
        assert_eq!(fields.len(), TRAILERS.len(), "{fields:?}");
    }
    set_up.comes_to_rest().await;
}

/// HTTP/2 on both sides, with this added to the `inbound` object; perhaps an Envoy that delivers
/// body and trailers while the filter waits.
async fn set_up(inbound: Value, delivers_meanwhile: bool) -> SetUp {
    let ends = Ends::start().await;
    let mut filter = plugin(inbound).filter("oauth2");
    if delivers_meanwhile {
        filter["typed_config"]["config"]["allow_on_headers_stop_iteration"] = json!(true);
    }
    let bootstrap = Bootstrap::new()
        .cluster("as", ends.server.address())
        .custom_cluster(Cluster::new("service", ends.service.address()).http2())
        .listener(Listener::to(LISTENER, "service").filter(filter));
    ends.with(bootstrap).await
}

/// The names of the trailers that the service gets of a request with all of [`TRAILERS`].
async fn trailers_of_request(set_up: &SetUp, waits: bool) -> Vec<String> {
    let gate = Gate::new();
    let said = Answer::json(200, &json!({"active": true, "sub": "alice"}));
    set_up.server.on(ENDPOINT, said.held_by(&gate));
    let before = set_up.service.requests().len();
    let connection = Http2::open(set_up.address()).await.expect("a connection");
    let request = Request::new("POST", "/").bearer("trailers");
    let mut stream = connection.send_head(&request).await.expect("a stream");
    if waits {
        gate.arrived(1).await;
    }
    stream.send_data("body", false).expect("a body");
    let mut trailers = HeaderMap::new();
    for (name, value) in TRAILERS {
        trailers.insert(name, value.parse().expect("a value"));
    }
    stream.send_trailers(trailers).expect("trailers");
    // What comes later on the connection has been read later.
    let later = Request::get("/later").bearer("not a token");
    assert_eq!(connection.send(&later).await.expect("an answer").status, 401);
    gate.open();
    assert_eq!(stream.response().await.expect("an answer").status, 200);
    let requests = set_up.service.requests();
    assert_eq!(requests.len(), before + 1);
    let trailers = &requests.last().expect("a request").trailers;
    let names = trailers.iter().filter(|(name, _)| !name.starts_with("x-envoy-"));
    names.map(|(name, _)| name.to_owned()).collect()
}
