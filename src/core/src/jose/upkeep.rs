//! Keeps the keys of an issuer current: when they are fetched, and how long they serve.

use std::sync::Arc;
use std::time::Duration;

use super::key_set::KeySet;
use crate::oauth::back_off::BackOff;
use crate::oauth::failure::Failure;
use crate::random::Random;
use crate::timestamp::Timestamp;

/// The pause between two fetches because of keys that are unknown: whoever forges tokens chooses
/// the identifiers in their headers.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(30);

/// The longest pause between two looks whether keys are due.
pub(crate) const KEY_PERIOD: Duration = Duration::from_secs(1);

/// The times of an issuer's keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyTimes {
    /// The age at which keys are fetched again.
    pub(crate) refresh_interval: Duration,
    /// How long beyond that keys serve while they cannot be fetched.
    pub(crate) stale_if_error: Duration,
}

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct KeyUpkeep {
    times: KeyTimes,
    current: Option<Current>,
    stage: Stage,
    /// When keys were last fetched because one was unknown.
    unknown_at: Option<Timestamp>,
}

/// Keys that were fetched.
#[derive(Clone, Debug)]
struct Current {
    keys: Arc<KeySet>,
    /// When the fetch began: they are at least as new.
    at: Timestamp,
}

/// What the next fetch waits for.
#[derive(Debug)]
enum Stage {
    /// The keys' age, or nothing if there are none.
    Rest,
    /// A fetch that began then is under way, after these failures.
    Fetching(Timestamp, Option<BackOff>),
    /// A pause after failures.
    Failed(BackOff),
}

/// What a request can do that needs keys.
#[derive(Clone, Debug)]
pub(crate) enum Keys {
    Ready,
    /// Wait for the fetch. If `true`, it has to be begun.
    Wait(bool),
    /// Not be decided: there is no fetch before another time.
    Unavailable,
}

/// What deciders have to know of an issuer's keys.
#[derive(Clone, Debug)]
pub(crate) struct KeyNews {
    /// The keys, and until when they serve; `None` if there are none.
    pub(crate) keys: Option<(Arc<KeySet>, Timestamp)>,
    /// When keys that are not among them are worth asking for.
    pub(crate) retry_at: Timestamp,
}

impl KeyUpkeep {
    pub(crate) fn new(times: KeyTimes) -> Self {
        Self { times, current: None, stage: Stage::Rest, unknown_at: None }
    }

    /// When the keys no longer serve.
    fn end(&self) -> Option<Timestamp> {
        let KeyTimes { refresh_interval, stale_if_error } = self.times;
        self.current.as_ref().map(|current| current.at.plus(refresh_interval).plus(stale_if_error))
    }

    /// Whether there are keys that serve.
    fn serves(&self, now: Timestamp) -> bool {
        self.end().is_some_and(|end| now < end)
    }

    /// What deciders have to know.
    pub(crate) fn news(&self, now: Timestamp) -> KeyNews {
        let keys = self.current.as_ref().map(|current| Arc::clone(&current.keys));
        let keys = keys.zip(self.end()).filter(|(_, end)| now < *end);
        let paused = match &self.stage {
            Stage::Failed(back_off) => back_off.ends(),
            Stage::Fetching(..) | Stage::Rest => now,
        };
        let unknown = self.unknown_at.filter(|_| keys.is_some());
        let unknown = unknown.map_or(now, |then| then.plus(UNKNOWN_KEY_PAUSE));
        KeyNews { keys, retry_at: paused.max(unknown).max(now) }
    }

    /// How old the keys are, in milliseconds.
    pub(crate) fn age(&self, now: Timestamp) -> Option<u64> {
        self.current.as_ref().map(|current| now.since(current.at))
    }

