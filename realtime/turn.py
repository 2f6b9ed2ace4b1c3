"""Turn: what is put off to the end of this turn of the loop, so that what is ready together goes together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

logger = logging.getLogger("realtime.node")


class Turn:
    """One per loop. Nothing waits longer than what the loop has at hand; what work puts off in turn goes with it.

    is_last  nothing else is put off: what comes now has nothing to wait for
    """

    __slots__ = ("_work", "is_last")

    def __init__(self) -> None:
        self._work: list[Callable[[], None]] = []
        self.is_last = False

    def put_off(self, work: Callable[[], None]) -> None:
        """Call `work` when all that is ready now has run."""
        if not self._work:
            asyncio.get_running_loop().call_soon(self.end)
        self._work.append(work)

    def end(self) -> None:
        left = self._work
        for number, work in enumerate(left, 1):  # it grows meanwhile
            self.is_last = number == len(left)
            try:
                work()
            except Exception:
                logger.exception("what was put off failed")
        self.is_last = False
        left.clear()
