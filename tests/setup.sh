#!/bin/sh
# Installs what `make demo` or `make test` needs on Debian or Ubuntu, and nothing that is there.
#   setup.sh build|demo|test
# Prints the folder to put before PATH if cargo had to be installed (nothing otherwise).
set -eu

want=${1:-build}
minor=95            # rust-version of Cargo.toml: 1.95

say() { echo "setup: $*" >&2; }

recent_cargo() {
    command -v cargo >/dev/null 2>&1 || return 1
    have=$(cargo --version | sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p')
    [ -n "$have" ] && [ "$have" -ge "$minor" ]
}

missing=
need() { # need PACKAGE PROGRAM-OR-FILE
    case $2 in
        /*) [ -e "$2" ] || missing="$missing $1" ;;
        *) command -v "$2" >/dev/null 2>&1 || [ -x "/usr/sbin/$2" ] || missing="$missing $1" ;;
    esac
}

need gcc cc
need libc6-dev /usr/include/stdio.h
case $want in
demo | test) need nftables nft ;;
esac
if [ "$want" = test ]; then
    need g++ c++
    need iproute2 ip
    need openssl openssl
    need python3 python3
    need python3-venv /usr/share/doc/python3-venv
    need util-linux setpriv
    need charon-systemd charon-systemd
    need strongswan-swanctl swanctl
    need libcharon-extra-plugins /usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so
    need libstrongswan-standard-plugins /usr/lib/ipsec/plugins/libstrongswan-gcm.so
    need libstrongswan-extra-plugins /usr/lib/ipsec/plugins/libstrongswan-curve25519.so
    need tshark tshark
fi

cargo_packages=
recent_cargo || cargo_packages="rustc-web cargo-web"

if [ -n "$missing$cargo_packages" ]; then
    say "installing:$missing $cargo_packages"
    command -v apt-get >/dev/null 2>&1 || {
        say "this is no Debian or Ubuntu: install the packages above by hand (cargo 1.$minor or newer)"
        exit 1
    }
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    $as_root apt-get update -q >&2
    if [ -n "$cargo_packages" ] && ! apt-cache show rustc-web >/dev/null 2>&1; then
        say "this release has no recent cargo: install cargo 1.$minor or newer (rustup) and try again"
        exit 1
    fi
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
        $missing $cargo_packages >&2
fi

if [ "$want" = test ] && ! target/python/bin/python -c 'import scapy' 2>/dev/null; then
    say "installing scapy into target/python"
    mkdir -p target
    python3 -m venv target/python >&2
    target/python/bin/pip install -q --disable-pip-version-check scapy==2.6.1 cryptography >&2
fi
