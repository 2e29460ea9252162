//! What is counted and measured of the keys of issuers.

use std::time::Duration;

use oauth2_filter_core::{Answer, CallFailure, CallOutcome, Counter, Event, KeyEvent, Lookup};
use serde_json::{Value, json};

use crate::exchanges::signing::Key;
use crate::exchanges::{get, seconds_from_now};
use crate::host::SimulatedHost;

const AGAIN: Duration = Duration::from_secs(5);

/// Two issuers whose keys are written here and fetched.
fn host() -> SimulatedHost {
    let entry = |issuer: &str, more: (&str, Value)| {
        let mut entry = json!({"issuer": issuer, "audience": "orders"});
        entry[more.0] = more.1;
        entry
    };
    let fixed = json!({"keys": [Key::p256().jwk("fixed")]});
    let mut fetched = entry("https://b.test", ("jwks_uri", json!("https://b.test/keys")));
    fetched["cluster"] = json!("b");
    let jwt = [entry("https://a.test", ("jwks", fixed)), fetched];
    SimulatedHost::new(&json!({"inbound": {"jwt": jwt}}))
}

fn token(key: &Key, id: &str, issuer: &str) -> String {
    let exp = seconds_from_now(10_000);
    key.sign(id, &json!({"iss": issuer, "aud": "orders", "exp": exp}))
}

/// The events about the keys of issuers since the last look, without those of the gauge.
fn events(host: &mut SimulatedHost) -> Vec<(usize, KeyEvent)> {
    let events = std::mem::take(&mut host.events).into_iter();
    let of_keys = events.filter_map(|event| match event {
        Event::Keys(issuer, event) => Some((issuer.index(), event)),
        _ => None,
    });
    of_keys.filter(|(_, event)| !matches!(event, KeyEvent::Age(_))).collect()
}

/// The last age that was reported of the second issuer's keys; none was of the other's.
fn age(host: &SimulatedHost) -> Option<u64> {
    let mut ages = host.events.iter().filter_map(|event| match event {
        Event::Keys(issuer, KeyEvent::Age(seconds)) => {
            assert_eq!(issuer.index(), 1);
            Some(*seconds)
        }
        _ => None,
    });
    ages.next_back()
}

#[test]
fn each_fetch_is_counted_by_its_outcome() {
    let answer = |status, body: &str| {
        let body = body.as_bytes().to_vec();
        Ok(Answer { status, body, retry_after: None })
    };
    let set = json!({"keys": [Key::p256().jwk("a")]}).to_string();
    for (answer, outcome) in [
        (answer(200, &set), None),
        (answer(200, r#"{"keys": []}"#), Some(CallOutcome::BadAnswer)),
        (answer(404, ""), Some(CallOutcome::BadAnswer)),
        (answer(403, ""), Some(CallOutcome::BadAnswer)),
        (answer(503, ""), Some(CallOutcome::Unavailable)),
        (Err(CallFailure::Unreachable), Some(CallOutcome::Unavailable)),
        (Err(CallFailure::Timeout), Some(CallOutcome::Timeout)),
    ] {
        let mut host = host();
        host.tick();
        host.advance(Duration::from_millis(70));
        host.answer(&answer);
        assert!(host.events.contains(&Event::KeyCallTime(70)), "{:?}", host.events);
        assert_eq!(events(&mut host), [(1, KeyEvent::Fetch(outcome))], "{answer:?}");
        assert!(KeyEvent::ALL.contains(&KeyEvent::Fetch(outcome)), "{outcome:?}");
    }
}

#[test]
fn the_age_of_keys_is_that_of_the_last_fetch_or_since_the_first_failed() {
    let mut host = host();
    host.tick();
    assert_eq!(age(&host), Some(0));
    host.answer(&Err(CallFailure::Unreachable));
    host.advance(AGAIN);
    host.tick();
    assert_eq!(age(&host), Some(5), "there are none");
    host.answer_with(&json!({"keys": [Key::p256().jwk("a")]}));
    host.advance(Duration::from_secs(2));
    host.tick();
    assert_eq!(age(&host), Some(2));
    host.advance(Duration::from_mins(10));
    host.tick();
    host.answer(&Err(CallFailure::Timeout));
    host.advance(AGAIN);
    host.tick();
    assert_eq!(age(&host), Some(607));
    assert_eq!(host.ticks(), Some(Duration::from_secs(1)), "no more often than keys need it");
}

#[test]
fn tokens_with_an_unknown_key_are_counted_where_more_keys_may_come() {
    let (key, new) = (Key::p256(), Key::p256());
    let mut host = host();
    host.tick();
    host.answer_with(&json!({"keys": [key.jwk("a")]}));
    events(&mut host);
    assert_eq!(host.state_of(&get("/").bearer(&token(&key, "a", "https://b.test"))), "passed");
    assert!(host.events.contains(&Event::Count(Counter::Lookup(Lookup::Verified))));
    assert_eq!(events(&mut host), []);
    // It waits, and is not counted again when it is decided.
    let stream = host.send(&get("/").bearer(&token(&new, "b", "https://b.test")));
    host.answer_with(&json!({"keys": [key.jwk("a"), new.jwk("b")]}));
    assert_eq!(host.state(stream), "passed");
    assert_eq!(events(&mut host), [(1, KeyEvent::Unknown), (1, KeyEvent::Fetch(None))]);
    // It does not wait.
    let unknown = token(&new, "c", "https://b.test");
    assert_eq!(host.state_of(&get("/").bearer(&unknown)), "oauth2_unknown_key");
    assert_eq!(events(&mut host), [(1, KeyEvent::Unknown)]);
    let unknown = token(&new, "c", "https://a.test");
    assert_eq!(host.state_of(&get("/").bearer(&unknown)), "oauth2_bad_signature");
    assert_eq!(events(&mut host), []);
}
