//! What a scripted server does with a request.

use std::time::Duration;

use serde_json::Value;

use super::Gate;
use crate::Headers;

/// One answer of a script: a response, whole or spoilt, or something that is none.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) gate: Option<Gate>,
    pub(super) delay: Duration,
    /// What is sent instead of a response.
    pub(super) raw: Option<Vec<u8>>,
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
    padded_to: u64,
    pub(super) framing: Framing,
    pub(super) drip: Option<(usize, Duration)>,
    pub(super) ending: Ending,
    pub(super) early_hints: bool,
}

impl Answer {
    /// A response with this status and an empty body.
    pub const fn status(status: u16) -> Self {
        Self {
            gate: None,
            delay: Duration::ZERO,
            raw: None,
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

    /// A response with this status and a JSON body.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::status(status).header("content-type", "application/json").body(body.to_string())
    }

    /// These bytes instead of a response, then the end of the connection.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { raw: Some(bytes.into()), ..Self::status(0) }
    }

    /// The connection is reset (RST) without an answer.
    pub fn reset() -> Self {
        Self::status(0).ending(Ending::BeforeHead(Next::Reset))
    }

    /// The connection is closed (FIN) without an answer.
    pub fn close() -> Self {
        Self::status(0).ending(Ending::BeforeHead(Next::Close))
    }

    /// No answer for as long as the client stays.
    pub fn hang() -> Self {
        Self::status(0).ending(Ending::BeforeHead(Next::Hang))
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
        self.delay = delay;
        self
    }

    /// Adds a field. `content-length` or `transfer-encoding` take the place of the true one.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value.as_ref());
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// Lengthens the body with spaces to this many bytes: JSON stays the same JSON.
    #[must_use]
    pub fn padded_to(self, bytes: u64) -> Self {
        Self { padded_to: bytes, ..self }
    }

    /// Sends the body in chunks instead of with its length.
    #[must_use]
    pub fn chunked(self) -> Self {
        Self { framing: Framing::Chunked, ..self }
    }

    /// Sends the body without a length; the end of the connection ends it.
    #[must_use]
    pub fn until_close(self) -> Self {
        Self { framing: Framing::UntilClose, ..self }
    }

    /// Sends the body in pieces of this size, with this time between two.
    #[must_use]
    pub fn dripping(self, piece: usize, pause: Duration) -> Self {
        Self { drip: Some((piece, pause)), ..self }
    }

    /// Sends this much of the body, then closes the connection.
    #[must_use]
    pub fn truncated(self, bytes: u64) -> Self {
        self.ending(Ending::After(bytes))
    }

    /// Sends the head, then resets the connection.
    #[must_use]
    pub fn reset_after_head(self) -> Self {
        self.ending(Ending::AfterHead(Next::Reset))
    }

    /// Sends the head, and then nothing for as long as the client stays.
    #[must_use]
    pub fn hang_after_head(self) -> Self {
        self.ending(Ending::AfterHead(Next::Hang))
    }

    /// Sends 103 (Early Hints) first.
    #[must_use]
    pub fn early_hints(self) -> Self {
        Self { early_hints: true, ..self }
    }

    fn ending(self, ending: Ending) -> Self {
        Self { ending, ..self }
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

/// Where an answer ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ending {
    Whole,
    After(u64),
    AfterHead(Next),
    BeforeHead(Next),
}

/// What happens to the connection after an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    KeepAlive,
    Close,
    Reset,
    /// Nothing, for as long as the client stays.
    Hang,
}
