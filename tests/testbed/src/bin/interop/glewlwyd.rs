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
    story::{Count, NotAsExpected, Page, READ, Server, token_of},
    workspace,
};
use rustix::process::geteuid;
use serde_json::Value;

use super::{
    Foreign,
    child::{self, Child},
    stage::{STORY, Stage, document, introspection, with},
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
        let apt = |arguments: &[&str]| {
            let mut command = Command::new("apt-get");
            child::run(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
        };
        let installed = apt(&["update"]).and_then(|()| apt(&INSTALL));
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
        vec![
            (STORY, document(&svc())),
            ("odd", document(&odd())),
            ("odd-raw", document(&with(odd(), "auth_method", "client_secret_basic_raw"))),
            ("post", document(&with(svc(), "auth_method", "client_secret_post"))),
            ("wrong-secret", document(&ask("svc", "not-the-secret"))),
            ("no-hint", document(&with(svc(), "token_type_hint", ""))),
        ]
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
        page.step("A wrong secret of the filter is not the caller's fault", async |page| {
            let token = stage.token(page, &[ORDERS]).await?;
            let reason = "oauth2_server_refused_client";
            stage.refuses(page, "wrong-secret", &token, 502, reason).await
        })
        .await;
        page.step("A refresh token is no access token", async |page| {
            let token = stage.refresh_token(page).await?;
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
const ORDERS: (&str, &str) = ("resource", "https://orders.example.com");
