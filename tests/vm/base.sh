#!/bin/bash
# Builds the plain machine on which packages and the Ansible role are tested: a writable Debian with the image's base packages,
# booted by qemu with its kernel given from outside. It knows one SSH key (made here), gets its addresses from the kernel
# command line (systemd-network-generator), and holds nothing of Skybridge.
#   tests/vm/base.sh [bookworm|trixie]      makes target/vm/SUITE/{disk.img,vmlinuz,initrd.img,packages} and target/vm/id_ed25519
# What is there already is kept; remove target/vm/SUITE to build anew. SKYBRIDGE_MIRROR names another mirror than Debian's own.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
suite=${1:-bookworm}
mirror=${SKYBRIDGE_MIRROR:-http://deb.debian.org/debian}
security=${SKYBRIDGE_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
export PATH="$PATH:/usr/sbin:/sbin"

say() { printf 'base: %s\n' "$*" >&2; }

case $suite in
bookworm | trixie) ;;
*)
    say "usage: base.sh [bookworm|trixie]"
    exit 2
    ;;
esac

store=$root/target/vm
out=$store/$suite
mkdir -p "$store"
exec 9>"$store/.$suite.lock"
flock 9

recipe=$(sha256sum "$here/base.sh" "$root/appliance/image/packages.base" | sha256sum | cut -d' ' -f1)
if [ -s "$out/disk.img" ] && [ "$(cat "$out/recipe" 2>/dev/null)" = "$recipe" ]; then
    say "$out is there"
    exit 0
fi

for tool in mmdebstrap mke2fs ssh-keygen; do
    command -v "$tool" >/dev/null || {
        say "missing: $tool (tests/setup.sh image)"
        exit 1
    }
done

# In a user namespace the tree belongs to other ids, so everything that reads it runs there too.
as_owner=()
[ "$(id -u)" = 0 ] || as_owner=(mmdebstrap --unshare-helper)

work=$(mktemp -d "${TMPDIR:-/tmp}/skybridge-base.XXXXXX")
trap '"${as_owner[@]}" rm -rf "$work/root"; rm -rf "$work"' EXIT

(
    flock 8
    [ -s "$store/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C skybridge-test -f "$store/id_ed25519"
) 8>"$store/.key.lock"

packages=$(sed 's/#.*//' "$root/appliance/image/packages.base" | xargs | tr ' ' ',')

cat >"$work/setup" <<'SETUP'
#!/bin/sh
# Runs outside of the new system, with its root as first argument and the public key as second.
set -eu
chroot "$1" systemctl -q enable systemd-networkd systemd-resolved systemd-network-generator ssh
chroot "$1" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer
chroot "$1" passwd -q -l root
install -d -m 0700 "$1/root/.ssh"
install -m 0600 "$2" "$1/root/.ssh/authorized_keys"
printf '/dev/vda / ext4 defaults 0 1\n' >"$1/etc/fstab"
printf 'skybridge-test\n' >"$1/etc/hostname"
printf '127.0.0.1 localhost skybridge-test\n::1 localhost\n' >"$1/etc/hosts"
printf 'PasswordAuthentication no\nUseDNS no\n' >"$1/etc/ssh/sshd_config.d/test.conf"
# Nobody waits for a network that is never complete in a test.
chroot "$1" systemctl -q disable systemd-networkd-wait-online
: >"$1/etc/machine-id"
ln -sf /run/systemd/resolve/stub-resolv.conf "$1/etc/resolv.conf"
SETUP
chmod 0755 "$work" "$work/setup"
cp "$store/id_ed25519.pub" "$work/key.pub"

say "building $suite (a few minutes)"
mmdebstrap --quiet --variant=minbase --mode="$([ "$(id -u)" = 0 ] && echo root || echo unshare)" \
    --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook="$work/setup \"\$1\" $work/key.pub" \
    "$suite" "$work/root" \
    "deb $mirror $suite main" "deb $mirror $suite-updates main" "deb $security $suite-security main"

mkdir "$work/out"
"${as_owner[@]}" find "$work/root/boot" -name 'vmlinuz-*' -exec cat {} + >"$work/out/vmlinuz"
"${as_owner[@]}" find "$work/root/boot" -name 'initrd.img-*' -exec cat {} + >"$work/out/initrd.img"
# shellcheck disable=SC2016
"${as_owner[@]}" dpkg-query --admindir="$work/root/var/lib/dpkg" -W -f='${Package} ${Version} ${Architecture}\n' >"$work/out/packages"
truncate -s 4G "$work/out/disk.img"
[ "$(id -u)" = 0 ] || chmod 0777 "$work/out" "$work/out/disk.img"
"${as_owner[@]}" mke2fs -q -t ext4 -L skybridge-test -d "$work/root" "$work/out/disk.img"
chmod 0755 "$work/out"
chmod 0644 "$work/out"/*
printf '%s\n' "$recipe" >"$work/out/recipe"
rm -rf "$out"
cp -r --sparse=always "$work/out" "$out.new"
mv "$out.new" "$out"
say "$out: $(wc -l <"$out/packages") packages, $(du -m "$out/disk.img" | cut -f1) MiB"
