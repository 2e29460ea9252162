//! The table of exchanges through the driver.

use std::collections::HashMap;

use oauth2_filter_core::CallFailure;

use crate::call::check_call;
use crate::exchanges::{Exchange, Scripted, Seen, Step, check, table};
use crate::set_up::SetUp;

#[test]
fn every_exchange_of_the_table_comes_out_as_expected() {
    for (number, exchange) in table().iter().enumerate() {
        run(exchange, &format!("x{number}"));
    }
}

fn run(exchange: &Exchange, prefix: &str) {
    let mut set_up = SetUp::with(&exchange.document(prefix));
    let first = ("/introspect", &exchange.server);
    let mut servers: HashMap<String, Vec<&Scripted>> = HashMap::new();
    for (path, answers) in [first].into_iter().chain(exchange.others.iter().map(|(p, a)| (*p, a))) {
        servers.insert(format!("/{prefix}{path}"), answers.iter().rev().collect());
    }
    for (n, Step { request, expected, calls, call }) in exchange.steps.iter().enumerate() {
        let at = format!("{}, request {n} to {}", exchange.name, request.path);
        let stream = set_up.send(request);
        if let Some(expected) = call {
            let number = set_up.proxy.calls().first().copied();
            let number = number.unwrap_or_else(|| panic!("{at}: no call was made"));
            check_call(&set_up.proxy.call(number), prefix, expected, &at);
        }
        if let Some(number) = set_up.proxy.calls().first() {
            let path = path_of(&set_up, *number);
            let path =
                if servers.contains_key(&path) { path } else { format!("/{prefix}/introspect") };
            let answers = servers.get_mut(&path).expect("the server");
            let scripted = *answers.last().unwrap_or_else(|| panic!("{at}: no answer is scripted"));
            if answers.len() > 1 {
                answers.pop();
            }
            end_call(&set_up, scripted);
        }
        check(&seen(&set_up, stream, request.is_grpc(), &at), expected, &at);
        if let Some(calls) = calls {
            assert_eq!(set_up.proxy.calls_made(), *calls, "{at}: calls");
        }
        set_up.end(stream);
    }
    assert_eq!(set_up.host_errors(), 0, "{}", exchange.name);
    assert_eq!(set_up.waiting(), 0, "{}", exchange.name);
}

/// The path of a call without its query.
fn path_of(set_up: &SetUp, number: u32) -> String {
    let call = set_up.proxy.call(number);
    let path = call.headers.iter().find(|(name, _)| **name == *":path").expect("a path");
    path.1.split('?').next().expect("a path").to_owned()
}

/// Ends the oldest call as Envoy does where the server does this.
fn end_call(set_up: &SetUp, scripted: &Scripted) {
    match scripted {
        Scripted::Answer(status, headers, body) => {
            let from_server = [("x-envoy-upstream-service-time", "1")];
            let headers: Vec<_> = headers.iter().copied().chain(from_server).collect();
            set_up.end_call(*status, &headers, body);
        }
        Scripted::Huge(size) => {
            let mut body = br#"{"active":true}"#.to_vec();
            body.resize(usize::try_from(*size).expect("a size in memory"), b' ');
            set_up.end_call(200, &[("x-envoy-upstream-service-time", "1")], &body);
        }
        Scripted::Hang => {
            // Its timeout is part of the table's configuration.
            set_up.proxy.advance(std::time::Duration::from_millis(500));
            set_up.end_call(504, &[], b"upstream request timeout");
        }
        Scripted::Truncated => set_up.break_call(),
        Scripted::Reset | Scripted::Close => set_up.end_call(503, &[], b"upstream connect error"),
        Scripted::Garbage => set_up.end_call(502, &[], b"protocol error"),
        Scripted::EarlyHints(then) => end_call(set_up, then),
    }
}

/// What became of a request.
fn seen(set_up: &SetUp, stream: u32, grpc: bool, at: &str) -> Seen {
    let outcome = set_up.outcome(stream);
    let stream = set_up.proxy.stream(stream);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match &stream.reply {
        None if outcome == "forwarded" => {
            Seen::Passed(stream.headers.iter().map(|(n, v)| (text(n), text(v))).collect())
        }
        None => panic!("{at}: {outcome}"),
        Some(reply) => Seen::Answered {
            status: reply.status,
            grpc_status: grpc.then(|| reply.grpc_status.into()),
            details: reply.details.to_owned(),
            headers: reply.headers.iter().map(|(n, v)| ((*n).to_owned(), v.to_string())).collect(),
            body: Some(reply.body.clone()),
        },
    }
}

#[test]
fn calls_that_the_proxy_refuses_fail_as_those_that_get_no_response() {
    for (failure, line) in [
        (CallFailure::UnknownCluster, "unknown cluster"),
        (CallFailure::NotSent, "not sent: no healthy host, or circuit breaker open"),
    ] {
        let mut set_up = SetUp::new(serde_json::json!({}));
        set_up.proxy.refuse_calls(failure);
        let request = crate::exchanges::get("/").bearer("t");
        assert_eq!(set_up.outcome_of(&request), "oauth2_server_unavailable");
        let lines = crate::set_up::logged();
        assert!(lines.iter().any(|logged| logged.ends_with(line)), "{lines:?}");
        set_up.proxy.grant_all();
        let stream = set_up.send(&request);
        set_up.respond_to_call(200, &serde_json::json!({"active": true}));
        assert_eq!(set_up.outcome(stream), "forwarded");
    }
}
