#!/bin/sh
# run.sh PLATFORM: makes the checks of tests/PLATFORM, as root, in namespaces of their own. There is
# loopback and no other network, and the file system is an overlay: only what is written in
# target/platforms stays. When they end, their processes and mounts are gone.
set -eu
platform=$1
export ENVOY="${ENVOY:-$(ls "$PWD"/target/envoy/lib/python3*/site-packages/envoy/_bin/envoy)}"
export PYTHONPATH="$PWD/tests/platforms" PYTHONDONTWRITEBYTECODE=1
# shellcheck disable=SC2016
exec unshare --net --mount --pid --fork --kill-child --propagation private sh -euc '
    here=$PWD
    writable=$here/target/platforms
    ip link set lo up
    mount -t tmpfs sandbox /mnt
    mkdir /mnt/changes /mnt/work /mnt/tree
    mount -t overlay sandbox /mnt/tree -o lowerdir=/,upperdir=/mnt/changes,workdir=/mnt/work
    mount -t proc proc /mnt/tree/proc
    mount --rbind /dev /mnt/tree/dev
    mount -t tmpfs sandbox /mnt/tree/dev/shm
    mount --rbind /sys /mnt/tree/sys
    # The overlay has none of the other file systems that these may be on.
    mkdir -p "/mnt/tree$writable"
    mount --bind "$here" "/mnt/tree$here"
    mount -o remount,bind,ro "/mnt/tree$here"
    mount --bind "$writable" "/mnt/tree$writable"
    ulimit -n 65536 2>/dev/null || true
    exec chroot /mnt/tree sh -euc "cd \"\$0\" && exec \"\$@\"" "$here" "$@"
' sandbox target/platforms/python/bin/python "tests/$platform/$platform.py"
