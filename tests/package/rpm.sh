#!/bin/bash
# The package of the RHEL family, as far as that can be tried on Debian: its list of files with owners and modes, what it
# requires, its scripts, and an installation, upgrade and removal by rpm itself in a fresh Debian 12 without looking at
# dependencies. Not a RHEL system: their names there, SELinux and presets are not tried by this.
#
#   rpm.sh      the newest target/package/skybridge-*.x86_64.rpm; needs root, rpm, and what chroot.sh needs
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C.UTF-8
base=target/package/base/bookworm.tar

[ "$(id -u)" = 0 ] || {
    echo "rpm.sh: run it as root (sudo)" >&2
    exit 1
}
package=
for found in target/package/skybridge-*.x86_64.rpm; do
    [ -e "$found" ] && { [ -z "$package" ] || [ "$found" -nt "$package" ]; } && package=$found
done
[ -n "$package" ] || {
    echo "rpm.sh: no package: run appliance/package/build.sh rpm" >&2
    exit 1
}
[ -s "$base" ] || {
    echo "rpm.sh: no $base: run tests/package/chroot.sh bookworm" >&2
    exit 1
}
work=$(mktemp -d /tmp/skybridge-rpm.XXXXXX)
trap 'rm -rf "$work"' EXIT
root=$work/root

fail() {
    echo "not ok: $*" >&2
    exit 1
}
has() { case $2 in *"$3"*) ;; *) fail "$1: no '$3' in: $2" ;; esac; }
query() { rpm -qp --nosignature "$@" "$package"; }

# shellcheck disable=SC2016
inside() {
    unshare --mount --net --pid --fork --kill-child -- sh -c \
        'mount -t proc proc "$0/proc" && exec chroot "$@"' "$root" "$root" \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"
}
here() { unshare --net -- rpm --root "$root" --nosignature --nodeps "$@"; }
owner() { inside stat -c '%U:%G %a' "$1"; }

rpmlint --config appliance/package/rpm/rpmlint.toml "$package" >"$work/log" 2>&1 || fail "rpmlint: $(cat "$work/log")"
rpm -K --nosignature "$package" >/dev/null || fail "its digests do not fit"
files=$(query --queryformat '[%{FILENAMES} %{FILEMODES:octal} %{FILEUSERNAME}:%{FILEGROUPNAME}\n]')
for line in "/usr/bin/skybridge 100755 root:root" "/usr/lib/systemd/system/skybridge.service 100644 root:root" \
    "/etc/skybridge/skybridge.toml 100640 root:skybridge" "/usr/lib/sysusers.d/skybridge.conf 100644 root:root" \
    "/usr/lib/tmpfiles.d/skybridge.conf 100644 root:root" "/usr/lib/sysctl.d/50-skybridge.conf 100644 root:root" \
    "/usr/share/man/man1/skybridge.1.gz 100644 root:root" "/usr/share/man/man5/skybridge.toml.5.gz 100644 root:root" \
    "/usr/share/bash-completion/completions/skybridge 100644 root:root" \
    "/usr/share/zsh/site-functions/_skybridge 100644 root:root" \
    "/usr/share/licenses/skybridge/copyright 100644 root:root"; do
    has "files" "$files" "$line"
done
has "configuration files" "$(query -c)" /etc/skybridge/skybridge.toml
requires=$(query --requires)
for name in nftables systemd "libc.so.6(GLIBC_2.34)(64bit)" "libgcc_s.so.1()(64bit)"; do
    has "requirements" "$requires" "$name"
done
# RHEL 9 has glibc 2.34.
newest=$(echo "$requires" | sed -n 's/^libc.so.6(GLIBC_\([0-9.]*\)).*/\1/p' | sort -V | tail -n 1)
[ "$(printf '%s\n2.34\n' "$newest" | sort -V | tail -n 1)" = 2.34 ] || fail "needs glibc $newest"
for script in PREIN POSTIN PREUN POSTUN; do
    query --queryformat "%{$script}" >"$work/script"
    [ -s "$work/script" ] || fail "no script $script"
    sh -n "$work/script"
done

mkdir "$root"
tar -C "$root" -xf "$base"
here -i "$package" 2>"$work/log" || fail "install: $(cat "$work/log")"
[ "$(owner /etc/skybridge/skybridge.toml)" = "root:skybridge 640" ] || fail "owner of the configuration"
[ "$(owner /etc/skybridge)" = "root:skybridge 750" ] || fail "owner of its folder"
[ "$(owner /etc/skybridge/credentials)" = "root:root 700" ] || fail "owner of the credentials"
has "check" "$(inside skybridge check 2>&1)" "is usable: 0 peers"
here -V skybridge >"$work/verify" 2>&1 || fail "verify: $(cat "$work/verify")"
echo '# mine' >>"$root/etc/skybridge/skybridge.toml"
here -U --replacepkgs "$package" 2>"$work/log" || fail "again: $(cat "$work/log")"
has "the edited configuration" "$(tail -n 1 "$root/etc/skybridge/skybridge.toml")" "# mine"
here -e skybridge 2>"$work/log" || fail "erase: $(cat "$work/log")"
[ ! -e "$root/usr/bin/skybridge" ] || fail "the program is still there"
has "the edited configuration" "$(tail -n 1 "$root/etc/skybridge/skybridge.toml.rpmsave")" "# mine"
echo "ok: $(basename "$package"): $(echo "$files" | wc -l) files; installed, replaced and erased by rpm"
