//! The filter in `WasmPlugin` and `TrafficExtension` objects of Istio.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::finder::{FAIL_OPEN, Finder, is_our_name};
use crate::objects::{Object, includes, labels_of};
use crate::tree::{Dialect, Node};
use crate::uses::{Contents, Platform, Use, Variables};

const BOTH_WAYS: &str = "no mode: the sidecar runs the filter on both incoming and outgoing \
     requests; set `match: [{mode: SERVER}]` for incoming requests, or `[{mode: CLIENT}]` for \
     outgoing requests; for a Gateway or waypoint, name it in `targetRefs` instead";

const INBOUND_OF_CLIENT: &str = "mode: CLIENT with `inbound`: neither a sidecar nor a waypoint \
     checks the requests that it receives, so everyone is allowed; use `mode: SERVER` for a \
     sidecar, and no `match` for a gateway or waypoint";

const INBOUND_OF_SERVER: &str = "mode: SERVER with `inbound`: a gateway does not run the filter, so \
     everyone is allowed; remove `match`";

/// Adds a `WasmPlugin`, if it is for this filter.
pub(crate) fn add_plugin(finder: &mut Finder, object: &Rc<Object>) {
    add(finder, object, &object.spec);
}

/// Adds a `TrafficExtension`, if it is for this filter.
pub(crate) fn add_extension(finder: &mut Finder, object: &Rc<Object>) {
    if let Some(wasm) = object.spec.get("wasm") {
        add(finder, object, wasm);
    }
}

/// Adds an object with this configuration of Wasm.
fn add(finder: &mut Finder, object: &Rc<Object>, wasm: &Node) {
    let mut found = match wasm.get("pluginConfig") {
        Some(document) => Use::of_tree(document, Dialect::Kubernetes),
        None => Use::new(wasm.at, Vec::new()),
    };
    let names = ["url", "pluginName"].map(|name| wasm.get(name).and_then(Node::text));
    if !names.into_iter().flatten().any(is_our_name) && !found.is_ours_by_document() {
        return;
    }
    found.within = object.title();
    found.platform = Platform::Istio;
    found.object = Some(Rc::clone(object));
    found.variables = variables(wasm);
    remark_on_mode(&mut found, &object.spec);
    let policy = wasm.member("failStrategy");
    if let Some(policy) = policy.filter(|policy| policy.value.text() == Some("FAIL_OPEN")) {
        found.remark(policy.at, false, FAIL_OPEN);
    }
    finder.uses.push(found);
}

/// The environment variables of the VM.
fn variables(wasm: &Node) -> Variables {
    let (mut values, mut of_host) = (BTreeMap::new(), BTreeSet::new());
    let variables = wasm.path(&["vmConfig", "env"]).map(Node::elements).unwrap_or_default();
    for variable in variables {
        let text = |name| variable.get(name).and_then(Node::text).unwrap_or_default().to_owned();
        if text("valueFrom") == "HOST" {
            of_host.insert(text("name"));
        } else {
            values.insert(text("name"), text("value"));
        }
    }
    Variables::Some { values, of_host }
}

/// Adds a remark if the filter runs on other requests than its document is for.
fn remark_on_mode(found: &mut Use, spec: &Node) {
    let matches = matches(spec);
    let both_ways = match matches {
        [] => Some(spec.at),
        _ => matches.iter().find(|one| !matches!(mode(one), SERVER | CLIENT)).map(|one| one.at),
    };
    if let Some(at) = both_ways.filter(|_| !is_of_gateway(spec)) {
        found.remark(at, false, BOTH_WAYS);
    }
    let Some(first) = matches.first().filter(|_| found.has("inbound")) else { return };
    let at = first.member("mode").map_or(first.at, |member| member.at);
    let all_are = |wanted| matches.iter().all(|one| mode(one) == wanted);
    if all_are(CLIENT) {
        found.remark(at, false, INBOUND_OF_CLIENT);
    } else if all_are(SERVER) && is_of_ingress(spec) {
        found.remark(at, false, INBOUND_OF_SERVER);
    }
}

