#!/usr/bin/env python3
"""The plays, run over SSH on machines from nothing to traffic passing, then changed, broken, mended and removed.

    tests/ansible/play.py [--containers=NAMES] [--steps=NAMES] [OFFICE CLOUD ...]    releases in pairs; by default: bookworm trixie

Needs root, the package (appliance/package/build.sh deb) and tests/setup.sh ansible and image. The machines named in --containers
(`office,cloud` or one of them) are the same trees under systemd-nspawn instead of qemu. Steps, all by default: nothing, twice, change,
broken, restart, certificates, removal, nodes, sources, ufw, firewalld (the first is needed by the four behind it), and lan: the files for the LAN are
written as well, which an emulated machine takes minutes for.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any

from machines import POD, ROOT, Lab, Machine, Process, World, build, install, poll

COLLECTION = ROOT / "ansible"
VENV = ROOT / "target/ansible-venv/bin"

# What an administrator had before: everything is dropped but answers and SSH.
RULES = """#!/usr/sbin/nft -f
flush ruleset
table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        iif lo accept
        tcp dport 22 accept
        icmp type echo-request accept
    }
    chain forward {
        type filter hook forward priority filter; policy drop;
        ct state established,related accept
    }
}
"""
SERVICES = """apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: default}
  spec: {clusterIP: 172.16.0.20, clusterIPs: [172.16.0.20], ports: [{name: http, port: 80, targetPort: 8080, protocol: TCP}]}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
  addressType: IPv4
  endpoints: [{addresses: [10.0.2.21], conditions: {ready: true}}]
  ports: [{name: http, port: 8080, protocol: TCP}]
"""
GET = """import sys, urllib.request
print(urllib.request.urlopen("http://%s:%s/" % tuple(sys.argv[1:]), timeout=10).read().decode())
"""
# One numbered datagram each 50 ms until told to stop; says how many were sent and how many came back.
COUNT = """import select, signal, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((sys.argv[1], 7)); s.setblocking(False)
on, sent, back = [True], 0, set()
signal.signal(signal.SIGTERM, lambda *_: on.__setitem__(0, False))
def take(seconds):
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([s], [], [], left)[0]:
            try: back.add(s.recv(100))
            except OSError: pass
while on[0]:
    try: s.send(b"%d" % sent)
    except OSError: pass
    sent += 1
    take(0.05)
