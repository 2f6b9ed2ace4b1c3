from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from realtime import hub as hubs
from realtime.echoes import Echoes, Sent
from realtime.exceptions import EngineUnavailable
from realtime.framing import Burst
from realtime.hub import Hub
from realtime.protocol.bus import pack
from realtime.protocol.messages import Broadcast, Frame
from realtime.protocol.serializers import V2
from realtime.turn import Turn


class Bus:
    """Records what the hub asks for; `gate` holds it up."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.listeners: dict[str, Any] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails = False

    async def subscribe(self, channel: str, listener: Any) -> None:
        self.calls.append(f"+{channel}")
        await self.gate.wait()
        if self.fails:
            raise EngineUnavailable
        self.listeners[channel] = listener

    async def confirmed(self, channel: str) -> None:
        await self.gate.wait()

    async def unsubscribe(self, channel: str) -> None:
        self.calls.append(f"-{channel}")
        await self.gate.wait()
        self.listeners.pop(channel, None)


class Counting(V2):
    encoded = 0

    def fastlane(self, broadcast: Broadcast) -> Frame:
        Counting.encoded += 1
        return super().fastlane(broadcast)


class Subscriber:
    def __init__(self, name: str, serializer: Any) -> None:
        self.id = name
        self.serializer = serializer
        self.bursts: list[Burst] = []
        self.intercepts = False
        self.resyncs = 0

    @property
    def frames(self) -> list[Frame]:
        return [frame for burst in self.bursts for frame in burst.frames]

    @property
    def sink(self) -> Subscriber:
        return self

    def put(self, burst: Burst) -> None:
        self.bursts.append(burst)

    def hear(self, broadcast: Broadcast) -> None:
        raise AssertionError("it does not intercept")

    def resync(self) -> None:
        self.resyncs += 1


class Members:
    """Writes down what the hub tells of the node's topics; `gate` holds a join up."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails = False

    async def join(self, topic: str) -> None:
        self.calls.append(f"+{topic}")
        await self.gate.wait()
        if self.fails:
            raise EngineUnavailable

    async def leave(self, topic: str) -> None:
        self.calls.append(f"-{topic}")

    def changed(self, topic: str, listeners: int) -> None:
        self.calls.append(f"{topic}:{listeners}")


class Observer:
    """Hears everything first, and keeps back the events that it is told to."""

    def __init__(self, kept: str = "") -> None:
        self.kept = kept
        self.heard: list[str] = []
        self.gaps = 0

    def hear(self, broadcasts: list[Broadcast]) -> list[Broadcast]:
        self.heard += [one.event for one in broadcasts]
        return [one for one in broadcasts if one.event != self.kept]

    def gap(self) -> None:
        self.gaps += 1


class Scene:
    def __init__(self) -> None:
        self.observers: dict[str, Observer] = {}
        self.bus = Bus()
        self.tasks: list[asyncio.Task[None]] = []
        self.members = Members()
        self.turn = Turn()
        self.echoes = Echoes(10.0)
        self.hub = Hub(
            self.bus, self.members, lambda topic: topic, self.spawn, self.turn.put_off, self.echoes, self.observers
        )
        self.serializer = Counting()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.create_task(work))

    def subscriber(self, name: str) -> Subscriber:
        return Subscriber(name, self.serializer)

    async def settle(self) -> None:
        await asyncio.gather(*self.tasks)

    def receive(self, topic: str, sender: str | None = None, mark: str | None = None, event: str = "e") -> None:
        self.bus.listeners[topic].message(pack(Broadcast(topic, event, msgspec.Raw(b"{}"), sender), mark))

    def publish(self, topic: str, sender: str | None = None) -> None:
        """Receive, and let the turn end."""
        self.receive(topic, sender)
        self.turn.end()


@pytest.fixture
async def scene() -> Scene:
    return Scene()


async def test_a_node_enters_with_its_first_listener_and_leaves_with_its_last(scene: Scene) -> None:
    first, second = scene.subscriber("1"), scene.subscriber("2")
    await scene.hub.subscribe("a", first)
    await scene.hub.subscribe("a", second)
    scene.hub.unsubscribe("a", first)
    await scene.settle()
    assert scene.bus.calls == ["+a"]
    scene.hub.unsubscribe("a", second)
    await scene.settle()
    assert scene.bus.calls == ["+a", "-a"]


