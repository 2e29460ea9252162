#!/bin/sh
# reproducible.sh FOLDER: builds the release twice from the files of this clone, in two folders with
# separate Cargo homes and different environments, and compares the results.
set -eu
mkdir -p "$1"
folder=$(cd "$1" && pwd)
one=$folder/one
two=$folder/another/folder/that/is/deeper/two

# Files of an earlier run would hide missing dependencies.
rm -rf "$folder"
for clone in "$one" "$two"; do
    mkdir -p "$clone"
    # Including uncommitted changes.
    git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C "$clone"
done

echo "== first build, in $one"
(cd "$one" && CARGO_HOME="$folder/cargo" make --no-print-directory image native-image dist)
echo "== second build, in $two"
(
    cd "$two"
    umask 077
    export CARGO_BUILD_JOBS=1 TZ=Asia/Kathmandu LC_ALL=C
    export RUSTFLAGS=--cfg=other HOSTNAME=another
    CARGO_HOME=$folder/another-cargo make --no-print-directory image native-image dist
)

for made in dist image native-image; do
    if ! diff -r "$one/target/$made" "$two/target/$made"; then
        echo "error: the builds differ: compare them in $folder" >&2
        exit 1
    fi
done
echo "== the builds are identical"
cat "$one/target/dist/SHA256SUMS"
rm -rf "$folder"
