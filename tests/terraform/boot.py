#!/usr/bin/env python3
"""Boots the appliance with the user-data of the AWS module, and brings up a tunnel to it: `make terraform-boot`.

The user-data is what Terraform plans (check.py); the image is the one in target/image, under qemu, with a NoCloud seed in
the place of AWS's metadata service. As root, outside CI: emulated, it takes minutes.

    boot.py [--terraform PROGRAM] [--skybridge PROGRAM]
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import check
from inputs import PSK, inputs
from modules import ROOT

sys.path.insert(0, str(ROOT / "tests/vm"))
from vm import Lab, Namespace, Ssh, poll  # noqa: E402

BOOT = 900
APPLIANCE, EDGE = "10.0.3.10", "10.0.3.1"
OFFICE = """[endpoint]
name = "office"
control_socket = "{folder}/control.sock"
state_dir = "{folder}/state"
[peers.cloud]
remote = "{appliance}"
local_id = "office.example.com"
remote_id = "cloud.example.com"
auth = {{ psk_file = "office.psk" }}
[peers.cloud.children.vpc]
local = ["192.168.10.0/24"]
remote = ["172.16.0.0/16", "10.0.1.0/24", "10.0.2.0/24"]
"""
FACTS = """sudo stat -c '%a %U:%G %n' /etc/skybridge/skybridge.toml /etc/skybridge/office.psk /etc/skybridge/kubeconfig
systemctl is-active skybridge
sudo skybridge check
sudo cat /etc/skybridge/appliance/allow
"""


def planned_user_data(key: str) -> str:
    """What the AWS module would give the instance."""
    check.setUpModule()
    try:
        variables = inputs("aws") | {"ssh_public_keys": [key], "ssh_cidrs": ["10.0.3.0/24"]}
        return check.user_data("aws", check.planned("aws", variables))
    finally:
        check.tearDownModule()


def office(edge: Namespace, folder: Path, program: Path) -> str:
    """Runs the office's end and has it connect; what its status says then."""
    folder.mkdir()
    (folder / "skybridge.toml").write_text(OFFICE.format(folder=folder, appliance=APPLIANCE))
    (folder / "office.psk").write_text(PSK)
    (folder / "office.psk").chmod(0o600)
    edge.start("office", program, "run", "--config", folder / "skybridge.toml")
    control = ["--control", f"{folder}/control.sock"]
    poll("the office's daemon", 60, lambda: edge.run(program, "status", *control, check=False).returncode == 0)
    poll("the tunnel", BOOT, lambda: edge.run(program, "up", "cloud", *control, check=False, timeout=120).returncode == 0)
    return edge.run(program, "status", *control).stdout


def main() -> int:
    """Boots, connects and prints what came of it."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--terraform")
    arguments.add_argument("--skybridge", type=Path, default=ROOT / "target/release/skybridge")
    options = arguments.parse_args()
    check.options = argparse.Namespace(terraform=options.terraform, skybridge=None)
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    image = max((ROOT / "target/image").glob("skybridge-appliance-*.qcow2"), key=lambda path: path.stat().st_mtime)
    with Lab("tfm") as lab:
        key = lab.key()
        text = planned_user_data(key.with_suffix(".pub").read_text().strip())
        edge = lab.namespace("edge")
        edge.bridge("br0", f"{EDGE}/24")
        edge.bridge("lan", "192.168.10.1/24")
        seed = lab.seed("aws", text, "instance-id: i-0001\nlocal-hostname: cloud\n")
        card = edge.tap("br0")
        edge.start("dhcp", "dnsmasq", "--keep-in-foreground", "--port=0", "--conf-file=/dev/null", "--user=root", "--interface=br0",
                   "--bind-interfaces", "--leasefile-ro", "--pid-file=", f"--dhcp-range={APPLIANCE},{APPLIANCE}",
                   f"--dhcp-host={card.mac},{APPLIANCE}")  # fmt: skip
        vm = lab.vm("aws", [lab.overlay(image, "aws")], [card], seed=seed)
        vm.start()
        said = office(edge, lab.folder / "office", options.skybridge.resolve())
        print(f"{image.name}: tunnel after {vm.elapsed():.0f} s\n{said}")
        assert " up " in said
        shell: Ssh = vm.ssh(edge, APPLIANCE, key, "debian")
        shell.wait(BOOT)
        found = shell.run(FACTS).stdout
        print(found)
        for name in ("skybridge.toml", "office.psk", "kubeconfig"):
            assert f"640 root:skybridge /etc/skybridge/{name}" in found, name
        assert "\nactive\n" in found and "is usable" in found and "ssh 10.0.3.0/24" in found
    return 0


if __name__ == "__main__":
    sys.exit(main())
