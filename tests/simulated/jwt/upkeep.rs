//! How the keys of an issuer are kept: fetched, used while they cannot be, and dropped.

use oauth2_filter_core::{Answer, Counter, Event, Lookup};

use super::*;
use crate::host::Outcome;
use crate::{exchanging, outbound};

/// Seconds of the entries here.
const REFRESH: u64 = 600;
const STALE: u64 = 3600;
const TIMEOUT: u64 = 5;

/// An entry with these times, and everything that might let a request pass.
fn lenient(inbound: Value) -> SimulatedHost {
    let mut document = document(json!({"refresh_interval": "10m", "stale_if_error": "1h"}));
    document["inbound"]["failure_mode_allow"] = true.into();
    document["inbound"]["cache"] = json!({"max_ttl": "60s", "stale_if_error": "24h"});
    document["inbound"]["introspection"] = introspection();
    document["inbound"] = replaced(document["inbound"].take(), &inbound);
    SimulatedHost::new(&document)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A host that has fetched these keys at its start.
fn fetched(keys: &Value) -> SimulatedHost {
    let mut host = lenient(json!({}));
    host.tick();
    host.answer_with(keys);
    host
}

/// The open call to this path gets a 200 with this body.
fn answer_at(host: &mut SimulatedHost, at: &str, body: &Value) {
    let place = host.calls.iter().position(|call| path(call) == at).expect("a call");
    let call = host.calls.remove(place);
    host.calls.insert(0, call);
    host.answer_with(body);
}

/// A failure, and what it is.
type Failed = (&'static str, Result<Answer, CallFailure>);

/// Every way in which a fetch fails.
fn failures() -> Vec<Failed> {
    let says = |status, body: &str| {
        Ok(Answer { status, retry_after: None, body: body.as_bytes().to_vec() })
    };
    let keys = set(&[(&Key::p256(), "a")]).to_string();
    let too_many: Vec<_> = (0..101).map(|_| Key::p256().jwk("a")).collect();
    vec![
        ("unreachable", Err(CallFailure::Unreachable)),
        ("slow", Err(CallFailure::Timeout)),
        ("too large", Err(CallFailure::TooLarge)),
        ("no cluster", Err(CallFailure::UnknownCluster)),
        ("404", says(404, &keys)),
        ("401", says(401, &keys)),
        ("500", says(500, &keys)),
        ("503", says(503, &keys)),
        ("204", says(204, "")),
        ("201", says(201, &keys)),
        ("redirect", says(302, &keys)),
        ("empty", says(200, "")),
        ("HTML", says(200, "<!doctype html><title>Sign in</title>")),
        ("list", says(200, "[]")),
        ("no set", says(200, "{}")),
        ("empty set", says(200, r#"{"keys":[]}"#)),
        ("secrets", says(200, r#"{"keys":[{"kty":"oct","k":"c2VjcmV0","kid":"a"}]}"#)),
        ("twice", says(200, &keys.replace("\"keys\"", "\"keys\":[],\"keys\""))),
        ("too many", says(200, &json!({"keys": too_many}).to_string())),
        ("padded", says(200, &format!("{keys}{}", " ".repeat(256 * 1024)))),
    ]
}

#[test]
fn rs_7517_04_keys_serve_while_they_cannot_be_fetched_but_no_longer_than_configured() {
    let key = Key::p256();
    for (name, failed) in failures() {
        let mut host = fetched(&set(&[(&key, "a")]));
        host.advance(seconds(REFRESH));
        host.tick();
        assert_eq!(path(&host.calls[0]), "/keys", "{name}");
        assert_eq!(state(&mut host, &key, "a"), "passed", "{name}: while they are fetched");
        host.answer(&failed);
        assert_eq!(state(&mut host, &key, "a"), "passed", "{name}");
        host.advance(seconds(STALE).saturating_sub(MILLISECOND));
        assert_eq!(state(&mut host, &key, "a"), "passed", "{name}: for the last time");
        host.advance(MILLISECOND);
        let stream = send(&mut host, &key, "a");
        assert_eq!(host.state(stream), "waits", "{name}");
        host.answer(&failed);
        assert_eq!(host.state(stream), "oauth2_no_keys", "{name}");
        assert!(host.refused_header(stream, "retry-after").is_some(), "{name}");
        // Nobody asks again before the pause has ended, and nobody waits.
        assert_eq!(state(&mut host, &key, "a"), "oauth2_no_keys", "{name}");
        assert_eq!((host.made, host.calls.len()), (3, 0), "{name}");
        host.advance(seconds(60));
        let stream = send(&mut host, &key, "a");
        host.answer_with(&set(&[(&key, "a")]));
        assert_eq!(host.state(stream), "passed", "{name}: it has recovered");
    }
}

#[test]
fn d5_01_without_keys_nothing_passes_whatever_fails_and_whatever_is_allowed() {
    let key = Key::p256();
    for (name, failed) in failures() {
        let mut host = lenient(json!({}));
        let stream = send(&mut host, &key, "a");
        let grpc = host.send(&get("/").bearer(&key.sign("a", &claims())).grpc());
        host.answer(&failed);
        assert_eq!(host.state(stream), "oauth2_no_keys", "{name}");
        assert_eq!(host.state(grpc), "oauth2_no_keys", "{name}");
        let Some(Outcome::Refused(reply)) = host.outcome(stream) else { panic!("{name}") };
        assert_eq!(reply.status, 503, "{name}");
        assert_eq!(host.made, 1, "{name}");
    }
}

#[test]
fn rs_7517_05_a_token_whose_key_is_gone_is_accepted_until_the_next_fetch_has_ended() {
    let (key, new) = (Key::p256(), Key::p256());
    let (old_set, new_set) = (set(&[(&key, "a")]), set(&[(&new, "b")]));
    for introspect in [false, true] {
        let mut document = document(json!({
            "refresh_interval": "10m", "stale_if_error": "24h", "introspect": introspect
        }));
        document["inbound"]["cache"] = json!({"max_ttl": "60s", "stale_if_error": "24h"});
        document["inbound"]["introspection"] = introspection();
        let mut host = SimulatedHost::new(&document);
        let request = get("/").bearer(&key.sign("a", &claims()));
        host.tick();
        host.answer_with(&old_set);
        // The issuer withdraws the key now, and takes as long to answer as it may.
        let mut asked = None;
        let mut streams = Vec::new();
        for gone in 0..REFRESH + 120 {
            host.tick();
            streams.push(host.send(&request));
            if host.calls.iter().any(|call| path(call) == "/introspect") {
                answer_at(&mut host, "/introspect", &json!({"active": true}));
            }
            match asked {
                Some(since) if gone == since + TIMEOUT => {
                    answer_at(&mut host, "/keys", &new_set);
                    asked = None;
                }
                None if !host.calls.is_empty() => asked = Some(gone),
                _ => {}
            }
            host.advance(SECOND);
        }
        let accepted = streams.iter().filter(|stream| host.state(**stream) == "passed").count();
        // Sooner than promised: with the key goes what it has verified.
        assert_eq!(accepted as u64, REFRESH + TIMEOUT + 1, "introspect: {introspect}");
        let mut refused = streams.iter().skip(accepted).map(|stream| host.state(*stream));
        assert!(refused.all(|state| ["oauth2_unknown_key", "waits"].contains(&state)));
    }
}

#[test]
fn rs_7517_05_what_a_lost_key_has_verified_goes_with_it_whoever_used_it() {
    let (key, new) = (Key::p256(), Key::p256());
    let mut document = outbound::document(exchanging::exchange(json!({})));
    document["inbound"] = self::document(json!({"stale_if_error": "24h"}))["inbound"].clone();
    let mut host = SimulatedHost::new(&document);
    host.tick();
    host.answer_with(&set(&[(&key, "a")]));
    let token = key.sign("a", &claims());
    let stream = host.send(&get("/").bearer(&token));
    host.answer_with(&exchanging::exchanged("for-alice"));
    assert_eq!(host.state(stream), "passed");
    assert_eq!(host.state_of(&get("/").bearer(&token)), "passed");
    host.advance(seconds(REFRESH));
    host.tick();
    answer_at(&mut host, "/keys", &set(&[(&new, "b")]));
    let stream = host.send(&get("/").bearer(&token));
    assert_eq!(host.state(stream), "waits", "for newer keys, in spite of an exchanged token");
    answer_at(&mut host, "/keys", &set(&[(&new, "b")]));
    assert_eq!(host.state(stream), "oauth2_unknown_key");
}

#[test]
fn an_introspection_response_on_its_way_is_not_used_once_the_key_is_gone() {
    let (key, new) = (Key::p256(), Key::p256());
    let mut document = document(json!({"introspect": true}));
    document["inbound"]["failure_mode_allow"] = true.into();
    document["inbound"]["introspection"] = introspection();
    for (keys, expected) in [
        (set(&[(&new, "b")]), "oauth2_unknown_key"),
        (set(&[(&new, "a")]), "oauth2_unknown_key"),
        (set(&[(&new, "b"), (&key, "a")]), "passed"),
    ] {
        let mut host = SimulatedHost::new(&document);
        host.tick();
        host.answer_with(&set(&[(&key, "a")]));
        let token = key.sign("a", &claims());
        host.advance(seconds(REFRESH - 1));
        let stream = host.send(&get("/").bearer(&token));
        assert_eq!(path(&host.calls[0]), "/introspect");
        host.advance(SECOND);
        host.tick();
        answer_at(&mut host, "/keys", &keys);
        host.answer_with(&json!({"active": true}));
        assert_eq!(host.state(stream), expected, "{keys}");
        // Nor is it cached.
        let again = host.state_of(&get("/").bearer(&token));
        assert_eq!(again == "passed", expected == "passed", "{keys}");
    }
}

#[test]
fn one_fetch_serves_everybody() {
    let key = Key::p256();
    let mut host = lenient(json!({}));
    host.tick();
    let waiting: Vec<_> = (0..200).map(|_| send(&mut host, &key, "a")).collect();
    assert_eq!(host.made, 1);
    for _ in 0..4 {
        host.advance(SECOND);
        host.tick();
    }
    assert_eq!(host.made, 1, "a slow server is not asked twice");
    host.answer_with(&set(&[(&key, "a")]));
    assert!(waiting.iter().all(|stream| host.state(*stream) == "passed"));
    for _ in 0..REFRESH - 5 {
        host.advance(SECOND);
        host.tick();
        assert_eq!((state(&mut host, &key, "a"), host.made), ("passed", 1));
    }
    for _ in 0..10 {
        host.advance(SECOND);
        host.tick();
        assert_eq!((state(&mut host, &key, "a"), host.made), ("passed", 2));
    }
}

#[test]
fn rs_7517_06_a_flood_of_unknown_keys_causes_one_fetch_in_half_a_minute_and_hurts_nobody() {
    let (key, evil) = (Key::p256(), Key::p256());
    let keys = set(&[(&key, "a")]);
    let mut host = fetched(&keys);
    let requests: Vec<_> =
        (0..200).map(|n| get("/").bearer(&evil.sign(&format!("evil-{n}"), &claims()))).collect();
    let flood = |host: &mut SimulatedHost| -> Vec<_> {
        requests.iter().map(|request| host.send(request)).collect()
    };
    let count = |host: &SimulatedHost, streams: &[StreamId], state: &str| {
        streams.iter().filter(|stream| host.state(**stream) == state).count()
    };
    for half_minute in 1..=2 {
        let streams = flood(&mut host);
        assert_eq!(host.made, 1 + half_minute);
        assert_eq!(count(&host, &streams, "waits"), 64);
        assert_eq!(count(&host, &streams, "oauth2_unknown_key"), 136);
        assert_eq!(state(&mut host, &key, "a"), "passed", "during the fetch");
        host.answer_with(&keys);
        assert_eq!(count(&host, &streams, "oauth2_unknown_key"), 200);
        assert_eq!(host.refused_header(streams[0], "retry-after"), Some("30"));
        for second in 1..30 {
            host.advance(SECOND);
            host.tick();
            let streams = flood(&mut host);
            assert_eq!(count(&host, &streams, "oauth2_unknown_key"), 200);
            let left = (30 - second).to_string();
            assert_eq!(host.refused_header(streams[0], "retry-after"), Some(&*left));
            assert_eq!(state(&mut host, &key, "a"), "passed", "during the flood");
        }
        assert_eq!(host.made, 1 + half_minute);
        host.advance(SECOND);
    }
}

#[test]
fn rs_7517_06_a_new_key_is_known_within_half_a_minute_and_its_tokens_never_get_401() {
    let (key, new) = (Key::p256(), Key::p256());
    let mut host = fetched(&set(&[(&key, "a")]));
    // Somebody has just used up the fetch.
    let evil = send(&mut host, &Key::p256(), "evil");
    host.answer_with(&set(&[(&key, "a")]));
    assert_eq!(host.state(evil), "oauth2_unknown_key");
    // Now the issuer signs with another key.
    let token = new.sign("b", &claims());
    let mut waited = 0;
    let passed = loop {
        let stream = host.send(&get("/").bearer(&token));
        if !host.calls.is_empty() {
            host.answer_with(&set(&[(&key, "a"), (&new, "b")]));
        }
        match host.state(stream) {
            "oauth2_unknown_key" => {
                let left = (30 - waited).to_string();
                assert_eq!(host.refused_header(stream, "retry-after"), Some(&*left));
            }
            other => break other,
        }
        waited += 1;
        host.advance(SECOND);
        host.tick();
    };
    assert_eq!((passed, waited, host.made), ("passed", 30, 3));
    assert_eq!(state(&mut host, &key, "a"), "passed", "the old one is there still");
}

#[test]
fn requests_that_are_aborted_leave_the_fetch_to_others() {
    let key = Key::p256();
    let keys = set(&[(&key, "a")]);
    let mut host = lenient(json!({}));
    let first = send(&mut host, &key, "a");
    let second = send(&mut host, &key, "a");
    host.abort(first);
    host.answer_with(&keys);
    assert_eq!((host.state(first), host.state(second)), ("waits", "passed"));
    // A fetch that nobody waits for goes on, and its keys serve.
    let mut host = lenient(json!({}));
    let only = send(&mut host, &key, "a");
    host.abort(only);
    host.answer_with(&keys);
    assert_eq!((state(&mut host, &key, "a"), host.made), ("passed", 1));
    // Those that have gone make room for others.
    let waiting: Vec<_> = (0..64).map(|_| send(&mut host, &Key::p256(), "b")).collect();
    host.abort(waiting[9]);
    let next = send(&mut host, &key, "b");
    assert_eq!(host.state(next), "waits");
    assert_eq!(state(&mut host, &key, "b"), "oauth2_unknown_key", "no room");
    host.answer_with(&set(&[(&key, "b")]));
    assert_eq!(host.state(next), "passed");
}

#[test]
fn changed_keys_clear_what_was_rejected_and_keep_what_is_still_verified() {
    let (key, other, new) = (Key::p256(), Key::p256(), Key::p256());
    let mut host = lenient(json!({"cache": {"negative_ttl": "1h", "max_ttl": "1h"}}));
    host.tick();
    host.answer_with(&set(&[(&key, "a"), (&other, "o")]));
    let lookups = |host: &mut SimulatedHost| -> Vec<Lookup> {
        let lookup = |event| match event {
            Event::Count(Counter::Lookup(lookup)) => Some(lookup),
            _ => None,
        };
        host.events.drain(..).filter_map(lookup).collect()
    };
    let [by_new, by_other, by_key] = [(&new, "a"), (&other, "o"), (&key, "a")]
        .map(|(key, id)| get("/").bearer(&key.sign(id, &claims())));
    let ask = |host: &mut SimulatedHost| {
        [&by_new, &by_other, &by_key].map(|request| host.state_of(request))
    };
    lookups(&mut host);
    assert_eq!(ask(&mut host), ["oauth2_bad_signature", "passed", "passed"]);
    assert_eq!(lookups(&mut host), [Lookup::Verified; 3]);
    assert_eq!(ask(&mut host), ["oauth2_bad_signature", "passed", "passed"]);
    assert_eq!(lookups(&mut host), [Lookup::Negative, Lookup::Hit, Lookup::Hit]);
    // The same keys change nothing.
    host.advance(seconds(REFRESH));
    host.tick();
    host.answer_with(&set(&[(&key, "a"), (&other, "o")]));
    lookups(&mut host);
    assert_eq!(ask(&mut host), ["oauth2_bad_signature", "passed", "passed"]);
    assert_eq!(lookups(&mut host), [Lookup::Negative, Lookup::Hit, Lookup::Hit]);
    host.advance(seconds(REFRESH));
    host.tick();
    host.answer_with(&set(&[(&new, "a"), (&other, "o")]));
    lookups(&mut host);
    assert_eq!(ask(&mut host), ["passed", "passed", "oauth2_bad_signature"]);
    assert_eq!(lookups(&mut host), [Lookup::Verified, Lookup::Hit, Lookup::Verified]);
}

#[test]
fn each_worker_has_keys_of_its_own_and_none_in_shared_data() {
    let key = Key::p256();
    let document = document(json!({}));
    let mut one = SimulatedHost::new(&document);
    let mut other = one.worker(&document);
    one.tick();
    let before = one.shared();
    one.answer_with(&set(&[(&key, "a")]));
    assert_eq!(state(&mut one, &key, "a"), "passed");
    assert_eq!(state(&mut other, &key, "a"), "waits");
    assert_eq!(other.made, 1);
    assert_eq!(one.shared(), before, "nothing about keys or tokens");
}
