#!/bin/sh
# prometheus.sh FOLDER: makes sure that there are prometheus and promtool: those in PATH, or those of
# the Debian package, which is unpacked in FOLDER. It is not installed, so no service runs.
set -eu
folder=$1

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    exit 0
fi
if [ -x "$folder/prometheus" ] && [ -x "$folder/promtool" ]; then
    exit 0
fi
echo "== unpacking Debian's prometheus into $folder"
rm -rf "$folder"
mkdir -p "$folder"
cd "$folder"
# It says that root downloads here without the sandbox that apt has elsewhere: no matter.
download() { apt-get download -qq prometheus 2>/dev/null; }
if ! download && ! { apt-get update -qq && download; }; then
    echo "error: prometheus and promtool are not there, and apt-get does not download them." >&2
    echo "Install both (Debian: apt-get install prometheus), then run this again." >&2
    exit 1
fi
dpkg-deb --fsys-tarfile prometheus_*.deb |
    tar --extract --strip-components 3 ./usr/bin/prometheus ./usr/bin/promtool
rm -f prometheus_*.deb
