//! The filter in an `EnvoyExtensionPolicy` of Envoy Gateway, and what policies target.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::finder::{Finder, is_our_name};
use crate::objects::{Object, labels_of};
use crate::review;
use crate::tree::{Dialect, Node, Position};
use crate::uses::{Platform, Use, Variables};

/// The group of the objects of Envoy Gateway.
pub(crate) const GROUP: &str = "gateway.envoyproxy.io";

/// The group of the objects of the Gateway API.
pub(crate) const API_GROUP: &str = "gateway.networking.k8s.io";

const FAIL_OPEN: &str = "failOpen: true: if the image, the document or the VM fails, requests \
     bypass the filter; remove it";

/// The form of the filter in an `EnvoyExtensionPolicy`, each of which has a list of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    Wasm,
    DynamicModule,
}

impl Form {
    /// All forms.
    const ALL: [Self; 2] = [Self::Wasm, Self::DynamicModule];

    /// The name of its list.
    pub(crate) fn list(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::DynamicModule => "dynamicModule",
        }
    }

    /// The extensions of this form.
    pub(crate) fn extensions(self, policy: &Object) -> &[Node] {
        policy.spec.get(self.list()).map(Node::elements).unwrap_or_default()
    }

    /// The form and the extension of a use.
    pub(crate) fn of<'p>(found: &Use, policy: &'p Object) -> Option<(Self, &'p Node)> {
        let extensions = Self::ALL.into_iter().flat_map(|form| {
            form.extensions(policy).iter().map(move |extension| (form, extension))
        });
        let is_of = |extension: &Node| extension.get("config").unwrap_or(extension).at == found.at;
        extensions.into_iter().find(|(_, extension)| is_of(extension))
    }
}

/// Adds the uses of the filter in an `EnvoyExtensionPolicy`.
pub(crate) fn add_policy(finder: &mut Finder, object: &Rc<Object>) {
    let wasm = Form::Wasm.extensions(object).iter().filter_map(|wasm| wasm_use(wasm, object));
    finder.uses.extend(wasm);
    let modules = Form::DynamicModule.extensions(object).iter();
    finder.uses.extend(modules.filter_map(|module| module_use(module, object)));
}

/// The use of a WebAssembly module, if it is this filter.
fn wasm_use(wasm: &Node, object: &Rc<Object>) -> Option<Use> {
    let names: [&[&str]; 4] =
        [&["name"], &["rootID"], &["code", "image", "url"], &["code", "http", "url"]];
    let mut found = use_of(wasm, &names, "wasm", object)?;
    let of_host = wasm.path(&["env", "hostKeys"]).map(Node::elements).unwrap_or_default();
    let of_host: BTreeSet<String> =
        of_host.iter().filter_map(|name| Some(name.text()?.to_owned())).collect();
    found.variables = Variables::Some { values: BTreeMap::new(), of_host };
    let open = wasm.member("failOpen").filter(|open| open.value.is_true());
    if let Some(open) = open {
        found.remark(open.at, false, FAIL_OPEN);
    }
    let env = wasm.member("env").map_or(wasm.at, |env| env.at);
    for name in review::lacking_variables(&found) {
        let text = format!(
            "env.hostKeys: lacks `{}`: the filter rejects its document; proxies keep the previous \
             one, and new proxies respond with 503; add the name",
            name.escape_debug()
        );
        found.remark(env, false, text);
    }
    Some(found)
}

/// The use of a dynamic module, if it is this filter.
fn module_use(module: &Node, object: &Rc<Object>) -> Option<Use> {
    let mut found = use_of(module, &[&["name"]], "dynamic module", object)?;
    // It has all variables of the proxy, which must have those of the document.
    found.variables = Variables::Some { values: BTreeMap::new(), of_host: BTreeSet::new() };
    let of_host = review::lacking_variables(&found);
    found.variables = Variables::Some { values: BTreeMap::new(), of_host };
    let filter = module.member("filterName");
    if filter.and_then(|filter| filter.value.text()) != Some(FILTER_NAME) {
        let at = filter.map_or(module.at, |filter| filter.at);
        found.remark(at, true, "filterName: the filter of this module is `oauth2`");
    }
    Some(found)
}

