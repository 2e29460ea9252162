#!/bin/sh
# run.sh: makes the checks of mcp.py in a network namespace of its own: there is loopback and no other
# network.
set -eu
export ENVOY="${ENVOY:-$(ls "$PWD"/target/envoy/lib/python3*/site-packages/envoy/_bin/envoy)}"
export PYTHONPATH="$PWD/tests/platforms" PYTHONDONTWRITEBYTECODE=1
set -- target/mcp/mcp2/bin/python tests/mcp/mcp.py
namespace="unshare --net"
[ "$(id -u)" = 0 ] || namespace="$namespace --map-root-user"
if $namespace ip link set lo up 2>/dev/null; then
    # shellcheck disable=SC2016
    exec $namespace sh -euc 'ip link set lo up && exec "$@"' run "$@"
fi
echo "== this machine gives no network namespace: nothing prevents what clients send elsewhere"
exec "$@"
