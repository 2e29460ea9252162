//! The authorization server of a story: how a client talks to it, and how its work is counted.

use std::{io, net::SocketAddr};

use serde_json::Value;

use crate::authorization_server::{SHOP, SHOP_SECRET};
use crate::client::Request;

/// An authorization server and a client of it that may have [`READ`] and [`WRITE`].
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The path of its token endpoint.
    pub token_path: &'static str,
    /// The path of its revocation endpoint.
    pub revocation_path: &'static str,
    /// The client's id.
    pub client_id: &'static str,
    /// The client's secret.
    pub client_secret: &'static str,
    /// What its token endpoint wants to know besides.
    pub token_parameters: &'static [(&'static str, &'static str)],
    /// Who counts its introspections.
    pub introspections: Count,
}

impl Server {
    /// Our own authorization server and its client [`SHOP`].
    pub const fn ours(address: SocketAddr) -> Self {
        Self {
            address,
            token_path: "/token",
            revocation_path: "/revoke",
            client_id: SHOP,
            client_secret: SHOP_SECRET,
            token_parameters: &[],
            introspections: Count::Own { address, path: "/stats", member: "introspect" },
        }
    }

    /// The request for a token with this scope.
    pub fn token_request(&self, scope: &str) -> Request {
        let grant = [("grant_type", "client_credentials"), ("scope", scope)];
        self.request(self.token_path, &[&grant, self.token_parameters].concat())
    }

    /// The request that revokes a token.
    pub fn revocation_request(&self, token: &str) -> Request {
        self.request(self.revocation_path, &[("token", token)])
    }

    /// The request of the client for one of the endpoints.
    pub fn request(&self, path: &str, parameters: &[(&str, &str)]) -> Request {
        Request::form(path, parameters).basic(self.client_id, self.client_secret)
    }
}

/// Who counts introspections.
#[derive(Clone, Copy, Debug)]
pub enum Count {
    /// The authorization server itself, in a JSON document.
    Own {
        /// Where it listens.
        address: SocketAddr,
        /// The document's path.
        path: &'static str,
        /// The document's member that is the number; absent, it is 0.
        member: &'static str,
    },
    /// Envoy, as requests to its cluster `as`.
    Envoy {
        /// Where its admin interface listens.
        admin: SocketAddr,
    },
}

impl Count {
    /// Who that is, for people.
    pub(super) const fn whose(&self) -> &'static str {
        match self {
            Self::Own { .. } => "the authorization server's own count",
            Self::Envoy { .. } => "Envoy's count of requests to the authorization server",
        }
    }

    /// Who is asked, and what.
    pub(super) fn request(&self) -> (SocketAddr, Request) {
        match *self {
            Self::Own { address, path, .. } => (address, Request::get(path)),
            Self::Envoy { admin } => (admin, Request::get(&format!("/stats?filter={STAT}"))),
        }
    }

    /// The number now.
    pub(super) async fn now(&self) -> io::Result<u64> {
        let (address, request) = self.request();
        let answer = request.send(address).await?.text();
        let number = match self {
            Self::Own { member, .. } => {
                let document: Value = serde_json::from_str(&answer)?;
                document.get(member).map_or(Some(0), Value::as_u64)
            }
            Self::Envoy { .. } => answer.rsplit(' ').next().and_then(|n| n.trim().parse().ok()),
        };
        number.ok_or_else(|| io::Error::other(format!("no number stands in {answer:?}")))
    }
}

/// The scope that reading orders needs.
pub const READ: &str = "orders:read";
/// The scope that changing orders needs.
pub const WRITE: &str = "orders:write";
const STAT: &str = "cluster.as.upstream_rq_total";
