//! oidc-provider, a library for Node.js, in a server of `tests/interop/oidc-provider`.

mod clients;

use std::{cell::OnceCell, fs, net::SocketAddr, process::Command, time::Duration};

use oauth2_filter_testbed::{
    client::Request,
    envoy::merge,
    story::{Count, NotAsExpected, Page, Server, expect},
    tls::{Authority, Identity, certificate_files},
    wait, workspace,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    Foreign,
    child::{self, Child},
    outbound::Outbound,
    stage::{AUDIENCE, GUARDED, ORDER, STORY, Stage, document, guarded, introspection, with},
};

#[derive(Default)]
pub(crate) struct OidcProvider {
    /// What it was started with.
    keys: OnceCell<Keys>,
}

/// Keys and certificates of one run.
struct Keys {
    /// Where the server speaks TLS.
    tls: SocketAddr,
    /// Who vouches for the server there, and for its clients.
    authority: Authority,
    /// The certificate of the client that authenticates by it.
    client: Identity,
    /// The server's files, and the private keys of the client that signs.
    folder: TempDir,
}

impl Keys {
    fn new() -> Result<Self, String> {
        let authority = Authority::new();
        let (client, server) = (authority.issue(CLIENT_NAME), authority.issue(SERVER_NAME));
        let folder = certificate_files(&server, &authority);
        Ok(Self { tls: child::free_address()?, authority, client, folder })
    }

    /// What an endpoint block authenticates with by `private_key_jwt`, with the key of this name,
    /// which the server has left in the folder.
    fn signing(&self, key: &str, server: SocketAddr) -> Value {
        let path = self.folder.path().join(format!("{key}.pem"));
        let private_key = fs::read_to_string(&path);
        let private_key = private_key.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        json!({
            "auth_method": "private_key_jwt",
            "private_key": private_key,
            "kid": key,
            // The server's issuer identifier.
            "aud": format!("http://{server}"),
        })
    }
}

impl OidcProvider {
    fn keys(&self) -> &Keys {
        self.keys.get().expect("the server was started")
    }
}

impl Foreign for OidcProvider {
    const NAME: &'static str = "oidc-provider 9.13.3";

    fn install(&self, page: &mut Page) -> Result<(), String> {
        let folder = child::folder(FOLDER)?;
        let installed = || {
            let package = folder.join("node_modules/oidc-provider/package.json");
            let package: Value = serde_json::from_slice(&fs::read(package).ok()?).ok()?;
            (package["version"] == VERSION).then_some(())
        };
        child::run(Command::new("node").arg("--version"))
            .map_err(|error| format!("it takes Node.js 20; {error}"))?;
        if installed().is_some() {
            return Ok(());
        }
        page.begin("Installing it with npm");
        let npm = child::run(
            Command::new("npm")
                .args(["install", "--no-save", "--no-package-lock", "--no-audit", "--no-fund"])
                .arg("--prefix")
                .arg(&folder)
                .arg(format!("oidc-provider@{VERSION}")),
        );
        page.line(if npm.is_ok() { "done" } else { "failed" });
        npm.map_err(|error| format!("it takes Node.js 20, npm and its registry; {error}"))
    }

    async fn start(&self) -> Result<Child, String> {
        let folder = child::folder(FOLDER)?;
        // Beside its node_modules, for there Node.js looks for them.
        let program = folder.join("server.mjs");
        fs::copy(workspace().join("tests/interop/oidc-provider/server.mjs"), &program)
            .map_err(|error| format!("{}: {error}", program.display()))?;
        let address = child::free_address()?;
        let keys = Keys::new()?;
        let mut command = Command::new("node");
        command
            .arg(&program)
            .env("PORT", address.port().to_string())
            .env("TLS_PORT", keys.tls.port().to_string())
            .env("KEYS", keys.folder.path());
        let child = Child::start(command, address, &folder).await?;
        // It is started once.
        self.keys.get_or_init(|| keys);
        Ok(child)
    }

    fn server(&self, child: &Child, _: SocketAddr) -> Server {
        let address = child.address;
        Server {
            address,
            token_path: TOKEN,
            revocation_path: "/token/revocation",
            client_id: "svc",
            client_secret: "svc-secret",
            token_parameters: &[],
            introspections: Count::Own { address, path: "/stats", member: INTROSPECTION },
        }
    }

