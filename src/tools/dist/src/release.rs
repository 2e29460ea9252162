//! The folder with all that a release has.

use std::{fmt::Write, path::Path};

use crate::{
    bill_of_materials::bill_of_materials,
    image::Image,
    licences::licences,
    output,
    packages::Linked,
    read, renew, sha256,
    source::{Source, compiler},
    write,
};

/// The checksums, which `sha256sum --check` reads.
const CHECKSUMS: &str = "SHA256SUMS";

/// Writes the image of a module as an image layout.
pub fn image(module: &Path, folder: &Path) -> Result<String, String> {
    let (module, linked) = (self::module(module)?, Linked::here()?);
    compiler()?;
    let image = packed(&module, &linked, &Source::here()?)?;
    image.write_layout(folder)?;
    let (folder, name, version) = (folder.display(), &linked.filter.name, &linked.filter.version);
    Ok(format!(
        "{folder}: {name} {version}, {}\n\
         push it: skopeo copy oci:{folder}:{version} docker://REGISTRY/{name}:{version}\n",
        image.digest
    ))
}

/// Gathers module, image, bill of materials, licences, schema and checksums in the folder. What
/// is missing is told on standard error.
pub fn gather(module: &Path, folder: &Path) -> Result<String, String> {
    let (module, linked) = (self::module(module)?, Linked::here()?);
    let source = Source::here()?;
    let image = packed(&module, &linked, &source)?;
    let archive = image.archive().map_err(|error| format!("the image: {error}"))?;
    let materials = bill_of_materials(&linked, &compiler()?, &source, &sha256(&module))?;
    let mut files = vec![
        ("wasm", module),
        ("oci.tar", archive),
        ("cdx.json", materials.into_bytes()),
        ("licences.txt", licences(&linked)?.into_bytes()),
    ];
    // The notices of the standard library, which rustup's Rust has.
    let sysroot = output("rustc", &["--print", "sysroot"])?;
    let notices = Path::new(&sysroot).join("share/doc/rust/COPYRIGHT-library.html");
    for (extension, path) in
        [("licences-of-rust.html", notices), ("schema.json", linked.root.join("envoy/schema.json"))]
    {
        match read(&path) {
            Ok(bytes) => files.push((extension, bytes)),
            Err(error) => eprintln!("note: {error}: the release has no {extension}"),
        }
    }
    renew(folder, CHECKSUMS)?;
    files.sort_by_key(|(extension, _)| *extension);
    let mut checksums = String::new();
    for (extension, bytes) in files {
        let name = format!("oauth2_filter-{}.{extension}", linked.filter.version);
        let _ = writeln!(checksums, "{}  {name}", sha256(&bytes));
        write(&folder.join(name), bytes)?;
    }
    write(&folder.join(CHECKSUMS), &checksums)?;
    Ok(format!("{}:\n{checksums}image: {}\n", folder.display(), image.digest))
}

fn packed(module: &[u8], linked: &Linked, source: &Source) -> Result<Image, String> {
    let image = Image::new(module, &linked.filter, source);
    image.map_err(|error| format!("the image: {error}"))
}

/// The module as `make build` leaves it.
fn module(path: &Path) -> Result<Vec<u8>, String> {
    let module = read(path).map_err(|error| format!("{error}: run `make build` first"))?;
    if !module.starts_with(b"\0asm") {
        return Err(format!("{} is no WebAssembly module: run `make build`", path.display()));
    }
    Ok(module)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeSet, HashSet},
        env, fs,
    };

    use serde_json::Value;

    use super::*;
    use crate::bill_of_materials::{RUST, WASI_LIBC};

    /// The smallest module there is.
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    /// Gathers a release, and reads what is in it.
    fn release(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let module = folder.join("module.wasm");
        write(&module, MODULE).unwrap();
        let folder = folder.join("dist");
        gather(&module, &folder).unwrap();
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
        let (_, bytes) = files.iter().find(|(name, _)| name.ends_with(end)).unwrap();
        String::from_utf8(bytes.clone()).unwrap()
    }

    #[test]
    fn a_release_is_the_same_each_time_and_names_nothing_of_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let files = release(folder.path());
        assert_eq!(release(folder.path()), files);
        let home = format!("{}/.", env::var("HOME").unwrap());
        let workspace = Linked::here().unwrap().root;
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
        for part in ["wasm", "oci.tar", "cdx.json", "licences.txt"] {
            assert!(files.iter().any(|(name, _)| name.ends_with(part)), "{part}");
        }
    }

    #[test]
    fn the_bill_names_what_is_linked_and_where_it_comes_from() {
        let folder = tempfile::tempdir().unwrap();
        let bill: Value = serde_json::from_str(&text(&release(folder.path()), "cdx.json")).unwrap();
        let filter = &bill["metadata"]["component"];
        assert_eq!(filter["hashes"][0]["content"], sha256(MODULE));
        let components = bill["components"].as_array().unwrap();
        let named = |name: &str| components.iter().find(|component| component["name"] == name);
        // Linked; a macro; for tests alone; for another system alone.
        assert!(named("serde_json").is_some());
        for other in ["prost-derive", "tokio", "libc", "walrus"] {
            assert_eq!(named(other), None);
        }
        for component in components {
            let fetched = component["hashes"][0]["content"].as_str().map(str::len) == Some(64);
            let comes_with_rust = component["name"] == RUST || component["name"] == WASI_LIBC;
            let name = component["name"].as_str().unwrap();
            let is_here = name.starts_with("oauth2-filter-");
            assert!(fetched != (comes_with_rust || is_here), "{component}");
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

    #[test]
    fn every_package_of_the_bill_has_its_licence_in_the_text() {
        let folder = tempfile::tempdir().unwrap();
        let files = release(folder.path());
        let bill: Value = serde_json::from_str(&text(&files, "cdx.json")).unwrap();
        let licences = text(&files, "licences.txt");
        let (_, sections) = licences.split_once("\n====").unwrap();
        let (mut titles, mut lines) = (BTreeSet::new(), sections.lines());
        while let Some(line) = lines.next() {
            if line.starts_with("====") {
                titles.extend(lines.next().unwrap_or_default().split(", "));
            }
        }
        for component in bill["components"].as_array().unwrap() {
            let title = match (component["name"].as_str().unwrap(), component["version"].as_str()) {
                // In a page of its own.
                (RUST, _) => continue,
                (name, None) => name.to_owned(),
                (name, Some(version)) => format!("{name} {version}"),
            };
            assert!(titles.contains(title.as_str()), "{title}: {titles:?}");
        }
    }
}
