#!/usr/bin/env python3
"""Boots the appliance image under qemu and uses it: `make image-boot`.

    boot.py [--image FILE.qcow2] [--update FILE.update] [--skybridge PROGRAM] [--json FILE] [--only bios|updates|uefi] [--keep]

Around the machine a small world of namespaces is built: a VPC with DHCP, a Pod, a 1:1 NAT to the internet as clouds have it, and
an office with an endpoint (the daemon of the package, outside of the machine) and a client. The machine knows only what its
user-data says, which is the example of docs/appliance.md. A power cut is a killed qemu: what the machine had not yet written is
lost; what it had handed to the disk is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "vm"))
from vm import ROOT, Lab, Namespace, Process, Ssh, Vm, VmError, accelerator, command, poll, require_root  # noqa: E402

BOOT = 900          # seconds that a start may take on a busy machine that emulates
ANSWER = 120
CLOUD = "203.0.113.10"
MACHINE = "10.0.0.10"
SECOND = "10.0.9.10"
POD = "10.0.2.2"
CLUSTER_IP = "172.16.0.33"
CLIENT = "192.168.10.20"
STRANGER = "192.0.2.77"

POD_SERVER = """
import http.server
class Who(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = ("%s %s" % (__NAME__, self.client_address[0])).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(said))); self.end_headers(); self.wfile.write(said)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Who).serve_forever()
"""

OFFICE = f"""
[endpoint]
name = "office"
state_dir = "STATE/state"
control_socket = "STATE/control.sock"

[peers.cloud]
remote = "{CLOUD}"
local_id = "office.example.com"
remote_id = "cloud.example.com"
auth = {{ psk_file = "STATE/cloud.psk" }}
start = "connect"
dpd = {{ delay = "5s" }}
retransmit = {{ tries = 3 }}
retry = {{ cap = "5s" }}

[peers.cloud.children.vpc]
local = ["192.168.10.0/24"]
remote = ["172.16.0.0/16", "10.0.0.0/24", "10.0.2.0/24"]
"""


class Report:
    """What was seen, as it comes; a failed check ends the test."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []
        self.facts: dict[str, object] = {}

    def row(self, what: str, seen: str = "yes") -> None:
        self.rows.append((what, seen))
        print(f"{time.strftime('%H:%M:%S')}  {what}: {seen}", flush=True)

    def fact(self, name: str, value: object) -> None:
        self.facts[name] = value
        self.row(name, str(value))

    def expect(self, what: str, seen: object, wanted: object) -> None:
        if seen != wanted:
            raise VmError(f"{what}: {seen!r}, not {wanted!r}")
        self.row(what, str(seen))


