//! `envoy/mcp-tools.yaml` and `envoy/mcp-rules.yaml`: no request of a client without the scope makes a
//! server run the tool.

use std::collections::BTreeSet;

use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{Envoy, Listener, Options, WasmPlugin, example};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use serde_json::{Value, json};

use super::mcp_reading::Keys;
use super::port;
use crate::set_up::{BOTH, ENDPOINT, Ends, Http, document, one_worker};

/// A tool that every client may call, and one that needs `mcp:admin`.
const TOOL: &str = "list_orders";
const ADMIN_TOOL: &str = "delete_order";

/// The newest revision, and the one before.
const REVISIONS: [&str; 2] = ["2026-07-28", "2025-11-25"];

/// A way to have rules on tools.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Way {
    /// The body is read after this filter, and RBAC decides.
    Rbac,
    /// The body is read before this filter, which decides.
    Rules,
}

impl Way {
    const BOTH: [Self; 2] = [Self::Rbac, Self::Rules];

    fn file(self) -> &'static str {
        match self {
            Self::Rbac => "mcp-tools.yaml",
            Self::Rules => "mcp-rules.yaml",
        }
    }
}

/// A file, running.
struct Scene {
    way: Way,
    service: ScriptedServer,
    envoy: Envoy,
    /// Used by Envoy.
    _server: ScriptedServer,
}

impl Scene {
    /// Tokens are named by their scope, `mcp.tools+mcp.admin`.
    async fn start(way: Way) -> Self {
        let (server, service) = (ScriptedServer::start().await, ScriptedServer::start().await);
        server.on_each(ENDPOINT, |call| {
            let known = json!({
                "active": true, "aud": "https://mcp.example.com/mcp",
                "scope": call.parameter("token").expect("a token").replace('+', " ").replace('.', ":"),
            });
            Answer::json(200, &known)
        });
        service.on("/mcp", Answer::json(200, &json!({"jsonrpc": "2.0", "id": 1, "result": {}})));
        let text = example(
            way.file(),
            &[
                ("127.0.0.1:9000/", &format!("{}/", server.address())),
                ("port_value: 9000 ", &port(server.address())),
                ("port_value: 9001 ", &port(service.address())),
                ("port_value: 10000 ", "port_value: 0 "),
            ],
        );
        let environment = vec![("MCP_SERVER_SECRET".to_owned(), "mcp-server-secret".to_owned())];
        let options = Options { environment, ..one_worker() };
        let envoy = Envoy::start_with(text, &options).await.expect("Envoy with the file");
        Self { way, service, envoy, _server: server }
    }

    async fn send(&self, http: Http, request: &Request) -> Response {
        http.send(request, self.envoy.address("mcp")).await
    }

    /// The tools that servers could run because of what has reached them: those that take the first
    /// of two equal keys, those that take the last, and one that looks for the names of tools in any
    /// encoding. Servers ignore the bodies of GET and DELETE, which RBAC does not see.
    fn executed(&self) -> BTreeSet<String> {
        let has_body = |method: &str| self.way == Way::Rules || !matches!(method, "GET" | "DELETE");
        let calls = self.service.requests("/mcp").into_iter();
        let bodies: Vec<Vec<u8>> =
            calls.filter(|call| has_body(&call.method)).map(|call| call.body).collect();
        let run = bodies.iter().flat_map(|body| Keys::BOTH.map(|keys| keys.executed(body)));
        let mut executed: BTreeSet<String> = run.flatten().collect();
        let texts: Vec<String> = bodies.iter().map(|body| any_reading(body)).collect();
        for tool in [TOOL, ADMIN_TOOL] {
            if texts.iter().any(|text| text.contains(tool)) {
                executed.insert(tool.to_owned());
            }
        }
        executed
    }
}

/// A body as the most lenient server might read it: without the zeros of UTF-16, and with escapes
/// replaced.
fn any_reading(body: &[u8]) -> String {
    let body: Vec<u8> = body.iter().copied().filter(|byte| *byte != 0).collect();
    let body = String::from_utf8_lossy(&body).into_owned();
    let mut pieces = body.split("\\u");
    let mut read = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(4).unwrap_or(("", piece));
        read.extend(u32::from_str_radix(digits, 16).ok().and_then(char::from_u32));
        read.push_str(rest);
    }
    read
}

