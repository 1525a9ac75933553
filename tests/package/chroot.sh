#!/bin/bash
# Installs, upgrades, removes and purges the Debian package in fresh systems and looks at what is there afterwards.
#
#   chroot.sh [SUITE...]        bookworm and trixie by default; the package is target/package/skybridge_*_amd64.deb
#
# The bases are made once by mmdebstrap and kept in target/package/base. No service runs in a chroot: what systemd does
# with the package is boot.py's part. Needs root. SKYBRIDGE_MIRROR names another mirror than Debian's own.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C.UTF-8
mirror=${SKYBRIDGE_MIRROR:-http://deb.debian.org/debian}
bases=target/package/base

[ "$(id -u)" = 0 ] || {
    echo "chroot.sh: run it as root (sudo)" >&2
    exit 1
}

package=
for found in target/package/skybridge_*_amd64.deb; do
    [ -e "$found" ] && { [ -z "$package" ] || [ "$found" -nt "$package" ]; } && package=$found
done
[ -n "$package" ] || {
    echo "chroot.sh: no package: run appliance/package/build.sh deb" >&2
    exit 1
}
work=$(mktemp -d /tmp/skybridge-package.XXXXXX)
trap 'rm -rf "$work"' EXIT
root=$work/root
checks=0

fail() {
    echo "not ok: $*" >&2
    exit 1
}

is() { # is WHAT EXPECTED ACTUAL
    [ "$2" = "$3" ] || fail "$1: expected '$2', found '$3'"
    checks=$((checks + 1))
}

has() { # has WHAT TEXT PART
    case $2 in *"$3"*) checks=$((checks + 1)) ;; *) fail "$1: no '$3' in: $2" ;; esac
}

# A link's target is inside.
exists() { [ -e "$root$1" ] || [ -L "$root$1" ]; }
there() { for path in "$@"; do exists "$path" || fail "$path is missing"; checks=$((checks + 1)); done; }
gone() { for path in "$@"; do ! exists "$path" || fail "$path is still there"; checks=$((checks + 1)); done; }