class World:
    """The VPC, the internet and the office."""

    def __init__(self, lab: Lab, skybridge: Path) -> None:
        self.lab, self.skybridge = lab, skybridge
        self.vpc, self.pod = lab.namespace("vpc"), lab.namespace("pod")
        self.office, self.client = lab.namespace("office"), lab.namespace("client")
        self.psk = "0x" + secrets.token_hex(32)
        self._vpc()
        self._office()

    def _vpc(self) -> None:
        vpc = self.vpc
        vpc.forward()
        vpc.bridge("subnet0", "10.0.0.1/24", f"{STRANGER}/32")
        vpc.bridge("subnet1", "10.0.9.1/24")
        vpc.link("pods", self.pod, "eth0")
        vpc.address("pods", "10.0.2.1/24")
        self.pod.address("eth0", f"{POD}/24")
        self.pod.route("default", "10.0.2.1")
        # The route that every mode but masquerading needs: the office is behind the machine.
        vpc.route("192.168.10.0/24", MACHINE)
        vpc.link("internet", self.office, "wan")
        vpc.address("internet", "203.0.113.1/24")
        # A 1:1 NAT, as clouds have it: the machine does not know its public address.
        vpc.run("nft", "-f", "-", stdin=f"""table ip onetoone {{
            chain pre {{ type nat hook prerouting priority dstnat; iifname "internet" ip daddr {CLOUD} dnat to {MACHINE}; }}
            chain post {{ type nat hook postrouting priority srcnat; oifname "internet" ip saddr {MACHINE} snat to {CLOUD}; }}
        }}""")
        vpc.address("internet", f"{CLOUD}/32")
        self.taps = [vpc.tap("subnet0"), vpc.tap("subnet1")]
        lease = [f"--dhcp-host={self.taps[0].mac},{MACHINE}", f"--dhcp-host={self.taps[1].mac},{SECOND}"]
        self.dhcp = vpc.start("dhcp", "dnsmasq", "--keep-in-foreground", "--port=0", "--conf-file=/dev/null", "--user=root",
                              "--interface=subnet0", "--interface=subnet1", "--bind-interfaces", "--leasefile-ro", "--pid-file=",
                              "--dhcp-range=10.0.0.10,10.0.0.20", "--dhcp-range=10.0.9.10,10.0.9.20", *lease)
        self.pod.start("pod", sys.executable, "-c", POD_SERVER.replace("__NAME__", "'pod'"))
        poll("the Pod's server", 30, lambda: self.pod.answers(POD, 8080))

    def _office(self) -> None:
        office, client = self.office, self.client
        office.forward()
        office.address("wan", "203.0.113.100/24")
        office.link("lan", client, "eth0")
        office.address("lan", "192.168.10.1/24")
        client.address("eth0", f"{CLIENT}/24")
        client.route("default", "192.168.10.1")
        client.start("client-server", sys.executable, "-c", POD_SERVER.replace("__NAME__", "'client'"))
        poll("the client's server", 30, lambda: client.answers(CLIENT, 8080))
        folder = self.lab.folder / "endpoint"
        folder.mkdir(mode=0o700)
        (folder / "state").mkdir()
        secret = folder / "cloud.psk"
        secret.write_text(self.psk + "\n")
        secret.chmod(0o600)
        self.config = folder / "skybridge.toml"
        self.config.write_text(OFFICE.replace("STATE", str(folder)))
        self.control = folder / "control.sock"
        self.daemon: Process = office.start("endpoint", self.skybridge, "run", "--config", self.config)
        poll("the office's daemon", 60, lambda: self.control.exists() or self._dead())

    def _dead(self) -> bool:
        if not self.daemon.running():
            raise VmError(f"the office's daemon ended:\n{self.daemon.text()}")
        return False

    def tunnel(self) -> dict[str, object]:
        """The peer as the office's daemon sees it."""
        said = self.office.run(self.skybridge, "status", "--json", "--control", self.control)
        return json.loads(said.stdout)["peers"][0]

    def spi(self) -> str:
        """The SPI of the Child SA that is up, or nothing."""
        self._dead()
        peer = self.tunnel()
        return next((child["spi_in"] for child in peer["children"] if child["up"]), "") if peer["state"] == "up" else ""

    def wait_tunnel(self, vm: Vm, seconds: float, not_spi: str = "") -> str:
        def ask() -> str | None:
            if not vm.running():
                raise VmError(f"the machine ended:\n{vm.console.tail()}")
            spi = self.spi()
            return spi if spi and spi != not_spi and self.fetch(self.client, POD) else None

        try:
            return poll("the tunnel carries traffic", seconds, ask, every=1)
        except VmError as late:
            raise VmError(f"{late}\n{json.dumps(self.tunnel(), indent=1)}\n{vm.console.tail()}") from None

    def fetch(self, namespace: Namespace, host: str, port: int = 8080, seconds: float = 5) -> str:
        """What the server there says: its name and the address that it saw; nothing if it does not answer."""
        script = ("import sys,urllib.request\n"
                  "try: print(urllib.request.urlopen(sys.argv[1],timeout=float(sys.argv[2])).read().decode())\n"
                  "except OSError: pass\n")
        return namespace.run(sys.executable, "-c", script, f"http://{host}:{port}/", str(seconds)).stdout.strip()


