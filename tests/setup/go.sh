#!/bin/sh
# go.sh FOLDER COMMAND...: runs a command that builds a program from Go modules. What Go downloads and
# compiles is in FOLDER/go, and removed in the end.
set -eu
if ! command -v go >/dev/null; then
    echo "error: go is not there. Install Go 1.21 or newer (Debian: golang-go of bookworm-backports)." >&2
    exit 1
fi
folder=$1
shift
export GOPATH="$folder/go" GOMODCACHE="$folder/go/mod" GOCACHE="$folder/go/cache" GOTOOLCHAIN=auto
export GOFLAGS="-buildvcs=false -modcacherw -trimpath -ldflags=-s"
sh "$(dirname "$0")/build.sh" "$folder" "$@"
rm -rf "$folder/go"
