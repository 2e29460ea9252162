//! What is linked into the module, as `CycloneDX` 1.6 (ECMA-424) has it in JSON.

use serde_json::{Value, json};

use crate::{
    packages::{Linked, Package},
    source::Source,
};

/// The bill of materials of the module with this SHA-256.
///
/// Without a serial number, which would have to be another one each time.
pub(crate) fn bill_of_materials(
    linked: &Linked,
    (version, commit): &(String, String),
    source: &Source,
    module: &str,
) -> Result<String, String> {
    let filter = &linked.filter;
    let [rust, c] = standard_libraries(version, commit);
    let (rust_url, c_url) = (rust["bom-ref"].clone(), c["bom-ref"].clone());
    let needs = |package: &Package| {
        let needs = linked.needs(package).map(|needed| Value::from(needed.url()));
        json!({
            "ref": package.url(),
            "dependsOn": needs.chain([rust_url.clone()]).collect::<Vec<_>>(),
        })
    };
    let mut components = Vec::new();
    for package in linked.others() {
        components.push(component(package, "library", linked.checksum(package))?);
    }
    components.extend([rust, c]);
    let mut metadata = json!({
        "lifecycles": [{"phase": "build"}],
        "tools": {"components": [{
            "type": "application",
            "name": "rustc",
            "version": version,
            "properties": [{"name": "commit", "value": commit}],
        }]},
        "component": component(filter, "application", Some(module))?,
    });
    if let Some(time) = &source.time {
        metadata["timestamp"] = time.as_str().into();
    }
    if let Some(revision) = &source.revision {
        metadata["component"]["properties"] = json!([{"name": "commit", "value": revision}]);
    }
    let mut dependencies: Vec<Value> =
        [filter].into_iter().chain(linked.others()).map(needs).collect();
    dependencies.push(json!({"ref": rust_url, "dependsOn": [c_url]}));
    let document = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": dependencies,
    });
    Ok(format!("{document:#}\n"))
}

fn component(package: &Package, kind: &str, sha256: Option<&str>) -> Result<Value, String> {
    let mut component = json!({
        "type": kind,
        "bom-ref": package.url(),
        "name": package.name,
        "version": package.version,
        "licenses": [{"expression": package.licence()?}],
        "purl": package.url(),
    });
    if let Some(description) = &package.description {
        component["description"] = description.trim().into();
    }
    if let Some(sha256) = sha256 {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sha256}]);
    }
    if let Some(repository) = &package.repository {
        component["externalReferences"] = json!([{"type": "vcs", "url": repository}]);
    }
    Ok(component)
}

/// What comes compiled with the compiler: no package of Cargo's, and no file of its own.
fn standard_libraries(version: &str, commit: &str) -> [Value; 2] {
    let url = format!("pkg:generic/rust-std@{version}");
    let rust = json!({
        "type": "library",
        "bom-ref": url,
        "name": RUST,
        "version": version,
        "description": "The standard library of Rust, as it comes compiled for wasm32-wasip1",
        "licenses": [{"expression": "MIT OR Apache-2.0"}],
        "purl": url,
        "externalReferences": [{"type": "vcs", "url": "https://github.com/rust-lang/rust"}],
        "properties": [{"name": "commit", "value": commit}],
    });
    let c = json!({
        "type": "library",
        "bom-ref": "pkg:generic/wasi-libc",
        "name": WASI_LIBC,
        "description": "The C library of WASI, as it comes with the standard library of Rust",
        "licenses": [{"expression":
            "(Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT) AND BSD-2-Clause AND CC0-1.0"}],
        "purl": "pkg:generic/wasi-libc",
        "externalReferences": [{"type": "vcs", "url": "https://github.com/WebAssembly/wasi-libc"}],
    });
    [rust, c]
}

/// The name of Rust's standard library.
pub(crate) const RUST: &str = "rust-std";

/// The name of the C library in it.
pub(crate) const WASI_LIBC: &str = "wasi-libc";
