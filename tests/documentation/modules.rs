//! The modules of `src` and what each imports: but for a few, no two import each other, however far
//! around, and no folder imports one above it. `docs/design.md` shows the picture.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

use crate::{files_below, generated, root};

/// The crates, by the name that others import them by, with the folder of their modules.
const CRATES: [(&str, &str); 7] = [
    ("oauth2_filter_keyed_hash", "src/keyed-hash"),
    ("oauth2_filter_core", "src/core/src"),
    ("oauth2_filter_driver", "src/hosts/driver/src"),
    ("oauth2_filter", "src/hosts/proxy-wasm"),
    ("oauth2_filter_private_key", "src/private-key"),
    ("oauth2_filter_dynamic_module", "src/hosts/dynamic-module/src"),
    ("command", "src/command"),
];

/// The folders and single files of the core, from the lowest up: none imports one that follows it.
const LAYERS: [&str; 23] = [
    "ids",
    "table",
    "timestamp",
    "random",
    "http",
    "cache",
    "rules",
    "oauth",
    "jose",
    "metrics",
    "environment",
    "verdict",
    "store",
    "lookup",
    "run",
    "defect",
    "outbound",
    "inbound",
    "config",
    "fetcher",
    "decider",
    "filter",
    "explain",
];

/// A module: the name of its crate, and its path in it.
type Module = Vec<String>;

/// All modules, and the modules that each imports.
fn imports() -> BTreeMap<Module, BTreeSet<Module>> {
    let mut sources = BTreeMap::new();
    for (name, folder) in CRATES {
        let folder = root().join(folder);
        for file in files_below(&folder, "rs") {
            if !file.starts_with(folder.join("tests"))
                && !file.ends_with("tests.rs")
                && !file.ends_with("build.rs")
            {
                sources.insert(module(name, &folder, &file), file);
            }
        }
    }
    let known: BTreeSet<Module> = sources.keys().cloned().collect();
    let imports = |(module, file): (&Module, &PathBuf)| {
        let text = fs::read_to_string(file).expect("a file of code");
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let mut imports = Imports { module, known: &known, found: BTreeSet::new() };
        imports.visit_file(&parsed);
        imports.found.remove(module);
        (module.clone(), imports.found)
    };
    sources.iter().map(imports).collect()
}

/// The module of a file.
fn module(name: &str, folder: &Path, file: &Path) -> Module {
    let path = file.strip_prefix(folder).expect("a file of the crate").with_extension("");
    let names = path.iter().map(|name| name.to_string_lossy().into_owned());
    let mut module: Module = [name.to_owned()].into_iter().chain(names).collect();
    if ["mod", "lib", "main"].contains(&module.last().map_or("", String::as_str)) {
        module.pop();
    }
    module
}

/// Finds the modules that a module imports, leaving out its tests.
struct Imports<'a> {
    module: &'a Module,
    known: &'a BTreeSet<Module>,
    found: BTreeSet<Module>,
}

impl Imports<'_> {
    /// Takes note of a path, relative to the module or not.
    fn note(&mut self, path: &[String]) {
        let mut whole: Module = match path.first().map(String::as_str) {
            Some("crate") => vec![self.module[0].clone()],
            Some("self") => self.module.clone(),
            Some("super") => self.module[..self.module.len() - 1].to_vec(),
            Some(name) if CRATES.iter().any(|(known, _)| *known == name) => vec![name.to_owned()],
            // A child, by its name alone.
            Some(name) if self.known.contains(&[&**self.module, &[name.to_owned()]].concat()) => {
                [&**self.module, &[name.to_owned()]].concat()
            }
            _ => return,
        };
        whole.extend(path.iter().skip(1).filter(|name| *name != "super").cloned());
        while !self.known.contains(&whole) {
            whole.pop();
        }
        // A crate's root only hands on what its modules define.
        if whole.len() > 1 || whole[0] != self.module[0] {
            self.found.insert(whole);
        }
    }

    /// Takes note of all paths in a `use`.
    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.note(&with(&name.ident)),
            syn::UseTree::Rename(name) => self.note(&with(&name.ident)),
            syn::UseTree::Glob(_) => self.note(before),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.tree(before, tree));
            }
        }
    }
}

/// Whether this is for tests only.
pub fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => {
            list.path.is_ident("cfg") && list.tokens.to_string().contains("test")
        }
        _ => false,
    })
}

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.tree(&[], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if names.len() > 1 && ["crate", "super", "self"].contains(&&*names[0]) {
            self.note(&names);
        }
        visit::visit_path(self, path);
    }
}

