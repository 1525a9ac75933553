#!/usr/bin/env python3
"""The Debian package under a real systemd: a plain machine installs it and gets a tunnel to this host.

    tests/package/boot.py [bookworm|trixie] [--container] [--keep]

The package is target/package/skybridge_*_amd64.deb; the machine is the one of tests/vm/base.sh, under qemu, which takes some
minutes where there is no KVM. With --container the same system is booted by systemd-nspawn on this kernel instead: within a
minute or two, but without udev, and it is not restarted. The other end of the tunnel is the same program, taken out of the
package, in a network namespace here. Each line printed is something that was looked at.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/vm"))

from vm import Lab, Namespace, Nic, Process, Ssh, VmError, accelerator, base, base_key, command, poll, require_root  # noqa: E402

PATIENCE = float(os.environ.get("SKYBRIDGE_BOOT_PATIENCE", "240"))
CLOUD, OFFICE = "192.0.2.10", "192.0.2.1"
POD, CLIENT, SERVICE = "10.0.2.1", "192.168.10.1", "172.16.0.10"
KEY = "0s" + "c2t5YnJpZGdlIHNreWJyaWRnZSBza3licmlkZ2UhIQ=="
OTHER_KEY = "0s" + "YW5vdGhlciBrZXkgZm9yIGFub3RoZXIgdHVubmVsISE="
# CAP_NET_BIND_SERVICE and CAP_NET_ADMIN.
CAPABILITIES = (1 << 10) | (1 << 12)

PEER = """
[peers.office]
remote = "office.example.com"
local_id = "cloud.example.com"
remote_id = "office.example.com"
auth = { psk_file = "@KEY@" }
start = "connect"
dpd = { delay = "2s" }
retransmit = { base = "500ms", tries = 3 }
retry = { base = "500ms", cap = "2s" }
[peers.office.children.lan]
local = ["10.0.2.0/24", "172.16.0.0/16"]
remote = ["192.168.10.0/24"]
"""

CLUSTER = """
[clusters.lab]
objects = "/etc/skybridge/objects.yaml"
service_cidrs = ["172.16.0.0/16"]
pod_cidrs = ["10.0.2.0/24"]
nodes = ["192.0.2.10"]
"""

API_CLUSTER = """
[clusters.api]
kubernetes = { kubeconfig = "/etc/skybridge/kubeconfig" }
service_cidrs = ["172.31.0.0/16"]
pod_cidrs = ["10.0.31.0/24"]
"""

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: lab
clusters: [{name: lab, cluster: {server: "http://127.0.0.1:8001"}}]
users: [{name: lab, user: {token: abc}}]
contexts: [{name: lab, context: {cluster: lab, user: lab}}]
"""

OBJECTS = """
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: default}
  spec:
    type: ClusterIP
    clusterIP: 172.16.0.10
    clusterIPs: ["172.16.0.10"]
    ports: [{name: http, port: 80, protocol: TCP, targetPort: 8080}]
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
  addressType: IPv4
  ports: [{name: http, port: 8080, protocol: TCP}]
  endpoints: [{addresses: ["10.0.2.1"], conditions: {ready: true}}]
"""

# The other end, here.
HERE = """
[endpoint]
name = "office"
state_dir = "@FOLDER@/state"
control_socket = "@FOLDER@/control.sock"
[peers.cloud]
remote = "any"
local_id = "office.example.com"
remote_id = "cloud.example.com"
auth = { psk_files = ["@FOLDER@/key", "@FOLDER@/other"] }
dpd = { delay = "2s" }
retransmit = { base = "500ms", tries = 3 }
[peers.cloud.children.vpc]
local = ["192.168.10.0/24"]
remote = ["10.0.2.0/24", "172.16.0.0/16"]
"""


def say(text: str) -> None:
    """One thing that was looked at and found right."""
    print(f"ok {text}", flush=True)


def want(holds: bool, text: str) -> None:
    if not holds:
        raise VmError(text)


