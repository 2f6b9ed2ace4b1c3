"""What a server and the processes it started have used, as the kernel counts it."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
PARENT, USER, SYSTEM = 1, 11, 12  # fields of /proc/<pid>/stat after the name
RESIDENT = 1  # of statm


class Tree:
    """A process and all below it, looked up anew at each question."""

    def __init__(self, root: int) -> None:
        self._root = root

    def cpu(self) -> dict[int, float]:
        """Return the processor seconds of each process so far."""
        return {pid: (int(fields[USER]) + int(fields[SYSTEM])) / TICK for pid, fields in self._stats().items()}

    def resident(self) -> int:
        """Return the bytes in memory; what workers share is counted in each."""
        return sum(int(_read(pid, "statm").split()[RESIDENT]) * PAGE for pid in self._stats())

    def _stats(self) -> dict[int, list[str]]:
        everyone = {pid: fields for pid in _pids() if (fields := _read(pid, "stat").rpartition(")")[2].split())}
        children = defaultdict(list)
        for pid, fields in everyone.items():
            children[int(fields[PARENT])].append(pid)
        found, waiting = {}, [self._root]
        while waiting:
            pid = waiting.pop()
            if pid in everyone:
                found[pid] = everyone[pid]
                waiting += children[pid]
        return found


def used(before: dict[int, float], after: dict[int, float]) -> list[float]:
    """Return the seconds that each process used in between, the busiest first."""
    return sorted((seconds - before.get(pid, 0.0) for pid, seconds in after.items()), reverse=True)


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:  # it has just ended
        return ""
