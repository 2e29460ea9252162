//! django-oauth-toolkit, a library for Django, in a server of `tests/interop/django-oauth-toolkit`.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use oauth2_filter_testbed::{
    client::{Request, Response},
    envoy::merge,
    story::{Count, NotAsExpected, Page, READ, Server, arrival, expect, token_of},
    wait, workspace,
};
use rustix::process::geteuid;
use serde_json::{Value, json};

use super::{
    Foreign,
    child::{self, Child},
    outbound::{Outbound, client, one},
    stage::{
        AUDIENCE, GUARDED, ORDER, STORY, Stage, document, grants, guarded, introspection, text,
        with,
    },
};

/// What is special here: it tells neither subject nor issuer, and an audience only where a client
/// has asked for one; its own refusals have status 403, even of a token that it has forgotten.
pub(crate) struct DjangoOauthToolkit;

impl Foreign for DjangoOauthToolkit {
    const NAME: &'static str = "django-oauth-toolkit 3.4.1";

    fn install(&self, page: &mut Page) -> Result<(), String> {
        let environment = child::folder(FOLDER)?.join(ENVIRONMENT);
        child::run(Command::new("python3").arg("--version"))
            .map_err(|error| format!("it takes Python 3.10; {error}"))?;
        if is_installed(&environment) {
            return Ok(());
        }
        page.begin("Installing it with pip");
        let installed = make(&environment).and_then(|()| {
            let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
            child::run(Command::new(environment.join(PYTHON)).args(pip).args(PACKAGES))
        });
        page.line(if installed.is_ok() { "done" } else { "failed" });
        installed.map_err(|error| format!("it takes Python 3.10, pip and its registry; {error}"))
    }

    async fn start(&self) -> Result<Child, String> {
        let folder = child::folder(FOLDER)?;
        let address = child::free_address()?;
        let database = folder.join("server.sqlite3");
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        if database.exists() {
            fs::remove_file(&database).map_err(failed)?;
        }
        // Where gunicorn runs, and looks for it.
        let program = workspace().join("tests/interop/django-oauth-toolkit/server.py");
        fs::copy(program, folder.join("server.py")).map_err(failed)?;
        let mut command = Command::new(folder.join(ENVIRONMENT).join(PYTHON));
        command
            .args(["-m", "gunicorn", "server:application", "--preload", "--workers=1"])
            // Envoy keeps its connections for longer than the 2 s after which gunicorn ends them.
            .args(["--threads=16", "--keep-alive=600", "--access-logfile=-"])
            // It would be made in the home of whoever runs this.
            .arg("--no-control-socket")
            .arg(format!("--bind={address}"))
            .env("DATABASE", database);
        Child::start(command, address, &folder).await
    }

    fn server(&self, child: &Child, _: SocketAddr) -> Server {
        let address = child.address;
        Server {
            address,
            token_path: TOKEN,
            revocation_path: REVOCATION,
            client_id: "svc",
            client_secret: "svc-secret",
            token_parameters: &[ORDERS],
            introspections: Count::Own { address, path: "/stats", member: INTROSPECTION },
        }
    }

    fn documents(&self, child: &Child) -> Vec<(&'static str, Value)> {
        let server = child.address;
        let ask = |id, secret| introspection(server, INTROSPECTION, id, secret);
        let rs = || ask("rs", "rs-secret");
        let odd = || ask(ODD, ODD_SECRET);
        let mut user = document(&rs());
        user["inbound"]["forward"]["claims"]["x-user"] = "username".into();
        // For each request that it guards, this would check the hash of a secret otherwise.
        let guarded = guarded(&by_token(server), &AUDIENCE.into());
        vec![
            (STORY, document(&rs())),
            ("odd", document(&odd())),
            ("odd-post", document(&with(odd(), "auth_method", "client_secret_post"))),
            ("odd-raw", document(&with(odd(), "auth_method", "client_secret_basic_raw"))),
            ("post", document(&with(rs(), "auth_method", "client_secret_post"))),
            ("wrong-secret", document(&ask("rs", "not-the-secret"))),
            ("no-slash", {
                let path = INTROSPECTION.trim_end_matches('/');
                document(&introspection(server, path, "rs", "rs-secret"))
            }),
            ("token", asking(server, "introspector", SCOPE, document(&by_token(server)))),
            ("wrong-token", asking(server, "reader", READ, document(&by_token(server)))),
            ("user", user),
            (GUARDED, asking(server, "guard", SCOPE, guarded)),
        ]
    }

