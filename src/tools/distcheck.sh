#!/bin/sh
# distcheck.sh FOLDER: makes sure that there are skopeo, and in FOLDER a registry of container
# images and the schema of CycloneDX.
set -eu
folder=$1
# It has the schemas with it.
library='cyclonedx-python-lib[json-validation]==11.12.0'

sh tests/setup/tools.sh skopeo
# Unpacked, not installed: the package would start its server.
if [ ! -x "$folder/registry/usr/bin/docker-registry" ]; then
    echo "== unpacking a registry into $folder/registry"
    rm -rf "$folder/registry"
    mkdir -p "$folder/registry"
    [ "$(id -u)" != 0 ] || apt-get update -qq
    (cd "$folder/registry" && apt-get download -qq -o APT::Sandbox::User=root docker-registry)
    dpkg -x "$folder"/registry/docker-registry_*.deb "$folder/registry"
fi

sh tests/setup/venv.sh "$folder/cyclonedx" "$library"
