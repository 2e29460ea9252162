//! Checks whether the proxy normalizes paths before the filter. The filter is safe without that: it
//! rejects with 400 what the proxy would have resolved.

use serde_json::Value;

use crate::tree::{Dialect, Kind, Node, Written};
use crate::uses::{Contents, Platform, Remark, Use, in_file};
use crate::yaml;

/// Adds remarks on missing settings of the `HttpConnectionManager`.
pub(crate) fn remark_on_manager(found: &mut Use, manager: &Node) {
    const NORMALIZE: &str = "normalize_path";
    const MERGE: &str = "merge_slashes";
    const ESCAPED: &str = "path_with_escaped_slashes_action";
    let is_true = |name: &str| manager.get(name).is_some_and(Node::is_true);
    let is_gone = manager.get(ESCAPED).is_some_and(leaves_no_escaped_slash);
    let is_kept = keeps_escaped_slashes(found);
    if is_kept && is_gone {
        let at = manager.member(ESCAPED).map_or(manager.at, |member| member.at);
        let text = format!(
            "`{ESCAPED}` rejects or decodes `%2F` before the filter, so that `encoded_slash` has no \
             effect; use KEEP_UNCHANGED"
        );
        found.remark(at, false, text);
    }
    for (name, is_set, wanted, left) in [
        (NORMALIZE, is_true(NORMALIZE), "normalize_path: true", "`/./` and `/../`"),
        (MERGE, is_true(MERGE), "merge_slashes: true", "`//`"),
        (
            ESCAPED,
            is_kept || is_gone,
            "path_with_escaped_slashes_action: REJECT_REQUEST",
            "`%2F` and `%5C`",
        ),
    ] {
        if !is_set {
            let at = manager.member(name).map_or(manager.at, |member| member.at);
            let text = format!(
                "the HttpConnectionManager lacks `{wanted}`: Envoy leaves {left} in paths, and the \
                 filter rejects them with 400 (oauth2_bad_path) if rules have `paths`"
            );
            found.remark(at, false, text);
        }
    }
}

/// Whether no path has an escaped slash with this `path_with_escaped_slashes_action`. In JSON,
/// protobuf accepts the number of an enumerator too.
fn leaves_no_escaped_slash(action: &Node) -> bool {
    match action.to_json(Dialect::Envoy) {
        Value::String(name) => {
            ["REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD"].contains(&&*name)
        }
        number => number.as_u64().is_some_and(|number| (2..=4).contains(&number)),
    }
}

/// Whether the filter checks paths with its document.
pub(crate) fn reads_paths(found: &Use) -> bool {
    let has = |document: &Value| {
        let rules = ["/inbound/rules", "/outbound/rules"].map(|rules| document.pointer(rules));
        let mut rules = rules.into_iter().flatten().filter_map(Value::as_array).flatten();
        rules.any(|rule| rule.get("paths").is_some())
            || document.pointer("/inbound/resource_metadata").is_some()
    };
    found.document().as_ref().is_some_and(has)
}

/// Whether the filter allows escaped slashes with its document.
fn keeps_escaped_slashes(found: &Use) -> bool {
    let keeps = |document: &Value| {
        document.pointer("/inbound/encoded_slash").is_some_and(|value| value == "keep")
    };
    found.document().as_ref().is_some_and(keeps)
}

/// Adds remarks on missing mesh settings, if the filter checks paths according to any of the files.
pub(crate) fn remark_on_meshes(files: &mut [Contents]) {
    let is_concerned = |found: &Use| found.platform == Platform::Istio && reads_paths(found);
    if files.iter().flat_map(|file| &file.uses).any(is_concerned) {
        for file in files {
            file.remarks.append(&mut file.of_mesh);
        }
    }
}

/// Whether this contains the settings of an Istio mesh: Helm values, or a `MeshConfig`.
pub(crate) fn is_mesh(root: &Node) -> bool {
    ["mesh_config", "path_normalization"].into_iter().any(|name| root.get(name).is_some())
}

/// The missing setting of a mesh, in any of the objects that may contain it.
pub(crate) fn lacking_in_mesh(root: &Node) -> Option<Remark> {
    // Istio reads them from a text in a `ConfigMap`.
    if let Some(text) = root.path(&["data", "mesh"])
        && let Kind::String(yaml, written) = &text.kind
    {
        let mesh = yaml::read(yaml).ok()?;
        let remark = mesh.first().and_then(lacking_in_mesh)?;
        let at = match written {
            Written::AsIs { from, indent } => in_file(remark.at, (*from, *indent)),
            Written::Otherwise => text.at,
        };
        return Some(Remark { at, ..remark });
    }
    let ways: [&[&str]; 4] =
        [&[], &["mesh_config"], &["spec", "mesh_config"], &["spec", "values", "mesh_config"]];
    let mut meshes = ways.into_iter().filter_map(|way| root.path(way));
    meshes.find_map(|mesh| lacking(mesh.get("path_normalization")?))
}

/// The missing setting of a `pathNormalization`.
fn lacking(normalization: &Node) -> Option<Remark> {
    let member = normalization.member("normalization")?;
    let left = match member.value.text()? {
        "NONE" => "`/./`, `/../`, `//`, `%2F` and `%5C`",
        "BASE" | "DEFAULT" => "`//`, `%2F` and `%5C`",
        _ => return None,
    };
    let text = format!(
        "pathNormalization: Istio leaves {left} in paths, and the filter rejects them with 400 \
         (oauth2_bad_path) if rules have `paths`; use DECODE_AND_MERGE_SLASHES"
    );
    Some(Remark { at: member.at, is_mistake: false, text })
}
