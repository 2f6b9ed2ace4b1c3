"""Echoes: broadcasts of this node that are to come back to it over the bus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from itertools import chain
from typing import Any


class Sent:
    """A broadcast under way. `await sent` returns when it is through, or raises what kept it back.

    by  the subscriber that said it, if any: what it says next comes to its client right after that
    """

    __slots__ = ("_told", "by", "error", "is_done")

    def __init__(self, by: Any = None) -> None:
        self.by = by
        self.is_done = False
        self.error: BaseException | None = None
        self._told: list[Callable[[], None]] = []

    def settle(self, error: BaseException | None = None) -> None:
        """Take note that it is through, or has failed. What comes later is of no interest."""
        if not self.is_done:
            self.is_done, self.error = True, error
            for tell in self._told:
                tell()

    def then(self, tell: Callable[[], None]) -> None:
        """Call `tell` when it is done, in the same step."""
        if self.is_done:
            tell()
        else:
            self._told.append(tell)

    def __await__(self) -> Generator[Any, None, None]:
        if not self.is_done:
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._told.append(lambda: None if done.done() else done.set_result(None))
            yield from done
        if self.error is not None:
            raise self.error


class Echoes:
    """What is to be heard, by topic and mark. One timer for all; nothing runs while none is awaited.

    patience  seconds, after which one is taken for heard: the bus broke meanwhile, and whoever listens is told of that
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._awaited: dict[str, dict[str, Sent]] = {}
        self._old: list[Sent] = []  # those that were awaited when the timer last rang
        self._timer: asyncio.TimerHandle | None = None

    def expect(self, topic: str, mark: str, sent: Sent) -> None:
        self._awaited.setdefault(topic, {})[mark] = sent
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._patience, self._ring)

    def take(self, topic: str, mark: str) -> Sent | None:
        """Return what was sent with this mark; whoever takes it settles it."""
        awaited = self._awaited.get(topic)
        if awaited is None:
            return None
        found = awaited.pop(mark, None)
        if not awaited:
            del self._awaited[topic]
        return found

    def give_up(self, topic: str) -> None:
        """Wait no longer for those of a topic that is not heard any more."""
        for sent in self._awaited.pop(topic, {}).values():
            sent.settle()

    def close(self) -> None:
        for topic in list(self._awaited):
            self.give_up(topic)
        if self._timer is not None:
            self._timer.cancel()

    def _ring(self) -> None:
        """Settle those that were awaited already at the last ring."""
        for sent in self._old:
            sent.settle()
        awaited = {
            topic: left
            for topic, sents in self._awaited.items()
            if (left := {mark: sent for mark, sent in sents.items() if not sent.is_done})
        }
        self._awaited = awaited
        self._old = list(chain.from_iterable(sents.values() for sents in awaited.values()))
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._patience, self._ring) if self._old else None