take(2)
print("counted", sent, len(back), flush=True)
"""


def expect(holds: bool, what: str) -> None:
    """Stops with `what` where it does not hold."""
    if not holds:
        raise SystemExit(f"FAILED: {what}")


@dataclass
class Ansible:
    """Runs plays from inside of the wan namespace, with the inventory that it wrote."""

    world: World
    package: Path
    lan: bool
    times: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        folder = self.world.lab.folder / "ansible"
        folder.mkdir()
        self.inventory = folder / "hosts.json"
        self.config = folder / "ansible.cfg"
        self.config.write_text(
            "[defaults]\nhost_key_checking = False\nretry_files_enabled = False\ntimeout = 60\n"
            f"[ssh_connection]\npipelining = True\nssh_args = -F /dev/null -o ControlMaster=auto -o ControlPersist=600s\ncontrol_path_dir = {folder}/cp\n")
        self.inventory.write_text(json.dumps(self.hosts(), indent=1))

    def hosts(self) -> dict[str, Any]:
        """The inventory: an office and a cloud that make their key out between them."""
        networks = ["172.16.0.0/16", "10.0.2.0/24"]
        office = {
            "skybridge_endpoint": {"name": "office"}, "skybridge_peer_hosts": {"cloud": "cloud"},
            "skybridge_peers": {"cloud": {
                "remote": "192.0.2.20", "local_id": "office.example.com", "remote_id": "cloud.example.com", "start": "connect",
                "retransmit": {"base": "1s", "tries": 5},
                "children": {"vpc": {"local": ["192.168.10.0/24"], "remote": "{{ networks }}"}}}},
            "skybridge_lan_address": "192.168.10.1", "skybridge_dns": {"cluster.local": ["172.16.0.10"]},
            "skybridge_firewall_open_ike": False,
            "skybridge_verify_services": [
                {"name": "the Service", "kind": "http", "address": "172.16.0.20", "status": 200},
                {"name": "the Pod", "address": "10.0.2.21", "port": 8080}]}
        if not self.lan:
            del office["skybridge_lan_address"], office["skybridge_dns"]
        cloud = {
            "skybridge_endpoint": {"name": "cloud"}, "skybridge_peer_hosts": {"office": "office"},
            "skybridge_peers": {"office": {
                "remote": "any", "local_id": "cloud.example.com", "remote_id": "office.example.com",
                "children": {"lan": {"local": "{{ networks }}", "remote": ["192.168.10.0/24"]}}}},
            "skybridge_secret_files": {"services.yaml": SERVICES},
            "skybridge_clusters": {"test": {"objects": "services.yaml", "service_cidrs": ["172.16.0.0/16"], "pod_cidrs": ["10.0.2.0/24"]}}}
        shared = {"networks": networks, "skybridge_package_file": str(self.package), "ansible_user": "root",
                  "ansible_python_interpreter": "/usr/bin/python3", "skybridge_verify_timeout": 120,
                  "ansible_ssh_private_key_file": str(self.world.office.ssh.key),
                  "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"}
        return {"all": {"vars": shared, "children": {
            "offices": {"hosts": {"office": {"ansible_host": "192.0.2.10", **office}}},
            "clouds": {"hosts": {"cloud": {"ansible_host": "192.0.2.20", **cloud}}}}}}

    def run(self, what: str, play: str, *words: str, fails: bool = False) -> tuple[int, str]:
        """A play; gives how many tasks changed something, and the output."""
        begin = time.monotonic()
        done = subprocess.run(
            [*self.world.wan.prefix(), "env", f"ANSIBLE_CONFIG={self.config}", f"ANSIBLE_COLLECTIONS_PATH={ROOT}/target/ansible",
             "PYTHONDONTWRITEBYTECODE=1", "ANSIBLE_NOCOLOR=1", str(VENV / "ansible-playbook"), "-i", str(self.inventory),
             str(COLLECTION / f"playbooks/{play}.yml"), *words], text=True, capture_output=True, timeout=3000)
        self.times[what] = round(time.monotonic() - begin, 1)
        (self.world.lab.folder / "ansible" / f"{len(self.times):02}-{play}.log").write_text(done.stdout + done.stderr)
        expect((done.returncode != 0) == fails, f"{what}: exit status {done.returncode}\n{done.stdout[-5000:]}\n{done.stderr[-2000:]}")
        counts = {k: sum(map(int, re.findall(rf"{k}=(\d+)", done.stdout.split("PLAY RECAP")[-1]))) for k in ("ok", "changed", "failed")}
        print(f"  {what}: ok={counts['ok']} changed={counts['changed']} failed={counts['failed']} in {self.times[what]} s", flush=True)
        return counts["changed"], done.stdout


def state(machine: Machine) -> dict[str, str]:
    """What a play could leave behind: files with their hashes, routes, rules, users, sysctls, packages, units."""
    ask = {
        "files": "find /etc -xdev -type f ! -path '/etc/passwd*' ! -path '/etc/group*' ! -path '/etc/shadow*' ! -path '/etc/gshadow*' "
                 "! -path '/etc/ld.so.cache' -exec sha256sum {} + | sort -k2; "
                 "find /usr/local /root /var/lib /var/cache /usr/bin /usr/lib/systemd /usr/lib/sysctl.d /usr/lib/sysusers.d "
                 "/usr/lib/tmpfiles.d -xdev -type f ! -path '/var/lib/dpkg/*' ! -path '/var/lib/apt/*' ! -path '/var/cache/apt/*' "
                 "! -path '/root/.ansible*' ! -path '/var/lib/systemd/*' ! -path '*/debconf/*' ! -path '/var/cache/ldconfig/*' "
                 "! -path '*/__pycache__/*' ! -path '/var/lib/ucf/*' -printf '%p %s %m %u:%g\\n' | sort",
        "folders": "ls -d /etc/skybridge /var/lib/skybridge /run/skybridge /var/cache/skybridge-package /etc/nftables.d 2>/dev/null || true",
        "routes": "ip route; ip route show proto 157; ip -6 route show proto 157",
        "rules": "nft list ruleset",
        "links": "ls /sys/class/net",
        "users": "getent passwd skybridge; getent group skybridge skybridge-control; true",
        "forwarding": "cat /proc/sys/net/ipv4/ip_forward",
        "packages": "dpkg-query -W -f '${Package} ${Status}\\n'",
        "units": "systemctl list-unit-files --no-legend 'skybridge*'; systemctl --failed --no-legend --plain",
    }
    return {name: machine.ssh.run(script).stdout for name, script in ask.items()}


def same(before: dict[str, str], after: dict[str, str], what: str) -> None:
    """Nothing differs."""
    for name in before:
        old, new = before[name].splitlines(), after[name].splitlines()
        expect(old == new, f"{what}: {name} differ:\n- " + "\n- ".join(sorted(set(old) - set(new))) + "\n+ "
               + "\n+ ".join(sorted(set(new) - set(old))))


def get(world: World, host: str, port: int = 80) -> str:
    """What the client in the office gets: the address that the Pod saw."""
    return world.client.run(sys.executable, "-c", GET, host, str(port), check=False).stdout.strip()


class Counter:
    """Datagrams from the client to the Pod and back, over some while."""

    def __init__(self, world: World) -> None:
        self.process: Process = world.client.start("count", sys.executable, "-c", COUNT, "10.0.2.21")

    def stop(self) -> tuple[int, int]:
        """How many were sent, and how many did not come back."""
        self.process.signal(15)
        self.process.wait(30)
        sent, back = map(int, re.findall(r"counted (\d+) (\d+)", self.process.text())[-1])
        return sent, sent - back


def from_nothing(world: World, ansible: Ansible) -> None:
    """A dry run, the two plays, and traffic."""
    before = state(world.office)
    changed, text = ansible.run("dry run on a fresh office", "office", "--check", "--diff")
    expect(changed > 0 and "+[peers.cloud]" in text, "the dry run does not show what would come")
    same(before, state(world.office), "the dry run changed the office")
    ansible.run("first run, cloud", "cloud")
    ansible.run("first run, office", "office")
    expect(get(world, "172.16.0.20") == "192.168.10.10", f"the Service: {get(world, '172.16.0.20')!r}")
    expect(get(world, "10.0.2.21", 8080) == "192.168.10.10", f"the Pod: {get(world, '10.0.2.21', 8080)!r}")
    print("  the client behind the office reaches Service and Pod, and the Pod sees the client's address")


def twice(world: World, ansible: Ansible) -> None:
    """Nothing changes the second time, and what nftables loads anew still lets the tunnel through."""
    for play in ("cloud", "office"):
        changed, text = ansible.run(f"second run, {play}", play)
        expect(changed == 0, f"the second run of {play} changed {changed}:\n{text}")
    for machine in (world.cloud, world.office):
        machine.ssh.run("systemctl reload nftables && nft list chain inet filter forward | grep -q skybridge0")
    expect(get(world, "172.16.0.20") == "192.168.10.10", "nothing passes after nftables was loaded anew")
    print("  the openings are there after nftables loads its file anew")


def changed_selectors(world: World, ansible: Ansible) -> None:
    """Another network, first as a dry run, then for real while traffic flows."""
    more = json.dumps({"networks": ["172.16.0.0/16", "10.0.2.0/24", "10.0.3.0/24"]})
    before = state(world.office)
    changed, text = ansible.run("dry run of a change", "office", "--check", "--diff", "-e", more)
    expect(changed > 0 and '"10.0.3.0/24"]' in text, "the dry run does not show the change")
    same(before, state(world.office), "the dry run of a change changed the office")
    counter = Counter(world)
    age, process = since(world), pid(world)
    for play in ("cloud", "office"):
        expect(ansible.run(f"another network, {play}", play, "--tags", "skybridge_config,skybridge_verify", "-e", more)[0] > 0, play)
    poll("the new network answers", 60, lambda: get(world, "10.0.3.21", 8080) == "192.168.10.10")
    sent, lost = counter.stop()
    expect(since(world) >= age and pid(world) == process, "daemon or IKE SA did not live through the change")
    print(f"  datagrams sent over the change {sent}, lost {lost}; the IKE SA lived on")
    ansible.times["datagrams lost over the change"] = lost
    expect(lost * 100 <= sent, f"{lost} of {sent} datagrams were lost over the change")
    ansible.inventory.write_text(ansible.inventory.read_text().replace('"10.0.2.0/24"\n   ]', '"10.0.2.0/24",\n    "10.0.3.0/24"\n   ]', 1))


def since(world: World) -> int:
    """The age of the office's IKE SA in seconds."""
    status = json.loads(world.office.ssh.run("skybridge status --json").stdout)
    return status["peers"][0]["ike"]["age_seconds"]


