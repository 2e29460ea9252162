//! Lines of the standards that take a clock, another client at the same moment, or every answer.

use std::collections::BTreeSet;
use std::time::Duration;

use oauth2_filter_core::{
    Answer, CallFailure, CallOutcome, Counter, Event, Filter, Lookup, Reason, Reply,
};
use serde_json::{Value, json};

use crate::exchanges::signing::Key;
use crate::exchanges::{Request, exchange, get, message};
use crate::host::{Outcome, SimulatedHost};
use crate::{exchanging, outbound};

const SECOND: Duration = Duration::from_secs(1);

/// A host with these additions to the `inbound` object.
fn host(inbound: Value) -> SimulatedHost {
    SimulatedHost::new(&exchange("standards").inbound(inbound).document("p"))
}

/// Sends a request with the token and answers its call, if it makes one.
fn ask(host: &mut SimulatedHost, token: &str, answer: &Value) -> &'static str {
    let stream = host.send(&get("/").bearer(token));
    if host.state(stream) == "waits" {
        host.answer_with(answer);
    }
    host.state(stream)
}

/// How many calls have ended so.
fn ended(host: &SimulatedHost, outcome: CallOutcome) -> usize {
    let event = Event::Count(Counter::Call(outcome));
    host.events.iter().filter(|seen| **seen == event).count()
}

/// Stands in everything that others wrote.
const MARK: &str = "Zk9Q";

/// What is configured, what is asked, and how the call ends, if there is one.
type Way = (Value, Request, Option<Result<Answer, CallFailure>>);

/// One way or more for each reason to refuse. Whatever a client or a server can write holds the
/// mark.
fn ways_to_be_refused() -> Vec<Way> {
    let plain = || get("/Zk9Q?Zk9Q=Zk9Q").host("Zk9Q.test").header("x-note", MARK);
    let bearer = || plain().bearer(MARK);
    let says = |status, body: Value| {
        let mut body = body;
        for claim in ["sub", "error", "error_description", "error_uri", "realm", "scope_hint", MARK]
        {
            body[claim] = json!(MARK);
        }
        let retry_after = Some(MARK.as_bytes().to_vec());
        Some(Ok(Answer { status, retry_after, body: body.to_string().into_bytes() }))
    };
    let active = |claims: Value| {
        let mut body = json!({"active": true});
        for (name, value) in claims.as_object().expect("an object") {
            body[name] = value.clone();
        }
        says(200, body)
    };
    let none = || json!({});
    let rule = |rule: Value| json!({ "rules": [rule] });
    let (key, other) = (Key::p256(), Key::p256());
    let issuer = "https://login.test/Zk9Q";
    let jwt = |keys: Value| {
        let mut jwt = json!({"issuer": issuer, "audience": "a"});
        jwt.as_object_mut().expect("an object").extend(keys.as_object().expect("one").clone());
        json!({ "jwt": jwt })
    };
    let fetched = || jwt(json!({"jwks_uri": "https://login.test/keys", "cluster": "login"}));
    let claims = json!({
        "iss": issuer, "aud": ["a", MARK], "exp": 9_999_999_999_u64, "sub": MARK, MARK: MARK
    });
    let signed = || plain().bearer(&key.sign(MARK, &claims));
    vec![
        (jwt(json!({"jwks": {"keys": [other.jwk(MARK)]}})), signed(), None),
        (jwt(json!({"verified_by": "envoy.filters.http.jwt_authn"})), signed(), None),
        (fetched(), signed(), Some(Err(CallFailure::Unreachable))),
        (fetched(), signed(), says(503, none())),
        (fetched(), signed(), says(200, none())),
        (fetched(), signed(), says(200, json!({"keys": [other.jwk("other")]}))),
        (none(), plain(), None),
        (none(), plain().header("authorization", "Zk9Q Zk9Q"), None),
        (none(), bearer().bearer(MARK), None),
        (json!({"rules": [{"paths": ["/a"]}]}), get("/Zk9Q%2f").bearer(MARK), None),
        (
            json!({"rules": [{"hosts": ["a.test"]}]}),
            get("/").host("Zk9Q@a.test").bearer(MARK),
            None,
        ),
        (json!({"rules": [{"headers": {"x-note": "a"}}]}), plain().header("x_note", MARK), None),
        (rule(json!({"mcp": {"tools": ["a"]}})), bearer().body(MARK), active(none())),
        (
            rule(json!({"mcp": {"tools": ["a"]}})),
            message(
                "/Zk9Q",
                json!({"jsonrpc": "2.0", "method": "Zk9Q", "params": {"name": "Zk9Q"}}),
            )
            .header("mcp-method", "Zk9Q!")
            .bearer(MARK),
            active(none()),
        ),
        (none(), plain().bearer("Zk9Q\"Zk9Q"), None),
        (none(), plain().bearer(&MARK.repeat(5000)), None),
        (none(), bearer(), says(200, json!({"active": false}))),
        (none(), bearer(), active(json!({"exp": 0}))),
        (none(), bearer(), active(json!({"exp": MARK}))),
        (none(), bearer(), active(json!({"nbf": MARK}))),
        (json!({"issuer": "i"}), bearer(), active(json!({"iss": MARK}))),
        (json!({"audience": "a"}), bearer(), active(json!({"aud": [MARK]}))),
        (none(), bearer(), active(json!({"token_type": format!("{MARK}:refresh_token")}))),
        (none(), bearer(), active(json!({"cnf": {MARK: MARK}}))),
        (json!({"scope": "a"}), bearer(), active(json!({"scope": MARK}))),
        (json!({"claims": {"c": "d"}}), bearer(), active(json!({"c": MARK}))),
        (json!({"acr_values": "gold"}), bearer(), active(json!({"acr": MARK}))),
        (json!({"max_age": "1s"}), bearer(), active(json!({"auth_time": MARK}))),
        (json!({"introspection": {"when": {"hosts": ["other.test"]}}}), bearer(), None),
        (rule(json!({"access": "deny"})), bearer(), None),
        (rule(json!({"paths": ["/other"]})), bearer(), None),
        (none(), bearer(), says(503, none())),
        (none(), bearer(), Some(Err(CallFailure::Timeout))),
        (none(), bearer(), Some(Err(CallFailure::Unreachable))),
        (none(), bearer(), says(401, none())),
        (none(), bearer(), says(200, none())),
        (none(), bearer(), says(302, none())),
    ]
}

