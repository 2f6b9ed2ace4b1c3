"""realtime.topics from everywhere: threads, loops, forks; against engines that are away, full or shared."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import Any

import pytest

from realtime import (
    Channel,
    EngineFull,
    EngineUnavailable,
    InvalidTopic,
    RealtimeError,
    Router,
    TopicInUse,
    channel,
    conf,
    topics,
)
from tests import engines
from tests.wire import PATIENCE

pytestmark = pytest.mark.usefixtures("empty_engine")

NAMES = ["a", "a:b", "a:b:c", "ab", "b", "Z", "é", "é:1", "日本", "😀", "{a}"]


class Open(Channel):
    async def join(self, payload: Any, **params: Any) -> None: ...


ROUTER = Router("/ws", [channel("rooms:<part:room>", Open)])


def use(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    conf.engine.cache_clear()


async def until_counted(topic: str, count: int) -> topics.Subscribers:
    """Return who listens, once they are so many: numbers of listeners are gathered before they are told."""
    async with asyncio.timeout(PATIENCE):
        while (found := await topics.asubscribers(topic)).count != count:
            await asyncio.sleep(0.01)
    return found


# What the verbs say


def test_a_topic_is_created_found_and_deleted(partitions: int) -> None:
    assert topics.create("rooms:1", "rooms:2", "rooms:1") == 2
    assert topics.create("rooms:2", "rooms:3") == 1
    assert (topics.exists("rooms:3"), topics.exists("rooms:4")) == (True, False)
    assert (topics.count(), topics.count("rooms:"), topics.count("shops:")) == (3, 3, 0)
    assert (topics.delete("rooms:1"), topics.delete("rooms:1")) == (True, False)
    assert topics.list() == ["rooms:2", "rooms:3"]
    assert topics.subscribers("rooms:2") == topics.subscribers("nowhere") == topics.Subscribers(0, {})


async def test_each_verb_has_an_async_twin(partitions: int) -> None:
    assert await topics.acreate("rooms:1", "rooms:2", "shops:1") == 3
    assert (await topics.aexists("rooms:2"), await topics.aexists("rooms:4")) == (True, False)
    assert (await topics.acount(), await topics.acount("rooms:")) == (3, 2)
    assert await topics.alist("", 2, "rooms:1") == ["rooms:2", "shops:1"]
    assert await topics.asubscribers("rooms:1") == topics.Subscribers(0, {})
    assert (await topics.adelete("rooms:1"), await topics.adelete("rooms:1")) == (True, False)


def test_to_create_nothing_is_no_error() -> None:
    assert topics.create() == 0


def test_20_000_are_created_at_once_and_listed_page_by_page(partitions: int) -> None:
    names = [f"rooms:{number}" for number in range(20_000)]
    assert topics.create(*names, "before", "zuletzt") == 20_002
    assert topics.count("rooms:") == 20_000
    found: list[str] = []
    while page := topics.list("rooms:", 3000, found[-1] if found else ""):
        assert len(page) == min(3000, 20_000 - len(found))
        found += page
    assert found == sorted(names)


def test_pages_follow_the_order_of_the_names_bytes(partitions: int) -> None:
    topics.create(*NAMES)
    found: list[str] = []
    while page := topics.list(limit=2, after=found[-1] if found else ""):
        found += page
    assert found == sorted(NAMES, key=str.encode)


def test_a_page_may_begin_after_a_name_that_is_gone(partitions: int) -> None:
    topics.create("a:1", "a:2", "a:3")
    topics.delete("a:2")
    assert topics.list("a:", after="a:2") == ["a:3"]
    assert topics.list("a:", after="A") == ["a:1", "a:3"]
    assert topics.list("a:", after="b") == []


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_of_nothing_is_empty(limit: int) -> None:
    topics.create("a")
    assert topics.list(limit=limit) == []


# From where


def test_threads_may_use_them_side_by_side(partitions: int) -> None:
    threads = [threading.Thread(target=topics.create, args=(f"t:{number}", "t:all")) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert topics.count() == 21


async def test_inside_a_running_loop_the_sync_verbs_work_too() -> None:
    assert topics.create("a") == 1
    assert topics.list() == ["a"]
    assert topics.delete("a")


def test_the_async_verbs_work_in_any_loop() -> None:
    for number in range(2):
        assert asyncio.run(topics.acreate("a", f"b:{number}")) == 2 - number


def test_a_forked_child_may_use_them_and_its_parent_still() -> None:
    topics.create("parent")  # a connection is open before the fork
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os._exit(0 if topics.create("child") == 1 and topics.list() == ["child", "parent"] else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert topics.list() == ["child", "parent"]


# Who listens


async def test_subscribers_are_counted_by_node(connect: Any) -> None:
    first, second = await connect(ROUTER), await connect(ROUTER)
    await first.join("rooms:1")
    await second.join("rooms:1")
    await second.join("rooms:2", ref="2")
    found = await until_counted("rooms:1", 2)
    [(node, count)] = found.nodes.items()
    assert (node.split(":")[1], count) == (str(os.getpid()), 2)
    assert (await topics.asubscribers("rooms:2")).nodes == {node: 1}
    await second.send("1", "3", "rooms:1", "phx_leave", {})
    assert (await until_counted("rooms:1", 1)).nodes == {node: 1}
    await first.close()
    assert await until_counted("rooms:1", 0) == topics.Subscribers(0, {})
    assert topics.list() == ["rooms:1", "rooms:2"]


async def test_a_topic_that_somebody_listens_to_is_not_deleted(connect: Any) -> None:
    wire = await connect(ROUTER)
    await wire.join("rooms:1")
    with pytest.raises(TopicInUse, match=r"'rooms:1' is not deleted.*topics.subscribers\('rooms:1'\)"):
        await topics.adelete("rooms:1")
    assert await topics.aexists("rooms:1")
    await wire.send("1", "2", "rooms:1", "phx_leave", {})
    await until_counted("rooms:1", 0)
    assert await topics.adelete("rooms:1")


# Errors


@pytest.mark.parametrize("name", ["", "a b", "a\n", "phoenix", "x" * 256, "\ud800", 7, None], ids=ascii)
def test_what_can_be_no_topic_is_an_error(name: Any) -> None:
    for verb in (topics.create, topics.exists, topics.subscribers, topics.delete):
        with pytest.raises(InvalidTopic, match=r"1 to 255 bytes of text without white space"):
            verb(name)


def test_one_wrong_name_creates_none() -> None:
    with pytest.raises(InvalidTopic):
        topics.create("a", "b c")
    assert topics.count() == 0


def test_an_engine_that_is_away_is_an_error_of_every_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, f"redis://127.0.0.1:{engines.port_of_our_own()}")
    for verb in (topics.create, topics.exists, topics.subscribers, topics.delete, topics.count, topics.list):
        with pytest.raises(EngineUnavailable, match="the engine does not answer"):
            verb("a")
    with pytest.raises(EngineUnavailable):
        asyncio.run(topics.acount())


def test_a_full_engine_is_an_error_of_create_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with engines.valkey(maxmemory="3mb") as engine:
        use(monkeypatch, engine.url)
        with pytest.raises(EngineFull, match="maxmemory"):
            for number in range(100):
                topics.create(*(f"rooms:{number}:{each}" for each in range(1000)))
        count = topics.count()
        assert count >= 500
        assert topics.list(limit=1) == ["rooms:0:0"]
        assert topics.delete("rooms:0:0")
        assert topics.count() == count - 1


def test_a_setting_that_cannot_be_is_an_error(settings: Any) -> None:
    settings.REALTIME = {"PREFIX": "a b"}
    with pytest.raises(RealtimeError, match="PREFIX"):
        topics.count()


# Two projects


def test_two_prefixes_on_one_engine_see_nothing_of_each_other(settings: Any, partitions: int) -> None:
    ours = settings.REALTIME
    topics.create("ours", "both")
    settings.REALTIME = {**ours, "PREFIX": "other"}
    assert topics.list() == []
    assert topics.create("theirs", "both") == 2
    assert topics.delete("both")
    settings.REALTIME = ours
    assert topics.list() == ["both", "ours"]
