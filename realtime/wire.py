"""Wire: a server's transport, found under its ASGI `send`; with the fast lane, frames are written to it directly."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable
from typing import Any, Protocol

from channels.sessions import InstanceSessionWrapper

logger = logging.getLogger("realtime.wire")


class Wire(Protocol):
    """The part of asyncio's transports that is needed here."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes wait in this process for the peer to read."""

    def abort(self) -> None:
        """End the connection at once, whatever waits."""


class Lane(Wire, Protocol):
    """A wire that takes whole WebSocket frames, past ASGI; accept and close still go that way."""

    def is_closing(self) -> bool:
        """Return whether no frame may be written any more: after a close frame comes no other."""

    def write(self, data: bytes) -> None:
        """Write frames, unless it is closing. Never waits."""


def find(send: Any) -> Wire:
    """Return what is under `send`, which is that of the running task."""
    owner, _, wires = _under(send)
    for wire in wires:
        with contextlib.suppress(AttributeError, TypeError):
            return wire(owner)
    return Application()


def find_lane(send: Any) -> Lane | None:
    """Return what is under `send`, if frames can be written to it."""
    owner, lane, _ = _under(send)
    try:
        return lane(owner)
    except (AttributeError, TypeError) as error:
        _tell(_unwrapped(send) if owner is None else type(owner), error)
        return None


def _under(send: Any) -> tuple[Any, Callable[[Any], Lane], list[Callable[[Any], Wire]]]:
    """Return whose `send` it is, and what may be made of that."""
    send = _unwrapped(send)
    if isinstance(send, functools.partial):
        return next(iter(send.args), None), Autobahn, [Twisted]
    return getattr(send, "__self__", None), uvicorn, [_transport, Hypercorn]


class Application:
    """The task that serves the socket, where the server is not known: with its end the server ends the connection.

    is_aborted  whether it was cancelled from here
    """

    __slots__ = ("_task", "is_aborted")

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self.is_aborted = False

    def get_write_buffer_size(self) -> int:
        return 0  # not known: its `send` must wait while the peer does not read

    def abort(self) -> None:
        if self._task is not None:
            self.is_aborted = True
            self._task.cancel()


class Asyncio:
    """A transport of asyncio's that may be of any kind."""

    __slots__ = ("_size", "abort", "is_closing", "write")

    def __init__(self, transport: Any) -> None:
        self._size: Callable[[], int] = transport.get_write_buffer_size
        self.abort: Callable[[], None] = transport.abort
        self.is_closing: Callable[[], bool] = transport.is_closing
        self.write: Callable[[bytes], None] = transport.write

    def get_write_buffer_size(self) -> int:
        try:
            return self._size()
        except AttributeError:  # one that encrypts knows nothing any more once it was closed twice, as uvicorn does
            return 0


def _transport(protocol: Any) -> Wire:
    return Asyncio(protocol.transport)


def uvicorn(protocol: Any) -> Lane:
    """Return the lane of any of its WebSocket protocols.

    It is the transport itself, which closes with the first close frame that is not ours. Asked and written to with each
    frame, it is all of a socket that a broadcast touches.
    """
    transport: Any = protocol.transport
    if not hasattr(protocol, "conn"):
        return Websockets(protocol)
    wrapped, _ = Asyncio(transport), type(protocol.conn.state).OPEN  # fails now, if it is of another kind
    return wrapped if transport.get_extra_info("sslcontext") else transport


class Websockets(Asyncio):
    """uvicorn's "websockets" protocol: it keeps the transport open until its peer has answered, and has a state."""

    __slots__ = ("_is_over", "_open", "_protocol")

    def __init__(self, protocol: Any) -> None:
        super().__init__(protocol.transport)
        self._protocol = protocol
        self._open = type(protocol.state).OPEN
        self._is_over = self.is_closing
        self.is_closing = self._is_not_open

    def _is_not_open(self) -> bool:
        return self._protocol.state is not self._open or self._is_over()


class Hypercorn(Asyncio):
    """The transport of a WebSocket that is alone on its connection; over HTTP/2 others would be aborted with it."""

    __slots__ = ()

    def __init__(self, stream: Any) -> None:
        connection = stream.send.__self__
        if connection.stream is not stream:
            raise TypeError("not alone on its connection")
        writer = connection.send.__self__.writer
        super().__init__(writer.transport)


class Twisted:
    """The Twisted transport of a protocol. ASGI's send never waits on it: what is not read would grow without bound."""

    __slots__ = ("_abort", "_transport")

    def __init__(self, protocol: Any) -> None:
        self._transport = protocol.transport
        self._abort: Callable[[], None] = protocol.transport.abortConnection
        self.get_write_buffer_size()  # fails now, if it is of another kind

    def get_write_buffer_size(self) -> int:
        transport = self._transport
        return len(transport.dataBuffer) - int(transport.offset) + int(transport._tempDataLen)

    def abort(self) -> None:
        if self._transport.connected:  # one that encrypts fails where it has ended
            self._abort()


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
        self.is_closing()

    def is_closing(self) -> bool:
        transport = self._transport
        return bool(self._protocol.state != self._open or transport.disconnecting or not transport.connected)

    def write(self, data: bytes) -> None:
        if self._protocol.send_queue:
            self._protocol.sendData(data)  # after what it has put off itself
        elif rest := self._rest(data):
            self._transport.write(rest)

    def _rest(self, data: bytes) -> bytes:
        """Return what the kernel does not take at once; Twisted itself would write nothing before the next turn."""
        if self._send is None or self.get_write_buffer_size():
            return data
        taken = self._send(data)
        return data[taken:] if isinstance(taken, int) else data  # an exception: the next to write will tell the reactor


def _tell(kind: Any, error: Exception) -> None:
    """Say once in a process that the server, or what wraps its `send`, is of another kind."""
    name = f"{kind.__module__}.{getattr(kind, '__qualname__', type(kind).__qualname__)}"
    if name not in _told:
        _told.add(name)
        logger.info("no fast lane under %s, its sockets are written to through ASGI: %s", name, error)


def _unwrapped(send: Any) -> Any:
    """Return the server's own `send`, under channels' session middleware, which has nothing to do with frames."""
    while getattr(send, "__func__", None) is InstanceSessionWrapper.send:
        send = send.__self__.real_send
    return send


_told: set[str] = set()
