#!/bin/sh
# tools.sh PROGRAM...: makes sure that these are there. Their Debian packages have the same names, but
# for `setpriv`, which is in util-linux.
set -eu
missing=
for program in "$@"; do
    # Debian has servers in a folder that only root looks in.
    PATH=$PATH:/usr/sbin command -v "$program" >/dev/null && continue
    [ "$program" != setpriv ] || program=util-linux
    missing="$missing $program"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "error: not there:$missing. Install what is missing (Debian: apt-get install$missing)." >&2
    exit 1
fi
echo "== installing$missing"
# Debian starts a server when it is installed, unless this program forbids it.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
fi
apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
