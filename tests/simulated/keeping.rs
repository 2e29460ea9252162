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
fn a_token_in_constant_use_costs_one_call_per_max_ttl() {
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
fn an_exp_beyond_all_times_is_kept_for_max_ttl_like_any_other() {
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
fn a_token_that_becomes_valid_while_it_is_kept_passes_then() {
    let mut host = host(json!({}));
    let answer = json!({"active": true, "nbf": host.seconds() + 5});
    assert_eq!(ask(&mut host, "t", &answer), "oauth2_not_yet_valid");
    host.advance(Duration::from_millis(4_999));
    assert_eq!(ask(&mut host, "t", &answer), "oauth2_not_yet_valid");
    host.advance(Duration::from_millis(1));
    assert_eq!(ask(&mut host, "t", &answer), "passed");
    assert_eq!(host.made, 1);
}

#[test]
fn a_refusal_is_kept_for_negative_ttl() {
    let mut host = host(json!({"cache": {"negative_ttl": "5s"}}));
    assert_eq!(ask(&mut host, "t", &json!({"active": false})), "oauth2_inactive");
    host.advance(Duration::from_millis(4999));
    assert_eq!(ask(&mut host, "t", &json!({"active": true})), "oauth2_inactive");
    host.advance(Duration::from_millis(1));
    assert_eq!(ask(&mut host, "t", &json!({"active": true})), "passed");
}

#[test]
fn a_flood_of_refused_tokens_pushes_out_no_good_one() {
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
fn two_configurations_share_no_answer() {
    let (mut one, mut other) = (host(json!({})), host(json!({"realm": "other"})));
    assert_eq!(ask(&mut one, "t", &json!({"active": true})), "passed");
    assert_eq!(ask(&mut other, "t", &json!({"active": false})), "oauth2_inactive");
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
