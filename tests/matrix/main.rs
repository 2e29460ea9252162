//! Runs `envoy/inbound.yaml` and `envoy/outbound.yaml`, as they are but for their ports, with
//! several versions of Envoy, which it installs below `target/matrix`. Then with the dynamic module,
//! in those that can load it, which must have every function that it calls.

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
    envoy::{
        self, Envoy,
        native::{self, Named},
        symbols,
    },
    examples::{InboundYaml, Servers},
    process::{end_of_log, interrupted},
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
    println!("\n| Envoy | inbound.yaml | outbound.yaml | dynamic module | which does without |");
    println!("| --- | --- | --- | --- | --- |");
    for Row { version, module: [inbound, outbound], native } in &rows {
        let module = [inbound.verdict(), outbound.verdict()].join(" | ");
        let native = native.as_ref().map_or_else(|| "– | –".to_owned(), Native::cells);
        println!("| {version} | {module} | {native} |");
    }
    let checks = || rows.iter().flat_map(Row::checks);
    let (passed, failed): (usize, usize) = (
        checks().map(|checks| checks.passed).sum(),
        checks().map(|checks| checks.failures.len()).sum(),
    );
    println!("\n{passed} checks passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What came of a version.
struct Row<'v> {
    version: &'v str,
    module: [Checks; 2],
    /// `None` where Envoy has no dynamic modules that the filter could be one of.
    native: Option<Native>,
}

impl Row<'_> {
    fn checks(&self) -> impl Iterator<Item = &Checks> {
        self.module.iter().chain(self.native.iter().flat_map(|native| &native.checks))
    }
}

/// What came of a version with the dynamic module.
struct Native {
    checks: [Checks; 3],
    /// The functions that the module does without there.
    lacks: Vec<String>,
}

impl Native {
    async fn run(program: &Path, names: Named) -> Self {
        let calls = symbols::calls(&native::file());
        let exports = symbols::exports(program);
        let mut functions = Checks::default();
        for function in &calls.required {
            functions.same(function, &exports.contains(function), &true);
        }
        let host = Host::Native(names);
        Self {
            checks: [functions, inbound(program, host).await, outbound(program, host).await],
            lacks: calls.optional.difference(&exports).cloned().collect(),
        }
    }

    fn cells(&self) -> String {
        let [functions, inbound, outbound] = &self.checks;
        let verdicts = [inbound, outbound].map(Checks::verdict).join(", ");
        format!("{verdicts}; functions: {} | {}", functions.verdict(), self.lacks.join(", "))
    }
}

/// What the filter is to Envoy.
#[derive(Clone, Copy)]
enum Host {
    Wasm,
    Native(Named),
}

impl Host {
    /// The dynamic module in an Envoy of this version.
    fn native(version: &str) -> Option<Named> {
        let minor = version.split('.').nth(1)?.parse::<u32>().ok()?;
        match minor {
            0..38 => None,
            // Its bootstrap extension has no other way.
            38 => Some(Named::Name),
            39.. => Some(Named::File),
        }
    }
}

/// What came of each version.
async fn all(versions: &[String]) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for version in versions {
        println!("== Envoy {version}");
        let row = match install(version) {
            Ok(program) => Row {
                version,
                module: [inbound(&program, Host::Wasm).await, outbound(&program, Host::Wasm).await],
                native: match Host::native(version) {
                    Some(names) => Some(Native::run(&program, names).await),
                    None => None,
                },
            },
            Err(error) => {
                let module = [Checks::not_run(&error), Checks::not_run(&error)];
                Row { version, module, native: None }
            }
        };
        for line in row.checks().flat_map(|checks| checks.failures.iter().chain(&checks.log)) {
            println!("{line}");
        }
        rows.push(row);
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
async fn inbound(program: &Path, host: Host) -> Checks {
    let secret = ("ORDERS_API_SECRET", ORDERS_API_SECRET);
    let (server, service, envoy) = match start(program, host, "inbound.yaml", secret).await {
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
async fn outbound(program: &Path, host: Host) -> Checks {
    let secret = ("BILLING_SECRET", "orders-secret");
    let (server, service, envoy) = match start(program, host, "outbound.yaml", secret).await {
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
    host: Host,
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
    let mut environment = vec![(variable.to_owned(), secret.to_owned())];
    let text = match host {
        Host::Wasm => text.text().to_owned(),
        Host::Native(named) => {
            let folder = workspace().join("target").display().to_string();
            environment.push((native::SEARCH_PATH.to_owned(), folder));
            native::in_place(text.text(), named)
        }
    };
    let options = envoy::Options {
        program: Some(program.to_owned()),
        environment,
        ..envoy::Options::default()
    };
    let envoy = Envoy::start_with(text, &options).await;
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
