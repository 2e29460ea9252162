#!/bin/sh
# deny.sh: makes sure that there is cargo-deny. Unoptimized, it is built in a third of the time, and
# is as quick as is needed.
set -eu

command -v cargo-deny >/dev/null && exit 0
echo "== installing cargo-deny (about a minute)"
cargo install --quiet --locked --debug --config profile.dev.debug=false cargo-deny@0.20.2
