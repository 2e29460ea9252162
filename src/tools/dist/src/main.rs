//! `dist image MODULE... FOLDER` writes the OCI image of the WebAssembly module, or of the dynamic
//! modules, as an image layout; `dist gather MODULE... FOLDER` writes all files of a release.

use std::{env, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["image", modules @ .., folder] => dist::image(modules, Path::new(folder)),
        ["gather", modules @ .., folder] => dist::gather(modules, Path::new(folder)),
        _ => Err("usage: dist image|gather MODULE... FOLDER".to_owned()),
    };
    match done {
        Ok(told) => {
            print!("{told}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
