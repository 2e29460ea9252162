#!/bin/sh
# istio_schemas.sh FOLDER: makes sure that FOLDER has what checks manifests against Istio's custom
# resource definitions: the package that is generated from those of Istio 1.29.2 (MIT; Istio's are
# Apache-2.0), and the TypeScript compiler.
set -eu
sh src/tools/npm.sh "$1" @kubernetes-models/istio@3.0.1 typescript@5.9.3
# Beside its node_modules, for there Node.js looks for them.
cp tests/istio/schemas/check.mjs "$1"
