//! Dynamic metadata in protobuf, as Envoy returns it.

use serde_json::Value;

use crate::exchanges::Request;
use crate::mcp::results;

/// All dynamic metadata of a request, in protobuf.
pub fn metadata(request: &Request) -> Vec<u8> {
    let Some(results) = results(request) else { return Vec::new() };
    entry("envoy.filters.http.mcp", &members(&results))
}

/// All dynamic metadata, of filters with these names.
pub fn of_filters(filters: &[(&str, &Value)]) -> Vec<u8> {
    filters.iter().flat_map(|(name, values)| entry(name, &members(values))).collect()
}

/// A `google.protobuf.Struct`.
fn members(object: &Value) -> Vec<u8> {
    let object = object.as_object().expect("an object");
    object.iter().flat_map(|(name, value)| entry(name, &encoded(value))).collect()
}

/// A `google.protobuf.Value`.
fn encoded(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => vec![8, 0],
        Value::Number(number) => {
            let number = number.as_f64().expect("a double");
            [&[0x11][..], &number.to_le_bytes()].concat()
        }
        Value::String(text) => field(3, text.as_bytes()),
        Value::Bool(bool) => vec![0x20, u8::from(*bool)],
        Value::Object(_) => field(5, &members(value)),
        Value::Array(elements) => {
            let elements = elements.iter().flat_map(|element| field(1, &encoded(element)));
            field(6, &elements.collect::<Vec<u8>>())
        }
    }
}

/// An entry of a map, which is the first field of its message.
fn entry(name: &str, value: &[u8]) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value)].concat())
}

/// A field with fewer than 16 kB.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a small field");
    let [low, high] =
        [length & 0x7f | 0x80, length >> 7].map(|half| u8::try_from(half).expect("seven bits"));
    [&[number << 3 | 2, low, high][..], content].concat()
}
