//! The table of exchanges in the simulated host.

use oauth2_filter::{Answer, CallFailure};

use crate::exchanges::{Exchange, Expected, ExpectedCall, Scripted, Step, table};
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
    let mut answers = exchange.server.iter();
    let mut answer = answers.next();
    for (n, Step { request, expected, calls, call }) in exchange.steps.iter().enumerate() {
        let at = format!("{name}, request {n}");
        let stream = host.send(request);
        if let Some(expected) = call {
            check_call(&host, prefix, expected, &at);
        }
        if !host.calls.is_empty() {
            let scripted = answer.unwrap_or_else(|| panic!("{at}: no answer is scripted"));
            host.answer(&outcome(scripted));
            answer = answers.next().or(answer);
        }
        let outcome = host.outcome(stream).unwrap_or_else(|| panic!("{at}: still waits"));
        check(outcome, expected, request.is_grpc(), &at);
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
        Scripted::Huge(size) if *size > oauth2_filter::MAX_BODY => Err(CallFailure::TooLarge),
        Scripted::Huge(size) => {
            let frame = r#"{"active":true,"x":""}"#.len();
            let body = format!(r#"{{"active":true,"x":"{}"}}"#, "x".repeat(size - frame));
            Ok(Answer { status: 200, retry_after: None, body: body.into_bytes() })
        }
        Scripted::Hang => Err(CallFailure::Timeout),
        Scripted::Reset
        | Scripted::Close
        | Scripted::Truncated
        | Scripted::Garbage
        | Scripted::EarlyHints => Err(CallFailure::Unreachable),
    }
}

fn check_call(host: &SimulatedHost, prefix: &str, expected: &ExpectedCall, at: &str) {
    let call = host.calls.first().unwrap_or_else(|| panic!("{at}: no call was made"));
    assert_eq!(&*call.cluster, "as", "{at}");
    let values = |name: &str| {
        let of_name = call.headers.iter().filter(|(n, _)| **n == *name);
        of_name.map(|(_, value)| &**value).collect::<Vec<_>>()
    };
    assert_eq!(values(":path"), [format!("/{prefix}{}", expected.path)], "{at}");
    for (name, value) in &expected.headers {
        assert_eq!(values(name), [*value], "{at}: {name} of the call");
    }
    // Those that steer Envoy's retries are taken out by Envoy, which is not here.
    for name in expected.lacks.iter().filter(|name| !name.starts_with("x-envoy-")) {
        assert!(values(name).is_empty(), "{at}: {name} of the call");
    }
    assert_eq!(call.body, expected.body, "{at}");
}

fn check(outcome: &Outcome, expected: &Expected, grpc: bool, at: &str) {
    match (outcome, expected) {
        (Outcome::Passed(head), Expected::Passed { has, lacks }) => {
            let values = |name: &str| {
                let of_name = head.iter().filter(|(n, _)| n == name);
                of_name.map(|(_, value)| String::from_utf8_lossy(value)).collect::<Vec<_>>()
            };
            for (name, value) in has {
                assert_eq!(values(&name.to_ascii_lowercase()), [&**value], "{at}: {name}");
            }
            for name in lacks {
                assert!(values(name).is_empty(), "{at}: {name} came through");
            }
        }
        (
            Outcome::Refused(reply),
            Expected::Refused { status, details, challenge, error, retry_after },
        ) => {
            assert_eq!((reply.status, reply.details), (*status, *details), "{at}");
            let grpc_status = match status {
                400 => 3,
                401 => 16,
                403 => 7,
                502 | 503 => 14,
                other => panic!("{at}: unexpected status {other}"),
            };
            assert_eq!(reply.grpc_status, grpc_status, "{at}");
            let value = |name: &str| {
                let mut values = reply.headers.iter().filter(|(n, _)| *n == name);
                let value = values.next().map(|(_, value)| value.to_string());
                assert!(values.next().is_none(), "{at}: {name} stands twice");
                value
            };
            let challenge = challenge.map(|rest| match rest.strip_prefix("Bearer ") {
                Some(_) => rest.to_owned(),
                None => format!("Bearer realm=\"oauth2\"{rest}"),
            });
            assert_eq!(value("www-authenticate"), challenge, "{at}");
            assert_eq!(value("retry-after").as_deref(), *retry_after, "{at}");
            assert_eq!(value("cache-control").as_deref(), Some("no-store"), "{at}");
            if grpc {
                assert_eq!(value("content-type"), None, "{at}");
                assert!(!reply.body.is_empty() && !reply.body.starts_with('{'), "{at}");
            } else {
                assert_eq!(value("content-type").as_deref(), Some("application/json"), "{at}");
                let body: serde_json::Value = serde_json::from_str(&reply.body).expect("JSON");
                assert_eq!(body["error"], *error, "{at}");
                assert!(body["error_description"].is_string(), "{at}");
            }
        }
        (outcome, _) => panic!("{at}: {outcome:?}"),
    }
}
