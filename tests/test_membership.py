"""Membership: what the registry of a real engine knows of a node, through everything that can come between."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from realtime.engine import client as clients
from realtime.engine.client import Engine, sync_client
from realtime.engine.keys import Keys
from realtime.engine.layer import RedisChannelLayer
from realtime.engine.registry import Listed, Registry
from realtime.engine.scripts import Call
from realtime.exceptions import EngineUnavailable
from realtime.membership import Membership
from tests import engines

pytestmark = pytest.mark.usefixtures("empty_engine")

T = TypeVar("T")
PREFIX = "membership"
SHORT, LONG = 1.0, 1000.0  # leases: with beats that come soon, and with none after the first


class Scene:
    """One node on a real engine.

    before  is awaited before each of its calls
    """

    def __init__(self, url: str, lease: float) -> None:
        self.engine = Engine(url)
        self.layer = RedisChannelLayer(engine=self.engine, prefix=f"{PREFIX}:asgi:")
        self.registry = Registry(Keys(PREFIX, self.engine.partitions))
        self.resyncs = 0
        self.calls = 0  # under way
        self.before: Callable[[], Awaitable[None]] | None = None
        self.membership = Membership(self.registry, self.call, bus=self.layer, lease=lease, resync=self.resync)

    async def call(self, call: Call[T]) -> T:
        if self.before:
            await self.before()
        self.calls += 1
        try:
            return await self.layer.call(call)
        finally:
            self.calls -= 1

    async def join(self, topic: str) -> None:
        """Join, and wait for the sign of life that follows the first."""
        await self.membership.join(topic)
        await asyncio.sleep(0)
        await until(lambda: not self.calls)

    def resync(self) -> None:
        self.resyncs += 1

    # What the engine knows

    def ask(self, call: Call[T]) -> T:
        """Ask over a connection of the test's own."""
        return call.run(sync_client(self.engine))

    def command(self, *command: str | int) -> Any:
        return self.ask(Call(command, lambda answer: answer))

    def members(self, topic: str) -> dict[str, int] | None:
        """Return node -> listeners, or None if there is no such topic."""
        found = self.ask(self.registry.show(topic))
        return found.nodes if found else None

    def nodes(self) -> list[Listed]:
        """Return the nodes of the partition of "a", which is the one of all where the engine is one server."""
        return self.ask(self.registry.nodes(self.registry.keys.of("a")))

    def held(self) -> set[str]:
        names: set[str] = set()
        for place in self.registry.keys.partitions():
            names |= {name.decode() for name in self.command("SMEMBERS", place.held(self.membership.name))}
        return names

    def declare_dead(self) -> None:
        for place in self.registry.keys.partitions():
            self.command("ZADD", place.nodes, -1, self.membership.name)

    def haunt(self, topic: str) -> None:
        """Let the engine believe that the node is in a topic that it knows nothing of."""
        self.ask(self.registry.join(topic, self.membership.name, 1, 1))

    async def close(self) -> None:
        await self.membership.stop()
        await self.layer.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def scene_at(url: str, lease: float) -> AsyncIterator[Scene]:
    scene = Scene(url, lease)
    try:
        yield scene
    finally:
        await scene.close()


@pytest.fixture
async def scene(engine: str) -> AsyncIterator[Scene]:
    """A node that gives no sign of life by itself after the first: a test lets it."""
    async with scene_at(engine, LONG) as scene:
        yield scene


@pytest.fixture
async def lively(engine: str) -> AsyncIterator[Scene]:
    """A node that gives four signs of life a second."""
    async with scene_at(engine, SHORT) as scene:
        yield scene


# What reaches the registry


async def test_before_its_first_topic_a_node_is_not_known(scene: Scene) -> None:
    assert scene.nodes() == []
    await scene.membership.leave("a")
    assert scene.members("a") is None


async def test_a_join_creates_the_topic_and_enters_it(scene: Scene) -> None:
    await scene.membership.join("a")
    name = scene.membership.name
    assert scene.members("a") == {name: 1}
    assert [(node.name, node.is_dead, node.topics) for node in scene.nodes()] == [(name, False, 1)]
    assert name.split(":")[1] == str(os.getpid())


async def test_a_leave_takes_the_node_out_and_leaves_the_topic(scene: Scene) -> None:
    await scene.membership.join("a")
    await scene.membership.leave("a")
    assert (scene.members("a"), scene.held()) == ({}, set())


async def test_numbers_of_listeners_are_gathered_and_told(scene: Scene) -> None:
    reports = []

    def report(*arguments: Any) -> list[Call[int]]:
        reports.append(arguments[2])
        return real(*arguments)

    real, scene.registry.report = scene.registry.report, report  # type: ignore[method-assign]
    await scene.membership.join("a")
    await scene.membership.join("b")
    for number in range(2, 51):
        scene.membership.changed("a", number)
        scene.membership.changed("b", 51 - number)
    scene.membership.changed("never joined", 3)
    await until(lambda: scene.members("a") == {scene.membership.name: 50})
    assert scene.members("b") == {scene.membership.name: 1}
    assert scene.members("never joined") is None
    assert reports == [{"a": 50, "b": 1}]


