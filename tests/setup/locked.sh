#!/bin/sh
# locked.sh FOLDER SOURCE: makes sure that FOLDER has the packages of npm that the lock file in the folder
# SOURCE lists.
set -eu
folder=$1
source=$2
installed="$folder/node_modules/.package-lock.json"
if [ -e "$installed" ] && cmp -s "$source/package-lock.json" "$folder/package-lock.json"; then
    exit 0
fi
echo "== installing $(sed -n 's/^    "\(.*\)": "\(.*\)".*/\1@\2/p' "$source/package.json" | paste -sd ' ' -) into $folder"
rm -rf "$folder/node_modules"
mkdir -p "$folder"
cp "$source/package.json" "$source/package-lock.json" "$folder"
# `npm ci` would refuse lock files without those optional packages that no registry has.
npm install --no-save --silent --fetch-retries=1 --fetch-timeout=60000 --no-audit --no-fund --ignore-scripts \
    --prefix "$folder"
