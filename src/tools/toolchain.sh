#!/bin/sh
# toolchain.sh TARGET: makes sure that Rust can build for this machine and for TARGET.
set -eu
target=$1

if ! command -v cargo >/dev/null; then
    echo "error: cargo is not there. Install Rust with rustup (https://rustup.rs), then run this again." >&2
    exit 1
fi
if ! command -v cc >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "== installing a linker (gcc)"
        apt-get update -qq && apt-get install -y -qq gcc libc6-dev >/dev/null
    else
        echo "error: Rust needs a linker. Install one (Debian: apt-get install gcc libc6-dev)." >&2
        exit 1
    fi
fi
# rustup installs what rust-toolchain.toml names by itself, unless it is told not to.
if ! rustc --version >/dev/null 2>&1; then
    rustup toolchain install
fi
if [ -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
    exit 0
fi
if ! command -v rustup >/dev/null; then
    echo "error: this Rust has no $target, and there is no rustup to add it." >&2
    exit 1
fi
echo "== adding the Rust target $target"
rustup target add "$target"
