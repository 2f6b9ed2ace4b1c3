"""The registry of topics and nodes: what there is to ask and to tell, as calls.

Every decision about a topic is one script that looks at the facts itself, so that nothing a caller knew before can be
out of date. Invariants, which tests/registry holds against a real engine:

I1  A living node's member is in the topic, and the topic exists.
I2  A topic with members is not due.
I3  An empty topic is due, so that nothing leaks.
I4  The node of every member is known, alive or dead, and lists the topic: each ghost can be found.
I5  A node that gives signs of life is never declared dead.
I8  Leaders act in the order of their terms, in every partition.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from .keys import Keys, Partition
from .scripts import Call, Script
from .scripts import script as packaged

BATCH = 500  # names per script: some milliseconds of the engine's time


@dataclass(frozen=True, slots=True)
class Found:
    """One topic. Times are seconds.

    due      until it may be collected, negative when that is past; None while somebody listens
    nodes    node -> how many listen there
    """

    age: float
    due: float | None
    nodes: dict[str, int]


@dataclass(frozen=True, slots=True)
class Listed:
    """One node of one partition.

    seen    ms of the engine's clock at its last sign of life; -1 once it was declared dead
    silent  seconds since then; of no meaning for a dead one
    topics  how many it holds
    """

    name: str
    seen: int
    silent: float
    topics: int

    @property
    def is_dead(self) -> bool:
        return self.seen < 0


@dataclass(frozen=True, slots=True)
class Batch:
    """What a leader's script did. `newer` is the "term|holder" that overruled it, and then it did nothing.

    topics   that were collected, or that a dead node was removed from
    is_over  whether a dead node holds nothing more; is_alive, whether it has given a sign of life after all;
             is_waiting, whether all that it holds is fading presences, which have their time
    """

    newer: str = ""
    topics: Sequence[str] = ()
    is_over: bool = False
    is_alive: bool = False
    is_waiting: bool = False


class Registry:
    """keys    of the project
    window  seconds that a topic stays empty before it is collected, at least and at most
    script  name -> Script; the packaged ones
    """

    def __init__(
        self, keys: Keys, window: tuple[float, float] = (60.0, 300.0), script: Callable[[str], Script] = packaged
    ) -> None:
        self.keys = keys
        self.window = window_text(window)
        self._script = script

    # Topics

    def create(self, topics: Sequence[str]) -> list[Call[int]]:
        """How many are new, from each call."""
        calls = []
        for partition, names in self._batches(topics):
            keys = (partition.topics, partition.created, partition.due, partition.window)
            calls.append(self._call("create", keys, (self.window, seed(), *names), int))
        return calls

    def exists(self, topic: str) -> Call[bool]:
        return Call(("ZSCORE", self.keys.of(topic).topics, topic), lambda score: score is not None)

    def count(self, prefix: str = "") -> list[Call[int]]:
        if not prefix:
            return [Call(("ZCARD", partition.topics), int) for partition in self.keys.partitions()]
        bounds = _lexical(prefix)
        return [Call(("ZLEXCOUNT", partition.topics, *bounds), int) for partition in self.keys.partitions()]

    def page(self, prefix: str, after: str, limit: int) -> list[Call[list[str]]]:
        """The next names of each partition, in the order of their bytes."""
        low, high = _lexical(prefix)
        low = f"({after}" if after and after.encode() >= prefix.encode() else low
        return [
            Call(("ZRANGE", partition.topics, low, high, "BYLEX", "LIMIT", 0, limit), _texts)
            for partition in self.keys.partitions()
        ]

    def show(self, topic: str) -> Call[Found | None]:
        place = self.keys.of(topic)
        keys = (place.topics, place.created, place.due, place.members(topic))
        return self._call("show", keys, (topic,), _found)

    def delete(self, topic: str) -> Call[int]:
        """1 if it is gone, 0 if there was none, -1 if somebody listens."""
        place = self.keys.of(topic)
        keys = (place.topics, place.created, place.due, *place.records(topic))
        return self._call("delete", keys, (topic,), int)

    # Members

    def join(self, topic: str, node: str, op: int, listeners: int) -> Call[bool]:
        """Whether the node is in; if not, it is dead, and needs a new name."""
        place = self.keys.of(topic)
        keys = (place.nodes, place.topics, place.created, place.due, place.members(topic), place.held(node))
        return self._call("join", keys, (node, topic, op, listeners), bool)

    def leave(self, topic: str, node: str, op: int) -> Call[bool]:
        """Whether the node was in."""
        place = self.keys.of(topic)
        keys = (place.topics, place.due, place.members(topic), place.held(node), place.window)
        return self._call("leave", keys, (node, topic, op, self.window, seed()), bool)

    def report(self, node: str, op: int, listeners: dict[str, int]) -> list[Call[int]]:
        """How many of the topics the node is in, from each call."""
        calls = []
        for partition, names in self._batches(listeners):
            keys = tuple(partition.members(topic) for topic in names)
            calls.append(self._call("report", keys, (node, op, *(listeners[topic] for topic in names)), int))
        return calls

    # Nodes: each of these is asked of every partition

    def beat(self, partition: Partition, node: str, *, is_new: bool = False) -> Call[int]:
        """How many topics the node holds there, or -1 if it was declared dead."""
        return self._call("beat", (partition.nodes, partition.held(node)), (node, "new" if is_new else ""), int)

    def held(self, partition: Partition, node: str, cursor: int) -> Call[tuple[int, list[str]]]:
        """The next cursor, and some of the topics that the node holds; begin and end with cursor 0."""
        return Call(
            ("SSCAN", partition.held(node), cursor, "COUNT", BATCH), lambda page: (int(page[0]), _texts(page[1]))
        )

    def retire(self, partition: Partition, node: str) -> Call[int]:
        keys = (partition.nodes, partition.held(node), partition.tracked(node))
        return self._call("retire", keys, (node,), int)

    def nodes(self, partition: Partition) -> Call[list[Listed]]:
        return self._call("nodes", (partition.nodes,), (partition.held_prefix,), _listed)

    # The leader's, in every partition

    def govern(self, partition: Partition, term: int, holder: str) -> Call[str]:
        """The newer "term|holder", or ""."""
        return self._call("govern", (partition.fence, partition.window), (term, holder, self.window), _text)

    def collect(self, partition: Partition, term: int, holder: str, limit: int) -> Call[Batch]:
        keys = (partition.fence, partition.topics, partition.created, partition.due, partition.ledger)
        return self._call("collect", keys, (term, holder, limit, *partition.record_prefixes), _collected)

    def reap(self, partition: Partition, term: int, holder: str, node: str, seen: int, limit: int) -> Call[Batch]:
        """Give back what a dead node held; `seen` is its last sign of life as the leader knows it."""
        p = partition
        keys = (p.fence, p.topics, p.due, p.nodes, p.held(node), p.tracked(node), p.window, p.ledger)
        prefixes = (p.record_prefixes[0], p.presences_prefix, p.fading_prefix, p.bus_prefix, p.tracked_prefix)
        return self._call("reap", keys, (term, holder, node, seen, limit, self.window, seed(), *prefixes), _reaped)

    def waiting(self, partition: Partition) -> Call[tuple[int, int, float | None]]:
        """How many topics may be collected now, how many later, and seconds until the next of them."""
        return self._call("waiting", (partition.due,), (), _waiting)

    def ledger(self, partition: Partition) -> Call[dict[str, int]]:
        """How many topics were "collected" and members of dead nodes "removed" since the engine began."""
        fields = ("collected", "removed")
        return Call(
            ("HMGET", partition.ledger, *fields),
            lambda found: {field: int(value or 0) for field, value in zip(fields, found, strict=True)},
        )

    # private

    def _call(
        self, name: str, keys: tuple[str, ...], arguments: tuple[Any, ...], read: Callable[[Any], Any]
    ) -> Call[Any]:
        return Call.of(self._script(name), keys, arguments, read)

    def _batches(self, topics: Iterable[str]) -> Iterator[tuple[Partition, list[str]]]:
        """Yield the topics by partition, each once, no more at a time than fit into one script."""
        found: dict[int, list[str]] = {}
        for topic in dict.fromkeys(topics):
            found.setdefault(self.keys.number(topic), []).append(topic)
        for number, names in found.items():
            for start in range(0, len(names), BATCH):
                yield self.keys.partition(number), names[start : start + BATCH]


def merged(partitions: Iterable[Iterable[Listed]]) -> list[Listed]:
    """Return the nodes of all partitions, each once, in the order of their names.

    One that is declared dead in any of them takes another name everywhere, so it is dead.
    """
    found: dict[str, list[Listed]] = {}
    for node in chain.from_iterable(partitions):
        found.setdefault(node.name, []).append(node)
    return [_whole(name, found[name]) for name in sorted(found)]


def _whole(name: str, parts: list[Listed]) -> Listed:
    seen = -1 if any(part.is_dead for part in parts) else max(part.seen for part in parts)
    return Listed(name, seen, min(part.silent for part in parts), sum(part.topics for part in parts))


def eviction_policy() -> Call[str]:
    """What the engine drops when it is full: "noeviction", or "allkeys-lru"…, which may be our keys."""

    def read(answer: Any) -> str:
        if isinstance(answer, bytes):  # as it came; redis-py's clients make a dict of it
            answer = dict(line.split(":", 1) for line in answer.decode().splitlines() if ":" in line)
        one = answer if "maxmemory_policy" in answer else next(iter(answer.values()))  # of a cluster's servers
        return str(one["maxmemory_policy"])

    return Call(("INFO", "memory"), read)


def window_text(window: tuple[float, float]) -> str:
    """Return a window of seconds as the scripts read it: "60000 300000"."""
    earliest, latest = (round(seconds * 1000) for seconds in window)
    return f"{earliest} {latest}"


def seed() -> int:
    return random.getrandbits(31)


# What the answers mean


def _text(answer: bytes) -> str:
    return answer.decode()


def _texts(answer: list[bytes]) -> list[str]:
    return [name.decode() for name in answer]


def _lexical(prefix: str) -> tuple[str | bytes, str | bytes]:
    """Return the bounds of the names that begin so. 0xff is in no UTF-8, and comes after all of it."""
    return (f"[{prefix}", b"(" + prefix.encode() + b"\xff") if prefix else ("-", "+")


def _found(answer: list[bytes]) -> Found | None:
    if not answer:
        return None
    age, due, *members = (value.decode() for value in answer)
    nodes = {node: int(value.partition(":")[2]) for node, value in zip(members[::2], members[1::2], strict=True)}
    return Found(int(age) / 1000, int(due) / 1000 if due else None, nodes)


def _listed(answer: list[Any]) -> list[Listed]:
    now = int(answer[0])
    return [
        Listed(name.decode(), int(float(seen)), (now - float(seen)) / 1000, topics) for name, seen, topics in answer[1:]
    ]


def _collected(answer: list[bytes]) -> Batch:
    newer, *topics = _texts(answer)
    return Batch(newer, topics)


def _reaped(answer: list[bytes]) -> Batch:
    newer, *rest = _texts(answer)
    if newer:
        return Batch(newer, [])
    state, *topics = rest
    return Batch("", topics, state == "done", state == "alive", state == "later")


def _waiting(answer: list[Any]) -> tuple[int, int, float | None]:
    now, later, until = answer
    return now, later, int(until) / 1000 if until else None
