//! Rules on messages of the Model Context Protocol (MCP), which the proxy reads from bodies.
//!
//! A body that cannot be told to be one certain message could be any message, so the first rule on
//! messages that otherwise matches decides on it: the token is judged as that rule requires, and the
//! request is denied.

use std::cell::OnceCell;

use crate::http::base64;
use crate::http::body::{Body, Message};
use crate::http::head::{Fields, Head};
use crate::http::header_name::{Spelling, only_value};
use crate::oauth::reason::Reason;
use crate::rules::header::between_sentinels;

/// The method that calls a tool.
pub(crate) const CALL: &str = "tools/call";

/// The messages that a rule matches. A name that ends in `*` stands for all that begin so.
#[derive(Debug)]
pub(crate) struct McpPattern {
    /// Any of these methods.
    pub(crate) methods: Option<Vec<Box<str>>>,
    /// Of calls of tools, those of any of these.
    pub(crate) tools: Option<Vec<Box<str>>>,
}

impl McpPattern {
    fn matches(&self, message: &Message) -> bool {
        let is_call = *message.method == *CALL;
        let by_method =
            self.methods.as_ref().map_or(is_call, |methods| any(methods, &message.method));
        let is_tool = |tools: &Vec<_>| message.name.as_ref().is_some_and(|name| any(tools, name));
        by_method && (!is_call || self.tools.as_ref().is_none_or(is_tool))
    }
}

/// Whether a text is one of these, or begins as one of these.
pub(crate) fn any(patterns: &[Box<str>], text: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => **pattern == *text,
    })
}

/// The message of a request, read when a rule first requires it.
pub(crate) struct McpRequest<'h> {
    head: &'h dyn Head,
    message: OnceCell<Result<Option<Message>, Reason>>,
}

impl<'h> McpRequest<'h> {
    pub(crate) fn new(head: &'h dyn Head) -> Self {
        Self { head, message: OnceCell::new() }
    }

    /// Whether a rule that otherwise matches also matches the message, if there is one.
    ///
    /// # Errors
    /// Why it is not certain which message this is.
    pub(crate) fn is_matched(&self, pattern: &McpPattern, method: &str) -> Result<bool, Reason> {
        match self.message.get_or_init(|| read(self.head, method)) {
            Ok(message) => Ok(message.as_ref().is_some_and(|message| pattern.matches(message))),
            Err(reason) => Err(*reason),
        }
    }
}

/// The message of a request with this HTTP method; `None` if it has none, and no body.
fn read(head: &dyn Head, method: &str) -> Result<Option<Message>, Reason> {
    let message = match (method, head.body()) {
        ("POST", Body::Message(message)) => message,
        ("POST", Body::Malformed) => return Err(Reason::BadMcpMessage),
        ("POST", Body::Empty | Body::Unread) => return Err(Reason::NoMcpMetadata),
        (_, Body::Empty) => return Ok(None),
        // Some servers read the bodies of any method.
        _ => return Err(Reason::NoMcpMetadata),
    };
    let fields = head.fields();
    // Nothing is compared with a part that the proxy has not read.
    let name = message.name.as_deref();
    let is_certain = (*message.method != *CALL || name.is_some())
        && has_at_most(fields, "mcp-method", &|value| is_encoding(value, &message.method))
        && has_at_most(fields, "mcp-name", &|value| name.is_none_or(|it| is_encoding(value, it)))
        // Otherwise, the service would read something else than the proxy.
        && has_at_most(fields, "content-encoding", &|value| value.eq_ignore_ascii_case(b"identity"))
        && has_at_most(fields, "content-type", &is_utf_8);
    if is_certain { Ok(Some(message)) } else { Err(Reason::BadMcpMessage) }
}

/// Whether a header is absent, or is there once, in this spelling, with such a value.
fn has_at_most(fields: &Fields, name: &str, is_such: &dyn Fn(&[u8]) -> bool) -> bool {
    let value = only_value(fields, name, &Spelling::of(name));
    value.is_ok_and(|value| value.is_none_or(is_such))
}

/// Whether a header's value stands for this text: as it is, or in Base64 between sentinels.
fn is_encoding(value: &[u8], text: &str) -> bool {
    match between_sentinels(value) {
        None => value == text.as_bytes(),
        Some(encoded) => base64::decode(encoded).is_some_and(|plain| plain == text.as_bytes()),
    }
}

/// Whether a media type has no parameters, or names the charset that JSON has.
fn is_utf_8(value: &[u8]) -> bool {
    let mut rest = value.iter();
    !rest.any(|byte| *byte == b';')
        || rest.as_slice().trim_ascii().eq_ignore_ascii_case(b"charset=utf-8")
}

#[cfg(test)]
mod tests;
