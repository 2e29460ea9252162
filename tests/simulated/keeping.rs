//! How long answers are kept, and whose they are: with an exact clock.

use std::time::Duration;

use serde_json::{Value, json};

use crate::exchanges::{exchange, get};
use crate::host::SimulatedHost;

const SECOND: Duration = Duration::from_secs(1);

/// A host with these additions to the `inbound` object.
fn host(inbound: Value) -> SimulatedHost {
    SimulatedHost::new(&exchange("keeping").inbound(inbound).document("p"))
}

/// Sends a request with the token and answers its call, if it makes one.
fn ask(host: &mut SimulatedHost, token: &str, answer: &Value) -> &'static str {
    let stream = host.send(&get("/").bearer(token));
    if host.state(stream) == "waits" {
        host.answer_with(answer);
    }
    host.state(stream)
}

#[test]
fn rs_7662_04_a_token_in_constant_use_costs_one_call_per_max_ttl() {
    let mut host = host(json!({"cache": {"max_ttl": "60s"}}));
    for _ in 0..3 * 600 {
        assert_eq!(ask(&mut host, "t", &json!({"active": true})), "passed");
        host.advance(SECOND / 3);
    }
    assert_eq!(host.made, 10);
}

#[test]
fn rs_7662_04_a_kept_answer_ends_at_exp_to_the_millisecond() {
    let mut host = host(json!({"cache": {"max_ttl": "1h"}}));
    let answer = json!({"active": true, "exp": host.seconds() + 10});
    assert_eq!(ask(&mut host, "t", &answer), "passed");
    host.advance(Duration::from_millis(9_999));
    assert_eq!(ask(&mut host, "t", &answer), "passed");
    assert_eq!(host.made, 1);
    host.advance(Duration::from_millis(1));
    assert_eq!(ask(&mut host, "t", &answer), "oauth2_expired");
    assert_eq!(host.made, 2);
}

#[test]
fn rs_7662_05_an_answer_without_exp_is_kept_for_max_ttl() {
    let mut host = host(json!({"cache": {"max_ttl": "2s"}}));
    assert_eq!(ask(&mut host, "t", &json!({"active": true})), "passed");
    host.advance(Duration::from_millis(1999));
    assert_eq!(ask(&mut host, "t", &json!({"active": false})), "passed");
    host.advance(Duration::from_millis(1));
    assert_eq!(ask(&mut host, "t", &json!({"active": false})), "oauth2_inactive");
}

#[test]
fn d2_05_an_exp_beyond_all_times_is_kept_for_max_ttl_like_any_other() {
    for exp in [json!(1u64 << 53), json!(i64::MAX), json!(u64::MAX), json!(1e300)] {
        let mut host = host(json!({"cache": {"max_ttl": "60s"}, "clock_skew": "1h"}));
        let answer = json!({"active": true, "exp": exp});
        assert_eq!(ask(&mut host, "t", &answer), "passed");
        assert_eq!(ask(&mut host, "t", &answer), "passed");
        assert_eq!(host.made, 1);
        host.advance(60 * SECOND);
        assert_eq!(ask(&mut host, "t", &answer), "passed");
        assert_eq!(host.made, 2);
    }
}

#[test]
fn rs_7662_06_a_token_that_becomes_valid_while_it_is_kept_passes_then() {
    // Five seconds of leeway, unless another time is configured.
    for (inbound, nbf) in [(json!({}), 10), (json!({"clock_skew": "0s"}), 5)] {
        let mut host = host(inbound);
        let answer = json!({"active": true, "nbf": host.seconds() + nbf});
        assert_eq!(ask(&mut host, "t", &answer), "oauth2_not_yet_valid");
        host.advance(Duration::from_millis(4_999));
        assert_eq!(ask(&mut host, "t", &answer), "oauth2_not_yet_valid");
        host.advance(Duration::from_millis(1));
        assert_eq!(ask(&mut host, "t", &answer), "passed");
        assert_eq!(host.made, 1);
    }
}

#[test]
fn a_token_without_leeway_for_exp_is_refused_at_exp() {
    let mut host = host(json!({}));
    let answer = json!({"active": true, "exp": host.seconds() + 10});
    assert_eq!(ask(&mut host, "t", &answer), "passed");
    host.advance(10 * SECOND);
    assert_eq!(ask(&mut host, "t", &answer), "oauth2_expired");
}

#[test]
fn rs_7662_09_d3_02_a_refusal_is_kept_for_negative_ttl() {
    let mut host = host(json!({"cache": {"negative_ttl": "5s"}}));
    assert_eq!(ask(&mut host, "t", &json!({"active": false})), "oauth2_inactive");
    host.advance(Duration::from_millis(4999));
    assert_eq!(ask(&mut host, "t", &json!({"active": true})), "oauth2_inactive");
    host.advance(Duration::from_millis(1));
    assert_eq!(ask(&mut host, "t", &json!({"active": true})), "passed");
}

