#!/usr/bin/env python3
"""Looks into a built appliance image, without booting it: `make image-test`.

    inspect_image.py [--image FILE.raw]

Disk layout and boot loaders are read from the disk's bytes, the system from its root partition. What needs the image's own
programs (units, sshd, cloud-init, nft) runs in a chroot of it, in namespaces without a network. Each check is a line; one that
fails makes the exit status 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SECTOR = 512
MIB = 1 << 20
PARTITIONS = ("skybridge-bios", "skybridge-esp", "skybridge-root-a", "skybridge-root-b")
SETUID = {"usr/bin/su", "usr/bin/sudo", "usr/bin/passwd", "usr/bin/chsh", "usr/bin/chfn", "usr/bin/gpasswd", "usr/bin/newgrp",
          "usr/bin/mount", "usr/bin/umount", "usr/lib/openssh/ssh-keysign", "usr/lib/dbus-1.0/dbus-daemon-launch-helper",
          "usr/bin/ping"}
ENABLED = ("skybridge.service", "skybridge-appliance-firewall.service", "skybridge-appliance-allow.service",
           "skybridge-appliance-allow.path", "skybridge-appliance-health.service", "skybridge-appliance-hostkeys.service",
           "ssh.service", "systemd-networkd.service", "systemd-resolved.service", "systemd-timesyncd.service")
MASKED = ("nftables.service",)
MODULES = ("squashfs", "overlay", "ext4", "virtio_blk", "virtio_scsi", "virtio_net", "nvme", "ena", "gve", "hv_storvsc",
           "hv_netvsc", "xen-blkfront", "xen-netfront")
ALLOW = (
    ("ssh 192.0.2.0/24\nudp 51820 # a comment\n\nssh 2001:db8::/32\n", ["192.0.2.0/24", "51820", "2001:db8::/32"], 0),
    ("ssh 192.0.2.7\n", ["192.0.2.7/32"], 0),
    ("ssh 192.0.2.1/24\nudp 0\nudp 65536\nudp 5x\ntcp 22\nssh\nssh a b\nssh ::ffff:192.0.2.0/120\n", [], 8),
    ("ssh 0.0.0.0/0 }; flush ruleset; {\nudp 51820\n", ["51820"], 1),
    ("udp \uff15\n", [], 1),
)


@dataclass
class Entry:
    name: str
    kind: str
    first: int
    size: int


class Failed(Exception):
    """What is wrong, for people."""


def ensure(true: object, text: str) -> None:
    if not true:
        raise Failed(text)


def run(*argv: object, stdin: str | None = None, check: bool = True) -> str:
    done = subprocess.run([str(word) for word in argv], text=True, capture_output=True, input=stdin, errors="replace")
    if check and done.returncode != 0:
        raise Failed(f"{' '.join(map(str, argv[:4]))} ...: exit status {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
    return done.stdout + done.stderr


class Image:
    """The disk, and its root unpacked."""

    def __init__(self, raw: Path, work: Path) -> None:
        self.raw, self.work = raw, work
        self.stem = raw.with_suffix("")
        self.entries = self._table()
        self.esp, self.squashfs, self.root = work / "esp", work / "root.squashfs", work / "root"
        self._extract("skybridge-esp", self.esp, None)
        self._extract("skybridge-root-a", self.squashfs, self._squashfs_size())
        run("unsquashfs", "-q", "-n", "-no-xattrs", "-d", self.root, self.squashfs)
        self.listing = self._listing()

    def file(self, ending: str) -> Path:
        return self.stem.with_name(f"{self.stem.name}.{ending}")

    def read(self, offset: int, size: int) -> bytes:
        with self.raw.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def _table(self) -> dict[str, Entry]:
        head = self.read(SECTOR, SECTOR)
        ensure(head[:8] == b"EFI PART", "no GPT")
        first, count, size = struct.unpack_from("<QII", head, 72)
        octets = self.read(first * SECTOR, count * size)
        found = {}
        for at in range(0, len(octets), size):
            begin, end = struct.unpack_from("<QQ", octets, at + 32)
            if begin:
                name = octets[at + 56:at + 128].decode("utf-16-le").rstrip("\0")
                found[name] = Entry(name, octets[at:at + 16].hex(), begin * SECTOR, (end - begin + 1) * SECTOR)
        return found

    def _squashfs_size(self) -> int:
        used = struct.unpack_from("<Q", self.read(self.entries["skybridge-root-a"].first, 96), 40)[0]
        return (used + 4095) // 4096 * 4096

    def _extract(self, name: str, target: Path, size: int | None) -> None:
        entry = self.entries[name]
        with self.raw.open("rb") as source, target.open("wb") as file:
            source.seek(entry.first)
            left = size or entry.size
            while left > 0 and (block := source.read(min(left, MIB))):
                file.write(block)
                left -= len(block)

    def _listing(self) -> dict[str, tuple[str, str, str]]:
        """Mode as `-rwxr-xr-x`, owner as `0/0`, and the target of a link, of every file."""
        found = {}
        for line in run("unsquashfs", "-lln", self.squashfs).splitlines():
            match = re.match(r"^([-dlcbps][-rwxsStT]{9}) (\d+/\d+) +\S+(?:, *\S+)? \S+ \S+ squashfs-root/?(.*?)(?: -> (.*))?$", line)
            if match:
                found[match[3]] = (match[1], match[2], match[4] or "")
        return found

    def inside(self, *argv: object, stdin: str | None = None, check: bool = True) -> str:
        """Runs one of the image's programs in its own root, without a network."""
        script = ('mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/run" && '
                  'mount -t tmpfs tmpfs "$1/tmp" && exec chroot "$@"')
        mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
        return run("unshare", *mapped, "--mount", "--pid", "--fork", "--net", "--kill-child", "sh", "-c", script, "_", self.root, *argv,
                   stdin=stdin, check=check)

    def text(self, name: str) -> str:
        return (self.root / name).read_text()


