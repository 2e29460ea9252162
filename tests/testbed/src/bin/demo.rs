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
    story::{self, InboundYaml, Page, Scene, Server},
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
}

async fn play(page: &mut Page) -> Result<Setting, Box<dyn Error>> {
    page.title("oauth2-filter: what it does, in a real Envoy");
    page.line(PICTURE);
    let ports = Ports::vacant(page)?;
    let file = ports.put_in(InboundYaml::read());
    let setting = Setting::start(&ports, &file, page).await?;
    let scene = Scene {
        envoy: setting.envoy.address("inbound"),
        server: Server::ours(setting.server.address()),
        user: SHOP,
        max_ttl: file.max_ttl(),
    };
    story::play(&scene, page).await;
    Ok(setting)
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
        let envoy = Envoy::start_with(file.text(), &options).await?;
        let time = begin.elapsed().as_secs_f64();
        page.line(&format!("http://{} ({time:.1} s)", envoy.address("inbound")));
        page.blank();
        page.line("Each step shows a request, as a line for curl, and the answer to it.");
        page.blank();
        Ok(Self { server, _service: service, envoy })
    }

    /// What Envoy has logged, without the many requests that went well.
    fn telling_log(&self) -> String {
        let log = self.envoy.log();
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

   # Envoy's log, with a line for each request and the filter's reason in it
   tail -f {}
"#,
            log.display(),
        ));
    }
}

/// The ports that `envoy/inbound.yaml` names, or free ones for those that are taken.
struct Ports {
    proxy: u16,
    admin: u16,
    service: u16,
    server: u16,
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
        let [proxy, admin, service, server] = ports;
        Ok(Self { proxy, admin, service, server })
    }

    /// The file with these ports.
    fn put_in(&self, file: InboundYaml) -> InboundYaml {
        let ports = [self.proxy, self.admin, self.service, self.server];
        let mut file = file;
        for (named, port) in NAMED.into_iter().zip(ports) {
            file = file.with_port(named, port);
        }
        file
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

/// As `envoy/inbound.yaml` has them: of the proxy, its admin interface, the service and the
/// authorization server.
const NAMED: [u16; 4] = [10000, 9901, 9001, 9000];
const WASM: &str = "target/oauth2_filter.wasm";
/// What shells make of SIGINT.
const INTERRUPTED: u8 = 130;

const PICTURE: &str = "   caller ──▶ Envoy with the filter ──▶ service
                       │
                       ▼
              authorization server
";

const USAGE: &str = "\
demo [--stay]

  --stay  leaves everything running when the walk is over, until Ctrl-C";
