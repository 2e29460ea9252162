//! What Istio's control plane makes of the objects, for the sidecar of one workload.
//!
//! After the sources of Istio: `pilot/pkg/model/extensions.go` (plugins; of 1.30, which makes a
//! `TrafficExtension` of a `WasmPlugin`), `pilot/pkg/networking/core` (listeners, clusters, TLS,
//! retries, patches of `EnvoyFilter`) and `pilot/pkg/security/authz` (policies). It knows what the manifests use, and panics at anything
//! else, so that no field of theirs goes untested. Left out are the filters that only Istio's build
//! of Envoy has (exchange of metadata, statistics, ALPN); none of them touches what is tested here.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::manifests;

/// The pod whose sidecar it is.
const NAMESPACE: &str = "shop";
const LABELS: [(&str, &str); 1] = [("app", "orders")];

/// The directions of a sidecar, in the words of `match.mode`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// To the workload.
    Server,
    /// From the workload.
    Client,
}

/// The control plane, with the objects that were applied.
pub struct Istiod {
    objects: Vec<Value>,
}

impl Istiod {
    /// Applies these files.
    pub fn with(files: &[&str]) -> Self {
        let objects = files.iter().flat_map(|file| manifests::objects(file));
        Self { objects: objects.map(translated).collect() }
    }

    /// The HTTP filters of a listener, without the router that comes after all of them.
    pub fn http_filters(&self, direction: Direction) -> Vec<Value> {
        let plugins = self.plugins(direction);
        let of_phase = |phase: &str| -> Vec<Value> {
            let plugins =
                plugins.iter().filter(|p| p["spec"]["phase"].as_str().unwrap_or("") == phase);
            plugins.map(|plugin| discovered(plugin)).collect()
        };
        let other = |name: &str, kind: &str| {
            let kind = format!("type.googleapis.com/envoy.extensions.filters.http.{kind}");
            json!({"name": format!("envoy.filters.http.{name}"), "typed_config": {"@type": kind}})
        };
        [
            of_phase("AUTHN"),
            // Here Istio authenticates (RequestAuthentication).
            of_phase("AUTHZ"),
            if direction == Direction::Server { self.authorization() } else { Vec::new() },
            of_phase("STATS"),
            of_phase(""),
            vec![
                other("grpc_stats", "grpc_stats.v3.FilterConfig"),
                other("fault", "fault.v3.HTTPFault"),
                other("cors", "cors.v3.Cors"),
            ],
        ]
        .concat()
    }

    /// The plugins by the names under which the listeners ask for them (ECDS).
    pub fn extension_configs(&self) -> Vec<(String, Value)> {
        let plugins = self.selected(EXTENSION, "selector");
        plugins.map(|plugin| (resource_name(plugin), wasm(plugin))).collect()
    }

    /// A cluster for each port of each host, with what `DestinationRule` and `EnvoyFilter` add.
    pub fn clusters(&self) -> Vec<Value> {
        let entries = self.selected("ServiceEntry", "-");
        entries.flat_map(|entry| self.clusters_of(entry)).collect()
    }

