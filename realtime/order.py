"""Order: what one channel says, in the order in which it is said."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from .echoes import Sent

logger = logging.getLogger("realtime.channel")

Step: TypeAlias = Callable[[], Any]


class Order:
    """A step that follows a broadcast is taken when that one is through; whoever says it need not wait.

    So a reply comes after the broadcasts that its handler made before it, and a handler that makes many of them, or
    many messages of one client, share the way to the engine and back.
    """

    __slots__ = ("_faults", "_line")

    def __init__(self) -> None:
        self._line: deque[Sent | Step] | None = None  # an empty one takes 700 bytes, and there is one for each channel
        self._faults: list[BaseException] | None = None

    def __len__(self) -> int:
        return len(self._line or ())

    def then(self, step: Callable[..., Any], *args: Any) -> None:
        """Take a step, now if nothing is before it."""
        if self._line:
            self._line.append(functools.partial(step, *args))
        else:
            step(*args)

    def after(self, sent: Sent) -> None:
        """Let what follows wait for a broadcast."""
        if self._line is None:
            self._line = deque()
        self._line.append(sent)
        sent.then(self._go_on)

    def fault(self) -> BaseException | None:
        """Return what went wrong with a broadcast since this was last asked."""
        faults, self._faults = self._faults, None
        return faults[0] if faults else None

    async def drained(self) -> None:
        """Return when all of it was said."""
        if self._line:
            done = asyncio.get_running_loop().create_future()
            self.then(lambda: None if done.done() else done.set_result(None))
            await done

    def _go_on(self) -> None:
        line = self._line
        while line:
            head = line[0]
            if isinstance(head, Sent):
                if not head.is_done:
                    return
                if head.error is not None:
                    self._faults = [*(self._faults or ()), head.error]
                line.popleft()
            else:
                line.popleft()
                try:
                    head()
                except Exception:  # or whoever settles what was awaited would suffer from it
                    logger.exception("what a channel had to say failed")
        if self._line is line:
            self._line = None
