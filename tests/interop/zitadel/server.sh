#!/bin/sh
# server.sh install|start FOLDER: a server made of zitadel/oidc, the library in ZITADEL, with tokens in
# FOLDER/data. It listens on PORT.
set -eu
sources=tests/interop/zitadel
server=$2/server-$(cat $sources/go.* $sources/main.go | cksum | cut -d ' ' -f 1)

case $1 in
install)
    [ -x "$server" ] && exit 0
    echo "== building a server with zitadel/oidc in $2 (a minute; needs 300 MB, takes 20 MB)"
    rm -f "$2"/server-*
    sh tests/setup/go.sh "$2" go build -C $sources -o "$server" .
    ;;
start)
    cd $sources
    DATA=$2/data exec "$server"
    ;;
esac
