#!/usr/bin/env python3
"""Draws docs/topology.svg: the way of a packet from an office machine to a Pod.

    topology.py            writes topology.svg beside this file
    topology.py --check    says whether the file there is what this would write

No drawing program is needed. Colours follow the reader's light or dark setting.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 1120, 430
STYLE = """
  text { font-family: ui-sans-serif, system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; font-size: 13px; fill: #1f2328; }
  .address { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 12px; fill: #59636e; }
  .zone-name { font-size: 14px; font-weight: 600; fill: #59636e; }
  .name { font-weight: 600; }
  .small { font-size: 12px; fill: #59636e; }
  .zone { fill: #f6f8fa; stroke: #d1d9e0; }
  .box { fill: #ffffff; stroke: #818b98; stroke-width: 1.2; }
  .ours { fill: #ddf4ff; stroke: #0969da; stroke-width: 1.6; }
  .pod { fill: #dafbe1; stroke: #1a7f37; stroke-width: 1.2; }
  .wire { fill: none; stroke: #818b98; stroke-width: 1.6; }
  .cloud { fill: none; stroke: #818b98; stroke-width: 1.6; stroke-dasharray: 4 4; }
  .tunnel { fill: none; stroke: #0969da; stroke-width: 7; stroke-opacity: 0.25; stroke-linecap: round; stroke-linejoin: round; }
  .tunnel-line { fill: none; stroke: #0969da; stroke-width: 1.6; stroke-linejoin: round; }
  .tunnel-name { fill: #0550ae; font-weight: 600; }
  .answer { fill: #1a7f37; }
  .head { fill: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .address, .zone-name, .small { fill: #9198a1; }
    .zone { fill: #151b23; stroke: #3d444d; }
    .box { fill: #212830; stroke: #656c76; }
    .ours { fill: #121d2f; stroke: #4493f8; }
    .pod { fill: #12261e; stroke: #3fb950; }
    .wire, .cloud { stroke: #656c76; }
    .tunnel, .tunnel-line { stroke: #4493f8; }
    .tunnel-name { fill: #79c0ff; }
    .answer { fill: #3fb950; }
    .head { fill: #4493f8; }
  }
"""


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "middle") -> str:
    """One line of text."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, kind: str = "box", radius: int = 6) -> str:
    """A rectangle."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius}" class="{kind}"/>'


def machine(x: float, y: float, width: float, height: float, lines: list[tuple[str, str]], kind: str = "box") -> str:
    """A box with lines of text in its middle."""
    top = y + height / 2 - (len(lines) - 1) * 8.5 + 4.5
    return box(x, y, width, height, kind) + "".join(
        text(x + width / 2, top + 17 * row, words, style) for row, (words, style) in enumerate(lines)
    )


def path(points: Sequence[tuple[float, float]], kind: str) -> str:
    """A line through points."""
    start, *rest = points
    return f'<path d="M{start[0]:g} {start[1]:g}{"".join(f" L{x:g} {y:g}" for x, y in rest)}" class="{kind}"/>'


def arrow(x: float, y: float) -> str:
    """The head of an arrow that points up."""
    return f'<path d="M{x:g} {y:g} l-6 11 h12 z" class="head"/>'


def zones() -> list[str]:
    """The two networks."""
    return [
        box(12, 12, 286, 268, "zone", 10),
        text(28, 36, "Office LAN", "zone-name", "start"),
        text(282, 36, "192.168.10.0/24", "address", "end"),
        box(598, 12, 510, 268, "zone", 10),
        text(614, 36, "Cloud VPC", "zone-name", "start"),
        text(1092, 36, "Services 172.16.0.0/16, Pods 10.0.2.0/24", "address", "end"),
    ]


def wires() -> list[str]:
    """What is plugged into what."""
    middle = 150
    return [
        path([(120, 102), (146, 102), (146, middle), (166, middle)], "wire"),
        path([(120, 198), (146, 198), (146, middle)], "wire"),
        path([(282, middle), (322, middle)], "wire"),
        path([(390, middle), (506, middle)], "cloud"),
        path([(570, middle), (616, middle)], "wire"),
        path([(806, middle), (836, middle)], "wire"),
        path([(904, middle), (924, middle), (924, 102), (944, 102)], "wire"),
        path([(924, middle), (924, 218), (944, 218)], "wire"),
    ]


def machines() -> list[str]:
    """Everything that has an address."""
    return [
        machine(28, 74, 92, 56, [("client", "name"), (".10.21", "address")]),
        machine(28, 170, 92, 56, [("printer", "name"), (".10.40", "address")]),
        machine(166, 112, 116, 76, [("office", "name"), ("endpoint", "name"), (".10.1", "address")], "ours"),
        machine(322, 120, 68, 60, [("carrier", "name"), ("NAT", "name")]),
        text(448, 138, "internet", "name"),
        machine(506, 120, 64, 60, [("1:1", "name"), ("NAT", "name")]),
        box(616, 64, 190, 172, "ours"),
        text(711, 88, "cloud endpoint", "name"),
        text(711, 106, "10.0.3.10", "address"),
        box(628, 118, 166, 104, "box", 4),
        text(711, 138, "Service → Pod", "name"),
        text(711, 160, "172.16.0.33:3306", "address"),
        text(711, 179, "↓", "answer"),
        text(711, 198, "10.0.2.22:3306", "address"),
        text(711, 214, "client's address kept", "small"),
        machine(836, 120, 68, 60, [("VPC", "name"), ("router", "name")]),
        box(944, 56, 148, 92),
        text(1018, 76, "node 1", "name"),
        machine(958, 86, 120, 50, [("Pod nginx", ""), ("10.0.2.21", "address")], "pod"),
        box(944, 172, 148, 92),
        text(1018, 192, "node 2", "name"),
        machine(958, 202, 120, 50, [("Pod mysql", ""), ("10.0.2.22", "address")], "pod"),
    ]


def tunnel() -> list[str]:
    """The tunnel, below everything that it passes."""
    way = [(224, 194), (224, 318), (711, 318), (711, 242)]
    return [
        path(way, "tunnel"),
        path(way, "tunnel-line"),
        arrow(224, 189),
        arrow(711, 237),
        text(467, 306, "IKEv2 and ESP in UDP 4500, through both NATs", "tunnel-name"),
    ]


def legend() -> list[str]:
    """A packet on its way, in words."""
    columns = [
        (28, "on the office LAN", "192.168.10.21 → 172.16.0.33:3306"),
        (346, "on the internet", "sealed in UDP; nothing else to be seen"),
        (664, "in the VPC", "192.168.10.21 → 10.0.2.22:3306, and back the same way"),
    ]
    found = [path([(12, 352), (1108, 352)], "wire")]
    for x, where, packet in columns:
        found += [text(x, 378, where, "name", "start"), text(x, 400, packet, "address", "start")]
    return found


def draw() -> str:
    """The whole picture."""
    title = "An office LAN and a cloud VPC joined by a tunnel; the cloud endpoint translates Service addresses to Pods"
    parts = [*zones(), *wires(), *machines(), *tunnel(), *legend()]
    return (
        "<!-- Made by docs/topology.py; change that, not this. -->\n"
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n" + "\n".join(parts) + "\n</svg>\n"
    )


def main() -> int:
    """Writes or checks."""
    file = Path(__file__).with_suffix(".svg")
    if sys.argv[1:] == ["--check"]:
        same = file.exists() and file.read_text() == draw()
        print(
            "docs/topology.svg is what its source makes" if same else "docs/topology.svg is old: run docs/topology.py"
        )
        return 0 if same else 1
    file.write_text(draw())
    return 0


if __name__ == "__main__":
    sys.exit(main())
