//! What Envoy's filter `mcp`, placed before this one, has read from the body of a request.

use oauth2_filter_core::{Body, Message};

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

/// The results in dynamic metadata; `None` if it is malformed or ambiguous.
fn report_in(metadata: &[u8]) -> Option<Report<'_>> {
    let mut found = None;
    let mut namespaces = 0_u8;
    for entry in Entries(metadata) {
        let (namespace, fields) = entry?;
        if namespace == NAMESPACE || namespace == FORMER_NAMESPACE {
            namespaces = namespaces.checked_add(1)?;
            found = found.or((namespace == NAMESPACE).then_some(fields));
        }
    }
    if namespaces > 1 {
        return None;
    }
    let mut report = Report::default();
    for entry in Entries(found.unwrap_or_default()) {
        let (name, value) = entry?;
        let place = match name {
            "is_mcp_request" => &mut report.is_mcp_request,
            "status" => &mut report.status,
            "is_exceeding_limit" => &mut report.is_exceeding_limit,
            "passthrough_reason" => &mut report.passthrough_reason,
            "method" => &mut report.method,
            "params" => {
                read_params(value, &mut report)?;
                continue;
            }
            _ => continue,
        };
        set(place, value)?;
    }
    Some(report)
}

/// Reads `params`, which has what the filter has extracted.
fn read_params<'a>(params: &'a [u8], report: &mut Report<'a>) -> Option<()> {
    let members = match Fields(params).last() {
        Some(Ok((5, Wire::Bytes(members)))) => members,
        Some(Err(Malformed)) => return None,
        _ => return Some(()),
    };
    for entry in Entries(members) {
        let (name, value) = entry?;
        match name {
            "name" => set(&mut report.name, value)?,
            "uri" => set(&mut report.uri, value)?,
            _ => {}
        }
    }
    Some(())
}

/// Sets a value that has none yet, from a `google.protobuf.Value`.
fn set<'a>(place: &mut Value<'a>, value: &'a [u8]) -> Option<()> {
    let value = match Fields(value).last()? {
        Ok((3, Wire::Bytes(text))) => Value::Text(std::str::from_utf8(text).ok()?),
        Ok((4, Wire::Number(bool))) => Value::Bool(bool != 0),
        Ok(_) => Value::Other,
        Err(Malformed) => return None,
    };
    let is_first = *place == Value::Absent;
    *place = value;
    is_first.then_some(())
}

/// Bytes that are not protobuf.
struct Malformed;

/// A value of protobuf.
enum Wire<'a> {
    Number(u64),
    /// A string, or another message.
    Bytes(&'a [u8]),
    /// Eight or four bytes.
    Fixed,
}

/// The fields of a message.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// A number of up to ten bytes, seven bits in each.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if *byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// The next bytes.
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    /// The next field, with its number.
    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Wire::Number(self.number()?),
            1 => self.bytes(8).map(|_| Wire::Fixed)?,
            2 => {
                let length = self.number()?.try_into().ok()?;
                Wire::Bytes(self.bytes(length)?)
            }
            5 => self.bytes(4).map(|_| Wire::Fixed)?,
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        Some(self.field().ok_or_else(|| {
            self.0 = &[];
            Malformed
        }))
    }
}

/// The entries of the map that is the first field of a message; `None` if it is malformed.
struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = Option<(&'a str, &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut fields = Fields(self.0);
        let entry = fields.find_map(|field| match field {
            Ok((1, Wire::Bytes(entry))) => Some(Some(entry)),
            Ok(_) => None,
            Err(Malformed) => Some(None),
        })?;
        self.0 = fields.0;
        Some(entry.and_then(parts))
    }
}

/// The key and the value of an entry of a map.
fn parts(entry: &[u8]) -> Option<(&str, &[u8])> {
    let (mut key, mut value) = ("", &[][..]);
    for field in Fields(entry) {
        match field.ok()? {
            (1, Wire::Bytes(text)) => key = std::str::from_utf8(text).ok()?,
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Some((key, value))
}

#[cfg(test)]
mod tests;
