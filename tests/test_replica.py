"""Replica: what a node knows of a topic, through gaps, late loads and slow hooks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import msgspec
import pytest

from realtime.exceptions import EngineUnavailable
from realtime.protocol.messages import Broadcast
from realtime.protocol.roster import Roster
from realtime.replica import Host, Replica, fetched
from realtime.turn import Turn


class Scene:
    """A replica whose record is a dict, and whose engine answers when the gate is open.

    delivered  what it has the listeners told
    pending    what has come in, and will go to them first, as the hub has it
    """

    def __init__(self) -> None:
        self.number = 0
        self.metas: dict[str, dict[str, bytes]] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.loads = 0
        self.fails = False
        self.delivered: list[tuple[str, Any]] = []
        self.pending: list[Broadcast] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.fetch: Any = None
        self.turn = Turn()
        self.host = Host(
            name=lambda: "node",
            call=self._nothing,
            ask=self._ask,
            deliver=self._deliver,
            spawn=self._spawn,
            put_off=self.turn.put_off,
            declared_dead=lambda name: None,
        )
        self.replica = Replica("t", self.host, self._load, None)

    def with_fetch(self, fetch: Any) -> Replica:
        self.fetch = fetch
        self.replica = Replica("t", self.host, self._load, fetch)
        return self.replica

    def join(self, key: str) -> Broadcast:
        """Let somebody come, by the record, and return the diff that tells of it."""
        self.number += 1
        ref = str(self.number)
        meta = b'{"phx_ref":"%b"}' % ref.encode()
        self.metas[key] = {ref: meta}
        payload = b'{"joins":{"%b":{"metas":[%b]}},"leaves":{}}' % (key.encode(), meta)
        return Broadcast("t", "presence_diff", msgspec.Raw(payload), None, ref)

    @property
    def known(self) -> list[str]:
        return list(self.replica.roster.entries())

    async def settled(self) -> None:
        """Return when nothing is under way."""
        while running := [task for task in self.tasks if not task.done()]:
            await asyncio.wait(running, timeout=5)
        self.turn.end()

    def _deliver(self, broadcast: Broadcast) -> None:
        pending, self.pending = self.pending, []
        for one in (*self.replica.hear(pending), broadcast):
            self.delivered.append((one.event, msgspec.json.decode(one.payload)))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    async def _load(self) -> Roster:
        self.loads += 1
        metas = {key: dict(own) for key, own in self.metas.items()}
        roster = Roster(self.number, metas, await fetched(self._ask, self.fetch, "t", metas))
        await self.gate.wait()
        if self.fails:
            raise EngineUnavailable("away")
        return roster

    async def _ask(self, function: Any, *args: Any) -> Any:
        return await function(*args)

    async def _nothing(self, call: Any) -> None: ...


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    scene.gate.set()
    await scene.settled()
    assert all(task.exception() is None for task in scene.tasks)


async def test_it_is_loaded_once_for_all_who_ask(scene: Scene) -> None:
    scene.join("ada")
    await asyncio.gather(*(scene.replica.loaded() for _ in range(3)))
    assert (scene.loads, scene.known) == (1, ["ada"])


async def test_diffs_that_were_heard_while_it_was_loaded_count_unless_they_are_in_it(scene: Scene) -> None:
    old = scene.join("ada")
    scene.gate.clear()
    loading = asyncio.create_task(scene.replica.loaded())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert scene.loads == 1
    new = scene.join("bob")
    assert scene.replica.hear([old, new]) == [old, new]  # the listeners need not wait
    scene.gate.set()
    await loading
    assert scene.known == ["ada", "bob"]
    assert scene.replica.roster.number == 2
    assert scene.loads == 1


async def test_other_broadcasts_are_none_of_its_business(scene: Scene) -> None:
    await scene.replica.loaded()
    made_up = Broadcast("t", "presence_diff", msgspec.Raw(b"{}"), None, "node.7")
    said = Broadcast("t", "said", msgspec.Raw(b"{}"), None, "1")
    assert scene.replica.hear([made_up, said]) == [made_up, said]
    assert scene.replica.roster.number == 0


async def test_where_a_diff_is_missing_all_is_loaded_and_told_anew(scene: Scene) -> None:
    await scene.replica.loaded()
    scene.join("lost")
    scene.replica.hear([scene.join("ada")])
    await scene.settled()
    assert (scene.loads, scene.known) == (2, ["lost", "ada"])
    assert [(event, list(entries)) for event, entries in scene.delivered] == [("presence_state", ["lost", "ada"])]
    scene.replica.hear([scene.join("bob")])
    assert scene.known == ["lost", "ada", "bob"]
    assert scene.loads == 2


async def test_several_diffs_after_one_that_is_missing_are_one_reload(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    await scene.replica.loaded()
    scene.join("lost")
    scene.replica.hear([scene.join(key) for key in ("ada", "bob", "eve")])
    await scene.settled()
    assert (scene.loads, caplog.text.count("is missing")) == (2, 1)
    assert [(event, list(entries)) for event, entries in scene.delivered] == [
        ("presence_state", ["lost", "ada", "bob", "eve"])
    ]


async def test_where_all_cannot_be_loaded_anew_it_is_told_with_the_next_diff(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    await scene.replica.loaded()
    scene.fails = True
    scene.join("lost")
    scene.replica.hear([scene.join("ada")])
    await scene.settled()
    assert (scene.loads, scene.delivered) == (2, [])
    assert "who is in 't' is not known: away" in caplog.text
    scene.fails = False
    scene.replica.hear([scene.join("bob")])
    await scene.settled()
    assert [(event, list(entries)) for event, entries in scene.delivered] == [
        ("presence_state", ["lost", "ada", "bob"])
    ]
    await scene.replica.loaded()
    await scene.settled()
    assert len(scene.delivered) == 1


async def test_what_is_missing_is_not_told_to_clients_that_join_again(scene: Scene) -> None:
    await scene.replica.loaded()
    scene.fails = True
    scene.join("lost")
    scene.replica.hear([scene.join("ada")])
    await scene.settled()
    scene.replica.gap()
    scene.fails = False
    await scene.replica.loaded()
    await scene.settled()
    assert scene.delivered == []


async def test_the_whole_is_told_again_where_something_newer_came_in_before_it(scene: Scene) -> None:
    await scene.replica.loaded()
    scene.gate.clear()
    scene.join("lost")
    scene.replica.hear([scene.join("ada")])
    while scene.loads < 2:
        await asyncio.sleep(0)
    scene.pending.append(scene.join("bob"))
    scene.gate.set()
    await scene.settled()
    assert [event for event, _ in scene.delivered] == ["presence_diff", "presence_state", "presence_state"]
    assert list(scene.delivered[-1][1]) == scene.known == ["lost", "ada", "bob"]


async def test_after_a_gap_it_is_loaded_when_somebody_asks(scene: Scene) -> None:
    await scene.replica.loaded()
    scene.replica.gap()
    scene.join("ada")
    await scene.settled()
    assert scene.loads == 1
    await scene.replica.loaded()
    assert (scene.loads, scene.known, scene.delivered) == (2, ["ada"], [])


async def test_what_was_loaded_before_a_gap_does_not_count(scene: Scene) -> None:
    scene.gate.clear()
    loading = asyncio.create_task(scene.replica.loaded())
    while not scene.loads:
        await asyncio.sleep(0)
    scene.replica.gap()
    scene.join("ada")
    scene.gate.set()
    await loading
    assert (scene.loads, scene.known) == (2, ["ada"])


async def test_an_engine_that_is_away_is_an_error_to_all_who_wait_and_may_be_asked_again(scene: Scene) -> None:
    scene.fails = True
    results = await asyncio.gather(*(scene.replica.loaded() for _ in range(2)), return_exceptions=True)
    assert [type(result) for result in results] == [EngineUnavailable] * 2
    scene.fails = False
    scene.join("ada")
    await scene.replica.loaded()
    assert scene.known == ["ada"]


async def test_who_waits_for_a_diff_goes_on_when_it_was_heard(scene: Scene) -> None:
    await scene.replica.loaded()
    diffs = [scene.join("ada"), scene.join("bob")]
    waiting = [asyncio.create_task(scene.replica.seen(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    scene.replica.hear(diffs[:1])
    await asyncio.wait_for(waiting[0], 5)
    assert not waiting[1].done()
    scene.replica.hear(diffs[1:])
    await asyncio.wait_for(waiting[1], 5)


async def test_who_waits_for_a_diff_goes_on_after_a_gap(scene: Scene) -> None:
    await scene.replica.loaded()
    waiting = asyncio.create_task(scene.replica.seen(1))
    await asyncio.sleep(0)
    scene.replica.gap()
    await asyncio.wait_for(waiting, 0.9)


async def test_with_a_hook_diffs_reach_the_listeners_one_by_one_with_what_it_adds(scene: Scene) -> None:
    gates = {"ada": asyncio.Event(), "bob": asyncio.Event()}

    async def fetch(topic: str, entries: dict[str, Any]) -> dict[str, Any]:
        for key in entries:
            await gates[key].wait()
        return {key: {**entry, "at": topic} for key, entry in entries.items()}

    replica = scene.with_fetch(fetch)
    await replica.loaded()
    said = Broadcast("t", "said", msgspec.Raw(b"{}"))
    assert replica.hear([scene.join("ada"), said, scene.join("bob")]) == [said]
    gates["bob"].set()
    await asyncio.sleep(0)
    assert scene.delivered == []
    gates["ada"].set()
    await scene.settled()
    assert [diff["joins"] for _, diff in scene.delivered] == [
        {"ada": {"metas": [{"phx_ref": "1"}], "at": "t"}},
        {"bob": {"metas": [{"phx_ref": "2"}], "at": "t"}},
    ]
    assert replica.roster.entry("bob") == {"metas": [{"phx_ref": "2"}], "at": "t"}


async def test_a_diff_that_was_loaded_already_is_delivered_without_asking_the_hook_again(scene: Scene) -> None:
    asked: list[list[str]] = []

    async def fetch(topic: str, entries: dict[str, Any]) -> dict[str, Any]:
        asked.append(list(entries))
        return {key: {**entry, "at": topic} for key, entry in entries.items()}

    replica = scene.with_fetch(fetch)
    diffs = [scene.join("ada"), scene.join("bob")]
    await replica.loaded()
    before = replica.roster.payload()
    assert replica.hear(diffs) == []
    await scene.settled()
    assert asked == [["ada", "bob"]]
    assert [diff["joins"] for _, diff in scene.delivered] == [
        {"ada": {"metas": [{"phx_ref": "1"}], "at": "t"}},
        {"bob": {"metas": [{"phx_ref": "2"}], "at": "t"}},
    ]
    assert replica.roster.payload() is before


async def test_a_diff_whose_hook_returns_after_a_gap_is_not_delivered(scene: Scene) -> None:
    gate = asyncio.Event()
    asked = asyncio.Event()

    async def fetch(topic: str, entries: dict[str, Any]) -> dict[str, Any]:
        asked.set()
        await gate.wait()
        return entries

    replica = scene.with_fetch(fetch)
    await replica.loaded()
    replica.hear([scene.join("ada")])
    await asked.wait()
    replica.gap()
    gate.set()
    await scene.settled()
    assert scene.delivered == []
    await replica.loaded()
    assert scene.known == ["ada"]
