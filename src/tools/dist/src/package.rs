//! What Cargo knows of a package.

use std::path::PathBuf;

use serde::Deserialize;

use crate::output;

/// The package of the filter.
pub(crate) const FILTER: &str = "oauth2-filter";

/// What the filter is built for.
pub(crate) const TARGET: &str = "wasm32-wasip1";

/// A package: the filter, or one that is linked into it.
#[derive(Clone, Debug, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is, in a line.
    pub description: Option<String>,
    /// Its licence, as its manifest has it.
    pub license: Option<String>,
    /// Where its source is kept.
    pub repository: Option<String>,
    /// The oldest Rust that it builds with.
    pub rust_version: Option<String>,
    /// The manifest; the licences are beside it.
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

    /// The name that bills of materials have for it (package URL).
    pub(crate) fn url(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version.replace('+', "%2B"))
    }
}

/// The project, as Cargo sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct Workspace {
    /// Its folder.
    #[serde(rename = "workspace_root")]
    pub root: PathBuf,
    /// Every package that its lock file names for the target, those of tools and tests too.
    pub(crate) packages: Vec<Package>,
}

impl Workspace {
    /// The one that we run in.
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
