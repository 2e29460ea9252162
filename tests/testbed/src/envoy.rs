//! A real Envoy: its process, admin interface, statistics and logs.

mod bootstrap;
mod example;
mod listener;
pub mod native;
pub mod symbols;
mod wasm_plugin;

use std::{
    collections::BTreeMap,
    env, error, fmt, fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{self, Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

pub use self::{
    bootstrap::{Bootstrap, Cluster, Configuration, merge, with_members},
    example::example,
    listener::Listener,
    wasm_plugin::WasmPlugin,
};
use crate::{
    client::{self, Request},
    process::{self, Process},
    service::FREE_PORT,
    wait,
};

/// A running Envoy. Dropped, it stops; dropped by a panic, it prints the end of its log first.
#[derive(Debug)]
pub struct Envoy {
    process: Process,
    admin: SocketAddr,
    listeners: BTreeMap<String, SocketAddr>,
    directory: TempDir,
}

impl Envoy {
    /// Starts Envoy and waits until its listeners are open.
    ///
    /// Takes a [`Bootstrap`], a JSON value, or YAML or JSON text, whose admin address is replaced.
    /// An Envoy that refuses its configuration is an error that has its log. Panics if there is no
    /// Envoy.
    pub async fn start(configuration: impl Into<Configuration>) -> Result<Self, StartError> {
        Self::start_with(configuration, &Options::default()).await
    }

    /// Starts Envoy with these options.
    pub async fn start_with(
        configuration: impl Into<Configuration>,
        options: &Options,
    ) -> Result<Self, StartError> {
        let Configuration { directory, text } = configuration.into();
        let path = directory.path();
        fs::write(path.join(CONFIGURATION), text).expect("a temporary directory to write to");
        let process = Process::start(command(path, options).expect("a temporary directory"))
            .unwrap_or_else(|error| {
                panic!("{} does not start: {error}", options.program().display())
            });
        let failed = |reason: String| StartError { reason, log: log(path) };
        let ready = wait::poll("Envoy to be ready", START_LIMIT, async || {
            if let Some(status) = process.exit_status() {
                return Some(Err(failed(format!("Envoy ended with {status}"))));
            }
            ready(path).await.map(Ok)
        });
        let admin = ready.await.map_err(|timed_out| failed(timed_out.to_string()))??;
        let listeners =
            listeners(admin).await.map_err(|error| failed(format!("/listeners: {error}")))?;
        Ok(Self { process, admin, listeners, directory })
    }

    /// Where the listener of this name listens; panics if there is none.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let listeners = &self.listeners;
        *listeners
            .get(listener)
            .unwrap_or_else(|| panic!("no listener {listener}, only {:?}", listeners.keys()))
    }

    /// The port of the listener of this name; panics if there is none.
    pub fn port(&self, listener: &str) -> u16 {
        self.address(listener).port()
    }

    /// Where the admin interface listens.
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The process id.
    pub const fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Gets a document of the admin interface.
    pub async fn admin_get(&self, target: &str) -> String {
        admin_get(self.admin, target).await.unwrap_or_else(|error| panic!("GET {target}: {error}"))
    }

    /// Changes something by the admin interface, such as `/logging?wasm=trace`.
    pub async fn admin_post(&self, target: &str) -> client::Response {
        let answer = Request::post(target, "").send(self.admin).await;
        answer.unwrap_or_else(|error| panic!("POST {target}: {error}"))
    }

    /// The value of a counter or gauge; `None` if there is none of this name.
    pub async fn stat(&self, name: &str) -> Option<u64> {
        stat(self.admin, name).await.unwrap_or_else(|error| panic!("/stats: {error}"))
    }

    /// The counters and gauges whose name contains `part`.
    pub async fn stats(&self, part: &str) -> BTreeMap<String, u64> {
        stats(self.admin, part).await.unwrap_or_else(|error| panic!("/stats: {error}"))
    }

    /// Waits until a counter or gauge has at least this value.
    pub async fn stat_reaches(&self, name: &str, value: u64) {
        let what = format!("{name} to reach {value}");
        wait::until(&what, async || self.stat(name).await >= Some(value)).await;
    }

    /// What Envoy, and the filters in it, have logged.
    pub fn log(&self) -> String {
        log(self.directory.path())
    }

    /// Waits until the log has this text.
    pub async fn logged(&self, text: &str) {
        wait::until(&format!("{text:?} in the log"), async || self.log().contains(text)).await;
    }

    /// The access log of a listener that a [`Bootstrap`] made, an object for each request whose
    /// answer has ended. Envoy writes it with a delay of some 50 ms.
    pub fn access_log(&self, listener: &str) -> Vec<Value> {
        let path = listener::access_log_path(self.directory.path(), listener);
        let log = fs::read_to_string(&path).unwrap_or_default();
        // The last line may not have been written whole.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).expect("an access log of JSON"))
            .collect()
    }

    /// Waits until the access log of a listener has this many entries.
    pub async fn access_log_entries(&self, listener: &str, entries: usize) -> Vec<Value> {
        let what = format!("{entries} entries in the access log of {listener}");
        wait::until(&what, async || self.access_log(listener).len() >= entries).await;
        self.access_log(listener)
    }

    /// Replaces the configuration of a filter added by [`Listener::discovered_filter`] and waits
    /// until Envoy has taken it, or refused it. Its workers may have it a moment later.
    pub async fn update_filter(&self, name: &str, typed_config: &Value) -> Result<(), Refused> {
        let stats = format!("extension_config_discovery.http_filter.{name}.update_");
        let outcomes = async || {
            let stats = self.stats(&stats).await;
            let count = |outcome| {
                stats.iter().find_map(|(name, count)| name.ends_with(outcome).then_some(*count))
            };
            (count("update_success"), count("update_rejected"))
        };
        let before = outcomes().await;
        listener::write_filter(self.directory.path(), name, typed_config)
            .expect("a temporary directory to write to");
        let what = format!("Envoy to take the new configuration of {name}");
        wait::until(&what, async || outcomes().await != before).await;
        if outcomes().await.1 > before.1 { Err(Refused) } else { Ok(()) }
    }

    /// Stops Envoy, by SIGTERM and, if it does not end within some seconds, SIGKILL.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        self.process.stop();
        if thread::panicking() {
            eprintln!("{}", process::end_of_log("Envoy", &self.log()));
        }
    }
}