/// The same of a client: whatever a caller or a token endpoint can write holds the mark.
fn ways_to_get_no_token() -> Vec<Way> {
    let caller = || get("/Zk9Q?Zk9Q=Zk9Q").host("Zk9Q.test").header("x-note", MARK).bearer(MARK);
    let answers = |status, error: &str| {
        let body = json!({
            "error": error, "error_description": MARK, "error_uri": MARK, "access_token": MARK,
            MARK: MARK,
        });
        let retry_after = Some(MARK.as_bytes().to_vec());
        Some(Ok(Answer { status, retry_after, body: body.to_string().into_bytes() }))
    };
    let direct = json!({"outbound": {"clients": {"a": {
        "grant_type": "direct_token", "access_token": MARK, "expires_in": "2s",
    }}}});
    let own = || outbound::document(json!({}));
    let exchange = || outbound::document(exchanging::exchange(json!({})));
    vec![
        (direct, caller(), None),
        (own(), caller(), answers(400, MARK)),
        (own(), caller(), answers(401, "invalid_client")),
        (own(), caller(), answers(200, MARK)),
        (own(), caller(), answers(503, MARK)),
        (own(), caller(), answers(302, MARK)),
        (own(), caller(), Some(Err(CallFailure::Timeout))),
        (exchange(), caller(), answers(400, "invalid_grant")),
        (exchange(), caller(), answers(400, "invalid_target")),
        (exchange(), caller(), answers(400, MARK)),
    ]
}

