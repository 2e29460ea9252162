#!/bin/sh
# wrk.sh: makes sure that there is wrk, which loads proxies.
set -eu

if command -v wrk >/dev/null; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "== installing wrk"
    apt-get update -qq && apt-get install -y -qq wrk >/dev/null
else
    echo "error: wrk is not there. Install it (Debian: apt-get install wrk)." >&2
    exit 1
fi