def pid(world: World) -> str:
    """The daemon's process."""
    return world.office.ssh.run("systemctl show -p MainPID --value skybridge").stdout.strip()


def restarted(world: World, ansible: Ansible) -> None:
    """A change that the daemon cannot apply while it runs restarts it, and only such a one."""
    process = pid(world)
    wider = json.dumps({"skybridge_endpoint": {"name": "office", "replay_window": 8192}})
    _, text = ansible.run("a change that takes a restart", "office", "--tags", "skybridge_config,skybridge_verify", "-e", wider)
    expect("not before a restart: endpoint.replay_window" in text, "the daemon's word is not shown")
    expect(pid(world) != process, "the daemon was not restarted")


def certificates(world: World, ansible: Ansible) -> None:
    """A CA of one's own, and both ends go over from their key to certificates."""
    program = next(one for one in (ROOT / "target/release/skybridge", ROOT / "target/debug/skybridge", Path("/usr/bin/skybridge")) if one.exists())
    folder = world.lab.folder / "pki"
    words = ["-e", json.dumps({"skybridge_auth": "certificate", "skybridge_ca_program": str(program), "skybridge_ca_folder": str(folder)})]
    expect(ansible.run("a CA and certificates", "ca", *words)[0] > 0 and (folder / "ca.pem").exists(), "the CA was not made")
    expect(ansible.run("a CA and certificates, second run", "ca", *words)[0] == 0, "the CA was made twice")
    for play in ("cloud", "office"):
        expect(ansible.run(f"certificates, {play}", play, *words)[0] > 0, f"{play} kept its key")
    for play in ("cloud", "office"):
        changed, text = ansible.run(f"certificates, second run, {play}", play, *words)
        expect(changed == 0, f"the second run of {play} with certificates changed {changed}:\n{text[-3000:]}")
    for machine in (world.office, world.cloud):
        written = machine.ssh.run("cat /etc/skybridge/skybridge.toml /etc/skybridge/conf.d/*.toml 2>/dev/null; true").stdout
        expect("endpoint.pem" in written and "psk" not in written, f"{machine.name} has no certificate:\n{written}")
    expect(get(world, "172.16.0.20") == "192.168.10.10", "nothing passes with certificates")
    print("  both ends went over to certificates, and traffic passes")


