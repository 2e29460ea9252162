#!/bin/sh
# services.sh FOLDER: makes sure that there are the services which `tests/services` puts behind the
# proxy: lighttpd and php-cgi of Debian, Python 3, Perl, and Express, from npm, in FOLDER.
set -eu
folder=$1
here=$(dirname "$0")/../services

# The rest of the sentence says what else would do.
without="or leave these tests out: make test SERVICES=skip"

missing=
for program in lighttpd php-cgi python3 perl setpriv; do
    # Debian has the server in a folder that only root looks in.
    PATH=$PATH:/usr/sbin command -v "$program" >/dev/null && continue
    case $program in
        setpriv) missing="$missing util-linux" ;;
        *) missing="$missing $program" ;;
    esac
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "error: not there:$missing. Install them (Debian: apt-get install$missing)," >&2
        echo "$without" >&2
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
fi

for program in node npm; do
    if ! command -v $program >/dev/null; then
        echo "error: $program is not there. Install Node.js 20 or newer with npm," >&2
        echo "$without" >&2
        exit 1
    fi
done
installed="$folder/node_modules/.package-lock.json"
if [ ! -e "$installed" ] || ! cmp -s "$here/express/package-lock.json" "$folder/package-lock.json"; then
    echo "== installing Express into $folder"
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "$here/express/package.json" "$here/express/package-lock.json" "$folder"
    npm ci --silent --fetch-retries=1 --fetch-timeout=60000 --no-audit --no-fund --ignore-scripts \
        --prefix "$folder"
fi
