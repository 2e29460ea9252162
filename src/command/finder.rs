//! Finds where Envoy or Istio is configured to run the filter.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::rc::Rc;

use base64ct::{Base64Unpadded, Encoding};
use serde_json::Value;

use crate::jwt_authn;
use crate::mcp;
use crate::objects::Object;
use crate::paths;
use crate::tree::{Dialect, Node, Position};
use crate::uses::{Host, Platform, Use, Variables};

/// The type of the filter's configuration in Envoy.
const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";

/// The type of the configuration of a dynamic module in Envoy, for a filter.
const DYNAMIC: &str = "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter";

/// The same for a route.
const PER_ROUTE: &str =
    "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute";

/// The name of the filter in the dynamic module.
const FILTER_NAME: &str = "oauth2";

/// The type of Envoy's HTTP connection manager.
const MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

/// The path to a value.
#[derive(Clone, Debug, Default)]
struct Way<'n> {
    /// The named objects that contain it.
    within: Vec<String>,
    /// The cluster that contains it.
    cluster: Option<String>,
    /// Whether it is for a route or a virtual host.
    of_route: Option<Position>,
    /// The HTTP connection manager that contains it.
    manager: Option<&'n Node>,
    /// Whether the filter is disabled but for routes that enable it.
    disabled: Option<Position>,
}

/// Finds uses of the filter.
#[derive(Debug, Default)]
pub(crate) struct Finder {
    pub(crate) uses: Vec<Use>,
    /// The objects of manifests.
    pub(crate) objects: Vec<Rc<Object>>,
    /// The clusters of the proxy, if known.
    clusters: Option<Rc<BTreeSet<String>>>,
    /// Whether the file is a Kubernetes manifest, which parses numbers differently.
    in_manifest: bool,
    /// The HTTP connection managers with a remark, which may contain several filters.
    managers: BTreeSet<Position>,
}

impl Finder {
    /// Searches an Envoy configuration.
    pub(crate) fn find_in_envoy(&mut self, root: &Node) {
        self.clusters = clusters(root).map(Rc::new);
        self.find(root, &Way::default());
        self.clusters = None;
    }

    /// Searches the patches of an `EnvoyFilter`.
    pub(crate) fn find_in_patches(&mut self, object: &Rc<Object>) {
        self.in_manifest = true;
        self.find(&object.spec, &Way { within: vec![object.title()], ..Way::default() });
        self.in_manifest = false;
    }

