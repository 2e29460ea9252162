#!/bin/sh
# changelog.sh VERSION: prints what CHANGELOG.md says of this version, and fails if it says nothing.
set -eu
notes=$(awk -v heading="## [$1] " '/^## /{found = index($0, heading) == 1; next} found' CHANGELOG.md)
if [ -z "$notes" ]; then
    echo "error: CHANGELOG.md has no section [$1]" >&2
    exit 1
fi
printf '%s\n' "$notes"
