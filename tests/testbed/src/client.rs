//! An HTTP client that sends exactly what it is told, over HTTP/1.1 or HTTP/2 without TLS.

mod http1_connection;
mod http2_connection;

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use h2::ext::Protocol;
pub use hyper::HeaderMap;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::time::timeout;

pub use self::{
    http1_connection::Connection,
    http2_connection::{Http2, Http2Stream},
};
use crate::Headers;

/// A request to be sent: target, fields and body byte for byte.
///
/// Over HTTP/1.1 `host` comes first and the length of the body last, unless the request names them.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    authority: Option<String>,
    headers: Headers,
    body: Vec<u8>,
    chunked: bool,
    protocol: Option<Protocol>,
}

impl Request {
    /// A request without a body; the target may be anything, such as `*` or `//a/%2e%2e/b`.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            authority: None,
            headers: Headers::new(),
            body: Vec::new(),
            chunked: false,
            protocol: None,
        }
    }

    /// Opens a WebSocket over HTTP/2 (RFC 8441); the server must allow that.
    pub fn websocket(target: &str) -> Self {
        let protocol = Some(Protocol::from_static("websocket"));
        let request = Self { protocol, ..Self::new("CONNECT", target) };
        request.header("sec-websocket-version", "13")
    }

    /// A GET request.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST request.
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).body(body)
    }

    /// A POST request with these form parameters.
    pub fn form(target: &str, parameters: &[(&str, &str)]) -> Self {
        let body =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        Self::post(target, body).header("content-type", "application/x-www-form-urlencoded")
    }

    /// A unary gRPC request with this message; to be sent over HTTP/2.
    pub fn grpc(method: &str, message: &[u8]) -> Self {
        let length = u32::try_from(message.len()).expect("a message of less than 4 GiB");
        let body = [&[0][..], &length.to_be_bytes()[..], message].concat();
        Self::post(method, body).header("content-type", "application/grpc").header("te", "trailers")
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Adds a field after those already there.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value.as_ref());
        self
    }

    /// Adds `authorization: Bearer TOKEN`.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", format!("Bearer {token}"))
    }

    /// Adds `authorization: Basic …`, id and secret form-encoded first (RFC 6749 section 2.3.1).
    #[must_use]
    pub fn basic(self, client_id: &str, client_secret: &str) -> Self {
        let encode =
            |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
        let credentials = format!("{}:{}", encode(client_id), encode(client_secret));
        self.header("authorization", format!("Basic {}", BASE64_STANDARD.encode(credentials)))
    }

    /// Sets `host` of HTTP/1.1, `:authority` of HTTP/2; else it is the address. `""` sends no
    /// `host`.
    #[must_use]
    pub fn authority(mut self, authority: &str) -> Self {
        self.authority = Some(authority.to_owned());
        self
    }

    /// Sends the body in chunks over HTTP/1.1.
    #[must_use]
    pub const fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// The fields it was given so far.
    pub const fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Sends it on an HTTP/1.1 connection of its own and waits for the whole answer.
    pub async fn send(&self, address: SocketAddr) -> io::Result<Response> {
        Connection::open(address).await?.send(self).await
    }

    /// Sends it on an HTTP/2 connection of its own and waits for the whole answer.
    pub async fn send_http2(&self, address: SocketAddr) -> io::Result<Response> {
        Http2::open(address).await?.send(self).await
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The fields, in order.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
    /// The fields after the body.
    pub trailers: Headers,
    /// The statuses of the interim answers before it (1xx); of HTTP/1.1 only.
    pub interim: Vec<u16>,
}

impl Response {
    /// The value of the first field of this name.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics with the body if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {:?}", self.text()))
    }

    /// `grpc-status`, from the trailers or, where there are none, the headers.
    pub fn grpc_status(&self) -> Option<u32> {
        self.grpc_field("grpc-status")?.parse().ok()
    }

    /// `grpc-message`, decoded.
    pub fn grpc_message(&self) -> Option<String> {
        let message = self.grpc_field("grpc-message")?;
        Some(percent_decode_str(&message).decode_utf8_lossy().into_owned())
    }

    fn grpc_field(&self, name: &str) -> Option<String> {
        self.trailers.get(name).or_else(|| self.headers.get(name))
    }
}

/// Bounds an exchange, so that an answer that never comes fails the test instead of stopping it.
pub(crate) async fn bounded<T>(exchange: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(LIMIT, exchange).await.unwrap_or_else(|_| {
        Err(io::Error::new(ErrorKind::TimedOut, format!("no answer within {LIMIT:?}")))
    })
}

const LIMIT: Duration = Duration::from_secs(30);
