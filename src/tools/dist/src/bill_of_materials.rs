//! What is linked into a module, as `CycloneDX` 1.6 (ECMA-424) has it in JSON.

use serde_json::{Value, json};

use crate::{
    packages::{Linked, Package},
    parts::Part,
    source::{Source, Tool},
};

/// The bill of materials of the module with this SHA-256, which the compiler and other tools have
/// built.
///
/// Without a serial number, which would have to be another one each time.
pub(crate) fn bill_of_materials(
    linked: &Linked,
    (compiler, others): (&Tool, &[Tool]),
    source: &Source,
    module: &str,
) -> Result<String, String> {
    let filter = &linked.filter;
    let rust = standard_library(compiler, linked.build.target);
    let rust_url = rust["bom-ref"].clone();
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
    components.push(rust);
    components.extend(linked.build.parts.iter().map(part));
    let tools: Vec<Value> = [compiler].into_iter().chain(others).map(tool).collect();
    let mut metadata = json!({
        "lifecycles": [{"phase": "build"}],
        "tools": {"components": tools},
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
    let parts: Vec<String> = linked.build.parts.iter().map(Part::url).collect();
    dependencies.push(json!({"ref": rust_url, "dependsOn": parts}));
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

fn tool(tool: &Tool) -> Value {
    let mut component = json!({"type": "application", "name": tool.name, "version": tool.version});
    if let Some(commit) = &tool.commit {
        component["properties"] = json!([{"name": "commit", "value": commit}]);
    }
    component
}

/// What comes compiled with the compiler: no package of Cargo's, and no file of its own.
fn standard_library(compiler: &Tool, target: &str) -> Value {
    let url = format!("pkg:generic/rust-std@{}", compiler.version);
    json!({
        "type": "library",
        "bom-ref": url,
        "name": RUST,
        "version": compiler.version,
        "description": format!("The standard library of Rust, as it comes compiled for {target}"),
        "licenses": [{"expression": "MIT OR Apache-2.0"}],
        "purl": url,
        "externalReferences": [{"type": "vcs", "url": "https://github.com/rust-lang/rust"}],
        "properties": [{"name": "commit", "value": compiler.commit}],
    })
}

fn part(part: &Part) -> Value {
    json!({
        "type": "library",
        "bom-ref": part.url(),
        "name": part.name,
        "description": part.description,
        "licenses": [{"expression": part.licence}],
        "purl": part.url(),
        "externalReferences": [{"type": "vcs", "url": part.repository}],
    })
}

/// The name of Rust's standard library.
pub(crate) const RUST: &str = "rust-std";
