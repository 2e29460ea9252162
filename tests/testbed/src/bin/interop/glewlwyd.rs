//! Glewlwyd, a server written in C, from Debian's package, set up by `tests/interop/glewlwyd`.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::Path,
    process::Command,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use oauth2_filter_testbed::{
    client::Request,
    envoy::merge,
    story::{Count, NotAsExpected, Page, READ, Server, expect, token_of},
    wait, workspace,
};
use rustix::process::geteuid;
use serde_json::{Value, json};

use super::{
    Foreign,
    child::{self, Child},
    outbound::{Outbound, client, one},
    stage::{AUDIENCE, GUARDED, STORY, Stage, document, guarded, introspection, with},
};

pub(crate) struct Glewlwyd;

impl Foreign for Glewlwyd {
    const NAME: &'static str = "Glewlwyd 2.7.5";

    fn install(&self, page: &mut Page) -> Result<(), String> {
        if is_installed() {
            return Ok(());
        }
        if !geteuid().is_root() {
            return Err(format!("only root can install it:\n  apt-get {}", INSTALL.join(" ")));
        }
        page.begin("Installing Debian's package of it");
        let installed = child::apt_get(&["update"]).and_then(|()| child::apt_get(&INSTALL));
        page.line(if installed.is_ok() { "done" } else { "failed" });
        installed?;
        if is_installed() { Ok(()) } else { Err("the package is another version".to_owned()) }
    }

    async fn start(&self) -> Result<Child, String> {
        let folder = child::folder(FOLDER)?;
        let address = child::free_address()?;
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        create_database(&folder).map_err(failed)??;
        let configuration = read("glewlwyd.conf")
            .replace("PORT", &address.port().to_string())
            .replace("FOLDER", &folder.to_string_lossy());
        let file = folder.join("glewlwyd.conf");
        fs::write(&file, configuration).map_err(failed)?;
        let mut command = Command::new("glewlwyd");
        command.arg(format!("--config-file={}", file.display()));
        let child = Child::start(command, address, &folder).await?;
        match set_up(address).await {
            Ok(()) => Ok(child),
            Err(error) => Err(format!("{error}\n{}", child.log())),
        }
    }

    fn server(&self, child: &Child, admin: SocketAddr) -> Server {
        Server {
            address: child.address,
            token_path: TOKEN,
            revocation_path: "/api/oidc/revoke",
            client_id: "svc",
            client_secret: "svc-secret",
            token_parameters: &[ORDERS],
            introspections: Count::Envoy { admin },
        }
    }

    fn documents(&self, child: &Child) -> Vec<(&'static str, Value)> {
        let ask = |id, secret| introspection(child.address, "/api/oidc/introspect", id, secret);
        let svc = || ask("svc", "svc-secret");
        let odd = || ask("odd", ODD_SECRET);
        let by_token = |scope| {
            let endpoint = format!("http://{}{TOKEN}", child.address);
            let more = json!({"client_secret": "introspector-secret", "scope": scope});
            let mut client = client(&endpoint, "introspector", "client_credentials");
            merge(&mut client, more);
            let mut document = document(&json!({
                "endpoint": format!("http://{}/api/oidc/introspect", child.address),
                "cluster": "as", "client": "introspector",
            }));
            document["outbound"] = json!({"clients": {"introspector": client}});
            document
        };
        vec![
            (STORY, document(&svc())),
            ("odd", document(&odd())),
            ("odd-raw", document(&with(odd(), "auth_method", "client_secret_basic_raw"))),
            ("post", document(&with(svc(), "auth_method", "client_secret_post"))),
            ("wrong-secret", document(&ask("svc", "not-the-secret"))),
            ("token", by_token("introspect")),
            ("wrong-token", by_token(READ)),
            (GUARDED, guarded(&svc(), &json!([AUDIENCE, READ]))),
            ("no-hint", document(&with(svc(), "token_type_hint", ""))),
        ]
    }

