//! Keeps the keys of an issuer current: when they are fetched, and how long they serve.

use std::sync::Arc;
use std::time::Duration;

use super::key_set::KeySet;
use crate::oauth::back_off::BackOff;
use crate::oauth::failure::{Cause, Failure};
use crate::oauth::reason::Reason;
use crate::random::Random;
use crate::timestamp::Timestamp;

/// The pause between two fetches because of keys that are unknown: whoever forges tokens chooses
/// the identifiers in their headers.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(30);

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
    Ready(Arc<KeySet>),
    /// Wait for the fetch. If `true`, it has to be begun.
    Wait(bool),
    /// Come again after so many seconds.
    Unavailable(Failure),
}

/// What a fetch has changed.
#[derive(Clone, Debug)]
pub(crate) enum Fetched {
    /// The keys are those from before.
    Same,
    /// There are other keys now: what was decided with the old ones is no longer sound.
    Changed(Arc<KeySet>),
    /// The fetch has failed.
    Failed,
}

impl KeyUpkeep {
    pub(crate) fn new(times: KeyTimes) -> Self {
        Self { times, current: None, stage: Stage::Rest, unknown_at: None }
    }

    /// The keys, unless they are too old.
    pub(crate) fn serving(&self, now: Timestamp) -> Option<&Arc<KeySet>> {
        let current = self.current.as_ref()?;
        let end = current.at.plus(self.times.refresh_interval).plus(self.times.stale_if_error);
        (now < end).then_some(&current.keys)
    }

    /// Whether keys have to be fetched in the background.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        match (&self.stage, &self.current) {
            (Stage::Fetching(..), _) => false,
            (Stage::Failed(back_off), _) => now >= back_off.ends(),
            (Stage::Rest, None) => true,
            (Stage::Rest, Some(current)) => now >= current.at.plus(self.times.refresh_interval),
        }
    }

    /// What a request can do that needs any keys.
    pub(crate) fn any(&self, now: Timestamp) -> Keys {
        match self.serving(now) {
            Some(keys) => Keys::Ready(Arc::clone(keys)),
            None => self.fetched(now),
        }
    }

    /// What a request can do whose key is not among the keys that are known here.
    pub(crate) fn unknown(&mut self, now: Timestamp) -> Keys {
        if matches!(self.stage, Stage::Fetching(..)) {
            return Keys::Wait(false);
        }
        let next = self.unknown_at.map(|then| then.plus(UNKNOWN_KEY_PAUSE));
        let left = next.map_or(0, |next| next.since(now));
        if left > 0 {
            let retry_after = u32::try_from(left.div_ceil(1000)).unwrap_or(u32::MAX);
            return Keys::Unavailable(Failure::BackOff {
                reason: Reason::ServerUnavailable,
                retry_after,
                cause: Cause::Other,
            });
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
            Stage::Rest => Keys::Wait(true),
            Stage::Failed(back_off) => match back_off.failure(now) {
                Some(failure) => Keys::Unavailable(failure),
                None => Keys::Wait(true),
            },
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
    ) -> Fetched {
        let Stage::Fetching(at, before) = std::mem::replace(&mut self.stage, Stage::Rest) else {
            return Fetched::Same;
        };
        let keys = match result {
            Ok(keys) => keys,
            Err(failure) => {
                let reason = failure.reason();
                let back_off = BackOff::after(before.as_ref(), failure, reason, random, now);
                self.stage = Stage::Failed(back_off);
                return Fetched::Failed;
            }
        };
        if let Some(current) = &mut self.current
            && *current.keys == keys
        {
            current.at = at;
            return Fetched::Same;
        }
        let keys = Arc::new(keys);
        self.current = Some(Current { keys: Arc::clone(&keys), at });
        Fetched::Changed(keys)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::oauth::call::CallFailure;

    const TIMES: KeyTimes = KeyTimes {
        refresh_interval: Duration::from_secs(600),
        stale_if_error: Duration::from_secs(3_600),
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
        let change = upkeep.ended(Ok(set("a")), &random(), at(1));
        assert!(matches!(change, Fetched::Changed(_)), "{change:?}");
        upkeep
    }

    #[test]
    fn keys_are_fetched_again_when_they_are_as_old_as_configured() {
        let mut upkeep = fetched();
        // The fetch began then, not later.
        assert!(!upkeep.is_due(at(599)));
        assert!(upkeep.is_due(at(600)));
        upkeep.begin(at(600));
        assert!(matches!(upkeep.any(at(601)), Keys::Ready(_)), "the old ones serve meanwhile");
        assert!(matches!(upkeep.ended(Ok(set("a")), &random(), at(602)), Fetched::Same));
        assert!(!upkeep.is_due(at(1_199)));
        assert!(upkeep.is_due(at(1_200)));
        upkeep.begin(at(1_200));
        let Fetched::Changed(keys) = upkeep.ended(Ok(set("b")), &random(), at(1_201)) else {
            panic!("other keys")
        };
        assert!(keys.knows("b") && !keys.knows("a"));
    }

    #[test]
    fn old_keys_serve_for_a_while_after_failures() {
        let mut upkeep = fetched();
        upkeep.begin(at(600));
        assert!(matches!(upkeep.ended(Err(DOWN), &random(), at(605)), Fetched::Failed));
        assert!(!upkeep.is_due(at(605)));
        assert!(upkeep.is_due(at(607)), "a second, or a little more");
        assert!(matches!(upkeep.any(at(4_199)), Keys::Ready(_)));
        assert!(matches!(upkeep.any(at(4_200)), Keys::Wait(true)));
        upkeep.begin(at(4_200));
        upkeep.ended(Err(DOWN), &random(), at(4_205));
        let Keys::Unavailable(failure) = upkeep.any(at(4_205)) else { panic!("too old") };
        assert!((1..=3).contains(&failure.retry_after().unwrap()), "{failure:?}");
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
        for (seconds, left) in [(11, 29), (39, 1)] {
            let Keys::Unavailable(failure) = upkeep.unknown(at(seconds)) else {
                panic!("at {seconds}")
            };
            assert_eq!(failure.retry_after(), Some(left), "{failure:?}");
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
        assert!(matches!(upkeep.unknown(at(600)), Keys::Unavailable(_)));
        assert!(matches!(upkeep.unknown(at(602)), Keys::Wait(true)));
    }
}
