//! Checks whether the proxies of Envoy Gateway have the variables, the clusters and the dynamic module
//! that a use of the filter needs, as far as an `EnvoyProxy` defines them.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::gateway::{Form, targets};
use crate::objects::Object;
use crate::review;
use crate::tree::{Node, Position};
use crate::uses::{Contents, Platform, Use, Variables};
use crate::yaml;

/// Adds remarks on what the proxies lack.
pub(crate) fn remark_on_proxies(files: &mut [Contents]) {
    let objects: Vec<Rc<Object>> = files.iter().flat_map(|file| &file.objects).cloned().collect();
    let uses = files.iter_mut().flat_map(|file| &mut file.uses);
    for found in uses.filter(|found| found.platform == Platform::EnvoyGateway) {
        let Some(policy) = found.object.clone() else { continue };
        let gateways: Vec<&Rc<Object>> =
            objects.iter().filter(|object| is_target(object, &policy, &objects)).collect();
        // Several Gateways may have the same one.
        let is_theirs = |object: &&Rc<Object>| {
            let mut proxies = gateways.iter().filter_map(|gateway| proxy(gateway, &objects));
            proxies.any(|proxy| Rc::ptr_eq(proxy, object))
        };
        for proxy in objects.iter().filter(is_theirs) {
            match Form::of(found, &policy) {
                Some((Form::Wasm, wasm)) => {
                    remark_on_variables(found, "env.hostKeys", &host_keys(wasm), proxy);
                }
                Some((Form::DynamicModule, module)) => {
                    let named = found.tree.as_ref().map(variables).unwrap_or_default();
                    remark_on_variables(found, "env", &named, proxy);
                    remark_on_module(found, module, proxy);
                }
                None => {}
            }
            if !objects.iter().any(|object| patches_clusters(object)) {
                remark_on_clusters(found, proxy);
            }
        }
    }
}

/// Whether a policy is for a `Gateway`, or for a route of it.
fn is_target(gateway: &Object, policy: &Object, objects: &[Rc<Object>]) -> bool {
    let targets = targets(&policy.spec);
    let is_target =
        |object: &Object| targets.iter().any(|target| target.is(&policy.namespace, object));
    let mut routes = objects.iter().filter(|object| object.kind.ends_with("Route"));
    gateway.kind == "Gateway"
        && (is_target(gateway)
            || routes.any(|route| {
                is_target(route) && route.is_route_of(&gateway.namespace, &gateway.name)
            }))
}

/// The `EnvoyProxy` of a `Gateway`, or else of its class.
fn proxy<'a>(gateway: &Object, objects: &'a [Rc<Object>]) -> Option<&'a Rc<Object>> {
    let text = |node: &Node, name| node.get(name).and_then(Node::text).map(str::to_owned);
    let class = text(&gateway.spec, "gatewayClassName");
    let class = objects
        .iter()
        .find(|object| object.kind == "GatewayClass" && class.as_ref() == Some(&object.name));
    let of_gateway = gateway.spec.path(&["infrastructure", "parametersRef"]);
    let reference = of_gateway.or_else(|| class?.spec.get("parametersRef"))?;
    let namespace = text(reference, "namespace").unwrap_or_else(|| gateway.namespace.clone());
    let name = text(reference, "name")?;
    // The last one is in force if several were applied, one after the other.
    objects.iter().rfind(|object| {
        object.kind == "EnvoyProxy" && object.namespace == namespace && object.name == name
    })
}

/// A name of a variable, and its position.
type Named = (Position, String);

/// The variables that a plugin gets.
fn host_keys(wasm: &Node) -> Vec<Named> {
    let names = wasm.path(&["env", "hostKeys"]).map(Node::elements).unwrap_or_default().iter();
    names.filter_map(|node| Some((node.at, node.text()?.to_owned()))).collect()
}

/// The variables that a document names.
fn variables(document: &Node) -> Vec<Named> {
    let named = document.get("env").and_then(|env| Some((env.at, env.text()?.to_owned())));
    let inner = document.members().iter().map(|member| &member.value).chain(document.elements());
    named.into_iter().chain(inner.flat_map(variables)).collect()
}

