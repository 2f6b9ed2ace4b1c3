"""Once a socket or a topic was told to go no handler begins, whatever it waits for, and what one says is not sent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from realtime import (
    Channel,
    Presence,
    Router,
    abroadcast,
    adisconnect,
    channel,
    handle_in,
    handle_out,
    user_passes_test,
)
from realtime.attendance import Guest
from realtime.connection import Connection
from realtime.node import Node
from tests.test_dismissal import DISMISSED, Named, heard
from tests.wire import Wire

Connect = Callable[..., Awaitable[Wire]]

TOPIC, CLOSE = "t:a", ["1", "1", "t:a", "phx_close", {"reason": "banned"}]


class Scene:
    """What the channels below wait for, and what they have done."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.began, self.go = asyncio.Event(), asyncio.Event()
        self.thread = threading.Event()

    async def pause(self) -> None:
        self.began.set()
        await self.go.wait()


scene: Scene


@pytest.fixture(autouse=True)
async def fresh() -> AsyncIterator[None]:
    global scene
    scene = Scene()
    yield
    scene.go.set()
    scene.thread.set()


async def passes(user: Any) -> bool:
    await scene.pause()
    return True


class Room(Channel):
    async def join(self, payload: Any, name: str) -> None:
        pass

    @handle_in("hold")
    def hold(self) -> None:
        scene.done.append("hold")
        scene.thread.wait(10)

    @handle_in("write")
    def write(self) -> None:
        scene.done.append("write")

    @handle_in("tested")
    @user_passes_test(passes)
    async def tested(self) -> None:
        scene.done.append("tested")

    @handle_in("talk")
    async def talk(self, payload: Any) -> Any:
        ref = self.ref
        if payload == "stop":
            await self.stop("mine")
        await scene.pause()
        if payload == "crash":
            raise LookupError
        await self.push("secret")
        await self.reply(ref, {"secret": 1})
        return {"secret": 2}

    @handle_in("talk in a thread")
    def talk_in_a_thread(self) -> Any:
        scene.done.append("talks")
        scene.thread.wait(10)
        async_to_sync(self.push)("secret")
        return {"secret": 2}

    @handle_out("news")
    async def news(self, payload: Any) -> Any:
        await scene.pause()
        return payload


class Guarded(Channel):
    @user_passes_test(passes)
    async def join(self, payload: Any, name: str) -> None:
        scene.done.append("join")

    @handle_in("slow")
    async def slow(self) -> None:
        await scene.pause()

    async def terminate(self, reason: str) -> None:
        scene.done.append("terminate")


class Slow(Channel):
    async def join(self, payload: Any, name: str) -> Any:
        await scene.pause()
        return {"secret": 1}

    async def terminate(self, reason: str) -> None:
        scene.done.append(reason)


class Greeting(Channel):
    """Reads what was said, and sends it, once the client is in; as the chat does."""

    async def join(self, payload: Any, name: str) -> None: ...

    async def after_join(self) -> None:
        await scene.pause()
        await self.push("history", {"secret": 1})


class Crowded(Channel):
    presence = Presence()

    async def join(self, payload: Any, name: str) -> None:
        await self.presence.track("bob", {})


class Stuck(Room):
    async def terminate(self, reason: str) -> None:
        await scene.pause()


ROUTES = [channel("t:<part:name>", Room), channel("guarded:<part:name>", Guarded), channel("slow:<part:name>", Slow)]
ROUTES += [
    channel("greeting:<part:name>", Greeting),
    channel("crowded:<part:name>", Crowded),
    channel("stuck:<part:name>", Stuck),
]
ROUTER = Router("/ws", ROUTES, socket=Named)


async def connected(connect: Connect, user: str = "7") -> Wire:
    wire: Wire = await connect(ROUTER, query=f"vsn=2.0.0&user={user}")
    await heard(Node.current())
    return wire


async def joined(connect: Connect, user: str = "7") -> Wire:
    wire = await connected(connect, user)
    await wire.join(TOPIC)
    return wire


def member(user: str = "7") -> Connection:
    [found] = Node.current().warden._by_id[f"users:{user}"]
    assert isinstance(found, Connection)
    return found


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0)


# What waits does not begin