    /// The hosts to which a program's plain HTTP goes, and what becomes of all others.
    pub fn virtual_hosts(&self, port: u64) -> Vec<Value> {
        let mut hosts: Vec<Value> = self
            .selected("ServiceEntry", "-")
            .filter(|entry| {
                let ports = list(&entry["spec"]["ports"]);
                ports.iter().any(|p| p["number"] == port && p["protocol"] == "HTTP")
            })
            .map(|entry| {
                let host = only_one(&entry["spec"]["hosts"]);
                json!({
                    "name": format!("{host}:{port}"),
                    "domains": [host, format!("{host}:{port}")],
                    "routes": [self.route(host, port)],
                })
            })
            .collect();
        hosts.push(json!({
            "name": "allow_any",
            "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": PASSTHROUGH}}],
        }));
        hosts
    }

    /// The plugins of a direction in the order of the filter chain.
    fn plugins(&self, direction: Direction) -> Vec<&Value> {
        let mode = match direction {
            Direction::Server => "SERVER",
            Direction::Client => "CLIENT",
        };
        let matches = |plugin: &&Value| {
            let selectors = plugin["spec"]["match"].as_array().map_or(&[][..], Vec::as_slice);
            let selects = |selector: &Value| {
                knows(selector, &["mode"]);
                [mode, "CLIENT_AND_SERVER"].contains(&text(&selector["mode"]))
            };
            selectors.is_empty() || selectors.iter().any(selects)
        };
        let mut plugins: Vec<_> = self.selected(EXTENSION, "selector").filter(matches).collect();
        plugins.sort_by_key(|plugin| {
            let priority = plugin["spec"]["priority"].as_i64().unwrap_or(0);
            (std::cmp::Reverse(priority), text(&plugin["metadata"]["name"]))
        });
        plugins
    }

    /// The filter of all policies that allow.
    fn authorization(&self) -> Vec<Value> {
        let mut policies = Map::new();
        for policy in self.selected("AuthorizationPolicy", "selector") {
            let spec = &policy["spec"];
            knows(spec, &["selector", "action", "rules"]);
            assert_eq!(spec["action"], "ALLOW");
            for (n, rule) in list(&spec["rules"]).iter().enumerate() {
                let name = text(&policy["metadata"]["name"]);
                policies
                    .insert(format!("ns[{NAMESPACE}]-policy[{name}]-rule[{n}]"), rbac_policy(rule));
            }
        }
        if policies.is_empty() {
            return Vec::new();
        }
        vec![json!({
            "name": "envoy.filters.http.rbac",
            "typed_config": {
                "@type": RBAC,
                "rules": {"action": "ALLOW", "policies": policies},
                "shadow_rules_stat_prefix": "istio_dry_run_allow_",
            },
        })]
    }

    /// The clusters of a `ServiceEntry`.
    fn clusters_of(&self, entry: &Value) -> Vec<Value> {
        let spec = &entry["spec"];
        knows(spec, &["hosts", "exportTo", "location", "resolution", "ports"]);
        assert_eq!(
            (&spec["location"], &spec["resolution"]),
            (&"MESH_EXTERNAL".into(), &"DNS".into())
        );
        let host = only_one(&spec["hosts"]);
        let cluster = |port: &Value| {
            knows(port, &["number", "name", "protocol", "targetPort"]);
            let target = port.get("targetPort").unwrap_or_else(|| &port["number"]);
            let address = json!({"socket_address": {"address": host, "port_value": target}});
            let name = format!("outbound|{}||{host}", port["number"]);
            let no_limit = u32::MAX;
            let mut cluster = json!({
                "name": name,
                "type": "STRICT_DNS",
                "dns_lookup_family": "V4_ONLY",
                "respect_dns_ttl": true,
                "connect_timeout": "10s",
                "lb_policy": "LEAST_REQUEST",
                "circuit_breakers": {"thresholds": [{
                    "max_connections": no_limit, "max_pending_requests": no_limit,
                    "max_requests": no_limit, "max_retries": no_limit, "track_remaining": true,
                }]},
                "load_assignment": {
                    "cluster_name": name,
                    "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                },
            });
            if let Some(rule) = self.rule_for("DestinationRule", host) {
                knows(&rule["spec"], &["host", "exportTo", "workloadSelector", "trafficPolicy"]);
                knows(&rule["spec"]["trafficPolicy"], &["tls"]);
                cluster["transport_socket"] = tls(&rule["spec"]["trafficPolicy"]["tls"]);
            }
            self.patch(&mut cluster, host, &port["number"]);
            cluster
        };
        list(&spec["ports"]).iter().map(cluster).collect()
    }

    /// Merges what `EnvoyFilter`s have for a cluster.
    fn patch(&self, cluster: &mut Value, host: &str, port: &Value) {
        for filter in self.selected("EnvoyFilter", "workloadSelector") {
            knows(&filter["spec"], &["workloadSelector", "configPatches"]);
            for patch in list(&filter["spec"]["configPatches"]) {
                let condition = &patch["match"];
                knows(condition, &["context", "cluster"]);
                knows(&condition["cluster"], &["service", "portNumber"]);
                assert_eq!(patch["applyTo"], "CLUSTER");
                assert_eq!(condition["context"], "SIDECAR_OUTBOUND");
                assert_eq!(patch["patch"]["operation"], "MERGE");
                if condition["cluster"]["service"] != host
                    || condition["cluster"]["portNumber"] != *port
                {
                    continue;
                }
                // A map's entries are replaced, not merged.
                let value = &patch["patch"]["value"];
                knows(value, &[PROTOCOL_OPTIONS]);
                for (name, options) in value[PROTOCOL_OPTIONS].as_object().expect("a map") {
                    cluster[PROTOCOL_OPTIONS][name] = options.clone();
                }
            }
        }
    }

    /// Where requests for a host go, and when they are sent again.
    fn route(&self, host: &str, port: u64) -> Value {
        let mut retry_policy = json!({
            "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
            "num_retries": 2,
            "host_selection_retry_max_attempts": "5",
            "retry_host_predicate": [{
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {
                    "@type": "type.googleapis.com/\
                        envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                },
            }],
        });
        let mut timeout = "0s";
        if let Some(service) = self.rule_for("VirtualService", host) {
            knows(&service["spec"], &["hosts", "exportTo", "http"]);
            let http = only_one_of(&service["spec"]["http"]);
            knows(http, &["route", "timeout", "retries"]);
            let to = json!({"destination": {"host": host, "port": {"number": port}}});
            assert_eq!(only_one_of(&http["route"]), &to);
            timeout = text(&http["timeout"]);
            knows(&http["retries"], &["attempts", "retryOn"]);
            retry_policy["num_retries"] = http["retries"]["attempts"].clone();
            // Numbers among the reasons are statuses.
            let (statuses, reasons): (Vec<_>, Vec<_>) = text(&http["retries"]["retryOn"])
                .split(',')
                .partition(|r| r.parse::<u16>().is_ok());
            retry_policy["retry_on"] = reasons.join(",").into();
            retry_policy["retriable_status_codes"] =
                statuses.iter().map(|status| status.parse::<u16>().expect("a status")).collect();
        }
        json!({
            "match": {"prefix": "/"},
            "route": {
                "cluster": format!("outbound|{port}||{host}"),
                "timeout": timeout,
                "retry_policy": retry_policy,
            },
        })
    }

    /// The object of a kind that is for this host.
    fn rule_for(&self, kind: &str, host: &str) -> Option<&Value> {
        let mut rules = self.selected(kind, "workloadSelector").filter(|rule| {
            let spec = &rule["spec"];
            spec["host"] == host || spec["hosts"] == json!([host])
        });
        let rule = rules.next();
        assert!(rules.next().is_none(), "two of {kind} for {host}");
        rule
    }

    /// The objects of a kind that are for our workload.
    fn selected(&self, kind: &str, selector: &str) -> impl Iterator<Item = &Value> {
        self.objects.iter().filter(move |object| {
            if object["kind"] != kind {
                return false;
            }
            assert_eq!(object["metadata"]["namespace"], NAMESPACE);
            let spec = &object["spec"];
            // For their own namespace only.
            let exported = spec.get("exportTo").is_none_or(|to| *to == json!(["."]));
            assert!(exported, "{spec}");
            let selector = &spec[selector];
            let labels = selector.get("matchLabels").or_else(|| selector.get("labels"));
            let labels = labels.and_then(Value::as_object).into_iter().flatten();
            labels.into_iter().all(|(name, value)| LABELS.contains(&(name, text(value))))
        })
    }
}

/// A filter whose configuration comes from the control plane.
fn discovered(plugin: &Value) -> Value {
    json!({
        "name": resource_name(plugin),
        "config_discovery": {
            "config_source": {
                "ads": {},
                "initial_fetch_timeout": "0s",
                "resource_api_version": "V3",
            },
            // The second is for a module that cannot be fetched.
            "type_urls": [WASM, RBAC],
        },
    })
}

/// The name of a plugin's configuration.
fn resource_name(plugin: &Value) -> String {
    format!("extensions.istio.io/trafficextension/{}", name(plugin))
}

/// The name of a plugin in Envoy.
fn name(plugin: &Value) -> String {
    format!("{NAMESPACE}.{}", text(&plugin["metadata"]["name"]))
}

/// A `WasmPlugin` as the `TrafficExtension` that istiod makes of it; any other object as it is.
fn translated(mut object: Value) -> Value {
    if object["kind"] == "WasmPlugin" {
        let spec = object["spec"].as_object_mut().expect("a spec");
        let is_of_extension = |name: &str| EXTENSION_FIELDS.contains(&name);
        let (common, wasm): (Map<_, _>, Map<_, _>) =
            std::mem::take(spec).into_iter().partition(|(name, _)| is_of_extension(name));
        *spec = common;
        spec.insert("wasm".to_owned(), wasm.into());
        object["kind"] = EXTENSION.into();
        let name = format!("{}~istio-translated-wasmplugin", text(&object["metadata"]["name"]));
        object["metadata"]["name"] = name.into();
    }
    object
}

/// A plugin's configuration, as the control plane sends it.
fn wasm(plugin: &Value) -> Value {
    knows(&plugin["spec"], &[&EXTENSION_FIELDS[..], &["wasm"]].concat());
    let spec = &plugin["spec"]["wasm"];
    knows(
        spec,
        &[
            "url",
            "sha256",
            "imagePullPolicy",
            "failStrategy",
            "pluginName",
            "pluginConfig",
            "vmConfig",
        ],
    );
    let mut values = Map::new();
    let mut from_host = Vec::new();
    if let Some(policy) = spec.get("imagePullPolicy") {
        values.insert("ISTIO_META_WASM_IMAGE_PULL_POLICY".to_owned(), policy.clone());
    }
    values.insert("ISTIO_META_WASM_PLUGIN_RESOURCE_VERSION".to_owned(), "4711".into());
    for variable in list(&spec["vmConfig"]["env"]) {
        match variable["valueFrom"].as_str() {
            Some("HOST") => from_host.push(variable["name"].clone()),
            _ => {
                values.insert(text(&variable["name"]).to_owned(), variable["value"].clone());
            }
        }
    }
    json!({
        "@type": WASM,
        "config": {
            "name": name(plugin),
            "root_id": spec["pluginName"].as_str().unwrap_or_default(),
            "failure_policy": match spec.get("failStrategy").map(text) {
                None | Some("FAIL_CLOSE") => "FAIL_CLOSED",
                Some("FAIL_OPEN") => "FAIL_OPEN",
                Some("FAIL_RELOAD") => "FAIL_RELOAD",
                Some(other) => panic!("failStrategy {other}"),
            },
            "configuration": {
                "@type": "type.googleapis.com/google.protobuf.StringValue",
                "value": spec["pluginConfig"].to_string(),
            },
            // Without a `vm_id`: all plugins of a sidecar share their data.
            "vm_config": {
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"remote": {
                    "http_uri": {"uri": spec["url"], "timeout": "30s", "cluster": "_"},
                    "sha256": spec["sha256"].as_str().unwrap_or_default(),
                }},
                "environment_variables": {"host_env_keys": from_host, "key_values": values},
            },
        },
    })
}

