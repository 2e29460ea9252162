//! How the document arrives: JSON text, or a protobuf `Struct` in its wire format.

use prost::Message;
use prost_types::value::Kind;
use prost_types::{Struct, Value as StructValue};
use serde_json::{Map, Number, Value};

use super::Mistakes;
use crate::json;

/// The document in the bytes that the host hands over.
///
/// Istio and a `google.protobuf.StringValue` give JSON text; Envoy hands a
/// `google.protobuf.Struct` over as it came on the wire, where every member begins with byte 0x0A.
/// That is a line feed, which may begin a JSON text too: so JSON is tried first.
///
/// # Errors
/// Nothing was given, or what was given is neither.
pub(super) fn read(bytes: &[u8]) -> Result<Value, Mistakes> {
    if bytes.trim_ascii().is_empty() {
        return Err(Mistakes::of_document(
            "there is none; give a JSON document with `inbound`, `outbound` or both (Envoy: `configuration` as \
             google.protobuf.StringValue or Struct; Istio: pluginConfig)",
        ));
    }
    let document = match json::parse(bytes) {
        Ok(document) => document,
        Err(error) => {
            let decoded = bytes.starts_with(b"\n").then(|| Struct::decode(bytes));
            match decoded {
                Some(Ok(document)) => object(document),
                _ => return Err(Mistakes::of_document(format!("not JSON: {error}"))),
            }
        }
    };
    match &document {
        Value::Object(members) if members.is_empty() => Err(Mistakes::of_document(
            "it is empty; `inbound` says what the proxy guards, `outbound` whose tokens it sends",
        )),
        _ => Ok(document),
    }
}

/// A `Struct` as a JSON object.
fn object(document: Struct) -> Value {
    let mut members = Map::new();
    for (key, member) in document.fields {
        members.insert(key, value(member));
    }
    Value::Object(members)
}

/// A `Value` as JSON. Its depth is bounded by the decoder (100).
fn value(value_of: StructValue) -> Value {
    match value_of.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::NumberValue(value)) => {
            Number::from_f64(value).map_or(Value::Null, Value::Number)
        }
        Some(Kind::StringValue(value)) => Value::String(value),
        Some(Kind::ListValue(list)) => Value::Array(list.values.into_iter().map(value).collect()),
        Some(Kind::StructValue(document)) => object(document),
    }
}
