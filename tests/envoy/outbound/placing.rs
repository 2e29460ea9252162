//! Where tokens go, and where they do not.

use oauth2_filter_testbed::client::{Http2, Request};
use oauth2_filter_testbed::envoy::{Listener, WasmPlugin};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use serde_json::{Value, json};

use super::{TOKEN, client, document, issued, seen, shown, start};
use crate::set_up::{BOTH, Ends, LISTENER, SetUp};

/// Clients whose tokens bear their ids.
fn named(id: &str, more: Value) -> Value {
    let mut client = client(more);
    client["client_id"] = id.into();
    client["auth_method"] = "client_secret_post".into();
    client
}

/// The token endpoint issues tokens that bear the clients' ids.
fn issue_by_name(server: &ScriptedServer) {
    server.on_each(TOKEN, |call| {
        let id = call.parameter("client_id").unwrap_or_default();
        if id == "broken" { Answer::status(500) } else { issued(&format!("of-{id}"), 3600) }
    });
}

/// Clients and rules of many kinds.
async fn ruled() -> SetUp {
    let clients = json!({
        "a": named("a", json!({})),
        "b": named("b", json!({"header": "x-api-token", "scheme": ""})),
        "keeps": named("keeps", json!({"overwrite": false})),
        "broken": named("broken", json!({})),
        "lenient": named("broken", json!({"failure_mode_allow": true, "scope": "other"})),
        "scheme": named("scheme", json!({"scheme": "Token"})),
    });
    let rules = json!([
        {"hosts": ["a.test"], "paths": ["/public/**"], "client": null},
        {"hosts": ["a.test"], "methods": ["POST"], "client": "b"},
        {"hosts": ["a.test", "*.a.test"], "client": "a"},
        {"hosts": ["keeps.test"], "client": "keeps"},
        {"hosts": ["broken.test"], "client": "broken"},
        {"hosts": ["lenient.test"], "client": "lenient"},
        {"hosts": ["scheme.test"], "paths": ["/one/*"], "client": "scheme"},
    ]);
    let set_up = start(&json!({"outbound": {"clients": clients, "rules": rules}}), 1).await;
    issue_by_name(&set_up.server);
    set_up
}