/// All that a module imports, directly or through others.
fn reached<'i>(
    imports: &'i BTreeMap<Module, BTreeSet<Module>>,
    from: &Module,
) -> BTreeSet<&'i Module> {
    let mut seen: BTreeSet<&Module> = BTreeSet::new();
    let mut open: Vec<&Module> = imports.get(from).into_iter().flatten().collect();
    while let Some(module) = open.pop() {
        if seen.insert(module) {
            open.extend(imports.get(module).into_iter().flatten());
        }
    }
    seen
}

/// The modules that import each other, a list for each circle.
fn circles(imports: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<Vec<String>> {
    let all: BTreeMap<&Module, BTreeSet<&Module>> =
        imports.keys().map(|module| (module, reached(imports, module))).collect();
    let mut found: BTreeSet<Vec<String>> = BTreeSet::new();
    for (module, others) in &all {
        let circle: Vec<String> = others
            .iter()
            .filter(|other| all.get(*other).is_some_and(|back| back.contains(module)))
            .map(|other| other.join("::"))
            .collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

/// What a module belongs to in the picture: a folder or a file of the core, or another crate.
fn part(module: &Module) -> Option<&str> {
    match module.as_slice() {
        [name, part, ..] if name == "oauth2_filter_core" => Some(part),
        [name] if name == "oauth2_filter_core" => None,
        [name, ..] => Some(name),
        [] => None,
    }
}

/// The parts that each part imports.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, imported) in imports() {
        let Some(from) = part(&module) else { continue };
        let to = arrows.entry(from.to_owned()).or_default();
        for module in &imported {
            // Other crates import what the core's root hands on.
            let name = part(module).unwrap_or("filter");
            if name != from {
                to.insert(name.to_owned());
            }
        }
    }
    arrows
}

#[test]
fn no_two_modules_import_each_other() {
    let imports = imports();
    assert!(imports.len() > 80, "{}", imports.len());
    let none: [Vec<String>; 0] = [];
    assert_eq!(circles(&imports), none);
}

#[test]
fn no_folder_of_the_core_imports_one_above_it() {
    let arrows = arrows();
    let layer = |part: &str| LAYERS.iter().position(|layer| *layer == part);
    for (from, imported) in &arrows {
        let is_of_core = !CRATES.iter().any(|(name, _)| name == from);
        assert!(!is_of_core || layer(from).is_some() || from == "bench", "{from} has no layer");
        let Some(own) = layer(from) else { continue };
        for to in imported {
            assert!(layer(to).is_none_or(|other| other < own), "{from} imports {to}");
        }
    }
    let outbound = &arrows["outbound"];
    assert!(!outbound.contains("inbound"), "{outbound:?}");
}

/// The picture, as Mermaid draws it: of two ways to a part, only the longer.
fn picture() -> String {
    let arrows = arrows();
    let reaches = |from: &str, to: &str| {
        let mut open: Vec<&str> =
            arrows[from].iter().map(String::as_str).filter(|n| *n != to).collect();
        let mut seen = BTreeSet::new();
        while let Some(part) = open.pop() {
            if part == to {
                return true;
            }
            if seen.insert(part) {
                open.extend(arrows.get(part).into_iter().flatten().map(String::as_str));
            }
        }
        false
    };
    let shown = |part: &str| {
        match part {
            "oauth2_filter" => "proxy-wasm",
            "oauth2_filter_driver" => "driver",
            "oauth2_filter_dynamic_module" => "dynamic-module",
            "oauth2_filter_keyed_hash" => "keyed-hash",
            "oauth2_filter_private_key" => "private-key",
            part => part,
        }
        .to_owned()
    };
    let mut picture = String::from("```mermaid\nflowchart TD\n");
    for (from, imported) in &arrows {
        for to in imported.iter().filter(|to| !reaches(from, to)) {
            writeln!(picture, "    {} --> {}", shown(from), shown(to)).expect("a String grows");
        }
    }
    picture + "```\n"
}

#[test]
fn the_picture_in_the_design_is_that_of_the_modules() {
    let file = root().join("docs/design.md");
    let page = fs::read_to_string(&file).expect("the page");
    let begin = page.find("```mermaid\n").expect("the picture");
    let end = begin + page[begin..].find("\n```\n").expect("its end") + 5;
    let drawn = format!("{}{}{}", &page[..begin], picture(), &page[end..]);
    generated::check(&file, &drawn, "documentation");
}
