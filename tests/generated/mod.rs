//! Files that tests write from the code, and compare with it.

use std::path::Path;
use std::{env, fs};

/// Panics unless the file has this text. With `UPDATE` in the environment, writes it first. `test` is the
/// name of the test that does so.
pub fn check(file: &Path, made: &str, test: &str) {
    if env::var_os("UPDATE").is_some() {
        fs::write(file, made).expect("the file can be written");
    }
    let written = fs::read_to_string(file).unwrap_or_default();
    let differs = written.lines().zip(made.lines()).find(|(written, made)| written != made);
    assert!(
        written == made,
        "{} is stale, `UPDATE=1 cargo test --test {test}` writes it: {differs:?}",
        file.display()
    );
}
