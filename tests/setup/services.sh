#!/bin/sh
# services.sh FOLDER: makes sure that there are the services which `tests/services` puts behind the
# proxy: lighttpd and php-cgi of Debian, Python 3, Perl, and Express, from npm, in FOLDER.
set -eu
folder=$1
here=$(dirname "$0")/../services

or_without() {
    echo "Or leave these tests out: make test SERVICES=skip" >&2
    exit 1
}

sh "$(dirname "$0")/tools.sh" lighttpd php-cgi python3 perl setpriv || or_without
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo "error: node or npm is not there. Install Node.js 20 or newer with npm." >&2
    or_without
fi
sh "$(dirname "$0")/locked.sh" "$folder" "$here/express"
