//! The files that the command line names, and those in folders.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::Failure;

/// A file to check.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    /// Whether it is one of a folder, where most files are not about the filter.
    pub(crate) is_of_folder: bool,
}

/// The files of these names, and those in folders of these names.
pub(crate) fn files(names: Vec<String>) -> Result<Vec<File>, Failure> {
    let mut files = Vec::new();
    for name in names {
        if Path::new(&name).is_dir() {
            add_folder(Path::new(&name), &mut files)?;
        } else {
            files.push(File { name, is_of_folder: false });
        }
    }
    Ok(files)
}

/// Adds the files of a folder in the order of their names: those that `kubectl apply -f` reads, which
/// are not in folders below.
fn add_folder(folder: &Path, files: &mut Vec<File>) -> Result<(), Failure> {
    let failure = |error| Failure(format!("{}: {error}", folder.display()));
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = entries.map_err(failure)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for path in entries.iter().map(fs::DirEntry::path) {
        let extension = path.extension().and_then(OsStr::to_str);
        if matches!(extension, Some("yaml" | "yml" | "json")) && path.is_file() {
            let name = path.to_str().ok_or_else(|| {
                Failure(format!("{}: the name of the file is not UTF-8", path.display()))
            })?;
            files.push(File { name: name.to_owned(), is_of_folder: true });
        }
    }
    Ok(())
}