def broken_and_mended(world: World, ansible: Ansible) -> None:
    """A wrong key and a wrong network fail with the daemon's reason, and the right ones mend it."""
    tags = ["--tags", "skybridge_config,skybridge_verify"]
    wrong = json.dumps({"skybridge_psks": {"cloud": "a key that the other end does not have"}})
    reason = failure(ansible.run("wrong key", "office", *tags, "-e", wrong, fails=True)[1])
    expect("authentication" in reason.lower(), f"a wrong key: {reason}")
    expect("a key that the other end" not in reason, "the key is shown")
    ansible.run("right key", "office", *tags)
    wrong = json.dumps({"networks": ["10.99.0.0/16"]})
    reason = failure(ansible.run("wrong network", "office", *tags, "-e", wrong, fails=True)[1])
    expect("TS_UNACCEPTABLE" in reason and "10.99.0.0/16" in reason, f"a wrong network: {reason}")
    reason = failure(ansible.run("a configuration that is none", "office", "--tags", "skybridge_config", "-e",
                                 json.dumps({"skybridge_endpoint": {"replay_window": 100}}), fails=True)[1])
    expect("replay_window" in reason, f"a wrong configuration: {reason}")
    reason = failure(ansible.run("a Service that is not there", "office", "--tags", "skybridge_config,skybridge_verify", "-e", json.dumps(
        {"skybridge_verify_services": [{"address": "172.16.0.99", "port": 80, "timeout": 5}]}), fails=True)[1])
    expect("172.16.0.99" in reason, f"a Service that is not there: {reason}")
    expect(get(world, "172.16.0.20") == "192.168.10.10", "nothing passes after it was mended")


