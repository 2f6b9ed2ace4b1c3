"""Lanes: what concerns one topic happens one after the other; different topics do not wait for each other."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary


class Lanes:
    """One lock for each topic that somebody is busy with. A lane lives as long as somebody is in it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def of(self, topic: str) -> asyncio.Lock:
        lock = self._locks.get(topic)
        if lock is None:
            lock = self._locks[topic] = asyncio.Lock()
        return lock
