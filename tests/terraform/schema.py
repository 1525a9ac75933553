"""The providers' schemas, read from packages that were generated from the providers themselves.

AWS, Google Cloud and Azure: the packages `cdktf-cdktf-provider-*` hold each resource as JavaScript, with every argument's
name and type, whether it is required, which are blocks, and what is computed only. Alibaba Cloud: the PyPI package
`pulumi-alicloud` holds names, types and what is required as Python; it tells no blocks from attributes, so there only
scalars, lists and maps of scalars are known. Neither tells which optional arguments the cloud fills in: any may be.
"""

from __future__ import annotations

import ast
import io
import re
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Attribute:
    """One argument or result."""

    type: Any  # as cty writes types in JSON: "string", ["list", "string"]
    required: bool = False
    optional: bool = False
    computed: bool = False


@dataclass
class Block:
    """What a resource, or a block in it, consists of."""

    attributes: dict[str, Attribute] = field(default_factory=dict)
    blocks: dict[str, Nested] = field(default_factory=dict)


@dataclass
class Nested:
    """A block within a block."""

    block: Block
    nesting: int  # of the protocol: 1 single, 2 list, 3 set
    minimum: int
    maximum: int


SCALARS = {"string": "string", "number": "number", "boolean": "bool"}
SINGLE, LIST, SET = 1, 2, 3
DECLARED = re.compile(r"\{@link [^}]*#(\w+) \w+#\w+\}\n +\*/\n +readonly \w+(\??):")
ENTRY = re.compile(
    r"^ +(\w+): \{\n +value: (.*),\n +isBlock: (true|false),\n +type: \"(\w+)\",\n +storageClassType: \"(\w+)\"", re.M
)
GETTER = re.compile(
    r"get (\w+)\(\) \{\n +return this\.get(String|Number|Boolean|List|NumberList|Any)\w*Attribute\('(\w+)'\)"
)


def _cty(kind: str, storage: str) -> Any:
    if kind == "simple":
        return SCALARS.get(storage, "dynamic")
    element = next((cty for word, cty in SCALARS.items() if storage.lower().startswith(word)), None)
    flat = storage.lower() in {f"{word}{ending}" for word in SCALARS for ending in ("list", "map")}
    return [kind, element] if element and flat and kind in ("list", "set", "map") else "dynamic"


@dataclass
class _Source:
    """A resource's file, taken apart."""

    converters: dict[str, str]
    classes: dict[str, str]
    required: dict[str, set[str]]
    types: str


def _read(wheel: Path, folders: set[str]) -> dict[str, str]:
    """The files of the given folders under lib/, from the archive within a wheel."""
    files: dict[str, str] = {}
    with zipfile.ZipFile(wheel) as outer:
        inner = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(inner)), mode="r:gz") as archive:
            for member in archive:
                folder, _, file = member.name.removeprefix("package/lib/").partition("/")
                if folder in folders and file in ("index.js", "index.d.ts") and (stream := archive.extractfile(member)):
                    files[f"{folder}/{file}"] = stream.read().decode()
    return files


