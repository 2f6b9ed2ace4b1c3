"""Names: whatever one call touches lies in one slot of a cluster, and no two things share a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis.crc import key_slot

from realtime.engine import election, orders
from realtime.engine.keys import RECORDS, Keys
from realtime.engine.presences import Presences, Tracked, Untracked
from realtime.engine.registry import Registry
from realtime.engine.scripts import Call

COUNT = 16
KEYS = Keys("rt", COUNT)
REGISTRY = Registry(KEYS)
PRESENCES = Presences(KEYS)
ODD = ["{a}", "}{", "{", "a{b}c", "{rt:0}:x", "é", "日本:{1}", "😀", "rooms:a b"]


def topic_of(number: int) -> str:
    """Return a topic with braces and more than ASCII, of that partition."""
    return next(topic for topic in (f"rooms:{{é}}{n}" for n in range(1000)) if KEYS.number(topic) == number)


# For each way to call: the calls, with a topic and a number of a partition.
WAYS: dict[str, Callable[[str, int], Any]] = {
    "create": lambda topic, _: REGISTRY.create([topic, *ODD]),
    "exists": lambda topic, _: REGISTRY.exists(topic),
    "count": lambda topic, _: REGISTRY.count(),
    "count by prefix": lambda topic, _: REGISTRY.count(topic[:3]),
    "page": lambda topic, _: REGISTRY.page("rooms:", topic, 10),
    "show": lambda topic, _: REGISTRY.show(topic),
    "delete": lambda topic, _: REGISTRY.delete(topic),
    "join": lambda topic, _: REGISTRY.join(topic, "{n}:1", 1, 1),
    "leave": lambda topic, _: REGISTRY.leave(topic, "{n}:1", 1),
    "report": lambda topic, _: REGISTRY.report("{n}:1", 1, dict.fromkeys([topic, *ODD], 1)),
    "beat": lambda _, number: REGISTRY.beat(KEYS.partition(number), "{n}:1"),
    "held": lambda _, number: REGISTRY.held(KEYS.partition(number), "{n}:1", 0),
    "retire": lambda _, number: REGISTRY.retire(KEYS.partition(number), "{n}:1"),
    "nodes": lambda _, number: REGISTRY.nodes(KEYS.partition(number)),
    "govern": lambda _, number: REGISTRY.govern(KEYS.partition(number), 1, "leader"),
    "collect": lambda _, number: REGISTRY.collect(KEYS.partition(number), 1, "leader", 10),
    "reap": lambda _, number: REGISTRY.reap(KEYS.partition(number), 1, "leader", "{n}:1", 1, 10),
    "waiting": lambda _, number: REGISTRY.waiting(KEYS.partition(number)),
    "ledger": lambda _, number: REGISTRY.ledger(KEYS.partition(number)),
    "acquire": lambda _, number: election.acquire(KEYS, "leader", 10),
    "release": lambda _, number: election.release(KEYS, "leader"),
    "leader": lambda _, number: election.leader(KEYS),
    "tell": lambda _, number: orders.tell(KEYS, b"{}"),
    "last": lambda _, number: orders.last(KEYS),
    "since": lambda _, number: orders.since(KEYS, (0, 0)),
    "track": lambda topic, _: PRESENCES.track(topic, "{n}:1", 1, [Tracked("c", "{k}", b"{}")]),
    "untrack": lambda topic, _: PRESENCES.untrack(topic, 1, [Untracked("{n}:1", "c", "{k}", 0.0)]),
    "load": lambda topic, _: PRESENCES.load(topic),
    "tracked": lambda topic, _: PRESENCES.tracked(topic, "{n}:1", 0),
}


def slot(key: str) -> int:
    return key_slot(key.encode())


def keys_of(call: Call[Any]) -> tuple[str, ...]:
    if call.command[0] != "EVALSHA":
        return (call.command[1],)
    return call.command[3 : 3 + call.command[2]]


def calls_of(answer: Any) -> Iterator[Call[Any]]:
    yield from answer if isinstance(answer, list) else [answer]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", range(COUNT))
def test_all_keys_of_a_call_lie_in_one_slot(way: str, number: int) -> None:
    for call in calls_of(WAYS[way](topic_of(number), number)):
        assert keys_of(call)
        assert len({slot(key) for key in keys_of(call)}) == 1


def test_every_call_is_asked_here() -> None:
    both = {**vars(Registry), **vars(Presences)}
    offered = {name for name, member in both.items() if callable(member) and not name.startswith("_")}
    assert offered | {"acquire", "release", "leader", "tell", "last", "since"} == WAYS.keys() - {"count by prefix"}


@pytest.mark.parametrize("topic", [topic_of(number) for number in range(COUNT)] + ODD)
def test_whatever_there_is_of_a_topic_lies_in_the_slot_of_its_partition(topic: str) -> None:
    place = KEYS.of(topic)
    built_by_scripts = [f"{prefix}{topic}" for prefix in place.record_prefixes]
    built_by_scripts += [f"{place.bus_prefix}{topic}", f"{place.tracked_prefix}{{n}}:1"]
    of_nodes = [place.held("{n}:1"), place.tracked("{n}:1")]
    names = [place.members(topic), *place.records(topic), *built_by_scripts, KEYS.bus(topic), *of_nodes]
    assert {slot(name) for name in names} == {slot(place.topics)}


def test_members_are_the_first_of_a_topics_records() -> None:
    """The scripts rely on it."""
    place = KEYS.of("a")
    assert place.records("a")[0] == place.members("a")
    assert len(place.records("a")) == len(RECORDS)


def test_partitions_lie_in_slots_of_their_own() -> None:
    assert len({slot(place.root) for place in KEYS.partitions()}) == COUNT


def test_topics_are_spread_evenly() -> None:
    counts = Counter(KEYS.number(f"rooms:{number}") for number in range(16_000))
    assert counts.keys() == set(range(COUNT))
    assert all(800 < count < 1200 for count in counts.values())


def test_a_topic_keeps_its_partition() -> None:
    assert [KEYS.number(topic) for topic in ("a", "d", "rooms:é{1}")] == [3, 12, 7]
    assert Keys("rt").number("rooms:é{1}") == 0


def names(prefix: str, count: int) -> set[str]:
    keys = Keys(prefix, count)
    found = {keys.layer, keys.lease, keys.term, keys.released, keys.alarm, keys.commands, keys.commanded}
    for topic in ("a", ":", "{a}", "rt:0", "rt:0}:topics", *ODD):
        place = keys.of(topic)
        found |= {keys.bus(topic), *place.records(topic), place.held(topic), place.tracked(topic)}
    for place in keys.partitions():
        found |= {place.topics, place.created, place.due, place.nodes, place.fence, place.window, place.ledger}
    return found


@pytest.mark.parametrize("count", [1, COUNT])
@pytest.mark.parametrize("others", [("rt", "rt2"), ("rt", "rt:0"), ("rt", "r"), ("rt:1", "rt:1:1"), ("é", "e")])
def test_two_prefixes_never_share_a_name(others: tuple[str, str], count: int) -> None:
    one, other = others
    assert not names(one, count) & names(other, count)


def test_no_two_things_of_a_project_share_a_name() -> None:
    place = KEYS.partition(0)
    topics = [place.topics, place.created, place.due, place.nodes, place.fence, place.window, place.ledger]
    project = [KEYS.lease, KEYS.term, KEYS.released, KEYS.alarm, KEYS.commands, KEYS.commanded]
    of_a_topic = [*place.records("topics"), place.held("topics"), place.tracked("topics"), f"{place.root}:bus:topics"]
    everything = [*topics, *project, *of_a_topic]
    assert len(set(everything)) == len(everything)


def test_presences_are_among_a_topics_records() -> None:
    """Whoever removes a topic removes them."""
    place = KEYS.of("a")
    assert {place.presences("a"), place.fading("a")} <= set(place.records("a"))
