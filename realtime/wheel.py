"""Wheel: one timer for all the sockets of a node."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

logger = logging.getLogger("realtime.node")

LATE = 1.0


class Watched(Protocol):
    def tick(self, now: float) -> None:
        """Look at the clock. `now` is the loop's time, in seconds."""

    async def drain(self) -> None:
        """End, because the server does."""


class Wheel:
    """Calls every member once in `period` seconds; no timer runs while there is none."""

    def __init__(self, period: float = 1.0) -> None:
        self._period = period
        self._members: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def add(self, member: Watched) -> None:
        self._members.add(member)
        if self._timer is None:
            self._arm()

    def discard(self, member: Watched) -> None:
        self._members.discard(member)
        if not self._members and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def members(self) -> list[Watched]:
        return list(self._members)

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self._period
        self._timer = loop.call_later(self._period, self._turn)

    def _turn(self) -> None:
        now = asyncio.get_running_loop().time()
        late = now - self._due
        self._arm()
        if late > LATE:
            # What the sockets have sent meanwhile has not been read yet: they are not the ones who were silent.
            logger.warning("something held up the event loop for %.1f s: is it a handler that blocks?", late)
            return
        for member in list(self._members):
            try:
                member.tick(now)
            except Exception:  # the others are looked at all the same
                logger.exception("could not look at a socket")
