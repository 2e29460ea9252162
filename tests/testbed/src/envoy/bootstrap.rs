//! Envoy's static configuration, built in steps.

use std::{fmt, net::SocketAddr};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Listener, native, socket_address};

/// A static configuration: clusters and listeners on free loopback ports.
///
/// ```no_run
/// # async fn example(upstream: std::net::SocketAddr) {
/// use oauth2_filter_testbed::envoy::{Bootstrap, Envoy, Listener, WasmPlugin};
///
/// let plugin = WasmPlugin::new(r#"{"inbound": {}}"#);
/// let bootstrap = Bootstrap::new()
///     .cluster("upstream", upstream)
///     .listener(Listener::to("inbound", "upstream").filter(plugin.filter("oauth2")));
/// let envoy = Envoy::start(bootstrap).await.expect("Envoy starts");
/// # }
/// ```
#[derive(Debug)]
pub struct Bootstrap {
    directory: TempDir,
    clusters: Vec<Value>,
    listeners: Vec<Value>,
    secrets: Vec<Value>,
    yaml: String,
}

impl Bootstrap {
    /// Without clusters and listeners.
    pub fn new() -> Self {
        let directory = TempDir::with_prefix("envoy-").expect("a temporary directory");
        let (clusters, listeners, secrets, yaml) = Default::default();
        Self { directory, clusters, listeners, secrets, yaml }
    }

    /// Adds a cluster of this one host.
    #[must_use]
    pub fn cluster(self, name: &str, address: SocketAddr) -> Self {
        self.custom_cluster(Cluster::new(name, address))
    }

    /// Adds a cluster.
    #[must_use]
    pub fn custom_cluster(mut self, cluster: Cluster) -> Self {
        self.clusters.push(cluster.0);
        self
    }

    /// Adds a listener.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener.build(self.directory.path()));
        self
    }

    /// Adds a static secret.
    #[must_use]
    pub fn secret(mut self, name: &str, secret: &str) -> Self {
        let secret = json!({"inline_string": secret});
        self.secrets.push(json!({"name": name, "generic_secret": {"secret": secret}}));
        self
    }

    /// Adds fields at the top, in YAML as it stands in a file.
    #[must_use]
    pub fn yaml(mut self, fields: &str) -> Self {
        self.yaml.push_str(fields);
        self
    }

    /// The configuration as it stands, without what was added in YAML.
    pub fn value(&self) -> Value {
        let mut value = json!({
            // A discovered filter wants to know for whom it is.
            "node": {"id": "testbed", "cluster": "testbed"},
            "static_resources": {
                "clusters": self.clusters, "listeners": self.listeners, "secrets": self.secrets,
            },
        });
        if native::is_chosen() {
            merge(&mut value, native::bootstrap());
        }
        value
    }
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self::new()
    }
}

/// A cluster of one host.
#[derive(Clone, Debug)]
pub struct Cluster(Value);

impl Cluster {
    /// HTTP/1.1 to this address.
    pub fn new(name: &str, address: SocketAddr) -> Self {
        let endpoint = json!({"endpoint": {"address": address_of(address)}});
        Self(json!({
            "name": name,
            "type": "STATIC",
            "connect_timeout": "10s",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [endpoint]}],
            },
        }))
    }

    /// HTTP/2 with prior knowledge instead.
    #[must_use]
    pub fn http2(self) -> Self {
        self.with(json!({"typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/\
                    envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            },
        }}))
    }

    /// Circuit breakers: `{"max_requests": 1}` and the like.
    #[must_use]
    pub fn thresholds(self, thresholds: &Value) -> Self {
        self.with(json!({"circuit_breakers": {"thresholds": [thresholds]}}))
    }

    /// Merges any other fields of the cluster.
    #[must_use]
    pub fn with(mut self, fields: Value) -> Self {
        merge(&mut self.0, fields);
        self
    }
}

/// A configuration text and the directory of the files that it names.
pub struct Configuration {
    pub(super) directory: TempDir,
    pub(super) text: String,
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Bootstrap> for Configuration {
    fn from(bootstrap: Bootstrap) -> Self {
        let fields = bootstrap.value();
        let fields = fields.as_object().into_iter().flatten();
        // JSON is YAML too.
        let lines = fields.map(|(name, value)| format!("{name}: {value}"));
        let text: Vec<String> = lines.chain([bootstrap.yaml]).collect();
        Self { text: text.join("\n"), directory: bootstrap.directory }
    }
}

impl From<String> for Configuration {
    fn from(text: String) -> Self {
        Self { text, directory: Bootstrap::new().directory }
    }
}

impl From<&str> for Configuration {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<Value> for Configuration {
    fn from(value: Value) -> Self {
        Self::from(value.to_string())
    }
}

/// Merges objects member by member; anything else replaces what was there.
pub fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// The object with these members set; null takes one out.
pub fn with_members(mut object: Value, more: &Value) -> Value {
    let members = object.as_object_mut().expect("an object");
    for (key, value) in more.as_object().expect("members") {
        if value.is_null() {
            members.remove(key);
        } else {
            members.insert(key.clone(), value.clone());
        }
    }
    object
}

fn address_of(address: SocketAddr) -> Value {
    socket_address(address.ip(), address.port())
}
