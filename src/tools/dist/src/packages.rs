//! Which packages are linked into what is published.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{build::Build, output, read};

/// A package: the filter, or one that is linked into it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) description: Option<String>,
    license: Option<String>,
    pub(crate) repository: Option<String>,
    /// The manifest; the licences are beside it.
    pub(crate) manifest_path: PathBuf,
}

impl Package {
    /// The licence as an SPDX expression. Older manifests have a slash for OR.
    pub(crate) fn licence(&self) -> Result<String, String> {
        let licence = self.license.as_deref().ok_or_else(|| {
            format!("{} {} names no licence: may it be given on?", self.name, self.version)
        })?;
        let ways: Vec<&str> = licence.split('/').map(str::trim).collect();
        Ok(ways.join(" OR "))
    }

    /// The name that bills of materials have for it (package URL).
    pub(crate) fn url(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version.replace('+', "%2B"))
    }

    fn key(&self) -> Key {
        (self.name.clone(), self.version.clone())
    }
}

/// Name and version of a package.
type Key = (String, String);

/// The packages that are linked into a module, and what each needs.
///
/// `cargo metadata` knows only what the whole workspace needs, with its tests and all features
/// that they switch on; `cargo tree` knows what this build needs.
#[derive(Debug)]
pub(crate) struct Linked {
    pub(crate) build: &'static Build,
    /// The filter itself.
    pub(crate) filter: Package,
    packages: BTreeMap<Key, Package>,
    needs: BTreeMap<Key, BTreeSet<Key>>,
    checksums: BTreeMap<Key, String>,
    /// The folder of the project.
    pub(crate) root: PathBuf,
}

impl Linked {
    /// Asks Cargo, in the folder of the project.
    pub(crate) fn into(build: &'static Build) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Metadata {
            workspace_root: PathBuf,
            packages: Vec<Package>,
        }
        let metadata =
            ["metadata", "--locked", "--format-version", "1", "--filter-platform", build.target];
        let Metadata { workspace_root: root, packages } =
            serde_json::from_str(&output("cargo", &metadata)?)
                .map_err(|error| format!("cargo metadata: {error}"))?;
        // What only builds it, macros among that, leaves nothing of its own in it.
        let tree: Vec<&str> =
            "tree --locked --edges normal,no-proc-macro --no-dedupe --prefix depth"
                .split(' ')
                .chain(["--format", " {p}", "--package", build.package, "--target", build.target])
                .collect();
        let needs = needs(&output("cargo", &tree)?)?;
        let packages: BTreeMap<_, _> = packages
            .into_iter()
            .map(|package| (package.key(), package))
            .filter(|(key, _)| needs.contains_key(key))
            .collect();
        if packages.len() != needs.len() {
            return Err("cargo metadata does not know all that cargo tree does".to_owned());
        }
        let filter = packages.values().find(|package| package.name == build.package);
        let filter = filter.ok_or_else(|| format!("no {} here", build.package))?.clone();
        let lock = read(&Path::new(&root).join("Cargo.lock"))?;
        let checksums = checksums(&String::from_utf8_lossy(&lock));
        Ok(Self { build, filter, packages, needs, checksums, root })
    }

    /// All but the filter itself, by name.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Package> {
        self.packages.values().filter(|package| package.name != self.filter.name)
    }

    /// What this package needs, by name.
    pub(crate) fn needs(&self, package: &Package) -> impl Iterator<Item = &Package> {
        let needs = self.needs.get(&package.key());
        needs.into_iter().flatten().filter_map(|key| self.packages.get(key))
    }

    /// The SHA-256 of the file that this package came in.
    pub(crate) fn checksum(&self, package: &Package) -> Option<&str> {
        self.checksums.get(&package.key()).map(String::as_str)
    }
}

/// Reads lines such as `2 serde v1.0.0`: each is needed by the nearest one above with a smaller
/// number.
fn needs(tree: &str) -> Result<BTreeMap<Key, BTreeSet<Key>>, String> {
    let mut needs: BTreeMap<Key, BTreeSet<Key>> = BTreeMap::new();
    let mut above: Vec<Key> = Vec::new();
    for line in tree.lines() {
        let read = || {
            let mut words = line.split_whitespace();
            let (depth, name) = (words.next()?.parse().ok()?, words.next()?.to_owned());
            Some((depth, (name, words.next()?.strip_prefix('v')?.to_owned())))
        };
        let (depth, key) = read().ok_or_else(|| format!("cargo tree: cannot read {line:?}"))?;
        above.truncate(depth);
        if let Some(parent) = above.last() {
            needs.entry(parent.clone()).or_default().insert(key.clone());
        }
        needs.entry(key.clone()).or_default();
        above.push(key);
    }
    Ok(needs)
}

/// The checksums that a lock file names.
fn checksums(lock: &str) -> BTreeMap<Key, String> {
    let package = |text: &str| {
        let value = |key: &str| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
            Some(value.trim_matches('"').to_owned())
        };
        Some(((value("name")?, value("version")?), value("checksum")?))
    };
    lock.split("[[package]]").filter_map(package).collect()
}
