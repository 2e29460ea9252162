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
    /// The next order that nobody has asked for.
    orders: AtomicU32,
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
        Ok(Self { envoy, scene, orders: AtomicU32::new(FRESH), _service: service })
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

    /// The refresh token that comes with a user's access token.
    pub(crate) async fn refresh_token(&self, page: &mut Page) -> Result<String, NotAsExpected> {
        let server = &self.scene.server;
        let grant = [("grant_type", "password"), ("username", "alice"), ("password", "alice-pw")];
        let request = server.request(server.token_path, &[&grant[..], &[("scope", READ)]].concat());
        let answer = page.brief_exchange(server.address, &request).await?;
        token_of(&answer)?;
        let token = answer.json()["refresh_token"].as_str().map(ToOwned::to_owned);
        token.ok_or_else(|| NotAsExpected::new("there is no refresh_token"))
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
        // A path of its own, by which the request is found in the access log.
        let order = self.orders.fetch_add(1, Relaxed);
        let path = format!("{ORDERS}{order}");
        let request = Request::get(&path).bearer(token);
        let answer = page.exchange(self.envoy.address(listener), &request).await?;
        expect("the status", answer.status, status)?;
        let entry = wait::poll("the access log", wait::LIMIT, async || {
            self.envoy.access_log(listener).into_iter().find(|entry| entry["path"] == path)
        });
        let entry = entry.await.map_err(|error| NotAsExpected::new(error.to_string()))?;
        let found = entry["details"].as_str().unwrap_or_default();
        page.say(&format!("Envoy's access log says why: {found}"));
        expect("the reason", found, reason)
    }
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

/// A member of a JSON object, set.
pub(crate) fn with(mut object: Value, member: &str, value: &str) -> Value {
    object[member] = value.into();
    object
}

/// The listener of the story.
pub(crate) const STORY: &str = "story";
/// What is asked for where it does not matter.
pub(crate) const ORDER: &str = "/orders/1";
const ORDERS: &str = "/orders/";
/// Past those of the story.
const FRESH: u32 = 1001;
