//! Where a page is played: a folder, the servers, and the Envoys that the page has started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

use oauth2_filter_testbed::envoy::{self, Envoy, Options};
use oauth2_filter_testbed::examples::Servers;
use oauth2_filter_testbed::{wait, workspace};
use serde_json::Value;
use tempfile::TempDir;

use crate::session::EnvoyCommand;
use crate::shown::{is_as_shown, place_behind};
use crate::yaml;

/// What runs for a page.
pub struct Stage {
    /// What the page sees as the folder of the project.
    folder: TempDir,
    servers: Option<Servers>,
    envoys: Vec<Running>,
    /// The ports that the page names, and those that they are here.
    ports: BTreeMap<u16, u16>,
}

/// An Envoy of the page.
struct Running {
    envoy: Envoy,
    /// The ports that it has on the page.
    named: Vec<u16>,
    /// How much of its log the page has shown.
    read: usize,
}

impl Stage {
    /// Nothing runs yet.
    pub fn new() -> Self {
        let folder = TempDir::with_prefix("guide-").expect("a temporary directory");
        for name in ["envoy", "target"] {
            symlink(workspace().join(name), folder.path().join(name)).expect("a link");
        }
        // Not on a terminal, curl would show its progress.
        fs::write(folder.path().join(".curlrc"), CURLRC).expect("a file");
        Self { folder, servers: None, envoys: Vec::new(), ports: BTreeMap::new() }
    }

    /// Saves a file of the page.
    pub fn save(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).expect("a file");
    }

    /// Plays a step. An error says what did not come out as the page shows it.
    pub async fn play(&mut self, command: &str, shown: &str) -> Result<(), String> {
        let came = if command == "make servers" {
            self.start_servers().await
        } else if let Some(target) = command.strip_prefix("make ") {
            is_make_target(target)?;
            String::new()
        } else if let Some(read) = EnvoyCommand::read(command) {
            let read = read?;
            if !read.validates {
                return self.start_envoy(&read, shown).await;
            }
            self.validate(&read)?
        } else {
            self.shell(command, !shown.trim().is_empty())?
        };
        let came = self.as_on_the_page(&came);
        if is_as_shown(shown, &came) { Ok(()) } else { Err(format!("it prints\n{came}")) }
    }

    /// Waits until the last Envoy has logged these lines, in order.
    pub async fn logged(&mut self, shown: &str) -> Result<(), String> {
        let ports = self.ports.clone();
        let Running { envoy, read, .. } = self.envoys.last_mut().ok_or("no Envoy runs")?;
        let log = || as_on_the_page(&ports, envoy.log().get(*read..).unwrap_or_default());
        let found = wait::poll("the lines in the log", wait::LIMIT, async || {
            place_behind(shown, &log()).map(|_| ())
        });
        found.await.map_err(|error| format!("{error}\n{}", telling(&log())))?;
        // The next lines are those of what comes next on the page.
        *read = envoy.log().len();
        Ok(())
    }

    async fn start_servers(&mut self) -> String {
        let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let servers = Servers::start([free; 3]).await.expect("the servers");
        let Servers { server, partner, service } = &servers;
        let addresses = [server.address(), partner.address(), service.address()];
        self.ports.extend(Servers::PORTS.into_iter().zip(addresses.map(|address| address.port())));
        format!("{}They run until Ctrl-C.\n", self.servers.insert(servers))
    }

    /// Starts Envoy in the place of one that has the same ports. What the page shows is its log.
    async fn start_envoy(&mut self, command: &EnvoyCommand, shown: &str) -> Result<(), String> {
        let text = self.text(&command.file)?;
        let named = Named::of(&text)?;
        let is_named = |port: u16| named.admin == port || named.listeners.contains_key(&port);
        self.envoys.retain(|running| !running.named.iter().any(|port| is_named(*port)));
        let text = self.placed(&text, &named)?;
        let log_level = command.log_level.clone().unwrap_or_else(|| "info".to_owned());
        let mut options = Options {
            folder: self.folder.path().to_owned(),
            environment: command.environment.clone(),
            // That of Envoy itself: what a page shows is there without more.
            component_log_level: format!("wasm:{log_level}"),
            log_level,
            ..Options::default()
        };
        if let Some(levels) = &command.component_log_level {
            options.component_log_level.clone_from(levels);
        }
        let envoy = match Envoy::start_with(text, &options).await {
            Ok(envoy) => envoy,
            Err(_) if shown.trim().is_empty() => {
                return Err("Envoy does not start".to_owned());
            }
            Err(error) => {
                let log = self.as_on_the_page(&error.log);
                let is_shown = place_behind(shown, &log).is_some();
                return if is_shown { Ok(()) } else { Err(format!("it logs\n{}", telling(&log))) };
            }
        };
        for (port, listener) in &named.listeners {
            self.ports.insert(*port, envoy.address(listener).port());
        }
        self.ports.insert(named.admin, envoy.admin().port());
        let named = named.listeners.into_keys().chain([named.admin]).collect();
        self.envoys.push(Running { envoy, named, read: 0 });
        self.logged(shown).await
    }

    /// The text of a file that a command names.
    fn text(&self, file: &str) -> Result<String, String> {
        fs::read_to_string(self.folder.path().join(file)).map_err(|e| format!("{file}: {e}"))
    }

    /// A configuration with free ports for its listeners, and those of what runs here.
    fn placed(&self, text: &str, named: &Named) -> Result<String, String> {
        let mut placed = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once(PORT_VALUE) {
            let (port, behind) = number(behind).ok_or("port_value is no number")?;
            let here = if port == named.admin || named.listeners.contains_key(&port) {
                0
            } else {
                self.here(port)?
            };
            placed.push_str(before);
            placed.push_str(PORT_VALUE);
            placed.push_str(&here.to_string());
            rest = behind;
        }
        placed.push_str(rest);
        replace_ports(&placed, |port| Ok(self.here(port).unwrap_or(port)))
    }

    /// What a port of the page is here.
    fn here(&self, port: u16) -> Result<u16, String> {
        self.ports
            .get(&port)
            .copied()
            .ok_or_else(|| format!("nothing listens on {port} on this page"))
    }

    /// What Envoy says of a configuration.
    fn validate(&self, command: &EnvoyCommand) -> Result<String, String> {
        let mut envoy = Command::new(envoy::binary());
        envoy.args(["--mode", "validate", "--config-path", &command.file]);
        if let Some(level) = &command.log_level {
            envoy.args(["--log-level", level]);
        }
        envoy.envs(command.environment.iter().map(|(name, value)| (name, value)));
        let Output { stdout, stderr, .. } =
            envoy.current_dir(self.folder.path()).output().map_err(|e| e.to_string())?;
        Ok(String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    }

    /// What a command prints. Variables that it sets are there for the next one.
    fn shell(&self, command: &str, may_fail: bool) -> Result<String, String> {
        let command = replace_ports(command, |port| self.here(port))?;
        let script = format!(
            "[ ! -f .variables ] || . ./.variables\nset -a\n{command}\n\
             status=$?\nexport -p > .variables\nexit $status\n"
        );
        let folder = self.folder.path();
        let Output { status, stdout, stderr } = Command::new("sh")
            .args(["-c", &script])
            .current_dir(folder)
            .env_clear()
            .env("PATH", programs()?)
            .env("HOME", folder)
            .output()
            .map_err(|error| format!("sh: {error}"))?;
        let came = String::from_utf8_lossy(&[stdout, stderr].concat()).replace('\r', "");
        if status.success() || may_fail { Ok(came) } else { Err(format!("{status}\n{came}")) }
    }

    /// A text with the ports that the page has.
    fn as_on_the_page(&self, text: &str) -> String {
        as_on_the_page(&self.ports, text)
    }
}

