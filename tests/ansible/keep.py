#!/usr/bin/env python3
"""Keeps the machines of the plays for the molecule scenario, which creates, uses and destroys them by separate commands.

    keep.py up FOLDER OFFICE CLOUD [--containers=NAMES]     starts them and returns when they answer; FOLDER/world.json says where
    keep.py down FOLDER                               ends them

FOLDER/ssh is an ssh that runs in the machines' network namespace.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from machines import POD, Lab, build, install, poll


def serve(folder: Path, office: str, cloud: str, containers: list[str]) -> None:
    """Builds the world, writes down where it is, and holds it until told to end."""
    with Lab("ansm") as lab:
        world = build(lab, office, cloud, containers)
        try:
            world.pod.start("pod", sys.executable, "-c", POD)
            for machine in (world.office, world.cloud):
                install(machine, "python3-apt")
            wrapper = folder / "ssh"
            wrapper.write_text(f'#!/bin/sh\n# ssh from inside of the machines\' network namespace.\nexec {" ".join(world.wan.prefix())} ssh "$@"\n')
            wrapper.chmod(0o755)
            (folder / "world.new").write_text(json.dumps({"pid": os.getpid(), "key": str(world.office.ssh.key)}))
            (folder / "world.new").rename(folder / "world.json")
            signal.pause()
        finally:
            for machine in (world.office, world.cloud):
                machine.stop()


def up(folder: Path, office: str, cloud: str, containers: list[str]) -> None:
    """Starts the keeper in the background and waits for its word."""
    folder.mkdir(parents=True, exist_ok=True)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        serve(folder, office, cloud, containers)
        return

    def ready() -> bool:
        if os.waitpid(pid, os.WNOHANG)[0]:
            raise SystemExit(f"the machines did not come up:\n{(folder / 'log').read_text()[-3000:]}")
        return (folder / "world.json").exists()

    poll("the machines", 1800, ready, every=1)
    print(f"the machines are up, kept by process {pid}")


def gone(pid: int) -> bool:
    """Whether a process has ended; what nobody waits for may stay as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def down(folder: Path) -> None:
    """Ends the keeper, which puts everything away."""
    known = folder / "world.json"
    if not known.exists():
        print("nothing is kept")
        return
    pid = int(json.loads(known.read_text())["pid"])
    if not gone(pid) and "keep.py" in Path(f"/proc/{pid}/cmdline").read_text():
        os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 180
    while not gone(pid):
        if time.monotonic() > end:
            raise SystemExit(f"process {pid} does not end")
        time.sleep(0.5)
    known.unlink()
    print("the machines are gone")


def main() -> None:
    """The command."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    if words[:1] == ["up"] and len(words) == 4:
        names = [word.split("=")[1].split(",") for word in sys.argv if word.startswith("--containers=")]
        up(Path(words[1]), words[2], words[3], names[0] if names else [])
    elif words[:1] == ["down"] and len(words) == 2:
        down(Path(words[1]))
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