/// How Envoy is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The program: [`binary`] by default.
    pub program: Option<PathBuf>,
    /// The folder in which it runs, from which its configuration names files: ours by default.
    pub folder: PathBuf,
    /// Where the admin interface listens: a free loopback port by default.
    pub admin: SocketAddr,
    /// Number of worker threads: 2 by default.
    pub concurrency: u32,
    /// What Envoy logs: `warning` by default.
    pub log_level: String,
    /// What its components log: `wasm:debug` by default.
    pub component_log_level: String,
    /// Environment variables besides our own.
    pub environment: Vec<(String, String)>,
    /// More arguments for the command line.
    pub arguments: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            program: None,
            folder: workspace(),
            admin: FREE_PORT,
            concurrency: 2,
            log_level: "warning".to_owned(),
            component_log_level: "wasm:debug".to_owned(),
            environment: Vec::new(),
            arguments: Vec::new(),
        }
    }
}

impl Options {
    fn program(&self) -> PathBuf {
        self.program.clone().unwrap_or_else(binary)
    }
}

/// Envoy did not start. Its text, `Debug` too, is the reason and Envoy's log.
pub struct StartError {
    /// Why, in a line.
    pub reason: String,
    /// What Envoy had logged.
    pub log: String,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.reason, self.log)
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl error::Error for StartError {}

/// Envoy has refused a new configuration of a filter; the old one stays. The log says why.
#[derive(Debug)]
pub struct Refused;

/// The root of the workspace, in which Envoy runs: its configurations may name files from there.
pub fn workspace() -> PathBuf {
    // Cargo, if it runs us, knows where the folder is now; it may have moved since it was built.
    let package = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    let root = package.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    root.expect("the folder of the project, where it was built").to_owned()
}

/// `ENVOY`, or the Envoy that `make setup` has installed; panics if there is none.
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("ENVOY") {
        // As a shell takes it: a word without a slash is looked for in PATH.
        let path = PathBuf::from(path);
        if path.components().count() == 1 {
            return path;
        }
        assert!(path.is_file(), "ENVOY={} is not a file", path.display());
        return path::absolute(&path).expect("the current folder");
    }
    let installed = installed(&workspace().join("target/envoy"));
    installed.expect("no Envoy: run `make setup`, or set ENVOY=/path/to/envoy")
}