    async fn specials(&self, stage: &Stage, page: &mut Page) {
        let server = stage.scene.server.address;
        page.step("Odd characters in the filter's id and secret (RFC 6749 section 2.3.1)", {
            async |page| odd_characters(stage, page).await
        })
        .await;
        page.step("The filter authenticates by client_secret_post", async |page| {
            let token = stage.token(page, &[ORDERS]).await?;
            stage.passes(page, "post", &token).await
        })
        .await;
        page.step("The filter authenticates by a token that it gets for itself", {
            async |page| own_token(stage, page).await
        })
        .await;
        page.step("A wrong secret of the filter is not the caller's fault", async |page| {
            page.say("This server answers 403, without a word.");
            let token = stage.token(page, &[ORDERS]).await?;
            let reason = "oauth2_server_refused_client";
            stage.refuses(page, "wrong-secret", &token, 502, reason).await
        })
        .await;
        page.step("An endpoint without the slash at its end", async |page| {
            page.say("Django sends who asks there to the path with the slash: 301.");
            let token = stage.token(page, &[ORDERS]).await?;
            stage.refuses(page, "no-slash", &token, 502, "oauth2_server_bad_answer").await
        })
        .await;
        page.step("A token for which no resource was named is for no audience", async |page| {
            let token = stage.token(page, &[]).await?;
            stage.refuses(page, STORY, &token, 401, "oauth2_wrong_audience").await
        })
        .await;
        page.step("A user's token has no sub, but a username", async |page| {
            let token = token_of(&user_tokens(server, page).await?)?;
            let request = Request::get(ORDER).bearer(&token);
            let answer = page.exchange(stage.envoy.address("user"), &request).await?;
            let user = arrival(&answer)?.headers.all("x-user").join(", ");
            expect("x-user", &*user, "alice")
        })
        .await;
        page.step("A refresh token is no access token", async |page| {
            page.say("This server calls it inactive, whatever the hint.");
            let tokens = user_tokens(server, page).await?.json();
            stage.refuses(page, STORY, text(&tokens, "refresh_token"), 401, "oauth2_inactive").await
        })
        .await;
    }

    async fn outbound(
        &self,
        child: &Child,
        stage: &Stage,
        page: &mut Page,
    ) -> Result<Outbound, String> {
        let client = |id, secret, grant_type, more| {
            let mut client = client(&format!("http://{}{TOKEN}", child.address), id, grant_type);
            merge(&mut client, json!({"client_secret": secret, "resource": AUDIENCE}));
            merge(&mut client, more);
            one(&client)
        };
        let own = |id, secret| client(id, secret, "client_credentials", json!({}));
        let post = json!({"auth_method": "client_secret_post"});
        let user = json!({"username": "alice", "password": "alice-pw"});
        // A token of 3 s may live for 2 s only, by an `exp` in whole seconds.
        let hasty = with(user.clone(), "clock_skew", "1s");
        let documents = [
            ("basic", own("shop", "shop-secret")),
            ("wrong-secret", own("shop", "not-the-secret")),
            ("odd", own(ODD, ODD_SECRET)),
            ("odd-post", client(ODD, ODD_SECRET, "client_credentials", post)),
            ("password", client(USER, "app-secret", "password", user)),
            ("hasty", client(HASTY, "hasty-secret", "password", hasty)),
        ];
        let outbound = Outbound::start(page, stage, [], &documents).await?;
        let scene = &Scene { server: child.address, stage, outbound: &outbound };
        page.step("client_credentials: a token is put on requests, one for all workers", {
            async |page| scene.client_credentials(page).await
        })
        .await;
        page.step("Odd characters in id and secret, by Basic and in the form", async |page| {
            for listener in ["odd", "odd-post"] {
                outbound.serves(page, listener, ODD).await?;
            }
            let methods =
                scene.grants(ODD).await?.iter().map(method).collect::<Vec<_>>().join(", ");
            page.say(&format!("The server says how the client authenticated: {methods}"));
            expect("the methods", &*methods, "client_secret_basic, client_secret_post")
        })
        .await;
        page.step("A wrong secret: the caller is not to blame, and the server is left in peace", {
            async |page| scene.wrong_secret(page).await
        })
        .await;
        page.step("password: tokens of 3 s, each refresh token used once", async |page| {
            scene.password(page).await
        })
        .await;
        page.step("A token is revoked, and its refresh token with it: the grant is run again", {
            async |page| scene.revoked(page).await
        })
        .await;
        page.step(
            "A refresh token is sent by somebody else too: the grant is lost, and run again",
            async |page| scene.lost_grant(page).await,
        )
        .await;
        Ok(outbound)
    }
}