    /// Searches a part of an Envoy configuration.
    fn find<'n>(&mut self, node: &'n Node, way: &Way<'n>) {
        let mut way = Cow::Borrowed(way);
        let typed = [("@type", Some(node)), ("type_url", node.get("value"))];
        for (name, value) in typed {
            let url = node.get(name).and_then(Node::text).unwrap_or_default();
            let Some(value) = value else { continue };
            match url.rsplit('/').next() {
                Some(WASM) => return self.add(node, value.get("config"), &way),
                Some(DYNAMIC) => return self.add_dynamic(value, Host::DynamicModule, &way),
                Some(PER_ROUTE) => return self.add_dynamic(value, Host::Route, &way),
                // Manifests do not show the clusters of Istio.
                Some(MANAGER) if !self.in_manifest => way.to_mut().manager = Some(value),
                _ => {}
            }
        }
        if node.get("typed_config").is_some() {
            let disabled = node.member("disabled").filter(|disabled| disabled.value.is_true());
            way.to_mut().disabled = disabled.map(|disabled| disabled.at);
        }
        let way = &*way;
        for element in node.elements() {
            self.find(element, way);
        }
        for member in node.members() {
            let of_route =
                matches!(&*member.key, "typed_per_filter_config" | "typedPerFilterConfig");
            let way =
                Way { of_route: of_route.then_some(member.at).or(way.of_route), ..way.clone() };
            let thing = match &*member.key {
                "listeners" => "listener",
                "clusters" => "cluster",
                "http_filters"
                | "httpFilters"
                | "upstream_http_filters"
                | "upstreamHttpFilters" => "filter",
                "resources" => "resource",
                "virtual_hosts" | "virtualHosts" => "virtual host",
                _ => {
                    self.find(&member.value, &way);
                    continue;
                }
            };
            for element in member.value.each() {
                let mut way = way.clone();
                if let Some(name) = element.get("name").and_then(Node::text) {
                    way.within.push(format!("{thing} {name}"));
                    if thing == "cluster" {
                        way.cluster = Some(name.to_owned());
                    }
                }
                self.find(element, &way);
            }
        }
    }

    /// Adds a Wasm filter of Envoy, if it is this filter.
    fn add(&mut self, node: &Node, config: Option<&Node>, way: &Way<'_>) {
        let dialect = if self.in_manifest { Dialect::Kubernetes } else { Dialect::Envoy };
        let configuration = config.and_then(|config| config.get("configuration"));
        let mut found = configured(configuration, dialect)
            .unwrap_or_else(|| Use::new(config.map_or(node.at, |config| config.at), Vec::new()));
        let code = config.and_then(|config| config.path(&["vm_config", "code"]));
        let ids = ["name", "root_id"].map(|name| config.and_then(|config| config.get(name)));
        let file = code.and_then(|code| code.path(&["local", "filename"]));
        let url = code.and_then(|code| code.path(&["remote", "http_uri", "uri"]));
        let names = ids.into_iter().chain([file, url]).flatten().filter_map(Node::text);
        if !names.into_iter().any(is_our_name) && !found.is_ours_by_document() {
            return;
        }
        let variables =
            config.and_then(|config| config.path(&["vm_config", "environment_variables"]));
        found.variables = variables_of(variables);
        let values = variables.and_then(|variables| variables.get("key_values"));
        for member in values.map(Node::members).unwrap_or_default() {
            if !member.value.to_json(dialect).is_string() {
                let name = member.key.escape_debug();
                let text = format!(
                    "environment_variables: the value of `{name}` is not a string; put it in \
                     quotes"
                );
                found.remark(member.at, true, text);
            }
        }
        for (at, name) in variables.map(repeated_variables).unwrap_or_default() {
            let text = format!(
                "environment_variables: duplicate name `{}`; Envoy accepts a name once, in \
                 host_env_keys or key_values",
                name.escape_debug()
            );
            found.remark(at, true, text);
        }
        if let Some(at) = way.of_route {
            found.remark(
                at,
                true,
                "Envoy does not support Wasm configuration for a route or virtual host; to disable \
                 the filter there, use envoy.config.route.v3.FilterConfig with `disabled: true`",
            );
        }
        if let Some(config) = config {
            remark_on_plugin(&mut found, config);
        }
        self.keep(found, way);
    }

    /// Adds a dynamic module of Envoy, if it is this filter.
    fn add_dynamic(&mut self, config: &Node, host: Host, way: &Way<'_>) {
        let dialect = if self.in_manifest { Dialect::Kubernetes } else { Dialect::Envoy };
        let mut found = configured(config.get("filter_config"), dialect)
            .unwrap_or_else(|| Use::new(config.at, Vec::new()));
        let module = config.get("dynamic_module_config");
        let paths: [&[&str]; 3] =
            [&["name"], &["module", "local", "filename"], &["module", "remote", "http_uri", "uri"]];
        let mut names = paths.into_iter().filter_map(|path| module?.path(path)?.text());
        if !names.any(is_our_name) && !found.is_ours_by_document() {
            return;
        }
        found.host = host;
        let name = config.member("filter_name").or_else(|| config.member("per_route_config_name"));
        if name.and_then(|name| name.value.text()) != Some(FILTER_NAME) {
            let at = name.map_or(config.at, |name| name.at);
            found.remark(at, true, format!("filter_name: expected `{FILTER_NAME}`"));
        }
        let remote = module.and_then(|module| module.path(&["module", "remote"]));
        let is_nack = module.and_then(|it| it.get("nack_on_cache_miss")).is_some_and(Node::is_true);
        if let Some(remote) = remote.filter(|_| !is_nack) {
            found.remark(remote.at, false, FAIL_OPEN_REMOTE);
        }
        self.keep(found, way);
    }

    /// Adds a use of this filter, with what its place says.
    fn keep(&mut self, mut found: Use, way: &Way<'_>) {
        found.within = way.within.join(", ");
        found.clusters.clone_from(&self.clusters);
        found.own_cluster.clone_from(&way.cluster);
        if self.in_manifest {
            found.platform = Platform::Istio;
        }
        if let Some(at) = way.disabled.filter(|_| found.has("inbound")) {
            found.remark(at, false, DISABLED);
        }
        if let Some(manager) = way.manager {
            mcp::remark_on_filters(&mut found, manager, way.of_route.is_some());
            jwt_authn::remark_on_filters(&mut found, manager, way.of_route.is_some());
        }
        if let Some(manager) = way.manager
            && paths::reads_paths(&found)
            && self.managers.insert(manager.at)
        {
            paths::remark_on_manager(&mut found, manager);
        }
        self.uses.push(found);
    }
}

/// The clusters of a bootstrap without dynamic clusters.
fn clusters(root: &Node) -> Option<BTreeSet<String>> {
    let is_dynamic = |name| root.path(&["dynamic_resources", name]).is_some();
    if is_dynamic("cds_config") || is_dynamic("ads_config") {
        return None;
    }
    let clusters = root.path(&["static_resources", "clusters"])?.each();
    Some(
        clusters
            .iter()
            .filter_map(|cluster| Some(cluster.get("name")?.text()?.to_owned()))
            .collect(),
    )
}

const FAIL_OPEN_REMOTE: &str = "module.remote without `nack_on_cache_miss: true`: if Envoy does not \
     get the file, requests bypass the filter; add it to dynamic_module_config";

pub(crate) const FAIL_OPEN: &str =
    "FAIL_OPEN: after a crash, requests bypass the filter; use FAIL_RELOAD";

const DISABLED: &str = "disabled: true: requests bypass the filter except on routes that enable \
     it; remove it, and disable the filter on the routes that do not need it";

