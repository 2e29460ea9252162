//! What `native.sh` makes of a dynamic module, with a Cargo and a Python that only pretend.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

/// Builds by writing down how.
const CARGO: &str = r#"
[ "$1" != fetch ] || exit 0
how=$*
while [ "$1" != --target ]; do shift; done
target=${2%.2.28}
mkdir -p "target/$target/native"
echo "$how $MARK" >"target/$target/native/liboauth2_filter_dynamic_module.so"
"#;

/// Has an environment made, unless there is none.
const VENV: &str = r#"[ -z "${PYPI_IS_AWAY-}" ]"#;

/// This machine, whatever it is.
const UNAME: &str = "echo Linux x86_64";

/// A place in which to build.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let programs = [("cargo", CARGO), ("rustc", "echo commit-hash: 1"), ("uname", UNAME)];
        for (name, text) in programs {
            place.program(&format!("bin/{name}"), text);
        }
        place.program("tests/setup/venv.sh", VENV);
        place.program("src/tools/toolchain.sh", "");
        fs::copy(here.join("native.sh"), place.0.path().join("src/tools/native.sh")).unwrap();
        place
    }

    fn program(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }

    /// Builds for an architecture with these variables.
    fn build(&self, arch: &str, variables: &[(&str, &str)]) -> Output {
        let path = self.0.path().join("bin").display().to_string();
        let path = format!("{path}:{}", std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        command.args(["src/tools/native.sh", arch, "out/module.so"]).current_dir(self.0.path());
        command.env("PATH", path).env_remove("ZIG").envs(variables.iter().copied());
        command.output().unwrap()
    }

    /// What is in the file, and which file it is.
    fn made(&self) -> (String, u64) {
        let path = self.0.path().join("out/module.so");
        (fs::read_to_string(&path).unwrap(), fs::metadata(&path).unwrap().ino())
    }
}

#[test]
fn a_file_that_is_loaded_is_replaced_and_never_written_to() {
    let place = Place::new();
    assert!(place.build("x86_64", &[("MARK", "1")]).status.success());
    // As a process that has loaded it has it.
    let loaded = fs::File::open(place.0.path().join("out/module.so")).unwrap();
    let first = place.made();
    assert!(place.build("x86_64", &[("MARK", "1")]).status.success());
    assert_eq!(place.made(), first, "the same stays");
    assert!(place.build("x86_64", &[("MARK", "2")]).status.success());
    let (text, file) = place.made();
    assert!(text.contains("--target x86_64-unknown-linux-gnu.2.28") && text.ends_with("2\n"));
    assert_ne!(file, first.1);
    assert_eq!(std::io::read_to_string(loaded).unwrap(), first.0);
}

#[test]
fn without_zig_only_this_machine_gets_a_module_and_no_release_does() {
    let place = Place::new();
    let away = ("PYPI_IS_AWAY", "1");
    let built = place.build("x86_64", &[away]);
    assert!(built.status.success());
    assert!(String::from_utf8_lossy(&built.stderr).contains("needs libgcc_s.so"), "{built:?}");
    assert!(place.made().0.contains("build --target x86_64-unknown-linux-gnu "));
    for (arch, variables) in
        [("aarch64", &[away][..]), ("x86_64", &[away, ("ZIG", "required")]), ("riscv64", &[])]
    {
        assert!(!place.build(arch, variables).status.success(), "{arch}");
    }
    assert!(place.build("arm64", &[]).status.success());
    assert!(place.made().0.contains("--target aarch64-unknown-linux-gnu.2.28"));
}

#[test]
fn what_is_released_is_built_with_zig() {
    for (goals, required) in
        [(&["native", "dist"][..], true), (&["native-image"], true), (&["test"], false)]
    {
        let mut make = Command::new("make");
        make.args(["--dry-run", "--question", "--print-data-base", "--directory", "../../.."]);
        make.args(goals).env_remove("ZIG").env_remove("MAKEFLAGS");
        let known = String::from_utf8(make.output().unwrap().stdout).unwrap();
        assert_eq!(known.contains("\nZIG = required\n"), required, "{goals:?}");
    }
}