#[test]
fn a_token_that_is_bound_to_what_nobody_can_prove_is_refused_for_negative_ttl_only() {
    let mut host = host(json!({"cache": {"max_ttl": "60s", "negative_ttl": "5s"}}));
    let bound = json!({"active": true, "cnf": {"jkt": "x"}});
    assert_eq!(ask(&mut host, "t", &bound), "oauth2_unproved_cnf");
    host.advance(Duration::from_millis(4_999));
    assert_eq!(ask(&mut host, "t", &bound), "oauth2_unproved_cnf");
    assert_eq!(host.made, 1);
    host.advance(Duration::from_millis(1));
    assert_eq!(ask(&mut host, "t", &json!({"active": true})), "passed");
    assert_eq!(host.made, 2);
}

#[test]
fn d3_01_a_flood_of_refused_tokens_pushes_out_no_good_one() {
    let mut host = host(json!({"cache": {"max_entries": 10, "negative_max_entries": 10}}));
    for n in 0..10 {
        assert_eq!(ask(&mut host, &format!("good{n}"), &json!({"active": true})), "passed");
    }
    for n in 0..10_000 {
        let refused = json!({"active": n % 2 == 0, "token_type": "refresh_token"});
        assert_ne!(ask(&mut host, &format!("bad{n}"), &refused), "passed");
    }
    let before = host.made;
    for n in 0..10 {
        assert_eq!(host.state_of(&get("/").bearer(&format!("good{n}"))), "passed");
    }
    assert_eq!(host.made, before);
}

#[test]
fn d1_10_configurations_of_one_proxy_that_ask_as_different_clients_share_no_answer() {
    let asking = |client: &str| {
        exchange("keeping").inbound(json!({"introspection": {"client_id": client}})).document("p")
    };
    let mut one = SimulatedHost::new(&asking("one"));
    let mut other = one.worker(&asking("other"));
    for _ in 0..2 {
        assert_eq!(ask(&mut one, "t", &json!({"active": true})), "passed");
        assert_eq!(ask(&mut other, "t", &json!({"active": false})), "oauth2_inactive");
    }
    assert_eq!((one.made, other.made), (1, 1));
}

#[test]
fn clock_skew_moves_both_ends_of_a_token_to_the_millisecond() {
    let mut host = host(json!({"clock_skew": "5s", "cache": {"max_ttl": "1h"}}));
    let (start, end) = (host.seconds() + 10, host.seconds() + 20);
    let answer = json!({"active": true, "nbf": start, "exp": end});
    assert_eq!(ask(&mut host, "t", &answer), "oauth2_not_yet_valid");
    host.advance(Duration::from_millis(4_999));
    assert_eq!(ask(&mut host, "t", &answer), "oauth2_not_yet_valid");
    host.advance(Duration::from_millis(1));
    assert_eq!(ask(&mut host, "t", &answer), "passed");
    host.advance(Duration::from_millis(19_999));
    assert_eq!(ask(&mut host, "t", &answer), "passed");
    assert_eq!(host.made, 1);
    host.advance(Duration::from_millis(1));
    assert_eq!(ask(&mut host, "t", &answer), "oauth2_expired");
}

#[test]
fn a_kept_answer_is_judged_by_the_rule_of_each_request() {
    let rules = json!([
        {"paths": ["/any"]},
        {"paths": ["/scope"], "scope": "b"},
        {"paths": ["/audience"], "audience": "there"},
        {"paths": ["/issuer"], "issuer": "https://other.test"},
        {"paths": ["/claims"], "claims": {"department": "ops"}},
        {"paths": ["/acr"], "acr_values": "gold"},
        {"paths": ["/denied"], "access": "deny"},
    ]);
    let mut host = host(json!({ "rules": rules }));
    let said = json!({
        "active": true, "scope": "a", "aud": "here", "iss": "https://as.test",
        "department": "sales", "acr": "silver",
    });
    let stream = host.send(&get("/any").bearer("t"));
    host.answer_with(&said);
    assert_eq!(host.state(stream), "passed");
    // Asked by another worker of the same proxy, they are the same.
    let mut other =
        host.worker(&exchange("keeping").inbound(json!({ "rules": rules })).document("p"));
    for host in [&mut host, &mut other] {
        for (path, state) in [
            ("/scope", "oauth2_insufficient_scope"),
            ("/audience", "oauth2_wrong_audience"),
            ("/issuer", "oauth2_wrong_issuer"),
            ("/claims", "oauth2_claim_not_met"),
            ("/acr", "oauth2_insufficient_user_authentication"),
            ("/denied", "oauth2_access_denied"),
            ("/elsewhere", "oauth2_unmatched"),
            ("/any", "passed"),
        ] {
            assert_eq!(host.state_of(&get(path).bearer("t")), state, "{path}");
        }
    }
    assert_eq!((host.made, other.made), (1, 0));
}

