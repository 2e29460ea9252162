//! Dates in header fields (RFC 9110, section 5.6.7).

use crate::timestamp::Timestamp;

/// The names of months in dates.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads a date in one of its three forms: `Sun, 06 Nov 1994 08:49:37 GMT`, the same with a year of
/// two digits (of this century), and `Sun Nov  6 08:49:37 1994`. The day of the week is ignored.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let mut words = text.split([' ', ',', '-', ':']).filter(|word| !word.is_empty()).skip(1);
    let mut next = || words.next();
    let (first, second) = (next()?, next()?);
    let (day, month, year, time) = if first.len() == 3 {
        let time = [next()?, next()?, next()?];
        (second, first, next()?, time)
    } else {
        let year = next()?;
        let time = [next()?, next()?, next()?];
        (next()? == "GMT").then_some((first, second, year, time))?
    };
    if next().is_some() {
        return None;
    }
    let month = MONTHS.iter().position(|name| *name == month)?;
    let year = match (number(year, 9999)?, year.len()) {
        (year, 2) => year.checked_add(2000)?,
        (year, 4) => year,
        _ => return None,
    };
    let days = days(year, u64::try_from(month).ok()?.checked_add(1)?, number(day, 31)?)?;
    let [hours, minutes, seconds] = time;
    // A minute may have a leap second.
    let time = [number(hours, 23)?, number(minutes, 59)?, number(seconds, 60)?];
    let [hours, minutes, seconds] = time;
    let hours = days.checked_mul(24)?.checked_add(hours)?;
    let seconds =
        hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?.checked_add(seconds)?;
    Some(Timestamp::from_millis(seconds.checked_mul(1000)?))
}

/// A number up to `most`.
fn number(text: &str, most: u64) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_number && *number <= most)
}

/// The days from the epoch to a day of the Gregorian calendar, counted from a first of March.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 {
        (year, month.checked_sub(3)?)
    } else {
        (year.checked_sub(1)?, month.checked_add(9)?)
    };
    let leap = (year / 4).checked_add(year / 400)?;
    let before = year.checked_mul(365)?.checked_add(leap)?.checked_sub(year / 100)?;
    let of_year = month.checked_mul(153)?.checked_add(2)? / 5;
    // There are 719,469 days from the first of March of the year 0 to the last day before the epoch.
    before.checked_add(of_year)?.checked_add(day)?.checked_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_of_a_date_are_read() {
        for (text, seconds) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 3_939_871_777),
            ("Sun Nov  6 08:49:37 1994", 784_111_777),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Wed, 21 Oct 2026 07:28:00 GMT", 1_792_567_680),
            ("Thu, 31 Dec 2099 23:59:60 GMT", 4_102_444_800),
        ] {
            assert_eq!(parse(text), Some(Timestamp::from_millis(seconds * 1000)), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "soon",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 GMT x",
            "Sun, 32 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nob 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 199 08:49:37 GMT",
            "Wed, 31 Dec 1969 23:59:59 GMT",
            "Sun Nov  6 08:49:37",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