@pytest.mark.parametrize("verb", ["disconnect", "kick"])
async def test_a_handler_that_waits_for_a_thread(connect: Connect, settings: Any, verb: str) -> None:
    settings.REALTIME = {**settings.REALTIME, "THREADS": 1}
    busy, mine = await joined(connect, "8"), await joined(connect)
    workers = Node.current().workers
    await busy.send("1", "2", TOPIC, "hold", {})
    await until(lambda: scene.done)
    await mine.send("1", "2", TOPIC, "write", {})
    await until(lambda: workers._waiting)
    if verb == "disconnect":
        await adisconnect("users:7")
        assert await mine.closed() == DISMISSED
    else:
        member().expel(TOPIC, "banned")
    scene.thread.set()
    await workers.call(lambda: None)  # its turn in the one thread comes after that of all who wait
    assert scene.done == ["hold"]
    if verb == "kick":
        assert await mine.receive() == CLOSE


@pytest.mark.parametrize("is_resynced", [False, True])
async def test_a_handler_that_waits_for_its_test(connect: Connect, is_resynced: bool) -> None:
    mine = await joined(connect)
    await mine.send("1", "2", TOPIC, "tested", {})
    await scene.began.wait()
    if is_resynced:
        member()._actors[TOPIC].resync()
        assert (await mine.receive())[3] == "phx_error"
    member().expel(TOPIC, "banned")
    scene.go.set()
    await until(lambda: not member()._actors)
    assert scene.done == []
    if not is_resynced:
        assert await mine.receive() == CLOSE
    await mine.ping()


async def test_a_join_that_waits_for_its_test_and_owes_no_terminate(connect: Connect) -> None:
    mine = await connected(connect)
    await mine.send("1", "1", "guarded:a", "phx_join", {})
    await scene.began.wait()
    await adisconnect("users:7")
    assert await mine.closed() == DISMISSED
    scene.go.set()
    await Node.current().idle()
    assert scene.done == []


async def test_a_join_that_waits_for_its_test_is_answered_where_its_socket_stays(connect: Connect) -> None:
    mine = await connected(connect)
    await mine.send("1", "1", "guarded:a", "phx_join", {})
    await scene.began.wait()
    member().expel("guarded:a", "banned")
    scene.go.set()
    refusal = {"status": "error", "response": {"reason": "banned", "retry": False}}
    assert await mine.receive() == ["1", "1", "guarded:a", "phx_reply", refusal]
    assert await mine.receive() == ["1", "1", "guarded:a", "phx_close", {"reason": "banned"}]
    await mine.ping()
    assert scene.done == []


async def test_a_join_that_waits_for_the_channel_that_it_replaces_is_not_even_tested(connect: Connect) -> None:
    mine = await connected(connect)
    scene.go.set()
    await mine.join("guarded:a")
    scene.began, scene.go = asyncio.Event(), asyncio.Event()
    await mine.send("1", "2", "guarded:a", "slow", {})
    await scene.began.wait()
    await mine.send("9", "9", "guarded:a", "phx_join", {})
    await mine.ping()
    scene.began.clear()
    member().expel("guarded:a", "banned")
    scene.go.set()
    assert (await mine.receive())[:4] == ["1", "1", "guarded:a", "phx_close"]
    refusal = {"status": "error", "response": {"reason": "banned", "retry": False}}
    assert await mine.receive() == ["9", "9", "guarded:a", "phx_reply", refusal]
    assert not scene.began.is_set()
    assert scene.done == ["join", "terminate"]


# What runs on is not heard


@pytest.mark.parametrize("how", ["", "crash"], ids=["talks", "crashes"])
async def test_a_handler_that_goes_on_after_its_socket_was_dismissed(connect: Connect, how: str) -> None:
    mine = await joined(connect)
    await mine.send("1", "2", TOPIC, "talk", how)
    await scene.began.wait()
    member().dismiss()
    scene.go.set()  # at once: the socket is not closed yet
    assert await mine.closed() == DISMISSED


