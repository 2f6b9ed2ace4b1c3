"""Attendance: what the record of a real engine says of a node's channels, through everything that can come between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest

from realtime import attendance as attendances
from realtime.attendance import Attendance, Guest
from realtime.engine.client import Engine, sync_client
from realtime.engine.keys import Keys
from realtime.engine.layer import RedisChannelLayer
from realtime.engine.presences import Presences, Tracked, Untracked
from realtime.engine.registry import Registry
from realtime.engine.scripts import Call
from realtime.exceptions import EngineUnavailable
from realtime.protocol.bus import unpack
from realtime.protocol.roster import Roster
from realtime.replica import Host
from realtime.turn import Turn

pytestmark = pytest.mark.usefixtures("empty_engine")

TOPIC = "t:a"
NODE = "web:1:a"


class Scene:
    """One node, with the topic's bus in the hub's place.

    before  is awaited before each of its calls, and may raise
    after   the same, behind it: then the answer is lost
    """

    def __init__(self, url: str, grace: float) -> None:
        self.engine = Engine(url)
        self.layer = RedisChannelLayer(engine=self.engine, prefix="attendance:asgi:")
        self.keys = Keys("attendance", self.engine.partitions)
        self.registry = Registry(self.keys)
        self.presences = Presences(self.keys)
        self.name = NODE
        self.calls: list[Call[Any]] = []
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self.dead: list[str] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.attendance = Attendance(self._host(), self.presences, grace)

    async def open(self) -> None:
        self.bear(NODE)
        await self.layer.subscribe(self.keys.bus(TOPIC), self)

    def message(self, data: bytes) -> None:
        if replica := self.attendance.replicas.get(TOPIC):
            replica.hear([unpack(TOPIC, data)])

    def gap(self) -> None: ...

    def bear(self, name: str) -> None:
        for place in self.keys.partitions():
            self.ask(self.registry.beat(place, name, is_new=True))
        self.ask(self.registry.join(TOPIC, name, 1, 1))

    def ask(self, call: Call[Any]) -> Any:
        """Ask over a connection of the test's own."""
        return call.run(sync_client(self.engine))

    async def guest(self, channel: str) -> Guest:
        guest = Guest(self.attendance, TOPIC, channel, None)
        await guest.enter()
        return guest

    @property
    def looks(self) -> int:
        """How often the engine was asked what it believes."""
        return sum(call.command[0] == "SSCAN" for call in self.calls)

    @property
    def present(self) -> list[str]:
        return list(self.ask(self.presences.load(TOPIC)).metas)

    async def settled(self) -> None:
        """Return when the engine was told all, or does not hear."""
        await asyncio.sleep(0)  # what is put off to the end of this turn
        while self.tasks:
            await asyncio.wait(self.tasks)

    async def close(self) -> None:
        await self.settled()
        self.attendance.close()
        await self.layer.aclose()

    def _host(self) -> Host:
        return Host(
            name=lambda: self.name,
            call=self._call,
            ask=self._ask,
            deliver=lambda broadcast: None,
            spawn=self._spawn,
            put_off=Turn().put_off,
            declared_dead=self.dead.append,
        )

    async def _call(self, call: Call[Any]) -> Any:
        self.before()
        self.calls.append(call)
        answer = await self.layer.call(call)
        self.after()
        return answer

    async def _ask(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        return await function(*args)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


@pytest.fixture
async def scene(engine: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    monkeypatch.setattr(attendances, "RETRY", 0.05)
    scene = Scene(engine, grace=0.0)
    await scene.open()
    yield scene
    await scene.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


def away() -> None:
    raise EngineUnavailable("away")


async def test_what_changes_while_the_engine_is_told_is_told_next_in_one(scene: Scene) -> None:
    guest = await scene.guest("c")
    scene.calls.clear()
    first = asyncio.create_task(guest.track("a", b"{}"))
    await until(lambda: len(scene.calls) == 1)
    await asyncio.gather(first, *(guest.track(key, b"{}") for key in "bcd"))
    assert len(scene.calls) == 2
    assert sorted(scene.present) == ["a", "b", "c", "d"]


async def test_a_crowd_rests_after_each_diff_and_what_changes_meanwhile_is_one(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attendances, "REST", 0.5)
    guest = await scene.guest("c")
    await guest.track("a", b"{}")  # at once, for nothing came before
    scene.calls.clear()
    tasks = []
    for key in "bcd":
        tasks.append(asyncio.create_task(guest.track(key, b"{}")))
        await asyncio.sleep(0.02)
        assert scene.calls == []
    await asyncio.gather(*tasks)
    assert len(scene.calls) == 1
    assert sorted(scene.present) == ["a", "b", "c", "d"]


async def test_who_fades_is_told_of_while_the_topic_rests(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendances, "REST", 0.5)
    scene = Scene(engine, grace=1000.0)
    await scene.open()
    one, other = await scene.guest("c"), await scene.guest("d")
    await one.track("a", b"{}")
    scene.calls.clear()
    coming = asyncio.create_task(other.track("b", b"{}"))
    await asyncio.sleep(0)
    one.end(fades=True)
    await until(lambda: bool(scene.calls))
    scene.ask(scene.registry.beat(scene.keys.of(TOPIC), "web:2:b", is_new=True))
    again = Tracked("e", "a", b"{}")
    assert scene.ask(scene.presences.track(TOPIC, "web:2:b", 1, [again])) == 0  # it takes over: nobody is told
    assert scene.present == ["a"]
    await coming
    assert len(scene.calls) == 2
    await scene.close()


async def test_who_fades_while_the_engine_is_away_is_told_of_later(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attendances, "REST", 0.3)
    monkeypatch.setattr(attendances, "RETRY", 0.05)
    scene = Scene(engine, grace=1000.0)
    await scene.open()
    one, other = await scene.guest("c"), await scene.guest("d")
    await asyncio.gather(one.track("a", b"{}"), other.track("b", b"{}"))
    await asyncio.sleep(0.02)  # it rests
    scene.before = away
    one.end(fades=True)
    await scene.settled()
    scene.before = lambda: None
    fading = Call(("ZCARD", scene.keys.of(TOPIC).fading(TOPIC)), bool)
    await until(lambda: scene.ask(fading))
    await scene.close()


async def test_a_task_of_the_authors_that_tracks_while_its_socket_is_lost_does_not_wait_for_ever(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attendances, "REST", 0.1)
    scene = Scene(engine, grace=1000.0)
    await scene.open()
    one, other = await scene.guest("c"), await scene.guest("d")
    await asyncio.gather(one.track("a", b"{}"), other.track("b", b"{}"))
    update = asyncio.create_task(one.track("a", b'{"n":1}'))  # it rests
    await asyncio.sleep(0)
    one.end(fades=True)
    await asyncio.wait_for(update, 5)
    await scene.settled()
    assert scene.attendance._books == {}
    await scene.close()


@pytest.mark.parametrize(
    ("present", "rest"), [(1, 0.00002), (1000, 0.02), (10_000, 0.2), (100_000, 1.0)], ids=lambda number: f"{number:,}"
)
async def test_the_more_are_there_the_longer_is_the_rest(scene: Scene, present: int, rest: float) -> None:
    guest = await scene.guest("c")
    scene.attendance.replicas[TOPIC].roster = Roster(0, {str(number): {} for number in range(present)})
    assert scene.attendance._pause(TOPIC) == pytest.approx(rest)
    guest.end(fades=False)
    assert scene.attendance._pause(TOPIC) == 0.0  # nobody hears it here any more


async def test_many_tabs_of_one_user_are_many_to_rest_for(scene: Scene) -> None:
    for number in range(3):
        await scene.guest(f"c{number}")
    assert scene.attendance._pause(TOPIC) == pytest.approx(3 * attendances.REST)


async def test_few_do_not_rest(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendances, "REST", attendances.LEAST_REST * 0.9)
    guest = await scene.guest("c")
    await guest.track("a", b"{}")
    await asyncio.sleep(0)
    assert scene.tasks == set()


async def test_only_what_is_true_in_the_end_is_told(scene: Scene) -> None:
    guest = await scene.guest("c")
    scene.calls.clear()
    await asyncio.gather(
        guest.track("a", b"{}"), guest.track("a", b'{"n":1}'), guest.track("b", b"{}"), guest.untrack("b")
    )
    assert len(scene.calls) == 1
    assert scene.present == ["a"]


async def test_what_the_engine_did_not_hear_is_told_later(scene: Scene) -> None:
    guest = await scene.guest("c")
    scene.before = away
    with pytest.raises(EngineUnavailable):
        await guest.track("a", b"{}")
    assert scene.present == []
    scene.before = lambda: None
    await until(lambda: scene.present == ["a"])
    scene.before = away
    guest.end(fades=False)
    await scene.settled()
    assert scene.present == ["a"]
    scene.before = lambda: None
    await until(lambda: scene.present == [])


async def test_what_the_engine_has_heard_without_our_knowing_ends_with_its_channel(scene: Scene) -> None:
    guest = await scene.guest("c")
    scene.after = away
    with pytest.raises(EngineUnavailable):
        await guest.track("a", b"{}")
    scene.after = lambda: None
    guest.end(fades=False)
    await until(lambda: scene.present == [])


@pytest.mark.parametrize("looks", [0, 1], ids=["before the first look", "before the second"])
async def test_a_command_that_arrives_after_its_end_leaves_no_ghost(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    monkeypatch.setattr(attendances, "RETRY", 0.3)
    guest, other = await scene.guest("c"), await scene.guest("d")
    await other.track("stays", b"{}")
    scene.before = away
    with pytest.raises(EngineUnavailable):
        await guest.track("a", b"{}")
    scene.before = lambda: None
    guest.end(fades=False)
    await scene.settled()
    await until(lambda: scene.looks == looks)
    scene.ask(scene.presences.track(TOPIC, NODE, 2, [Tracked("c", "a", b"{}")]))
    assert sorted(scene.present) == ["a", "stays"]
    await until(lambda: scene.present == ["stays"])


async def test_an_untrack_that_arrives_late_leaves_who_has_come_back_present(scene: Scene) -> None:
    guest = await scene.guest("c")
    await guest.track("a", b"{}")
    scene.before = away
    with pytest.raises(EngineUnavailable):
        await guest.untrack(["a"])
    scene.before = lambda: None
    await guest.track("a", b"{}")
    scene.ask(scene.presences.untrack(TOPIC, 2, [Untracked(NODE, "c", "a", 0.0)]))
    assert scene.present == ["a"]


@pytest.mark.parametrize("is_told", [True, False], ids=["it is untracked again", "its channel ends"])
async def test_who_is_untracked_and_tracked_in_one_turn_leaves_no_ghost(scene: Scene, is_told: bool) -> None:
    guest = await scene.guest("c")
    await guest.track("a", b"{}")
    telling = asyncio.gather(guest.untrack(["a"]), guest.track("a", b"{}"))
    await asyncio.sleep(0)  # both have begun, and the engine was told of neither
    if is_told:
        await guest.untrack(["a"])
    guest.end(fades=False)
    await telling
    await scene.settled()
    assert scene.present == []


async def test_who_is_untracked_while_the_engine_is_away_and_tracked_again_leaves_no_ghost(scene: Scene) -> None:
    guest = await scene.guest("c")
    await guest.track("a", b"{}")
    scene.before = away
    for do in (guest.untrack(["a"]), guest.track("a", b"{}"), guest.untrack(["a"])):
        with pytest.raises(EngineUnavailable):
            await do
    scene.before = lambda: None
    await until(lambda: scene.present == [])


async def test_a_name_that_was_declared_dead_is_reported_and_tracks_nobody(scene: Scene) -> None:
    guest = await scene.guest("c")
    await guest.track("a", b"{}")
    place = scene.keys.of(TOPIC)
    scene.ask(Call(("ZADD", place.nodes, -1, NODE), int))
    with pytest.raises(EngineUnavailable):
        await guest.track("b", b"{}")
    assert scene.dead == [NODE]
    scene.name = "web:1:b"
    scene.bear(scene.name)
    with pytest.raises(EngineUnavailable):  # it went with the old name, and its client joins again
        await guest.track("a", b'{"n":1}')
    guest.end(fades=True)
    again = await scene.guest("e")
    await again.track("a", b"{}")
    assert scene.ask(scene.presences.tracked(TOPIC, "web:1:b", 0)) == (0, [[TOPIC, "e", "a"]])


async def test_who_comes_in_while_the_node_takes_another_name_comes_again(scene: Scene) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def fetch(topic: str, entries: dict[str, Any]) -> dict[str, Any]:
        asked.set()
        await go_on.wait()
        return entries

    guest = Guest(scene.attendance, TOPIC, "c", fetch)
    await guest.track("a", b"{}")
    entering = asyncio.create_task(guest.enter())
    await asked.wait()
    scene.name = "web:1:b"
    go_on.set()
    with pytest.raises(EngineUnavailable, match="declared dead meanwhile"):
        await entering
    guest.end(fades=False)


async def test_a_topic_that_is_gone_is_an_error(scene: Scene) -> None:
    guest = await scene.guest("c")
    scene.ask(scene.registry.leave(TOPIC, NODE, 2))
    scene.ask(scene.registry.delete(TOPIC))
    with pytest.raises(EngineUnavailable, match="knows no topic 't:a'"):
        await guest.track("a", b"{}")
    guest.end(fades=False)


async def test_a_guest_that_is_told_to_fade_fades_and_goes(engine: str) -> None:
    scene = Scene(engine, grace=0.2)
    await scene.open()
    guests = [await scene.guest(channel) for channel in "cd"]
    await asyncio.gather(*(guest.track(f"k{number}", b"{}") for number, guest in enumerate(guests)))
    scene.calls.clear()
    for guest in guests:
        guest.end(fades=True)
    await scene.settled()
    assert sorted(scene.present) == ["k0", "k1"]
    await until(lambda: scene.present == [])
    assert len(scene.calls) == 2  # both fade, then both go
    await scene.close()


async def test_who_fades_is_no_ghost(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendances, "RETRY", 0.01)
    scene = Scene(engine, grace=1000.0)
    await scene.open()
    one, other = await scene.guest("c"), await scene.guest("d")
    await asyncio.gather(one.track("fades", b"{}"), other.track("stays", b"{}"))
    one.end(fades=True)
    await scene.settled()
    scene.before = away
    with pytest.raises(EngineUnavailable):
        await other.track("more", b"{}")
    scene.before = lambda: None
    await until(lambda: scene.looks == 2)
    await scene.settled()
    assert sorted(scene.present) == ["fades", "more", "stays"]
    await scene.close()


async def test_the_last_guest_takes_the_replica_with_it(scene: Scene) -> None:
    first, second = await scene.guest("c"), await scene.guest("d")
    first.end(fades=False)
    assert TOPIC in scene.attendance.replicas
    second.end(fades=False)
    second.end(fades=False)
    assert scene.attendance.replicas == {}
    await scene.settled()
    assert scene.attendance._books == {}
