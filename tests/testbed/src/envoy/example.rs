//! The configurations in `envoy/`, for tests to run.

use std::fs;

use crate::workspace;

/// The text of a file in `envoy/`, with each first text replaced by the second wherever it stands;
/// panics if one of them stands nowhere, so that tests follow the file.
pub fn example(file: &str, replacements: &[(&str, &str)]) -> String {
    let path = workspace().join("envoy").join(file);
    let text = fs::read_to_string(&path);
    let mut text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    for (named, other) in replacements {
        assert!(text.contains(named), "envoy/{file} does not name {named:?}");
        text = text.replace(named, other);
    }
    text
}