def user_data(key: str, psk: str) -> str:
    """The example of docs/appliance.md with this test's key and secret."""
    text = (ROOT / "docs/appliance.md").read_text()
    found = re.search(r"```yaml\n(#cloud-config\n.*?)```", text, re.DOTALL)
    if not found:
        raise VmError("docs/appliance.md has no user-data")
    made = found.group(1)
    for old, new in (("ssh-ed25519 AAAA... operator@example.com", key), ("0x" + "0" * 64, psk)):
        if made.count(old) != 1:
            raise VmError(f"docs/appliance.md: {old!r} does not stand there once")
        made = made.replace(old, new)
    return made


def traffic(world: World, report: Report, when: str) -> None:
    """Both ways, each with the addresses that must be seen."""
    def answered(what: str, namespace: Namespace, host: str, port: int, wanted: str) -> None:
        said = poll(f"{what} ({when})", ANSWER, lambda: world.fetch(namespace, host, port) or None)
        report.expect(f"{when}: {what}", said, wanted)

    answered("office client -> Pod", world.client, POD, 8080, f"pod {CLIENT}")
    answered("office client -> Service -> Pod", world.client, CLUSTER_IP, 80, f"pod {CLIENT}")
    answered("Pod -> office client", world.pod, CLIENT, 8080, f"client {POD}")


def firewall(world: World, report: Report, shell: Ssh) -> None:
    vpc = world.vpc
    report.expect("SSH from a range that is not allowed", vpc.tcp(MACHINE, 22), "timeout")
    report.expect("a port that is not open", vpc.tcp(MACHINE, 80), "timeout")
    report.expect("ping", vpc.run("ping", "-c", "1", "-W", "10", MACHINE, check=False).returncode, 0)
    report.expect("a Service's port that it does not have is refused", world.client.tcp(CLUSTER_IP, 81, seconds=10), "refused")
    # From one card to the other: the VPC's router would send it through the machine.
    vpc.run("ip", "route", "add", "10.0.77.0/24", "via", SECOND)
    shell.run("sudo ip route add 10.0.77.0/24 via 10.0.0.1")
    before = refused_between_cards(shell)
    vpc.run("ping", "-c", "1", "-W", "2", "10.0.77.1", check=False)
    poll("the firewall counts what would go from card to card", ANSWER, lambda: refused_between_cards(shell) > before)
    report.row("no router between cards", "dropped and counted")
    shell.run("sudo ip route del 10.0.77.0/24")
    # The metadata service, for whoever is not root on the machine, and from the office.
    vpc.address("subnet0", "169.254.169.254/32")
    shell.run("sudo ip route replace 169.254.169.254/32 via 10.0.0.1")
    metadata = vpc.start("metadata", sys.executable, "-m", "http.server", "--directory", "/var/empty", "80")
    poll("the metadata server", 30, lambda: vpc.answers("169.254.169.254", 80))
    ask = "python3 -c 'import socket; socket.create_connection((\"169.254.169.254\", 80), 20)' 2>&1 | tail -n 1"
    report.expect("metadata asked by root", shell.run(f"sudo {ask}").stdout.strip(), "")
    report.expect("metadata asked by others", shell.run(ask).stdout.strip(), "ConnectionRefusedError: [Errno 111] Connection refused")
    metadata.stop()
    # The allow file takes effect when it changes, and a bad line does not.
    shell.run(f"printf 'ssh 10.0.9.0/24\\nssh everybody\\nssh {STRANGER}/32\\n' | sudo tee /etc/skybridge/appliance/allow")
    poll("SSH from a range that is now allowed", ANSWER, lambda: vpc.tcp(MACHINE, 22, STRANGER) == "open")
    report.row("SSH from a range that was added", "open")
    told = poll("the bad line is told", ANSWER, lambda: re.search(
        r"allow:2: .*left out", shell.run("sudo journalctl -b -o cat -u skybridge-appliance-allow").stdout))
    report.row("a bad line is told", told.group(0))
    report.expect("SSH from elsewhere still", vpc.tcp(MACHINE, 22), "timeout")
    tables = shell.run("sudo nft list tables").stdout.split("\n")
    report.expect("tables", sorted(filter(None, tables)), ["table inet skybridge", "table inet skybridge-appliance"])


