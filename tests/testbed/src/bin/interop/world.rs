//! What the steps are played with: the server, an Envoy that guards a service and asks it about tokens,
//! and an Envoy that gets tokens from it for callers that know nothing of OAuth.

use std::{
    cell::Cell,
    collections::BTreeSet,
    error::Error,
    fmt::Debug,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use oauth2_filter_testbed::{
    Headers,
    client::{Connection, Request, Response},
    envoy::{Bootstrap, Cluster, Envoy, Listener, Options, WasmPlugin, merge},
    examples::InboundYaml,
    process::{Process, end_of_log},
    tls::{Authority, Identity, certificate_files},
    upstream::Upstream,
    wait, workspace,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinSet};

use super::Server;

/// A value, or what did not come out right.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Configurations of the filter by the name of their listener.
pub(crate) type Documents = Vec<(&'static str, Value)>;

/// A server that runs, before there is an Envoy.
pub(crate) struct Setup {
    /// Which it is.
    pub(crate) server: &'static Server,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Where it speaks TLS, if it does.
    tls: SocketAddr,
    /// Who vouches for it there, and for its clients.
    authority: Authority,
    /// The certificate of the client that authenticates with it.
    identity: Identity,
    /// Private keys.
    keys: TempDir,
    log: PathBuf,
    _process: Process,
    /// A user's refresh token, if the server has a client for it.
    pub(crate) refresh_token: String,
}

impl Setup {
    async fn start(server: &'static Server) -> Outcome<Self> {
        let folder = folder(server)?;
        let (address, tls) = (free_address()?, free_address()?);
        let authority = Authority::new();
        let keys = certificate_files(&authority.issue(SERVER_NAME), &authority);
        let log = folder.join("server.log");
        let output = File::create(&log)?;
        let mut command = script(server, "start", &folder);
        command.env("PORT", address.port().to_string()).env("TLS_PORT", tls.port().to_string());
        command.env("KEYS", keys.path()).stdout(output.try_clone()?).stderr(output);
        let process = Process::start(command)?;
        let listens = wait::poll("it to listen", START_LIMIT, async || {
            let connected = TcpStream::connect(address).await.is_ok();
            (connected || process.exit_status().is_some()).then_some(connected)
        });
        if !listens.await.unwrap_or(false) {
            return Err(end_of_log(server.name, &fs::read_to_string(log)?).into());
        }
        let mut setup = Self {
            identity: authority.issue("shop.test"),
            refresh_token: String::new(),
            _process: process,
            server,
            address,
            tls,
            authority,
            keys,
            log,
        };
        setup.register().await?;
        if let Some(client) = server.refresher {
            let tokens = user_tokens(address, server, client).await?;
            text(&tokens, "refresh_token").clone_into(&mut setup.refresh_token);
        }
        Ok(setup)
    }

    /// Registers scopes, clients and a user through the server's administration, where `setup.json`
    /// says how: pairs of a path and a body.
    async fn register(&self) -> Outcome {
        let file = scripts(self.server).join("setup.json");
        let Ok(steps) = fs::read_to_string(file) else { return Ok(()) };
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| error.to_string())?;
        let steps = steps.replace("ISSUER", &format!("http://{}", self.address));
        let steps = steps.replace("KEY", &BASE64_STANDARD.encode(key));
        let mut session = None;
        for (path, body) in serde_json::from_str::<Vec<(String, Value)>>(&steps)? {
            let request = Request::post(&format!("/api{path}"), body.to_string())
                .header("content-type", "application/json");
            let request = session
                .iter()
                .fold(request, |request, session: &String| request.header("cookie", session));
            let answer = request.send(self.address).await?;
            if answer.status != 200 {
                return Err(format!("{path}: {} {}", answer.status, answer.text()).into());
            }
            let cookie = answer.header("set-cookie");
            session = session.or(cookie.and_then(|c| c.split(';').next().map(ToOwned::to_owned)));
        }
        Ok(())
    }

    /// The document of `envoy/inbound.yaml` with such an `introspection`, in which `x-user` gets the
    /// client's id: not every server names a subject for a client's own token.
    pub(crate) fn guard(&self, introspection: Value) -> Value {
        let mut document = InboundYaml::read().document();
        let inbound = &mut document["inbound"];
        inbound["introspection"] = self.introspection(introspection);
        inbound["forward"]["claims"]["x-user"] = "client_id".into();
        document
    }

    /// The document of a service that introspects the token of each request, caches no response, and
    /// forwards what it has learned.
    pub(crate) fn uncached(&self, introspection: Value, audience: &Value) -> Value {
        json!({"inbound": {
            "introspection": self.introspection(introspection),
            "audience": audience,
            "scope": READ,
            "cache": {"max_ttl": "0s", "negative_ttl": "0s"},
            "forward": {
                "token": true,
                "claims": {
                    "x-client": "client_id", "x-user": "sub", "x-scope": "scope",
                    "x-actor": "act.sub",
                },
            },
        }})
    }

    fn introspection(&self, more: Value) -> Value {
        let endpoint = format!("http://{}{}", self.address, self.server.introspection);
        with(json!({"endpoint": endpoint, "cluster": "as"}), more)
    }

    /// A client of this id, grant and credentials.
    pub(crate) fn client(&self, id: &str, grant_type: &str, more: Value) -> Value {
        let endpoint = format!("http://{}{}", self.address, self.server.token);
        let client = json!({
            "grant_type": grant_type, "endpoint": endpoint, "cluster": "as", "client_id": id,
            "scope": READ,
        });
        with(client, more)
    }

    /// What authenticates with `private_key_jwt`, by the key of this name, which the server has left.
    pub(crate) fn signing(&self, key: &str) -> Value {
        let private_key = fs::read_to_string(self.keys.path().join(format!("{key}.pem")));
        json!({
            "auth_method": "private_key_jwt",
            "private_key": private_key.expect("a key"),
            "kid": key,
            // The server's issuer identifier.
            "aud": format!("http://{}", self.address),
        })
    }

    /// The server with TLS, to which Envoy shows the client's certificate.
    fn tls_cluster(&self) -> Cluster {
        Cluster::new("as-tls", self.tls).with(json!({"transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": "type.googleapis.com/\
                    envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": SERVER_NAME,
                "common_tls_context": {
                    "tls_certificates": [self.identity.tls_certificate()],
                    "validation_context": {
                        "trusted_ca": {"inline_string": self.authority.pem()},
                        "match_typed_subject_alt_names": [
                            {"san_type": "DNS", "matcher": {"exact": SERVER_NAME}},
                        ],
                    },
                },
            },
        }}))
    }
}

