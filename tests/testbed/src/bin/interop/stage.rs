//! The real Envoy before an authorization server, with a listener for each configuration.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use oauth2_filter_testbed::{
    client::Request,
    envoy::{Bootstrap, Envoy, Listener, Options, WasmPlugin},
    story::{self, InboundYaml, NotAsExpected, Page, READ, Scene, Server, expect, token_of},
    upstream::Upstream,
    wait,
};
use serde_json::{Value, json};

/// What steps are played on.
pub(crate) struct Stage {
    /// The proxy.
    pub(crate) envoy: Envoy,
    /// The story's part of it.
    pub(crate) scene: Scene,
    _service: Upstream,
}

impl Stage {
    /// Starts Envoy with these configurations of the filter, each on the listener of its name.
    pub(crate) async fn start(
        server: SocketAddr,
        documents: &[(&'static str, Value)],
        describe: impl FnOnce(SocketAddr) -> Server,
    ) -> Result<Self, String> {
        let service = Upstream::start().await;
        let mut bootstrap =
            Bootstrap::new().cluster("service", service.address()).cluster("as", server);
        for (name, document) in documents {
            let filter = WasmPlugin::new(document).filter("oauth2");
            bootstrap = bootstrap.listener(Listener::to(name, "service").filter(filter));
        }
        let options = Options { concurrency: story::WORKERS, ..Options::default() };
        let envoy = Envoy::start_with(bootstrap, &options).await;
        let envoy = envoy.map_err(|error| error.to_string())?;
        let scene = Scene {
            envoy: envoy.address(STORY),
            server: describe(envoy.admin()),
            user: "svc",
            max_ttl: InboundYaml::read().max_ttl(),
        };
        Ok(Self { envoy, scene, _service: service })
    }

    /// A token of the story's client, with these parameters besides.
    pub(crate) async fn token(
        &self,
        page: &mut Page,
        parameters: &[(&str, &str)],
    ) -> Result<String, NotAsExpected> {
        let server = &self.scene.server;
        let grant = [("grant_type", "client_credentials"), ("scope", READ)];
        let request = server.request(server.token_path, &[&grant, parameters].concat());
        token_of(&page.brief_exchange(server.address, &request).await?)
    }

    /// A user's tokens.
    pub(crate) async fn user_tokens(&self, page: &mut Page) -> Result<UserTokens, NotAsExpected> {
        let server = &self.scene.server;
        let grant = [("grant_type", "password"), ("username", "alice"), ("password", "alice-pw")];
        let scope = [("scope", READ)];
        let parameters = [&grant[..], &scope, server.token_parameters].concat();
        let request = server.request(server.token_path, &parameters);
        let answer = page.brief_exchange(server.address, &request).await?;
        let access_token = token_of(&answer)?;
        let refresh_token = answer.json()["refresh_token"].as_str().map(ToOwned::to_owned);
        let refresh_token =
            refresh_token.ok_or_else(|| NotAsExpected::new("there is no refresh_token"))?;
        Ok(UserTokens { access_token, refresh_token })
    }

    /// Takes a token back at the server.
    pub(crate) async fn revoke(&self, page: &mut Page, token: &str) -> Result<(), NotAsExpected> {
        let server = &self.scene.server;
        let request = server.revocation_request(token);
        let answer = page.brief_exchange(server.address, &request).await?;
        expect("the revocation endpoint's status", answer.status, 200)
    }

    /// Sends a request with this token to a listener: the service, and nobody else, must answer.
    pub(crate) async fn passes(
        &self,
        page: &mut Page,
        listener: &str,
        token: &str,
    ) -> Result<(), NotAsExpected> {
        let request = Request::get(ORDER).bearer(token);
        let answer = page.exchange(self.envoy.address(listener), &request).await?;
        story::arrival(&answer)?;
        Ok(())
    }

    /// Sends a request with this token to a listener: it must be refused with this status, and
    /// Envoy's access log must name this reason.
    pub(crate) async fn refuses(
        &self,
        page: &mut Page,
        listener: &str,
        token: &str,
        status: u16,
        reason: &str,
    ) -> Result<(), NotAsExpected> {
        let request = |path: &str| Request::get(path).bearer(token);
        refuses(&self.envoy, page, listener, request, status, reason).await
    }
}

/// A user's access token and refresh token.
pub(crate) struct UserTokens {
    pub(crate) access_token: String,
    pub(crate) refresh_token: String,
}

/// Sends a request to a listener: it must be refused with this status, and Envoy's access log must
/// name this reason.
pub(crate) async fn refuses(
    envoy: &Envoy,
    page: &mut Page,
    listener: &str,
    request: impl FnOnce(&str) -> Request,
    status: u16,
    reason: &str,
) -> Result<(), NotAsExpected> {
    // A path of its own, by which the request is found in the access log.
    let path = format!("{ORDERS}{}", FRESH.fetch_add(1, Relaxed));
    let answer = page.exchange(envoy.address(listener), &request(&path)).await?;
    expect("the status", answer.status, status)?;
    let entry = wait::poll("the access log", wait::LIMIT, async || {
        envoy.access_log(listener).into_iter().find(|entry| entry["path"] == path)
    });
    let entry = entry.await.map_err(|error| NotAsExpected::new(error.to_string()))?;
    let found = entry["details"].as_str().unwrap_or_default();
    page.say(&format!("Envoy's access log says why: {found}"));
    expect("the reason", found, reason)
}

/// The document of `envoy/inbound.yaml` with this `introspection`, in which `x-user` gets the
/// client's id: not every server names a subject for a client's own token.
pub(crate) fn document(introspection: &Value) -> Value {
    let mut document = InboundYaml::read().document();
    let inbound = &mut document["inbound"];
    inbound["introspection"] = introspection.clone();
    inbound["forward"]["claims"]["x-user"] = "client_id".into();
    document
}

/// An `introspection` block.
pub(crate) fn introspection(
    server: SocketAddr,
    path: &str,
    client_id: &str,
    client_secret: &str,
) -> Value {
    json!({
        "endpoint": format!("http://{server}{path}"),
        "cluster": "as",
        "client_id": client_id,
        "client_secret": client_secret,
    })
}

/// The document of a service that asks about each request's token, keeps no answer, and tells what
/// it has heard.
pub(crate) fn guarded(introspection: &Value, audience: &Value) -> Value {
    json!({"inbound": {
        "introspection": introspection,
        "audience": audience,
        "scope": READ,
        "cache": {"max_ttl": "0s", "negative_ttl": "0s"},
        "forward": {
            "token": true,
            "claims": {
                "x-client": "client_id", "x-user": "sub", "x-scope": "scope", "x-actor": "act.sub",
            },
        },
    }})
}

/// A member of a JSON object, set.
pub(crate) fn with(mut object: Value, member: &str, value: &str) -> Value {
    object[member] = value.into();
    object
}

/// What a server that notes them has noted of a client's requests for tokens.
pub(crate) async fn grants(
    server: SocketAddr,
    client_id: &str,
) -> Result<Vec<Value>, NotAsExpected> {
    let all = Request::get("/grants").send(server).await?.json();
    let all = all.as_array().into_iter().flatten();
    Ok(all.filter(|grant| grant["client_id"] == client_id).cloned().collect())
}

/// A member that is a string; `""` if there is none.
pub(crate) fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object[member].as_str().unwrap_or_default()
}

/// The listener of the story.
pub(crate) const STORY: &str = "story";
/// The listener that an outbound filter's requests go to.
pub(crate) const GUARDED: &str = "guarded";
/// Whom tokens are for.
pub(crate) const AUDIENCE: &str = "https://orders.example.com";
/// What is asked for where it does not matter.
pub(crate) const ORDER: &str = "/orders/1";
const ORDERS: &str = "/orders/";
/// The next order that nobody has asked for, past those of the story.
static FRESH: AtomicU32 = AtomicU32::new(1001);
