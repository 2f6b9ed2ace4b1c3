"""Every name that we use in the engine, in one place.

All of them begin with the project's prefix and a partition in braces, the part that Redis Cluster hashes, so that
one script can touch whatever belongs to a topic. There is one partition as long as the engine is one server.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

# What there may be of one topic under its own key. Collection removes all of it: whoever adds a kind adds it here.
RECORDS = ("members", "history", "presences", "fading")


@dataclass(frozen=True, slots=True)
class Partition:
    """The names of one share of the topics. `root` is "{rt:0}"."""

    root: str

    # Topics

    @property
    def topics(self) -> str:
        """Sorted set: every topic, all with one score, so that they are in the order of their names."""
        return f"{self.root}:topics"

    @property
    def created(self) -> str:
        """Hash: topic -> ms."""
        return f"{self.root}:created"

    @property
    def due(self) -> str:
        """Sorted set: topics nobody listens to -> ms from which on they may be collected."""
        return f"{self.root}:due"

    def members(self, topic: str) -> str:
        """Hash: node -> "op:listeners", the number of the node's last command and how many listen there."""
        return f"{self.root}:members:{topic}"

    def presences(self, topic: str) -> str:
        """Hash: who is there; lua/presences.lua tells its form."""
        return f"{self.presences_prefix}{topic}"

    @property
    def presences_prefix(self) -> str:
        return f"{self.root}:presences:"

    def fading(self, topic: str) -> str:
        """Sorted set: which of those who are there will leave, unless somebody takes over; by key."""
        return f"{self.fading_prefix}{topic}"

    @property
    def fading_prefix(self) -> str:
        return f"{self.root}:fading:"

    @property
    def bus_prefix(self) -> str:
        return f"{self.root}:bus:"

    def records(self, topic: str) -> tuple[str, ...]:
        """Everything under the topic's own keys; its members first."""
        return tuple(f"{kind}{topic}" for kind in self.record_prefixes)

    @property
    def record_prefixes(self) -> tuple[str, ...]:
        return tuple(f"{self.root}:{kind}:" for kind in RECORDS)

    # Nodes

    @property
    def nodes(self) -> str:
        """Sorted set: node -> ms of its last sign of life, or -1 if it was declared dead."""
        return f"{self.root}:nodes"

    def held(self, node: str) -> str:
        """Set: the topics that a node is in."""
        return f"{self.held_prefix}{node}"

    @property
    def held_prefix(self) -> str:
        return f"{self.root}:held:"

    def tracked(self, node: str) -> str:
        """Set: "topic, channel, key" of what a node has tracked, with 0x1f between them."""
        return f"{self.tracked_prefix}{node}"

    @property
    def tracked_prefix(self) -> str:
        return f"{self.root}:tracked:"

    # The leader

    @property
    def fence(self) -> str:
        """String: "term|holder", the newest leader that has acted on this partition."""
        return f"{self.root}:fence"

    @property
    def window(self) -> str:
        """String: "60000 300000", ms that a topic stays empty before it is collected."""
        return f"{self.root}:window"

    @property
    def ledger(self) -> str:
        """Hash: how many topics were "collected", and how many members of dead nodes were "removed"."""
        return f"{self.root}:ledger"


@dataclass(frozen=True, slots=True)
class Keys:
    """prefix  REALTIME["PREFIX"]; two projects with different ones can share an engine"""

    prefix: str
    count: int = 1

    def partition(self, number: int) -> Partition:
        return Partition(f"{{{self.prefix}:{number}}}")

    def partitions(self) -> list[Partition]:
        return [self.partition(number) for number in range(self.count)]

    def number(self, topic: str) -> int:
        """Return the number of the partition that a topic belongs to."""
        return zlib.crc32(topic.encode()) % self.count if self.count > 1 else 0

    def of(self, topic: str) -> Partition:
        return self.partition(self.number(topic))

    def bus(self, topic: str) -> str:
        """The pub/sub channel that carries the broadcasts of a topic."""
        return f"{self.of(topic).bus_prefix}{topic}"

    @property
    def every_bus(self) -> str:
        """The pattern of all of those channels, for PSUBSCRIBE."""
        return f"{{{self.prefix}:*}}:bus:*"

    @staticmethod
    def topic_of(bus: str) -> str:
        """Return the topic that a channel carries."""
        return bus.partition(":bus:")[2]

    @property
    def layer(self) -> str:
        """The prefix of the channels and groups of ordinary consumers."""
        return f"{self.prefix}:asgi:"

    # One leader and one set of nodes for all partitions

    @property
    def lease(self) -> str:
        """String that ends by itself: "term|holder|ttl|since" of the leader."""
        return f"{self.partition(0).root}:lease"

    @property
    def term(self) -> str:
        """String: the last term that was granted."""
        return f"{self.partition(0).root}:term"

    @property
    def released(self) -> str:
        """The pub/sub channel that tells of a leader that has stepped down."""
        return f"{self.partition(0).root}:released"

    @property
    def commands(self) -> str:
        """Stream: what every node was told lately, each {"command": …}."""
        return f"{self.partition(0).root}:commands"

    @property
    def commanded(self) -> str:
        """The pub/sub channel that tells of a new one: its id."""
        return f"{self.partition(0).root}:commanded"

    @property
    def alarm(self) -> str:
        """A pub/sub channel of every node; a gap in it tells the node to look at its membership."""
        return f"{self.partition(0).root}:alarm"

    def node(self, name: str) -> str:
        """The pub/sub channel on which one node hears what others say to it."""
        return f"{self.partition(0).root}:node:{name}"
