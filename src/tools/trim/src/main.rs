//! `trim IN OUT [NAME,NAME…]`: removes all exports from the linked module that a host does not have
//! to call, and the code that only they use. Without names, what the filter needs is retained.
//!
//! The SDK exports every callback of the ABI. A host calls all that exist, so each empty one costs
//! an entry into the VM for every request; and their code is a tenth of the module. The filter has
//! its own callbacks, which cannot have the ABI's names at first because the SDK's have them: they
//! are renamed here.

use std::{env, process::ExitCode};

use walrus::{ModuleConfig, passes};

/// The exports that the filter needs besides its callbacks.
const KEPT: [&str; 4] =
    ["_initialize", "memory", "proxy_abi_version_0_2_1", "proxy_on_memory_allocate"];

/// The prefix of the filter's callbacks, before the names of the ABI.
const OURS: &str = "oauth2_on_";

/// The prefix of the ABI's callbacks.
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