def refused_between_cards(shell: Ssh) -> int:
    said = shell.run("sudo nft list chain inet skybridge-appliance forward").stdout
    found = re.search(r"counter packets (\d+) bytes \d+ drop comment \"no router between cards\"", said)
    if not found:
        raise VmError(f"no such rule:\n{said}")
    return int(found.group(1))


def machine_facts(report: Report, shell: Ssh) -> None:
    report.expect("failed units", shell.run("systemctl --failed --plain --no-legend").stdout.strip(), "")
    report.expect("cloud-init", shell.run("cloud-init status --wait").stdout.strip().splitlines()[-1], "status: done")
    report.expect("daemon runs as", shell.run("ps -o user:20= -C skybridge").stdout.strip(), "skybridge")
    report.expect("root file system", shell.run("findmnt -no FSTYPE,OPTIONS / | tr -s ' ' | cut -d, -f1").stdout.strip(), "squashfs ro")
    report.expect("configuration's owner and mode", shell.run("sudo stat -c '%U:%G %a' /etc/skybridge/skybridge.toml "
                  "/etc/skybridge/office.psk").stdout.split("\n")[:2], ["root:skybridge 640"] * 2)
    report.expect("accounts with a password", shell.run("sudo awk -F: '$2 !~ /^[!*]/' /etc/shadow").stdout.strip(), "")
    cards = shell.run("ip -4 -o address show scope global").stdout
    report.expect("both cards have addresses by DHCP", [host in cards for host in (MACHINE, SECOND)], [True, True])
    report.expect("findings of the daemon", [finding["code"] for finding in
                  json.loads(shell.run("sudo skybridge status --json").stdout)["findings"]], [])
    report.fact("memory in use (MiB)", int(shell.run("free -m | awk '/^Mem/ {print $3}'").stdout))
    report.fact("memory of the daemon (MiB)", round(int(shell.run(
        "sudo awk '/^VmRSS/ {print $2}' /proc/$(pidof skybridge)/status").stdout) / 1024, 1))
    report.fact("start as systemd counts it", shell.run("systemd-analyze time | head -n 1").stdout.strip())
    report.fact("exposure of the daemon's unit", shell.run(
        "systemd-analyze security --no-pager skybridge.service | tail -n 1").stdout.strip())


@contextmanager
def unpacked(update: Path) -> Iterator[Path]:
    """The root of a bundle, to be changed into another version."""
    with tempfile.TemporaryDirectory(prefix="img-root-") as folder:
        with tarfile.open(update) as bundle:
            bundle.extract("root.squashfs", folder, filter="data")
        command(["unsquashfs", "-q", "-n", "-d", f"{folder}/root", f"{folder}/root.squashfs"], timeout=600)
        yield Path(folder) / "root"


def bundle(target: Path, root: Path | bytes, version: str, key: Path | None = None) -> Path:
    """An update bundle as build.sh writes it, of a changed root or of anything."""
    with tempfile.TemporaryDirectory(prefix="img-bundle-") as name:
        folder = Path(name)
        image = folder / "root.squashfs"
        if isinstance(root, bytes):
            image.write_bytes(root)
        else:
            command(["mksquashfs", root, image, "-quiet", "-no-progress", "-noappend", "-no-xattrs", "-comp", "lzo",
                     "-Xcompression-level", "1", "-b", "64K"], timeout=600)
        members = ["manifest", "root.squashfs"]
        (folder / "manifest").write_text(
            f"FORMAT=1\nVERSION={version}\nARCHITECTURE=amd64\nSIZE={image.stat().st_size}\n"
            f"SHA256={hashlib.sha256(image.read_bytes()).hexdigest()}\n")
        if key:
            command(["openssl", "pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", folder / "manifest", "-out",
                     folder / "manifest.sig"])
            members.insert(1, "manifest.sig")
        command(["tar", "-C", folder, "--format=ustar", "-cf", target, *members])
    return target


