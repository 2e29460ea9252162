//! Which commit the module is built from, and by which compiler.

use std::env;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::output;

/// The commit, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    /// Its name. `None` outside of a clone, and where files have been changed since.
    pub(crate) revision: Option<String>,
    /// Its time, or `SOURCE_DATE_EPOCH`, as RFC 3339 has it.
    pub(crate) time: Option<String>,
}

impl Source {
    /// What git says of this folder. What it cannot say is told on standard error.
    pub(crate) fn here() -> Result<Self, String> {
        let committed = committed().inspect_err(|why| {
            eprintln!("note: {why}: what is made names no commit");
        });
        let (revision, seconds) = committed.ok().unzip();
        let seconds = env::var("SOURCE_DATE_EPOCH").ok().or(seconds);
        let time = seconds.map(|seconds| {
            let time = seconds.parse().ok().map(OffsetDateTime::from_unix_timestamp);
            let time = time.and_then(|time| time.ok()?.format(&Rfc3339).ok());
            time.ok_or_else(|| format!("{seconds:?} is not a number of seconds since 1970"))
        });
        Ok(Self { revision, time: time.transpose()? })
    }
}

/// The name of the commit, and its time in seconds since 1970.
fn committed() -> Result<(String, String), String> {
    let above = output("git", &["rev-parse", "--show-cdup"]);
    // It may be a source package that was unpacked inside of another project's clone.
    if above.as_deref() != Ok("") {
        return Err("this folder is no clone".to_owned());
    }
    if !output("git", &["status", "--porcelain", "--untracked-files=no"])?.is_empty() {
        return Err("files have been changed since the last commit".to_owned());
    }
    Ok((output("git", &["rev-parse", "HEAD"])?, output("git", &["log", "-1", "--format=%ct"])?))
}

/// What builds, and its version.
#[derive(Clone, Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    /// The commit it was built from, if it tells.
    pub(crate) commit: Option<String>,
}

/// What links the dynamic modules, as `src/tools/native.sh` installs it.
pub(crate) fn linkers() -> Result<[Tool; 2], String> {
    let tool = |name, package: &str| {
        let rest = include_str!("../../native.sh").split_once(&format!("{package}=="));
        let version = rest.and_then(|(_, rest)| rest.split([' ', ';']).next());
        let version = version.ok_or_else(|| format!("native.sh installs no {package}"))?;
        Ok::<_, String>(Tool { name, version: version.to_owned(), commit: None })
    };
    Ok([tool("zig", "ziglang")?, tool("cargo-zigbuild", "cargo-zigbuild")?])
}

/// The compiler. Two of one version and one commit make the same of one source; releases are built
/// with the one that `rust-toolchain.toml` names.
pub(crate) fn compiler() -> Result<Tool, String> {
    let told = output("rustc", &["--verbose", "--version"])?;
    let value = |key: &str| {
        let value = told.lines().find_map(|line| line.strip_prefix(key));
        Ok::<_, String>(value.ok_or_else(|| format!("rustc tells no {key}"))?.to_owned())
    };
    let (version, commit) = (value("release: ")?, value("commit-hash: ")?);
    if !include_str!("../../../../rust-toolchain.toml").contains(&format!("\"{version}\"")) {
        eprintln!(
            "note: built by Rust {version}: the bytes are not those of a release, which the one of \
             rust-toolchain.toml builds"
        );
    }
    Ok(Tool { name: "rustc", version, commit: Some(commit) })
}
