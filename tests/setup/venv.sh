#!/bin/sh
# venv.sh FOLDER PACKAGE...: makes sure that FOLDER is a virtual environment of Python with these
# packages.
set -eu
folder=$1
shift
wanted=$*

if [ "$(cat "$folder/packages" 2>/dev/null)" = "$wanted" ] && "$folder/bin/python" --version >/dev/null; then
    exit 0
fi
if ! command -v python3 >/dev/null; then
    echo "error: python3 is not there. Install Python 3." >&2
    exit 1
fi
echo "== installing $wanted into $folder"
rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
# Debian keeps a part of `venv` in a package of its own; virtualenv does without that.
if ! python3 -m venv "$folder" >/dev/null 2>&1; then
    rm -rf "$folder"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "== installing python3-venv"
        apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
        python3 -m venv "$folder"
    elif ! python3 -m virtualenv --quiet "$folder" >/dev/null 2>&1; then
        echo "error: python3 cannot make a virtual environment." >&2
        echo "Install what it needs (Debian: apt-get install python3-venv)." >&2
        exit 1
    fi
fi
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
echo "$wanted" >"$folder/packages"
