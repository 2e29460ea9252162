//! What is linked into a module and is no package of Cargo's, besides Rust's standard library.

/// A part of another project.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    /// Its licence as an SPDX expression.
    pub(crate) licence: &'static str,
    /// The licence in a few words.
    pub(crate) summary: &'static str,
    /// Its repository.
    pub(crate) repository: &'static str,
    /// What must be given on with it.
    pub(crate) notice: &'static str,
}

impl Part {
    /// The name that bills of materials have for it (package URL).
    pub(crate) fn url(&self) -> String {
        format!("pkg:generic/{}", self.name)
    }
}

pub(crate) const WASI_LIBC: Part = Part {
    name: "wasi-libc",
    description: "The C library of WASI, as it comes with the standard library of Rust",
    licence: "(Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT) AND BSD-2-Clause AND CC0-1.0",
    summary: "MIT and others",
    repository: "https://github.com/WebAssembly/wasi-libc",
    notice: include_str!("wasi-libc.txt"),
};

pub(crate) const LIBUNWIND: Part = Part {
    name: "libunwind",
    description: "The unwinder of LLVM, as it comes with Zig",
    licence: "Apache-2.0 WITH LLVM-exception",
    summary: "Apache-2.0 WITH LLVM-exception",
    repository: "https://github.com/llvm/llvm-project",
    notice: include_str!("libunwind.txt"),
};

pub(crate) const GLIBC: Part = Part {
    name: "glibc",
    description: "Four functions of the GNU C Library, as they come with Zig",
    licence: "LGPL-2.1-or-later WITH GCC-exception-2.0-note",
    summary: "LGPL-2.1-or-later, with permission to link these functions without restriction",
    repository: "https://sourceware.org/git/glibc.git",
    notice: include_str!("glibc.txt"),
};