async fn odd_characters(stage: &Stage, page: &mut Page) -> Result<(), NotAsExpected> {
    page.say("client_secret_basic form-encodes both before they go into Basic; so it passes.");
    let token = stage.token(page, &[ORDERS]).await?;
    stage.passes(page, "odd", &token).await?;
    page.say("So does client_secret_post.");
    stage.passes(page, "odd-post", &token).await?;
    page.say("client_secret_basic_raw does not encode them; this server cannot read that.");
    stage.refuses(page, "odd-raw", &token, 502, "oauth2_server_refused_client").await
}

async fn own_token(stage: &Stage, page: &mut Page) -> Result<(), NotAsExpected> {
    let server = stage.scene.server.address;
    page.say(
        "introspection.client names an outbound client; this server lets whoever has a token with \
         the scope introspection ask about any token (RFC 7662 section 2.1).",
    );
    let token = stage.token(page, &[ORDERS]).await?;
    stage.passes(page, "token", &token).await?;
    page.say(
        "Now the filter's own token is revoked, of which it hears nothing. The server says 403 to \
         it, so the filter gets another, and asks once more: the caller does not notice.",
    );
    let held = grants(server, "introspector").await?;
    let [held] = &*held else { return Err(NotAsExpected::new("it was not one token")) };
    let held = text(held, "access_token");
    revoke(server, page, ("introspector", "introspector-secret"), held).await?;
    let token = stage.token(page, &[ORDERS]).await?;
    stage.passes(page, "token", &token).await?;
    expect("the number of tokens that it got", grants(server, "introspector").await?.len(), 2)?;
    page.say("A token without that scope does not do; nor does the one that the filter gets then.");
    stage.refuses(page, "wrong-token", &token, 502, "oauth2_server_refused_client").await?;
    expect("the number of tokens that it got", grants(server, "reader").await?.len(), 2)
}

/// What outbound steps are played with.
struct Scene<'a> {
    server: SocketAddr,
    stage: &'a Stage,
    outbound: &'a Outbound,
}

