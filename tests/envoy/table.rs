//! The table of exchanges in the real Envoy.

use std::collections::HashMap;

use oauth2_filter_testbed::client::{self, Response};
use oauth2_filter_testbed::envoy::{Bootstrap, Envoy, Listener, Options, WasmPlugin};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use oauth2_filter_testbed::{Headers, upstream::Upstream};
use serde_json::{Value, json};

use crate::exchanges::{
    Exchange, Expected, ExpectedCall, Request, Scripted, Seen, Step, check, table,
};

/// Carries the name of a step to the service and the access log.
const STEP: &str = "x-step";

#[tokio::test(flavor = "multi_thread")]
async fn every_exchange_of_the_table_comes_out_as_expected() {
    let exchanges = table();
    let server = ScriptedServer::start().await;
    let service = Upstream::start().await;
    let mut bootstrap =
        Bootstrap::new().cluster("as", server.address()).cluster("service", service.address());
    for (number, exchange) in exchanges.iter().enumerate() {
        let prefix = format!("x{number}");
        let plugin = WasmPlugin::new(&exchange.document(&prefix));
        let has_bodies = exchange.steps.iter().any(|step| !step.request.body.is_empty());
        let mcp = has_bodies.then(mcp);
        let listener = mcp.into_iter().fold(Listener::to(&prefix, "service"), Listener::filter);
        let listener = listener
            .filter(plugin.filter("oauth2"))
            .access_log_field("step", &format!("%REQ({STEP})%"));
        bootstrap = bootstrap.listener(listener);
        for (path, answers) in &exchange.others {
            let answers: Vec<_> = answers.iter().map(answer).collect();
            server.on(&format!("/{prefix}{path}"), answers);
        }
        server.on(
            &endpoint(exchange, &prefix),
            exchange.server.iter().map(answer).collect::<Vec<_>>(),
        );
    }
    // One worker, since each has its own answers.
    let options = Options { concurrency: 1, ..Options::default() };
    let envoy = Envoy::start_with(bootstrap, &options).await.expect("Envoy with every document");

    for (number, exchange) in exchanges.iter().enumerate() {
        let prefix = format!("x{number}");
        let mut answers = Vec::new();
        for (n, step) in exchange.steps.iter().enumerate() {
            let at = format!("{}, request {n} to {}", exchange.name, step.request.path);
            let id = format!("{prefix}-{n}");
            answers.push(send(&step.request, &id, &envoy, &prefix).await);
            check_calls(&server, &endpoint(exchange, &prefix), &prefix, step, &at);
        }
        let details = details(&envoy, &prefix, exchange.steps.len()).await;
        for (n, (step, answer)) in exchange.steps.iter().zip(answers).enumerate() {
            let at = format!("{}, request {n} to {}", exchange.name, step.request.path);
            let id = format!("{prefix}-{n}");
            let seen = seen(&service, &answer, &id, &details, step, &at);
            check(&seen, &step.expected, &at);
        }
    }
}

/// Envoy's filter `mcp`, before ours.
fn mcp() -> Value {
    json!({
        "name": "envoy.filters.http.mcp",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.mcp.v3.Mcp",
            // So that ours decides.
            "traffic_mode": "PASS_THROUGH",
            "request_storage_mode": "DYNAMIC_METADATA_AND_FILTER_STATE",
            "reject_duplicate_keys": true,
            "max_request_body_size": 1024,
        },
    })
}

/// The path of the endpoint that an exchange's document names.
fn endpoint(exchange: &Exchange, prefix: &str) -> String {
    let call = exchange.steps.iter().find_map(|step| step.call.as_ref());
    let path = call.map_or("/introspect", |call| call.path);
    format!("/{prefix}{}", path.split('?').next().unwrap_or_default())
}

