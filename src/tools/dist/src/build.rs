//! What is built, and for which machines.

use std::path::Path;

use crate::{
    parts::{GLIBC, LIBUNWIND, Part, WASI_LIBC},
    read,
};

/// A module for one kind of machine.
#[derive(Debug)]
pub(crate) struct Build {
    /// What it is.
    pub(crate) what: &'static str,
    /// How the bytes of its file begin, and what is at another place of it.
    magic: &'static [u8],
    machine: Option<(usize, u8)>,
    pub(crate) package: &'static str,
    pub(crate) target: &'static str,
    /// The ending of its file, and the beginning of the endings of the files about it.
    pub(crate) ending: &'static str,
    pub(crate) about: &'static str,
    /// The architecture in an image.
    pub(crate) architecture: &'static str,
    /// What is linked into it and is no package.
    pub(crate) parts: &'static [Part],
    /// Whether Zig links it.
    pub(crate) by_zig: bool,
}

/// The WebAssembly module.
pub(crate) static WASM: Build = Build {
    what: "one WebAssembly module",
    magic: b"\0asm",
    machine: None,
    package: "oauth2-filter",
    target: "wasm32-wasip1",
    ending: "wasm",
    about: "",
    // The module is for any machine, but who looks there unpacks no `wasm`.
    architecture: "amd64",
    parts: &[WASI_LIBC],
    by_zig: false,
};

/// The dynamic module for x86-64.
pub(crate) static X86_64: Build = Build {
    what: "a dynamic module of Envoy for x86-64",
    magic: b"\x7fELF",
    machine: Some((ELF_MACHINE, 62)),
    package: "oauth2-filter-dynamic-module",
    target: "x86_64-unknown-linux-gnu",
    ending: "x86_64.so",
    about: "x86_64.",
    architecture: "amd64",
    parts: &[LIBUNWIND, GLIBC],
    by_zig: true,
};

/// The dynamic module for 64-bit Arm.
pub(crate) static AARCH64: Build = Build {
    what: "a dynamic module of Envoy for 64-bit Arm",
    magic: b"\x7fELF",
    machine: Some((ELF_MACHINE, 183)),
    package: "oauth2-filter-dynamic-module",
    target: "aarch64-unknown-linux-gnu",
    ending: "aarch64.so",
    about: "aarch64.",
    architecture: "arm64",
    parts: &[LIBUNWIND, GLIBC],
    by_zig: true,
};

/// Where an ELF file names its machine.
const ELF_MACHINE: usize = 18;

/// All that is built.
static BUILDS: [&Build; 3] = [&WASM, &X86_64, &AARCH64];

/// A module as it was built.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) build: &'static Build,
    pub(crate) bytes: Vec<u8>,
}

impl Module {
    /// Reads the module in a file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let missing = |error| format!("{error}: run `make build natives` first");
        let bytes = read(path).map_err(missing)?;
        let is = |build: &&Build| {
            let has = |(place, byte): (usize, u8)| bytes.get(place) == Some(&byte);
            bytes.starts_with(build.magic) && build.machine.is_none_or(has)
        };
        match BUILDS.into_iter().find(is) {
            Some(build) => Ok(Self { build, bytes }),
            None => Err(format!("{} is no module: run `make build natives`", path.display())),
        }
    }

    /// Whether it is a WebAssembly module, not a dynamic one.
    pub(crate) fn is_wasm(&self) -> bool {
        self.build.target == WASM.target
    }
}
