#!/usr/bin/env python3
"""What the boot loader of a built image chooses, by BIOS and by UEFI, for every state that an update can leave: `make image-test`.

    loader.py [--image FILE.raw] [--only bios|uefi]

Only the loader runs: each case writes its variables, switches a machine on, waits until the kernel of the wanted slot starts, cuts
the power and reads the variables back. Slot b of a fresh image is empty, so choosing it shows as the attempt, and the way back.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vm"))
from vm import ROOT, Lab, VmError, command  # noqa: E402

NAMES = ("slot", "trial", "tries", "failed", "a_good", "b_good")
ESP = 2 << 20       # where the EFI partition begins; the inspection checks the layout
BOOT = 600
EMPTY_B = ("slot b", "slot b cannot be loaded", "slot a")


@dataclass
class Case:
    what: str
    before: str
    said: tuple[str, ...]
    after: str


CASES = (
    Case("nothing on trial", "slot=a", ("slot a",), "slot=a"),
    Case("a trial with tries left is tried, counted, and left if it cannot be loaded", "slot=a trial=b tries=2", EMPTY_B,
         "slot=a trial=b tries=1"),
    Case("the last try", "slot=a trial=b tries=1", EMPTY_B, "slot=a trial=b tries=0"),
    Case("tries used up: the version before, and it is told", "slot=a trial=b tries=0", ("slot a",), "slot=a tries=0 failed=b"),
    Case("a trial without a number is none", "slot=a trial=b tries=x", ("slot a",), "slot=a tries=x failed=b"),
    Case("a trial of the good slot", "slot=b trial=a tries=3", ("slot a",), "slot=b trial=a tries=2"),
    Case("a default that cannot be loaded", "slot=b", EMPTY_B, "slot=b"),
)


def variables(text: str) -> dict[str, str]:
    given = dict(word.split("=", 1) for word in text.split())
    return {name: given.get(name, "") for name in NAMES}


def write(disk: Path, folder: Path, values: dict[str, str]) -> None:
    text = "# GRUB Environment Block\n" + "".join(f"{name}={value}\n" for name, value in values.items())
    (folder / "grubenv").write_text(text.ljust(1024, "#"))
    command(["mcopy", "-o", "-i", f"{disk}@@{ESP}", folder / "grubenv", "::/grub/grubenv"])


def read(disk: Path, folder: Path) -> dict[str, str]:
    command(["mcopy", "-n", "-o", "-i", f"{disk}@@{ESP}", "::/grub/grubenv", folder / "back"])
    lines = (folder / "back").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return {name: found.get(name, "") for name in NAMES}


def attempt(lab: Lab, disk: Path, firmware: str, case: Case) -> None:
    write(disk, lab.folder, variables(case.before))
    vm = lab.vm(f"{firmware}{lab.count('machine')}", [disk], [], firmware=firmware)
    vm.start()
    # The kernel's first line, which it writes as soon as it has a console.
    vm.console.wait_for(r"Linux version", BOOT)
    vm.power_cut()
    found = re.findall(r"skybridge-appliance: (slot [ab](?: cannot be loaded)?)", vm.console.text())
    # UEFI firmware shows its own console on the serial line, too.
    said = tuple(line for index, line in enumerate(found) if index == 0 or line != found[index - 1])
    if said != case.said:
        raise VmError(f"{firmware}: {case.what}: it said {said}, not {case.said}")
    after = read(disk, lab.folder)
    if after != variables(case.after):
        raise VmError(f"{firmware}: {case.what}: it left {after}, not {variables(case.after)}")
    print(f"  ok      {firmware}: {case.what}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", type=Path)
    parser.add_argument("--only", choices=("bios", "uefi"))
    given = parser.parse_args()
    raw = given.image or max((ROOT / "target/image").glob("*.raw"), key=os.path.getmtime, default=None)
    if raw is None:
        raise SystemExit("no image: make image")
    with Lab("imgldr") as lab:
        disk = lab.folder / "disk.raw"
        command(["cp", "--sparse=always", raw, disk])
        boots = 0
        for firmware, cases in (("bios", CASES), ("uefi", CASES[:2])):
            for case in cases if given.only in (None, firmware) else ():
                attempt(lab, disk, firmware, case)
                boots += 1
    print(f"{boots} boots chose as they should")


if __name__ == "__main__":
    main()
