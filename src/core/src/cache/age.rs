//! How old the result of a call may be for a request.

use std::time::Duration;

use crate::timestamp::Timestamp;

/// The maximum age of a response that a request may get, if it is limited (`rules[].max_ttl`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct AgeLimit(Option<Duration>);

impl AgeLimit {
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self(limit)
    }

    #[cfg(feature = "review")]
    pub(crate) fn get(self) -> Option<Duration> {
        self.0
    }

    pub(crate) fn is_limited(self) -> bool {
        self.0.is_some()
    }

    /// Whether no response is young enough.
    pub(crate) fn is_zero(self) -> bool {
        self.0.is_some_and(|limit| limit.is_zero())
    }

    /// Whether what happened `then` is young enough. The age of what happens in the future is unknown:
    /// the clock was set back, or another worker's is ahead.
    pub(crate) fn allows(self, then: Timestamp, now: Timestamp) -> bool {
        self.0.is_none_or(|limit| then <= now && now < then.plus(limit))
    }

    /// The stricter one of two limits.
    pub(crate) fn stricter(self, other: Self) -> Self {
        match (self.0, other.0) {
            (Some(one), Some(another)) => Self(Some(one.min(another))),
            (limit, None) | (None, limit) => Self(limit),
        }
    }

    /// Whether this limit allows nothing that the other one does not allow.
    #[cfg(feature = "review")]
    pub(crate) fn is_as_strict_as(self, other: Self) -> bool {
        self.stricter(other) == self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_below_its_limit_and_not_negative() {
        let [five, zero, none] = [Some(5), Some(0), None]
            .map(|limit: Option<u64>| AgeLimit::new(limit.map(Duration::from_millis)));
        let at = Timestamp::from_millis;
        for (then, now, allowed) in
            [(10, 10, true), (10, 14, true), (10, 15, false), (11, 10, false)]
        {
            assert_eq!(five.allows(at(then), at(now)), allowed, "{then} {now}");
            assert!(!zero.allows(at(then), at(now)) && none.allows(at(then), at(now)));
        }
        assert_eq!((five.stricter(zero), none.stricter(five)), (zero, five));
        assert_eq!((zero.stricter(five), none.stricter(none)), (zero, none));
    }
}
