#!/bin/sh
# npm.sh FOLDER PACKAGE@VERSION...: installs these npm packages into FOLDER, unless they are there.
set -eu
folder=$1
shift

for program in node npm; do
    if ! command -v $program >/dev/null; then
        echo "error: $program not found. Install Node.js 20 or newer with npm." >&2
        exit 1
    fi
done
missing=
for package in "$@"; do
    grep -qs "\"version\": \"${package##*@}\"" "$folder/node_modules/${package%@*}/package.json" ||
        missing=yes
done
[ -n "$missing" ] || exit 0
echo "== installing $* into $folder"
mkdir -p "$folder"
# Offline, this fails after ten seconds; if the registry stalls, after two minutes.
npm install --silent --fetch-retries=1 --fetch-timeout=60000 --no-save --no-package-lock \
    --no-audit --no-fund --ignore-scripts --prefix "$folder" "$@"
