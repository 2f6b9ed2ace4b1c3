"""TopicServer on a real engine: who leads, what a leader does, and what one that was replaced leaves alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec
import pytest

from realtime import announcements
from realtime.announcements import (
    Collected,
    Demoted,
    Event,
    Evicts,
    Leaderless,
    Leading,
    Released,
    Removed,
    Standby,
    Waiting,
    log_event,
)
from realtime.engine import election, subscriptions
from realtime.engine.client import Engine, sync_client
from realtime.engine.keys import Keys
from realtime.engine.layer import RedisChannelLayer
from realtime.engine.registry import Registry
from realtime.engine.scripts import Call
from realtime.topicserver import TopicServer
from tests import engines

pytestmark = pytest.mark.usefixtures("empty_engine")

T = TypeVar("T")
PREFIX = "topicserver"
OTHER = "elsewhere:17:00c0ffee"
GHOST, LIVING = "web1:4242:9f3ac0de", "web2:17:0badcafe"


class Candidate:
    """A topic server with what it has told.

    gate   holds its calls up, as if the process slept
    calls  how many it has made
    """

    def __init__(self, registry: Registry, layer: RedisChannelLayer, **options: Any) -> None:
        self.events: list[Event] = []
        self.calls = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self._layer = layer
        self.server = TopicServer(
            registry, self._call, bus=layer, tell=self.events.append, **{"lease": 1.0, "node_lease": 60.0, **options}
        )

    async def _call(self, call: Call[T]) -> T:
        self.calls += 1
        await self.gate.wait()
        error, self.error = self.error, None
        if error:
            raise error
        return await self._layer.call(call)

    @property
    def told(self) -> list[str]:
        return [type(event).__name__ for event in self.events]

    def of(self, kind: type[T]) -> list[T]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, *told: str) -> None:
        """Return when it has told just these kinds of events."""
        async with asyncio.timeout(10):
            while self.told[: len(told)] != list(told):
                await asyncio.sleep(0.01)


class Stage:
    """An engine, and any number of candidates on it, each with connections of its own."""

    def __init__(self, url: str) -> None:
        self.engine = Engine(url)
        self.keys = Keys(PREFIX, self.engine.partitions)
        self.registry = Registry(self.keys, (0.0, 0.0))

    @asynccontextmanager
    async def candidate(self, **options: Any) -> AsyncIterator[Candidate]:
        layer = RedisChannelLayer(engine=self.engine, prefix=f"{PREFIX}:asgi:")
        candidate = Candidate(self.registry, layer, **options)
        running = asyncio.create_task(candidate.server.run())
        try:
            yield candidate
        finally:
            candidate.gate.set()
            candidate.server.stop()
            await running
            await layer.aclose()

    def ask(self, call: Call[T]) -> T:
        return call.run(sync_client(self.engine))

    def command(self, *command: str | int) -> Any:
        return self.ask(Call(command, lambda answer: answer))

    def create(self, *names: str) -> None:
        for call in self.registry.create(names):
            self.ask(call)

    def bear(self, node: str, *topics: str) -> None:
        """Let a node live, and be in these topics."""
        for place in self.keys.partitions():
            self.ask(self.registry.beat(place, node, is_new=True))
        for topic in topics:
            self.ask(self.registry.join(topic, node, 1, 1))

    def exists(self, topic: str) -> bool:
        return self.ask(self.registry.exists(topic))

    def members(self, topic: str) -> set[str]:
        found = self.ask(self.registry.show(topic))
        return set(found.nodes) if found else set()

    def nodes(self) -> set[str]:
        return {node.name for place in self.keys.partitions() for node in self.ask(self.registry.nodes(place))}

    def leader(self) -> str:
        found = self.ask(election.leader(self.keys))
        return found.holder if found else ""

    def usurp(self) -> int:
        """Let another lead in every partition; return its term."""
        leader = self.ask(election.acquire(self.keys, OTHER, 60.0))
        assert leader.holder == OTHER
        for place in self.keys.partitions():
            assert self.ask(self.registry.govern(place, leader.term, OTHER)) == ""
        return leader.term


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def stage(engine: str) -> Stage:
    return Stage(engine)


# Who leads


async def test_the_first_leads_and_the_second_follows_when_it_hands_over(stage: Stage) -> None:
    """With so long a lease that the second can only have been told."""
    async with stage.candidate(lease=300.0) as first:
        await first.until("Leading")
        async with stage.candidate(lease=300.0) as second:
            await second.until("Standby")
            [leading], [standby] = first.of(Leading), second.of(Standby)
            assert (standby.holder, standby.term) == (first.server.holder, leading.term)
            first.server.stop()
            await first.until("Leading", "Released")
            await second.until("Standby", "Leading")
            assert first.of(Released)[0].term == leading.term < second.of(Leading)[0].term
            assert stage.leader() == second.server.holder
        assert second.told == ["Standby", "Leading", "Released"]
    assert stage.leader() == ""


async def test_one_whose_lease_went_to_another_is_demoted_and_leads_again_with_a_new_term(stage: Stage) -> None:
    async with stage.candidate() as candidate:
        await candidate.until("Leading")
        stage.command("DEL", stage.keys.lease)
        term = stage.usurp()
        await candidate.until("Leading", "Demoted", "Standby")
        assert candidate.of(Demoted)[0].term == candidate.of(Standby)[0].term == term
        stage.ask(election.release(stage.keys, OTHER))
        await candidate.until("Leading", "Demoted", "Standby", "Leading")
        assert candidate.of(Leading)[1].term > term


async def test_one_whose_lease_was_lost_takes_a_new_term(stage: Stage) -> None:
    async with stage.candidate() as candidate:
        await candidate.until("Leading")
        stage.command("DEL", stage.keys.lease)
        await candidate.until("Leading", "Leading")
        first, second = candidate.of(Leading)
        assert first.term < second.term
        stage.create("a")
        await until(lambda: not stage.exists("a"))


async def test_a_fence_above_its_term_lets_it_take_a_higher_one_and_go_on(stage: Stage) -> None:
    async with stage.candidate() as candidate:
        await candidate.until("Leading")
        raised = candidate.of(Leading)[0].term + 10**9
        for place in stage.keys.partitions():
            stage.command("SET", place.fence, f"{raised}|{OTHER}")
        calls = candidate.calls
        await candidate.until("Leading", "Demoted", "Leading")
        assert candidate.of(Demoted)[0].term == raised < candidate.of(Leading)[1].term
        stage.create("a")
        await until(lambda: not stage.exists("a"))
        await until(lambda: "Collected" in candidate.told)
        assert candidate.told == ["Leading", "Demoted", "Leading", "Collected"]
        assert candidate.calls - calls < 20 * len(stage.keys.partitions())


async def test_one_that_slept_beyond_its_lease_does_not_act(stage: Stage) -> None:
    async with stage.candidate() as candidate:
        await candidate.until("Leading")
        candidate.gate.clear()
        calls = candidate.calls
        await until(lambda: candidate.calls > calls)  # one is on its way, with the old term
        await until(lambda: stage.leader() == "")
        term = stage.usurp()
        stage.create("a")
        candidate.gate.set()
        await candidate.until("Leading", "Demoted", "Standby")
        assert candidate.of(Demoted)[0].term == term
        assert stage.exists("a")
        assert stage.leader() == OTHER
    assert stage.leader() == OTHER


async def test_it_goes_on_after_a_failure_that_nobody_thought_of(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage.candidate() as candidate:
        await candidate.until("Leading")
        candidate.error = ZeroDivisionError("oops")
        await until(lambda: "the topic server broke" in caplog.text)
        stage.create("a")
        await until(lambda: not stage.exists("a"))
        assert candidate.told[0] == "Leading" and "Demoted" not in candidate.told


async def test_one_that_is_stopped_before_it_ran_does_nothing(stage: Stage) -> None:
    async with stage.candidate() as candidate:
        candidate.server.stop()
    assert (candidate.events, candidate.calls) == ([], 0)


# What a leader does


@pytest.mark.parametrize("amount", [1, 99, 100, 250, 700])
async def test_what_is_collected_in_batches_is_told_in_one(stage: Stage, amount: int) -> None:
    names = [f"t:{number}" for number in range(amount)]
    stage.create(*names)
    stage.bear(LIVING, "kept")
    async with stage.candidate(batch=100) as candidate:
        await candidate.until("Leading", "Collected")
        [collected] = candidate.of(Collected)
        assert sorted(collected.topics) == sorted(names)
        assert stage.exists("kept")


async def test_long_work_is_told_in_between(stage: Stage) -> None:
    stage.create(*(f"t:{number}" for number in range(30)))
    async with stage.candidate(batch=1, gather=0.0) as candidate:
        await until(lambda: sum(len(event.topics) for event in candidate.of(Collected)) == 30)
        assert len(candidate.of(Collected)) > 1


async def test_what_was_collected_is_told_also_when_it_is_stopped_at_once(stage: Stage) -> None:
    stage.create("a")
    async with stage.candidate() as candidate:
        await candidate.until("Leading")
        await until(lambda: not stage.exists("a"))
        candidate.server.stop()
        await candidate.until("Leading", "Collected", "Released")


async def test_a_silent_node_is_taken_out_of_its_topics_and_a_living_one_stays(stage: Stage) -> None:
    topics = [f"t:{number}" for number in range(5)]
    stage.bear(GHOST, *topics)
    stage.bear(LIVING, *topics)
    async with stage.candidate(node_lease=0.6, batch=2) as candidate:
        async with asyncio.timeout(10):
            while GHOST in stage.nodes() or sum(len(event.topics) for event in candidate.of(Removed)) < 5:
                for place in stage.keys.partitions():
                    assert stage.ask(stage.registry.beat(place, LIVING)) >= 0
                await asyncio.sleep(0.02)
        removed = candidate.of(Removed)
        assert {event.node for event in removed} == {GHOST}
        assert sorted(topic for event in removed for topic in event.topics) == topics
        assert max(len(event.topics) for event in removed) <= 2
        assert all(stage.members(topic) == {LIVING} for topic in topics)


# Others


async def test_one_that_does_not_compete_tells_when_nobody_leads_for_two_leases(stage: Stage) -> None:
    async with stage.candidate(lease=0.4, competes=False) as candidate:
        await candidate.until("Leaderless")
        assert candidate.of(Leaderless)[0].seconds > 0.8
        stage.usurp()
        told, calls = len(candidate.events), candidate.calls
        await until(lambda: candidate.calls >= calls + 7)  # more than three leases
        assert len(candidate.events) == told
        assert stage.leader() == OTHER


async def test_an_engine_that_may_drop_topics_is_told() -> None:
    with engines.valkey(maxmemory="100mb", maxmemory_policy="allkeys-lru") as engine:
        stage = Stage(engine.url)
        async with stage.candidate() as first, stage.candidate(competes=False) as second:
            await first.until("Evicts", "Leading")
            await second.until("Evicts")
            assert [first.of(Evicts)[0].policy, second.of(Evicts)[0].policy] == ["allkeys-lru"] * 2


async def test_it_waits_for_an_engine_that_is_away_and_leads_when_it_is_back() -> None:
    with engines.valkey() as engine:
        [server] = engine.servers
        async with Stage(engine.url).candidate(lease=0.3) as candidate:
            await candidate.until("Leading")
            server.kill()
            await candidate.until("Leading", "Waiting")
            calls = candidate.calls
            await until(lambda: candidate.calls >= calls + 12)  # for more than two leases
            assert candidate.told == ["Leading", "Waiting"]
            server.start()
            await until(lambda: len(candidate.of(Leading)) == 2)
            first, second = candidate.of(Leading)
            assert first.term < second.term


async def test_an_engine_that_is_away_at_the_start_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "TIMEOUT", 0.2)
    port = engines.port_of_our_own()
    async with Stage(f"redis://127.0.0.1:{port}").candidate() as candidate:
        await candidate.until("Waiting")
        with engines.valkey(port=port):
            await until(lambda: candidate.told[-1] == "Leading")
            candidate.server.stop()
            await until(lambda: candidate.told[-1] == "Released")


async def test_it_stops_though_the_engine_is_away() -> None:
    with engines.valkey() as engine:
        async with Stage(engine.url).candidate() as candidate:
            await candidate.until("Leading")
            engine.servers[0].kill()
        assert "Released" not in candidate.told  # nobody has heard of it


# In words


@pytest.mark.parametrize(
    "event, words, level",
    [
        (Leading(term=7, holder=OTHER), "leader, term 7", logging.INFO),
        (Demoted(term=8), "demoted by term 8", logging.WARNING),
        (Released(term=8), "handed over, term 8 is at its end", logging.INFO),
        (Collected(topics=["a"]), "collected 1 topic", logging.INFO),
        (Collected(topics=["a"] * 1234), "collected 1,234 topics", logging.INFO),
        (
            Removed(node=GHOST, topics=["a"], is_over=True),
            "removed dead node web1:4242 from 1 topic",
            logging.INFO,
        ),
        (
            Removed(node=GHOST, topics=[], is_over=False),
            "removed dead node web1:4242 from 0 topics, more to come",
            logging.INFO,
        ),
        (
            Leaderless(seconds=21.3),
            "no topic server for 21 s: empty topics and dead nodes stay until one leads (manage.py topicserver)",
            logging.WARNING,
        ),
        (Waiting(reason="it is away"), "waiting for the engine: it is away", logging.WARNING),
        (
            Evicts(policy="allkeys-lru"),
            "the engine's maxmemory-policy is allkeys-lru: once it is full it drops topics and members of topics. "
            "Set it to noeviction",
            logging.WARNING,
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Event) else "",
)
def test_events_are_logged_in_words(event: Event, words: str, level: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "realtime.topicserver")
    log_event(event)
    assert [(record.getMessage(), record.levelno) for record in caplog.records] == [(words, level)]


def test_one_that_stands_by_tells_behind_whom_and_since_when() -> None:
    event = Standby(term=7, holder=OTHER, since=1_700_000_000.0)
    assert str(event) == f"standby behind elsewhere:17, term 7 since {announcements.clock(1_700_000_000.0)}"


def test_programs_read_an_event_by_its_name() -> None:
    found = msgspec.json.decode(msgspec.json.encode(Removed(at=5.0, node=GHOST, topics=["a"], is_over=True)))
    assert found == {"event": "removed", "at": 5.0, "node": GHOST, "topics": ["a"], "is_over": True}