def failure(text: str) -> str:
    """The message of the task that stopped the play."""
    found = re.findall(r"fatal: \[\w+\]: FAILED! => (.*)", text)
    expect(bool(found), text[-3000:])
    try:
        message = str(json.loads(found[-1]).get("msg", found[-1]))
    except ValueError:
        message = found[-1]
    print("    " + message.strip().replace("\n", "\n    ")[:600], flush=True)
    return message


def removed(world: World, ansible: Ansible, before: dict[str, dict[str, str]]) -> None:
    """Nothing is left, and a second removal has nothing to do."""
    changed, _ = ansible.run("removal", "uninstall")
    expect(changed > 0, "the removal did nothing")
    for machine in (world.office, world.cloud):
        same(before[machine.name], state(machine), f"after the removal, {machine.name}")
    print("  files, routes, rules, users, sysctls, packages and units are as before")
    changed, text = ansible.run("second removal", "uninstall")
    expect(changed == 0, f"the second removal changed {changed}:\n{text[-3000:]}")


def firewall(world: World, ansible: Ansible, name: str, begin: str, show: str) -> None:
    """ufw or firewalld on the office: detected, opened, nothing the second time, taken back."""
    only = ["--tags", "skybridge_firewall", "-e", json.dumps({"skybridge_firewall_open_ike": True})]
    ssh = world.office.ssh
    ssh.run("systemctl disable -q --now nftables; nft flush ruleset; ! command -v ufw >/dev/null || ufw --force disable")
    install(world.office, name)
    ssh.run(begin)
    before = ssh.run(show).stdout
    expect(ansible.run(f"{name}, first run", "office", *only)[0] > 0, f"{name} was not opened")
    after = ssh.run(show).stdout
    expect("skybridge0" in after and "500" in after and "4500" in after, f"{name}: {after}")
    expect(ansible.run(f"{name}, second run", "office", *only)[0] == 0, f"{name}: the second run changed something")
    ansible.run(f"{name}, removal", "uninstall", "-e", "skybridge_hosts=office", "-e", json.dumps({"skybridge_firewall_open_ike": True}))
    expect(ssh.run(show).stdout == before, f"{name} is not as before:\n{before}\n{ssh.run(show).stdout}")
    print(f"  {name}: opened, kept and closed")


def ufw(world: World, ansible: Ansible) -> None:
    """With ufw."""
    firewall(world, ansible, "ufw", "ufw allow 22/tcp && ufw --force enable", "ufw status verbose")


def firewalld(world: World, ansible: Ansible) -> None:
    """With firewalld, which wants more of the kernel than a container here gives it."""
    if world.office.vm is None:
        print("  firewalld: not tried in a container")
        return
    lists = "firewall-cmd --list-all; firewall-cmd --list-all-zones; firewall-cmd --list-all-policies; "
    firewall(world, ansible, "firewalld", "systemctl enable -q --now firewalld && firewall-cmd --state",
             lists + lists.replace("firewall-cmd", "firewall-cmd --permanent"))


