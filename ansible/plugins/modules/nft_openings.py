#!/usr/bin/python
# -*- coding: utf-8 -*-
# Module: lets a tunnel through nftables rules that others wrote, without touching theirs.
"""Puts accepting rules in front of the base chains that could drop, and into a file that is loaded with the others."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nft_openings
short_description: Lets a tunnel through nftables rules that others wrote
version_added: 1.0.0
author:
  - Skybridge maintainers (@skybridge)
description:
  - In nftables a packet must be accepted by every base chain that it meets, so an opening must stand in the chain that would drop.
    A table of our own could not let anything through.
  - In front of each base chain of the hooks C(input) and C(forward) that may drop, this puts its rules, all with the same comment
    in front. Nothing without that comment is ever changed and nothing is flushed. All changes are one transaction.
  - The same rules are written into a file, which the main file includes, so that they are there after a restart.
  - Chains of firewalld, of the tables in O(skip_tables), and those that iptables made (names in capital letters) are left out.
options:
  state:
    description: Whether the openings are there.
    type: str
    choices: [present, absent]
    default: present
  comment:
    description: Begins the comment of each rule and tells which are ours.
    type: str
    default: skybridge
  input:
    description: Rules for what comes in for this machine, each as nftables writes it, without the verdict.
    type: list
    elements: str
    default: []
  forward:
    description: Rules for what passes through this machine, without the verdict.
    type: list
    elements: str
    default: []
  file:
    description: The file that is written.
    type: path
    required: true
  main:
    description: The file that the system loads at boot. It gets one line, which includes O(file). Left alone where it does not exist.
    type: path
    required: true
  skip_tables:
    description: Names of tables that are left alone.
    type: list
    elements: str
    default: [firewalld, skybridge]
attributes:
  check_mode:
    description: Says what would change and changes nothing.
    support: full
  diff_mode:
    description: Shows the rules before and after.
    support: full
"""

EXAMPLES = r"""
- name: IKE may come in
  skybridge.endpoint.nft_openings:
    input: ["udp dport { 500, 4500 }"]
    forward: ['iifname "skybridge0"', 'oifname "skybridge0"']
    file: /etc/nftables.d/skybridge.nft
    main: /etc/nftables.conf
"""

RETURN = r"""
chains:
  description: The chains that have openings, as family, table and name.
  type: list
  elements: str
  returned: always
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule

MARK = "# Skybridge: openings in the chains above"


def listed(module, *what):
    """What nft lists, as a list of objects."""
    code, out, err = module.run_command(["nft", "-j", *what])
    if code:
        module.fail_json(msg="nft cannot list %s: %s" % (" ".join(what), err.strip()))
    return json.loads(out)["nftables"]


def may_drop(rules, policy):
    """Whether a chain may drop anything: its policy, or a rule with a verdict that is not accept."""
    if policy == "drop":
        return True
    verdicts = {"drop", "reject", "jump", "goto", "queue"}
    text = [key for rule in rules for expression in rule.get("expr", []) for key in expression]
    return bool(verdicts & set(text)) or any("vmap" in key for key in text)


def chains_of(module, hooks, skip):
    """Base chains of the hooks, each with its rules."""
    found = []
    for entry in listed(module, "list", "chains"):
        chain = entry.get("chain", {})
        if chain.get("hook") not in hooks or chain.get("type") != "filter" or chain["table"] in skip:
            continue
        if chain["family"] not in ("ip", "ip6", "inet") or chain["name"].isupper():
            continue
        place = (chain["family"], chain["table"], chain["name"])
        rules = [one["rule"] for one in listed(module, "-a", "list", "chain", *place) if "rule" in one]
        found.append((place, chain["hook"], chain.get("policy"), rules))
    return found


def ours(rules, comment):
    """The rules with our comment."""
    return [rule for rule in rules if str(rule.get("comment", "")).split(":")[0] == comment]


def quoted(text):
    """A comment as nft reads it; quotes of the rule would end it."""
    return '"%s"' % text.replace('"', "'")


def plan(module):
    """What each chain has and shall have: (place, old rules, new comments and expressions)."""
    params = module.params
    result = []
    for place, hook, policy, rules in chains_of(module, ("input", "forward"), params["skip_tables"]):
        mine = ours(rules, params["comment"])
        others = [rule for rule in rules if rule not in mine]
        wanted = params[hook] if params["state"] == "present" and may_drop(others, policy) else []
        result.append((place, mine, ["%s accept comment %s" % (one, quoted("%s: %s" % (params["comment"], one))) for one in wanted]))
    return result


def have(rules):
    """The comments of rules, which say what they are."""
    return sorted(rule["comment"] for rule in rules)


def want(rules):
    """The same of rules that shall be."""
    return sorted(rule.split(" comment ", 1)[1].strip('"') for rule in rules)


def file_text(chains):
    """The file: `add` says nothing where table and chain exist, and keeps the load from failing where they do not."""
    lines = ["# Openings for Skybridge in chains of others: written by Ansible, loaded behind the rules that they open."]
    for (family, table, chain), dummy, rules in chains:
        if rules:
            lines += ["add table %s %s" % (family, table), "add chain %s %s %s" % (family, table, chain)]
            lines += ["insert rule %s %s %s %s" % (family, table, chain, rule) for rule in reversed(rules)]
    return "\n".join(lines) + "\n" if len(lines) > 1 else ""


def read(path):
    """A file's text; nothing where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def write(module, path, text):
    """Replaces a file whole, and keeps its mode."""
    if not text:
        if os.path.exists(path):
            os.remove(path)
            try:
                os.rmdir(os.path.dirname(path))
            except OSError:
                pass  # Others have files there.
        return
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    beside = path + ".skybridge-new"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(beside, os.stat(path).st_mode & 0o7777 if os.path.exists(path) else 0o644)
    module.atomic_move(beside, path)