/// The modes with one direction.
const SERVER: &str = "SERVER";
const CLIENT: &str = "CLIENT";

/// The requests that it matches: all, if there are none.
fn matches(spec: &Node) -> &[Node] {
    spec.get("match").map(Node::elements).unwrap_or_default()
}

/// The mode of a match.
fn mode(matched: &Node) -> &str {
    matched.get("mode").and_then(Node::text).unwrap_or_default()
}

/// Whether it is for a gateway or waypoint, which has one direction: with `targetRefs`, or with a
/// label of a gateway such as `istio: ingressgateway`.
fn is_of_gateway(spec: &Node) -> bool {
    let is_gateway = |text: &str| text.contains("gateway") || text.contains("waypoint");
    let is_labelled = |(name, value): (&String, &String)| is_gateway(name) || is_gateway(value);
    !targets(spec).is_empty() || selector(spec).iter().any(is_labelled)
}

/// Whether it is for a gateway whose name is not that of a waypoint.
fn is_of_ingress(spec: &Node) -> bool {
    let is_waypoint = |text: &str| text.contains("waypoint");
    let is_target = |&(kind, name): &(Option<&str>, Option<&str>)| {
        kind == Some("Gateway") && !name.is_some_and(is_waypoint)
    };
    let is_labelled = |(name, value): (&String, &String)| {
        (name.contains("gateway") || value.contains("gateway")) && !is_waypoint(value)
    };
    targets(spec).iter().any(is_target) || selector(spec).iter().any(is_labelled)
}

/// The labels of the workloads that it selects.
fn selector(spec: &Node) -> BTreeMap<String, String> {
    spec.path(&["selector", "matchLabels"]).map(labels_of).unwrap_or_default()
}

/// The kinds and names of the resources that it targets.
fn targets(spec: &Node) -> Vec<(Option<&str>, Option<&str>)> {
    let targets = spec.get("targetRefs").map(Node::elements).unwrap_or_default();
    let text = |target, name| Node::get(target, name).and_then(Node::text);
    targets.iter().map(|target| (text(target, "kind"), text(target, "name"))).collect()
}

/// Adds remarks on objects of different kinds that run the filter in the same proxy: after a
/// migration, for example.
pub(crate) fn remark_on_repetition(files: &mut [Contents]) {
    let uses = || files.iter().flat_map(|file| &file.uses);
    let plugins: Vec<Rc<Object>> = uses()
        .filter(|found| found.has("inbound"))
        .filter_map(|found| found.object.clone())
        .filter(|object| object.kind == "WasmPlugin")
        .collect();
    for found in files.iter_mut().flat_map(|file| &mut file.uses) {
        let Some(object) = found.object.clone() else { continue };
        if object.kind != "TrafficExtension" || !found.has("inbound") {
            continue;
        }
        for plugin in plugins.iter().filter(|plugin| is_repeated(plugin, &object)) {
            let text = format!(
                "{} runs the filter in the same proxies: the second filter finds no token, and \
                 rejects all requests with 401; delete one of the two objects",
                plugin.title()
            );
            found.remark(object.spec.at, false, text);
        }
    }
}

/// Whether two objects apply to requests of the same workload.
fn is_repeated(one: &Object, other: &Object) -> bool {
    let has_mode = |spec: &Node, wanted: &str| {
        let matches = matches(spec);
        let is_other = |mode: &str| matches!(mode, SERVER | CLIENT) && mode != wanted;
        matches.is_empty() || matches.iter().any(|one| !is_other(mode(one)))
    };
    let shares_requests = [SERVER, CLIENT]
        .iter()
        .any(|mode| has_mode(&one.spec, mode) && has_mode(&other.spec, mode));
    let (targets, others) = (targets(&one.spec), targets(&other.spec));
    let shares_workloads = if targets.is_empty() && others.is_empty() {
        let (labels, others) = (selector(&one.spec), selector(&other.spec));
        includes(&labels, &others) || includes(&others, &labels)
    } else {
        targets.iter().any(|target| others.contains(target))
    };
    one.namespace == other.namespace && shares_requests && shares_workloads
}