/// The Envoy that `tests/setup/envoy.sh` has installed into a folder.
pub fn installed(folder: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(folder.join("lib")).into_iter().flatten().flatten();
    // The program itself: the script that Python installs would run it as its child.
    versions
        .map(|version| version.path().join("site-packages/envoy/_bin/envoy"))
        .find(|path| path.is_file())
}

fn command(directory: &Path, options: &Options) -> io::Result<Command> {
    let output = fs::File::create(directory.join(LOG))?;
    let Options { admin, .. } = options;
    let mut component_log_level = options.component_log_level.clone();
    if native::is_chosen() {
        component_log_level = component_log_level.replace("wasm:", "dynamic_modules:");
    }
    let admin = json!({"admin": {"address": socket_address(admin.ip(), admin.port())}});
    let mut command = Command::new(options.program());
    command
        .current_dir(&options.folder)
        .arg("--config-path")
        .arg(directory.join(CONFIGURATION))
        .args(["--config-yaml", &admin.to_string()])
        .arg("--admin-address-path")
        .arg(directory.join(ADMIN_ADDRESS))
        .arg("--disable-hot-restart")
        .args(["--concurrency", &options.concurrency.to_string()])
        .args(["--log-level", &options.log_level])
        .args(["--component-log-level", &component_log_level])
        .args(["--file-flush-interval-msec", "50"])
        .args(&options.arguments)
        .envs(native::variables())
        .envs(options.environment.iter().map(|(name, value)| (name, value)))
        .stdout(output.try_clone()?)
        .stderr(output);
    Ok(command)
}

/// The address of the admin interface once every worker serves.
async fn ready(directory: &Path) -> Option<SocketAddr> {
    let admin = fs::read_to_string(directory.join(ADMIN_ADDRESS)).ok()?.trim().parse().ok()?;
    let live = Request::get("/ready").send(admin).await.ok()?.status == 200;
    let started = stat(admin, "listener_manager.workers_started").await.ok()?;
    (live && started == Some(1)).then_some(admin)
}

async fn listeners(admin: SocketAddr) -> io::Result<BTreeMap<String, SocketAddr>> {
    let document: Value = serde_json::from_str(&admin_get(admin, "/listeners?format=json").await?)?;
    let statuses = document["listener_statuses"].as_array().into_iter().flatten();
    let listener = |status: &Value| {
        let bound = &status["local_address"]["socket_address"];
        let address = match bound["address"].as_str()?.parse().ok()? {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        let port = u16::try_from(bound["port_value"].as_u64()?).ok()?;
        Some((status["name"].as_str()?.to_owned(), SocketAddr::new(address, port)))
    };
    Ok(statuses.filter_map(listener).collect())
}

async fn stat(admin: SocketAddr, name: &str) -> io::Result<Option<u64>> {
    Ok(stats(admin, name).await?.remove(name))
}

async fn stats(admin: SocketAddr, part: &str) -> io::Result<BTreeMap<String, u64>> {
    // The filter is a regular expression; that a dot fits any character only finds more.
    let filter: String = form_urlencoded::byte_serialize(part.as_bytes()).collect();
    let text = admin_get(admin, &format!("/stats?filter={filter}")).await?;
    let stat = |line: &str| {
        let (name, value) = line.rsplit_once(": ")?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Ok(text.lines().filter_map(stat).collect())
}

async fn admin_get(admin: SocketAddr, target: &str) -> io::Result<String> {
    Ok(Request::get(target).send(admin).await?.text())
}

fn log(directory: &Path) -> String {
    let log = fs::read(directory.join(LOG)).unwrap_or_default();
    String::from_utf8_lossy(&log).into_owned()
}

fn socket_address(address: IpAddr, port: u16) -> Value {
    json!({"socket_address": {"address": address.to_string(), "port_value": port}})
}

fn duration(duration: Duration) -> String {
    format!("{}.{:09}s", duration.as_secs(), duration.subsec_nanos())
}

const CONFIGURATION: &str = "envoy.yaml";
const ADMIN_ADDRESS: &str = "admin-address";
const LOG: &str = "envoy.log";
const START_LIMIT: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests;
