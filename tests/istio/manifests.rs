//! The objects in `envoy/istio`, as a Kubernetes client reads them.

use std::fs;
use std::path::Path;
use std::process::Command;

use oauth2_filter_testbed::workspace;
use serde_json::Value;

use crate::yaml;

/// The files that tests name.
pub const INBOUND: &str = "inbound.yaml";
pub const OUTBOUND: &str = "outbound.yaml";
pub const AUTHORIZATION_SERVER: &str = "authorization-server.yaml";
pub const OUTBOUND_RETRY: &str = "outbound-retry.yaml";
pub const PROTECTED_SERVICE: &str = "protected-service.yaml";
/// For Istio before 1.30.
pub const INBOUND_PLUGIN: &str = "wasm-plugin/inbound.yaml";
pub const OUTBOUND_PLUGIN: &str = "wasm-plugin/outbound.yaml";

/// All files.
pub fn files() -> Vec<String> {
    let folder = workspace().join("envoy/istio");
    let mut files = files_below(&folder, &folder);
    files.sort();
    files
}

/// The objects that the command prints to start with.
pub fn printed() -> Vec<Value> {
    let command = ["run", "--quiet", "--package", "oauth2-filter-command", "--"];
    let command =
        Command::new(env!("CARGO")).args(command).args(["new", "both", "--istio"]).output();
    let text = String::from_utf8(command.expect("the command runs").stdout).expect("text");
    yaml::documents(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

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
fn what_older_versions_of_istio_take_says_the_same() {
    for (file, older) in [(INBOUND, INBOUND_PLUGIN), (OUTBOUND, OUTBOUND_PLUGIN)] {
        let extension = object(file, "TrafficExtension");
        assert_eq!(flattened(&extension), object(older, "WasmPlugin"), "{file}");
    }
}

#[test]
fn what_the_command_prints_has_the_settings_of_the_manifests() {
    let printed = printed();
    let of_kind = |kind: &'static str| {
        printed.iter().filter(move |object| object["kind"] == kind).map(settings)
    };
    let shipped = [INBOUND, OUTBOUND].map(|file| settings(&object(file, "TrafficExtension")));
    assert_eq!(of_kind("TrafficExtension").collect::<Vec<_>>(), shipped);
    for kind in ["ServiceEntry", "DestinationRule"] {
        let shipped = settings(&object(AUTHORIZATION_SERVER, kind));
        assert_eq!(of_kind(kind).collect::<Vec<_>>(), [shipped]);
    }
}

/// An object without what depends on where it is used: workloads, variables and the document.
fn settings(object: &Value) -> Value {
    let mut settings = object.clone();
    settings["metadata"]["namespace"].take();
    let spec = settings["spec"].as_object_mut().expect("a spec");
    for name in ["selector", "workloadSelector"] {
        spec.remove(name);
    }
    if let Some(wasm) = spec.get_mut("wasm").and_then(Value::as_object_mut) {
        wasm.remove("pluginConfig");
        let variables = wasm["vmConfig"]["env"].as_array_mut().expect("variables");
        for variable in variables {
            variable["name"].take();
        }
    }
    settings
}

#[test]
fn both_ways_out_have_the_same_document() {
    let extension = object(OUTBOUND, "TrafficExtension");
    let filter = object(OUTBOUND_RETRY, "EnvoyFilter");
    let options = &filter["spec"]["configPatches"][0]["patch"]["value"]["typed_extension_protocol_options"]
        ["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"];
    let document = &options["http_filters"][0]["typed_config"]["config"]["configuration"]["value"];
    let document: Value = serde_json::from_str(document.as_str().expect("JSON")).expect("JSON");
    assert_eq!(document, extension["spec"]["wasm"]["pluginConfig"]);
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
