//! Envoy with the filter between a client and all services.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread;

use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{
    Bootstrap, Cluster, Envoy, Listener, Options, StartError, WasmPlugin, merge,
};
use oauth2_filter_testbed::scripted::{Answer, ScriptedServer};
use serde_json::{Value, json};

use crate::reading::Reading;
use crate::services::{SERVICES, Services};

/// Names the service that a request goes to.
const SERVICE: &str = "x-service";

/// All that a test needs, running.
pub struct SetUp {
    /// The authorization server.
    pub server: ScriptedServer,
    /// The Envoy between.
    pub envoy: Envoy,
    services: Arc<Services>,
}

impl SetUp {
    /// Starts an Envoy with these listeners; `None` if the services are to be left out.
    pub async fn start(listeners: impl IntoIterator<Item = Listener>) -> Option<Self> {
        let set_up = Self::try_start(listeners).await?;
        Some(set_up.unwrap_or_else(|error| panic!("{error}")))
    }

    /// The same, where Envoy may refuse its configuration.
    pub async fn try_start(
        listeners: impl IntoIterator<Item = Listener>,
    ) -> Option<Result<Self, StartError>> {
        let services = Services::start().await?;
        let server = ScriptedServer::start().await;
        server.on_each("/introspect", |call| {
            Answer::json(200, &introspected(call.parameter("token").as_deref()))
        });
        let mut bootstrap = Bootstrap::new().cluster("as", server.address());
        for (name, address) in services.addresses() {
            bootstrap = bootstrap.custom_cluster(with_trailers(Cluster::new(name, address)));
        }
        let bootstrap = listeners.into_iter().fold(bootstrap, Bootstrap::listener);
        // One worker, since each asks for itself.
        let options = Options { concurrency: 1, ..Options::default() };
        let envoy = Envoy::start_with(bootstrap, &options).await;
        Some(envoy.map(|envoy| Self { server, envoy, services }))
    }

    /// Sends a request through a listener to a service.
    pub async fn send(
        &self,
        http: Http,
        listener: &str,
        service: &str,
        request: &Request,
    ) -> Outcome {
        let address = self.envoy.address(listener);
        let request = request.clone().header(SERVICE, service);
        let answer = match http {
            Http::One => request.send(address).await,
            Http::Two => request.send_http2(address).await,
        };
        Outcome::of(answer)
    }

    /// Sends a request over HTTP/1.1 that must arrive.
    pub async fn arrives(&self, listener: &str, service: &str, request: &Request) -> Reading {
        match self.send(Http::One, listener, service, request).await {
            Outcome::Read(reading) => reading,
            other => panic!("{service}: {request:?} does not arrive: {other}"),
        }
    }
}

impl Drop for SetUp {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.services.logs());
        }
    }
}

/// What comes of a request.
pub enum Outcome {
    /// A service has read it.
    Read(Reading),
    /// It was refused: by the filter, by Envoy, or by the service's own server.
    Refused(Response),
    /// There is no answer: the client cannot send it, or Envoy closes the connection.
    Lost(io::Error),
}

impl Outcome {
    /// What an answer says. Panics if none has come in time.
    pub fn of(answer: io::Result<Response>) -> Self {
        match answer.map(|answer| (Reading::of(&answer), answer)) {
            Ok((Some(reading), _)) => Self::Read(reading),
            Ok((None, answer)) => Self::Refused(answer),
            Err(error) if error.kind() == ErrorKind::TimedOut => panic!("{error}"),
            Err(error) => Self::Lost(error),
        }
    }

    /// The reading, if there is one.
    pub fn reading(&self) -> Option<&Reading> {
        match self {
            Self::Read(reading) => Some(reading),
            _ => None,
        }
    }

    /// The status of a refusal.
    pub fn refusal(&self) -> Option<u16> {
        match self {
            Self::Refused(answer) => Some(answer.status),
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(reading) => write!(f, "read as {reading}"),
            Self::Refused(answer) => write!(f, "refused with {} {}", answer.status, answer.text()),
            Self::Lost(error) => write!(f, "lost: {error}"),
        }
    }
}

