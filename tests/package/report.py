#!/usr/bin/env python3
"""What the program costs: sizes, libraries, time from start to ready, memory, exposure of the unit.

    tests/package/report.py [--json]

Of the newest packages in target/package. The daemon is started in network namespaces here, as root, without systemd: ready is
when it says so (sd_notify), memory is VmRSS of /proc/PID/status, with a tunnel is after 1,000 packets through it. Needs root.
"""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/vm"))

from vm import Lab, Namespace, Process, VmError, poll, require_root  # noqa: E402

STARTS = 20
PATIENCE = 60.0
IDLE = '[endpoint]\nname = "idle"\nstate_dir = "@FOLDER@/state"\ncontrol_socket = "@FOLDER@/control.sock"\n'
PEER = """
[peers.other]
remote = "@REMOTE@"
local_id = "@LOCAL_ID@"
remote_id = "@REMOTE_ID@"
auth = { psk_file = "@FOLDER@/key" }
start = "@START@"
[peers.other.children.net]
local = ["@LOCAL_NET@"]
remote = ["@REMOTE_NET@"]
"""


@dataclass
class Side:
    """One end of the tunnel."""

    name: str
    outer: str
    inner: str
    net: str


LEFT = Side("left.example.com", "192.0.2.1", "10.1.0.1", "10.1.0.0/24")
RIGHT = Side("right.example.com", "192.0.2.2", "10.2.0.1", "10.2.0.0/24")


def newest(pattern: str) -> Path | None:
    found = sorted((ROOT / "target/package").glob(pattern), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


def write(folder: Path, text: str, **words: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "key").write_text("0s" + "c2t5YnJpZGdlIHNreWJyaWRnZSBza3licmlkZ2UhIQ==\n")
    (folder / "key").chmod(0o600)
    for word, value in {**words, "FOLDER": str(folder)}.items():
        text = text.replace(f"@{word}@", value)
    config = folder / "skybridge.toml"
    config.write_text(text)
    return config


def start(net: Namespace, program: Path, config: Path, name: str) -> tuple[Process, float]:
    """A daemon, once it is ready, and the milliseconds that took from before `ip netns exec`."""
    path = config.parent / "notify"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(PATIENCE)
        begin = time.monotonic()
        process = net.start(name, program, "run", "--config", config, env={"NOTIFY_SOCKET": str(path)})
        try:
            while b"READY=1" not in listener.recv(4096):
                pass
        except TimeoutError:
            raise VmError(f"not ready:\n{process.text()}") from None
        return process, (time.monotonic() - begin) * 1000


def resident(process: Process) -> int:
    """KiB that the daemon holds. `ip netns exec` becomes the daemon itself."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1))


def starts(lab: Lab, program: Path) -> tuple[list[float], int]:
    net = lab.namespace("idle")
    config = write(lab.folder / "idle", IDLE)
    times = []
    memory = 0
    for _ in range(STARTS):
        process, milliseconds = start(net, program, config, "idle")
        times.append(milliseconds)
        memory = resident(process)
        process.stop()
    return times, memory


def with_a_tunnel(lab: Lab, program: Path) -> int:
    ends = {side.name: lab.namespace(side.name.split(".")[0]) for side in (LEFT, RIGHT)}
    ends[LEFT.name].link("wan0", ends[RIGHT.name], "wan0")
    daemons = []
    for side, other, begin in ((LEFT, RIGHT, "wait"), (RIGHT, LEFT, "connect")):
        net = ends[side.name]
        net.address("wan0", f"{side.outer}/24")
        net.bridge("lan0", f"{side.inner}/24")
        config = write(lab.folder / side.name, IDLE + PEER, REMOTE=other.outer, LOCAL_ID=side.name, REMOTE_ID=other.name,
                       START=begin, LOCAL_NET=side.net, REMOTE_NET=other.net)
        daemons.append(start(net, program, config, side.name)[0])
    ping = ["ping", "-q", "-i", "0.002", "-I", LEFT.inner, RIGHT.inner]
    poll("the tunnel", PATIENCE, lambda: ends[LEFT.name].run(*ping, "-c1", "-W1", check=False).returncode == 0)
    ends[LEFT.name].run(*ping, "-c1000")
    return max(resident(daemon) for daemon in daemons)


def exposure(tree: Path) -> float:
    said = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", tree / "usr/lib/systemd/system/skybridge.service"],
                          text=True, capture_output=True).stdout
    return float(re.search(r"exposure level for skybridge.service: ([\d.]+)", said).group(1))


def main() -> None:
    require_root()
    package = newest("skybridge_*_amd64.deb")
    if package is None:
        raise SystemExit("no package: run appliance/package/build.sh deb")
    facts: dict[str, object] = {}
    with Lab("pkr") as lab:
        tree = lab.folder / "tree"
        subprocess.run(["dpkg-deb", "-x", package, tree], check=True)
        program = tree / "usr/bin/skybridge"
        dynamic = subprocess.run(["objdump", "-p", program], check=True, text=True, capture_output=True).stdout
        facts["program, octets"] = program.stat().st_size
        facts["Debian package, octets"] = package.stat().st_size
        rpm = newest("skybridge-*.x86_64.rpm")
        facts["RPM package, octets"] = rpm.stat().st_size if rpm else None
        facts["libraries"] = sorted(re.findall(r"NEEDED\s+(\S+)", dynamic))
        times, memory = starts(lab, program)
        facts["start to ready, ms"] = {"median": round(statistics.median(times), 1), "least": round(min(times), 1),
                                       "most": round(max(times), 1), "starts": len(times)}
        facts["memory idle, KiB"] = memory
        facts["memory with a tunnel, KiB"] = with_a_tunnel(lab, program)
        facts["exposure"] = exposure(tree)
        facts["load of this machine"] = f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
    if "--json" in sys.argv:
        print(json.dumps(facts, indent=1))
        return
    for name, value in facts.items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
