//! The headers of the request whose callback runs, read when the filter asks for them.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};

use super::interface::{Host, HostError, Map};
use super::mcp::{body_of, metadata_of};
use oauth2_filter_core::{Body, Fields, Head, digest_from_hex};

/// The headers of the request whose callback runs.
#[derive(Debug)]
pub struct RequestHead<'h, H> {
    host: &'h H,
    /// Whether the request ends with its headers.
    end_of_stream: bool,
    /// All of them, once requested: cheaper than reading a second header alone.
    fields: OnceCell<Fields>,
    /// A failure of the host. The filter sees an absent value, so no decision based on it may be
    /// carried out.
    failure: Cell<Option<HostError>>,
}

impl<'h, H: Host> RequestHead<'h, H> {
    /// The headers of the request whose callback runs.
    pub fn new(host: &'h H, end_of_stream: bool) -> Self {
        Self { host, end_of_stream, fields: OnceCell::new(), failure: Cell::new(None) }
    }

    /// The failure of the host, if any: then nothing may be forwarded.
    pub fn failure(&self) -> Option<HostError> {
        self.failure.get()
    }

    /// The value, or none if the host failed.
    fn note<T>(&self, read: Result<Option<T>, HostError>) -> Option<T> {
        read.unwrap_or_else(|error| {
            self.failure.set(Some(error));
            None
        })
    }
}

impl<H: Host> Head for RequestHead<'_, H> {
    fn value(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        match self.fields.get() {
            Some(fields) => fields.joined(name),
            None => self.note(self.host.header(Map::RequestHeaders, name)),
        }
    }

    fn fields(&self) -> &Fields {
        self.fields.get_or_init(|| {
            self.note(self.host.headers(Map::RequestHeaders).map(Some)).unwrap_or_default()
        })
    }

    fn peer_certificate(&self) -> Option<[u8; 32]> {
        let digest = self.host.property(&["connection", "sha256_peer_certificate_digest"]);
        digest_from_hex(&self.note(digest)?)
    }

    fn body(&self) -> Body {
        if self.end_of_stream {
            return Body::Empty;
        }
        let metadata = self.host.property(&["metadata"]);
        self.note(metadata).map_or(Body::Unread, |metadata| body_of(&metadata))
    }

    fn jwt_authn(&self) -> Option<Vec<u8>> {
        // All of it, because a single value has no type.
        let metadata = self.note(self.host.property(&["metadata"]))?;
        metadata_of(&metadata, "envoy.filters.http.jwt_authn")
    }
}
