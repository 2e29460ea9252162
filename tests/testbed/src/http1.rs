//! Reading HTTP/1.1 messages from a socket, for both ends of a connection (RFC 9112).

use std::io::{self, ErrorKind};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::tcp::OwnedReadHalf,
};

use crate::Headers;

/// The start line and fields of a request.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Headers,
}

/// The start line and fields of a response.
#[derive(Debug)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
}

/// Where a body ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BodyLength {
    /// After this many bytes.
    Known(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

impl BodyLength {
    /// The length that the fields tell, or `otherwise`.
    pub(crate) fn of(headers: &Headers, otherwise: Self) -> Self {
        if headers.get("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            return Self::Chunked;
        }
        headers
            .get("content-length")
            .and_then(|value| value.parse().ok())
            .map_or(otherwise, Self::Known)
    }
}

/// The reading half of a connection, with what has been read ahead.
#[derive(Debug)]
pub(crate) struct Reader<R = OwnedReadHalf> {
    half: R,
    ahead: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(crate) fn new(half: R) -> Self {
        Self { half, ahead: BytesMut::new() }
    }

    pub(crate) fn into_half(self) -> R {
        self.half
    }

    /// The next request's head; `None` when the connection ends before its first byte.
    pub(crate) async fn request_head(&mut self) -> io::Result<Option<RequestHead>> {
        let Some(length) = self.head_length().await? else { return Ok(None) };
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        request.parse(&self.ahead[..length]).map_err(invalid)?;
        let head = RequestHead {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            headers: owned(request.headers),
        };
        self.ahead.advance(length);
        Ok(Some(head))
    }

    /// The next response's head.
    pub(crate) async fn response_head(&mut self) -> io::Result<ResponseHead> {
        let length = self.head_length().await?.ok_or_else(closed)?;
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        response.parse(&self.ahead[..length]).map_err(invalid)?;
        let head = ResponseHead {
            status: response.code.unwrap_or_default(),
            headers: owned(response.headers),
        };
        self.ahead.advance(length);
        Ok(head)
    }

    /// The whole body, and the trailers if there are any.
    pub(crate) async fn body(&mut self, length: BodyLength) -> io::Result<(Vec<u8>, Headers)> {
        match length {
            BodyLength::Known(length) => {
                let length = usize::try_from(length).map_err(invalid)?;
                Ok((self.exactly(length).await?, Headers::new()))
            }
            BodyLength::Chunked => self.chunks().await,
            BodyLength::UntilClose => {
                while self.more().await? {}
                Ok((self.ahead.split().to_vec(), Headers::new()))
            }
        }
    }

    /// Waits until the other end has closed.
    pub(crate) async fn closed(&mut self) {
        while let Ok(true) = self.more().await {}
    }

    async fn chunks(&mut self) -> io::Result<(Vec<u8>, Headers)> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).map_err(invalid)?;
            if size == 0 {
                break;
            }
            body.extend(self.exactly(size).await?);
            self.line().await?;
        }
        let mut trailers = Headers::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else { break };
            trailers.push(name, value.trim());
        }
        Ok((body, trailers))
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.ahead.len() < length {
            if !self.more().await? {
                return Err(closed());
            }
        }
        Ok(self.ahead.split_to(length).to_vec())
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|two| two == b"\r\n") {
                let line = self.ahead.split_to(end + 2);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.more().await? {
                return Err(closed());
            }
        }
    }

    async fn head_length(&mut self) -> io::Result<Option<usize>> {
        loop {
            if let Some(end) = self.ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(Some(end + 4));
            }
            if !self.more().await? {
                return if self.ahead.is_empty() { Ok(None) } else { Err(closed()) };
            }
        }
    }

    /// Reads what there is; false at the end of the connection.
    async fn more(&mut self) -> io::Result<bool> {
        self.ahead.reserve(READ_SIZE);
        Ok(self.half.read_buf(&mut self.ahead).await? > 0)
    }
}

fn owned(fields: &[httparse::Header<'_>]) -> Headers {
    let mut headers = Headers::new();
    for field in fields {
        headers.push(field.name, field.value);
    }
    headers
}

fn closed() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the connection ended in the middle of a message")
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

const MAX_FIELDS: usize = 256;
const READ_SIZE: usize = 16 * 1024;