/// All that runs.
pub(crate) struct World {
    pub(crate) setup: Setup,
    /// Guards the service.
    pub(crate) guard: Envoy,
    /// Gets tokens; what it sends goes to the listener [`GUARDED`] of the other.
    pub(crate) client: Envoy,
    _service: Upstream,
    /// The next path that nobody has asked for.
    fresh: Cell<u32>,
}

impl World {
    /// Starts the server, and an Envoy for each direction.
    pub(crate) async fn start(server: &'static Server) -> Outcome<Self> {
        let setup = Setup::start(server).await?;
        let service = Upstream::start().await;
        let guard = envoy(&setup, service.address(), (server.guards)(&setup)).await?;
        let client = envoy(&setup, guard.address(GUARDED), (server.clients)(&setup)).await?;
        Ok(Self { setup, guard, client, _service: service, fresh: Cell::new(1001) })
    }

    /// The ends of all logs.
    pub(crate) fn logs(&self) -> String {
        let logs = [
            ("Envoy", self.guard.log()),
            ("Envoy as a client", self.client.log()),
            (self.setup.server.name, self.server_log()),
        ];
        logs.map(|(name, log)| end_of_log(name, &log)).join("\n")
    }

    /// What the server has logged.
    pub(crate) fn server_log(&self) -> String {
        fs::read_to_string(&self.setup.log).unwrap_or_default()
    }

    /// A token of the client `svc`, with these parameters besides.
    pub(crate) async fn token(&self, parameters: &[(&str, &str)]) -> Outcome<String> {
        let grant = [("grant_type", "client_credentials"), ("scope", READ)];
        let request = Request::form(self.setup.server.token, &[&grant, parameters].concat());
        token_of(&request.basic("svc", "svc-secret").send(self.setup.address).await?)
    }

    /// A user's tokens.
    pub(crate) async fn user_tokens(&self) -> Outcome<Value> {
        let Setup { address, server, .. } = self.setup;
        user_tokens(address, server, server.user).await
    }

    /// Revokes a token of this client at the server.
    pub(crate) async fn revoke(&self, (id, secret): (&str, &str), token: &str) -> Outcome {
        let request = Request::form(self.setup.server.revocation, &[("token", token)]);
        let answer = request.basic(id, secret).send(self.setup.address).await?;
        same("the revocation endpoint's status", answer.status, 200)
    }

    /// What the server tells under this path.
    async fn told(&self, path: &str) -> Outcome<Value> {
        Ok(Request::get(path).send(self.setup.address).await?.json())
    }

    /// How many tokens were introspected, as the server tells; Envoy's count where it does not.
    pub(crate) async fn introspections(&self) -> Outcome<u64> {
        if !self.setup.server.tells {
            return Ok(self.guard.stat("cluster.as.upstream_rq_total").await.unwrap_or_default());
        }
        Ok(self.told("/stats").await?[self.setup.server.introspection].as_u64().unwrap_or_default())
    }

