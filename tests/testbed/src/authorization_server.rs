//! A small OAuth 2.0 authorization server, in memory: token (RFC 6749), introspection (RFC 7662),
//! revocation (RFC 7009) and metadata (RFC 8414) endpoints over plain HTTP.

mod client_authentication;
mod client_certificate;
mod examples;
mod form;
mod introspection;
mod metadata;
mod oauth_error;
mod registry;
mod revocation;
mod token;
mod token_store;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response,
    body::Incoming,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use self::{form::Form, oauth_error::OAuthError, registry::Registry, token_store::TokenStore};
pub use self::{
    registry::{
        Client, GrantType, ORDERS_API, ORDERS_API_SECRET, ORDERS_AUDIENCE, SHOP, SHOP_SECRET,
    },
    token_store::AccessToken,
};
use crate::service::{FREE_PORT, Service};

/// How an authorization server is set up; the default has the embedded registrations.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens: a free loopback port by default.
    pub listen: SocketAddr,
    /// How long an access token lives: an hour by default.
    pub access_token_ttl: Duration,
    /// Its registered clients: [`Client::shop`] and [`Client::orders_api`] by default.
    pub clients: Vec<Client>,
    /// What its tokens begin with: nothing by default.
    pub token_prefix: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: FREE_PORT,
            access_token_ttl: Duration::from_hours(1),
            clients: vec![Client::shop(), Client::orders_api()],
            token_prefix: String::new(),
        }
    }
}

/// A running authorization server.
#[derive(Debug)]
pub struct AuthorizationServer {
    service: Service,
    state: Arc<State>,
}

impl AuthorizationServer {
    /// Starts it.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let state = Arc::new(State {
            issuer: format!("http://{}", listener.local_addr()?),
            access_token_ttl: options.access_token_ttl,
            registry: Registry::new(options.clients),
            tokens: TokenStore::new(options.token_prefix),
            calls: Calls::default(),
            ahead: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        let service =
            Service::start(listener, move |_, request| answer(Arc::clone(&shared), request))?;
        Ok(Self { service, state })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.service.address
    }

    /// Its issuer identifier, `http://ADDRESS`.
    pub fn issuer(&self) -> &str {
        &self.state.issuer
    }

    /// How often each endpoint was called.
    pub fn stats(&self) -> Stats {
        self.state.calls.stats()
    }

    /// Issues an access token without a call of the token endpoint.
    ///
    /// Panics if there is no client of this id, or it may not have this scope.
    pub fn issue(&self, client_id: &str, scope: &str) -> String {
        let client = self.state.registry.client(client_id).expect("a registered client");
        let scope = client.grantable_scope(Some(scope)).expect("a scope the client may have");
        let token = AccessToken::new(client, scope, self.state.now(), self.state.access_token_ttl);
        self.issue_as(token)
    }

    /// Issues an access token of which introspection says just this.
    pub fn issue_as(&self, token: AccessToken) -> String {
        self.state.tokens.issue(token)
    }

    /// Revokes an access token without a call of the revocation endpoint.
    pub fn revoke(&self, token: &str) {
        self.state.tokens.revoke(token);
    }

    /// Puts the server's clock ahead, so that its tokens expire without waiting.
    pub fn advance_clock(&self, by: Duration) {
        self.state.ahead.fetch_add(by.as_secs(), Relaxed);
    }

    /// Closes the port and every connection.
    pub async fn stop(self) {
        self.service.stop().await;
    }
}

/// Number of calls by endpoint, failed ones too.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Calls of the token endpoint.
    pub token: u64,
    /// Calls of the introspection endpoint.
    pub introspect: u64,
    /// Calls of the revocation endpoint.
    pub revoke: u64,
}

#[derive(Debug)]
struct State {
    issuer: String,
    access_token_ttl: Duration,
    registry: Registry,
    tokens: TokenStore,
    calls: Calls,
    /// How many seconds the clock has been put ahead.
    ahead: AtomicU64,
}

impl State {
    /// Seconds since 1970 (RFC 7519 `NumericDate`).
    fn now(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        now.as_secs() + self.ahead.load(Relaxed)
    }
}

#[derive(Debug, Default)]
struct Calls {
    token: AtomicU64,
    introspect: AtomicU64,
    revoke: AtomicU64,
}

impl Calls {
    fn stats(&self) -> Stats {
        Stats {
            token: self.token.load(Relaxed),
            introspect: self.introspect.load(Relaxed),
            revoke: self.revoke.load(Relaxed),
        }
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let answer = match path.as_str() {
        "/token" => {
            state.calls.token.fetch_add(1, Relaxed);
            post(&state, request, token::answer).await
        }
        "/introspect" => {
            state.calls.introspect.fetch_add(1, Relaxed);
            post(&state, request, introspection::answer).await
        }
        "/revoke" => {
            state.calls.revoke.fetch_add(1, Relaxed);
            post(&state, request, revocation::answer).await
        }
        "/.well-known/oauth-authorization-server" => get(&request, || metadata::document(&state)),
        "/stats" => get(&request, || {
            let Stats { token, introspect, revoke } = state.calls.stats();
            json!({"token": token, "introspect": introspect, "revoke": revoke})
        }),
        _ => Err(OAuthError::NotFound),
    };
    match answer {
        Ok(body) => json_response(200, &body),
        Err(error) => error.response(),
    }
}

/// An endpoint: what it makes of a client's form.
type Endpoint = fn(&State, &HeaderMap, &Form) -> Result<Value, OAuthError>;

async fn post(
    state: &State,
    request: Request<Incoming>,
    endpoint: Endpoint,
) -> Result<Value, OAuthError> {
    if request.method() != Method::POST {
        return Err(OAuthError::MethodNotAllowed("POST"));
    }
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_BODY)
        .collect()
        .await
        .map_err(|_| OAuthError::InvalidRequest("the body is broken or too long"))?
        .to_bytes();
    let form = Form::parse(&head.headers, &body)?;
    endpoint(state, &head.headers, &form)
}

fn get(request: &Request<Incoming>, document: impl Fn() -> Value) -> Result<Value, OAuthError> {
    if request.method() == Method::GET {
        Ok(document())
    } else {
        Err(OAuthError::MethodNotAllowed("GET"))
    }
}

fn json_response(status: u16, body: &Value) -> Response<Full<Bytes>> {
    // A successful revocation has nothing to say (RFC 7009 section 2.2).
    let body = if body.is_null() { String::new() } else { body.to_string() };
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .header(CACHE_CONTROL, "no-store")
        .body(Full::from(body))
        .expect("a valid status and fixed fields")
}

const MAX_BODY: usize = 64 * 1024;

#[cfg(test)]
mod tests;
