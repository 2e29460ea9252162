//! An authorization server as a child process, and the folder it lives in.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use oauth2_filter_testbed::{
    process::{Process, end_of_log},
    wait, workspace,
};
use tokio::net::TcpStream;

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    _process: Process,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    log: PathBuf,
}

impl Child {
    /// Starts the program and waits until it listens on `address`; its log goes to `folder`.
    pub(crate) async fn start(
        mut command: Command,
        address: SocketAddr,
        folder: &Path,
    ) -> Result<Self, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let log = folder.join("server.log");
        let output = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let errors = output.try_clone().map_err(|error| error.to_string())?;
        command.current_dir(folder).stdout(output).stderr(errors);
        let process = Process::start(command).map_err(|error| format!("{program}: {error}"))?;
        let listens = wait::poll("it to listen", START_LIMIT, async || {
            let connected = TcpStream::connect(address).await.is_ok();
            (connected || process.exit_status().is_some()).then_some(connected)
        });
        let listens = listens.await.unwrap_or(false);
        let child = Self { _process: process, address, log };
        if listens { Ok(child) } else { Err(end_of_log(&program, &child.log())) }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

/// The folder of a server, made if it is not there; it goes with `target`.
pub(crate) fn folder(name: &str) -> Result<PathBuf, String> {
    let folder = workspace().join("target/interop").join(name);
    match fs::create_dir_all(&folder).and_then(|()| folder.canonicalize()) {
        Ok(folder) => Ok(folder),
        Err(error) => Err(format!("{}: {error}", folder.display())),
    }
}

/// Runs a command to its end. An error has what it said.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{program} does not run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let mut lines: Vec<_> = errors.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.len() > 2 * LINES_SHOWN {
        // npm says first what is wrong, apt-get last.
        lines.splice(LINES_SHOWN..lines.len() - LINES_SHOWN, ["…"]);
    }
    Err(format!("{program} ended with {}:\n  {}", output.status, lines.join("\n  ")))
}

/// Runs `apt-get` to its end, which asks nothing.
pub(crate) fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new("apt-get");
    run(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// A free loopback port.
pub(crate) fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("no free port: {error}"))
}

/// At the beginning, and at the end.
const LINES_SHOWN: usize = 4;
const START_LIMIT: Duration = Duration::from_secs(30);