class Container:
    """The machine's system on this kernel: what Ssh does, by entering its namespaces."""

    def __init__(self, lab: Lab, disk: Path, net: Namespace) -> None:
        self.root = lab.folder / "root"
        self.root.mkdir()
        command(["debugfs", "-R", f"rdump / {self.root}", disk], timeout=600)
        # It is reached by no network, and its devices are the host's.
        for unit in ("ssh.service", "systemd-networkd.service", "systemd-networkd.socket", "systemd-resolved.service"):
            command(["systemctl", "-q", "--root", self.root, "mask", unit])
        self.process = lab.process("nspawn", [
            "systemd-nspawn", "--quiet", "-D", self.root, "--boot", "--register=no", "--keep-unit", "--private-network",
            "--capability=CAP_NET_ADMIN", "--bind=/dev/net/tun", "--link-journal=no", "-M", lab.prefix])
        self.leader = poll("the container's first process", PATIENCE, self._leader)
        poll("the container is up", PATIENCE, lambda: self.run("systemctl is-system-running", check=False).stdout.strip()
             in ("running", "degraded"))
        command(["ip", "-n", net.name, "link", "add", "cloud0", "type", "veth", "peer", "name", "eth0", "netns", str(self.leader)])
        net.run("ip", "link", "set", "cloud0", "master", "br0", "up")
        self.run(f"ip addr add {CLOUD}/24 dev eth0 && ip link set eth0 up && ip route add default via {OFFICE}")

    def _leader(self) -> int | None:
        if not self.process.running():
            raise VmError(f"systemd-nspawn ended:\n{self.process.text()}")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if children else None

    def run(self, script: str, *, check: bool = True, timeout: float = 300,
            stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return command(["nsenter", "-t", str(self.leader), "-a", "--", "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                        "HOME=/root", "LC_ALL=C.UTF-8", "/bin/sh", "-c", script], check=check, timeout=timeout, stdin=stdin)

    def copy_to(self, source: Path, target: str) -> None:
        shutil.copy(source, self.root / target.lstrip("/"))

    def end(self) -> None:
        """Its first process takes everything along."""
        if self.process.running():
            os.kill(self.leader, 9)
            self.process.wait(PATIENCE)


class Machine:
    """The cloud endpoint: what is asked of it again and again."""

    def __init__(self, shell: Ssh | Container) -> None:
        self.shell = shell
        self.udev = isinstance(shell, Ssh)

    def run(self, script: str, check: bool = True) -> str:
        done = self.shell.run(script, check=check)
        return (done.stdout + done.stderr).strip()

    def write(self, path: str, text: str, mode: str = "0640", owner: str = "root:skybridge") -> None:
        self.shell.run(f"umask 077; cat > {path} && chown {owner} {path} && chmod {mode} {path}", stdin=text)

    def show(self, name: str) -> str:
        return self.run(f"systemctl show -P {name} skybridge")

    def pid(self) -> int:
        return int(self.show("MainPID"))

    def journal(self, since: str = "-b") -> str:
        return self.run(f"journalctl -u skybridge -o cat --no-pager {since}")

    def running_after(self, pid: int) -> int:
        """The new process once it is ready."""
        def ask() -> int | None:
            now = self.pid()
            return now if now not in (0, pid) and self.show("ActiveState") == "active" else None

        return poll("the service runs again", PATIENCE, ask)

    def status_text(self, part: str) -> str:
        """What `systemctl status` shows, once it has the part."""
        found = ""

        def ask() -> str | None:
            nonlocal found
            found = self.show("StatusText")
            return found if part in found else None

        try:
            return poll(f"status text with {part!r}", PATIENCE, ask)
        except VmError as late:
            raise VmError(f"{late}: it is {found!r}\n{self.journal()[-3000:]}") from None


def passes(net: Namespace, machine: Machine) -> None:
    """Packets go both ways through the tunnel."""
    def there() -> bool:
        return net.run("ping", "-c1", "-W1", "-I", CLIENT, POD, check=False).returncode == 0

    def back() -> bool:
        return machine.shell.run(f"ping -c1 -W1 -I {POD} {CLIENT}", check=False).returncode == 0

    poll(f"{POD} answers to {CLIENT}", PATIENCE, there)
    poll(f"{CLIENT} answers to {POD}", PATIENCE, back)


def installs(machine: Machine, package: Path) -> None:
    machine.shell.copy_to(package, "/root/skybridge.deb")
    # As strict as a machine may be: the tunnel's device must become loose by itself.
    machine.run("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.ip_forward=0")
    machine.run("dpkg -i /root/skybridge.deb")
    want(machine.show("ActiveState") == "active", machine.run("systemctl status skybridge", check=False))
    want(machine.run("systemctl is-enabled skybridge") == "enabled", "not enabled")
    machine.status_text("no peer is configured")
    say("installed, enabled, started, with a status text")
    want(machine.run("sysctl -n net.ipv4.ip_forward") == "1", "IPv4 is not forwarded")
    if not machine.udev:
        machine.run("/usr/lib/systemd/systemd-sysctl --prefix=/net/ipv4/conf/skybridge0 --prefix=/net/ipv6/conf/skybridge0")
    poll("rp_filter of the device", PATIENCE,
         lambda: machine.run("sysctl -n net.ipv4.conf.skybridge0.rp_filter") == "2")
    want(machine.run("sysctl -n net.ipv6.conf.skybridge0.addr_gen_mode") == "1", "addr_gen_mode")
    say("sysctls: forwarding, and those of the tunnel's device")
    # A slow machine may be late with `nft`; the next look at the rules must succeed.
    poll("the daemon finds nothing wrong", PATIENCE, lambda: not json.loads(machine.run("skybridge status --json"))["findings"])
    alarming = [line for line in machine.journal().splitlines()
                if re.search(r"WARN|ERROR|denied|not permitted|Read-only", line)
                and "no-peers" not in line and "did not end in time" not in line
                and (machine.udev or "rp-filter-tun" not in line)]
    want(not alarming, f"alarming at the first start: {alarming}")
    say("nothing alarming in the journal of the first start, no finding")


def sandbox(machine: Machine) -> float:
    facts = dict(line.split(":\t", 1) for line in machine.run(f"cat /proc/{machine.pid()}/status").splitlines() if ":\t" in line)
    uid = machine.run("id -u skybridge")
    want(set(facts["Uid"].split()) == {uid}, f"uid {facts['Uid']}")
    for kind in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
        want(int(facts[kind], 16) == CAPABILITIES, f"{kind} {facts[kind]}")
    want(facts["NoNewPrivs"].strip() == "1" and facts["Seccomp"].strip() == "2", "no new privileges, filter")
    say("own user, two capabilities, no new privileges, a filter of system calls")
    exposure = float(re.search(r"exposure level for skybridge.service: ([\d.]+)", machine.run(
        "systemd-analyze security --no-pager skybridge", check=False)).group(1))
    want(exposure <= 2.2, f"exposure {exposure}")
    say(f"exposure {exposure}")
    return exposure


def control_socket(machine: Machine) -> None:
    machine.run("useradd -m -G skybridge-control skymember && useradd -m skystranger")
    want("skybridge" in machine.run("runuser -u skymember -- skybridge status"), "a member cannot ask")
    refused = machine.shell.run("runuser -u skystranger -- skybridge status", check=False)
    want(refused.returncode == 1, "somebody else may ask")
    want("skybridge" in machine.run("skybridge status"), "root cannot ask")
    say("control socket: root and the group, nobody else")


def credential_tunnel(machine: Machine, net: Namespace) -> None:
    machine.run(f"ip link add pods0 type bridge && ip addr add {POD}/24 dev pods0 && ip link set pods0 up")
    machine.run(f"echo '{OFFICE} office.example.com' >> /etc/hosts")
    machine.write("/etc/skybridge/credentials/office", KEY + "\n", "0600", "root:root")
    machine.write("/etc/skybridge/conf.d/office.toml", PEER.replace("@KEY@", "credential:office"))
    want("1 peer" in machine.run("skybridge check"), "root's check")
    machine.run("systemctl restart skybridge")
    machine.status_text("1 of 1 peers up")
    passes(net, machine)
    say("a key by LoadCredential, a peer by its name, packets both ways")


def group_secret(machine: Machine, net: Namespace) -> None:
    machine.write("/etc/skybridge/office.psk", OTHER_KEY + "\n")
    machine.write("/etc/skybridge/conf.d/office.toml", PEER.replace("@KEY@", "office.psk"))
    machine.run("systemctl reload skybridge")
    machine.status_text("1 of 1 peers up")
    passes(net, machine)
    say("a key that the group may read, applied by a reload")


def reload(machine: Machine, net: Namespace) -> None:
    pid = machine.pid()
    machine.write("/etc/skybridge/conf.d/zz.toml", "[endpoint]\nnane = 1\n")
    refused = machine.shell.run("systemctl reload skybridge", check=False)
    want(refused.returncode != 0, "a broken configuration was taken")
    poll("the journal shows where it is wrong", PATIENCE, lambda: "zz.toml:2:1" in machine.journal())
    want(machine.show("ActiveState") == "active" and machine.pid() == pid, "the reload ended the daemon")
    passes(net, machine)
    machine.run("rm /etc/skybridge/conf.d/zz.toml")
    machine.run("systemctl reload skybridge")
    say("reload: a broken file fails with its place in the journal, and the tunnel stays")


def translation(machine: Machine, net: Namespace) -> None:
    machine.run("mkdir -p /srv/web && echo translated > /srv/web/index.html")
    machine.run(f"systemd-run -q --unit web python3 -m http.server --bind {POD} --directory /srv/web 8080")
    machine.write("/etc/skybridge/objects.yaml", OBJECTS)
    machine.write("/etc/skybridge/conf.d/cluster.toml", CLUSTER)
    machine.run("systemctl reload skybridge")
    poll("the table of Services", PATIENCE, lambda: "172.16.0.10" in machine.run("nft list table inet skybridge", check=False))

    def fetched() -> bool:
        done = net.run("curl", "-s", "-m", "3", "--interface", CLIENT, f"http://{SERVICE}/", check=False)
        return done.stdout.strip() == "translated"

    poll("the Service answers", PATIENCE, fetched)
    say("translation: nft loaded the table, a Service answers through the tunnel")
    machine.run("systemd-run -q --unit api python3 -u -m http.server --bind 127.0.0.1 8001")
    machine.write("/etc/skybridge/kubeconfig", KUBECONFIG)
    machine.write("/etc/skybridge/conf.d/api.toml", API_CLUSTER)
    machine.run("systemctl reload skybridge")
    poll("the API is asked", PATIENCE, lambda: "GET /api" in machine.run("journalctl -u api -o cat --no-pager"))
    machine.run("rm /etc/skybridge/conf.d/api.toml && systemctl reload skybridge && systemctl stop api")
    say("the Kubernetes API is asked over TCP")


def deaths(machine: Machine, net: Namespace) -> None:
    blocked = "ip route show proto 157 type unreachable"
    pid = machine.pid()
    machine.run(f"kill -9 {pid}")
    want("192.168.10.0/24" in machine.run(blocked), "no blocking route behind the killed daemon")
    machine.running_after(pid)
    machine.status_text("1 of 1 peers up")
    passes(net, machine)
    say("kill -9: blocked meanwhile, back by itself")
    pid = machine.pid()
    begin = time.monotonic()
    machine.run(f"kill -STOP {pid}")
    machine.running_after(pid)
    want("watchdog" in machine.run("journalctl -u skybridge --no-pager").lower(), "not the watchdog")
    machine.status_text("1 of 1 peers up")
    passes(net, machine)
    say(f"a stopped daemon: killed by the watchdog and back after {time.monotonic() - begin:.0f} s")


def bad_start(machine: Machine) -> None:
    machine.write("/etc/skybridge/conf.d/zz.toml", "[endpoint]\nnane = 1\n")
    before = machine.show("NRestarts")
    failed = machine.shell.run("systemctl restart skybridge", check=False)
    want(failed.returncode != 0 and machine.show("ExecMainStatus") == "2", "it started with a broken configuration")
    want(machine.show("ActiveState") == "failed" and machine.show("NRestarts") in ("0", before), "it is tried again")
    machine.run("rm /etc/skybridge/conf.d/zz.toml && systemctl restart skybridge")
    say("a broken configuration at the start: status 2, not tried again")


def no_credentials(machine: Machine, net: Namespace) -> None:
    machine.run("rm /etc/skybridge/credentials/office && systemctl restart skybridge")
    machine.run("rmdir /etc/skybridge/credentials && systemctl restart skybridge")
    machine.status_text("1 of 1 peers up")
    passes(net, machine)
    machine.run("systemd-tmpfiles --create skybridge.conf")
    want(machine.run("stat -c '%U %a' /etc/skybridge/credentials") == "root 700", "tmpfiles")
    say("an empty and a missing folder of credentials are no fault")


def upgrade(machine: Machine, net: Namespace, newer: Path) -> None:
    machine.shell.copy_to(newer, "/root/newer.deb")
    pid = machine.pid()
    state = machine.run("stat -c %i /var/lib/skybridge")
    # Whether the way was ever open in clear while the package was replaced.
    machine.run("systemd-run -q --unit watch sh -c 'ip -4 monitor route > /run/routes'")
    machine.run("DEBIAN_FRONTEND=noninteractive dpkg -i /root/newer.deb")
    machine.running_after(pid)
    machine.status_text("1 of 1 peers up")
    passes(net, machine)
    machine.run("systemctl stop watch")
    seen = machine.run("cat /run/routes")
    want("Deleted unreachable 192.168.10.0/24" not in seen, f"the block was lifted during the upgrade:\n{seen}")
    want(machine.run("stat -c %i /var/lib/skybridge") == state, "the state's folder was made anew")
    want("1 peer" in machine.run("skybridge check"), "configuration lost")
    say("upgrade: restarted, configuration and state kept, blocked all the time")


def reboot(machine: Machine, net: Namespace) -> None:
    machine.write("/etc/systemd/network/pods.netdev", "[NetDev]\nName=pods0\nKind=bridge\n", "0644", "root:root")
    machine.write("/etc/systemd/network/pods.network", f"[Match]\nName=pods0\n[Network]\nConfigureWithoutCarrier=yes\nAddress={POD}/24\n", "0644", "root:root")
    begin = time.monotonic()
    machine.shell.reboot(600)
    machine.status_text("1 of 1 peers up")
    passes(net, machine)
    failed = machine.run("systemctl --failed --plain --no-legend", check=False)
    want(not failed, failed)
    ready = machine.run("systemctl show -P ActiveEnterTimestampMonotonic skybridge")
    say(f"reboot: the tunnel is back {time.monotonic() - begin:.0f} s after the order; "
        f"ready {int(ready) / 1e6:.1f} s after the kernel's start")


def late_network(machine: Machine, net: Namespace) -> None:
    """The only way in goes down, so the machine does it by itself and writes down what it saw."""
    machine.write("/root/late.sh", "\n".join((
        "set -eu", "systemctl stop skybridge", "ip -4 -o addr show dev eth0 | awk '{print $4}' > /run/address",
        "ip link set eth0 down", "ip addr flush dev eth0", "systemctl start skybridge",
        "systemctl show -P ActiveState skybridge > /run/late",
        "ip link set eth0 up", 'ip addr add "$(cat /run/address)" dev eth0', "")), "0755", "root:root")
    pid = machine.pid()
    machine.run("systemd-run -q --unit late sh /root/late.sh")

    def done() -> bool:
        try:
            return machine.shell.run("test -s /run/late && ! systemctl is-active -q late", check=False, timeout=60).returncode == 0
        except VmError:
            return False

    poll("the machine is back on its network", PATIENCE, done)
    want(machine.run("cat /run/late") == "active" and machine.pid() != pid, "it did not start without a network")
    machine.status_text("1 of 1 peers up")
    passes(net, machine)
    say("a start without any network: ready, and the tunnel comes with the link")


def memory(machine: Machine) -> str:
    return machine.run(f"grep VmRSS /proc/{machine.pid()}/status | tr -s '\\t ' ' '")


def removal(machine: Machine) -> None:
    machine.run("dpkg -r skybridge")
    want(machine.run("ip route show proto 157") == "", "routes were left")
    want("inet skybridge" not in machine.run("nft list tables"), "the table was left")
    want(machine.run("pgrep -x skybridge", check=False) == "", "the daemon still runs")
    machine.run("dpkg -P skybridge")
    want("skybridge.service" not in machine.run("systemctl list-unit-files --no-pager"), "the unit is still known")
    say("remove and purge: no daemon, no route, no table, no unit")


def newer_package(package: Path, folder: Path) -> Path:
    """The same with a higher version."""
    tree = folder / "newer"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"^Version: .*$", "Version: 9.9.9-1", control.read_text(), flags=re.M))
    (tree / "DEBIAN/md5sums").unlink(missing_ok=True)
    made = folder / "newer.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-b", tree, made], check=True, stdout=subprocess.DEVNULL)
    return made


