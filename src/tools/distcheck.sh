#!/bin/sh
# distcheck.sh FOLDER: makes sure that there are skopeo, and in FOLDER a registry of container
# images and the schema of CycloneDX.
set -eu
folder=$1
# It has the schemas with it.
library='cyclonedx-python-lib[json-validation]==11.12.0'

if ! command -v skopeo >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "error: skopeo is not there. Install it (Debian: apt-get install skopeo)." >&2
        exit 1
    fi
    echo "== installing skopeo"
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends skopeo >/dev/null
fi

# Unpacked, not installed: the package would start its server.
if [ ! -x "$folder/registry/usr/bin/docker-registry" ]; then
    if ! command -v apt-get >/dev/null; then
        echo "error: the registry is Debian's docker-registry, and there is no apt-get here." >&2
        echo "Put one at $folder/registry/usr/bin/docker-registry." >&2
        exit 1
    fi
    echo "== unpacking a registry into $folder/registry"
    rm -rf "$folder/registry"
    mkdir -p "$folder/registry"
    [ "$(id -u)" != 0 ] || apt-get update -qq
    (cd "$folder/registry" && apt-get download -qq -o APT::Sandbox::User=root docker-registry)
    dpkg -x "$folder"/registry/docker-registry_*.deb "$folder/registry"
fi

sh tests/setup/venv.sh "$folder/cyclonedx" "$library"
