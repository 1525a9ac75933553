#!/usr/bin/env python3
"""Runs the commands of the documents as they are written: `make docs-check`.

Every ```sh block says by an invisible comment above it on which machine it is meant: `<!-- on: office -->`. It is run
there, in the document's order, and has to succeed (and to print what `<!-- on: office prints REGEX -->` says), unless it
calls a program of NOT_RUN; then it is parsed, and what it names must exist. A program that is in neither list, and a
block without a machine, are errors. `<!-- file: MACHINE PATH -->` puts the block below into a file,
`<!-- boot: MACHINE CONFIG -->` starts an appliance with the example's configuration and the key of the desk.

    commands.py [--skybridge PROGRAM] [--list]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from world import ROOT, World

DOCUMENTS = ("docs/quickstart.md", "docs/operations.md", "docs/security.md")

NOT_RUN = {
    "aliyun": "asks a cloud",
    "aws": "asks a cloud",
    "terraform": "asks a cloud; the modules are planned by make terraform-check",
    "kubectl": "asks a cluster",
    "make": "run by the target's own tests",
    "apt": "changes the machine that it runs on; tests/package installs the package",
    "dnf": "changes the machine that it runs on",
    "ansible-galaxy": "run by make ansible-test",
    "ansible-playbook": "run by make ansible-test",
    "tcpdump": "ends when somebody stops it",
    "ethtool": "names a device that is not here",
    "dig": "asks the cluster's DNS, and there is none here",
    "scp": "needs another machine",
    "ssh": "needs another machine",
    "journalctl": "needs systemd",
    "systemd-analyze": "needs systemd; tests/package runs it",
}
RUN = set(
    "cat cd chmod cp curl find getent grep id install ip ls mkdir mv nft openssl ping python3 rm sed sha256sum skybridge "
    "ss stat sysctl systemctl tar umask".split()
)

MARK = re.compile(r"<!-- (on|file|boot): (\w+) ?(.*?) -->")


@dataclass
class Step:
    """One thing to do, in the order of the document."""

    document: str
    line: int
    kind: str  # on, file, boot
    machine: str
    argument: str
    text: str

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.document}:{self.line}"


def steps(document: str) -> list[Step]:
    """The steps of a document; a ```sh block without a machine raises."""
    found: list[Step] = []
    mark: re.Match[str] | None = None
    # Blocks within lists are indented.
    lines = [line.removeprefix("   ") for line in (ROOT / document).read_text().split("\n")]
    at = 0
    while at < len(lines):
        line = lines[at]
        if new := MARK.fullmatch(line.strip()):
            mark = new
            if mark[1] == "boot":
                found.append(Step(document, at + 1, "boot", mark[2], mark[3], ""))
                mark = None
        elif line.startswith("```"):
            end = lines.index("```", at + 1)
            if line == "```sh" and (mark is None or mark[1] != "on"):
                raise ValueError(f"{document}:{at + 1}: on which machine is this run?")
            if mark is not None:
                found.append(Step(document, at + 1, mark[1], mark[2], mark[3], "\n".join(lines[at + 1 : end]) + "\n"))
            mark, at = None, end
        at += 1
    return found


def programs(script: str) -> set[str]:
    """The programs that a script calls, by a look at where commands begin."""
    text = re.sub(r"\\\n", " ", script)
    text = re.sub(r"'[^']*'|\"[^\"$]*\"", "''", text)
    text = re.sub(r"(^|\s)#.*", "", text, flags=re.M)
    found = set()
    for part in re.split(r"\n|\|\|?|&&|;|\$\(|\b(?:then|do|else)\b", text):
        words = [word for word in part.replace(")", " ").split() if not re.match(r"[A-Za-z_]\w*=", word)]
        if words and words[0] not in ("if", "fi", "for", "done", "while", "''"):
            found.add(words[0])
    return found