def other_end(lab: Lab, net: Namespace, package: Path) -> Process:
    folder = lab.folder / "office"
    folder.mkdir()
    subprocess.run(["dpkg-deb", "-x", package, folder / "tree"], check=True)
    for name, key in (("key", KEY), ("other", OTHER_KEY)):
        (folder / name).write_text(key + "\n")
        (folder / name).chmod(0o600)
    config = folder / "skybridge.toml"
    config.write_text(HERE.replace("@FOLDER@", str(folder)))
    net.bridge("lan0", f"{CLIENT}/24")
    return net.start("office", folder / "tree/usr/bin/skybridge", "run", "--config", config)


def everything(lab: Lab, net: Namespace, machine: Machine, other: Process, package: Path) -> dict[str, object]:
    """From the installation to the removal."""
    try:
        installs(machine, package)
        facts: dict[str, object] = {"exposure": sandbox(machine), "idle": memory(machine)}
        control_socket(machine)
        credential_tunnel(machine, net)
        facts["with a tunnel"] = memory(machine)
        group_secret(machine, net)
        reload(machine, net)
        translation(machine, net)
        deaths(machine, net)
        bad_start(machine)
        no_credentials(machine, net)
        late_network(machine, net)
        upgrade(machine, net, newer_package(package, lab.folder))
        if machine.udev:
            reboot(machine, net)
        removal(machine)
        return facts
    except (VmError, subprocess.SubprocessError):
        print(f"--- the other end:\n{other.text()[-3000:]}", file=sys.stderr)
        print(f"--- the machine:\n{machine.run('journalctl -b -u skybridge -n 60 --no-pager', check=False)}", file=sys.stderr)
        raise


def main() -> None:
    require_root()
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    suite = words[0] if words else "bookworm"
    packages = sorted((ROOT / "target/package").glob("skybridge_*_amd64.deb"), key=lambda path: path.stat().st_mtime)
    want(bool(packages), "no package: run appliance/package/build.sh deb")
    package = packages[-1]
    disk, kernel = base(suite, [Nic(f"{CLOUD}/24", OFFICE)])
    print(f"{package.name} on {suite}", flush=True)
    with Lab("pkg", keep="--keep" in sys.argv) as lab:
        net = lab.namespace("net")
        net.bridge("br0", f"{OFFICE}/24")
        other = other_end(lab, net, package)
        if "--container" in sys.argv:
            container = Container(lab, disk, net)
            try:
                facts = everything(lab, net, Machine(container), other, package)
            finally:
                container.end()
        else:
            print(accelerator().why, flush=True)
            vm = lab.vm("cloud", [lab.overlay(disk, "cloud")], [net.tap("br0")], kernel=kernel)
            shell = vm.ssh(net, CLOUD, base_key())
            vm.start()
            shell.wait(600)
            facts = everything(lab, net, Machine(shell), other, package)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