    /// Whether keys have to be fetched in the background.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        match (&self.stage, &self.current) {
            (Stage::Fetching(..), _) => false,
            (Stage::Failed(back_off), _) => now >= back_off.ends(),
            (Stage::Rest, None) => true,
            // The next look may be later than that.
            (Stage::Rest, Some(current)) => {
                now.plus(KEY_PERIOD) > current.at.plus(self.times.refresh_interval)
            }
        }
    }

    /// What a request can do that needs any keys.
    pub(crate) fn any(&self, now: Timestamp) -> Keys {
        if self.serves(now) { Keys::Ready } else { self.fetched(now) }
    }

    /// What a request can do whose key is not among the keys that are known here.
    pub(crate) fn unknown(&mut self, now: Timestamp) -> Keys {
        if matches!(self.stage, Stage::Fetching(..)) {
            return Keys::Wait(false);
        }
        if self.unknown_at.is_some_and(|then| now < then.plus(UNKNOWN_KEY_PAUSE)) {
            return Keys::Unavailable;
        }
        let keys = self.fetched(now);
        if matches!(keys, Keys::Wait(true)) {
            self.unknown_at = Some(now);
        }
        keys
    }

    /// What a request can do that needs newer keys.
    fn fetched(&self, now: Timestamp) -> Keys {
        match &self.stage {
            Stage::Fetching(..) => Keys::Wait(false),
            Stage::Failed(back_off) if now < back_off.ends() => Keys::Unavailable,
            Stage::Rest | Stage::Failed(_) => Keys::Wait(true),
        }
    }

    /// A fetch begins.
    pub(crate) fn begin(&mut self, now: Timestamp) {
        let before = match std::mem::replace(&mut self.stage, Stage::Rest) {
            Stage::Failed(back_off) => Some(back_off),
            Stage::Fetching(_, before) => before,
            Stage::Rest => None,
        };
        self.stage = Stage::Fetching(now, before);
    }

    /// The fetch has ended.
    pub(crate) fn ended(
        &mut self,
        result: Result<KeySet, Failure>,
        random: &Random,
        now: Timestamp,
    ) {
        let Stage::Fetching(at, before) = std::mem::replace(&mut self.stage, Stage::Rest) else {
            return;
        };
        match (result, &mut self.current) {
            (Err(failure), _) => {
                let reason = failure.reason();
                let back_off = BackOff::after(before.as_ref(), failure, reason, random, now);
                self.stage = Stage::Failed(back_off);
            }
            // Shared by all who have them.
            (Ok(keys), Some(current)) if *current.keys == keys => current.at = at,
            (Ok(keys), current) => *current = Some(Current { keys: Arc::new(keys), at }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oauth::call::CallFailure;

    const TIMES: KeyTimes = KeyTimes {
        refresh_interval: Duration::from_mins(10),
        stale_if_error: Duration::from_hours(1),
    };

    const DOWN: Failure = Failure::Call(CallFailure::Unreachable);

    /// So many seconds after the start.
    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000).plus(Duration::from_secs(seconds))
    }

    fn random() -> Random {
        Random::new([1; 16], "test")
    }

    /// A set with one key.
    fn set(id: &str) -> KeySet {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let key = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": id});
        KeySet::of_value(&json!({"keys": [key]})).unwrap()
    }

    /// Keys that were fetched at the start.
    fn fetched() -> KeyUpkeep {
        let mut upkeep = KeyUpkeep::new(TIMES);
        assert!(upkeep.is_due(at(0)));
        upkeep.begin(at(0));
        assert!(!upkeep.is_due(at(1)));
        assert!(matches!(upkeep.any(at(1)), Keys::Wait(false)));
        upkeep.ended(Ok(set("a")), &random(), at(1));
        upkeep
    }

    /// The keys that serve.
    fn keys(upkeep: &KeyUpkeep, now: Timestamp) -> Option<Arc<KeySet>> {
        upkeep.news(now).keys.map(|(keys, _)| keys)
    }

    #[test]
    fn keys_are_fetched_again_when_they_are_as_old_as_configured() {
        let mut upkeep = fetched();
        // The fetch began then, not later.
        assert!(!upkeep.is_due(at(599)));
        assert!(
            upkeep.is_due(at(599).plus(Duration::from_millis(1))),
            "no look may follow in time"
        );
        assert!(upkeep.is_due(at(600)));
        upkeep.begin(at(600));
        assert!(matches!(upkeep.any(at(601)), Keys::Ready), "the old ones serve meanwhile");
        let old = keys(&upkeep, at(601)).unwrap();
        upkeep.ended(Ok(set("a")), &random(), at(602));
        assert!(Arc::ptr_eq(&old, &keys(&upkeep, at(602)).unwrap()), "the same");
        assert!(!upkeep.is_due(at(1_199)));
        assert!(upkeep.is_due(at(1_200)));
        upkeep.begin(at(1_200));
        upkeep.ended(Ok(set("b")), &random(), at(1_201));
        let keys = keys(&upkeep, at(1_201)).unwrap();
        assert!(keys.knows("b") && !keys.knows("a"));
    }

    #[test]
    fn old_keys_serve_for_a_while_after_failures() {
        let mut upkeep = fetched();
        upkeep.begin(at(600));
        upkeep.ended(Err(DOWN), &random(), at(605));
        assert!(!upkeep.is_due(at(605)));
        assert!(upkeep.is_due(at(607)), "a second, or a little more");
        assert!(matches!(upkeep.any(at(4_199)), Keys::Ready));
        assert!(matches!(upkeep.any(at(4_200)), Keys::Wait(true)));
        upkeep.begin(at(4_200));
        upkeep.ended(Err(DOWN), &random(), at(4_205));
        assert!(matches!(upkeep.any(at(4_205)), Keys::Unavailable), "too old");
        let news = upkeep.news(at(4_205));
        assert!(news.keys.is_none() && news.retry_at > at(4_205) && news.retry_at <= at(4_208));
        // Nothing is refused for longer than the pause.
        assert!(matches!(upkeep.any(at(4_209)), Keys::Wait(true)));
    }

    #[test]
    fn unknown_keys_cause_one_fetch_in_half_a_minute() {
        let mut upkeep = fetched();
        assert!(matches!(upkeep.unknown(at(10)), Keys::Wait(true)));
        upkeep.begin(at(10));
        assert!(matches!(upkeep.unknown(at(10)), Keys::Wait(false)), "the same fetch");
        upkeep.ended(Ok(set("a")), &random(), at(11));
        for seconds in [11, 39] {
            assert!(matches!(upkeep.unknown(at(seconds)), Keys::Unavailable), "at {seconds}");
            assert_eq!(upkeep.news(at(seconds)).retry_at, at(40));
        }
        assert!(matches!(upkeep.unknown(at(40)), Keys::Wait(true)));
        // What waits for a fetch in the background joins it.
        let mut upkeep = fetched();
        upkeep.begin(at(600));
        assert!(matches!(upkeep.unknown(at(600)), Keys::Wait(false)));
        upkeep.ended(Ok(set("a")), &random(), at(601));
        assert!(matches!(upkeep.unknown(at(601)), Keys::Wait(true)));
    }

    #[test]
    fn unknown_keys_do_not_shorten_the_pause_after_failures() {
        let mut upkeep = fetched();
        upkeep.begin(at(600));
        upkeep.ended(Err(DOWN), &random(), at(600));
        assert!(matches!(upkeep.unknown(at(600)), Keys::Unavailable));
        assert!(matches!(upkeep.unknown(at(602)), Keys::Wait(true)));
    }
}
