"""Virtual machines in network namespaces: what the image's and the Ansible role's tests are built on.

    with Lab("img") as lab:
        net = lab.namespace("net")                    # a namespace of its own, called img<pid>-net
        net.bridge("br0", "192.0.2.1/24")
        vm = lab.vm("cloud", kernel=Kernel(...), disks=[...], nics=[net.tap("br0")])
        vm.start()
        vm.console.wait_for(r"login:", 300)
        shell = vm.ssh(net, "192.0.2.10", key)
        shell.wait(300)
        print(shell.run("uname -a").stdout)

Everything that a Lab starts ends with it, by process id, whether the test ends, fails or is told to stop. Only Python's
library, iproute2 and qemu are used. Nothing here sleeps in place of a condition: `poll` asks until a deadline.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

ROOT = Path(__file__).resolve().parents[2]
STORE = ROOT / "target" / "vm"
OVMF = (
    (Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd")),
    (Path("/usr/share/OVMF/OVMF_CODE.fd"), Path("/usr/share/OVMF/OVMF_VARS.fd")),
)
# The last that a machine says before it restarts: the kernel, a kernel that panicked, the appliance's boot loader.
RESTARTS = re.compile(r"reboot: (Restarting system|machine restart)|Rebooting in \d+ seconds|no slot can be loaded|Initiating system reboot")
T = TypeVar("T")


class VmError(Exception):
    """Something that a test needs did not come about; the text says what."""


def poll(what: str, seconds: float, ask: Callable[[], T | None], every: float = 0.3) -> T:
    """Asks until the answer is neither None nor False, or says after `seconds` what did not happen."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer is not None and answer is not False:
            return answer
        if time.monotonic() > end:
            raise VmError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)


