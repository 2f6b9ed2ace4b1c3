"""Silence: which nodes have been quiet for so long, by the leader's own clock, that they are dead."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Look:
    seen: int
    quiet: float = 0.0


class Silence(Generic[K]):
    """Adds up how long each node's last sign of life has stayed the same. No clock but the caller's.

    patience  seconds of silence after which a node is dead
    step      most seconds that one look may add: a leader that slept knows no more of the others than before

    The engine's clock plays no part, and may jump. A new leader, and one that had lost the engine, begins anew.
    """

    def __init__(self, patience: float, step: float) -> None:
        self._patience = patience
        self._step = step
        self._looks: dict[K, _Look] = {}
        self._last: float | None = None

    def look(self, nodes: Iterable[tuple[K, int]], now: float) -> list[K]:
        """Take each node with its last sign of life, and return those that are dead. `now` is monotonic, in seconds."""
        passed = 0.0 if self._last is None else min(now - self._last, self._step)
        self._last = now
        before, self._looks = self._looks, {}
        for node, seen in nodes:
            known = before.get(node)
            self._looks[node] = _Look(seen, known.quiet + passed) if known and known.seen == seen else _Look(seen)
        return [node for node, look in self._looks.items() if look.seen < 0 or look.quiet >= self._patience]

    def forget(self) -> None:
        self._looks.clear()
        self._last = None
