//! Sets everything up, and walks through what the filter does in a real Envoy.

use std::{
    error::Error,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::ExitCode,
};

use lexopt::{Arg, Parser};
use oauth2_filter_testbed::{
    authorization_server::{
        AuthorizationServer, ORDERS_API, ORDERS_API_SECRET, Options, SHOP, SHOP_SECRET,
    },
    envoy::{self, Envoy},
    process::{end_of_log, interrupted},
    story::{self, InboundYaml, Numbers, Page, Scene, Server, outbound},
    upstream::Upstream,
    workspace,
};
use tokio::{select, time::Instant};

#[tokio::main]
async fn main() -> ExitCode {
    let stay = match arguments() {
        Ok(Some(stay)) => stay,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut page = Page::of_terminal();
    let played = select! {
        biased;
        () = interrupted() => {
            println!();
            return ExitCode::from(INTERRUPTED);
        }
        played = play(&mut page) => played,
    };
    let setting = match played {
        Ok(setting) => setting,
        Err(error) => {
            page.line("");
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    if page.failures() > 0 {
        page.line(&end_of_log("Envoy", &setting.telling_log()));
        page.blank();
    }
    page.verdict();
    for line in NEXT.lines().filter(|line| !(stay && line.contains("make run"))) {
        page.line(line);
    }
    if stay {
        setting.lines_to_try(&mut page);
        interrupted().await;
        page.line("\nStopping.");
    }
    if page.failures() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Whether everything is left running; `None` if only the usage was wanted.
fn arguments() -> Result<Option<bool>, lexopt::Error> {
    let mut stay = false;
    let mut arguments = Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Arg::Long("stay") => stay = true,
            Arg::Long("help") => {
                println!("{USAGE}");
                return Ok(None);
            }
            unexpected => return Err(unexpected.unexpected()),
        }
    }
    Ok(Some(stay))
}

/// All that runs; it stops when dropped.
struct Setting {
    server: AuthorizationServer,
    _service: Upstream,
    envoy: Envoy,
    /// The proxy of a program that calls others, with an authorization server of its own.
    outbound: Option<(Envoy, outbound::Scene)>,
}

async fn play(page: &mut Page) -> Result<Setting, Box<dyn Error>> {
    page.title("oauth2-filter: what it does, in a real Envoy");
    page.line(PICTURE);
    let ports = Ports::vacant(page)?;
    let file = ports.put_in(InboundYaml::read());
    let mut setting = Setting::start(&ports, &file, page).await?;
    let scene = Scene {
        envoy: setting.envoy.address("inbound"),
        server: Server::ours(setting.server.address()),
        user: SHOP,
        max_ttl: file.max_ttl(),
    };
    story::play(&scene, page).await;
    let (envoy, mut scene) = start_outbound(&ports, page).await?;
    outbound::play(&mut scene, page).await;
    page.title("What the dashboard shows of it");
    let admins = [setting.envoy.admin(), envoy.admin()];
    page.line("   By what both Envoys show under /stats/prometheus since they were started:");
    page.blank();
    Numbers::of(&admins).await.show(page);
    page.blank();
    setting.outbound = Some((envoy, scene));
    Ok(setting)
}

/// Starts what the outbound story is played with.
async fn start_outbound(
    ports: &Ports,
    page: &mut Page,
) -> Result<(Envoy, outbound::Scene), Box<dyn Error>> {
    page.title("The other direction: a program calls a protected service");
    page.line(OUTBOUND_PICTURE);
    let file = ports.put_in_outbound(InboundYaml::named("outbound.yaml"));
    page.begin("Starting an authorization server whose tokens live a few seconds");
    let options = outbound::Scene::options(loopback(ports.outbound_server));
    let server = AuthorizationServer::start(options.clone()).await?;
    page.line(server.issuer());
    page.begin("Starting Envoy with the filter, as in envoy/outbound.yaml");
    let begin = Instant::now();
    let started = envoy::Options {
        admin: loopback(ports.outbound_admin),
        concurrency: story::WORKERS,
        environment: vec![("BILLING_SECRET".to_owned(), outbound::CLIENT_SECRET.to_owned())],
        ..envoy::Options::default()
    };
    let envoy = Envoy::start_with(file.text(), &started).await?;
    let time = begin.elapsed().as_secs_f64();
    let address = envoy.address("outbound");
    page.line(&format!("http://{address} ({time:.1} s)"));
    page.blank();
    Ok((envoy, outbound::Scene { envoy: address, server: Some(server), options }))
}

impl Setting {
    async fn start(
        ports: &Ports,
        file: &InboundYaml,
        page: &mut Page,
    ) -> Result<Self, Box<dyn Error>> {
        if !workspace().join(WASM).is_file() {
            return Err(format!("there is no {WASM}: run `make build`").into());
        }
        page.begin("Starting an authorization server");
        let listen = loopback(ports.server);
        let server = AuthorizationServer::start(Options { listen, ..Options::default() }).await?;
        page.line(server.issuer());
        page.begin("Starting the service to guard");
        let service = Upstream::listen(loopback(ports.service), false).await?;
        page.line(&format!("http://{}", service.address()));
        page.begin("Starting Envoy with the filter, as in envoy/inbound.yaml");
        let begin = Instant::now();
        let options = envoy::Options {
            admin: loopback(ports.admin),
            concurrency: story::WORKERS,
            environment: vec![("ORDERS_API_SECRET".to_owned(), ORDERS_API_SECRET.to_owned())],
            ..envoy::Options::default()
        };
        // The file for operators has labels for the statistics.
        let labels = InboundYaml::named("inbound-observed.yaml").field("stats_config");
        let labelled = format!("{}\n{labels}", file.text());
        let envoy = Envoy::start_with(labelled, &options).await?;
        let time = begin.elapsed().as_secs_f64();
        page.line(&format!("http://{} ({time:.1} s)", envoy.address("inbound")));
        page.blank();
        page.line("Each step shows a request, as a line for curl, and the answer to it.");
        page.blank();
        Ok(Self { server, _service: service, envoy, outbound: None })
    }

    /// What Envoy has logged, without the many requests that went well.
    fn telling_log(&self) -> String {
        let mut log = self.envoy.log();
        if let Some((envoy, _)) = &self.outbound {
            log.push_str(&envoy.log());
        }
        let telling = log.lines().filter(|line| !line.contains(" 200 via_upstream "));
        telling.collect::<Vec<_>>().join("\n")
    }

    /// What people can do with what was left running.
    fn lines_to_try(&self, page: &mut Page) {
        let (proxy, admin) = (self.envoy.address("inbound"), self.envoy.admin());
        let server = self.server.issuer();
        let log = self.envoy.log_path();
        page.line(&format!(
            r#"
All of it runs on, until Ctrl-C. Lines for another terminal:

   # get a token; it lives for an hour
   TOKEN=$(curl -s -u {SHOP}:{SHOP_SECRET} {server}/token -d grant_type=client_credentials \
     -d scope=orders:read | sed 's/.*"access_token":"\([^"]*\)".*/\1/')

   # use it: without it 401, with the method DELETE 403, since its scope does not do
   curl -i http://{proxy}/orders/1 -H "Authorization: Bearer $TOKEN"
   curl -i http://{proxy}/orders/1
   curl -i -X DELETE http://{proxy}/orders/1 -H "Authorization: Bearer $TOKEN"

   # what the filter asks, and is told
   curl -i -u {ORDERS_API}:{ORDERS_API_SECRET} {server}/introspect -d "token=$TOKEN"

   # revoke it; a few seconds later it is refused
   curl -i -u {SHOP}:{SHOP_SECRET} {server}/revoke -d "token=$TOKEN"

   # the authorization server's count of calls, and Envoy's
   curl {server}/stats
   curl 'http://{admin}/stats?filter=cluster.as.upstream_rq_total'

   # the filter's statistics, as Prometheus gets them
   curl -s http://{admin}/stats/prometheus | grep ^oauth2_filter

   # Envoy's log, with a line for each request and the filter's reason in it
   tail -f {}
"#,
            log.display(),
        ));
        let Some((envoy, scene)) = &self.outbound else { return };
        let (proxy, admin) = (scene.envoy, envoy.admin());
        let server = scene.options.listen;
        page.line(&format!(
            r"   # the other direction: a program's request gets a token, for this host and no other
   curl -i http://{proxy}/invoices/7 -H 'Host: {host}'
   curl -i http://{proxy}/invoices/7

   # refused by the service: the next request has another token
   curl -i http://{proxy}/status/401 -H 'Host: {host}'

   # how often a token was asked for; and the filter's statistics
   curl http://{server}/stats
   curl 'http://{admin}/stats?filter=oauth2_filter.token'
",
            host = outbound::HOST,
        ));
    }
}

/// The ports that `envoy/inbound.yaml` names, and three for `envoy/outbound.yaml` beside it; free
/// ones for those that are taken.
struct Ports {
    proxy: u16,
    admin: u16,
    service: u16,
    server: u16,
    outbound_proxy: u16,
    outbound_admin: u16,
    outbound_server: u16,
}

impl Ports {
    fn vacant(page: &mut Page) -> io::Result<Self> {
        // Held together, so that no two of them are the same.
        let held = NAMED.map(|port| TcpListener::bind(loopback(port)));
        let mut ports = NAMED;
        let mut free = Vec::new();
        let mut moved = Vec::new();
        for (port, held) in ports.iter_mut().zip(&held) {
            if held.is_err() {
                let listener = TcpListener::bind(loopback(0))?;
                let other = listener.local_addr()?.port();
                moved.push(format!("{port} → {other}"));
                *port = other;
                free.push(listener);
            }
        }
        if !moved.is_empty() {
            let moved = moved.join(", ");
            page.line(&format!("Taken ports, replaced in a copy of the file: {moved}"));
        }
        let [proxy, admin, service, server, outbound_proxy, outbound_admin, outbound_server] =
            ports;
        Ok(Self { proxy, admin, service, server, outbound_proxy, outbound_admin, outbound_server })
    }

    /// The file with these ports.
    fn put_in(&self, file: InboundYaml) -> InboundYaml {
        let ports = [self.proxy, self.admin, self.service, self.server];
        with_ports(file, ports)
    }

    /// The file for the other direction with these ports; it names the same.
    fn put_in_outbound(&self, file: InboundYaml) -> InboundYaml {
        let ports = [self.outbound_proxy, self.outbound_admin, self.service, self.outbound_server];
        with_ports(file, ports)
    }
}

/// A file with other ports than it names.
fn with_ports(mut file: InboundYaml, ports: [u16; 4]) -> InboundYaml {
    for (named, port) in NAMED.into_iter().zip(ports) {
        file = file.with_port(named, port);
    }
    file
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// As both files have them: of the proxy, its admin interface, the service and the authorization
/// server; then what the outbound one gets beside the other.
const NAMED: [u16; 7] = [10000, 9901, 9001, 9000, 10001, 9902, 9002];
const WASM: &str = "target/oauth2_filter.wasm";
/// What shells make of SIGINT.
const INTERRUPTED: u8 = 130;

const PICTURE: &str = "   caller ──▶ Envoy with the filter ──▶ service
                       │
                       ▼
              authorization server
";

const OUTBOUND_PICTURE: &str = "   program ──▶ Envoy with the filter ──▶ protected service
                         │
                         ▼
               authorization server
";

/// Where to go on from here.
const NEXT: &str = "
Where to go next:

   make run                                  the same again, left running for you to try
   README.md                                 what it does, and where the documentation is
   envoy/inbound.yaml, envoy/outbound.yaml   what ran here, to begin with
   oauth2-filter check FILE                  what is wrong with a configuration (make command)
   envoy/observability                       these numbers in Grafana, and alerts for Prometheus
   docs/alerts.md                            what to do when an alert fires";

const USAGE: &str = "\
demo [--stay]

  --stay  leaves everything running when the walk is over, until Ctrl-C";
