#!/bin/bash
# Builds the appliance image on Debian, as root or where unprivileged user namespaces are allowed; no docker, no loop devices.
#
#   build.sh [--deb FILE] [--out FOLDER] [--version VERSION] [--update-key PUBLIC.pem] [--sign-key PRIVATE.pem]
#            [--mirror URL] [--security-mirror URL] [--keep]
#
# Writes into target/image (or FOLDER), as skybridge-appliance-VERSION-amd64 with these endings:
#   .raw .qcow2      the disk: boots by BIOS and by UEFI
#   .update          what `skybridge-appliance update` takes: the root with its checksum, and a signature if there is a key
#   .manifest        packages and versions      .spdx.json  the bill of materials: packages, and crates of the daemon
#   .sha256          checksums of all of these
# The update key is built into the image, which then takes signed updates only; the sign key signs this build's bundle:
#   openssl genpkey -algorithm ed25519 -out update.key && openssl pkey -in update.key -pubout -out update.pub
# The result depends on these files, the package, the versions of Debian's packages and SOURCE_DATE_EPOCH (by default the last
# commit's time). --mirror http://snapshot.debian.org/archive/debian/DATE pins the versions. --keep keeps the root folder.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C.UTF-8 TZ=UTC
umask 022

say() { printf 'image: %s\n' "$*" >&2; }
fail() {
    say "$*"
    exit 1
}
usage() {
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}

deb='' out=$top/target/image version='' update_key='' sign_key='' keep=0 suite=bookworm
mirror=${SKYBRIDGE_MIRROR:-http://deb.debian.org/debian}
security=${SKYBRIDGE_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
while [ $# -gt 0 ]; do
    case $1 in
    --keep) keep=1 ;;
    --deb | --out | --version | --update-key | --sign-key | --mirror | --security-mirror)
        [ $# -gt 1 ] || usage
        case $1 in
        --deb) deb=$2 ;;
        --out) out=$2 ;;
        --version) version=$2 ;;
        --update-key) update_key=$2 ;;
        --sign-key) sign_key=$2 ;;
        --mirror) mirror=$2 ;;
        --security-mirror) security=$2 ;;
        esac
        shift
        ;;
    *) usage ;;
    esac
    shift
done

for tool in mmdebstrap mksquashfs sfdisk mkfs.vfat mcopy qemu-img grub-mkimage openssl python3 dpkg-deb; do
    command -v "$tool" >/dev/null || fail "missing: $tool (tests/setup.sh image)"
done
for folder in i386-pc x86_64-efi; do
    [ -d "/usr/lib/grub/$folder" ] || fail "missing: /usr/lib/grub/$folder (tests/setup.sh image)"
done

if [ -z "$deb" ]; then
    # The newest package that was built here.
    for file in "$top"/target/package/skybridge_*_amd64.deb; do
        [ -e "$file" ] && { [ -z "$deb" ] || [ "$file" -nt "$deb" ]; } && deb=$file
    done
fi
[ -e "$deb" ] || fail "no package: appliance/package/build.sh deb makes it, --deb FILE names another"
[ -n "$version" ] || version=$(dpkg-deb -f "$deb" Version)
[[ $version =~ ^[A-Za-z0-9][A-Za-z0-9.+~-]{0,63}$ ]] || fail "a version has letters, digits and . + ~ -"
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git -C "$top" log -1 --format=%ct 2>/dev/null || stat -c %Y "$deb")
fi
export SOURCE_DATE_EPOCH

name=skybridge-appliance-$version-amd64
mode=root
as_owner=()
if [ "$(id -u)" != 0 ]; then
    mode=unshare
    as_owner=(mmdebstrap --unshare-helper)
