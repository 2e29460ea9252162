//! The body of a request, as far as the proxy has read it.

/// The body of a request, as far as the proxy has read it as a message of the Model Context
/// Protocol.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body {
    /// The request ends with its headers.
    Empty,
    /// A body or trailers follow, which the proxy has not read.
    Unread,
    /// The proxy has read something other than one whole message with one meaning.
    Malformed,
    /// One message.
    Message(Message),
}

/// A message of the Model Context Protocol.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// Its `method`.
    pub method: Box<str>,
    /// What it is about, if the proxy has read that: the name of a tool or prompt, or the URI of a
    /// resource.
    pub name: Option<Box<str>>,
}
