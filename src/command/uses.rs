//! Where a file uses the filter, and what the filter gets there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::rc::Rc;

use base64ct::{Base64Unpadded, Encoding};
use serde_json::Value;

use crate::keys::{self, ASSUMED, ASSUMED_ES256};
use crate::tree::{Dialect, Kind, Node, Position, Written};
use crate::{json_text, yaml};

/// The type of the filter's configuration in Envoy.
const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";

/// A use of the filter.
#[derive(Debug)]
pub(crate) struct Use {
    /// Where, in words such as `listener inbound, filter oauth2`; empty for a document by itself.
    pub(crate) within: String,
    /// Where it stands in the file.
    pub(crate) at: Position,
    /// What the filter gets, as the host hands it over.
    pub(crate) bytes: Vec<u8>,
    /// The same with its places, if it can be told.
    tree: Option<Node>,
    /// Where its text stands, if word by word, and the spaces before each further line.
    text: Option<(Position, usize)>,
    /// What the VM gets of the environment.
    pub(crate) variables: Variables,
    /// What the host refuses, or what should be known, besides what the filter says.
    pub(crate) remarks: Vec<Remark>,
    /// The clusters of the proxy, if the file tells all of them.
    pub(crate) clusters: Option<Rc<BTreeSet<String>>>,
    /// The cluster among whose filters it stands.
    pub(crate) own_cluster: Option<String>,
}

/// Something about a use.
#[derive(Clone, Debug)]
pub(crate) struct Remark {
    /// Where.
    pub(crate) at: Position,
    /// Whether the host refuses it.
    pub(crate) is_mistake: bool,
    /// What.
    pub(crate) text: String,
}

/// What is in a file.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// The uses of the filter.
    pub(crate) uses: Vec<Use>,
    /// What is wrong with the file, whoever reads it.
    pub(crate) remarks: Vec<Remark>,
}

impl Contents {
    /// A file that is a document in JSON.
    fn of_document(text: &str) -> Self {
        Self { uses: vec![Use::of_file(text)], remarks: Vec::new() }
    }
}

/// The environment variables of a VM.
#[derive(Clone, Debug)]
pub(crate) enum Variables {
    /// All that the proxy has: nothing says which.
    All,
    /// Some.
    Some {
        /// Those whose value is given.
        values: BTreeMap<String, String>,
        /// Those that are the proxy's.
        of_host: BTreeSet<String>,
    },
}

impl Use {
    /// A document, and nothing around it.
    fn new(at: Position, bytes: Vec<u8>) -> Self {
        Self {
            within: String::new(),
            at,
            bytes,
            tree: None,
            text: None,
            variables: Variables::All,
            remarks: Vec::new(),
            clusters: None,
            own_cluster: None,
        }
    }

    /// A document that is the whole of a JSON file.
    fn of_file(text: &str) -> Self {
        let tree = json_text::read(text, Position::START);
        let text_at = Some((Position::START, 0));
        Self { tree, text: text_at, ..Self::new(Position::START, text.as_bytes().to_vec()) }
    }

    /// A document that is an object in another file.
    fn of_tree(node: &Node, dialect: Dialect) -> Self {
        let value = node.to_json(dialect);
        let is_empty = value.as_object().is_some_and(serde_json::Map::is_empty);
        // An empty message has no bytes.
        let bytes = if is_empty { Vec::new() } else { value.to_string().into_bytes() };
        Self { tree: Some(node.clone()), ..Self::new(node.at, bytes) }
    }

    /// A document that is a string in another file.
    fn of_text(node: &Node) -> Self {
        let text = node.text().unwrap_or_default();
        let mut this = Self::new(node.at, text.as_bytes().to_vec());
        if let Kind::String(_, Written::AsIs { from, indent }) = &node.kind {
            this.text = Some((*from, *indent));
            this.tree = json_text::read(text, Position::START);
        }
        this
    }

