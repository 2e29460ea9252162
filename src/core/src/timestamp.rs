//! Points in time, which the host provides: this module reads no clock.

use std::time::Duration;

use serde_json::Value;

/// Milliseconds since 1970-01-01T00:00:00Z. Arithmetic saturates at the first and last times that
/// can be represented.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Later than every time that can occur.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// The time `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    pub(crate) const fn as_millis(self) -> u64 {
        self.0
    }

    pub(crate) const fn as_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// The milliseconds from `earlier` to this time; zero if `earlier` is later.
    pub(crate) const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time, moved later by `duration`.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// This time, moved earlier by `duration`.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Reads a `NumericDate` (RFC 7519, section 2): seconds since the epoch, possibly fractional. A
    /// string of decimal digits is accepted too, because some servers send it; anything else is
    /// `None`.
    pub(crate) fn from_numeric_date(value: &Value) -> Option<Self> {
        match value {
            // A float cast saturates: negative dates become the epoch, 1e300 the end of time.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            Value::Number(number) => Some(Self((number.as_f64()? * 1000.0) as u64)),
            Value::String(digits)
                if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) =>
            {
                // Digits fail to parse only if there are too many.
                let seconds: u64 = digits.parse().unwrap_or(u64::MAX);
                Some(Self(seconds.saturating_mul(1000)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rs_7662_06_d2_05_numeric_dates_of_every_shape_are_read_without_overflow() {
        for (value, expected) in [
            (json!(1_700_000_000), Some(1_700_000_000_000)),
            (json!(1_700_000_000.5), Some(1_700_000_000_500)),
            (json!("1700000000"), Some(1_700_000_000_000)),
            (json!("99999999999999999999"), Some(u64::MAX)),
            (json!(0), Some(0)),
            (json!(-1), Some(0)),
            (json!(-1e300), Some(0)),
            (json!(1e300), Some(u64::MAX)),
            (json!(9_007_199_254_740_992_u64), Some(9_007_199_254_740_992_000)),
            (json!(u64::MAX), Some(u64::MAX)),
            (json!("soon"), None),
            (json!(""), None),
            (json!("-1"), None),
            (json!("1e9"), None),
            (json!(true), None),
            (json!([1_700_000_000]), None),
        ] {
            assert_eq!(
                Timestamp::from_numeric_date(&value),
                expected.map(Timestamp::from_millis),
                "{value}"
            );
        }
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp::NEVER.plus(Duration::from_secs(1)), Timestamp::NEVER);
        assert_eq!(
            Timestamp::from_millis(5).minus(Duration::from_secs(1)),
            Timestamp::from_millis(0)
        );
        assert_eq!(
            Timestamp::from_millis(5).plus(Duration::from_millis(7)),
            Timestamp::from_millis(12)
        );
        assert_eq!(Timestamp::from_millis(5).plus(Duration::MAX), Timestamp::NEVER);
    }
}