def command(argv: Sequence[str | Path], *, check: bool = True, timeout: float = 120,
            stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program without a shell; its complaint is part of the error."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(words, text=True, capture_output=True, timeout=timeout, input=stdin,
                              stdin=subprocess.DEVNULL if stdin is None else None, errors="replace")
    except subprocess.TimeoutExpired as late:
        raise VmError(f"still running after {timeout:.0f} s: {' '.join(words)}") from late
    if check and done.returncode != 0:
        raise VmError(f"exit status {done.returncode}: {' '.join(words)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


def _die_with_parent() -> None:
    """In the child, before exec: a test that is killed outright takes its processes along (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))


class Process:
    """A program in the background. Its output goes to a file."""

    def __init__(self, name: str, argv: Sequence[str | Path], log: Path, env: dict[str, str] | None = None) -> None:
        self.name, self.log = name, log
        self._out: IO[bytes] = log.open("ab")
        self._popen = subprocess.Popen([str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=self._out,
                                       stderr=subprocess.STDOUT, preexec_fn=_die_with_parent, start_new_session=True,
                                       env=None if env is None else {**os.environ, **env})

    @property
    def pid(self) -> int:
        return self._popen.pid

    def running(self) -> bool:
        return self._popen.poll() is None

    def text(self) -> str:
        """What it wrote up to now."""
        return self.log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        if self.running():
            self._popen.send_signal(number)

    def wait(self, seconds: float) -> int:
        try:
            return self._popen.wait(seconds)
        except subprocess.TimeoutExpired as late:
            raise VmError(f"{self.name} still runs after {seconds:.0f} s") from late

    def stop(self, grace: float = 10) -> None:
        """SIGTERM, and SIGKILL for who does not go."""
        if self.running():
            self._popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(grace)
        self.kill()

    def kill(self) -> None:
        if self.running():
            self._popen.kill()
        self._popen.wait()
        self._out.close()


@dataclass
class Tap:
    """A network card of a machine: a tap device in a namespace."""

    namespace: Namespace
    device: str
    mac: str


class Namespace:
    """A network namespace that belongs to a Lab."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name
        command(["ip", "netns", "add", name])
        self.run("ip", "link", "set", "lo", "up")

    def prefix(self) -> list[str]:
        """What to put before a command so that it runs in here."""
        return ["ip", "netns", "exec", self.name]

    def run(self, *argv: str | Path, check: bool = True, timeout: float = 120,
            stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return command([*self.prefix(), *argv], check=check, timeout=timeout, stdin=stdin)

    def start(self, name: str, *argv: str | Path, env: dict[str, str] | None = None) -> Process:
        """A program in the background, in here; it ends with the Lab."""
        return self.lab.process(name, [*self.prefix(), *argv], env)

    def address(self, device: str, *addresses: str) -> None:
        for address in addresses:
            self.run("ip", "address", "add", address, "dev", device, *(["nodad"] if ":" in address else []))
        self.run("ip", "link", "set", device, "up")

    def route(self, prefix: str, via: str) -> None:
        self.run("ip", "route", "replace", prefix, "via", via)

    def forward(self) -> None:
        """Makes a router of it, which also takes asymmetric ways."""
        for key in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.conf.all.rp_filter=0",
                    "net.ipv4.conf.default.rp_filter=0"):
            self.run("sysctl", "-qw", key)

    def bridge(self, device: str, *addresses: str) -> None:
        self.run("ip", "link", "add", device, "type", "bridge", "forward_delay", "0")
        self.address(device, *addresses)

    def tap(self, bridge: str | None = None, *addresses: str) -> Tap:
        """A card for a machine, on a bridge or with addresses of its own on this end."""
        number = self.lab.count("tap")
        device = f"tap{number}"
        self.run("ip", "tuntap", "add", device, "mode", "tap")
        if bridge:
            self.run("ip", "link", "set", device, "master", bridge)
        self.address(device, *addresses)
        return Tap(self, device, f"52:54:00:5b:{number >> 8:02x}:{number & 255:02x}")

    def link(self, device: str, other: Namespace, other_device: str) -> None:
        """A cable between two namespaces; addresses are given afterwards."""
        command(["ip", "link", "add", device, "netns", self.name, "type", "veth", "peer", "name", other_device,
                 "netns", other.name])
        self.run("ip", "link", "set", device, "up")
        other.run("ip", "link", "set", other_device, "up")

    def answers(self, host: str, port: int, source: str = "") -> bool:
        """Does a TCP connection from here to there succeed?"""
        return self.tcp(host, port, source) == "open"

    def tcp(self, host: str, port: int, source: str = "", seconds: float = 3) -> str:
        """What becomes of a TCP connection: `open`, `refused`, `timeout` or the error's name."""
        script = ("import errno,socket,sys\n"
                  "h,p,s,t=sys.argv[1:]\n"
                  "try: socket.create_connection((h,int(p)),float(t),(s,0) if s else None).close(); print('open')\n"
                  "except ConnectionRefusedError: print('refused')\n"
                  "except TimeoutError: print('timeout')\n"
                  "except OSError as e: print(errno.errorcode.get(e.errno,str(e)))\n")
        return self.run(sys.executable, "-c", script, host, str(port), source, str(seconds)).stdout.strip()

    def remove(self) -> None:
        """Ends what still runs in here, then the namespace."""
        for pid in command(["ip", "netns", "pids", self.name], check=False).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        command(["ip", "netns", "delete", self.name], check=False)


class Console:
    """The serial console's log, which goes on over restarts of the machine."""

    def __init__(self, path: Path, alive: Callable[[], bool]) -> None:
        self.path, self._alive, self._from = path, alive, 0

    def text(self) -> str:
        """All of it since the last `mark`."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as log:
            log.seek(self._from)
            return log.read().decode(errors="replace")

    def mark(self) -> None:
        """What is there now is no longer looked at."""
        self._from = self.path.stat().st_size if self.path.exists() else 0

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.text().splitlines()[-lines:])

    def wait_for(self, pattern: str, seconds: float) -> re.Match[str]:
        """The first match since the mark. A machine that ends before it is an error at once."""
        wanted = re.compile(pattern)

        def ask() -> re.Match[str] | None:
            alive = self._alive()
            found = wanted.search(self.text())
            if found is None and not alive:
                raise VmError(f"the machine ended before {pattern!r}:\n{self.tail()}")
            return found

        try:
            return poll(f"{pattern!r} on the console", seconds, ask)
        except VmError as late:
            raise VmError(f"{late}\n{self.tail()}") from None


@dataclass
class Kernel:
    """A kernel that qemu starts itself, for a disk without a boot loader."""

    image: Path
    initrd: Path
    options: str = ""


@dataclass
class Nic:
    """One card's settings for `ip=` on the kernel command line."""

    address: str
    gateway: str = ""

    def option(self, device: str) -> str:
        host, bits = self.address.split("/")
        mask = socket.inet_ntoa(struct.pack(">I", 0xFFFFFFFF << (32 - int(bits)) & 0xFFFFFFFF))
        return f"ip={host}::{self.gateway}:{mask}::{device}:none"


def base(suite: str, nics: Sequence[Nic] = (), hostname: str = "skybridge-test") -> tuple[Path, Kernel]:
    """The disk and kernel that tests/vm/base.sh made (it is run first), with fixed addresses: eth0, eth1, ... in order."""
    done = subprocess.run([str(ROOT / "tests/vm/base.sh"), suite], text=True, stdout=subprocess.DEVNULL)
    if done.returncode != 0:
        raise VmError(f"tests/vm/base.sh {suite} failed")
    folder = STORE / suite
    options = ["root=/dev/vda rw net.ifnames=0 mitigations=off", f"systemd.hostname={hostname}"]
    options += [nic.option(f"eth{index}") for index, nic in enumerate(nics)]
    return folder / "disk.img", Kernel(folder / "vmlinuz", folder / "initrd.img", " ".join(options))


def base_key() -> Path:
    """The SSH key that root of the plain machine accepts."""
    return STORE / "id_ed25519"


@dataclass
class Vm:
    """A machine under qemu. Its disks outlive `power_cut` and `start`."""

    lab: Lab
    name: str
    disks: Sequence[Path]
    nics: Sequence[Tap]
    kernel: Kernel | None = None
    firmware: str = "bios"
    seed: Path | None = None
    memory: int = 1024
    cpus: int = 2
    extra: Sequence[str] = ()
    console: Console = field(init=False)
    started: float = field(init=False, default=0.0)
    _process: Process | None = field(init=False, default=None)
    _cut: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.folder = self.lab.folder / self.name
        self.folder.mkdir()
        self.console = Console(self.folder / "console.log", self.running)
        if self.firmware == "uefi":
            shutil.copy(_ovmf()[1], self.folder / "vars.fd")

    def running(self) -> bool:
        """Is it on? A machine that restarted itself is: qemu ends then (`-no-reboot`) and a new one goes on with the disks.

        A restart inside of one emulated machine works, too, but what follows runs several times slower than the first start.
        """
        if self._process is None:
            return False
        if self._process.running():
            return True
        if self._cut or not RESTARTS.search(self.console.tail(4)):
            return False
        self._switch_on()
        return True

    @property
    def pid(self) -> int:
        if self._process is None:
            raise VmError(f"{self.name} was never started")
        return self._process.pid

    def arguments(self) -> list[str]:
        accelerated = accelerator()
        words = ["qemu-system-x86_64", "-name", self.name, "-machine", "q35", *accelerated.arguments(),
                 "-smp", str(self.cpus), "-m", str(self.memory), "-display", "none", "-nodefaults", "-no-user-config",
                 "-no-reboot", "-device", "virtio-rng-pci",
                 "-chardev", f"file,id=console,append=on,path={self.console.path}", "-serial", "chardev:console",
                 "-chardev", f"socket,id=qmp,path={self._qmp_path()},server=on,wait=off", "-mon", "chardev=qmp,mode=control"]
        if self.firmware == "uefi":
            words += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_ovmf()[0]}",
                      "-drive", f"if=pflash,unit=1,format=raw,file={self.folder / 'vars.fd'}"]
        for index, nic in enumerate(self.nics):
            words += ["-netdev", f"tap,id=net{index},ifname={nic.device},script=no,downscript=no",
                      "-device", f"virtio-net-pci,netdev=net{index},mac={nic.mac},romfile="]
        for index, disk in enumerate(self.disks):
            kind = "qcow2" if disk.suffix == ".qcow2" else "raw"
            boot = f",bootindex={index + 1}" if self.kernel is None else ""
            words += ["-drive", f"if=none,id=disk{index},format={kind},file={disk}",
                      "-device", f"virtio-blk-pci,drive=disk{index}{boot}"]
        if self.seed:
            words += ["-drive", f"if=none,id=seed,format=raw,readonly=on,file={self.seed}", "-device", "virtio-blk-pci,drive=seed"]
        if self.kernel:
            words += ["-kernel", str(self.kernel.image), "-initrd", str(self.kernel.initrd),
                      "-append", f"console=ttyS0 {self.kernel.options}"]
        return [*words, *self.extra]

    def start(self) -> None:
        """Switches the machine on. qemu runs in the namespace of its first card."""
        if self.running():
            raise VmError(f"{self.name} runs already")
        self.console.mark()
        self.started = time.monotonic()
        self._cut = False
        self._switch_on()

    def _switch_on(self) -> None:
        spaces = {nic.namespace.name for nic in self.nics}
        if len(spaces) > 1:
            raise VmError("all cards of a machine must be in one namespace")
        prefix = self.nics[0].namespace.prefix() if self.nics else []
        self._qmp_path().unlink(missing_ok=True)
        self._process = self.lab.process(f"{self.name}-qemu", [*prefix, *self.arguments()])

    def elapsed(self) -> float:
        """Seconds since it was switched on."""
        return time.monotonic() - self.started

    def power_cut(self) -> None:
        """Ends the machine as a power cut does: nothing in it hears of it, what it had not yet written is lost."""
        self._cut = True
        if self._process:
            self._process.kill()

    def shut_down(self, seconds: float = 180) -> None:
        """Presses the power button and waits until the machine is off."""
        self._cut = True
        self.qmp("system_powerdown")
        if self._process:
            self._process.wait(seconds)
            self._process.kill()

    def ended(self, seconds: float) -> None:
        """Waits until the machine has switched itself off."""
        self._cut = True
        if self._process:
            self._process.wait(seconds)
            self._process.kill()

    def qmp(self, execute: str, **arguments: object) -> object:
        """One command to qemu's monitor."""
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(30)
            poll("qemu's monitor", 30, lambda: self._connect(wire))
            lines = wire.makefile("rw")
            lines.readline()
            for word, options in (("qmp_capabilities", {}), (execute, arguments)):
                lines.write(json.dumps({"execute": word, "arguments": options}) + "\n")
                lines.flush()
                while "event" in (answer := json.loads(lines.readline() or '{"error": "qemu ended"}')):
                    pass
                if "error" in answer:
                    raise VmError(f"qemu refuses {word}: {answer['error']}")
        return answer["return"]

    def _connect(self, wire: socket.socket) -> bool:
        if not self.running():
            raise VmError(f"{self.name} does not run:\n{self._process.text()[-2000:] if self._process else ''}")
        try:
            wire.connect(str(self._qmp_path()))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def _qmp_path(self) -> Path:
        # Socket paths have 107 characters at most.
        return self.lab.folder / f"{self.name}.qmp"

    def ssh(self, namespace: Namespace, host: str, key: Path, user: str = "root", port: int = 22) -> Ssh:
        return Ssh(namespace, host, key, user, port, self)