fi
mkdir -p "$out"
out=$(cd "$out" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/skybridge-image.XXXXXX")
chmod 0755 "$work"
leave() {
    [ "$keep" = 1 ] && { say "kept: $work"; return; }
    # The owner of the root may not be the one of the folder that it is in.
    [ ! -d "$work/root" ] || "${as_owner[@]}" find "$work/root" -mindepth 1 -delete
    rm -rf "$work"
}
trap leave EXIT

# Identities that are the same in every build: the boot loader and updates rely on them.
identity() { python3 -c 'import sys,uuid; print(uuid.uuid5(uuid.UUID("6b1c5e9e-2b0c-5d53-9d3a-1f2f1f0a7b11"), sys.argv[1]))' "$1"; }
root_a=$(identity root-a)
root_b=$(identity root-b)
esp=$(identity esp)

say "version $version from $(basename "$deb"), mode $mode, SOURCE_DATE_EPOCH=$SOURCE_DATE_EPOCH"
cp -r "$here/files" "$work/files"
# Whatever umask the sources were checked out under, and without empty folders, which git does not keep.
find "$work/files" -type d -empty -delete
find "$work/files" -type d -exec chmod 0755 {} + -o -perm /0111 -exec chmod 0755 {} + -o -exec chmod 0644 {} +
cp "$deb" "$work/skybridge.deb"
cp "$here/customize.sh" "$work/"
cat >"$work/files/usr/lib/skybridge-appliance/release" <<EOF
VERSION=$version
BUILD=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
ARCHITECTURE=amd64
ROOT_A=$root_a
ROOT_B=$root_b
ESP=$esp
EOF
if [ -n "$update_key" ]; then
    openssl pkey -pubin -in "$update_key" -noout -text | grep -q ED25519 || fail "$update_key: no Ed25519 public key"
    openssl pkey -pubin -in "$update_key" -pubout -out "$work/files/usr/lib/skybridge-appliance/update.pub"
fi

packages=$(sed 's/#.*//' "$here/packages.base" "$here/packages.appliance" | xargs | tr ' ' ',')
touch "$work/customize.sh"
say "Debian's packages"
INITRD=No mmdebstrap --quiet --mode="$mode" --variant=essential --include="$packages" \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/bug/*' \
    --dpkgopt='path-exclude=/usr/share/lintian/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook="$work/customize.sh \"\$1\" $work" \
    "$suite" "$work/root" \
    "deb $mirror $suite main" "deb $mirror $suite-updates main" "deb $security $suite-security main"

say "root file system"
# mmdebstrap's own end: lists, settings and what it wrote behind the hook.
# shellcheck disable=SC2016
"${as_owner[@]}" sh -c 'rm -rf "$1"/var/cache/* "$1"/var/lib/apt/* "$1"/tmp/* && mkdir -m 0700 "$1/var/cache/ldconfig"' sh "$work/root"
"${as_owner[@]}" find "$work/root" -xdev -newer "$work/customize.sh" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
# What it mounts there differs by the mode.
"${as_owner[@]}" touch --date="@$SOURCE_DATE_EPOCH" "$work/root/dev" "$work/root/proc" "$work/root/sys" "$work/root/run"
# shellcheck disable=SC2016
"${as_owner[@]}" dpkg-query --admindir="$work/root/var/lib/dpkg" -W \
    -f='${binary:Package}\t${Version}\t${Architecture}\t${source:Package}\t${source:Version}\n' | LC_ALL=C sort >"$work/packages"
# LZO is what GRUB reads and small machines unpack quickly, in blocks that are not much larger than what is asked for. Kernel and
# initial RAM disk do not shrink and so stand in there as they are.
"${as_owner[@]}" mksquashfs "$work/root" "$work/root/run/root.squashfs" -quiet -no-progress -noappend -no-xattrs \
    -comp lzo -Xcompression-level 7 -b 64K -processors 2 -wildcards -e 'dev/*' 'proc/*' 'sys/*' 'run/*' >&2
"${as_owner[@]}" cat "$work/root/run/root.squashfs" >"$work/root.squashfs"

say "disk"
python3 "$here/assemble.py" --root "$work/root.squashfs" --grub "$here/grub" --work "$work" \
    --root-a "$root_a" --root-b "$root_b" --esp "$esp" --out "$work/$name.raw"
qemu-img convert -f raw -O qcow2 -c -m 1 "$work/$name.raw" "$work/$name.qcow2"

say "update bundle, manifest, bill of materials"
mkdir "$work/bundle"
cp "$work/root.squashfs" "$work/bundle/root.squashfs"
cat >"$work/bundle/manifest" <<EOF
FORMAT=1
VERSION=$version
ARCHITECTURE=amd64
BUILD=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
SIZE=$(stat -c %s "$work/root.squashfs")
SHA256=$(sha256sum "$work/root.squashfs" | cut -d' ' -f1)
EOF
members=(manifest)
if [ -n "$sign_key" ]; then
    openssl pkeyutl -sign -inkey "$sign_key" -rawin -in "$work/bundle/manifest" -out "$work/bundle/manifest.sig"
    members+=(manifest.sig)
fi
tar -C "$work/bundle" --format=ustar --owner=0 --group=0 --numeric-owner --mode=0644 --mtime="@$SOURCE_DATE_EPOCH" \
    -cf "$work/$name.update" "${members[@]}" root.squashfs
cut -f1-3 "$work/packages" >"$work/$name.manifest"
python3 "$here/sbom.py" --packages "$work/packages" --lock "$top/Cargo.lock" --manifest "$top/Cargo.toml" \
    --name "$name" --version "$version" --root-sha256 "$(sha256sum "$work/root.squashfs" | cut -d' ' -f1)" >"$work/$name.spdx.json"

for ending in raw qcow2 update manifest spdx.json; do
    rm -f "$out/$name.$ending"
    cp --sparse=always "$work/$name.$ending" "$out/$name.$ending"
done
(cd "$out" && sha256sum "$name".{raw,qcow2,update,manifest,spdx.json} >"$name.sha256")
say "$(wc -l <"$work/packages") packages, root $(($(stat -c %s "$work/root.squashfs") >> 20)) MiB, qcow2 $(($(stat -c %s "$work/$name.qcow2") >> 20)) MiB"
say "$out/$name.{raw,qcow2,update,manifest,spdx.json,sha256}"
