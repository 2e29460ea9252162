//! Medians and percentiles.

/// A value, and the quartiles of what it is the median of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// A quarter of the values is below.
    pub low: f64,
    /// Half of them are.
    pub median: f64,
    /// Three quarters are.
    pub high: f64,
}

impl Spread {
    /// Of these values; nothing of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            low: quantile(&values, 0.25)?,
            median: quantile(&values, 0.5)?,
            high: quantile(&values, 0.75)?,
        })
    }
}

/// The median; not a number of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    Spread::of(values).map_or(f64::NAN, |spread| spread.median)
}

/// A quantile of sorted values, between two of which it is interpolated.
fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part * (sorted.len().checked_sub(1)? as f64);
    let (below, above) = (sorted.get(place.floor() as usize)?, sorted.get(place.ceil() as usize)?);
    Some(below + (above - below) * place.fract())
}

/// The smallest of the values that this part of them does not exceed (nearest rank); not a number
/// of none.
pub fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = (part * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]).to_string(), "2.5");
        assert_eq!(median([9.0, 1.0, 5.0]).to_string(), "5");
        assert!(median([]).is_nan());
    }

    #[test]
    fn quartiles_are_interpolated() {
        let spread = Spread::of([5.0, 1.0, 2.0, 4.0, 3.0, 6.0]);
        assert_eq!(spread, Some(Spread { low: 2.25, median: 3.5, high: 4.75 }));
        assert_eq!(Spread::of([7.0]), Some(Spread { low: 7.0, median: 7.0, high: 7.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let mut values: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.99).to_string(), "198");
        assert_eq!(percentile(&mut values, 0.5).to_string(), "100");
        assert_eq!(percentile(&mut values, 1.0).to_string(), "200");
        assert_eq!(percentile(&mut [3.0, 1.0, 2.0], 0.5).to_string(), "2");
        assert_eq!(percentile(&mut [3.0], 0.01).to_string(), "3");
        assert!(percentile(&mut [], 0.5).is_nan());
    }
}
