#!/bin/sh
# grafana_schema.sh FOLDER: makes sure that FOLDER has what checks dashboards against Grafana's
# types: the package that Grafana Labs publishes (Apache-2.0), and the TypeScript compiler.
set -eu
sh src/tools/npm.sh "$1" @grafana/schema@13.2.3 typescript@5.9.3
# Beside its node_modules, for there Node.js looks for them.
cp tests/observability/grafana/check.mjs "$1"
