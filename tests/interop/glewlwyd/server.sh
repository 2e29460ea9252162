#!/bin/sh
# server.sh install|start FOLDER: Glewlwyd, a server written in C, from Debian's package, with a new
# database in FOLDER. It listens on PORT.
set -eu
# The tables, in Debian's package.
schema=/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3

is_installed() {
    [ "$(glewlwyd --version 2>/dev/null || true)" = 2.7.5 ] && command -v sqlite3 >/dev/null && [ -f $schema ]
}

case $1 in
install)
    is_installed && exit 0
    if [ "$(id -u)" != 0 ]; then
        echo "error: only root can install it (apt-get install glewlwyd dbconfig-sqlite3 sqlite3)" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # sqlite is the smallest of the databases that the package wants one of.
    apt-get install -y -qq --no-install-recommends glewlwyd dbconfig-sqlite3 sqlite3 >/dev/null
    is_installed || { echo "error: the package is another version" >&2; exit 1; }
    ;;
start)
    rm -f "$2/glewlwyd.db"
    sqlite3 "$2/glewlwyd.db" <$schema
    sed "s|PORT|$PORT|; s|FOLDER|$2|" tests/interop/glewlwyd/glewlwyd.conf >"$2/glewlwyd.conf"
    exec glewlwyd --config-file="$2/glewlwyd.conf"
    ;;
esac