/// What Istio's agent makes of a plugin's configuration on its way to Envoy: the module, which it
/// has pulled, is this file, and what was for the agent itself is gone.
pub fn pulled(mut config: Value, file: &str) -> Value {
    let vm = &mut config["config"]["vm_config"];
    let uri = text(&vm["code"]["remote"]["http_uri"]["uri"]);
    assert!(uri.starts_with("oci://registry.example.com/oauth2-filter:"), "{uri}");
    vm["code"] = json!({"local": {"filename": file}});
    let variables = vm["environment_variables"]["key_values"].as_object_mut().expect("values");
    variables.retain(|name, _| !name.starts_with("ISTIO_META_"));
    config
}

/// What the agent makes of it when it cannot pull the module: nobody passes, or everybody.
pub fn not_pulled(config: &Value) -> Value {
    if config["config"]["failure_policy"] == "FAIL_OPEN" {
        return json!({"@type": RBAC, "rules_stat_prefix": "wasm-default-allow"});
    }
    json!({"@type": RBAC, "rules": {}, "rules_stat_prefix": "wasm-default-deny"})
}

/// TLS to a host outside the mesh.
fn tls(settings: &Value) -> Value {
    knows(settings, &["mode", "caCertificates", "sni", "subjectAltNames"]);
    assert_eq!(settings["mode"], "SIMPLE");
    // It is the default, which `istioctl analyze` wants to see.
    assert_eq!(settings["caCertificates"], "system");
    let names: Vec<_> =
        list(&settings["subjectAltNames"]).iter().map(|name| json!({"exact": name})).collect();
    json!({
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/\
                envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "sni": text(&settings["sni"]),
            "common_tls_context": {
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "combined_validation_context": {
                    "default_validation_context": {"match_subject_alt_names": names},
                    "validation_context_sds_secret_config": {
                        "name": SYSTEM_AUTHORITIES,
                        "sds_config": {"ads": {}, "resource_api_version": "V3"},
                    },
                },
            },
        },
    })
}

