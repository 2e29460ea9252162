//! Which packages are linked into the module.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    output,
    package::{FILTER, Package, TARGET, Workspace},
    read,
};

/// The packages linked into the module, including the filter, and their dependencies.
///
/// `cargo metadata` reports the dependencies of the whole workspace, including tests and their
/// features; `cargo tree` reports those of this build.
#[derive(Debug)]
pub(crate) struct Linked {
    packages: BTreeMap<Key, Package>,
    needs: BTreeMap<Key, BTreeSet<Key>>,
    checksums: BTreeMap<Key, String>,
}

/// Name and version of a package.
type Key = (String, String);

impl Linked {
    pub(crate) fn packages(workspace: &Workspace) -> Result<Self, String> {
        let tree = output(
            "cargo",
            &[
                "tree",
                "--locked",
                "--package",
                FILTER,
                "--target",
                TARGET,
                // Build dependencies and macros are not linked.
                "--edges",
                "normal,no-proc-macro",
                "--no-dedupe",
                "--prefix",
                "depth",
                "--format",
                " {p}",
            ],
        )?;
        let needs = needs(&tree)?;
        let package = |key: &Key| {
            let mut packages = workspace.packages.iter();
            let package =
                packages.find(|package| package.name == key.0 && package.version == key.1);
            let package = package.ok_or_else(|| format!("cargo metadata has no {key:?}"))?;
            Ok((key.clone(), package.clone()))
        };
        let packages = needs.keys().map(package).collect::<Result<_, String>>()?;
        let lock = read(&workspace.root.join("Cargo.lock"))?;
        let checksums = checksums(&String::from_utf8_lossy(&lock));
        Ok(Self { packages, needs, checksums })
    }

    /// All except the filter itself, by name.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Package> {
        self.packages.values().filter(|package| package.name != FILTER)
    }

    /// The dependencies of this package, by name.
    pub(crate) fn needs(&self, package: &Package) -> impl Iterator<Item = &Package> {
        let needs = self.needs.get(&(package.name.clone(), package.version.clone()));
        needs.into_iter().flatten().filter_map(|key| self.packages.get(key))
    }

    /// The SHA-256 of the file of this package.
    pub(crate) fn checksum(&self, package: &Package) -> Option<&str> {
        let key = (package.name.clone(), package.version.clone());
        self.checksums.get(&key).map(String::as_str)
    }
}

/// Parses lines such as `2 serde v1.0.0`: each is a dependency of the nearest line above with a
/// smaller number.
fn needs(tree: &str) -> Result<BTreeMap<Key, BTreeSet<Key>>, String> {
    let mut needs: BTreeMap<Key, BTreeSet<Key>> = BTreeMap::new();
    let mut above: Vec<Key> = Vec::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        let (Some(Ok(depth)), Some(name), Some(Some(version))) = (
            words.next().map(str::parse::<usize>),
            words.next(),
            words.next().map(|word| word.strip_prefix('v')),
        ) else {
            return Err(format!("cargo tree: cannot read {line:?}"));
        };
        let key = (name.to_owned(), version.to_owned());
        above.truncate(depth);
        if let Some(parent) = above.last() {
            needs.entry(parent.clone()).or_default().insert(key.clone());
        }
        needs.entry(key.clone()).or_default();
        above.push(key);
    }
    Ok(needs)
}

/// The checksums in a lock file.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, version: &str) -> Key {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn a_package_is_needed_by_the_one_above_it_that_stands_further_out() {
        let tree = "0 a v1.0.0 (/somewhere)\n1 b v2.0.0\n2 c v3.0.0\n1 c v3.0.0\n1 d v4.0.0+e";
        let needs = needs(tree).unwrap();
        let of = |name, version| -> Vec<_> { needs[&key(name, version)].iter().cloned().collect() };
        assert_eq!(of("a", "1.0.0"), [key("b", "2.0.0"), key("c", "3.0.0"), key("d", "4.0.0+e")]);
        assert_eq!(of("b", "2.0.0"), [key("c", "3.0.0")]);
        assert_eq!(of("c", "3.0.0"), []);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_an_error() {
        assert_eq!(
            needs("0 a v1.0.0\nsomething").unwrap_err(),
            "cargo tree: cannot read \"something\""
        );
    }

    #[test]
    fn a_lock_file_has_the_checksums_of_what_was_fetched() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n\
                    [[package]]\nname = \"b\"\nversion = \"2.0.0\"\nchecksum = \"01ef\"\n";
        let all: Vec<_> = checksums(lock).into_iter().collect();
        assert_eq!(all, [(key("b", "2.0.0"), "01ef".to_owned())]);
    }
}
