//! A proxy that is measured: an Envoy with a core of its own. All else shares the other cores.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use oauth2_filter_testbed::envoy::{Bootstrap, Cluster, Envoy, Listener, Options, merge};
use oauth2_filter_testbed::process::end_of_log;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};

use crate::Outcome;
use crate::filters::client_secret;
use crate::servers::Sidecar;
use crate::tokens::Tokens;
use crate::variants::{Answers, Variant};

/// How the cores are shared out.
#[derive(Clone, Debug)]
pub struct Cores {
    proxy: usize,
    others: Vec<usize>,
}

impl Cores {
    /// The first of the cores that this process may use for the proxies, the others for all else.
    pub fn of_this_process() -> Outcome<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut others: Vec<_> =
            (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        if others.len() < 2 {
            return Err("at least two cores are required: the proxy needs one for itself".into());
        }
        Ok(Self { proxy: others.remove(0), others })
    }

    /// Has this thread, and what it starts from now on, run on the core of the proxies.
    fn to_proxy(&self) -> Outcome<()> {
        pin(&[self.proxy])
    }

    /// Has this thread, and what it starts from now on, run on the other cores.
    pub fn to_others(&self) -> Outcome<()> {
        pin(&self.others)
    }

    /// Checks that every thread of a process runs on the core of the proxies only.
    fn check(&self, pid: u32) -> Outcome<()> {
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let status = fs::read_to_string(thread?.path().join("status"))?;
            if !status.contains(&format!("\nCpus_allowed_list:\t{}\n", self.proxy)) {
                return Err(
                    format!("a thread of process {pid} is not on core {}", self.proxy).into()
                );
            }
        }
        Ok(())
    }
}

fn pin(cores: &[usize]) -> Outcome<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// What all proxies stand between.
#[derive(Debug)]
pub struct Surroundings {
    /// How the cores are shared out.
    pub cores: Cores,
    /// The tokens of all requests.
    pub tokens: Arc<Tokens>,
    /// The service behind some of them, on the core of the load: an Envoy that answers by itself.
    pub service: Envoy,
}

impl Surroundings {
    /// Starts the service.
    pub async fn new(cores: Cores, tokens: Arc<Tokens>) -> Outcome<Self> {
        let bootstrap = Bootstrap::new().listener(quiet(Listener::answering(LISTENER, 200, "ok")));
        let service = Envoy::start_with(bootstrap, &options(1)).await?;
        Ok(Self { cores, tokens, service })
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    /// Which it is.
    pub variant: Variant,
    /// Where it listens.
    pub address: SocketAddr,
    envoy: Envoy,
    sidecar: Option<Sidecar>,
}

/// While it lives, its proxy runs.
#[derive(Debug)]
pub struct Turn<'a>(&'a Proxy);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // One that is gone already needs no stopping.
        let _ = self.0.signal(Signal::STOP);
    }
}

/// The memory of a proxy in MB: what it has allocated, but for that of WebAssembly, and what is
/// resident of its process.
pub type Memory = [f64; 2];

impl Proxy {
    /// Starts it. `server` is whom its filter asks.
    pub async fn start(
        variant: Variant,
        surroundings: &Surroundings,
        server: SocketAddr,
        workers: u32,
    ) -> Outcome<Self> {
        let Surroundings { cores, tokens, service } = surroundings;
        let listener = match variant.answers {
            Answers::Proxy => Listener::answering(LISTENER, 200, "ok"),
            Answers::Service => Listener::to(LISTENER, "service"),
            Answers::Server => Listener::to(LISTENER, "as"),
        };
        let sidecar = if variant.has_sidecar() {
            Some(pinned(cores, Sidecar::start(server, variant.name)).await?)
        } else {
            None
        };
        let asked = sidecar.as_ref().map_or(server, |sidecar| sidecar.address);
        let filter = (variant.filter)(variant.name, &tokens.key_set);
        let filters = [filter].into_iter().filter(|filter| !filter.is_null());
        let listener = filters.fold(quiet(listener), Listener::filter);
        let room = json!({
            "max_connections": 1_000, "max_pending_requests": 10_000, "max_requests": 10_000,
        });
        let cluster = |name, address| Cluster::new(name, address).thresholds(&room);
        let bootstrap = Bootstrap::new()
            .custom_cluster(cluster("as", asked))
            .custom_cluster(cluster("service", service.address(LISTENER)))
            .listener(listener);
        let start =
            async || Ok(Envoy::start_with(with_secret(&bootstrap), &options(workers)).await?);
        let envoy = pinned(cores, start()).await;
        let envoy = envoy.map_err(|error| format!("{}: {error}", variant.name))?;
        let address = envoy.address(LISTENER);
        let proxy = Self { variant, address, envoy, sidecar };
        proxy.pids().try_for_each(|pid| cores.check(pid))?;
        Ok(proxy)
    }

