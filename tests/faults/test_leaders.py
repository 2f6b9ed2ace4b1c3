"""Topic servers that die, sleep and meet: numbers are of the fault table in the design."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

import msgspec
import pytest
import redis.asyncio

from realtime.engine import embedded
from realtime.protocol.bus import pack
from realtime.protocol.messages import Broadcast
from tests import engines
from tests.e2e.client import Client
from tests.faults.leaders import LEASE, SETTINGS, SLACK, TAKEOVER, Candidate, Judge, beating, candidates, elected, told
from tests.servers import servers, wait_until


@pytest.fixture
def judge() -> Iterator[Judge]:
    """An engine of the test's own, so that counts are exact."""
    with engines.one() as engine, Judge(engine.url) as judge:
        yield judge


def names(kind: str, count: int) -> list[str]:
    return [f"{kind}:{number}" for number in range(count)]


def test_the_audit_finds_each_invariant_broken(judge: Judge) -> None:
    judge.enter("web:1:a", ["gone", "due", "deaf"])
    judge.create(["forgotten"])
    assert judge.audit() == []
    judge.client.zrem(judge.place.topics, "gone")
    judge.client.zadd(judge.place.due, {"due": 1, "nowhere": 1})
    judge.client.zrem(judge.place.due, "forgotten")
    judge.client.hdel(judge.place.members("deaf"), "web:1:a")
    judge.client.hset(judge.place.members("due"), "ghost", "1:1")
    assert sorted(judge.audit()) == [
        "I1 gone has members and does not exist",
        "I1 web:1:a is not in deaf",
        "I2 due has members and is due",
        "I3 deaf is empty and not due",
        "I3 forgotten is empty and not due",
        "I3 nowhere is due and does not exist",
        "I4 due has ghost, which is not known",
        "I4 ghost is in due and does not list it",
    ]


# Killed and paused


def test_a_leader_killed_while_it_collects_is_replaced_and_each_topic_is_collected_once(judge: Judge) -> None:
    """1: 20,000 topics, of which 10,000 are empty and due."""
    full, empty = names("full", 10_000), names("empty", 10_000)
    judge.enter("web:1:a", full)
    judge.create(empty)
    with beating(judge, "web:1:a"), candidates(3, judge.url, TEST_COLLECT_BATCH="200") as found:
        wait_until(lambda: judge.collected() >= 1_000, "some to be collected")
        [killed] = [one for one in found if one.heard("leading")]
        killed.kill()
        judge.settle()
        assert judge.collected() < 10_000, "all were collected before the leader was killed"
        others = [one for one in found if one is not killed]
        wait_until(lambda: any(one.heard("leading") for one in others), "a new leader", TAKEOVER + SLACK)
        wait_until(lambda: judge.collected() >= 10_000, "the rest to be collected")
        for one in others:
            one.stop()
        told_of = told(found, "collected")
        assert judge.collected() == 10_000
        assert judge.topics() == set(full)
        assert told_of.keys() <= set(empty)
        assert set(told_of.values()) == {1}, "a name was told twice"
        assert judge.removed() == 0
        assert judge.audit() == []


def test_a_leader_that_slept_beyond_its_lease_does_nothing_when_it_wakes(judge: Judge) -> None:
    """2: the first script of the new leader has raised the fence."""
    full, empty = names("full", 200), names("empty", 4_000)
    judge.enter("web:1:a", full)
    judge.create(empty)
    with beating(judge, "web:1:a"), candidates(2, judge.url, TEST_COLLECT_BATCH="10") as found:
        old, new = elected(found)
        wait_until(lambda: judge.collected() >= 100, "some to be collected")
        old.pause()
        judge.settle()
        before, left = judge.fence(), judge.topics()
        term = new.wait_for("leading", TAKEOVER + SLACK)["term"]
        acted = judge.collected()
        wait_until(lambda: judge.collected() > acted, "the new leader to collect")
        assert judge.collected() < 4_000, "nothing was left for the one that slept"
        old.resume()
        assert old.wait_for("demoted")["term"] == term
        wait_until(lambda: judge.collected() >= 4_000, "the rest to be collected")
        after, last = judge.fence(), judge.term()
        for one in found:
            one.stop()
        assert before == (old.heard("leading")[0]["term"], old.heard("leading")[0]["holder"])
        assert after == (term, new.heard("leading")[0]["holder"])
        assert after[0] > before[0]
        assert last == term, "one more leader was elected"
        assert not left & set(old.topics("collected")), "collected after it had slept"
        assert told(found, "collected") == dict.fromkeys(empty, 1)
        assert judge.collected() == 4_000
        assert judge.topics() == set(full)
        assert judge.audit() == []