/// The call of a tool as clients send it.
fn message(tool: &str) -> Value {
    let capabilities = json!({"io.modelcontextprotocol/clientCapabilities": {}});
    let params = json!({"name": tool, "arguments": {}, "_meta": capabilities});
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
}

/// A POST of this body, of a client of this revision that calls this tool by its headers.
fn post(revision: &str, in_headers: &str, body: impl Into<Vec<u8>>) -> Request {
    plain(body)
        .header("mcp-protocol-version", revision)
        .header("mcp-method", "tools/call")
        .header("mcp-name", in_headers)
}

/// A POST of this body, without any header of the protocol.
fn plain(body: impl Into<Vec<u8>>) -> Request {
    Request::post("/mcp", body)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_steps_up_within_its_session() {
    for way in Way::BOTH {
        let scene = Scene::start(way).await;
        steps_up(&scene).await;
    }
}

async fn steps_up(scene: &Scene) {
    for http in BOTH {
        for revision in REVISIONS {
            let send = async |tool: &str, token: &str| {
                let request = post(revision, tool, message(tool).to_string());
                scene.send(http, &request.header("mcp-session-id", "s").bearer(token)).await
            };
            let cases = [
                (TOOL, "mcp.tools", 200),
                (ADMIN_TOOL, "mcp.tools", 403),
                ("unknown_tool", "mcp.tools", 403),
                (ADMIN_TOOL, "mcp.tools+mcp.admin", 200),
                (ADMIN_TOOL, "mcp.admin+mcp.tools", 200),
                ("unknown_tool", "mcp.admin", 200),
                (TOOL, "mcp.admin", 200),
                (ADMIN_TOOL, "mcp.tools+mcp.administrator", 403),
                (ADMIN_TOOL, "mcp.tools+not-mcp.admin", 403),
            ];
            for (tool, token, status) in cases {
                let answer = send(tool, token).await;
                let what = format!("{http:?} {revision} {tool} {token}: {}", answer.text());
                assert_eq!(answer.status, status, "{what}");
                let challenge = answer.header("www-authenticate").unwrap_or_default();
                let names_all = challenge.contains(r#"scope="mcp:tools mcp:admin""#);
                assert_eq!(names_all, status == 403, "{what}");
            }
        }
        // A message of almost the maximum, which waits for the introspection of its token.
        let mut large = message(TOOL);
        large["params"]["arguments"]["note"] = "x".repeat(1_000_000).into();
        let request = post(REVISIONS[1], TOOL, large.to_string());
        let answer = scene.send(http, &request.bearer(&format!("mcp.tools+{http:?}"))).await;
        assert_eq!(answer.status, 200, "{http:?}: {}", answer.text());
        // What is no call of a tool.
        let get = Request::get("/mcp").header("accept", "text/event-stream");
        let delete = Request::new("DELETE", "/mcp").header("mcp-session-id", "s");
        for request in [get, delete] {
            let answer = scene.send(http, &request.bearer("mcp.tools")).await;
            assert_eq!(answer.status, 200, "{http:?}: {}", answer.text());
        }
        for (method, token, status) in
            [("prompts/list", "mcp.tools", 403), ("prompts/list", "mcp.tools+mcp.admin", 200)]
        {
            let message = json!({"jsonrpc": "2.0", "id": 1, "method": method});
            let answer = scene.send(http, &plain(message.to_string()).bearer(token)).await;
            assert_eq!(answer.status, status, "{http:?} {token}: {}", answer.text());
        }
        let listen = "subscriptions/listen";
        for method in ["initialize", "ping", "tools/list", listen, "notifications/initialized"] {
            let message = json!({"jsonrpc": "2.0", "id": 1, "method": method});
            let request = plain(message.to_string()).bearer("mcp.tools");
            let answer = scene.send(http, &request).await;
            assert_eq!(answer.status, 200, "{http:?} {method}: {}", answer.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_way_around_the_rules_on_tools() {
    let all = tries();
    assert!(all.len() >= 40);
    for way in Way::BOTH {
        let scene = Scene::start(way).await;
        for (what, request) in &all {
            for http in BOTH {
                for token in ["mcp.tools", "mcp.tools+x"] {
                    let request = request.clone().bearer(token).header("x-scope", "mcp:admin");
                    let answer = scene.send(http, &request.header("x_scope", "mcp:admin")).await;
                    let outcome =
                        format!("{way:?} {http:?} {what}: {} {}", answer.status, answer.text());
                    assert!(!scene.executed().contains(ADMIN_TOOL), "{outcome}");
                    assert_ne!(answer.status, 401, "{outcome}");
                }
                // A client without a token learns nothing about its message, except from Envoy's own
                // response to duplicate keys.
                let text = scene.send(http, request).await.text();
                let words = ["message", "Protocol", "MCP"];
                assert!(!words.iter().any(|word| text.contains(word)), "{way:?} {what}: {text}");
            }
            scene.service.clear();
        }
        // The same eyes see it, if a client may.
        let request = post(REVISIONS[0], ADMIN_TOOL, message(ADMIN_TOOL).to_string());
        assert_eq!(scene.send(Http::One, &request.bearer("mcp.admin")).await.status, 200);
        assert!(scene.executed().contains(ADMIN_TOOL), "{way:?}");
    }
}

/// Requests that might run the tool, each with what it tries.
fn tries() -> Vec<(String, Request)> {
    let admin = message(ADMIN_TOOL).to_string();
    let mut tries = Vec::new();
    for revision in REVISIONS {
        // Headers and body differ, or there are no headers.
        tries.extend([
            (format!("{revision}: as it is"), post(revision, ADMIN_TOOL, admin.as_str())),
            (
                format!("{revision}: another tool in the header"),
                post(revision, TOOL, admin.as_str()),
            ),
            (
                format!("{revision}: two tools in headers"),
                post(revision, TOOL, admin.as_str()).header("mcp-name", ADMIN_TOOL),
            ),
            (
                format!("{revision}: base64"),
                post(revision, "=?base64?bGlzdF9vcmRlcnM=?=", admin.as_str()),
            ),
            (
                format!("{revision}: another method in the header"),
                plain(admin.as_str())
                    .header("mcp-protocol-version", revision)
                    .header("mcp-method", "tools/list"),
            ),
            (
                format!("{revision}: no headers"),
                plain(admin.as_str()).header("mcp-protocol-version", revision),
            ),
            (
                format!("{revision}: and another one"),
                post(revision, TOOL, admin.as_str()).header("mcp-protocol-version", "2025-06-18"),
            ),
        ]);
        // Bodies that readers read in different ways.
        for (what, body) in bodies() {
            tries.push((format!("{revision}: {what}"), post(revision, TOOL, body)));
        }
    }
    tries.push(("no revision".to_owned(), plain(admin.as_str())));
    for content_type in [
        "APPLICATION/JSON",
        "application/json; charset=utf-16",
        "text/plain",
        "application/json-rpc",
        "",
    ] {
        let request = Request::post("/mcp", admin.as_str())
            .header("accept", "application/json, text/event-stream")
            .header("content-type", content_type);
        tries.push((format!("content type {content_type:?}"), request));
    }
    let no_accept =
        Request::post("/mcp", admin.as_str()).header("content-type", "application/json");
    tries.push(("no accept".to_owned(), no_accept));
    tries.push(("in chunks".to_owned(), plain(admin.as_str()).chunked()));
    for method in ["PUT", "PATCH", "post"] {
        let request = Request::new(method, "/mcp")
            .body(admin.as_str())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        tries.push((format!("method {method}"), request.clone()));
        tries.push((
            format!("method {method} instead"),
            request.header("x-http-method-override", "POST"),
        ));
    }
    for encoding in ["identity", "gzip", "deflate", "br", "identity, gzip"] {
        let encoded = plain(admin.as_str()).header("content-encoding", encoding);
        tries.push((format!("encoding {encoding}"), encoded));
    }
    let zipped = plain(gzip(admin.as_bytes()));
    tries.push(("gzip without saying so".to_owned(), zipped.clone()));
    tries.push(("gzip".to_owned(), zipped.header("content-encoding", "gzip")));
    // Requests that the filter `mcp` takes for a stream of events, or the end of a session.
    for (method, name, value) in [
        ("GET", "accept", "text/event-stream"),
        ("GET", "accept", "*/*"),
        ("GET", "content-type", "application/json"),
        ("DELETE", "mcp-session-id", "s"),
        ("DELETE", "accept", "application/json"),
        ("OPTIONS", "accept", "*/*"),
        ("HEAD", "accept", "*/*"),
    ] {
        let request = Request::new(method, "/mcp").body(admin.as_str()).header(name, value);
        tries.push((format!("{method} with a body and {name}"), request.clone()));
        tries.push((format!("{method} with chunks and {name}"), request.chunked()));
    }
    // A session of one revision with messages of the other.
    for (revision, other) in [(REVISIONS[0], REVISIONS[1]), (REVISIONS[1], REVISIONS[0])] {
        let meta = json!({"io.modelcontextprotocol/protocolVersion": other});
        let mut message = message(ADMIN_TOOL);
        message["params"]["_meta"] = meta;
        let request = post(revision, TOOL, message.to_string()).header("mcp-session-id", "s");
        tries.push((format!("{revision} with {other} in the body"), request));
    }
    for name in ["mcp_name", "Mcp-Name", "mcp.name"] {
        let request = post(REVISIONS[1], ADMIN_TOOL, message(TOOL).to_string());
        let request = request.header(name, ADMIN_TOOL);
        tries.push((format!("the allowed tool, and another in {name}"), request));
    }
    for path in ["/mcp/", "/mcp/.", "//mcp", "/mcp?x", "/MCP", "/%6dcp", "/mcp;x"] {
        let request = Request::post(path, admin.as_str())
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        tries.push((format!("path {path}"), request));
    }
    tries
}

/// A body as gzip, uncompressed.
fn gzip(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("a small body");
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    [&head[..], &length.to_le_bytes(), &(!length).to_le_bytes(), body].concat()
}

/// Bodies that some server might take for a call of the tool.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let admin = message(ADMIN_TOOL).to_string();
    let whole = |params: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
    };
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let utf16 = |text: &str, big: bool| -> Vec<u8> {
        let units = text.encode_utf16();
        units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let padded = |bytes: usize| format!(r#"{{"pad":"{}",{}"#, "x".repeat(bytes), &admin[1..]);
    let text: Vec<(&str, String)> = vec![
        ("a batch", format!("[{admin}]")),
        ("a batch of two", format!("[{list},{admin}]")),
        ("two messages", format!("{list}\n{admin}")),
        ("name twice", whole(r#"{"name":"list_orders","name":"delete_order"}"#)),
        ("name twice, other order", whole(r#"{"name":"delete_order","name":"list_orders"}"#)),
        ("name twice, escaped", whole(r#"{"name":"list_orders","n\u0061me":"delete_order"}"#)),
        (
            "params twice",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list_orders"},"params":{"name":"delete_order"}}"#.to_owned(),
        ),
        (
            "params twice, other order",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_order"},"params":{"name":"list_orders"}}"#.to_owned(),
        ),
        (
            "method twice",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"delete_order"}}"#.to_owned(),
        ),
        (
            "method twice, other order",
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","method":"tools/list","params":{"name":"delete_order"}}"#.to_owned(),
        ),
        ("escaped name", whole(r#"{"name":"delete\u005forder"}"#)),
        ("escaped key", whole(r#"{"n\u0061me":"delete_order"}"#)),
        ("escaped method", admin.replace("tools/call", r"tools\/call")),
        ("method in capitals", admin.replace("tools/call", "TOOLS/CALL")),
        ("method with a space", admin.replace("tools/call", "tools/call ")),
        ("a list as name", whole(r#"{"name":["delete_order"]}"#)),
        ("an object as name", whole(r#"{"name":{"delete_order":1}}"#)),
        ("name in capitals", whole(r#"{"Name":"delete_order"}"#)),
        ("name with a space", whole(r#"{"name":"delete_order "}"#)),
        ("no version", admin.replace("\"jsonrpc\":\"2.0\",", "")),
        ("a response too", admin.replace("\"method\"", "\"result\":{},\"method\"")),
        ("an error too", admin.replace("\"method\"", "\"error\":{\"code\":1},\"method\"")),
        ("a response of null", admin.replace("\"method\"", "\"result\":null,\"method\"")),
        ("a response after it", admin.replacen('{', "{\"id\":2,\"result\":{},", 1)),
        ("an error at the end", format!("{},\"error\":{{}}}}", &admin[..admin.len() - 1])),
        ("a null error", format!("{},\"error\":null}}", &admin[..admin.len() - 1])),
        ("a number as name", whole(r#"{"name":9.477802600079069e+170}"#)),
        ("null as name, and another", whole(r#"{"name":null,"name":"delete_order"}"#)),
        ("name with a NUL", whole(r#"{"name":"list_orders\u0000delete_order"}"#)),
        ("params in another case", admin.replace("params", "Params")),
        ("a path as key", whole(r#"{"params.name":"list_orders","name":"delete_order"}"#)),
        ("name in a list", whole(r#"[{"name":"delete_order"}]"#)),
        ("white space first", format!(" \r\n\t{admin}")),
        ("a comment", format!("/* */{admin}")),
        ("text after it", format!("{list}{admin}")),
        ("BOM", format!("\u{feff}{admin}")),
        ("64 KiB first", padded(64 * 1024)),
        ("1 MiB first", padded(1024 * 1024)),
        ("2 MiB first", padded(2 * 1024 * 1024)),
        ("a surrogate", whole(r#"{"name":"delete_order\ud800"}"#)),
        ("single quotes", admin.replace('"', "'")),
    ];
    let mut bodies: Vec<_> =
        text.into_iter().map(|(what, body)| (what, body.into_bytes())).collect();
    bodies.push(("UTF-16, little-endian", [vec![0xff, 0xfe], utf16(&admin, false)].concat()));
    bodies.push(("UTF-16, big-endian", [vec![0xfe, 0xff], utf16(&admin, true)].concat()));
    bodies.push(("UTF-16 without a mark", utf16(&admin, false)));
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn two_resources_have_two_filters_and_a_route_that_enables_none_is_open() {
    let ends = Ends::start().await;
    let plugin = |resource: &str| {
        let inbound =
            json!({"resource_metadata": {"resource": format!("https://mcp.test/{resource}")}});
        WasmPlugin::new(&document(inbound)).vm_id(resource)
    };
    let enabled = |prefix: &str, filter: &str| {
        let enabled = json!({"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "config": {}});
        json!({
            "match": {"prefix": prefix},
            "route": {"cluster": "service"},
            "typed_per_filter_config": {filter: enabled},
        })
    };
    let place = |resource: &str| format!("/.well-known/oauth-protected-resource/{resource}");
    let routes = json!([
        enabled("/one", "oauth2-one"),
        enabled(&place("one"), "oauth2-one"),
        enabled("/two", "oauth2-two"),
        enabled(&place("two"), "oauth2-two"),
        {"match": {"prefix": "/open"}, "route": {"cluster": "service"}},
    ]);
    let mut listener = Listener::routing(crate::set_up::LISTENER, routes);
    for name in ["one", "two"] {
        let mut filter = plugin(name).filter(&format!("oauth2-{name}"));
        filter["disabled"] = true.into();
        listener = listener.filter(filter);
    }
    let bootstrap = ends.bootstrap().listener(listener);
    let set_up = ends.with(bootstrap).await;
    for name in ["one", "two"] {
        let answer = set_up.send(&Request::get(&format!("/{name}"))).await;
        assert_eq!(answer.status, 401, "{name}");
        let challenge = answer.header("www-authenticate").expect("a challenge");
        assert!(challenge.contains(&format!("https://mcp.test{}", place(name))), "{challenge}");
        let metadata = set_up.send(&Request::get(&place(name))).await.json();
        assert_eq!(metadata["resource"], format!("https://mcp.test/{name}"));
        assert_eq!(set_up.send(&Request::get(&format!("/{name}")).bearer("t")).await.status, 200);
    }
    assert_eq!(set_up.send(&Request::get("/open")).await.status, 200);
}