    async fn outbound(
        &self,
        child: &Child,
        stage: &Stage,
        page: &mut Page,
    ) -> Result<Outbound, String> {
        let client = |id, grant_type, more| {
            let mut client = client(&format!("http://{}{TOKEN}", child.address), id, grant_type);
            merge(&mut client, more);
            client
        };
        let own = |secret| {
            let more = json!({"client_secret": secret, "resource": AUDIENCE});
            one(&client("svc", "client_credentials", more))
        };
        let user = json!({
            "client_secret": "svc-secret", "username": "alice", "password": "alice-pw",
        });
        let user = || client("svc", "password", user.clone());
        let documents = [
            ("basic", own("svc-secret")),
            ("wrong-secret", own("not-the-secret")),
            ("password", one(&user())),
            ("password-resource", one(&with(user(), "resource", AUDIENCE))),
        ];
        let outbound = Outbound::start(page, stage, [], &documents).await?;
        page.step("client_credentials: a token is put on requests", async |page| {
            outbound.serves(page, "basic", "svc").await?;
            calls(&outbound, page, 1).await
        })
        .await;
        page.step("A wrong secret, which this server answers with 403 and no word", {
            async |page| {
                for _ in 0..2 {
                    let reason = "oauth2_server_refused_client";
                    outbound.refuses(page, "wrong-secret", 502, reason).await?;
                }
                calls(&outbound, page, 2).await
            }
        })
        .await;
        page.step("password: a token that is revoked is replaced by the refresh token", {
            async |page| {
                let before = UserGrants::of(child);
                replaced(&outbound, stage, page, "password").await?;
                calls(&outbound, page, 4).await?;
                before.with(1, 1).comes(child, page).await
            }
        })
        .await;
        page.step("A refresh token that the server does not take: the grant is run again", {
            async |page| {
                page.say(
                    "This server knows no resource for passwords, and will not hear of one when the \
                     token is refreshed: 400 invalid_target.",
                );
                let before = UserGrants::of(child);
                replaced(&outbound, stage, page, "password-resource").await?;
                calls(&outbound, page, 7).await?;
                before.with(2, 0).comes(child, page).await
            }
        })
        .await;
        Ok(outbound)
    }

    async fn specials(&self, stage: &Stage, page: &mut Page) {
        page.step("Odd characters in the filter's secret", async |page| {
            odd_characters(stage, page).await
        })
        .await;
        page.step("The filter authenticates by client_secret_post", async |page| {
            let token = stage.token(page, &[ORDERS]).await?;
            stage.passes(page, "post", &token).await
        })
        .await;
        page.step("The filter authenticates by a token that it gets for itself", async |page| {
            page.say(
                "introspection.client names an outbound client; this server lets whoever has a \
                 token with the scope introspect ask about any token (RFC 7662 section 2.1).",
            );
            let token = stage.token(page, &[ORDERS]).await?;
            stage.passes(page, "token", &token).await?;
            page.say("A token without that scope does not do.");
            let reason = "oauth2_server_refused_client";
            stage.refuses(page, "wrong-token", &token, 502, reason).await
        })
        .await;
        page.step("A wrong secret of the filter is not the caller's fault", async |page| {
            let token = stage.token(page, &[ORDERS]).await?;
            let reason = "oauth2_server_refused_client";
            stage.refuses(page, "wrong-secret", &token, 502, reason).await
        })
        .await;
        page.step("A refresh token is no access token", async |page| {
            let token = stage.user_tokens(page).await?.refresh_token;
            page.say("Asked with token_type_hint=access_token, this server calls it inactive.");
            stage.refuses(page, STORY, &token, 401, "oauth2_inactive").await?;
            page.say(
                "Asked with \"token_type_hint\": \"\", it calls it active, with the token_type \
                 refresh_token; that is refused by the filter.",
            );
            stage.refuses(page, "no-hint", &token, 401, "oauth2_not_an_access_token").await
        })
        .await;
    }
}

async fn odd_characters(stage: &Stage, page: &mut Page) -> Result<(), NotAsExpected> {
    page.say("Here the client that introspects has to be the one that got the token.");
    let credentials = BASE64_STANDARD.encode(format!("odd:{ODD_SECRET}"));
    let parameters = [("grant_type", "client_credentials"), ("scope", READ), ORDERS];
    let request =
        Request::form(TOKEN, &parameters).header("authorization", format!("Basic {credentials}"));
    let token = token_of(&page.brief_exchange(stage.scene.server.address, &request).await?)?;
    page.say(
        "This server does not decode what RFC 6749 section 2.3.1 wants encoded, so \
         client_secret_basic fails.",
    );
    stage.refuses(page, "odd", &token, 502, "oauth2_server_refused_client").await?;
    page.say("client_secret_basic_raw is for such servers.");
    stage.passes(page, "odd-raw", &token).await
}

/// A token is revoked, and another one takes its place.
async fn replaced(
    outbound: &Outbound,
    stage: &Stage,
    page: &mut Page,
    listener: &str,
) -> Result<(), NotAsExpected> {
    let first = outbound.serves(page, listener, "svc").await?;
    page.say("Now the token is revoked at the server. The service refuses it, so it is dropped.");
    stage.revoke(page, &first).await?;
    outbound.replaces(page, listener, &first).await?;
    Ok(())
}

