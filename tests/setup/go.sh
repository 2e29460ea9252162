#!/bin/sh
# go.sh FOLDER NAME COST COMMAND...: runs a command that builds a program from Go modules. What Go downloads
# and compiles meanwhile is in FOLDER/go, and removed in the end.
set -eu
folder=$1 name=$2 cost=$3
shift 3

if ! command -v go >/dev/null; then
    echo "error: go is not there. Install Go 1.21 or newer (Debian: golang-go of bookworm-backports)." >&2
    exit 1
fi
echo "== building $name ($cost in $folder)"
export GOPATH="$folder/go" GOMODCACHE="$folder/go/mod" GOCACHE="$folder/go/cache"
export GOFLAGS="-buildvcs=false -modcacherw -trimpath -ldflags=-s" GOTOOLCHAIN=auto
mkdir -p "$GOPATH"
log=$folder/build.log
nice "$@" >"$log" 2>&1 &
pid=$! seconds=0
# What is under way, every half minute, until the command ends.
while kill -0 $pid 2>/dev/null; do
    sleep 1
    seconds=$((seconds + 1))
    [ $((seconds % 30)) != 0 ] || echo "   $((seconds / 60)) min $((seconds % 60)) s, $(du -sh "$GOPATH" | cut -f1)"
done
wait $pid || { tail -20 "$log" >&2; echo "error: the build failed: $log" >&2; exit 1; }
rm -rf "$GOPATH"
