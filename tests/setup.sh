#!/bin/sh
# Installs what `make demo`, `make test` or `make bench` needs on Debian or Ubuntu, and nothing that is there.
#   setup.sh build|demo|test|bench|terraform|ansible|package|rpm|arm64|image|docs
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
if [ "$want" = docs ]; then
    need curl curl
    need iproute2 ip
    need iputils-ping ping
    need nftables nft
    need openssl openssl
    need procps sysctl
    need python3 python3
    need util-linux setpriv
fi
if [ "$want" = terraform ]; then
    need python3 python3
    need python3-venv /usr/share/doc/python3-venv
fi
if [ "$want" = ansible ]; then
    need python3 python3
    need python3-venv /usr/share/doc/python3-venv
    need iproute2 ip
    need openssl openssl
    need openssh-client ssh
    need dnsmasq-base dnsmasq
    need unbound unbound-checkconf
    need kea-dhcp4-server kea-dhcp4
    need dpkg-dev dpkg-scanpackages
    need gpg gpg
    need e2fsprogs debugfs
    need systemd-container systemd-nspawn
fi
case $want in
package | rpm | arm64)
    need python3 python3
    need git git
    need dpkg-dev dpkg-shlibdeps
    need binutils strip
    need systemd systemd-analyze
    ;;
esac
case $want in
package)
    need lintian lintian
    need mmdebstrap mmdebstrap
    need man-db man
    need util-linux unshare
    ;;
rpm)
    need rpm rpm
    need rpmlint rpmlint
    need mmdebstrap mmdebstrap
    ;;
arm64)
    need gcc-aarch64-linux-gnu aarch64-linux-gnu-gcc
    need libc6-dev-arm64-cross /usr/aarch64-linux-gnu/include/stdio.h
    need qemu-user-static qemu-aarch64-static
    ;;
esac
if [ "$want" = image ]; then
    need python3 python3
    need git git
    need mmdebstrap mmdebstrap
    need squashfs-tools mksquashfs
    need fdisk sfdisk
    need e2fsprogs mke2fs
    need dosfstools mkfs.vfat
    need mtools mcopy
    need qemu-utils qemu-img
    need qemu-system-x86 qemu-system-x86_64
    need ovmf /usr/share/OVMF
    need grub-pc-bin /usr/lib/grub/i386-pc/kernel.img
    need grub-efi-amd64-bin /usr/lib/grub/x86_64-efi/kernel.img
    need grub-common grub-mkimage
    need genisoimage genisoimage
    need zstd zstd
    need openssl openssl
    need openssh-client ssh
    need iproute2 ip
    need nftables nft
    need dnsmasq-base dnsmasq
    need iputils-ping ping
    need procps sysctl
fi
case $want in
demo | test) need nftables nft ;;
esac
if [ "$want" = test ]; then
    need g++ c++
    need iproute2 ip
    need iptables iptables-nft-restore
    need ethtool ethtool
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
    need libunbound8 /usr/share/doc/libunbound8
    need libnss3 /usr/share/doc/libnss3
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

# The package of libreswan and strongSwan's exclude each other: its checkers are only unpacked.
libreswan=$(dirname "$0")/../target/libreswan
if [ "$want" = test ] && [ ! -x "$libreswan/usr/libexec/ipsec/addconn" ]; then
    say "unpacking libreswan into target/libreswan"
    rm -rf "$libreswan.new"
    mkdir -p "$libreswan.new"
    # With the lists that are there, or with new ones where those are gone or too old.
    (
        cd "$libreswan.new"
        apt-get download -q libreswan || {
            [ "$(id -u)" = 0 ] && as_root= || as_root=sudo
            $as_root apt-get update -q
            apt-get download -q libreswan
        }
        dpkg-deb -x libreswan_*.deb .
        rm libreswan_*.deb
    ) >&2
    rm -rf "$libreswan"
    mv "$libreswan.new" "$libreswan"
fi

