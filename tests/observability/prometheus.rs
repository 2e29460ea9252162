//! A real Prometheus: its process, and what it answers.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

use oauth2_filter_testbed::client::Request;
use oauth2_filter_testbed::process::{Process, end_of_log};
use oauth2_filter_testbed::{wait, workspace};
use serde_json::Value;
use tempfile::TempDir;

/// A running Prometheus. Dropped, it stops; dropped by a panic, it prints the end of its log first.
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
    directory: TempDir,
}

/// The labels of a series, its name among them as `__name__`.
pub type Labels = BTreeMap<String, String>;

impl Prometheus {
    /// Starts it with this configuration, which finds these rules as `alerts.yaml` beside it.
    pub async fn start(configuration: &str, rules: &str) -> Self {
        let directory = TempDir::with_prefix("prometheus-").expect("a temporary directory");
        let path = directory.path();
        fs::write(path.join(CONFIGURATION), configuration).expect("a file");
        fs::write(path.join("alerts.yaml"), rules).expect("a file");
        let log = fs::File::create(path.join(LOG)).expect("a file");
        let mut command = Command::new(program("prometheus"));
        command
            .arg(format!("--config.file={}", path.join(CONFIGURATION).display()))
            .arg(format!("--storage.tsdb.path={}", path.join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        let process = Process::start(command).expect("Prometheus starts");
        let address = wait::poll("Prometheus to listen", wait::LIMIT, async || {
            let log = fs::read_to_string(directory.path().join(LOG)).unwrap_or_default();
            let line = log.lines().find(|line| line.contains("msg=\"Listening on\""))?.to_owned();
            line.split("address=").nth(1)?.split(' ').next()?.parse().ok()
        });
        let address = address.await.unwrap_or_else(|error| {
            let log = fs::read_to_string(directory.path().join(LOG)).unwrap_or_default();
            panic!("{error}\n{}", end_of_log("Prometheus", &log))
        });
        let prometheus = Self { process, address, directory };
        wait::until("Prometheus to be ready", async || {
            let ready = Request::get("/-/ready").send(prometheus.address).await;
            ready.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        prometheus
    }

    /// The series that a query finds now; panics if it is no query.
    pub async fn query(&self, query: &str) -> Vec<Labels> {
        let request = Request::form("/api/v1/query", &[("query", query)]);
        let answer = request.send(self.address).await.expect("an answer of Prometheus").json();
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let found = answer["data"]["result"].as_array().expect("a list of series");
        let labels = |series: &Value| serde_json::from_value(series["metric"].clone());
        found.iter().map(|series| labels(series).expect("labels")).collect()
    }

    /// The rules as Prometheus has understood them.
    pub async fn rules(&self) -> Vec<Rule> {
        let answer = Request::get("/api/v1/rules").send(self.address).await;
        let answer = answer.expect("an answer of Prometheus").json();
        let groups = answer["data"]["groups"].as_array().expect("groups");
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules"));
        rules.map(|rule| Rule(rule.clone())).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.process.stop();
        if thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join(LOG)).unwrap_or_default();
            eprintln!("{}", end_of_log("Prometheus", &log));
        }
    }
}

/// A rule: an alert, or something that is recorded.
#[derive(Clone, Debug)]
pub struct Rule(Value);

impl Rule {
    /// Its name.
    pub fn name(&self) -> &str {
        self.0["name"].as_str().expect("a name")
    }

    /// Its query.
    pub fn query(&self) -> &str {
        self.0["query"].as_str().expect("a query")
    }

    /// Whether it is an alert.
    pub fn is_alert(&self) -> bool {
        self.0["type"] == "alerting"
    }

    /// A label that it adds.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.0["labels"][name].as_str()
    }

    /// An annotation, as the template that it is.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.0["annotations"][name].as_str()
    }

    /// The annotations of the alerts of this rule that are there now.
    pub fn alerts(&self) -> Vec<String> {
        let alerts = self.0["alerts"].as_array().into_iter().flatten();
        alerts.map(|alert| alert["annotations"].to_string()).collect()
    }
}

/// Runs promtool in `envoy/observability`; panics with what it says if it is not content.
pub fn promtool(arguments: &[&str]) {
    let mut command = Command::new(program("promtool"));
    command.current_dir(workspace().join("envoy/observability")).args(arguments);
    let Output { status, stdout, stderr } = command.output().expect("promtool runs");
    let said = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(status.success(), "promtool {arguments:?}\n{said}");
}

/// The program that `make prometheus` has unpacked, or else the one in `PATH`.
fn program(name: &str) -> PathBuf {
    let unpacked = workspace().join("target/prometheus").join(name);
    if unpacked.is_file() {
        return unpacked;
    }
    let found = Command::new(name).arg("--version").output();
    assert!(found.is_ok(), "no {name}: run `make prometheus`");
    PathBuf::from(name)
}

const CONFIGURATION: &str = "prometheus.yaml";
const LOG: &str = "prometheus.log";
