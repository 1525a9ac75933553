#!/usr/bin/env python3
"""Prints the machine-readable copyright file of the packages (DEP-5): ours, and every crate built into the program.

    copyright.py TARGET-TRIPLE > copyright

Reads `cargo metadata` and the crates' own licence files from cargo's folder; nothing is fetched. Where a crate gives a
choice of licences, the one that we take stands there: Apache-2.0 if it is one of them, else MIT.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PREFERRED = ("Apache-2.0", "MIT", "ISC", "BSD-3-Clause", "Zlib")
COMMON = {"Apache-2.0": "On Debian systems the text is in /usr/share/common-licenses/Apache-2.0; other packages have it as LICENSE."}


def metadata(target: str) -> dict[str, Any]:
    """What cargo knows of the dependency graph for one target."""
    command = [os.environ.get("CARGO", "cargo"), "metadata", "--locked", "--offline", "--format-version=1",
               f"--filter-platform={target}"]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def built_in(graph: dict[str, Any]) -> list[dict[str, Any]]:
    """The packages whose code is in the program: reached by normal dependencies, macros aside."""
    packages = {package["id"]: package for package in graph["packages"]}
    nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
    root = graph["resolve"]["root"]
    seen: set[str] = set()
    todo = [root]
    while todo:
        package = todo.pop()
        if package in seen or any("proc-macro" in target["kind"] for target in packages[package]["targets"]):
            continue
        seen.add(package)
        normal = (dep["pkg"] for dep in nodes[package]["deps"]
                  if any(kind["kind"] is None for kind in dep["dep_kinds"]))
        todo.extend(normal)
    seen.remove(root)
    return sorted((packages[package] for package in seen), key=lambda package: (package["name"], package["version"]))


def chosen(expression: str) -> list[str]:
    """The licences that apply: of each choice the first of PREFERRED; all parts of an AND."""
    words = expression.replace("/", " OR ").replace("Apache-2.0 WITH LLVM-exception", "LLVM").strip()
    parts = re.split(r"\s+AND\s+(?![^(]*\))", words)
    licences = []
    for part in parts:
        choices = [choice.strip() for choice in part.strip("() ").split(" OR ")]
        taken = next((name for name in PREFERRED if name in choices), None)
        if taken is None:
            raise SystemExit(f"copyright.py: no known licence in {expression!r}: add its text to {HERE / 'licences'}")
        licences.append(taken)
    return sorted(set(licences))


def notices(folder: Path) -> Iterator[str]:
    """The copyright notices in a crate's licence files."""
    for path in sorted(folder.iterdir()):
        if not re.match(r"(?i)(licen[cs]e|copying|copyright|notice|unlicense)", path.name) or not path.is_file():
            continue
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            text = line.strip(" \t*#/-.")
            if not re.match(r"(?i)copyright\s*(\(c\)|©|\d{4})", text) or "[yyyy]" in text or "{yyyy}" in text:
                continue
            yield re.sub(r"(?i)^copyright\s*", "", text)


def holders(package: dict[str, Any]) -> list[str]:
    """Who holds the copyright of a crate, as its files say it; else its authors."""
    found = list(dict.fromkeys(notices(Path(package["manifest_path"]).parent)))
    if not found:
        found = [re.sub(r"\s*<[^>]*>", "", author) for author in package["authors"]]
    return found or [f"the authors of {package['name']}"]


def stanza(*fields: tuple[str, list[str]]) -> str:
    """One paragraph; further lines of a field are indented, empty ones are dots."""
    lines = []
    for name, values in fields:
        first, *rest = values
        lines.append(f"{name}: {first}".rstrip())
        lines.extend(f" {value}" if value.strip() else " ." for value in rest)
    return "\n".join(lines) + "\n"


def main() -> None:
    """Writes everything to standard output."""
    graph = metadata(sys.argv[1])
    crates = built_in(graph)
    used = {"Apache-2.0", "MIT"}
    out = [stanza(("Format", ["https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/"]),
                  ("Upstream-Name", ["skybridge"]),
                  ("Comment", ["The paragraphs of crates/ are for the libraries that are built into",
                               "the program. Where they give a choice of licences, the one taken stands there."])),
           stanza(("Files", ["*"]), ("Copyright", ["the Skybridge authors"]), ("License", ["Apache-2.0 or MIT"]))]
    out.append(stanza(("Files", ["rust/library/*"]), ("Copyright", ["The Rust Project Contributors"]),
                      ("License", ["Apache-2.0"]), ("Comment", ["Rust's standard library."])))
    for crate in crates:
        licences = chosen(crate["license"] or "")
        used.update(licences)
        out.append(stanza(("Files", [f"crates/{crate['name']}-{crate['version']}/*"]),
                          ("Copyright", holders(crate)), ("License", [" and ".join(licences)])))
    for name in sorted(used):
        text = [COMMON[name]] if name in COMMON else (HERE / "licences" / name).read_text().splitlines()
        out.append(stanza(("License", [name, *text])))
    sys.stdout.write("\n".join(out))


if __name__ == "__main__":
    main()
