//! An HTTP/1.1 connection, down to its bytes.

use std::{io, net::SocketAddr, pin::pin};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    select,
};

use super::{Request, Response, bounded};
use crate::{
    Headers,
    http1::{BodyLength, Reader},
};

/// An open HTTP/1.1 connection; requests go over it one after the other.
#[derive(Debug)]
pub struct Connection<R = OwnedReadHalf, W = OwnedWriteHalf> {
    address: SocketAddr,
    reader: Reader<R>,
    writer: W,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = bounded(TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self::over(reader, writer, address))
    }

    /// Resets the connection (RST); dropping it closes it (FIN).
    pub fn abort(self) {
        let stream = self
            .reader
            .into_half()
            .reunite(self.writer)
            .expect("two halves of the same connection");
        let _ = stream.set_zero_linger();
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Connection<R, W> {
    /// Over a stream that is open.
    pub(crate) fn over(reader: R, writer: W, address: SocketAddr) -> Self {
        Self { address, reader: Reader::new(reader), writer }
    }

    /// Sends a request and reads the answer, which may come before the request has gone out whole.
    pub async fn send(&mut self, request: &Request) -> io::Result<Response> {
        let bytes = [self.head(request), framed_body(request)].concat();
        let mut answer = pin!(bounded(read(&mut self.reader, &request.method)));
        select! {
            answer = &mut answer => answer,
            // A server that answers early may close before it has read all: the answer counts.
            _ = self.writer.write_all(&bytes) => answer.await,
        }
    }

    /// Sends the head only; the body is the caller's to [`write`](Self::write), or not.
    pub async fn send_head(&mut self, request: &Request) -> io::Result<()> {
        let head = self.head(request);
        self.write(&head).await
    }

    /// Sends any bytes.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        bounded(self.writer.write_all(bytes)).await
    }

    /// Closes our half of the connection; the answer can still come.
    pub async fn finish(&mut self) -> io::Result<()> {
        bounded(self.writer.shutdown()).await
    }

    /// Reads the answer to a request of this method.
    pub async fn response(&mut self, method: &str) -> io::Result<Response> {
        bounded(read(&mut self.reader, method)).await
    }

    /// Waits until the server closes the connection.
    pub async fn closed(&mut self) -> io::Result<()> {
        bounded(async {
            self.reader.closed().await;
            Ok(())
        })
        .await
    }

    fn head(&self, request: &Request) -> Vec<u8> {
        let Request { method, target, authority, headers, body, chunked, .. } = request;
        let mut head = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        let mut field = |name: &str, value: &[u8]| {
            head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
        };
        let authority = authority.clone().unwrap_or_else(|| self.address.to_string());
        if !headers.contains("host") && !authority.is_empty() {
            field("host", authority.as_bytes());
        }
        for (name, value) in headers.iter() {
            field(name, value);
        }
        let framed = headers.contains("content-length") || headers.contains("transfer-encoding");
        if *chunked && !framed {
            field("transfer-encoding", b"chunked");
        } else if !body.is_empty() && !framed {
            field("content-length", body.len().to_string().as_bytes());
        }
        head.extend(b"\r\n");
        head
    }
}

fn framed_body(request: &Request) -> Vec<u8> {
    if !request.chunked {
        return request.body.clone();
    }
    let chunks = request.body.chunks(CHUNK).chain([&b""[..]]);
    let framed =
        |chunk: &[u8]| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat();
    chunks.flat_map(framed).collect()
}

async fn read<R: AsyncRead + Unpin>(reader: &mut Reader<R>, method: &str) -> io::Result<Response> {
    let mut interim = Vec::new();
    let head = loop {
        let head = reader.response_head().await?;
        if head.status >= 200 || head.status == SWITCHING_PROTOCOLS {
            break head;
        }
        interim.push(head.status);
    };
    let bodiless = method == "HEAD"
        || (method == "CONNECT" && head.status < 300)
        || matches!(head.status, SWITCHING_PROTOCOLS | 204 | 304);
    let (body, trailers) = if bodiless {
        (Vec::new(), Headers::new())
    } else {
        reader.body(BodyLength::of(&head.headers, BodyLength::UntilClose)).await?
    };
    Ok(Response { status: head.status, headers: head.headers, body, trailers, interim })
}

const CHUNK: usize = 16 * 1024;
const SWITCHING_PROTOCOLS: u16 = 101;
