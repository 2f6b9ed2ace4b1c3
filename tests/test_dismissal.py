"""Sockets and topics that end because somebody, anywhere, says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import transaction

from realtime import (
    Channel,
    EngineUnavailable,
    InvalidTopic,
    Router,
    Socket,
    abroadcast,
    adisconnect,
    akick,
    channel,
    conf,
    disconnect,
    handle_in,
    kick,
)
from realtime.engine import orders
from realtime.engine.client import sync_client
from realtime.node import Node
from realtime.warden import Disconnect, tell
from tests.test_channels import OK
from tests.wire import PATIENCE, Wire

Connect = Callable[..., Awaitable[Wire]]

DISMISSED = 4001


class Named(Socket):
    """Who it is, is what it says."""

    waiting: asyncio.Event
    held_up: asyncio.Event

    async def connect(self, params: dict[str, Any]) -> None:
        self.user = SimpleNamespace(pk=params["user"])
        if "wait" in params:
            Named.waiting.set()
            await Named.held_up.wait()

    def id(self) -> str:
        return f"users:{self.user.pk}"


class Room(Channel):
    ended: list[str] = []
    handled: list[Any] = []
    go: asyncio.Event

    async def join(self, payload: Any, name: str) -> None:
        pass

    @handle_in("slow")
    async def slow(self) -> None:
        Room.handled.append("slow")
        await Room.go.wait()

    @handle_in("next")
    async def next(self) -> None:
        Room.handled.append("next")

    async def terminate(self, reason: str) -> None:
        Room.ended.append(reason)


ROUTER = Router("/ws", [channel("t:<part:name>", Room)], socket=Named)


@pytest.fixture(autouse=True)
def fresh() -> None:
    Room.ended, Room.handled, Room.go = [], [], asyncio.Event()
    Named.held_up, Named.waiting = asyncio.Event(), asyncio.Event()


async def connected(connect: Connect, user: str, more: str = "") -> Wire:
    wire: Wire = await connect(ROUTER, query=f"vsn=2.0.0&user={user}{more}")
    return wire


async def heard(node: Node) -> None:
    """Return when the node hears what all are told."""
    warden = node.warden
    while warden._tasks:
        await asyncio.wait(set(warden._tasks))


async def joined(connect: Connect, user: str, *topics: str) -> Wire:
    wire = await connected(connect, user)
    for topic in topics:
        await wire.join(topic)
    await heard(Node.current())
    return wire


async def elsewhere(verb: Callable[..., None], *args: Any) -> None:
    """Call a sync verb where there is no loop, as a view does."""
    await asyncio.to_thread(verb, *args)


# disconnect


@pytest.mark.parametrize("verb", [adisconnect, disconnect])
async def test_all_sockets_of_an_id_are_closed_and_no_others(connect: Connect, verb: Any) -> None:
    mine = [await joined(connect, "7", "t:a"), await joined(connect, "7")]
    others = await joined(connect, "8", "t:a")
    await (verb("users:7") if verb is adisconnect else elsewhere(verb, "users:7"))
    assert [await wire.closed() for wire in mine] == [DISMISSED] * 2
    await others.ping()


async def test_no_handler_runs_any_more_what_was_received_included(connect: Connect) -> None:
    wire = await joined(connect, "7", "t:a")
    for number, event in enumerate(["slow", "next", "next"]):
        await wire.send("1", str(number), "t:a", event, {})
    while Room.handled != ["slow"]:
        await asyncio.sleep(0)
    await adisconnect("users:7")
    assert await wire.closed() == DISMISSED
    Room.go.set()
    await Node.current().idle()
    assert Room.handled == ["slow"]
    assert Room.ended == ["dismissed"]


async def test_who_comes_back_stays(connect: Connect) -> None:
    wire = await joined(connect, "7")
    await adisconnect("users:7")
    await wire.closed()
    back = await joined(connect, "7")
    await back.ping()


async def test_who_was_about_to_come_in_is_closed_as_well(connect: Connect) -> None:
    """Its rights were looked at before, perhaps."""
    await joined(connect, "8")
    coming = asyncio.create_task(connected(connect, "7", "&wait=1"))
    await Named.waiting.wait()
    await adisconnect("users:7")
    node = Node.current()
    while not node.warden._recent:
        await asyncio.sleep(0)
    Named.held_up.set()
    assert await (await coming).closed() == DISMISSED


async def test_what_was_told_while_the_bus_was_broken_is_read_when_it_is_back(connect: Connect) -> None:
    mine, others = await joined(connect, "7"), await joined(connect, "8")
    node = Node.current()
    node.warden.message = lambda data: None  # type: ignore[method-assign]  nothing comes over the bus
    await adisconnect("users:7")
    await mine.ping()
    node.warden.gap()
    assert await mine.closed() == DISMISSED
    await others.ping()


async def test_nothing_is_done_twice(connect: Connect) -> None:
    await joined(connect, "7")
    node, done = Node.current(), []
    for member in list(node.warden._members):
        member.dismiss = lambda: done.append(1)  # type: ignore[method-assign, misc]
    await adisconnect("users:7")
    for _ in range(3):
        node.warden.message(b"")
        node.warden.gap()
        await heard(node)
    assert done == [1]


async def test_what_was_told_long_before_a_socket_came_does_not_concern_it(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node whose bus was broken for long reads what was told at its beginning, too."""
    await joined(connect, "8")
    node = Node.current()
    node.warden.message = lambda data: None  # type: ignore[method-assign]
    await adisconnect("users:7")
    monkeypatch.setattr("realtime.warden.SKEW", -0.01)
    await asyncio.sleep(0.05)
    late = await joined(connect, "7")
    node.warden.gap()
    await heard(node)
    await late.ping()


