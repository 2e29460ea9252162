//! `headers` of a rule.

use serde_json::Value;

#[cfg(feature = "review")]
use super::key_table::{DefaultValue::Words, KeyRow, KeyTable};
use super::notes::Shape;
use super::reader::Field;
use super::values::{header_name, text};
use crate::http::header_name::Spelling;
use crate::inbound::forwarding::Forwarding;
use crate::rules::header::{HeaderTest, ValueTest, is_marked};
#[cfg(feature = "review")]
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
pub(super) fn headers(field: &Field<'_>, forward: &Forwarding) -> Option<Vec<HeaderTest>> {
    const WHAT: &str = "an object of headers, such as {\"x-tenant\": \"a\"}";
    let mut names: Vec<Spelling> = Vec::new();
    let tests = field.members_of(WHAT, |name, field| {
        let name = header_name(name, field)?;
        let spelling = Spelling::of(&name);
        if ["authorization", "cookie", "host"].contains(&&*name)
            || forward.is_reserved(name.as_bytes())
        {
            return field.mistake(
                "must not be `host`, a header with credentials, or one that the filter sets",
            );
        }
        if names.contains(&spelling) {
            return field.mistake(
                "duplicate header; services may treat all characters other than letters and digits \
                 as equal",
            );
        }
        names.push(spelling);
        Some(HeaderTest { name: name.into(), value: value_test(field)? })
    })?;
    if tests.is_empty() {
        return field.mistake(format_args!("must not be empty; expected {WHAT}"));
    }
    Some(tests)
}

/// A condition on a value.
fn value_test(field: &Field<'_>) -> Option<ValueTest> {
    const WHAT: &str = "a value, a list of alternatives, {\"prefix\": \"…\"} or {\"absent\": true}";
    match field.value {
        Value::Object(_) => {
            let mut object = field.object(WHAT)?;
            #[cfg(feature = "review")]
            object.described(&[&HEADER_TABLE]);
            let (prefix, absent) = (object.take("prefix"), object.take("absent"));
            object.check_keys();
            match (prefix, absent) {
                (Some(field), None) => value(&field).map(ValueTest::Prefix),
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
        Value::Array(_) => field.list_of(WHAT, value).map(ValueTest::AnyOf),
        Value::String(_) => value(field).map(|value| ValueTest::AnyOf(vec![value])),
        _ => field.expected(WHAT),
    }
}

/// A value, or its beginning.
fn value(field: &Field<'_>) -> Option<Box<str>> {
    let text = text(field, "a value")?;
    if is_marked(text.as_bytes()) {
        return field.mistake("encoded; write the text that it stands for");
    }
    Some(text.into())
}

/// Advises on rules that test a header under another name than an earlier one: no request with it
/// can match both.
#[cfg(feature = "review")]
pub(super) fn advise_on_spelling<T>(rules: &Field<'_>, list: &[(Matcher, T)]) {
    let tests = || list.iter().flat_map(|(matcher, _)| matcher.headers.iter());
    for (n, (matcher, _)) in list.iter().enumerate() {
        for HeaderTest { name, .. } in matcher.headers.iter() {
            let spelling = Spelling::of(name);
            let mut others = tests().map(|test| &test.name).filter(|other| *other != name);
            if let Some(other) = others.find(|other| spelling.matches(other.as_bytes())) {
                rules.element(n).member("headers").member(name).advise(|| {
                    format!(
                        "another rule tests `{other}`: a request with either gets 400 where the \
                         other is tested"
                    )
                });
            }
        }
    }
}