# Two leaders


def test_a_leader_whose_lease_is_deleted_meets_another_and_gives_way(judge: Judge) -> None:
    """4: the old one writes for people."""
    with Candidate(judge.url, as_json=False, TEST_COLLECT_BATCH="10") as old:
        wait_until(lambda: old.is_up() and bool(old.lines), "it to lead")
        with Candidate(judge.url, TEST_COLLECT_BATCH="10") as new:
            new.wait_for("standby")
            judge.create(names("empty", 6_000))
            while not new.heard("leading"):  # unless the old one takes it again
                wait_until(lambda: judge.lease_left() > LEASE * 0.97, "a lease just renewed")
                judge.lose_lease()
                wait_until(lambda: judge.lease_left() > 0, "a new lease")
                wait_until(lambda: judge.fence()[0] == judge.term(), "its holder to act")
            assert judge.collected() < 6_000, "all was done before there were two leaders"
            line = f"demoted by term {new.wait_for('leading')['term']}"
            wait_until(lambda: line in old.lines, "the old leader to give way", LEASE / 3 + SLACK)
            wait_until(lambda: judge.collected() >= 6_000, "the rest to be collected")
            new.stop()
            old.stop()
            assert [line for line in old.lines if line.startswith("demoted")] == [line]
            assert judge.collected() == 6_000
            assert judge.topics() == set()
            assert set(told([new], "collected").values()) == {1}
            amounts = [line.split()[1].replace(",", "") for line in old.lines if line.startswith("collected")]
            assert sum(map(int, amounts)) + len(new.topics("collected")) == 6_000


@pytest.mark.parametrize("ends", [True, False], ids=["one that ends", "one without an end"])
def test_a_leader_gives_way_to_a_lease_set_by_hand_and_leads_again_after_it(judge: Judge, ends: bool) -> None:
    """4: whoever is named there never acts."""
    with Candidate(judge.url) as one:
        first = one.wait_for("leading")["term"]
        by_hand = f"{first + 1}|somebody:1:a|1000|{first}"
        judge.client.set(judge.keys.lease, by_hand, px=1000 if ends else None)
        wait_until(lambda: len(one.heard("leading")) == 2, "it to lead again", TAKEOVER + SLACK)
        assert one.heard("leading")[1]["term"] > first + 1
        assert [found["term"] for found in one.heard("demoted")] == [first + 1] * ends
        judge.create(names("empty", 100))
        wait_until(lambda: judge.collected() == 100, "them to be collected")