/// Adds remarks on how Envoy runs the filter.
fn remark_on_plugin(found: &mut Use, config: &Node) {
    // In JSON, protobuf accepts the number of an enumerator too.
    let is_open = |node: &Node| match node.to_json(Dialect::Envoy) {
        Value::String(text) => text == "FAIL_OPEN",
        value => value == 3,
    };
    let policy = config.member("failure_policy");
    if let Some(policy) = policy.filter(|policy| is_open(&policy.value)) {
        found.remark(policy.at, false, FAIL_OPEN);
    }
    let capabilities = config.member("capability_restriction_config").filter(|restriction| {
        let allowed = restriction.value.get("allowed_capabilities");
        allowed.is_some_and(|allowed| !allowed.members().is_empty())
    });
    if let Some(restriction) = capabilities {
        found.remark(
            restriction.at,
            false,
            "capability_restriction_config: Envoy disables callbacks that are not listed, and \
             without `proxy_on_request_headers` requests bypass the filter; remove it",
        );
    }
    if let Some(policy) = config.member("fail_open").filter(|policy| policy.value.is_true()) {
        found.remark(policy.at, false, FAIL_OPEN);
    }
    let stop = config.member("allow_on_headers_stop_iteration");
    if let Some(stop) = stop
        .filter(|stop| stop.value.is_true() || stop.value.get("value").is_some_and(Node::is_true))
    {
        found.remark(
            stop.at,
            false,
            "allow_on_headers_stop_iteration: Envoy buffers the body of a request that waits for a \
             token, and responds with 413 if it exceeds the buffer limit; remove it",
        );
    }
}

/// Whether something is named after this filter.
pub(crate) fn is_our_name(name: &str) -> bool {
    name.contains("oauth2_filter") || name.contains("oauth2-filter")
}

/// The document in a configuration of Envoy, a `google.protobuf.Any`.
fn configured(configuration: Option<&Node>, dialect: Dialect) -> Option<Use> {
    let configuration = configuration?;
    let value = configuration.get("value");
    let url = configuration.get("@type").and_then(Node::text).unwrap_or_default();
    match (url.rsplit('/').next().unwrap_or_default(), value) {
        ("google.protobuf.StringValue", Some(value)) => {
            let mut found = Use::of_text(value);
            if value.text().is_none() {
                found.bytes = value.to_json(dialect).to_string().into_bytes();
                found.tree = Some(value.clone());
                let text = "a google.protobuf.StringValue must contain a string; write `value: |` \
                     followed by JSON, or use a google.protobuf.Struct";
                found.remark(value.at, true, text);
            }
            Some(found)
        }
        ("google.protobuf.BytesValue", Some(value)) => {
            let bytes = value.text().and_then(decoded);
            let mut found = Use::new(value.at, bytes.clone().unwrap_or_default());
            if bytes.is_none() {
                found.remark(value.at, true, "a google.protobuf.BytesValue must contain Base64");
            }
            Some(found)
        }
        ("google.protobuf.Struct", Some(value)) => Some(Use::of_tree(value, dialect)),
        (
            "google.protobuf.StringValue" | "google.protobuf.BytesValue" | "google.protobuf.Struct",
            None,
        ) => Some(Use::new(configuration.at, Vec::new())),
        _ => {
            let mut found = Use::new(configuration.at, Vec::new());
            found.remark(
                configuration.at,
                false,
                "the filter does not support this type of configuration; use a \
                 google.protobuf.StringValue with JSON text, or a google.protobuf.Struct",
            );
            Some(found)
        }
    }
}

/// Base64 as protobuf decodes it: in either alphabet, with or without padding.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').replace('-', "+").replace('_', "/");
    Base64Unpadded::decode_vec(&text).ok()
}

/// The environment variables that Envoy passes to a VM.
fn variables_of(variables: Option<&Node>) -> Variables {
    let of_host = variables.and_then(|variables| variables.get("host_env_keys"));
    let of_host = of_host.map(Node::each).unwrap_or_default().iter();
    let values = variables.and_then(|variables| variables.get("key_values"));
    let values = values.map(Node::members).unwrap_or_default().iter();
    let text = |node: &Node| match node.to_json(Dialect::Envoy) {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Variables::Some {
        values: values.map(|member| (member.key.clone(), text(&member.value))).collect(),
        of_host: of_host.filter_map(|name| Some(name.text()?.to_owned())).collect(),
    }
}

/// The duplicate names, which Envoy rejects.
fn repeated_variables(variables: &Node) -> Vec<(Position, String)> {
    let of_host = variables.get("host_env_keys").map(Node::each).unwrap_or_default();
    let of_host = of_host.iter().filter_map(|node| Some((node.at, node.text()?)));
    let values = variables.get("key_values").map(Node::members).unwrap_or_default();
    // Of duplicate members the last counts, with a warning for the file.
    let mut names: BTreeSet<&str> = values.iter().map(|member| &*member.key).collect();
    let repeated = of_host.filter(|(_, name)| !names.insert(name));
    repeated.map(|(at, name)| (at, name.to_owned())).collect()
}