#[test]
fn the_age_of_an_authentication_is_judged_on_every_request() {
    let mut host = host(json!({"max_age": "30s", "cache": {"max_ttl": "1h"}}));
    let answer = json!({"active": true, "auth_time": host.seconds()});
    assert_eq!(ask(&mut host, "t", &answer), "passed");
    host.advance(30 * SECOND);
    assert_eq!(ask(&mut host, "t", &answer), "passed");
    host.advance(SECOND);
    assert_eq!(ask(&mut host, "t", &answer), "oauth2_insufficient_user_authentication");
    assert_eq!(host.made, 1);
}

#[test]
fn an_answer_too_large_for_all_the_room_is_asked_for_each_time() {
    let mut host = host(json!({"claims": {"groups": "a"}, "cache": {"max_entries": 2}}));
    let huge = json!({"active": true, "groups": vec!["a"; 100_000]});
    let small = json!({"active": true, "groups": "a"});
    assert_eq!(ask(&mut host, "small", &small), "passed");
    for calls in 2..5 {
        assert_eq!(ask(&mut host, "huge", &huge), "passed");
        assert_eq!(host.made, calls);
    }
    // It pushes out nothing.
    assert_eq!(ask(&mut host, "small", &small), "passed");
    assert_eq!(host.made, 4);
    // Requests that wait for it still share one call.
    let streams = [(); 3].map(|()| host.send(&get("/").bearer("huge")));
    host.answer_with(&huge);
    assert_eq!(streams.map(|stream| host.state(stream)), ["passed"; 3]);
    assert_eq!(host.made, 5);
}

/// A claim that is there.
fn any() -> Value {
    json!({"exists": true})
}

#[test]
fn of_what_no_rule_asks_for_nothing_is_kept() {
    let mut host = host(json!({"cache": {"max_entries": 100}}));
    let text = "x".repeat(200_000);
    let large = json!({"active": true, "iss": text, "aud": text, "scope": text, "acr": text});
    for n in 0..20 {
        assert_eq!(ask(&mut host, &format!("large-{n}"), &large), "passed");
    }
    // More than a mebibyte of text was said.
    assert_eq!(host.state_of(&get("/").bearer("large-0")), "passed");
    assert_eq!(host.made, 20);
}

#[test]
fn large_answers_push_out_each_other_and_none_that_is_in_use() {
    let mut host = host(json!({"claims": {"note": any()}, "cache": {"max_entries": 100}}));
    let large = json!({"active": true, "note": "x".repeat(300_000)});
    let small = json!({"active": true, "note": "x"});
    assert_eq!(ask(&mut host, "small", &small), "passed");
    for n in 0..20 {
        assert_eq!(ask(&mut host, &format!("large-{n}"), &large), "passed");
        assert_eq!(ask(&mut host, "small", &small), "passed");
    }
    assert_eq!(host.made, 21);
    // A mebibyte holds three of them.
    for (n, state) in [(19, "passed"), (18, "passed"), (17, "passed"), (16, "waits"), (0, "waits")]
    {
        assert_eq!(host.state_of(&get("/").bearer(&format!("large-{n}"))), state, "{n}");
    }
}

#[test]
fn the_room_for_large_answers_grows_with_the_entries() {
    // 4 KiB for each: 4 MiB hold 13 answers of 300 kB, and 64 MiB hold 20.
    for (max_entries, kept) in [(1_000, 13), (16_384, 20)] {
        let cache = json!({"max_entries": max_entries});
        let mut host = host(json!({"claims": {"note": any()}, "cache": cache}));
        let large = json!({"active": true, "note": "x".repeat(300_000)});
        for n in 0..20 {
            assert_eq!(ask(&mut host, &format!("large-{n}"), &large), "passed");
        }
        let states: Vec<_> =
            (0..20).map(|n| host.state_of(&get("/").bearer(&format!("large-{n}")))).collect();
        let passed = states.iter().filter(|state| **state == "passed").count();
        assert_eq!(passed, kept, "{max_entries}: {states:?}");
    }
}

#[test]
fn an_answer_is_measured_by_what_is_kept_of_it() {
    let mut host = host(json!({"cache": {"max_entries": 10}}));
    // Nobody asks for this claim, so nothing is kept of it.
    let long = json!({"active": true, "biography": "x".repeat(500_000)});
    for n in 0..10 {
        assert_eq!(ask(&mut host, &format!("t{n}"), &long), "passed");
    }
    for n in 0..10 {
        assert_eq!(ask(&mut host, &format!("t{n}"), &long), "passed");
    }
    assert_eq!(host.made, 10);
}