@dataclass
class Ssh:
    """Commands on a machine, from inside of a namespace."""

    namespace: Namespace
    host: str
    key: Path
    user: str = "root"
    port: int = 22
    vm: Vm | None = None

    def options(self) -> list[str]:
        # The machines are made anew for each test, so their host keys are not known before.
        words = ["-F", "/dev/null", "-i", str(self.key)]
        for option in ("BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null",
                       "ConnectTimeout=30", "ServerAliveInterval=15", "ServerAliveCountMax=6", "LogLevel=ERROR"):
            words += ["-o", option]
        return words

    def run(self, script: str, *, check: bool = True, timeout: float = 300,
            stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a shell command there."""
        if self.vm:
            self.vm.running()   # goes on with a machine that has restarted itself
        argv = [*self.namespace.prefix(), "ssh", *self.options(), "-p", str(self.port), f"{self.user}@{self.host}", "--", script]
        # 255 is ssh's own: on a busy machine a connection may not come about the first time.
        for _ in range(3 if check else 0):
            done = command(argv, check=False, timeout=timeout, stdin=stdin)
            if done.returncode != 255:
                break
        else:
            return command(argv, check=check, timeout=timeout, stdin=stdin)
        if done.returncode != 0:
            raise VmError(f"exit status {done.returncode}: {self.host}: {script}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done

    def copy_to(self, source: Path, target: str, timeout: float = 600) -> None:
        self._copy(str(source), f"{self._remote()}:{target}", timeout)

    def copy_from(self, source: str, target: Path, timeout: float = 600) -> None:
        self._copy(f"{self._remote()}:{source}", str(target), timeout)

    def _copy(self, source: str, target: str, timeout: float) -> None:
        command([*self.namespace.prefix(), "scp", "-q", *self.options(), "-P", str(self.port), source, target], timeout=timeout)

    def _remote(self) -> str:
        return f"{self.user}@[{self.host}]" if ":" in self.host else f"{self.user}@{self.host}"

    def works(self) -> bool:
        return self.run("true", check=False, timeout=60).returncode == 0

    def wait(self, seconds: float) -> None:
        """Until a command can be run."""
        def ask() -> bool:
            if self.vm and not self.vm.running():
                raise VmError(f"{self.vm.name} ended:\n{self.vm.console.tail()}")
            return self.works()

        try:
            poll(f"SSH to {self.host}", seconds, ask, every=0.5)
        except VmError as late:
            raise VmError(f"{late}\n{self.vm.console.tail() if self.vm else ''}") from None

    def boot_id(self) -> str:
        return self.run("cat /proc/sys/kernel/random/boot_id").stdout.strip()

    def reboot(self, seconds: float) -> None:
        """Restarts the machine and waits until it answers again, as another boot."""
        before = self.boot_id()
        if self.vm:
            self.vm.console.mark()
            self.vm.started = time.monotonic()
        # The connection may end at once or hang: neither says whether the machine restarts, its next boot does.
        with contextlib.suppress(VmError):
            self.run("systemctl --no-block reboot", check=False, timeout=60)
        self.wait_for_boot_after(before, seconds)

    def wait_for_boot_after(self, before: str, seconds: float) -> None:
        def ask() -> bool:
            if self.vm and not self.vm.running():
                raise VmError(f"{self.vm.name} ended:\n{self.vm.console.tail()}")
            now = self.run("cat /proc/sys/kernel/random/boot_id", check=False, timeout=60)
            return now.returncode == 0 and now.stdout.strip() not in ("", before)

        poll(f"another boot of {self.host}", seconds, ask, every=0.5)


class Lab:
    """Owns everything that a test starts: a folder, namespaces, processes, machines."""

    def __init__(self, tag: str, keep: bool = False) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,5}", tag):
            raise VmError("a tag has up to six small letters and digits")
        self.prefix = f"{tag}{os.getpid()}"
        self.folder = Path(tempfile.mkdtemp(prefix=f"{tag}-"))
        self.keep = keep
        self._counters: dict[str, int] = {}
        self._processes: list[Process] = []
        self._namespaces: list[Namespace] = []
        self._handlers: dict[int, object] = {}
        self._closed = False

    def __enter__(self) -> Lab:
        atexit.register(self.close)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, _leave)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for process in reversed(self._processes):
            process.stop(5)
        for namespace in reversed(self._namespaces):
            namespace.remove()
        if self.keep:
            print(f"kept: {self.folder}", file=sys.stderr)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        atexit.unregister(self.close)

    def count(self, kind: str) -> int:
        self._counters[kind] = self._counters.get(kind, -1) + 1
        return self._counters[kind]

    def namespace(self, name: str) -> Namespace:
        made = Namespace(self, f"{self.prefix}-{name}")
        self._namespaces.append(made)
        return made

    def process(self, name: str, argv: Sequence[str | Path], env: dict[str, str] | None = None) -> Process:
        made = Process(name, argv, self.folder / f"{name}-{self.count('log ' + name)}.log", env)
        self._processes.append(made)
        return made

    def overlay(self, disk: Path, name: str) -> Path:
        """A disk that begins as a copy of `disk`, which is never written."""
        kind = "qcow2" if disk.suffix == ".qcow2" else "raw"
        made = self.folder / f"{name}.qcow2"
        command(["qemu-img", "create", "-q", "-f", "qcow2", "-b", disk.resolve(), "-F", kind, made])
        return made

    def vm(self, name: str, disks: Sequence[Path], nics: Sequence[Tap], **options: object) -> Vm:
        return Vm(self, name, disks, nics, **options)  # type: ignore[arg-type]

    def key(self) -> Path:
        """An SSH key made for this test alone."""
        key = self.folder / "id_ed25519"
        if not key.exists():
            command(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "skybridge-test", "-f", key])
        return key

    def seed(self, name: str, user_data: str, meta_data: str, network_config: str | None = None) -> Path:
        """A NoCloud seed: a CD that cloud-init finds by its label."""
        folder = self.folder / f"{name}.seed"
        folder.mkdir()
        (folder / "user-data").write_text(user_data)
        (folder / "meta-data").write_text(meta_data)
        if network_config is not None:
            (folder / "network-config").write_text(network_config)
        made = self.folder / f"{name}.iso"
        maker = ["genisoimage"] if shutil.which("genisoimage") else ["xorriso", "-as", "genisoimage"]
        command([*maker, "-quiet", "-output", made, "-volid", "cidata", "-joliet", "-rock", folder])
        return made


def _leave(number: int, _frame: object) -> None:
    """A signal ends the test the ordinary way, so that everything is put away."""
    print(f"ended by signal {number}", file=sys.stderr)
    raise SystemExit(128 + number)


def _ovmf() -> tuple[Path, Path]:
    for code, variables in OVMF:
        if code.exists() and variables.exists():
            return code, variables
    raise VmError("no OVMF firmware: install ovmf (tests/setup.sh image)")


@dataclass(frozen=True)
class Accelerator:
    """How qemu runs the machine's code, and why so."""

    kvm: bool
    why: str

    def arguments(self) -> list[str]:
        if self.kvm:
            return ["-accel", "kvm", "-cpu", "host"]
        # Without ERMS and FSRM the kernel clears and copies memory by words. By octets, each is a call into the emulator where
        # the page held code before, and the kernel seems to hang for a minute at a time.
        return ["-accel", "tcg,thread=multi", "-cpu", "max,-erms,-fsrm"]


_ACCELERATOR: list[Accelerator] = []


def accelerator() -> Accelerator:
    """KVM if a kernel really reaches its first program with it, else emulation. Asked once for each boot of this machine."""
    if not _ACCELERATOR:
        _ACCELERATOR.append(_choose())
    return _ACCELERATOR[0]


def _choose() -> Accelerator:
    wish = os.environ.get("SKYBRIDGE_VM_ACCEL", "")
    if wish in ("tcg", "kvm"):
        return Accelerator(wish == "kvm", "SKYBRIDGE_VM_ACCEL says so")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Accelerator(False, "no /dev/kvm that can be opened")
    kernels = sorted(STORE.glob("*/vmlinuz")) + sorted((ROOT / "target/image").glob("vmlinuz*"))
    if not kernels:
        return Accelerator(False, "no kernel to try /dev/kvm with")
    seen = STORE / "kvm-probe.json"
    facts = [Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
             hashlib.sha256(kernels[0].read_bytes()).hexdigest()]
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = json.loads(seen.read_text())
        if known["facts"] == facts:
            return Accelerator(known["kvm"], known["why"])
    works, why = probe_kvm(kernels[0])
    with contextlib.suppress(OSError):
        seen.write_text(json.dumps({"facts": facts, "kvm": works, "why": why}))
    return Accelerator(works, why)


PROBE_MARK = "skybridge-probe-reached-userspace"


def probe_kvm(kernel: Path, seconds: float = 30) -> tuple[bool, str]:
    """Boots `kernel` with a first program that writes a line and switches the machine off."""
    with tempfile.TemporaryDirectory(prefix="kvm-probe-") as folder:
        initrd, log = Path(folder) / "initrd", Path(folder) / "console"
        initrd.write_bytes(probe_initrd(PROBE_MARK + "\n"))
        argv = ["qemu-system-x86_64", "-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults",
                "-no-user-config", "-display", "none", "-no-reboot", "-serial", f"file:{log}", "-kernel", str(kernel),
                "-initrd", str(initrd), "-append", "console=ttyS0 panic=-1 quiet"]
        qemu = Process("kvm-probe", argv, Path(folder) / "qemu.log")
        try:
            poll("the probe", seconds, lambda: PROBE_MARK in _read(log) or not qemu.running())
        except VmError:
            return False, f"a kernel did not reach its first program under KVM within {seconds:.0f} s"
        finally:
            qemu.kill()
        if PROBE_MARK in _read(log):
            return True, "a kernel reached its first program under KVM"
        complaint = qemu.text().strip().splitlines()
        return False, f"qemu ended under KVM: {complaint[-1] if complaint else 'without a word'}"


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def probe_initrd(mark: str) -> bytes:
    """An initramfs whose /init writes `mark` to the console and switches off: no file of any system is needed."""
    entries = [("dev", 0o040755, 0, 0, b""), ("dev/console", 0o020600, 5, 1, b""), ("init", 0o100755, 0, 0, _writer(mark))]
    return b"".join(_cpio(*entry) for entry in entries) + _cpio("TRAILER!!!", 0, 0, 0, b"")


def _cpio(name: str, mode: int, major: int, minor: int, data: bytes) -> bytes:
    """One file in the `newc` form that the kernel unpacks."""
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % number for number in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def _writer(mark: str) -> bytes:
    """A static x86-64 program: write(1, mark), reboot(POWER_OFF), and an endless loop if that is refused."""
    text = mark.encode()
    base_address, head = 0x400000, 64 + 56
    code = (
        b"\xb8\x01\0\0\0" + b"\xbf\x01\0\0\0"                                    # eax = write, edi = 1
        + b"\xbe" + struct.pack("<I", base_address + head + 57)                  # esi = the text behind the code
        + b"\xba" + struct.pack("<I", len(text)) + b"\x0f\x05"                   # edx = its length; syscall
        + b"\xb8\xa9\0\0\0" + b"\xbf" + struct.pack("<I", 0xFEE1DEAD)            # eax = reboot, the magic words,
        + b"\xbe" + struct.pack("<I", 0x28121969) + b"\xba" + struct.pack("<I", 0x4321FEDC)   # power off
        + b"\x45\x31\xd2" + b"\x0f\x05" + b"\xeb\xfe"                            # r10 = 0; syscall; loop
    )
    code += bytes(57 - len(code))
    size = head + len(code) + len(text)
    elf = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, base_address + head, 64, 0, 0, 64, 56, 1,
                                                         0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base_address, base_address, size, size, 0x1000)
    return elf + segment + code + text


@contextlib.contextmanager
def stopwatch(into: dict[str, float], name: str) -> Iterator[None]:
    """Writes down how long something took."""
    begin = time.monotonic()
    yield
    into[name] = round(time.monotonic() - begin, 1)


def require_root() -> None:
    """Namespaces and taps need it; says so instead of failing somewhere."""
    if os.geteuid() != 0:
        raise SystemExit("this test builds network namespaces: run it as root (sudo)")
