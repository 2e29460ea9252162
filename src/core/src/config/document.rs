//! How the document arrives: JSON text, or a protobuf `Struct` in its wire format.

use prost::{Message, Oneof};
use serde_json::{Map, Number, Value};

use super::error::ConfigErrors;
use crate::oauth::json;

/// The document in the bytes that the host hands over.
///
/// Istio and a `google.protobuf.StringValue` give JSON text; Envoy hands a
/// `google.protobuf.Struct` over as it came on the wire, where every member begins with byte 0x0A.
/// That is a line feed, which may begin a JSON text too: so JSON is tried first.
///
/// # Errors
/// Nothing was given, or what was given is neither.
pub(super) fn read(bytes: &[u8]) -> Result<Value, ConfigErrors> {
    if bytes.trim_ascii().is_empty() {
        return Err(ConfigErrors::of_document(
            "missing; expected a JSON document with `inbound`, `outbound` or both (Envoy: \
             `configuration` as google.protobuf.StringValue or Struct; Istio: pluginConfig)",
        ));
    }
    let document = match json::parse(bytes) {
        Ok(document) => document,
        Err(error) => {
            let decoded = bytes.starts_with(b"\n").then(|| Struct::decode(bytes));
            match decoded {
                Some(Ok(document)) => object(document),
                _ => return Err(ConfigErrors::of_document(format!("invalid JSON: {error}"))),
            }
        }
    };
    match &document {
        Value::Object(members) if members.is_empty() => {
            Err(ConfigErrors::of_document("empty; expected `inbound`, `outbound` or both"))
        }
        _ => Ok(document),
    }
}

/// A `google.protobuf.Struct`. That of `prost-types` has a tree, whose code nothing else would use.
#[derive(Clone, PartialEq, Message)]
struct Struct {
    /// The members, in the order of the wire.
    #[prost(message, repeated, tag = "1")]
    fields: Vec<Member>,
}

/// An entry of its map.
#[derive(Clone, PartialEq, Message)]
struct Member {
    /// The name.
    #[prost(string, tag = "1")]
    key: String,
    /// The value.
    #[prost(message, optional, tag = "2")]
    value: Option<StructValue>,
}

/// A `google.protobuf.Value`.
#[derive(Clone, PartialEq, Message)]
struct StructValue {
    /// Which kind of value it is.
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    kind: Option<Kind>,
}

/// The kinds of value.
#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    /// Null.
    #[prost(int32, tag = "1")]
    Null(i32),
    /// A number.
    #[prost(double, tag = "2")]
    Number(f64),
    /// A string.
    #[prost(string, tag = "3")]
    String(String),
    /// True or false.
    #[prost(bool, tag = "4")]
    Bool(bool),
    /// An object.
    #[prost(message, tag = "5")]
    Struct(Struct),
    /// A list.
    #[prost(message, tag = "6")]
    List(ListValue),
}

/// A `google.protobuf.ListValue`.
#[derive(Clone, PartialEq, Message)]
struct ListValue {
    /// The elements.
    #[prost(message, repeated, tag = "1")]
    values: Vec<StructValue>,
}

/// A `Struct` as a JSON object.
fn object(document: Struct) -> Value {
    let mut members = Map::new();
    for Member { key, value: member } in document.fields {
        members.insert(key, member.map_or(Value::Null, value));
    }
    Value::Object(members)
}

/// A `Value` as JSON. Its depth is bounded by the decoder (100).
fn value(value_of: StructValue) -> Value {
    match value_of.kind {
        None | Some(Kind::Null(_)) => Value::Null,
        Some(Kind::Bool(value)) => Value::Bool(value),
        Some(Kind::Number(value)) => Number::from_f64(value).map_or(Value::Null, Value::Number),
        Some(Kind::String(value)) => Value::String(value),
        Some(Kind::List(list)) => Value::Array(list.values.into_iter().map(value).collect()),
        Some(Kind::Struct(document)) => object(document),
    }
}
