//! Parses JSON, and rejects what parsers may interpret differently (RFC 8259, 7493).

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Parses a JSON text.
///
/// A duplicate key is an error: it must not be ambiguous which one counts if one of them is
/// `"active": true`. The depth is limited by `serde_json` (128).
///
/// # Errors
/// The position and kind of the first error, and the name of a duplicate key; never a value.
pub(crate) fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice::<Tree>(text).map(|tree| tree.0)
}

/// The object that a JSON text is. `None` if it is not one, or has a duplicate key.
pub(crate) fn object(text: &[u8]) -> Option<Map<String, Value>> {
    match parse(text) {
        Ok(Value::Object(members)) => Some(members),
        _ => None,
    }
}

/// The type of `value`, for error messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A value without duplicate keys.
struct Tree(Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        TreeVisitor.deserialize(deserializer).map(Self)
    }
}

/// Builds a [`Tree`].
struct TreeVisitor;

impl<'de> DeserializeSeed<'de> for TreeVisitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element_seed(Self)? {
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Self)?;
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("duplicate key `{}`", escaped(&name))));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

/// Escapes a text for a message of one line: everything but printable ASCII and letters. (The
/// equivalent of the standard library adds 2 kB to the module.)
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if (c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\'))
            || c == ' '
            || c.is_alphabetic()
        {
            escaped.push(c);
        } else {
            escaped.extend(c.escape_default());
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_every_kind_of_value() {
        let text = br#" {"a": [1, -2, 0.5, true, null, "x\u00e9"], "b": {}} "#;
        assert_eq!(
            parse(text).unwrap(),
            json!({"a": [1, -2, 0.5, true, null, "x\u{e9}"], "b": {}})
        );
    }

    #[test]
    fn rs_7662_02_refuses_what_is_no_json_text() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for text in
            ["", " ", "{", "{}{}", "\u{feff}{}", "{\"a\":01}", "{'a':1}", "nul", "[1,]", &deep]
        {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }

    #[test]
    fn refuses_a_member_that_stands_twice_at_any_depth() {
        for text in [r#"{"active":false,"active":true}"#, r#"[{"a":{"b":1,"\u0062":2}}]"#] {
            assert!(parse(text.as_bytes()).unwrap_err().to_string().contains("duplicate key"));
        }
    }
}
