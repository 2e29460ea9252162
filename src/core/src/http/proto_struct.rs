//! A protobuf `Struct` in its wire format: the form of the configuration and of dynamic metadata.

use prost::{Message, Oneof};
use serde_json::{Map, Number, Value};

/// The JSON object of a `google.protobuf.Struct`. `None` if it is not one.
pub(crate) fn decode(bytes: &[u8]) -> Option<Value> {
    Struct::decode(bytes).ok().map(object)
}

/// A `google.protobuf.Struct`. The type of `prost-types` uses a tree map, which would only add
/// code.
#[derive(Clone, PartialEq, Message)]
struct Struct {
    /// The members, in the order of the wire.
    #[prost(message, repeated, tag = "1")]
    fields: Vec<Member>,
}

/// An entry of its map.
#[derive(Clone, PartialEq, Message)]
struct Member {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<StructValue>,
}

#[derive(Clone, PartialEq, Message)]
struct StructValue {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6")]
    kind: Option<Kind>,
}

/// The kinds of value.
#[derive(Clone, PartialEq, Oneof)]
enum Kind {
    #[prost(int32, tag = "1")]
    Null(i32),
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    String(String),
    #[prost(bool, tag = "4")]
    Bool(bool),
    #[prost(message, tag = "5")]
    Struct(Struct),
    #[prost(message, tag = "6")]
    List(ListValue),
}

#[derive(Clone, PartialEq, Message)]
struct ListValue {
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
