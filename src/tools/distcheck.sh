#!/bin/sh
# distcheck.sh FOLDER: takes the image and the release in FOLDER as others do: with skopeo, through a
# registry on loopback, by the steps of Istio's agent, and by the schema of CycloneDX. It installs what
# that needs, in FOLDER but for skopeo and curl.
set -eu
folder=$(cd "$1" && pwd)
# It has the schemas with it.
library='cyclonedx-python-lib[json-validation]==11.12.0'
python=$folder/cyclonedx/bin/python

sh tests/setup/tools.sh skopeo curl
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

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
release=$folder/dist/oauth2_filter-$version
work=$(mktemp -d)
trap 'kill $registry 2>/dev/null; rm -rf "$work"' EXIT
registry=

same() {
    [ "$2" = "$3" ] || { echo "error: $1 is $2, not $3" >&2; exit 1; }
    echo "ok: $1"
}
# Without a policy: it does not need to know whom this machine trusts.
inspect() { skopeo --insecure-policy inspect --format "$1" "$2"; }

(cd "$folder/dist" && sha256sum --check --strict --quiet SHA256SUMS)
same "the number of checksums" "$(wc -l <"$folder/dist/SHA256SUMS")" "$(($(ls "$folder/dist" | wc -l) - 1))"
same "the module of the release" "$(sha256sum <"$release.wasm")" "$(sha256sum <"$folder/oauth2_filter.wasm")"

$python src/tools/dist/validate.py "$release.cdx.json"
sed 's/"licenses": \[/"licenses": [1, /' "$release.cdx.json" >"$work/wrong.cdx.json"
result=0
$python src/tools/dist/validate.py "$work/wrong.cdx.json" 2>/dev/null || result=$?
same "what the schema of CycloneDX says to a wrong bill of materials" $result 3

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
# By the steps of Istio's agent (pkg/wasm/imagefetcher.go): the manifest by its tag; its last layer,
# which is of the one type; and the file in that with the one name.
get="curl --silent --fail http://$address/v2/auth/oauth2-filter"
$get/manifests/"$version" -H 'accept: application/vnd.oci.image.manifest.v1+json' >"$work/manifest"
same "the digest of what is pulled" "sha256:$(sha256sum <"$work/manifest" | cut -d' ' -f1)" "$digest"
layer=$($python -c '
import json, sys
layer = json.load(sys.stdin)["layers"][-1]
assert layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip", layer
print(layer["digest"])' <"$work/manifest")
$get/blobs/"$layer" | tar -xz -C "$work" plugin.wasm
same "the module that is pulled" "$(sha256sum <"$work/plugin.wasm")" "$(sha256sum <"$folder/oauth2_filter.wasm")"
