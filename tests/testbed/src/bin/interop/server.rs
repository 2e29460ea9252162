//! The process of a server, which can be stopped and started again.

use std::{
    cell::RefCell,
    fs::{self, File},
    io::{self, ErrorKind},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use oauth2_filter_testbed::{
    client::Request,
    process::{Process, end_of_log},
    wait, workspace,
};
use tempfile::TempDir;

use super::world::{Outcome, SERVER_NAME};

/// A server that runs. What it stores is in the folder `data` of its own, and outlives the process.
pub(crate) struct Server {
    folder: String,
    pub(crate) addresses: Addresses,
    /// Files that it reads when it starts, or leaves for others.
    pub(crate) keys: TempDir,
    process: RefCell<Process>,
}

/// Free loopback addresses.
#[derive(Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) main: SocketAddr,
    /// Where it is administered: the same, if it has no address of its own for that.
    pub(crate) admin: SocketAddr,
    /// Where it speaks TLS, if it does.
    pub(crate) tls: SocketAddr,
}

impl Addresses {
    /// What its URLs over TLS have as host and port.
    pub(crate) fn tls_authority(&self) -> String {
        format!("{SERVER_NAME}:{}", self.tls.port())
    }
}

impl Server {
    /// Starts it with nothing stored, and waits until it answers.
    pub(crate) async fn start(folder: &str, keys: TempDir, has_admin: bool) -> Outcome<Self> {
        match fs::remove_dir_all(directory(folder)?.join("data")) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
            _ => File::create(log_file(folder)?)?,
        };
        let main = free_address()?;
        let admin = if has_admin { free_address()? } else { main };
        let addresses = Addresses { main, admin, tls: free_address()? };
        let process = RefCell::new(launch(folder, &addresses, &keys)?);
        let server = Self { folder: folder.to_owned(), addresses, keys, process };
        server.answers(main).await?;
        server.answers(admin).await?;
        Ok(server)
    }

    async fn answers(&self, address: SocketAddr) -> Outcome {
        let answers = wait::poll("it to answer", START_LIMIT, async || {
            let answers = Request::get("/").send(address).await.is_ok();
            let runs = self.process.borrow().exit_status().is_none();
            (answers || !runs).then_some(answers)
        });
        match answers.await {
            Ok(true) => Ok(()),
            _ => Err(end_of_log(&self.folder, &self.log()).into()),
        }
    }

    /// Ends the process and waits until it has ended.
    pub(crate) fn stop(&self) {
        self.process.borrow_mut().stop();
    }

    /// Starts the process again, with what it has stored; it is not ready yet.
    pub(crate) fn resume(&self) -> Outcome {
        *self.process.borrow_mut() = launch(&self.folder, &self.addresses, &self.keys)?;
        Ok(())
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        log_file(&self.folder).and_then(fs::read_to_string).unwrap_or_default()
    }
}

fn launch(folder: &str, addresses: &Addresses, keys: &TempDir) -> Outcome<Process> {
    let output = File::options().append(true).open(log_file(folder)?)?;
    let mut command = script(folder, "start")?;
    for (name, address) in
        [("PORT", addresses.main), ("ADMIN_PORT", addresses.admin), ("TLS_PORT", addresses.tls)]
    {
        command.env(name, address.port().to_string());
    }
    command.env("KEYS", keys.path()).stdout(output.try_clone()?).stderr(output);
    Ok(Process::start(command)?)
}

/// The command that installs or starts a server.
pub(crate) fn script(folder: &str, what: &str) -> io::Result<Command> {
    let mut command = Command::new("sh");
    command.current_dir(workspace()).arg(scripts(folder).join("server.sh")).arg(what);
    command.arg(directory(folder)?);
    Ok(command)
}

/// The folder of a server in the sources.
pub(crate) fn scripts(folder: &str) -> PathBuf {
    workspace().join("tests/interop").join(folder)
}

/// The folder of a server below `target`, made if it is not there.
fn directory(folder: &str) -> io::Result<PathBuf> {
    let directory = workspace().join("target/interop").join(folder);
    fs::create_dir_all(&directory)?;
    directory.canonicalize()
}

fn log_file(folder: &str) -> io::Result<PathBuf> {
    Ok(directory(folder)?.join("server.log"))
}

fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// The slowest of them takes 15 s, and two minutes on a busy machine.
const START_LIMIT: Duration = Duration::from_mins(4);