    /// Where in the file something is that the filter has found. What it says of JSON text that is
    /// none ends with a line and a column.
    pub(crate) fn find(&self, place: &str, said: &str) -> Position {
        let in_text = if place.is_empty() { text_position(said) } else { None };
        match (&self.tree, self.text) {
            (Some(tree), None) => tree.find(place),
            (Some(tree), Some(text)) => in_file(in_text.unwrap_or_else(|| tree.find(place)), text),
            (None, Some(text)) => in_text.map_or(self.at, |at| in_file(at, text)),
            (None, None) => self.at,
        }
    }

    /// The same use without its secrets: others stand in their place, and at these places.
    pub(crate) fn without_secrets(&self, places: &[String]) -> Option<Self> {
        // In one line, no two values begin at one position.
        let document: Value = serde_json::from_slice(&self.bytes).ok()?;
        let mut tree = json_text::read(&document.to_string(), Position::START)?;
        for place in places {
            tree.replace(place, keys::assumed);
        }
        let mut this = Self::of_tree(&tree, Dialect::Kubernetes);
        this.variables = self.variables.clone();
        if let Variables::Some { values, .. } = &mut this.variables {
            for value in values.values_mut() {
                keys::assumed(value).clone_into(value);
            }
        }
        Some(this)
    }

    /// Whether the document looks like one of this filter's.
    fn is_ours_by_document(&self) -> bool {
        let document: Option<Value> = serde_json::from_slice(&self.bytes).ok();
        ["inbound", "outbound"].into_iter().any(|key| match &document {
            Some(document) => document.get(key).is_some(),
            // What a slip has made no JSON.
            None => String::from_utf8_lossy(&self.bytes).contains(&format!("\"{key}\"")),
        })
    }

    /// Says something about the use.
    fn remark(&mut self, at: Position, is_mistake: bool, text: impl Into<String>) {
        self.remarks.push(Remark { at, is_mistake, text: text.into() });
    }
}

/// The position at the end of a message about JSON text.
fn text_position(said: &str) -> Option<Position> {
    let (_, at) = said.rsplit_once(" at line ")?;
    let (line, column) = at.split_once(" column ")?;
    Some(Position { line: line.parse().ok()?, column: column.parse().ok()? })
}

/// A position in a text that stands in a file from there on.
fn in_file(at: Position, (from, indent): (Position, usize)) -> Position {
    let line = from.line.saturating_add(at.line).saturating_sub(1);
    let before = if at.line == 1 { from.column.saturating_sub(1) } else { indent };
    Position { line, column: at.column.saturating_add(before) }
}

impl Variables {
    /// The value of a variable. One of the proxy is asked for here if `real`, or else assumed to be
    /// set; `es256` are those that hold elliptic keys.
    pub(crate) fn value(&self, name: &str, real: bool, es256: &BTreeSet<String>) -> Option<String> {
        match self {
            Self::Some { values, .. } if values.contains_key(name) => values.get(name).cloned(),
            Self::Some { of_host, .. } if !of_host.contains(name) => None,
            _ if real => std::env::var(name).ok(),
            _ => {
                let assumed = if es256.contains(name) { ASSUMED_ES256 } else { ASSUMED };
                Some(assumed.to_owned())
            }
        }
    }
}

/// Reads a file: JSON if it begins with a brace or is named so, or else YAML. Of JSON that is none
/// the filter says what is wrong.
pub(crate) fn read(name: &str, text: &str) -> Contents {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let has_extension = |known: &[&str]| {
        let extension = Path::new(name).extension().and_then(OsStr::to_str);
        extension.is_some_and(|extension| known.contains(&extension))
    };
    let is_json = text.trim().is_empty()
        || has_extension(&["json"])
        || (text.trim_start().starts_with('{') && !has_extension(&["yaml", "yml"]));
    let root = json_text::read(text, Position::START).map(|root| (kind_of(&root), root));
    match root {
        Some((FileKind::Document, _)) => return Contents::of_document(text),
        Some(document) => return contents(vec![document], false),
        None if is_json => return Contents::of_document(text),
        None => {}
    }
    match yaml::read(text) {
        Ok(documents) => {
            let is_only = documents.len() == 1;
            let documents = documents.into_iter().map(|root| (kind_of(&root), root));
            // Among others, what nobody knows is somebody else's.
            let documents = documents
                .filter(|(kind, root)| is_only || *kind != FileKind::Document || is_document(root));
            contents(documents.collect(), true)
        }
        Err(error) => {
            let text = format!("not YAML: {}", error.why);
            let remarks = vec![Remark { at: error.at, is_mistake: true, text }];
            Contents { uses: Vec::new(), remarks }
        }
    }
}

