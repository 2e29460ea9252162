#!/bin/sh
# gungraun.sh VERSION: makes sure that there is the runner of Gungraun in this version. Unoptimized, it
# is as quick as is needed.
set -eu
[ "$(gungraun-runner --version 2>/dev/null)" != "gungraun-runner $1" ] || exit 0
echo "== installing gungraun-runner $1 (about two minutes)"
cargo install --quiet --locked --debug --config profile.dev.debug=false "gungraun-runner@$1"
