"""Rechecks: whether users still meet what their topics require, a few at a time, in threads of their own."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, Protocol, TypeAlias

from .tasks import Tasks
from .workers import Workers

logger = logging.getLogger("realtime.channel")

AT_ONCE = 16  # topics
THREADS = 4  # for tests that block
PATIENCE = 10.0  # seconds for one test

# Calls a test of an author's with a user, as Workers do.
Call: TypeAlias = Callable[..., Awaitable[Any]]


class Conditional(Protocol):
    """A topic of a socket, which requires something."""

    async def recheck(self, call: Call) -> None:
        """End it where its user does not meet any more what it requires; raises nothing."""


class Rechecks:
    """Use it on one loop. What waits is there once, however often somebody looks, and its turn comes for certain."""

    def __init__(self) -> None:
        self._workers = Workers(THREADS)
        self._urgent: OrderedDict[Conditional, None] = OrderedDict()
        self._others: OrderedDict[Conditional, None] = OrderedDict()
        self._running = 0
        self._missed: list[str] = []
        self._tasks = Tasks()

    def employ(self, workers: Workers) -> None:
        """Let these do what blocks, in place of its own."""
        self._workers = workers

    def put(self, topics: Iterable[Conditional], *, is_urgent: bool) -> None:
        """Look at these soon: the urgent ones before all others."""
        self._tell_missed()
        for topic in topics:
            if is_urgent:
                self._others.pop(topic, None)
                self._urgent[topic] = None
            elif topic not in self._urgent:
                self._others[topic] = None
        for _ in range(min(AT_ONCE - self._running, len(self._urgent) + len(self._others))):
            self._running += 1
            self._tasks.spawn(self._run())

    async def aclose(self) -> None:
        await self._tasks.aclose()
        self._workers.close()

    # private

    async def _run(self) -> None:
        try:
            while due := self._urgent or self._others:
                topic, _ = due.popitem(last=False)
                await topic.recheck(partial(self._ask, topic))
                await asyncio.sleep(0)  # many a test waits for nothing, and a loop has more to do
        finally:
            self._running -= 1

    async def _ask(self, topic: Conditional, test: Callable[[Any], Any], user: Any) -> Any:
        """Return what a test says; one that hangs must hold up nobody else, and is no reason to go."""
        limit = asyncio.timeout(PATIENCE)
        try:
            async with limit:
                return await self._workers.call(test, user)
        except TimeoutError:
            if not limit.expired():
                raise  # the test's own
            self._missed.append(str(topic))
            return True

    def _tell_missed(self) -> None:
        """Log, once for each look, whose tests the one before has given up."""
        if self._missed:
            logger.warning(
                "%d tests of whether somebody may stay took longer than %g s and were given up, that of %s first",
                len(self._missed),
                PATIENCE,
                self._missed[0],
            )
            self._missed = []