/// What a file is.
#[derive(Clone, Copy, Eq, PartialEq)]
enum FileKind {
    /// A document of the filter.
    Document,
    /// A configuration of Envoy, or a part of one.
    Envoy,
    /// A manifest for Kubernetes.
    Manifest,
}

/// Whether this is a document of the filter beyond doubt.
fn is_document(root: &Node) -> bool {
    ["inbound", "outbound"].into_iter().any(|key| root.get(key).is_some())
}

/// What a value of this form is.
fn kind_of(root: &Node) -> FileKind {
    /// Names at the top of Envoy's files.
    const ENVOY: [&str; 12] = [
        "@type",
        "admin",
        "configs",
        "dynamic_resources",
        "filter_chains",
        "http_filters",
        "layered_runtime",
        "node",
        "resources",
        "static_resources",
        "typed_config",
        "version_info",
    ];
    let has = |name: &str| root.get(name).is_some();
    if is_document(root) {
        FileKind::Document
    } else if has("kind") && has("apiVersion") {
        FileKind::Manifest
    } else if ENVOY.into_iter().any(has) || matches!(root.kind, Kind::List(_)) {
        FileKind::Envoy
    } else {
        FileKind::Document
    }
}

/// The uses in all documents of a file.
fn contents(documents: Vec<(FileKind, Node)>, is_yaml: bool) -> Contents {
    let mut remarks = Vec::new();
    if is_yaml {
        for repeated in documents.iter().flat_map(|(_, root)| root.repeated()) {
            let text =
                format!("`{}` stands twice: only the last counts", repeated.key.escape_debug());
            remarks.push(Remark { at: repeated.at, is_mistake: false, text });
        }
    }
    let mut finder = Finder::default();
    for (kind, root) in documents {
        match kind {
            FileKind::Document => {
                finder.uses.push(Use::of_tree(&root.merged(), Dialect::Kubernetes));
            }
            FileKind::Envoy => {
                finder.clusters = clusters(&root).map(Rc::new);
                finder.find(&root, &Way::default());
                finder.clusters = None;
            }
            FileKind::Manifest => finder.find_in_manifest(&root.merged()),
        }
    }
    Contents { uses: finder.uses, remarks }
}

/// The clusters of a bootstrap that gets no others from anywhere.
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

/// How a value was come to.
#[derive(Clone, Debug, Default)]
struct Way {
    /// The named things that it stands in.
    within: Vec<String>,
    /// The cluster that it stands in.
    cluster: Option<String>,
    /// Whether it is for a route or a virtual host.
    of_route: Option<Position>,
}

/// Looks for uses.
#[derive(Debug, Default)]
struct Finder {
    /// Those that were found.
    uses: Vec<Use>,
    /// The clusters of the proxy, if they are known.
    clusters: Option<Rc<BTreeSet<String>>>,
    /// Whether the file is a manifest: then its numbers are those of Kubernetes.
    in_manifest: bool,
}

