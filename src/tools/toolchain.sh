#!/bin/sh
# toolchain.sh TARGET: installs what Rust needs to build for this machine and for TARGET.
set -eu
target=$1

if ! command -v cargo >/dev/null; then
    echo "error: cargo not found. Install Rust with rustup (https://rustup.rs), then run this again." >&2
    exit 1
fi
if ! command -v cc >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "== installing a linker (gcc)"
        apt-get update -qq && apt-get install -y -qq gcc libc6-dev >/dev/null
    else
        echo "error: no linker found. Install one (Debian: apt-get install gcc libc6-dev)." >&2
        exit 1
    fi
fi
# rustup installs the toolchain of rust-toolchain.toml automatically, unless that is disabled.
if ! rustc --version >/dev/null 2>&1; then
    rustup toolchain install
fi
if [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
    exit 0
fi
if ! command -v rustup >/dev/null; then
    echo "error: the target $target is not installed, and rustup, which could add it, was not found." >&2
    exit 1
fi
echo "== adding the Rust target $target"
rustup target add "$target"
