//! What a scripted server does with a request.

use std::time::Duration;

use serde_json::Value;

use super::Gate;
use crate::Headers;

/// One answer of a script: a response, whole or spoilt, or something that is none.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) gate: Option<Gate>,
    pub(super) delay: Option<Duration>,
    pub(super) act: Act,
}

impl Answer {
    /// A response with this status and an empty body.
    pub fn status(status: u16) -> Self {
        Self::act(Act::Respond(Response::new(status)))
    }

    /// A response with this status and a JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::status(status).header("content-type", "application/json").body(body.to_string())
    }

    /// These bytes instead of a response, then the end of the connection.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::act(Act::Raw(bytes.into()))
    }

    /// The connection is reset (RST) without an answer.
    pub const fn reset() -> Self {
        Self::act(Act::Reset)
    }

    /// The connection is closed (FIN) without an answer.
    pub const fn close() -> Self {
        Self::act(Act::Close)
    }

    /// No answer for as long as the client stays.
    pub const fn hang() -> Self {
        Self::act(Act::Hang)
    }

    /// Holds the answer until the gate is open, or the client has left.
    #[must_use]
    pub fn held_by(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Answers after this time: for measurements. A test holds an answer by a [`Gate`].
    #[must_use]
    pub const fn delayed(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Adds a field. `content-length` or `transfer-encoding` take the place of the true one.
    #[must_use]
    pub fn header(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.response(|response| response.headers.push(name, value.as_ref()))
    }

    /// Sets the body.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        self.response(|response| response.body = body.into())
    }

    /// Lengthens the body with spaces to this many bytes: JSON stays the same JSON.
    #[must_use]
    pub fn padded_to(self, bytes: u64) -> Self {
        self.response(|response| response.padded_to = bytes)
    }

    /// Sends the body in chunks instead of with its length.
    #[must_use]
    pub fn chunked(self) -> Self {
        self.response(|response| response.framing = Framing::Chunked)
    }

    /// Sends the body without a length; the end of the connection ends it.
    #[must_use]
    pub fn until_close(self) -> Self {
        self.response(|response| response.framing = Framing::UntilClose)
    }

    /// Sends the body in pieces of this size, with this time between two.
    #[must_use]
    pub fn dripping(self, piece: usize, pause: Duration) -> Self {
        self.response(|response| response.drip = Some((piece, pause)))
    }

    /// Sends this much of the body, then closes the connection.
    #[must_use]
    pub fn truncated(self, bytes: u64) -> Self {
        self.response(|response| response.ending = Ending::CloseAfter(bytes))
    }

    /// Sends the head, then resets the connection.
    #[must_use]
    pub fn reset_after_head(self) -> Self {
        self.response(|response| response.ending = Ending::ResetAfterHead)
    }

    /// Sends the head, and then nothing for as long as the client stays.
    #[must_use]
    pub fn hang_after_head(self) -> Self {
        self.response(|response| response.ending = Ending::HangAfterHead)
    }

    /// Sends 103 (Early Hints) first.
    #[must_use]
    pub fn early_hints(self) -> Self {
        self.response(|response| response.early_hints = true)
    }

    const fn act(act: Act) -> Self {
        Self { gate: None, delay: None, act }
    }

    fn response(mut self, change: impl FnOnce(&mut Response)) -> Self {
        let Act::Respond(response) = &mut self.act else {
            panic!("only a response has fields and a body: {:?}", self.act)
        };
        change(response);
        self
    }
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    Respond(Response),
    Raw(Vec<u8>),
    Reset,
    Close,
    Hang,
}

#[derive(Clone, Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
    pub(super) padded_to: u64,
    pub(super) framing: Framing,
    pub(super) drip: Option<(usize, Duration)>,
    pub(super) ending: Ending,
    pub(super) early_hints: bool,
}

impl Response {
    const fn new(status: u16) -> Self {
        Self {
            status,
            headers: Headers::new(),
            body: Vec::new(),
            padded_to: 0,
            framing: Framing::Length,
            drip: None,
            ending: Ending::Whole,
            early_hints: false,
        }
    }

    pub(super) fn body_bytes(&self) -> u64 {
        self.padded_to.max(self.body.len() as u64)
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    Length,
    Chunked,
    UntilClose,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    Whole,
    CloseAfter(u64),
    ResetAfterHead,
    HangAfterHead,
}
