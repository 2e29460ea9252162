//! What reached the service, as the answer of [`Upstream`](crate::upstream::Upstream) tells.

use serde_json::Value;

use crate::{Headers, client::Response};

/// A request as it reached the service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Arrival {
    /// Its method and target.
    pub line: String,
    /// Its headers.
    pub headers: Headers,
}

impl Arrival {
    /// Reads the service's answer; `None` for an answer that is not the service's.
    pub fn told_by(answer: &Response) -> Option<Self> {
        let told: Value = serde_json::from_slice(&answer.body).ok()?;
        let line = format!("{} {}", told["method"].as_str()?, told["path"].as_str()?);
        let mut headers = Headers::new();
        for field in told["headers"].as_array()? {
            headers.push(field[0].as_str()?, field[1].as_str()?);
        }
        Some(Self { line, headers })
    }

    /// The headers, without those that say nothing of the caller.
    pub(super) fn notable(&self) -> impl Iterator<Item = String> {
        let notable = |name: &str| !PLUMBING.iter().any(|plumbing| name.starts_with(plumbing));
        self.headers
            .iter()
            .filter(move |(name, _)| notable(name))
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value)))
    }
}

/// How the names of headers begin that proxies and HTTP itself need.
const PLUMBING: [&str; 6] =
    ["host", "content-", "transfer-encoding", "x-forwarded-", "x-request-id", "x-envoy-"];
