//! The service of `ext_authz` as people write it, run as they run it: a program in Node.js
//! (`tests/bench/sidecar`) beside the proxy, on the same core.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use oauth2_filter_testbed::process::Process;
use oauth2_filter_testbed::{wait, workspace};
use tempfile::TempDir;

use crate::Outcome;

/// A running sidecar.
#[derive(Debug)]
pub struct Sidecar {
    /// Where it listens.
    pub address: SocketAddr,
    process: Process,
    _directory: TempDir,
}

impl Sidecar {
    /// Whether there is Node.js to run it.
    pub fn can_run() -> bool {
        let version = Command::new("node").arg("--version").stdout(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    }

    /// Starts one that asks `server` on behalf of a proxy of this name, on the cores of this thread.
    pub async fn start(server: SocketAddr, proxy: &str) -> Outcome<Self> {
        let directory = TempDir::new()?;
        let file = directory.path().join("port");
        let mut node = Command::new("node");
        node.arg(workspace().join("tests/bench/sidecar/authorize.mjs"))
            .arg(format!("http://{server}/introspect/{proxy}"))
            .arg(&file);
        let process = Process::start(node)?;
        let is_up = async || file.exists().then_some(());
        wait::poll("the sidecar of ext_authz", wait::LIMIT, is_up).await?;
        let address = (Ipv4Addr::LOCALHOST, fs::read_to_string(file)?.parse::<u16>()?).into();
        Ok(Self { address, process, _directory: directory })
    }

    /// Its process id.
    pub const fn pid(&self) -> u32 {
        self.process.id()
    }
}