# In namespaces of its own: what it starts ends with it, and no route of the host is in reach.
inside() {
    # shellcheck disable=SC2016
    unshare --mount --net --pid --fork --kill-child -- sh -c \
        'mount -t proc proc "$0/proc" && exec chroot "$@"' "$root" "$root" \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

field() { inside dpkg-query -W -f "\${$1}" skybridge; }
owner() { inside stat -c '%U:%G %a' "$1"; }

base() { # base SUITE: with what the package depends on, so that dpkg alone installs it
    local tarball=$bases/$1.tar
    [ -s "$tarball" ] && return 0
    mkdir -p "$bases"
    echo "chroot.sh: making $tarball" >&2
    mmdebstrap --quiet --variant=minbase --include=nftables,systemd,init-system-helpers \
        --dpkgopt='path-exclude=/usr/share/locale/*' --format=tar "$1" "$tarball.new" "deb $mirror $1 main"
    mv "$tarball.new" "$tarball"
}

# The same package with a higher version and another default configuration.
newer() { # newer DIRECTORY
    dpkg-deb -R "$package" "$1"
    sed -i 's/^Version: .*/Version: 9.9.9-1/' "$1/DEBIAN/control"
    echo '# A comment of the next version.' >>"$1/etc/skybridge/skybridge.toml"
    rm -f "$1/DEBIAN/md5sums"
    dpkg-deb --root-owner-group -Zgzip -b "$1" "$work/newer.deb" >/dev/null
}

fresh() {
    rm -rf "$root"
    mkdir "$root"
    tar -C "$root" -xf "$bases/$1.tar"
    cp "$package" "$root/root/first.deb"
    cp "$work/newer.deb" "$root/root/newer.deb"
}

installed() {
    is "user's group" skybridge "$(inside id -gn skybridge)"
    has "user's groups" "$(inside id -Gn skybridge)" skybridge-control
    has "user's shell" "$(inside getent passwd skybridge)" nologin
    is "configuration" "root:skybridge 640" "$(owner /etc/skybridge/skybridge.toml)"
    is "its folder" "root:skybridge 750" "$(owner /etc/skybridge)"
    is "more of it" "root:skybridge 750" "$(owner /etc/skybridge/conf.d)"
    is "credentials" "root:root 700" "$(owner /etc/skybridge/credentials)"
    there /usr/bin/skybridge /usr/lib/systemd/system/skybridge.service \
        /etc/systemd/system/multi-user.target.wants/skybridge.service \
        /usr/lib/sysusers.d/skybridge.conf /usr/lib/tmpfiles.d/skybridge.conf /usr/lib/sysctl.d/50-skybridge.conf \
        /usr/share/man/man1/skybridge.1.gz /usr/share/man/man1/skybridge-run.1.gz \
        /usr/share/man/man5/skybridge.toml.5.gz /usr/share/bash-completion/completions/skybridge \
        /usr/share/zsh/vendor-completions/_skybridge /usr/share/fish/vendor_completions.d/skybridge.fish \
        /usr/share/doc/skybridge/copyright /usr/share/doc/skybridge/changelog.Debian.gz \
        /usr/share/doc/skybridge/examples/rbac.yaml
    is "configured" "install ok installed" "$(field Status)"
    has "version" "$(inside skybridge --version)" "skybridge "
    has "check" "$(inside skybridge check 2>&1)" "is usable: 0 peers"
    has "check by the service's user" "$(as_service skybridge check 2>&1)" "is usable: 0 peers"
    is "audit" "" "$(inside dpkg --audit)"
}

as_service() { inside setpriv --reuid skybridge --regid skybridge --init-groups "$@"; }

# A peer with a key that the group may read: root and the service judge it alike, with and without `user`.
secrets() {
    local key=/etc/skybridge/office.psk
    inside skybridge genkey psk >"$root$key"
    inside chown root:skybridge "$key"
    inside chmod 0640 "$key"
    cat >"$root/etc/skybridge/conf.d/office.toml" <<'TOML'
[peers.office]
remote = "any"
local_id = "cloud.example.com"
remote_id = "office.example.com"
auth = { psk_file = "/etc/skybridge/office.psk" }
[peers.office.children.lan]
local = ["10.96.0.0/16"]
remote = ["192.168.10.0/24"]
TOML
    inside chown root:skybridge /etc/skybridge/conf.d/office.toml
    inside chmod 0640 /etc/skybridge/conf.d/office.toml
    has "root's check of a group's key" "$(inside skybridge check 2>&1)" "is usable: 1 peer"
    has "the service's check" "$(as_service skybridge check 2>&1)" "is usable: 1 peer"
    inside sed -i 's/^user = /#&/' /etc/skybridge/skybridge.toml
    has "root's check without user" "$(inside skybridge check 2>&1)" "is usable: 1 peer"
    inside sed -i 's/^#user = /user = /' /etc/skybridge/skybridge.toml
    inside chgrp games "$key"
    has "a foreign group" "$(inside skybridge check 2>&1 || true)" "may be read by a group"
    inside chgrp skybridge "$key"
    # A credential is root's alone; root's check finds it where systemd takes it from.
    inside sh -c 'umask 077; skybridge genkey psk >/etc/skybridge/credentials/office'
    sed -i 's|/etc/skybridge/office.psk|credential:office|' "$root/etc/skybridge/conf.d/office.toml"
    has "root's check of a credential" "$(inside skybridge check 2>&1)" "is usable: 1 peer"
}

upgrade_untouched() {
    fresh "$1"
    inside dpkg -i /root/first.deb >/dev/null
    inside dpkg -i /root/newer.deb >/dev/null
    has "the new default" "$(cat "$root/etc/skybridge/skybridge.toml")" "A comment of the next version."
    is "its owner after the upgrade" "root:skybridge 640" "$(owner /etc/skybridge/skybridge.toml)"
}

suite() {
    base "$1"
    fresh "$1"
    # What the package depends on is in the release by the names that it gives.
    inside dpkg -i /root/first.deb >"$work/log" 2>&1 || fail "dpkg -i: $(cat "$work/log")"
    installed
    secrets

    # An upgrade keeps what was edited, and its owner; and what the daemon remembers.
    echo '# mine' >>"$root/etc/skybridge/skybridge.toml"
    inside chmod 0600 /etc/skybridge/conf.d
    mkdir -p "$root/var/lib/skybridge"
    echo state >"$root/var/lib/skybridge/system.json"
    before=$(sha256sum <"$root/etc/skybridge/skybridge.toml")
    inside dpkg --force-confdef --force-confold -i /root/newer.deb >"$work/log" 2>&1 || fail "upgrade: $(cat "$work/log")"
    is "upgraded to" 9.9.9-1 "$(field Version)"
    is "the edited configuration" "$before" "$(sha256sum <"$root/etc/skybridge/skybridge.toml")"
    is "its owner" "root:skybridge 640" "$(owner /etc/skybridge/skybridge.toml)"
    is "a mode that was changed" "root:skybridge 600" "$(owner /etc/skybridge/conf.d)"
    there /etc/skybridge/skybridge.toml.dpkg-dist /etc/skybridge/office.psk /var/lib/skybridge/system.json \
        /etc/systemd/system/multi-user.target.wants/skybridge.service

    # A removal keeps configuration and state.
    inside dpkg -r skybridge >"$work/log" 2>&1 || fail "remove: $(cat "$work/log")"
    gone /usr/bin/skybridge /usr/lib/systemd/system/skybridge.service
    there /etc/skybridge/skybridge.toml /etc/skybridge/office.psk /etc/skybridge/credentials/office

    # A purge takes ours and leaves and names what is the administrator's.
    inside dpkg -P skybridge >"$work/log" 2>&1 || fail "purge: $(cat "$work/log")"
    gone /etc/skybridge/skybridge.toml /etc/skybridge/skybridge.toml.dpkg-dist /var/lib/skybridge \
        /etc/systemd/system/multi-user.target.wants/skybridge.service
    there /etc/skybridge/office.psk /etc/skybridge/credentials/office /etc/skybridge/conf.d/office.toml
    has "what stays is named" "$(cat "$work/log")" /etc/skybridge/office.psk
    is "listed" "" "$(field Package 2>/dev/null || true)"

    # Again, with nothing of the administrator's.
    rm -rf "$root/etc/skybridge"
    inside dpkg -i /root/first.deb >"$work/log" 2>&1 || fail "again: $(cat "$work/log")"
    installed
    inside dpkg -P skybridge >"$work/log" 2>&1 || fail "purge at once: $(cat "$work/log")"
    gone /etc/skybridge /var/lib/skybridge
    upgrade_untouched "$1"
    echo "ok: $1 ($(cat "$root/etc/debian_version")): $checks checks"
}

newer "$work/unpacked"
[ $# -gt 0 ] || set -- bookworm trixie
for name in "$@"; do
    checks=0
    suite "$name"
done
