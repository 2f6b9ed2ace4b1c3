"""A server that ends lets nobody in, and says so without a traceback.

The interpreter shuts the executors of its threads before it asks anybody else to end. Under runserver's reloader the
loop, with its sockets, goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from channels.testing import WebsocketCommunicator

from realtime import Channel, Presence, Router, Socket, abroadcast, channel, handle_in, handle_info, user_passes_test
from realtime.connection import Connection
from realtime.consumers.longpoll import LongPollConsumer
from realtime.consumers.websocket import SocketConsumer
from realtime.exceptions import ServerEnding
from realtime.guard import Guard
from realtime.node import Node
from realtime.workers import Workers
from tests.test_guard import Member
from tests.wire import Wire

Connect = Callable[..., Awaitable[Wire]]


@pytest.fixture
def end_interpreter(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Do what the interpreter does first when it ends: from now on no executor takes anything."""
    return lambda: monkeypatch.setattr("concurrent.futures.thread._shutdown", True)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nobody reads of an end as of an error."""
    caplog.set_level(logging.DEBUG, "realtime")
    yield
    records = [record for phase in ("setup", "call", "teardown") for record in caplog.get_records(phase)]
    said = [record for record in records if record.levelno > logging.INFO or record.exc_info]
    assert not said, [record.getMessage() for record in said]


def nothing() -> None: ...


# The workers


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    workers = Workers(2)
    yield workers
    workers.close()


async def test_once_the_interpreter_ends_nothing_that_blocks_begins(
    workers: Workers, end_interpreter: Callable[[], None]
) -> None:
    await workers.call(nothing)  # a thread is there
    end_interpreter()
    for _ in range(5):  # more than there are threads
        with pytest.raises(ServerEnding):
            await asyncio.wait_for(workers.call(nothing), 5)


async def test_what_does_not_block_goes_on(workers: Workers, end_interpreter: Callable[[], None]) -> None:
    end_interpreter()

    async def handler() -> str:
        return "answered"

    assert await workers.call(handler) == "answered"


async def test_what_has_blocked_before_returns_what_it_returns(
    workers: Workers, end_interpreter: Callable[[], None]
) -> None:
    async def handler() -> str:
        await sync_to_async(nothing)()
        end_interpreter()
        with pytest.raises(ServerEnding):
            await sync_to_async(nothing)()
        return "answered"

    assert await workers.call(handler) == "answered"


@pytest.mark.parametrize("how", ["closed", "interpreter"])
async def test_who_waits_for_a_thread_does_not_wait_for_ever(
    workers: Workers, end_interpreter: Callable[[], None], how: str
) -> None:
    held = threading.Event()
    busy = [asyncio.create_task(workers.call(held.wait, 5)) for _ in range(2)]
    await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(workers.call(nothing)) for _ in range(3)]
    await asyncio.sleep(0.01)
    if how == "closed":
        workers.close()
    else:
        end_interpreter()
    held.set()
    assert await asyncio.gather(*busy) == [True, True]
    answers = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
    assert [type(answer) for answer in answers] == [ServerEnding] * 3


async def test_workers_that_are_closed_begin_no_thread(workers: Workers) -> None:
    workers.close()
    with pytest.raises(ServerEnding):
        await asyncio.wait_for(workers.call(nothing), 5)


async def test_a_system_without_more_threads_is_no_end(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="can't start new thread"):
        patch.setattr(threading.Thread, "start", start)
        await workers.call(nothing)


# Who comes


class Named(Socket):
    def id(self) -> str:
        return "users:7"


class Guarded(Socket):
    def connect(self, params: Any) -> None: ...


@pytest.mark.parametrize("socket", [Named, Guarded])
@pytest.mark.parametrize("query", ["vsn=2.0.0", "vsn=2.0.0&refusal=1"], ids=["", "asks why"])
async def test_a_socket_is_told_to_come_back(
    connect: Connect, end_interpreter: Callable[[], None], socket: type[Socket], query: str
) -> None:
    end_interpreter()
    consumer = SocketConsumer.as_asgi(router=Router("/ws", [], socket=socket))
    assert await WebsocketCommunicator(consumer, f"/ws/websocket?{query}").connect(5) == (False, 4012)


async def test_a_socket_with_a_session_is_told_to_come_back(
    connect: Connect, end_interpreter: Callable[[], None]
) -> None:
    end_interpreter()
    consumer = SocketConsumer.as_asgi(router=Router("/ws", []))
    headers = [(b"cookie", b"sessionid=some")]
    communicator = WebsocketCommunicator(consumer, "/ws/websocket?vsn=2.0.0", headers=headers)
    assert await communicator.connect(5) == (False, 4012)


async def test_who_polls_is_told_to_try_again(connect: Connect, end_interpreter: Callable[[], None]) -> None:
    end_interpreter()
    consumer = LongPollConsumer.as_asgi(router=Router("/ws", [], socket=Named))
    scope = {"type": "http", "method": "GET", "path": "/ws/longpoll", "query_string": b"vsn=2.0.0"}
    communicator = ApplicationCommunicator(consumer, {**scope, "headers": [(b"host", b"testserver")]})
    await communicator.send_input({"type": "http.request", "body": b""})
    await communicator.receive_output(5)
    assert b'"status":500' in (await communicator.receive_output(5))["body"]
    await communicator.wait()


# Who is in


def passes(user: Any) -> bool:
    return True


class People(Presence):
    def fetch(self, topic: str, entries: Any) -> Any:
        return entries


class Room(Channel):
    async def join(self, payload: Any) -> None:
        await self.subscribe("news")

    @handle_in("write")
    def write(self) -> Any:
        return {}

    @handle_info("news")
    def news(self, payload: Any) -> None: ...

    def terminate(self, reason: str) -> None: ...


class Greeting(Channel):
    async def join(self, payload: Any) -> None: ...
    def after_join(self, payload: Any) -> None: ...


class Late(Channel):
    def join(self, payload: Any) -> None: ...


@user_passes_test(passes)
class Watched(Channel):
    async def join(self, payload: Any) -> None: ...


class Lobby(Channel):
    presence = People()

    async def join(self, payload: Any) -> None:
        await self.presence.track("ada", {})


class Renewable(Socket):
    def renew(self, token: str) -> None: ...


router = Router(
    "/ws",
    [
        channel("room", Room),
        channel("late", Late),
        channel("greeting", Greeting),
        channel("watched", Watched),
        channel("lobby", Lobby),
    ],
    socket=Renewable,
)
UNAVAILABLE = {"status": "error", "response": {"reason": "unavailable"}}


async def test_what_a_client_asks_is_answered_that_it_cannot_be_done_now(
    connect: Connect, end_interpreter: Callable[[], None]
) -> None:
    wire = await connect(router)
    await wire.join("room")
    end_interpreter()
    await wire.send("1", "2", "room", "write", {})
    assert await wire.receive() == ["1", "2", "room", "phx_reply", UNAVAILABLE]
    await wire.send("3", "3", "late", "phx_join", {})
    assert await wire.receive() == ["3", "3", "late", "phx_reply", UNAVAILABLE]


async def test_what_nobody_asked_for_is_left_undone(connect: Connect, end_interpreter: Callable[[], None]) -> None:
    wire = await connect(router)
    await wire.join("room")
    await wire.join("watched", ref="2")
    end_interpreter()
    await wire.join("greeting", ref="3")
    await abroadcast("news", "news", {})
    await wire.send(None, "4", "phoenix", "renew", {"token": "new"})
    node = Node.current()
    [connection] = [member for member in node.wheel.members() if isinstance(member, Connection)]
    [watched] = connection.topics()
    await watched.recheck(node.workers.call)
    await wire.ping()
    await wire.close()  # of which a channel's terminate is told
    await node.idle()


async def test_who_is_here_is_told_without_what_the_database_knows(
    connect: Connect, end_interpreter: Callable[[], None]
) -> None:
    end_interpreter()
    wire = await connect(router)
    await wire.join("lobby")
    state = await wire.receive()
    assert state[3] == "presence_state"
    assert state[4].keys() == {"ada"}


async def test_nobody_is_looked_at_any_more(end_interpreter: Callable[[], None]) -> None:
    end_interpreter()
    guard = Guard(1000.0)
    guard.add(Member("some"))
    guard.ask()
    [looking] = guard._tasks
    await asyncio.wait_for(looking, 5)
    await guard.aclose()