async def test_a_number_that_changes_while_it_leaves_does_no_harm(scene: Scene) -> None:
    await scene.membership.join("a")
    scene.membership.changed("a", 2)
    await scene.membership.leave("a")
    scene.membership.changed("a", 3)
    await scene.membership.join("b")
    scene.membership.changed("b", 2)
    await until(lambda: scene.members("b") == {scene.membership.name: 2})
    assert scene.members("a") == {}


async def test_many_joins_and_leaves_side_by_side_end_as_the_last_says(scene: Scene) -> None:
    verbs = [scene.membership.join, scene.membership.leave]
    await asyncio.gather(*(verbs[(number + turn) % 2](f"t:{number}") for turn in range(6) for number in range(40)))
    expected = {f"t:{number}" for number in range(40) if (number + 5) % 2 == 0}
    assert scene.held() == expected
    assert all(bool(scene.members(f"t:{number}")) == (f"t:{number}" in expected) for number in range(40))


# Declared dead


async def test_a_node_that_was_declared_dead_takes_a_new_name_with_the_next_join(scene: Scene) -> None:
    await scene.join("a")
    old = scene.membership.name
    scene.declare_dead()
    await scene.membership.join("b")
    assert scene.membership.name != old
    assert scene.members("b") == {scene.membership.name: 1}
    await until(lambda: scene.membership.name in (scene.members("a") or {}))
    assert scene.resyncs == 1
    assert (scene.members("a") or {}).keys() == {old, scene.membership.name}  # the old one is the leader's to remove


@pytest.mark.parametrize("how", ["declared dead", "not known"])
async def test_a_heartbeat_finds_that_the_node_is_dead(lively: Scene, how: str, caplog: Any) -> None:
    for topic in ("a", "b"):
        await lively.membership.join(topic)
    lively.membership.changed("b", 7)
    old = lively.membership.name
    await until(lambda: lively.members("b") == {old: 7})
    if how == "declared dead":
        lively.declare_dead()
    else:
        for place in lively.registry.keys.partitions():
            lively.command("DEL", place.nodes)
    await until(lambda: lively.membership.name != old and lively.held() == {"a", "b"})
    assert (lively.members("b") or {})[lively.membership.name] == 7
    assert lively.resyncs == 1
    assert "knows this node no more" in caplog.text


async def test_a_node_that_others_find_declared_dead_looks_at_once(scene: Scene) -> None:
    await scene.join("a")
    old = scene.membership.name
    scene.declare_dead()
    scene.membership.was_declared_dead("a name of long ago")
    scene.membership.was_declared_dead(old)
    await until(lambda: scene.membership.name != old and scene.held() == {"a"})
    assert scene.resyncs == 1


async def test_joins_that_find_it_dead_at_once_rename_it_once(scene: Scene) -> None:
    await scene.join("a")
    scene.declare_dead()
    await asyncio.gather(*(scene.membership.join(f"t:{number}") for number in range(30)))
    assert scene.resyncs == 1
    await until(lambda: len(scene.held()) == 31)


async def test_clients_join_again_also_when_the_engine_is_away_just_then(scene: Scene) -> None:
    """It is found dead, and the engine does not hear its new name: that it was dead is not forgotten."""
    await scene.join("a")
    scene.declare_dead()
    calls = 0
    usual = scene.before

    async def fail_but_the_first() -> None:  # a heartbeat may be among them
        nonlocal calls
        calls += 1
        if calls >= 2:
            raise EngineUnavailable("away")

    scene.before = fail_but_the_first
    with pytest.raises(EngineUnavailable):
        await scene.membership.join("b")
    scene.before = usual
    assert scene.resyncs == 0
    scene.membership.gap()
    await until(lambda: scene.held() == {"a", "b"})
    assert scene.resyncs == 1


async def test_a_node_that_is_declared_dead_again_and_again_gives_up(scene: Scene) -> None:
    await scene.membership.join("a")

    async def declare_dead() -> None:
        scene.declare_dead()

    scene.before = declare_dead
    with pytest.raises(EngineUnavailable, match="again and again"):
        await scene.membership.join("b")
    scene.before = None
    scene.membership.gap()
    await until(lambda: scene.held() == {"a", "b"})


# What the engine has lost, or should not know


