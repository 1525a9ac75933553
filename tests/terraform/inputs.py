"""Variables that the modules are planned with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import modules
from modules import MODULES

MODES = ("translate", "translate-and-masquerade", "route")
OFFICES = ["192.168.10.0/24", "192.168.20.0/24"]
PSK = "0x000102030405060708090a0b0c0d0e0f"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBvBvBvBvBvBvBvBvBvBvBvBvBvBvBvBvBvBvBvBvBvB operator"
KUBECONFIG = """apiVersion: v1
kind: Config
current-context: prod
clusters: [{name: prod, cluster: {server: "https://10.0.1.5:6443", insecure-skip-tls-verify: false}}]
contexts: [{name: prod, context: {cluster: prod, user: skybridge}}]
users: [{name: skybridge, user: {token: example}}]
"""


def config(mode: str, cloud: str = "aws") -> str:
    """The example's configuration in another mode, with both offices."""
    text = (MODULES / cloud / "examples/basic/skybridge.toml").read_text()
    return text.replace('services = "translate"', f'services = "{mode}"').replace(
        'remote = ["192.168.10.0/24"]', 'remote = ["192.168.10.0/24", "192.168.20.0/24"]'
    )


def inputs(cloud: str, mode: str = "translate") -> dict[str, Any]:
    """Variables for a cloud's module in a mode, with two offices and two route tables."""
    common: dict[str, Any] = {
        "config": config(mode),
        "secrets": {"office.psk": PSK, "kubeconfig": KUBECONFIG},
        "mode": mode,
        "office_cidrs": OFFICES,
        "cluster_cidrs": ["10.0.1.0/24", "10.0.2.0/24"],
    }
    tables: dict[str, Any] = {
        "route_table_ids": {"nodes": "tb-1", "pods": "tb-2"},
        "cluster_security_group_ids": {"nodes": "sg-1"},
    }
    group = {"name": "nodes", "resource_group_name": "network"}
    service: dict[str, Any] = {"service_cidrs": ["172.16.0.0/16"]} if mode == "route" else {}
    own: dict[str, dict[str, Any]] = {
        "aws": {"image_id": "ami-1", "subnet_id": "subnet-1", **tables},
        "gcp": {
            "image_id": "skybridge",
            "zone": "europe-west1-b",
            "network": "vpc",
            "subnetwork": "edge",
            "cluster_target_tags": ["node"],
        },
        "azure": {
            "image_id": "/subscriptions/1/image",
            "resource_group_name": "edge",
            "location": "westeurope",
            "subnet_id": "/subscriptions/1/subnet",
            "private_ip": "10.0.3.10",
            "ssh_public_keys": [KEY],
            "route_tables": {"nodes": group, "pods": {**group, "name": "pods"}},
            "cluster_security_groups": {"nodes": group},
        },
        "alibaba": {"image_id": "m-1", "vpc_id": "vpc-1", "vswitch_id": "vsw-1", **tables},
    }
    hop: dict[str, Any] = {
        "aws": {"service_next_hop": "eni-1", "appliance_route_table_id": "rtb-3"},
        "gcp": {"service_next_hop": "node-1"},
        "azure": {"service_next_hop": "10.0.1.11", "appliance_route_table": group},
        "alibaba": {"service_next_hop": "eni-1", "appliance_route_table_id": "vtb-3"},
    }
    return common | own[cloud] | service | (hop[cloud] if mode == "route" else {})


def example_inputs(cloud: str, folder: Path) -> dict[str, Any]:
    """Variables for a cloud's example; every one that has no default gets a value of its type."""
    given = inputs(cloud)
    values: dict[str, Any] = {"psk_file": str(folder / "office.psk"), "kubeconfig_file": str(folder / "kubeconfig")}
    for name, variable in modules.named(MODULES / cloud / "examples/basic", "variable").items():
        if "default" not in variable:
            values[name] = given.get(
                name, KEY if name == "ssh_public_key" else {} if "map" in variable["type"] else name
            )
    (folder / "office.psk").write_text(PSK)
    (folder / "kubeconfig").write_text(KUBECONFIG)
    return values
