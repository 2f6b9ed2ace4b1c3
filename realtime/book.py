"""Book: what the engine has not been told of who is in a topic by this node."""

from __future__ import annotations

import asyncio

from .replica import future


class Entry:
    """One meta of one channel.

    meta   JSON object; None when it is to go
    node   the name under which the engine was told of it; "" if it was not
    fades  whether it may be taken over before it goes
    """

    __slots__ = ("channel", "fades", "key", "meta", "node")

    def __init__(self, channel: str, key: str, meta: bytes | None, node: str = "") -> None:
        self.channel = channel
        self.key = key
        self.meta = meta
        self.node = node
        self.fades = False

    def is_over(self, name: str) -> bool:
        """Return whether it is to go, or went with a name that the node had before."""
        return self.meta is None or self.node not in ("", name)


class Book:
    """What the engine has not been told of one topic.

    told   tells when it has heard of what has changed until now
    hurry  what a rest waits for, until its time is over; None before there was one
    """

    __slots__ = ("changed", "hurry", "is_busy", "told")

    def __init__(self) -> None:
        self.changed: dict[tuple[str, str], Entry] = {}
        self.is_busy = False
        self.told: asyncio.Future[int] = future()
        self.hurry: asyncio.Future[None] | None = None

    def hasten(self) -> None:
        if self.hurry is not None and not self.hurry.done():
            self.hurry.set_result(None)

    def put(self, entry: Entry) -> None:
        """Take note of an entry. Where the engine was to forget one in the same place, it knows that one as this."""
        name = entry.channel, entry.key
        if (before := self.changed.get(name)) is not None:
            entry.node = entry.node or before.node
        self.changed[name] = entry

    def take_fading(self) -> dict[tuple[str, str], Entry]:
        taken = {name: entry for name, entry in self.changed.items() if entry.fades}
        self.changed = {name: entry for name, entry in self.changed.items() if not entry.fades}
        return taken

    def take(self) -> tuple[dict[tuple[str, str], Entry], asyncio.Future[int]]:
        taken = self.changed, self.told
        self.changed, self.told = {}, future()
        return taken
