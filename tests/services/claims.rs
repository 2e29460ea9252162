//! Headers that the filter sets: a service reads the filter's value, or none, and never the caller's.

use oauth2_filter_testbed::client::{Connection, HeaderMap, Http2, Request};
use oauth2_filter_testbed::envoy::Listener;
use serde_json::{Value, json};

use crate::services::SERVICES;
use crate::set_up::{BOTH, Http, Outcome, SetUp, Wrong, inbound, listener, outbound};

/// The characters that a name can have in place of a dash.
const INSTEAD_OF_DASH: &str = "_.~!$|^`'*+%&#";

/// Every spelling of a name that a CGI program cannot tell from it.
fn spellings(name: &str) -> impl Iterator<Item = String> {
    let upper = name.to_ascii_uppercase();
    let instead = INSTEAD_OF_DASH.chars().map(String::from);
    let spelled =
        instead.flat_map(move |other| [name.replace('-', &other), upper.replace('-', &other)]);
    spelled.chain([name.to_owned(), name.to_ascii_uppercase()])
}

/// A listener that forwards trailers, which Envoy drops by default.
fn with_trailers(listener: Listener) -> Listener {
    listener.connection_manager(json!({"http_protocol_options": {"enable_trailers": true}}))
}

/// The subject of a token goes to the service, in a header.
fn subject() -> Value {
    inbound(json!({
        "rules": [{"paths": ["/public"], "access": "public"}, {}],
        "forward": {"claims": {"x-user": "sub"}},
    }))
}

