#!/bin/sh
# grafana_schema.sh FOLDER: makes sure that FOLDER has what checks dashboards against Grafana's
# types: the package that Grafana Labs publishes (Apache-2.0), and the TypeScript compiler.
set -eu
folder=$1
grafana=13.2.3
typescript=5.9.3

installed() {
    grep -qs "\"version\": \"$2\"" "$folder/node_modules/$1/package.json"
}

for program in node npm; do
    if ! command -v $program >/dev/null; then
        echo "error: $program is not there. Install Node.js 20 or newer with npm." >&2
        exit 1
    fi
done
mkdir -p "$folder"
# Beside its node_modules, for there Node.js looks for them.
cp tests/observability/grafana/check.mjs "$folder"
if installed @grafana/schema $grafana && installed typescript $typescript; then
    exit 0
fi
echo "== installing Grafana's types into $folder"
# A registry that stalls is asked again after a minute, not after npm's five.
npm install --silent --fetch-timeout=60000 --no-save --no-package-lock --no-audit --no-fund --ignore-scripts \
    --prefix "$folder" "@grafana/schema@$grafana" "typescript@$typescript"
