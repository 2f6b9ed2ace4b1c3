"""What a channel sees beside its client's messages: broadcasts, other topics, rights, and its own crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied

from realtime import (
    Channel,
    InvalidTopic,
    Misconfigured,
    Router,
    Socket,
    abroadcast,
    channel,
    conf,
    handle_in,
    handle_info,
    handle_out,
    include,
    permission_required,
    topics,
    user_passes_test,
)
from realtime.node import Node
from tests.test_channels import CRASHED, OK, Open, refused, routed
from tests.wire import Wire

Connect = Callable[..., Awaitable[Wire]]


# handle_out


class Filtered(Open):
    @handle_out("secret")
    async def secret(self, payload: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        if payload.get("to") in (None, self.assigns.get("name")):
            return {**payload, "seen": self.assigns.get("name")}
        return None

    @handle_out("bytes")
    def as_bytes(self) -> bytes:
        return b"\xff"

    @handle_out("crash")
    async def crash(self) -> None:
        raise LookupError

    @handle_in("call")
    async def call(self, payload: Any) -> None:
        self.assigns["name"] = payload

    @handle_in("say")
    async def say(self, payload: dict[str, Any]) -> Any:
        await self.broadcast("secret", payload)
        return {"said": True}


async def named(connect: Connect, handler: type[Channel], name: str) -> Wire:
    wire = await connect(routed(handler))
    await wire.join("t:a")
    await wire.send("1", "c", "t:a", "call", name)
    await wire.ping()
    return wire


def pushed(event: str, payload: Any) -> list[Any]:
    return ["1", None, "t:a", event, payload]


def cast(event: str, payload: Any) -> list[Any]:
    return [None, None, "t:a", event, payload]


async def test_an_intercepted_event_is_rewritten_or_dropped_for_each_client(connect: Connect) -> None:
    ada, bob = await named(connect, Filtered, "ada"), await named(connect, Filtered, "bob")
    await abroadcast("t:a", "secret", {"n": 1})
    await abroadcast("t:a", "secret", {"n": 2, "to": "bob"})
    await abroadcast("t:a", "open", {"n": 3})
    assert await ada.receive() == pushed("secret", {"n": 1, "seen": "ada"})
    assert await ada.receive() == cast("open", {"n": 3})
    assert await bob.receive() == pushed("secret", {"n": 1, "seen": "bob"})
    assert await bob.receive() == pushed("secret", {"n": 2, "to": "bob", "seen": "bob"})
    assert await bob.receive() == cast("open", {"n": 3})


async def test_the_order_of_broadcasts_stays_whether_they_are_intercepted_or_not(connect: Connect) -> None:
    ada = await named(connect, Filtered, "ada")
    await asyncio.gather(*(abroadcast("t:a", "open" if n % 3 else "secret", {"n": n}) for n in range(50)))
    assert [(await ada.receive())[4]["n"] for _ in range(50)] == list(range(50))


async def test_what_a_client_says_itself_is_intercepted_too_and_after_its_reply(connect: Connect) -> None:
    """As on a real Phoenix: the channel is busy with the message until then."""
    ada = await named(connect, Filtered, "ada")
    await ada.send("1", "2", "t:a", "say", {"n": 1})
    assert await ada.receive() == ["1", "2", "t:a", "phx_reply", {"status": "ok", "response": {"said": True}}]
    assert await ada.receive() == pushed("secret", {"n": 1, "seen": "ada"})


async def test_a_handle_out_may_be_sync_and_answer_bytes(connect: Connect) -> None:
    ada = await named(connect, Filtered, "ada")
    await abroadcast("t:a", "bytes")
    assert await ada.communicator.receive_from() == b"\0\1\3\0051t:abytes\xff"


async def test_a_handle_out_that_raises_is_a_crash(connect: Connect) -> None:
    ada = await named(connect, Filtered, "ada")
    await abroadcast("t:a", "crash")
    assert await ada.receive() == ["1", "1", "t:a", "phx_error", CRASHED]
    await ada.ping()


async def test_who_cannot_keep_up_with_what_it_intercepts_joins_again(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = asyncio.Event()

    class Slow(Open):
        @handle_out("much")
        async def much(self, payload: Any) -> Any:
            await go.wait()
            return payload

    wire = await connect(routed(Slow))
    await wire.join("t:a")
    node = Node.current()
    monkeypatch.setattr("realtime.actor.AHEAD", 0)
    object.__setattr__(node.settings, "MAILBOX", 20)
    try:
        for number in range(30):
            await abroadcast("t:a", "much", {"n": number})
        go.set()
        frames = []
        while not frames or frames[-1][3] != "phx_error":
            frames.append(await wire.receive())
        assert frames[-1] == ["1", "1", "t:a", "phx_error", {"reason": "resync"}]
    finally:
        object.__setattr__(node.settings, "MAILBOX", conf.Settings().MAILBOX)


async def test_what_comes_while_one_is_intercepted_waits_behind_it(connect: Connect) -> None:
    go, begun = asyncio.Event(), asyncio.Event()

    class Waits(Open):
        @handle_out("secret")
        async def secret(self, payload: Any) -> Any:
            begun.set()
            await go.wait()
            return payload

    wire = await connect(routed(Waits))
    await wire.join("t:a")
    await abroadcast("t:a", "secret", {"n": 1})
    await begun.wait()
    await abroadcast("t:a", "open", {"n": 2})
    go.set()
    assert [(await wire.receive())[4]["n"] for _ in range(2)] == [1, 2]


async def test_a_join_again_does_not_wait_for_what_is_to_be_intercepted(connect: Connect) -> None:
    class Slow(Open):
        @handle_out("much")
        async def much(self, payload: Any) -> Any:
            await asyncio.sleep(0.05)
            return payload

    wire = await connect(routed(Slow))
    await wire.join("t:a")
    await asyncio.gather(*(abroadcast("t:a", "much") for _ in range(60)))
    await wire.send("2", "2", "t:a", "phx_join", {})
    frames: list[Any] = []
    while not frames or frames[-1][3] != "phx_reply":
        frames.append(await wire.receive())
    assert len(frames) < 20


async def test_a_ref_that_is_no_value_harms_nobody_else(connect: Connect) -> None:
    """Refs are bytes that come back as they came; a binary reply needs their text, in the middle of a dispatch."""

    class Talks(Open):
        @handle_in("say")
        async def say(self, payload: Any) -> bytes:
            await self.broadcast("said", {"n": payload})
            return b"!"

    hostile, ada = await connect(routed(Talks)), await connect(routed(Talks))
    await hostile.join("t:a")
    await ada.join("t:a")
    await hostile.communicator.send_to(text_data='["1",1e999,"t:a","say",1]')
    await ada.send("1", "5", "t:a", "say", 2)
    assert [(await ada.receive())[4] for _ in range(2)] == [{"n": 1}, {"n": 2}]
    assert await ada.communicator.receive_from() == b"\1\1\1\3\00215t:aok!"
    assert (await hostile.receive())[4] == {"n": 1}
    assert await hostile.communicator.receive_from() == b"\1\1\5\3\00211e999t:aok!"


# handle_info


class Listener(Open):
    async def join(self, payload: Any, name: str) -> None:
        await self.subscribe("orders:7")
        await self.subscribe("orders:7")

    @handle_info("paid")
    async def paid(self, payload: dict[str, Any]) -> None:
        await self.push("order:paid", payload)

    @handle_info("crash")
    async def crash(self) -> None:
        raise LookupError

    @handle_in("deaf")
    async def deaf(self) -> Any:
        self.unsubscribe("orders:7")
        return {}

    @handle_in("wrong")
    async def wrong(self) -> Any:
        with pytest.raises(InvalidTopic):
            await self.subscribe("no topic")
        self.unsubscribe("never:subscribed")
        return {}


async def test_a_channel_hears_other_topics_once_and_its_client_does_not(connect: Connect) -> None:
    wire = await connect(routed(Listener))
    await wire.join("t:a")
    await abroadcast("orders:7", "paid", {"n": 1})
    assert await wire.receive() == pushed("order:paid", {"n": 1})
    await abroadcast("orders:7", "other", {"n": 2})
    await wire.ping()


async def test_it_hears_no_more_once_it_has_unsubscribed_or_left(connect: Connect) -> None:
    wire = await connect(routed(Listener))
    await wire.join("t:a")
    assert set(Node.current().hub.topics()) == {"t:a", "orders:7"}
    await wire.send("1", "2", "t:a", "deaf", {})
    assert await wire.receive() == ["1", "2", "t:a", "phx_reply", OK]
    assert Node.current().hub.topics() == ["t:a"]
    await abroadcast("orders:7", "paid", {"n": 1})
    await wire.ping()
    await wire.join("t:b", ref="2")
    await wire.send("2", "3", "t:b", "phx_leave", {})
    await wire.receive()
    await wire.receive()
    assert Node.current().hub.topics() == ["t:a"]


async def test_a_topic_that_a_channel_hears_has_a_subscriber(connect: Connect) -> None:
    """So it is not collected."""
    wire = await connect(routed(Listener))
    await wire.join("t:a")
    assert (await topics.asubscribers("orders:7")).count == 1


async def test_a_wrong_topic_is_told_at_once(connect: Connect) -> None:
    wire = await connect(routed(Listener))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "wrong", {})
    assert await wire.receive() == ["1", "2", "t:a", "phx_reply", OK]


async def test_a_handle_info_that_raises_is_a_crash_and_nothing_stays_subscribed(connect: Connect) -> None:
    wire = await connect(routed(Listener))
    await wire.join("t:a")
    await abroadcast("orders:7", "crash")
    assert await wire.receive() == ["1", "1", "t:a", "phx_error", CRASHED]
    await wire.ping()
    assert Node.current().hub.topics() == []


async def test_a_gap_of_another_topic_lets_the_client_join_again(connect: Connect) -> None:
    wire = await connect(routed(Listener))
    await wire.join("t:a")
    Node.current().hub._topics["orders:7"].gap()
    assert await wire.receive() == ["1", "1", "t:a", "phx_error", {"reason": "resync"}]


@pytest.mark.parametrize("mark", [handle_out, handle_info])
@pytest.mark.parametrize("wrong", [(), ("phx_join",), ("",), (7,)])
def test_only_events_can_be_marked(mark: Any, wrong: Any) -> None:
    with pytest.raises(Misconfigured, match=f"{mark.__name__} takes names of events"):
        mark(*wrong)


# Assigns of a route


async def test_a_route_assigns_over_what_the_socket_did(connect: Connect) -> None:
    class Has(Socket):
        async def connect(self, params: dict[str, Any]) -> None:
            self.assigns |= {"a": "socket", "b": "socket", "c": "socket"}

    class Tells(Open):
        async def join(self, payload: Any, **params: Any) -> Any:
            return dict(self.assigns)

    inner = [channel("in:<int:number>", Tells, assigns={"c": "inner"})]
    routes = [channel("plain", Tells), channel("x:", include(inner), assigns={"b": "outer", "c": "outer"})]
    wire = await connect(Router("/ws", routes, socket=Has))
    assert await wire.join("plain") == {"a": "socket", "b": "socket", "c": "socket"}
    assert await wire.join("x:in:7", ref="2") == {"a": "socket", "b": "outer", "c": "inner"}


# Rights


def somebody(*permissions: str, **more: Any) -> Any:
    return SimpleNamespace(has_perms=lambda wanted: set(wanted) <= set(permissions), pk=1, **more)


def with_user(user: Any) -> type[Socket]:
    class Known(Socket):
        async def connect(self, params: dict[str, Any]) -> None:
            self.user = user

    return Known


@permission_required("chat.view_room")
class Private(Open):
    @handle_in("delete")
    @permission_required("chat.delete_room", "chat.change_room")
    async def delete(self) -> Any:
        return {"deleted": True}

    @user_passes_test(lambda user: user.is_staff, reason="staff only")
    @handle_in("staff")
    def staff(self) -> Any:
        return {}

    @handle_in("denied")
    def denied(self) -> Any:
        raise PermissionDenied("with words for a log")


async def test_who_lacks_the_permission_does_not_get_in(connect: Connect) -> None:
    for user in (None, somebody("chat.delete_room")):
        wire = await connect(routed(Private, socket=with_user(user)))
        await wire.send("1", "1", "t:a", "phx_join", {})
        assert await wire.receive() == ["1", "1", "t:a", "phx_reply", refused("forbidden")]


async def test_each_event_has_its_own_requirements(connect: Connect) -> None:
    wire = await connect(routed(Private, socket=with_user(somebody("chat.view_room", is_staff=False))))
    await wire.join("t:a")
    for event, reason in {"delete": "forbidden", "staff": "staff only", "denied": "forbidden"}.items():
        await wire.send("1", "2", "t:a", event, {})
        assert await wire.receive() == ["1", "2", "t:a", "phx_reply", refused(reason)]
    user = somebody("chat.view_room", "chat.delete_room", "chat.change_room", is_staff=True)
    wire = await connect(routed(Private, socket=with_user(user)))
    await wire.join("t:a")
    for event, response in {"delete": {"deleted": True}, "staff": {}}.items():
        await wire.send("1", "2", "t:a", event, {})
        assert await wire.receive() == ["1", "2", "t:a", "phx_reply", {"status": "ok", "response": response}]


async def test_an_async_test_and_one_on_join_count_too(connect: Connect) -> None:
    async def is_ada(user: Any) -> bool:
        return bool(user.name == "ada")

    class Hers(Channel):
        @user_passes_test(is_ada, reason="not ada")
        async def join(self, payload: Any, name: str) -> None:
            pass

    wire = await connect(routed(Hers, socket=with_user(SimpleNamespace(name="ada"))))
    await wire.join("t:a")
    wire = await connect(routed(Hers, socket=with_user(SimpleNamespace(name="bob"))))
    await wire.send("1", "1", "t:a", "phx_join", {})
    assert await wire.receive() == ["1", "1", "t:a", "phx_reply", refused("not ada")]


async def test_who_overrides_a_method_loses_no_requirement(connect: Connect) -> None:
    class Lenient(Private):
        async def delete(self) -> Any:
            return {"deleted": "by anybody"}

    wire = await connect(routed(Lenient, socket=with_user(somebody("chat.view_room"))))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "delete", {})
    assert await wire.receive() == ["1", "2", "t:a", "phx_reply", refused("forbidden")]


def test_a_requirement_on_what_no_client_asks_for_is_a_mistake() -> None:
    with pytest.raises(Misconfigured, match=r"Wrong\.secret: permission_required"):

        class Wrong(Open):
            @handle_out("secret")
            @permission_required("chat.view_room")
            async def secret(self, payload: Any) -> Any:
                return payload


async def test_what_subscribes_while_it_ends_is_unsubscribed(connect: Connect) -> None:
    class Late(Open):
        async def terminate(self, reason: str) -> None:
            await self.subscribe("orders:7")

    wire = await connect(routed(Late))
    await wire.join("t:a")
    await wire.send("1", "2", "t:a", "phx_leave", {})
    await wire.receive()
    await wire.receive()
    await Node.current().idle()
    assert Node.current().hub.topics() == []


async def test_a_subclass_requires_what_its_base_does_and_more() -> None:
    @user_passes_test(lambda user: True)
    class More(Private):
        pass

    assert len(Private.requirements) == 1
    assert len(More.requirements) == 2
    assert Channel.requirements == ()


@pytest.mark.parametrize("wrong", [(), (7,)])
def test_permissions_are_named(wrong: Any) -> None:
    with pytest.raises(Misconfigured, match=r"chat\.add_message"):
        permission_required(*wrong)


# Crash after crash


async def test_a_channel_that_keeps_crashing_is_closed_instead_of_joined_for_ever(connect: Connect) -> None:
    class Broken(Open):
        @handle_in("crash")
        async def crash(self) -> None:
            raise LookupError

    wire = await connect(routed(Broken))
    most = conf.settings().MAX_CRASHES
    for number in range(1, most + 1):
        await wire.join("t:a", ref=str(number))
        await wire.send(str(number), "c", "t:a", "crash", {})
        last = await wire.receive()
        expected = ["phx_error", CRASHED] if number < most else ["phx_close", {"reason": "crashes too often"}]
        assert last == [str(number), str(number), "t:a", *expected]
    await wire.join("t:b", ref="other")
    await wire.send("other", "c", "t:b", "crash", {})
    assert await wire.receive() == ["other", "other", "t:b", "phx_error", CRASHED]


async def test_a_join_that_keeps_crashing_is_closed_as_well(connect: Connect) -> None:
    class Broken(Open):
        async def join(self, payload: Any, name: str) -> None:
            raise LookupError

    wire = await connect(routed(Broken))
    most = conf.settings().MAX_CRASHES
    for number in range(1, most + 1):
        ref = str(number)
        await wire.send(ref, ref, "t:a", "phx_join", {})
        more = {} if number < most else {"retry": False}
        assert await wire.receive() == [ref, ref, "t:a", "phx_reply", refused("join crashed", **more)]
    assert await wire.receive() == [ref, ref, "t:a", "phx_close", {"reason": "crashes too often"}]


async def test_crashes_that_lie_far_apart_are_none_too_many(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.connection.CRASH_TIME", 0.0)

    class Broken(Open):
        async def join(self, payload: Any, name: str) -> None:
            raise LookupError

    wire = await connect(routed(Broken))
    for number in range(12):
        await wire.send(str(number), str(number), "t:a", "phx_join", {})
        assert (await wire.receive())[4] == refused("join crashed")
    await wire.ping()
