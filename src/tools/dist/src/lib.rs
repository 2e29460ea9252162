//! Makes of the built modules what is published, the same bytes on every machine: no time but that
//! of the commit, no path, no user, nothing in an order that could change.

mod bill_of_materials;
mod build;
mod image;
mod licences;
mod packages;
mod parts;
mod release;
mod source;

use std::{fmt::Write, fs, io, path::Path, process::Command};

use sha2::{Digest, Sha256};

pub use self::release::{gather, image};

/// The SHA-256 of these bytes in hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// Makes the folder anew. One that has other things in it than those we make stays.
fn renew(folder: &Path, ours: &str) -> Result<(), String> {
    let failed = |error: io::Error| format!("{}: {error}", folder.display());
    if folder.exists() {
        if fs::read_dir(folder).map_err(failed)?.next().is_some() && !folder.join(ours).is_file() {
            let folder = folder.display();
            return Err(format!(
                "{folder} has other things in it: remove them, or name another folder"
            ));
        }
        fs::remove_dir_all(folder).map_err(failed)?;
    }
    fs::create_dir_all(folder).map_err(failed)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), String> {
    fs::write(path, bytes).map_err(|error| format!("{}: {error}", path.display()))
}

/// What a program prints, without the white space around it.
fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let what = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{what}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
