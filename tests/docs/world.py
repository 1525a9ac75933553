"""A small world for the commands of the documents: an office, the internet with both NATs, a cloud, a cluster, one Pod.

Each machine is a network namespace with a mount namespace of its own, in which /etc, /run, /var/lib and /root are
copies. The built program stands in the PATH. `systemctl` is a script that starts, reloads and stops the daemon with the
user, capabilities and commands of the unit file, and without its sandbox: there is no systemd here.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "appliance/systemd/skybridge.service"
TAG = f"skd{os.getpid() % 10000}"
LIMIT = 60
API = "10.0.1.5"

SYSTEMCTL = """#!/bin/bash
# Does what systemd would with this one service.
set -eu
log=/run/skybridge.log
start() {
    install -d -m 0755 -o skybridge -g skybridge /run/skybridge
    install -d -m 0750 -o skybridge -g skybridge /var/lib/skybridge
    : >"$log"
    setsid setpriv --reuid USER --regid GROUP --init-groups --inh-caps=-all,CAPS --ambient-caps=-all,CAPS \
        --bounding-set=-all,CAPS --no-new-privs START </dev/null >>"$log" 2>&1 &
    echo $! >/run/skybridge.pid
    for _ in $(seq 300); do
        skybridge status >/dev/null 2>&1 && return 0
        kill -0 "$(cat /run/skybridge.pid)" 2>/dev/null || break
        read -rt 0.1 <> <(:) || true
    done
    cat "$log" >&2
    return 1
}
stop() {
    [ -e /run/skybridge.pid ] || return 0
    kill "$(cat /run/skybridge.pid)" 2>/dev/null || true
    for _ in $(seq 300); do
        kill -0 "$(cat /run/skybridge.pid)" 2>/dev/null || break
        read -rt 0.1 <> <(:) || true
    done
    rm -f /run/skybridge.pid
}
case "$*" in
"enable skybridge") ;;
"start skybridge") start ;;
"stop skybridge") stop ;;
"restart skybridge") stop; start ;;
"reload skybridge") RELOAD ;;
"is-active skybridge") kill -0 "$(cat /run/skybridge.pid)" && echo active ;;
*) echo "systemctl $*: not known here" >&2; exit 1 ;;
esac
"""


def call(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a program."""
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=LIMIT)


def unit(key: str) -> str:
    """A line of the unit file, with the program looked up in the PATH."""
    found = re.search(rf"^{key}=(.*)$", UNIT.read_text(), re.M)
    if not found:
        raise ValueError(f"{UNIT}: no {key}")
    return found[1].replace("/usr/bin/skybridge", "skybridge")