async def test_a_broadcast_is_encoded_once_for_all(scene: Scene) -> None:
    listeners = [scene.subscriber(str(number)) for number in range(50)]
    for listener in listeners:
        await scene.hub.subscribe("a", listener)
    Counting.encoded = 0
    scene.publish("a")
    assert Counting.encoded == 1
    assert all(listener.frames == ['[null,null,"a","e",{}]'] for listener in listeners)


async def test_the_sender_of_broadcast_from_is_left_out(scene: Scene) -> None:
    first, second = scene.subscriber("1"), scene.subscriber("2")
    for listener in (first, second):
        await scene.hub.subscribe("a", listener)
    scene.publish("a", sender="1")
    assert (len(first.bursts), len(second.bursts)) == (0, 1)


async def test_a_serializer_that_fails_deafens_nobody_else_and_its_own_join_again(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(V2):
        def fastlane(self, broadcast: Broadcast) -> Frame:
            raise LookupError

    serializer = Broken()
    broken = [Subscriber(name, serializer) for name in ("1", "2")]
    whole = [scene.subscriber(name) for name in ("3", "4")]
    for listener in (*broken, *whole):
        await scene.hub.subscribe("a", listener)
    scene.publish("a", sender="4")
    scene.publish("a", sender="2")
    assert [len(listener.frames) for listener in whole] == [2, 1]
    assert [listener.resyncs for listener in (*broken, *whole)] == [2, 2, 0, 0]
    assert "a serializer cannot write what came to 'a'" in caplog.text


async def test_what_comes_in_one_turn_goes_out_as_one_burst_that_all_share(scene: Scene) -> None:
    listeners = [scene.subscriber(str(number)) for number in range(3)]
    for listener in listeners:
        await scene.hub.subscribe("a", listener)
    for event in ("1", "2", "3"):
        scene.receive("a", event=event)
    assert listeners[0].bursts == []
    scene.turn.end()
    assert listeners[0].frames == [f'[null,null,"a","{event}",{{}}]' for event in ("1", "2", "3")]
    [burst] = listeners[0].bursts
    assert all(listener.bursts == [burst] for listener in listeners)


async def test_a_sender_is_left_out_of_its_own_in_the_middle_of_a_burst(scene: Scene) -> None:
    first, second = scene.subscriber("1"), scene.subscriber("2")
    for listener in (first, second):
        await scene.hub.subscribe("a", listener)
    for event, sender in (("a", None), ("b", "1"), ("c", "2"), ("d", None)):
        scene.receive("a", sender, event=event)
    scene.turn.end()
    assert [json.loads(frame)[3] for frame in first.frames] == ["a", "c", "d"]
    assert [json.loads(frame)[3] for frame in second.frames] == ["a", "b", "d"]


async def test_who_comes_in_the_middle_of_a_turn_hears_only_what_comes_after(scene: Scene) -> None:
    first, second = scene.subscriber("1"), scene.subscriber("2")
    await scene.hub.subscribe("a", first)
    scene.receive("a", event="before")
    await scene.hub.subscribe("a", second)
    scene.receive("a", event="after")
    scene.turn.end()
    assert [json.loads(frame)[3] for frame in first.frames] == ["before", "after"]
    assert [json.loads(frame)[3] for frame in second.frames] == ["after"]


@pytest.mark.parametrize("end", ["leave", "gap"])
async def test_who_goes_in_the_middle_of_a_turn_has_heard_what_came_before(scene: Scene, end: str) -> None:
    listener = scene.subscriber("1")
    await scene.hub.subscribe("a", listener)
    scene.receive("a")
    if end == "gap":
        scene.bus.listeners["a"].gap()
    else:
        scene.hub.unsubscribe("a", listener)
    assert len(listener.frames) == 1
    scene.turn.end()
    await scene.settle()
    assert len(listener.frames) == 1


async def test_a_join_while_the_node_leaves_ends_joined(scene: Scene) -> None:
    first, second = scene.subscriber("1"), scene.subscriber("2")
    await scene.hub.subscribe("a", first)
    scene.bus.gate.clear()
    scene.hub.unsubscribe("a", first)
    await asyncio.sleep(0)
    joining = asyncio.create_task(scene.hub.subscribe("a", second))
    await asyncio.sleep(0)
    scene.bus.gate.set()
    await joining
    await scene.settle()
    assert "a" in scene.bus.listeners
    scene.publish("a")
    assert len(second.frames) == 1


async def test_a_join_before_the_leave_has_begun_saves_the_way(scene: Scene) -> None:
    first, second = scene.subscriber("1"), scene.subscriber("2")
    await scene.hub.subscribe("a", first)
    scene.hub.unsubscribe("a", first)
    await scene.hub.subscribe("a", second)
    await scene.settle()
    assert scene.bus.calls == ["+a"]


async def test_an_engine_that_refuses_leaves_nothing_behind(scene: Scene) -> None:
    scene.bus.fails = True
    with pytest.raises(EngineUnavailable):
        await scene.hub.subscribe("a", scene.subscriber("1"))
    await scene.settle()
    scene.bus.fails = False
    again = scene.subscriber("2")
    await scene.hub.subscribe("a", again)
    scene.publish("a")
    assert len(again.frames) == 1
    assert scene.bus.calls == ["+a", "-a", "+a"]


async def test_a_join_that_is_cancelled_leaves_nothing_behind(scene: Scene) -> None:
    scene.bus.gate.clear()
    joining = asyncio.create_task(scene.hub.subscribe("a", scene.subscriber("1")))
    while not scene.bus.calls:
        await asyncio.sleep(0)
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)
    scene.bus.gate.set()
    await scene.settle()
    assert scene.bus.calls == ["+a", "-a"]


