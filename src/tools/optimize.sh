#!/bin/sh
# optimize.sh IN OUT FOLDER: reduces the size of the module by 5 % with wasm-opt (Binaryen), which it
# installs from npm into FOLDER. If wasm-opt does not run, the module is copied unchanged; with
# OPTIMIZE=required, the build fails.
set -eu
from=$1
to=$2
folder=$3
version=132.0.0

unoptimized() {
    if [ "${OPTIMIZE-}" = required ]; then
        echo "error: $1. Release builds require wasm-opt, so that they are reproducible." >&2
        exit 1
    fi
    echo "== note: $1, so the module is not optimized (5 % larger)" >&2
    # Tests use this file to determine whether the module is optimized.
    rm -f "$folder/out.wasm"
    cp "$from" "$to"
    exit 0
}

command -v node >/dev/null || unoptimized "Node.js 20 or newer not found"
sh "$(dirname "$0")/npm.sh" "$folder" "binaryen@$version" || unoptimized "npm failed to install Binaryen"
# This takes several seconds, so it is skipped if nothing changed.
if cmp -s "$from" "$folder/in.wasm" && cmp -s "$to" "$folder/out.wasm" && cmp -s "$0" "$folder/by.sh"
then
    exit 0
fi
# Enable the features that the compiler uses, and order functions by the number of calls. The stack is
# at the start of memory and grows down, so only its last bytes have addresses below 1024: no address is
# the sum of a negative number and an offset (--low-memory-unused). What is only smaller at the very end
# comes last: constants of several bytes that a function uses often (--const-hoisting).
node "$folder/node_modules/binaryen/bin/wasm-opt" --enable-bulk-memory --enable-multivalue \
    --enable-mutable-globals --enable-nontrapping-float-to-int --enable-reference-types \
    --enable-sign-ext --low-memory-unused --merge-similar-functions --gufa -Oz -Oz --const-hoisting --reorder-functions "$from" --output "$to" ||
    unoptimized "wasm-opt failed with Node.js $(node --version)"
cp "$from" "$folder/in.wasm"
cp "$to" "$folder/out.wasm"
cp "$0" "$folder/by.sh"