/// The ports that a configuration opens.
struct Named {
    admin: u16,
    /// With the name of the listener.
    listeners: BTreeMap<u16, String>,
}

impl Named {
    fn of(text: &str) -> Result<Self, String> {
        let documents = yaml::documents(text).map_err(|error| error.to_string())?;
        let document = documents.first().ok_or("an empty file")?;
        let port = |owner: &Value| {
            let port = owner["address"]["socket_address"]["port_value"].as_u64();
            port.and_then(|port| u16::try_from(port).ok()).ok_or_else(|| "no port_value".to_owned())
        };
        let listeners = document["static_resources"]["listeners"].as_array();
        let listener = |listener: &Value| {
            let name = listener["name"].as_str().ok_or("a listener without a name")?;
            Ok::<_, String>((port(listener)?, name.to_owned()))
        };
        let listeners = listeners.into_iter().flatten().map(listener).collect::<Result<_, _>>()?;
        Ok(Self { admin: port(&document["admin"])?, listeners })
    }
}

/// The `PATH` of commands: first the programs of the project that Cargo builds with the tests.
fn programs() -> Result<OsString, String> {
    let test = env::current_exe().map_err(|error| error.to_string())?;
    let built = test.parent().and_then(Path::parent).map(Path::to_owned);
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(built.into_iter().chain(env::split_paths(&path))).map_err(|e| e.to_string())
}

/// A log without what Envoy says of itself each time.
fn telling(log: &str) -> String {
    log.lines().filter(|line| !line.contains("[info]")).collect::<Vec<_>>().join("\n")
}

/// Whether there is such a target.
pub fn is_make_target(target: &str) -> Result<(), String> {
    let makefile = include_str!("../../Makefile");
    let is_there = makefile.contains(&format!("\n{target}:"));
    if is_there { Ok(()) } else { Err(format!("no target {target} in the Makefile")) }
}

fn as_on_the_page(ports: &BTreeMap<u16, u16>, text: &str) -> String {
    let on_the_page = |here: u16| ports.iter().find(|(_, port)| **port == here).map(|(p, _)| *p);
    replace_ports(text, |here| Ok(on_the_page(here).unwrap_or(here))).unwrap_or_default()
}

/// The text with other ports on this machine.
fn replace_ports(text: &str, other: impl Fn(u16) -> Result<u16, String>) -> Result<String, String> {
    let mut replaced = String::new();
    let mut rest = text;
    while let Some((place, host)) =
        HOSTS.iter().filter_map(|host| Some((rest.find(host)?, host))).min()
    {
        let (before, behind) = rest.split_at(place + host.len());
        replaced.push_str(before);
        rest = behind;
        if let Some((port, behind)) = number(rest) {
            replaced.push_str(&other(port)?.to_string());
            rest = behind;
        }
    }
    replaced.push_str(rest);
    Ok(replaced)
}

/// The number at the begin of a text, and what is behind it.
fn number(text: &str) -> Option<(u16, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, behind) = text.split_at(end);
    Some((digits.parse().ok()?, behind))
}

const HOSTS: [&str; 2] = ["127.0.0.1:", "localhost:"];
const PORT_VALUE: &str = "port_value: ";
const CURLRC: &str = "silent\nshow-error\nmax-time = 30\n";

#[test]
fn ports_are_replaced_whole() {
    let other = |port| Ok(if port == 9000 { 1 } else { port });
    let text = "http://127.0.0.1:9000/ 127.0.0.1:90001 localhost:9000, 127.0.0.1: 9000";
    let expected = "http://127.0.0.1:1/ 127.0.0.1:90001 localhost:1, 127.0.0.1: 9000";
    assert_eq!(replace_ports(text, other), Ok(expected.to_owned()));
}
