"""Outbox: what waits to be written to one socket."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable

from .protocol.messages import Frame


class Outbox:
    """Frames in order, one write at a time, bounded in messages and bytes; no task while nothing waits.

    send     writes one frame; waits while the peer does not read
    on_full  called once when a bound is passed: a slow socket is closed, nothing is ever skipped
    on_lost  called once when the peer is gone
    """

    def __init__(
        self,
        send: Callable[[Frame], Awaitable[None]],
        *,
        max_messages: int,
        max_bytes: int,
        on_full: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._send = send
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._on_full = on_full
        self._on_lost = on_lost
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._writer: asyncio.Task[None] | None = None
        self._closed = False

    def put(self, frame: Frame) -> None:
        """Queue `frame`. Never waits; does nothing once closed."""
        if self._closed:
            return
        self._frames.append(frame)
        self._bytes += len(frame)
        if len(self._frames) > self._max_messages or self._bytes > self._max_bytes:
            self.close()
            self._on_full()
        elif self._writer is None:
            self._writer = asyncio.create_task(self._write(), context=contextvars.Context())

    def close(self) -> None:
        """Drop what waits and stop writing."""
        self._closed = True
        self._frames.clear()
        if self._writer is not None:
            self._writer.cancel()

    async def drained(self) -> None:
        """Return when nothing waits any more."""
        if self._writer is not None:
            await asyncio.wait([self._writer])

    # private

    async def _write(self) -> None:
        try:
            while self._frames:
                frame = self._frames.popleft()
                await self._send(frame)
                self._bytes -= len(frame)
        except Exception:  # each server raises its own kind when the peer is gone
            self.close()
            self._on_lost()
        finally:
            self._writer = None
