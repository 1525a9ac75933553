"""What the modules declare, read with python-hcl2."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import hcl2

ROOT = Path(__file__).resolve().parents[2]
MODULES = ROOT / "appliance/terraform"
STANDARD = ("README.md", "main.tf", "outputs.tf", "variables.tf", "versions.tf")


def _plain(value: Any) -> Any:
    """Without the quotation marks that python-hcl2 keeps."""
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items() if key not in ("__is_block__", "__comments__")}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, str) and len(value) >= 2 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


def load(path: Path) -> dict[str, Any]:
    """One file; an error of syntax raises."""
    with path.open() as file:
        text: dict[str, Any] = _plain(hcl2.load(file))
    return text


def named(folder: Path, kind: str) -> dict[str, dict[str, Any]]:
    """Every block of a kind with one label, of all files in a folder."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.tf")):
        for block in load(path).get(kind, []):
            found |= block
    return found


def typed(folder: Path, kind: str) -> set[str]:
    """The types of `resource` or `data` blocks."""
    return set(named(folder, kind))


def required_providers(folder: Path) -> dict[str, dict[str, str]]:
    """What `versions.tf` asks for."""
    block = load(folder / "versions.tf")["terraform"][0]
    asked: dict[str, dict[str, str]] = block.get("required_providers", [{}])[0]
    return asked


def references(folder: Path) -> set[tuple[str, str]]:
    """Every `var.NAME` and `local.NAME` of a folder's files."""
    text = "\n".join(path.read_text() for path in folder.glob("*.tf"))
    return set(re.findall(r"\b(var|local)\.(\w+)", text))


def allows(constraint: str, version: str) -> bool:
    """Whether a constraint of `>=` and `<` lets a version through."""

    def number(text: str) -> tuple[int, ...]:
        return tuple(int(word) for word in text.split("."))

    for part in constraint.split(","):
        found = re.fullmatch(r"\s*(>=|<)\s*([\d.]+)\s*", part)
        if not found:
            raise ValueError(f"{constraint}: only >= and < are understood")
        if (number(version) >= number(found[2])) != (found[1] == ">="):
            return False
    return True
