//! Cargo alone does not build the module, and says what does.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::root;

/// Where these tests build: in a folder of their own, not to wait for other builds or disturb them.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("plain-cargo")
}

/// What the build script says for an architecture, with these flags and this configured linker.
fn said(architecture: &str, flags: &str, linker: &str) -> String {
    let output = Command::new(folder().join("build-script"))
        .env("CARGO_CFG_TARGET_ARCH", architecture)
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("RUSTC_LINKER", linker)
        .output()
        .expect("the build script runs");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_module_is_refused_without_its_linker() {
    std::fs::create_dir_all(folder()).expect("a folder");
    let compiled = Command::new("rustc")
        .args(["--edition", "2024", "src/hosts/proxy-wasm/build.rs", "-o"])
        .arg(folder().join("build-script"))
        .current_dir(root())
        .status();
    assert!(compiled.expect("rustc runs").success());

    let ours = "src/tools/link/rust-lld";
    assert!(root().join(ours).exists());
    let flag = format!("--cfg=other\x1f-C\x1flinker={ours}");
    for (architecture, flags, linker, refused) in [
        ("wasm32", "", "", true),
        ("wasm32", "-C\x1flinker=rust-lld", "", true),
        ("wasm32", "", "/usr/bin/rust-lld", true),
        ("wasm32", &flag, "", false),
        ("wasm32", "-Clinker=/clone/src/tools/link/rust-lld", "", false),
        ("wasm32", "", "/clone/src/tools/link/rust-lld", false),
        ("x86_64", "", "", false),
    ] {
        let said = said(architecture, flags, linker);
        assert_eq!(said.contains("cargo::error=run `make build`"), refused, "{flags} {linker}");
    }
}

#[test]
#[ignore = "takes half a minute the first time; .ci/run runs it"]
fn cargo_alone_stops_and_says_what_to_run() {
    let output = Command::new("cargo")
        .args(["build", "--release", "--target", "wasm32-wasip1", "-p", "oauth2-filter"])
        .arg("--target-dir")
        .arg(folder())
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(root())
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(": run `make build`, which"), "{said}");
}
