#!/bin/sh
# server.sh install|start FOLDER: oidc-provider, a library for Node.js, in FOLDER. It listens on PORT,
# and with TLS on TLS_PORT.
set -eu
case $1 in
install)
    sh src/tools/npm.sh "$2" oidc-provider@9.13.3
    ;;
start)
    # Beside its node_modules, for there Node.js looks for them.
    cp tests/interop/oidc-provider/server.mjs "$2"
    cd "$2"
    exec node server.mjs
    ;;
esac