def checksums(image: Image) -> str:
    lines = image.file("sha256").read_text().splitlines()
    for line in lines:
        wanted, name = line.split()
        with image.raw.with_name(name).open("rb") as file:
            ensure(hashlib.file_digest(file, "sha256").hexdigest() == wanted, f"{name} has another checksum")
    return f"{len(lines)} files"


def table(image: Image) -> str:
    ensure(tuple(image.entries) == PARTITIONS, f"partitions are {', '.join(image.entries)}")
    size = image.raw.stat().st_size
    ensure(size % (1 << 30) == 0, "the disk is no whole number of GiB")
    last = 0
    for entry in image.entries.values():
        ensure(entry.first % MIB == 0 and entry.first >= last, f"{entry.name} is not aligned or overlaps")
        last = entry.first + entry.size
    ensure(size - last > 512 * MIB, "no room for data")
    for offset in (SECTOR, size - SECTOR):
        head = bytearray(image.read(offset, SECTOR))
        ensure(head[:8] == b"EFI PART", "one of the two GPT headers is missing")
        crc = struct.unpack_from("<I", head, 16)[0]
        head[16:20] = bytes(4)
        ensure(zlib.crc32(head[:92]) == crc, "a GPT header's checksum is wrong")
    return f"{size >> 30} GiB: " + ", ".join(f"{entry.name} {entry.size >> 20}" for entry in image.entries.values()) + " MiB"