    /// What the server tells of a client's token requests.
    pub(crate) async fn grants(&self, client_id: &str) -> Outcome<Vec<Value>> {
        let all = self.told("/grants").await?;
        let all = all.as_array().into_iter().flatten();
        Ok(all.filter(|grant| grant["client_id"] == client_id).cloned().collect())
    }

    /// A request that is forwarded: the headers with which it has reached the service.
    pub(crate) async fn arrives(
        &self,
        envoy: &Envoy,
        listener: &str,
        request: &Request,
    ) -> Outcome<Headers> {
        arrival(&request.send(envoy.address(listener)).await?)
    }

    /// A request that is rejected with this status and, in Envoy's access log, this reason.
    pub(crate) async fn rejected(
        &self,
        envoy: &Envoy,
        listener: &str,
        token: Option<&str>,
        (status, reason): (u16, &str),
    ) -> Outcome {
        // A path of its own, by which the request is found in the access log.
        let path = format!("/orders/{}", self.fresh.replace(self.fresh.get() + 1));
        let request = token.into_iter().fold(Request::get(&path), Request::bearer);
        let answer = request.send(envoy.address(listener)).await?;
        same("the status", answer.status, status)?;
        let entry = wait::poll("the access log", wait::LIMIT, async || {
            envoy.access_log(listener).into_iter().find(|entry| entry["path"] == path)
        });
        same("the reason", text(&entry.await?, "details"), reason)
    }

    /// Sends two requests without a token through the client: both must reach the service with one
    /// token of this client, which is returned.
    pub(crate) async fn serves(&self, listener: &str, client_id: &str) -> Outcome<String> {
        let headers = self.arrives(&self.client, listener, &Request::get(ORDER)).await?;
        same("x-client", headers.all("x-client").join(", ").as_str(), client_id)?;
        same("x-scope", headers.all("x-scope").join(", ").as_str(), READ)?;
        let token = token_on(&headers)?;
        let next = self.arrives(&self.client, listener, &Request::get(ORDER)).await?;
        same("the next request's token", token_on(&next)?, token.clone())?;
        Ok(token)
    }

    /// Sends requests while the service rejects this token, until one arrives with another, which is
    /// returned. Each worker may learn it by itself, and may have had an older one.
    pub(crate) async fn replaces(&self, listener: &str, token: &str) -> Outcome<String> {
        let (address, rejected) = (self.client.address(listener), Cell::new(0));
        let arrived = wait::poll("a request to reach the service", wait::LIMIT, async || {
            let answer = Request::get(ORDER).send(address).await;
            let is_rejected = answer.as_ref().is_ok_and(|answer| answer.status == 401);
            rejected.set(rejected.get() + u32::from(is_rejected));
            (!is_rejected).then_some(answer)
        });
        let next = token_on(&arrival(&arrived.await??)?)?;
        if next == token || rejected.get() > 2 * WORKERS {
            return Err(format!("the old token, or {} rejections", rejected.get()).into());
        }
        Ok(next)
    }

    /// Sends requests on many connections, one after the other on each, until `done`: every one must
    /// reach the service, and every worker must have had some. The tokens with which they did.
    pub(crate) async fn load(
        &self,
        listener: &str,
        done: impl AsyncFn() -> Outcome<bool>,
    ) -> Outcome<BTreeSet<String>> {
        let before = self.connections().await;
        let stop = Arc::new(AtomicBool::new(false));
        let mut loads = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let connection = Connection::open(self.client.address(listener)).await?;
            loads.spawn(requests(connection, Arc::clone(&stop)));
        }
        let done = wait::poll("what the load is for", LOAD_LIMIT, async || {
            done().await.map_or_else(|error| Some(Err(error)), |done| done.then_some(Ok(())))
        })
        .await;
        stop.store(true, Relaxed);
        let mut tokens = BTreeSet::new();
        for load in loads.join_all().await {
            tokens.extend(load?);
        }
        done??;
        let connected = self.connections().await;
        if before.iter().zip(&connected).any(|(before, after)| before == after) {
            return Err("a worker had nothing to do".into());
        }
        Ok(tokens)
    }

    /// How many connections each worker has taken so far.
    async fn connections(&self) -> Vec<u64> {
        let stats = self.client.stats("worker_.*downstream_cx_total").await;
        let of = |worker: u32| {
            let part = format!(".worker_{worker}.");
            stats.iter().filter(|(name, _)| name.contains(&part)).map(|(_, count)| count).sum()
        };
        (0..WORKERS).map(of).collect()
    }
}

