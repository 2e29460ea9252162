#!/bin/sh
# distcheck.sh FOLDER: verifies the images and release artifacts in FOLDER as their users obtain them:
# with skopeo, through a registry on loopback, with the steps of Istio's agent, and with the schema of
# CycloneDX. It installs the tools it needs in FOLDER, except skopeo and curl.
set -eu
folder=$(cd "$1" && pwd)
# This package contains the schemas.
library='cyclonedx-python-lib[json-validation]==11.12.0'
python=$folder/cyclonedx/bin/python

sh tests/setup/tools.sh skopeo curl
# The package is unpacked, not installed, because its installation would start the server.
if [ ! -x "$folder/registry/usr/bin/docker-registry" ]; then
    echo "== unpacking a registry into $folder/registry"
    rm -rf "$folder/registry"
    mkdir -p "$folder/registry"
    [ "$(id -u)" != 0 ] || apt-get update -qq
    (cd "$folder/registry" && apt-get download -qq -o APT::Sandbox::User=root docker-registry)
    dpkg -x "$folder"/registry/docker-registry_*.deb "$folder/registry"
fi
sh tests/setup/venv.sh "$folder/cyclonedx" "$library"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
release=$folder/dist/oauth2_filter-$version
work=$(mktemp -d)
trap 'kill $registry 2>/dev/null; rm -rf "$work"' EXIT
registry=

same() {
    [ "$2" = "$3" ] || { echo "error: $1: expected $3, got $2" >&2; exit 1; }
    echo "ok: $1"
}
# Without a policy, because the trust settings of this machine do not matter.
inspect() { skopeo --insecure-policy inspect --format "$1" "$2"; }

(cd "$folder/dist" && sha256sum --check --strict --quiet SHA256SUMS)
same "the number of checksums" "$(wc -l <"$folder/dist/SHA256SUMS")" "$(($(ls "$folder/dist" | wc -l) - 1))"
same "the module of the release" "$(sha256sum <"$release.wasm")" "$(sha256sum <"$folder/oauth2_filter.wasm")"

for bill in "$folder"/dist/*.cdx.json; do
    $python src/tools/dist/validate.py "$bill"
done
sed 's/"licenses": \[/"licenses": [1, /' "$release.cdx.json" >"$work/wrong.cdx.json"
result=0
$python src/tools/dist/validate.py "$work/wrong.cdx.json" 2>/dev/null || result=$?
same "the exit status of the validation of an invalid bill of materials" $result 3

# Only what Envoy's images have: glibc, of Debian 10 or newer.
for arch in x86_64 aarch64; do
    needs=$(readelf --dynamic --wide "$release.$arch.so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -v '^ld-linux' | sort | xargs)
    same "the libraries that the dynamic module for $arch needs" "$needs" "libc.so.6 libdl.so.2 libpthread.so.0"
    glibc=$(readelf --dyn-syms --wide "$release.$arch.so" | grep -o 'GLIBC_[0-9.]*' | sort --version-sort | tail -1)
    same "the newest glibc version of its symbols" "$glibc" GLIBC_2.28
    hooks=$(readelf --dyn-syms --wide "$release.$arch.so" | awk '$7 != "UND" && NR > 3 && $8 !~ /^envoy_dynamic_module_on_/ && $8 != "Name"' | wc -l)
    same "the number of exported symbols other than hooks" "$hooks" 0
done
native=oci:$folder/native-image:$version
for pair in amd64:x86_64 arm64:aarch64; do
    layers=$(skopeo --insecure-policy --override-arch "${pair%:*}" copy --quiet "$native" "dir:$work/${pair%:*}" &&
        inspect '{{index .Layers 0}}' "dir:$work/${pair%:*}")
    tar -xzf "$work/${pair%:*}/${layers#sha256:}" -C "$work/${pair%:*}" liboauth2_filter.so
    same "the dynamic module in the image for ${pair%:*}" \
        "$(sha256sum <"$work/${pair%:*}/liboauth2_filter.so")" "$(sha256sum <"$release.${pair#*:}.so")"
done
same "the digest of the archive of the dynamic module's image" \
    "$(skopeo --insecure-policy inspect --raw "oci-archive:$release.native.oci.tar" | sha256sum)" \
    "$(skopeo --insecure-policy inspect --raw "$native" | sha256sum)"

image=oci:$folder/image:$version
digest=$(inspect '{{.Digest}}' "$image")
same "the digest of the release's archive" "$(inspect '{{.Digest}}' "oci-archive:$release.oci.tar")" "$digest"
same "the title" "$(inspect '{{index .Labels "org.opencontainers.image.title"}}' "$image")" oauth2-filter

# JSON is YAML.
cat >"$work/config.yml" <<EOF
{"version": "0.1", "http": {"addr": "127.0.0.1:0"}, "log": {"formatter": "json"},
 "storage": {"filesystem": {"rootdirectory": "$work/images"}}}
EOF
"$folder/registry/usr/bin/docker-registry" serve "$work/config.yml" >/dev/null 2>"$work/log" &
registry=$!
address=
while kill -0 $registry && [ -z "$address" ]; do
    sleep 0.1
    address=$(sed -n 's/.*listening on \([0-9.:]*\)".*/\1/p' "$work/log")
done
skopeo --insecure-policy copy --quiet --dest-tls-verify=false "$image" \
    "docker://$address/auth/oauth2-filter:$version"
# The steps of Istio's agent (pkg/wasm/imagefetcher.go): fetch the manifest by its tag, then the last
# layer, which must have the expected type, and from it the file with the expected name.
get="curl --silent --fail http://$address/v2/auth/oauth2-filter"
$get/manifests/"$version" -H 'accept: application/vnd.oci.image.manifest.v1+json' >"$work/manifest"
same "the digest of the pulled manifest" "sha256:$(sha256sum <"$work/manifest" | cut -d' ' -f1)" "$digest"
layer=$($python -c '
import json, sys
layer = json.load(sys.stdin)["layers"][-1]
assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip", layer
print(layer["digest"])' <"$work/manifest")
$get/blobs/"$layer" | tar -xz -C "$work" plugin.wasm
same "the pulled module" "$(sha256sum <"$work/plugin.wasm")" "$(sha256sum <"$folder/oauth2_filter.wasm")"