def bios(image: Image) -> str:
    sector = image.read(0, SECTOR)
    ensure(sector[510:] == b"\x55\xaa" and sector[450] == 0xEE, "no protective MBR")
    core = struct.unpack_from("<Q", sector, 0x5C)[0] * SECTOR
    ensure(core == image.entries["skybridge-bios"].first, "the boot sector does not lead to GRUB's core")
    first = image.read(core, SECTOR)
    start, length, segment = struct.unpack_from("<QHH", first, SECTOR - 12)
    ensure(start * SECTOR == core + SECTOR and segment == 0x820, "the core's block list is wrong")
    ensure(0 < length * SECTOR < image.entries["skybridge-bios"].size, "the core does not fit")
    ensure(image.read(core + length * SECTOR, SECTOR).strip(b"\0") != b"", "the core is shorter than its block list")
    return f"GRUB's core has {(length + 1) * SECTOR >> 10} KiB"


def efi(image: Image) -> str:
    listing = run("mdir", "-i", image.esp, "-/", "-b", "::")
    for name in ("::/EFI/BOOT/BOOTX64.EFI", "::/grub/grub.cfg", "::/grub/grubenv"):
        ensure(name in listing.splitlines(), f"{name} is missing:\n{listing}")
    for name, where in (("EFI/BOOT/BOOTX64.EFI", "boot.efi"), ("grub/grub.cfg", "grub.cfg"), ("grub/grubenv", "grubenv")):
        run("mcopy", "-n", "-i", image.esp, f"::/{name}", image.work / where)
    ensure((image.work / "boot.efi").read_bytes()[:2] == b"MZ", "BOOTX64.EFI is no program")
    config = (image.work / "grub.cfg").read_text()
    ensure("@" not in config, "grub.cfg has a placeholder")
    release = dict(line.split("=", 1) for line in image.text("usr/lib/skybridge-appliance/release").splitlines())
    ensure(release["ROOT_A"] in config and release["ROOT_B"] in config, "grub.cfg and the release file differ")
    grubenv = (image.work / "grubenv").read_bytes()
    ensure(len(grubenv) == 1024 and b"\nslot=a\ntrial=\n" in grubenv, "grubenv is not as GRUB wants it")
    for path in (image.work / "grub.cfg", image.root / "usr/lib/skybridge-appliance/boot.cfg"):
        run("grub-script-check", path)
    return "BOOTX64.EFI, grub.cfg, grubenv"


def archived(initrd: Path) -> list[str]:
    """Names in an initial RAM disk: a cpio archive under zstd."""
    octets = subprocess.run(["zstd", "-q", "-d", "-c", str(initrd)], check=True, capture_output=True).stdout
    names, at = [], 0
    while octets[at:at + 6] == b"070701":
        fields = [int(octets[at + 6 + 8 * index:at + 14 + 8 * index], 16) for index in range(13)]
        name = octets[at + 110:at + 110 + fields[11] - 1].decode()
        if name == "TRAILER!!!":
            return names
        names.append(name)
        at = (at + 110 + fields[11] + 3) // 4 * 4
        at = (at + fields[6] + 3) // 4 * 4
    raise Failed("the initial RAM disk is no complete archive")


def boots(image: Image) -> str:
    for name in ("vmlinuz", "initrd.img"):
        mode, _, target = image.listing[name]
        ensure(mode[0] == "l" and target in image.listing, f"/{name} leads nowhere")
    names = archived(image.root / image.listing["initrd.img"][2])
    held = {Path(name).name.removesuffix(".ko") for name in names}
    absent = [module for module in MODULES if module not in held and module.replace("_", "-") not in held]
    builtin = image.text(f"usr/lib/modules/{Path(image.listing['vmlinuz'][2]).name.removeprefix('vmlinuz-')}/modules.builtin")
    absent = [module for module in absent if not re.search(rf"/{module.replace('_', '[-_]')}\.ko", builtin)]
    ensure(not absent, f"the initial RAM disk lacks {', '.join(absent)}")
    for name in ("sfdisk", "mke2fs", "e2fsck", "resize2fs", "partx", "skybridge-appliance"):
        ensure(name in held, f"the initial RAM disk lacks {name}")
    return f"initial RAM disk {(image.root / image.listing['initrd.img'][2]).stat().st_size >> 20} MiB"


