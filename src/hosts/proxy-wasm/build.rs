//! Rejects a build whose module would not work: the module needs a step after linking, which Cargo
//! does not have, so only `make build` can build it.

use std::env;

/// The linker of `make build`. The compiler's flags name it by its path from the root of the clone.
const LINKER: &str = "src/tools/link/rust-lld";

fn main() {
    println!("cargo::rerun-if-changed=src/hosts/proxy-wasm/build.rs");
    let is_module = env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("wasm32");
    if is_module && !is_linked_by_ours() {
        // Build scripts cannot distinguish lints from builds, so lints require the linker too.
        println!(
            "cargo::error=run `make build`, which writes target/oauth2_filter.wasm (for lints, \
             `make check`). Cargo alone exports the SDK's callbacks instead of the filter's: that \
             module accepts any configuration and traps on the first request."
        );
    }
}

/// Whether the compiler's flags or Cargo's configuration name our linker.
fn is_linked_by_ours() -> bool {
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let mut linkers = flags.split('\x1f').filter_map(|flag| flag.split_once("linker="));
    let configured = env::var("RUSTC_LINKER").unwrap_or_default();
    linkers.any(|(_, path)| path.ends_with(LINKER)) || configured.ends_with(LINKER)
}
