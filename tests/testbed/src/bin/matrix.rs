//! Runs `envoy/inbound.yaml` and `envoy/outbound.yaml`, as they are but for their ports, with
//! several versions of Envoy, which it installs below `target/matrix`.

use std::{
    env,
    fmt::{Debug, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use oauth2_filter_testbed::{
    Received,
    authorization_server::{AuthorizationServer, ORDERS_API_SECRET, Options, SHOP},
    client::{Request, Response},
    envoy::{self, Envoy},
    examples::Servers,
    process::{end_of_log, interrupted},
    story::InboundYaml,
    upstream::Upstream,
    wait, workspace,
};
use tokio::select;

#[tokio::main]
async fn main() -> ExitCode {
    let versions: Vec<String> = env::args().skip(1).collect();
    if versions.is_empty() {
        eprintln!("usage: matrix VERSION...");
        return ExitCode::from(2);
    }
    let rows = select! {
        biased;
        () = interrupted() => return ExitCode::from(INTERRUPTED),
        rows = all(&versions) => rows,
    };
    println!("\n| Envoy | inbound.yaml | outbound.yaml |\n| --- | --- | --- |");
    for (version, [inbound, outbound]) in &rows {
        println!("| {version} | {} | {} |", inbound.verdict(), outbound.verdict());
    }
    let checks = || rows.iter().flat_map(|(_, checks)| checks);
    let (passed, failed): (usize, usize) = (
        checks().map(|checks| checks.passed).sum(),
        checks().map(|checks| checks.failures.len()).sum(),
    );
    println!("\n{passed} checks passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What came of each version.
async fn all(versions: &[String]) -> Vec<(&str, [Checks; 2])> {
    let mut rows = Vec::new();
    for version in versions {
        println!("== Envoy {version}");
        let checks = match install(version) {
            Ok(program) => [inbound(&program).await, outbound(&program).await],
            Err(error) => [Checks::not_run(&error), Checks::not_run(&error)],
        };
        for line in checks.iter().flat_map(|checks| checks.failures.iter().chain(&checks.log)) {
            println!("{line}");
        }
        rows.push((version.as_str(), checks));
    }
    rows
}

/// Makes sure that a version is installed.
fn install(version: &str) -> Result<PathBuf, String> {
    let folder = workspace().join("target/matrix").join(version);
    let status = Command::new("sh")
        .arg("tests/setup/envoy.sh")
        .arg(&folder)
        .arg(version)
        .current_dir(workspace())
        .env_remove("ENVOY")
        .status()
        .map_err(|error| format!("sh: {error}"))?;
    let program = envoy::installed(&folder).filter(|_| status.success());
    program.ok_or_else(|| format!("Envoy {version} cannot be installed"))
}

/// A service that is guarded.
async fn inbound(program: &Path) -> Checks {
    let secret = ("ORDERS_API_SECRET", ORDERS_API_SECRET);
    let (server, service, envoy) = match start(program, "inbound.yaml", secret).await {
        Ok(started) => started,
        Err(error) => return Checks::not_run(&error),
    };
    let send = async |request: Request| send(&envoy, "inbound", &request).await;
    let mut checks = Checks::default();

    let refused = send(Request::get(ORDER)).await;
    checks.same("without a token", &refused.status, &401);
    let challenge = refused.header("www-authenticate");
    let expected = r#"Bearer realm="oauth2", scope="orders:read""#;
    checks.same("the challenge", &challenge.as_deref(), &Some(expected));
    checks.same("a public path", &send(Request::get("/healthz")).await.status, &200);

    let token = server.issue(SHOP, "orders:read");
    service.clear();
    let mut statuses = Vec::new();
    for _ in 0..REQUESTS {
        let request = Request::get(ORDER).bearer(&token).header("x-user", "root");
        statuses.push(send(request).await.status);
    }
    checks.same("with a token", &statuses, &vec![200; REQUESTS]);
    checks.same("introspections", &server.stats().introspect, &1);
    let requests = service.requests();
    let headers = |name| requests.iter().flat_map(|request| request.headers.all(name)).collect();
    checks.same::<Vec<String>>("x-user", &headers("x-user"), &vec![SHOP.to_owned(); REQUESTS]);
    checks.same::<Vec<String>>("authorization", &headers("authorization"), &Vec::new());

    let change = Request::new("DELETE", ORDER).bearer(&token);
    checks.same("a scope that is missing", &send(change).await.status, &403);
    let unknown = Request::get(ORDER).bearer("unknown");
    checks.same("a token that is unknown", &send(unknown).await.status, &401);
    let ambiguous = Request::get("/orders/%2e%2E%2f1");
    checks.same("an ambiguous path", &send(ambiguous).await.status, &400);
    let allowed = "wasmcustom.oauth2_filter.requests.decision.allowed.reason.token";
    checks.reaches(&envoy, allowed, REQUESTS as u64).await;
    checks.end(&envoy)
}

/// A program whose requests get a token.
async fn outbound(program: &Path) -> Checks {
    let secret = ("BILLING_SECRET", "orders-secret");
    let (server, service, envoy) = match start(program, "outbound.yaml", secret).await {
        Ok(started) => started,
        Err(error) => return Checks::not_run(&error),
    };
    let to = |host: &str| Request::get("/invoices/7").authority(host);
    let send = async |request: Request| send(&envoy, "outbound", &request).await;
    let mut checks = Checks::default();

    let mut statuses = Vec::new();
    for _ in 0..REQUESTS {
        statuses.push(send(to("billing.example.com")).await.status);
    }
    checks.same("requests for the service", &statuses, &vec![200; REQUESTS]);
    checks.same("token requests", &server.stats().token, &1);
    let token = |request: &Received| request.header("authorization");
    let tokens: Vec<_> = service.requests().iter().map(token).collect();
    let is_bearer =
        |token: &Option<String>| token.as_ref().is_some_and(|token| token.starts_with("Bearer "));
    checks.same(
        "requests with a token",
        &tokens.iter().filter(|token| is_bearer(token)).count(),
        &REQUESTS,
    );

    service.clear();
    checks.same("another host", &send(to("elsewhere.example.com")).await.status, &200);
    let tokens: Vec<_> = service.requests().iter().map(token).collect();
    checks.same("tokens for another host", &tokens, &vec![None]);
    let issued = "wasmcustom.oauth2_filter.token_calls.client.billing.outcome.issued";
    checks.reaches(&envoy, issued, 1).await;
    checks.end(&envoy)
}

/// Starts an Envoy with a file of `envoy/`, and what its clusters name.
async fn start(
    program: &Path,
    file: &str,
    (variable, secret): (&str, &str),
) -> Result<(AuthorizationServer, Upstream, Envoy), String> {
    let server = AuthorizationServer::start(Options::of_examples()).await;
    let server = server.map_err(|error| error.to_string())?;
    let service = Upstream::start().await;
    let [of_server, _, of_service] = Servers::PORTS;
    let text = InboundYaml::named(file)
        .with_port(LISTENER, 0)
        .with_port(of_server, server.address().port())
        .with_port(of_service, service.address().port());
    let options = envoy::Options {
        program: Some(program.to_owned()),
        environment: vec![(variable.to_owned(), secret.to_owned())],
        ..envoy::Options::default()
    };
    let envoy = Envoy::start_with(text.text(), &options).await;
    Ok((server, service, envoy.map_err(|error| error.to_string())?))
}

async fn send(envoy: &Envoy, listener: &str, request: &Request) -> Response {
    let answer = request.send(envoy.address(listener)).await;
    answer.unwrap_or_else(|error| panic!("no answer: {error}"))
}

/// What came of the checks with one file.
#[derive(Default)]
struct Checks {
    passed: usize,
    failures: Vec<String>,
    /// The end of Envoy's log, if there are failures.
    log: Option<String>,
}

impl Checks {
    /// Nothing could be checked.
    fn not_run(why: &str) -> Self {
        Self { failures: vec![format!("FAILED: {why}")], ..Self::default() }
    }

    fn same<T: PartialEq + Debug>(&mut self, what: &str, found: &T, expected: &T) {
        if found == expected {
            self.passed += 1;
        } else {
            self.failures.push(format!("FAILED: {what}: {found:?} instead of {expected:?}"));
        }
    }

    /// A counter, which workers write with a delay.
    async fn reaches(&mut self, envoy: &Envoy, name: &str, value: u64) {
        let reached = wait::poll(name, STATISTICS, async || {
            (envoy.stat(name).await == Some(value)).then_some(value)
        });
        let found = match reached.await {
            Ok(value) => Some(value),
            Err(_) => envoy.stat(name).await,
        };
        self.same(name, &found, &Some(value));
    }

    /// The last check: no VM has died.
    fn end(mut self, envoy: &Envoy) -> Self {
        let log = envoy.log();
        self.same("lines on a dead VM", &log.matches("Function: proxy_").count(), &0);
        if !self.failures.is_empty() {
            self.log = Some(end_of_log("Envoy", &log));
        }
        self
    }

    fn verdict(&self) -> String {
        let mut verdict = format!("{} passed", self.passed);
        if !self.failures.is_empty() {
            let _ = write!(verdict, ", {} **failed**", self.failures.len());
        }
        verdict
    }
}

/// The path that the rules protect.
const ORDER: &str = "/orders/1";
/// How many requests are sent with one token.
const REQUESTS: usize = 20;
/// The port of both files.
const LISTENER: u16 = 10000;
/// How long statistics may take.
const STATISTICS: Duration = Duration::from_secs(10);
/// How programs end that Ctrl-C has stopped.
const INTERRUPTED: u8 = 130;