impl Scene<'_> {
    /// What the server has noted of a client's requests for tokens.
    async fn grants(&self, client_id: &str) -> Result<Vec<Value>, NotAsExpected> {
        grants(self.server, client_id).await
    }

    async fn client_credentials(&self, page: &mut Page) -> Result<(), NotAsExpected> {
        let introspections = async || {
            let stats = Request::get("/stats").send(self.server).await?.json();
            Ok::<_, NotAsExpected>(stats[INTROSPECTION].as_u64().unwrap_or_default())
        };
        let enough = introspections().await? + MANY;
        let load = self.outbound.load(page, "basic", async || Ok(introspections().await? > enough));
        let tokens = load.await?.tokens;
        let token = self.outbound.serves(page, "basic", "shop").await?;
        expect("the number of tokens that reached the service", tokens.len(), 1)?;
        let grants = self.grants("shop").await?;
        page.say(&format!("Requests for a token, as the server says: {}.", grants.len()));
        let [grant] = &*grants else {
            return Err(NotAsExpected::new("it was not one request"));
        };
        expect("the method", method(grant), "client_secret_basic")?;
        expect("the token that was issued", text(grant, "access_token"), &*token)
    }

    async fn wrong_secret(&self, page: &mut Page) -> Result<(), NotAsExpected> {
        for _ in 0..2 {
            let reason = "oauth2_server_refused_client";
            self.outbound.refuses(page, "wrong-secret", 502, reason).await?;
        }
        let refused = self.grants("shop").await?;
        let refused = refused.iter().filter(|grant| text(grant, "error") == "invalid_client");
        let refused = refused.count();
        page.say(&format!("Refused requests for a token, as the server says: {refused}."));
        expect("the number of requests for a token", refused, 1)
    }

    async fn password(&self, page: &mut Page) -> Result<(), NotAsExpected> {
        for _ in 0..2 {
            let token = self.outbound.serves(page, "hasty", HASTY).await?;
            self.ends(page, &token).await?;
        }
        let last = self.outbound.serves(page, "hasty", HASTY).await?;
        let grants = self.grants(HASTY).await?;
        self.last_grants(page, HASTY, "password, then refresh_token, then refresh_token").await?;
        for pair in grants.windows(2) {
            let [before, after] = pair else { continue };
            let given = text(before, "next_refresh_token");
            expect("the refresh token that was sent", text(after, "refresh_token"), given)?;
        }
        let issued = grants.last().map(|grant| text(grant, "access_token")).unwrap_or_default();
        expect("the token that was issued", issued, &*last)
    }

    /// Waits, without a request of this client, until its token is not taken any more.
    async fn ends(&self, page: &mut Page, token: &str) -> Result<(), NotAsExpected> {
        page.say("Nothing is sent until the service does not take the token any more.");
        let request = Request::get(ORDER).bearer(token);
        let address = self.stage.envoy.address(GUARDED);
        let ended = wait::poll("the token to end", wait::LIMIT, async || {
            let answer = request.send(address).await;
            answer.is_ok_and(|answer| answer.status == 401).then_some(())
        });
        ended.await.map_err(|error| NotAsExpected::new(error.to_string()))
    }

    async fn revoked(&self, page: &mut Page) -> Result<(), NotAsExpected> {
        let token = self.outbound.serves(page, "password", USER).await?;
        page.say(
            "Now the token is revoked at the server, which takes back the refresh token, too. The \
             service refuses it, so it is dropped.",
        );
        revoke(self.server, page, (USER, "app-secret"), &token).await?;
        self.outbound.replaces(page, "password", &token).await?;
        self.last_grants(page, USER, "refresh_token (invalid_grant), then password").await
    }

    async fn lost_grant(&self, page: &mut Page) -> Result<(), NotAsExpected> {
        let token = self.outbound.serves(page, "hasty", HASTY).await?;
        self.ends(page, &token).await?;
        let token = self.outbound.serves(page, "hasty", HASTY).await?;
        let grants = self.grants(HASTY).await?;
        let spent = grants.last().map(|grant| text(grant, "refresh_token")).unwrap_or_default();
        page.say("This server then takes back everything that came of the grant.");
        let form = [("grant_type", "refresh_token"), ("refresh_token", spent)];
        let request = Request::form(TOKEN, &form).basic(HASTY, "hasty-secret");
        let answer = page.exchange(self.server, &request).await?;
        expect("the status", answer.status, 400)?;
        self.outbound.replaces(page, "hasty", &token).await?;
        page.say("The first of these three is the other's:");
        let refused = "refresh_token (invalid_grant)";
        let expected = [refused, refused, "password"].join(THEN);
        self.last_grants(page, HASTY, &expected).await
    }

    /// These were a client's last requests for tokens.
    async fn last_grants(
        &self,
        page: &mut Page,
        client_id: &str,
        expected: &str,
    ) -> Result<(), NotAsExpected> {
        let grants = self.grants(client_id).await?;
        let asked = grants.iter().map(|grant| match text(grant, "error") {
            "" => text(grant, "grant_type").to_owned(),
            error => format!("{} ({error})", text(grant, "grant_type")),
        });
        let asked: Vec<_> = asked.collect();
        let from = asked.len().saturating_sub(expected.split(THEN).count());
        let last = asked.get(from..).unwrap_or_default().join(THEN);
        page.say(&format!("What was asked for last, as the server says: {last}"));
        expect("what was asked for", &*last, expected)
    }
}

