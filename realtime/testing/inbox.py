"""Inbox: what has arrived and was not asked for yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from ..protocol.messages import REPLY
from .frames import parsed
from .patterns import mismatch


@dataclass(frozen=True, slots=True)
class Received:
    """One frame of the server. A reply's payload is {"status": …, "response": …}; `to` is the event it answers."""

    join_ref: str | None
    ref: str | None
    topic: str
    event: str
    payload: Any
    to: str = ""

    @classmethod
    def parse(cls, frame: str | bytes, sent: Mapping[str | None, str]) -> Received:
        join_ref, ref, topic, event, payload = parsed(frame)
        return cls(join_ref, ref, topic, event, payload, sent.get(ref, "") if event == REPLY else "")

    def __str__(self) -> str:
        if self.event == REPLY:
            return f"reply {self.payload['status']!r} to {self.to!r} {as_text(self.payload['response'])}"
        return f"push {self.event!r} {as_text(self.payload)}"


@dataclass(frozen=True, slots=True)
class Heard:
    """One broadcast on the bus."""

    topic: str
    event: str
    payload: Any

    def __str__(self) -> str:
        return f"broadcast {self.event!r} on {self.topic} {as_text(self.payload)}"


Item = TypeVar("Item", Received, Heard)


class Inbox(Generic[Item]):
    """What came, in order, until a test takes it out; as the mailbox of a process in Phoenix's tests."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._news = asyncio.Event()

    def put(self, item: Item) -> None:
        self.items.append(item)
        self.wake()

    def wake(self) -> None:
        """Let those who wait look again."""
        self._news.set()

    def find(self, fits: Callable[[Item], bool]) -> Item | None:
        return next(filter(fits, self.items), None)

    async def take(
        self, fits: Callable[[Item], bool], patience: float, *, is_over: Callable[[], bool] = lambda: False
    ) -> Item | None:
        """Take out the first item that fits, once there is one; None when patience, or all that can come, is over."""
        try:
            async with asyncio.timeout(patience):
                while (found := self.find(fits)) is None and not is_over():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return None
        if found is not None:
            self.items.remove(found)
        return found


def as_text(payload: Any) -> str:
    if isinstance(payload, bytes):
        return repr(payload) if len(payload) <= 50 else f"{payload[:50]!r}… ({len(payload)} bytes)"
    text = msgspec.json.encode(payload).decode()
    return text if len(text) <= 500 else f"{text[:500]}…"


def report(expected: str, came: list[Any], pattern: Any, event: str, but: str = "") -> str:
    """Return what a failed test says: what was expected, and all that came instead."""
    lines = [f"{expected}{but}. Instead there came:" if came else f"{expected}{but}. Nothing came instead."]
    for item in came:
        why = mismatch(pattern, item.payload) if item.event == event else None
        lines.append(f"    {item}" + (f"   <- {why}" if why else ""))
    return "\n".join(lines)


def like(pattern: Any) -> str:
    return "" if pattern is ... else f" like {pattern!r}"
