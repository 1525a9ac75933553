# -*- coding: utf-8 -*-
# Filter: files of the pre-shared keys that variables hold.
"""Names and texts of key files, by peer."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleFilterError


def psk_files(psks: Any) -> list[dict[str, str]]:
    """For each peer `PEER.psk`, and for further keys that are accepted `PEER.1.psk` and so on."""
    if not isinstance(psks, dict):
        raise AnsibleFilterError("psk_files takes a mapping of peers")
    files = []
    for peer, keys in psks.items():
        for index, key in enumerate([keys] if isinstance(keys, str) else keys):
            # The message has the peer's name alone: what else there is may be a key.
            if not isinstance(key, str) or not key.strip():
                raise AnsibleFilterError("skybridge_psks: a key of %s is no text" % peer)
            files.append({"name": "%s%s.psk" % (peer, ".%d" % index if index else ""), "text": key.strip() + "\n"})
    return files


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """The filters by their names."""
        return {"psk_files": psk_files}