/// There were this many requests for tokens so far.
async fn calls(outbound: &Outbound, page: &mut Page, expected: u64) -> Result<(), NotAsExpected> {
    let calls = outbound.envoy.stat("cluster.as.upstream_rq_total").await.unwrap_or_default();
    page.say(&format!("Requests to the authorization server so far, as Envoy counts: {calls}."));
    expect("the number of requests", calls, expected)
}

/// How often the user's tokens were issued, as the server logs it.
#[derive(Clone, Copy, Eq, PartialEq)]
struct UserGrants {
    /// For the password: with a refresh token.
    by_password: usize,
    /// For a refresh token.
    by_refresh_token: usize,
}

impl UserGrants {
    fn of(child: &Child) -> Self {
        let lines = |what: &str| {
            let line = format!("{what} token generated for client 'svc' granted by user 'alice'");
            child.log().matches(&line).count()
        };
        let by_password = lines("Refresh");
        Self { by_password, by_refresh_token: lines("Access").saturating_sub(by_password) }
    }

    const fn with(self, by_password: usize, by_refresh_token: usize) -> Self {
        Self {
            by_password: self.by_password + by_password,
            by_refresh_token: self.by_refresh_token + by_refresh_token,
        }
    }

    /// Waits until the server has logged this.
    async fn comes(self, child: &Child, page: &mut Page) -> Result<(), NotAsExpected> {
        let logged = wait::poll("the server's log", wait::LIMIT, async || {
            (Self::of(child) == self).then_some(())
        });
        let logged = logged.await;
        let Self { by_password, by_refresh_token } = Self::of(child);
        page.say(&format!(
            "The user's tokens so far, as the server logs: {by_password} for the password, \
             {by_refresh_token} for a refresh token.",
        ));
        logged.map_err(|_| NotAsExpected::new("it is another number"))
    }
}

fn is_installed() -> bool {
    let version = Command::new("glewlwyd").arg("--version").output();
    let wanted = version.is_ok_and(|said| said.stdout.trim_ascii() == VERSION.as_bytes());
    let sqlite = Command::new("sqlite3").arg("--version").output().is_ok();
    wanted && sqlite && Path::new(SCHEMA).is_file()
}

/// Makes a new database in the folder.
fn create_database(folder: &Path) -> std::io::Result<Result<(), String>> {
    let file = folder.join("glewlwyd.db");
    if file.exists() {
        fs::remove_file(&file)?;
    }
    Ok(child::run(Command::new("sqlite3").arg(file).stdin(File::open(SCHEMA)?)))
}

/// Registers scopes, clients and a user, by the server's own administration.
async fn set_up(address: SocketAddr) -> Result<(), String> {
    let mut key = [0; 32];
    getrandom::fill(&mut key).map_err(|error| error.to_string())?;
    let key = BASE64_STANDARD.encode(key);
    let steps =
        read("setup.json").replace("ISSUER", &format!("http://{address}")).replace("KEY", &key);
    let steps: Vec<(String, Value)> =
        serde_json::from_str(&steps).expect("setup.json has pairs of path and body");
    let mut session = None;
    for (path, body) in steps {
        let mut request = Request::post(&format!("/api{path}"), body.to_string())
            .header("content-type", "application/json");
        if let Some(session) = &session {
            request = request.header("cookie", session);
        }
        let answer = request.send(address).await.map_err(|error| format!("{path}: {error}"))?;
        if answer.status != 200 {
            return Err(format!("{path}: {} {}", answer.status, answer.text()));
        }
        let cookie = answer.header("set-cookie");
        session = session.or(cookie.and_then(|c| c.split(';').next().map(ToOwned::to_owned)));
    }
    Ok(())
}

/// A file of `tests/interop/glewlwyd`.
fn read(name: &str) -> String {
    let path = workspace().join("tests/interop/glewlwyd").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const VERSION: &str = "2.7.5";
/// sqlite is the smallest of the databases that the package wants one of.
const INSTALL: [&str; 6] =
    ["install", "-y", "--no-install-recommends", "glewlwyd", "dbconfig-sqlite3", "sqlite3"];
/// The tables, in Debian's package.
const SCHEMA: &str = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3";
const FOLDER: &str = "glewlwyd";
const TOKEN: &str = "/api/oidc/token";
const ODD_SECRET: &str = "s%c&r=t+/~!";
/// Without it, a token's audience is its scope here.
const ORDERS: (&str, &str) = ("resource", AUDIENCE);
