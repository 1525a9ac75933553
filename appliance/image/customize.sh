#!/bin/sh
# Makes the appliance of an installed Debian: run by build.sh through mmdebstrap, outside of the new system.
#   customize.sh ROOT WORK     WORK holds files/ and skybridge.deb
set -eu
root=$1
work=$2
epoch=$SOURCE_DATE_EPOCH
export LC_ALL=C.UTF-8 TZ=UTC DEBIAN_FRONTEND=noninteractive

inside() { chroot "$root" "$@"; }

cp -r "$work/files/." "$root/"
cp "$work/skybridge.deb" "$root/skybridge.deb"
inside dpkg --force-confold -i /skybridge.deb >&2
rm "$root/skybridge.deb"

# Services: ours, and what an appliance does not want.
inside systemctl -q enable systemd-networkd systemd-resolved systemd-timesyncd systemd-networkd-wait-online ssh skybridge \
    skybridge-appliance-firewall.service skybridge-appliance-allow.service skybridge-appliance-allow.path \
    skybridge-appliance-hostkeys.service skybridge-appliance-health.service
# nftables.service begins with `flush ruleset`, which would take every table.
inside systemctl -q mask nftables.service
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    systemd-firstboot.service systemd-machine-id-commit.service systemd-sysupdate.timer; do
    inside systemctl -q mask "$unit" 2>/dev/null || true
done
# Persistent names of cards, addresses and keys belong to a machine, not to the image.
rm -f "$root"/etc/ssh/ssh_host_*
printf 'skybridge\n' >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\nff02::1 ip6-allnodes\nff02::2 ip6-allrouters\n' >"$root/etc/hosts"
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id"
ln -sf /run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
mkdir -p "$root/data" "$root/etc/skybridge/appliance"
chmod 0755 "$root/etc/skybridge/appliance"
# The daemon's user reads what is in here by its group; the folder of the allow file must be found by nobody else.
inside passwd -q -l root
# File capabilities are not kept in the image; ping works by net.ipv4.ping_group_range.
inside setcap -r /usr/bin/ping 2>/dev/null || true

# The initial RAM disk, once, with everything in place.
sed -i 's/^MODULES=.*/MODULES=most/; s/^COMPRESS=.*/COMPRESS=zstd/; s/^#* *COMPRESSLEVEL=.*/COMPRESSLEVEL=9/' "$root/etc/initramfs-tools/initramfs.conf"
printf 'virtio_blk\nvirtio_scsi\nvirtio_net\nnvme\nena\ngve\nhv_storvsc\nhv_netvsc\nxen_blkfront\nxen_netfront\n' >>"$root/etc/initramfs-tools/modules"
kernel=$(basename "$(ls -d "$root"/lib/modules/*)")
rm -f "$root"/boot/initrd.img*
inside env "SOURCE_DATE_EPOCH=$epoch" mkinitramfs -o "/boot/initrd.img-$kernel" "$kernel" >&2
ln -sf "boot/vmlinuz-$kernel" "$root/vmlinuz"
ln -sf "boot/initrd.img-$kernel" "$root/initrd.img"
rm -f "$root"/vmlinuz.old "$root"/initrd.img.old "$root"/boot/System.map-*

# What no running appliance needs, and what differs from build to build. Of /tmp and apt's folders mmdebstrap still has a use, and
# build.sh empties them: without the settings in /tmp it would clean the lists of the machine that builds.
ls "$root"/tmp/mmdebstrap.apt.conf.* >/dev/null
rm -rf "$root"/var/log/* "$root"/var/tmp/* "$root"/run/* \
    "$root"/var/lib/systemd/random-seed "$root"/var/lib/systemd/catalog/database "$root"/var/lib/initramfs-tools \
    "$root"/var/lib/dpkg/*-old "$root"/var/backups/* "$root"/etc/*- "$root"/etc/.pwd.lock "$root"/root/.wget-hsts
rm -f "$root"/var/lib/dpkg/lock "$root"/var/lib/dpkg/lock-frontend "$root"/var/lib/dpkg/triggers/Lock
mkdir -p "$root/var/log/journal"
# The day of the last change of a password that nobody has.
days=$((epoch / 86400))
awk -F: -v OFS=: -v days="$days" '{ $3 = days; print }' "$root/etc/shadow" >"$root/etc/shadow.new"
chown --reference="$root/etc/shadow" "$root/etc/shadow.new"
chmod --reference="$root/etc/shadow" "$root/etc/shadow.new"
mv "$root/etc/shadow.new" "$root/etc/shadow"

# Compiled Python anew, in one process and by hash: what the packages' scripts leave differs in details of the moment.
find "$root/usr/lib/python3" "$root"/usr/lib/python3.* "$root/usr/share" -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
inside env PYTHONHASHSEED=0 python3 -c '
import compileall, py_compile
for folder in ("/usr/lib/python3", "/usr/lib/python3.11"):
    compileall.compile_dir(folder, quiet=2, force=True, workers=1,
                           invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
' >&2 || true
