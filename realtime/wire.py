"""Wire: a server's transport, found under its ASGI `send`."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Protocol

logger = logging.getLogger("realtime.wire")


class Wire(Protocol):
    def backlog(self) -> int:
        """Return how many bytes wait in this process for the peer to read."""

    def abort(self) -> None:
        """End the connection at once, whatever waits."""


class Uvicorn:
    """An asyncio transport, under any of uvicorn's WebSocket protocols."""

    def __init__(self, transport: Any) -> None:
        self.backlog: Callable[[], int] = transport.get_write_buffer_size
        self.abort: Callable[[], None] = transport.abort


class Daphne:
    """A Twisted transport. ASGI's send never waits on daphne, so what is not read would grow without bound."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.abort: Callable[[], None] = transport.abortConnection
        self.backlog()  # fails now, if it is of another kind

    def backlog(self) -> int:
        transport = self._transport
        return len(transport.dataBuffer) - int(transport.offset) + int(transport._tempDataLen)


def find(send: Any) -> Wire | None:
    """Return the wire under `send`, or None where the server is another: then ASGI alone must do."""
    send = _unwrapped(send)
    try:
        if isinstance(send, functools.partial):
            return Daphne(send.args[0].transport)
        return Uvicorn(send.__self__.transport)
    except (AttributeError, IndexError, TypeError):
        logger.debug("no transport found under %r", send)
        return None


def _unwrapped(send: Any) -> Any:
    """Return the server's own `send`, under the wrapper that channels' session middleware puts around it."""
    while (inner := getattr(getattr(send, "__self__", None), "real_send", None)) is not None:
        send = inner
    return send
