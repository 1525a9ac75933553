# -*- coding: utf-8 -*-
# Filters: what the office LAN has to be told about the way through the tunnel.
"""Prefixes behind a configuration's peers, and DHCP option 121 (RFC 3442) in the forms that servers read."""

from __future__ import annotations

import ipaddress
from typing import Any, Iterable

from ansible.errors import AnsibleFilterError


def _networks(selector: str) -> list[Any]:
    """The prefixes of a selector: `10.0.0.0/8`, an address or a range, without its protocol and port."""
    text = str(selector).split("[", 1)[0].strip()
    if text.startswith("cluster:"):
        return []
    try:
        if "-" in text:
            first, last = (ipaddress.ip_address(part.strip()) for part in text.split("-", 1))
            return list(ipaddress.summarize_address_range(first, last))
        return [ipaddress.ip_network(text, strict=False)]
    except (ValueError, TypeError) as error:
        raise AnsibleFilterError("%r is no prefix, address or range: %s" % (selector, error)) from error


def remote_networks(peers: dict[str, Any], version: int = 0) -> list[str]:
    """What lies behind all peers: each child's `routes`, else its `remote`; collapsed and in order."""
    found: list[Any] = []
    for peer in (peers or {}).values():
        for child in (peer.get("children") or {}).values():
            for selector in child.get("routes", child.get("remote", [])):
                found += _networks(selector)
    result: list[str] = []
    for wanted in (4, 6):
        if version in (0, wanted):
            result += [str(one) for one in ipaddress.collapse_addresses(n for n in found if n.version == wanted)]
    return result


def _classless(routes: Iterable[tuple[str, str]]) -> bytes:
    """RFC 3442: for each route the prefix length, the prefix's significant octets, and the router."""
    out = b""
    for destination, router in routes:
        network = ipaddress.IPv4Network(destination)
        significant = (network.prefixlen + 7) // 8
        out += bytes([network.prefixlen]) + network.network_address.packed[:significant]
        out += ipaddress.IPv4Address(router).packed
    return out


def _pairs(networks: Iterable[str], gateway: str, router: str) -> list[tuple[str, str]]:
    try:
        pairs = [(str(ipaddress.IPv4Network(one)), str(ipaddress.IPv4Address(gateway))) for one in networks]
        # A client that takes option 121 ignores the router option, so the default route is in it, too.
        return [("0.0.0.0/0", str(ipaddress.IPv4Address(router or gateway)))] + pairs
    except ValueError as error:
        raise AnsibleFilterError("option 121: %s" % error) from error


def classless_routes(networks: Iterable[str], gateway: str, router: str = "") -> list[str]:
    """`DESTINATION,ROUTER` for each route, the default route first, as dnsmasq reads option 121."""
    return ["%s,%s" % pair for pair in _pairs(networks, gateway, router)]


def classless_hex(networks: Iterable[str], gateway: str, router: str = "") -> str:
    """The option's octets in hexadecimal; an error where they do not fit into one option."""
    octets = _classless(_pairs(networks, gateway, router))
    if len(octets) > 255:
        raise AnsibleFilterError("option 121 would have %d octets of at most 255: list fewer, larger prefixes in "
                                 "skybridge_lan_routes" % len(octets))
    return octets.hex().upper()


def netmask(network: str) -> str:
    """`172.16.0.0 255.255.0.0`, as many routers want it."""
    one = ipaddress.IPv4Network(str(network))
    return "%s %s" % (one.network_address, one.netmask)


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Any]:
        """The filters by their names."""
        return {
            "remote_networks": remote_networks,
            "classless_routes": classless_routes,
            "classless_hex": classless_hex,
            "netmask": netmask,
        }
