#!/bin/sh
# tools.sh PROGRAM...: makes sure that these are there, which the pages of `docs` use as people do.
# Their Debian packages have the same names.
set -eu
missing=
for program in "$@"; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "error: not there:$missing. Install what is missing (Debian: apt-get install$missing)." >&2
    exit 1
fi
echo "== installing$missing"
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