/// What all services have for a header: ours if it has to be there, and nothing of the caller's.
fn is_ours_or_none(outcome: &Outcome, name: &str, ours: Option<&str>) -> bool {
    outcome.reading().is_none_or(|reading| {
        let header = reading.header(name);
        (header.is_none() || header == ours) && reading.trailer(name).is_none()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_a_claims_header_is_read_in_its_place() {
    let Some(set_up) = SetUp::start([listener("in", &subject())]).await else { return };
    let mut wrong = Wrong::default();
    for service in SERVICES {
        let alice = Request::get("/").bearer("alice-token");
        let reading = set_up.arrives("in", service, &alice).await;
        assert_eq!(reading.header("x-user"), Some("alice"), "{reading}");
        let nobody = Request::get("/public").header("x-other", "1");
        let reading = set_up.arrives("in", service, &nobody).await;
        assert_eq!(reading.header("x-other"), Some("1"), "{reading}");
        for name in spellings("x-user") {
            for http in BOTH {
                for (request, ours) in [(&alice, Some("alice")), (&Request::get("/public"), None)] {
                    let request = request.clone().header(&name, "intruder");
                    let outcome = set_up.send(http, "in", service, &request).await;
                    let row = format!("{service} {http:?} {name}, {ours:?}");
                    wrong.unless(is_ours_or_none(&outcome, "x-user", ours), row, &outcome);
                }
            }
        }
    }
    wrong.none();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claims_header_that_connection_names_is_still_ours_or_none() {
    let Some(set_up) = SetUp::start([listener("in", &subject())]).await else { return };
    let mut wrong = Wrong::default();
    for service in SERVICES {
        for connection in ["x-user", "upgrade, x-user", "close, X-User", "te, x_user", "x~user"] {
            for (token, ours) in [(Some("alice-token"), Some("alice")), (None, None)] {
                let request = Request::get(if token.is_some() { "/" } else { "/public" });
                let request = token.iter().fold(request, |request, token| request.bearer(token));
                for name in ["x-user", "x_user", "x~user"] {
                    let request = request.clone().header("connection", connection);
                    let request = request.header("te", "trailers").header(name, "intruder");
                    let outcome = set_up.send(Http::One, "in", service, &request).await;
                    let row = format!("{service} {name}, connection: {connection}, {ours:?}");
                    wrong.unless(is_ours_or_none(&outcome, "x-user", ours), row, &outcome);
                }
            }
        }
    }
    wrong.none();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_spelling_of_the_header_of_our_token_is_read_in_its_place() {
    let clients = json!({"header": "x-api-key", "scheme": ""});
    let document = outbound(clients, &json!([{"hosts": ["api.test"], "client": "ours"}]));
    let Some(set_up) = SetUp::start([listener("out", &document)]).await else { return };
    let mut wrong = Wrong::default();
    for service in SERVICES {
        let plain = Request::get("/").authority("api.test");
        let reading = set_up.arrives("out", service, &plain).await;
        assert_eq!(reading.header("x-api-key"), Some("our-token"), "{reading}");
        for name in spellings("x-api-key").chain(["x-api_key".to_owned(), "x_api-key".to_owned()]) {
            for http in BOTH {
                let request = plain.clone().header(&name, "intruder");
                let outcome = set_up.send(http, "out", service, &request).await;
                let safe = is_ours_or_none(&outcome, "x-api-key", Some("our-token"));
                wrong.unless(safe, format!("{service} {http:?} {name}"), &outcome);
            }
        }
    }
    wrong.none();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_trailer_is_read_in_place_of_a_header_of_ours() {
    let mut document = subject();
    document["inbound"]["token_sources"] =
        json!([{"header": "authorization", "scheme": "Bearer"}, {"header": "x-token"}]);
    let client = json!({"header": "x-api-key", "scheme": ""});
    let ours = outbound(client, &json!([{"hosts": ["api.test"], "client": "ours"}]));
    document["outbound"] = ours["outbound"].clone();
    let Some(set_up) = SetUp::start([with_trailers(listener("both", &document))]).await else {
        return;
    };
    let mut wrong = Wrong::default();
    // `wsgiref` reads no body without a length.
    for service in ["node", "express", "cgi", "php"] {
        for http in BOTH {
            let outcome = with_trailer(&set_up, http, service, "x-other").await;
            let arrives = outcome.reading().is_some_and(|reading| {
                reading.header("x-api-key") == Some("our-token")
                    // The others read no trailers at all.
                    && (!matches!(service, "node" | "express")
                        || reading.trailer("x-other") == Some("intruder"))
            });
            assert!(arrives, "{service} {http:?}: {outcome}");
            for (name, ours) in
                [("x-user", Some("alice")), ("x-token", None), ("x-api-key", Some("our-token"))]
            {
                for spelling in spellings(name) {
                    let outcome = with_trailer(&set_up, http, service, &spelling).await;
                    let safe = is_ours_or_none(&outcome, name, ours);
                    // Where trailers count as headers, a program cannot tell them from it either.
                    let lower = spelling.to_ascii_lowercase();
                    let none = outcome.reading().is_none_or(|read| read.trailer(&lower).is_none());
                    let row = format!("{service} {http:?} {spelling} in trailers");
                    wrong.unless(safe && none, row, &outcome);
                }
            }
        }
    }
    wrong.none();
}

/// Sends a request with a body and this trailer after it.
async fn with_trailer(set_up: &SetUp, http: Http, service: &str, name: &str) -> Outcome {
    let request = Request::post("/", "")
        .authority("api.test")
        .bearer("alice-token")
        .header("te", "trailers")
        .header("x-service", service);
    let address = set_up.envoy.address("both");
    let answer = match http {
        Http::One => {
            let mut connection = Connection::open(address).await.expect("a connection");
            let head = request.header("trailer", name).header("transfer-encoding", "chunked");
            let body = format!("4\r\nbody\r\n0\r\n{name}: intruder\r\n\r\n");
            connection.send_head(&head).await.expect("a request");
            // Envoy may have closed the connection.
            let _ = connection.write(body.as_bytes()).await;
            connection.response("POST").await
        }
        Http::Two => {
            let connection = Http2::open(address).await.expect("a connection");
            let mut stream = connection.send_head(&request).await.expect("a request");
            let mut trailers = HeaderMap::new();
            let name = name.parse::<http::HeaderName>().expect("a name");
            trailers.insert(name, "intruder".parse().expect("a value"));
            // A refusal may come before the end of the request.
            let _ = stream.send_data("body", false).and_then(|()| stream.send_trailers(trailers));
            stream.response().await
        }
    };
    Outcome::of(answer)
}