def with_include(text, path, present):
    """The main file with or without our line."""
    line = 'include "%s"' % path
    lines = [one for one in text.splitlines() if one not in (MARK, line)]
    if present:
        lines += [MARK, line]
    return "\n".join(lines) + "\n" if lines else ""


def transaction(chains):
    """Commands that take our old rules away and put the new ones in front, for the chains that differ."""
    commands = []
    for (family, table, chain), mine, rules in chains:
        if have(mine) == want(rules):
            continue
        commands += ["delete rule %s %s %s handle %d" % (family, table, chain, rule["handle"]) for rule in mine]
        commands += ["insert rule %s %s %s %s" % (family, table, chain, rule) for rule in reversed(rules)]
    return "\n".join(commands) + "\n" if commands else ""


def shown(chains, rules_of):
    """Rules for a diff."""
    return "".join("%s %s\n" % (" ".join(one[0]), rule) for one in chains for rule in rules_of(one))


def main():
    """Compares, and changes what differs."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "comment": {"type": "str", "default": "skybridge"},
            "input": {"type": "list", "elements": "str", "default": []},
            "forward": {"type": "list", "elements": "str", "default": []},
            "file": {"type": "path", "required": True},
            "main": {"type": "path", "required": True},
            "skip_tables": {"type": "list", "elements": "str", "default": ["firewalld", "skybridge"]},
        },
        supports_check_mode=True,
    )
    params = module.params
    chains = plan(module)
    commands = transaction(chains)
    text = file_text(chains)
    main_before = read(params["main"])
    main_after = with_include(main_before, params["file"], bool(text)) if main_before else main_before
    file_before = read(params["file"])
    if main_before.split() == main_after.split():
        main_after = main_before
    changed = bool(commands) or file_before != text or main_before != main_after
    if changed and not module.check_mode:
        if commands:
            code, dummy, err = module.run_command(["nft", "-f", "-"], data=commands)
            if code:
                module.fail_json(msg="nft refuses the openings: %s" % err.strip(), commands=commands)
        # The file before the line that names it, and the other way round when it goes.
        steps = [(params["file"], file_before, text), (params["main"], main_before, main_after)]
        for path, before, after in steps if text else reversed(steps):
            if before != after:
                write(module, path, after)
    module.exit_json(
        changed=changed,
        chains=[" ".join(place) for place, dummy, rules in chains if rules],
        diff=[
            {
                "before_header": "nftables",
                "after_header": "nftables",
                "before": shown(chains, lambda one: have(one[1])),
                "after": shown(chains, lambda one: want(one[2])),
            },
            {"before_header": params["main"], "after_header": params["main"], "before": main_before, "after": main_after},
        ],
    )


if __name__ == "__main__":
    main()
