#!/bin/sh
# mcp.sh FOLDER: makes sure that FOLDER has the clients and servers of `make mcp`: packages of npm, virtual
# environments of Python, and, if possible, Debian's Chromium.
set -eu
folder=$1
here=$(dirname "$0")
own=$here/../mcp

for program in node npm python3; do
    if ! command -v $program >/dev/null; then
        echo "error: $program is not there. Install Node.js 20 or newer with npm, and Python 3.11 or newer." >&2
        exit 1
    fi
done
sh "$here/locked.sh" "$folder" "$own"
for list in "$own"/python/*.txt; do
    # shellcheck disable=SC2046
    sh "$here/venv.sh" "$folder/$(basename "$list" .txt)" $(cat "$list")
done
if ! sh "$here/tools.sh" chromium-headless-shell; then
    echo "== there is no Chromium: the checks of pages are skipped"
fi
