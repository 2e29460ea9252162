//! A keep-alive HTTP/1.1 connection that blocks: what the loads at a fixed rate are made of.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Opens it.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Sends a whole request and reads the whole answer; any but 200 is an error.
    pub fn exchange(&mut self, request: &str) -> io::Result<()> {
        self.reader.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        self.line(&mut line)?;
        let status = line.clone();
        let mut length = None;
        while self.line(&mut line)? > 0 {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok();
            }
        }
        let body = length.ok_or_else(|| invalid(format!("an answer without length: {status}")))?;
        io::copy(&mut self.reader.by_ref().take(body), &mut io::sink())?;
        if status.split(' ').nth(1) == Some("200") { Ok(()) } else { Err(invalid(status)) }
    }

    /// The next line without its end, and its length.
    fn line(&mut self, line: &mut String) -> io::Result<usize> {
        line.clear();
        if self.reader.read_line(line)? == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the connection was closed"));
        }
        line.truncate(line.trim_end().len());
        Ok(line.len())
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, text)
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
