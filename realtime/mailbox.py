"""Mailbox: what came for somebody, read one at a time by a task that lives only while there is something in it."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from .tasks import spawn

logger = logging.getLogger("realtime.channel")

Item = TypeVar("Item")


class Mailbox(ABC, Generic[Item]):
    """Reads itself; who it belongs to says how, by `_handle`, and how it ends, by `_is_due` and `_finish`.

    is_over  nothing is read any more
    """

    __slots__ = ("_items", "_over", "_task", "is_over")

    def __init__(self, first: Item) -> None:
        self.is_over = False
        self._items: list[Item] = [first]
        self._over: asyncio.Future[None] | None = None  # for those who wait for it
        self._task: asyncio.Task[None] | None = None

    async def wait(self, limit: float) -> None:
        """Return when it is over. What runs longer than `limit` is cancelled; a thread cannot be, and is left alone."""
        if self.is_over:
            return
        if self._over is None:
            self._over = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._over], timeout=limit)
        if self._task is not None and not self.is_over:
            logger.warning("%s did not return within %g s", self, limit)
            self._task.cancel()
            await asyncio.wait([self._over], timeout=limit)

    def _put(self, item: Item) -> None:
        self._items.append(item)
        self._wake()

    def _wake(self) -> None:
        if self._task is None and not self.is_over:
            self._task = spawn(self._run())

    async def _run(self) -> None:
        try:
            while not self.is_over:
                if self._is_due():
                    await self._finish()
                elif self._items:
                    await self._handle(self._items.pop(0))
                else:
                    break
        except asyncio.CancelledError:  # by `wait`, whose time is over, or by a loop that ends
            if not self.is_over:  # else it was about to end, and has
                await self._finish()
            raise
        finally:
            self._task = None

    def _shut(self) -> list[Item]:
        """Read nothing any more, and return what was not."""
        self.is_over = True
        if self._over is not None:
            self._over.set_result(None)
        unread, self._items = self._items, []
        return unread

    # To be written

    @abstractmethod
    def _is_due(self) -> bool:
        """Return whether to end before the next item is read."""

    @abstractmethod
    async def _handle(self, item: Item) -> None:
        """Read one. Raises nothing."""

    @abstractmethod
    async def _finish(self) -> None:
        """End it, by `_shut` in every case."""