/// What has gone wrong in the rows of a table, reported together at the end.
#[derive(Default)]
pub struct Wrong(Vec<String>);

impl Wrong {
    /// Notes a row unless it holds.
    pub fn unless(&mut self, holds: bool, row: impl fmt::Display, outcome: &Outcome) {
        if !holds {
            let shown = self.0.len() < SHOWN;
            let outcome = if shown { format!("\n    {outcome}") } else { String::new() };
            self.0.push(format!("{row}{outcome}"));
        }
    }

    /// Panics if there is such a row.
    pub fn none(self) {
        assert!(self.0.is_empty(), "{} rows:\n{}", self.0.len(), self.0.join("\n"));
    }
}

/// So many rows are reported with what came of them.
const SHOWN: usize = 10;

/// The versions of HTTP.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Http {
    /// HTTP/1.1.
    One,
    /// HTTP/2.
    Two,
}

pub const BOTH: [Http; 2] = [Http::One, Http::Two];

/// What the authorization server says of a token.
fn introspected(token: Option<&str>) -> Value {
    match token {
        Some("alice-token") => json!({"active": true, "sub": "alice", "scope": "read"}),
        Some("admin-token") => json!({"active": true, "sub": "root", "scope": "read admin"}),
        _ => json!({"active": false}),
    }
}

/// A listener without anything of Envoy's that makes paths and hosts uniform.
pub fn listener(name: &str, document: &Value) -> Listener {
    listener_to(name, document, &["/"])
}

/// The same, with a route for each of these prefixes, whose name the services see.
pub fn listener_to(name: &str, document: &Value, prefixes: &[&str]) -> Listener {
    let routes: Vec<_> = prefixes.iter().flat_map(|prefix| routes(prefix, prefix)).collect();
    guarded(Listener::routing(name, json!(routes)), document)
}

/// A listener with the filter.
pub fn guarded(listener: Listener, document: &Value) -> Listener {
    listener
        .filter(WasmPlugin::new(document).filter("oauth2"))
        // Envoy closes a connection that is invalid HTTP/2 after a second otherwise.
        .connection_manager(json!({"delayed_close_timeout": "0.010s"}))
}

/// What Envoy has to make paths uniform, which the documentation recommends.
pub fn normalizing(listener: Listener) -> Listener {
    listener.connection_manager(json!({"normalize_path": true, "merge_slashes": true}))
}

/// The routes of one prefix to all services, which see this name of it.
pub fn routes(prefix: &str, name: &str) -> Vec<Value> {
    let route = |service: &&str| {
        json!({
            "match": {
                "prefix": prefix,
                "headers": [{"name": SERVICE, "string_match": {"exact": service}}],
            },
            "route": {"cluster": service},
            "request_headers_to_add": [{
                "header": {"key": "x-route", "value": name},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }],
        })
    };
    SERVICES.iter().map(route).collect()
}

/// A document with this `inbound` object.
pub fn inbound(more: Value) -> Value {
    let mut document = json!({
        "inbound": {
            "introspection": {
                "endpoint": "http://as.test/introspect", "cluster": "as",
                "client_id": "rs", "client_secret": "rs-secret", "timeout": "30s",
            },
        },
    });
    merge(&mut document["inbound"], more);
    document
}

/// A document with one client that has the token `our-token`, and these rules.
pub fn outbound(client: Value, rules: &Value) -> Value {
    let mut given = json!({"grant_type": "direct_token", "access_token": "our-token"});
    merge(&mut given, client);
    json!({"outbound": {"clients": {"ours": given}, "rules": rules}})
}

/// HTTP/1.1 with trailers.
fn with_trailers(cluster: Cluster) -> Cluster {
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    cluster.with(json!({"typed_extension_protocol_options": {options: {
        "@type": format!("type.googleapis.com/{options}"),
        "explicit_http_config": {"http_protocol_options": {"enable_trailers": true}},
    }}}))
}
