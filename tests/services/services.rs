//! The services: small programs on the servers and libraries that people use.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::process::{Process, end_of_log};
use oauth2_filter_testbed::{wait, workspace};
use tempfile::TempDir;

use crate::reading::Reading;

/// The services by name.
pub const SERVICES: [&str; 5] = ["node", "express", "wsgi", "cgi", "php"];

/// All services, running. They are shared by the tests that run at the same time.
pub struct Services(Vec<Service>);

/// A service that runs until this is dropped.
struct Service {
    name: &'static str,
    address: SocketAddr,
    process: Process,
    folder: TempDir,
}

impl Services {
    /// Starts them, or joins the tests that have; `None` if they are to be left out.
    pub async fn start() -> Option<Arc<Self>> {
        static RUNNING: Mutex<Weak<Services>> = Mutex::new(Weak::new());
        if env::var("OAUTH2_FILTER_SERVICES").is_ok_and(|value| value == "skip") {
            // Not by `eprintln!`, which the test runner hides where a test passes.
            let test = thread::current().name().unwrap_or_default().to_owned();
            let _ = writeln!(io::stderr(), "left out, without its services: {test}");
            return None;
        }
        let services = {
            let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
            running.upgrade().unwrap_or_else(|| {
                let services = Arc::new(Self(SERVICES.map(Service::start).into()));
                *running = Arc::downgrade(&services);
                services
            })
        };
        for service in &services.0 {
            service.ready().await;
        }
        Some(services)
    }

    /// The name and address of each.
    pub fn addresses(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        self.0.iter().map(|service| (service.name, service.address))
    }

    /// The end of each one's log.
    pub fn logs(&self) -> String {
        self.0.iter().map(Service::end_of_log).collect::<Vec<_>>().join("\n")
    }
}

impl Service {
    /// Starts it on a free port. What connects before it is ready waits in the socket's queue.
    fn start(name: &'static str) -> Self {
        let folder = TempDir::with_prefix("service-").expect("a temporary directory");
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = socket.local_addr().expect("the address of an open port");
        let log = File::create(folder.path().join(LOG)).expect("a file");
        let mut command = command(name, folder.path());
        command
            // No port is free for certain unless somebody has it.
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        let process = Process::start(command).unwrap_or_else(|error| missing(name, &error));
        Self { name, address, process, folder }
    }

    /// Waits until it answers.
    async fn ready(&self) {
        let ready = wait::poll("an answer", wait::LIMIT, async || {
            if self.process.exit_status().is_some() {
                return Some(false);
            }
            let answer = Request::get("/ready").send(self.address).await.ok()?;
            Reading::of(&answer).is_some().then_some(true)
        });
        if !matches!(ready.await, Ok(true)) {
            missing(self.name, &self.end_of_log())
        }
    }

    fn end_of_log(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default();
        end_of_log(self.name, &log)
    }
}

/// Says what to run.
fn missing(name: &str, why: &dyn std::fmt::Display) -> ! {
    panic!(
        "the service {name} does not start: {why}\nrun `make services`, or leave these tests out: \
         `make test SERVICES=skip`"
    )
}

/// The command that runs a service, which ends when we do.
fn command(name: &str, folder: &Path) -> Command {
    let sources = sources().join(name);
    let installed = workspace().join("target/services");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]);
    match name {
        "node" => _ = command.arg("node").arg(sources.join("server.mjs")),
        "express" => _ = command.arg("node").arg(sources.join("server.mjs")).arg(installed),
        "wsgi" => _ = command.arg("python3").arg("-I").arg(sources.join("server.py")),
        _ => {
            let configuration = sources.join("lighttpd.conf");
            // Debian has the server in a folder that only root looks in.
            let path = env::var("PATH").unwrap_or_default();
            command
                .args(["lighttpd", "-D", "-f"])
                .arg(configuration)
                .env("PATH", format!("{path}:/usr/sbin"))
                .env("FOLDER", sources)
                .env("SOCKET", folder.join("php"));
        }
    }
    command
}

/// Where the programs are.
fn sources() -> PathBuf {
    workspace().join("tests/services")
}

const LOG: &str = "service.log";