class Cdktf:
    """A provider's package of the Cloud Development Kit for Terraform."""

    def __init__(self, wheel: Path, provider: str, resources: set[str], data: set[str]) -> None:
        self.provider = provider
        wanted = {self._folder(name) for name in resources} | {self._folder(name, True) for name in data} | {"provider"}
        self.files = _read(wheel, wanted)
        pattern = rf"registry\.terraform\.io/providers/[\w-]+/{provider}/([\d.]+)"
        found = re.search(pattern, self.files["provider/index.d.ts"])
        if not found:
            raise ValueError(f"{wheel}: the provider's version is not told")
        self.version = found[1]

    def _folder(self, name: str, data: bool = False) -> str:
        short = name.removeprefix(f"{self.provider}_").replace("_", "-")
        return f"data-{self.provider}-{short}" if data else short

    def block(self, name: str, data: bool = False) -> Block | None:
        """A resource's (or data source's) schema; `provider` is the provider's own."""
        folder = self._folder(name, data)
        if f"{folder}/index.js" not in self.files:
            return None
        block = self._parse(self.files[f"{folder}/index.js"], self.files[f"{folder}/index.d.ts"])
        if name == "provider":
            block.attributes.pop("alias", None)  # Terraform's own
        return block

    def _parse(self, code: str, types: str) -> Block:
        source = _Source({}, {}, {}, types)
        top = ""
        for part in re.split(r"^(?=class |function )", code, flags=re.M):
            if found := re.match(r"function (\w+)ToHclTerraform", part):
                source.converters[found[1]] = part
            elif found := re.match(r"class (\w+?)(?:OutputReference)? extends cdktf\.(\w+)", part):
                if found[2] in ("TerraformResource", "TerraformDataSource", "TerraformProvider"):
                    top, name = part, found[1]
                elif found[2] == "ComplexObject":
                    source.classes[found[1]] = part
        for part in re.split(r"^(?=export interface )", types, flags=re.M):
            if found := re.match(r"export interface (\w+)", part):
                source.required[found[1]] = {attribute for attribute, mark in DECLARED.findall(part) if not mark}
        block = self._block(top, f"{name}Config", top[top.index("synthesizeHclAttributes()") :], source)
        for attribute in block.attributes.values():
            attribute.computed |= attribute.optional
        return block

    def _block(self, owner: str, interface: str, entries: str, source: _Source) -> Block:
        required = source.required.get(interface, set())
        block = Block()
        for name, value, is_block, kind, storage in ENTRY.findall(entries):
            if is_block == "false":
                block.attributes[name] = Attribute(_cty(kind, storage), name in required, name not in required)
                continue
            converter = re.search(r"(\w+)ToHclTerraform", value)
            if not converter or converter[1] not in source.converters:
                raise ValueError(f"{name}: what it consists of is not told")
            struct = converter[1][0].upper() + converter[1][1:]
            inner = self._block(source.classes.get(struct, ""), struct, source.converters[converter[1]], source)
            block.blocks[name] = self._nested(struct, inner, kind, name in required, source.types)
        for _, getter, name in GETTER.findall(owner):
            if name not in block.attributes and name not in block.blocks:
                kinds = {"String": "string", "Number": "number", "Boolean": "bool", "List": ["list", "string"]}
                block.attributes[name] = Attribute(kinds.get(getter, "dynamic"), computed=True)
        return block

    def _nested(self, struct: str, inner: Block, kind: str, required: bool, types: str) -> Nested:
        many = re.search(rf"readonly \w+\??: {struct}\[\]", types) is not None
        if kind == "struct":
            return Nested(inner, SINGLE, 0, 0)
        # A provider's own blocks are typed as lists even where one is meant.
        return Nested(inner, SET if kind == "set" else LIST, int(required), 0 if many else 1)


class Alicloud:
    """The Alibaba Cloud provider's names, from the package that Pulumi generates from it."""

    provider = "alicloud"
    FILES = {
        "alicloud_instance": ("ecs/instance.py", "InstanceArgs"),
        "alicloud_security_group": ("ecs/security_group.py", "SecurityGroupArgs"),
        "alicloud_security_group_rule": ("ecs/security_group_rule.py", "SecurityGroupRuleArgs"),
        "alicloud_eip_address": ("ecs/eip_address.py", "EipAddressArgs"),
        "alicloud_eip_association": ("ecs/eip_association.py", "EipAssociationArgs"),
        "alicloud_route_entry": ("vpc/route_entry.py", "RouteEntryArgs"),
        "provider": ("provider.py", "ProviderArgs"),
    }

    def __init__(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(".py")]
            texts = {name.removeprefix("pulumi_alicloud/"): archive.read(name).decode() for name in names}
        self.files = {file: texts[file] for file, _ in self.FILES.values()}
        found = {
            tuple(int(word) for word in version.split("."))
            for text in texts.values()
            for version in re.findall(r"Available since v?(1\.\d+\.\d+)", text)
        }
        # The package's own number is Pulumi's; the newest thing that it describes tells the provider's.
        self.version = ".".join(str(number) for number in max(found))

    def block(self, name: str, data: bool = False) -> Block | None:
        """A resource's schema."""
        if data or name not in self.FILES:
            return None
        file, cls = self.FILES[name]
        block = Block()
        for node in ast.parse(self.files[file]).body:
            if isinstance(node, ast.ClassDef) and node.name == cls:
                for argument in _arguments(node):
                    block.attributes[argument.arg] = _python_attribute(argument)
        if not block.attributes:
            raise ValueError(f"{file}: {cls} has no arguments")
        block.attributes.setdefault("id", Attribute("string", optional=True, computed=True))
        return block


def _arguments(cls: ast.ClassDef) -> list[ast.arg]:
    for node in cls.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            return node.args.args[1:] + node.args.kwonlyargs
    return []


def _python_attribute(argument: ast.arg) -> Attribute:
    text = ast.unparse(argument.annotation) if argument.annotation else ""
    scalars = {"str": "string", "int": "number", "float": "number", "bool": "bool"}
    found = re.search(r"_builtins\.(\w+)", text.split("Mapping[str,")[-1])
    element = scalars[found[1]] if found and found[1] in scalars and "Args'" not in text else "dynamic"
    kind: Any = element
    if element != "dynamic" and "Mapping[" in text:
        kind = ["map", element]
    elif element != "dynamic" and "Sequence[" in text:
        kind = ["list", element]
    required = "Optional[" not in text
    return Attribute(kind, required=required, optional=not required, computed=not required)
