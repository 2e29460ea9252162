#!/bin/sh
# build.sh FOLDER COMMAND...: runs a command that fetches and builds something in FOLDER, and says every
# half minute how far it is.
set -eu
folder=$1 log=$1/build.log
shift
nice "$@" >"$log" 2>&1 &
pid=$! seconds=0
while kill -0 $pid 2>/dev/null; do
    sleep 1
    seconds=$((seconds + 1))
    [ $((seconds % 30)) != 0 ] || echo "   $((seconds / 60)) min $((seconds % 60)) s, $(du -sh "$folder" | cut -f1)"
done
wait $pid || { tail -20 "$log" >&2; echo "error: it failed: $log" >&2; exit 1; }