impl Finder {
    /// Looks in a manifest, or a list of them.
    fn find_in_manifest(&mut self, manifest: &Node) {
        if let Some(items) = manifest.get("items") {
            items.elements().iter().for_each(|item| self.find_in_manifest(item));
        }
        let kind = manifest.get("kind").and_then(Node::text).unwrap_or_default();
        let metadata = |name| manifest.path(&["metadata", name]).and_then(Node::text);
        let name = match (metadata("namespace"), metadata("name").unwrap_or_default()) {
            (Some(namespace), name) => format!("{kind} {namespace}/{name}"),
            (None, name) => format!("{kind} {name}"),
        };
        let Some(spec) = manifest.get("spec") else { return };
        match kind {
            "WasmPlugin" => self.add_plugin(spec, name),
            "EnvoyFilter" => {
                self.in_manifest = true;
                self.find(spec, &Way { within: vec![name], ..Way::default() });
                self.in_manifest = false;
            }
            _ => {}
        }
    }

    /// Looks in a part of Envoy's configuration.
    fn find(&mut self, node: &Node, way: &Way) {
        let is_wasm = |name| {
            let name: Option<&str> = node.get(name).and_then(Node::text);
            name.is_some_and(|url| url.rsplit('/').next() == Some(WASM))
        };
        if is_wasm("@type") {
            self.add(node, node.get("config"), way);
            return;
        }
        if is_wasm("type_url")
            && let Some(value) = node.get("value")
        {
            self.add(node, value.get("config"), way);
            return;
        }
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

    /// Adds a Wasm filter of Envoy, if it is this one.
    fn add(&mut self, node: &Node, config: Option<&Node>, way: &Way) {
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
        found.within = way.within.join(", ");
        found.clusters.clone_from(&self.clusters);
        found.own_cluster.clone_from(&way.cluster);
        let variables =
            config.and_then(|config| config.path(&["vm_config", "environment_variables"]));
        found.variables = variables_of(variables);
        let values = variables.and_then(|variables| variables.get("key_values"));
        for member in values.map(Node::members).unwrap_or_default() {
            if !member.value.to_json(dialect).is_string() {
                let name = member.key.escape_debug();
                let text = format!(
                    "environment_variables: `{name}` is no text to Envoy: put its value in quotes"
                );
                found.remark(member.at, true, text);
            }
        }
        for (at, name) in variables.map(repeated_variables).unwrap_or_default() {
            let text = format!(
                "environment_variables: `{}` stands twice: Envoy takes a name once, in \
                 host_env_keys or key_values",
                name.escape_debug()
            );
            found.remark(at, true, text);
        }
        if let Some(at) = way.of_route {
            found.remark(
                at,
                true,
                "Envoy takes no Wasm configuration for a route or virtual host; to leave the filter \
                 out there, use envoy.config.route.v3.FilterConfig with `disabled: true`",
            );
        }
        if let Some(config) = config {
            remark_on_plugin(&mut found, config);
        }
        self.uses.push(found);
    }

    /// Adds a `WasmPlugin`, if it is for this filter.
    fn add_plugin(&mut self, spec: &Node, within: String) {
        let document = spec.member("pluginConfig");
        let mut found = match document {
            Some(document) => Use::of_tree(&document.value, Dialect::Kubernetes),
            None => Use::new(spec.at, Vec::new()),
        };
        let names = ["url", "pluginName"].map(|name| spec.get(name).and_then(Node::text));
        if !names.into_iter().flatten().any(is_our_name) && !found.is_ours_by_document() {
            return;
        }
        found.within = within;
        let (mut values, mut of_host) = (BTreeMap::new(), BTreeSet::new());
        let variables = spec.path(&["vmConfig", "env"]).map(Node::elements).unwrap_or_default();
        for variable in variables {
            let text =
                |name| variable.get(name).and_then(Node::text).unwrap_or_default().to_owned();
            if text("valueFrom") == "HOST" {
                of_host.insert(text("name"));
            } else {
                values.insert(text("name"), text("value"));
            }
        }
        found.variables = Variables::Some { values, of_host };
        if let Some(without) = unmatched(spec) {
            found.remark(without, false, BOTH_WAYS);
        }
        let policy = spec.member("failStrategy");
        if let Some(policy) = policy.filter(|policy| policy.value.text() == Some("FAIL_OPEN")) {
            found.remark(policy.at, false, FAIL_OPEN);
        }
        self.uses.push(found);
    }
}

/// Where a `WasmPlugin` leaves out which traffic it is for.
fn unmatched(spec: &Node) -> Option<Position> {
    match spec.member("match").map(|member| (member.at, member.value.elements())) {
        None | Some((_, [])) => Some(spec.at),
        Some((_, list)) => {
            let is_one_way = |node: &&Node| {
                let mode = node.get("mode").and_then(Node::text).unwrap_or_default();
                matches!(mode, "SERVER" | "CLIENT")
            };
            list.iter().find(|node| !is_one_way(node)).map(|node| node.at)
        }
    }
}

/// What is wrong with that.
const BOTH_WAYS: &str = "no mode: a sidecar runs the filter both on what its workload gets and on \
                         what it calls; say `match: [{mode: SERVER}]` for one of the two, or \
                         `[{mode: CLIENT}]` for the other and for gateways";

/// What is wrong with letting requests by.
const FAIL_OPEN: &str =
    "FAIL_OPEN: after a crash, requests go by the filter unchecked; use FAIL_RELOAD";

/// Says what should be known of how Envoy runs the filter.
fn remark_on_plugin(found: &mut Use, config: &Node) {
    // In JSON, protobuf takes the number of an enumerator too.
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
            "capability_restriction_config: Envoy leaves out what is not listed there, and without \
             `proxy_on_request_headers` requests go by the filter unchecked; leave it out",
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
            "allow_on_headers_stop_iteration: Envoy keeps the body of a request that waits for a \
             token, and answers 413 where that is larger than its buffer; leave it out",
        );
    }
}