def packages(image: Image) -> str:
    listed = image.file("manifest").read_text().splitlines()
    there = run("dpkg-query", f"--admindir={image.root}/var/lib/dpkg", "-W", "-f=${binary:Package}\t${Version}\t${Architecture}\n")
    ensure(sorted(listed) == sorted(there.splitlines()), "the manifest is not what is installed")
    names = {line.split("\t")[0].split(":")[0] for line in listed}
    wanted = set()
    for file in ("packages.base", "packages.appliance"):
        for line in (ROOT / "appliance/image" / file).read_text().splitlines():
            wanted.update(line.split("#")[0].split())
    ensure(wanted | {"skybridge"} <= names, f"missing: {', '.join(wanted - names)}")
    unwanted = names & {"apt", "gcc", "unattended-upgrades", "rsyslog", "cron", "wget", "curl", "ifupdown", "netplan.io"}
    ensure(not unwanted, f"not wanted: {', '.join(unwanted)}")
    return f"{len(listed)}"


def accounts(image: Image) -> str:
    lines = [line.split(":") for line in image.text("etc/shadow").splitlines()]
    open_ones = [words[0] for words in lines if not re.match(r"^[!*]", words[1])]
    ensure(not open_ones, f"accounts with a password or without the need of one: {', '.join(open_ones)}")
    ensure(not [words for words in lines if "$" in words[1]], "a locked account still has a hash")
    for words in (line.split(":") for line in image.text("etc/passwd").splitlines()):
        ensure(words[1] == "x", f"the password of {words[0]} is not in shadow")
        ensure(words[2] != "0" or words[0] == "root", f"{words[0]} is another root")
    ensure(image.listing["etc/shadow"][0] == "-rw-r-----", "the mode of /etc/shadow")
    return f"{len(lines)}, all locked"


def modes(image: Image) -> str:
    ids = {name for name, (mode, _, _) in image.listing.items() if mode[0] == "-" and mode[3] in "sS"}
    ensure(ids <= SETUID, f"setuid: {', '.join(sorted(ids - SETUID))}")
    writable = [name for name, (mode, _, _) in image.listing.items() if mode[0] != "l" and mode[8] == "w" and mode[9] not in "tT"]
    ensure(not writable, f"everybody may write: {', '.join(writable[:5])}")
    for name, mode, group in (("etc/skybridge", "drwxr-x---", True), ("etc/skybridge/skybridge.toml", "-rw-r-----", True),
                              ("etc/skybridge/appliance", "drwxr-xr-x", False), ("usr/sbin/skybridge-appliance", "-rwxr-xr-x", False)):
        seen, owner, _ = image.listing[name]
        ensure(seen == mode and owner.startswith("0/"), f"{name} is {seen} {owner}")
        ensure((owner != "0/0") == group, f"{name} belongs to {owner}")
    devices = [name for name, (mode, _, _) in image.listing.items() if mode[0] in "cb"]
    ensure(not devices, f"devices: {', '.join(devices[:5])}")
    return f"{len(ids)} setuid programs"


def traces(image: Image) -> str:
    ensure((image.root / "etc/machine-id").read_bytes() == b"", "the machine-id is not empty")
    found = [name for name in image.listing if re.match(
        r"etc/ssh/ssh_host_|root/\.ssh|home/.|var/log/.*[^/]$|var/cache/(?!ldconfig$).|var/lib/apt/.|var/lib/cloud/.|"
        r"var/lib/systemd/random-seed|etc/skybridge/(?!skybridge\.toml$|conf\.d$|credentials$|appliance$).", name)
        and image.listing[name][0][0] != "d"]
    ensure(not found, f"left of a build or a machine: {', '.join(found[:8])}")
    return "none"


