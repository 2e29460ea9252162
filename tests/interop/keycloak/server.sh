#!/bin/sh
# server.sh install|start FOLDER: Keycloak, as Maven has it, with a database in FOLDER/data. It listens
# on PORT, and on TLS_PORT.
set -eu
version=26.7.3
keycloak=$2/keycloak-$version

case $1 in
install)
    [ -x "$keycloak/bin/kc.sh" ] && exit 0
    echo "== installing Keycloak $version into $2 (half a minute; fetches 190 MB, takes 190 MB)"
    sh tests/setup/maven.sh "$2" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
        -Dartifact=org.keycloak:keycloak-quarkus-dist:$version:tar.gz "-DoutputDirectory=$2"
    tar -C "$2" -xzf "$2/keycloak-quarkus-dist-$version.tar.gz"
    rm "$2/keycloak-quarkus-dist-$version.tar.gz"
    ;;
start)
    export KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD=admin
    export JAVA_OPTS_KC_HEAP="-Xms128m -Xmx768m"
    # Without --hostname the issuer is what the filter calls it.
    exec "$keycloak/bin/kc.sh" start-dev --http-host=127.0.0.1 "--http-port=$PORT" \
        "--https-port=$TLS_PORT" "--https-certificate-file=$KEYS/server.pem" \
        "--https-certificate-key-file=$KEYS/server.key" \
        "--db-url=jdbc:h2:file:$2/data/keycloak;NON_KEYWORDS=VALUE" \
        --features=jwt-authorization-grant
    ;;
esac