#[test]
fn rs_6750_11_d6_02_d6_12_every_way_to_be_refused_ends_in_a_refusal_that_repeats_nothing() {
    let mut seen = BTreeSet::new();
    let mut check = |reply: &Reply| {
        assert!(matches!(reply.status, 400..=599), "{reply:?}");
        assert!(!format!("{reply:?}").to_ascii_uppercase().contains("ZK9Q"), "{reply:?}");
        seen.insert(reply.details);
    };
    for (inbound, request, ends) in ways_to_be_refused() {
        for request in [request.clone(), request.grpc()] {
            let mut host = host(inbound.clone());
            let stream = host.send(&request);
            if let Some(outcome) = &ends {
                host.answer(outcome);
            }
            match host.outcome(stream) {
                Some(Outcome::Refused(reply)) => check(reply),
                other => panic!("{inbound} {}: {other:?}", request.path),
            }
        }
    }
    for (document, request, ends) in ways_to_get_no_token() {
        for request in [request.clone(), request.grpc()] {
            let mut host = SimulatedHost::new(&document);
            let mut stream = host.send(&request);
            if let Some(outcome) = &ends {
                host.answer(outcome);
            } else {
                // The token that was given has ended.
                host.advance(SECOND);
                stream = host.send(&request);
            }
            match host.outcome(stream) {
                Some(Outcome::Refused(reply)) => check(reply),
                other => panic!("{document} {}: {other:?}", request.path),
            }
        }
    }
    let mut crowded = host(json!({"token_sources": [{"cookie": "at"}]}));
    let large = format!("at=t; Zk9Q={}", "Zk9Q".repeat(15_000));
    let reply = (0..1000).find_map(|_| {
        let stream = crowded.send(&get("/Zk9Q").header("cookie", large.as_str()));
        match crowded.outcome(stream) {
            Some(Outcome::Refused(reply)) => Some(reply.clone()),
            other => other.map(|other| panic!("{other:?}")),
        }
    });
    check(&reply.expect("too many to wait"));
    check(&Filter::unconfigured());
    check(&Filter::host_error());
    // Only the dynamic module has secrets that can be missing (tests/envoy/secrets.rs).
    let known = Reason::ALL.iter().map(|reason| reason.details());
    let known = known.filter(|details| *details != "oauth2_no_secret");
    assert_eq!(seen, known.collect(), "every reason has been met");
}

#[test]
fn rs_7662_03_a_server_that_refuses_us_is_counted_and_nothing_is_kept() {
    let mut host = host(json!({"cache": {"negative_ttl": "1h"}}));
    for calls in 1..=3 {
        let stream = host.send(&get("/").bearer("t"));
        host.answer(&Ok(Answer { status: 401, retry_after: None, body: Vec::new() }));
        assert_eq!(host.state(stream), "oauth2_server_refused_client");
        assert_eq!((host.made, ended(&host, CallOutcome::RefusedClient)), (calls, calls));
    }
    assert_eq!(ended(&host, CallOutcome::Inactive), 0);
    assert_eq!(ask(&mut host, "t", &json!({"active": true})), "passed");
}

#[test]
fn d5_08_a_server_that_calls_every_token_inactive_can_be_told_from_bad_tokens() {
    let mut host = host(json!({}));
    for n in 0..10 {
        let answer = json!({"active": false});
        assert_eq!(ask(&mut host, &format!("t{n}"), &answer), "oauth2_inactive");
    }
    let counts = [CallOutcome::Active, CallOutcome::Inactive].map(|outcome| ended(&host, outcome));
    assert_eq!(counts, [0, 10]);
}

#[test]
fn filter_state_tells_of_the_decision_and_of_a_token_that_is_known() {
    let rules = json!([
        {"name": "read", "paths": ["/read"], "scope": "a"},
        {"paths": ["/write"], "scope": "b"},
        {"name": "open", "paths": ["/open"], "access": "public"},
    ]);
    let said = json!({"active": true, "sub": "alice", "client_id": "shop", "scope": "a c"});
    let token = [("subject", "alice"), ("client", "shop"), ("scope", "a c")];
    let mut host = host(json!({ "rules": rules }));
    for (path, bearer, answer, decided, known) in [
        ("/read", "t", &said, ["allowed", "-", "read"], &token[..]),
        // Kept by now.
        ("/read", "t", &said, ["allowed", "-", "read"], &token),
        ("/write", "t", &said, ["denied", "insufficient_scope", "inbound.rules[1]"], &token),
        ("/read", "u", &json!({"active": false}), ["denied", "inactive", "read"], &[]),
        ("/read", "a b", &said, ["denied", "malformed_token", "read"], &[]),
        ("/open", "t", &said, ["allowed", "public", "open"], &[]),
        ("/other", "t", &said, ["denied", "unmatched", "unmatched"], &[]),
    ] {
        let stream = host.send(&get(path).bearer(bearer));
        if host.state(stream) == "waits" {
            host.answer_with(answer);
        }
        let decided = ["decision", "reason", "rule"].into_iter().zip(decided);
        let decided: Vec<_> = decided.filter(|(_, value)| *value != "-").collect();
        assert_eq!(host.filter_state(stream), [&decided, known].concat(), "{path} {bearer}");
    }
}

#[test]
fn filter_state_holds_no_more_of_a_claim_than_a_header_would() {
    for (length, is_told) in [(8 * 1024, true), (8 * 1024 + 1, false)] {
        let mut host = host(json!({}));
        let stream = host.send(&get("/").bearer("t"));
        let long = "x".repeat(length);
        host.answer_with(&json!({"active": true, "sub": long, "client_id": long, "scope": long}));
        for name in ["subject", "client", "scope"] {
            let state = host.filter_state(stream);
            assert_eq!(state.contains(&(name, &long)), is_told, "{name} of {length}");
        }
    }
}