def services(image: Image) -> str:
    for unit in ENABLED:
        links = [name for name in image.listing if re.match(rf"etc/systemd/system/.*\.(wants|requires)/{re.escape(unit)}$", name)]
        ensure(links, f"{unit} is not enabled")
    for unit in MASKED:
        ensure(image.listing.get(f"etc/systemd/system/{unit}", ("", "", ""))[2] == "/dev/null", f"{unit} is not masked")
    said = image.inside("systemd-analyze", "verify", "--man=no", *[unit for unit in ENABLED if unit.startswith("skybridge")], check=False)
    # What verify says of units that are none of ours is not ours to judge.
    ours = [line for line in said.splitlines() if "skybridge" in line and "is not executable" not in line]
    ensure(not ours, "\n".join(ours))
    return f"{len(ENABLED)} enabled, ours verified"


def ssh(image: Image) -> str:
    key = ["sh", "-c", "ssh-keygen -q -t ed25519 -N '' -f /tmp/key && mkdir -p /run/sshd && sshd -T -h /tmp/key"]
    said = dict(line.split(" ", 1) for line in image.inside(*key).splitlines() if " " in line)
    for name, value in (("passwordauthentication", "no"), ("permitrootlogin", "no"), ("kbdinteractiveauthentication", "no"),
                        ("permitemptypasswords", "no"), ("allowtcpforwarding", "no"), ("x11forwarding", "no")):
        ensure(said.get(name) == value, f"sshd: {name} is {said.get(name)}")
    return "keys only, no root"


def firewall(image: Image) -> str:
    rules = "/usr/lib/skybridge-appliance/base.nft"
    # Loaded twice, beside a table of the daemon's name, which must survive.
    script = (f"nft add table inet skybridge && nft -c -f {rules} && nft -f {rules} && nft -f {rules} && "
              "/usr/lib/skybridge-appliance/allow /nothing >&2 && nft -j list ruleset")
    said = image.inside("sh", "-c", script)
    loaded = json.loads(said[said.index('{"nftables"'):said.rindex("}") + 1])["nftables"]
    names = {entry["table"]["name"] for entry in loaded if "table" in entry}
    ensure(names == {"skybridge", "skybridge-appliance"}, f"tables are {names}")
    chains = {entry["chain"]["name"]: entry["chain"] for entry in loaded if "chain" in entry}
    ensure(chains["input"]["policy"] == "drop", "the input chain is open")
    ensure(all(chain["prio"] == 10 for chain in chains.values()), "a chain comes before the daemon's")
    text = image.text(rules[1:])
    ensure("flush ruleset" not in text, "flush ruleset")
    return "loads twice, leaves the daemon's table"


def allow(image: Image) -> str:
    file = image.root / "allow-test"
    for text, opened, wrong in ALLOW:
        file.write_text(text)
        said = image.inside("/usr/lib/skybridge-appliance/allow", "--dry-run", "/allow-test")
        for value in opened:
            ensure(f" {value} " in said.replace(",", " "), f"{text!r} does not open {value}: {said}")
        ensure(said.count("left out") == wrong, f"{text!r}: {wrong} lines are wrong: {said}")
        ensure(len(re.findall(r"add element", said)) == len({":" in value or value.isdigit() and "p" or "4" for value in opened}),
               f"{text!r} opens more: {said}")
    file.unlink()
    return f"{len(ALLOW)} files"


def cloud_init(image: Image) -> str:
    found = re.search(r"```yaml\n(#cloud-config\n.*?)```", (ROOT / "docs/appliance.md").read_text(), re.DOTALL)
    ensure(found, "docs/appliance.md has no user-data")
    (image.root / "user-data-test").write_text(found[1] if found else "")
    said = image.inside("cloud-init", "schema", "--config-file", "/user-data-test")
    ensure("Valid" in said, said)
    (image.root / "user-data-test").unlink()
    listed = image.inside("python3", "-c", "import yaml; print(yaml.safe_load(open('/etc/cloud/cloud.cfg.d/90-skybridge.cfg'))"
                          "['datasource_list'])").strip()
    ensure(listed == "['NoCloud', 'Ec2', 'Azure', 'GCE', 'AliYun', 'None']", f"data sources are {listed}")
    return "the documented user-data is valid"


