//! Packages the built module for publication. The result is reproducible: it contains no time other
//! than the commit's, no path, no user, and nothing in a variable order.

mod archive;
mod bill_of_materials;
mod image;
mod licences;
mod linked;
mod package;
mod release;
mod source;
mod toolchain;

use std::{fmt::Write, fs, io, path::Path, process::Command};

use sha2::{Digest, Sha256};

pub use self::{
    image::{Image, LAYER, PLUGIN},
    package::{Package, Workspace},
    release::gather,
    source::Source,
    toolchain::Toolchain,
};

/// The module built by `make build`.
pub fn module(path: &Path) -> Result<Vec<u8>, String> {
    let module = read(path).map_err(|error| format!("{error}: run `make build` first"))?;
    if !module.starts_with(b"\0asm") {
        return Err(format!("{} is no WebAssembly module: run `make build`", path.display()));
    }
    Ok(module)
}

/// The SHA-256 of these bytes in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// Recreates the folder, unless it contains other files than those created here.
fn renew(folder: &Path, ours: &str) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", folder.display());
    match fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() && !folder.join(ours).is_file() {
                return Err(format!(
                    "{} has other things in it: remove them, or name another folder",
                    folder.display()
                ));
            }
            fs::remove_dir_all(folder).map_err(failed)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    fs::create_dir_all(folder).map_err(failed)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// The output of a program, trimmed.
fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let what = || format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{}: {error}", what()))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", what(), told.trim()));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| format!("{}: no text", what()))?;
    Ok(text.trim().to_owned())
}
