"""What one socket has joined, and what each message means for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from .messages import HEARTBEAT, JOIN, LEAVE, RENEW, RESERVED_TOPIC, Message, Ref, Reply, is_topic

Route = TypeVar("Route")


class Answer(msgspec.Struct, frozen=True):
    """Send this reply; there is no channel to ask."""

    topic: Any
    ref: Ref
    join_ref: Ref
    reply: Reply


class Instance(msgspec.Struct, Generic[Route], frozen=True, eq=False):
    """One join of one topic: two joins of the same are never equal. Kept as long as it is joined, so it is small.

    A client that joins without a join_ref gets its first reply and its close without one, and everything
    between under the join's ref. Source: phoenix 1.8.12 on the wire.
    """

    topic: str
    ref: Ref
    join_ref: Ref
    route: Route

    @property
    def tag(self) -> Ref:
        """The join_ref of what this instance pushes and answers."""
        return self.ref if self.join_ref is None else self.join_ref


class Join(msgspec.Struct, Generic[Route], frozen=True):
    """Start a channel."""

    instance: Instance[Route]
    message: Message


class Event(msgspec.Struct, frozen=True):
    """Hand this message to the channel that joined its topic."""

    message: Message


class Leave(msgspec.Struct, frozen=True):
    """End the channel that joined this topic, and answer."""

    message: Message


class Renew(msgspec.Struct, frozen=True):
    """Take the token in this message, and answer."""

    message: Message


Action: TypeAlias = Answer | Join[Any] | Event | Leave | Renew | None


class Session(Generic[Route]):
    """The topics of one socket. Never awaits, never raises; None means that a message is dropped.

    resolve     topic -> what handles it, or None
    max_topics  how many may be joined at once
    Source: phoenix 167c46950, lib/phoenix/socket.ex, handle_in/4.
    """

    def __init__(self, resolve: Callable[[str], Route | None], max_topics: int = 100) -> None:
        self._resolve = resolve
        self._max_topics = max_topics
        self.joined: dict[str, Instance[Route]] = {}

    def receive(self, message: Message) -> Action:
        if message.topic == RESERVED_TOPIC:
            return self._reserved(message)
        if message.event == JOIN:
            return self._join(message)
        current = self.joined.get(message.topic) if isinstance(message.topic, str) else None
        if current is None:
            return self._unjoined(message)
        if message.join_ref is not None and message.join_ref != current.tag:
            return None  # sent before a rejoin; that channel is gone
        if message.event == LEAVE:
            del self.joined[message.topic]
            return Leave(message)
        return Event(message)

    def ended(self, instance: Instance[Route]) -> None:
        """Forget a channel that was refused, crashed or stopped; a newer one of its topic stays."""
        if self.joined.get(instance.topic) is instance:
            del self.joined[instance.topic]

    # private

    def _reserved(self, message: Message) -> Action:
        if message.event == HEARTBEAT:
            return Answer(message.topic, message.ref, None, Reply("ok"))
        if message.event == RENEW:
            return Renew(message)
        return unmatched(message)

    def _join(self, message: Message) -> Action:
        topic = message.topic
        route = self._resolve(topic) if is_topic(topic) else None
        if route is None:
            return unmatched(message)
        if topic not in self.joined and len(self.joined) >= self._max_topics:
            return Answer(topic, message.ref, message.join_ref, Reply("error", {"reason": "too many channels joined"}))
        instance = self.joined[topic] = Instance(topic, message.ref, message.join_ref, route)
        return Join(instance, message)

    def _unjoined(self, message: Message) -> Action:
        if message.event == LEAVE:  # leaving twice is no error (phoenix 1.7.12)
            return Answer(message.topic, message.ref, message.join_ref, Reply("ok"))
        return unmatched(message)


def unmatched(message: Message) -> Answer:
    """Answer what no route or no joined channel takes; Phoenix sends no join_ref here."""
    return Answer(message.topic, message.ref, None, Reply("error", {"reason": "unmatched topic"}))
