//! Clients of every kind: that send much, slowly, or what is hardly HTTP.

use std::net::SocketAddr;

use oauth2_filter_testbed::client::{Connection, Http2, Request, Response};
use oauth2_filter_testbed::envoy::Listener;
use oauth2_filter_testbed::scripted::{Answer, Gate};
use serde_json::{Value, json};

use crate::set_up::{BOTH, ENDPOINT, Ends, LISTENER, SetUp, active, inactive, listener, plugin};

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_utf8_do_no_harm() {
    odd_bytes_do_no_harm(json!({})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_utf8_do_no_harm_where_headers_are_looked_through() {
    odd_bytes_do_no_harm(json!({"forward": {"claims": {"x-user": "sub"}}})).await;
}

async fn odd_bytes_do_no_harm(inbound: Value) {
    let looks_through = inbound.get("forward").is_some();
    let set_up = SetUp::new(inbound).await;
    let address = set_up.address();
    for byte in 0x80..=0xff {
        let with = |start: &str| [start.as_bytes(), &[byte]].concat();
        for http in BOTH {
            let malformed = Request::get("/").header("authorization", with("Bearer a"));
            let answer = http.send(&malformed, address).await;
            assert_eq!(answer.status, 401, "{http:?}, token with {byte:x}: {}", answer.text());
            assert!(answer.text().contains("malformed"), "{http:?}, token with {byte:x}");

            let scheme = Request::get("/").header("authorization", [byte, b' ', b'a']);
            let answer = http.send(&scheme, address).await;
            assert_eq!(answer.status, 401, "{http:?}, scheme {byte:x}: {}", answer.text());

            let fields = Request::get("/fields")
                .bearer("good")
                .header("x-other", with("a"))
                .header("cookie", with("a="))
                .header("x-user", with("intruder"));
            let answer = http.send(&fields, address).await;
            assert_eq!(answer.status, 200, "{http:?}, fields with {byte:x}: {}", answer.text());
            let request = set_up.service.requests().pop().expect("a request");
            assert!(request.headers.all_bytes("x-other").eq([with("a")]), "{byte:x}");
            assert_ne!(request.headers.contains("x-user"), looks_through, "{byte:x}");
        }
        // Envoy takes none of these, but that is for it to say.
        let host = b"\r\nhost: a\r\nauthorization: Bearer good\r\n";
        let odd: [&[&[u8]]; 4] = [
            &[b"GET / HTTP/1.1", host, &with("x-"), b": b\r\n\r\n"],
            &[b"GET ", &with("/"), b" HTTP/1.1", host, b"\r\n"],
            &[b"GET / HTTP/1.1\r\nauthorization: Bearer good\r\nhost: ", &with("a"), b"\r\n\r\n"],
            &[&with("G"), b" / HTTP/1.1", host, b"\r\n"],
        ];
        for request in odd {
            let answer = exchange(address, &request.concat()).await;
            assert!(matches!(answer.status, 200 | 400 | 401), "{byte:x}: {}", answer.status);
        }
    }
    assert_eq!(set_up.calls(), 1, "only one token had the syntax of one");
    let path = Request::get("/\u{e4}").bearer("good");
    assert!(matches!(
        path.send_http2(address).await,
        Err(_) | Ok(Response { status: 200 | 400, .. })
    ));
    assert_eq!(set_up.get("good").await.status, 200);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_and_large_headers_are_no_obstacle() {
    let set_up = SetUp::new(json!({"forward": {"claims": {"x-user": "sub"}}})).await;
    for http in BOTH {
        let send = async |request: &Request| http.send(request, set_up.address()).await.status;
        let mut many = Request::get("/many").bearer("good");
        for n in 0..90 {
            many = many.header(&format!("x-field-{n}"), n.to_string());
        }
        let many = many.header("x-user", "intruder");
        assert_eq!(send(&many).await, 200, "{http:?}: many headers");
        let large = Request::get("/large").bearer("good").header("x-large", "a".repeat(50 * 1024));
        assert_eq!(send(&large).await, 200, "{http:?}: a large header");
        let longest = "a".repeat(16 * 1024);
        assert_eq!(send(&Request::get("/").bearer(&longest)).await, 200, "{http:?}");
        let longer = longest + "a";
        assert_eq!(send(&Request::get("/").bearer(&longer)).await, 431, "{http:?}");

        let request = set_up.service.requests_to("/many").pop().expect("a request");
        let has = |n: u32| request.header(&format!("x-field-{n}")) == Some(n.to_string());
        assert!((0..90).all(has), "{http:?}: {:?}", request.headers);
        assert!(!request.headers.contains("x-user"), "{http:?}");
        let request = set_up.service.requests_to("/large").pop().expect("a request");
        assert_eq!(request.header("x-large").map(|value| value.len()), Some(50 * 1024), "{http:?}");
    }
    assert_eq!(set_up.calls(), 2, "one for each token of at most 16 KiB");
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_08_d4_06_every_method_and_version_needs_a_token() {
    let ends = Ends::start().await;
    let versions = json!({"http_protocol_options": {
        "accept_http_10": true, "default_host_for_http_10": "api.test",
    }});
    let listener = listener(&plugin(json!({}))).connection_manager(versions);
    let bootstrap = ends.bootstrap().listener(listener);
    let set_up = ends.with(bootstrap).await;
    let address = set_up.address();
    for http in BOTH {
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"] {
            let request = Request::new(method, "/");
            assert_eq!(http.send(&request, address).await.status, 401, "{http:?} {method}");
            let request = request.bearer("good");
            assert_eq!(http.send(&request, address).await.status, 200, "{http:?} {method}");
            let request = set_up.service.requests().pop().expect("a request");
            assert_eq!(request.method, method, "{http:?}");
        }
    }
    for (head, status) in [
        ("GET / HTTP/1.0\r\n", 401),
        ("GET / HTTP/1.0\r\nauthorization: Bearer good\r\n", 200),
        ("GET / HTTP/1.0\r\nhost: a\r\nauthorization: Bearer good\r\n", 200),
        ("GET http://a/b HTTP/1.1\r\nhost: a\r\n", 401),
        ("GET http://a/b HTTP/1.1\r\nhost: a\r\nauthorization: Bearer good\r\n", 200),
        // Envoy answers this itself, before any filter.
        ("OPTIONS * HTTP/1.1\r\nhost: a\r\n", 404),
        ("OPTIONS * HTTP/1.1\r\nhost: a\r\nauthorization: Bearer good\r\n", 404),
    ] {
        let answer = exchange(address, format!("{head}\r\n").as_bytes()).await;
        assert_eq!(answer.status, status, "{head}: {}", answer.text());
    }
    assert_eq!(set_up.service.requests().len(), 2 * 8 + 3);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_08_requests_on_one_connection_are_judged_one_by_one() {
    let set_up = SetUp::new(json!({})).await;
    let mut connection = Connection::open(set_up.address()).await.expect("a connection");
    for (path, token, status) in [
        ("/0", Some("good"), 200),
        ("/1", None, 401),
        ("/2", Some("good"), 200),
        ("/3", Some("not a token"), 401),
        ("/4", Some("new"), 200),
    ] {
        let request = Request::get(path);
        let request = token.iter().fold(request, |request, token| request.bearer(token));
        let answer = connection.send(&request).await.expect("an answer on the same connection");
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    let passed: Vec<_> = set_up.service.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(passed, ["/0", "/2", "/4"]);

    // All at once, so that the second comes while the first waits.
    let request =
        |token: &str| format!("GET / HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n");
    let both = request("one") + &request("other");
    connection.write(both.as_bytes()).await.expect("two requests");
    for _ in 0..2 {
        assert_eq!(connection.response("GET").await.expect("an answer").status, 200);
    }
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_needs_a_token() {
    let ends = Ends::start().await;
    let routes = json!([{
        "match": {"connect_matcher": {}},
        "route": {
            "cluster": "service",
            "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}],
        },
    }]);
    let listener = Listener::routing(LISTENER, routes)
        .filter(plugin(json!({})).filter("oauth2"))
        .connection_manager(json!({
            "upgrade_configs": [{"upgrade_type": "CONNECT"}],
            "http2_protocol_options": {"allow_connect": true},
        }));
    let bootstrap = ends.bootstrap().listener(listener);
    let set_up = ends.with(bootstrap).await;
    let request = Request::new("CONNECT", "a:80").authority("a:80");
    for http in BOTH {
        let answer = http.send(&request, set_up.address()).await;
        assert_eq!(answer.status, 401, "{http:?}: {}", answer.text());
    }
    set_up.service_is_untouched().await;

    // Asked about, the first time, and known, the second.
    for _ in 0..2 {
        let mut connection = Connection::open(set_up.address()).await.expect("a connection");
        connection.send_head(&request.clone().bearer("good")).await.expect("a request");
        let answer = connection.response("CONNECT").await.expect("an answer");
        assert_eq!(answer.status, 200);
        let through = connection.send(&Request::get("/through")).await;
        assert_eq!(through.expect("an answer").status, 200);
    }
    assert_eq!(set_up.service.count("/through"), 2);
    assert_eq!(set_up.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_needs_a_token() {
    let ends = Ends::start().await;
    ends.server.on(
        "/socket",
        Answer::raw(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        ),
    );
    let listener = Listener::to(LISTENER, "as")
        .filter(plugin(json!({})).filter("oauth2"))
        .connection_manager(json!({"upgrade_configs": [{"upgrade_type": "websocket"}]}));
    let bootstrap = ends.bootstrap().listener(listener);
    let set_up = ends.with(bootstrap).await;
    let request = Request::get("/socket")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13");
    assert_eq!(set_up.send(&request).await.status, 401);
    assert_eq!(set_up.send(&request.clone().bearer("a b")).await.status, 401);
    assert_eq!(set_up.server.count("/socket"), 0);
    for _ in 0..2 {
        assert_eq!(set_up.send(&request.clone().bearer("good")).await.status, 101);
    }
    for request in set_up.server.requests("/socket") {
        assert_eq!(request.header("upgrade").as_deref(), Some("websocket"));
        assert!(!request.headers.contains("authorization"));
    }
    assert_eq!(set_up.calls(), 1);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_outlives_its_token_ends_with_max_stream_duration() {
    let ends = Ends::start().await;
    let upgrade =
        Answer::status(101).header("connection", "upgrade").header("upgrade", "websocket");
    ends.server.on("/socket", upgrade.until_close().hang_after_head());
    let sources = json!({"token_sources": [{"websocket_protocol": "bearer"}]});
    let listener = Listener::to(LISTENER, "as")
        .filter(plugin(sources).filter("oauth2"))
        .connection_manager(json!({
            "upgrade_configs": [{"upgrade_type": "websocket"}],
            "common_http_protocol_options": {"max_stream_duration": "0.5s"},
        }));
    let bootstrap = ends.bootstrap().listener(listener);
    let set_up = ends.with(bootstrap).await;
    let request = Request::get("/socket")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat, bearer, good");
    let mut connection = Connection::open(set_up.address()).await.expect("a connection");
    connection.send_head(&request).await.expect("a request");
    let answer = connection.response("GET").await.expect("an answer");
    assert_eq!(answer.status, 101);
    // Nothing but this time ends it.
    connection.closed().await.expect("the stream ends");
    let name = format!("http.{LISTENER}.downstream_rq_max_duration_reached");
    set_up.envoy.stat_reaches(&name, 1).await;
    let request = set_up.server.requests("/socket").pop().expect("a request");
    assert_eq!(request.header("sec-websocket-protocol").as_deref(), Some("chat"));
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_half_is_gone_for_envoy_and_for_the_filter() {
    let set_up = SetUp::new(json!({})).await;
    let gate = Gate::new();
    set_up.server.on(ENDPOINT, active().held_by(&gate));
    let mut connection = Connection::open(set_up.address()).await.expect("a connection");
    connection.send_head(&Request::get("/half").bearer("new")).await.expect("a request");
    gate.arrived(1).await;
    connection.finish().await.expect("a half to close");
    connection.closed().await.expect("the other half to be closed");
    set_up.under_way(0).await;
    gate.open();
    assert_eq!(set_up.get("new").await.status, 200);
    assert_eq!(set_up.service.count("/half"), 0);
    assert_eq!(set_up.calls(), 1);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_http_04_a_grpc_client_gets_a_status_that_it_understands() {
    let rules = json!([
        {"paths": ["/s.S/Denied"], "access": "deny"},
        {"paths": ["/s.S/Scoped"], "scope": "s:read"},
        {"paths": ["/s.S/*"]},
    ]);
    let inbound = json!({"rules": rules, "introspection": {"retries": 0}});
    let set_up = SetUp::new(inbound).await;
    let connection = Http2::open(set_up.address()).await.expect("a connection");
    let call = async |method: &str, token: Option<&str>| {
        let request = Request::grpc(method, b"message");
        let request = token.iter().fold(request, |request, token| request.bearer(token));
        connection.send(&request).await.unwrap_or_else(|error| panic!("{method}: {error}"))
    };
    for (said, method, token, status) in [
        (active(), "/s.S/Any", None, 16),
        (inactive(), "/s.S/Any", Some("inactive"), 16),
        (active(), "/s.S/Denied", None, 7),
        (active(), "/s.S/Scoped", Some("good"), 7),
        (active(), "/s.S%2fAny", Some("good"), 3),
        (Answer::reset(), "/s.S/Any", Some("reset"), 14),
        (Answer::status(200).body("garbage"), "/s.S/Any", Some("garbage"), 14),
    ] {
        set_up.server.on(ENDPOINT, said);
        let answer = call(method, token).await;
        assert_eq!(answer.status, 200, "{method}: {}", answer.text());
        assert_eq!(answer.grpc_status(), Some(status), "{method}: {:?}", answer.headers);
        let message = answer.grpc_message().expect("a message");
        assert!(message.ends_with('.') && !message.contains('{'), "{method}: {message}");
        assert_eq!(answer.header("content-type").as_deref(), Some("application/grpc"), "{method}");
    }
    assert!(set_up.service.requests().is_empty());
    let answer = call("/s.S/Any", Some("good")).await;
    assert_eq!((answer.status, answer.grpc_status()), (200, None));
    assert_eq!(set_up.service.count("/s.S/Any"), 1);
    set_up.comes_to_rest().await;
}

/// Sends these bytes on a connection of their own, and reads the answer.
async fn exchange(address: SocketAddr, request: &[u8]) -> Response {
    let mut connection = Connection::open(address).await.expect("a connection");
    connection.write(request).await.expect("a request");
    connection.response("").await.unwrap_or_else(|error| panic!("{request:?}: {error}"))
}
