"""Gathering: questions that block and come together are asked together, by one thread over one connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from .tasks import spawn
from .workers import Workers

PATIENCE = 0.01  # seconds that questions wait for others, where some were asked just now
HURRY = 0.05  # seconds that they wait at most for those that are being asked
SHARE = 16  # that wait for no others
MOST = 64  # that are asked together; more would keep a thread from the handlers

# Takes questions of one kind and returns the answer to each. Blocks; so it asks nothing that one alone might hold up.
Asks: TypeAlias = Callable[[Sequence[Any]], Sequence[Any]]


class Gathering:
    """Asks in the threads of `workers`, in at most `size` of them. Use it on one loop.

    After a restart every client is back at once, and each brings a session to look up. One alone waits for nothing.
    """

    def __init__(self, workers: Workers, size: int) -> None:
        self._workers = workers
        self._size = size
        self._running = 0
        self._ended_at = -PATIENCE
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[tuple[asyncio.Future[Any], Asks, Any]] = deque()

    async def call(self, asks: Asks, question: Any) -> Any:
        """Return the answer to one question, or raise what asking has raised."""
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((answer, asks, question))
        self._look()
        return await answer

    # private

    def _look(self) -> None:
        """Ask what is to be asked now, and see to the rest in a while."""
        loop = asyncio.get_running_loop()
        while len(self._waiting) >= self._enough(loop.time()) and self._running < self._size:
            self._start(loop)
        if self._waiting and self._timer is None and self._running < self._size:
            self._timer = loop.call_later(HURRY if self._running else PATIENCE, self._hurry, loop)

    def _enough(self, now: float) -> int:
        """Return how many need not wait for others."""
        if self._running:
            return MOST
        return SHARE if now - self._ended_at < PATIENCE else 1

    def _hurry(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._waiting and self._running < self._size:
            self._start(loop)
        self._look()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        asks = self._waiting[0][1]
        batch: list[tuple[asyncio.Future[Any], Any]] = []
        while self._waiting and len(batch) < MOST and self._waiting[0][1] is asks:
            answer, _, question = self._waiting.popleft()
            if not answer.done():  # else nobody waits any more
                batch.append((answer, question))
        if batch:
            self._running += 1
            spawn(self._ask(loop, asks, batch))

    async def _ask(
        self, loop: asyncio.AbstractEventLoop, asks: Asks, batch: Sequence[tuple[asyncio.Future[Any], Any]]
    ) -> None:
        try:
            found = await self._workers.call(asks, [question for _, question in batch])
            for (answer, _), result in zip(batch, found, strict=True):
                if not answer.done():
                    answer.set_result(result)
        except asyncio.CancelledError:  # the loop ends, and all who wait with it: nothing more is begun
            for answer in [answer for answer, _ in batch] + [answer for answer, *_ in self._waiting]:
                answer.cancel()
            self._waiting.clear()
            raise
        except Exception as error:
            for answer, _ in batch:
                if not answer.done():
                    answer.set_exception(error)
        finally:
            self._running -= 1
        self._ended_at = loop.time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._look()
