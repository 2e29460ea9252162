#!/bin/sh
# maven.sh FOLDER ARGUMENT...: runs Maven with these arguments. What it downloads for that is in
# FOLDER/maven, and removed in the end.
set -eu
for pair in javac:openjdk-17-jdk-headless mvn:maven; do
    if ! command -v "${pair%:*}" >/dev/null; then
        echo "error: ${pair%:*} is not there (Debian: apt-get install ${pair#*:})" >&2
        exit 1
    fi
done
folder=$1
shift
sh "$(dirname "$0")/build.sh" "$folder" mvn --batch-mode "-Dmaven.repo.local=$folder/maven" "$@"
rm -r "$folder/maven"