def parse(step: Step) -> list[str]:
    """What is wrong with a block that is not run."""
    done = subprocess.run(["bash", "-n"], input=step.text, capture_output=True, text=True, check=False)
    wrong = [f"{step.where}: {done.stderr}"] if done.returncode else []
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make ([\w-]+)", step.text, re.M):
        if not re.search(rf"^{target}:", makefile, re.M):
            wrong.append(f"{step.where}: make {target} is not there")
    for play in re.findall(r"skybridge\.endpoint\.(\w+)", step.text):
        if not (ROOT / f"ansible/playbooks/{play}.yml").exists():
            wrong.append(f"{step.where}: the play {play} is not there")
    for path in re.findall(r"(?:^|[\s./])((?:appliance|ansible|tests|docs)/[\w./-]+)", step.text):
        if not (ROOT / path).exists():
            wrong.append(f"{step.where}: {path} is not there")
    if folder := re.search(r"^cd (appliance/terraform/\S+)$", step.text, re.M):
        declared = set(re.findall(r'^variable "(\w+)"', (ROOT / folder[1] / "variables.tf").read_text(), re.M))
        given = set(re.findall(r"-var '?(\w+)=", step.text))
        needed = declared - {"psk_file", "kubeconfig_file"}
        if not needed <= given <= declared:
            wrong.append(f"{step.where}: variables {sorted(needed ^ given)}")
    return wrong


def boot(world: World, step: Step) -> None:
    """What the appliance does at its first boot, once cloud-init has written its files."""
    cloud = world.machines[step.machine]
    cloud.write("/etc/skybridge/skybridge.toml", (ROOT / step.argument).read_text())
    cloud.write("/etc/skybridge/office.psk", world.machines["desk"].run("cat ~/skybridge/office.psk").stdout)
    cloud.write("/etc/skybridge/kubeconfig", world.kubeconfig())
    done = cloud.run("systemctl start skybridge")
    if done.returncode != 0:
        raise RuntimeError(f"{step.where}: the appliance does not start: {done.stdout}{done.stderr}")
    world.wait(step.machine, "skybridge services web")
    # What the administrator copies from the desk to the office.
    world.machines["desk"].run("cp ~/skybridge/office.psk .")


def perform(world: World, step: Step) -> str:
    """One step; what went wrong, or nothing."""
    if step.kind == "boot":
        boot(world, step)
    elif step.kind == "file":
        world.machines[step.machine].write(step.argument, step.text)
    else:
        done = world.machines[step.machine].run(step.text)
        if done.returncode != 0:
            return f"{step.where}: exit status {done.returncode}\n{step.text}{done.stdout}{done.stderr}"
        if step.argument and not re.search(step.argument.removeprefix("prints "), done.stdout):
            return f"{step.where}: not what it {step.argument}\n{step.text}{done.stdout}{done.stderr}"
    return ""


def main() -> int:
    """Classifies every block, then runs what can be run."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--skybridge", type=Path)
    arguments.add_argument("--list", action="store_true")
    options = arguments.parse_args()
    wrong: list[str] = []
    to_run: list[Step] = []
    for step in (step for document in DOCUMENTS for step in steps(document)):
        used = programs(step.text) if step.kind == "on" else set()
        reasons = sorted(f"{name} {NOT_RUN[name]}" for name in used & NOT_RUN.keys())
        for unknown in used - NOT_RUN.keys() - RUN:
            wrong.append(f"{step.where}: {unknown} is neither run nor in the list of what is not")
        if reasons:
            wrong += parse(step)
        else:
            to_run.append(step)
        print(f"{step.where}: {step.kind} {step.machine}: {'parsed: ' + '; '.join(reasons) if reasons else 'run'}")
    if options.list or wrong:
        print(*wrong, sep="\n", file=sys.stderr)
        return int(bool(wrong))
    built = [path for path in (ROOT / "target/release/skybridge", ROOT / "target/debug/skybridge") if path.exists()]
    program = options.skybridge or max(built, key=lambda path: path.stat().st_mtime, default=None)
    if program is None:
        print("no skybridge was built: cargo build", file=sys.stderr)
        return 1
    if os.geteuid() != 0:
        os.execvp("sudo", ["sudo", sys.executable, __file__, "--skybridge", str(program.resolve())])
    world = World(program.resolve())
    try:
        for step in to_run:
            if failure := perform(world, step):
                print(failure, file=sys.stderr)
                return 1
    finally:
        world.close()
    print(f"{len(to_run)} steps were run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
