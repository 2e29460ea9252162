//! The contents of a file: documents of the filter, Envoy configurations, or Kubernetes manifests.

use std::ffi::OsStr;
use std::path::Path;

use crate::finder::Finder;
use crate::tree::{Dialect, Kind, Node, Position};
use crate::uses::{Contents, Remark, Use};
use crate::{json_text, manifests, paths, yaml};

/// Reads a file of a folder, in which files that are not of a known form belong to others.
pub(crate) fn read_in_folder(name: &str, text: &str) -> Contents {
    let mut contents = read(name, text);
    contents.uses.retain(|found| !found.is_alone() || found.is_ours_by_document());
    if contents.uses.is_empty() && contents.objects.is_empty() {
        contents.remarks.retain(|remark| remark.is_mistake);
    }
    contents
}

/// Reads a file: JSON if it begins with a brace or has that extension, otherwise YAML. The filter
/// itself reports invalid JSON.
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
        Some((FileKind::Document, _)) => return of_document(text),
        Some(document) => return contents(vec![document], false),
        None if is_json => return of_document(text),
        None => {}
    }
    match yaml::read(text) {
        Ok(documents) => {
            let is_only = documents.len() == 1;
            let documents = documents.into_iter().map(|root| (kind_of(&root), root));
            // In a file with several documents, unknown ones belong to others.
            let documents = documents
                .filter(|(kind, root)| is_only || *kind != FileKind::Document || is_document(root));
            contents(documents.collect(), true)
        }
        Err(error) => {
            let text = format!("invalid YAML: {}", error.why);
            let remarks = vec![Remark { at: error.at, is_mistake: true, text }];
            Contents { remarks, ..Contents::default() }
        }
    }
}

/// A file that is a document in JSON.
fn of_document(text: &str) -> Contents {
    Contents { uses: vec![Use::of_file(text)], ..Contents::default() }
}

/// The kind of a file.
#[derive(Clone, Copy, Eq, PartialEq)]
enum FileKind {
    /// A document of the filter.
    Document,
    /// An Envoy configuration, or a part of one.
    Envoy,
    /// A manifest for Kubernetes.
    Manifest,
    /// The settings of an Istio mesh.
    Mesh,
}

/// Whether this is certainly a document of the filter.
fn is_document(root: &Node) -> bool {
    ["inbound", "outbound"].into_iter().any(|key| root.get(key).is_some())
}

/// The kind of a value of this form.
fn kind_of(root: &Node) -> FileKind {
    /// Top-level names of Envoy configurations.
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
    } else if paths::is_mesh(root) {
        FileKind::Mesh
    } else if ENVOY.into_iter().any(has) || matches!(root.kind, Kind::List(_)) {
        FileKind::Envoy
    } else {
        FileKind::Document
    }
}

/// The uses in all documents of a file.
fn contents(documents: Vec<(FileKind, Node)>, is_yaml: bool) -> Contents {
    let (mut remarks, mut of_mesh) = (Vec::new(), Vec::new());
    if is_yaml {
        for repeated in documents.iter().flat_map(|(_, root)| root.repeated()) {
            let text = format!(
                "duplicate key `{}`; only the last one is used",
                repeated.key.escape_debug()
            );
            remarks.push(Remark { at: repeated.at, is_mistake: false, text });
        }
    }
    let mut finder = Finder::default();
    for (kind, root) in documents {
        match kind {
            FileKind::Document => {
                finder.uses.push(Use::of_tree(&root.merged(), Dialect::Kubernetes));
            }
            FileKind::Envoy => finder.find_in_envoy(&root),
            FileKind::Manifest => {
                let manifest = root.merged();
                of_mesh.extend(paths::lacking_in_mesh(&manifest));
                manifests::find(&mut finder, &manifest);
            }
            FileKind::Mesh => of_mesh.extend(paths::lacking_in_mesh(&root.merged())),
        }
    }
    Contents { uses: finder.uses, objects: finder.objects, remarks, of_mesh }
}
