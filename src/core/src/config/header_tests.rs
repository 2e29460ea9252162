//! `headers` of a rule.

use std::sync::Arc;

use serde_json::Value;

#[cfg(feature = "review")]
use super::key_table::{DefaultValue::Words, KeyRow, KeyTable};
use super::notes::Shape;
use super::reader::Field;
use super::values::{header_name, one_or_any, text};
use crate::http::header_name::Spelling;
use crate::inbound::forwarding::Forwarding;
use crate::rules::header::{HeaderTest, ValueTest, is_marked};
use crate::rules::matcher::Matcher;

/// The keys of a condition.
#[cfg(feature = "review")]
pub(super) const HEADER_TABLE: KeyTable = KeyTable {
    heading: "#### `inbound.rules.headers`",
    parts: &[&[
        KeyRow::new(&["prefix"], "string", Words("none"), "the value begins with this"),
        KeyRow::new(
            &["absent"],
            "`true`",
            Words("none"),
            "the request does not have the header, not even empty",
        ),
    ]],
};

/// Reads the conditions, all of which must be met.
pub(super) fn headers(field: &Field<'_>) -> Option<Arc<[HeaderTest]>> {
    const WHAT: &str = "an object of headers, such as {\"x-tenant\": \"a\"}";
    let mut names: Vec<String> = Vec::new();
    let tests = field.members_of(WHAT, |name, field| {
        let name = header_name(name, field)?;
        if names.contains(&name) {
            return field.mistake("duplicate header; names are case-insensitive");
        }
        names.push(name.clone());
        Some(HeaderTest { name: name.into(), value: value_test(field)? })
    })?;
    if tests.is_empty() {
        return field.mistake(format_args!("must not be empty; expected {WHAT}"));
    }
    Some(tests.into())
}

/// A condition on a value.
fn value_test(field: &Field<'_>) -> Option<ValueTest> {
    const WHAT: &str = "a value, a list of alternatives, {\"prefix\": \"…\"} or {\"absent\": true}";
    let is_plain = |text: &str| !is_marked(text);
    let encoded = "encoded; write the text that it stands for";
    match field.value {
        Value::Object(_) => {
            let mut object = field.object(WHAT)?;
            #[cfg(feature = "review")]
            object.described(&[&HEADER_TABLE]);
            let (prefix, absent) = (object.take("prefix"), object.take("absent"));
            object.check_keys();
            match (prefix, absent) {
                (Some(field), None) => {
                    let prefix = text(&field, "a prefix")?;
                    if is_plain(&prefix) {
                        Some(ValueTest::Prefix(prefix.into()))
                    } else {
                        field.mistake(encoded)
                    }
                }
                (None, Some(field)) => {
                    field.looks_for(|| Shape::Only(true));
                    match field.value {
                        Value::Bool(true) => Some(ValueTest::Absent),
                        _ => field.mistake("expected true"),
                    }
                }
                _ => field.mistake(format_args!("expected {WHAT}")),
            }
        }
        Value::String(_) | Value::Array(_) => {
            let values = one_or_any(field, "a value")?;
            if values.iter().all(|value| is_plain(value)) {
                Some(ValueTest::AnyOf(values))
            } else {
                field.mistake(encoded)
            }
        }
        _ => field.expected(WHAT),
    }
}

/// Rejects tests of headers that carry credentials, that the filter sets, or whose names differ only
/// in spelling.
pub(super) fn check_names<T>(rules: &Field<'_>, list: &[(Matcher, T)], forward: &Forwarding) {
    let tests = || list.iter().flat_map(|(matcher, _)| matcher.headers.iter());
    for (n, (matcher, _)) in list.iter().enumerate() {
        for HeaderTest { name, .. } in matcher.headers.iter() {
            let spelling = Spelling::of(name);
            let is_other =
                |test: &HeaderTest| test.name != *name && spelling.matches(test.name.as_bytes());
            let wrong = match &**name {
                "host" => "use `hosts`",
                name if ["authorization", "cookie"].contains(&name)
                    || forward.is_reserved(name.as_bytes()) =>
                {
                    "must not be a header with credentials, or one that the filter sets"
                }
                _ if tests().any(is_other) => {
                    "another spelling of this header is tested; services may treat all characters \
                     other than letters and digits as equal"
                }
                _ => continue,
            };
            let _: Option<()> = rules.element(n).member("headers").member(name).mistake(wrong);
        }
    }
}
