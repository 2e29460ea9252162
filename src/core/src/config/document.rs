//! Decodes the document: JSON text, or a protobuf `Struct` in its wire format.

use serde_json::Value;

use super::error::ConfigErrors;
use crate::http::proto_struct;
use crate::oauth::json;

/// Decodes the configuration as received from the host.
///
/// Istio and a `google.protobuf.StringValue` give JSON text; Envoy hands a
/// `google.protobuf.Struct` over as it came on the wire, where every member begins with byte 0x0A.
/// That is a line feed, which may begin a JSON text too: so JSON is tried first.
///
/// # Errors
/// The configuration is empty, or is neither of the two.
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
            let decoded = bytes.starts_with(b"\n").then(|| proto_struct::decode(bytes)).flatten();
            match decoded {
                Some(document) => document,
                None => return Err(ConfigErrors::of_document(format!("invalid JSON: {error}"))),
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
