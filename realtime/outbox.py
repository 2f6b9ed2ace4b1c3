"""Outbox: what waits to be written to one socket, bounded in messages and bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

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


class Arrears:
    """The sizes of the messages that a peer has yet to read, oldest first, and how much that may be.

    The largest of them does not count in bytes: a message is as large as its author made it, a `presence_state` as its
    topic is full, and a peer that reads at once is not to be closed for it. What waits beside it is bounded.
    """

    __slots__ = ("_bytes", "_max_bytes", "_max_messages", "_sizes")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._sizes: deque[int] = deque()
        self._bytes = 0

    def add(self, sizes: Iterable[int]) -> bool:
        """Return whether these may wait as well."""
        for size in sizes:
            self._sizes.append(size)
            self._bytes += size
        if len(self._sizes) > self._max_messages:
            return False
        return self._bytes <= self._max_bytes or self._bytes - max(self._sizes) <= self._max_bytes

    def read(self) -> None:
        """Take note that the oldest was read."""
        self._bytes -= self._sizes.popleft()

    def settle(self, left: int) -> bool:
        """Take note that all but `left` bytes were read, and return whether a message is among them."""
        before = len(self._sizes)
        while self._sizes and self._sizes[0] <= self._bytes - left:
            self.read()
        return len(self._sizes) < before


class _Bounded:
    """What all outboxes are made with: what Arrears asks for, and whom an Outbox tells."""

    __slots__ = ("_closed", "_max_bytes", "_max_messages", "_on_full", "_on_lost", "_progress")

    def __init__(
        self, *, max_messages: int, max_bytes: int, on_full: Callable[[], None], on_lost: Callable[[], None]
    ) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._on_full = on_full
        self._on_lost = on_lost
        self._closed = False
        self._progress = 0.0  # when the peer was given what it is to take now


class DirectOutbox(_Bounded):
    """Writes to the transport, all of a turn in one write, and what waits, waits there: no task, and no queue."""

    __slots__ = ("_arrears", "_lane", "_ready", "_turn")

    def __init__(self, lane: Lane, *, turn: Turn, **bounds: Any) -> None:
        super().__init__(**bounds)
        self._lane = lane
        self._turn = turn
        self._ready: list[Burst] | None = None  # of this turn
        self._arrears: Arrears | None = None  # of a peer that is behind

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
            self._settled(backlog, now)
            return now - self._progress
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
        # One message is as large as its author made it; many are bounded even where nothing waits before them.
        is_much = len(ready) > 1 and len(data) > self._max_bytes
        if (backlog or is_much) and not self._may_wait(ready, backlog):
            self.close()
            self._on_full()
            return
        if self._lane.is_closing():
            self.close()
            self._on_lost()
        else:
            self._lane.write(data)

    def _may_wait(self, ready: list[Burst], backlog: int) -> bool:
        arrears = self._settled(backlog, asyncio.get_running_loop().time())
        return arrears.add(size for burst in ready for size in burst.sizes)

    def _settled(self, backlog: int, now: float) -> Arrears:
        """Return what the peer has yet to read; what was written before it was found to be behind is one message."""
        arrears = self._arrears
        if arrears is None:
            arrears = self._arrears = Arrears(self._max_messages, self._max_bytes)
            arrears.add([backlog])
            self._progress = now
        if arrears.settle(backlog):
            self._progress = now
        return arrears


class _Shut:
    """The lane of an outbox that is closed."""

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return True

    def write(self, data: bytes) -> None: ...
    def abort(self) -> None: ...


SHUT = _Shut()


class QueuedOutbox(_Bounded):
    """Writes through ASGI, one frame at a time; no task while nothing waits.

    send  writes one frame; may wait while the peer does not read
    wire  what is below
    """

    def __init__(self, send: Callable[[Frame], Awaitable[None]], *, wire: Wire, **bounds: Any) -> None:
        super().__init__(**bounds)
        self._send = send
        self._wire = wire
        self._frames: deque[Frame] = deque()
        self._arrears = Arrears(self._max_messages, self._max_bytes)
        self._writer: asyncio.Task[None] | None = None

    def put(self, burst: Burst) -> None:
        if self._closed:
            return
        self._frames.extend(burst.frames)
        if not self._arrears.add(map(size_of, burst.frames)):
            self.close()
            self._on_full()
        elif self._writer is None:
            self._progress = asyncio.get_running_loop().time()
            self._writer = spawn(self._write())

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

    async def _room(self) -> None:
        """Wait while the transport is behind; nothing tells when it no longer is, so look."""
        while self._wire.get_write_buffer_size() > HIGH_WATER:  # noqa: ASYNC110
            await asyncio.sleep(PAUSE)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._frames:
                await self._send(self._frames.popleft())
                await self._room()
                self._arrears.read()
                self._progress = loop.time()
        except Exception:  # each server raises its own kind when the peer is gone
            self.close()
            self._on_lost()
        finally:
            self._writer = None


class PolledOutbox(_Bounded):
    """Keeps frames until somebody fetches them. What was fetched counts until it is known whether it arrived.

    ready  called when there is something to fetch that was not there before
    share  bytes that one fetch takes, and a frame at least
    """

    def __init__(self, ready: Callable[[], None], *, share: int, **bounds: Any) -> None:
        super().__init__(**bounds)
        self._ready = ready
        self._share = share
        self._frames: deque[Frame] = deque()
        self._fetched: list[Frame] = []
        self._arrears = Arrears(self._max_messages, self._max_bytes)
        self._drained: asyncio.Future[None] | None = None

    def put(self, burst: Burst) -> None:
        if self._closed:
            return
        was_empty = not self._frames
        self._frames.extend(burst.frames)
        if not self._arrears.add(map(size_of, burst.frames)):
            self.close()
            self._on_full()
        elif was_empty:
            self._ready()

    def stuck_for(self, now: float) -> float:
        return now - self._progress if self._fetched else 0.0

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
        self._progress = asyncio.get_running_loop().time()
        return list(self._fetched)

    def settle(self, *, arrived: bool) -> None:
        """Forget what was fetched last, or take it back: the next to fetch gets it first."""
        fetched, self._fetched = self._fetched, []
        if self._closed:
            return
        if not arrived:
            self._frames.extendleft(reversed(fetched))
            return
        for _ in fetched:
            self._arrears.read()
        if not self._frames:
            self._note_drained()

    # private

    def _note_drained(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
