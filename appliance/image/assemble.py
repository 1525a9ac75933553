#!/usr/bin/env python3
"""Puts the appliance's disk together from a root file system and GRUB, without loop devices and without privileges.

    assemble.py --root root.squashfs --grub FOLDER --root-a UUID --root-b UUID --esp UUID --work FOLDER --out disk.raw

The disk has a GPT: BIOS boot, EFI system (FAT32, holds GRUB's configuration for both), root-a, root-b, and room behind them
for the data partition that the first boot makes. Everything that is chosen at random elsewhere is derived from the arguments.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import struct
import subprocess
from pathlib import Path

MIB = 1 << 20
SECTOR = 512
# Whole GiB, as Google Cloud wants it: Azure wants whole MiB.
DISK = 2 << 30
SLOT = 512 * MIB
LAYOUT = (  # name, type, first MiB, MiB
    ("skybridge-bios", "21686148-6449-6E6F-744E-656564454649", 1, 1),
    ("skybridge-esp", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", 2, 64),
    ("skybridge-root-a", "0FC63DAF-8483-4772-8E79-3D69D8477DE4", 66, SLOT // MIB),
    ("skybridge-root-b", "0FC63DAF-8483-4772-8E79-3D69D8477DE4", 66 + SLOT // MIB, SLOT // MIB),
)
MODULES = ("part_gpt fat squash4 normal configfile search search_fs_uuid linux loadenv echo test regexp serial terminal sleep "
           "reboot").split()
GRUBENV = "# GRUB Environment Block\nslot=a\ntrial=\ntries=\nfailed=\na_good=1\nb_good=0\n"


def run(*argv: object, stdin: str | None = None) -> str:
    return subprocess.run([str(word) for word in argv], check=True, text=True, stdout=subprocess.PIPE, input=stdin).stdout


def derived(*words: str) -> bytes:
    return hashlib.sha256("\0".join(("skybridge-appliance", *words)).encode()).digest()


def as_uuid(octets: bytes) -> str:
    text = octets[:16].hex()
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-8{text[17:20]}-{text[20:32]}"


def fill(text: str, values: dict[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def grub(kind: str, target: Path, early: Path, modules: list[str]) -> None:
    """One file with everything: it needs no folder of modules."""
    run("grub-mkimage", "-O", kind, "-o", target, "-c", early, "-p", "/grub", *modules)


def file_time() -> None:
    """mtools and mkfs.vfat take their times from SOURCE_DATE_EPOCH, and FAT keeps local ones."""
    os.environ["TZ"] = "UTC"
    if not os.environ.get("SOURCE_DATE_EPOCH", "").isdigit():
        raise SystemExit("assemble.py: SOURCE_DATE_EPOCH is not set")


def efi_partition(work: Path, serial: str, efi: Path, config: Path, size: int) -> Path:
    """The FAT file system. Files are copied in a fixed order with a fixed time."""
    made = work / "esp.img"
    made.unlink(missing_ok=True)
    with made.open("wb") as file:
        file.truncate(size)
    run("mkfs.vfat", "-F", "32", "--invariant", "-i", serial.replace("-", ""), "-n", "SKYBRIDGE", "-s", "1", made)
    grubenv = work / "grubenv"
    grubenv.write_text(GRUBENV + "#" * (1024 - len(GRUBENV)))
    when = int(os.environ["SOURCE_DATE_EPOCH"])
    for source in (efi, config, grubenv):
        os.utime(source, (when, when))
    for folder in ("/EFI", "/EFI/BOOT", "/grub"):
        run("mmd", "-i", made, f"::{folder}")
    for source, target in ((efi, "/EFI/BOOT/BOOTX64.EFI"), (config, "/grub/grub.cfg"), (grubenv, "/grub/grubenv")):
        run("mcopy", "-m", "-i", made, source, f"::{target}")
    return made


def partition(disk: Path, uuids: dict[str, str]) -> None:
    lines = ["label: gpt", f"label-id: {as_uuid(derived('disk'))}", "first-lba: 2048", "unit: sectors"]
    for name, kind, first, size in LAYOUT:
        lines.append(f"start={first * MIB // SECTOR}, size={size * MIB // SECTOR}, type={kind}, uuid={uuids[name]}, name={name}")
    run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", disk, stdin="\n".join(lines) + "\n")


def write_at(disk: Path, offset: int, data: bytes) -> None:
    with disk.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def boot_sector(stage1: bytes, core: bytes, first: int, table: bytes) -> tuple[bytes, bytes]:
    """What grub-bios-setup does to GRUB's first two sectors, for a core that lies in one piece at sector `first`.

    In the boot sector: where the core begins (0x5c), any drive (0x64), and no check of the drive number that is for floppies
    (0x66). In the core's first sector: where the rest of it begins (the block list ends the sector: start, length, segment).
    The partition table's part of the boot sector stays.
    """
    sector = bytearray(stage1)
    struct.pack_into("<Q", sector, 0x5C, first)
    sector[0x64] = 0xFF
    sector[0x66:0x68] = b"\x90\x90"
    sector[0x1B8:0x200] = table[0x1B8:0x200]
    rest = bytearray(core)
    sectors = (len(core) + SECTOR - 1) // SECTOR
    struct.pack_into("<QHH", rest, SECTOR - 12, first + 1, sectors - 1, 0x820)
    return bytes(sector), bytes(rest)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("root", "grub", "root-a", "root-b", "esp", "work", "out"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    work, out, folder, root = Path(given.work), Path(given.out), Path(given.grub), Path(given.root)
    file_time()
    if root.stat().st_size > SLOT:
        raise SystemExit(f"assemble.py: the root has {root.stat().st_size >> 20} MiB, a slot {SLOT >> 20} MiB")

    serial = derived("esp serial").hex()[:8].upper()
    serial = f"{serial[:4]}-{serial[4:]}"
    early, config = work / "early.cfg", work / "grub.cfg"
    early.write_text(fill((folder / "early.cfg").read_text(), {"ESP": serial}))
    config.write_text(fill((folder / "grub.cfg").read_text(), {"ROOT_A": given.root_a, "ROOT_B": given.root_b}))
    efi, core = work / "BOOTX64.EFI", work / "core.img"
    grub("x86_64-efi", efi, early, MODULES)
    grub("i386-pc", core, early, [*MODULES, "biosdisk"])

    out.unlink(missing_ok=True)
    with out.open("wb") as file:
        file.truncate(DISK)
    uuids = {"skybridge-bios": as_uuid(derived("bios")), "skybridge-esp": given.esp, "skybridge-root-a": given.root_a,
             "skybridge-root-b": given.root_b}
    partition(out, uuids)
    starts = {name: first * MIB for name, _, first, _ in LAYOUT}
    sizes = {name: size * MIB for name, _, _, size in LAYOUT}
    with out.open("rb") as file:
        table = file.read(SECTOR)
    stage1 = Path("/usr/lib/grub/i386-pc/boot.img").read_bytes()
    first, rest = boot_sector(stage1, core.read_bytes(), starts["skybridge-bios"] // SECTOR, table)
    if len(rest) > sizes["skybridge-bios"]:
        raise SystemExit("assemble.py: GRUB's core does not fit into its partition")
    write_at(out, 0, first)
    write_at(out, starts["skybridge-bios"], rest)
    write_at(out, starts["skybridge-esp"], efi_partition(work, serial, efi, config, sizes["skybridge-esp"]).read_bytes())
    with root.open("rb") as source, out.open("r+b") as target:
        target.seek(starts["skybridge-root-a"])
        while block := source.read(MIB):
            target.write(block)


if __name__ == "__main__":
    main()
