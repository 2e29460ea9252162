#!/bin/sh
# server.sh install|start FOLDER: Ory Hydra, built from Go modules, with a database in FOLDER/data. It
# listens on PORT, and for administration and introspection on ADMIN_PORT.
set -eu
version=v2.3.0
hydra=$2/hydra-$version

case $1 in
install)
    [ -x "$hydra" ] && exit 0
    # SQLite is compiled with it.
    command -v gcc >/dev/null || { echo "error: gcc is not there (Debian: apt-get install build-essential)" >&2; exit 1; }
    echo "== building Ory Hydra $version in $2 (3 minutes on two cores; needs 1 GB, takes 50 MB)"
    sh tests/setup/go.sh "$2" sh "$0" build "$2"
    ;;
build)
    rm -rf "$2/module"
    mkdir "$2/module"
    cd "$2/module"
    go mod init interop
    # As in its own go.mod, which counts for its own builds only.
    go mod edit -replace github.com/gobuffalo/pop/v6=github.com/ory/pop/v6@v6.2.1-0.20241121111754-e5dfc0f3344b
    go get -tool "github.com/ory/hydra/v2@$version"
    go build -tags sqlite,json1 -o "$hydra" github.com/ory/hydra/v2
    ;;
start)
    mkdir -p "$2/data"
    export DSN="sqlite://$2/data/hydra.sqlite?_fk=true" SECRETS_SYSTEM=of-this-test-alone SQA_OPT_OUT=true
    export SERVE_PUBLIC_HOST=127.0.0.1 SERVE_PUBLIC_PORT="$PORT" URLS_SELF_ISSUER="http://127.0.0.1:$PORT"
    export SERVE_ADMIN_HOST=127.0.0.1 SERVE_ADMIN_PORT="$ADMIN_PORT"
    "$hydra" migrate sql up --yes "$DSN"
    exec "$hydra" serve all --dev
    ;;
esac