class Bundles:
    """The versions that the machine is given."""

    def __init__(self, folder: Path, update: Path) -> None:
        self.key = folder / "update.key"
        command(["openssl", "genpkey", "-algorithm", "ed25519", "-out", self.key])
        public = command(["openssl", "pkey", "-in", self.key, "-pubout"]).stdout
        with unpacked(update) as root:
            release = root / "usr/lib/skybridge-appliance/release"
            text = release.read_text()
            # The second version has an update key built in.
            (root / "usr/lib/skybridge-appliance/update.pub").write_text(public)
            release.write_text(re.sub(r"(?m)^VERSION=.*$", "VERSION=2.0", text))
            self.second = bundle(folder / "second.update", root, "2.0")
            release.write_text(re.sub(r"(?m)^VERSION=.*$", "VERSION=3.0", text))
            # The third one's daemon does not start.
            (root / "usr/bin/skybridge").unlink()
            shutil.copy(root / "usr/bin/false", root / "usr/bin/skybridge")
            self.third = bundle(folder / "third.update", root, "3.0", self.key)
            self.unsigned = bundle(folder / "unsigned.update", b"x" * 4096, "3.1")
        # And one that no boot loader can read.
        self.fourth = bundle(folder / "fourth.update", secrets.token_bytes(8 << 20), "4.0", self.key)
        damaged = bytearray(self.second.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        self.damaged = folder / "damaged.update"
        self.damaged.write_bytes(damaged)


def status(shell: Ssh) -> str:
    return shell.run("sudo skybridge-appliance status").stdout


def version(shell: Ssh) -> str:
    return re.search(r"(?m)^version +(\S+)", status(shell)).group(1)


def settled(shell: Ssh, slot: str) -> bool:
    """No trial is under way and this slot is the default."""
    said = shell.run("sudo skybridge-appliance status", check=False, timeout=60).stdout
    return bool(re.search(rf"(?m)^slot {slot} .* running default$", said)) and "on-trial" not in said


def bios(world: World, report: Report, image: Path, update: Path, only: str | None) -> None:
    """Everything but the other firmware, on one machine."""
    lab, key = world.lab, world.lab.key()
    seed = lab.seed("cloud", user_data(key.with_suffix(".pub").read_text().strip(), world.psk),
                    "instance-id: i-0001\nlocal-hostname: cloud\n")
    disk = lab.overlay(image, "bios")
    command(["qemu-img", "resize", "-q", disk, "3G"])
    vm = lab.vm("bios", [disk], world.taps, seed=seed)
    # The operator's way is the second card, in the range that the example allows: it works without a tunnel.
    shell = vm.ssh(world.vpc, SECOND, key, "debian")

    vm.start()
    world.wait_tunnel(vm, BOOT)
    report.fact("BIOS, first boot to traffic (s)", round(vm.elapsed()))
    traffic(world, report, "first boot")
    shell.wait(BOOT)
    report.row("SSH from the management range", "open")
    # cloud-init starts the SSH server again at its end, so it may be refused for a moment.
    poll("SSH from the office's range", ANSWER, lambda: world.client.tcp(MACHINE, 22, seconds=20) == "open")
    report.row("SSH from the office's range, through the tunnel", "open")
    if only != "updates":
        machine_facts(report, shell)
        firewall(world, report, shell)
        traffic(world, report, "after the firewall's checks")
    kept = "sudo cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /var/lib/marker /etc/marker /home/debian/marker"
    shell.run("echo kept | sudo tee /var/lib/marker /etc/marker; echo kept > ~/marker; echo 900 | sudo tee "
              "/etc/skybridge/appliance/health-deadline; sync")
    state = shell.run(kept).stdout
    size = int(shell.run("df --output=size -B1M /data | tail -n 1").stdout)

    def again(what: str, restart: Callable[[], None]) -> None:
        spi, before = world.spi(), shell.boot_id()
        vm.started = time.monotonic()
        restart()
        shell.wait_for_boot_after(before, BOOT)
        world.wait_tunnel(vm, BOOT, spi)
        report.fact(f"{what} to traffic (s)", round(vm.elapsed()))
        traffic(world, report, what)

    def reboot() -> None:
        vm.console.mark()
        vm.started = time.monotonic()
        shell.run("sudo systemctl --no-block reboot", check=False, timeout=60)

    def cut() -> None:
        vm.power_cut()
        command(["qemu-img", "resize", "-q", disk, "4G"])
        vm.start()

    if only != "updates":
        again("restart", reboot)
        report.expect("kept over a restart", shell.run(kept).stdout == state, True)
        again("power cut", cut)
        report.expect("kept over a power cut", shell.run(kept).stdout == state, True)
        grown = int(shell.run("df --output=size -B1M /data | tail -n 1").stdout)
        report.expect("the data partition grew with the disk", grown > size + 900, True)
    if only != "bios":
        updates(world, report, vm, shell, update, again)
    report.expect("kept over everything", shell.run(kept).stdout == state, True)
    vm.shut_down(BOOT)


def updates(world: World, report: Report, vm: Vm, shell: Ssh, update: Path,
            again: Callable[[str, Callable[[], None]], None]) -> None:
    made = Bundles(world.lab.folder, update)
    first = version(shell)
    poll("the first version is marked as good", BOOT, lambda: settled(shell, "a"))

    def install(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
        shell.copy_to(file, "/var/tmp/update", timeout=BOOT)
        vm.console.mark()
        vm.started = time.monotonic()
        return shell.run(f"sudo skybridge-appliance update /var/tmp/update {' '.join(options)}", check=False, timeout=BOOT)

    refused = install(made.damaged)
    report.expect("a damaged bundle", (refused.returncode, refused.stderr.strip().endswith("the checksum is wrong; nothing is changed")),
                  (1, True))
    again("update", lambda: _ok(install(made.second, "--reboot")))
    poll("the second version is marked as good", BOOT, lambda: settled(shell, "b"))
    report.expect("version after the update", version(shell), "2.0")
    for name, slot, wanted in (("rollback", "a", first), ("rollback of the rollback", "b", "2.0")):
        again(name, lambda: _ok(shell.run("sudo skybridge-appliance rollback --reboot", check=False)))
        poll("the slot is the default", BOOT, lambda slot=slot: settled(shell, slot))
        report.expect(f"version after {name}", version(shell), wanted)

    refused = install(made.unsigned)
    report.expect("an unsigned bundle where a key is built in",
                  (refused.returncode, "not signed" in refused.stderr), (1, True))
    # The daemon of the third does not start: tried once, then the second again. Two boots, of which the second counts.
    before = shell.boot_id()
    spi = world.spi()
    shell.run("echo 60 | sudo tee /etc/skybridge/appliance/health-deadline")
    _ok(install(made.third, "--tries", "1", "--reboot"))
    vm.console.wait_for(r"slot a\b", BOOT)
    vm.console.wait_for(r"slot a\b[\s\S]*slot b\b", BOOT)
    shell.wait_for_boot_after(before, BOOT)
    world.wait_tunnel(vm, BOOT, spi)
    report.fact("broken update to traffic of the version before (s)", round(vm.elapsed()))
    poll("the machine knows that the update failed", BOOT, lambda: settled(shell, "b"))
    report.expect("version after a broken update", version(shell), "2.0")
    told = re.search(r"slot a is not good: .*", status(shell))
    report.row("it says why", told.group(0) if told else _missing(status(shell)))
    traffic(world, report, "after a broken update")

    again("update that cannot be loaded", lambda: _ok(install(made.fourth, "--reboot")))
    poll("the machine knows that the update failed", BOOT, lambda: settled(shell, "b"))
    report.expect("version after an update that cannot be loaded", version(shell), "2.0")


def _missing(text: str) -> str:
    raise VmError(f"the status does not say why:\n{text}")


def _ok(done: subprocess.CompletedProcess[str]) -> None:
    # 255: the machine ended the connection, since it restarts.
    if done.returncode not in (0, 255):
        raise VmError(f"refused: {done.stdout}{done.stderr}")


def uefi(world: World, report: Report, image: Path) -> None:
    """The other firmware, and a power cut while the first boot makes the data partition."""
    lab, key = world.lab, world.lab.key()
    seed = lab.seed("uefi", user_data(key.with_suffix(".pub").read_text().strip(), world.psk),
                    "instance-id: i-0002\nlocal-hostname: cloud\n")
    disk = lab.overlay(image, "uefi")
    command(["qemu-img", "resize", "-q", disk, "4G"])
    vm = lab.vm("uefi", [disk], world.taps, seed=seed, firmware="uefi")
    vm.start()
    vm.console.wait_for("first boot: making the data partition", BOOT)
    vm.power_cut()
    report.row("power cut while the data partition is made")
    spi = world.spi()
    vm.start()
    world.wait_tunnel(vm, BOOT, spi)
    report.fact("UEFI, first boot after that to traffic (s)", round(vm.elapsed()))
    traffic(world, report, "UEFI")
    shell = vm.ssh(world.vpc, SECOND, key, "debian")
    shell.wait(BOOT)
    report.expect("started by UEFI", shell.run("test -d /sys/firmware/efi && echo yes").stdout.strip(), "yes")
    report.expect("failed units", shell.run("systemctl --failed --plain --no-legend").stdout.strip(), "")
    report.expect("data is on the disk", shell.run("findmnt -no FSTYPE /data").stdout.strip(), "ext4")
    vm.shut_down(BOOT)


def main() -> None:
    require_root()
    parser = argparse.ArgumentParser()
    images = ROOT / "target/image"
    parser.add_argument("--image", type=Path)
    parser.add_argument("--update", type=Path)
    parser.add_argument("--skybridge", type=Path, default=ROOT / "target/release/skybridge")
    parser.add_argument("--json", type=Path, default=images / "boot.json")
    parser.add_argument("--only", choices=("bios", "updates", "uefi"),
                        help="first boot, restart and power cut; updates and rollback; or the other firmware")
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    newest = max(images.glob("*.qcow2"), key=os.path.getmtime, default=None)
    image = given.image or newest
    if image is None:
        raise SystemExit("no image: make image")
    update = given.update or image.with_suffix(".update")
    report = Report()
    report.fact("image", image.name)
    report.fact("qcow2 (MiB)", image.stat().st_size >> 20)
    report.fact("update (MiB)", update.stat().st_size >> 20)
    report.fact("accelerator", "KVM" if accelerator().kvm else f"emulation: {accelerator().why}")
    failed = ""
    try:
        with Lab("img", keep=given.keep) as lab:
            world = World(lab, given.skybridge.resolve())
            if given.only != "uefi":
                bios(world, report, image, update, given.only)
            if given.only in (None, "uefi"):
                uefi(world, report, image)
    except (VmError, AssertionError) as error:
        failed = str(error)
    width = max(len(what) for what, _ in report.rows)
    print("\n" + "\n".join(f"{what:<{width}}  {seen}" for what, seen in report.rows))
    given.json.write_text(json.dumps({"passed": not failed, "facts": report.facts, "rows": report.rows}, indent=1) + "\n")
    if failed:
        raise SystemExit(f"\nFAILED: {failed}")
    print(f"\npassed: {len(report.rows)} rows; facts in {given.json}")


if __name__ == "__main__":
    main()
