"""Overheard: what comes into a channel's mailbox beside its client's messages."""

from __future__ import annotations

from typing import Protocol

import msgspec

from .hub import Sink
from .protocol.messages import Broadcast
from .protocol.serializers import Serializer


class Overheard(msgspec.Struct, frozen=True):
    """A broadcast."""

    broadcast: Broadcast

    @property
    def event(self) -> str:
        return self.broadcast.event


class Outgoing(Overheard, frozen=True):
    """One of the channel's own topic that goes through its hands: handle_out asks for it, or for one before it."""


class Info(Overheard, frozen=True):
    """One of another topic that the channel hears."""


class Listener(Protocol):
    """Whose ear it is."""

    serializer: Serializer
    sink: Sink

    def inform(self, item: Overheard) -> None:
        """Take it. Never waits."""

    def resync(self) -> None:
        """Have the client join again: something may have been missed."""


class Ear:
    """What hears another topic for a channel: a Subscriber of the hub."""

    __slots__ = ("_listener", "id", "intercepts", "serializer", "sink")

    def __init__(self, listener: Listener, name: str) -> None:
        self._listener = listener
        self.id = name
        self.serializer = listener.serializer
        self.sink = listener.sink
        self.intercepts = True

    def hear(self, broadcast: Broadcast) -> None:
        self._listener.inform(Info(broadcast))

    def resync(self) -> None:
        self._listener.resync()
