//! Rules on messages of the Model Context Protocol (MCP), which the proxy reads from bodies.
//!
//! A body that cannot be told to be one certain message could be any message, so the first rule on
//! messages that otherwise matches decides on it: the token is judged as that rule requires, and the
//! request is denied.

use std::cell::OnceCell;
use std::sync::Arc;

use base64ct::{Base64, Encoding};

use crate::http::body::{Body, Message};
use crate::http::head::{Fields, Head};
use crate::http::header_name::Spelling;
use crate::inbound::policy::Needs;
use crate::oauth::reason::Reason;

/// The method that calls a tool.
pub(crate) const CALL: &str = "tools/call";

/// The messages that a rule matches.
#[derive(Debug)]
pub(crate) struct McpPattern {
    /// Any of these methods.
    pub(crate) methods: Option<Vec<TextPattern>>,
    /// Of calls of tools, those of any of these.
    pub(crate) tools: Option<Vec<TextPattern>>,
    /// The requirements on the token of a request whose message is uncertain.
    pub(crate) needs: Arc<Needs>,
}

impl McpPattern {
    fn matches(&self, message: &Message) -> bool {
        let is_call = *message.method == *CALL;
        let any = |patterns: &[TextPattern], text: &str| patterns.iter().any(|p| p.matches(text));
        let by_method = match &self.methods {
            Some(methods) => any(methods, &message.method),
            None => is_call,
        };
        let by_tool = || match (&self.tools, &message.name) {
            (Some(tools), Some(name)) if is_call => any(tools, name),
            (Some(_), None) if is_call => false,
            _ => true,
        };
        by_method && by_tool()
    }
}

/// A text, or the beginning of texts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum TextPattern {
    Exact(Box<str>),
    Prefix(Box<str>),
}

impl TextPattern {
    pub(crate) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *text,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
        }
    }
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
    let agrees = |name, content: Option<&str>| {
        // Nothing is compared with a part that the proxy has not read.
        has_at_most(fields, name, |value| content.is_none_or(|text| is_encoding(value, text)))
    };
    let is_certain = (*message.method != *CALL || message.name.is_some())
        && agrees("mcp-method", Some(&message.method))
        && agrees("mcp-name", message.name.as_deref())
        // The service would read something else than the proxy.
        && has_at_most(fields, "content-encoding", |value| value.eq_ignore_ascii_case(b"identity"))
        && has_at_most(fields, "content-type", is_utf_8);
    if is_certain { Ok(Some(message)) } else { Err(Reason::BadMcpMessage) }
}

/// Whether a header is absent, or is there once, in this spelling, with such a value.
fn has_at_most(fields: &Fields, name: &str, is_such: impl Fn(&[u8]) -> bool) -> bool {
    let spelling = Spelling::of(name);
    let mut headers = fields.iter().filter(|(other, _)| spelling.matches(other));
    let first = headers.next();
    headers.next().is_none()
        && first.is_none_or(|(exact, value)| exact == name.as_bytes() && is_such(value))
}

/// Whether a header's value stands for this text: as it is, or in Base64 between sentinels.
fn is_encoding(value: &[u8], text: &str) -> bool {
    let encoded = value.strip_prefix(b"=?base64?").and_then(|rest| rest.strip_suffix(b"?="));
    match encoded {
        None => value == text.as_bytes(),
        Some(encoded) => encoded == Base64::encode_string(text.as_bytes()).as_bytes(),
    }
}

/// Whether a media type names no other charset than UTF-8.
fn is_utf_8(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    let mut parameters = value.split(|byte| *byte == b';').skip(1).map(<[u8]>::trim_ascii);
    parameters.all(|parameter| {
        !parameter.starts_with(b"charset")
            || matches!(parameter, b"charset=utf-8" | b"charset=utf8" | b"charset=\"utf-8\"")
    })
}

#[cfg(test)]
mod tests;