def test_two_that_both_believe_to_lead_collect_and_remove_nothing_twice(judge: Judge) -> None:
    """4: the old one wakes within its lease, so that it asks nobody; a node with 1,000 topics is dead."""
    empty, ghosts = names("empty", 1_000), names("ghost", 1_000)
    judge.create(empty)
    judge.enter("web:1:dead", ghosts)
    judge.run(judge.registry.retire(judge.place, "web:1:dead"))
    with candidates(2, judge.url, TEST_COLLECT_BATCH="1", TEST_LEASE="10") as found:
        old, new = elected(found)
        wait_until(lambda: judge.removed() >= 50 and judge.collected() >= 50, "some to be removed and collected")
        old.pause()
        judge.settle()
        before, start = judge.topics(), judge.removed()
        assert judge.lease_left() > 10 * 0.8, "it will ask whether it still leads"
        judge.lose_lease()
        judge.wake()
        term = new.wait_for("leading")["term"]
        wait_until(lambda: judge.removed() > start, "the new leader to act")
        assert judge.removed() < 1_000, "nothing was left for the one that slept"
        old.resume()
        assert old.wait_for("demoted")["term"] == term
        wait_until(lambda: judge.collected() >= 2_000, "all to be collected")
        for one in found:
            one.stop()
        assert not before & set(old.topics("collected"))
        assert told(found, "removed") == dict.fromkeys(ghosts, 1)
        assert told(found, "collected") == dict.fromkeys(empty + ghosts, 1)
        assert (judge.removed(), judge.collected()) == (1_000, 2_000)
        assert judge.run(judge.registry.nodes(judge.place)) == []
        assert judge.topics() == set()
        assert judge.audit() == []


# Joins against collection


