//! The sidecar of a pod: Envoy, with what Istio has made of the manifests.
//!
//! What is replaced is where things are: a configuration that Istio sends is a file, the module that
//! its agent has pulled is the one that was built here, the certificates that the operating system
//! trusts are the test's, and the hosts outside the mesh are servers on loopback. They speak TLS.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use oauth2_filter_testbed::client::{Request, Response};
use oauth2_filter_testbed::envoy::{Bootstrap, Cluster, Envoy, Listener, Options};
use oauth2_filter_testbed::tls::{Authority, TlsFront};
use oauth2_filter_testbed::upstream::Upstream;
use oauth2_filter_testbed::{wait, workspace};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::istiod::{Direction, Istiod, PASSTHROUGH, SYSTEM_AUTHORITIES, not_pulled, pulled};

/// The listener of what comes to the workload, and that of its plain HTTP to others.
const INBOUND: &str = "virtualInbound";
const OUTBOUND: &str = "0.0.0.0_80";

/// A host outside the mesh: its name, the name in its certificate, and the server behind its TLS.
#[derive(Clone, Copy)]
pub struct Host {
    pub name: &'static str,
    pub certificate: &'static str,
    pub server: SocketAddr,
}

impl Host {
    /// One that has its own certificate.
    pub const fn new(name: &'static str, server: SocketAddr) -> Self {
        Self { name, certificate: name, server }
    }
}

/// A running sidecar.
pub struct Sidecar {
    /// The workload that it stands before.
    pub workload: Upstream,
    /// The server that has every name that Istio does not know.
    pub others: Upstream,
    istiod: Istiod,
    envoy: Envoy,
    files: TempDir,
    hosts: Vec<(&'static str, TlsFront)>,
}

impl Sidecar {
    /// Starts the sidecar of a mesh to which these files were applied, in which these hosts are to
    /// be reached, and whose environment has these secrets.
    pub async fn start(files: &[&str], hosts: &[Host], secrets: &[(&str, &str)]) -> Self {
        Self::start_with(&module(), files, hosts, secrets).await
    }

    /// The same with another module.
    pub async fn start_with(
        module: &Path,
        files: &[&str],
        hosts: &[Host],
        secrets: &[(&str, &str)],
    ) -> Self {
        let istiod = Istiod::with(files);
        let (workload, others) = (Upstream::start().await, Upstream::start().await);
        let authority = Authority::new();
        let files = TempDir::with_prefix("istio-").expect("a temporary directory");

        let mut bootstrap = Bootstrap::new()
            .cluster("inbound|8080||", workload.address())
            .cluster(PASSTHROUGH, others.address());
        let authorities = files.path().join("authorities.json");
        write(
            &authorities,
            SECRET,
            SYSTEM_AUTHORITIES,
            json!({
                "validation_context": {"trusted_ca": {"inline_string": authority.pem()}},
            }),
        );
        let mut fronts = Vec::new();
        for cluster in istiod.clusters() {
            let name = cluster["name"].as_str().expect("a name").to_owned();
            let host = hosts.iter().find(|host| name.ends_with(&format!("||{}", host.name)));
            let host = host.unwrap_or_else(|| panic!("nothing is told of {name}"));
            let front = TlsFront::start(&authority.issue(host.certificate), host.server).await;
            let address = front.address();
            let cluster = placed(&cluster, module, &authorities, address);
            bootstrap = bootstrap.custom_cluster(Cluster::new(&name, address).with(cluster));
            fronts.push((host.name, front));
        }
        for (name, config) in istiod.extension_configs() {
            let config = pulled(config, &module.display().to_string());
            write_extension(files.path(), &name, &config);
        }
        let listener = |name: &str, direction| {
            let filters = istiod.http_filters(direction).into_iter();
            filters.fold(Listener::to(name, "inbound|8080||"), |listener, filter| {
                listener.filter(from_files(filter, files.path()))
            })
        };
        let virtual_hosts = json!({
            "stat_prefix": "outbound_0.0.0.0_80;",
            "route_config": {"name": "80", "virtual_hosts": istiod.virtual_hosts(80)},
        });
        let bootstrap = bootstrap
            .listener(
                listener(INBOUND, Direction::Server)
                    .connection_manager(json!({"stat_prefix": "inbound_0.0.0.0_8080;"}))
                    .connection_manager(connection_manager())
                    .connection_manager(json!({
                        "forward_client_cert_details": "APPEND_FORWARD",
                        "set_current_client_cert_details": {"subject": true, "dns": true, "uri": true},
                    })),
            )
            .listener(
                listener(OUTBOUND, Direction::Client)
                    .connection_manager(virtual_hosts)
                    .connection_manager(connection_manager()),
            );
        let environment = secrets.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let options = Options { environment, concurrency: 1, ..Options::default() };
        let envoy = Envoy::start_with(bootstrap, &options).await.expect("Envoy as a sidecar");
        Self { workload, others, istiod, envoy, files, hosts: fronts }
    }

