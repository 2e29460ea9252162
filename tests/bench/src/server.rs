//! An HTTP/1.1 server as quick as can be: a thread for each connection, and no more of the protocol
//! than Envoy speaks.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::{io, thread};

/// What of a request counts here.
#[derive(Debug)]
pub struct Request<'a> {
    /// Its path.
    pub path: &'a str,
    /// Its `Authorization` field.
    pub authorization: &'a str,
    /// Its body.
    pub body: &'a str,
}

/// A status and a body of JSON.
pub type Answer = (u16, String);

/// Serves on a free loopback port until the program ends.
pub fn serve(
    answer: impl Fn(&Request<'_>) -> Answer + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            // What goes wrong on a connection is the client's to see.
            thread::spawn(move || serve_connection(stream, &*answer));
        }
    });
    Ok(address)
}

fn serve_connection(
    mut stream: TcpStream,
    answer: &dyn Fn(&Request<'_>) -> Answer,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    crate::pacing::wake_at_once();
    let mut buffer = Vec::new();
    loop {
        let length = match parse(&buffer) {
            Some((request, length)) => {
                let (status, body) = answer(&request);
                stream.write_all(response(status, &body).as_bytes())?;
                length
            }
            None => 0,
        };
        buffer.drain(..length);
        if length == 0 {
            let mut more = [0; 16 * 1024];
            match stream.read(&mut more)? {
                0 => return Ok(()),
                read => buffer.extend_from_slice(&more[..read]),
            }
        }
    }
}

/// The first request and its length, once it is there as a whole.
fn parse(bytes: &[u8]) -> Option<(Request<'_>, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = str::from_utf8(&bytes[..end]).ok()?;
    let field = |wanted: &str| {
        head.lines().skip(1).find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then_some(value.trim())
        })
    };
    let length: usize = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let body = str::from_utf8(bytes.get(end..end + length)?).ok()?;
    let path = head.split(' ').nth(1)?;
    let authorization = field("authorization").unwrap_or_default();
    Some((Request { path, authorization, body }, end + length))
}

fn response(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} .\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Connection;

    #[test]
    fn a_request_is_parsed_once_it_is_there_as_a_whole() {
        let whole =
            b"POST /a HTTP/1.1\r\nContent-Length: 3\r\nauthorization: Basic x\r\n\r\nabcGET";
        for cut in 0..whole.len() - 3 {
            assert!(parse(&whole[..cut]).is_none(), "{cut}");
        }
        let (request, length) = parse(whole).expect("a request");
        assert_eq!((request.path, request.authorization, request.body), ("/a", "Basic x", "abc"));
        assert_eq!(&whole[length..], b"GET");
    }

    #[test]
    fn requests_on_one_connection_are_answered_in_turn() {
        let address = serve(|request| match request.path {
            "/good" => (200, "{}".to_owned()),
            _ => (503, String::new()),
        });
        let mut connection = Connection::open(address.expect("a free port")).expect("it serves");
        for _ in 0..3 {
            connection.exchange("GET /good HTTP/1.1\r\n\r\n").expect("200");
        }
        let error = connection.exchange("GET /bad HTTP/1.1\r\n\r\n").expect_err("503");
        assert!(error.to_string().contains("503"), "{error}");
    }
}
