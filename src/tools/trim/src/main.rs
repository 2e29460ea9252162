//! `trim IN OUT [NAME,NAME…]`: leaves only those exports in the linked module that a host has to
//! call, and takes out all code that only others reached. With names, those stay; without any, what
//! the filter needs.
//!
//! The SDK exports every callback of the ABI. A host calls those that it finds, so each that does
//! nothing costs an entry into the VM for every request; and the code behind them is a tenth of
//! the module. The filter has callbacks of its own, which cannot have the ABI's names while the
//! SDK's are there: they get them here.

use std::{env, process::ExitCode};

use walrus::{ModuleConfig, passes};

/// What the filter needs besides its callbacks.
const KEPT: [&str; 4] =
    ["_initialize", "memory", "proxy_abi_version_0_2_1", "proxy_on_memory_allocate"];

/// The callbacks of the filter begin so, and have the names of the ABI after it.
const OURS: &str = "oauth2_on_";

/// What the callbacks of the ABI begin with.
const CALLBACK: &str = "proxy_on_";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (from, to, kept) = match arguments.as_slice() {
        [from, to] => (from, to, None),
        [from, to, names] => (from, to, Some(names.split(',').collect())),
        _ => {
            eprintln!("usage: trim IN OUT [NAME,NAME…]");
            return ExitCode::from(2);
        }
    };
    match trim(from, to, kept) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {from}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn trim(from: &str, to: &str, names: Option<Vec<&str>>) -> Result<(), String> {
    let mut config = ModuleConfig::new();
    config.generate_name_section(false).generate_producers_section(false);
    let mut module = config.parse_file(from).map_err(|error| error.to_string())?;
    let exports: Vec<_> = module.exports.iter().map(|e| (e.id(), e.name.clone())).collect();
    if names.is_none() && !exports.iter().any(|(_, name)| name.starts_with(OURS)) {
        return Err(format!("it exports no callback that begins with {OURS}"));
    }
    let kept = names.unwrap_or_else(|| KEPT.to_vec());
    for name in &kept {
        if !exports.iter().any(|(_, exported)| exported == name) {
            return Err(format!("it does not export {name}"));
        }
    }
    for (id, name) in exports {
        if let Some(callback) = name.strip_prefix(OURS) {
            module.exports.get_mut(id).name = format!("{CALLBACK}{callback}");
        } else if !kept.contains(&name.as_str()) {
            module.exports.delete(id);
        }
    }
    passes::gc::run(&mut module);
    module.emit_wasm_file(to).map_err(|error| error.to_string())
}
