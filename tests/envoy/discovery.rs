//! How clients find out what they need: the protected resource metadata (RFC 9728), and what the
//! authorization specification of the Model Context Protocol makes of it.

use std::net::SocketAddr;

use oauth2_filter_testbed::authorization_server::{
    self, AuthorizationServer, Client, GrantType, SHOP, SHOP_SECRET,
};
use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{Envoy, Listener, Options, example};
use oauth2_filter_testbed::scripted::Answer;
use oauth2_filter_testbed::upstream::Upstream;
use serde_json::{Value, json};

use crate::set_up::{BOTH, ENDPOINT, Ends, Http, SetUp, inactive, one_worker, plugin};

/// Where the documents are.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The origin of a page with a client in it.
const ORIGIN: &str = "https://app.example.com";

/// A filter with this metadata, which lets nobody pass without a token, and few with.
async fn guarding(metadata: Value) -> SetUp {
    SetUp::new(json!({
        "resource_metadata": metadata,
        "scope_implies": {"all": ["read", "write"]},
        "rules": [
            {"paths": ["/mcp"], "scope": "read write"},
            {"paths": ["/either"], "scope": ["read write", "admin"]},
            {"paths": ["/denied"], "access": "deny"},
            {"paths": ["/status/**"], "access": "public"},
        ],
    }))
    .await
}

