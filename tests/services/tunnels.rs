//! `CONNECT`: a tunnel's next proxy gets no token that is for its other end.

use oauth2_filter_testbed::client::{Connection, Http2, Request};
use oauth2_filter_testbed::envoy::Listener;
use serde_json::json;

use crate::set_up::{BOTH, Http, Outcome, SetUp, Wrong, guarded, outbound, routes};

/// The services that know tunnels.
const TUNNELS: [&str; 2] = ["node", "express"];

#[tokio::test(flavor = "multi_thread")]
async fn a_token_goes_into_no_tunnel_but_with_a_websocket() {
    let document = outbound(json!({}), &json!([{"hosts": ["api.test"], "client": "ours"}]));
    let mut all = Vec::new();
    for mut route in routes("/", "tunnel") {
        let tunnel = &mut route["match"];
        tunnel.as_object_mut().expect("an object").remove("prefix");
        tunnel["connect_matcher"] = json!({});
        route["route"]["upgrade_configs"] = json!([{"upgrade_type": "CONNECT"}]);
        all.push(route);
    }
    all.extend(routes("/", "/"));
    let listener = guarded(Listener::routing("out", json!(all)), &document);
    let listener = listener.connection_manager(json!({
        "upgrade_configs": [{"upgrade_type": "CONNECT"}, {"upgrade_type": "websocket"}],
        "http2_protocol_options": {"allow_connect": true},
    }));
    let Some(set_up) = SetUp::start([listener]).await else { return };
    let address = set_up.envoy.address("out");
    let mut wrong = Wrong::default();
    for service in TUNNELS {
        for http in BOTH {
            for (authority, must_arrive) in [
                ("other.test:443", true),
                ("api.test:443", false),
                ("api.test:80", false),
                ("API.test:443", false),
                ("api.test.:443", false),
            ] {
                let request = Request::new("CONNECT", authority).authority(authority);
                let outcome = connect(http, &set_up, request.header("x-service", service)).await;
                let safe = outcome.reading().is_none_or(|r| !r.has_in_headers("our-token"));
                let arrives = outcome.reading().is_some() || !must_arrive;
                wrong.unless(safe && arrives, format!("{service} {http:?} {authority}"), &outcome);
            }
        }
        // A WebSocket is for the service itself.
        let socket = Request::get("/socket").authority("api.test").header("x-service", service);
        let upgrade = socket
            .clone()
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13");
        let answer = upgrade.send(address).await;
        let extended = Request::websocket("/socket").authority("api.test");
        let extended = connect(Http::Two, &set_up, extended.header("x-service", service)).await;
        let outcomes = [Outcome::of(answer), extended];
        for outcome in outcomes {
            let token = outcome.reading().and_then(|reading| reading.header("authorization"));
            assert_eq!(token, Some("Bearer our-token"), "{service}: {outcome}");
        }
    }
    wrong.none();
}

/// Sends the head of a CONNECT request, whose body would be what goes through the tunnel.
async fn connect(http: Http, set_up: &SetUp, request: Request) -> Outcome {
    let address = set_up.envoy.address("out");
    let answer = match http {
        Http::One => {
            let mut connection = Connection::open(address).await.expect("a connection");
            connection.send_head(&request).await.expect("a request");
            connection.response("CONNECT").await
        }
        Http::Two => {
            let connection = Http2::open(address).await.expect("a connection");
            let stream = connection.send_head(&request).await.expect("a request");
            stream.tunnel().await
        }
    };
    Outcome::of(answer)
}
