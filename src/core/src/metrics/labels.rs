//! The names of decisions in statistics and filter state, for both directions.

/// The labels of a decision on a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Labels {
    /// The value of the label `decision`.
    pub decision: &'static str,
    /// The value of the label `reason`.
    pub reason: &'static str,
}
