"""Outbox: what waits to be written to one socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from .protocol.messages import Frame, size_of
from .tasks import spawn
from .wire import Wire

# With this much in the transport the writer waits, on servers whose `send` does not (daphne).
HIGH_WATER = 64 * 1024
PAUSE = 0.02


class Outbox:
    """Frames in order, one write at a time, bounded in messages and bytes; no task while nothing waits.

    send     writes one frame; may wait while the peer does not read
    wire     the transport below, or None where it is not known
    on_full  called once when a bound is passed: a slow socket is closed, nothing is ever skipped
    on_lost  called once when the peer is gone
    """

    def __init__(
        self,
        send: Callable[[Frame], Awaitable[None]],
        *,
        wire: Wire | None,
        max_messages: int,
        max_bytes: int,
        on_full: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._send = send
        self._wire = wire
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._on_full = on_full
        self._on_lost = on_lost
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._writer: asyncio.Task[None] | None = None
        self._closed = False
        self._progress = 0.0

    def put(self, frame: Frame) -> None:
        """Queue `frame`. Never waits; does nothing once closed."""
        if self._closed:
            return
        self._frames.append(frame)
        self._bytes += size_of(frame)
        if len(self._frames) > self._max_messages or self._bytes > self._max_bytes:
            self.close()
            self._on_full()
        elif self._writer is None:
            self._progress = asyncio.get_running_loop().time()
            self._writer = spawn(self._write())

    def stuck_for(self, now: float) -> float:
        """Return for how many seconds the frame under way has waited for the peer to read."""
        return now - self._progress if self._writer is not None else 0.0

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

    async def _room(self) -> None:
        """Wait while the transport is behind; nothing tells when it no longer is, so look."""
        while self._wire is not None and self._wire.backlog() > HIGH_WATER:  # noqa: ASYNC110
            await asyncio.sleep(PAUSE)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._frames:
                frame = self._frames.popleft()
                await self._send(frame)
                await self._room()
                self._bytes -= size_of(frame)
                self._progress = loop.time()
        except Exception:  # each server raises its own kind when the peer is gone
            self.close()
            self._on_lost()
        finally:
            self._writer = None
