//! Packages, as reported by Cargo.

use std::path::PathBuf;

use serde::Deserialize;

use crate::output;

/// The package of the filter.
pub(crate) const FILTER: &str = "oauth2-filter";

/// The target of the filter.
pub(crate) const TARGET: &str = "wasm32-wasip1";

/// A package: the filter, or one that is linked into it.
#[derive(Clone, Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its description.
    pub description: Option<String>,
    /// Its licence, as in its manifest.
    pub license: Option<String>,
    /// Its repository.
    pub repository: Option<String>,
    /// Its minimum Rust version.
    pub rust_version: Option<String>,
    /// The manifest; the licences are in the same folder.
    pub manifest_path: PathBuf,
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

    /// Its package URL, for bills of materials.
    pub(crate) fn url(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version.replace('+', "%2B"))
    }
}

/// The project, as reported by Cargo.
#[derive(Clone, Debug, Deserialize)]
pub struct Workspace {
    /// Its folder.
    #[serde(rename = "workspace_root")]
    pub root: PathBuf,
    /// Every package of the lock file for the target, including those of tools and tests.
    pub(crate) packages: Vec<Package>,
}

impl Workspace {
    /// The current project.
    pub fn here() -> Result<Self, String> {
        let arguments =
            ["metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET];
        serde_json::from_str(&output("cargo", &arguments)?)
            .map_err(|error| format!("cargo metadata: {error}"))
    }

    /// The package of the filter.
    pub fn filter(&self) -> Result<&Package, String> {
        let mut packages = self.packages.iter();
        packages
            .find(|package| package.name == FILTER)
            .ok_or_else(|| format!("no {FILTER} here: run this in the folder of the project"))
    }
}
