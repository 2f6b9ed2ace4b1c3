"""What an author gets wrong is contained: in the channel, at worst; never in the socket, the pool or the process."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis
from asgiref.sync import sync_to_async
from django.urls import register_converter
from django.urls.converters import StringConverter, get_converters

from realtime import Channel, InvalidEvent, Refused, Router, Socket, broadcast, channel, handle_in
from realtime.actor import AHEAD
from realtime.node import Node
from tests.test_channels import CRASHED, OK, Open, refused, routed
from tests.test_handshake import answer
from tests.wire import Wire

Connect = Callable[..., Awaitable[Wire]]


def beside(handler: type[Channel], **options: Any) -> Router:
    return Router("/ws", [channel("t:<part:name>", handler), channel("other", Fine)], **options)


class Fine(Channel):
    async def join(self, payload: Any) -> None:
        pass

    @handle_in("echo")
    async def echo(self, payload: Any) -> Any:
        return payload


async def both_joined(connect: Connect, handler: type[Channel]) -> Wire:
    wire = await connect(beside(handler))
    await wire.join("other", ref="o")
    await wire.join("t:a", ref="1")
    return wire


async def other_lives(wire: Wire) -> None:
    await wire.send("o", "e", "other", "echo", {})
    assert await wire.receive() == ["o", "e", "other", "phx_reply", OK]


async def test_an_init_that_raises_is_a_join_that_crashed(connect: Connect) -> None:
    class Broken(Open):
        def __init__(self, *args: Any) -> None:
            raise RuntimeError("init")

    wire = await connect(beside(Broken))
    await wire.join("other", ref="o")
    await wire.send("1", "1", "t:a", "phx_join", {})
    assert await wire.receive() == ["1", "1", "t:a", "phx_reply", refused("join crashed")]
    await other_lives(wire)


async def test_a_converter_that_raises_matches_nothing(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(StringConverter):
        regex = "[a-z]+"

        def to_python(self, value: str) -> str:
            raise KeyError(value)

    if "broken" not in get_converters():
        register_converter(Broken, "broken")
    wire = await connect(Router("/ws", [channel("t:<broken:name>", Open), channel("other", Fine)]))
    await wire.join("other", ref="o")
    await wire.send("1", "1", "t:a", "phx_join", {})
    assert await wire.receive() == [None, "1", "t:a", "phx_reply", refused("unmatched topic")]
    await other_lives(wire)
    assert "failed to match 't:a'" in caplog.text


async def test_something_cancelled_that_a_handler_awaits_is_a_crash(connect: Connect) -> None:
    class Broken(Open):
        @handle_in("await")
        async def wait(self) -> None:
            task = asyncio.create_task(asyncio.sleep(60))
            task.cancel()
            await task

    wire = await both_joined(connect, Broken)
    await wire.send("1", "2", "t:a", "await", {})
    assert await wire.receive() == ["1", "1", "t:a", "phx_error", CRASHED]
    await other_lives(wire)


async def test_something_cancelled_that_a_join_awaits_is_answered(connect: Connect) -> None:
    class Broken(Channel):
        async def join(self, payload: Any, name: str) -> None:
            raise asyncio.CancelledError

    wire = await connect(routed(Broken))
    await wire.send("1", "1", "t:a", "phx_join", {})
    assert await wire.receive() == ["1", "1", "t:a", "phx_reply", refused("join crashed")]


@pytest.mark.parametrize("event", ["async", "sync"])
async def test_a_handler_cannot_end_the_process(connect: Connect, event: str) -> None:
    class Broken(Open):
        @handle_in("async")
        async def exit_async(self) -> None:
            sys.exit(3)

        @handle_in("sync")
        def exit_sync(self) -> None:
            sys.exit(3)

    wire = await both_joined(connect, Broken)
    await wire.send("1", "2", "t:a", event, {})
    assert await wire.receive() == ["1", "1", "t:a", "phx_error", CRASHED]
    await other_lives(wire)


async def test_a_leave_gets_through_a_full_mailbox(connect: Connect, settings: Any) -> None:
    settings.REALTIME = {"ROUTER": "chatty.routing.router", "MAILBOX": 1}
    started, release = asyncio.Event(), asyncio.Event()
    ended: list[str] = []

    class Room(Open):
        @handle_in("wait")
        async def wait(self) -> None:
            started.set()
            await release.wait()

        async def terminate(self, reason: str) -> None:
            ended.append(reason)

    wire = await connect(routed(Room))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "wait", {})
    await started.wait()
    await wire.send("1", "3", "t:a", "wait", {})
    await wire.send("1", "4", "t:a", "wait", {})
    assert await wire.receive() == ["1", "4", "t:a", "phx_reply", refused("overloaded")]
    await wire.send("1", "5", "t:a", "phx_leave", {})
    await wire.ping()
    release.set()
    assert await wire.receive() == ["1", "5", "t:a", "phx_reply", OK]
    assert await wire.receive() == ["1", "1", "t:a", "phx_close", {}]
    assert ended == ["left"]


async def test_the_join_reply_comes_first_even_when_the_mailbox_is_full(connect: Connect, settings: Any) -> None:
    settings.REALTIME = {"ROUTER": "chatty.routing.router", "MAILBOX": 1}
    release = asyncio.Event()

    class Room(Open):
        async def join(self, payload: Any, name: str) -> None:
            await release.wait()

    wire = await connect(routed(Room))
    await wire.send("1", "1", "t:a", "phx_join", {})
    for ref in "234":
        await wire.send("1", ref, "t:a", "x", {})
    await wire.ping()
    release.set()
    assert await wire.receive() == ["1", "1", "t:a", "phx_reply", OK]


async def test_events_of_every_base_are_handled(connect: Connect) -> None:
    class Mixin:
        @handle_in("mixed")
        async def mixed(self) -> Any:
            return {"from": "mixin"}

    class First(Open):
        @handle_in("first")
        async def first(self) -> Any:
            return {"from": "first"}

    class Second(Open):
        @handle_in("second")
        async def second(self) -> Any:
            return {"from": "second"}

    class Room(Mixin, First, Second):
        async def first(self) -> Any:  # the mark is inherited with the name
            return {"from": "room"}

    wire = await connect(routed(Room))
    await wire.join("t:a")
    for event, answered in (("mixed", "mixin"), ("first", "room"), ("second", "second")):
        await wire.send("1", event, "t:a", event, {})
        assert (await wire.receive())[4] == {"status": "ok", "response": {"from": answered}}


@pytest.mark.parametrize("where", ["join", "event"])
async def test_a_refusal_that_cannot_be_sent_is_a_refusal_all_the_same(connect: Connect, where: str) -> None:
    class Room(Channel):
        async def join(self, payload: Any, name: str) -> None:
            if where == "join":
                raise Refused({"reason": object()})

        @handle_in("event")
        async def event(self) -> None:
            raise Refused({"reason": object()})

    wire = await connect(routed(Room))
    await wire.send("1", "1", "t:a", "phx_join", {})
    if where == "event":
        assert (await wire.receive())[4] == OK
        await wire.send("1", "1", "t:a", "event", {})
    assert await wire.receive() == ["1", "1", "t:a", "phx_reply", refused("refused")]


@pytest.mark.parametrize("event", ["", "phx_close", "phx_reply", 5, None])
async def test_an_event_of_the_protocols_own_cannot_be_sent(connect: Connect, event: Any) -> None:
    class Room(Open):
        async def after_join(self, payload: Any) -> None:
            for verb in (self.push, self.broadcast, self.broadcast_from):
                with pytest.raises(InvalidEvent, match="an event is a name"):
                    await verb(event)
            await self.push("raised")

    wire = await connect(routed(Room))
    await wire.join("t:a")
    assert (await wire.receive())[3] == "raised"
    with pytest.raises(InvalidEvent):
        broadcast("t:a", event)


async def test_a_reason_to_stop_is_made_a_word(connect: Connect) -> None:
    class Room(Open):
        @handle_in("stop")
        async def stop_it(self) -> None:
            await self.stop(7)  # type: ignore[arg-type]

    wire = await connect(routed(Room))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "stop", {})
    assert await wire.receive() == ["1", "1", "t:a", "phx_close", {"reason": "7"}]


async def test_a_thread_that_hangs_is_given_to_nobody_else(connect: Connect, settings: Any) -> None:
    settings.REALTIME = {"ROUTER": "chatty.routing.router", "SHUTDOWN": 0.05, "THREADS": 2}
    hung, release = threading.Event(), threading.Event()

    class Room(Channel):
        def join(self, payload: Any, name: str) -> None:
            if name == "hangs" and not hung.is_set():
                hung.set()
                release.wait(10)

    wire = await connect(routed(Room))
    await wire.send("1", "1", "t:hangs", "phx_join", {})
    await asyncio.to_thread(hung.wait, 5)
    await wire.send("2", "2", "t:hangs", "phx_join", {})  # as phoenix.js does when a join times out
    for ref in "34567":
        await wire.send(ref, ref, f"t:{ref}", "phx_join", {})
    answered = {(await wire.receive())[1] for _ in range(5)}
    assert answered >= set("34567") - {"7"}
    release.set()


async def test_handlers_that_wait_for_something_else_lend_their_threads(connect: Connect, settings: Any) -> None:
    settings.REALTIME = {"ROUTER": "chatty.routing.router", "THREADS": 2}
    release = asyncio.Event()

    class Room(Open):
        @handle_in("stream")
        async def stream(self) -> Any:
            before = await sync_to_async(threading.get_ident)()
            await release.wait()  # a minute of somebody else's time
            await sync_to_async(threading.get_ident)()
            return {"thread": bool(before)}

        @handle_in("quick")
        def quick(self) -> Any:
            return {}

    wire = await connect(routed(Room))
    for name in "abcdef":
        await wire.join(f"t:{name}", ref=name)
        await wire.send(name, name, f"t:{name}", "stream", {})
    await wire.join("t:z", ref="z")
    await wire.send("z", "9", "t:z", "quick", {})
    assert await wire.receive() == ["z", "9", "t:z", "phx_reply", OK]
    release.set()
    assert {(await wire.receive())[2] for _ in range(6)} == {f"t:{name}" for name in "abcdef"}


@pytest.mark.parametrize("returned", [False, True, Refused("no"), {}], ids=["False", "True", "Refused", "dict"])
async def test_a_connect_that_returns_something_lets_nobody_in(returned: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Odd(Socket):
        def connect(self, params: Any) -> Any:
            return returned

    assert (await answer(socket=Odd))[0] is False
    assert "it lets in by returning nothing, or raises Refused" in caplog.text


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
async def test_an_id_that_raises_refuses_whatever_is_logged(level: int, caplog: pytest.LogCaptureFixture) -> None:
    class Nameless(Socket):
        def id(self) -> str:
            raise LookupError("no name")

    caplog.set_level(level, "realtime")
    assert (await answer(socket=Nameless))[0] is False
    assert "no name" in caplog.text


@pytest.mark.parametrize(
    ("subprotocols", "token"),
    [
        (["phoenix", "base64url.bearer.phx.c2VjcmV0"], "secret"),
        (["phoenix", "base64url.bearer.phx.8J-Qrj8_Pw"], "🐮???"),
        (["phoenix", "base64url.bearer.phx.8J+Qrj8/Pw"], "🐮???"),
        (["phoenix", "base64url.bearer.phx."], ""),
        (["phoenix"], None),
        (["phoenix", "base64url.bearer.phx.YQ", "base64url.bearer.phx.Yg"], None),
        (["phoenix", "base64url.bearer.phx.%%%"], None),
        (["phoenix", "base64url.bearer.phx._w"], None),
    ],
)
async def test_a_socket_knows_the_token_that_was_offered(subprotocols: list[str], token: str | None) -> None:
    seen: list[str | None] = []

    class Asked(Socket):
        def connect(self, params: Any) -> None:
            seen.append(self.auth_token)

    assert await answer(socket=Asked, subprotocols=subprotocols) == (True, "phoenix")
    assert seen == [token]


async def test_what_waits_for_an_echo_is_forgotten_when_the_engine_refuses(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Room(Open):
        @handle_in("shout")
        async def shout(self) -> None:
            await self.broadcast("heard")

    def away(*args: Any) -> asyncio.Future[int]:
        refused = asyncio.get_running_loop().create_future()
        refused.set_exception(redis.ConnectionError("away"))
        return refused

    wire = await connect(routed(Room))
    await wire.join("t:a")
    node = Node.current()
    with monkeypatch.context() as patch:
        patch.setattr(node.layer, "put", away)
        for _ in range(10):
            await wire.send("1", "2", "t:a", "shout", {})
            assert await wire.receive() == ["1", "2", "t:a", "phx_reply", refused("unavailable")]
    assert all(sent.is_done for sent in node.echoes._awaited["t:a"].values())


# A broadcast that fails once its handler has gone on


class Failing:
    """An engine that takes what is published, and refuses it later."""

    def __init__(self) -> None:
        self.asked: list[asyncio.Future[int]] = []

    def put(self, *args: Any) -> asyncio.Future[int]:
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]

    async def refuse(self) -> None:
        async with asyncio.timeout(5):
            while not self.asked:
                await asyncio.sleep(0.01)
        for asked in self.asked:
            asked.set_exception(redis.ConnectionError("away"))


async def test_the_reply_tells_of_a_broadcast_that_failed_later_and_the_next_does_not(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    went_on = asyncio.Event()

    class Room(Open):
        @handle_in("shout")
        async def shout(self) -> dict[str, bool]:
            await self.broadcast("heard")
            went_on.set()
            return {"done": True}

        @handle_in("ask")
        async def ask(self) -> dict[str, bool]:
            return {"asked": True}

    wire = await connect(routed(Room))
    await wire.join("t:a")
    failing = Failing()
    with monkeypatch.context() as patch:
        patch.setattr(Node.current().layer, "put", failing.put)
        await wire.send("1", "2", "t:a", "shout", {})
        await asyncio.wait_for(went_on.wait(), 5)  # while nothing is known of its broadcast
        await wire.send("1", "3", "t:a", "ask", {})
        await failing.refuse()
        assert await wire.receive() == ["1", "2", "t:a", "phx_reply", refused("unavailable")]
        assert await wire.receive() == ["1", "3", "t:a", "phx_reply", {"status": "ok", "response": {"asked": True}}]


async def test_a_channel_ends_whose_after_join_could_not_broadcast(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Room(Open):
        async def after_join(self, payload: Any) -> None:
            await self.broadcast("entered")

    wire = await connect(routed(Room))
    await wire.join("t:b")
    assert (await wire.receive())[3] == "entered"
    failing = Failing()
    with monkeypatch.context() as patch:
        patch.setattr(Node.current().layer, "put", failing.put)
        await wire.join("t:a")
        await failing.refuse()
        assert await wire.receive() == ["1", "1", "t:a", "phx_error", {"reason": "unavailable"}]


async def test_a_handler_does_not_run_far_ahead_of_its_broadcasts(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = 0

    class Room(Open):
        @handle_in("flood")
        async def flood(self) -> None:
            nonlocal made
            for _ in range(1000):
                await self.broadcast("heard")
                made += 1

    wire = await connect(routed(Room))
    await wire.join("t:a")
    failing = Failing()
    with monkeypatch.context() as patch:
        patch.setattr(Node.current().layer, "put", failing.put)
        await wire.send("1", "2", "t:a", "flood", {})
        await asyncio.sleep(0.1)
        assert made == AHEAD
        await failing.refuse()
        assert await wire.receive() == ["1", "2", "t:a", "phx_reply", refused("unavailable")]