/// The name of the filter in the dynamic module.
const FILTER_NAME: &str = "oauth2";

/// The use of an extension, if it is this filter: by one of these names, or by its document.
fn use_of(extension: &Node, names: &[&[&str]], form: &str, object: &Rc<Object>) -> Option<Use> {
    let mut found = match extension.get("config") {
        Some(document) => Use::of_tree(document, Dialect::Kubernetes),
        None => Use::new(extension.at, Vec::new()),
    };
    let mut names = names.iter().filter_map(|names| extension.path(names)?.text());
    if !names.any(is_our_name) && !found.is_ours_by_document() {
        return None;
    }
    found.within = object.title();
    if let Some(name) = extension.get("name").and_then(Node::text) {
        found.within = format!("{}, {form} {}", found.within, name.escape_debug());
    }
    found.platform = Platform::EnvoyGateway;
    found.object = Some(Rc::clone(object));
    if found.has("inbound") {
        for target in targets(&object.spec).iter().filter(|target| target.is_route()) {
            let text = format!(
                "a policy of {} with `inbound` fails open: until Envoy has accepted and loaded the \
                 filter, and for good if it rejects it, requests are forwarded without a check; \
                 target the Gateway",
                target.kind.escape_debug()
            );
            found.remark(target.at, false, text);
        }
    }
    Some(found)
}

/// A target of a policy.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) at: Position,
    pub(crate) kind: String,
    by: By,
    /// The listener of a Gateway, or the rule of a route, if it is only for that one.
    section: Option<String>,
}

/// How a policy identifies its target.
#[derive(Debug, Eq, PartialEq)]
enum By {
    Name(String),
    Labels(BTreeMap<String, String>),
}

impl Target {
    /// Whether it is a route or several.
    pub(crate) fn is_route(&self) -> bool {
        self.kind.ends_with("Route")
    }

    /// Whether a policy in this namespace targets an object, or a part of it.
    pub(crate) fn is(&self, namespace: &str, object: &Object) -> bool {
        let is_selected = match &self.by {
            By::Name(name) => object.name == *name,
            By::Labels(labels) => object.has_labels(labels),
        };
        is_selected && self.kind == object.kind && namespace == object.namespace
    }

    /// The names of the targets, as far as known from these objects.
    pub(crate) fn names(&self, namespace: &str, objects: &[Rc<Object>]) -> BTreeSet<String> {
        match &self.by {
            By::Name(name) => BTreeSet::from([name.clone()]),
            By::Labels(_) => {
                let selected = objects.iter().filter(|object| self.is(namespace, object));
                selected.map(|object| object.name.clone()).collect()
            }
        }
    }

    /// Whether it is not for another part of the target, and not for only a part of it.
    pub(crate) fn has_section_of(&self, other: &Self) -> bool {
        self.section.is_none() || self.section == other.section
    }

    /// Whether it is written as another one.
    pub(crate) fn is_written_as(&self, other: &Self) -> bool {
        self.kind == other.kind && self.by == other.by
    }

    /// Its name in messages.
    pub(crate) fn title(&self) -> String {
        match &self.by {
            By::Name(name) => format!("{} {}", self.kind, name.escape_debug()),
            By::Labels(_) => format!("the selected {}", self.kind),
        }
    }
}

/// The targets of a policy.
pub(crate) fn targets(spec: &Node) -> Vec<Target> {
    let elements = |name| spec.get(name).map(Node::each).unwrap_or_default();
    let refs = elements("targetRef").iter().chain(elements("targetRefs"));
    let text = |node: &Node, name| node.get(name).and_then(Node::text).map(str::to_owned);
    let target = |node: &Node, by| {
        let kind = text(node, "kind").unwrap_or_default();
        Target { at: node.at, kind, by, section: text(node, "sectionName") }
    };
    let named = refs.map(|node| target(node, By::Name(text(node, "name").unwrap_or_default())));
    let selected = elements("targetSelectors").iter().map(|node| {
        let labels = node.get("matchLabels").map(labels_of).unwrap_or_default();
        target(node, By::Labels(labels))
    });
    named.chain(selected).collect()
}