    /// Stops it until its turn: thirty idle proxies would take a few percent of the core from the
    /// one that is measured, and of its caches.
    pub fn wait_for_turn(&self) -> Outcome<()> {
        self.signal(Signal::STOP)
    }

    /// Has it run, and get done what it has missed.
    pub fn turn(&self) -> Outcome<Turn<'_>> {
        self.signal(Signal::CONT)?;
        thread::sleep(CATCH_UP);
        Ok(Turn(self))
    }

    fn signal(&self, signal: Signal) -> Outcome<()> {
        let pid = i32::try_from(self.envoy.pid()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.ok_or("no process")?, signal)?)
    }

    /// How many seconds its threads, and those of its sidecar, have had their core, and how many they
    /// have waited for it.
    pub fn core_time(&self) -> Outcome<[f64; 2]> {
        let mut sum = [0.0; 2];
        for pid in self.pids() {
            for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
                let text = fs::read_to_string(thread?.path().join("schedstat"))?;
                for (sum, nanoseconds) in sum.iter_mut().zip(text.split(' ')) {
                    *sum += nanoseconds.parse::<f64>()? / 1e9;
                }
            }
        }
        Ok(sum)
    }

    /// Its processes.
    fn pids(&self) -> impl Iterator<Item = u32> {
        let sidecar = self.sidecar.as_ref().map(Sidecar::pid);
        [self.envoy.pid()].into_iter().chain(sidecar)
    }

    /// Its memory.
    pub async fn memory(&self) -> Outcome<Memory> {
        let document: Value = serde_json::from_str(&self.envoy.admin_get("/memory").await)?;
        let allocated =
            document["allocated"].as_str().ok_or("Envoy reports no memory statistics")?;
        let status = fs::read_to_string(format!("/proc/{}/status", self.envoy.pid()))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.ok_or("the kernel reports no VmRSS for Envoy")?.trim();
        let kibibytes: f64 = resident.trim_end_matches(" kB").parse()?;
        Ok([allocated.parse::<f64>()? / 1e6, kibibytes * 1024.0 / 1e6])
    }

    /// Checks that every answer so far was a good one.
    pub async fn check_answers(&self) -> Outcome<()> {
        let stats = self.envoy.stats(&format!("http.{LISTENER}.downstream_rq_.xx")).await;
        match stats.iter().find(|(name, count)| !name.ends_with("2xx") && **count > 0) {
            Some((name, count)) => Err(self.failed(&format!("{count} answers: {name}"))),
            None => Ok(()),
        }
    }

    /// The number of connections of each worker.
    pub async fn connections(&self) -> Vec<u64> {
        let stats = self.envoy.stats("listener.*worker_.*downstream_cx_active").await;
        let of_listener = |name: &String| !name.starts_with("listener.admin");
        stats.into_iter().filter(|(name, _)| of_listener(name)).map(|(_, count)| count).collect()
    }

    /// What went wrong with it, with the end of its log.
    pub fn failed(&self, why: &str) -> Box<dyn std::error::Error> {
        format!("{}: {why}\n{}", self.variant.name, end_of_log("Envoy", &self.envoy.log())).into()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // What is stopped cannot end by itself.
        let _ = self.signal(Signal::CONT);
    }
}

/// Starts a program on the core of the proxies.
async fn pinned<T>(cores: &Cores, start: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    // A process has the cores of the thread that starts it.
    cores.to_proxy()?;
    let started = start.await;
    cores.to_others()?;
    started
}

/// The configuration, with the secret of Envoy's own client.
pub fn with_secret(bootstrap: &Bootstrap) -> Value {
    let mut configuration = bootstrap.value();
    let secrets = json!({"static_resources": {"secrets": [client_secret()]}});
    merge(&mut configuration, secrets);
    configuration
}

/// How Envoy is run.
pub fn options(workers: u32) -> Options {
    Options {
        concurrency: workers,
        // Nothing is logged for a request.
        component_log_level: "wasm:warning".to_owned(),
        ..Options::default()
    }
}

/// Without an access log, which would cost about as much as a filter.
pub fn quiet(listener: Listener) -> Listener {
    listener.connection_manager(json!({"access_log": []}))
}

const LISTENER: &str = "bench";

/// How long a proxy runs before its turn counts.
const CATCH_UP: Duration = Duration::from_millis(50);
