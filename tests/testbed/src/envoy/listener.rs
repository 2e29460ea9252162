//! An HTTP listener of Envoy, with its access log and the filters that can change at run time.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use super::{bootstrap::merge, duration, socket_address};

/// A listener for HTTP/1.1 and, with prior knowledge, HTTP/2, on a free loopback port.
#[derive(Clone, Debug)]
pub struct Listener {
    name: String,
    routes: Value,
    filters: Vec<Filter>,
    connection_manager: Value,
    access_log: Value,
    tls: Option<Value>,
}

/// The entry in the list of filters, and the configuration that a discovered filter gets.
type Filter = (Value, Option<(String, Value)>);

impl Listener {
    /// Every request goes to this cluster.
    pub fn to(name: &str, cluster: &str) -> Self {
        Self::routing(name, json!([{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]))
    }

    /// Every request that passes the filters is answered so.
    pub fn answering(name: &str, status: u16, body: &str) -> Self {
        let answer = json!({"status": status, "body": {"inline_string": body}});
        Self::routing(name, json!([{"match": {"prefix": "/"}, "direct_response": answer}]))
    }

    /// Requests go by these routes (`envoy.config.route.v3.Route`).
    pub fn routing(name: &str, routes: Value) -> Self {
        Self {
            name: name.to_owned(),
            routes,
            filters: Vec::new(),
            connection_manager: json!({}),
            tls: None,
            access_log: json!({
                "status": "%RESPONSE_CODE%",
                "details": "%RESPONSE_CODE_DETAILS%",
                "flags": "%RESPONSE_FLAGS%",
                "method": "%REQ(:METHOD)%",
                "path": "%REQ(:PATH)%",
                "authority": "%REQ(:AUTHORITY)%",
                "protocol": "%PROTOCOL%",
                "cluster": "%UPSTREAM_CLUSTER%",
                "bytes_received": "%BYTES_RECEIVED%",
                "bytes_sent": "%BYTES_SENT%",
                "milliseconds": "%DURATION%",
            }),
        }
    }

    /// Adds an HTTP filter; the router comes after all of them.
    #[must_use]
    pub fn filter(mut self, filter: Value) -> Self {
        self.filters.push((filter, None));
        self
    }

    /// Adds an HTTP filter whose configuration comes from a file (ECDS), so that
    /// [`Envoy::update_filter`](super::Envoy::update_filter) can replace it at run time.
    #[must_use]
    pub fn discovered_filter(mut self, name: &str, typed_config: &Value) -> Self {
        self.filters.push((Value::Null, Some((name.to_owned(), typed_config.clone()))));
        self
    }

    /// Ends a stream on which nothing happens for this long.
    #[must_use]
    pub fn stream_idle_timeout(self, timeout: Duration) -> Self {
        self.connection_manager(json!({"stream_idle_timeout": duration(timeout)}))
    }

    /// Merges any other fields of the HTTP connection manager.
    #[must_use]
    pub fn connection_manager(mut self, fields: Value) -> Self {
        merge(&mut self.connection_manager, fields);
        self
    }

    /// Speaks TLS only, with these fields of the `DownstreamTlsContext`.
    #[must_use]
    pub fn tls(mut self, context: Value) -> Self {
        self.tls = Some(context);
        self
    }

    /// Adds a field to the access log, such as `"%FILTER_STATE(name:PLAIN)%"`.
    #[must_use]
    pub fn access_log_field(mut self, name: &str, format: &str) -> Self {
        self.access_log[name] = format.into();
        self
    }

    /// The listener's configuration; its files stand in `directory`.
    pub(super) fn build(self, directory: &Path) -> Value {
        let Self { name, routes, filters, connection_manager: fields, access_log, tls } = self;
        let mut filters: Vec<_> =
            filters.into_iter().map(|filter| built(filter, directory)).collect();
        filters.push(json!({
            "name": "envoy.filters.http.router",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            },
        }));
        let mut connection_manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.\
                http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name,
            "codec_type": "AUTO",
            "http_filters": filters,
            "route_config": {
                "name": name,
                "virtual_hosts": [{"name": name, "domains": ["*"], "routes": routes}],
            },
            "access_log": [{
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": "type.googleapis.com/\
                        envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": access_log_path(directory, &name),
                    "log_format": {"json_format": access_log},
                },
            }],
        });
        merge(&mut connection_manager, fields);
        let mut filter_chain = json!({
            "filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": connection_manager,
            }],
        });
        if let Some(mut context) = tls {
            context["@type"] = "type.googleapis.com/\
                envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
                .into();
            filter_chain["transport_socket"] =
                json!({"name": "envoy.transport_sockets.tls", "typed_config": context});
        }
        json!({
            "name": name,
            "address": socket_address(Ipv4Addr::LOCALHOST.into(), 0),
            "filter_chains": [filter_chain],
        })
    }
}

fn built((filter, discovered): Filter, directory: &Path) -> Value {
    let Some((name, typed_config)) = discovered else { return filter };
    write_filter(directory, &name, &typed_config).expect("a temporary directory to write to");
    let path = filter_path(directory, &name);
    let watched = path.parent().expect("the file's directory");
    json!({
        "name": name,
        "config_discovery": {
            "config_source": {
                "resource_api_version": "V3",
                "path_config_source": {"path": path, "watched_directory": {"path": watched}},
            },
            "type_urls": [typed_config["@type"]],
        },
    })
}

/// Writes the file that tells Envoy the configuration of a discovered filter. Envoy watches for
/// files that are moved to their place, so that it never sees half a file.
pub(super) fn write_filter(directory: &Path, name: &str, typed_config: &Value) -> io::Result<()> {
    let path = filter_path(directory, name);
    fs::create_dir_all(path.parent().expect("the file's directory"))?;
    let document = json!({
        "resources": [{
            "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            "name": name,
            "typed_config": typed_config,
        }],
    });
    let written = directory.join(format!("{name}.written"));
    fs::write(&written, document.to_string())?;
    fs::rename(written, path)
}

/// Each filter has a directory of its own: a move in a directory makes Envoy read all its files.
fn filter_path(directory: &Path, name: &str) -> PathBuf {
    directory.join("filters").join(name).join("filter.json")
}

pub(super) fn access_log_path(directory: &Path, listener: &str) -> PathBuf {
    directory.join(format!("{listener}.access-log"))
}
