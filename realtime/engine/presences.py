"""Presences: the record of who is in a topic, as calls.

Each change is one script, which tells every node of it in the same step: what nodes hear is in the order of the record,
and numbered. A node that loads the record and then hears diff after diff knows what the record says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .keys import Keys
from .scripts import Call, Script
from .scripts import script as packaged

BATCH = 500  # entries per script: some milliseconds of the engine's time
DEAD, UNKNOWN = -1, -2  # instead of a number: the node, or the topic
SEPARATOR = "\x1f"


class Tracked(NamedTuple):
    """meta  JSON object"""

    channel: str
    key: str
    meta: bytes


class Untracked(NamedTuple):
    """node   the name under which it was tracked
    grace  seconds that it fades; 0.0 where it leaves at once
    """

    node: str
    channel: str
    key: str
    grace: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """number  of the last diff that it holds
    metas   key -> phx_ref -> meta as clients see it, in the order in which they were tracked
    """

    number: int
    metas: dict[str, dict[str, bytes]]


class Presences:
    """keys    of the project
    script  name -> Script; the packaged ones
    """

    def __init__(self, keys: Keys, script: Callable[[str], Script] = packaged) -> None:
        self.keys = keys
        self._script = script

    def track(self, topic: str, node: str, op: int, entries: Sequence[Tracked]) -> Call[int]:
        """The number of the diff, 0 if nothing has changed; DEAD or UNKNOWN, and then nothing has either.

        An entry that is there already is changed. One whose key another fades takes over from it.
        """
        place = self.keys.of(topic)
        keys = (place.nodes, place.topics, place.presences(topic), place.fading(topic), place.tracked(node))
        about = (node, topic, self.keys.bus(topic), op, place.tracked_prefix)
        return Call.of(self._script("track"), keys, (*about, *_flat(entries)), int)

    def untrack(self, topic: str, op: int, entries: Sequence[Untracked]) -> Call[int]:
        """The number of the diff, 0 if nothing has changed. What a later command has tracked stays."""
        place = self.keys.of(topic)
        keys = (place.presences(topic), place.fading(topic))
        about = (topic, self.keys.bus(topic), op, place.tracked_prefix)
        ended = [(node, channel, key, round(grace * 1000)) for node, channel, key, grace in entries]
        return Call.of(self._script("untrack"), keys, (*about, *_flat(ended)), int)

    def load(self, topic: str) -> Call[Loaded]:
        return Call(("HGETALL", self.keys.of(topic).presences(topic)), _loaded)

    def tracked(self, topic: str, node: str, cursor: int) -> Call[tuple[int, list[list[str]]]]:
        """The next cursor, and some of what the node has tracked in the topic's partition: [topic, channel, key].

        Begin and end with cursor 0.
        """
        command = ("SSCAN", self.keys.of(topic).tracked(node), cursor, "COUNT", BATCH)
        return Call(command, lambda page: (int(page[0]), [one.decode().split(SEPARATOR, 2) for one in page[1]]))


def _flat(entries: Sequence[Sequence[Any]]) -> list[Any]:
    return [value for entry in entries for value in entry]


# What the record means; lua/presences.lua writes it


def _loaded(answer: Any) -> Loaded:
    if not isinstance(answer, dict):  # as it came; redis-py's clients make a dict of it
        answer = dict(zip(answer[::2], answer[1::2], strict=True))
    number = int(answer.pop(b"", b"0:0").partition(b":")[0])
    found = []
    for field, entry in answer.items():
        key = field.split(b"\x1f", 2)[2].decode()
        ref, previous, _, _, meta = entry.split(b":", 4)
        found.append((int(ref), ref, key, _shown(meta, ref, previous)))
    metas: dict[str, dict[str, bytes]] = {}
    for _, ref, key, meta in sorted(found, key=lambda one: one[0]):
        metas.setdefault(key, {})[ref.decode()] = meta
    return Loaded(number, metas)


def _shown(meta: bytes, ref: bytes, previous: bytes) -> bytes:
    """Return a meta as clients see it."""
    refs = b'"phx_ref":"%b"' % ref + (b',"phx_ref_prev":"%b"' % previous if previous else b"")
    return b"{%b%b%b}" % (meta[1:-1], b"," if len(meta) > 2 else b"", refs)
