"""The tables and plots of what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import plot
from bench.figures import FIGURES, number, told
from bench.records import Missing, Record
from bench.works import WORKS

# What is shown of each kind of load: a title, and where the figure is.
OPENING = (("connects+joins/s", "connects_per_s"), ("KiB per socket", "resident_kib_per_socket"))
USED = (("server CPU µs", "cpu_us"), ("engine CPU µs", "engine_cpu_us"))
BOOKS = (("lost", "lost"), ("doubled", "doubled"), ("out of order", "misordered"))
SHARES = (("server's core", "server_share"), ("client's core", "client_share"))
COLUMNS = {
    "fanout": (
        ("deliveries/s", "deliveries_per_s"),
        *USED,
        ("last p50 ms", "last_ms.p50"),
        ("last p99 ms", "last_ms.p99"),
        *SHARES,
        *BOOKS,
        *OPENING,
    ),
    "listen": (
        ("p50 ms", "delivery_ms.p50"),
        ("p99 ms", "delivery_ms.p99"),
        ("publishes/s", "published_per_s"),
        ("call p50 ms", "call_ms.p50"),
        ("call p99 ms", "call_ms.p99"),
        ("late p99 ms", "lag_ms.p99"),
        *SHARES,
        *BOOKS,
    ),
    "echo": (
        ("answers/s", "answers_per_s"),
        *USED,
        ("p50 ms", "answer_ms.p50"),
        ("p99 ms", "answer_ms.p99"),
        *SHARES,
        ("wrong", "wrong_answers"),
    ),
    "presence": (
        ("joins/s", "joins_per_s"),
        ("server CPU µs per join", "join_cpu_us"),
        ("diffs for all of them", "diffs"),
        ("server CPU µs: a diff", "track.cpu_us"),
        ("a leave", "untrack.cpu_us"),
        ("a broadcast", "broadcast.cpu_us"),
        ("diff: last p50 ms", "track.last_ms.p50"),
        ("diff: last p99 ms", "track.last_ms.p99"),
        ("leave: last p99 ms", "untrack.last_ms.p99"),
        ("broadcast: last p99 ms", "broadcast.last_ms.p99"),
        ("bytes of the whole", "state_bytes"),
        ("join until it is there, p50 ms", "state_ms.p50"),
        ("list p50 ms", "list_ms.p50"),
        *BOOKS,
    ),
    "idle": (
        *OPENING,
        ("server CPU µs per connect", "connect_cpu_us"),
        ("join p99 ms", "join_ms.p99"),
        ("client's core", "connect_client_share"),
        ("ready", "ready"),
    ),
}
SUMS = {path for _, path in BOOKS} | {"wrong_answers"}  # over all rounds, where others are medians
HEAD = """# Measured

Written by `make bench`; `docs/benchmarks.md` says what is measured, how, and what it does not tell. Medians of the
rounds, with the lowest and the highest; a ratio is taken within each round. Every round is in the JSON files beside.
"""


def table(records: Mapping[str, Record]) -> str:
    """Return it all in Markdown: the figures to reach, then every work."""
    return "\n".join([figures(records), *(details(records[name]) for name in WORKS if name in records)])


def write(records: Mapping[str, Record], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(f"{HEAD}\n{table(records)}\n")
    for name, svg in plot.plots(records).items():
        (folder / f"{name}.svg").write_text(svg)


def figures(records: Mapping[str, Record]) -> str:
    rows = []
    for figure in FIGURES:
        verdict = figure.verdict(records)
        said = (
            ["not measured", "-"] if verdict is None else [verdict.measured, "yes" if verdict.is_reached else "**no**"]
        )
        rows.append([figure.what, figure.reach, *said])
    return markdown(["work", "figure to reach", "measured", "reached"], rows)


def details(record: Record) -> str:
    columns = COLUMNS[record.work.load.split()[0]]
    rows = [[label, *(cell(record, label, path) for _, path in columns)] for label in record.cases]
    heading = f"\n## {record.work.title[0].upper()}{record.work.title[1:]}\n\n{origin(record)}\n"
    return f"{heading}\n{markdown(['server', *(title for title, _ in columns)], rows)}"


def cell(record: Record, label: str, path: str) -> str:
    try:
        if path in SUMS:
            return f"{record.total(label, path):,}"
        found = record.spread(label, path)
    except Missing:
        return "-"
    if path.endswith("_share"):
        return f"{found.middle:.0%}"
    return number(found.middle) if found.low == found.high else told(found)


def origin(record: Record) -> str:
    """Return where and when it was measured, in a line."""
    machine: dict[str, Any] = record.where["machine"]
    versions: dict[str, str] = record.where["versions"]
    rounds = "1 round" if record.rounds == 1 else f"{record.rounds} rounds"
    return (
        f"{rounds} on {record.where['date'][:10]}, {machine['processor']}, {machine['cores']} cores, "
        f"load {machine['load_before'][0]} before; Python {versions['python']}, {versions['engine']}, "
        f"node {versions['node']}."
    )


def markdown(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
