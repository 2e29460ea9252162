//! The table of exchanges in the simulated host.

use std::collections::HashMap;

use oauth2_filter_core::{Answer, CallFailure, MAX_BODY, StreamId};

use crate::call::check_call;
use crate::exchanges::{Exchange, Scripted, Seen, Step, check, table};
use crate::host::{Outcome, SimulatedHost};

#[test]
fn every_exchange_of_the_table_comes_out_as_expected() {
    for (number, exchange) in table().iter().enumerate() {
        run(exchange, &format!("x{number}"));
    }
}

fn run(exchange: &Exchange, prefix: &str) {
    let name = exchange.name;
    let mut host = SimulatedHost::new(&exchange.document(prefix));
    let first = ("/introspect", &exchange.server);
    let mut servers: HashMap<String, Vec<&Scripted>> = HashMap::new();
    for (path, answers) in [first].into_iter().chain(exchange.others.iter().map(|(p, a)| (*p, a))) {
        servers.insert(format!("/{prefix}{path}"), answers.iter().rev().collect());
    }
    for (n, Step { request, expected, calls, call }) in exchange.steps.iter().enumerate() {
        let at = format!("{name}, request {n} to {}", request.path);
        let stream = host.send(request);
        if let Some(expected) = call {
            let call = host.calls.first().unwrap_or_else(|| panic!("{at}: no call was made"));
            check_call(call, prefix, expected, &at);
        }
        if let Some(call) = host.calls.first() {
            let path = call.headers.iter().find(|(name, _)| **name == *":path").expect("a path");
            let path = path.1.split('?').next().expect("a path").to_owned();
            let path =
                if servers.contains_key(&path) { path } else { format!("/{prefix}/introspect") };
            let answers = servers.get_mut(&path).expect("the server");
            let scripted = *answers.last().unwrap_or_else(|| panic!("{at}: no answer is scripted"));
            if answers.len() > 1 {
                answers.pop();
            }
            host.answer(&outcome(scripted));
        }
        check(&seen(&host, stream, request.is_grpc(), &at), expected, &at);
        if let Some(calls) = calls {
            assert_eq!(host.made, *calls, "{at}: calls");
        }
    }
}

/// What a call sees of what the server does.
fn outcome(scripted: &Scripted) -> Result<Answer, CallFailure> {
    match scripted {
        Scripted::Answer(status, headers, body) => {
            let retry_after = headers.iter().find(|(name, _)| *name == "retry-after");
            let retry_after = retry_after.map(|(_, value)| value.as_bytes().to_vec());
            Ok(Answer { status: *status, retry_after, body: body.clone() })
        }
        Scripted::Huge(size) => {
            let size = usize::try_from(*size).expect("a size in memory");
            if size > MAX_BODY {
                return Err(CallFailure::TooLarge);
            }
            let mut body = br#"{"active":true}"#.to_vec();
            body.resize(size, b' ');
            Ok(Answer { status: 200, retry_after: None, body })
        }
        Scripted::Hang => Err(CallFailure::Timeout),
        Scripted::Reset | Scripted::Close | Scripted::Truncated | Scripted::Garbage => {
            Err(CallFailure::Unreachable)
        }
        Scripted::EarlyHints(then) => outcome(then),
    }
}

/// What became of the request with this number.
fn seen(host: &SimulatedHost, stream: StreamId, grpc: bool, at: &str) -> Seen {
    match host.outcome(stream) {
        None => panic!("{at}: still waits"),
        Some(Outcome::Passed(head)) => Seen::Passed(
            head.iter()
                .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()))
                .collect(),
        ),
        Some(Outcome::Refused(reply)) => Seen::Answered {
            status: reply.status,
            grpc_status: grpc.then(|| reply.grpc_status.into()),
            details: reply.details.to_owned(),
            headers: reply.headers.iter().map(|(n, v)| ((*n).to_owned(), v.to_string())).collect(),
            body: Some(reply.body.clone()),
        },
    }
}
