"""Web nodes that die, sleep or lose the engine, in real processes; judged by what the registry and the clients say.

The numbers are those of the table of faults in the reference.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from realtime import conf, topics
from realtime.engine import election
from tests import engines
from tests.faults import nodes
from tests.faults.nodes import (
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

NODE_LEASE = 2.0
LONGER_THAN_A_LEASE = 1.5 * NODE_LEASE


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[engines.Engine]:
    """One for each test, so that counts are exact."""
    with engine_of_its_own(monkeypatch) as engine:
        yield engine


async def populate(guests: list[Guest], each: int, kind: str) -> list[str]:
    """Let every guest join so many topics of its own; return all of them."""
    names = {guest: [f"field:{kind}-{number}-{n}" for n in range(each)] for number, guest in enumerate(guests)}
    await asyncio.gather(*(guest.enter(*own) for guest, own in names.items()))
    return [name for own in names.values() for name in own]


# Nodes that die


async def test_a_killed_node_leaves_its_thousand_topics_once_each_and_others_stay() -> None:
    """6"""
    async with Cluster() as cluster:
        (doomed, other), leader = await asyncio.gather(cluster.serve("uvicorn", "daphne"), cluster.lead())
        many, few = await cluster.guests(doomed, 20), await cluster.guests(other, 2)
        left = await populate(many, 50, "shared")
        await populate(few, 50, "own")
        await few[0].enter(*left[:20])
        await until(lambda: len(nodes.members()) == 1100, "the members")
        [name] = names_of(doomed)
        doomed.kill()
        await until(lambda: not any(node.name == name for node in nodes.nodes()), "the dead node to be gone")
        assert removed() == len(left) == 1000
        assert nodes.held(name) == 0
        assert nodes.members() == nodes.sockets(few)  # those of the dead know that they were closed
        told = leader.told("removed")
        assert {each["node"] for each in told} == {name}
        assert Counter(topic for each in told for topic in each["topics"]) == Counter(left)
        assert [each["is_over"] for each in told].count(True) == 1


async def test_a_killed_node_that_led_is_buried_by_the_node_that_takes_over() -> None:
    """6, without a topic server of its own"""
    async with Cluster(TOPIC_SERVER=True) as cluster:
        pair = await cluster.serve("uvicorn", "uvicorn")
        await until(lambda: topics.ask(election.leader(conf.keys())), "a leader")
        leader = topics.ask(election.leader(conf.keys()))
        assert leader is not None
        doomed, other = sorted(pair, key=lambda web: web.pid != nodes.process(leader.holder))
        assert doomed.pid == nodes.process(leader.holder)
        many, few = await cluster.guests(doomed, 20), await cluster.guests(other, 2)
        left = await populate(many, 50, "lost")
        await populate(few, 50, "kept")
        [name] = names_of(doomed)
        doomed.kill()
        await until(lambda: not any(node.name == name for node in nodes.nodes()), "the dead node to be gone")
        assert removed() == len(left) == 1000
        assert nodes.held(name) == 0
        assert nodes.members() == nodes.sockets(few)


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
async def test_a_node_that_ends_takes_leave_of_the_registry_by_itself(kind: str) -> None:
    async with Cluster() as cluster:
        [web] = await cluster.serve(kind)
        guests = await cluster.guests(web, 10)
        await populate(guests, 30, "own")
        await asyncio.to_thread(web.stop)
        assert nodes.nodes() == []
        assert nodes.members() == {}
        assert removed() == 0  # and nobody leads who could have done it


# Nodes that sleep


async def test_a_node_that_slept_too_long_comes_back_under_a_new_name_and_leaves_no_ghost() -> None:
    """7"""
    async with Cluster() as cluster:
        (sleeper, other), _ = await asyncio.gather(cluster.serve("uvicorn", "daphne"), cluster.lead())
        guests, others = await cluster.guests(sleeper, 5), await cluster.guests(other, 2)
        own = await populate(guests, 20, "own")
        for guest in (*guests, *others):
            await guest.enter("field:all")
        await agreement(guests, joined=21, others=others)
        [name] = names_of(sleeper)
        sleeper.pause()
        await asyncio.sleep(2 * NODE_LEASE)
        await until(lambda: not names_of(sleeper), "the sleeper to be removed")
        assert removed() == len(own) + 1
        sleeper.resume()
        await until(lambda: all(len(guest.told) == 21 for guest in guests), "every channel to be told")
        await agreement(guests, joined=21, others=others)
        assert topics.subscribers("field:all").count == 7
        [new] = names_of(sleeper)
        assert new != name
        assert all(guest.reasons == {"resync"} and not guest.closed for guest in guests)
        assert not any(guest.told for guest in others)
        assert removed() == len(own) + 1


# The engine is gone


async def test_an_engine_that_comes_back_empty_is_filled_from_the_memory_of_the_nodes(engine: engines.Engine) -> None:
    """10"""
    async with Cluster() as cluster:
        pair, _ = await asyncio.gather(cluster.serve("uvicorn", "daphne"), cluster.lead())
        guests = [guest for web in pair for guest in await cluster.guests(web, 3)]
        await populate(guests, 20, "own")
        for guest in guests:
            await guest.enter("field:all")
        [server] = engine.servers
        server.kill()
        server.start()
        await until(server.answers, "the engine to start")
        await until(lambda: all(len(guest.told) == 21 for guest in guests), "every channel to be told of the gap")
        await agreement(guests, joined=21)
        await settled(cluster, guests)
        await asyncio.sleep(LONGER_THAN_A_LEASE)  # or nobody would yet be held for dead
        assert removed() == 0
        assert nodes.members() == nodes.sockets(guests)
        assert {reason for guest in guests for reason in guest.reasons} == {"resync"}


# The bus breaks


async def test_a_bus_that_is_killed_again_and_again_loses_nothing_in_silence(engine: engines.Engine) -> None:
    """13"""
    names = ["field:a", "field:b", "field:c"]
    async with Cluster() as cluster:
        guests = [guest for web in await cluster.serve("uvicorn", "daphne") for guest in await cluster.guests(web, 5)]
        for guest in guests:
            await guest.enter(*names)
        killed = 0
        for rest in (0.3, 0.3, 0.3, 0.02, 0.02, 0.02, 0.3):  # also while it is being made again
            for number in range(60):
                cluster.ledger.publish(names[number % 3])
                await asyncio.sleep(rest / 60)
            killed += engines.deafen(engine.url)
        await agreement(guests, joined=3)
        assert killed >= 8  # twice four: each node's
        await settled(cluster, guests)
        assert all(guest.told[name] for guest in guests for name in names)


async def test_a_node_that_the_engine_cut_off_for_reading_too_slowly_tells_all_its_clients(
    engine: engines.Engine,
) -> None:
    """14"""
    async with Cluster() as cluster:
        [web] = await cluster.serve("uvicorn")
        guests = await cluster.guests(web, 3)
        for guest in guests:
            await guest.enter("field:loud", "field:quiet")
        with engine.servers[0].client() as client:
            client.config_set("client-output-buffer-limit", "pubsub 1mb 512kb 5")
            web.pause()
            for number in range(10_000):  # the kernel takes megabytes of them before the engine has to keep any
                cluster.ledger.publish("field:loud", fill="x" * 10_000)
                if number >= 1000 and not client.client_list(_type="pubsub"):
                    break
            assert not client.client_list(_type="pubsub"), "the engine was to cut it off"
        web.resume()
        await until(lambda: all(len(guest.told) == 2 for guest in guests), "every channel to be told")
        await agreement(guests, joined=2)
        await settled(cluster, guests)
        assert {guest.closed for guest in guests} == {None}
        assert all(guest.heard("field:loud") != cluster.ledger.accepted("field:loud") for guest in guests)


@pytest.mark.parametrize("kind", ["daphne", "uvicorn"])
async def test_what_is_known_and_published_right_after_a_join_reply_holds_over_a_slow_link(
    kind: str, engine: engines.Engine
) -> None:
    """16; the bus is slower still than the registry, or a join would wait for the one and so for the other."""
    async with Proxy(engines.place(engine.url), delay=0.02, slow=b"SUBSCRIBE") as proxy, Cluster() as cluster:
        [web] = await cluster.serve(kind, url=f"redis://127.0.0.1:{proxy.port}")

        async def join_and_publish(guest: Guest) -> int:
            names = [f"field:{guest.name}-{number}" for number in range(10)]
            for name in names:
                await guest.enter(name)
                cluster.ledger.publish(name)  # at once, over a faster link
                assert topics.subscribers(name).count == 1
            await until(lambda: all(guest.heard(name) for name in names), "all of them to be heard")
            return sum(guest.heard(name) == cluster.ledger.accepted(name) for name in names)

        heard = await asyncio.gather(*map(join_and_publish, await cluster.guests(web, 4)))
        assert sum(heard) == 40


async def test_a_node_that_the_engine_hears_but_does_not_reach_is_one_node_again_later(engine: engines.Engine) -> None:
    """27"""
    async with Proxy(engines.place(engine.url)) as proxy, Cluster() as cluster:
        [cut_off], [other], _ = await asyncio.gather(
            cluster.serve("uvicorn", url=f"redis://127.0.0.1:{proxy.port}"), cluster.serve("daphne"), cluster.lead()
        )
        guests, others = await cluster.guests(cut_off, 3), await cluster.guests(other, 2)
        await populate(guests, 5, "own")
        for guest in (*guests, *others):
            await guest.enter("field:all")
        [name] = names_of(cut_off)
        proxy.swallow(answers_only=True)
        early = asyncio.create_task(answers(guest.join("field:new") for guest in guests))
        cluster.ledger.publish("field:all")
        await asyncio.gather(*(guest.heartbeat() for guest in guests))
        await until(lambda: name not in [node.name for node in nodes.nodes()], "the node to be removed")
        assert await answers(guest.join(f"field:{guest.name}") for guest in guests) == {"unavailable"}
        assert await early == {"unavailable"}
        assert topics.subscribers("field:all").count == len(others)
        assert {guest.closed for guest in guests} == {None}
        proxy.heal()
        await until(lambda: all(len(guest.told) == 6 for guest in guests), "every channel to be told")
        await agreement(guests, joined=6, others=others)
        assert names_of(cut_off) != [name]
        await settled(cluster, [*guests, *others])
