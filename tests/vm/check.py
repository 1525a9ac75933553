#!/usr/bin/env python3
"""The harness itself, tried on the plain machine: boot, command, file, reboot, power cut, and nothing left behind.

    tests/vm/check.py [bookworm|trixie]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from vm import Lab, Nic, PROBE_MARK, Process, accelerator, base, base_key, poll, probe_initrd, require_root, stopwatch


def probe_can_succeed(kernel: Path) -> None:
    """The probe's own program reaches its line under emulation, so a failure under KVM is KVM's."""
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        initrd, log = Path(folder) / "initrd", Path(folder) / "console"
        initrd.write_bytes(probe_initrd(PROBE_MARK + "\n"))
        qemu = Process("probe", ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256",
                                 "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{log}",
                                 "-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 panic=-1"], Path(folder) / "log")
        try:
            poll("the probe under emulation", 600, lambda: log.exists() and PROBE_MARK in log.read_text(errors="replace"))
            qemu.wait(300)
        finally:
            qemu.kill()


def main() -> None:
    require_root()
    suite = sys.argv[1] if len(sys.argv) > 1 else "bookworm"
    disk, kernel = base(suite, [Nic("192.0.2.10/24", "192.0.2.1")])
    probe_can_succeed(kernel.image)
    print(f"accelerator: {accelerator()}")
    times: dict[str, float] = {}
    with Lab("vmchk") as lab:
        net = lab.namespace("net")
        net.bridge("br0", "192.0.2.1/24")
        vm = lab.vm("plain", [lab.overlay(disk, "plain")], [net.tap("br0")], kernel=kernel)
        shell = vm.ssh(net, "192.0.2.10", base_key())
        with stopwatch(times, "boot"):
            vm.start()
            shell.wait(600)
        assert "Linux" in shell.run("uname -a").stdout
        (lab.folder / "file").write_text("kept\n")
        shell.copy_to(lab.folder / "file", "/root/file")
        assert net.tcp("192.0.2.10", 22) == "open" and net.tcp("192.0.2.10", 23) == "refused"
        shell.run("sync")
        with stopwatch(times, "reboot"):
            shell.reboot(600)
        before = shell.boot_id()
        vm.power_cut()
        assert not vm.running()
        with stopwatch(times, "boot after a power cut"):
            vm.start()
            shell.wait_for_boot_after(before, 600)
        shell.copy_from("/root/file", lab.folder / "back")
        assert (lab.folder / "back").read_text() == "kept\n"
        failed = shell.run("systemctl --failed --plain --no-legend", check=False).stdout.strip()
        assert not failed, failed
        with stopwatch(times, "shutdown"):
            vm.shut_down()
        folder, prefix = lab.folder, lab.prefix
    assert not folder.exists()
    assert prefix not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
    print("\n".join(f"{name}: {seconds} s" for name, seconds in times.items()))


if __name__ == "__main__":
    main()
