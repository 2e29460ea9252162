//! The Rust that builds the module.

use std::{fs, path::Path};

use crate::{output, package::Package};

/// The compiler, and the standard library that comes with it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Toolchain {
    /// Such as `1.95.0`.
    pub(crate) version: String,
    /// Compilers of the same version and commit produce the same output.
    pub(crate) commit: String,
}

impl Toolchain {
    /// The one that Cargo uses here.
    pub fn in_use() -> Result<Self, String> {
        Self::told(&output("rustc", &["--verbose", "--version"])?)
    }

    fn told(text: &str) -> Result<Self, String> {
        let value = |key: &str| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            Ok::<_, String>(value.ok_or_else(|| format!("rustc tells no {key}"))?.to_owned())
        };
        Ok(Self { version: value("release")?, commit: value("commit-hash")? })
    }

    /// A warning if this is not the version with which releases are built, the minimum version of
    /// the filter.
    pub fn note(&self, filter: &Package) -> Option<String> {
        let oldest = filter.rust_version.as_deref().unwrap_or_default();
        let released = if oldest.matches('.').count() == 1 {
            format!("{oldest}.0")
        } else {
            oldest.to_owned()
        };
        (self.version != released).then(|| {
            format!(
                "built by Rust {}: the bytes are not those of a release, which Rust {released} \
                 builds (rustup toolchain install {released} --target wasm32-wasip1, then \
                 RUSTUP_TOOLCHAIN={released} make dist)",
                self.version
            )
        })
    }
}

/// The copyright notices of the standard library, an HTML page, if this Rust includes them.
pub(crate) fn copyright() -> Option<Vec<u8>> {
    let sysroot = output("rustc", &["--print", "sysroot"]).ok()?;
    fs::read(Path::new(&sysroot).join("share/doc/rust/COPYRIGHT-library.html")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: &str =
        "rustc 1.95.0 (598 2026-04-14)\nbinary: rustc\ncommit-hash: 598\nrelease: 1.95.0";

    fn filter(rust_version: &str) -> Package {
        let json = format!(
            r#"{{"name": "oauth2-filter", "version": "0.1.0", "description": null, "license": null,
            "repository": null, "rust_version": "{rust_version}", "manifest_path": "Cargo.toml"}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn the_compiler_tells_its_version_and_its_commit() {
        let toolchain = Toolchain::told(TOLD).unwrap();
        assert_eq!((toolchain.version.as_str(), toolchain.commit.as_str()), ("1.95.0", "598"));
        assert_eq!(Toolchain::told("rustc 1").unwrap_err(), "rustc tells no release");
    }

    #[test]
    fn a_compiler_that_releases_are_not_built_with_is_told() {
        let toolchain = Toolchain::told(TOLD).unwrap();
        assert_eq!(toolchain.note(&filter("1.95")), None);
        assert_eq!(toolchain.note(&filter("1.95.0")), None);
        let told = toolchain.note(&filter("1.94")).unwrap();
        assert!(told.contains("RUSTUP_TOOLCHAIN=1.94.0 make dist"), "{told}");
    }
}
