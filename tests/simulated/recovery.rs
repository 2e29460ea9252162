//! Outages of an authorization server: once it answers again, requests pass within seconds.

use std::time::Duration;

use oauth2_filter_core::{Answer, Call, CallFailure};
use oauth2_filter_testbed::envoy::with_members;
use serde_json::{Value, json};

use crate::exchanges::{Request, get};
use crate::exchanging::exchange;
use crate::host::SimulatedHost;
use crate::outbound::{client, document};

/// How often each worker gets a request, and its timer runs.
const STEP: Duration = Duration::from_millis(100);

/// The outage, in steps: 40 seconds.
const OUTAGE: std::ops::Range<u32> = 100..500;

/// The steps in which the first request must pass after the outage: five seconds.
const RECOVERY: u32 = 50;

/// An authorization server whose tokens live six seconds. It accepts an assertion and each refresh
/// token once.
struct Server {
    issued: u32,
    refresh_token: String,
    assertion: Option<&'static str>,
}

impl Server {
    fn answer(&mut self, call: &Call) -> (u16, Value) {
        let form: Vec<(String, String)> =
            url::form_urlencoded::parse(call.body.as_bytes()).into_owned().collect();
        let value = |name: &str| {
            let found = form.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
            found.unwrap_or_default()
        };
        if !value("token").is_empty() {
            return (200, json!({"active": true}));
        }
        let is_accepted = match value("grant_type") {
            "refresh_token" => value("refresh_token") == self.refresh_token,
            "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
                self.assertion.take() == Some(value("assertion"))
            }
            _ => true,
        };
        if !is_accepted {
            return (400, json!({"error": "invalid_grant"}));
        }
        self.issued += 1;
        self.refresh_token = format!("refresh-{}", self.issued);
        let kind = "urn:ietf:params:oauth:token-type:access_token";
        let token = json!({
            "access_token": format!("token-{}", self.issued), "token_type": "Bearer",
            "expires_in": 6, "refresh_token": self.refresh_token, "issued_token_type": kind,
        });
        (200, token)
    }
}

/// Documents with each grant.
fn grants() -> Vec<(&'static str, Value)> {
    let endpoint = json!({
        "endpoint": "http://as.test/token", "cluster": "as", "client_id": "orders",
        "client_secret": "orders-secret", "refresh_token": "given",
    });
    let direct = json!({
        "grant_type": "direct_token", "access_token": "given", "expires_in": "6s",
        "refresh": endpoint,
    });
    let introspecting = json!({
        "inbound": {
            "introspection": {
                "endpoint": "http://as.test/introspect", "cluster": "as", "client": "self",
            },
            "cache": {"max_ttl": "6s"},
        },
        "outbound": {"clients": {"self": client(json!({}))}},
    });
    vec![
        ("client_credentials", document(json!({}))),
        (
            "password",
            document(json!({"grant_type": "password", "username": "alice", "password": "secret"})),
        ),
        (
            "refresh_token",
            document(json!({"grant_type": "refresh_token", "refresh_token": "given"})),
        ),
        ("direct_token", json!({"outbound": {"clients": {"a": direct}}})),
        (
            "jwt-bearer",
            document(json!({
                "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b.c",
            })),
        ),
        ("token-exchange", document(exchange(json!({})))),
        ("introspection with a client's token", introspecting),
        (
            "introspection",
            json!({"inbound": {"introspection": with_members(
                json!({"endpoint": "http://as.test/introspect", "cluster": "as"}),
                &json!({"auth_method": "none"}),
            ), "cache": {"max_ttl": "6s"}}}),
        ),
    ]
}

/// How calls fail while the server is unavailable.
fn outages() -> Vec<Result<u16, CallFailure>> {
    vec![Err(CallFailure::Unreachable), Err(CallFailure::NotSent), Ok(500), Ok(502), Ok(503)]
}

/// Sends a request of one caller in each worker, and answers every call.
fn step(
    workers: &mut [SimulatedHost],
    request: &Request,
    mut answer: impl FnMut(&Call) -> Result<Answer, CallFailure>,
) -> Vec<&'static str> {
    let streams: Vec<_> = workers.iter_mut().map(|worker| worker.send(request)).collect();
    // A worker may follow the call of another one.
    for _ in 0..4 {
        for worker in &mut *workers {
            while let Some(call) = worker.calls.first() {
                let outcome = answer(call);
                worker.answer(&outcome);
            }
            worker.tick();
        }
    }
    let states = workers.iter().zip(streams).map(|(worker, stream)| worker.state(stream)).collect();
    for worker in workers {
        worker.advance(STEP);
    }
    states
}

#[test]
fn after_an_outage_of_40_seconds_requests_pass_within_five_whatever_the_grant() {
    for (name, document) in grants() {
        for outage in outages() {
            let mut server =
                Server { issued: 0, refresh_token: "given".to_owned(), assertion: Some("a.b.c") };
            let one = SimulatedHost::new(&document);
            let mut workers = [one.worker(&document), one];
            let request = get("/").bearer("alice");
            let mut first_pass = None;
            let mut calls = 0;
            for n in 0..OUTAGE.end + 2 * RECOVERY {
                let states = step(&mut workers, &request, |call| {
                    if OUTAGE.contains(&n) {
                        calls += 1;
                        return outage.map(|status| Answer {
                            status,
                            retry_after: None,
                            body: Vec::new(),
                        });
                    }
                    let (status, body) = server.answer(call);
                    Ok(Answer { status, retry_after: None, body: body.to_string().into_bytes() })
                });
                let passed = states.iter().all(|state| *state == "passed");
                assert!(passed || n >= OUTAGE.start, "{name} {outage:?} {n}: {states:?}");
                if passed && n >= OUTAGE.end {
                    first_pass.get_or_insert(n);
                }
                // All pass from then on.
                assert!(passed || first_pass.is_none(), "{name} {outage:?} {n}: {states:?}");
            }
            let late = first_pass.expect("a request that passes") - OUTAGE.end;
            assert!(late <= RECOVERY, "{name} {outage:?}: {late} steps late");
            // One call in a pause, and of introspection one for each request.
            if name != "introspection" {
                assert!((10..=40).contains(&calls), "{name} {outage:?}: {calls} calls");
            }
        }
    }
}