/// A rule of an `AuthorizationPolicy`.
fn rbac_policy(rule: &Value) -> Value {
    knows(rule, &["to", "when"]);
    let permissions: Vec<_> = list(&rule["to"])
        .iter()
        .map(|to| {
            let operation = &to["operation"];
            knows(operation, &["methods", "paths"]);
            let any_of = |key: &str, permission: &dyn Fn(&str) -> Value| {
                let values = operation.get(key)?;
                let rules: Vec<_> = list(values).iter().map(|v| permission(text(v))).collect();
                Some(json!({"or_rules": {"rules": rules}}))
            };
            let methods = any_of("methods", &|value| json!({"header": header(":method", value)}));
            let paths = any_of("paths", &|value| json!({"url_path": {"path": string(value)}}));
            json!({"and_rules": {"rules": methods.into_iter().chain(paths).collect::<Vec<_>>()}})
        })
        .collect();
    let when = rule["when"].as_array().map_or(&[][..], Vec::as_slice);
    let mut ids: Vec<_> = when
        .iter()
        .map(|condition| {
            knows(condition, &["key", "values"]);
            let key = text(&condition["key"]);
            let name = key.strip_prefix("request.headers[").and_then(|key| key.strip_suffix(']'));
            let name = name.expect("a header");
            let values = list(&condition["values"]).iter();
            let ids: Vec<_> =
                values.map(|value| json!({"header": header(name, text(value))})).collect();
            json!({"or_ids": {"ids": ids}})
        })
        .collect();
    if ids.is_empty() {
        ids.push(json!({"any": true}));
    }
    json!({"permissions": permissions, "principals": [{"and_ids": {"ids": ids}}]})
}