async def test_an_engine_that_lost_everything_is_told_anew(lively: Scene, engine: str) -> None:
    for number in range(120):
        await lively.membership.join(f"t:{number}")
    lively.membership.changed("t:7", 5)
    old = lively.membership.name
    await until(lambda: lively.members("t:7") == {old: 5})
    engines.empty(engine)
    await until(lambda: lively.membership.name != old and len(lively.held()) == 120)
    assert lively.members("t:7") == {lively.membership.name: 5}
    assert lively.resyncs == 1


async def test_a_ghost_is_put_right_when_the_numbers_differ(lively: Scene) -> None:
    await lively.membership.join("a")
    lively.haunt("ghost")
    await until(lambda: lively.members("ghost") == {})
    assert lively.held() == {"a"}
    assert lively.resyncs == 0


async def test_a_topic_that_the_engine_forgot_is_entered_anew_when_the_numbers_differ(lively: Scene) -> None:
    await lively.membership.join("a")
    place, name = lively.registry.keys.of("a"), lively.membership.name
    lively.command("SREM", place.held(name), "a")
    lively.command("HDEL", place.members("a"), name)
    await until(lambda: lively.members("a") == {name: 1})


async def test_after_a_gap_names_are_compared_though_the_numbers_are_equal(scene: Scene) -> None:
    await scene.membership.join("a")
    place, name = scene.registry.keys.of("a"), scene.membership.name
    ghost = next(f"g:{number}" for number in range(999) if scene.registry.keys.of(f"g:{number}") == place)
    scene.haunt(ghost)
    scene.command("SREM", place.held(name), "a")
    scene.command("HDEL", place.members("a"), name)
    await scene.membership._beat_once()
    assert scene.held() == {ghost}
    scene.membership.gap()
    await until(lambda: scene.held() == {"a"})
    assert (scene.members("a"), scene.members(ghost)) == ({name: 1}, {})


async def test_a_gap_on_the_bus_lets_it_compare(scene: Scene, engine: str) -> None:
    await scene.membership.join("a")
    scene.haunt("ghost")
    engines.deafen(engine)
    await until(lambda: scene.held() == {"a"})


# The end


async def test_at_the_end_nothing_of_the_node_is_left(scene: Scene, engine: str) -> None:
    await scene.membership.join("a")
    scene.membership.changed("a", 2)
    await scene.membership.leave("a")
    await scene.membership.stop()
    assert scene.nodes() == []
    assert scene.members("a") == {}


async def test_a_node_that_ends_in_topics_leaves_them_to_the_leader(scene: Scene) -> None:
    await scene.membership.join("a")
    await scene.membership.stop()
    assert [node.is_dead for node in scene.nodes()] == [True]


async def test_to_stop_twice_or_without_a_topic_is_no_error(scene: Scene) -> None:
    await scene.membership.stop()
    await scene.membership.join("a")
    await scene.membership.stop()
    await scene.membership.stop()


async def test_it_stops_though_the_engine_is_away() -> None:
    with engines.valkey() as engine:
        async with scene_at(engine.url, SHORT) as scene:
            await scene.membership.join("a")
            engine.servers[0].kill()
            await scene.membership.stop()


# A slow engine


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "TIMEOUT", 0.3)


@pytest.mark.usefixtures("impatient")
async def test_while_the_engine_is_stalled_joins_fail_and_the_truth_is_told_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "realtime.node")
    with engines.valkey() as engine:
        async with scene_at(engine.url, SHORT) as scene:
            for topic in ("a", "b", "c"):
                await scene.membership.join(topic)
            name = scene.membership.name
            with engine.servers[0].stalled():
                with pytest.raises(EngineUnavailable):
                    await scene.membership.join("late")  # carried out afterwards, though nobody waits for it
                await scene.membership.leave("late")  # as the hub does after a join that failed
                await scene.membership.leave("b")  # raises nothing
                scene.membership.changed("c", 9)
                await until(lambda: "does not hear this node" in caplog.text)
            await until(lambda: "hears this node again" in caplog.text)
            await until(lambda: scene.held() == {"a", "c"} and not scene.members("late") and not scene.members("b"))
            await until(lambda: scene.members("c") == {name: 9})
            assert caplog.text.count("does not hear this node") == 1
            assert (scene.membership.name, scene.resyncs) == (name, 0)


async def test_topics_do_not_wait_for_each_other(scene: Scene) -> None:
    await scene.membership.join("a")
    gate = asyncio.Event()
    held_up: list[asyncio.Task[Any] | None] = []

    async def hold_up_the_first() -> None:
        if not held_up:
            held_up.append(asyncio.current_task())
            await gate.wait()

    scene.before = hold_up_the_first
    slow = asyncio.create_task(scene.membership.join("slow"))
    await until(lambda: bool(held_up))
    same = asyncio.create_task(scene.membership.leave("slow"))
    await scene.membership.join("b")
    assert (scene.held(), slow.done(), same.done()) == ({"a", "b"}, False, False)
    gate.set()
    await asyncio.gather(slow, same)
    assert scene.held() == {"a", "b"}
