//! What a server of ours received, kept for the test to look at.

use hyper::Version;
use tokio::sync::watch;

use crate::{Headers, wait};

/// A request as it reached a server.
#[derive(Clone, Debug)]
pub struct Received {
    /// The HTTP version of the connection.
    pub version: Version,
    /// The method.
    pub method: String,
    /// The request target as it stood in the request: path and query.
    pub target: String,
    /// `:authority` of HTTP/2, else the `host` field.
    pub authority: Option<String>,
    /// The fields, in order.
    pub headers: Headers,
    /// The body; of a long one the beginning.
    pub body: Vec<u8>,
    /// The length of the whole body.
    pub body_bytes: u64,
    /// The fields after the body, in order.
    pub trailers: Headers,
    /// The connection it came on, counted from 0.
    pub connection: u64,
}

impl Received {
    /// The target without its query.
    pub fn path(&self) -> &str {
        path(&self.target)
    }

    /// The value of the first field of this name.
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name)
    }

    /// The body read as a form, in order.
    pub fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }

    /// The value of a form parameter of the body.
    pub fn parameter(&self, name: &str) -> Option<String> {
        self.form().into_iter().find_map(|(key, value)| (key == name).then_some(value))
    }
}

/// The path of a request target.
pub(crate) fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// All that one server received.
#[derive(Debug)]
pub(crate) struct Log(watch::Sender<Vec<Received>>);

impl Log {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }

    pub(crate) fn add(&self, request: Received) {
        self.0.send_modify(|log| log.push(request));
    }

    pub(crate) fn matching(&self, wanted: impl Fn(&Received) -> bool) -> Vec<Received> {
        self.0.borrow().iter().filter(|request| wanted(request)).cloned().collect()
    }

    pub(crate) fn count(&self, path: &str) -> usize {
        count(&self.0.borrow(), path)
    }

    pub(crate) async fn arrived(&self, path: &str, requests: usize) {
        let mut log = self.0.subscribe();
        let arrival = log.wait_for(|log| count(log, path) >= requests);
        wait::within(&format!("{requests} requests to {path}"), arrival)
            .await
            .expect("the log lives as long as its server");
    }

    pub(crate) fn clear(&self) {
        self.0.send_modify(Vec::clear);
    }
}

fn count(log: &[Received], path: &str) -> usize {
    log.iter().filter(|request| request.path() == path).count()
}
