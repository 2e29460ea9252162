//! What Envoy's filter `mcp`, placed before this one, has read from the body of a request.

use oauth2_filter_core::{Body, Message};

use oauth2_filter_core::protobuf::{fields, tag_of, tag_of_number};

/// Where the filter keeps its results in dynamic metadata, since Envoy 1.38.
pub const NAMESPACE: &str = "envoy.filters.http.mcp";

/// Where it kept them before.
const FORMER_NAMESPACE: &str = "mcp_proxy";

/// The most dynamic metadata that is read, in bytes: it contains that of all filters.
const MAX_METADATA: usize = 256 * 1024;

/// The filter's name for the method of a response, and of a call that looks like one.
const RESPONSE: &str = "__jsonrpc_response";

/// A value of the filter's results.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Value<'a> {
    /// There is none.
    #[default]
    Absent,
    /// A string.
    Text(&'a str),
    /// A boolean.
    Bool(bool),
    /// Anything else.
    Other,
}

/// The filter's results.
#[derive(Debug, Default)]
pub struct Report<'a> {
    /// `is_mcp_request`.
    pub is_mcp_request: Value<'a>,
    /// `status`, which exists since Envoy 1.39. Before, a duplicate key can hide the tool.
    pub status: Value<'a>,
    /// `is_exceeding_limit`.
    pub is_exceeding_limit: Value<'a>,
    /// `passthrough_reason`.
    pub passthrough_reason: Value<'a>,
    /// `method`.
    pub method: Value<'a>,
    /// `params.name`.
    pub name: Value<'a>,
    /// `params.uri`.
    pub uri: Value<'a>,
}

impl Report<'_> {
    /// The body.
    pub fn body(&self) -> Body {
        let is_whole = self.is_mcp_request == Value::Bool(true)
            && self.status == Value::Text("mcp_ok")
            && matches!(self.is_exceeding_limit, Value::Absent | Value::Bool(false))
            && self.passthrough_reason == Value::Absent;
        let (Value::Text(method), true) = (self.method, is_whole) else {
            return match self.status {
                Value::Absent => Body::Unread,
                _ => Body::Malformed,
            };
        };
        let name = match (self.name, self.uri) {
            (Value::Text(name), _) | (Value::Absent, Value::Text(name)) => Some(name.into()),
            (Value::Absent, Value::Absent) => None,
            _ => return Body::Malformed,
        };
        // It would depend on the service whether it is a response or a call.
        if method == RESPONSE {
            return Body::Malformed;
        }
        Body::Message(Message { method: method.into(), name })
    }
}

/// Reads the body from all dynamic metadata of a request, an `envoy.config.core.v3.Metadata` in
/// protobuf. Unlike single values, it has types.
pub(crate) fn body_of(metadata: &[u8]) -> Body {
    let report = if metadata.len() > MAX_METADATA { None } else { report_in(metadata) };
    report.map_or(Body::Malformed, |report| report.body())
}

/// The dynamic metadata of a filter, a `google.protobuf.Struct` in wire format, in that of all
/// filters. `None` if there is none, or if all of it is malformed or ambiguous.
pub(crate) fn metadata_of(metadata: &[u8], namespace: &str) -> Option<Vec<u8>> {
    if metadata.len() > MAX_METADATA {
        return None;
    }
    let mut found = None;
    entries(metadata, &mut |name, fields| {
        if name == namespace && found.replace(fields).is_some() { None } else { Some(()) }
    })?;
    found.map(<[u8]>::to_vec)
}

/// The results in dynamic metadata; `None` if it is malformed or ambiguous.
fn report_in(metadata: &[u8]) -> Option<Report<'_>> {
    let (mut found, mut is_ambiguous, mut is_former) = (None, false, false);
    entries(metadata, &mut |namespace, fields| {
        match namespace {
            NAMESPACE => is_ambiguous |= found.replace(fields).is_some(),
            FORMER_NAMESPACE => is_former = true,
            _ => {}
        }
        Some(())
    })?;
    let mut report = Report::default();
    let Some(found) = found else { return Some(report) };
    if is_ambiguous || is_former {
        return None;
    }
    let mut params: &[u8] = &[];
    entries(found, &mut |name, value| {
        let place = match name {
            "is_mcp_request" => &mut report.is_mcp_request,
            "status" => &mut report.status,
            "is_exceeding_limit" => &mut report.is_exceeding_limit,
            "passthrough_reason" => &mut report.passthrough_reason,
            "method" => &mut report.method,
            "params" => {
                return fields(value, &mut |tag, content| {
                    params = if tag == STRUCT { content } else { &[] };
                    Some(())
                });
            }
            _ => return Some(()),
        };
        set(place, value)
    })?;
    entries(params, &mut |name, value| match name {
        "name" => set(&mut report.name, value),
        "uri" => set(&mut report.uri, value),
        _ => Some(()),
    })?;
    Some(report)
}

/// Sets a value that has none yet, from a `google.protobuf.Value`.
fn set<'a>(place: &mut Value<'a>, value: &'a [u8]) -> Option<()> {
    let is_first = *place == Value::Absent;
    *place = Value::Other;
    fields(value, &mut |tag, content| {
        *place = match tag {
            TEXT => Value::Text(std::str::from_utf8(content).ok()?),
            BOOL => Value::Bool(content != [0]),
            _ => Value::Other,
        };
        Some(())
    })?;
    is_first.then_some(())
}

/// The tags of a `google.protobuf.Value`.
const TEXT: u64 = tag_of(3);
const BOOL: u64 = tag_of_number(4);
const STRUCT: u64 = tag_of(5);

/// The tags of the first two fields of a message, if these are messages or strings.
const FIRST: u64 = tag_of(1);
const SECOND: u64 = tag_of(2);

/// Calls `each` with the entries of the map that is the first field of a message. `None` if the
/// message is malformed, or `each` wants no more.
fn entries<'a>(
    message: &'a [u8],
    each: &mut dyn FnMut(&'a str, &'a [u8]) -> Option<()>,
) -> Option<()> {
    fields(message, &mut |tag, entry| {
        if tag != FIRST {
            return Some(());
        }
        let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
        fields(entry, &mut |tag, content| {
            match tag {
                FIRST => key = content,
                SECOND => value = content,
                _ => {}
            }
            Some(())
        })?;
        each(std::str::from_utf8(key).ok()?, value)
    })
}

#[cfg(test)]
mod tests;
