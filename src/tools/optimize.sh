#!/bin/sh
# optimize.sh IN OUT FOLDER: makes the module smaller (by a twentieth) with wasm-opt of Binaryen,
# from npm into FOLDER. Where that does not run, the module stays as it is, unless OPTIMIZE=required.
set -eu
from=$1
to=$2
folder=$3
version=132.0.0

as_it_is() {
    if [ "${OPTIMIZE-}" = required ]; then
        echo "error: $1. What is released is the same bytes for everyone, so it needs that." >&2
        exit 1
    fi
    echo "== note: $1, so the module is a twentieth larger than it could be" >&2
    # Tests tell by it what the module is.
    rm -f "$folder/out.wasm"
    cp "$from" "$to"
    exit 0
}

command -v node >/dev/null || as_it_is "there is no Node.js (20 or newer)"
sh "$(dirname "$0")/npm.sh" "$folder" "binaryen@$version" || as_it_is "npm does not install Binaryen"
# It takes some seconds, so not again for the same.
if cmp -s "$from" "$folder/in.wasm" && cmp -s "$to" "$folder/out.wasm" && cmp -s "$0" "$folder/by.sh"
then
    exit 0
fi
# The features that the compiler takes for granted, and functions by how often they are called. The
# stack comes first in memory and grows down, so its last bytes are the only ones that have addresses
# below 1024: none is the sum of a negative number and an offset.
node "$folder/node_modules/binaryen/bin/wasm-opt" --enable-bulk-memory --enable-multivalue \
    --enable-mutable-globals --enable-nontrapping-float-to-int --enable-reference-types \
    --enable-sign-ext --low-memory-unused --merge-similar-functions --gufa -Oz -Oz --reorder-functions "$from" --output "$to" ||
    as_it_is "wasm-opt fails under Node.js $(node --version)"
cp "$from" "$folder/in.wasm"
cp "$to" "$folder/out.wasm"
cp "$0" "$folder/by.sh"