    /// Sends a request to the workload.
    pub async fn send(&self, request: &Request) -> Response {
        let answer = request.send(self.envoy.address(INBOUND)).await;
        answer.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// Sends a request of the workload, which Istio takes to its sidecar.
    pub async fn send_out(&self, request: &Request) -> Response {
        let answer = request.send(self.envoy.address(OUTBOUND)).await;
        answer.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// Why each of this many requests to the workload got its answer.
    pub async fn details(&self, requests: usize) -> Vec<String> {
        let log = self.envoy.access_log_entries(INBOUND, requests).await;
        let details = |entry: &Value| entry["details"].as_str().expect("details").to_owned();
        log.iter().map(details).collect()
    }

    /// The value of a counter or gauge; panics if there is none of this name.
    pub async fn stat(&self, name: &str) -> u64 {
        self.envoy.stat(name).await.unwrap_or_else(|| panic!("no {name}"))
    }

    /// The agent cannot pull the modules of the plugins.
    pub async fn cannot_pull(&self) {
        for (name, config) in self.istiod.extension_configs() {
            self.update(&name, &not_pulled(&config)).await;
        }
    }

    /// The control plane sends another configuration of this name.
    async fn update(&self, name: &str, config: &Value) {
        let stats = format!("extension_config_discovery.http_filter.{name}");
        let taken = async || {
            let stats = self.envoy.stats(&stats).await;
            let taken = stats.iter().filter(|(name, _)| name.ends_with(".update_success"));
            taken.map(|(_, count)| count).sum::<u64>()
        };
        let before = taken().await;
        write_extension(self.files.path(), name, config);
        wait::until("Envoy to take it", async || taken().await > before).await;
    }

    /// Checks that hosts were asked for by their names, that no VM has died, and that no secret is
    /// in the log.
    pub fn is_well(&self) {
        for (name, host) in &self.hosts {
            assert!(
                host.server_names().iter().all(|asked| asked.as_deref() == Some(name)),
                "{name}"
            );
        }
        let log = self.envoy.log();
        for failure in ["panicked", "Function: proxy_", "[critical]", "[error]", "-secret"] {
            assert!(!log.contains(failure), "{failure:?} in Envoy's log");
        }
    }
}

/// What Istio sets for every HTTP connection manager of a sidecar.
fn connection_manager() -> Value {
    json!({
        "server_name": "istio-envoy",
        "normalize_path": true,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "stream_idle_timeout": "0s",
        "use_remote_address": false,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
    })
}

/// The module that was built; panics if there is none.
pub fn module() -> PathBuf {
    let file = workspace().join("target/oauth2_filter.wasm");
    assert!(file.is_file(), "no {}: run `make build`", file.display());
    file
}

/// The module with a request that kills it; panics if there is none.
pub fn panicking_module() -> PathBuf {
    let file = workspace().join("target/oauth2_filter_panics.wasm");
    assert!(file.is_file(), "no {}: run `make panics`", file.display());
    file
}

/// The cluster with its files here, and the host on loopback.
fn placed(cluster: &Value, module: &Path, authorities: &Path, address: SocketAddr) -> Value {
    let in_sidecar = "/etc/oauth2-filter/oauth2_filter.wasm";
    let text = cluster.to_string().replace(in_sidecar, &module.display().to_string());
    let mut cluster: Value = serde_json::from_str(&text).expect("still JSON");
    let endpoint = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
    *cluster.pointer_mut(endpoint).expect("the address") =
        json!({"address": address.ip().to_string(), "port_value": address.port()});
    let source = "/transport_socket/typed_config/common_tls_context/combined_validation_context/\
        validation_context_sds_secret_config/sds_config";
    *cluster.pointer_mut(source).expect("TLS to the host") = file_source(authorities);
    cluster
}

/// The filter, with a file in the place of the control plane.
fn from_files(mut filter: Value, folder: &Path) -> Value {
    let name = filter["name"].as_str().expect("a name").to_owned();
    if let Some(source) = filter.pointer_mut("/config_discovery/config_source") {
        assert_eq!(source["ads"], json!({}));
        *source = file_source(&extension_file(folder, &name));
        source["initial_fetch_timeout"] = "0s".into();
    }
    filter
}

/// A configuration source that is a file.
fn file_source(file: &Path) -> Value {
    let watched = file.parent().expect("the file's folder");
    json!({
        "resource_api_version": "V3",
        "path_config_source": {"path": file, "watched_directory": {"path": watched}},
    })
}

/// The file of a discovered filter. Each has a folder of its own, in which a move makes Envoy read.
fn extension_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(name.replace('/', "_")).join("extension.json")
}

fn write_extension(folder: &Path, name: &str, config: &Value) {
    let file = extension_file(folder, name);
    fs::create_dir_all(file.parent().expect("the file's folder")).expect("a folder");
    write(&file, EXTENSION, name, json!({"typed_config": config}));
}

/// Writes a file with one resource, and moves it to its place, so that Envoy sees no half of it.
fn write(file: &Path, kind: &str, name: &str, mut resource: Value) {
    resource["@type"] = kind.into();
    resource["name"] = name.into();
    let written = file.with_extension("written");
    fs::write(&written, json!({"resources": [resource]}).to_string()).expect("a file");
    fs::rename(written, file).expect("its place");
}

const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const EXTENSION: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";
