//! An HTTP/2 connection with prior knowledge; its streams can be reset at any point.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use h2::{Reason, SendStream, client};
use hyper::{HeaderMap, Method, StatusCode, Uri, Version, http};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
};

use super::{Request, Response, bounded};
use crate::{Headers, wait};

/// An open HTTP/2 connection. Clones share it, so that many requests can be under way at once.
#[derive(Clone, Debug)]
pub struct Http2 {
    address: SocketAddr,
    scheme: &'static str,
    sender: client::SendRequest<Bytes>,
    driver: Arc<Driver>,
}

impl Http2 {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = bounded(TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        Self::over(stream, address, "http").await
    }

    /// Over a stream that is open, with this `:scheme`.
    pub(crate) async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        address: SocketAddr,
        scheme: &'static str,
    ) -> io::Result<Self> {
        let (sender, connection) = client::Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(stream)
            .await
            .map_err(broken)?;
        // What breaks the connection shows on its streams.
        let driver = tokio::spawn(async { drop(connection.await) });
        Ok(Self { address, scheme, sender, driver: Arc::new(Driver(driver)) })
    }

    /// Sends a request and reads the answer. Dropping the future resets the stream.
    pub async fn send(&self, request: &Request) -> io::Result<Response> {
        self.open_stream(request, true).await?.response().await
    }

    /// Sends the head only; the body is the caller's to [`send`](Http2Stream::send_data), or not.
    pub async fn send_head(&self, request: &Request) -> io::Result<Http2Stream> {
        self.open_stream(request, false).await
    }

    async fn open_stream(&self, request: &Request, whole: bool) -> io::Result<Http2Stream> {
        let head = self.head(request).map_err(io::Error::other)?;
        let mut sender =
            bounded(async { self.sender.clone().ready().await.map_err(broken) }).await?;
        if request.protocol.is_some() {
            // The server's settings say so, which it sends first of all.
            wait::until("the server to allow extended CONNECT", async || {
                sender.is_extended_connect_protocol_enabled()
            })
            .await;
        }
        let ends = whole && request.body.is_empty();
        let (response, body) = sender.send_request(head, ends).map_err(broken)?;
        let mut stream = Http2Stream { response, body, _driver: Arc::clone(&self.driver) };
        if whole && !ends {
            // A server may answer, and end the stream, before it has the body: its answer counts.
            let _ = stream.send_data(request.body.clone(), true);
        }
        Ok(stream)
    }

    fn head(&self, request: &Request) -> Result<http::Request<()>, http::Error> {
        let authority = match request.authority.as_deref() {
            None | Some("") => self.address.to_string(),
            Some(authority) => authority.to_owned(),
        };
        let method = Method::from_bytes(request.method.as_bytes())?;
        let uri = if method == Method::CONNECT && request.protocol.is_none() {
            Uri::try_from(&request.target)?
        } else {
            let target = request.target.as_str();
            Uri::builder()
                .scheme(self.scheme)
                .authority(authority)
                .path_and_query(target)
                .build()?
        };
        let mut head = http::Request::builder().version(Version::HTTP_2).method(method).uri(uri);
        for (name, value) in request.headers.iter() {
            head = head.header(name, value);
        }
        if let Some(protocol) = &request.protocol {
            head = head.extension(protocol.clone());
        }
        head.body(())
    }
}

/// A request under way; dropping it resets the stream (`CANCEL`).
#[derive(Debug)]
pub struct Http2Stream {
    response: client::ResponseFuture,
    body: SendStream<Bytes>,
    _driver: Arc<Driver>,
}

impl Http2Stream {
    /// Sends a part of the body, or its end.
    pub fn send_data(&mut self, data: impl Into<Bytes>, end: bool) -> io::Result<()> {
        self.body.send_data(data.into(), end).map_err(broken)
    }

    /// Ends the request with trailers.
    pub fn send_trailers(&mut self, trailers: HeaderMap) -> io::Result<()> {
        self.body.send_trailers(trailers).map_err(broken)
    }

    /// Resets the stream with this reason.
    pub fn reset(mut self, reason: Reason) {
        self.body.send_reset(reason);
    }

    /// Reads the answer. Dropping the future resets the stream.
    pub async fn response(self) -> io::Result<Response> {
        bounded(self.read()).await
    }

    /// Reads the answer to a `CONNECT`, whose body is what comes through the tunnel if it opens.
    pub async fn tunnel(self) -> io::Result<Response> {
        bounded(self.read_unless(|status| status.is_success())).await
    }

    async fn read(self) -> io::Result<Response> {
        self.read_unless(|_| false).await
    }

    /// Reads the answer, without its body if `bodiless` says so of its status.
    async fn read_unless(self, bodiless: impl Fn(StatusCode) -> bool) -> io::Result<Response> {
        // `self.body` stays: a request that has not ended may be answered.
        let Self { response, body: _body, _driver } = self;
        let (head, mut incoming) = response.await.map_err(broken)?.into_parts();
        let mut answer = Response {
            status: head.status.as_u16(),
            headers: Headers::from(&head.headers),
            body: Vec::new(),
            trailers: Headers::new(),
            interim: Vec::new(),
        };
        if bodiless(head.status) {
            return Ok(answer);
        }
        while let Some(data) = incoming.data().await {
            let data = data.map_err(broken)?;
            incoming.flow_control().release_capacity(data.len()).map_err(broken)?;
            answer.body.extend(data);
        }
        let trailers = incoming.trailers().await.map_err(broken)?.unwrap_or_default();
        answer.trailers = Headers::from(&trailers);
        Ok(answer)
    }
}

/// The task that moves the connection's frames; it ends with the last that needs it.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::other(error)
}

const WINDOW: u32 = 1024 * 1024;
