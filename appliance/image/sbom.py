#!/usr/bin/env python3
"""The image's bill of materials as SPDX 2.3 JSON: Debian's packages, and the crates that the daemon is made of.

    sbom.py --packages FILE --lock Cargo.lock --manifest Cargo.toml --name NAME --version VERSION --root-sha256 SUM

FILE has a line for each package: name, version, architecture, source name and source version, with tabs between them. Crates
are those that `cargo tree` names for this target without development dependencies; without cargo, all of Cargo.lock.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote


def identifier(*words: str) -> str:
    return "SPDXRef-" + re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words))


def package(kind: str, name: str, version: str, purl: str, **more: object) -> dict[str, object]:
    return {"SPDXID": identifier(kind, name, version), "name": name, "versionInfo": version, "downloadLocation": "NOASSERTION",
            "filesAnalyzed": False, "licenseConcluded": "NOASSERTION", "licenseDeclared": "NOASSERTION",
            "copyrightText": "NOASSERTION",
            "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}], **more}


def debian(path: Path) -> list[dict[str, object]]:
    found = []
    for line in path.read_text().splitlines():
        name, version, architecture, source, source_version = line.split("\t")
        name = name.split(":")[0]
        vendor = "generic" if name == "skybridge" else "debian"
        found.append(package("deb", name, version, f"pkg:deb/{vendor}/{quote(name)}@{quote(version)}?arch={architecture}",
                             sourceInfo=f"built from {source} {source_version}", primaryPackagePurpose="LIBRARY"))
    return found


def used(manifest: Path) -> set[tuple[str, str]] | None:
    """Name and version of every crate in the binary, or None where cargo cannot tell."""
    argv = ["cargo", "tree", "--locked", "--offline", "--manifest-path", str(manifest), "--edges", "normal", "--prefix", "none",
            "--target", "x86_64-unknown-linux-gnu", "--format", "{p}"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return {(words[0], words[1].removeprefix("v")) for line in done.stdout.splitlines() if len(words := line.split()) >= 2}


def crates(lock: Path, manifest: Path) -> tuple[list[dict[str, object]], str]:
    wanted = used(manifest)
    found = []
    for entry in tomllib.loads(lock.read_text())["package"]:
        name, version = entry["name"], entry["version"]
        if "source" not in entry or (wanted is not None and (name, version) not in wanted):
            continue
        sums = [{"algorithm": "SHA256", "checksumValue": entry["checksum"]}] if "checksum" in entry else []
        found.append(package("crate", name, version, f"pkg:cargo/{quote(name)}@{quote(version)}", checksums=sums))
    return found, "crates of the binary" if wanted is not None else "all crates of Cargo.lock (cargo was not there to narrow them)"


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("packages", "lock", "manifest", "name", "version", "root-sha256"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    debs = debian(Path(given.packages))
    rust, extent = crates(Path(given.lock), Path(given.manifest))
    image = {**package("image", given.name, given.version, f"pkg:generic/skybridge-appliance@{quote(given.version)}"),
             "primaryPackagePurpose": "OPERATING-SYSTEM",
             "checksums": [{"algorithm": "SHA256", "checksumValue": given.root_sha256}],
             "comment": f"The checksum is the root file system's. Listed: Debian packages, {extent}."}
    daemon = next(entry["SPDXID"] for entry in debs if entry["name"] == "skybridge")
    when = datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), timezone.utc)
    relations = [("SPDXRef-DOCUMENT", "DESCRIBES", image["SPDXID"])]
    relations += [(image["SPDXID"], "CONTAINS", entry["SPDXID"]) for entry in debs]
    relations += [(daemon, "STATIC_LINK", entry["SPDXID"]) for entry in rust]
    json.dump({
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": given.name,
        "documentNamespace": f"https://example.com/spdx/{given.name}-{given.root_sha256[:16]}",
        "creationInfo": {"created": when.strftime("%Y-%m-%dT%H:%M:%SZ"), "creators": ["Tool: skybridge-appliance-sbom"]},
        "packages": [image, *debs, *rust],
        "relationships": [{"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}
                          for one, kind, other in relations],
    }, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
