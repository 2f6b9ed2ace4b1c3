"""Wire: a server's transport, found under its ASGI `send`; with the fast lane, frames are written to it directly."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

logger = logging.getLogger("realtime.wire")


class Wire(Protocol):
    def backlog(self) -> int:
        """Return how many bytes wait in this process for the peer to read."""

    def abort(self) -> None:
        """End the connection at once, whatever waits."""


@runtime_checkable
class Lane(Wire, Protocol):
    """A wire that takes whole WebSocket frames, past ASGI; accept and close still go that way."""

    def write(self, data: bytes) -> None:
        """Write frames. Never waits.

        Raises ConnectionError, with nothing written, unless the WebSocket is open: after a close frame comes no other.
        """


def find(send: Any, *, fast: bool = True) -> Wire | None:
    """Return what is under `send`: a Lane if the server is known and `fast`, or a Wire; None where ASGI must do."""
    send = _unwrapped(send)
    protocol: Any
    lane: Callable[[Any], Lane]
    wire: Callable[[Any], Wire]
    if isinstance(send, functools.partial):
        protocol, lane, wire = next(iter(send.args), None), Autobahn, Twisted
    else:
        protocol, lane, wire = getattr(send, "__self__", None), Uvicorn, Asyncio
    if fast:
        try:
            return lane(protocol)
        except (AttributeError, TypeError) as error:
            _tell(type(send if protocol is None else protocol), error)
    try:
        return wire(protocol)
    except (AttributeError, TypeError):
        return None


class Asyncio:
    """The asyncio transport of a protocol."""

    __slots__ = ("abort", "backlog")

    def __init__(self, protocol: Any) -> None:
        self.backlog: Callable[[], int] = protocol.transport.get_write_buffer_size
        self.abort: Callable[[], None] = protocol.transport.abort


class Uvicorn(Asyncio):
    """Any of its WebSocket protocols: "websockets" has the state itself, the other two keep it in `conn`."""

    __slots__ = ("_is_closing", "_keeper", "_open", "_write")

    def __init__(self, protocol: Any) -> None:
        super().__init__(protocol)
        self._keeper = getattr(protocol, "conn", protocol)
        self._open = type(self._keeper.state).OPEN
        self._is_closing: Callable[[], bool] = protocol.transport.is_closing
        self._write: Callable[[bytes], None] = protocol.transport.write

    def write(self, data: bytes) -> None:
        if self._keeper.state is not self._open or self._is_closing():
            raise ConnectionError("the socket is not open")
        self._write(data)


class Twisted:
    """The Twisted transport of a protocol. ASGI's send never waits on it: what is not read would grow without bound."""

    __slots__ = ("_transport", "abort")

    def __init__(self, protocol: Any) -> None:
        self._transport = protocol.transport
        self.abort: Callable[[], None] = protocol.transport.abortConnection
        self.backlog()  # fails now, if it is of another kind

    def backlog(self) -> int:
        transport = self._transport
        return len(transport.dataBuffer) - int(transport.offset) + int(transport._tempDataLen)


class Autobahn(Twisted):
    """Daphne's WebSocket protocol."""

    __slots__ = ("_open", "_protocol", "_send")

    def __init__(self, protocol: Any) -> None:
        super().__init__(protocol)
        self._protocol = protocol
        self._open = protocol.STATE_OPEN
        # A wrapper that encrypts hands such calls down to what is below it, where they must not go.
        plain = hasattr(type(self._transport), "writeSomeData") and not self._transport.TLS
        self._send: Callable[[bytes], Any] | None = self._transport.writeSomeData if plain else None
        self._is_open()

    def write(self, data: bytes) -> None:
        if not self._is_open():
            raise ConnectionError("the socket is not open")
        if self._protocol.send_queue:
            self._protocol.sendData(data)  # after what it has put off itself
        elif rest := self._rest(data):
            self._transport.write(rest)

    def _is_open(self) -> bool:
        transport = self._transport
        return bool(self._protocol.state == self._open and transport.connected and not transport.disconnecting)

    def _rest(self, data: bytes) -> bytes:
        """Return what the kernel does not take at once; Twisted itself would write nothing before the next turn."""
        if self._send is None or self.backlog():
            return data
        taken = self._send(data)
        return data[taken:] if isinstance(taken, int) else data  # an exception: the next to write will tell the reactor


def _tell(kind: type, error: Exception) -> None:
    """Say once in a process that the server is of another kind."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    if name not in _told:
        _told.add(name)
        logger.info("no fast lane under %s, its sockets are written to through ASGI: %s", name, error)


def _unwrapped(send: Any) -> Any:
    """Return the server's own `send`, under the wrapper that channels' session middleware puts around it."""
    while (inner := getattr(getattr(send, "__self__", None), "real_send", None)) is not None:
        send = inner
    return send


_told: set[str] = set()
