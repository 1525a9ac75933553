#!/usr/bin/env python3
"""What of the collection can be tried without another machine: the plays run with real programs into folders of their own.

    tests/ansible/check.py          (by tests/ansible/lint.sh, which installs what it needs)

- For both example inventories the office and cloud plays render what they would write, on this machine, into scratch folders:
  each configuration passes the real `skybridge check`, and a second run changes nothing. The certificates come from the play `ca`.
- What is meant for dnsmasq, Kea and unbound passes their own checkers, and dnsmasq and Kea then serve it to a DHCP client in a
  network namespace, which decodes options 121 and 249 as RFC 3442 says.
- The branch for the RHEL family runs as a dry run with that family's facts.
- README.md's table, the argument specs and the defaults name the same variables with the same defaults.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import secrets
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = ROOT / "ansible"
ROLE = COLLECTION / "roles/skybridge"
VENV = ROOT / "target/ansible-venv/bin"
KUBECONFIG = """apiVersion: v1
kind: Config
current-context: one
clusters: [{name: one, cluster: {server: "https://192.0.2.1:6443", insecure-skip-tls-verify: true}}]
users: [{name: one, user: {token: not-a-real-token}}]
contexts: [{name: one, context: {cluster: one, user: one}}]
"""


class Failed(Exception):
    """What did not hold."""


def expect(holds: bool, what: str) -> None:
    """Stops with `what` where it does not hold."""
    if not holds:
        raise Failed(what)


def run(*words: str | Path, env: dict[str, str] | None = None, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program without a shell."""
    done = subprocess.run([str(word) for word in words], text=True, capture_output=True, input=stdin,
                          env={**os.environ, **(env or {})}, timeout=600)
    if check and done.returncode:
        raise Failed(f"exit status {done.returncode}: {' '.join(map(str, words))}\n{done.stdout[-6000:]}\n{done.stderr[-3000:]}")
    return done


def program() -> Path:
    """The daemon's program: given, or the newest that was built."""
    given = os.environ.get("SKYBRIDGE_BIN")
    built = [Path(given)] if given else [ROOT / "target" / kind / "skybridge" for kind in ("release", "debug")]
    there = sorted((one for one in built if one.exists()), key=lambda one: one.stat().st_mtime)
    expect(bool(there), "no skybridge program: run `make build` or `make test` first, or set SKYBRIDGE_BIN")
    return there[-1]