# What the benchmark compares with: each by itself, and going on without what cannot be had.
peer_package() { # peer_package PACKAGE PROGRAM-OR-FILE
    missing=
    need "$1" "$2"
    [ -n "$missing" ] || return 0
    say "installing $1"
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$1" >&2 ||
        say "going on without $1"
}

peer_crate() { # peer_crate CRATE VERSION PROGRAM
    for folder in "${SKYBRIDGE_BENCH_TOOLS:-target/bench-tools/bin}" target/bench-tools/bin; do
        [ -x "$folder/$3" ] && return 0
    done
    say "building $1 $2 into target/bench-tools (at most ${SKYBRIDGE_BENCH_BUILD_SECONDS:-900} s)"
    timeout "${SKYBRIDGE_BENCH_BUILD_SECONDS:-900}" cargo install -q --locked --root target/bench-tools \
        --version "$2" "$1" >&2 || say "going on without $1"
}

if [ "$want" = bench ]; then
    peer_package ethtool ethtool
    peer_package wireguard-go wireguard-go
    peer_package charon-systemd charon-systemd
    peer_package strongswan-swanctl swanctl
    peer_package libcharon-extra-plugins /usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so
    peer_package libstrongswan-standard-plugins /usr/lib/ipsec/plugins/libstrongswan-gcm.so
    peer_package libstrongswan-extra-plugins /usr/lib/ipsec/plugins/libstrongswan-curve25519.so
    peer_crate boringtun-cli 0.7.1 boringtun-cli
    peer_crate gotatun-cli 0.10.2 gotatun
fi

if [ "$want" = test ] && ! target/python/bin/python -c 'import scapy' 2>/dev/null; then
    say "installing scapy into target/python"
    mkdir -p target
    python3 -m venv target/python >&2
    target/python/bin/pip install -q --disable-pip-version-check scapy==2.6.1 cryptography >&2
fi

# Terraform itself and what checks the modules, and the packages that the providers' schemas are read from.
if [ "$want" = terraform ]; then
    stamp=target/terraform/installed
    if ! cat tests/terraform/requirements.txt tests/terraform/packages.txt | cmp -s - "$stamp"; then
        say "installing what checks the Terraform modules into target/terraform"
        rm -rf target/terraform
        mkdir -p target/terraform/packages
        python3 -m venv target/terraform/python >&2
        target/terraform/python/bin/pip install -q --disable-pip-version-check -r tests/terraform/requirements.txt >&2
        target/terraform/python/bin/pip download -q --disable-pip-version-check --no-deps --only-binary :all: \
            -d target/terraform/packages -r tests/terraform/packages.txt >&2
        cat tests/terraform/requirements.txt tests/terraform/packages.txt > "$stamp"
    fi
fi

if [ "$want" = ansible ] && [ ! -x target/ansible-venv/bin/molecule ]; then
    say "installing Ansible into target/ansible-venv (600 MB, two minutes on two processors)"
    mkdir -p target
    python3 -m venv target/ansible-venv >&2
    # The bundle `ansible` brings the collections ansible.posix and community.general along.
    target/ansible-venv/bin/pip install -q --disable-pip-version-check \
        ansible==12.3.0 ansible-lint==26.10.1 molecule==26.10.0 yamllint==1.38.0 >&2
fi

# What makes the packages. Each takes minutes to build and is kept.
package_crate() { # package_crate CRATE VERSION
    "target/tools/bin/$1" --version 2>/dev/null | grep -qwF "$2" && return 0
    say "building $1 $2 into target/tools"
    ${CARGO:-cargo} install -q --locked --root target/tools --target-dir target/tools/build --version "$2" "$1" >&2
    rm -rf target/tools/build
}

if [ "$want" = package ] || [ "$want" = arm64 ]; then
    package_crate cargo-deb 3.8.0
elif [ "$want" = rpm ]; then
    package_crate cargo-generate-rpm 0.21.1
fi
