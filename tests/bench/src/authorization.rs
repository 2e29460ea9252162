//! What proxies ask: an authorization server's introspection and token endpoints, and the service
//! that `ext_authz` asks. Each proxy has paths of its own, so that its calls can be counted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{io, thread};

use crate::server::{self, Answer, Request};
use crate::tokens::Tokens;

/// A running server.
#[derive(Debug)]
pub struct AuthorizationServer {
    /// Where it listens.
    pub address: SocketAddr,
    calls: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl AuthorizationServer {
    /// Starts one that takes this long for each introspection.
    pub fn start(tokens: Arc<Tokens>, delay: Duration) -> io::Result<Self> {
        let calls = Arc::new(Mutex::new(BTreeMap::new()));
        let counted = Arc::clone(&calls);
        let address = server::serve(move |request| {
            let (path, proxy) = split(request.path);
            let mut calls = counted.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = calls.get_mut(proxy) {
                *count += 1;
            } else {
                calls.insert(proxy.to_owned(), 1);
            }
            drop(calls);
            answer(path, request, &tokens, delay)
        })?;
        Ok(Self { address, calls })
    }

    /// How often a proxy has asked.
    pub fn calls(&self, proxy: &str) -> u64 {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(proxy).copied().unwrap_or(0)
    }
}

/// The endpoint, and who asks: `/introspect/NAME`; `ext_authz` puts the request's path behind.
fn split(path: &str) -> (&str, &str) {
    let mut segments = path.splitn(4, '/').skip(1);
    (segments.next().unwrap_or_default(), segments.next().unwrap_or_default())
}

fn answer(endpoint: &str, request: &Request<'_>, tokens: &Tokens, delay: Duration) -> Answer {
    if endpoint != "token" && !delay.is_zero() {
        thread::sleep(delay);
    }
    match endpoint {
        "introspect" => {
            let mut parameters = request.body.split('&');
            let token = parameters.find_map(|parameter| parameter.strip_prefix("token="));
            (200, tokens.introspection(token.unwrap_or_default()))
        }
        "authorize" => {
            let token = request.authorization.strip_prefix("Bearer ").unwrap_or_default();
            (if tokens.contain(token) { 200 } else { 401 }, String::new())
        }
        "token" => {
            let token = &tokens.all()[0];
            let answer =
                format!(r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":86400}}"#);
            (200, answer)
        }
        _ => (404, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Connection;

    #[test]
    fn calls_are_counted_for_each_proxy() {
        let tokens = Arc::new(Tokens::sign(1).expect("a token"));
        let server = AuthorizationServer::start(Arc::clone(&tokens), Duration::ZERO);
        let server = server.expect("a free port");
        let mut connection = Connection::open(server.address).expect("it serves");
        let bearer = format!("authorization: Bearer {}\r\n", tokens.all()[0]);
        for path in ["/introspect/a", "/authorize/a/orders/1", "/token/b"] {
            connection.exchange(&format!("GET {path} HTTP/1.1\r\n{bearer}\r\n")).expect("200");
        }
        assert_eq!(["a", "b", "c"].map(|proxy| server.calls(proxy)), [2, 1, 0]);
        let error = connection.exchange("GET /authorize/a/ HTTP/1.1\r\n\r\n").expect_err("401");
        assert!(error.to_string().contains("401"), "{error}");
    }
}
