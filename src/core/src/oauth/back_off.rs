//! The pause after failures in a row.

use std::time::Duration;

use prost::Message;

use crate::cache::identity::Fingerprint;
use crate::oauth::failure::{Cause, Failure};
use crate::oauth::reason::Reason;
use crate::random::Random;
use crate::timestamp::Timestamp;

/// The first pause after a failure; each failure in a row doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause while a server is unavailable, unless it asks for a longer one. One call per
/// pause is no load, and the server may be back at any time.
const LONGEST_OUTAGE_PAUSE: Duration = Duration::from_secs(3);

/// The longest pause after any other failure, unless the server asks for a longer one.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Failures that were not followed by a success.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BackOff {
    /// Which of [`Failures`].
    #[prost(uint32, tag = "1")]
    cause: u32,
    /// The value in it.
    #[prost(uint64, tag = "4")]
    value: u64,
    /// No call before then, in milliseconds since the epoch.
    #[prost(uint64, tag = "2")]
    until: u64,
    /// The details of the [`Reason`] in the response to callers.
    #[prost(string, tag = "3")]
    reason: String,
}

/// Failures in a row with one cause. A failure with another cause begins a new row, so that a pause
/// that is long for one cause does not follow the first failure with another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Failures {
    /// The server was unavailable in so many calls.
    Outage(u64),
    /// So many calls got another failure.
    Refusal(u64),
    /// The server has rejected the client in calls of a token exchange, which may be because of the
    /// one caller's token whose fingerprint has this number.
    Suspicion(u64),
}

impl BackOff {
    /// The pause after a failure that follows those of `before`.
    pub(crate) fn after(
        before: Option<&Self>,
        failure: Failure,
        reason: Reason,
        random: &Random,
        now: Timestamp,
    ) -> Self {
        let is_outage = matches!(failure.cause(), Cause::Outage | Cause::Unsent);
        let failures = match (is_outage, before.map(Self::failures)) {
            (true, Some(Failures::Outage(count))) => Failures::Outage(count.saturating_add(1)),
            (true, _) => Failures::Outage(1),
            (false, Some(Failures::Refusal(count))) => Failures::Refusal(count.saturating_add(1)),
            (false, Some(Failures::Suspicion(_))) => Failures::Refusal(2),
            (false, _) => Failures::Refusal(1),
        };
        let asked = Duration::from_secs(failure.retry_after().unwrap_or_default().into());
        let pause = failures.pause(random).max(asked);
        Self::new(failures, pause, reason, now)
    }

    /// The pause of all callers after the server has rejected the client in a call with the token
    /// `subject`; `None` if only calls with this token have failed so.
    pub(crate) fn suspecting(
        before: Option<&Self>,
        subject: Fingerprint,
        failure: Failure,
        random: &Random,
        now: Timestamp,
    ) -> Option<Self> {
        let suspicion = Failures::Suspicion(subject.number());
        let reason = failure.reason();
        match before.map(Self::failures) {
            Some(first) if first == suspicion => None,
            Some(Failures::Suspicion(_) | Failures::Refusal(_)) => {
                Some(Self::after(before, failure, reason, random, now))
            }
            Some(Failures::Outage(_)) | None => {
                Some(Self::new(suspicion, suspicion.pause(random), reason, now))
            }
        }
    }

    fn new(failures: Failures, pause: Duration, reason: Reason, now: Timestamp) -> Self {
        let (cause, value) = match failures {
            Failures::Outage(count) => (1, count),
            Failures::Refusal(count) => (2, count),
            Failures::Suspicion(subject) => (3, subject),
        };
        let until = now.plus(pause).as_millis();
        Self { cause, value, until, reason: reason.details().to_owned() }
    }

    fn failures(&self) -> Failures {
        match self.cause {
            1 => Failures::Outage(self.value),
            3 => Failures::Suspicion(self.value),
            _ => Failures::Refusal(self.value),
        }
    }

    /// Why no call is made now.
    pub(crate) fn failure(&self, now: Timestamp) -> Option<Failure> {
        let left = self.ends().since(now);
        if left == 0 {
            return None;
        }
        let reason = Reason::of_details(&self.reason).unwrap_or(Reason::ServerUnavailable);
        let retry_after = u32::try_from(left.div_ceil(1000)).unwrap_or(u32::MAX);
        Some(Failure::BackOff { reason, retry_after, cause: Cause::Other })
    }

    /// When the next call may be made.
    pub(crate) fn ends(&self) -> Timestamp {
        Timestamp::from_millis(self.until)
    }
}

impl Failures {
    /// The pause after these failures: never shorter than the first, never longer than the longest,
    /// and not the same for all that failed together.
    fn pause(self, random: &Random) -> Duration {
        let (count, longest) = match self {
            Self::Outage(count) => (count, LONGEST_OUTAGE_PAUSE),
            Self::Refusal(count) => (count, LONGEST_PAUSE),
            Self::Suspicion(_) => (1, LONGEST_PAUSE),
        };
        let base = doubled(u32::try_from(count).unwrap_or(u32::MAX)).min(longest);
        let jitter = random.up_to(base.checked_div(5).unwrap_or_default());
        if base < longest { base.saturating_add(jitter) } else { base.saturating_sub(jitter) }
    }
}