/// Whether something is named after this filter.
fn is_our_name(name: &str) -> bool {
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
                let text = "a google.protobuf.StringValue has text: write `value: |`, and JSON \
                            below; or make it a google.protobuf.Struct";
                found.remark(value.at, true, text);
            }
            Some(found)
        }
        ("google.protobuf.BytesValue", Some(value)) => {
            let bytes = value.text().and_then(decoded);
            let mut found = Use::new(value.at, bytes.clone().unwrap_or_default());
            if bytes.is_none() {
                found.remark(value.at, true, "a google.protobuf.BytesValue has Base64");
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
                "the configuration is of a type that the filter does not read: give a \
                 google.protobuf.StringValue with JSON text, or a google.protobuf.Struct",
            );
            Some(found)
        }
    }
}

/// Base64 as protobuf reads it: of either alphabet, with padding or without.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=').replace('-', "+").replace('_', "/");
    Base64Unpadded::decode_vec(&text).ok()
}

/// What Envoy gives to a VM of its environment.
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

/// The names that Envoy refuses, since they stand there already.
fn repeated_variables(variables: &Node) -> Vec<(Position, String)> {
    let of_host = variables.get("host_env_keys").map(Node::each).unwrap_or_default();
    let of_host = of_host.iter().filter_map(|node| Some((node.at, node.text()?)));
    let values = variables.get("key_values").map(Node::members).unwrap_or_default();
    // Of members of one name the last counts: there the file is warned of.
    let mut names: BTreeSet<&str> = values.iter().map(|member| &*member.key).collect();
    let repeated = of_host.filter(|(_, name)| !names.insert(name));
    repeated.map(|(at, name)| (at, name.to_owned())).collect()
}

/// The variables that hold elliptic keys, as far as the document says so.
pub(crate) fn es256_variables(document: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if document.get("alg").and_then(Value::as_str) == Some("ES256")
        && let Some(name) = document.pointer("/private_key/env").and_then(Value::as_str)
    {
        found.insert(name.to_owned());
    }
    match document {
        Value::Object(members) => found.extend(members.values().flat_map(es256_variables)),
        Value::Array(elements) => found.extend(elements.iter().flat_map(es256_variables)),
        _ => {}
    }
    found
}
