"""PolledSession: what is kept of one client that polls, on the node that has it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from .outbox import PolledOutbox
from .protocol.messages import Frame
from .protocol.relay import GONE, NOTHING, OK, Poll

# An answer has no more than this in it, or one frame; the rest has the next poll.
SHARE = 1024 * 1024
# A session ends when nobody has polled for so many windows. Source: phoenix 167c46950, long_poll_server.ex.
PATIENCE = 1.5


class Carried(Protocol):
    """What a session needs of its Connection."""

    is_open: bool

    def receive(self, frame: Frame) -> None: ...
    async def drain(self) -> None: ...
    async def end(self) -> None: ...


@dataclass(slots=True)
class _Waiting:
    poll: Poll
    timer: asyncio.TimerHandle


class PolledSession:
    """Hands what its connection sends to whoever polls: one poll at a time, the newest.

    id       what its client's token says
    holder   a digest of whose it is; who comes with another one is a stranger
    window   seconds that a poll waits for something
    answer   answers a poll
    put_off  calls something at the end of this turn of the loop
    ended    called once, when it is over
    """

    def __init__(
        self,
        id: str,
        holder: str,
        window: float,
        answer: Callable[[Poll, int, list[str], int | None], None],
        put_off: Callable[[Callable[[], None]], None],
        ended: Callable[[PolledSession], None],
    ) -> None:
        self.id = id
        self.holder = holder
        self.is_over = False
        self._window = window
        self._answer = answer
        self._put_off = put_off
        self._ended = ended
        self._time = asyncio.get_running_loop().time
        self._polled = self._time()
        self._waiting: _Waiting | None = None
        self._handed: tuple[str, int] | None = None  # the poll that has what was fetched last
        self._outbox: PolledOutbox | None = None
        self.connection: Carried | None = None

    # For the connection

    def make_outbox(self, **bounds: Any) -> PolledOutbox:
        self._outbox = PolledOutbox(self._has_some, share=SHARE, **bounds)
        return self._outbox

    async def close(self, code: int) -> None:
        self.end(code)

    # For those who poll

    def poll(self, poll: Poll) -> None:
        """Answer with what waits as soon as something does, or that nothing came; the poll before it has ended."""
        self._finish(NOTHING)
        self._polled = self._time()
        timer = asyncio.get_running_loop().call_later(self._window, self._finish, NOTHING)
        self._waiting = _Waiting(poll, timer)
        self._serve()

    def receive(self, frames: Iterable[Frame]) -> bool:
        """Take frames of the client, and return whether it is still to be talked to."""
        if self.connection is None:
            return False
        for frame in frames:
            self.connection.receive(frame)
        return self.connection.is_open

    def settle(self, asker: str, number: int, *, is_delivered: bool) -> None:
        """Take note of how a poll has ended. One that still waits has lost its client."""
        if self._handed == (asker, number):
            self._handed = None
            self._polled = self._time()
            if self._outbox is not None:
                self._outbox.settle(arrived=is_delivered)
            self._serve()
        elif self._waiting is not None and _name(self._waiting.poll) == (asker, number):
            self._polled = self._time()
            self._forget()

    def is_abandoned(self, now: float) -> bool:
        """Return whether nobody has polled for too long; what was fetched has a time limit of its own."""
        is_idle = self._waiting is None and self._handed is None
        return is_idle and now - self._polled > PATIENCE * self._window

    def end(self, code: int | None = None) -> None:
        """Tell whoever polls that there is no such session any more, and the code with which it was closed."""
        if not self.is_over:
            self.is_over = True
            self._finish(GONE, code)
            self._ended(self)

    # private

    def _has_some(self) -> None:
        self._put_off(self._serve)  # with what else comes in this turn

    def _serve(self) -> None:
        if self._waiting is not None and self._outbox is not None and self._outbox.has_some:
            poll = self._waiting.poll
            self._forget()
            self._handed = _name(poll)
            self._answer(poll, OK, [_text(frame) for frame in self._outbox.fetch()], None)

    def _finish(self, status: int, code: int | None = None) -> None:
        if self._waiting is not None:
            poll = self._waiting.poll
            self._forget()
            self._polled = self._time()
            self._answer(poll, status, [], code)

    def _forget(self) -> None:
        if self._waiting is not None:
            self._waiting.timer.cancel()
            self._waiting = None


def _name(poll: Poll) -> tuple[str, int]:
    return poll.asker, poll.number


def _text(frame: Frame) -> str:
    """Return a frame as JSON can carry it; a binary one in base64, as clients send theirs."""
    return frame if isinstance(frame, str) else base64.b64encode(frame).decode()
