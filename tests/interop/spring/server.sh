#!/bin/sh
# server.sh install|start FOLDER: a server made of Spring Authorization Server, with a database in
# FOLDER/data. It listens on PORT.
set -eu
sources=tests/interop/spring
jar=$2/$(cat $sources/pom.xml $sources/src/main/*/*.yml $sources/src/main/*/*/*.java | cksum | cut -d ' ' -f 1).jar

case $1 in
install)
    [ -f "$jar" ] && exit 0
    echo "== building a server with Spring Authorization Server in $2 (a minute; fetches 60 MB, takes 30 MB)"
    rm -rf "$2"/*.jar
    sh tests/setup/maven.sh "$2" --file $sources "-Dfolder=$2/build" package
    mv "$2/build/server.jar" "$jar"
    rm -r "$2/build"
    ;;
start)
    DATA=$2/data exec java -Xmx256m -jar "$jar"
    ;;
esac