def daemon(image: Image) -> str:
    said = image.inside("skybridge", "--version")
    ensure(said.startswith("skybridge "), said)
    checked = image.inside("skybridge", "check", check=False)
    ensure("panicked" not in checked, checked)
    return said.strip()


def update(image: Image) -> str:
    with tarfile.open(image.file("update")) as bundle:
        names = bundle.getnames()
        ensure(names in (["manifest", "root.squashfs"], ["manifest", "manifest.sig", "root.squashfs"]), f"it holds {names}")
        lines = (bundle.extractfile("manifest") or sys.exit(1)).read().decode().splitlines()
        manifest = dict(line.split("=", 1) for line in lines)
        root = (bundle.extractfile("root.squashfs") or sys.exit(1)).read()
    ensure(hashlib.sha256(root).hexdigest() == manifest["SHA256"] and len(root) == int(manifest["SIZE"]), "the manifest lies")
    ensure(image.squashfs.read_bytes()[:len(root)] == root, "it is not what slot a holds")
    return f"version {manifest['VERSION']}, {len(root) >> 20} MiB"


def materials(image: Image) -> str:
    document = json.loads(image.file("spdx.json").read_text())
    ensure(document["spdxVersion"] == "SPDX-2.3", "no SPDX 2.3")
    ids = [entry["SPDXID"] for entry in document["packages"]]
    ensure(len(ids) == len(set(ids)), "an SPDXID stands there twice")
    named = {(entry["name"], entry["versionInfo"]) for entry in document["packages"]}
    for line in image.file("manifest").read_text().splitlines():
        name, version, _ = line.split("\t")
        ensure((name.split(":")[0], version) in named, f"{name} is missing")
    crates = [entry for entry in document["packages"] if entry["externalRefs"][0]["referenceLocator"].startswith("pkg:cargo/")]
    ensure({"ring", "tun-rs"} <= {entry["name"] for entry in crates}, "crates are missing")
    related = {relation["relatedSpdxElement"] for relation in document["relationships"]}
    ensure(set(ids) <= related, "a package has no relation")
    return f"{len(ids)} entries, {len(crates)} crates"


def qcow2(image: Image) -> str:
    ensure("identical" in run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", image.raw, image.file("qcow2")), "it differs from raw")
    return f"{image.file('qcow2').stat().st_size >> 20} MiB"


CHECKS: tuple[tuple[str, Callable[[Image], str]], ...] = (
    ("checksums", checksums), ("partitions", table), ("BIOS boot", bios), ("UEFI boot", efi), ("kernel and RAM disk", boots),
    ("packages", packages), ("accounts", accounts), ("file modes", modes), ("traces", traces), ("services", services), ("SSH", ssh),
    ("firewall", firewall), ("allow file", allow), ("cloud-init", cloud_init), ("daemon", daemon), ("update bundle", update),
    ("bill of materials", materials), ("qcow2", qcow2),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", type=Path)
    given = parser.parse_args()
    raw = given.image or max((ROOT / "target/image").glob("*.raw"), key=os.path.getmtime, default=None)
    if raw is None:
        raise SystemExit("no image: make image")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="img-inspect-") as work:
        image = Image(raw.resolve(), Path(work))
        print(f"{raw.name}: root {image.squashfs.stat().st_size >> 20} MiB")
        for name, check in CHECKS:
            try:
                print(f"  ok      {name}: {check(image)}", flush=True)
            except (Failed, OSError, KeyError, ValueError, struct.error) as error:
                failed += 1
                print(f"  FAILED  {name}: {type(error).__name__}: {error}", flush=True)
    if failed:
        raise SystemExit(f"{failed} of {len(CHECKS)} checks failed")
    print(f"{len(CHECKS)} checks passed")


if __name__ == "__main__":
    main()