async def test_a_gap_tells_every_listener(scene: Scene) -> None:
    listeners = [scene.subscriber(str(number)) for number in range(3)]
    for listener in listeners:
        await scene.hub.subscribe("a", listener)
    scene.bus.listeners["a"].gap()
    assert [listener.resyncs for listener in listeners] == [1, 1, 1]


async def test_a_topic_is_heard_where_somebody_listens(scene: Scene) -> None:
    assert not scene.hub.hears("a")
    listener = scene.subscriber("1")
    await scene.hub.subscribe("a", listener)
    assert scene.hub.hears("a")
    scene.hub.unsubscribe("a", listener)
    assert not scene.hub.hears("a")
    await scene.settle()


async def test_an_echo_is_heard_once_it_is_queued_for_all(scene: Scene) -> None:
    listener = scene.subscriber("1")
    await scene.hub.subscribe("a", listener)
    scene.echoes.expect("a", "mark", sent := Sent())
    scene.receive("a", mark="mark")
    assert not sent.is_done
    scene.turn.end()
    assert sent.is_done
    assert len(listener.frames) == 1


async def test_what_a_speaker_says_next_comes_right_after_its_own_broadcast(scene: Scene) -> None:
    speaker, other = scene.subscriber("1"), scene.subscriber("2")
    for subscriber in (speaker, other):
        await scene.hub.subscribe("a", subscriber)
    for mark in ("first", "second"):
        scene.echoes.expect("a", mark, sent := Sent(speaker))
        sent.then(lambda mark=mark: speaker.put(Burst(f"after {mark}")))  # type: ignore[misc]
        scene.receive("a", mark=mark, event=mark)
    scene.receive("a", "1", event="from the speaker")
    scene.turn.end()
    names = [frame if frame.startswith("after") else json.loads(frame)[3] for frame in map(str, speaker.frames)]
    assert names == ["first", "after first", "second", "after second"]
    assert [json.loads(frame)[3] for frame in other.frames] == ["first", "second", "from the speaker"]
    assert len(other.bursts) == 1


@pytest.mark.parametrize("end", ["gap", "last listener gone"])
async def test_nobody_waits_for_an_echo_that_cannot_come(scene: Scene, end: str) -> None:
    listener = scene.subscriber("1")
    await scene.hub.subscribe("a", listener)
    scene.echoes.expect("a", "mark", sent := Sent())
    if end == "gap":
        scene.bus.listeners["a"].gap()
    else:
        scene.hub.unsubscribe("a", listener)
    assert sent.is_done
    await scene.settle()


# What its members are told


async def test_members_hear_of_the_first_the_last_and_the_number_in_between(scene: Scene) -> None:
    first, second, third = (scene.subscriber(name) for name in "123")
    for listener in (first, second, third):
        await scene.hub.subscribe("a", listener)
    assert scene.members.calls == ["+a", "a:2", "a:3"]
    for listener in (second, first, third):
        scene.hub.unsubscribe("a", listener)
    await scene.settle()
    assert scene.members.calls == ["+a", "a:2", "a:3", "a:2", "a:1", "-a"]


