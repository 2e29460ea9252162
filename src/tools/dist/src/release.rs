//! The folder with all that a release has.

use std::{fmt::Write, path::Path};

use crate::{
    bill_of_materials::bill_of_materials,
    build::{Module, WASM},
    image::Image,
    licences::licences,
    output,
    packages::{Linked, Package},
    read, renew, sha256,
    source::{Source, compiler, linkers},
    write,
};

/// The checksums, which `sha256sum --check` reads.
const CHECKSUMS: &str = "SHA256SUMS";

/// Writes the image of a WebAssembly module, or of dynamic modules, as an image layout.
pub fn image(modules: &[&str], folder: &Path) -> Result<String, String> {
    let modules = self::modules(modules)?;
    let (first, rest) = modules.split_first().ok_or("no module")?;
    if !rest.is_empty() && modules.iter().any(Module::is_wasm) {
        return Err("an image has a WebAssembly module or dynamic modules".to_owned());
    }
    let linked = Linked::into(first.build)?;
    compiler()?;
    let image = packed(&modules, &linked.filter, &Source::here()?)?;
    image.write_layout(folder)?;
    let (folder, name, version) = (folder.display(), &linked.filter.name, &linked.filter.version);
    let all = if first.is_wasm() { "" } else { " --all" };
    Ok(format!(
        "{folder}: {name} {version}, {}\n\
         push it: skopeo copy{all} oci:{folder}:{version} docker://REGISTRY/{name}:{version}\n",
        image.digest
    ))
}

/// Gathers modules, images, bills of materials, licences, schema and checksums in the folder. What
/// is missing is told on standard error.
pub fn gather(modules: &[&str], folder: &Path) -> Result<String, String> {
    let (wasm, native): (Vec<_>, Vec<_>) =
        self::modules(modules)?.into_iter().partition(Module::is_wasm);
    let (source, compiler, linkers) = (Source::here()?, compiler()?, linkers()?);
    let Linked { filter, root, .. } = Linked::into(&WASM)?;
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut told = String::new();
    for (modules, ending) in [(wasm, "oci.tar"), (native, "native.oci.tar")] {
        let mut package = None;
        for module in &modules {
            let (build, linked) = (module.build, Linked::into(module.build)?);
            let linkers: &[_] = if build.by_zig { &linkers } else { &[] };
            let tools = (&compiler, linkers);
            let bill = bill_of_materials(&linked, tools, &source, &sha256(&module.bytes))?;
            files.push((build.ending.to_owned(), module.bytes.clone()));
            files.push((format!("{}cdx.json", build.about), bill.into_bytes()));
            files.push((format!("{}licences.txt", build.about), licences(&linked)?.into_bytes()));
            package = Some(linked.filter);
        }
        let Some(package) = package else { continue };
        let image = packed(&modules, &package, &source)?;
        let archive = image.archive().map_err(|error| format!("the image: {error}"))?;
        files.push((ending.to_owned(), archive));
        let _ = writeln!(told, "image: {} ({ending})", image.digest);
    }
    // The notices of the standard library, which rustup's Rust has.
    let sysroot = output("rustc", &["--print", "sysroot"])?;
    let notices = Path::new(&sysroot).join("share/doc/rust/COPYRIGHT-library.html");
    for (extension, path) in
        [("licences-of-rust.html", notices), ("schema.json", root.join("envoy/schema.json"))]
    {
        match read(&path) {
            Ok(bytes) => files.push((extension.to_owned(), bytes)),
            Err(error) => eprintln!("note: {error}: the release has no {extension}"),
        }
    }
    renew(folder, CHECKSUMS)?;
    files.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut checksums = String::new();
    for (extension, bytes) in files {
        let name = format!("oauth2_filter-{}.{extension}", filter.version);
        let _ = writeln!(checksums, "{}  {name}", sha256(&bytes));
        write(&folder.join(name), bytes)?;
    }
    write(&folder.join(CHECKSUMS), &checksums)?;
    Ok(format!("{}:\n{checksums}{told}", folder.display()))
}

fn packed(modules: &[Module], package: &Package, source: &Source) -> Result<Image, String> {
    let image = Image::new(modules, package, source);
    image.map_err(|error| format!("the image: {error}"))
}

