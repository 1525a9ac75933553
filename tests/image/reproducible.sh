#!/bin/bash
# Builds the appliance image twice and compares: the root, the disk, the bundle and the lists must be the same to the last bit.
#   tests/image/reproducible.sh [FOLDER]     a folder with a build of this commit saves one of the two
# The second build is made under another umask, another time zone and another folder. Long: two whole builds.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/skybridge-twice.XXXXXX")
trap 'rm -rf "$work"' EXIT
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git -C "$top" log -1 --format=%ct)
fi
export SOURCE_DATE_EPOCH

one=${1:-}
if [ -z "$one" ]; then
    one=$work/one
    "$top/appliance/image/build.sh" --out "$one"
fi
mkdir "$work/tmp"
(umask 077 && TZ=Asia/Tokyo LC_ALL=C TMPDIR=$work/tmp "$top/appliance/image/build.sh" --out "$work/two")

if ! cmp -s "$one"/*.manifest "$work/two"/*.manifest; then
    diff "$one"/*.manifest "$work/two"/*.manifest || true
    echo "different versions of Debian's packages: not comparable (pin them by --mirror)" >&2
    exit 1
fi
failed=0
for ending in raw qcow2 update spdx.json; do
    a=$(sha256sum <"$(echo "$one"/*."$ending")") b=$(sha256sum <"$(echo "$work/two"/*."$ending")")
    if [ "$a" = "$b" ]; then
        echo "same       $ending ${a%% *}"
    else
        echo "DIFFERENT  $ending ${a%% *} ${b%% *}"
        failed=1
    fi
done
if [ "$failed" = 1 ]; then
    # Which files differ, by their contents and by what the listing shows.
    for side in one two; do
        folder=${!side-}
        [ "$side" = one ] || folder=$work/two
        tar -xOf "$(echo "$folder"/*.update)" root.squashfs >"$work/$side.squashfs"
        unsquashfs -lln "$work/$side.squashfs" >"$work/$side.list"
        unsquashfs -q -n -no-xattrs -d "$work/$side.root" "$work/$side.squashfs" >/dev/null
    done
    diff "$work/one.list" "$work/two.list" | head -n 20 || true
    diff -rq --no-dereference "$work/one.root" "$work/two.root" | head -n 20 || true
fi
exit "$failed"