    fn documents(&self, child: &Child) -> Vec<(&'static str, Value)> {
        let ask = |id, secret| introspection(child.address, INTROSPECTION, id, secret);
        let odd = || ask("odd:client id", "s%c&r=t+/~!");
        let mut key = self.keys().signing("rsa", child.address);
        let endpoint = format!("http://{}{INTROSPECTION}", child.address);
        merge(&mut key, json!({"endpoint": endpoint, "cluster": "as", "client_id": "rs-key"}));
        let mut short = document(&ask("rs", "rs-secret"));
        short["inbound"]["audience"] = SHORT.into();
        // 60 s then, by default.
        short["inbound"]["cache"] = Value::Object(serde_json::Map::new());
        vec![
            (STORY, document(&ask("rs", "rs-secret"))),
            ("odd", document(&odd())),
            ("odd-raw", document(&with(odd(), "auth_method", "client_secret_basic_raw"))),
            (
                "post",
                document(&with(
                    ask("rs-post", "rs-post-secret"),
                    "auth_method",
                    "client_secret_post",
                )),
            ),
            ("key", document(&key)),
            ("wrong-secret", document(&ask("rs", "not-the-secret"))),
            ("short", short),
            (GUARDED, guarded(&ask("rs", "rs-secret"), &AUDIENCE.into())),
        ]
    }

    async fn specials(&self, stage: &Stage, page: &mut Page) {
        page.step("Odd characters in the filter's id and secret (RFC 6749 section 2.3.1)", {
            async |page| odd_characters(stage, page).await
        })
        .await;
        page.step("The filter authenticates by client_secret_post", async |page| {
            let token = stage.token(page, &[]).await?;
            stage.passes(page, "post", &token).await
        })
        .await;
        page.step("The filter authenticates by private_key_jwt", async |page| {
            let token = stage.token(page, &[]).await?;
            stage.passes(page, "key", &token).await
        })
        .await;
        page.step("A wrong secret of the filter is not the caller's fault", async |page| {
            let token = stage.token(page, &[]).await?;
            let reason = "oauth2_server_refused_client";
            stage.refuses(page, "wrong-secret", &token, 502, reason).await
        })
        .await;
        page.step("A token that the server refuses to introspect", async |page| {
            page.say(
                "This server answers 400 about a token that is a JWT. That says nothing of the \
                 token, so the caller gets no 401.",
            );
            let token = stage.token(page, &[("resource", "https://jwt.example.com")]).await?;
            stage.refuses(page, STORY, &token, 502, "oauth2_server_refused_client").await
        })
        .await;
        page.step("A refresh token is no access token", async |page| {
            page.say(
                "This server calls a refresh token active, whatever the hint, and does not say \
                 what it is. But a refresh token is for no audience, and the filter wants one.",
            );
            let token = stage.user_tokens(page).await?.refresh_token;
            stage.refuses(page, STORY, &token, 401, "oauth2_wrong_audience").await
        })
        .await;
        page.step("A token that expires is refused, though answers are kept for longer", {
            async |page| expiry(stage, page).await
        })
        .await;
    }

    async fn outbound(
        &self,
        child: &Child,
        stage: &Stage,
        page: &mut Page,
    ) -> Result<Outbound, String> {
        clients::play(self.keys(), child.address, stage, page).await
    }
}

async fn odd_characters(stage: &Stage, page: &mut Page) -> Result<(), NotAsExpected> {
    page.say("client_secret_basic form-encodes both before they go into Basic; so it passes.");
    let token = stage.token(page, &[]).await?;
    stage.passes(page, "odd", &token).await?;
    page.say("client_secret_basic_raw does not; this server cannot read that.");
    stage.refuses(page, "odd-raw", &token, 502, "oauth2_server_refused_client").await
}

async fn expiry(stage: &Stage, page: &mut Page) -> Result<(), NotAsExpected> {
    page.say("A token that lives for 3 s, where cache.max_ttl is 60 s.");
    let issued = Instant::now();
    let token = stage.token(page, &[("resource", SHORT)]).await?;
    stage.passes(page, "short", &token).await?;
    page.begin("   Sending it until it is refused");
    let request = Request::get(ORDER).bearer(&token);
    let address = stage.envoy.address("short");
    let refused = wait::poll("the token to be refused", LIFETIME + SLACK, async || {
        let answer = request.send(address).await;
        let passes = answer.as_ref().is_ok_and(|answer| answer.status == 200);
        if passes { None } else { Some(answer) }
    })
    .await;
    page.line(&format!("that was {:.1} s after it was asked for.", issued.elapsed().as_secs_f64()));
    page.blank();
    let answer = refused.map_err(|_| NotAsExpected::new("the expired token still passes"))??;
    page.answer(&answer);
    expect("the status", answer.status, 401)
}

const VERSION: &str = "9.13.3";
const FOLDER: &str = "oidc-provider";
const INTROSPECTION: &str = "/token/introspection";
const TOKEN: &str = "/token";
const SERVER_NAME: &str = "as.test";
const CLIENT_NAME: &str = "shop.test";
const SHORT: &str = "https://short.example.com";
const LIFETIME: Duration = Duration::from_secs(3);
/// How much later it may be seen on a slow machine.
const SLACK: Duration = Duration::from_secs(5);
