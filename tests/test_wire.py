from __future__ import annotations

import functools
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest

from realtime import wire


class Protocol:
    """Has a transport, and an ASGI send, as uvicorn's do."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    async def send(self, message: Any) -> None:
        pass


class Wrapper:
    """What channels' session middleware puts around a send."""

    def __init__(self, send: Any) -> None:
        self.real_send = send

    async def send(self, message: Any) -> None:
        pass


ASYNCIO = SimpleNamespace(get_write_buffer_size=lambda: 7, abort=lambda: None)
TWISTED = SimpleNamespace(dataBuffer=b"12345", offset=2, _tempDataLen=4, abortConnection=lambda: None)


async def reply(protocol: Any, message: Any) -> None:
    pass


@pytest.mark.parametrize(
    "send",
    [
        Protocol(ASYNCIO).send,
        Wrapper(Protocol(ASYNCIO).send).send,
        functools.partial(reply, Protocol(TWISTED)),
        Wrapper(Wrapper(functools.partial(reply, Protocol(TWISTED))).send).send,
    ],
    ids=["uvicorn", "uvicorn, wrapped", "daphne", "daphne, wrapped twice"],
)
def test_the_backlog_is_read_under_what_is_wrapped(send: Any) -> None:
    found = wire.find(send)
    assert found is not None
    assert found.backlog() == 7


@pytest.mark.parametrize(
    "send",
    [
        reply,
        functools.partial(reply),
        functools.partial(reply, object()),
        Protocol(None).send,
        functools.partial(reply, Protocol(SimpleNamespace(abortConnection=lambda: None))),
    ],
    ids=["a function", "an empty partial", "no protocol", "no transport", "another transport"],
)
def test_an_unknown_server_has_no_wire(send: Any) -> None:
    assert wire.find(send) is None


# The fast lane


class Ours:
    """An asyncio transport that remembers."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_over = False
        self.abort = lambda: None
        self.write = self.written.append

    def is_closing(self) -> bool:
        return self.is_over

    def get_write_buffer_size(self) -> int:
        return 3


class State(Enum):
    """As in websockets and in wsproto."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2


class Uvicorn(Protocol):
    """One that keeps its state where "websockets" does, or in `conn` as the others do."""

    def __init__(self, *, conn: bool) -> None:
        super().__init__(Ours())
        self.keeper: Any = self
        if conn:
            self.keeper = self.conn = SimpleNamespace()
        self.keeper.state = State.CONNECTING


class Daphne:
    """One of autobahn on a Twisted transport; the kernel takes `room` bytes."""

    STATE_OPEN = 3

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.state = 3
        self.send_queue: list[bytes] = []
        self.queued: list[bytes] = []
        self.sendData = self.queued.append

    @property
    def send(self) -> Any:
        return functools.partial(reply, self)


class Tcp:
    TLS = False
    connected = True
    disconnecting = False
    offset = 0

    def __init__(self, room: int = 1000) -> None:
        self.room: Any = room
        self.sent: list[bytes] = []
        self.dataBuffer = b""
        self._tempDataLen = 0

    def abortConnection(self) -> None:
        pass

    def writeSomeData(self, data: bytes) -> Any:
        if isinstance(self.room, Exception):
            return self.room
        self.sent.append(data[: self.room])
        return len(data[: self.room])

    def write(self, data: bytes) -> None:
        self.dataBuffer += data


class Tls:
    """A wrapper that hands down what it does not know, as Twisted's does."""

    connected = True
    disconnecting = False

    def __init__(self) -> None:
        self.below = Tcp()
        self.encrypted: list[bytes] = []
        self.write = self.encrypted.append

    def __getattr__(self, name: str) -> Any:
        return getattr(self.below, name)


def lane(send: Any) -> wire.Lane:
    found = wire.find(send)
    assert isinstance(found, wire.Lane)
    return found


@pytest.mark.parametrize("conn", [True, False], ids=["state in conn", "state of its own"])
def test_uvicorn_is_written_to_only_while_the_socket_is_open(conn: bool) -> None:
    protocol = Uvicorn(conn=conn)
    found = lane(protocol.send)
    with pytest.raises(ConnectionError):
        found.write(b"before the accept")
    protocol.keeper.state = State.OPEN
    found.write(b"a")
    protocol.keeper.state = State.CLOSING
    with pytest.raises(ConnectionError):
        found.write(b"after the close frame")
    protocol.keeper.state = State.OPEN
    protocol.transport.is_over = True
    with pytest.raises(ConnectionError):
        found.write(b"into a closing transport")
    assert protocol.transport.written == [b"a"]


@pytest.mark.parametrize(("owner", "name", "value"), [("", "state", 2), ("transport", "disconnecting", True)])
def test_daphne_is_written_to_only_while_the_socket_is_open(owner: str, name: str, value: Any) -> None:
    protocol = Daphne(Tcp())
    found = lane(protocol.send)
    found.write(b"a")
    setattr(getattr(protocol, owner, protocol), name, value)
    with pytest.raises(ConnectionError):
        found.write(b"b")
    assert protocol.transport.sent == [b"a"]


@pytest.mark.parametrize(("room", "rest"), [(1000, b""), (2, b"cdef"), (0, b"abcdef"), (OSError(), b"abcdef")])
def test_daphne_is_left_what_the_kernel_does_not_take(room: Any, rest: bytes) -> None:
    protocol = Daphne(Tcp(room))
    found = lane(protocol.send)
    found.write(b"abcdef")
    assert protocol.transport.dataBuffer == rest
    assert found.backlog() == len(rest)


def test_daphne_is_left_all_that_comes_while_it_is_behind() -> None:
    protocol = Daphne(Tcp(2))
    found = lane(protocol.send)
    for data in (b"abc", b"de"):
        found.write(data)
    assert (protocol.transport.sent, protocol.transport.dataBuffer) == ([b"ab"], b"cde")


def test_what_daphne_has_put_off_itself_goes_first() -> None:
    protocol = Daphne(Tcp())
    protocol.send_queue.append(b"earlier")
    lane(protocol.send).write(b"later")
    assert (protocol.queued, protocol.transport.sent) == ([b"later"], [])


def test_nothing_goes_past_a_transport_that_encrypts() -> None:
    protocol = Daphne(Tls())
    lane(protocol.send).write(b"secret")
    assert protocol.transport.encrypted == [b"secret"]
    assert protocol.transport.below.sent == []


def test_the_fast_lane_can_be_turned_off() -> None:
    found = wire.find(Uvicorn(conn=True).send, fast=False)
    assert found is not None
    assert not isinstance(found, wire.Lane)


def test_an_unknown_server_is_told_of_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_told", set())
    with caplog.at_level("INFO", "realtime.wire"):
        for _ in range(3):
            assert not isinstance(wire.find(Protocol(ASYNCIO).send), wire.Lane)
            assert wire.find(reply) is None
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(",")[0] for line in lines] == [
        "no fast lane under tests.test_wire.Protocol",
        "no fast lane under builtins.function",
    ]
