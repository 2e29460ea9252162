#!/bin/sh
# server.sh install|start FOLDER: Keycloak, as Maven has it, with a database in FOLDER/data. It listens
# on PORT.
set -eu
version=26.7.3
keycloak=$2/keycloak-$version

case $1 in
install)
    [ -x "$keycloak/bin/kc.sh" ] && exit 0
    for pair in java:openjdk-17-jre-headless mvn:maven; do
        command -v "${pair%:*}" >/dev/null || { echo "error: ${pair%:*} is not there (Debian: apt-get install ${pair#*:})" >&2; exit 1; }
    done
    echo "== installing Keycloak $version into $2 (fetches 190 MB, takes 190 MB)"
    plugin=org.apache.maven.plugins:maven-dependency-plugin:3.8.1
    mvn --batch-mode --quiet "-Dmaven.repo.local=$2/maven" $plugin:copy \
        -Dartifact=org.keycloak:keycloak-quarkus-dist:$version:tar.gz "-DoutputDirectory=$2"
    tar -C "$2" -xzf "$2/keycloak-quarkus-dist-$version.tar.gz"
    rm -r "$2/maven" "$2/keycloak-quarkus-dist-$version.tar.gz"
    ;;
start)
    export KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD=admin
    export JAVA_OPTS_KC_HEAP="-Xms128m -Xmx768m"
    # Without --hostname the issuer is what the filter calls it.
    exec "$keycloak/bin/kc.sh" start-dev --http-host=127.0.0.1 "--http-port=$PORT" \
        "--db-url=jdbc:h2:file:$2/data/keycloak;NON_KEYWORDS=VALUE" \
        --features=jwt-authorization-grant
    ;;
esac