async def test_who_leaves_twice_or_was_never_there_is_not_told(scene: Scene) -> None:
    first, second = scene.subscriber("1"), scene.subscriber("2")
    await scene.hub.subscribe("a", first)
    scene.hub.unsubscribe("a", second)
    scene.hub.unsubscribe("b", second)
    scene.hub.unsubscribe("a", first)
    scene.hub.unsubscribe("a", first)
    await scene.settle()
    assert scene.members.calls == ["+a", "-a"]


async def test_a_join_before_the_leave_has_begun_is_told_as_a_number(scene: Scene) -> None:
    first, second = scene.subscriber("1"), scene.subscriber("2")
    await scene.hub.subscribe("a", first)
    scene.hub.unsubscribe("a", first)
    await scene.hub.subscribe("a", second)
    await scene.settle()
    assert scene.members.calls == ["+a", "a:1"]


async def test_a_join_that_members_refuse_leaves_nothing_behind(scene: Scene) -> None:
    scene.members.fails = True
    with pytest.raises(EngineUnavailable):
        await scene.hub.subscribe("a", scene.subscriber("1"))
    await scene.settle()
    assert scene.members.calls == ["+a", "-a"]
    assert (scene.hub.topics(), scene.bus.listeners) == ([], {})
    scene.members.fails = False
    await scene.hub.subscribe("a", scene.subscriber("2"))
    assert (scene.hub.topics(), list(scene.bus.listeners)) == (["a"], ["a"])


async def test_a_join_whose_bus_fails_is_taken_back_from_the_members(scene: Scene) -> None:
    scene.bus.fails = True
    with pytest.raises(EngineUnavailable):
        await scene.hub.subscribe("a", scene.subscriber("1"))
    await scene.settle()
    assert scene.members.calls == ["+a", "-a"]


@pytest.mark.parametrize("what", ["bus", "members"])
async def test_a_join_that_hangs_ends_with_all_that_wait_for_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(hubs, "PATIENCE", 0.05)
    gate: asyncio.Event = getattr(scene, what).gate
    gate.clear()
    joins = [scene.hub.subscribe("a", scene.subscriber(str(number))) for number in range(3)]
    errors = await asyncio.gather(*joins, return_exceptions=True)
    assert [type(error) for error in errors] == [EngineUnavailable] * 3
    assert str(errors[0]) == "the engine does not answer"
    assert scene.hub.topics() == []
    gate.set()
    await scene.settle()
    again = scene.subscriber("again")
    await scene.hub.subscribe("a", again)
    scene.publish("a")
    assert len(again.frames) == 1


async def test_topics_do_not_wait_for_each_other(scene: Scene) -> None:
    quick, slow = scene.members.gate, asyncio.Event()
    scene.members.gate = slow
    joining = asyncio.create_task(scene.hub.subscribe("a", scene.subscriber("1")))
    while scene.members.calls != ["+a"]:
        await asyncio.sleep(0)
    scene.members.gate = quick
    await scene.hub.subscribe("b", scene.subscriber("2"))
    assert not joining.done()
    slow.set()
    await joining


async def test_a_resync_tells_every_listener_of_every_topic(scene: Scene) -> None:
    listeners = [scene.subscriber(str(number)) for number in range(3)]
    for listener, topic in zip(listeners, "aab", strict=True):
        await scene.hub.subscribe(topic, listener)
    scene.hub.resync()
    assert [listener.resyncs for listener in listeners] == [1, 1, 1]


async def test_a_second_listener_waits_until_a_lost_subscription_is_live_again(scene: Scene) -> None:
    first, second = scene.subscriber("1"), scene.subscriber("2")
    await scene.hub.subscribe("a", first)
    scene.bus.gate.clear()
    joining = asyncio.create_task(scene.hub.subscribe("a", second))
    await asyncio.sleep(0.01)
    assert not joining.done()
    scene.bus.gate.set()
    await joining
    scene.publish("a")
    assert len(second.frames) == 1


