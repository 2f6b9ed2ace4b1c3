"""An engine that is away, full, set up wrongly or cannot write, with real nodes on it.

The numbers are those of the table of faults in the reference.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from realtime import topics
from realtime.engine import subscriptions
from realtime.engine.client import CONNECTIONS, Engine
from realtime.engine.layer import RedisChannelLayer
from tests import engines
from tests.ear import Ear
from tests.faults import nodes
from tests.faults.nodes import (
    PATIENCE,
    Cluster,
    Guest,
    agreement,
    answers,
    engine_of_its_own,
    names_of,
    removed,
    settled,
    until,
)
from tests.proxy import Proxy

LONGER_THAN_A_LEASE = 3.0  # of a node


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[engines.Engine]:
    """One for each test, for it is bent."""
    with engine_of_its_own(monkeypatch) as engine:
        yield engine


async def enter_own(guests: list[Guest], each: int) -> None:
    await asyncio.gather(*(guest.enter(*(f"field:own-{guest.name}-{n}" for n in range(each))) for guest in guests))


# Away


@pytest.mark.parametrize(
    ("lose", "find"), [(Proxy.swallow, Proxy.heal), (Proxy.refuse, Proxy.admit)], ids=["a black hole", "refused"]
)
async def test_without_the_engine_sockets_live_joins_are_answered_in_time_and_all_comes_back(
    lose: Callable[[Proxy], None], find: Callable[[Proxy], None], engine: engines.Engine
) -> None:
    """11"""
    async with Proxy(engines.place(engine.url)) as proxy, Cluster() as cluster:
        [web], _ = await asyncio.gather(cluster.serve("uvicorn", url=f"redis://127.0.0.1:{proxy.port}"), cluster.lead())
        guests = await cluster.guests(web, 8)
        await enter_own(guests, 5)
        for guest in guests:
            await guest.enter("field:all")

        async def ask(group: list[Guest], pause: float) -> set[str]:
            await asyncio.sleep(pause)
            own = [guest.join(f"field:new-{guest.name}-{n}") for guest in group for n in range(5)]
            return await answers([*own, *(guest.join("field:wanted") for guest in group)])

        async def tasks() -> int:
            reply = await guests[0].push("field:all", "tasks")
            return int(reply["response"]["tasks"])

        quiet, files, memory = await tasks(), web.files(), web.memory()
        lose(proxy)
        late = await cluster.guests(web, 4)  # a socket needs no engine
        waves = [ask(guests[:4], 0), ask(guests[4:], 0.5), ask(late, 1.0)]  # each while the one before it waits
        asked = await asyncio.gather(*waves, *(guest.heartbeat() for guest in guests))
        assert asked[:3] == [{"unavailable"}] * 3
        await until(lambda: not names_of(web), "the node to be removed")
        everybody = [*guests, *late]
        for guest in everybody:
            guest.insist("field:wanted")
        async with asyncio.timeout(PATIENCE):
            while await tasks() > quiet + 3 * len(everybody):  # those who ask now: the others have left nothing
                await asyncio.gather(*(guest.heartbeat() for guest in everybody))
                await asyncio.sleep(0.1)
        assert web.files() <= files + len(late) + CONNECTIONS
        assert web.memory() <= memory + 20
        assert not any(guest.told or guest.closed for guest in everybody)

        find(proxy)
        await until(lambda: all(len(guest.told) == 6 for guest in guests), "every channel to be told")
        await until(lambda: all(guest.joined for guest in late), "those who came meanwhile to be let in")
        await agreement(guests, joined=7, others=late)
        await settled(cluster, everybody)
        assert topics.subscribers("field:wanted").count == len(everybody)
        assert removed() == 41


# Full


async def test_a_full_engine_refuses_new_topics_and_does_all_the_rest(engine: engines.Engine) -> None:
    """18"""
    [server] = engine.servers
    async with Cluster(COLLECT_AFTER=(0.1, 0.3), MAX_TOPICS=10_000, MESSAGE_BURST=100_000) as cluster:
        (web, doomed), leader = await asyncio.gather(cluster.serve("uvicorn", "daphne"), cluster.lead())
        guests, lost = await cluster.guests(web, 3), await cluster.guests(doomed, 3)
        await enter_own(guests, 10)
        await enter_own(lost, 10)
        for guest in guests:
            await guest.enter("field:all")
        with server.client() as client:
            client.config_set("maxmemory", client.info("memory")["used_memory"] + 50_000)
            asked = itertools.count()  # many, where connections have given memory back
            while (answer := await answers([guests[0].join(f"field:more-{next(asked)}")])) == {"ok"}:
                pass
            assert answer == {"overloaded"}
            client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)  # or leaving would make room

        async def refused() -> None:
            assert await answers(guest.join(f"field:new-{guest.name}") for guest in guests) == {"overloaded"}

        await refused()
        await guests[1].enter("field:own-guest-1-0")  # the node is in it, and the engine is not asked
        for number in range(5):
            await guests[2].leave(f"field:own-guest-3-{number}")
        doomed.kill()
        leader.kill()
        await cluster.lead()
        await until(lambda: len(nodes.nodes()) == 1, "the dead node to be removed")
        await until(lambda: not topics.list("field:own-guest-6"), "the topics of the dead to be collected")
        assert removed() == 30
        assert not topics.exists("field:own-guest-3-0")
        assert topics.exists("field:own-guest-3-9")
        await refused()
        await settled(cluster, guests)
        assert not any(guest.told or guest.closed for guest in guests)
        assert nodes.members() == nodes.sockets(guests)

        for guest in guests:
            guest.insist(f"field:new-{guest.name}")
        with server.client() as client:
            client.config_set("maxmemory", 0)
        await until(
            lambda: all(f"field:new-{guest.name}" in guest.joined for guest in guests), "the guests to be let in"
        )
        assert nodes.members() == nodes.sockets(guests)


# Set up wrongly


async def test_an_engine_that_would_drop_topics_when_full_is_told_of_at_the_start(engine: engines.Engine) -> None:
    """19"""
    with engine.servers[0].client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    async with Cluster() as cluster:
        command = cluster.topic_server()
        [web] = await cluster.serve("uvicorn")
        for output in (lambda: command.output, lambda: web.log):
            await until(lambda output=output: "allkeys-lru" in output(), "the warning")
            [warning] = [line for line in output().splitlines() if "allkeys-lru" in line]
            assert warning.endswith("Set it to noeviction")


# Not able to write


@asynccontextmanager
async def disk_full(server: engines.Server) -> AsyncIterator[None]:
    """Let the engine fail to save, upon which it refuses to write, and to answer a PING."""
    dump = server.folder / "dump.rdb"
    with server.client() as client:
        dump.mkdir()  # what is written beside it cannot take its name
        client.config_set("save", "3600 1")
        client.bgsave()
        await until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", "the disk to fail")
        yield
        dump.rmdir()
        client.bgsave()
        await until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok", "the disk to work")


async def test_an_engine_whose_disk_is_full_refuses_joins_and_all_goes_on_once_it_can_write(
    engine: engines.Engine,
) -> None:
    """29"""
    async with Cluster() as cluster:
        (web, other), leader = await asyncio.gather(cluster.serve("uvicorn", "daphne"), cluster.lead())
        guests = [*await cluster.guests(web, 3), *await cluster.guests(other, 3)]
        await enter_own(guests, 5)
        for guest in guests:
            await guest.enter("field:all")
        async with disk_full(engine.servers[0]):
            assert await answers(guest.join(f"field:new-{guest.name}") for guest in guests) == {"unavailable"}
            for guest in guests:
                guest.insist(f"field:new-{guest.name}")
            await guests[0].leave("field:own-guest-1-0")
            await asyncio.sleep(LONGER_THAN_A_LEASE)
            await settled(cluster, guests)  # what is published is not written
            await asyncio.gather(*(guest.heartbeat() for guest in guests))
            assert not any(guest.told or guest.closed for guest in guests)
            assert leader.runs
            assert len(leader.told("waiting")) == 1
            for log in (web.log, other.log):
                assert log.count("the engine does not hear this node") == 1
                assert "Traceback" not in log
        await until(lambda: f"field:new-{guests[0].name}" in guests[0].joined, "the one who left a topic to be let in")
        await agreement(guests[1:], joined=7, others=guests[:1])
        await until(lambda: leader.leads, "the topic server to lead again")
        assert removed() == 0


async def test_a_bus_that_is_quiet_while_the_disk_is_full_is_not_held_for_lost(
    engine: engines.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """29; the engine then refuses a PING, and who took that for a loss would send its clients away for nothing."""
    monkeypatch.setattr(subscriptions, "QUIET", 0.1)
    layer, ear = RedisChannelLayer(engine=Engine(engine.url), prefix="test:"), Ear()
    try:
        await layer.subscribe("a", ear)
        async with disk_full(engine.servers[0]):
            await asyncio.sleep(1.0)
            await layer.publish("a", b"heard")
            assert await ear.next() == b"heard"
        assert ear.gaps.empty()
    finally:
        await layer.aclose()


async def test_a_message_between_a_ping_and_its_refusal_does_not_make_that_a_loss(engine: engines.Engine) -> None:
    """29"""
    layer, ear = RedisChannelLayer(engine=Engine(engine.url), prefix="test:"), Ear()
    subscribed = layer._get_layer().shard._subscriptions
    try:
        await layer.subscribe("a", ear)
        async with disk_full(engine.servers[0]):
            with engine.servers[0].client() as client:
                client.publish("a", b"first")  # blocks the loop: it is read only when the engine has been asked
            await subscribed._ask()
            assert await ear.next() == b"first"
            await layer.publish("a", b"second")
            assert await ear.next() == b"second"
        assert ear.gaps.empty()
    finally:
        await layer.aclose()
