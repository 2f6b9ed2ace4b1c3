from __future__ import annotations

import asyncio
import functools
from enum import Enum
from types import SimpleNamespace
from typing import Any

import pytest
from channels.sessions import InstanceSessionWrapper

from realtime import wire


class Protocol:
    """Has a transport, and an ASGI send, as uvicorn's do."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport

    async def send(self, message: Any) -> None:
        pass


class Wrapper(InstanceSessionWrapper):
    """What channels' session middleware puts around a send."""

    def __init__(self, send: Any) -> None:
        self.real_send = send


class Meddler(Wrapper):
    """One that does more than that."""

    async def send(self, message: Any) -> None:
        pass


def nothing(*_: Any) -> None:
    pass


ASYNCIO = SimpleNamespace(get_write_buffer_size=lambda: 7, abort=nothing, is_closing=nothing, write=nothing)
TWISTED = SimpleNamespace(dataBuffer=b"12345", offset=2, _tempDataLen=4, abortConnection=lambda: None)


class Hypercorn:
    """A WebSocket of hypercorn's, on a connection that is on a transport."""

    def __init__(self, *, alone: bool) -> None:
        self.writer = SimpleNamespace(transport=ASYNCIO)
        self.stream = self if alone else None
        self.send = SimpleNamespace(__self__=SimpleNamespace(stream=self.stream, send=self.app_send))

    async def app_send(self, message: Any) -> None:
        pass


async def reply(protocol: Any, message: Any) -> None:
    pass


@pytest.mark.parametrize(
    "send",
    [
        Protocol(ASYNCIO).send,
        Wrapper(Protocol(ASYNCIO).send).send,
        functools.partial(reply, Protocol(TWISTED)),
        Wrapper(Wrapper(functools.partial(reply, Protocol(TWISTED))).send).send,
        Hypercorn(alone=True).app_send,
    ],
    ids=["uvicorn", "uvicorn, wrapped", "daphne", "daphne, wrapped twice", "hypercorn"],
)
def test_the_backlog_is_read_under_what_is_wrapped(send: Any) -> None:
    assert wire.find(send).get_write_buffer_size() == 7


@pytest.mark.parametrize(
    "send",
    [
        reply,
        functools.partial(reply),
        functools.partial(reply, object()),
        Protocol(None).send,
        functools.partial(reply, Protocol(SimpleNamespace(abortConnection=lambda: None))),
        Meddler(Protocol(ASYNCIO).send).send,
        Hypercorn(alone=False).app_send,
    ],
    ids=[
        "a function",
        "an empty partial",
        "no protocol",
        "no transport",
        "another transport",
        "wrapped by another",
        "hypercorn, HTTP/2",
    ],
)
async def test_under_an_unknown_server_there_is_only_the_task(send: Any) -> None:
    async def serve() -> None:
        found = wire.find(send)
        assert isinstance(found, wire.Application)
        assert found.get_write_buffer_size() == 0
        asyncio.get_running_loop().call_soon(found.abort)
        await asyncio.Event().wait()

    task = asyncio.create_task(serve())
    await asyncio.wait([task])
    assert task.cancelled()


def test_what_an_encrypting_transport_of_asyncio_forgot_is_not_waited_for() -> None:
    closed_twice = SimpleNamespace(**{**vars(ASYNCIO), "get_write_buffer_size": forgotten})
    assert wire.find(Protocol(closed_twice).send).get_write_buffer_size() == 0


def forgotten() -> int:
    raise AttributeError("'NoneType' object has no attribute '_get_write_buffer_size'")


@pytest.mark.parametrize("connected", [True, False])
def test_twisted_is_told_to_abort_only_what_has_not_ended(connected: bool) -> None:
    aborted: list[bool] = []
    tcp = SimpleNamespace(**{**vars(TWISTED), "abortConnection": lambda: aborted.append(True), "connected": connected})
    wire.find(functools.partial(reply, Protocol(tcp))).abort()
    assert aborted == [True] * connected


# The fast lane


class Ours:
    """An asyncio transport that remembers."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.is_over = False
        self.encrypts = False
        self.abort = nothing
        self.write = self.written.append

    def is_closing(self) -> bool:
        return self.is_over

    def get_extra_info(self, name: str) -> Any:
        return object() if name == "sslcontext" and self.encrypts else None

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
    found = wire.find_lane(send)
    assert found is not None
    return found


def test_uvicorn_is_written_to_by_its_own_transport() -> None:
    protocol = Uvicorn(conn=True)
    assert lane(protocol.send) is protocol.transport


@pytest.mark.parametrize("conn", [True, False], ids=["state in conn", "state of its own"])
def test_one_that_encrypts_may_forget_what_waits(conn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ours, "get_write_buffer_size", staticmethod(forgotten))
    protocol = Uvicorn(conn=conn)
    protocol.transport.encrypts = True
    found = lane(protocol.send)
    assert found.get_write_buffer_size() == 0
    assert not conn or not found.is_closing()


def test_websockets_tells_by_its_state_that_it_closes() -> None:
    protocol = Uvicorn(conn=False)
    found = lane(protocol.send)
    assert found.is_closing()
    protocol.keeper.state = State.OPEN
    assert not found.is_closing()
    found.write(b"a")
    protocol.keeper.state = State.CLOSING
    assert found.is_closing()
    protocol.keeper.state = State.OPEN
    protocol.transport.is_over = True
    assert found.is_closing()
    assert protocol.transport.written == [b"a"]


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [("", "state", 2), ("transport", "disconnecting", True), ("transport", "connected", False)],
)
def test_daphne_tells_that_it_closes(owner: str, name: str, value: Any) -> None:
    protocol = Daphne(Tcp())
    found = lane(protocol.send)
    assert not found.is_closing()
    setattr(getattr(protocol, owner, protocol), name, value)
    assert found.is_closing()


@pytest.mark.parametrize(("room", "rest"), [(1000, b""), (2, b"cdef"), (0, b"abcdef"), (OSError(), b"abcdef")])
def test_daphne_is_left_what_the_kernel_does_not_take(room: Any, rest: bytes) -> None:
    protocol = Daphne(Tcp(room))
    found = lane(protocol.send)
    found.write(b"abcdef")
    assert protocol.transport.dataBuffer == rest
    assert found.get_write_buffer_size() == len(rest)


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


async def test_an_unknown_server_is_told_of_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "_told", set())
    with caplog.at_level("INFO", "realtime.wire"):
        for _ in range(3):
            assert wire.find_lane(Protocol(SimpleNamespace()).send) is None
            assert wire.find_lane(reply) is None
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(",")[0] for line in lines] == [
        "no fast lane under tests.test_wire.Protocol",
        "no fast lane under tests.test_wire.reply",
    ]