class Scratch:
    """Folders that stand for the hosts of an inventory."""

    def __init__(self, folder: Path, inventory: str) -> None:
        self.folder, self.inventory = folder / inventory, inventory
        listed = json.loads(self.ansible("ansible-inventory", "--list").stdout)
        self.hosts = sorted(listed["offices"]["hosts"] + listed["clouds"]["hosts"])
        for host in self.hosts:
            for part in ("conf.d", "credentials", "lan", "dnsmasq.d"):
                (self.folder / host / part).mkdir(parents=True)

    def ansible(self, tool: str, *words: str | Path, env: dict[str, str] | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One of Ansible's programs on this inventory."""
        return run(VENV / tool, "-i", COLLECTION / "inventories" / self.inventory, *words, check=check,
                   env={"ANSIBLE_COLLECTIONS_PATH": str(ROOT / "target/ansible"), "ANSIBLE_NOCOLOR": "1",
                        "ANSIBLE_LOCALHOST_WARNING": "0", "PATH": f"{VENV}:{os.environ['PATH']}:/usr/sbin", **(env or {})})

    def variables(self) -> str:
        """Where the role's files go here, and what a vault would hold."""
        own = f"{self.folder}/{{{{ inventory_hostname }}}}"
        return json.dumps({
            "ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable,
            "skybridge__folder": own, "skybridge__config": f"{own}/skybridge.toml",
            "skybridge__candidate": f"{own}/.candidate.toml", "skybridge__program": str(program()),
            "skybridge__group": "root", "skybridge__dnsmasq_dir": f"{own}/dnsmasq.d", "skybridge_lan_folder": f"{own}/lan",
            "skybridge__endpoint": {"name": "{{ inventory_hostname }}"},
            "skybridge_service_manage": False, "skybridge_ca_folder": f"{self.folder}/pki",
            "skybridge_ca_program": str(program()), "vault_skybridge_kubeconfig": KUBECONFIG,
            "vault_skybridge_kubeconfigs": {host: KUBECONFIG for host in self.hosts},
        })

    def play(self, name: str, *words: str, env: dict[str, str] | None = None) -> dict[str, dict[str, int]]:
        """Runs a playbook and gives the counts of each host."""
        done = self.ansible("ansible-playbook", COLLECTION / f"playbooks/{name}.yml", "-e", self.variables(), *words, env=env)
        return recap(done.stdout)


def recap(text: str) -> dict[str, dict[str, int]]:
    """The counts at the end of a play's output."""
    lines = text.split("PLAY RECAP", 1)[1].splitlines()[1:]
    found = {line.split(":")[0].strip(): {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", line)} for line in lines if "ok=" in line}
    expect(bool(found), f"no counts in\n{text[-2000:]}")
    return found


def examples_are_usable(scratch: Scratch) -> None:
    """Both plays write what `skybridge check` takes, and nothing the second time."""
    if scratch.inventory == "three-offices":
        counts = scratch.play("ca")
        expect(sum(one["changed"] for one in counts.values()) > 0, "the CA was not made")
        again = scratch.play("ca")
        expect(not any(one["changed"] for one in again.values()), f"the second run of ca changed something: {again}")
    for attempt in ("first", "second"):
        for play in ("office", "cloud"):
            counts = scratch.play(play, "--tags", "skybridge_config,skybridge_lan")
            changed = sum(one["changed"] for one in counts.values())
            expect((changed > 0) == (attempt == "first"), f"the {attempt} run of {play} changed {changed}: {counts}")
    for host in scratch.hosts:
        folder = scratch.folder / host
        said = run(program(), "check", "--config", folder / "skybridge.toml").stdout
        expect("is usable" in said and "0 peers" not in said, said)
        leftovers = [one.name for one in folder.iterdir() if one.name.startswith(".")]
        expect(not leftovers, f"{host}: {leftovers} was left behind")
        for secret in [*folder.glob("*.psk"), *folder.glob("*.key"), *folder.glob("kubeconfig")]:
            expect(secret.stat().st_mode & 0o777 == 0o640, f"{secret} has mode {secret.stat().st_mode & 0o777:o}")
    print(f"{scratch.inventory}: {len(scratch.hosts)} configurations pass `skybridge check`; second run: nothing changed")


def a_wrong_configuration_is_refused(scratch: Scratch) -> None:
    """A mistake never reaches the file, and the play shows the daemon's words."""
    before = (scratch.folder / "office/skybridge.toml").read_text()
    wrong = json.dumps({"skybridge_endpoint": {"replay_window": 100}, "skybridge__endpoint": {"replay_window": 100}})
    done = scratch.ansible("ansible-playbook", COLLECTION / "playbooks/office.yml", "-e", scratch.variables(), "-e", wrong,
                           "--tags", "skybridge_config", check=False)
    told = done.stdout.split("Stop with what the check says")[-1]
    expect(done.returncode != 0 and "replay_window" in told and "power of two" in done.stdout, done.stdout[-3000:])
    expect((scratch.folder / "office/skybridge.toml").read_text() == before, "the wrong configuration was written")
    print("a configuration that `skybridge check` refuses is not written, and the play shows why")


def secrets_are_not_shown(scratch: Scratch) -> None:
    """A key of a vault is in no output, however much is shown."""
    key = secrets.token_hex(16)
    done = scratch.ansible("ansible-playbook", COLLECTION / "playbooks/office.yml", "-e", scratch.variables(),
                           "-e", json.dumps({"skybridge_psks": {"cloud": [key, key[::-1]]}}), "--tags", "skybridge_config",
                           "--diff", "-vvv")
    for name, text in (("cloud.psk", key), ("cloud.1.psk", key[::-1])):
        expect((scratch.folder / "office" / name).read_text() == text + "\n", f"{name} was not written")
        expect(text not in done.stdout + done.stderr, f"the key in {name} is in the output")
    config = (scratch.folder / "office/skybridge.toml").read_text()
    expect('psk_files = ["cloud.psk", "cloud.1.psk"]' in config, config)
    print("a key is in no output, at -vvv with --diff neither")


def red_hat_branch(scratch: Scratch, folder: Path) -> None:
    """A dry run with the facts of a RHEL-family host chooses its package manager, names and folders."""
    rpm = folder / "skybridge-0.1.0-1.x86_64.rpm"
    rpm.write_bytes(b"stands for the package: a dry run does not open it")
    variables = json.dumps({"skybridge_package_file": str(rpm), "skybridge_firewall": "nftables", "skybridge__nft_file": f"{folder}/skybridge.nft",
                            "skybridge_lan_install": ["unbound"], "skybridge__program": "/nonexistent",
                            "skybridge__yum_folder": str(folder), "skybridge__sysctl_file": f"{folder}/sysctl.conf",
                            "skybridge_yum_repository": {"baseurl": "https://packages.example.com/rpm", "gpgkey": "https://packages.example.com/key"}})
    done = scratch.ansible("ansible-playbook", ROOT / "tests/ansible/redhat.yml", "--check", "--diff", "-e", scratch.variables(),
                           "-e", variables, "-vvv")
    text = done.stdout
    expect("tasks/package_redhat.yml" in text and "tasks/package_debian.yml" not in text, text[-3000:])
    expect("/etc/unbound/conf.d/skybridge.conf" in text, "no path for the RHEL family's unbound")
    expect("/etc/sysconfig/nftables.conf" in text, "no path for the RHEL family's nftables")
    expect("+[skybridge]" in text and "+baseurl = https://packages.example.com/rpm" in text, text[-3000:])
    print("RHEL family: a dry run with its facts takes dnf, and shows the repository that it would write")


def decode(octets: bytes) -> list[tuple[str, str]]:
    """RFC 3442: width, significant octets, router, again and again."""
    routes, at = [], 0
    while at < len(octets):
        width = octets[at]
        size = (width + 7) // 8
        network = octets[at + 1:at + 1 + size] + bytes(4 - size)
        routes.append((f"{ipaddress.IPv4Address(network)}/{width}", str(ipaddress.IPv4Address(octets[at + 1 + size:at + 5 + size]))))
        at += 5 + size
    return routes


OFFICE_ROUTES = [("0.0.0.0/0", "192.168.10.1"), ("10.0.2.0/24", "192.168.10.2"), ("172.16.0.0/16", "192.168.10.2")]


def encoding_is_rfc_3442() -> None:
    """The RFC's own examples, and odd widths, through the filter and back."""
    sys.path.insert(0, str(COLLECTION / "plugins/filter"))
    import lan  # type: ignore[import-not-found]
    examples = {"0.0.0.0/0": "00", "10.0.0.0/8": "080A", "10.0.0.0/24": "180A0000", "10.17.0.0/16": "100A11",
                "10.27.129.0/24": "180A1B81", "10.229.0.128/25": "190A E50080".replace(" ", ""), "10.198.122.47/32": "200AC67A2F"}
    for network, wanted in examples.items():
        got = lan._classless([(network, "192.0.2.1")]).hex().upper()
        expect(got == wanted + "C0000201", f"{network} is {got}")
    networks = ["172.16.0.0/12", "10.32.0.0/11", "100.64.0.1/32", "192.168.77.128/27"]
    back = decode(bytes.fromhex(lan.classless_hex(networks, "192.168.10.2", "192.168.10.1")))
    expect(back == [("0.0.0.0/0", "192.168.10.1"), *((one, "192.168.10.2") for one in networks)], str(back))
    try:
        lan.classless_hex([f"10.{index}.0.0/16" for index in range(40)], "192.0.2.1")
    except Exception as error:  # noqa: BLE001 - Ansible's own type
        expect("fewer, larger prefixes" in str(error), str(error))
    else:
        raise Failed("an option of more than 255 octets was accepted")
    print("option 121: the examples of RFC 3442 and odd prefixes decode to what went in")


def servers_take_the_files(folder: Path) -> None:
    """The programs' own checkers."""
    made = folder / "one-office/office/lan"
    run("dnsmasq", "--test", f"--conf-file={made}/dnsmasq-dhcp.conf")
    run("dnsmasq", "--test", f"--conf-file={made}/dnsmasq-dns.conf")
    run("unbound-checkconf", made / "unbound.conf")
    run("kea-dhcp4", "-t", kea_config(folder, "lo"))
    broken = folder / "broken.conf"
    broken.write_text((made / "unbound.conf").read_text().replace("forward-addr", "forward-adr"))
    expect(run("unbound-checkconf", broken, check=False).returncode != 0, "unbound-checkconf accepts anything")
    print("dnsmasq --test, unbound-checkconf and kea-dhcp4 -t accept the files")


def kea_config(folder: Path, device: str) -> Path:
    """A Kea server that includes the options as its snippet says."""
    options = folder / "one-office/office/lan/kea-option-data.json"
    config = folder / "kea.json"
    config.write_text(json.dumps({"Dhcp4": {
        "interfaces-config": {"interfaces": [device]}, "lease-database": {"type": "memfile", "persist": False},
        "valid-lifetime": 600, "option-data": "HERE",
        "subnet4": [{"id": 1, "subnet": "192.168.10.0/24", "pools": [{"pool": "192.168.10.100 - 192.168.10.199"}]}],
    }}).replace('"HERE"', f'<?include "{options}"?>'))
    return config


def offered(namespace: str) -> dict[int, bytes]:
    """Options of the offer that a client gets who asks for routes; the client runs in the namespace."""
    script = Path(__file__).resolve()
    done = run("ip", "netns", "exec", namespace, sys.executable, script, "--dhcp-client", check=False)
    expect(done.returncode == 0, done.stderr[-1000:])
    return {int(code): bytes.fromhex(text) for code, text in json.loads(done.stdout).items()}


def dhcp_client() -> None:
    """Sends DHCPDISCOVER on eth0 until there is an offer, and prints its options."""
    mac = bytes.fromhex(Path("/sys/class/net/eth0/address").read_text().strip().replace(":", ""))
    number = secrets.token_bytes(4)
    discover = struct.pack("!4B4s2H16x16s64x128x4s", 1, 1, 6, 0, number, 0, 0x8000, mac + bytes(10), bytes([99, 130, 83, 99]))
    discover += bytes([53, 1, 1, 55, 4, 1, 3, 121, 249, 255])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
        link.bind(("", 68))
        link.settimeout(1)
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            link.sendto(discover, ("255.255.255.255", 67))
            try:
                reply = link.recv(4096)
            except TimeoutError:
                continue
            if reply[4:8] == number:
                break
        else:
            raise SystemExit("no offer within 40 s")
    options: dict[int, bytes] = {}
    at = 240
    while reply[at] != 255:
        code, size = reply[at], reply[at + 1]
        options[code] = options.get(code, b"") + reply[at + 2:at + 2 + size]
        at += 2 + size
    print(json.dumps({code: value.hex() for code, value in options.items()}))


def clients_get_the_routes(folder: Path) -> None:
    """dnsmasq and Kea serve the files to a client in a namespace."""
    tag = f"anl{os.getpid()}"
    made = folder / "one-office/office/lan"
    servers = {
        "dnsmasq": ["dnsmasq", "--no-daemon", "--port=0", f"--conf-file={made}/dnsmasq-dhcp.conf", "--interface=eth0",
                    "--bind-interfaces", "--dhcp-range=192.168.10.100,192.168.10.199,10m", "--dhcp-authoritative", "--user=root",
                    f"--dhcp-leasefile={folder}/leases", "--leasefile-ro", f"--pid-file={folder}/dnsmasq.pid"],
        "kea": ["kea-dhcp4", "-c", str(kea_config(folder, "eth0"))],
    }
    for name, words in servers.items():
        try:
            run("ip", "netns", "add", f"{tag}-s")
            run("ip", "netns", "add", f"{tag}-c")
            run("ip", "link", "add", "eth0", "netns", f"{tag}-s", "type", "veth", "peer", "name", "eth0", "netns", f"{tag}-c")
            run("ip", "-n", f"{tag}-s", "address", "add", "192.168.10.2/24", "dev", "eth0")
            for side in "sc":
                run("ip", "-n", f"{tag}-{side}", "link", "set", "lo", "up")
                run("ip", "-n", f"{tag}-{side}", "link", "set", "eth0", "up")
            with (folder / f"{name}.log").open("wb") as log:
                server = subprocess.Popen(["ip", "netns", "exec", f"{tag}-s", *words], stdout=log, stderr=log,
                                          env={**os.environ, "KEA_PIDFILE_DIR": str(folder), "KEA_LOCKFILE_DIR": str(folder),
                                               "KEA_DHCP_DATA_DIR": str(folder), "KEA_LOG_FILE_DIR": str(folder)})
                try:
                    options = offered(f"{tag}-c")
                except Failed as failure:
                    raise Failed(f"{name}: {failure}\n{(folder / f'{name}.log').read_text()[-2000:]}") from failure
                finally:
                    server.terminate()
                    server.wait(20)
            for code in (121, 249):
                expect(decode(options.get(code, b"")) == OFFICE_ROUTES, f"{name} option {code}: {decode(options.get(code, b''))}")
        finally:
            for side in "sc":
                run("ip", "netns", "delete", f"{tag}-{side}", check=False)
        print(f"{name} serves options 121 and 249, and they decode to {len(OFFICE_ROUTES)} routes")


def variables_are_documented() -> None:
    """README.md, argument specs and defaults agree."""
    for role in ("skybridge", "node_routes"):
        base = COLLECTION / "roles" / role
        defaults: dict[str, Any] = yaml.safe_load((base / "defaults/main.yml").read_text())
        options = yaml.safe_load((base / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
        expect(set(defaults) == set(options), f"{role}: defaults and argument specs differ: {sorted(set(defaults) ^ set(options))}")
        readme = "".join(re.findall(r"<!-- table \w+ -->(.*?)<!-- end -->", (COLLECTION / "README.md").read_text(), re.S))
        rows = dict(re.findall(r"^\| `((?:skybridge|node_routes)_\w+)` \| (.*?) \|", readme, re.M))
        for name, option in options.items():
            expect(option.get("default") == defaults[name], f"{name}: the specs' default is not the defaults'")
            default = defaults[name]
            shown = "`%s`" % (default if isinstance(default, str) else json.dumps(default)) if default not in ("", [], {}) else ""
            expect(rows.get(name) == shown, f"README.md: the row of {name} shows {rows.get(name)!r}, the default is {shown!r}")
    names = {one for role in ("skybridge", "node_routes")
             for one in yaml.safe_load((COLLECTION / "roles" / role / "defaults/main.yml").read_text())}
    expect(set(rows) == names, f"README.md has rows of no variable: {sorted(set(rows) - names)}")
    print(f"README.md, argument specs and defaults agree on {len(names)} variables")


def toml_is_read_back() -> None:
    """What the filter writes, Python's own reader reads to the same."""
    import tomllib
    sys.path.insert(0, str(COLLECTION / "plugins/filter"))
    import toml as filter_  # type: ignore[import-not-found]
    table = {"endpoint": {"name": 'a "quoted" \\ name\u007f\n', "listen": [], "log": {"level": "info"}, "mtu": 1400, "on": True},
             "peers": {"a-b": {"remote": "any", "dpd": {"delay": "off"}, "jitter": 1.5,
                               "children": {"x": {"local": ["10.0.0.0/8[tcp/443]"], "remote": ["::/0"]}}},
                       "c.d": {"children": {"y": {"local": []}}}},
             "clusters": {}}
    got = tomllib.loads(filter_.to_toml(table))
    expect(got == {key: value for key, value in table.items() if value}, f"{got}")
    print("to_toml: what was written is read back")


def main() -> None:
    """Everything, cheap things first."""
    variables_are_documented()
    toml_is_read_back()
    encoding_is_rfc_3442()
    with tempfile.TemporaryDirectory(prefix="skybridge-ansible-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        one = Scratch(folder, "one-office")
        examples_are_usable(one)
        examples_are_usable(Scratch(folder, "three-offices"))
        servers_take_the_files(folder)
        clients_get_the_routes(folder)
        a_wrong_configuration_is_refused(one)
        secrets_are_not_shown(one)
        red_hat_branch(one, folder)


if __name__ == "__main__":
    if sys.argv[1:] == ["--dhcp-client"]:
        dhcp_client()
    else:
        if os.geteuid() != 0:
            raise SystemExit("this test builds network namespaces and gives files to root: run it as root (sudo)")
        try:
            main()
        except Failed as failed:
            raise SystemExit(f"FAILED: {failed}") from None