async fn requests(
    mut connection: Connection,
    stop: Arc<AtomicBool>,
) -> Result<BTreeSet<String>, String> {
    let mut tokens = BTreeSet::new();
    while !stop.load(Relaxed) {
        let answer = connection.send(&Request::get(ORDER)).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let token = arrival(&answer).and_then(|headers| token_on(&headers));
        tokens.insert(token.map_err(|error| error.to_string())?);
    }
    Ok(tokens)
}

/// Starts Envoy with these configurations of the filter before a service.
async fn envoy(setup: &Setup, service: SocketAddr, documents: Documents) -> Outcome<Envoy> {
    let bootstrap = Bootstrap::new().cluster("service", service).cluster("as", setup.address);
    let bootstrap = bootstrap.custom_cluster(setup.tls_cluster());
    let bootstrap = documents.into_iter().fold(bootstrap, |bootstrap, (name, document)| {
        let filter = WasmPlugin::new(&document).filter("oauth2");
        bootstrap.listener(Listener::to(name, "service").filter(filter))
    });
    let options = Options { concurrency: WORKERS, ..Options::default() };
    Ok(Envoy::start_with(bootstrap, &options).await?)
}

async fn user_tokens(
    address: SocketAddr,
    server: &Server,
    (id, secret): (&str, &str),
) -> Outcome<Value> {
    let grant = [
        ("grant_type", "password"),
        ("username", "alice"),
        ("password", "alice-pw"),
        ("scope", READ),
    ];
    let request = Request::form(server.token, &[&grant, server.parameters].concat());
    let answer = request.basic(id, secret).send(address).await?;
    same("the token endpoint's status", answer.status, 200)?;
    Ok(answer.json())
}

/// The command that installs or starts a server.
pub(crate) fn script(server: &Server, what: &str, folder: &PathBuf) -> Command {
    let mut command = Command::new("sh");
    command.current_dir(workspace()).arg(scripts(server).join("server.sh")).arg(what).arg(folder);
    command
}

fn scripts(server: &Server) -> PathBuf {
    workspace().join("tests/interop").join(server.folder)
}

/// The folder of a server, made if it is not there; it goes with `target`.
pub(crate) fn folder(server: &Server) -> std::io::Result<PathBuf> {
    let folder = workspace().join("target/interop").join(server.folder);
    fs::create_dir_all(&folder)?;
    folder.canonicalize()
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// The token in the response of a token endpoint.
pub(crate) fn token_of(answer: &Response) -> Outcome<String> {
    same("the token endpoint's status", answer.status, 200)?;
    Ok(answer.json()["access_token"].as_str().ok_or("no access_token")?.to_owned())
}

/// The headers with which a request reached the service, which tells them.
pub(crate) fn arrival(answer: &Response) -> Outcome<Headers> {
    if answer.status != 200 {
        return Err(format!("the status is {}: {}", answer.status, answer.text()).into());
    }
    let told = answer.json();
    let mut headers = Headers::new();
    for field in told["headers"].as_array().ok_or("the service has not answered")? {
        headers.push(text(field, 0), text(field, 1));
    }
    Ok(headers)
}

/// The token with which a request has reached the service.
pub(crate) fn token_on(headers: &Headers) -> Outcome<String> {
    let [value] = &*headers.all("authorization") else { return Err("not one token".into()) };
    Ok(value.strip_prefix("Bearer ").ok_or("no bearer token")?.to_owned())
}

/// Compares.
#[allow(clippy::needless_pass_by_value)] // Values read better where it is called.
pub(crate) fn same<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what} is {found:?}, not {expected:?}").into())
}

/// A member that is a string; `""` if there is none.
pub(crate) fn text(value: &Value, member: impl serde_json::value::Index) -> &str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// An object with more members.
pub(crate) fn with(mut object: Value, more: Value) -> Value {
    merge(&mut object, more);
    object
}

/// A document with one client, for every request.
pub(crate) fn one(client: &Value) -> Value {
    json!({"outbound": {"clients": {"orders": client}}})
}

/// The scope that reading orders needs.
pub(crate) const READ: &str = "orders:read";
/// The listener of the steps that are the same for all servers.
pub(crate) const STORY: &str = "story";
/// The listener that requests of the client go to.
pub(crate) const GUARDED: &str = "guarded";
/// Whom tokens are for.
pub(crate) const AUDIENCE: &str = "https://orders.example.com";
/// What is asked for where it does not matter.
pub(crate) const ORDER: &str = "/orders/1";
/// The server's name in its certificate.
pub(crate) const SERVER_NAME: &str = "as.test";
const WORKERS: u32 = 2;
const CONNECTIONS: usize = 32;
const START_LIMIT: Duration = Duration::from_secs(30);
const LOAD_LIMIT: Duration = Duration::from_mins(1);
