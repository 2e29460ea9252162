//! What the steps are played with: the server, an Envoy that guards a service and asks it about tokens,
//! and an Envoy that gets tokens from it for callers that know nothing of OAuth.

use std::{
    cell::Cell,
    collections::BTreeSet,
    error::Error,
    fmt::Debug,
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use oauth2_filter_testbed::{
    Headers,
    client::{Connection, Request, Response},
    envoy::{Bootstrap, Cluster, Envoy, Listener, Options, WasmPlugin, merge},
    examples::InboundYaml,
    process::end_of_log,
    tls::{Authority, Identity, certificate_files},
    upstream::Upstream,
    wait,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::server::{Server, scripts};

/// A value, or what did not come out right.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A server that runs, before there is an Envoy.
pub(crate) struct Setup {
    /// Its `table.json`.
    pub(crate) table: Value,
    pub(crate) server: Server,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// Who vouches for it where it speaks TLS, and for its clients.
    authority: Authority,
    /// The certificate of the client that authenticates with it, and the key of those that sign.
    identity: Identity,
    /// A user's refresh token, if the server has a client for it.
    pub(crate) refresh_token: String,
}

impl Setup {
    async fn start(folder: &str) -> Outcome<Self> {
        let table = fs::read_to_string(scripts(folder).join("table.json"))?;
        let authority = Authority::new();
        let identity = authority.issue("shop.test");
        let keys = certificate_files(&authority.issue(SERVER_NAME), &authority);
        fs::write(keys.path().join("clients.jwks"), identity.jwks().to_string())?;
        let server = Server::start(folder, keys, table.contains("{admin}")).await?;
        // The keys with which a client signs, if the server has left them.
        let key = |name: &str| {
            escaped(&fs::read_to_string(server.keys.path().join(name)).unwrap_or_default())
        };
        let table = table
            .replace("{server}", &format!("http://{}", server.addresses.main))
            .replace("{admin}", &format!("http://{}", server.addresses.admin))
            .replace("{tls}", &format!("https://{}", server.addresses.tls_authority()))
            .replace("{client_key}", &escaped(&identity.key_pem()))
            .replace("{rsa}", &key("rsa.pem"))
            .replace("{ec}", &key("ec.pem"));
        let mut setup = Self {
            table: serde_json::from_str(&table)?,
            address: server.addresses.main,
            refresh_token: String::new(),
            server,
            authority,
            identity,
        };
        setup
            .register(folder)
            .await
            .map_err(|error| format!("{error}\n{}", end_of_log(folder, &setup.server.log())))?;
        if !setup.table["refresher"].is_null() {
            let tokens = setup.user_tokens("refresher").await?;
            text(&tokens, "refresh_token").clone_into(&mut setup.refresh_token);
        }
        Ok(setup)
    }

    /// A member of the table that is a string.
    pub(crate) fn text(&self, member: &str) -> &str {
        text(&self.table, member)
    }

    /// What a request for a token has besides.
    pub(crate) fn parameters(&self) -> Vec<(&str, &str)> {
        let all = self.table["parameters"].as_array().into_iter().flatten();
        all.map(|pair| (text(pair, 0), text(pair, 1))).collect()
    }

    /// Registers scopes, clients and a user through the server's administration, where `setup.json`
    /// says how.
    async fn register(&self, folder: &str) -> Outcome {
        let file = scripts(folder).join("setup.json");
        let Ok(steps) = fs::read_to_string(file) else { return Ok(()) };
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| error.to_string())?;
        let jwks = self.identity.jwks();
        let steps = steps
            .replace("{server}", &format!("http://{}", self.address))
            .replace("{key}", &BASE64_STANDARD.encode(key))
            .replace("\"{jwks}\"", &jwks.to_string())
            .replace("\"{jwk}\"", &jwks["keys"][0].to_string())
            .replace("{jwks as text}", &escaped(&jwks.to_string()));
        self.administer(&serde_json::from_str(&steps)?).await
    }

    /// Sends requests to the server's administration: pairs of a path, after a method other than POST,
    /// and a body, which is a form if it is text. A cookie or an access token in a response goes on the
    /// next requests.
    pub(crate) async fn administer(&self, steps: &Value) -> Outcome {
        let mut session = None;
        for step in steps.as_array().into_iter().flatten() {
            let path = text(step, 0);
            let (method, path) = path.split_once(' ').unwrap_or(("POST", path));
            let body = step[1].clone();
            let (body, content_type) = match body {
                Value::String(form) => (form, "application/x-www-form-urlencoded"),
                json => (json.to_string(), "application/json"),
            };
            let request = Request::new(method, path).body(body);
            let request = request.header("content-type", content_type);
            let request =
                session.iter().fold(request, |request, (name, value): &(&str, String)| {
                    request.header(name, value)
                });
            let answer = request.send(self.server.addresses.admin).await?;
            if !(200..300).contains(&answer.status) {
                return Err(format!("{path}: {} {}", answer.status, answer.text()).into());
            }
            if let Some(cookie) = answer.header("set-cookie") {
                session = cookie.split(';').next().map(|cookie| ("cookie", cookie.to_owned()));
            } else if content_type != "application/json" {
                let token = token_of(&answer)?;
                session = Some(("authorization", format!("Bearer {token}")));
            }
        }
        Ok(())
    }

    /// The documents of the proxy that guards: those of `envoy/inbound.yaml` with what the table says,
    /// in which `x-user` gets the client's id, since not every server names a subject for a client's own
    /// token. That of [`GUARDED`] introspects the token of each request, caches no response, and
    /// forwards what it has learned.
    fn guards(&self) -> impl Iterator<Item = (&str, Value)> {
        let guards = self.table["guards"].as_object().into_iter().flatten();
        guards.map(|(name, more)| {
            let mut document = InboundYaml::read().document();
            let inbound = &mut document["inbound"];
            inbound["forward"]["claims"]["x-user"] = "client_id".into();
            if name == GUARDED {
                let claims = json!({
                    "x-client": "client_id", "x-user": "sub", "x-scope": "scope",
                    "x-actor": "act.sub",
                });
                *inbound = json!({
                    "scope": READ,
                    "cache": {"max_ttl": "0s", "negative_ttl": "0s"},
                    "forward": {"token": true, "claims": claims},
                });
            }
            let endpoint = format!("http://{}{}", self.address, self.text("introspection"));
            inbound["introspection"] = json!({"endpoint": endpoint, "cluster": "as"});
            let mut more = more.clone();
            let introspector = more.as_object_mut().and_then(|more| more.remove("introspector"));
            merge(inbound, more);
            if inbound["introspection"].is_null() {
                inbound.as_object_mut().map(|inbound| inbound.remove("introspection"));
            }
            if let Some(introspector) = introspector {
                let introspector = self.client(&introspector);
                document["outbound"] = json!({"clients": {"introspector": introspector}});
            }
            (name.as_str(), document)
        })
    }

    /// The documents of the proxy that gets tokens: one client each, for every request; another that
    /// is its actor, and an `inbound` block, where the table has them.
    fn clients(&self) -> impl Iterator<Item = (&str, Value)> {
        let clients = self.table["clients"].as_object().into_iter().flatten();
        clients.map(|(name, client)| {
            let mut client = client.clone();
            let mut take = |member| client.as_object_mut().and_then(|all| all.remove(member));
            let (inbound, actor) = (take("inbound"), take("actor_client"));
            let mut document = json!({"outbound": {"clients": {"orders": self.client(&client)}}});
            if let Some(inbound) = inbound {
                document["inbound"] = inbound;
            }
            if let Some(actor) = actor {
                document["outbound"]["clients"]["actor"] = self.client(&actor);
            }
            (name.as_str(), document)
        })
    }

    fn client(&self, more: &Value) -> Value {
        let endpoint = format!("http://{}{}", self.address, self.text("token"));
        let mut client = json!({
            "grant_type": "client_credentials", "endpoint": endpoint, "cluster": "as",
            "scope": READ,
        });
        merge(&mut client, more.clone());
        if client["refresh_token"] == "{refresh_token}" {
            client["refresh_token"] = self.refresh_token.as_str().into();
        }
        if client["assertion"] == "{assertion}" {
            client["assertion"] = self.assertion(&client["endpoint"]).into();
        }
        client
    }

    /// An assertion about a user for this token endpoint, of an issuer that the server trusts.
    fn assertion(&self, endpoint: &Value) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.identity.sign(&json!({
            "iss": PARTNER, "sub": "alice", "aud": endpoint, "jti": "one",
            "iat": now, "exp": now + 300,
        }))
    }

    /// The server with TLS, to which Envoy shows the client's certificate.
    fn tls_cluster(&self) -> Cluster {
        Cluster::new("as-tls", self.server.addresses.tls).with(json!({"transport_socket": {
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
    pub(crate) async fn start(folder: &str) -> Outcome<Self> {
        let setup = Setup::start(folder).await?;
        let service = Upstream::start().await;
        let guard = envoy(&setup, service.address(), setup.guards()).await?;
        let client = envoy(&setup, guard.address(GUARDED), setup.clients()).await?;
        Ok(Self { setup, guard, client, _service: service, fresh: Cell::new(1001) })
    }

    /// Prints the ends of all logs, if something has failed.
    pub(crate) fn show_logs(&self, failed: bool) {
        let logs = [
            ("Envoy", self.guard.log()),
            ("Envoy as a client", self.client.log()),
            (self.setup.text("name"), self.server_log()),
        ];
        for (name, log) in logs.iter().filter(|_| failed) {
            println!("{}", end_of_log(name, log));
        }
    }

    /// What the server has logged.
    pub(crate) fn server_log(&self) -> String {
        self.setup.server.log()
    }

    /// A token request with these parameters, without client authentication.
    pub(crate) fn token_request(&self, parameters: &[(&str, &str)]) -> Request {
        let grant = [("grant_type", "client_credentials"), ("scope", READ)];
        Request::form(self.setup.text("token"), &[&grant, parameters].concat())
    }

    /// A token of the client `svc`, with these parameters besides.
    pub(crate) async fn token(&self, parameters: &[(&str, &str)]) -> Outcome<String> {
        let request = self.token_request(parameters).basic("svc", "svc-secret");
        token_of(&request.send(self.setup.address).await?)
    }

    /// A user's tokens.
    pub(crate) async fn user_tokens(&self) -> Outcome<Value> {
        self.setup.user_tokens("user").await
    }

    /// Revokes a token of this client at the server.
    pub(crate) async fn revoke(&self, (id, secret): (&str, &str), token: &str) -> Outcome {
        let request = Request::form(self.setup.text("revocation"), &[("token", token)]);
        let answer = request.basic(id, secret).send(self.setup.address).await?;
        same("the revocation endpoint's status", answer.status, 200)
    }

    /// What the server tells under this path.
    async fn told(&self, path: &str) -> Outcome<Value> {
        Ok(Request::get(path).send(self.setup.address).await?.json())
    }

    /// How many calls the proxy that gets tokens has made to the server.
    pub(crate) async fn calls(&self) -> u64 {
        self.client.stat("cluster.as.upstream_rq_total").await.unwrap_or_default()
    }

    /// How many tokens were introspected, as the server tells.
    pub(crate) async fn introspections(&self) -> Outcome<u64> {
        Ok(self.told("/stats").await?[self.setup.text("introspection")]
            .as_u64()
            .unwrap_or_default())
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
        let entry = entry.await?;
        let details = text(&entry, "details");
        // Which of two it is may depend on the time.
        if reason.split(" or ").any(|reason| reason == details) {
            return Ok(());
        }
        same("the reason", details, reason)
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

/// Starts Envoy with these configurations of the filter before a service, and a way to the server
/// over TLS.
async fn envoy<'a>(
    setup: &Setup,
    service: SocketAddr,
    documents: impl Iterator<Item = (&'a str, Value)>,
) -> Outcome<Envoy> {
    let bootstrap = Bootstrap::new().cluster("service", service).cluster("as", setup.address);
    let bootstrap = bootstrap.cluster("as-admin", setup.server.addresses.admin);
    let bootstrap = bootstrap.custom_cluster(setup.tls_cluster());
    let bootstrap = bootstrap.listener(Listener::to(TLS, "as-tls"));
    let bootstrap = documents.fold(bootstrap, |bootstrap, (name, document)| {
        let filter = WasmPlugin::new(&document).filter("oauth2");
        bootstrap.listener(Listener::to(name, "service").filter(filter))
    });
    let options = Options { concurrency: WORKERS, ..Options::default() };
    Ok(Envoy::start_with(bootstrap, &options).await?)
}

/// Text as it is inside a JSON string.
fn escaped(text: &str) -> String {
    let quoted = Value::from(text).to_string();
    quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or_default().to_owned()
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

/// The scope that reading orders needs.
pub(crate) const READ: &str = "orders:read";
/// An issuer of assertions, with the key of the clients.
const PARTNER: &str = "https://partner.example.com";
/// The listener of the steps that are the same for all servers.
pub(crate) const STORY: &str = "story";
/// The listener that requests of the client go to.
pub(crate) const GUARDED: &str = "guarded";
/// The listener behind which the server is, over TLS.
pub(crate) const TLS: &str = "tls";
/// What is asked for where it does not matter.
pub(crate) const ORDER: &str = "/orders/1";
/// The server's name in its certificate.
pub(crate) const SERVER_NAME: &str = "as.test";
const WORKERS: u32 = 2;
const CONNECTIONS: usize = 32;
const LOAD_LIMIT: Duration = Duration::from_mins(1);
