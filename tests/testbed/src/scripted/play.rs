//! Carrying out an answer on a connection.

use std::{borrow::Cow, io};

use tokio::{
    io::AsyncWriteExt,
    net::tcp::OwnedWriteHalf,
    select,
    time::{Duration, sleep},
};

use super::answer::{Answer, Ending, Framing, Next};
use crate::{Received, http1::Reader};

/// Sends the answer to a request of which this is the `HEAD`-ness, and whether it is the last.
pub(super) async fn play(
    answer: &Answer,
    (head_only, last): (bool, bool),
    reader: &mut Reader,
    writer: &mut OwnedWriteHalf,
) -> io::Result<Next> {
    if let Some(gate) = &answer.gate {
        select! {
            () = gate.pass() => {}
            () = reader.closed() => return Ok(Next::Close),
        }
    }
    if !answer.delay.is_zero() {
        sleep(answer.delay).await;
    }
    if let Some(bytes) = &answer.raw {
        writer.write_all(bytes).await?;
        return Ok(Next::Close);
    }
    if let Ending::BeforeHead(next) = answer.ending {
        return Ok(next);
    }
    if answer.early_hints {
        writer.write_all(EARLY_HINTS).await?;
    }
    writer.write_all(&head(answer)).await?;
    let end = match answer.ending {
        Ending::AfterHead(next) => return Ok(next),
        Ending::After(bytes) => bytes.min(answer.body_bytes()),
        _ => answer.body_bytes(),
    };
    let bodiless = head_only || matches!(answer.status, 204 | 304);
    if !bodiless {
        write_body(answer, end, writer).await?;
    }
    let whole = answer.ending == Ending::Whole;
    if whole && !bodiless && answer.framing == Framing::Chunked {
        writer.write_all(b"0\r\n\r\n").await?;
    }
    let close = !whole
        || last
        || answer.framing == Framing::UntilClose
        || closes(answer.headers.get("connection"));
    Ok(if close { Next::Close } else { Next::KeepAlive })
}

/// What of the request decides how an answer is sent.
pub(super) fn of(request: &Received) -> (bool, bool) {
    (request.method == "HEAD", closes(request.header("connection")))
}

fn head(response: &Answer) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", response.status).into_bytes();
    for (name, value) in response.headers.iter() {
        head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    let own = ["content-length", "transfer-encoding"];
    if !own.iter().any(|name| response.headers.contains(name)) && response.status != 204 {
        match response.framing {
            Framing::Length => {
                head.extend(format!("content-length: {}\r\n", response.body_bytes()).into_bytes());
            }
            Framing::Chunked => head.extend(b"transfer-encoding: chunked\r\n"),
            Framing::UntilClose => {}
        }
    }
    head.extend(b"\r\n");
    head
}

/// Sends the body up to `end`.
async fn write_body(response: &Answer, end: u64, writer: &mut OwnedWriteHalf) -> io::Result<()> {
    let (size, pause) = response.drip.unwrap_or((PIECE, Duration::ZERO));
    let mut sent = 0;
    while sent < end {
        if sent > 0 && !pause.is_zero() {
            sleep(pause).await;
        }
        let length = (end - sent).min(size.max(1) as u64);
        let piece = piece(response, sent, length);
        if response.framing == Framing::Chunked {
            let chunk = [format!("{length:x}\r\n").as_bytes(), &piece, b"\r\n"].concat();
            writer.write_all(&chunk).await?;
        } else {
            writer.write_all(&piece).await?;
        }
        sent += length;
    }
    Ok(())
}

/// `length` bytes of the body from `start`: what it was set to, then spaces.
fn piece(response: &Answer, start: u64, length: u64) -> Cow<'_, [u8]> {
    let set = response.body.len();
    let start = usize::try_from(start).map_or(set, |start| start.min(set));
    let length = usize::try_from(length).expect("a piece that fits in memory");
    let given = &response.body[start..set.min(start + length)];
    if given.len() == length {
        return Cow::Borrowed(given);
    }
    let mut piece = given.to_vec();
    piece.resize(length, b' ');
    Cow::Owned(piece)
}

fn closes(connection: Option<String>) -> bool {
    connection.is_some_and(|value| value.eq_ignore_ascii_case("close"))
}

const EARLY_HINTS: &[u8] =
    b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload; as=style\r\n\r\n";
const PIECE: usize = 64 * 1024;
