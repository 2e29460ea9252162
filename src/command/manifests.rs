//! Kubernetes manifests: the kinds of objects that concern the filter.

use std::rc::Rc;

use crate::finder::Finder;
use crate::objects::{Object, labels_of};
use crate::tree::Node;
use crate::{gateway, istio};

/// What to do with the objects of a kind.
type Read = fn(&mut Finder, &Rc<Object>);

/// The kinds of objects, with the group of the kind if others have one of that name.
const KINDS: [(&str, &str, Read); 12] = [
    ("WasmPlugin", "", istio::add_plugin),
    ("TrafficExtension", "", istio::add_extension),
    ("EnvoyFilter", "", Finder::find_in_patches),
    ("EnvoyExtensionPolicy", "", gateway::add_policy),
    // What the objects of other files are compared with.
    ("SecurityPolicy", gateway::GROUP, keep),
    ("ClientTrafficPolicy", gateway::GROUP, keep),
    ("EnvoyProxy", gateway::GROUP, keep),
    ("EnvoyPatchPolicy", gateway::GROUP, keep),
    ("GatewayClass", gateway::API_GROUP, keep),
    ("Gateway", gateway::API_GROUP, keep),
    ("HTTPRoute", gateway::API_GROUP, keep),
    ("GRPCRoute", gateway::API_GROUP, keep),
];

/// Only the object itself is of interest.
fn keep(_: &mut Finder, _: &Rc<Object>) {}

/// Searches a manifest, or a list of them.
pub(crate) fn find(finder: &mut Finder, manifest: &Node) {
    if let Some(items) = manifest.get("items") {
        items.elements().iter().for_each(|item| find(finder, item));
    }
    let text = |names: &[&str]| manifest.path(names).and_then(Node::text).unwrap_or_default();
    let (kind, version) = (text(&["kind"]), text(&["apiVersion"]));
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let is_this =
        |(name, of, _): &&(&str, &str, Read)| *name == kind && (of.is_empty() || *of == group);
    let Some((_, _, read)) = KINDS.iter().find(is_this) else { return };
    let Some(spec) = manifest.get("spec") else { return };
    let labels = manifest.path(&["metadata", "labels"]);
    let object = Rc::new(Object {
        kind: kind.to_owned(),
        namespace: text(&["metadata", "namespace"]).to_owned(),
        name: text(&["metadata", "name"]).to_owned(),
        labels: labels.map(labels_of).unwrap_or_default(),
        spec: spec.clone(),
    });
    read(finder, &object);
    finder.objects.push(object);
}
