"""Plots as SVG: bars on a logarithmic scale, readable on a light and on a dark page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from bench import servers
from bench.records import Missing, Record, Spread

WIDTH, LABELS, NUMBERS = 760, 220, 70  # of the picture, and what its bars leave to labels and numbers
ROW, HEADING, MARGIN = 24, 46, 14
STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 } .paper { fill: #ffffff } .grid { stroke: #d0d7de }
  .ours { fill: #1f7a4d } .peer { fill: #6e7f91 } .probe { fill: #c3cad3 } .spread { stroke: #1f2328 }
  .small { font-size: 11px } .heading { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .paper { fill: #0d1117 } .grid { stroke: #30363d }
    .ours { fill: #3fb97c } .peer { fill: #8b98a8 } .probe { fill: #4a5561 } .spread { stroke: #e6edf3 }
  }
"""


@dataclass(frozen=True, slots=True)
class Bar:
    """kind  "ours", "peer" or "probe" """

    label: str
    found: Spread
    kind: str


@dataclass(frozen=True, slots=True)
class Panel:
    heading: str
    bars: list[Bar]


def plots(records: Mapping[str, Record]) -> dict[str, str]:
    """Return the plots by name, of what was measured."""
    found = {}
    if record := records.get("fanout"):
        cost, speed = "server CPU per delivery in µs, less is better", "deliveries per second, more is better"
        panels = [Panel(speed, bars(record, "deliveries_per_s")), Panel(cost, bars(record, "cpu_us"))]
        found["fanout"] = svg(f"{record.work.title} (logarithmic scales)", panels)
    if record := records.get("growth"):
        found["growth"] = svg(
            "Server CPU per delivery in µs, by the number of sockets (logarithmic scales)", growth(record)
        )
    return found


def bars(record: Record, path: str) -> list[Bar]:
    found = []
    for case in record.work.cases:
        try:
            found.append(Bar(case.label, record.spread(case.label, path), kind(case.server)))
        except Missing:
            continue
    return sorted(found, key=lambda bar: bar.found.middle, reverse=path.endswith("_per_s"))


def growth(record: Record) -> list[Panel]:
    every = bars(record, "cpu_us")
    by_server = {server: [bar for bar in every if bar.label.startswith(f"{server}, ")] for server in names(record)}
    return [Panel(server, sorted(found, key=size)) for server, found in by_server.items()]


def names(record: Record) -> list[str]:
    return list(dict.fromkeys(case.server.name for case in record.work.cases))


def size(bar: Bar) -> int:
    return int(bar.label.rpartition(", ")[2].replace(",", ""))


def kind(server: servers.Server) -> str:
    return "probe" if server.is_probe else "ours" if server.name.startswith("realtime") else "peer"


# Drawing


def svg(title: str, panels: list[Panel]) -> str:
    panels = [panel for panel in panels if panel.bars]
    height = MARGIN * 2 + 24 + sum(HEADING + ROW * len(panel.bars) for panel in panels)
    parts = [f'<rect class="paper" width="{WIDTH}" height="{height}"/>', text(MARGIN, MARGIN + 14, title, "heading")]
    top = MARGIN + 24
    scales = [(min(bar.found.low for bar in panel.bars), max(bar.found.high for bar in panel.bars)) for panel in panels]
    for panel, scale in zip(panels, scales, strict=True):
        parts += drawn(panel, top, *scale)
        top += HEADING + ROW * len(panel.bars)
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    return "\n".join([opening, f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>", *parts, "</svg>", ""])


def drawn(panel: Panel, top: int, least: float, most: float) -> list[str]:
    """Return the panel's parts. A bar's length is the logarithm of its value: from a tenth of the power below."""
    low, high = math.floor(math.log10(max(least, 1e-6))), math.ceil(math.log10(max(most, 1e-6)))

    def x(value: float) -> float:
        room = WIDTH - LABELS - NUMBERS - MARGIN
        return LABELS + room * (math.log10(max(value, 10.0**low)) - low) / max(1, high - low)

    bottom = top + HEADING + ROW * len(panel.bars) - 6
    parts = [text(MARGIN, top + 16, panel.heading, "small")]
    for power in range(low, high + 1):
        at = x(10.0**power)
        parts.append(line("grid", at, top + 36, at, bottom))
        parts.append(text(at, top + 32, f"{10**power:,}" if power >= 0 else f"{10.0**power:g}", "small", "middle"))
    for index, bar in enumerate(panel.bars):
        y = top + HEADING + ROW * index
        width = max(1.0, x(bar.found.middle) - LABELS)
        parts += [
            text(LABELS - 8, y + 10, bar.label, "", "end"),
            f'<rect class="{bar.kind}" x="{LABELS}" y="{y - 3}" width="{width:.1f}" height="16" rx="2"/>',
            line("spread", x(bar.found.low), y + 5, x(bar.found.high), y + 5),
            text(x(bar.found.high) + 6, y + 10, shown(bar.found.middle), ""),
        ]
    return parts


def line(css: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def text(x: float, y: float, words: str, css: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(words)}</text>'


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
