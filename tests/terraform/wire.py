"""The little of protocol buffers that Terraform's plugin protocol needs: varints and length-delimited fields.

A message is a list of (field number, value), where a value is an int, bytes, text, or another such list.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Union

Value = Union[int, bytes, str, "Message"]
Message = Sequence[tuple[int, Any]]  # tuple[int, Value], which would have to name itself


def _varint(number: int) -> bytes:
    out = bytearray()
    while True:
        low, number = number & 0x7F, number >> 7
        out.append(low | (0x80 if number else 0))
        if not number:
            return bytes(out)


def encode(message: Message) -> bytes:
    """The message as octets."""
    out = bytearray()
    for field, value in message:
        if isinstance(value, int):
            out += _varint(field << 3) + _varint(int(value))
            continue
        octets = value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else encode(value)
        out += _varint(field << 3 | 2) + _varint(len(octets)) + octets
    return bytes(out)


def _read_varint(octets: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        octet = octets[at]
        number |= (octet & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not octet & 0x80:
            return number, at


def fields(octets: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Every field of a message."""
    at = 0
    while at < len(octets):
        key, at = _read_varint(octets, at)
        if key & 7 == 0:
            number, at = _read_varint(octets, at)
            yield key >> 3, number
        elif key & 7 == 2:
            length, at = _read_varint(octets, at)
            yield key >> 3, octets[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {key & 7} is not used by this protocol")


def field(octets: bytes, number: int) -> bytes:
    """A length-delimited field, empty if it is not there."""
    found = b""
    for key, value in fields(octets):
        if key == number and isinstance(value, bytes):
            found = value
    return found