#[tokio::test(flavor = "multi_thread")]
async fn cl_9700_04_d6_10_rules_say_whose_token_goes_where_and_nowhere_else() {
    let set_up = ruled().await;
    for http in BOTH {
        for (method, host, path, own, status, authorization, api_token) in [
            ("GET", "a.test", "/x", true, 200, Some("Bearer of-a"), None),
            ("GET", "A.test:8080", "/x?q=/public/", true, 200, Some("Bearer of-a"), None),
            ("GET", "www.a.test", "/public/x", true, 200, Some("Bearer of-a"), None),
            ("GET", "a.test", "/public/x", true, 200, Some("Bearer mine"), None),
            ("GET", "a.test", "/%70ublic/x", true, 200, Some("Bearer mine"), None),
            ("GET", "a.test", "/x/../public/x", true, 400, None, None),
            ("GET", "a.test", "/public/x", false, 200, None, None),
            ("POST", "a.test", "/x", true, 200, Some("Bearer mine"), Some("of-b")),
            ("GET", "other.test", "/x", true, 200, Some("Bearer mine"), None),
            ("GET", "xa.test", "/x", false, 200, None, None),
            ("GET", "a.test.evil.test", "/x", false, 200, None, None),
            ("GET", "keeps.test", "/x", true, 200, Some("Bearer mine"), None),
            ("GET", "keeps.test", "/x", false, 200, Some("Bearer of-keeps"), None),
            ("GET", "broken.test", "/x", true, 503, None, None),
            ("GET", "broken.test", "/x", false, 503, None, None),
            ("GET", "lenient.test", "/x", true, 200, None, None),
            ("GET", "scheme.test", "/one/x", true, 200, Some("Token of-scheme"), None),
            ("GET", "scheme.test", "/one/x/y", false, 200, None, None),
            ("GET", "scheme.test", "/one%2Fx", true, 400, None, None),
        ] {
            let mut request = Request::new(method, path).authority(host);
            if own {
                request = request.bearer("mine");
            }
            set_up.service.clear();
            let case = format!("{http:?} {method} {host}{path} {own}");
            let answer = http.send(&request, set_up.address()).await;
            assert_eq!(answer.status, status, "{case}: {}", answer.text());
            let passed = set_up.service.requests();
            assert_eq!(passed.len(), usize::from(status == 200), "{case}");
            for request in passed {
                let all = request.headers.all("authorization");
                assert_eq!(all, Vec::from_iter(authorization), "{case}");
                let all = request.headers.all("x-api-token");
                assert_eq!(all, Vec::from_iter(api_token), "{case}");
            }
        }
    }
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_header_is_replaced_however_it_is_spelt_and_however_often_it_comes() {
    let set_up = start(&document(json!({})), 1).await;
    set_up.server.on(TOKEN, issued("t1", 3600));
    let request = Request::post("/twice", "body")
        .header("AUTHORIZATION", "Bearer one")
        .header("authorization", "Basic two");
    for http in BOTH {
        assert_eq!(http.send(&request, set_up.address()).await.status, 200);
    }
    let passed = set_up.service.requests_to("/twice");
    assert_eq!(passed.len(), 2);
    for request in passed {
        assert_eq!(request.headers.all("authorization"), ["Bearer t1"]);
        assert_eq!(request.body, b"body", "the body waited for the token too");
    }
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_request_gets_the_token_or_a_status_that_it_understands() {
    let set_up = ruled().await;
    let connection = Http2::open(set_up.address()).await.expect("a connection");
    let call = async |host: &str| {
        let request = Request::grpc("/s.S/Any", b"message").authority(host);
        connection.send(&request).await.expect("an answer")
    };
    let answer = call("www.a.test").await;
    assert_eq!((answer.status, answer.grpc_status()), (200, None));
    assert_eq!(seen(&set_up, "/s.S/Any"), [Some("Bearer of-a".to_owned())]);
    let answer = call("broken.test").await;
    assert_eq!((answer.status, answer.grpc_status()), (200, Some(14)), "{answer:?}");
    let message = answer.grpc_message().expect("a message");
    assert!(message.ends_with('.') && !message.contains('{'), "{message}");
    assert_eq!(set_up.service.count("/s.S/Any"), 1);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_not_follow_an_internal_redirect_to_where_no_rule_sends_it() {
    let ends = Ends::start().await;
    issue_by_name(&ends.server);
    ends.server.on_each("/exchange", |call| {
        let subject = call.parameter("subject_token").unwrap_or_default();
        let mut said = json!({"access_token": format!("for-{subject}"), "token_type": "Bearer"});
        said["issued_token_type"] = "urn:ietf:params:oauth:token-type:access_token".into();
        Answer::json(200, &said)
    });
    // Not kept by anybody.
    ends.server.on("/once", issued("once", 0));
    let service = ScriptedServer::start().await;
    service.on("/elsewhere", redirect("http://elsewhere.test/end"));
    service.on("/to-b", redirect("http://b.test/end"));
    service.on("/back", redirect("http://a.test/end"));
    service.on("/end", Answer::status(200));
    let clients = json!({
        "a": named("a", json!({})),
        "b": named("b", json!({"header": "x-api-token", "scheme": ""})),
        "exchange": named("x", json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "endpoint": "http://as.test/exchange",
        })),
        "once": named("once", json!({"endpoint": "http://as.test/once"})),
    });
    let rules = json!([
        {"hosts": ["a.test"], "client": "a"},
        {"hosts": ["b.test"], "client": "b"},
        {"hosts": ["exchange.test"], "client": "exchange"},
        {"hosts": ["once.test"], "client": "once"},
    ]);
    let filter =
        WasmPlugin::new(&json!({"outbound": {"clients": clients, "rules": rules}})).filter("o");
    let policy = json!({"max_internal_redirects": 2});
    let route = json!({"cluster": "redirecting", "internal_redirect_policy": policy});
    let routes = json!([{"match": {"prefix": "/"}, "route": route}]);
    let bootstrap = ends
        .bootstrap()
        .cluster("redirecting", service.address())
        .listener(Listener::routing(LISTENER, routes).filter(filter));
    let set_up = ends.with(bootstrap).await;
    for (from, path, first, authorization, api_token) in [
        ("a.test", "/elsewhere", "Bearer of-a", None, None),
        ("a.test", "/to-b", "Bearer of-a", None, Some("of-b")),
        ("a.test", "/back", "Bearer of-a", Some("Bearer of-a"), None),
        ("exchange.test", "/elsewhere", "Bearer for-mine", None, None),
        ("exchange.test", "/to-b", "Bearer for-mine", None, Some("of-b")),
        ("once.test", "/elsewhere", "Bearer once", None, None),
        // What is the caller's own goes where Envoy sends it.
        ("nobody.test", "/elsewhere", "Bearer mine", Some("Bearer mine"), None),
    ] {
        service.clear();
        let request = Request::get(path).authority(from).bearer("mine");
        let answer = set_up.send(&request).await;
        assert_eq!(answer.status, 200, "{from}{path}: {}", answer.text());
        let header = |path: &str, name: &str| {
            let requests = service.requests(path);
            assert_eq!(requests.len(), 1, "{from}{path}");
            requests[0].header(name)
        };
        assert_eq!(header(path, "authorization").as_deref(), Some(first), "{from}{path}");
        let end = header("/end", "authorization");
        assert_eq!(end.as_deref(), authorization, "{from}{path}");
        assert_eq!(header("/end", "x-api-token").as_deref(), api_token, "{from}{path}");
    }
    set_up.comes_to_rest().await;
}

/// Has Envoy go elsewhere.
fn redirect(location: &str) -> Answer {
    Answer::status(302).header("location", location)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_token_is_put_on_requests_without_any_server() {
    let direct = json!({"outbound": {"clients": {"given": {
        "grant_type": "direct_token", "access_token": "given",
    }}}});
    let set_up = start(&direct, 2).await;
    for _ in 0..10 {
        let answer = set_up.send(&Request::get("/").bearer("mine")).await;
        assert_eq!(shown(&answer).as_deref(), Some("Bearer given"));
    }
    assert_eq!(set_up.envoy.stat("cluster.as.upstream_rq_total").await, Some(0));
    set_up.comes_to_rest().await;
}
