//! Objects of Kubernetes manifests.

use std::collections::BTreeMap;

use crate::tree::Node;

/// An object of a manifest.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) spec: Node,
}

/// An object with texts as values.
pub(crate) fn labels_of(labels: &Node) -> BTreeMap<String, String> {
    let text = |node: &Node| node.text().unwrap_or_default().to_owned();
    labels.members().iter().map(|member| (member.key.clone(), text(&member.value))).collect()
}

impl Object {
    /// Its name in messages.
    pub(crate) fn title(&self) -> String {
        let Self { kind, namespace, name, .. } = self;
        let (namespace, name) = (namespace.escape_debug(), name.escape_debug());
        if self.namespace.is_empty() {
            format!("{kind} {name}")
        } else {
            format!("{kind} {namespace}/{name}")
        }
    }

    /// Whether a selector selects it: with all of these labels.
    pub(crate) fn has_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        includes(&self.labels, labels)
    }

    /// Whether it is a route of this Gateway.
    pub(crate) fn is_route_of(&self, namespace: &str, gateway: &str) -> bool {
        let parents = self.spec.get("parentRefs").map(Node::elements).unwrap_or_default();
        parents.iter().any(|parent| {
            let text = |name| parent.get(name).and_then(Node::text);
            text("kind").is_none_or(|kind| kind == "Gateway")
                && text("namespace").unwrap_or(&self.namespace) == namespace
                && text("name") == Some(gateway)
        })
    }
}

/// Whether all of these labels are among others.
pub(crate) fn includes(all: &BTreeMap<String, String>, some: &BTreeMap<String, String>) -> bool {
    some.iter().all(|(name, value)| all.get(name) == Some(value))
}
