//! The pause after failures in a row.

use std::time::Duration;

use prost::Message;

use crate::oauth::failure::{Cause, Failure};
use crate::oauth::reason::Reason;
use crate::random::Random;
use crate::timestamp::Timestamp;

/// The first pause after a failure; each failure in a row doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause, unless the server asks for a longer one.
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Failures that were not followed by a success.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BackOff {
    /// How many in a row.
    #[prost(uint32, tag = "1")]
    count: u32,
    /// No call before then, in milliseconds since the epoch.
    #[prost(uint64, tag = "2")]
    until: u64,
    /// The details of the [`Reason`] in the response to callers.
    #[prost(string, tag = "3")]
    reason: String,
}

impl BackOff {
    /// The pause after a failure that follows those of `before`. `retry_after` is what the server asks
    /// for, in seconds.
    pub(crate) fn after(
        before: Option<&Self>,
        reason: Reason,
        retry_after: Option<u32>,
        random: &Random,
        now: Timestamp,
    ) -> Self {
        let count = before.map_or(0, |before| before.count).saturating_add(1);
        let asked = Duration::from_secs(retry_after.unwrap_or_default().into());
        let until = now.plus(pause(count, random).max(asked)).as_millis();
        Self { count, until, reason: reason.details().to_owned() }
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

/// The pause after `count` failures in a row, without jitter; none for none.
pub(crate) fn doubled(count: u32) -> Duration {
    let Some(doublings) = count.checked_sub(1) else { return Duration::ZERO };
    FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_PAUSE)
}

/// The pause after `count` failures in a row: never shorter than the first, never longer than the
/// longest, and not the same for all that failed together.
fn pause(count: u32, random: &Random) -> Duration {
    let base = doubled(count);
    let jitter = random.up_to(base.checked_div(5).unwrap_or_default());
    if base < LONGEST_PAUSE { base.saturating_add(jitter) } else { base.saturating_sub(jitter) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn failures_in_a_row_double_the_pause_up_to_a_minute_and_a_server_may_ask_for_more() {
        let random = Random::new([1; 16], "test");
        let fail = |before: &BackOff, retry_after| {
            BackOff::after(Some(before), Reason::ServerTimeout, retry_after, &random, at(0))
        };
        let mut back_off = BackOff::after(None, Reason::ServerTimeout, None, &random, at(0));
        assert!((1_000..=1_200).contains(&back_off.until), "{back_off:?}");
        for (shortest, longest) in
            [(2_000, 2_400), (4_000, 4_800), (8_000, 9_600), (16_000, 19_200)]
        {
            back_off = fail(&back_off, None);
            assert!((shortest..=longest).contains(&back_off.until), "{back_off:?}");
        }
        for _ in 0..40 {
            back_off = fail(&back_off, Some(2));
        }
        assert!((48_000..=60_000).contains(&back_off.until), "{back_off:?}");
        back_off = fail(&back_off, Some(100));
        let until = |retry_after| {
            let reason = Reason::ServerTimeout;
            Some(Failure::BackOff { reason, retry_after, cause: Cause::Other })
        };
        assert_eq!(back_off.failure(at(0)), until(100));
        assert_eq!(back_off.failure(at(99_999)), until(1));
        assert_eq!(back_off.failure(at(100_000)), None);
    }
}
