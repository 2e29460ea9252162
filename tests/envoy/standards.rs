//! Lines of the standards that take a body, or the service's answer.

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::envoy::Listener;
use oauth2_filter_testbed::scripted::Answer;
use serde_json::json;

use crate::set_up::{BOTH, Ends, LISTENER, SetUp, plugin};

#[tokio::test(flavor = "multi_thread")]
async fn rs_6750_04_a_token_in_a_form_is_none() {
    let set_up = SetUp::new(json!({})).await;
    for http in BOTH {
        let form = Request::form("/", &[("access_token", "good")]);
        let answer = http.send(&form, set_up.address()).await;
        assert_eq!(answer.status, 401, "{http:?}: {}", answer.text());
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge.as_deref(), Some(r#"Bearer realm="oauth2""#), "{http:?}");
    }
    assert_eq!(set_up.calls(), 0);
    set_up.service_is_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_6750_05_the_answer_to_a_token_in_the_query_is_private() {
    let ends = Ends::start().await;
    let cases = [
        ("/none", None, "private"),
        ("/public", Some("public, max-age=60"), "private, max-age=60"),
        ("/shared", Some("s-maxage=60, max-age=5"), "private, max-age=5"),
        ("/private", Some("private, max-age=60"), "private, max-age=60"),
        ("/no-store", Some("no-store"), "no-store"),
    ];
    for (path, said, _) in &cases {
        let answer = Answer::status(200).body("content");
        ends.server.on(path, said.iter().fold(answer, |a, said| a.header("cache-control", said)));
    }
    let sources = json!({"token_sources": [
        {"header": "authorization", "scheme": "Bearer"}, {"query": "access_token"}
    ]});
    let listener = Listener::to(LISTENER, "as").filter(plugin(sources).filter("oauth2"));
    let bootstrap = ends.bootstrap().listener(listener);
    let set_up = ends.with(bootstrap).await;
    for http in BOTH {
        for (path, said, private) in &cases {
            let in_query = Request::get(&format!("{path}?access_token=good"));
            let answer = http.send(&in_query, set_up.address()).await;
            assert_eq!(answer.status, 200, "{http:?} {path}: {}", answer.text());
            let told = answer.header("cache-control");
            assert_eq!(told.as_deref(), Some(*private), "{http:?} {path}");

            let in_header = Request::get(path).bearer("good");
            let answer = http.send(&in_header, set_up.address()).await;
            assert_eq!(answer.header("cache-control").as_deref(), *said, "{http:?} {path}");
        }
    }
    for (path, ..) in cases {
        for request in set_up.server.requests(path) {
            assert_eq!(request.target, path, "the token never goes on");
        }
    }
    set_up.comes_to_rest().await;
}
