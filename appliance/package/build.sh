#!/bin/bash
# Builds the packages into target/package/.
#
#   build.sh deb|rpm [--arch amd64|arm64] [--no-build]
#
# --no-build packs the program that was built before as it is. Cargo's own settings are honoured: where time counts more than
# the last tenth of speed, CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 make a quicker build, and
# SKYBRIDGE_PACKAGE_PROFILE=dev packs the one that the tests are built with, for trying the package and not for use.
# The result depends on the sources, the compiler and SOURCE_DATE_EPOCH (by default the last commit's time) only.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PATH:/usr/sbin:/sbin"
export LC_ALL=C.UTF-8 TZ=UTC
umask 022

say() { echo "build.sh: $*" >&2; }

usage() {
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}

kind=${1:-}
shift || true
case $kind in deb | rpm) ;; *) usage ;; esac
arch=amd64
build=true
while [ $# -gt 0 ]; do
    case $1 in
    --arch) arch=${2:-}; shift 2 || usage ;;
    --no-build) build=false; shift ;;
    *) usage ;;
    esac
done
case $arch in
amd64) target=x86_64-unknown-linux-gnu strip=strip ;;
arm64) target=aarch64-unknown-linux-gnu strip=aarch64-linux-gnu-strip ;;
*) usage ;;
esac

CARGO=${CARGO:-cargo}
tools=${SKYBRIDGE_PACKAGE_TOOLS:-target/tools/bin}
out=target/package
stage=$out/stage
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.lock)
fi
export SOURCE_DATE_EPOCH

profile=${SKYBRIDGE_PACKAGE_PROFILE:-release}
if [ "$arch" = amd64 ]; then
    case $profile in
    release) binary=target/release/skybridge ;;
    dev) binary=target/debug/skybridge ;;
    *)
        say "SKYBRIDGE_PACKAGE_PROFILE is release or dev"
        exit 2
        ;;
    esac
    # The compiler is not told the time: C code of dependencies would be built anew after each commit, and come out the same.
    if $build; then env -u SOURCE_DATE_EPOCH "$CARGO" build --locked --profile "$profile" --bin skybridge; fi
else
    binary=target/cross/build/$target/release/skybridge
    if $build; then env -u SOURCE_DATE_EPOCH appliance/package/cross.sh "$arch"; fi
fi
[ -x "$binary" ] || {
    say "$binary is not there: leave --no-build out"
    exit 1
}

# Runs the new program, by an emulator where it is for another processor.
program() {
    if [ "$arch" = arm64 ]; then
        qemu-aarch64-static -L /usr/aarch64-linux-gnu "$binary" "$@"
    else
        "$binary" "$@"
    fi
}

rm -rf "$stage"
mkdir -p "$stage/man" "$stage/completions"
mkdir "$stage/docs"
cp docs/*.md "$stage/docs"
gzip -9nc docs/CHANGELOG.md >"$stage/changelog.gz"
rm "$stage/docs/CHANGELOG.md"
"$strip" --strip-unneeded --remove-section=.comment -o "$stage/skybridge" "$binary"
program man "$stage/man"
program completions bash >"$stage/completions/skybridge"
program completions zsh >"$stage/completions/_skybridge"
program completions fish >"$stage/completions/skybridge.fish"
python3 appliance/package/copyright.py "$target" >"$stage/copyright"

version=$("$CARGO" metadata --locked --offline --no-deps --format-version=1 |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["packages"][0]["version"])')
case $kind in
deb)
    name=skybridge_${version}-1_$arch.deb
    rm -f "$out/$name"
    PATH="$PWD/$tools:$PATH" "$CARGO" deb --quiet --no-build --no-strip --target "$target" --output "$out/$name"
    ;;
rpm)
    # cargo-deb compresses them itself.
    gzip -9n "$stage"/man/*
    name=skybridge-${version}-1.${target%%-*}.rpm
    rm -f "$out/$name"
    PATH="$PWD/$tools:$PATH" "$CARGO" generate-rpm --target "$target" --output "$out/$name" \
        --auto-req builtin --source-date "$SOURCE_DATE_EPOCH"
    ;;
esac
say "$out/$name, $(stat -c %s "$out/$name") octets, sha256 $(sha256sum "$out/$name" | cut -d ' ' -f 1)"
