"""Tasks of our own: begun in a context of their own, and ended for sure."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any

AGAIN = 0.1


def spawn(work: Coroutine[Any, Any, None], *, name: str | None = None) -> asyncio.Task[None]:
    """Run `work` in the background, in a new context: it must not keep the worker of the handler that began it."""
    loop = asyncio.get_running_loop()  # asked itself: asyncio.create_task is a third of what a short task costs
    return loop.create_task(work, context=contextvars.Context(), name=name)


async def end(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks, and return when they are over.

    Again and again: before Python 3.12 asyncio.wait_for, which the engine's client uses, swallows a cancellation that
    comes together with what it waits for.
    """
    pending = {task for task in tasks if task is not None}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN)


class Tasks(set[asyncio.Task[None]]):
    """The tasks of one owner that still run, and end with it."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = spawn(work)
        self.add(task)
        task.add_done_callback(self.discard)

    async def aclose(self) -> None:
        await end(*self)
