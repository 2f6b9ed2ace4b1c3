"""What a channel may do, and what is on the wire when it does: whole frames, on a real engine."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from asgiref.sync import async_to_sync

from realtime import Channel, NotJoined, Refused, Reply, Router, Socket, abroadcast, broadcast, channel, conf, handle_in
from tests import engines
from tests.wire import Wire

Connect = Callable[..., Awaitable[Wire]]

OK: dict[str, Any] = {"status": "ok", "response": {}}
CRASHED = {"reason": "channel_crash"}


def refused(reason: str, **more: Any) -> dict[str, Any]:
    return {"status": "error", "response": {"reason": reason, **more}}


def routed(handler: type[Channel], **options: Any) -> Router:
    return Router("/ws", [channel("t:<part:name>", handler, name="t")], **options)


class Open(Channel):
    async def join(self, payload: Any, name: str) -> Any:
        return None


class Entry(msgspec.Struct):
    username: str


# Joins


async def test_a_join_is_answered_with_what_it_returns(connect: Connect) -> None:
    class Room(Channel):
        async def join(self, payload: Any, name: str) -> Any:
            return {"name": name, "asked": payload, "topic": self.topic, "params": self.params}

    wire = await connect(routed(Room))
    await wire.send("1", "1", "t:a", "phx_join", {"x": 1})
    response = {"name": "a", "asked": {"x": 1}, "topic": "t:a", "params": {"name": "a"}}
    assert await wire.receive() == ["1", "1", "t:a", "phx_reply", {"status": "ok", "response": response}]


async def test_a_join_may_be_refused(connect: Connect) -> None:
    class Room(Channel):
        async def join(self, payload: Any, name: str) -> Any:
            raise Refused("unauthorized", retry=False)

    wire = await connect(routed(Room))
    await wire.send("1", "1", "t:a", "phx_join", {})
    assert await wire.receive() == ["1", "1", "t:a", "phx_reply", refused("unauthorized", retry=False)]
    await wire.send("1", "2", "t:a", "shout", {})
    assert await wire.receive() == [None, "2", "t:a", "phx_reply", refused("unmatched topic")]


async def test_a_join_that_raises_is_answered_join_crashed(connect: Connect) -> None:
    class Room(Channel):
        async def join(self, payload: Any, name: str) -> Any:
            raise RuntimeError("secret")

    wire = await connect(routed(Room))
    await wire.send("1", "1", "t:a", "phx_join", {})
    assert await wire.receive() == ["1", "1", "t:a", "phx_reply", refused("join crashed")]
    await wire.ping()


async def test_nobody_is_let_in_by_default(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    class Room(Channel):
        pass

    wire = await connect(routed(Room))
    await wire.send("1", "1", "t:a", "phx_join", {})
    assert await wire.receive() == ["1", "1", "t:a", "phx_reply", refused("join crashed")]
    assert "Room has no join method" in caplog.text


async def test_a_topic_without_route_is_unmatched(connect: Connect) -> None:
    wire = await connect(routed(Open))
    await wire.send("1", "1", "nothing", "phx_join", {})
    assert await wire.receive() == [None, "1", "nothing", "phx_reply", refused("unmatched topic")]


async def test_a_join_whose_payload_does_not_fit_is_refused(connect: Connect) -> None:
    class Room(Channel):
        async def join(self, payload: Any, name: str) -> Any:
            raise AssertionError("not to be called")

        async def after_join(self, payload: Entry) -> None:
            raise AssertionError("not to be called")

    wire = await connect(routed(Room))
    await wire.send("1", "1", "t:a", "phx_join", {"username": 7})
    detail = {"detail": "username: expected str"}
    assert await wire.receive() == ["1", "1", "t:a", "phx_reply", refused("bad payload", **detail)]


async def test_the_hundred_and_first_topic_is_refused(connect: Connect) -> None:
    wire = await connect(routed(Open))
    for number in range(100):
        await wire.join(f"t:{number}", ref=str(number))
    await wire.send("x", "x", "t:x", "phx_join", {})
    assert await wire.receive() == ["x", "x", "t:x", "phx_reply", refused("too many channels joined")]


async def test_the_last_join_wins_its_reply_first_then_the_close_of_the_old(connect: Connect) -> None:
    ended: list[str] = []

    class Room(Open):
        async def terminate(self, reason: str) -> None:
            ended.append(reason)

        @handle_in("who")
        async def who(self) -> dict[str, Any]:
            return {"id": id(self)}

    wire = await connect(routed(Room))
    await wire.join("t:a", ref="1")
    await wire.send("2", "2", "t:a", "phx_join", {})
    assert await wire.receive() == ["2", "2", "t:a", "phx_reply", OK]
    assert await wire.receive() == ["1", "1", "t:a", "phx_close", {}]
    assert ended == ["duplicate join"]
    await wire.send("1", "3", "t:a", "who", {})  # stale: dropped without an answer
    await wire.ping()
    await wire.send("2", "4", "t:a", "who", {})
    assert (await wire.receive())[:4] == ["2", "4", "t:a", "phx_reply"]


async def test_what_was_sent_before_a_second_join_is_handled_first(connect: Connect) -> None:
    class Room(Open):
        @handle_in("slow")
        async def slow(self) -> dict[str, Any]:
            await asyncio.sleep(0.05)
            return {}

    wire = await connect(routed(Room))
    for frame in (("1", "1", "phx_join"), ("1", "2", "slow"), ("1", "3", "slow"), ("4", "4", "phx_join")):
        await wire.send(*frame[:2], "t:a", frame[2], {})
    assert [await wire.receive() for _ in range(5)] == [
        ["1", "1", "t:a", "phx_reply", OK],
        ["1", "2", "t:a", "phx_reply", OK],
        ["1", "3", "t:a", "phx_reply", OK],
        ["4", "4", "t:a", "phx_reply", OK],
        ["1", "1", "t:a", "phx_close", {}],
    ]


async def test_a_join_without_join_ref_goes_by_its_ref_but_closes_with_null(connect: Connect) -> None:
    class Room(Open):
        async def after_join(self, payload: Any) -> None:
            await self.push("welcome")

    wire = await connect(routed(Room))
    await wire.send(None, "7", "t:a", "phx_join", {})
    assert await wire.receive() == [None, "7", "t:a", "phx_reply", OK]
    assert await wire.receive() == ["7", None, "t:a", "welcome", {}]
    await wire.send("7", "8", "t:a", "phx_leave", {})
    assert await wire.receive() == ["7", "8", "t:a", "phx_reply", OK]
    assert await wire.receive() == [None, None, "t:a", "phx_close", {}]


async def test_joins_of_different_topics_run_side_by_side(connect: Connect) -> None:
    gate = asyncio.Event()

    class Room(Channel):
        async def join(self, payload: Any, name: str) -> Any:
            await gate.wait() if name == "slow" else gate.set()

        @handle_in("echo")
        async def echo(self, payload: Any) -> Any:
            return payload

    wire = await connect(routed(Room))
    await wire.send("1", "1", "t:slow", "phx_join", {})
    await wire.send("1", "2", "t:slow", "echo", {"waits": "for the join"})
    await wire.send("3", "3", "t:fast", "phx_join", {})
    frames = [await wire.receive() for _ in range(3)]
    assert ["3", "3", "t:fast", "phx_reply", OK] in frames
    assert [frame for frame in frames if frame[2] == "t:slow"] == [
        ["1", "1", "t:slow", "phx_reply", OK],
        ["1", "2", "t:slow", "phx_reply", {"status": "ok", "response": {"waits": "for the join"}}],
    ]


async def test_the_join_reply_comes_before_all_that_after_join_sends(connect: Connect) -> None:
    class Room(Open):
        async def after_join(self, payload: dict[str, Any]) -> None:
            await self.broadcast("entered", payload)
            await self.push("welcome")

    wire = await connect(routed(Room))
    await wire.send("1", "1", "t:a", "phx_join", {"who": "ada"})
    assert [await wire.receive() for _ in range(3)] == [
        ["1", "1", "t:a", "phx_reply", OK],
        [None, None, "t:a", "entered", {"who": "ada"}],
        ["1", None, "t:a", "welcome", {}],
    ]


async def test_a_flood_of_broadcasts_during_a_join_neither_precedes_its_reply_nor_loses_what_follows(
    connect: Connect,
) -> None:
    publishing = asyncio.Event()
    sent: list[int] = []

    async def flood() -> None:
        while not publishing.is_set():
            sent.append(len(sent))
            await abroadcast("t:a", "n", {"n": sent[-1]})

    first, second = await connect(routed(Open)), await connect(routed(Open))
    await first.join("t:a")
    task = asyncio.create_task(flood())
    for number in range(20):
        ref = str(number)
        await second.send(ref, ref, "t:a", "phx_join", {})
        frames = [await second.receive()]
        while frames[-1][3] != "phx_reply":
            frames.append(await second.receive())
        reply_at = sent[-1]
        assert frames[-1][:2] == [ref, ref]
        heard = await second.receive()
        while heard[3] == "phx_close":
            heard = await second.receive()
        assert heard[4]["n"] <= reply_at + 2  # nothing between the reply and the first one heard is missing
    publishing.set()
    await task


async def test_broadcast_inside_join_reaches_those_already_there_only(connect: Connect) -> None:
    class Room(Channel):
        async def join(self, payload: Any, name: str) -> Any:
            await self.broadcast("entering", {"name": name})

    first, second = await connect(routed(Room)), await connect(routed(Room))
    await first.join("t:a")
    await second.join("t:a")
    assert await first.receive() == [None, None, "t:a", "entering", {"name": "a"}]
    await second.ping()


@pytest.mark.parametrize("verb", ["push", "reply"])
async def test_push_and_reply_inside_join_raise_what_to_do_instead(
    connect: Connect, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Room(Channel):
        async def join(self, payload: Any, name: str) -> Any:
            with pytest.raises(NotJoined, match="after_join"):
                await (self.push("x") if verb == "push" else self.reply(None))  # type: ignore[arg-type]
            return {"raised": True}

    wire = await connect(routed(Room))
    assert await wire.join("t:a") == {"raised": True}


# Leaving, crashing, stopping


async def test_leaving_is_answered_then_closed(connect: Connect) -> None:
    ended: list[str] = []

    class Room(Open):
        async def terminate(self, reason: str) -> None:
            ended.append(reason)

    wire = await connect(routed(Room))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "phx_leave", {})
    assert await wire.receive() == ["1", "2", "t:a", "phx_reply", OK]
    assert await wire.receive() == ["1", "1", "t:a", "phx_close", {}]
    await wire.send("1", "3", "t:a", "phx_leave", {})  # leaving twice is no error, and closes nothing
    assert await wire.receive() == ["1", "3", "t:a", "phx_reply", OK]
    await wire.ping()
    assert ended == ["left"]


async def test_a_crash_ends_its_own_topic_only(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []

    class Room(Open):
        @handle_in("crash")
        async def crash(self) -> None:
            raise RuntimeError("secret")

        async def terminate(self, reason: str) -> None:
            ended.append(f"{self.topic} {reason}")

    wire = await connect(routed(Room))
    await wire.join("t:a", ref="1")
    await wire.join("t:b", ref="2")
    await wire.send("1", "3", "t:a", "crash", {})
    assert await wire.receive() == ["1", "1", "t:a", "phx_error", CRASHED]
    await wire.send("1", "4", "t:a", "crash", {})
    assert await wire.receive() == [None, "4", "t:a", "phx_reply", refused("unmatched topic")]
    await wire.send("2", "5", "t:b", "nothing", {})
    assert await wire.receive() == ["2", "5", "t:b", "phx_reply", refused("unknown event")]
    assert ended == ["t:a crash"]
    assert "RuntimeError: secret" in caplog.text
    await wire.join("t:a", ref="6")


async def test_a_crash_in_after_join_ends_the_topic_after_its_reply(connect: Connect) -> None:
    class Room(Open):
        async def after_join(self, payload: Any) -> None:
            raise RuntimeError

    wire = await connect(routed(Room))
    await wire.join("t:a")
    assert await wire.receive() == ["1", "1", "t:a", "phx_error", CRASHED]


async def test_what_waited_behind_a_crash_is_answered_unmatched(connect: Connect) -> None:
    class Room(Open):
        @handle_in("crash")
        async def crash(self) -> None:
            await asyncio.sleep(0.05)
            raise RuntimeError

    wire = await connect(routed(Room))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "crash", {})
    await wire.send("1", "3", "t:a", "crash", {})
    assert await wire.receive() == ["1", "1", "t:a", "phx_error", CRASHED]
    assert await wire.receive() == [None, "3", "t:a", "phx_reply", refused("unmatched topic")]


async def test_a_channel_may_stop_with_a_reply_and_a_reason(connect: Connect) -> None:
    ended: list[str] = []

    class Room(Open):
        @handle_in("bye")
        async def bye(self) -> dict[str, Any]:
            await self.stop("done")
            return {"last": "word"}

        async def terminate(self, reason: str) -> None:
            ended.append(reason)

    wire = await connect(routed(Room))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "bye", {})
    assert await wire.receive() == ["1", "2", "t:a", "phx_reply", {"status": "ok", "response": {"last": "word"}}]
    assert await wire.receive() == ["1", "1", "t:a", "phx_close", {"reason": "done"}]
    assert ended == ["done"]


async def test_every_joined_channel_terminates_when_the_socket_is_gone(connect: Connect) -> None:
    ended: list[str] = []
    done = asyncio.Event()

    class Room(Open):
        def terminate(self, reason: str) -> None:  # sync, in a thread
            ended.append(f"{self.topic} {reason}")
            if len(ended) == 2:
                loop.call_soon_threadsafe(done.set)

    loop = asyncio.get_running_loop()
    wire = await connect(routed(Room))
    await wire.join("t:a", ref="1")
    await wire.join("t:b", ref="2")
    await wire.close()
    await asyncio.wait_for(done.wait(), 5)
    assert sorted(ended) == ["t:a closed", "t:b closed"]


async def test_a_handler_that_hangs_is_cancelled_when_its_socket_is_gone(
    connect: Connect, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.REALTIME = {"ROUTER": "chatty.routing.router", "SHUTDOWN": 0.05}
    done = asyncio.Event()

    class Room(Open):
        @handle_in("hang")
        async def hang(self) -> None:
            await asyncio.Event().wait()

        async def terminate(self, reason: str) -> None:
            done.set()

    wire = await connect(routed(Room))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "hang", {})
    await wire.ping()
    await wire.close()
    await asyncio.wait_for(done.wait(), 5)
    assert "Room on 't:a' did not return within 0.05 s" in caplog.text


async def test_a_join_that_was_refused_owes_no_terminate(connect: Connect) -> None:
    class Room(Channel):
        async def join(self, payload: Any, name: str) -> Any:
            raise Refused

        async def terminate(self, reason: str) -> None:
            raise AssertionError("not to be called")

    wire = await connect(routed(Room))
    await wire.send("1", "1", "t:a", "phx_join", {})
    assert await wire.receive() == ["1", "1", "t:a", "phx_reply", refused("refused")]


# Events


@dataclass
class Point:
    x: int


class Everything(Open):
    @handle_in("echo")
    async def echo(self, payload: Any) -> Any:
        return payload

    @handle_in("echo:object")
    async def echo_object(self, payload: object) -> Any:
        return payload

    @handle_in("nothing", "nothing:else")
    async def nothing(self) -> None:
        pass

    @handle_in("status")
    async def status(self) -> Reply:
        return Reply("odd", {"n": 1})

    @handle_in("refuse")
    async def refuse(self) -> None:
        raise Refused({"reason": "no", "left": 0})

    @handle_in("point")
    async def point(self, point: Point) -> Any:
        return {"x": point.x + 1}

    @handle_in("sync")
    def sync(self, payload: dict[str, Any]) -> Any:
        async_to_sync(self.push)("from:thread", {"loop": False})
        async_to_sync(self.broadcast)("to:all", payload)
        return {"thread": threading.current_thread().name.startswith("realtime")}

    @handle_in("later")
    async def later(self) -> None:
        ref = self.ref
        self.assigns["task"] = asyncio.create_task(self.answer(ref))

    async def answer(self, ref: Any) -> None:
        await self.reply(ref, {"step": 1}, status="more")
        await self.reply(ref, {"step": 2})
        with pytest.raises(NotJoined, match="no message to reply to"):
            self.ref  # noqa: B018

    @handle_in("shout")
    async def shout(self, payload: dict[str, Any]) -> Any:
        await self.broadcast("heard", payload)
        return {}

    @handle_in("shout:others")
    async def shout_others(self, payload: dict[str, Any]) -> None:
        await self.broadcast_from("heard", payload)


@pytest.mark.parametrize(
    ("event", "payload", "reply"),
    [
        ("echo", {"a": [1, None]}, {"status": "ok", "response": {"a": [1, None]}}),
        ("echo", [1], {"status": "ok", "response": [1]}),
        ("echo", "text", {"status": "ok", "response": "text"}),
        ("echo:object", [1], {"status": "ok", "response": [1]}),
        ("status", {}, {"status": "odd", "response": {"n": 1}}),
        ("refuse", {}, refused("no", left=0)),
        ("point", {"x": 1}, {"status": "ok", "response": {"x": 2}}),
        ("point", {"x": "1"}, refused("bad payload", detail="x: expected int")),
        ("unheard:of", {}, refused("unknown event")),
        ("phx_reply", {}, refused("unknown event")),
        ("phx_close", {}, refused("unknown event")),
        ("phx_error", {}, refused("unknown event")),
        ("join", {}, refused("unknown event")),
        ("__class__", {}, refused("unknown event")),
    ],
)
async def test_an_event_is_answered(connect: Connect, event: str, payload: Any, reply: dict[str, Any]) -> None:
    wire = await connect(routed(Everything))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", event, payload)
    assert await wire.receive() == ["1", "2", "t:a", "phx_reply", reply]
    await wire.send(None, None, "t:a", "echo", {})  # the channel lives on; null refs are served and come back
    assert await wire.receive() == ["1", None, "t:a", "phx_reply", OK]


@pytest.mark.parametrize("event", ["nothing", "nothing:else"])
async def test_a_handler_that_returns_nothing_sends_nothing(connect: Connect, event: str) -> None:
    wire = await connect(routed(Everything))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", event, {})
    await wire.send("1", "3", "t:a", "echo", {})
    assert await wire.receive() == ["1", "3", "t:a", "phx_reply", OK]


async def test_a_sync_handler_runs_in_a_thread_and_may_push(connect: Connect) -> None:
    wire = await connect(routed(Everything))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "sync", {"a": 1})
    assert [await wire.receive() for _ in range(3)] == [
        ["1", None, "t:a", "from:thread", {"loop": False}],
        [None, None, "t:a", "to:all", {"a": 1}],
        ["1", "2", "t:a", "phx_reply", {"status": "ok", "response": {"thread": True}}],
    ]


async def test_a_reply_may_come_later_and_more_than_once(connect: Connect) -> None:
    wire = await connect(routed(Everything))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "later", {})
    assert await wire.receive() == ["1", "2", "t:a", "phx_reply", {"status": "more", "response": {"step": 1}}]
    assert await wire.receive() == ["1", "2", "t:a", "phx_reply", {"status": "ok", "response": {"step": 2}}]


async def test_a_broadcast_reaches_all_and_its_sender_before_the_reply(connect: Connect) -> None:
    first, second = await connect(routed(Everything)), await connect(routed(Everything))
    await first.join("t:a")
    await second.join("t:a")
    for number in range(50):  # the order must not be luck
        await first.send("1", "2", "t:a", "shout", {"n": number})
        assert await first.receive() == [None, None, "t:a", "heard", {"n": number}]
        assert await first.receive() == ["1", "2", "t:a", "phx_reply", OK]
        assert await second.receive() == [None, None, "t:a", "heard", {"n": number}]


async def test_broadcast_from_leaves_its_sender_out(connect: Connect) -> None:
    first, second = await connect(routed(Everything)), await connect(routed(Everything))
    await first.join("t:a")
    await second.join("t:a")
    await first.send("1", "2", "t:a", "shout:others", {"n": 1})
    assert await second.receive() == [None, None, "t:a", "heard", {"n": 1}]
    await first.ping()


async def test_a_topic_hears_only_its_own_broadcasts(connect: Connect) -> None:
    wire = await connect(routed(Everything))
    await wire.join("t:a")
    await abroadcast("t:b", "heard", {})
    await abroadcast("t:a", "heard", {"n": 1})
    assert await wire.receive() == [None, None, "t:a", "heard", {"n": 1}]


async def test_messages_of_one_topic_are_handled_in_order_one_at_a_time(connect: Connect) -> None:
    running = 0

    class Room(Open):
        @handle_in("step")
        async def step(self, payload: Any) -> Any:
            nonlocal running
            running += 1
            await asyncio.sleep(0.01 if payload["n"] % 2 else 0)
            assert running == 1
            running -= 1
            return payload

    wire = await connect(routed(Room))
    await wire.join("t:a")
    for number in range(10):
        await wire.send("1", str(number), "t:a", "step", {"n": number})
    assert [(await wire.receive())[4]["response"]["n"] for _ in range(10)] == list(range(10))


async def test_blocking_handlers_of_different_topics_run_side_by_side(connect: Connect) -> None:
    together = threading.Barrier(3)

    class Room(Open):
        @handle_in("meet")
        def meet(self) -> dict[str, Any]:
            together.wait(5)  # passes only when all three are here at once
            return {}

    wire = await connect(routed(Room))
    for name in "abc":
        await wire.join(f"t:{name}", ref=name)
    for name in "abc":
        await wire.send(name, name, f"t:{name}", "meet", {})
    assert {(await wire.receive())[2] for _ in range(3)} == {"t:a", "t:b", "t:c"}


async def test_assigns_are_copied_from_the_socket_at_the_join(connect: Connect) -> None:
    class Ada(Socket):
        async def connect(self, params: dict[str, Any]) -> None:
            self.assigns["name"] = params["name"]

    class Room(Open):
        @handle_in("rename")
        async def rename(self, payload: Any) -> Any:
            self.assigns["name"] = payload["name"]
            return {"mine": self.assigns["name"], "sockets": self.socket.assigns["name"]}

        @handle_in("name")
        async def name(self) -> Any:
            return {"mine": self.assigns["name"]}

    wire = await connect(routed(Room, socket=Ada), query="vsn=2.0.0&name=ada")
    await wire.join("t:a", ref="1")
    await wire.join("t:b", ref="2")
    await wire.send("1", "3", "t:a", "rename", {"name": "bob"})
    assert (await wire.receive())[4]["response"] == {"mine": "bob", "sockets": "ada"}
    await wire.send("2", "4", "t:b", "name", {})
    assert (await wire.receive())[4]["response"] == {"mine": "ada"}


async def test_a_channel_that_idles_has_no_task(connect: Connect) -> None:
    wire = await connect(routed(Open))
    await wire.ping()
    before = len(asyncio.all_tasks())
    for number in range(50):
        await wire.join(f"t:{number}", ref=str(number))
    await wire.ping()
    # The bus's reader, the heartbeat, the client's own; for calls and for leases, one that asks and one that hears.
    assert len(asyncio.all_tasks()) <= before + 3 + 2 * 2


# From outside


async def test_a_sync_broadcast_from_a_thread_or_inside_the_loop_is_heard(connect: Connect) -> None:
    wire = await connect(routed(Open))
    await wire.join("t:a")
    await asyncio.to_thread(broadcast, "t:a", "from:thread", {"n": 1})
    assert await wire.receive() == [None, None, "t:a", "from:thread", {"n": 1}]
    broadcast("t:a", "from:loop", Point(2))
    assert await wire.receive() == [None, None, "t:a", "from:loop", {"x": 2}]


async def test_garbage_on_the_bus_is_dropped_and_the_topic_lives_on(
    connect: Connect, engine: str, caplog: pytest.LogCaptureFixture
) -> None:
    wire = await connect(routed(Open))
    await wire.join("t:a")
    with engines.raw(engine) as client:
        for data in (b"", b"\xff\xfe", b"[1]", b'["e",null,null,]'):
            client.publish(conf.keys().bus("t:a"), data)
    broadcast("t:a", "heard")
    assert await wire.receive() == [None, None, "t:a", "heard", {}]
    assert caplog.text.count("dropped what was published") == 4


# Input that is none


@pytest.mark.parametrize("text", ["x", "{}", '["1","2","t:a","e"]', '["1","2","t:a","e",NaN]'])
async def test_a_frame_that_cannot_be_decoded_closes_its_socket_and_no_other(connect: Connect, text: str) -> None:
    bad, good = await connect(routed(Everything)), await connect(routed(Everything))
    await good.join("t:a")
    await bad.communicator.send_to(text_data=text)
    assert await bad.closed() == 4400
    await good.send("1", "2", "t:a", "echo", {})
    assert await good.receive() == ["1", "2", "t:a", "phx_reply", OK]


async def test_a_binary_frame_closes_its_socket(connect: Connect) -> None:
    wire = await connect(routed(Everything))
    await wire.communicator.send_to(bytes_data=b"\x00\x01")
    assert await wire.closed() == 4400


async def test_a_frame_over_the_limit_closes_its_socket(connect: Connect) -> None:
    wire = await connect(routed(Everything))
    await wire.send("1", "1", "t:a", "phx_join", {"x": "é" * 130_000})
    assert await wire.closed() == 4009


async def test_a_topic_is_escaped_by_nothing_and_echoed_as_it_came(connect: Connect) -> None:
    wire = await connect(routed(Open))
    for topic in ("", "t:a b", "t:{a}", "t:*", "../etc", "t:\n", "x" * 10_000, None, 7, {"a": 1}):
        await wire.send("1", "1", topic, "phx_join", {})
        reply = await wire.receive()
        if topic in ("t:{a}", "t:*"):
            assert reply == ["1", "1", topic, "phx_reply", OK]
        else:
            assert reply == [None, "1", topic, "phx_reply", refused("unmatched topic")]


async def test_broadcasts_keep_their_order(connect: Connect) -> None:
    wire = await connect(routed(Open))
    await wire.join("t:a")
    started = time.monotonic()
    for number in range(500):
        broadcast("t:a", "n", {"n": number})
    assert [(await wire.receive())[4]["n"] for _ in range(500)] == list(range(500)), time.monotonic() - started