@asynccontextmanager
async def over_and_over(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Do it again and again meanwhile, and never break it off: what it has done would be lost to the counts."""
    is_over = False

    async def repeat() -> None:
        while not is_over:
            await work()

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        is_over = True
        await task


class Sweeper:
    """Collects with the leader's name, beside the leader itself."""

    def __init__(self, judge: Judge, client: Any) -> None:
        self.collected = 0
        self._client = client
        self._call = judge.registry.collect(judge.place, *judge.fence(), 300)

    async def sweep(self) -> None:
        batch = await self._call.arun(self._client)
        assert not batch.newer, "the leader was replaced"
        self.collected += len(batch.topics)


async def test_a_join_that_was_answered_has_its_topic_though_the_leader_sweeps_all_the_time(judge: Judge) -> None:
    """3: commands of four nodes against the leader's script, on few topics."""
    registry = judge.registry
    topics = names("few", 5)
    joins = 0

    async def come_and_go(node: str, until: float) -> None:
        nonlocal joins
        random, ops = Random(node), itertools.count(1)
        async with redis.asyncio.Redis.from_url(judge.url) as client:
            while time.monotonic() < until:
                topic = random.choice(topics)
                assert await registry.join(topic, node, next(ops), 1).arun(client)
                found = await registry.show(topic).arun(client)
                assert found is not None, f"{topic} was lost"
                assert node in found.nodes
                assert found.due is None
                await registry.leave(topic, node, next(ops)).arun(client)
                joins += 1

    nodes = [f"web:{number}:a" for number in range(4)]
    for node in nodes:
        judge.enter(node, [])
    with Candidate(judge.url, TEST_NODE_LEASE="60") as leader:
        await asyncio.to_thread(leader.wait_for, "leading")
        async with redis.asyncio.Redis.from_url(judge.url) as client:
            until = time.monotonic() + 2.0
            async with over_and_over(Sweeper(judge, client).sweep), asyncio.TaskGroup() as group:
                for node in nodes:
                    group.create_task(come_and_go(node, until))
        await asyncio.to_thread(wait_until, lambda: not judge.topics(), "the last to be collected")
        assert joins > 100
        assert judge.collected() > 100
        assert judge.audit() == []
        assert [event["event"] for event in leader.events if event["event"] != "collected"] == ["leading"]


@pytest.mark.parametrize(
    ("flushes", "seconds"), [(False, 3.0), (True, 1.5)], ids=["scripts stay", "scripts are flushed all the time"]
)
async def test_no_join_over_a_socket_is_lost_to_collection(judge: Judge, flushes: bool, seconds: float) -> None:
    """5, and 30 with SCRIPT FLUSH: two nodes, 20 clients on 50 topics which are due as soon as they are empty."""
    with (
        Candidate(judge.url) as leader,
        servers("uvicorn", "uvicorn", DJANGO_SETTINGS_MODULE=SETTINGS, REDIS_URL=judge.url) as pair,
    ):
        await asyncio.to_thread(leader.wait_for, "leading")
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(redis.asyncio.Redis.from_url(judge.url))
            homes = []
            for number, server in enumerate(pair):
                resident = await stack.enter_async_context(Client(server.socket_url))
                await resident.join(f"lab:home{number}")
                found = judge.run(judge.registry.show(f"lab:home{number}"))
                assert found is not None
                homes += found.nodes
            guests = [
                Guest(await stack.enter_async_context(Client(pair[number % 2].socket_url)), homes[number % 2], number)
                for number in range(20)
            ]
            sweeper = Sweeper(judge, client)
            until = time.monotonic() + seconds
            async with (
                over_and_over(sweeper.sweep),
                over_and_over(client.script_flush if flushes else pause),
                asyncio.TaskGroup() as group,
            ):
                for guest in guests:
                    group.create_task(guest.come_and_go(judge, client, until))
            await asyncio.to_thread(
                wait_until, lambda: judge.topics() == {"lab:home0", "lab:home1"}, "the last to be collected"
            )
            assert sum(guest.visits for guest in guests) > 100
            assert sweeper.collected + len(leader.topics("collected")) > 20, "nothing was collected meanwhile"
            assert judge.audit() == []
            assert judge.nodes() == set(homes)
        assert not any("phx_error" in (frame[3] for frame in guest.client.frames) for guest in guests)
        await asyncio.to_thread(leader.stop)
        assert leader.log == ""
        assert [found["event"] for found in leader.events if found["event"] != "collected"] == ["leading", "released"]
        assert sweeper.collected + len(leader.topics("collected")) == judge.collected()


async def pause() -> None:
    await asyncio.sleep(0.1)


class Guest:
    """A client that comes and goes, and looks whether it is heard of and hears.

    home  name of the node that it is connected to
    """

    def __init__(self, client: Client, home: str, number: int) -> None:
        self.client = client
        self.visits = 0
        self._home = home
        self._random = Random(number)
        self._number = number

    async def come_and_go(self, judge: Judge, engine: Any, until: float) -> None:
        while time.monotonic() < until:
            self.visits += 1
            topic, ref = f"lab:{self._random.randrange(50)}", str(self.visits)
            await self.client.join(topic, ref)
            mark = {"of": self._number, "visit": self.visits}
            sent = Broadcast(topic, "mark", msgspec.Raw(json.dumps(mark).encode()))
            await engine.publish(judge.keys.bus(topic), pack(sent))
            found = await judge.registry.show(topic).arun(engine)
            assert found is not None, f"{topic} was lost"
            assert self._home in found.nodes, f"{topic} has no listener on the node where one has joined"
            assert found.due is None
            while (await self.client.until("mark"))[4] != mark:
                pass
            await self.client.send(ref, f"{ref}.end", topic, "phx_leave", {})
            while (reply := await self.client.until("phx_reply"))[1] != f"{ref}.end":
                pass
            assert reply[4]["status"] == "ok"


# Without an engine


def test_a_topic_server_waits_for_an_engine_that_is_not_there_yet_and_then_leads() -> None:
    """30: the order of starts is swapped."""
    port = engines.port_of_our_own()
    with Candidate(f"redis://127.0.0.1:{port}", TEST_LEASE="5") as one:
        one.wait_for("waiting")
        with engines.Server(str(embedded._binary()), port=port):
            one.wait_for("leading")
            with Judge(f"redis://127.0.0.1:{port}") as judge:
                judge.create(names("empty", 100))
                wait_until(lambda: judge.collected() == 100, "them to be collected")
            one.stop()
        kinds = [found["event"] for found in one.events if found["event"] != "leaderless"]  # told where it took long
        assert kinds == ["waiting", "leading", "collected", "released"]
        assert one.log.count("no engine: ") == 1
        assert "Traceback" not in one.log
