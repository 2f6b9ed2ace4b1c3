"""Wheel: one timer for all the sockets of a node."""

from __future__ import annotations

import asyncio
from typing import Protocol


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
        self._timer = asyncio.get_running_loop().call_later(self._period, self._turn)

    def _turn(self) -> None:
        self._arm()
        now = asyncio.get_running_loop().time()
        for member in list(self._members):
            member.tick(now)
