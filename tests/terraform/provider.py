"""Stands in for a cloud's provider towards Terraform: it serves the provider's schema over the plugin protocol (version 5)
and plans whatever the schema allows, with everything that only the cloud can know left unknown. What is "applied" gets
sample values for that, and goes nowhere but into Terraform's state. It creates nothing and speaks to no cloud, and it
does not know which changes take a new resource.

Terraform attaches to it by TF_REATTACH_PROVIDERS.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent import futures
from typing import Any, Protocol

import grpc
import msgpack
from schema import Attribute, Block

from wire import Message, encode, field

UNKNOWN = msgpack.ExtType(0, b"\0")


class Source(Protocol):
    """Where schemas come from."""

    provider: str
    version: str

    def block(self, name: str, data: bool = False) -> Block | None: ...


def _block_message(block: Block) -> Message:
    attributes = [
        (2, [(1, name), (2, json.dumps(a.type)), (4, a.required), (5, a.optional), (6, a.computed)])
        for name, a in sorted(block.attributes.items())
    ]
    blocks = [
        (3, [(1, name), (2, _block_message(n.block)), (3, n.nesting), (4, n.minimum), (5, n.maximum)])
        for name, n in sorted(block.blocks.items())
    ]
    return [(1, 0), *attributes, *blocks]


def _schema_message(block: Block) -> Message:
    return [(1, 0), (2, _block_message(block))]


def _result(attribute: Attribute, name: str, known: bool) -> Any:
    if not known:
        return UNKNOWN
    samples = {"string": f"known-{name}", "number": 1, "bool": True}
    if isinstance(attribute.type, str):
        return samples.get(attribute.type)
    return {} if attribute.type[0] == "map" else []


def _complete(block: Block, value: dict[str, Any] | None, known: bool) -> dict[str, Any] | None:
    """What is computed and was not given: unknown until the cloud says it (or a sample, for a data source)."""
    if value is None:
        return None
    for name, attribute in block.attributes.items():
        # What is of no known type stays null: the modules use none of it.
        if attribute.computed and attribute.type != "dynamic" and value.get(name) is None:
            value[name] = _result(attribute, name, known)
    for name, nested in block.blocks.items():
        inner = value.get(name)
        if isinstance(inner, dict):
            value[name] = _complete(nested.block, inner, known)
        elif isinstance(inner, list):
            value[name] = [_complete(nested.block, each, known) for each in inner]
    return value


def _known(block: Block, value: dict[str, Any] | None) -> dict[str, Any] | None:
    """With sample values in the place of unknown ones."""
    if value is None:
        return None
    for name, each in value.items():
        if isinstance(each, msgpack.ExtType):
            value[name] = _result(block.attributes[name], name, known=True)
        elif name in block.blocks and isinstance(each, list):
            value[name] = [_known(block.blocks[name].block, inner) for inner in each]
        elif name in block.blocks:
            value[name] = _known(block.blocks[name].block, each)
    return value


def _unpack(dynamic: bytes) -> Any:
    packed, plain = field(dynamic, 1), field(dynamic, 2)
    return msgpack.unpackb(packed, raw=False, strict_map_key=False) if packed else json.loads(plain or b"null")


def _dynamic(value: Any) -> Message:
    return [(1, msgpack.packb(value))]


class Provider(grpc.GenericRpcHandler):  # type: ignore[misc]
    """One provider's server."""

    def __init__(self, source: Source, resources: set[str], data: set[str]) -> None:
        self.own = source.block("provider") or Block()
        self.resources = {name: block for name in resources if (block := source.block(name)) is not None}
        self.data = {name: block for name in data if (block := source.block(name, data=True)) is not None}
        self.methods: dict[str, Callable[[bytes], Message]] = {
            "GetSchema": self._schema,
            "PrepareProviderConfig": lambda request: [(1, _dynamic(_unpack(field(request, 1))))],
            "ValidateResourceTypeConfig": lambda request: [],
            "ValidateDataSourceConfig": lambda request: [],
            "Configure": lambda request: [],
            "PlanResourceChange": self._plan,
            "ApplyResourceChange": self._apply,
            "ReadResource": lambda request: [(1, _dynamic(_unpack(field(request, 2))))],
            "UpgradeResourceState": lambda request: [(1, _dynamic(json.loads(field(field(request, 3), 1))))],
            "ReadDataSource": self._read,
            "Stop": lambda request: [],
        }
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
        self.server.add_generic_rpc_handlers((self,))
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method; a method that is not here is told as not implemented."""
        service, _, method = handler_call_details.method.strip("/").partition("/")
        if service != "tfplugin5.Provider" or method not in self.methods:
            return None
        answer = self.methods[method]
        return grpc.unary_unary_rpc_method_handler(lambda request, context: encode(answer(request)))

    def stop(self) -> None:
        """Stops serving."""
        self.server.stop(None)

    def reattach(self) -> dict[str, Any]:
        """What TF_REATTACH_PROVIDERS says of this server."""
        return {
            "Protocol": "grpc",
            "ProtocolVersion": 5,
            "Pid": os.getpid(),
            "Test": True,
            "Addr": {"Network": "tcp", "String": f"127.0.0.1:{self.port}"},
        }

    def _schema(self, _: bytes) -> Message:
        maps = [(2, self.resources), (3, self.data)]
        entries = [
            (n, [(1, name), (2, _schema_message(block))]) for n, blocks in maps for name, block in blocks.items()
        ]
        return [(1, _schema_message(self.own)), *entries]

    def _plan(self, request: bytes) -> Message:
        block = self.resources[field(request, 1).decode()]
        return [(1, _dynamic(_complete(block, _unpack(field(request, 3)), known=False)))]

    def _apply(self, request: bytes) -> Message:
        block = self.resources[field(request, 1).decode()]
        return [(1, _dynamic(_known(block, _unpack(field(request, 3)))))]

    def _read(self, request: bytes) -> Message:
        block = self.data[field(request, 1).decode()]
        return [(1, _dynamic(_complete(block, _unpack(field(request, 2)), known=True)))]
