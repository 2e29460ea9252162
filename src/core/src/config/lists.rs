//! Lists of texts.

use super::reader::{Field, Object};

/// Reads a text. Of one type, so that there is one function that reads lists of them.
pub(super) type Parse = fn(&str) -> Result<Box<str>, &'static str>;

/// An optional list of strings, each read by `parse`.
pub(super) fn list<T>(
    object: &mut Object<'_>,
    key: &'static str,
    what: &str,
    parse: impl Fn(&str) -> Result<T, &'static str>,
) -> Option<Vec<T>> {
    let read = |field: &Field<'_>| match parse(field.string("a string")?) {
        Ok(value) => Some(value),
        Err(advice) => field.mistake(advice),
    };
    object.read(key, |field| field.list_of(&format!("a list of {what}"), read))
}
