//! `trim IN OUT [NAME,NAME…]`: takes exports out of the linked module that no host has to call, and
//! all code that only they reached. The names are those of the exports that stay; without any, those
//! that the filter needs.
//!
//! The SDK exports every callback of the ABI. A host calls those that it finds, so each that does
//! nothing costs an entry into the VM for every request; and the code behind them is a tenth of
//! the module.

use std::{env, process::ExitCode};

use walrus::{ModuleConfig, passes};

/// What the filter needs to be called for.
const KEPT: [&str; 15] = [
    "_initialize",
    "memory",
    "proxy_abi_version_0_2_1",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_delete",
    "proxy_on_done",
    "proxy_on_http_call_response",
    "proxy_on_memory_allocate",
    "proxy_on_request_body",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_tick",
    "proxy_on_vm_start",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (from, to, kept) = match arguments.as_slice() {
        [from, to] => (from, to, KEPT.to_vec()),
        [from, to, names] => (from, to, names.split(',').collect()),
        _ => {
            eprintln!("usage: trim IN OUT [NAME,NAME…]");
            return ExitCode::from(2);
        }
    };
    match trim(from, to, &kept) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {from}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn trim(from: &str, to: &str, kept: &[&str]) -> Result<(), String> {
    let mut config = ModuleConfig::new();
    config.generate_name_section(false).generate_producers_section(false);
    let mut module = config.parse_file(from).map_err(|error| error.to_string())?;
    let exports: Vec<_> = module.exports.iter().map(|e| (e.id(), e.name.clone())).collect();
    for name in kept {
        if !exports.iter().any(|(_, exported)| exported == name) {
            return Err(format!("it does not export {name}"));
        }
    }
    for (id, name) in exports {
        if !kept.contains(&name.as_str()) {
            module.exports.delete(id);
        }
    }
    passes::gc::run(&mut module);
    module.emit_wasm_file(to).map_err(|error| error.to_string())
}
