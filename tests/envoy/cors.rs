//! Scripts of other origins in Envoy: gRPC-Web, bodies, and responses of a service. What a preflight
//! must have is in the table of exchanges.

use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::Listener;
use oauth2_filter_testbed::scripted::Answer;
use serde_json::json;

use crate::set_up::{BOTH, ENDPOINT, Ends, LISTENER, SetUp, inactive, plugin};

const ORIGIN: &str = "https://app.test";

const ALLOWED: &str = "access-control-allow-origin";

/// A filter for scripts of this origin, behind Envoy's `grpc_web`.
async fn set_up() -> SetUp {
    let guarded = plugin(json!({
        "introspection": {"retries": 0},
        "cors": {"allow_origins": [ORIGIN], "allow_methods": ["POST"],
            "allow_headers": ["authorization", "content-type", "x-grpc-web"]},
    }));
    let grpc_web = json!({
        "name": "envoy.filters.http.grpc_web",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
        },
    });
    let listener =
        Listener::to(LISTENER, "service").filter(grpc_web).filter(guarded.filter("oauth2"));
    let ends = Ends::start().await;
    let bootstrap = ends.bootstrap().listener(listener);
    ends.with(bootstrap).await
}

/// The origin that may read a response; panics if there is more than one.
fn allowed(answer: &Response) -> Option<String> {
    let values = answer.headers.all(ALLOWED);
    assert!(values.len() <= 1, "{values:?}");
    assert_eq!(answer.headers.all("vary"), ["origin"], "{answer:?}");
    values.first().map(ToString::to_string)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_may_have_a_body_and_reaches_nobody() {
    let set_up = set_up().await;
    for http in BOTH {
        let preflight = |origin: &str| {
            Request::new("OPTIONS", "/x")
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "authorization,content-type")
        };
        for request in [preflight(ORIGIN), preflight(ORIGIN).body("{}")] {
            let answer = http.send(&request, set_up.address()).await;
            assert_eq!((answer.status, answer.text()), (200, String::new()), "{http:?}");
            assert_eq!(allowed(&answer).as_deref(), Some(ORIGIN), "{http:?}");
        }
        let answer = http.send(&preflight("https://evil.test").body("{}"), set_up.address()).await;
        assert_eq!((answer.status, allowed(&answer)), (401, None), "{http:?}");
    }
    assert_eq!(set_up.calls(), 0);
    set_up.service_is_untouched().await;
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_read_why_a_grpc_web_call_was_refused() {
    let set_up = set_up().await;
    set_up.server.on(ENDPOINT, inactive());
    for http in BOTH {
        let call = |content_type: &str| {
            Request::post("/x.Y/Z", b"\0\0\0\0\0".as_slice())
                .header("content-type", content_type)
                .header("x-grpc-web", "1")
                .header("origin", ORIGIN)
        };
        for request in
            [call("application/grpc-web+proto"), call("application/grpc-web+proto").bearer("t")]
        {
            let answer = http.send(&request, set_up.address()).await;
            assert_eq!(answer.grpc_status(), Some(16), "{answer:?}");
            assert_eq!(allowed(&answer).as_deref(), Some(ORIGIN), "{http:?}");
            let exposed = answer.header("access-control-expose-headers").expect("a list");
            for name in ["www-authenticate", "grpc-status", "grpc-message"] {
                assert!(exposed.split(", ").any(|exposed| exposed == name), "{exposed}");
            }
        }
        let answer = http.send(&call("application/x-grpc-web"), set_up.address()).await;
        assert_eq!((answer.status, allowed(&answer).as_deref()), (401, Some(ORIGIN)), "{http:?}");
    }
    set_up.service_is_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responses_of_the_service_are_left_alone() {
    let set_up = set_up().await;
    set_up.server.on(ENDPOINT, Answer::json(200, &json!({"active": true})));
    for http in BOTH {
        let request = Request::get("/").bearer("t").header("origin", ORIGIN);
        let answer = http.send(&request, set_up.address()).await;
        assert_eq!(answer.status, 200, "{http:?}");
        for name in [ALLOWED, "access-control-expose-headers", "vary"] {
            assert_eq!(answer.header(name), None, "{http:?} {name}");
        }
    }
    assert_eq!(set_up.service.requests()[0].headers.all("origin"), [ORIGIN]);
}
