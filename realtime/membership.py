"""Membership: what the registry knows of this node, kept true: its lease, and the topics it is in."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from .engine.election import identity
from .engine.registry import Registry
from .engine.scripts import Call
from .engine.subscriptions import Bus
from .exceptions import EngineUnavailable
from .lanes import Lanes
from .tasks import end, spawn

logger = logging.getLogger("realtime.node")

T = TypeVar("T")
BEATS = 4  # in the time of a lease
AT_ONCE = 100  # topics that are told to the engine side by side
GATHER = 0.05  # seconds in which changes of the numbers of listeners are gathered
TRIES = 3  # of a join: each time the node was declared dead again
DOUBTS = 2  # heartbeats that compare names, after a command whose answer was lost: it may yet be carried out


class Membership:
    """The registry's view of one node. Use it on one loop.

    call    runs a Call on the engine; raises EngineUnavailable
    aside   the same, without waiting behind others; `call` where there is none
    bus     tells by a gap that the engine was away
    lease   seconds that the node may be silent before it is declared dead
    resync  tells every client of the node to join again

    Whatever is sent to the engine says what is true at that moment, in the topic's lane and with a number that grows:
    what arrives late or twice does no harm. Where an answer was lost, the next heartbeat compares.
    """

    def __init__(
        self,
        registry: Registry,
        call: Callable[[Call[Any]], Awaitable[Any]],
        *,
        aside: Callable[[Call[Any]], Awaitable[Any]] | None = None,
        bus: Bus,
        lease: float,
        resync: Callable[[], None],
    ) -> None:
        self.name = identity()
        self._registry = registry
        self._partitions = registry.keys.partitions()
        self._call = call
        self._aside = aside or call
        self._bus = bus
        self._lease = lease
        self._resync = resync
        self._wanted: list[dict[str, int]] = [{} for _ in self._partitions]  # topic -> listeners, by partition
        self._changed: set[str] = set()  # the engine does not know yet how many listen there
        self._lanes = Lanes()
        self._ops = itertools.count(1)
        self._is_known = False  # to the engine, by this name
        self._was_dead = False  # by the name before: the clients are to join again
        self._introducing = asyncio.Lock()
        self._beating: asyncio.Task[None] | None = None
        self._reporting: asyncio.Task[None] | None = None
        self._reconciling: asyncio.Task[None] | None = None
        self._was_overtaken = False
        self._wake = asyncio.Event()
        self._compare = 0  # at so many heartbeats, the topics by name: an answer was lost, or the engine was away

    # For the hub

    async def join(self, topic: str) -> None:
        """Return when the topic exists and this node is in it. Raises EngineUnavailable."""
        self._wanted_of(topic)[topic] = 1
        await self._settle(topic)

    async def leave(self, topic: str) -> None:
        """Take the node out. What the engine does not hear now it is told later."""
        self._wanted_of(topic).pop(topic, None)
        self._changed.discard(topic)
        try:
            await self._settle(topic)
        except EngineUnavailable:
            logger.debug("%r could not be left yet", topic)

    def changed(self, topic: str, listeners: int) -> None:
        """Take note of how many listen to a topic that the node is in; the engine is told soon."""
        wanted = self._wanted_of(topic)
        if topic in wanted:
            wanted[topic] = listeners
            self._changed.add(topic)
            if self._reporting is None and self._is_known:
                self._reporting = spawn(self._report())

    # For the node

    def was_declared_dead(self, name: str) -> None:
        """Take note that the engine refuses this name, and come back under another."""
        if self.name == name and self._is_known:
            self._wake.set()

    def gap(self) -> None:
        """The engine was away: compare what it knows."""
        self._doubt()
        self._wake.set()

    def message(self, data: bytes) -> None:
        """Ignore what anyone rings there; the channel is subscribed to for its gaps."""

    async def stop(self) -> None:
        """Leave the registry. Raises nothing: a node that cannot say goodbye is declared dead in time."""
        await end(self._beating, self._reporting, self._reconciling)
        if self._is_known:
            self._is_known = False
            try:
                await self._everywhere(self._registry.retire(place, self.name) for place in self._partitions)
            except EngineUnavailable as error:
                logger.debug("no goodbye to the engine: %s", error)

    # Topics

    async def _settle(self, topic: str) -> None:
        """Tell the engine whether this node is in the topic."""
        async with self._lanes.of(topic):
            if not self._is_known and topic not in self._wanted_of(topic):
                return  # by a new name the node is in nothing
            for _ in range(TRIES):
                try:
                    await self._introduce()
                    name = self.name
                    taken = await self._call(self._truth(topic))
                except BaseException:
                    self._doubt()
                    raise
                if taken:
                    return
                await self._rename(name)
            raise EngineUnavailable("the engine declares this node dead again and again")

    def _truth(self, topic: str) -> Call[bool]:
        """Return a call that says what is true now, and answers whether the engine has taken it."""
        listeners = self._wanted_of(topic).get(topic)
        op = next(self._ops)
        if listeners is None:
            return replace(self._registry.leave(topic, self.name, op), read=lambda _: True)
        return self._registry.join(topic, self.name, op, listeners)

    async def _settle_all(self, topics: Iterable[str]) -> None:
        names = list(topics)
        for start in range(0, len(names), AT_ONCE):
            await asyncio.gather(*map(self._settle, names[start : start + AT_ONCE]))

    async def _report(self) -> None:
        try:
            while self._changed:
                await asyncio.sleep(GATHER)
                topics, self._changed = self._changed, set()
                numbers = {topic: n for topic in topics if (n := self._wanted_of(topic).get(topic)) is not None}
                try:
                    for call in self._registry.report(self.name, next(self._ops), numbers):
                        await self._call(call)
                except EngineUnavailable:
                    self._changed |= numbers.keys()
                    return  # the next heartbeat begins anew
        finally:
            self._reporting = None

    # The lease

    async def _introduce(self) -> None:
        """Make this node known to the engine, once."""
        if self._is_known:
            return
        async with self._introducing:
            if self._is_known:
                return
            self.name = identity()  # one that may have been made known without our hearing of it is not used again
            await self._bus.subscribe(self._registry.keys.alarm, self)
            await self._everywhere(self._registry.beat(place, self.name, is_new=True) for place in self._partitions)
            self._is_known = True
            if self._beating is None:
                self._beating = spawn(self._beat())
            if self._was_dead:
                self._was_dead = False
                self._resync()
                self.gap()

    async def _rename(self, dead: str) -> None:
        """Take a new name after `dead` was declared dead, enter the topics anew, and let the clients join again."""
        if self.name != dead or not self._is_known:
            return  # somebody else has seen to it
        self._is_known = False
        self._was_dead = True  # until the new name is known; the engine may be away just now
        logger.warning("the engine knows this node no more (was it silent for long?): its clients join again")
        await self._introduce()

    async def _beat(self) -> None:
        failing = False
        while True:
            self._wake.clear()
            try:
                await self._beat_once()
                if failing:
                    logger.warning("the engine hears this node again")
                failing = False
            except EngineUnavailable as error:
                if not failing:
                    logger.warning("the engine does not hear this node: %s", error)
                failing = True
            except Exception:  # whatever it is, a node that is silent is declared dead
                logger.exception("a heartbeat failed")
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes together with the wake.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._lease / BEATS * random.uniform(0.8, 1.0)):
                    await self._wake.wait()

    async def _beat_once(self) -> None:
        await self._introduce()
        name = self.name
        held = await self._everywhere(self._registry.beat(place, name) for place in self._partitions)
        if -1 in held:
            await self._rename(name)
            return
        wrong = [n for n, count in enumerate(held) if self._compare or count != len(self._wanted[n])]
        if wrong and self._reconciling is not None:
            self._was_overtaken = True
        elif wrong:
            self._compare = max(0, self._compare - 1)
            self._reconciling = spawn(self._reconcile(wrong))
        if self._changed and self._reporting is None:
            self._reporting = spawn(self._report())

    async def _reconcile(self, partitions: list[int]) -> None:
        """Compare with the engine what this node is in. Beside the heartbeats, for it may take longer than a lease."""
        try:
            for number in partitions:
                await self._compare_names(number)
        except EngineUnavailable:
            self._doubt()
        finally:
            self._reconciling = None
            if self._was_overtaken:  # by a heartbeat that knew more
                self._was_overtaken = False
                self._wake.set()

    async def _compare_names(self, number: int) -> None:
        """Compare by name what the engine believes that this node holds, and put it right."""
        held: set[str] = set()
        cursor = -1
        while cursor:
            cursor, names = await self._call(self._registry.held(self._partitions[number], self.name, max(cursor, 0)))
            held.update(names)
        if wrong := held ^ self._wanted[number].keys():
            logger.debug("the engine is told anew of %d topics", len(wrong))
            await self._settle_all(wrong)

    def _doubt(self) -> None:
        self._compare = DOUBTS

    # private

    def _wanted_of(self, topic: str) -> dict[str, int]:
        return self._wanted[self._registry.keys.number(topic)]

    async def _everywhere(self, calls: Iterable[Call[T]]) -> list[T]:
        """Run one call in each partition."""
        return list(await asyncio.gather(*map(self._aside, calls)))
