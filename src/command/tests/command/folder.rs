//! `check` on folders.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::check::document;
use crate::{Ran, file, root, run};

/// A new folder with these files.
fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("command").join(name);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder to write to");
    for (path, text) in files {
        file(&format!("{name}/{path}"), text);
    }
    folder
}

/// Runs `check` with an option on a folder.
fn check(folder: &Path, option: &str) -> Ran {
    run(["check".as_ref(), option.as_ref(), folder.as_os_str()])
}

#[test]
fn the_files_of_a_folder_are_checked_in_order_as_kubectl_applies_them() {
    let bad = document(", \"realm\": 1");
    let plugin = "apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
spec: { pluginName: oauth2-filter, match: [{ mode: SERVER }] }
";
    let folder = folder(
        "folder",
        &[
            ("b.yml", plugin),
            ("below/c.yaml", plugin),
            ("a.json", &bad),
            ("z.yaml", "inbound: { realm: 1 }\n"),
            ("notes.txt", &bad),
        ],
    );
    let ran = check(&folder, "--format=json");
    let report: Value = serde_json::from_str(&ran.out).expect("JSON");
    let files = report["files"].as_array().expect("files").iter();
    let files: Vec<&str> = files.map(|file| file["file"].as_str().expect("text")).collect();
    let expected = ["a.json", "b.yml", "z.yaml"].map(|name| folder.join(name));
    assert_eq!(files, expected.each_ref().map(|path| path.to_str().expect("text")));
    assert_eq!(ran.status, 1);
}

#[test]
fn files_of_others_in_a_folder_are_left_alone() {
    let files = [
        ("good.json", &*document("")),
        ("package.json", "{\"name\": \"a\", \"name\": \"b\"}"),
        ("settings.json", "{ // for the editor\n}"),
        ("values.yaml", "replicas: 1\nreplicas: 2\n"),
        ("service.yaml", "apiVersion: v1\nkind: Service\nmetadata: { name: a }\n"),
        ("empty.yaml", ""),
    ];
    let good = folder("others", &files);
    let ran = check(&good, "--strict");
    let expected = format!("{}: no errors, no warnings\n", good.join("good.json").display());
    assert_eq!((ran.out, ran.status), (expected, 0));
    // A check of nothing is no success.
    let none = folder("nothing", &files[1..]);
    let ran = check(&none, "--strict");
    assert_eq!((ran.out.as_str(), ran.status), ("", 2), "{}", ran.err);
}

#[test]
fn what_may_be_of_the_filter_but_cannot_be_read_is_no_success() {
    for (name, text) in [("a.json", "{\"inbound\": {},}"), ("a.yaml", "spec: {{ .Values.a }}\n")] {
        let folder = folder("broken", &[("good.json", &document("")), (name, text)]);
        let ran = check(&folder, "--strict");
        let line = format!("{}:1:", folder.join(name).display());
        assert!(ran.out.starts_with(&line) && ran.out.contains(": error: "), "{}", ran.out);
        assert_eq!(ran.status, 1, "{name}");
    }
}

#[test]
fn the_manifests_to_copy_have_no_findings() {
    let folders = ["envoy/istio", "envoy/istio/wasm-plugin", "envoy/gateway"].map(Path::new);
    for folder in folders.into_iter().filter(|folder| root().join(folder).exists()) {
        let ran = check(folder, "--strict");
        assert_eq!((ran.err.as_str(), ran.status), ("", 0), "{}", ran.out);
        let is_fine = |line: &str| line.ends_with(": no errors, no warnings");
        assert!(ran.out.lines().all(is_fine), "{}", ran.out);
    }
}
