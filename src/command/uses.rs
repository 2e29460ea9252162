//! The uses of the filter in a file, and the document of each.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::Value;

use crate::json_text;
use crate::keys::{self, ASSUMED};
use crate::objects::Object;
use crate::tree::{Dialect, Kind, Node, Position, Written};

/// A use of the filter.
#[derive(Debug)]
pub(crate) struct Use {
    /// The location in words, such as `listener inbound, filter oauth2`; empty for a document
    /// alone.
    pub(crate) within: String,
    /// Its position in the file.
    pub(crate) at: Position,
    /// The configuration, as the filter receives it from the host.
    pub(crate) bytes: Vec<u8>,
    /// The document with positions, if known.
    pub(crate) tree: Option<Node>,
    /// The position of its text, if verbatim, and the indentation of each further line.
    text: Option<(Position, usize)>,
    /// The environment variables of the VM.
    pub(crate) variables: Variables,
    /// Errors and warnings about the configuration around the document.
    pub(crate) remarks: Vec<Remark>,
    /// The clusters of the proxy, if the file contains all of them.
    pub(crate) clusters: Option<Rc<BTreeSet<String>>>,
    /// The cluster whose filter chain contains it.
    pub(crate) own_cluster: Option<String>,
    /// What configures the proxy.
    pub(crate) platform: Platform,
    /// The object of a manifest that contains it, if not a patch.
    pub(crate) object: Option<Rc<Object>>,
}

/// What configures a proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Platform {
    /// Files, or an unknown control plane.
    Envoy,
    Istio,
    EnvoyGateway,
}

/// A remark on a use.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Remark {
    pub(crate) at: Position,
    /// Whether the host rejects it.
    pub(crate) is_mistake: bool,
    pub(crate) text: String,
}

/// The contents of a file.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// The uses of the filter.
    pub(crate) uses: Vec<Use>,
    /// Remarks on the file itself.
    pub(crate) remarks: Vec<Remark>,
    /// Missing settings of an Istio mesh, in case the filter checks paths.
    pub(crate) of_mesh: Vec<Remark>,
    /// The objects of manifests.
    pub(crate) objects: Vec<Rc<Object>>,
}

/// The environment variables of a VM.
#[derive(Clone, Debug)]
pub(crate) enum Variables {
    /// All variables of the proxy, which are unknown.
    All,
    Some {
        /// Variables with a given value.
        values: BTreeMap<String, String>,
        /// Variables of the proxy.
        of_host: BTreeSet<String>,
    },
}

impl Use {
    /// A document alone.
    pub(crate) fn new(at: Position, bytes: Vec<u8>) -> Self {
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
            platform: Platform::Envoy,
            object: None,
        }
    }

    /// A document that is the whole of a JSON file.
    pub(crate) fn of_file(text: &str) -> Self {
        let tree = json_text::read(text, Position::START);
        let text_at = Some((Position::START, 0));
        Self { tree, text: text_at, ..Self::new(Position::START, text.as_bytes().to_vec()) }
    }

    /// A document that is an object in another file.
    pub(crate) fn of_tree(node: &Node, dialect: Dialect) -> Self {
        let value = node.to_json(dialect);
        let is_empty = value.as_object().is_some_and(serde_json::Map::is_empty);
        // An empty message has no bytes.
        let bytes = if is_empty { Vec::new() } else { value.to_string().into_bytes() };
        Self { tree: Some(node.clone()), ..Self::new(node.at, bytes) }
    }

    /// A document that is a string in another file.
    pub(crate) fn of_text(node: &Node) -> Self {
        let text = node.text().unwrap_or_default();
        let mut this = Self::new(node.at, text.as_bytes().to_vec());
        if let Kind::String(_, Written::AsIs { from, indent }) = &node.kind {
            this.text = Some((*from, *indent));
            this.tree = json_text::read(text, Position::START);
        }
        this
    }

    /// The position of a message of the filter. A message about invalid JSON ends with a line and a
    /// column.
    pub(crate) fn find(&self, place: &str, said: &str) -> Position {
        let in_text = if place.is_empty() { text_position(said) } else { None };
        match (&self.tree, self.text) {
            (Some(tree), None) => tree.find(place),
            (Some(tree), Some(text)) => in_file(in_text.unwrap_or_else(|| tree.find(place)), text),
            (None, Some(text)) => in_text.map_or(self.at, |at| in_file(at, text)),
            (None, None) => self.at,
        }
    }

    /// The use with placeholders instead of the secrets at these paths.
    pub(crate) fn without_secrets(&self, places: &[String]) -> Option<Self> {
        // On one line, no two values begin at the same position.
        let document = self.document()?;
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

    /// Whether it is a document without the configuration of a proxy around it.
    pub(crate) fn is_alone(&self) -> bool {
        matches!(self.variables, Variables::All)
    }

    /// The document, if it is valid JSON.
    pub(crate) fn document(&self) -> Option<Value> {
        serde_json::from_slice(&self.bytes).ok()
    }

    /// Whether the document has this direction: `inbound` or `outbound`.
    pub(crate) fn has(&self, direction: &str) -> bool {
        self.document().is_some_and(|document| document.get(direction).is_some())
    }

    /// Whether the document looks like one of this filter.
    pub(crate) fn is_ours_by_document(&self) -> bool {
        let document = self.document();
        ["inbound", "outbound"].into_iter().any(|key| match &document {
            Some(document) => document.get(key).is_some(),
            // The document may be invalid JSON.
            None => String::from_utf8_lossy(&self.bytes).contains(&format!("\"{key}\"")),
        })
    }

    /// Adds a remark.
    pub(crate) fn remark(&mut self, at: Position, is_mistake: bool, text: impl Into<String>) {
        self.remarks.push(Remark { at, is_mistake, text: text.into() });
    }
}

/// The position at the end of a message about JSON text.
fn text_position(said: &str) -> Option<Position> {
    let (_, at) = said.rsplit_once(" at line ")?;
    let (line, column) = at.split_once(" column ")?;
    Some(Position { line: line.parse().ok()?, column: column.parse().ok()? })
}

/// Converts a position in a text to one in the file that contains it.
pub(crate) fn in_file(at: Position, (from, indent): (Position, usize)) -> Position {
    let line = from.line.saturating_add(at.line).saturating_sub(1);
    let before = if at.line == 1 { from.column.saturating_sub(1) } else { indent };
    Position { line, column: at.column.saturating_add(before) }
}

impl Variables {
    /// The value of a variable. A variable of the proxy is read from the environment if `real`, and
    /// otherwise assumed to be set.
    pub(crate) fn value(&self, name: &str, real: bool) -> Option<String> {
        match self {
            Self::Some { values, .. } if values.contains_key(name) => values.get(name).cloned(),
            Self::Some { of_host, .. } if !of_host.contains(name) => None,
            _ if real => std::env::var(name).ok(),
            _ => Some(ASSUMED.to_owned()),
        }
    }
}