/// The modules as `make build` and `make native` leave them.
fn modules(paths: &[&str]) -> Result<Vec<Module>, String> {
    paths.iter().map(|path| Module::read(Path::new(path))).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeSet, HashSet},
        env, fs,
    };

    use serde_json::Value;

    use super::*;
    use crate::bill_of_materials::RUST;

    /// The smallest WebAssembly module there is.
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    /// The beginnings of dynamic modules.
    const X86_64: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0";
    const AARCH64: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0";

    /// How the ends of the files about each module begin.
    const ABOUT: [(&str, &[u8]); 3] = [("", MODULE), ("x86_64.", X86_64), ("aarch64.", AARCH64)];

    /// Gathers a release, and reads what is in it.
    fn release(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let modules = [MODULE, X86_64, AARCH64].map(|module| {
            let path = folder.join(sha256(module));
            write(&path, module).unwrap();
            path
        });
        let folder = folder.join("dist");
        gather(&modules.each_ref().map(|path| path.to_str().unwrap()), &folder).unwrap();
        let mut files: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    fn text(files: &[(String, Vec<u8>)], end: &str) -> String {
        let name = match end {
            CHECKSUMS => end.to_owned(),
            end => format!("oauth2_filter-{}.{end}", env!("CARGO_PKG_VERSION")),
        };
        let (_, bytes) = files.iter().find(|(file, _)| *file == name).expect(&name);
        String::from_utf8(bytes.clone()).unwrap()
    }

    #[test]
    fn a_release_is_the_same_each_time_and_names_nothing_of_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let files = release(folder.path());
        assert_eq!(release(folder.path()), files);
        let home = format!("{}/.", env::var("HOME").unwrap());
        let workspace = Linked::into(&WASM).unwrap().root;
        for folder in [home.as_str(), workspace.to_str().unwrap()] {
            for (name, bytes) in &files {
                let found = bytes.windows(folder.len()).any(|part| part == folder.as_bytes());
                assert!(!found, "{folder} in {name}");
            }
        }
    }

    #[test]
    fn the_checksums_are_those_of_all_files() {
        let folder = tempfile::tempdir().unwrap();
        let files = release(folder.path());
        let listed: Vec<String> = text(&files, CHECKSUMS).lines().map(str::to_owned).collect();
        let sum = |(name, bytes): &(String, Vec<u8>)| format!("{}  {name}", sha256(bytes));
        let others = files.iter().filter(|(name, _)| name != CHECKSUMS);
        assert_eq!(listed, others.map(sum).collect::<Vec<_>>());
        for part in ["wasm", "x86_64.so", "aarch64.so", "oci.tar", "native.oci.tar"] {
            let name = format!("oauth2_filter-{}.{part}", env!("CARGO_PKG_VERSION"));
            assert!(files.iter().any(|(file, _)| *file == name), "{name}");
        }
    }

    #[test]
    fn the_bills_name_what_is_linked_and_where_it_comes_from() {
        let folder = tempfile::tempdir().unwrap();
        let files = release(folder.path());
        for (about, module) in ABOUT {
            let bill: Value =
                serde_json::from_str(&text(&files, &format!("{about}cdx.json"))).unwrap();
            let filter = &bill["metadata"]["component"];
            assert_eq!(filter["hashes"][0]["content"], sha256(module));
            let components = bill["components"].as_array().unwrap();
            let named = |name: &str| components.iter().find(|component| component["name"] == name);
            // Linked; macros and what is for tests alone; for other systems alone.
            assert!(named("serde_json").is_some());
            for other in ["prost-derive", "tokio", "walrus"] {
                assert_eq!(named(other), None);
            }
            let is_native = module != MODULE;
            for native in ["libc", "libunwind", "ring"] {
                assert_eq!(named(native).is_some(), is_native, "{native}");
            }
            assert_ne!(named("wasi-libc").is_some(), is_native);
            let tools = bill["metadata"]["tools"]["components"].as_array().unwrap();
            assert_eq!(tools.iter().any(|tool| tool["name"] == "zig"), is_native);
            for component in components {
                let fetched = component["hashes"][0]["content"].as_str().map(str::len) == Some(64);
                let is_part =
                    component["purl"].as_str().is_some_and(|url| url.starts_with("pkg:generic/"));
                let name = component["name"].as_str().unwrap();
                let is_here = name.starts_with("oauth2-filter-");
                assert!(fetched != (is_part || is_here), "{component}");
            }
            let references: HashSet<&Value> =
                components.iter().chain([filter]).map(|component| &component["bom-ref"]).collect();
            for dependency in bill["dependencies"].as_array().unwrap() {
                assert!(references.contains(&dependency["ref"]));
                for needed in dependency["dependsOn"].as_array().unwrap() {
                    assert!(references.contains(needed), "{needed}");
                }
            }
        }
    }

    #[test]
    fn every_package_of_a_bill_has_its_licence_in_the_text() {
        let folder = tempfile::tempdir().unwrap();
        let files = release(folder.path());
        for (about, _) in ABOUT {
            let bill: Value =
                serde_json::from_str(&text(&files, &format!("{about}cdx.json"))).unwrap();
            let licences = text(&files, &format!("{about}licences.txt"));
            let (_, sections) = licences.split_once("\n====").unwrap();
            let (mut titles, mut lines) = (BTreeSet::new(), sections.lines());
            while let Some(line) = lines.next() {
                if line.starts_with("====") {
                    titles.extend(lines.next().unwrap_or_default().split(", "));
                }
            }
            for component in bill["components"].as_array().unwrap() {
                let name = component["name"].as_str().unwrap();
                let title = match component["version"].as_str() {
                    // In a page of its own.
                    _ if name == RUST => continue,
                    None => name.to_owned(),
                    Some(version) => format!("{name} {version}"),
                };
                assert!(titles.contains(title.as_str()), "{title}: {titles:?}");
            }
        }
    }

    #[test]
    fn a_file_that_is_no_module_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("module.so");
        let mut other_machine = X86_64.to_vec();
        other_machine[18] = 3;
        for bytes in [&b"#!/bin/sh"[..], &other_machine, &X86_64[..4]] {
            write(&path, bytes).unwrap();
            let error = gather(&[path.to_str().unwrap()], &folder.path().join("dist")).unwrap_err();
            assert!(error.contains("is no module"), "{error}");
        }
    }
}
