#!/bin/bash
# Cross-builds the program for another processor on Debian 12, into target/cross/build/TRIPLE/release.
#
#   cross.sh arm64
#
# Needs Debian's gcc-aarch64-linux-gnu (with libc6-dev-arm64-cross). The compiler is Debian's own rustc-web together with its
# libraries for both processors: they are downloaded by apt into target/cross and unpacked there, nothing is
# installed, and no foreign architecture is added to the system. A toolchain of rustup that has the target's library is taken
# instead if there is one. Cargo's own settings are honoured as in build.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."

say() { echo "cross.sh: $*" >&2; }

[ "${1:-}" = arm64 ] || {
    say "usage: cross.sh arm64"
    exit 2
}
target=aarch64-unknown-linux-gnu
gnu=aarch64-linux-gnu
CARGO=${CARGO:-cargo}
cross=$PWD/target/cross
root=$cross/root

command -v "$gnu-gcc" >/dev/null || {
    say "missing: $gnu-gcc (apt-get install gcc-$gnu libc6-dev-arm64-cross, or tests/setup.sh arm64)"
    exit 1
}

# An apt of its own: the system's sources and keys, with lists and architectures apart.
apt_here() { # apt_here PROGRAM ARGUMENT...
    local program=$1
    shift
    "$program" -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Architectures::=arm64 \
        -o Dir::State="$cross/apt/state" -o Dir::State::status="$cross/apt/status" -o Dir::Cache="$cross/apt/cache" \
        -o APT::Sandbox::User=root "$@"
}

fetch() {
    local candidate package
    mkdir -p "$cross/apt/state/lists/partial" "$cross/apt/cache/archives/partial"
    # What the system has already is not fetched; nothing of it is changed.
    cp /var/lib/dpkg/status "$cross/apt/status"
    apt_here apt-get update -q >&2
    candidate=$(apt_here apt-cache policy rustc-web | sed -n 's/^ *Candidate: //p')
    case $candidate in
    '' | '(none)')
        say "no rustc-web here: only Debian 12 has it. Elsewhere: rustup target add $target"
        exit 1
        ;;
    esac
    apt_here apt-get install -q -y --download-only --reinstall --no-install-recommends "rustc-web=$candidate" >&2
    (
        cd "$cross/apt/cache/archives"
        apt_here apt-get download -q "libstd-rust-web-dev:arm64=$candidate" >&2
    ) || {
        say "the mirror has no arm64 library of version $candidate: compiler and library must be of one version"
        exit 1
    }
    rm -rf "$root"
    mkdir "$root"
    for package in "$cross"/apt/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$root"
    done
}

rustc=${RUSTC:-rustc}
if [ -d "$("$rustc" --print sysroot)/lib/rustlib/$target/lib" ]; then
    say "$("$rustc" --version) has $target"
else
    [ -d "$root/usr/lib/rustlib/$target/lib" ] || fetch
    rustc=$root/usr/bin/rustc
    LD_LIBRARY_PATH=$root/usr/lib:$root/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    export LD_LIBRARY_PATH
    say "$("$rustc" --version) of target/cross"
fi

export RUSTC=$rustc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$gnu-gcc
export CC_aarch64_unknown_linux_gnu=$gnu-gcc AR_aarch64_unknown_linux_gnu=$gnu-ar
# A folder of its own, since another compiler would make everything in target/release anew.
"$CARGO" build --locked --release --bin skybridge --target "$target" --target-dir "$cross/build"
