//! The licences of what is linked into a module, whole, as most of them ask for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use crate::packages::{Linked, Package};

/// One text: who is in it under which licence, and each licence with those who come with it.
pub(crate) fn licences(linked: &Linked) -> Result<String, String> {
    let filter = &linked.filter;
    let packages: Vec<&Package> = [filter].into_iter().chain(linked.others()).collect();
    let mut text = format!(
        "{} {} is {}, into which the following packages are linked.\n\
         Rust's standard library is too: its notices are in the page beside this file.\n\n",
        filter.name, filter.version, linked.build.what
    );
    let mut holders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in &packages {
        let name = format!("{} {}", package.name, package.version);
        let _ = writeln!(text, "{name}: {}", package.licence()?);
        for licence in of(package)? {
            holders.entry(licence).or_default().insert(name.clone());
        }
    }
    for part in linked.build.parts {
        let _ = writeln!(text, "{}: {}", part.name, part.summary);
    }
    // In the order of those who come with them, since their texts say nothing to a reader.
    let mut licences: Vec<(BTreeSet<String>, String)> =
        holders.into_iter().map(|(licence, holders)| (holders, licence)).collect();
    licences.sort();
    for (holders, licence) in licences {
        section(&mut text, &holders.into_iter().collect::<Vec<_>>().join(", "), &licence);
    }
    for part in linked.build.parts {
        section(&mut text, part.name, part.notice);
    }
    Ok(text)
}

/// The texts that come with this package. Without one it may not be given on.
fn of(package: &Package) -> Result<Vec<String>, String> {
    let folder = package.manifest_path.parent().unwrap_or_else(|| Path::new("."));
    let failed = |error| format!("{}: {error}", folder.display());
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_uppercase();
        if path.is_file() && NAMES.iter().any(|start| name.starts_with(start)) {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(format!(
            "{} {} comes without the text of its licence ({}): add it to src/tools/dist/src",
            package.name,
            package.version,
            package.licence()?
        ));
    }
    files.sort();
    let read = |path: &PathBuf| {
        let text = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(in_one_form(&String::from_utf8_lossy(&text)))
    };
    files.iter().map(read).collect()
}

/// Lines without white space at their ends, and no empty ones around them: texts that differ in
/// nothing else stand there once.
fn in_one_form(text: &str) -> String {
    let lines: Vec<&str> = text.trim_start_matches('\u{feff}').lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

fn section(text: &mut String, title: &str, licence: &str) {
    let rule = "=".repeat(80);
    let _ = write!(text, "\n{rule}\n{title}\n{rule}\n\n{}\n", licence.trim_end());
}

/// How the files begin that hold licences and what belongs to them.
const NAMES: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
