//! Sets everything up, and walks through what the filter does in a real Envoy: each step is a shell
//! command, and what its output must contain.

use std::{
    env,
    error::Error,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::ExitCode,
    time::{Duration, Instant},
};

use oauth2_filter_testbed::{
    authorization_server::{AuthorizationServer, Client, ORDERS_API_SECRET, Options},
    envoy::{self, Envoy},
    examples::InboundYaml,
    process::{end_of_log, interrupted},
    upstream::Upstream,
    workspace,
};
use tokio::{process::Command, select, time::sleep};

#[tokio::main]
async fn main() -> ExitCode {
    let stay = match env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [option] if option == "--stay" => true,
        _ => {
            eprintln!("usage: demo [--stay]\n\n  --stay  leaves everything running, until Ctrl-C");
            return ExitCode::from(2);
        }
    };
    select! {
        biased;
        () = interrupted() => ExitCode::from(INTERRUPTED),
        outcome = play(stay) => match outcome {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Whether every step came out as expected.
async fn play(stay: bool) -> Result<bool, Box<dyn Error>> {
    if !workspace().join(WASM).is_file() {
        return Err(format!("there is no {WASM}: run `make build`").into());
    }
    println!("{INTRODUCTION}");
    let [proxy, admin, service, server, client_proxy, client_admin, client_server] = ports()?;
    let options = Options { listen: loopback(server), ..Options::default() };
    let orders = AuthorizationServer::start(options).await?;
    let guarded = Upstream::listen(loopback(service), false).await?;
    // The file for operators has labels for the statistics.
    let inbound = InboundYaml::read().with_ports([proxy, admin, service, server]);
    let labels = InboundYaml::named("inbound-observed.yaml").field("stats_config");
    let inbound = format!("{}\n{labels}", inbound.text());
    let inbound = start(&inbound, admin, "ORDERS_API_SECRET").await?;
    let billing_options = billing(loopback(client_server));
    let billing = AuthorizationServer::start(billing_options.clone()).await?;
    let outbound = InboundYaml::named("outbound.yaml");
    let outbound = outbound.with_ports([client_proxy, client_admin, service, client_server]);
    let outbound = start(outbound.text(), client_admin, "BILLING_SECRET").await?;
    println!(
        "   authorization server  http://127.0.0.1:{server}\n   \
            its other instance    http://127.0.0.1:{client_server}, with tokens that live for 6 s\n   \
            service               http://{}\n   \
            envoy/inbound.yaml    http://127.0.0.1:{proxy}, admin interface {admin}\n   \
            envoy/outbound.yaml   http://127.0.0.1:{client_proxy}, admin interface {client_admin}\n",
        guarded.address()
    );

    let walk = &mut Walk::default();
    inbound_steps(walk, proxy, &orders).await;
    outbound_steps(walk, client_proxy, billing, billing_options).await?;
    println!("Both are observed\n");
    walk.step("Statistics count requests by decision and reason, for Prometheus");
    let statistics = [admin, client_admin].map(|port| format!("127.0.0.1:{port}/stats/prometheus"));
    let statistics = format!("curl -s {} | grep -v ' 0$'", statistics.join(" "));
    let reasons = [r#"reason="no_token""#, r#"reason="inactive""#, r#"client="billing""#];
    walk.run(&format!("{statistics} | grep '^oauth2_filter_.*requests{{'"), &reasons).await;

    if walk.failures > 0 {
        let log = inbound.log() + &outbound.log();
        let telling = log.lines().filter(|line| !line.contains(" 200 via_upstream "));
        println!("{}", end_of_log("Envoy", &telling.collect::<Vec<_>>().join("\n")));
    }
    match walk.failures {
        0 => println!("All {} steps came out as expected.\n{NEXT}", walk.steps),
        failures => println!("{failures} checks of {} steps FAILED.\n{NEXT}", walk.steps),
    }
    if stay {
        println!(
            "All of it runs on, until Ctrl-C. Get a token in another terminal, and try the commands\n\
             above with it:\n\n   TOKEN=$({} \\\n     \
             | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n   tail -f {}\n",
            get_token(server),
            inbound.log_path().display()
        );
        interrupted().await;
    }
    Ok(walk.failures == 0)
}

/// The steps of a service that is guarded.
async fn inbound_steps(walk: &mut Walk, proxy: u16, orders: &AuthorizationServer) {
    let server = orders.address().port();
    println!("A service is guarded (inbound)\n");
    let curl = |rest: &str| format!("curl -si http://127.0.0.1:{proxy}{rest}");
    let order = curl(r#"/orders/1 -H "Authorization: Bearer $TOKEN""#);
    let get_token = get_token(server);
    walk.step("A request without a token gets 401, with the scope that is required");
    let challenge = r#"www-authenticate: Bearer realm="oauth2", scope="orders:read""#;
    walk.run(&curl("/orders/1"), &["401 Unauthorized", challenge]).await;
    walk.step("A public path needs no token");
    walk.run(&curl("/healthz"), &["200 OK"]).await;
    walk.step("A client gets a token");
    walk.token = member(&walk.run(&get_token, &["access_token"]).await, "access_token");
    walk.step("The request is forwarded with claims of the token, and without the token");
    let claims = [r#""x-user", "shop""#, r#""x-scope", "orders:read""#];
    walk.run(&order, &["200 OK", claims[0], claims[1], "!authorization"]).await;
    walk.step("The token does not have the scope that other methods require");
    let challenge = r#"error="insufficient_scope", scope="orders:write""#;
    walk.run(&format!("{order} -X DELETE"), &["403 Forbidden", challenge]).await;
    walk.step("A client cannot forge the headers with the claims");
    let forged = curl("/healthz -H 'x-user: admin' -H 'X_User: admin'");
    walk.run(&forged, &["200 OK", "!admin"]).await;
    walk.step("250 requests with a new token: both worker threads share one introspection");
    walk.token = member(&walk.shell(&get_token).await, "access_token");
    let burst = format!("'http://127.0.0.1:{proxy}/orders/[1-250]'");
    let burst = many(&format!(r#"{burst} -H "Authorization: Bearer $TOKEN""#));
    let (before, began) = (orders.stats().introspect, Instant::now());
    walk.run(&burst, &["250 200"]).await;
    // On a slow machine, the cached response expires meanwhile.
    let expired = began.elapsed().as_secs() / InboundYaml::read().max_ttl().as_secs();
    walk.at_most("introspections", orders.stats().introspect - before, 1 + expired);
    walk.step("The token is revoked");
    let revoke = format!("curl -si -u shop:shop-secret http://127.0.0.1:{server}/revoke");
    walk.run(&format!(r#"{revoke} -d "token=$TOKEN""#), &["200 OK"]).await;
    walk.step("It is rejected as soon as the cached response expires (cache.max_ttl, here 5 s)");
    walk.run_until(&order, &["401 Unauthorized", r#"error="invalid_token""#]).await;
}

/// The steps of a program that calls a protected service.
async fn outbound_steps(
    walk: &mut Walk,
    proxy: u16,
    billing: AuthorizationServer,
    options: Options,
) -> io::Result<()> {
    println!("A program calls a protected service (outbound)\n");
    let host = "-H Host:billing.example.com";
    let curl = |path: &str| format!("curl -si {host} http://127.0.0.1:{proxy}{path}");
    let invoice = curl("/invoices/7");
    let sent = r#""authorization", "Bearer "#;
    walk.step("A program without a token sends a request, and Envoy adds one");
    let first = not_again(&walk.run(&invoice, &[sent]).await);
    walk.step("50 requests at once make no further token request");
    let burst = many(&format!("{host} 'http://127.0.0.1:{proxy}/invoices/[1-50]'"));
    walk.run(&burst, &["50 200"]).await;
    // On a slow machine, it is time for the next token.
    walk.at_most("token requests", billing.stats().token, 2);
    walk.step("The token is renewed before it expires");
    let second = not_again(&walk.run_until(&invoice, &[sent, &first]).await);
    walk.step("The service rejects the token (401)");
    walk.run(&curl("/status/401"), &["401 Unauthorized"]).await;
    walk.step("The next request has another token");
    walk.run(&invoice, &[sent, &second]).await;
    billing.stop().await;
    walk.step("The authorization server is stopped: the token is used while it lives");
    walk.run(&invoice, &[sent]).await;
    walk.step("The token has expired");
    walk.run_until(&invoice, &["503 Service Unavailable", "retry-after: "]).await;
    let _billing = AuthorizationServer::start(options).await?;
    walk.step("The authorization server is back: after the back-off, requests have a token again");
    walk.run_until(&invoice, &[sent]).await;
    Ok(())
}

/// The command that gets a token with the scope for reading orders.
fn get_token(server: u16) -> String {
    format!(
        "curl -s -u shop:shop-secret http://127.0.0.1:{server}/token \
         -d grant_type=client_credentials -d scope=orders:read"
    )
}

/// The command that sends many requests, and counts the statuses of the responses.
fn many(options: &str) -> String {
    let curl = "curl -s -o /dev/null -w '%{http_code}\\n' --parallel --parallel-immediate";
    format!("{curl} {options} | sort | uniq -c")
}

/// The steps so far.
#[derive(Default)]
struct Walk {
    steps: usize,
    failures: usize,
    /// `$TOKEN` of the commands.
    token: String,
}

impl Walk {
    fn step(&mut self, title: &str) {
        self.steps += 1;
        println!("{:2}. {title}", self.steps);
    }

    /// Runs a command: the output must contain each of these, and not those after a `!`.
    async fn run(&mut self, command: &str, expected: &[&str]) -> String {
        self.run_for(command, expected, Duration::ZERO).await
    }

    /// Runs it again and again until that is so.
    async fn run_until(&mut self, command: &str, expected: &[&str]) -> String {
        self.run_for(command, expected, PATIENCE).await
    }

    async fn run_for(&mut self, command: &str, expected: &[&str], limit: Duration) -> String {
        println!("    $ {}", wrapped(command));
        let began = Instant::now();
        let (output, missing) = loop {
            let output = self.shell(command).await;
            let holds = |text: &&&str| match text.strip_prefix('!') {
                Some(absent) => !output.contains(absent),
                None => output.contains(**text),
            };
            let missing = expected.iter().find(|text| !holds(text));
            if missing.is_none() || began.elapsed() >= limit {
                break (output, missing);
            }
            sleep(Duration::from_millis(100)).await;
        };
        expected
            .iter()
            .filter(|text| output.contains(**text))
            .for_each(|text| println!("    {text}"));
        let after = began.elapsed().as_secs_f64();
        let after = if limit.is_zero() { String::new() } else { format!(" after {after:.1} s") };
        match missing {
            None => println!("    ok{after}\n"),
            Some(text) => {
                self.failures += 1;
                println!("    FAILED{after}: expected {text:?} in\n{output}\n");
            }
        }
        output
    }

    /// Checks a count that the last step has led to.
    fn at_most(&mut self, what: &str, count: u64, limit: u64) {
        let holds = count <= limit;
        println!("    {what}: {count}, {}\n", if holds { "ok" } else { "FAILED" });
        self.failures += usize::from(!holds);
    }

    /// What a command prints.
    async fn shell(&self, command: &str) -> String {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).env("TOKEN", &self.token).kill_on_drop(true);
        match shell.output().await {
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
            Err(error) => error.to_string(),
        }
    }
}

/// A command on lines that end before its options and pipes.
fn wrapped(command: &str) -> String {
    let mut lines = vec![String::new()];
    for part in command.replace(" -", "\n -").replace(" |", "\n |").split('\n') {
        if lines.last().is_some_and(|line| line.len() + part.len() > WIDTH) {
            lines.push(String::new());
        }
        lines.last_mut().expect("a line").push_str(part);
    }
    lines.join(" \\\n       ")
}

fn member(json: &str, name: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    json[name].as_str().unwrap_or_default().to_owned()
}

/// What the next output must not contain: the token with which a request reached the service.
fn not_again(output: &str) -> String {
    let (_, rest) = output.split_once("Bearer ").unwrap_or_default();
    format!("!{}", rest.split('"').next().unwrap_or_default())
}

/// Starts Envoy with a file; the variable of its environment has the secret of the client.
async fn start(file: &str, admin: u16, variable: &str) -> Result<Envoy, Box<dyn Error>> {
    let secret = if variable == "BILLING_SECRET" { CLIENT_SECRET } else { ORDERS_API_SECRET };
    let options = envoy::Options {
        admin: loopback(admin),
        concurrency: 2,
        environment: vec![(variable.to_owned(), secret.to_owned())],
        ..envoy::Options::default()
    };
    Ok(Envoy::start_with(file.to_owned(), &options).await?)
}

/// An authorization server with the client of `envoy/outbound.yaml`.
fn billing(listen: SocketAddr) -> Options {
    let client = Client {
        id: "orders".to_owned(),
        secret: CLIENT_SECRET.to_owned(),
        scope: vec!["invoices:read".to_owned()],
        audience: "https://billing.example.com".to_owned(),
        ..Client::shop()
    };
    let access_token_ttl = Duration::from_secs(6);
    Options { listen, access_token_ttl, clients: vec![client], ..Options::default() }
}

/// The ports that the files name, three more for the outbound one, and free ones for those that are
/// taken.
fn ports() -> Result<[u16; 7], Box<dyn Error>> {
    let mut ports = [10000, 9901, 9001, 9000, 10001, 9902, 9002];
    // Held together, so that no two of them are the same.
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind(loopback(*port));
        let listener = listener.or_else(|_| TcpListener::bind(loopback(0)))?;
        let free = listener.local_addr()?.port();
        if free != *port {
            println!("   Port {port} is taken: {free} is used instead.");
        }
        *port = free;
        held.push(listener);
    }
    Ok(ports)
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

const WASM: &str = "target/oauth2_filter.wasm";
const CLIENT_SECRET: &str = "orders-secret";
/// How long a step waits: for a token's end and the longest back-off after it.
const PATIENCE: Duration = Duration::from_secs(20);
const WIDTH: usize = 86;
/// What shells make of SIGINT.
const INTERRUPTED: u8 = 130;

const INTRODUCTION: &str = "oauth2-filter: what it does, in a real Envoy

   caller ──▶ Envoy with the filter ──▶ service        program ──▶ Envoy with the filter ──▶ service
                       │                                                    │
                       ▼                                                    ▼
              authorization server                                authorization server
";

/// Where to go on from here.
const NEXT: &str = "
Where to go next:

   make run                                  the same, left running for you to try
   README.md                                 what it does, and where the documentation is
   envoy/inbound.yaml, envoy/outbound.yaml   the configurations that ran here
   oauth2-filter check FILE                  checks a configuration (make command)
   envoy/observability                       a dashboard for Grafana, and alerts for Prometheus
   docs/alerts.md                            what to do when an alert fires
";
