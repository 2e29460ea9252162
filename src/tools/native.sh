#!/bin/sh
# native.sh ARCH FILE: builds the dynamic module for Envoy on ARCH (x86_64 or aarch64), as FILE.
#
# Zig links it against glibc 2.28, and with an unwinder instead of libgcc_s.so, which Envoy's images
# lack. If Zig cannot be installed, the module requires libgcc_s.so and the glibc of this machine; with
# ZIG=required, the build fails.
set -eu
arch=$1
file=$2
glibc=2.28
zig=target/zig

case $arch in
x86_64 | aarch64) ;;
arm64) arch=aarch64 ;;
*)
    echo "error: Envoy runs on x86_64 and aarch64, not on $arch." >&2
    exit 2
    ;;
esac
target=$arch-unknown-linux-gnu
sh src/tools/toolchain.sh "$target"

# Paths are remapped, so that builds are reproducible.
cargo fetch --quiet --locked --target "$target"
RUSTFLAGS="--remap-path-prefix=$(rustc --print sysroot)/lib/rustlib/src/rust=/rustc/$(
    rustc --verbose --version | sed -n 's/^commit-hash: //p'
)"
for sources in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/; do
    RUSTFLAGS="$RUSTFLAGS --remap-path-prefix=$sources="
done
export RUSTFLAGS

build() {
    echo "== building $file (first time: two minutes)"
    cargo "$@" --profile native --package oauth2-filter-dynamic-module --lib
}
if sh tests/setup/venv.sh $zig cargo-zigbuild==0.24.1 ziglang==0.17.1; then
    export PATH="$PWD/$zig/bin:$PATH" # cargo-zigbuild finds Zig by it
    export CARGO_ZIGBUILD_CACHE_DIR="$PWD/$zig/cache" ZIG_GLOBAL_CACHE_DIR="$PWD/$zig/cache"
    build zigbuild --target "$target.$glibc"
elif [ "${ZIG-}" = required ]; then
    echo "error: Zig is not available. Release builds require it, so that the module runs on other machines." >&2
    exit 1
elif [ "$(uname -sm)" != "Linux $arch" ]; then
    echo "error: Zig is not available. It is required to build for Linux on $arch." >&2
    exit 1
else
    echo "== note: Zig is not available, so the module needs libgcc_s.so and the glibc of this machine" >&2
    build build --target "$target"
fi
# An Envoy that has loaded the file would crash if it were overwritten, so it is replaced.
built=target/$target/native/liboauth2_filter_dynamic_module.so
if ! cmp -s "$built" "$file"; then
    mkdir -p "$(dirname "$file")"
    cp "$built" "$file.new"
    mv "$file.new" "$file"
fi