/// The pause after `count` failures in a row, without jitter; none for none.
pub(crate) fn doubled(count: u32) -> Duration {
    let Some(doublings) = count.checked_sub(1) else { return Duration::ZERO };
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::identity::Identity;
    use crate::oauth::call::CallFailure::{NotSent, Timeout, UnknownCluster, Unreachable};
    use crate::oauth::failure::OAuthError;

    const REFUSED: Failure =
        Failure::Refused { status: 401, error: Some(OAuthError::InvalidClient) };

    const fn busy(status: u16, retry_after: Option<u32>) -> Failure {
        Failure::Busy { status, retry_after }
    }

    /// The pause after the last of these failures in a row, in milliseconds.
    fn pause(failures: &[Failure]) -> u64 {
        let random = Random::new([1; 16], "test");
        let now = Timestamp::from_millis(0);
        let mut before = None;
        for failure in failures {
            let reason = failure.reason();
            before = Some(BackOff::after(before.as_ref(), *failure, reason, &random, now));
        }
        before.unwrap().until
    }

    /// The pause after this failure so many times, in milliseconds.
    fn repeated(failure: Failure, times: usize) -> u64 {
        pause(&vec![failure; times])
    }

    #[test]
    fn refusals_in_a_row_double_the_pause_up_to_a_minute() {
        for failure in [
            REFUSED,
            Failure::Status(404),
            Failure::Status(302),
            Failure::NotJson,
            Failure::Member("x"),
            busy(429, None),
        ] {
            for (times, range) in [
                (1, 1_000..=1_200),
                (2, 2_000..=2_400),
                (3, 4_000..=4_800),
                (6, 32_000..=38_400),
                (40, 48_000..=60_000),
            ] {
                let pause = repeated(failure, times);
                assert!(range.contains(&pause), "{failure:?} {times}: {pause}");
            }
        }
    }

    #[test]
    fn while_the_server_is_unavailable_no_pause_is_longer_than_three_seconds() {
        for failure in [
            Failure::Call(Unreachable),
            Failure::Call(Timeout),
            Failure::Call(NotSent),
            Failure::Call(UnknownCluster),
            busy(500, None),
            busy(503, Some(2)),
        ] {
            assert!((1_000..=2_000).contains(&repeated(failure, 1)), "{failure:?}");
            for times in 2..40 {
                let pause = repeated(failure, times);
                assert!((2_000..=3_000).contains(&pause), "{failure:?} {times}: {pause}");
            }
        }
    }

    #[test]
    fn a_server_may_ask_for_a_longer_pause_but_not_for_a_shorter_one() {
        assert_eq!(repeated(busy(503, Some(100)), 7), 100_000);
        assert_eq!(repeated(busy(429, Some(3600)), 1), 3_600_000);
        assert!(repeated(busy(429, Some(2)), 40) >= 48_000);
    }

    #[test]
    fn a_failure_with_another_cause_begins_a_new_row() {
        let outage = Failure::Call(Unreachable);
        let refusals = vec![REFUSED; 9];
        assert!(pause(&[refusals.clone(), vec![outage]].concat()) <= 1_200);
        assert!(pause(&[vec![outage; 9], vec![REFUSED]].concat()) <= 1_200);
        assert!(pause(&[refusals.clone(), refusals].concat()) >= 48_000);
    }

    #[test]
    fn one_caller_stops_all_once_and_a_second_one_makes_the_pause_longer() {
        let random = Random::new([1; 16], "test");
        let identity = Identity::new(&[]);
        let now = Timestamp::from_millis(0);
        let [alice, bob] = ["alice", "bob"].map(|token| identity.fingerprint(token));
        let suspect = |before: Option<&BackOff>, subject| {
            BackOff::suspecting(before, subject, REFUSED, &random, now)
        };
        let first = suspect(None, alice).unwrap();
        assert!((1_000..=1_200).contains(&first.until), "{first:?}");
        assert_eq!(suspect(Some(&first), alice), None);
        let mut all = first;
        for (subject, range) in
            [(bob, 2_000..=2_400), (alice, 4_000..=4_800), (alice, 8_000..=9_600)]
        {
            all = suspect(Some(&all), subject).unwrap();
            assert!(range.contains(&all.until), "{all:?}");
        }
        let outage =
            BackOff::after(Some(&all), Failure::Call(Timeout), Reason::ServerTimeout, &random, now);
        assert!(suspect(Some(&outage), alice).unwrap().until <= 1_200);
    }

    #[test]
    fn requests_are_told_how_long_the_pause_lasts() {
        let random = Random::new([1; 16], "test");
        let now = Timestamp::from_millis(0);
        let failure = busy(503, Some(100));
        let back_off = BackOff::after(None, failure, Reason::ServerTimeout, &random, now);
        let until = |retry_after| {
            let reason = Reason::ServerTimeout;
            Some(Failure::BackOff { reason, retry_after, cause: Cause::Other })
        };
        assert_eq!(back_off.failure(now), until(100));
        assert_eq!(back_off.failure(Timestamp::from_millis(99_999)), until(1));
        assert_eq!(back_off.failure(Timestamp::from_millis(100_000)), None);
    }

    #[test]
    fn a_back_off_survives_its_encoding_for_other_workers() {
        let random = Random::new([1; 16], "test");
        let now = Timestamp::from_millis(7);
        let alice = Identity::new(&[]).fingerprint("alice");
        for back_off in [
            BackOff::after(None, REFUSED, Reason::ServerRefusedClient, &random, now),
            BackOff::after(None, busy(503, None), Reason::ServerUnavailable, &random, now),
            BackOff::suspecting(None, alice, REFUSED, &random, now).unwrap(),
        ] {
            assert_eq!(BackOff::decode(&*back_off.encode_to_vec()).unwrap(), back_off);
        }
    }
}
