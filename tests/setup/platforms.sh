#!/bin/sh
# platforms.sh FOLDER gateway|cluster: makes sure that FOLDER has what `make gateway` or `make
# cluster` runs: the control plane, built from Go modules, and PyYAML. What Go downloads and compiles
# is in FOLDER, too.
set -eu
mkdir -p "$1"
folder=$(cd "$1" && pwd)
platform=$2
here=$(cd "$(dirname "$0")" && pwd)

envoy_gateway=v1.9.1
istio=v0.0.0-20260827124520-eed52ebb66ad # 1.31-dev
kubernetes=1.36.1
etcd=v3.6.8
export GOTOOLCHAIN=go1.27.3

case $platform in
gateway)
    what="Envoy Gateway $envoy_gateway" programs=envoy-gateway sources= gigabytes=5
    cost="about 15 minutes on two cores, 4 GB"
    ;;
cluster)
    what="Istio's control plane, kube-apiserver $kubernetes and etcd"
    programs="pilot-discovery pilot-agent istioctl etcd kube-apiserver kubectl" sources="istio gateway-api" gigabytes=10
    cost="about 30 minutes on two cores, 10 GB"
    ;;
*)
    echo "usage: platforms.sh FOLDER gateway|cluster" >&2
    exit 2
    ;;
esac

to_build=
for program in $programs; do
    [ -x "$folder/bin/$program" ] || to_build="$to_build $program"
done
for source in $sources; do
    [ -d "$folder/$source/" ] || to_build="$to_build $source"
done
echo "== make $platform runs the real control plane: $what"
echo "   It needs root, Linux, and Go 1.21 or newer, which fetches Go 1.27."
[ -z "$to_build" ] || echo "   It first fetches and builds:$to_build ($cost in $folder)"

error() {
    echo "error: $*" >&2
    exit 1
}
[ "$(uname -s)" = Linux ] || error "this is not Linux, whose namespaces keep everything apart"
[ "$(id -u)" = 0 ] || error "only root may make the namespaces that keep everything apart: sudo make $platform"
unshare --net --mount --pid --fork true 2>/dev/null ||
    error "\`unshare --net --mount --pid\` fails: a container needs --privileged for this"
missing=
for pair in openssl ip:iproute2 iptables setpriv:util-linux; do
    command -v "${pair%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || error "not there:$missing"
    echo "== installing$missing"
    # shellcheck disable=SC2086
    apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

if ! "$folder/python/bin/python" -c 'import yaml' 2>/dev/null; then
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || error "python3 is not there, or older than 3.11"
    echo "== installing PyYAML into $folder/python"
    rm -rf "$folder/python"
    # tests/setup/envoy.sh says what to do where neither of them works.
    python3 -m venv "$folder/python" || python3 -m virtualenv --quiet "$folder/python"
    "$folder/python/bin/python" -m pip install --quiet --disable-pip-version-check pyyaml==6.0.3
fi

[ -n "$to_build" ] || exit 0
command -v go >/dev/null || error "go is not there. Install Go 1.21 or newer: https://go.dev/dl"
free=$(df -Pk "$folder" | awk 'NR == 2 {print int($4 / 1024 / 1024)}')
[ "$free" -ge "$gigabytes" ] || error "$folder has $free GB free, the build needs $gigabytes"
# Compiling Kubernetes' packages takes much memory: PARALLEL=1 halves it.
export GOPATH="$folder/go" GOMODCACHE="$folder/go/mod" GOCACHE="$folder/go/cache" GOBIN="$folder/bin"
export GOFLAGS="-buildvcs=false -modcacherw -trimpath -p=${PARALLEL:-2}" CGO_ENABLED=0
go version >/dev/null || error "this Go cannot fetch $GOTOOLCHAIN"

# What is under way, every half minute, until the command ends.
build() {
    echo "== building $1"
    shift
    log=$folder/build.log
    nice "$@" >"$log" 2>&1 &
    pid=$! seconds=0
    while kill -0 $pid 2>/dev/null; do
        sleep 1
        seconds=$((seconds + 1))
        [ $((seconds % 30)) != 0 ] || echo "   $((seconds / 60)) min $((seconds % 60)) s, $(du -sh "$folder/go" | cut -f1) in $folder/go"
    done
    wait $pid || { tail -20 "$log" >&2; error "the build failed: $log"; }
}

case $platform in
gateway)
    build envoy-gateway go install -ldflags '-s -w' "github.com/envoyproxy/gateway/cmd/envoy-gateway@$envoy_gateway"
    ;;
cluster)
    . "$here/cluster.sh"
    ;;
esac
# What the compiler has cached is the greater part, and only another version would need it.
rm -rf "$folder/go/cache"
du -sh "$folder/bin" "$folder/go" | sed 's/^/   /'
