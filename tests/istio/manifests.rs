//! The objects in `envoy/istio`, as a Kubernetes client reads them.

use std::fs;
use std::path::Path;

use oauth2_filter_testbed::workspace;
use serde_json::Value;

use crate::yaml;

/// The files.
pub const AUTHORIZATION_SERVER: &str = "authorization-server.yaml";
pub const AUTHORIZATION_POLICY: &str = "authorization-policy.yaml";
pub const INBOUND: &str = "inbound.yaml";
pub const OUTBOUND: &str = "outbound.yaml";
pub const OUTBOUND_RETRY: &str = "outbound-retry.yaml";
pub const PROTECTED_SERVICE: &str = "protected-service.yaml";
/// For Istio before 1.30.
pub const INBOUND_PLUGIN: &str = "wasm-plugin/inbound.yaml";
pub const OUTBOUND_PLUGIN: &str = "wasm-plugin/outbound.yaml";

/// All of them: a file that is added to the folder has to be added here.
pub const ALL: [&str; 8] = [
    AUTHORIZATION_POLICY,
    AUTHORIZATION_SERVER,
    INBOUND,
    OUTBOUND_RETRY,
    OUTBOUND,
    PROTECTED_SERVICE,
    INBOUND_PLUGIN,
    OUTBOUND_PLUGIN,
];

/// The objects of a file.
pub fn objects(file: &str) -> Vec<Value> {
    let path = workspace().join("envoy/istio").join(file);
    let text = fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let documents = yaml::documents(&text);
    let documents = documents.unwrap_or_else(|error| panic!("{file}: {error}"));
    assert!(!documents.is_empty(), "{file} is empty");
    documents
}

/// The only object of this kind in a file.
pub fn object(file: &str, kind: &str) -> Value {
    let objects: Vec<_> =
        objects(file).into_iter().filter(|object| object["kind"] == kind).collect();
    let [object] = <[Value; 1]>::try_from(objects).expect("one object of the kind");
    object
}

/// The fields of a `TrafficExtension`, as a `WasmPlugin` has them: those of `wasm` beside the others.
pub fn flattened(extension: &Value) -> Value {
    let mut plugin = extension.clone();
    let wasm = plugin["spec"].as_object_mut().and_then(|spec| spec.remove("wasm"));
    let Some(Value::Object(wasm)) = wasm else { panic!("no `wasm`: {extension}") };
    plugin["spec"].as_object_mut().expect("a spec").extend(wasm);
    plugin["kind"] = "WasmPlugin".into();
    plugin
}

#[test]
fn every_file_of_the_folder_is_tested() {
    let folder = workspace().join("envoy/istio");
    let mut files = files_below(&folder, &folder);
    files.sort();
    assert_eq!(files, {
        let mut all = ALL;
        all.sort_unstable();
        all
    });
}

#[test]
fn what_older_versions_of_istio_take_says_the_same() {
    for (file, older) in [(INBOUND, INBOUND_PLUGIN), (OUTBOUND, OUTBOUND_PLUGIN)] {
        let extension = object(file, "TrafficExtension");
        assert_eq!(flattened(&extension), object(older, "WasmPlugin"), "{file}");
    }
}

/// The files below a folder, as paths from `root`.
fn files_below(folder: &Path, root: &Path) -> Vec<String> {
    let entries = folder.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path());
    let files = entries.flat_map(|path| match path.strip_prefix(root) {
        Ok(file) if path.is_file() => vec![file.to_str().expect("a name").to_owned()],
        _ => files_below(&path, root),
    });
    files.collect()
}
