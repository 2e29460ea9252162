//! The tools that an MCP server runs for a body: one of two equal keys counts, and which one depends
//! on the server. In all else, the servers here are lenient.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, json};

/// Which of two equal keys counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Keys {
    First,
    Last,
}

impl Keys {
    pub const BOTH: [Self; 2] = [Self::First, Self::Last];

    /// The tools that a server runs for this body: it reads UTF-16, several messages and batches, and
    /// what is a response besides.
    pub fn executed(self, body: &[u8]) -> BTreeSet<String> {
        let text = text(body);
        let messages: Vec<Value> = match self {
            Self::First => {
                let read = serde_json::Deserializer::from_str(&text).into_iter::<First>();
                read.map_while(Result::ok).map(|First(message)| message).collect()
            }
            Self::Last => {
                let read = serde_json::Deserializer::from_str(&text).into_iter();
                read.map_while(Result::ok).collect()
            }
        };
        messages.iter().flat_map(tools).collect()
    }
}

/// The tools that a message, or a batch, calls.
fn tools(message: &Value) -> Vec<String> {
    if let Value::Array(batch) = message {
        return batch.iter().flat_map(tools).collect();
    }
    let name = message["params"]["name"].as_str();
    let is_call = message["method"] == "tools/call";
    name.filter(|_| is_call).map(str::to_owned).into_iter().collect()
}

/// A body as text.
fn text(body: &[u8]) -> String {
    let units = |bytes: fn([u8; 2]) -> u16| -> Vec<u16> {
        body.chunks_exact(2).map(|pair| bytes([pair[0], pair[1]])).collect()
    };
    let text = match body {
        [0xff, 0xfe, ..] | [_, 0, ..] => String::from_utf16_lossy(&units(u16::from_le_bytes)),
        [0xfe, 0xff, ..] | [0, _, ..] => String::from_utf16_lossy(&units(u16::from_be_bytes)),
        body => String::from_utf8_lossy(body).into_owned(),
    };
    text.trim_start_matches('\u{feff}').to_owned()
}

/// JSON in whose objects the first of two equal keys counts. [`Value`] takes the last.
struct First(Value);

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FirstVisitor)
    }
}

struct FirstVisitor;

impl<'de> Visitor<'de> for FirstVisitor {
    type Value = First;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<First, A::Error> {
        let mut members = Map::new();
        while let Some((key, First(value))) = map.next_entry::<String, First>()? {
            members.entry(key).or_insert(value);
        }
        Ok(First(members.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<First, A::Error> {
        let mut elements = Vec::new();
        while let Some(First(element)) = list.next_element()? {
            elements.push(element);
        }
        Ok(First(elements.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<First, E> {
        Ok(First(text.into()))
    }

    fn visit_bool<E>(self, bool: bool) -> Result<First, E> {
        Ok(First(bool.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<First, E> {
        Ok(First(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<First, E> {
        Ok(First(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<First, E> {
        Ok(First(json!(number)))
    }

    fn visit_unit<E>(self) -> Result<First, E> {
        Ok(First(Value::Null))
    }
}

#[test]
fn servers_differ_in_which_of_two_equal_keys_counts() {
    let call = |params: &str| format!(r#"{{"method":"tools/call","params":{params}}}"#);
    let utf16: Vec<u8> =
        call(r#"{"name":"a"}"#).encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (body, first, last) in [
        (call(r#"{"name":"a","name":"b"}"#).into_bytes(), "a", "b"),
        (call(r#"{"name":"a","n\u0061me":"b"}"#).into_bytes(), "a", "b"),
        (call(r#"{"name":"a"},"params":{"name":"b"}"#).into_bytes(), "a", "b"),
        (format!("[{}]", call(r#"{"name":"a"}"#)).into_bytes(), "a", "a"),
        (format!("\u{feff}{{}}\n{}", call(r#"{"name":"a"}"#)).into_bytes(), "a", "a"),
        (utf16, "a", "a"),
    ] {
        for (keys, name) in [(Keys::First, first), (Keys::Last, last)] {
            let executed = keys.executed(&body);
            assert_eq!(executed.iter().collect::<Vec<_>>(), [name], "{keys:?} {body:?}");
        }
    }
    assert!(Keys::First.executed(br#"{"method":"tools/list","params":{"name":"a"}}"#).is_empty());
}
