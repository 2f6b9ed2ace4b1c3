"""Who is present when nodes die, sleep or end, in real processes: told to others exactly once, or not at all.

The numbers are those of the table of faults in the reference.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

from realtime import Presence, conf
from realtime.engine.client import sync_client
from tests import engines
from tests.faults import nodes
from tests.faults.nodes import Cluster, Guest, Web, engine_of_its_own, names_of, until

NODE_LEASE = 2.0
GRACE = 3.0  # longer than it takes to come back on a busy machine
ALL = "camp:all"


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[engines.Engine]:
    """One for each test, so that counts are exact."""
    with engine_of_its_own(monkeypatch) as engine:
        yield engine


async def camp(cluster: Cluster, web: Web, count: int, each: int = 1, *topics: str) -> list[Guest]:
    """Let guests in, each of whom tracks so many keys of its own."""
    guests = await cluster.guests(web, count)
    for guest in guests:
        guest.keys = [f"{guest.name}-{number}" for number in range(each)]
    await asyncio.gather(*(guest.enter(*(topics or (ALL,))) for guest in guests))
    return guests


def keys_of(guests: Iterable[Guest]) -> Counter[str]:
    return Counter(key for guest in guests for key in guest.keys)


def present(topic: str = ALL) -> Counter[str]:
    """Return how many metas each key has, by the record."""
    return Counter({key: len(entry["metas"]) for key, entry in Presence.list_of(topic).items()})


def tracked(name: str) -> int:
    """Return how many entries the engine lists for a node, dead or alive."""
    [partition] = conf.keys().partitions()
    return int(sync_client(conf.engine()).scard(partition.tracked(name)))


async def fence(cluster: Cluster, web: Web, watchers: Iterable[Guest], topic: str = ALL) -> None:
    """Return when the watchers have heard all that was told before."""
    [guest] = await camp(cluster, web, 1, 1, topic)
    [key] = guest.keys
    await until(lambda: all(watcher.came[topic][key] for watcher in watchers), "the last to be heard of")
    await guest.leave(topic)
    await until(lambda: all(watcher.went[topic].pop(key, 0) for watcher in watchers), "the last to be gone")
    for watcher in watchers:
        del watcher.came[topic][key]


async def test_who_was_present_by_a_killed_node_leaves_exactly_once() -> None:
    """6"""
    async with Cluster() as cluster:
        (doomed, other), _ = await asyncio.gather(cluster.serve("uvicorn", "daphne"), cluster.lead())
        watchers = await cluster.guests(other, 2)
        small = [f"camp:{number}" for number in range(10)]
        for watcher in watchers:
            watcher.keys = [watcher.name]
            await watcher.enter(ALL, *small)
        lost = await camp(cluster, doomed, 20, 50, ALL)
        few = await camp(cluster, doomed, 1, 1, *small)
        expected = keys_of(lost)
        await until(lambda: all(w.came[ALL] >= expected for w in watchers), "all to be heard of")
        [name] = names_of(doomed)
        doomed.kill()
        await until(lambda: not any(node.name == name for node in nodes.nodes()), "the dead node to be gone")
        await fence(cluster, other, watchers)
        for topic in small:
            await fence(cluster, other, watchers, topic)
        for watcher in watchers:
            assert watcher.went == {ALL: expected, **{topic: keys_of(few) for topic in small}}
        assert expected.total() == 1000
        assert present() == Counter(watcher.name for watcher in watchers)
        assert tracked(name) == 0


async def test_a_node_that_slept_too_long_is_told_once_to_be_gone_and_once_to_be_back() -> None:
    """7"""
    async with Cluster() as cluster:
        (sleeper, other), _ = await asyncio.gather(cluster.serve("uvicorn", "daphne"), cluster.lead())
        [watcher] = await cluster.guests(other, 1)
        await watcher.enter(ALL)
        guests = await camp(cluster, sleeper, 10, 20)
        expected = keys_of(guests)
        await until(lambda: watcher.came[ALL] == expected, "all to be heard of")
        [name] = names_of(sleeper)
        sleeper.pause()
        await asyncio.sleep(2 * NODE_LEASE)
        await until(lambda: not names_of(sleeper), "the sleeper to be removed")
        await until(lambda: watcher.went[ALL] == expected, "all to be gone")
        watcher.came[ALL].clear()
        sleeper.resume()
        await until(lambda: all(guest.told[ALL] == 1 for guest in guests), "every channel to be told")
        await until(lambda: watcher.came[ALL] == expected, "all to be back")
        await fence(cluster, other, [watcher])
        assert watcher.came[ALL] == expected
        assert watcher.went[ALL] == expected
        assert present() == expected
        assert tracked(name) == 0


async def test_who_comes_back_by_another_node_in_time_has_never_been_away() -> None:
    async with Cluster(PRESENCE_GRACE=GRACE) as cluster:
        one, other = await cluster.serve("uvicorn", "daphne")
        [watcher] = await cluster.guests(other, 1)
        await watcher.enter(ALL)
        lost = await camp(cluster, one, 5, 4)
        expected = keys_of(lost)
        await until(lambda: watcher.came[ALL] == expected, "all to be heard of")
        before = Presence.list_of(ALL)
        await lose(lost, one)
        await come_back(cluster, lost[:4], other)
        await asyncio.sleep(1.5 * GRACE)
        await fence(cluster, other, [watcher])
        assert watcher.came[ALL] == expected
        assert watcher.went[ALL] == keys_of(lost[4:])  # who has not come back
        assert Presence.list_of(ALL) == {key: before[key] for key in keys_of(lost[:4])}


async def test_a_node_that_ends_leaves_its_guests_the_time_to_come_back_elsewhere() -> None:
    """8"""
    async with Cluster(PRESENCE_GRACE=2 * GRACE) as cluster:
        (one, other), _ = await asyncio.gather(cluster.serve("uvicorn", "daphne"), cluster.lead())
        [watcher] = await cluster.guests(other, 1)
        await watcher.enter(ALL)
        guests = await camp(cluster, one, 5, 4)
        expected = keys_of(guests)
        await until(lambda: watcher.came[ALL] == expected, "all to be heard of")
        [name] = names_of(one)
        await asyncio.to_thread(one.stop)
        await asyncio.sleep(NODE_LEASE / 2)  # the leader has looked at the nodes a few times
        assert tracked(name) == expected.total()
        await come_back(cluster, guests[:4], other)
        assert watcher.went[ALL] == {}
        await until(lambda: not tracked(name), "the rest to be gone")
        await fence(cluster, other, [watcher])
        assert watcher.came[ALL] == expected
        assert watcher.went[ALL] == keys_of(guests[4:])
        assert present() == keys_of(guests[:4])


async def test_an_engine_that_comes_back_empty_knows_again_who_is_present(engine: engines.Engine) -> None:
    """10"""
    async with Cluster() as cluster:
        pair, _ = await asyncio.gather(cluster.serve("uvicorn", "daphne"), cluster.lead())
        guests = [guest for web in pair for guest in await camp(cluster, web, 3, 5)]
        expected = keys_of(guests)
        assert present() == expected
        [server] = engine.servers
        server.kill()
        server.start()
        await until(server.answers, "the engine to start")
        await until(lambda: all(guest.told[ALL] for guest in guests), "every channel to be told of the gap")
        await until(lambda: present() == expected, "all to be back")


async def lose(guests: list[Guest], web: Web) -> None:
    """Cut the guests off, and return when their node has taken note."""
    for guest in guests:
        guest.lose()
    [name] = names_of(web)
    await until(lambda: nodes.fading(ALL) == keys_of(guests).total() == tracked(name), "all of them to fade")


async def come_back(cluster: Cluster, guests: list[Guest], web: Web) -> None:
    """Let guests with the same keys in."""
    back = await cluster.guests(web, len(guests))
    for guest, lost in zip(back, guests, strict=True):
        guest.keys = lost.keys
    await asyncio.gather(*(guest.enter(ALL) for guest in back))
