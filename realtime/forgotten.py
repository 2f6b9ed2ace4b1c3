"""Forgotten: what a handler made and did not await, which nothing else would tell its author."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger("realtime.channel")


async def tell_forgotten(handler: str, made: list[Coroutine[Any, Any, None]]) -> None:
    """Say which push, reply or broadcast of a handler was made and never awaited."""
    await asyncio.sleep(0)  # what was handed to a task has begun by then
    while made:
        coroutine = made.pop()
        # Two references are ours, here and in the call: who holds another may yet await it.
        if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED and sys.getrefcount(coroutine) <= 2:
            coroutine.close()
            verb = coroutine.cr_code.co_name  # type: ignore[attr-defined]
            logger.error("%s forgot an await: write `await self.%s(…)`", handler, verb)
