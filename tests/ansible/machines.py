"""The office and the cluster that the plays are run on: two machines, a client behind one and a Pod behind the other.

    client 192.168.10.10 -- office 192.168.10.1 | 192.0.2.10 -- wan -- 192.0.2.20 | 10.0.2.1 cloud -- Pod 10.0.2.21, 10.0.3.21

The machines are virtual ones (tests/vm), or those named in `containers` the same disk's tree under systemd-nspawn: the same systemd
and packages with this machine's kernel, which is many times faster where qemu has to emulate.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT / "tests/vm"))

from vm import Lab, Namespace, Nic, Process, Ssh, Vm, VmError, base, base_key, command, poll  # noqa: E402

DEBS = ROOT / "target/ansible/debs"
MIRROR = os.environ.get("SKYBRIDGE_MIRROR", "http://deb.debian.org/debian")


# The Pod: tells a client by HTTP which address it has, and sends datagrams back.
POD = """import http.server, socket, threading
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(self.client_address[0].encode())
def echo():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 7))
    while True:
        d, a = s.recvfrom(100); s.sendto(d, a)
threading.Thread(target=echo, daemon=True).start()
http.server.ThreadingHTTPServer(("", 8080), Page).serve_forever()
"""


@dataclass
class Machine:
    """One end: how to reach it, and what it is."""

    name: str
    suite: str
    ssh: Ssh
    vm: Vm | None = None
    container: Process | None = None
    tree: Path | None = None

    def stop(self) -> None:
        """Ends it in order, so that its tree can be removed."""
        if self.container and self.container.running():
            self.ssh.run("systemctl poweroff", check=False)
            try:
                self.container.wait(60)
            except VmError:
                self.container.signal(signal.SIGTERM)
        if self.container:
            self.container.stop(30)
        if self.tree:
            shutil.rmtree(self.tree, ignore_errors=True)


@dataclass
class World:
    """Everything that the plays see."""

    lab: Lab
    wan: Namespace
    client: Namespace
    pod: Namespace
    office: Machine
    cloud: Machine


def build(lab: Lab, office_suite: str, cloud_suite: str, containers: Sequence[str]) -> World:
    """Namespaces and machines, booted and reachable by SSH."""
    wan, client, pod = lab.namespace("wan"), lab.namespace("cli"), lab.namespace("pod")
    wan.bridge("brwan", "192.0.2.1/24")
    wan.bridge("brlan")
    wan.bridge("brvpc")
    for device, space, addresses, router in (("lan", client, ["192.168.10.10/24"], "192.168.10.1"),
                                             ("vpc", pod, ["10.0.2.21/24", "10.0.3.21/24"], "10.0.2.1")):
        wan.link(device, space, "eth0")
        wan.run("ip", "link", "set", device, "master", f"br{device}")
        space.address("eth0", *addresses)
        space.route("default", router)
    plan = {"office": (office_suite, "192.0.2.10", "brlan", "192.168.10.1/24"),
            "cloud": (cloud_suite, "192.0.2.20", "brvpc", "10.0.2.1/24")}
    made = {name: (container if name in containers else virtual)(lab, wan, name, *what) for name, what in plan.items()}
    for machine in made.values():
        machine.ssh.wait(900)
    return World(lab, wan, client, pod, made["office"], made["cloud"])


def virtual(lab: Lab, wan: Namespace, name: str, suite: str, outside: str, bridge: str, inside: str) -> Machine:
    """A machine under qemu."""
    disk, kernel = base(suite, [Nic(f"{outside}/24", "192.0.2.1"), Nic(inside)], name)
    vm = lab.vm(name, [lab.overlay(disk, name)], [wan.tap("brwan"), wan.tap(bridge)], kernel=kernel, memory=1024)
    vm.start()
    return Machine(name, suite, vm.ssh(wan, outside, base_key()), vm)


def container(lab: Lab, wan: Namespace, name: str, suite: str, outside: str, bridge: str, inside: str) -> Machine:
    """The disk's tree under systemd-nspawn, with the same cards."""
    disk, _ = base(suite)
    tree = lab.folder / f"{name}-root"
    tree.mkdir()
    command(["debugfs", "-R", f"rdump / {tree}", disk], timeout=300)
    # It would answer to this machine's devices.
    for unit in ("systemd-udevd.service", "systemd-udevd-kernel.socket", "systemd-udevd-control.socket", "systemd-udev-trigger.service"):
        (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
    space = lab.namespace(name)
    for index, (where, address) in enumerate((("brwan", f"{outside}/24"), (bridge, inside))):
        space.link(f"eth{index}", wan, f"{name}{index}")
        wan.run("ip", "link", "set", f"{name}{index}", "master", where)
        space.address(f"eth{index}", address)
    space.route("default", "192.0.2.1")
    words = ["systemd-nspawn", "--quiet", "--directory", tree, f"--machine={lab.prefix}-{name}", "--register=no", "--keep-unit",
             f"--network-namespace-path=/run/netns/{space.name}", "--capability=CAP_NET_ADMIN", "--bind=/dev/net/tun", f"--hostname={name}",
             "--boot"]
    process = lab.process(f"{name}-nspawn", words, {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1"})
    return Machine(name, suite, Ssh(wan, outside, base_key()), container=process, tree=tree)


def fetch(machine: Machine, *packages: str) -> list[Path]:
    """Packages with what they need beyond what the machine has, from its release's archive, signatures checked."""
    work = DEBS / f"{machine.suite}-apt"
    for part in ("lists/partial", "archives/partial", "etc"):
        (work / part).mkdir(parents=True, exist_ok=True)
    (work / "status").write_text(machine.ssh.run("cat /var/lib/dpkg/status").stdout)
    (work / "etc/sources.list").write_text(
        f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {MIRROR} {machine.suite} main\n")
    options = [f"-oDir::State={work}", f"-oDir::State::status={work}/status", f"-oDir::State::lists={work}/lists",
               f"-oDir::Cache={work}", f"-oDir::Cache::archives={work}/archives", f"-oDir::Etc::sourcelist={work}/etc/sources.list",
               "-oDir::Etc::sourceparts=/dev/null", "-oDir::Etc::preferencesparts=/dev/null", "-oAPT::Sandbox::User=root",
               "-oAPT::Architecture=amd64"]
    if not list((work / "lists").glob("*Packages*")):
        command(["apt-get", "-qq", *options, "update"], timeout=300)
    for old in (work / "archives").glob("*.deb"):
        old.unlink()
    command(["apt-get", "-qq", "-y", *options, "--no-install-recommends", "--download-only", "install", *packages], timeout=600)
    return sorted((work / "archives").glob("*.deb"))


def install(machine: Machine, *packages: str) -> None:
    """Puts packages on a machine that has no way to an archive."""
    machine.ssh.run("mkdir -p /root/debs")
    for deb in fetch(machine, *packages):
        machine.ssh.copy_to(deb, f"/root/debs/{deb.name}")
    machine.ssh.run("DEBIAN_FRONTEND=noninteractive dpkg -i /root/debs/*.deb && rm -r /root/debs", timeout=900)


__all__ = ["POD", "ROOT", "Lab", "Machine", "Namespace", "Process", "World", "VmError", "build", "command", "install", "poll", "subprocess"]