/// What the scripted server does.
fn answer(scripted: &Scripted) -> Answer {
    let ok = || Answer::status(200).body(r#"{"active":true}"#);
    match scripted {
        Scripted::Answer(status, headers, body) => {
            let answer = Answer::status(*status).body(body.clone());
            headers.iter().fold(answer, |answer, (name, value)| answer.header(name, value))
        }
        Scripted::Huge(size) => ok().padded_to(*size),
        Scripted::Reset => Answer::reset(),
        Scripted::Close => Answer::close(),
        Scripted::Truncated => ok().truncated(5),
        Scripted::Garbage => Answer::raw("220 mail.test ESMTP\r\n\r\n{\"active\":true}"),
        Scripted::EarlyHints(then) => answer(then).early_hints(),
        Scripted::Hang => Answer::hang(),
    }
}

/// Sends a request of the table under the name `id`.
async fn send(request: &Request, id: &str, envoy: &Envoy, listener: &str) -> Response {
    let mut sent = client::Request::new(request.method, request.path).authority(request.host);
    for (name, value) in &request.headers {
        sent = sent.header(name, value);
    }
    let sent = sent.header(STEP, id).body(request.body.clone());
    let address = envoy.address(listener);
    let answer =
        if request.is_grpc() { sent.send_http2(address).await } else { sent.send(address).await };
    answer.unwrap_or_else(|error| panic!("{id}: no answer: {error}\n{}", envoy.log()))
}

/// `%RESPONSE_CODE_DETAILS%` of each request, by its name.
async fn details(envoy: &Envoy, listener: &str, requests: usize) -> HashMap<String, String> {
    let entries = envoy.access_log_entries(listener, requests).await;
    let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    entries.iter().map(|entry| (text(entry, "step"), text(entry, "details"))).collect()
}

/// What came of the request with this name.
fn seen(
    service: &Upstream,
    answer: &Response,
    id: &str,
    details: &HashMap<String, String>,
    Step { request, expected, .. }: &Step,
    at: &str,
) -> Seen {
    let grpc = request.is_grpc();
    match service.requests_with(STEP, id).as_slice() {
        [received] => {
            assert_eq!(answer.status, 200, "{at}");
            let path = (":path".to_owned(), received.target.clone());
            let untouched = !at_path(expected);
            assert!(!untouched || received.target == request.path, "{at}: {}", received.target);
            Seen::Passed([path].into_iter().chain(pairs(&received.headers)).collect())
        }
        [] => Seen::Answered {
            status: answer.status,
            grpc_status: grpc.then(|| answer.grpc_status().expect("a gRPC status")),
            details: details.get(id).cloned().unwrap_or_default(),
            headers: pairs(&answer.headers),
            body: match request.method {
                "HEAD" => None,
                _ if grpc => answer.grpc_message(),
                _ => Some(answer.text()),
            },
        },
        many => panic!("{at}: the service got it {} times", many.len()),
    }
}

/// Whether the path is to be changed.
fn at_path(expected: &Expected) -> bool {
    matches!(expected, Expected::Passed { has, .. } if has.iter().any(|(name, _)| *name == ":path"))
}

/// The fields as text.
fn pairs(headers: &Headers) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into_owned()))
        .collect()
}

/// Checks what the authorization server got for a step.
fn check_calls(server: &ScriptedServer, endpoint: &str, prefix: &str, step: &Step, at: &str) {
    if let Some(calls) = step.calls {
        assert_eq!(server.count(endpoint), calls, "{at}: calls");
    }
    let Some(ExpectedCall { path, headers, lacks, body }) = &step.call else { return };
    let requests = server.requests(endpoint);
    let call = requests.last().unwrap_or_else(|| panic!("{at}: no call was made"));
    assert_eq!(call.target, format!("/{prefix}{path}"), "{at}");
    for (name, value) in headers {
        let values = match *name {
            ":method" => vec![call.method.clone()],
            ":authority" => call.authority.iter().cloned().collect(),
            name => call.headers.all(name),
        };
        assert_eq!(values, [*value], "{at}: {name} of the call");
    }
    for name in lacks {
        assert!(!call.headers.contains(name), "{at}: {name} of the call");
    }
    assert_eq!(String::from_utf8_lossy(&call.body), *body, "{at}");
    assert!(matches!(step.expected, Expected::Passed { .. }), "{at}");
}
