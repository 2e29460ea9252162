//! `dist image MODULE FOLDER` writes the OCI image of the module as an image layout; `dist gather
//! MODULE FOLDER` writes all files of a release.

use std::{env, path::Path, process::ExitCode};

use dist::{Image, Package, Source, Toolchain, Workspace};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["image", module, folder] => image(Path::new(module), Path::new(folder)),
        ["gather", module, folder] => dist::gather(Path::new(module), Path::new(folder)),
        _ => {
            eprintln!("usage: dist image MODULE FOLDER\n       dist gather MODULE FOLDER");
            return ExitCode::from(2);
        }
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

fn image(module: &Path, folder: &Path) -> Result<String, String> {
    let module = dist::module(module)?;
    let workspace = Workspace::here()?;
    let filter = workspace.filter()?;
    if let Some(note) = Toolchain::in_use()?.note(filter) {
        eprintln!("note: {note}");
    }
    let image = Image::new(&module, filter, &Source::of(&workspace.root)?)
        .map_err(|error| format!("the image: {error}"))?;
    image.write_layout(folder)?;
    let (folder, Package { name, version, .. }) = (folder.display(), filter);
    Ok(format!(
        "{folder}: {name} {version}, {}\n\
         push it: skopeo copy oci:{folder}:{version} docker://REGISTRY/{name}:{version}\n",
        image.digest()
    ))
}