@pytest.mark.parametrize("how", ["", "crash", "stop"], ids=["talks", "crashes", "has stopped"])
async def test_a_handler_that_goes_on_after_a_kick(connect: Connect, how: str) -> None:
    mine = await joined(connect)
    await mine.send("1", "2", TOPIC, "talk", how)
    await scene.began.wait()
    member().expel(TOPIC, "banned")
    scene.go.set()
    reason = "mine" if how == "stop" else "banned"
    assert await mine.receive() == ["1", "1", TOPIC, "phx_close", {"reason": reason}]
    await mine.ping()


async def test_a_handler_that_goes_on_in_its_thread(connect: Connect) -> None:
    mine = await joined(connect)
    await mine.send("1", "2", TOPIC, "talk in a thread", {})
    await until(lambda: scene.done)
    member().expel(TOPIC, "banned")
    scene.thread.set()
    assert await mine.receive() == CLOSE
    await mine.ping()


async def test_what_handle_out_was_about_to_pass_on(connect: Connect) -> None:
    mine = await joined(connect)
    await abroadcast(TOPIC, "news", {"secret": 1})
    await scene.began.wait()
    member().expel(TOPIC, "banned")
    scene.go.set()
    assert await mine.receive() == CLOSE
    await mine.ping()


async def test_a_join_that_has_begun_lets_nobody_in_and_is_owed_a_terminate(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = await connected(connect)
    monkeypatch.setattr(Node.current().hub, "subscribe", None)  # not called
    await mine.send("1", "1", "slow:a", "phx_join", {})
    await scene.began.wait()
    member().expel("slow:a", "banned")
    scene.go.set()
    refusal = {"status": "error", "response": {"reason": "banned", "retry": False}}
    assert await mine.receive() == ["1", "1", "slow:a", "phx_reply", refusal]
    assert (await mine.receive())[3] == "phx_close"
    assert scene.done == ["banned"]


async def test_what_was_heard_before_the_join_was_answered(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told to go between the subscription and the reply; what was broadcast meanwhile is not for it."""
    mine = await connected(connect)
    node = Node.current()
    subscribe = node.hub.subscribe

    async def slow(topic: str, subscriber: Any, **options: Any) -> None:
        await subscribe(topic, subscriber, **options)
        await abroadcast(topic, "secret")
        await until(lambda: subscriber._held)
        subscriber.expel("banned")

    monkeypatch.setattr(node.hub, "subscribe", slow)
    scene.go.set()
    await mine.send("1", "1", "slow:a", "phx_join", {})
    assert (await mine.receive())[4]["status"] == "error"
    assert (await mine.receive())[3] == "phx_close"
    await mine.ping()


async def test_what_was_said_while_its_join_waited_to_be_seen(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does in a crowd that rests between two diffs."""
    enter = Guest.enter

    async def slow(guest: Guest) -> None:
        await enter(guest)
        await scene.pause()

    monkeypatch.setattr(Guest, "enter", slow)
    mine = await connected(connect)
    await mine.send("1", "1", "crowded:a", "phx_join", {})
    await scene.began.wait()
    actor = member()._actors["crowded:a"]
    member().expel("crowded:a", "banned")
    await abroadcast("crowded:a", "secret")
    await until(lambda: any("secret" in str(frame) for burst in actor._held for frame in burst.frames))
    scene.go.set()
    assert (await mine.receive())[4]["status"] == "error"
    assert (await mine.receive())[3] == "phx_close"
    await mine.ping()


async def test_what_after_join_goes_on_to_push(connect: Connect) -> None:
    mine = await connected(connect)
    await mine.join("greeting:a")
    await scene.began.wait()
    member().expel("greeting:a", "banned")
    scene.go.set()
    assert await mine.receive() == ["1", "1", "greeting:a", "phx_close", {"reason": "banned"}]
    await mine.ping()


async def test_the_close_is_sent_where_terminate_hangs_and_is_cancelled(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    mine = await connected(connect)
    await mine.join("stuck:a")
    actor = member()._actors["stuck:a"]
    member().expel("stuck:a", "banned")
    await scene.began.wait()
    with caplog.at_level("INFO", "realtime.channel"):
        await actor.wait(0)
        assert await mine.receive() == ["1", "1", "stuck:a", "phx_close", {"reason": "banned"}]
    assert "LEFT stuck:a Stuck banned" in caplog.messages
    await mine.ping()
