#!/usr/bin/env python3
"""Looks at the Debian package without installing it.

    tests/package/inspect.py        the newest target/package/skybridge_*_amd64.deb

Lint, the unit's exposure, the libraries that the program needs, the manual pages and completions, the copyright file, every
example of the default configuration, and whether packing it again gives the same octets.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXPOSURE = 2.2
# The oldest of Debian 12 (2.36), Debian 13 (2.41) and Ubuntu 24.04 (2.39).
GLIBC = (2, 36)
# The C library, and the unwinder that comes with the compiler.
LIBRARIES = {"libc.so.6", "libgcc_s.so.1", "libm.so.6", "ld-linux-x86-64.so.2"}
COMMANDS = ("run", "check", "status", "services", "up", "down", "rekey", "reload", "cleanup", "genkey", "peer-config", "demo", "completions")


class Fault(Exception):
    """Something is not as it should be."""


def want(holds: bool, text: str) -> None:
    if not holds:
        raise Fault(text)


def run(*argv: str | Path, check: bool = True, env: dict[str, str] | None = None) -> str:
    """Both outputs of a program."""
    done = subprocess.run([str(word) for word in argv], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})})
    if check and done.returncode != 0:
        raise Fault(f"exit status {done.returncode}: {' '.join(str(word) for word in argv)}\n{done.stdout[-3000:]}")
    return done.stdout


def newest() -> Path:
    found = sorted((ROOT / "target/package").glob("skybridge_*_amd64.deb"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise SystemExit("no package: run appliance/package/build.sh deb")
    return found[-1]


def lint(package: Path, _: Path) -> str:
    """Nothing that lintian knows, down to hints, but what overrides explain."""
    said = run("lintian", "-EviIL", "+pedantic", "--allow-root", package, check=False)
    left = [line for line in said.splitlines() if re.match(r"[EWIPXC]: ", line)]
    want(not left, "lintian:\n" + "\n".join(left))
    return "lintian: clean"


def unit(_: Path, tree: Path) -> str:
    """The unit is understood whole, and leaves little open."""
    file = tree / "usr/lib/systemd/system/skybridge.service"
    said = run("systemd-analyze", "verify", "--man=no", file, check=False)
    # The program is not installed here.
    left = [line for line in said.splitlines() if "skybridge" in line and "/usr/bin/skybridge is not executable" not in line]
    want(not left, "\n".join(left))
    report = run("systemd-analyze", "security", "--offline=yes", "--no-pager", file, check=False)
    found = re.search(r"exposure level for skybridge.service: ([\d.]+)", report)
    want(found is not None and float(found.group(1)) <= EXPOSURE, report)
    return f"systemd-analyze: exposure {found.group(1)}, at most {EXPOSURE}"


def libraries(package: Path, tree: Path) -> str:
    """What the program needs of a system is there on the oldest of those that the package is for."""
    program = tree / "usr/bin/skybridge"
    dynamic = run("objdump", "-p", program)
    needed = set(re.findall(r"NEEDED\s+(\S+)", dynamic))
    want(needed <= LIBRARIES, f"needs {sorted(needed - LIBRARIES)}")
    versions = {tuple(int(part) for part in text.split(".")) for text in re.findall(r"GLIBC_([\d.]+)", dynamic)}
    want(max(versions) <= GLIBC, f"needs glibc {max(versions)}")
    stated = re.search(r"libc6 \(>= ([\d.]+)\)", run("dpkg-deb", "-f", package, "Depends"))
    want(stated is not None and tuple(map(int, stated[1].split("."))) >= max(versions), f"needs glibc {max(versions)}, and says {stated}")
    newest_glibc = ".".join(map(str, max(versions)))
    return f"libraries: {', '.join(sorted(needed))}; glibc {newest_glibc} or newer"


def manuals(_: Path, tree: Path) -> str:
    """Each command has a page, and each page is set without a warning."""
    pages = sorted((tree / "usr/share/man").glob("man*/*.gz"))
    names = {page.name for page in pages}
    missing = [name for name in COMMANDS if f"skybridge-{name}.1.gz" not in names]
    want(not missing and {"skybridge.1.gz", "skybridge.toml.5.gz"} <= names, f"no page of {missing}")
    for page in pages:
        text = run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", page, env={"MANPAGER": "cat", "MANWIDTH": "80"})
        want("warning" not in text.split("\n")[0] and "skybridge" in text.lower(), f"{page.name}: {text[:300]}")
    return f"man: {len(pages)} pages"


def completions(_: Path, tree: Path) -> str:
    """The shells that are here take theirs."""
    files = {"bash": tree / "usr/share/bash-completion/completions/skybridge",
             "zsh": tree / "usr/share/zsh/vendor-completions/_skybridge",
             "fish": tree / "usr/share/fish/vendor_completions.d/skybridge.fish"}
    taken = []
    for shell, file in files.items():
        want(file.stat().st_size > 1000, f"{file} is empty")
        if shutil.which(shell):
            run(shell, "-n", file)
            taken.append(shell)
    return f"completions: three, taken by {', '.join(taken)}"


def copyright_file(_: Path, tree: Path) -> str:
    """Machine-readable: each licence that a paragraph names has its text, each crate a holder."""
    text = (tree / "usr/share/doc/skybridge/copyright").read_text()
    paragraphs = [dict(re.findall(r"^([A-Z][A-Za-z-]+): *(.*)$", part, re.M)) for part in text.split("\n\n")]
    want(paragraphs[0].get("Format", "").startswith("https://www.debian.org/"), "no format")
    files = [part for part in paragraphs if "Files" in part]
    texts = {part["License"] for part in paragraphs if "License" in part and "Files" not in part}
    for part in files:
        want(bool(part.get("Copyright")), f"{part['Files']}: nobody has the copyright")
        missing = set(re.split(r" and | or ", part["License"])) - texts
        want(not missing, f"{part['Files']}: no text of {missing}")
    want(len(files) > 100, f"only {len(files)} paragraphs")
    return f"copyright: {len(files)} paragraphs, {len(texts)} licences"


def uncommented(part: str) -> str:
    """A paragraph with its examples in force: a `#` with no blank behind it goes."""
    return re.sub(r"^#(?=[^ #])", "", part, flags=re.M)


def examples(_: Path, tree: Path) -> str:
    """Each example of the default configuration is valid when its `#` is taken away, alone and with all others."""
    program, text = tree / "usr/bin/skybridge", (tree / "etc/skybridge/skybridge.toml").read_text()
    # The service's user and group are made by the installation.
    here = text.replace('user = "skybridge"', 'user = "root"').replace('"skybridge-control"', '"root"')
    want(here.count('"root"') == 2, "the default configuration names no user or group")
    folder = tree / "try"
    made_files(program, folder)
    config = folder / "skybridge.toml"

    def check(name: str, content: str, peers: str) -> None:
        config.write_text(content)
        said = run(program, "check", "--config", config, check=False)
        want(f"is usable: {peers}" in said, f"{name}: {said}")

    check("as it is", here, "0 peers")
    parts = here.split("\n\n")
    found = 0
    for index, part in enumerate(parts):
        example = uncommented(part)
        if example == part:
            continue
        found += 1
        check(example, "\n\n".join([*parts[:index], example, *parts[index + 1:]]), "1 peer" if "[peers." in example else "0 peers")
    want(found > 5, f"only {found} examples")
    check("all of them", uncommented(here), "3 peers")
    return f"default configuration: {found} examples, each alone and all together"


def made_files(program: Path, folder: Path) -> None:
    """The keys, certificates and kubeconfig that the examples name."""
    (folder / "credentials").mkdir(parents=True)
    for name in ("cloud.psk", "credentials/office"):
        run(program, "genkey", "psk", "--out", folder / name)
    run(program, "genkey", "ca", "--name", "Example CA", "--out", folder / "ca")
    run(program, "genkey", "endpoint", "--ca", folder / "ca", "--id", "cloud.example.com", "--out", folder / "endpoint")
    shutil.copy(folder / "ca/ca.pem", folder)
    (folder / "kubeconfig").write_text("")


def again(package: Path, tree: Path) -> str:
    """Packed once more, it is the same to the octet."""
    before = hashlib.sha256(package.read_bytes()).hexdigest()
    # A commit since then would give everything another time.
    stamp = str(int((tree / "usr/bin/skybridge").stat().st_mtime))
    kept = tree / "kept.deb"
    shutil.copy2(package, kept)
    try:
        run(ROOT / "appliance/package/build.sh", "deb", "--no-build", env={"SOURCE_DATE_EPOCH": stamp})
        after = hashlib.sha256(package.read_bytes()).hexdigest()
    finally:
        shutil.copy2(kept, package)
    want(before == after, f"packed again it differs: {before} and {after}")
    return f"reproducible: sha256 {before}"


CHECKS = (lint, unit, libraries, manuals, completions, copyright_file, examples, again)


def main() -> None:
    package = newest()
    print(f"{package.name}, {package.stat().st_size} octets")
    failed = 0
    for check in CHECKS:
        with tempfile.TemporaryDirectory(prefix="skybridge-inspect-") as folder:
            tree = Path(folder) / "tree"
            run("dpkg-deb", "-x", package, tree)
            try:
                print(f"ok {check(package, tree)}", flush=True)
            except Fault as fault:
                failed += 1
                print(f"not ok {check.__name__}: {fault}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
