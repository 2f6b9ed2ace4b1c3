"""Gathering: short calls that block and come together share a thread, and so Django's connection to the database."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import close_old_connections

from .tasks import spawn
from .workers import Workers, call_soon

SHARE = 16  # calls that wait for each thread, before there is another
PATIENCE = 0.05  # seconds that they wait at most, as long as there may be another
MOST = 64  # that one thread does, before a handler may have it


class Gathering:
    """Calls in the threads of `workers`, on at most `size` of them. Use it on one loop.

    After a restart every client is back at once, and each asks for its session and user. A thread for each would have
    to be fetched, and where CONN_MAX_AGE is 0 would connect to the database anew.
    """

    def __init__(self, workers: Workers, size: int) -> None:
        self._workers = workers
        self._size = size
        self._running = 0
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: deque[tuple[asyncio.Future[Any], Callable[[], Any]]] = deque()

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in a thread, and return what it returns."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((done, partial(function, *args)))
        self._start(1 + len(self._waiting) // SHARE)
        return await done

    # private

    def _start(self, wanted: int) -> None:
        """Have so many threads at work, and one more for those who have waited too long."""
        if self._waiting and self._running < min(self._size, wanted):
            self._running += 1
            spawn(self._work())
        elif self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE, self._hurry)

    def _hurry(self) -> None:
        self._timer = None
        self._start(self._running + 1)

    async def _work(self) -> None:
        try:
            await self._workers.run(False, self._work_off, (asyncio.get_running_loop(),), {})
        finally:
            self._running -= 1
            self._start(1)

    def _work_off(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make the calls that wait, one after the other; in a thread."""
        for _ in range(MOST):
            try:
                done, call = self._waiting.popleft()
            except IndexError:
                return
            try:
                call_soon(loop, _settle, done, call(), None)
            except BaseException as error:
                close_old_connections()  # those that broke; the next call must not find them
                call_soon(loop, _settle, done, None, error)


def _settle(done: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if done.done():  # nobody waits any more
        return
    if error is None:
        done.set_result(result)
    elif isinstance(error, Exception) and not isinstance(error, StopIteration):
        done.set_exception(error)
    else:  # a future cannot carry it, and a loop would end of it
        done.set_exception(RuntimeError(f"{error!r} in a thread"))