#[test]
fn each_lookup_is_counted_by_what_it_finds() {
    let counted = |host: &mut SimulatedHost| -> Vec<Lookup> {
        let lookup = |event| match event {
            Event::Count(Counter::Lookup(lookup)) => Some(lookup),
            _ => None,
        };
        host.events.drain(..).filter_map(lookup).collect()
    };
    let (active, refused) = (json!({"active": true}), json!({"active": false}));
    let mut host = host(json!({}));
    for (token, answer, found) in [
        ("good", &active, Lookup::Miss),
        ("good", &active, Lookup::Hit),
        ("bad", &refused, Lookup::Miss),
        ("bad", &refused, Lookup::Negative),
    ] {
        ask(&mut host, token, answer);
        assert_eq!(counted(&mut host), [found], "{token}");
    }
}

#[test]
fn each_call_is_counted_by_how_it_ends_and_timed() {
    let says = |status: u16, body: &str| {
        Ok(Answer { status, retry_after: None, body: body.as_bytes().to_vec() })
    };
    for (ends, outcome) in [
        (says(200, r#"{"active":true}"#), CallOutcome::Active),
        (says(200, r#"{"active":false}"#), CallOutcome::Inactive),
        (says(200, "{}"), CallOutcome::BadAnswer),
        (says(302, ""), CallOutcome::BadAnswer),
        (says(401, ""), CallOutcome::RefusedClient),
        (says(503, ""), CallOutcome::Unavailable),
        (Err(CallFailure::Timeout), CallOutcome::Timeout),
        (Err(CallFailure::TooLarge), CallOutcome::BadAnswer),
        (Err(CallFailure::Unreachable), CallOutcome::Unavailable),
        (Err(CallFailure::NotSent), CallOutcome::Unavailable),
        (Err(CallFailure::UnknownCluster), CallOutcome::Unavailable),
    ] {
        let mut host = host(json!({}));
        host.send(&get("/").bearer("t"));
        host.advance(Duration::from_millis(123));
        host.events.clear();
        host.answer(&ends);
        let of_calls = |e: &Event| matches!(e, Event::Count(Counter::Call(_)) | Event::CallTime(_));
        host.events.retain(of_calls);
        let counted = [Event::Count(Counter::Call(outcome)), Event::CallTime(123)];
        assert_eq!(host.events, counted, "{ends:?}");
    }
}

#[test]
fn rs_7662_11_the_service_gets_the_configured_claims_and_nothing_else() {
    let mut host = host(json!({"forward": {"claims": {"x-user": "sub", "x-none": "none"}}}));
    let stream = host.send(&get("/a?b").header("x-own", "1").bearer("t"));
    host.answer_with(&json!({
        "active": true, "sub": "alice", "username": "s3cr3t", "email": "s3cr3t", "iss": "s3cr3t",
        "scope": "s3cr3t", "client_id": "s3cr3t", "nested": {"sub": "s3cr3t"}
    }));
    let Some(Outcome::Passed(head)) = host.outcome(stream) else { panic!("it did not pass") };
    let head: Vec<_> = head.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
    let expected: [(&str, &[u8]); 5] = [
        (":method", b"GET"),
        (":path", b"/a?b"),
        (":authority", b"api.test"),
        ("x-own", b"1"),
        ("x-user", b"alice"),
    ];
    assert_eq!(head, expected);
}

#[test]
fn rs_8705_02_rs_8705_04_rs_9700_02_d2_06_a_kept_answer_opens_to_its_certificate_only() {
    // The base64url form of 32 zero bytes.
    let bound = json!({"active": true, "cnf": {"x5t#S256": "A".repeat(43)}});
    for mode in ["optional", "required"] {
        let mut host = host(json!({"sender_constraint": {"mtls": mode}}));
        for (certificate, state) in [
            (Some([1; 32]), "oauth2_unproved_cnf"),
            (Some([0; 32]), "passed"),
            (Some([1; 32]), "oauth2_unproved_cnf"),
            (None, "oauth2_unproved_cnf"),
            (Some([0; 32]), "passed"),
        ] {
            host.certificate = certificate;
            assert_eq!(ask(&mut host, "t", &bound), state, "{mode} {certificate:?}");
        }
        assert_eq!(host.made, 1, "{mode}");
    }
}

#[test]
fn rs_9470_03_a_kept_answer_grows_too_old_for_max_age() {
    let mut host = host(json!({"max_age": "5m", "cache": {"max_ttl": "1h"}}));
    let answer = json!({"active": true, "auth_time": host.seconds() - 240});
    assert_eq!(ask(&mut host, "t", &answer), "passed");
    host.advance(60 * SECOND);
    assert_eq!(ask(&mut host, "t", &answer), "passed");
    host.advance(Duration::from_millis(1));
    assert_eq!(ask(&mut host, "t", &answer), "oauth2_insufficient_user_authentication");
    assert_eq!(host.made, 1);
}

#[test]
fn rs_9700_04_d6_03_no_token_and_no_secret_stands_in_shared_data() {
    let mut host = host(json!({}));
    let stored = |host: &SimulatedHost| String::from_utf8_lossy(&host.shared()).into_owned();
    let unused = stored(&host);
    for (token, answer) in [
        ("active-Zk9Q", json!({"active": true, "sub": "alice"})),
        ("refused-Zk9Q", json!({"active": false})),
    ] {
        // First as a marker while it is asked about, then as an answer.
        host.send(&get("/").bearer(token));
        let asked = stored(&host);
        assert_ne!(asked, unused);
        assert!(!asked.contains(MARK));
        host.answer_with(&answer);
        assert_ne!(stored(&host), asked);
        // Nor what the server says of it (RFC 7662, section 5).
        assert!(!stored(&host).contains("active") && !stored(&host).contains(MARK));
    }
    for secret in ["rs-secret", "cnM6cnMtc2VjcmV0"] {
        assert!(!stored(&host).contains(secret));
    }
}

#[test]
fn d1_02_a_token_in_flight_at_one_server_waits_for_no_answer_of_another() {
    let servers = json!([
        {"endpoint": "http://as.test/a", "when": {"hosts": ["a.test"]}},
        {"endpoint": "http://as.test/b", "when": {"hosts": ["b.test"]}}
    ]);
    let (yes, no) = (json!({"active": true}), json!({"active": false}));
    for (first, second, ends) in
        [(&yes, &no, ["passed", "oauth2_inactive"]), (&no, &yes, ["oauth2_inactive", "passed"])]
    {
        let document = exchange("").inbound(json!({ "introspection": servers })).document("p");
        let mut host = SimulatedHost::new(&document);
        let mut other = host.worker(&document);
        let at_a = host.send(&get("/").bearer("t").host("a.test"));
        let at_b = host.send(&get("/").bearer("t").host("b.test"));
        assert_eq!(host.made, 2);
        host.answer_with(first);
        assert_eq!((host.state(at_a), host.state(at_b)), (ends[0], "waits"));

        // Nor does another worker take the one's answer for the other's.
        let elsewhere = other.send(&get("/").bearer("t").host("b.test"));
        other.tick();
        assert_eq!(other.state(elsewhere), "waits");

        host.answer_with(second);
        other.tick();
        assert_eq!((host.state(at_a), host.state(at_b)), (ends[0], ends[1]));
        assert_eq!((other.state(elsewhere), other.made), (ends[1], 0));
        assert_eq!(other.state_of(&get("/").bearer("t").host("a.test")), ends[0]);
    }
}

#[test]
fn d2_02_a_long_max_ttl_does_not_outlive_exp() {
    let mut host = host(json!({"cache": {"max_ttl": "300s", "stale_if_error": "1h"}}));
    let answer = json!({"active": true, "exp": host.seconds() + 2});
    assert_eq!(ask(&mut host, "t", &answer), "passed");
    host.advance(3 * SECOND);
    let stream = host.send(&get("/").bearer("t"));
    assert_eq!(host.state(stream), "waits");
    host.answer(&Err(CallFailure::Unreachable));
    assert_eq!(host.state(stream), "oauth2_server_unavailable");
    assert_eq!(ask(&mut host, "t", &answer), "oauth2_expired");
}

#[test]
fn d2_03_a_revoked_token_passes_for_max_ttl_at_most() {
    let mut host = host(json!({"cache": {"max_ttl": "60s"}}));
    assert_eq!(ask(&mut host, "t", &json!({"active": true})), "passed");
    let revoked = json!({"active": false});
    for _ in 0..60 {
        assert_eq!(ask(&mut host, "t", &revoked), "passed");
        host.advance(SECOND);
    }
    assert_eq!(ask(&mut host, "t", &revoked), "oauth2_inactive");
}