fn metadata() -> Value {
    json!({
        "resource": "https://mcp.test/mcp",
        "authorization_servers": ["https://as.test", "https://as.example/tenant"],
        "scopes_supported": ["read", "write"],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_9728_01_everybody_gets_the_document_at_its_well_known_path() {
    let set_up = guarding(metadata()).await;
    let path = format!("{WELL_KNOWN}/mcp");
    // The authorization server has no part in it.
    set_up.server.on(ENDPOINT, Answer::hang());
    for http in BOTH {
        for host in ["mcp.test", "mcp.test:8443", "other.test", "127.0.0.1"] {
            let get = Request::get(&path).authority(host);
            for request in [
                get.clone(),
                get.clone().bearer("t"),
                get.clone().bearer("no b64token"),
                get.clone().header("accept", "text/html"),
                Request::get("/.well-known/oauth-protected-resource/%6dcp").authority(host),
            ] {
                let answer = http.send(&request, set_up.address()).await;
                assert_eq!(answer.status, 200, "{http:?} {request:?}");
                assert_eq!(answer.header("content-type").as_deref(), Some("application/json"));
                assert_eq!(answer.header("cache-control").as_deref(), Some("no-store"));
                assert_eq!(answer.json(), metadata(), "{http:?} {request:?}");
            }
            let [head, options] =
                ["HEAD", "OPTIONS"].map(|method| Request::new(method, &path).authority(host));
            let head = http.send(&head, set_up.address()).await;
            assert_eq!((head.status, head.text()), (200, String::new()), "{http:?}");
            assert_eq!(head.header("content-type").as_deref(), Some("application/json"));
            assert_eq!(http.send(&options, set_up.address()).await.status, 200, "{http:?}");
        }
        // What changes something is no such request.
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let answer = http.send(&Request::new(method, &path), set_up.address()).await;
            assert_eq!(answer.status, 403, "{http:?} {method}");
        }
    }
    assert_eq!(set_up.calls(), 0);
    set_up.service_is_untouched().await;
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_9728_01_browsers_may_read_the_document() {
    let set_up = guarding(metadata()).await;
    let path = format!("{WELL_KNOWN}/mcp");
    for http in BOTH {
        // A header beside the few that browsers send unasked makes them ask first.
        for headers in [
            &["mcp-protocol-version"][..],
            &["mcp-protocol-version", "content-type", "x-any"],
            // No wildcard stands for this one.
            &["authorization", "mcp-protocol-version"],
        ] {
            let preflight = preflight(&path, "GET", headers);
            let answer = http.send(&preflight, set_up.address()).await;
            assert!(browser_sends(&answer, "GET", headers), "{http:?} {headers:?} {answer:?}");
            assert!(!browser_sends(&answer, "DELETE", headers), "{http:?}");
        }
        let get = Request::get(&path).header("origin", ORIGIN);
        let answer = http.send(&get, set_up.address()).await;
        assert!(script_reads(&answer), "{http:?} {answer:?}");
        assert_eq!(answer.json(), metadata());
    }
    // No other path is open to them by that.
    let answer = set_up.send(&preflight("/mcp", "GET", &["authorization"])).await;
    assert_eq!(answer.status, 401);
    assert!(!script_reads(&answer));
    set_up.service_is_untouched().await;
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_9728_02_the_document_has_what_is_configured_and_nothing_empty() {
    let mut whole = json!({
        "resource": "https://mcp.test/mcp",
        "authorization_servers": ["https://as.test"],
        "jwks_uri": "https://mcp.test/jwks.json",
        "scopes_supported": ["read"],
        "bearer_methods_supported": ["header"],
        "resource_name": "Orders",
        "resource_name#de": "Auftr\u{e4}ge \"heute\"",
        "resource_documentation": "https://mcp.test/docs",
        "resource_policy_uri": "https://mcp.test/policy",
        "resource_tos_uri": "https://mcp.test/tos",
        "tls_client_certificate_bound_access_tokens": true,
        "authorization_details_types_supported": ["payment"],
        "dpop_signing_alg_values_supported": ["ES256"],
        "dpop_bound_access_tokens_required": false,
    });
    let mut configured = whole.clone();
    configured["resource_signing_alg_values_supported"] = json!([]);
    let set_up = guarding(configured).await;
    let document = async |set_up: &SetUp| {
        set_up.send(&Request::get(&format!("{WELL_KNOWN}/mcp"))).await.json()
    };
    assert_eq!(document(&set_up).await, whole);

    let members = whole.as_object_mut().expect("an object");
    members.retain(|name, _| name == "resource");
    let set_up = guarding(whole.clone()).await;
    assert_eq!(document(&set_up).await, whole, "all else may be absent");
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_9728_03_the_well_known_path_goes_between_host_and_path_and_the_query_stays() {
    // The resource, the path of its document, and paths that are not.
    let cases = [
        ("https://a.test", "", vec!["/", "/mcp", "?x"]),
        ("https://a.test/", "", vec!["/", "/mcp"]),
        ("https://a.test/mcp", "/mcp", vec!["", "/", "/mcp/", "/MCP", "/mcp/x", "/mcp?x=1"]),
        ("https://a.test/mcp/", "/mcp/", vec!["", "/mcp"]),
        ("https://a.test:8443/a/b?t=1&u", "/a/b?t=1&u", vec!["/a/b", "/a/b?u&t=1", "/a/b?t=1"]),
        ("https://a.test/?t=1", "?t=1", vec!["", "?t=2"]),
    ];
    let ends = Ends::start().await;
    let mut bootstrap = ends.bootstrap();
    for (n, (resource, _, _)) in cases.iter().enumerate() {
        let plugin = plugin(json!({
            "resource_metadata": {"resource": resource},
            "rules": [{"paths": ["/x"]}],
        }));
        let listener = Listener::to(&n.to_string(), "service").filter(plugin.filter("oauth2"));
        bootstrap = bootstrap.listener(listener);
    }
    let set_up = ends.with(bootstrap.listener(crate::set_up::listener(&plugin(json!({}))))).await;
    for (n, (resource, place, others)) in cases.into_iter().enumerate() {
        let address = set_up.envoy.address(&n.to_string());
        let get = async |place: &str| {
            let request = Request::get(&format!("{WELL_KNOWN}{place}"));
            request.send(address).await.expect("an answer")
        };
        let answer = get(place).await;
        assert_eq!(answer.status, 200, "{resource}");
        // As it was written: clients compare it (RS-9728-04).
        assert_eq!(answer.json(), json!({"resource": resource}));
        for other in others {
            let status = if other == format!("{place}/") { 404 } else { 403 };
            assert_eq!(get(other).await.status, status, "{resource} at {other}");
        }
        let answer = Request::get("/x").send(address).await.expect("an answer");
        let challenge = Challenge::of(&answer);
        let origin = &resource[..resource.find(".test").expect("the host") + ".test".len()];
        let port = if resource.contains(":8443") { ":8443" } else { "" };
        assert_eq!(
            challenge.parameter("resource_metadata"),
            Some(format!("{origin}{port}{WELL_KNOWN}{place}").as_str())
        );
    }
    set_up.service_is_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_9728_04_the_resource_is_the_one_that_the_place_was_derived_from() {
    let set_up = guarding(metadata()).await;
    let challenge = Challenge::of(&set_up.send(&Request::get("/mcp")).await);
    let place = challenge.parameter("resource_metadata").expect("the place of the document");
    let path = place.strip_prefix("https://mcp.test").expect("the resource's host");
    let document = set_up.send(&Request::get(path)).await.json();
    // Section 3.3: take the well-known string out again.
    assert_eq!(document["resource"], place.replace(WELL_KNOWN, ""));
    assert_eq!(document["resource"], "https://mcp.test/mcp");
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_9728_05_every_challenge_names_the_document_and_the_scope() {
    let set_up = guarding(metadata()).await;
    set_up.server.on_each(ENDPOINT, |call| match call.parameter("token").as_deref() {
        Some("inactive") => inactive(),
        Some(scope) => Answer::json(200, &json!({"active": true, "scope": scope})),
        None => Answer::status(400),
    });
    let get = |token| Request::get("/mcp").bearer(token);
    let needed = Some("read write");
    let cases = [
        (Request::get("/mcp"), 401, None, needed),
        (Request::get("/mcp").header("authorization", "Basic YTpi"), 401, None, needed),
        (Request::get("/either"), 401, None, Some("admin")),
        (get("inactive"), 401, Some("invalid_token"), needed),
        (get("no b64token"), 401, Some("invalid_token"), needed),
        (get("read"), 403, Some("insufficient_scope"), needed),
        (get("Read"), 403, Some("insufficient_scope"), needed),
        (Request::get("/either").bearer("read"), 403, Some("insufficient_scope"), needed),
        (get("a").bearer("b"), 400, Some("invalid_request"), needed),
        // Before any rule, so that there is no scope.
        (Request::get("/a%2fb"), 400, Some("invalid_request"), None),
    ];
    for http in BOTH {
        for (request, status, error, scope) in &cases {
            let answer = http.send(request, set_up.address()).await;
            assert_eq!(answer.status, *status, "{http:?} {request:?}");
            let challenge = Challenge::of(&answer);
            assert_eq!(challenge.parameter("error"), *error, "{http:?} {request:?}");
            assert_eq!(challenge.parameter("scope"), *scope, "{http:?} {request:?}");
            let place = format!("https://mcp.test{WELL_KNOWN}/mcp");
            assert_eq!(challenge.parameter("resource_metadata"), Some(place.as_str()));
            assert_eq!(challenge.parameter("realm"), Some("oauth2"));
        }
        // What no token helps against has no challenge.
        let answer = http.send(&Request::get("/denied"), set_up.address()).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (403, None));
        // Whose scope implies what is needed has it.
        assert_eq!(http.send(&get("all"), set_up.address()).await.status, 200);
    }
    assert_eq!(set_up.service.requests().len(), 2);
    set_up.comes_to_rest().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rs_9728_06_nothing_in_a_request_changes_the_document_or_its_place() {
    let set_up = guarding(metadata()).await;
    let spoofed = |request: Request| {
        request
            .authority("evil.test")
            .header("x-forwarded-host", "evil.test")
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-port", "81")
            .header("x-forwarded-prefix", "/evil")
            .header("x-original-host", "evil.test")
            .header("forwarded", "host=evil.test;proto=http")
            .header("x-envoy-original-path", "/evil")
            .header("origin", "https://evil.test")
    };
    for http in BOTH {
        let request = spoofed(Request::get(&format!("{WELL_KNOWN}/mcp")));
        let answer = http.send(&request, set_up.address()).await;
        assert_eq!(answer.json(), metadata(), "{http:?}");
        assert!(!format!("{:?}", answer.headers).contains("evil"), "{answer:?}");
        let answer = http.send(&spoofed(Request::get("/mcp")), set_up.address()).await;
        let place = format!("https://mcp.test{WELL_KNOWN}/mcp");
        assert_eq!(Challenge::of(&answer).parameter("resource_metadata"), Some(place.as_str()));
        assert!(!format!("{:?}{}", answer.headers, answer.text()).contains("evil"), "{answer:?}");
    }
    set_up.service_is_untouched().await;
}

/// The MCP server of `envoy/mcp.yaml` or `envoy/mcp-tools.yaml`, with who belongs to it.
struct Mcp {
    envoy: Envoy,
    server: AuthorizationServer,
    service: Upstream,
}

/// Its identifier, which is what a user gives to his client.
const RESOURCE: &str = "https://mcp.example.com/mcp";

/// Another resource of the same authorization server.
const OTHER_RESOURCE: &str = "https://mail.example.com";

/// A tool that every client may call, and one that needs `mcp:admin`.
const TOOL: &str = "list_orders";
const ADMIN_TOOL: &str = "delete_order";

impl Mcp {
    async fn start() -> Self {
        Self::of("mcp.yaml").await
    }

    /// With rules on tools.
    async fn with_tools() -> Self {
        Self::of("mcp-tools.yaml").await
    }

    async fn of(file: &str) -> Self {
        let client = Client {
            grant_types: vec![GrantType::ClientCredentials],
            scope: ["mcp:tools", "mcp:admin"].map(str::to_owned).to_vec(),
            resources: [RESOURCE, OTHER_RESOURCE].map(str::to_owned).to_vec(),
            ..Client::shop()
        };
        let filter = Client {
            id: "mcp-server".to_owned(),
            secret: "mcp-server-secret".to_owned(),
            ..Client::orders_api()
        };
        let options = authorization_server::Options {
            clients: vec![client, filter],
            ..authorization_server::Options::default()
        };
        let server = AuthorizationServer::start(options).await.expect("an authorization server");
        let service = Upstream::start().await;
        let port = |address: SocketAddr| format!("port_value: {} ", address.port());
        let text = example(
            file,
            &[
                ("port_value: 10000 ", "port_value: 0 "),
                ("port_value: 9000 ", &port(server.address())),
                ("port_value: 9001 ", &port(service.address())),
                ("http://127.0.0.1:9000", server.issuer()),
            ],
        );
        let environment = vec![("MCP_SERVER_SECRET".to_owned(), "mcp-server-secret".to_owned())];
        let options = Options { environment, ..one_worker() };
        let envoy = Envoy::start_with(text, &options).await.expect(file);
        Self { envoy, server, service }
    }

    /// What the server, of which a client knows the URL, answers.
    async fn send(&self, http: Http, request: Request) -> Response {
        let request = request.authority("mcp.example.com");
        http.send(&request, self.envoy.address("mcp")).await
    }

    /// A GET of a URL, whose host the client's DNS leads to where it is.
    async fn fetch(&self, url: &str) -> Response {
        let answer = if let Some(path) = url.strip_prefix("https://mcp.example.com") {
            return self.send(Http::One, Request::get(path)).await;
        } else if let Some(path) = url.strip_prefix(self.server.issuer()) {
            Request::get(path).send(self.server.address()).await
        } else {
            panic!("a URL of nobody: {url}")
        };
        answer.expect("an answer")
    }

    /// A token with this scope for this resource, as the token endpoint of this URL issues it.
    async fn token(&self, endpoint: &str, resource: &str, scope: &str) -> String {
        let path = endpoint.strip_prefix(self.server.issuer()).expect("the server's endpoint");
        let grant =
            [("grant_type", "client_credentials"), ("resource", resource), ("scope", scope)];
        let request = Request::form(path, &grant).basic(SHOP, SHOP_SECRET);
        let answer = request.send(self.server.address()).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"].as_str().expect("a token").to_owned()
    }

    /// The same, without the way there.
    async fn token_for(&self, resource: &str, scope: &str) -> String {
        self.token(&format!("{}/token", self.server.issuer()), resource, scope).await
    }
}

/// The call of a tool.
fn call(tool: &str) -> Request {
    let message =
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}});
    Request::post("/mcp", message.to_string())
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25")
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_01_a_client_finds_its_way_from_nothing_but_the_url_and_steps_up() {
    let mcp = Mcp::with_tools().await;
    for http in BOTH {
        // Nothing is known but the URL.
        let answer = mcp.send(http, call(TOOL)).await;
        assert_eq!(answer.status, 401);
        let challenge = Challenge::of(&answer);
        let place = challenge.parameter("resource_metadata").expect("the place of the metadata");

        // The resource's metadata, which has to be about that URL (RFC 9728 section 3.3).
        let metadata = mcp.fetch(place).await;
        assert_eq!(metadata.status, 200);
        let metadata = metadata.json();
        assert_eq!(metadata["resource"], RESOURCE);
        let issuer = metadata["authorization_servers"][0].as_str().expect("an issuer");

        // The authorization server's (RFC 8414 section 3.3).
        let server = mcp.fetch(&format!("{issuer}/.well-known/oauth-authorization-server")).await;
        assert_eq!(server.status, 200);
        let server = server.json();
        assert_eq!(server["issuer"], issuer);
        let endpoint = server["token_endpoint"].as_str().expect("a token endpoint");

        // A token for that resource, with the scope of the challenge.
        let scope = challenge.parameter("scope").expect("the scope to ask for");
        let token = mcp.token(endpoint, RESOURCE, scope).await;
        let answer = mcp.send(http, call(TOOL).bearer(&token)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());

        // A call that needs more says how much, and passes with it.
        let answer = mcp.send(http, call(ADMIN_TOOL).bearer(&token)).await;
        assert_eq!(answer.status, 403);
        let challenge = Challenge::of(&answer);
        assert_eq!(challenge.parameter("error"), Some("insufficient_scope"));
        let scope = challenge.parameter("scope").expect("the scope to ask for");
        let token = mcp.token(endpoint, RESOURCE, scope).await;
        for tool in [ADMIN_TOOL, TOOL] {
            let answer = mcp.send(http, call(tool).bearer(&token)).await;
            assert_eq!(answer.status, 200, "{tool}: {}", answer.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_01_a_client_that_does_not_read_challenges_tries_the_well_known_path() {
    let mcp = Mcp::start().await;
    let metadata = mcp.fetch("https://mcp.example.com/.well-known/oauth-protected-resource/mcp");
    let metadata = metadata.await.json();
    assert_eq!(metadata["resource"], RESOURCE);
    assert_eq!(metadata["authorization_servers"], json!([mcp.server.issuer()]));
    assert_eq!(metadata["bearer_methods_supported"], json!(["header"]));
    // Where the path is not known, the only resource of the host is meant.
    let root = mcp.fetch("https://mcp.example.com/.well-known/oauth-protected-resource").await;
    assert_eq!(root.json(), metadata);
    // There is no authorization server here, where clients of the first revisions look for one.
    for unknown in [
        "/mcp/",
        "/.well-known/oauth-protected-resource/",
        "/.well-known/oauth-protected-resource/mcp/",
        "/.well-known/oauth-authorization-server",
    ] {
        let answer = mcp.fetch(&format!("https://mcp.example.com{unknown}")).await;
        assert_eq!(answer.status, 404, "{unknown}");
    }
    assert_eq!(mcp.fetch("https://mcp.example.com/other").await.status, 403);
    assert!(mcp.service.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_02_a_401_names_the_scope_that_the_call_needs() {
    let mcp = Mcp::start().await;
    for request in [call(TOOL), call(TOOL).bearer("unknown")] {
        let answer = mcp.send(Http::One, request).await;
        assert_eq!(answer.status, 401);
        assert_eq!(Challenge::of(&answer).parameter("scope"), Some("mcp:tools"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_03_a_token_for_another_server_is_refused() {
    let mcp = Mcp::start().await;
    let expired = mcp.token_for(RESOURCE, "mcp:tools").await;
    let revoked = mcp.token_for(RESOURCE, "mcp:tools").await;
    mcp.server.revoke(&revoked);
    let elsewhere = mcp.token_for(OTHER_RESOURCE, "mcp:tools mcp:admin").await;
    // A client that names no resource gets a token for what the server thinks fit.
    let nowhere = mcp.server.issue(SHOP, "mcp:tools");
    let good = mcp.token_for(RESOURCE, "mcp:tools").await;
    assert_eq!(mcp.send(Http::One, call(TOOL).bearer(&good)).await.status, 200);
    mcp.service.clear();
    for token in [&elsewhere, &nowhere, &revoked] {
        for _ in ["fresh", "kept"] {
            let answer = mcp.send(Http::One, call(TOOL).bearer(token)).await;
            assert_eq!(answer.status, 401);
            let challenge = Challenge::of(&answer);
            assert_eq!(challenge.parameter("error"), Some("invalid_token"));
            assert_eq!(challenge.parameter("scope"), Some("mcp:tools"));
        }
    }
    mcp.server.advance_clock(std::time::Duration::from_hours(2));
    let answer = mcp.send(Http::One, call(TOOL).bearer(&expired)).await;
    assert_eq!(answer.status, 401);
    assert_eq!(Challenge::of(&answer).parameter("error"), Some("invalid_token"));
    assert!(mcp.service.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_04_a_403_names_all_the_scope_at_once() {
    let mcp = Mcp::with_tools().await;
    let token = mcp.token_for(RESOURCE, "mcp:tools").await;
    for http in BOTH {
        let answer = mcp.send(http, call(ADMIN_TOOL).bearer(&token)).await;
        assert_eq!(answer.status, 403);
        assert_eq!(answer.headers.all("www-authenticate").len(), 1, "one challenge");
        let challenge = Challenge::of(&answer);
        assert_eq!(challenge.parameter("error"), Some("insufficient_scope"));
        assert_eq!(challenge.parameter("scope"), Some("mcp:tools mcp:admin"));
        let place = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
        assert_eq!(challenge.parameter("resource_metadata"), Some(place));
        let body = answer.json();
        assert_eq!(body["error"], "insufficient_scope");
        assert!(body["error_description"].is_string());
    }
    assert!(mcp.service.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_05_a_broader_scope_does_for_narrower_ones() {
    let mcp = Mcp::with_tools().await;
    let token = mcp.token_for(RESOURCE, "mcp:admin").await;
    for tool in [TOOL, ADMIN_TOOL] {
        let answer = mcp.send(Http::One, call(tool).bearer(&token)).await;
        assert_eq!(answer.status, 200, "{tool}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_06_each_mistake_has_the_status_that_the_specification_gives_it() {
    let mcp = Mcp::with_tools().await;
    let tools = mcp.token_for(RESOURCE, "mcp:tools").await;
    let at = |path| Request::post(path, "{}");
    let cases = [
        (call(TOOL), 401),
        (call(TOOL).bearer("unknown"), 401),
        (call(TOOL).bearer(""), 401),
        (call(ADMIN_TOOL).bearer(&tools), 403),
        (call(TOOL).bearer(&tools).bearer(&tools), 400),
        (at("/mcp/%zz").bearer(&tools), 400),
        (call(TOOL).bearer(&tools), 200),
    ];
    for http in BOTH {
        for (request, status) in &cases {
            let answer = mcp.send(http, request.clone()).await;
            assert_eq!(answer.status, *status, "{http:?} {request:?}");
            let challenged = answer.headers.contains("www-authenticate");
            assert_eq!(challenged, *status != 200, "{http:?} {request:?}");
        }
        // Envoy refuses this one itself, before any filter.
        let answer = mcp.send(http, at("/mcp%2fadmin").bearer(&tools)).await;
        assert_eq!((answer.status, answer.headers.contains("www-authenticate")), (400, false));
    }
    assert_eq!(mcp.service.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_07_the_token_stays_here() {
    let mcp = Mcp::start().await;
    let token = mcp.token_for(RESOURCE, "mcp:tools").await;
    let request = call(TOOL).bearer(&token).header("x-user", "root").header("X_Client", "root");
    let request = request.header("origin", ORIGIN);
    for http in BOTH {
        assert_eq!(mcp.send(http, request.clone()).await.status, 200);
    }
    for request in mcp.service.requests() {
        assert!(!format!("{request:?}").contains(&token), "{request:?}");
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.headers.all("x-user"), [SHOP], "who calls is known all the same");
        assert_eq!(request.headers.all("x-client"), [SHOP]);
        assert_eq!(request.headers.all("x-scope"), ["mcp:tools"]);
        assert_eq!(request.header("x_client"), None);
        // Servers on loopback refuse other hosts and origins.
        assert_eq!(request.authority.as_deref(), Some("127.0.0.1:9001"));
        assert_eq!(request.header("origin"), None);
        assert_eq!(request.header("mcp-protocol-version").as_deref(), Some("2025-11-25"));
    }
    assert_eq!(mcp.service.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_08_every_request_of_a_session_needs_the_token_in_its_header() {
    let mcp = Mcp::start().await;
    let token = mcp.token_for(RESOURCE, "mcp:tools").await;
    let session = |request: Request| request.header("mcp-session-id", "s-1");
    let in_query = format!("/mcp?access_token={token}");
    for http in BOTH {
        assert_eq!(mcp.send(http, session(call(TOOL).bearer(&token))).await.status, 200);
        for method in ["POST", "GET", "DELETE"] {
            let request =
                session(Request::new(method, "/mcp").header("accept", "text/event-stream"));
            assert_eq!(mcp.send(http, request.clone().bearer(&token)).await.status, 200);
            assert_eq!(mcp.send(http, request).await.status, 401, "{http:?} {method}");
            let request = session(Request::new(method, &in_query));
            assert_eq!(mcp.send(http, request).await.status, 401, "{http:?} {method} query");
        }
    }
    assert_eq!(mcp.service.requests().len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_09_nobody_is_told_to_ask_for_offline_access() {
    let mcp = Mcp::with_tools().await;
    let place = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
    let document = mcp.fetch(place).await;
    assert_eq!(document.json()["scopes_supported"], json!(["mcp:tools"]));
    let token = mcp.token_for(RESOURCE, "mcp:tools").await;
    for request in [call(TOOL), call(ADMIN_TOOL), call(ADMIN_TOOL).bearer(&token)] {
        let answer = mcp.send(Http::One, request).await;
        let challenge = Challenge::of(&answer);
        let scope = challenge.parameter("scope").expect("a scope");
        assert!(!scope.contains("offline_access"), "{scope}");
    }
    // Whoever configures it is told.
    let mut metadata = metadata();
    metadata["scopes_supported"] = json!(["read", "offline_access"]);
    let set_up = guarding(metadata).await;
    set_up.envoy.logged("offline_access is for clients").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_yaml_serves_clients_in_browsers() {
    let mcp = Mcp::with_tools().await;
    let headers = [
        "authorization",
        "content-type",
        "last-event-id",
        "mcp-method",
        "mcp-name",
        "mcp-param-order",
        "mcp-protocol-version",
        "mcp-session-id",
    ];
    let place = format!("{WELL_KNOWN}/mcp");
    for http in BOTH {
        for method in ["GET", "POST", "DELETE"] {
            let answer = mcp.send(http, preflight("/mcp", method, &headers)).await;
            assert!(browser_sends(&answer, method, &headers), "{http:?} {method} {answer:?}");
        }
        let answer = mcp.send(http, preflight(&place, "GET", &["mcp-protocol-version"])).await;
        assert!(browser_sends(&answer, "GET", &["mcp-protocol-version"]), "{http:?} {answer:?}");
        let document = mcp.send(http, Request::get(&place).header("origin", ORIGIN)).await;
        assert!(script_reads(&document), "{http:?} {document:?}");

        // A script has to see the challenges.
        let token = mcp.token_for(RESOURCE, "mcp:tools").await;
        let cases = [
            (call(TOOL), 401),
            (call(TOOL).bearer("unknown"), 401),
            (call(ADMIN_TOOL).bearer(&token), 403),
            (call(TOOL).bearer(&token), 200),
        ];
        for (request, status) in cases {
            let answer = mcp.send(http, request.header("origin", ORIGIN)).await;
            assert_eq!(answer.status, status);
            assert!(script_reads(&answer), "{http:?} {answer:?}");
            let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
            for name in ["www-authenticate", "mcp-session-id"] {
                assert!(exposed.split(", ").any(|exposed| exposed == name), "{http:?} {answer:?}");
            }
        }
    }
    // A preflight lets nobody pass.
    assert_eq!(mcp.service.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn mcp_yaml_refuses_pages_of_other_origins() {
    let mcp = Mcp::start().await;
    let token = mcp.token_for(RESOURCE, "mcp:tools").await;
    for http in BOTH {
        for origin in [
            "https://evil.test",
            "null",
            "",
            "http://app.example.com",
            "https://app.example.com.evil.test",
        ] {
            let answer = mcp.send(http, call(TOOL).bearer(&token).header("origin", origin)).await;
            assert_eq!(answer.status, 403, "{http:?} {origin}");
            assert_eq!(answer.header("access-control-allow-origin"), None, "{http:?} {origin}");
            let preflight = Request::new("OPTIONS", "/mcp")
                .header("origin", origin)
                .header("access-control-request-method", "POST");
            assert_eq!(mcp.send(http, preflight).await.status, 403, "{http:?} {origin}");
        }
        let twice = call(TOOL)
            .bearer(&token)
            .header("origin", ORIGIN)
            .header("origin", "https://evil.test");
        assert_eq!(mcp.send(http, twice).await.status, 403, "{http:?}");
    }
    assert!(mcp.service.requests().is_empty());
}

/// A challenge of the scheme Bearer, as a client reads it (RFC 9110 section 11.6.1).
struct Challenge(Vec<(String, String)>);

impl Challenge {
    /// The only one of an answer; panics if it has none, or one that cannot be read.
    fn of(answer: &Response) -> Self {
        let challenges = answer.headers.all("www-authenticate");
        let [challenge] = challenges.as_slice() else { panic!("{challenges:?}") };
        let mut rest = challenge.strip_prefix("Bearer ").expect("the scheme Bearer");
        let mut parameters = Vec::new();
        loop {
            let (name, value) = rest.split_once("=\"").expect("name=\"value\"");
            let (value, after) = value.split_once('"').expect("a closing quote");
            assert!(!value.contains('\\'), "{challenge}");
            parameters.push((name.to_owned(), value.to_owned()));
            if after.is_empty() {
                return Self(parameters);
            }
            rest = after.strip_prefix(", ").expect("a comma between parameters");
        }
    }

    /// The value of a parameter that stands at most once.
    fn parameter(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "{name} stands twice");
        value
    }
}

/// What a browser asks before it sends such a request for a page.
fn preflight(path: &str, method: &str, headers: &[&str]) -> Request {
    Request::new("OPTIONS", path)
        .header("origin", ORIGIN)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", headers.join(","))
}

/// Whether a browser sends such a request after this answer (Fetch standard, section 4.9,
/// CORS-preflight fetch, without credentials).
fn browser_sends(answer: &Response, method: &str, headers: &[&str]) -> bool {
    let list = |name: &str| -> Vec<String> {
        let values = answer.headers.all(name).join(",");
        values.split(',').map(|value| value.trim().to_ascii_lowercase()).collect()
    };
    let allowed = |list: &[String], what: &str| list.iter().any(|allowed| allowed == what);
    let methods = list("access-control-allow-methods");
    let names = list("access-control-allow-headers");
    (200..300).contains(&answer.status)
        && script_reads(answer)
        && (matches!(method, "GET" | "HEAD" | "POST")
            || allowed(&methods, "*")
            || allowed(&methods, &method.to_ascii_lowercase()))
        && headers
            .iter()
            .all(|name| allowed(&names, name) || (allowed(&names, "*") && *name != "authorization"))
}

/// Whether the script of the page gets to read this answer (Fetch standard, CORS check).
fn script_reads(answer: &Response) -> bool {
    let allowed = answer.headers.all("access-control-allow-origin");
    matches!(allowed.as_slice(), [origin] if origin == "*" || origin == ORIGIN)
}
