//! A service that answers with what reached it, and keeps it.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    Headers, Received,
    headers::text,
    received::{self, Log},
    service::{FREE_PORT, Service},
};

/// A running upstream: HTTP/1.1 and, with prior knowledge, HTTP/2.
///
/// It answers 200 with `{"version", "method", "path", "authority", "headers": [[name, value], …],
/// "body_bytes"}`, where `path` is the whole request target; `/status/404` answers that status.
#[derive(Debug)]
pub struct Upstream {
    service: Service,
    log: Arc<Log>,
}

impl Upstream {
    /// Starts on a free loopback port and keeps what it receives.
    pub async fn start() -> Self {
        Self::listen(FREE_PORT, true).await.expect("a free port for the upstream")
    }

    /// Starts on `address`. Without `keep` it forgets each request once answered.
    pub async fn listen(address: SocketAddr, keep: bool) -> io::Result<Self> {
        let log = Arc::new(Log::new());
        let kept = keep.then(|| Arc::clone(&log));
        let listener = TcpListener::bind(address).await?;
        let service = Service::start(listener, move |connection, request| {
            answer(kept.clone(), connection, request)
        })?;
        Ok(Self { service, log })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.service.address
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Received> {
        self.log.matching(|_| true)
    }

    /// The requests for this path, whatever their query.
    pub fn requests_to(&self, path: &str) -> Vec<Received> {
        self.log.matching(|request| request.path() == path)
    }

    /// The requests that carry this field, such as a test's id.
    pub fn requests_with(&self, name: &str, value: &str) -> Vec<Received> {
        self.log.matching(|request| request.headers.all(name).iter().any(|v| v == value))
    }

    /// The number of requests for this path.
    pub fn count(&self, path: &str) -> usize {
        self.log.count(path)
    }

    /// Waits until this many requests for this path have come.
    pub async fn arrived(&self, path: &str, requests: usize) {
        self.log.arrived(path, requests).await;
    }

    /// Forgets the requests so far.
    pub fn clear(&self) {
        self.log.clear();
    }

    /// Closes the port and every connection.
    pub async fn stop(self) {
        self.service.stop().await;
    }
}

async fn answer(
    log: Option<Arc<Log>>,
    connection: u64,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, mut incoming) = request.into_parts();
    let (mut body, mut body_bytes) = (Vec::new(), 0);
    let mut trailers = Headers::new();
    while let Some(frame) = incoming.frame().await {
        // A request that breaks off has nobody who waits for an answer.
        let Ok(frame) = frame else { return Response::default() };
        if let Some(fields) = frame.trailers_ref() {
            trailers = Headers::from(fields);
        }
        let Some(data) = frame.data_ref() else { continue };
        let room = KEPT_BODY.saturating_sub(body.len()).min(data.len());
        body.extend_from_slice(&data[..room]);
        body_bytes += data.len() as u64;
    }
    let headers = Headers::from(&head.headers);
    let authority = head.uri.authority().map(ToString::to_string);
    let received = Received {
        version: head.version,
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        authority: authority.or_else(|| headers.get("host")),
        headers,
        body,
        body_bytes,
        trailers,
        connection,
    };
    let status = status(received::path(&received.target));
    let shown = shown(&received);
    if let Some(log) = log {
        log.add(received);
    }
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(shown))
        .expect("a status and a fixed field")
}

/// The status that `/status/NNN` asks for; 200 for any other path.
fn status(path: &str) -> StatusCode {
    path.strip_prefix("/status/")
        .and_then(|number| number.parse::<u16>().ok())
        .filter(|number| (200..600).contains(number))
        .and_then(|number| StatusCode::from_u16(number).ok())
        .unwrap_or(StatusCode::OK)
}

fn shown(request: &Received) -> Bytes {
    let header = |(name, value)| format!("    [{}, {}]", json!(name), json!(text(value)));
    let headers: Vec<String> = request.headers.iter().map(header).collect();
    let members = [
        ("version", json!(format!("{:?}", request.version))),
        ("method", json!(request.method)),
        ("path", json!(request.target)),
        ("authority", json!(request.authority)),
        ("body_bytes", json!(request.body_bytes)),
    ];
    let members = members.map(|(name, value)| format!("  \"{name}\": {value},\n")).concat();
    // A header a line, for people who look for one.
    Bytes::from(format!("{{\n{members}  \"headers\": [\n{}\n  ]\n}}\n", headers.join(",\n")))
}

const KEPT_BODY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Request;

    #[tokio::test]
    async fn it_shows_and_keeps_what_it_received() {
        let upstream = Upstream::start().await;
        let request = Request::post("//a/%2e%2e/b?c=d", "body")
            .header("x-test", "1")
            .header("x-name", b"caf\xe9")
            .header("x-test", "2");
        let shown = request.send(upstream.address()).await.unwrap().json();
        assert_eq!(shown["path"], "//a/%2e%2e/b?c=d");
        let headers = shown["headers"].as_array().unwrap();
        assert!(headers.contains(&json!(["x-name", "café"])), "{headers:?}");
        let kept = &upstream.requests_with("x-test", "2")[0];
        assert_eq!(kept.headers.all("x-test"), ["1", "2"]);
        assert_eq!((&*kept.body, upstream.count("//a/%2e%2e/b")), (&b"body"[..], 1));
    }
}
