//! The functions of Envoy's dynamic-module ABI: those that a module calls, and those that an Envoy
//! has.

use std::{collections::BTreeSet, fs, path::Path};

use object::{File, Object, ObjectSection, ObjectSymbol, SectionKind};

/// How the names of these functions begin.
const PREFIX: &str = "envoy_dynamic_module_callback_";

/// The functions that a module calls, without the common beginning of their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Without one of these, Envoy does not load the module.
    pub required: BTreeSet<String>,
    /// Those that the module looks up while it runs, and does without.
    pub optional: BTreeSet<String>,
}

/// The functions that the dynamic module in this file calls. Panics if it is none.
pub fn calls(module: &Path) -> Calls {
    let bytes = read(module);
    let file = parse(module, &bytes);
    let undefined = file.dynamic_symbols().filter(ObjectSymbol::is_undefined);
    let required = undefined.filter_map(|symbol| ours(symbol.name().ok()?)).collect();
    // Their names are constants.
    let kinds = [SectionKind::ReadOnlyData, SectionKind::ReadOnlyString];
    let constants = file.sections().filter(|section| kinds.contains(&section.kind()));
    let constants: Vec<&[u8]> = constants.filter_map(|section| section.data().ok()).collect();
    let strings = constants.iter().flat_map(|data| data.split(|byte| *byte == 0));
    let optional = strings.filter_map(|string| {
        let string = String::from_utf8_lossy(string);
        ours(&string[string.rfind(PREFIX)?..])
    });
    Calls { required, optional: optional.collect() }
}

/// The functions that the Envoy in this file has, without the common beginning of their names.
/// Panics if it is no program.
pub fn exports(program: &Path) -> BTreeSet<String> {
    let bytes = read(program);
    let file = parse(program, &bytes);
    let defined = file.dynamic_symbols().filter(|symbol| !symbol.is_undefined());
    defined.filter_map(|symbol| ours(symbol.name().ok()?)).collect()
}

fn ours(name: &str) -> Option<String> {
    name.strip_prefix(PREFIX).map(str::to_owned)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn parse<'b>(path: &Path, bytes: &'b [u8]) -> File<'b> {
    File::parse(bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
