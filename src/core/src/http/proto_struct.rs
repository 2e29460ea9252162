//! A protobuf `Struct` in its wire format: the form of the configuration and of dynamic metadata.

use std::str;

use serde_json::{Map, Number, Value};

use super::protobuf::{fields, number, tag_of, tag_of_number};

/// The most values in one another.
const MAX_DEPTH: usize = 32;

/// The field of a `Struct` with an entry of its map, and of a `ListValue` with an element.
const ENTRY: u64 = tag_of(1);

/// The fields of an entry.
const KEY: u64 = tag_of(1);
const VALUE: u64 = tag_of(2);

/// The fields of a `Value`, of which it has one. Without one, or with a null, it is null.
const NUMBER: u64 = tag_of_number(2) | 1;
const STRING: u64 = tag_of(3);
const BOOL: u64 = tag_of_number(4);
const STRUCT: u64 = tag_of(5);
const LIST: u64 = tag_of(6);

/// The JSON object of a `google.protobuf.Struct`. `None` if it is not one.
pub(crate) fn decode(bytes: &[u8]) -> Option<Value> {
    object(bytes, MAX_DEPTH)
}

/// A `Struct` as a JSON object.
fn object(message: &[u8], depth: usize) -> Option<Value> {
    let mut members = Map::new();
    fields(message, &mut |tag, entry| {
        if tag == ENTRY {
            let (mut key, mut value) = ("", Value::Null);
            fields(entry, &mut |tag, content| {
                match tag {
                    KEY => key = str::from_utf8(content).ok()?,
                    VALUE => value = value_of(content, depth)?,
                    _ => {}
                }
                Some(())
            })?;
            members.insert(key.to_owned(), value);
        }
        Some(())
    })?;
    Some(Value::Object(members))
}

/// A `Value` as JSON.
fn value_of(message: &[u8], depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let mut value = Value::Null;
    fields(message, &mut |tag, content| {
        value = match tag {
            NUMBER => Number::from_f64(f64::from_le_bytes(content.try_into().ok()?)).into(),
            STRING => Value::String(str::from_utf8(content).ok()?.to_owned()),
            BOOL => Value::Bool(number(content)?.0 != 0),
            STRUCT => object(content, depth)?,
            LIST => {
                let mut list = Vec::new();
                fields(content, &mut |tag, element| {
                    if tag == ENTRY {
                        list.push(value_of(element, depth)?);
                    }
                    Some(())
                })?;
                Value::Array(list)
            }
            _ => Value::Null,
        };
        Some(())
    })?;
    Some(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::protobuf::push;
    use super::*;

    /// A message with these fields.
    fn message(fields: &[(u64, &[u8])]) -> Vec<u8> {
        let mut message = Vec::new();
        for (field, content) in fields {
            push(&mut message, *field, content);
        }
        message
    }

    /// A `Struct` with this member.
    fn with(name: &str, value: &[u8]) -> Vec<u8> {
        message(&[(1, &message(&[(1, name.as_bytes()), (2, value)]))])
    }

    #[test]
    fn each_kind_of_value_is_read() {
        let number = [&[0x11][..], &1.5_f64.to_le_bytes()].concat();
        let nan = [&[0x11][..], &f64::NAN.to_le_bytes()].concat();
        let text = message(&[(3, "ä".as_bytes())]);
        let object = message(&[(5, &with("b", &text))]);
        let list = message(&[(6, &message(&[(1, &text), (1, &number)]))]);
        for (value, read) in [
            (&number[..], json!(1.5)),
            (&nan, Value::Null),
            (&[], Value::Null),
            (&[0x08, 0], Value::Null),
            (&text, json!("ä")),
            (&[0x20, 1], json!(true)),
            (&[0x20, 0], json!(false)),
            (&object, json!({"b": "ä"})),
            (&list, json!(["ä", 1.5])),
        ] {
            assert_eq!(decode(&with("a", value)), Some(json!({"a": read})), "{value:?}");
        }
        assert_eq!(decode(b""), Some(json!({})));
        assert_eq!(decode(&message(&[(1, b"")])), Some(json!({"": null})));
        assert_eq!(decode(&message(&[(7, b"new")])), Some(json!({})));
    }

    #[test]
    fn what_is_malformed_is_not_read() {
        let latin = message(&[(3, b"\xe4")]);
        let inner = message(&[(6, b"\x0a\x05")]);
        for value in [&latin[..], &inner, b"\x1a\x02a", b"\x11\x00", b"\x20"] {
            assert_eq!(decode(&with("a", value)), None, "{value:?}");
        }
        assert_eq!(decode(&message(&[(1, &message(&[(1, b"\xe4")]))])), None);
    }

    #[test]
    fn the_depth_of_values_is_limited() {
        let nested = |depth: usize| {
            let list = |inner: Vec<u8>, _| message(&[(6, &message(&[(1, &inner)]))]);
            with("a", &(1..depth).fold(Vec::new(), list))
        };
        assert!(decode(&nested(MAX_DEPTH)).is_some());
        assert!(decode(&nested(MAX_DEPTH + 1)).is_none());
    }
}