/// A header with a value of this pattern.
fn header(name: &str, pattern: &str) -> Value {
    if pattern == "*" {
        json!({"name": name, "present_match": true})
    } else {
        json!({"name": name, "string_match": string(pattern)})
    }
}

/// A text of this pattern.
fn string(pattern: &str) -> Value {
    if pattern == "*" {
        json!({"safe_regex": {"regex": ".+"}})
    } else if let Some(suffix) = pattern.strip_prefix('*') {
        json!({"suffix": suffix})
    } else if let Some(prefix) = pattern.strip_suffix('*') {
        json!({"prefix": prefix})
    } else {
        json!({"exact": pattern})
    }
}

/// Panics if an object has a field that is not among these.
fn knows(object: &Value, fields: &[&str]) {
    let names = object.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let names: BTreeSet<_> = names.filter(|name| !fields.contains(name)).collect();
    assert!(names.is_empty(), "{names:?} are not known here");
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

/// The only entry of a list.
fn only_one_of(value: &Value) -> &Value {
    let [entry] = list(value) else { panic!("not one: {value}") };
    entry
}

/// The only text of a list.
fn only_one(value: &Value) -> &str {
    text(only_one_of(value))
}

/// The cluster of all hosts that Istio does not know.
pub const PASSTHROUGH: &str = "PassthroughCluster";

/// The name of the certificates that the sidecar's operating system trusts.
pub const SYSTEM_AUTHORITIES: &str = "file-root:system";

/// The kind of a plugin, and what it has beside `wasm`.
const EXTENSION: &str = "TrafficExtension";
const EXTENSION_FIELDS: [&str; 4] = ["selector", "phase", "match", "priority"];

const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
const PROTOCOL_OPTIONS: &str = "typed_extension_protocol_options";
