#!/bin/sh
# toolchain.sh TARGET: makes sure that Rust can build for TARGET.
set -eu
target=$1

if ! command -v cargo >/dev/null; then
    echo "error: cargo is not there. Install Rust with rustup (https://rustup.rs), then run this again." >&2
    exit 1
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
