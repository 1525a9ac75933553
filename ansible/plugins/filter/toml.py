# -*- coding: utf-8 -*-
# Filter: variables as TOML, in the shape of a Skybridge configuration.
"""Writes mappings as TOML: tables where the configuration has tables, everything smaller inline."""

from __future__ import annotations

import json
import re
from typing import Any

from ansible.errors import AnsibleFilterError

BARE = re.compile(r"[A-Za-z0-9_-]+")

# Tables whose values are tables with names of the user's choice: each gets a header of its own.
NAMED = {"peers", "children", "clusters"}


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise AnsibleFilterError("to_toml: %r is no name of a key" % (key,))
    return str(key) if BARE.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL, which JSON leaves as it is.
    return json.dumps(str(text), ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, (list, tuple)):
        return "[%s]" % ", ".join(_value(one, where) for one in value)
    if isinstance(value, dict):
        pairs = ("%s = %s" % (_key(k), _value(v, "%s.%s" % (where, k))) for k, v in value.items())
        return "{ %s }" % ", ".join(pairs) if value else "{}"
    raise AnsibleFilterError("to_toml: %s has a value that TOML cannot hold (%s)" % (where, type(value).__name__))


def _table(table: dict[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    plain = {k: v for k, v in table.items() if not (k in NAMED and isinstance(v, dict))}
    if path and (plain or not table):
        lines += ["", "[%s]" % ".".join(_key(part) for part in path)]
    lines += ["%s = %s" % (_key(k), _value(v, ".".join((*path, k)))) for k, v in plain.items()]
    for name in (k for k in table if k not in plain):
        for key, inner in table[name].items():
            if not isinstance(inner, dict):
                raise AnsibleFilterError("to_toml: %s must be a mapping" % ".".join((*path, name, str(key))))
            _table(inner, (*path, name, key), lines)


def to_toml(table: Any, prefix: str = "") -> str:
    """The text of a mapping; with a prefix, of the table of that name."""
    if not isinstance(table, dict):
        raise AnsibleFilterError("to_toml takes a mapping")
    lines: list[str] = []
    _table(table, tuple(prefix.split(".")) if prefix else (), lines)
    return "\n".join(lines).strip("\n") + "\n" if lines else ""


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """The filters by their names."""
        return {"to_toml": to_toml}