async def test_an_engine_that_is_away_meanwhile_is_asked_again(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.warden.AGAIN", 0.01)
    wire = await joined(connect, "7")
    node = Node.current()
    call, failures = node.warden._call, [EngineUnavailable("away")] * 3

    async def failing(asked: Any) -> Any:
        if failures:
            raise failures.pop()
        return await call(asked)

    node.warden._call = failing
    await adisconnect("users:7")
    assert await wire.closed() == DISMISSED


@pytest.mark.parametrize("data", [b"", b"x", b"{", b'{"type":"Other"}', b"\xff", b"[" * 100_000])
async def test_what_is_no_command_is_dropped(connect: Connect, caplog: pytest.LogCaptureFixture, data: bytes) -> None:
    wire = await joined(connect, "7")
    await Node.current().call(orders.tell(conf.keys(), data))
    await adisconnect("users:7")
    assert await wire.closed() == DISMISSED
    assert "this node cannot do what all were told to" in caplog.text


@pytest.mark.django_db(transaction=True)
async def test_inside_a_transaction_it_waits_for_the_commit(connect: Connect) -> None:
    wire = await joined(connect, "7")

    def view(fails: bool) -> None:
        with transaction.atomic():
            disconnect("users:7")
            if fails:
                raise LookupError

    with pytest.raises(LookupError):
        await asyncio.to_thread(view, True)
    await wire.ping()
    await asyncio.to_thread(view, False)
    assert await wire.closed() == DISMISSED


@pytest.mark.parametrize("wrong", ["", None, 7])
def test_an_id_is_text(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r'Socket\.id returns, "users:7"'):
        disconnect(wrong)


def test_what_is_told_is_kept_for_an_hour_and_not_for_ever() -> None:
    client = sync_client(conf.engine())
    tell(conf.keys(), Disconnect("users:nobody")).run(client)
    assert 3_500_000 < client.pttl(conf.keys().commands) <= 3_600_000


async def test_one_that_cannot_be_told_to_go_leaves_the_others_no_longer_than_it_must(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that is known raises there; but a node that hears no command any more would be worse."""
    mine, others = await joined(connect, "7"), await joined(connect, "8")
    node = Node.current()
    [member] = node.warden._by_id["users:7"]
    told = asyncio.Event()

    def fail() -> None:
        told.set()
        raise LookupError

    with monkeypatch.context() as broken:
        broken.setattr(member, "dismiss", fail)
        await adisconnect("users:7")
        await told.wait()
    await adisconnect("users:8")
    assert await others.closed() == DISMISSED
    await mine.ping()


async def test_what_is_told_while_it_reads_is_read_after_it(connect: Connect) -> None:
    mine, others = await joined(connect, "7"), await joined(connect, "8")
    node = Node.current()
    call, has_read, go_on = node.warden._call, asyncio.Event(), asyncio.Event()

    async def slow(asked: Any) -> Any:
        found = await call(asked)
        has_read.set()
        await go_on.wait()
        return found

    node.warden._call = slow
    await adisconnect("users:7")
    await has_read.wait()
    await adisconnect("users:8")
    await others.ping()
    go_on.set()
    assert await mine.closed() == DISMISSED
    assert await others.closed() == DISMISSED


@pytest.mark.parametrize("verb", ["disconnect", "kick"])
async def test_who_joins_again_meanwhile_gains_nothing(connect: Connect, verb: str) -> None:
    """The channel that is replaced handles no more of what was sent to it, and the new join lets nobody in."""
    wire = await joined(connect, "7", "t:a")
    for number, event in enumerate(["slow", "next", "next"]):
        await wire.send("1", str(number), "t:a", event, {})
    await wire.send("9", "9", "t:a", "phx_join", {})
    while Room.handled != ["slow"]:
        await asyncio.sleep(0)
    await wire.ping()  # the new join was read
    if verb == "disconnect":
        await adisconnect("users:7")
        assert await wire.closed() == DISMISSED
        Room.go.set()
    else:
        await akick("users:7", "t:a", "banned")
        await wire.ping()
        await heard(Node.current())
        Room.go.set()
        assert await wire.receive() == ["1", "1", "t:a", "phx_close", {"reason": "banned"}]
        refusal = {"status": "error", "response": {"reason": "banned", "retry": False}}
        assert await wire.receive() == ["9", "9", "t:a", "phx_reply", refusal]
        assert await wire.receive() == ["9", "9", "t:a", "phx_close", {"reason": "banned"}]
    await Node.current().idle()
    assert Room.handled == ["slow"]
    assert len(Room.ended) == 1


async def test_who_is_kicked_hears_nothing_more_although_a_handler_goes_on(connect: Connect) -> None:
    wire = await joined(connect, "7", "t:a")
    await wire.send("1", "2", "t:a", "slow", {})
    while not Room.handled:
        await asyncio.sleep(0)
    await akick("users:7", "t:a", "banned")
    await wire.ping()
    await heard(Node.current())
    await abroadcast("t:a", "secret")
    Room.go.set()
    assert (await wire.receive())[3] == "phx_close"


# kick


@pytest.mark.parametrize("who", ["users:7", SimpleNamespace(pk=7)], ids=["id", "user"])
async def test_a_topic_ends_for_one_who_is_told_why(connect: Connect, who: Any) -> None:
    mine, others = await joined(connect, "7", "t:a", "t:b"), await joined(connect, "8", "t:a")
    await akick(who, "t:a", "banned")
    assert await mine.receive() == ["1", "1", "t:a", "phx_close", {"reason": "banned"}]
    await mine.send("1", "2", "t:b", "phx_leave", {})
    assert await mine.receive() == ["1", "2", "t:b", "phx_reply", OK]
    await others.ping()
    assert Room.ended == ["banned", "left"]


async def test_from_a_view_too(connect: Connect) -> None:
    wire = await joined(connect, "7", "t:a")
    await elsewhere(kick, SimpleNamespace(pk=7), "t:a")
    assert await wire.receive() == ["1", "1", "t:a", "phx_close", {"reason": "kicked"}]


@pytest.mark.parametrize("wrong", ["", None, 7, SimpleNamespace(pk=None)], ids=repr)
def test_a_kick_is_for_a_user_or_an_id(wrong: Any) -> None:
    with pytest.raises(TypeError, match="kick takes a user"):
        kick(wrong, "t:a")


def test_a_kick_is_from_a_topic() -> None:
    with pytest.raises(InvalidTopic):
        kick("users:7", "no topic")


async def test_a_socket_of_nobody_needs_no_ear(connect: Connect) -> None:
    wire = await connect(Router("/ws", [channel("t:<part:name>", Room)]))
    await wire.ping()
    assert not Node.current().warden._listens


async def test_an_engine_that_is_away_keeps_nobody_out(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    conf.engine.cache_clear()
    wire = await connected(connect, "7")
    await asyncio.wait_for(wire.ping(), PATIENCE)