class Machine:
    """One machine."""

    def __init__(self, name: str, folder: Path, program: Path, shared: Path) -> None:
        self.name = name
        self.namespace = f"{TAG}-{name}"
        self.folder = folder / name
        self.shared = shared
        call("ip", "netns", "add", self.namespace)
        self.ip("link", "set", "lo", "up")
        self._files(program)
        script = " && ".join(
            f"mount --bind {self.folder}/{place.replace('/', '-')} /{place}"
            for place in ("etc", "run", "var/lib", "root")
        )
        # The holder keeps the namespaces; what is run enters them.
        self.holder = subprocess.Popen(
            [
                "ip",
                "netns",
                "exec",
                self.namespace,
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "bash",
                "-c",
                f"{script} && echo ready && exec sleep infinity",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout is not None
        if self.holder.stdout.readline() != "ready\n":
            raise RuntimeError(f"{name}: no mounts")

    def _files(self, program: Path) -> None:
        for place in ("run", "var-lib", "root", "bin"):
            (self.folder / place).mkdir(parents=True)
        shutil.copytree("/etc", self.folder / "etc", symlinks=True, ignore_dangling_symlinks=True)
        for base, line in (
            ("passwd", "skybridge:x:978:978::/var/lib/skybridge:/usr/sbin/nologin"),
            ("group", "skybridge:x:978:\nskybridge-control:x:979:skybridge"),
        ):
            with (self.folder / "etc" / base).open("a") as file:
                file.write(f"{line}\n")
        config = self.folder / "etc/skybridge"
        shutil.rmtree(config, ignore_errors=True)
        for sub, group, mode in (("", 978, 0o750), ("conf.d", 978, 0o750), ("credentials", 0, 0o700)):
            (config / sub).mkdir()
            os.chown(config / sub, 0, group)
            (config / sub).chmod(mode)
        (self.folder / "bin/skybridge").symlink_to(program)
        systemctl = self.folder / "bin/systemctl"
        capabilities = ",".join(f"+{word.lower().removeprefix('cap_')}" for word in unit("AmbientCapabilities").split())
        words = {
            "START": unit("ExecStart"),
            "RELOAD": unit("ExecReload"),
            "USER": unit("User"),
            "GROUP": unit("Group"),
            "CAPS": capabilities,
        }
        systemctl.write_text(re.sub("|".join(words), lambda found: words[found[0]], SYSTEMCTL))
        systemctl.chmod(0o755)

    def ip(self, *arguments: str) -> None:
        """`ip` in the machine's network namespace."""
        call("ip", "-n", self.namespace, *arguments)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """A script as root, in the folder that all machines share; it ends at the first command that fails."""
        environment = {
            "PATH": f"{self.folder}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
        }
        enter = ["nsenter", "--target", str(self.holder.pid), "--net", "--mount", f"--wdns={self.shared}"]
        return subprocess.run(
            [*enter, "bash", "-euo", "pipefail", "-c", script],
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT * 2,
            check=False,
        )

    def write(self, path: str, content: str, mode: int = 0o640) -> None:
        """A file of the machine, for root and the daemon's group."""
        file = self.folder / path.removeprefix("/").replace("var/lib", "var-lib")
        file.write_text(content)
        os.chown(file, 0, 978)
        file.chmod(mode)

    def close(self) -> None:
        """Stops what runs in it and removes it."""
        self.run("systemctl stop skybridge")
        for pid in call("ip", "netns", "pids", self.namespace, check=False).stdout.split():
            os.kill(int(pid), signal.SIGKILL)
        self.holder.wait(timeout=LIMIT)
        call("ip", "netns", "delete", self.namespace)


class World:
    """All machines and what joins them. The desk is where the office's and the cloud's administrator sits."""

    def __init__(self, program: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="skybridge-docs-"))
        self.shared = self.folder / "shared"
        self.shared.mkdir()
        self.machines: dict[str, Machine] = {}
        for name in ("desk", "client", "office", "internet", "cloud", "pod"):
            self.machines[name] = Machine(name, self.folder, program, self.shared)
        self._join("client", "192.168.10.21/24", "office", "192.168.10.1/24")
        self._join("office", "198.51.100.20/24", "internet", "198.51.100.1/24")
        self._join("internet", "10.0.3.1/24", "cloud", "10.0.3.10/24")
        self._join("cloud", "10.0.2.1/24", "pod", "10.0.2.21/24")
        for name, gateway in (
            ("client", "192.168.10.1"),
            ("office", "198.51.100.1"),
            ("cloud", "10.0.3.1"),
            ("pod", "10.0.2.1"),
        ):
            self.machines[name].ip("route", "add", "default", "via", gateway)
        internet = self.machines["internet"]
        done = internet.run(
            "sysctl -qw net.ipv4.ip_forward=1\n"
            "nft 'add table ip nat; add chain ip nat pre { type nat hook prerouting priority -100; };"
            " add chain ip nat post { type nat hook postrouting priority 100; };"
            " add rule ip nat pre ip daddr 203.0.113.10 dnat to 10.0.3.10;"
            " add rule ip nat post ip saddr 198.51.100.0/24 masquerade'"
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        self._cluster()

    def _cluster(self) -> None:
        """An API server and a Pod that answers. The certificate is for the API server's address."""
        pod, folder = self.machines["pod"], self.folder / "cluster"
        folder.mkdir()
        pod.ip("address", "add", f"{API}/32", "dev", "lo")
        self.machines["cloud"].ip("route", "add", f"{API}/32", "via", "10.0.2.21")
        key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        done = pod.run(
            f"cd {folder}\n"
            f"openssl req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=ca -days 2"
            " -addext basicConstraints=critical,CA:TRUE\n"
            f"openssl req {key} -keyout server.key -out server.csr -subj /CN=api\n"
            f"echo subjectAltName=IP:{API} >names\n"
            "openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
            " -extfile names -out server.pem\n"
        )
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        server = [sys.executable, str(Path(__file__).with_name("cluster.py")), str(folder), API]
        self.server = subprocess.Popen(
            ["ip", "netns", "exec", pod.namespace, *server], stdout=subprocess.PIPE, text=True
        )
        assert self.server.stdout is not None
        if self.server.stdout.readline() != "ready\n":
            raise RuntimeError("no cluster")

    def kubeconfig(self) -> str:
        """For the API server."""
        return (
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n"
            "users: [{name: u, user: {token: t}}]\nclusters:\n- name: c\n  cluster:\n"
            f"    server: https://{API}:6443\n    certificate-authority-data: "
            + base64.b64encode((self.folder / "cluster/ca.pem").read_bytes()).decode()
            + "\n"
        )

    def _join(self, left: str, left_address: str, right: str, right_address: str) -> None:
        here, there = self.machines[left], self.machines[right]
        call(
            "ip",
            "-n",
            here.namespace,
            "link",
            "add",
            f"to-{right}",
            "type",
            "veth",
            "peer",
            "name",
            f"to-{left}",
            "netns",
            there.namespace,
        )
        for machine, device, address in ((here, f"to-{right}", left_address), (there, f"to-{left}", right_address)):
            machine.ip("address", "add", address, "dev", device)
            machine.ip("link", "set", device, "up")

    def wait(self, machine: str, script: str) -> None:
        """Until a script succeeds."""
        deadline = time.monotonic() + LIMIT
        while (done := self.machines[machine].run(script)).returncode != 0:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{script}: {done.stdout}{done.stderr}")

    def close(self) -> None:
        """Removes everything."""
        self.server.kill()
        self.server.wait(timeout=LIMIT)
        for machine in self.machines.values():
            machine.close()
        shutil.rmtree(self.folder)
