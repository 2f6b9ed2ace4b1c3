"""Outbox: what waits to be written to one socket, bounded in messages and bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from .framing import Burst
from .protocol.messages import Frame, size_of
from .tasks import spawn
from .turn import Turn
from .wire import Lane, Wire

# With this much in the transport the writer waits, on servers whose `send` does not.
HIGH_WATER = 64 * 1024
PAUSE = 0.02


class Outbox(Protocol):
    """Takes frames in order.

    on_full  called once when a bound is passed: a slow socket is closed, nothing is ever skipped
    on_lost  called once when the peer is gone
    """

    def put(self, burst: Burst) -> None:
        """Write `burst` in its turn. Never waits; does nothing once closed."""

    def stuck_for(self, now: float) -> float:
        """Return for how many seconds the frame under way has waited for the peer to read."""

    def close(self) -> None:
        """Drop what waits and stop writing."""

    async def drained(self) -> None:
        """Return when nothing waits any more."""


class DirectOutbox:
    """Writes to the transport, all of a turn in one write, and what waits, waits there: no task, and no queue."""

    __slots__ = (
        "_arrears",
        "_closed",
        "_lane",
        "_max_bytes",
        "_max_messages",
        "_on_full",
        "_on_lost",
        "_ready",
        "_turn",
    )

    def __init__(
        self,
        lane: Lane,
        *,
        turn: Turn,
        max_messages: int,
        max_bytes: int,
        on_full: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._lane = lane
        self._turn = turn
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._on_full = on_full
        self._on_lost = on_lost
        self._ready: list[Burst] | None = None  # of this turn
        self._arrears: _Arrears | None = None
        self._closed = False

    def put(self, burst: Burst) -> None:
        lane = self._lane
        if self._ready is not None:
            self._ready.append(burst)
        elif (
            self._turn.is_last and self._arrears is None and not lane.is_closing() and not lane.get_write_buffer_size()
        ):
            lane.write(burst.framed)  # at once: this is what a broadcast to very many comes to
        elif not self._closed:
            self._ready = [burst]
            self._turn.put_off(self._flush)

    def stuck_for(self, now: float) -> float:
        if backlog := self._lane.get_write_buffer_size():
            return now - self._settled(backlog, now).progress
        self._arrears = None
        return 0.0

    def close(self) -> None:
        self._closed = True
        self._lane = SHUT
        self._ready = None

    async def drained(self) -> None:
        self._flush()
        while not self._closed and self._lane.get_write_buffer_size():  # noqa: ASYNC110  nothing tells when it no longer does
            await asyncio.sleep(PAUSE)

    # private

    def _flush(self) -> None:
        ready = self._ready
        if ready is None:
            return
        self._ready = None
        # Very many sockets get the same burst: all of them are written the same bytes, not a copy each.
        data = ready[0].framed if len(ready) == 1 else b"".join([burst.framed for burst in ready])
        # Asked before the write, for some transports hand nothing to the kernel before the turn is over.
        backlog = self._lane.get_write_buffer_size()
        if not backlog:
            self._arrears = None
        elif not self._may_wait(ready, len(data), backlog):
            self.close()
            self._on_full()
            return
        if self._lane.is_closing():
            self.close()
            self._on_lost()
        else:
            self._lane.write(data)

    def _may_wait(self, ready: list[Burst], size: int, backlog: int) -> bool:
        arrears = self._settled(backlog, asyncio.get_running_loop().time())
        arrears.add(size, sum(len(burst.frames) for burst in ready))
        return arrears.messages <= self._max_messages and backlog + size <= self._max_bytes

    def _settled(self, backlog: int, now: float) -> _Arrears:
        if self._arrears is None:
            self._arrears = _Arrears(backlog, now)
        self._arrears.settle(backlog, now)
        return self._arrears


class _Shut:
    """The lane of an outbox that is closed."""

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return True

    def write(self, data: bytes) -> None: ...
    def abort(self) -> None: ...


SHUT = _Shut()


class _Arrears:
    """What a peer that is behind has yet to read.

    messages  how many; those before it was found to be behind count as one
    progress  when some of them were read, or it was found to be behind
    """

    def __init__(self, backlog: int, now: float) -> None:
        self.messages = 0
        self.progress = now
        self._bytes = 0
        self._marks: deque[tuple[int, int]] = deque()  # up to which byte a write went, and its messages
        self.add(backlog, 1)

    def add(self, size: int, messages: int) -> None:
        self._bytes += size
        self.messages += messages
        self._marks.append((self._bytes, messages))

    def settle(self, backlog: int, now: float) -> None:
        """Take note that all but `backlog` bytes were read."""
        while self._marks and self._marks[0][0] <= self._bytes - backlog:
            self.messages -= self._marks.popleft()[1]
            self.progress = now


class QueuedOutbox:
    """Writes through ASGI, one frame at a time; no task while nothing waits.

    send  writes one frame; may wait while the peer does not read
    wire  what is below
    """

    def __init__(
        self,
        send: Callable[[Frame], Awaitable[None]],
        *,
        wire: Wire,
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

    def put(self, burst: Burst) -> None:
        for frame in burst.frames:
            self._put(frame)

    def stuck_for(self, now: float) -> float:
        return now - self._progress if self._writer is not None else 0.0

    def close(self) -> None:
        self._closed = True
        self._frames.clear()
        if self._writer is not None:
            self._writer.cancel()

    async def drained(self) -> None:
        if self._writer is not None:
            await asyncio.wait([self._writer])

    # private

    def _put(self, frame: Frame) -> None:
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

    async def _room(self) -> None:
        """Wait while the transport is behind; nothing tells when it no longer is, so look."""
        while self._wire.get_write_buffer_size() > HIGH_WATER:  # noqa: ASYNC110
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


class PolledOutbox:
    """Keeps frames until somebody fetches them. What was fetched counts until it is known whether it arrived.

    ready  called when there is something to fetch that was not there before
    share  bytes that one fetch takes, and a frame at least
    """

    def __init__(
        self,
        ready: Callable[[], None],
        *,
        share: int,
        max_messages: int,
        max_bytes: int,
        on_full: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._ready = ready
        self._share = share
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._on_full = on_full
        self._frames: deque[Frame] = deque()
        self._fetched: list[Frame] = []
        self._fetched_at = 0.0
        self._bytes = 0
        self._closed = False
        self._drained: asyncio.Future[None] | None = None

    def put(self, burst: Burst) -> None:
        if self._closed:
            return
        was_empty = not self._frames
        self._frames.extend(burst.frames)
        self._bytes += sum(map(size_of, burst.frames))
        if len(self._frames) + len(self._fetched) > self._max_messages or self._bytes > self._max_bytes:
            self.close()
            self._on_full()
        elif was_empty:
            self._ready()

    def stuck_for(self, now: float) -> float:
        return now - self._fetched_at if self._fetched else 0.0

    def close(self) -> None:
        self._closed = True
        self._frames.clear()
        self._note_drained()

    async def drained(self) -> None:
        if self._closed or not (self._frames or self._fetched):
            return
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._drained)

    # For who fetches

    @property
    def has_some(self) -> bool:
        """Whether `fetch` would return frames; not before it is known what became of the last ones."""
        return bool(self._frames) and not self._fetched

    def fetch(self) -> list[Frame]:
        """Return the oldest frames, in order; `settle` is to follow."""
        share = self._share
        while self._frames and (not self._fetched or size_of(self._frames[0]) <= share):
            share -= size_of(self._frames[0])
            self._fetched.append(self._frames.popleft())
        self._fetched_at = asyncio.get_running_loop().time()
        return list(self._fetched)

    def settle(self, *, arrived: bool) -> None:
        """Forget what was fetched last, or take it back: the next to fetch gets it first."""
        fetched, self._fetched = self._fetched, []
        if self._closed:
            return
        if not arrived:
            self._frames.extendleft(reversed(fetched))
        else:
            self._bytes -= sum(map(size_of, fetched))
            if not self._frames:
                self._note_drained()

    # private

    def _note_drained(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