def repository(folder: Path, package: Path) -> str:
    """A signed apt repository in a folder; gives its public key."""
    keys = folder / "keys"
    keys.mkdir(mode=0o700, parents=True)
    where = folder / "apt"
    where.mkdir()
    shutil.copy(package, where)
    listed = subprocess.run(["dpkg-scanpackages", "."], cwd=where, check=True, capture_output=True).stdout
    (where / "Packages").write_bytes(listed)
    (where / "Release").write_text(f"Origin: test\nSuite: test\nDate: {formatdate(usegmt=True)}\nSHA256:\n"
                                   f" {hashlib.sha256(listed).hexdigest()} {len(listed)} Packages\n")
    gpg = ["gpg", "--homedir", str(keys), "--batch", "--quiet", "--passphrase", ""]
    subprocess.run([*gpg, "--quick-generate-key", "test@example.com", "ed25519", "sign"], check=True, capture_output=True)
    subprocess.run([*gpg, "--clearsign", "--output", where / "InRelease", where / "Release"], check=True, capture_output=True)
    return subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True, text=True).stdout


def sources(world: World, ansible: Ansible) -> None:
    """The package from a URL with its checksum, and from a signed repository."""
    install(world.office, "python3-debian")
    folder = world.lab.folder / "web"
    key = repository(folder, ansible.package)
    world.wan.start("web", sys.executable, "-m", "http.server", "8000", "--bind", "192.0.2.1", "--directory", folder)
    poll("the web server", 30, lambda: world.wan.answers("192.0.2.1", 8000))
    # Debian's own archive cannot be reached from here, and apt would complain of it.
    world.office.ssh.run("find /etc/apt -name 'sources.list' -o -name '*.sources' | xargs -r rm")
    before = state(world.office)
    del before["forwarding"]  # The package switches it on, and only the part for sysctls, which is left out here, knows what it was.
    url = f"http://192.0.2.1:8000/apt/{ansible.package.name}"
    good = "sha256:" + hashlib.sha256(ansible.package.read_bytes()).hexdigest()
    ways = {"a URL": {"skybridge_package_url": url, "skybridge_package_checksum": good},
            "a repository": {"skybridge_apt_repository": {"uris": ["http://192.0.2.1:8000/apt"], "suites": ["./"], "signed_by": key}}}
    tags = ["--tags", "skybridge_package"]
    for name, way in ways.items():
        words = [*tags, "-e", json.dumps({"skybridge_package_file": "", **way})]
        expect(ansible.run(f"{name}, dry run", "office", "--check", *words)[0] > 0, f"the dry run with {name} shows nothing")
        expect(ansible.run(f"{name}, first run", "office", *words)[0] > 0, f"{name}: nothing was installed")
        world.office.ssh.run("skybridge --version")
        expect(ansible.run(f"{name}, second run", "office", *words)[0] == 0, f"{name}: the second run changed something")
        ansible.run(f"{name}, removal", "uninstall", "-e", "skybridge_hosts=office")
        same(before, state(world.office), f"after {name}")
    wrong = json.dumps({"skybridge_package_file": "", "skybridge_package_url": url, "skybridge_package_checksum": "sha256:" + 64 * "0"})
    expect("checksum" in failure(ansible.run("a wrong checksum", "office", *tags, "-e", wrong, fails=True)[1]), "a wrong checksum was taken")
    print("  the package came from a URL and from a signed repository, and went")


