"""What was measured, as it is kept: one JSON file for each work, with every round and where it was run."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.places import PARTIAL, PYTHON, RESULTS, ROOT
from bench.works import WORKS, Work

ROUNDS = 3  # of a whole run; fewer are not worth to be kept

Found = dict[str, Any]  # what load.py printed; {"error": …} where it did not come to that


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some rounds, and the lowest and the highest of them."""

    middle: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


class Record:
    """One work's results.

    cases  by label, a list of what was found, round by round
    """

    def __init__(self, work: Work, where: Found, cases: dict[str, list[Found]]) -> None:
        self.work = work
        self.where = where
        self.cases = cases

    @property
    def rounds(self) -> int:
        return min(map(len, self.cases.values()), default=0)

    @property
    def is_complete(self) -> bool:
        """Whether every case of the work came through as many rounds as it takes."""
        found = [round for rounds in self.cases.values() for round in rounds]
        is_whole = self.cases.keys() == {case.label for case in self.work.cases} and self.rounds >= ROUNDS
        return is_whole and not any("error" in one for one in found)

    def values(self, label: str, path: str) -> list[float]:
        """Return a figure in each round, as in values("node ws", "last_ms.p99"). Raises Missing."""
        rounds = self.cases.get(label, [])
        if not rounds or any("error" in found for found in rounds):
            raise Missing(f"{label} was not measured")
        return [at(found, path) for found in rounds]

    def spread(self, label: str, path: str) -> Spread:
        return Spread.of(self.values(label, path))

    def ratio(self, label: str, other: str, path: str) -> Spread:
        """Return how many times the other's figure it is, in each round: they ran one after the other."""
        pairs = zip(self.values(label, path), self.values(other, path), strict=True)
        return Spread.of([value / base if base else float("inf") for value, base in pairs])

    def total(self, label: str, path: str) -> int:
        return int(sum(self.values(label, path)))

    def write(self) -> Path:
        """Keep it; beside the results, if it is not complete."""
        folder = RESULTS if self.is_complete else PARTIAL
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.work.name}.json"
        body = {"work": self.work.name, "title": self.work.title, **self.where, "cases": self.cases}
        path.write_text(json.dumps(body, indent=1) + "\n")
        return path


class Missing(Exception):
    """A figure needs what was not measured."""


def at(found: Found, path: str) -> Any:
    """Return what is at "last_ms.p99" or "server_cpu_of_each.0". Raises Missing."""
    value: Any = found
    for key in path.split("."):
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, TypeError) as error:
            raise Missing(f"{path} was not measured") from error
    return value


def read(folder: Path = RESULTS) -> dict[str, Record]:
    """Return what is kept, by the work's name."""
    return {work.name: found for work in WORKS.values() if (found := read_one(folder / f"{work.name}.json", work))}


def read_one(path: Path, work: Work) -> Record | None:
    if not path.exists():
        return None
    body = json.loads(path.read_text())
    where = {key: body[key] for key in body if key not in ("work", "title", "cases")}
    return Record(work, where, body["cases"])


# Where it was run


def surroundings(engine: str) -> Found:
    """Return the date, the machine and every version that matters; `engine` is the engine's."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": said(["git", "describe", "--always", "--dirty"]),
        "machine": {
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)),
            "kernel": platform.release(),
            "load_before": [round(value, 2) for value in os.getloadavg()],
        },
        "versions": {
            "python": platform.python_version(),
            "engine": engine,
            "node": said(["node", "--version"]),
            "gcc": said(["gcc", "-dumpfullversion"]),
            **packages(),
        },
    }


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def packages() -> dict[str, str]:
    listed = said([str(PYTHON), "-m", "pip", "list", "--format=json", "--disable-pip-version-check"])
    wanted = {"Django", "channels", "channels_redis", "daphne", "uvicorn", "uvloop", "websockets", "redis", "msgspec"}
    found = {one["name"]: one["version"] for one in json.loads(listed or "[]")}
    node = json.loads((ROOT / "bench" / "peers" / "package.json").read_text())["dependencies"]
    return {name: found[name] for name in sorted(found) if name in wanted | {"python-socketio"}} | node


def said(command: list[str]) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
