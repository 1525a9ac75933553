#!/usr/bin/python
# -*- coding: utf-8 -*-
# Module: asks a Service the way a client does, and says why it does not answer.
"""Connects by TCP, gets a page by HTTP, or asks a DNS server, from an address of choice, until a deadline."""

from __future__ import annotations

DOCUMENTATION = r"""
module: probe
short_description: Asks a Service the way a client does
version_added: 1.0.0
author:
  - Skybridge maintainers (@skybridge)
description:
  - Connects by TCP, gets a page by HTTP, or asks a DNS server, and tries again until it is answered or time is over.
  - It changes nothing, so it runs in check mode, too.
options:
  kind:
    description: How to ask.
    type: str
    choices: [tcp, http, dns]
    default: tcp
  address:
    description: Address of the Service, IPv4 or IPv6, or a name.
    type: str
    required: true
  port:
    description: Port. 80 for V(http) and 53 for V(dns) by default; V(tcp) needs one.
    type: int
  path:
    description: What to get by HTTP.
    type: str
    default: /
  host:
    description: The C(Host) header. The address by default.
    type: str
  status:
    description: The HTTP status that counts as an answer; any where it is 0.
    type: int
    default: 0
  query:
    description: The name to ask a DNS server for (type A).
    type: str
    default: kubernetes.default.svc.cluster.local
  source:
    description: Address to ask from. As the route says by default.
    type: str
  timeout:
    description: Seconds after which it is given up.
    type: int
    default: 30
attributes:
  check_mode:
    description: It changes nothing.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: The Service answers
  skybridge.endpoint.probe:
    address: 172.16.0.20
    port: 3306

- name: The cluster's DNS answers
  skybridge.endpoint.probe:
    kind: dns
    address: 172.16.0.10
"""

RETURN = r"""
answer:
  description: What came back, in words.
  type: str
  returned: success
attempts:
  description: How often it was asked.
  type: int
  returned: always
"""

import http.client
import os
import socket
import struct
import time

from ansible.module_utils.basic import AnsibleModule

ONE_TRY = 3.0
PAUSE = 0.5


class Unanswered(Exception):
    """Why one attempt failed."""


def address_of(target, port, kind):
    """Family and socket address of the target."""
    try:
        family, dummy, dummy, dummy, place = socket.getaddrinfo(target, port, type=kind)[0]
    except OSError as error:
        raise Unanswered("the name %s is not known: %s" % (target, error)) from error
    return family, place


def connect(params, patience):
    """A connected TCP socket."""
    family, place = address_of(params["address"], params["port"], socket.SOCK_STREAM)
    link = socket.socket(family, socket.SOCK_STREAM)
    try:
        link.settimeout(patience)
        if params["source"]:
            link.bind((params["source"], 0))
        link.connect(place)
    except OSError as error:
        link.close()
        raise Unanswered(str(error) or "timed out") from error
    return link


def ask_tcp(params, patience):
    """A connection that is accepted is an answer."""
    connect(params, patience).close()
    return "accepted the connection"


def ask_http(params, patience):
    """A status line is an answer."""
    page = http.client.HTTPConnection(params["address"], params["port"])
    page.sock = connect(params, patience)
    try:
        page.request("GET", params["path"], headers={"Host": params["host"] or params["address"], "Connection": "close"})
        reply = page.getresponse()
        if params["status"] and reply.status != params["status"]:
            raise Unanswered("HTTP status %d %s, not %d" % (reply.status, reply.reason, params["status"]))
        return "HTTP status %d %s" % (reply.status, reply.reason)
    except (OSError, http.client.HTTPException) as error:
        raise Unanswered("accepted the connection and then: %s" % (error or type(error).__name__)) from error
    finally:
        page.close()


def question(number, name):
    """A DNS query for an address."""
    labels = [label.encode("idna") for label in name.strip(".").split(".")]
    body = b"".join(struct.pack("B", len(label)) + label for label in labels)
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + body + b"\0" + struct.pack("!2H", 1, 1)


def ask_dns(params, patience):
    """Any reply with an address is an answer."""
    family, place = address_of(params["address"], params["port"], socket.SOCK_DGRAM)
    number = struct.unpack("!H", os.urandom(2))[0]
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        link.settimeout(patience)
        try:
            if params["source"]:
                link.bind((params["source"], 0))
            link.connect(place)
            link.send(question(number, params["query"]))
            reply = link.recv(4096)
        except OSError as error:
            raise Unanswered(str(error) or "timed out") from error
    if len(reply) < 12 or struct.unpack("!H", reply[:2])[0] != number:
        raise Unanswered("an answer that is none to the question")
    flags, dummy, answers = struct.unpack("!3H", reply[2:8])
    if flags & 0x000F or not answers:
        words = {0: "no address", 2: "server failure", 3: "no such name", 5: "refused"}
        raise Unanswered("%s: %s" % (params["query"], words.get(flags & 0x000F, "error %d" % (flags & 0x000F))))
    return "%s: %d records" % (params["query"], answers)


def main():
    """Asks until there is an answer or time is over."""
    module = AnsibleModule(
        argument_spec={
            "kind": {"type": "str", "choices": ["tcp", "http", "dns"], "default": "tcp"},
            "address": {"type": "str", "required": True},
            "port": {"type": "int"},
            "path": {"type": "str", "default": "/"},
            "host": {"type": "str"},
            "status": {"type": "int", "default": 0},
            "query": {"type": "str", "default": "kubernetes.default.svc.cluster.local"},
            "source": {"type": "str"},
            "timeout": {"type": "int", "default": 30},
        },
        required_if=[("kind", "tcp", ["port"])],
        supports_check_mode=True,
    )
    params = dict(module.params)
    params["port"] = params["port"] or {"http": 80, "dns": 53}[params["kind"]]
    ask = {"tcp": ask_tcp, "http": ask_http, "dns": ask_dns}[params["kind"]]
    deadline = time.monotonic() + params["timeout"]
    attempts = 0
    while True:
        attempts += 1
        try:
            module.exit_json(changed=False, answer=ask(params, ONE_TRY), attempts=attempts)
        except Unanswered as error:
            reason = str(error)
        if time.monotonic() + PAUSE >= deadline:
            break
        time.sleep(PAUSE)
    target = "%s port %d" % (params["address"], params["port"])
    module.fail_json(
        msg="%s does not answer by %s after %d attempts in %d s: %s"
        % (target, params["kind"], attempts, params["timeout"], reason),
        attempts=attempts,
    )


if __name__ == "__main__":
    main()