def nodes(world: World, ansible: Ansible) -> None:
    """The play for nodes in `route` mode, on a machine that stands for a node: route and table come, stay and go."""
    ssh = world.cloud.ssh
    before = state(world.cloud)
    words = ["-e", json.dumps({"skybridge_hosts": "cloud", "node_routes_offices": ["192.168.10.0/24"], "node_routes_endpoint": "10.0.2.21",
                               "node_routes_services": ["172.16.0.0/16"]})]
    expect(ansible.run("nodes, dry run", "node_routes", "--check", *words)[0] > 0, "the dry run for nodes shows nothing")
    same(before, state(world.cloud), "the dry run changed the node")
    expect(ansible.run("nodes, first run", "node_routes", *words)[0] > 0, "the play for nodes did nothing")
    expect("192.168.10.0/24 via 10.0.2.21" in ssh.run("ip route").stdout, "the node has no route")
    expect("masquerade" in ssh.run("nft list table ip skybridge_node").stdout, "the node has no table")
    expect(ansible.run("nodes, second run", "node_routes", *words)[0] == 0, "the second run for nodes changed something")
    ansible.run("nodes, removal", "node_routes", *words, "-e", "node_routes_state=absent")
    same(before, state(world.cloud), "the node")
    print("  node: route and table came, stayed and went")


def one(office: str, cloud: str, containers: list[str], package: Path, steps: list[str]) -> None:
    """The whole story with one pair of releases."""
    print(f"office: Debian {office}, cloud: Debian {cloud}, in containers: {', '.join(containers) or 'none'}", flush=True)
    with Lab("ansp") as lab:
        begin = time.monotonic()
        world = build(lab, office, cloud, containers)
        try:
            print(f"  booted in {time.monotonic() - begin:.0f} s", flush=True)
            # A copy: a build beside the test would change it between two runs.
            own = lab.folder / package.name
            shutil.copy(package, own)
            poll("a whole package", 300, lambda: subprocess.run(["dpkg-deb", "-c", own], capture_output=True).returncode == 0
                 or shutil.copy(package, own) is None)
            ansible = Ansible(world, own, not steps or "lan" in steps)
            world.pod.start("pod", sys.executable, "-c", POD)
            poll("the Pod", 30, lambda: world.pod.answers("10.0.2.21", 8080))
            for machine in (world.office, world.cloud):
                # Ansible's module for apt needs it, and would fetch it by itself where there is a way to an archive.
                install(machine, "python3-apt")
                machine.ssh.run("cat > /etc/nftables.conf && systemctl enable -q --now nftables && systemctl reload nftables", stdin=RULES)
            # The network that a change brings into the tunnel later.
            world.cloud.ssh.run("ip address add 10.0.3.1/24 dev eth1")
            before = {machine.name: state(machine) for machine in (world.office, world.cloud)}
            story: dict[str, Callable[[], None]] = {
                "nothing": lambda: from_nothing(world, ansible), "twice": lambda: twice(world, ansible),
                "change": lambda: changed_selectors(world, ansible), "broken": lambda: broken_and_mended(world, ansible),
                "restart": lambda: restarted(world, ansible), "certificates": lambda: certificates(world, ansible),
                "removal": lambda: removed(world, ansible, before),
                "nodes": lambda: nodes(world, ansible), "sources": lambda: sources(world, ansible),
                "ufw": lambda: ufw(world, ansible), "firewalld": lambda: firewalld(world, ansible)}
            for name, step in story.items():
                if not steps or name in steps:
                    step()
            print(json.dumps(ansible.times, indent=1))
        finally:
            for machine in (world.office, world.cloud):
                machine.stop()


def listed(words: list[str], option: str) -> list[str]:
    """The names of an option such as --steps=a,b."""
    return [name for word in words if word.startswith(f"{option}=") for name in word.split("=")[1].split(",")]


def main() -> None:
    """Arguments, the package, and each pair."""
    words = sys.argv[1:]
    if any(not word.startswith(("--containers=", "--steps=")) for word in words if word.startswith("-")):
        raise SystemExit(__doc__)
    containers = listed(words, "--containers")
    suites = [word for word in words if not word.startswith("--")] or ["bookworm", "trixie"]
    packages = sorted((ROOT / "target/package").glob("skybridge_*_amd64.deb"))
    expect(len(suites) % 2 == 0, "releases come in pairs: OFFICE CLOUD")
    expect(bool(packages), "no package: run appliance/package/build.sh deb")
    for office, cloud in zip(suites[::2], suites[1::2]):
        one(office, cloud, containers, packages[-1], listed(words, "--steps"))
    print("all plays did what they say")


if __name__ == "__main__":
    main()