async def test_a_second_listener_is_refused_while_the_bus_is_away(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.hub.PATIENCE", 0.01)
    first, second = scene.subscriber("1"), scene.subscriber("2")
    await scene.hub.subscribe("a", first)
    scene.bus.gate.clear()
    with pytest.raises(EngineUnavailable):
        await scene.hub.subscribe("a", second)
    scene.bus.gate.set()
    scene.publish("a")
    assert (len(first.frames), len(second.frames)) == (1, 0)


# Presence


def diffs(listener: Subscriber) -> list[str]:
    """Return what a listener has heard: the numbers of presence diffs, and the names of other events."""
    frames = [json.loads(frame) for frame in listener.frames]
    return [str(frame[4].get("n", frame[3])) for frame in frames]


def tell(scene: Scene, number: int) -> None:
    payload = msgspec.Raw(b'{"n":%d}' % number)
    scene.bus.listeners["a"].message(pack(Broadcast("a", "presence_diff", payload), str(number)))


async def test_who_is_spared_gets_all_but_presence_diffs_until_it_is_informed(scene: Scene) -> None:
    old, new = scene.subscriber("1"), scene.subscriber("2")
    await scene.hub.subscribe("a", old)
    await scene.hub.subscribe("a", new, spared=True)
    tell(scene, 1)
    scene.publish("a")
    assert (diffs(old), diffs(new)) == (["1", "e"], ["e"])
    scene.hub.inform("a", new, 3)
    tell(scene, 2)  # what it was told may be ahead of what the bus has brought
    scene.turn.end()
    for number in (3, 4):
        tell(scene, number)
    scene.receive("a")
    scene.turn.end()
    tell(scene, 5)
    scene.turn.end()
    assert diffs(old) == ["1", "e", "2", "3", "4", "e", "5"]
    assert diffs(new) == ["e", "4", "e", "5"]
    assert old.bursts[-1] is new.bursts[-1]  # from now on it is like any other


async def test_the_first_listener_may_be_spared_and_one_that_was_is_forgotten(scene: Scene) -> None:
    first, second = scene.subscriber("1"), scene.subscriber("2")
    await scene.hub.subscribe("a", first, spared=True)
    await scene.hub.subscribe("a", second)
    tell(scene, 1)
    scene.turn.end()
    assert (diffs(first), diffs(second)) == ([], ["1"])
    scene.hub.unsubscribe("a", first)
    scene.hub.inform("a", first, 1)
    await scene.hub.subscribe("a", first)
    tell(scene, 1)
    scene.turn.end()
    assert diffs(first) == ["1"]


async def test_a_diff_that_the_record_did_not_make_is_an_event_like_any(scene: Scene) -> None:
    listener = scene.subscriber("1")
    await scene.hub.subscribe("a", listener, spared=True)
    scene.receive("a", mark="node.1", event="presence_diff")
    scene.turn.end()
    assert diffs(listener) == ["presence_diff"]


async def test_an_observer_hears_first_and_may_keep_back_what_it_delivers_later(scene: Scene) -> None:
    listener = scene.subscriber("1")
    observer = scene.observers["a"] = Observer(kept="kept")
    await scene.hub.subscribe("a", listener)
    scene.receive("a", event="kept")
    scene.receive("a", event="other")
    scene.turn.end()
    assert (observer.heard, diffs(listener)) == (["kept", "other"], ["other"])
    scene.receive("a", event="next")
    scene.hub.deliver(Broadcast("a", "kept", msgspec.Raw(b"{}")))
    assert diffs(listener) == ["other", "next", "kept"]  # in the order in which they became known
    assert observer.heard == ["kept", "other", "next"]
    scene.hub.deliver(Broadcast("nowhere", "kept", msgspec.Raw(b"{}")))


async def test_an_observer_is_told_of_a_gap_before_the_listeners_are(scene: Scene) -> None:
    listener = scene.subscriber("1")
    await scene.hub.subscribe("a", listener)
    observer = scene.observers["a"] = Observer()
    scene.bus.listeners["a"].gap()
    assert (observer.gaps, listener.resyncs) == (1, 1)


async def test_an_observer_that_outlives_the_last_listener_is_told_of_a_gap_when_one_comes(scene: Scene) -> None:
    first, second, third = [scene.subscriber(number) for number in "123"]
    await scene.hub.subscribe("a", first)
    observer = scene.observers["a"] = Observer()
    scene.hub.unsubscribe("a", first)
    await asyncio.gather(*scene.tasks)
    assert observer.gaps == 0
    await scene.hub.subscribe("a", second)
    assert (observer.gaps, second.resyncs) == (1, 0)
    await scene.hub.subscribe("a", third)
    assert observer.gaps == 1  # it has heard all since
