//! The names of decisions in statistics and filter state, for both directions.

/// The labels of a decision on a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Labels {
    /// The value of the label `decision`.
    pub decision: &'static str,
    /// The value of the label `reason`.
    pub reason: &'static str,
}

/// A name of the configuration as the value of a label.
pub(crate) fn label_value(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
}