/// Adds remarks on variables that the container of the proxy lacks.
fn remark_on_variables(found: &mut Use, place: &str, named: &[Named], proxy: &Object) {
    let provider = |names: &[&str]| proxy.spec.get("provider").and_then(|it| it.path(names));
    if provider(&["type"]).and_then(Node::text).is_some_and(|name| name != "Kubernetes") {
        return;
    }
    let workloads = ["envoyDeployment", "envoyDaemonSet"];
    let workloads: Vec<&Node> =
        workloads.into_iter().filter_map(|name| provider(&["kubernetes", name])).collect();
    if workloads.iter().any(|workload| workload.get("patch").is_some()) {
        return;
    }
    let set: BTreeSet<&str> = workloads
        .iter()
        .filter_map(|workload| workload.path(&["container", "env"]))
        .flat_map(Node::elements)
        .filter_map(|variable| variable.get("name")?.text())
        .collect();
    let Variables::Some { of_host, .. } = found.variables.clone() else { return };
    for (at, name) in named {
        if of_host.contains(name) && !set.contains(&**name) {
            let text = format!(
                "{place}: {} does not set `{}`: the filter rejects its document; add it to the \
                 `env` of its container",
                proxy.title(),
                name.escape_debug()
            );
            found.remark(*at, false, text);
        }
    }
}

/// Adds a remark if the proxy does not have the module, or fetches it.
fn remark_on_module(found: &mut Use, module: &Node, proxy: &Object) {
    let Some(name) = module.get("name").and_then(Node::text) else { return };
    let at = module.member("name").map_or(module.at, |name| name.at);
    let entries = proxy.spec.get("dynamicModules").map(Node::elements).unwrap_or_default();
    let entry = entries.iter().find(|it| it.get("name").and_then(Node::text) == Some(name));
    let (proxy, name) = (proxy.title(), name.escape_debug());
    let Some(entry) = entry else {
        let text = format!(
            "name: `dynamicModules` of {proxy} does not list `{name}`: Envoy Gateway rejects the \
             policy, and its routes respond with 500; add it"
        );
        return found.remark(at, false, text);
    };
    if entry.path(&["source", "type"]).and_then(Node::text) == Some("Remote") {
        let text = format!(
            "name: {proxy} loads `{name}` from a URL: if Envoy cannot fetch the file, requests \
             bypass the filter; use a file (`type: Local`)"
        );
        found.remark(at, false, text);
    }
}

/// Whether it may add clusters, or give them other names.
fn patches_clusters(object: &Object) -> bool {
    let patches = object.spec.get("jsonPatches").map(Node::elements).unwrap_or_default();
    let mut types = patches.iter().filter_map(|patch| patch.get("type")?.text());
    object.kind == "EnvoyPatchPolicy" && types.any(|name| name.ends_with(".Cluster"))
}

/// Adds remarks on clusters that the bootstrap configuration lacks.
fn remark_on_clusters(found: &mut Use, proxy: &Object) {
    let Some(defined) = clusters(proxy) else { return };
    for (place, cluster) in review::reviewed(found, false).clusters {
        // Those of routes have names such as httproute/shop/as/rule/0; those of Istio have a
        // remark.
        if cluster.contains(['/', '|']) || defined.contains(&cluster) {
            continue;
        }
        let text = format!(
            "{place}: cluster `{}` is not defined in `spec.bootstrap` of {}",
            cluster.escape_debug(),
            proxy.title()
        );
        found.remark(found.find(&place, ""), false, text);
    }
}

/// The static clusters of a proxy, if known.
fn clusters(proxy: &Object) -> Option<BTreeSet<String>> {
    let Some(bootstrap) = proxy.spec.get("bootstrap") else { return Some(BTreeSet::new()) };
    let text = bootstrap.get("value")?.text()?;
    let bootstrap = yaml::read(text).ok()?.into_iter().next()?;
    let clusters = bootstrap.path(&["static_resources", "clusters"]).map(Node::each);
    let names = clusters.unwrap_or_default().iter().map(|cluster| cluster.get("name"));
    Some(names.filter_map(|name| Some(name?.text()?.to_owned())).collect())
}