/// How a client has authenticated.
fn method(grant: &Value) -> &str {
    text(grant, "method")
}

/// The answer with a user's tokens, for the client that may have such.
async fn user_tokens(server: SocketAddr, page: &mut Page) -> Result<Response, NotAsExpected> {
    let grant = [("grant_type", "password"), ("username", "alice"), ("password", "alice-pw")];
    let form = [&grant[..], &[("scope", READ), ORDERS]].concat();
    let request = Request::form(TOKEN, &form).basic(USER, "app-secret");
    page.brief_exchange(server, &request).await
}

/// Takes a token of this client back; those of others this server would leave alone, and not say so.
async fn revoke(
    server: SocketAddr,
    page: &mut Page,
    (client_id, secret): (&str, &str),
    token: &str,
) -> Result<(), NotAsExpected> {
    let request = Request::form(REVOCATION, &[("token", token)]).basic(client_id, secret);
    let answer = page.brief_exchange(server, &request).await?;
    expect("the revocation endpoint's status", answer.status, 200)
}

/// An `introspection` block that authenticates by a token of the client that [`asking`] adds.
fn by_token(server: SocketAddr) -> Value {
    let endpoint = format!("http://{server}{INTROSPECTION}");
    json!({"endpoint": endpoint, "cluster": "as", "client": "introspector"})
}

/// The document, with the outbound client for its introspection: its id, and its token's scope.
fn asking(server: SocketAddr, client_id: &str, scope: &str, mut document: Value) -> Value {
    let mut client = client(&format!("http://{server}{TOKEN}"), client_id, "client_credentials");
    merge(&mut client, json!({"client_secret": format!("{client_id}-secret"), "scope": scope}));
    document["outbound"] = json!({"clients": {"introspector": client}});
    document
}

/// All of [`PACKAGES`] are there, in these versions, and so is the Python that runs them.
fn is_installed(environment: &Path) -> bool {
    let compare = "import sys; from importlib.metadata import version; \
                   pairs = [package.split('==') for package in sys.argv[1:]]; \
                   sys.exit(any(version(name) != wanted for name, wanted in pairs))";
    let mut python = Command::new(environment.join(PYTHON));
    child::run(python.args(["-c", compare]).args(PACKAGES)).is_ok()
}

/// Makes a virtual environment, in the ways of `tests/setup/envoy.sh`.
fn make(environment: &Path) -> Result<(), String> {
    let python = |module| {
        let mut command = Command::new("python3");
        child::run(command.args(["-m", module, "--clear"]).arg(environment))
    };
    let Err(why) = python("venv") else { return Ok(()) };
    // Debian keeps a part of `venv` in a package of its own; virtualenv does without that.
    let install = || child::apt_get(&["install", "-y", "python3-venv"]);
    let installed =
        geteuid().is_root() && child::apt_get(&["update"]).and_then(|()| install()).is_ok();
    python(if installed { "venv" } else { "virtualenv" }).map_err(|_| {
        format!("no virtual environment can be made (Debian: apt-get install python3-venv); {why}")
    })
}

const FOLDER: &str = "django-oauth-toolkit";
/// In the folder.
const ENVIRONMENT: &str = "venv";
/// In the environment.
const PYTHON: &str = "bin/python";
const PACKAGES: [&str; 3] = ["django-oauth-toolkit==3.4.1", "Django==5.2.19", "gunicorn==27.0.1"];
const TOKEN: &str = "/o/token/";
const INTROSPECTION: &str = "/o/introspect/";
const REVOCATION: &str = "/o/revoke_token/";
/// Whose token has it may introspect.
const SCOPE: &str = "introspection";
/// A client with characters that get lost where they are not form-encoded.
const ODD: &str = "odd:client id";
const ODD_SECRET: &str = "s%c&r=t+/~! ü";
/// A client that gets tokens for users.
const USER: &str = "app";
/// Another, whose tokens live for 3 s.
const HASTY: &str = "hasty";
/// Without it, a token has no audience here.
const ORDERS: (&str, &str) = ("resource", AUDIENCE);
/// Requests that are enough to see that nobody gets a token of their own.
const MANY: u64 = 100;
const THEN: &str = ", then ";
