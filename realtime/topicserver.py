"""TopicServer: competes for the lead of the cluster, and while it leads collects topics and ends ghosts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from .announcements import Collected, Demoted, Event, Evicts, Leaderless, Leading, Released, Removed, Standby, Waiting
from .engine import election
from .engine.election import Leader, identity
from .engine.keys import Partition
from .engine.registry import Batch, Registry, eviction_policy
from .engine.scripts import Call
from .engine.subscriptions import Bus
from .exceptions import EngineUnavailable
from .silence import Silence

logger = logging.getLogger("realtime.topicserver")

RENEWALS = 3  # in the time of a lease; a leader that could not renew does nothing
RETRY = 0.2  # of a lease between two attempts of who stands by
LOOK = 0.1  # of a node's lease between two looks at the nodes
IDLE = 1.0  # seconds between two looks for topics whose time has come
# Seconds of rest for each second of work: collecting takes a tenth of the engine's time at most, and burying the dead,
# which is to be over within two leases, a quarter.
COLLECTING = 9
BURYING = 3
LEAST_REST = 0.02
GOODBYE = 2.0  # seconds that an end takes at most for the engine to hear of it: leases end by themselves


class _Overruled(Exception):
    """Another leads, or a newer leader has acted."""

    def __init__(self, term: int) -> None:
        super().__init__(term)
        self.term = term


class TopicServer:
    """Use it on one loop. `run` until `stop`.

    call        runs a Call on the engine; raises EngineUnavailable
    bus         tells when the leader has stepped down, and by a gap that the engine was away
    lease       seconds of the leader's lease
    node_lease  seconds that a node may be silent
    batch       topics, or members of dead nodes, in one script
    tell        is told every Event
    competes    False: only watch whether there is a leader
    gather      seconds in which what was collected is told in one announcement
    """

    def __init__(
        self,
        registry: Registry,
        call: Callable[[Call[Any]], Awaitable[Any]],
        *,
        bus: Bus,
        lease: float = 10.0,
        node_lease: float = 20.0,
        batch: int = 300,
        tell: Callable[[Event], None],
        competes: bool = True,
        gather: float = 1.0,
    ) -> None:
        self.holder = identity()
        self._registry = registry
        self._partitions = registry.keys.partitions()
        self._call = call
        self._bus = bus
        self._lease = lease
        self._node_lease = node_lease
        self._batch = batch
        self._tell = tell
        self._competes = competes
        self._gather = gather
        self._silence: Silence[tuple[Partition, str]] = Silence(node_lease, 2 * LOOK * node_lease)
        self._wake = asyncio.Event()
        self._stopping = False
        self._hears = False  # the bus
        self._leading: Leader | None = None
        self._renew_at = 0.0
        self._heard = 0  # the highest term that has overruled us
        self._last_leader = time.monotonic()  # when somebody led, as far as is known here
        self._said: tuple[object, ...] = ()
        self._collected: list[str] = []  # and not yet told
        self._tell_at = 0.0
        self._owed = 0.0  # seconds of rest

    # Listening to the bus

    def message(self, data: bytes) -> None:
        """The leader has stepped down."""
        self._wake.set()

    def gap(self) -> None:
        """The engine was away: nobody could give a sign of life."""
        self._silence.forget()
        self._wake.set()

    # Life

    async def run(self) -> None:
        """Compete, and lead when elected, until `stop`; then hand over. What cannot be reached is waited for."""
        try:
            while not self._stopping:
                try:
                    await self._attend()
                except EngineUnavailable as error:
                    self._silence.forget()
                    self._last_leader = time.monotonic()  # there may be one; nobody can know
                    self._say(Waiting(reason=str(error)), type(error))
                    await self._rest(self._lease * RETRY)
                except Exception:  # whatever it is, topics must not pile up for it
                    logger.exception("the topic server broke")
                    await self._rest(self._lease * RETRY)
        finally:
            await self._hand_over()

    def stop(self) -> None:
        """Let `run` return soon."""
        self._stopping = True
        self._wake.set()

    async def run_once(self) -> bool:
        """Collect what is due now, and go on with nodes that are known to be dead; return whether the lead was free.

        Raises EngineUnavailable.
        """
        try:
            leader = await self._campaign()
            if self._leading is None:
                self._say_standby(leader)
                return False
            self._say(Leading(term=leader.term, holder=self.holder), leader.term)
            await self._govern()
            while not self._stopping and (await self._sweep() or await self._bury(await self._dead())):
                pass
            return True
        except _Overruled as newer:
            await self._demote(newer)
            return False
        finally:
            await self._hand_over()

    async def _attend(self) -> None:
        """Take one turn at competing; return when it was lost or the lead is over."""
        if not self._hears:
            await self._bus.subscribe(self._registry.keys.released, self)
            self._hears = True
            await self._look_at_policy()
        if not self._competes:
            await self._watch()
            return
        try:
            leader = await self._campaign()
            if self._leading is not None:
                await self._lead()
                return
        except _Overruled as newer:
            await self._demote(newer)
            return
        self._say_standby(leader)
        await self._rest(self._lease * RETRY)

    async def _watch(self) -> None:
        leader = await self._call(election.leader(self._registry.keys))
        now = time.monotonic()
        alone = now - self._last_leader
        if leader is not None:
            self._last_leader = now
        elif alone > 2 * self._lease:
            self._last_leader = now  # so that it is told again only after as long
            self._tell(Leaderless(seconds=alone))
        await self._rest(self._lease / 2)

    async def _campaign(self) -> Leader:
        """Take or renew the lease, and return who leads. Raises _Overruled when it was ours and is another's now."""
        asked = time.monotonic()  # before the question: the lease begins no earlier
        leader: Leader = await self._call(election.acquire(self._registry.keys, self.holder, self._lease, self._heard))
        if leader.holder == self.holder:
            self._leading = leader
            self._renew_at = asked + self._lease / RENEWALS * random.uniform(0.8, 1.0)
        elif self._leading is not None:
            raise _Overruled(leader.term)
        return leader

    async def _demote(self, newer: _Overruled) -> None:
        self._leading = None
        self._heard = max(self._heard, newer.term)
        self._say(Demoted(term=newer.term), newer.term)
        # If the lease is still ours (only lost data can make that so), its term is worth nothing: we need a new one.
        await self._call(election.release(self._registry.keys, self.holder))

    async def _hand_over(self) -> None:
        self._tell_collected()
        leading, self._leading = self._leading, None
        if leading is not None:
            with contextlib.suppress(EngineUnavailable, TimeoutError):  # then the lease ends by itself
                async with asyncio.timeout(GOODBYE):
                    await self._call(election.release(self._registry.keys, self.holder))
                self._tell(Released(term=leading.term))

    # Leading

    async def _lead(self) -> None:
        """Collect topics and end ghosts, as long as the lease is ours. Raises _Overruled."""
        assert self._leading is not None
        term = self._leading.term
        self._say(Leading(term=term, holder=self.holder), term)
        self._silence.forget()
        await self._govern()
        look_at = 0.0
        dead: list[_Grave] = []
        try:
            while not self._stopping and self._leading.term == term:  # else the lease was lost, and granted anew
                if time.monotonic() >= look_at:
                    dead = await self._dead()
                    look_at = time.monotonic() + self._node_lease * LOOK
                more = await self._sweep()
                more = await self._bury(dead) or more
                if not more:
                    await self._rest(min(IDLE, self._lease / RENEWALS / 2, self._node_lease * LOOK))
        finally:
            self._tell_collected()

    async def _govern(self) -> None:
        """Let every partition know who leads, and for how long a topic stays empty."""
        for partition in self._partitions:
            newer = await self._call(self._registry.govern(partition, *self._credentials))
            if newer:
                raise _Overruled(_term(newer))

    async def _sweep(self) -> bool:
        """Collect a batch in each partition; return whether there may be more."""
        more = False
        for partition in self._partitions:
            batch = await self._act(COLLECTING, self._registry.collect, partition, self._batch)
            if batch.topics and not self._collected:
                self._tell_at = time.monotonic() + self._gather
            self._collected += batch.topics
            more = more or len(batch.topics) >= self._batch
        if time.monotonic() >= self._tell_at:
            self._tell_collected()
        return more

    async def _dead(self) -> list[_Grave]:
        """Look at the nodes, and return the dead with their last sign of life."""
        seen: dict[tuple[Partition, str], int] = {}
        for partition in self._partitions:
            for node in await self._call(self._registry.nodes(partition)):
                seen[partition, node.name] = node.seen
        dead = self._silence.look(seen.items(), time.monotonic())
        return [_Grave(partition, node, seen[partition, node]) for partition, node in dead]

    async def _bury(self, dead: list[_Grave]) -> bool:
        """Take a batch of its topics from each of the dead, and drop from the list who holds no more. More to do?"""
        for grave in list(dead):
            batch = await self._act(BURYING, self._registry.reap, *grave, self._batch)
            if batch.topics:
                self._tell(Removed(node=grave.node, topics=list(batch.topics), is_over=batch.is_over))
            if batch.is_over or batch.is_alive or batch.is_waiting:  # for the next look
                dead.remove(grave)
        return bool(dead)

    async def _act(self, share: int, make: Callable[..., Call[Batch]], place: Partition, *about: Any) -> Batch:
        """Run a script as the leader, and rest for `share` times as long, soon. Raises _Overruled."""
        if time.monotonic() >= self._renew_at:
            await self._campaign()
        began = time.monotonic()
        batch: Batch = await self._call(make(place, *self._credentials, *about))
        if batch.newer:
            raise _Overruled(_term(batch.newer))
        self._owed += share * (time.monotonic() - began)
        if self._owed >= LEAST_REST:
            owed, self._owed = self._owed, 0.0
            await self._rest(owed)
        return batch

    # private

    @property
    def _credentials(self) -> tuple[int, str]:
        assert self._leading is not None
        return self._leading.term, self.holder

    async def _look_at_policy(self) -> None:
        with contextlib.suppress(EngineUnavailable):  # an ACL may forbid to ask
            policy = await self._call(eviction_policy())
            if policy.startswith("allkeys"):
                self._tell(Evicts(policy=policy))

    async def _rest(self, seconds: float) -> None:
        """Sleep; a stop, a leader that steps down and a gap on the bus end it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds * random.uniform(1.0, 1.1)):
                await self._wake.wait()
        if not self._stopping:
            self._wake.clear()

    def _say_standby(self, leader: Leader) -> None:
        self._say(Standby(term=leader.term, holder=leader.holder, since=leader.since), leader.term, leader.holder)

    def _tell_collected(self) -> None:
        topics, self._collected = self._collected, []
        if topics:
            self._tell(Collected(topics=topics))

    def _say(self, event: Event, *facts: object) -> None:
        """Tell an event unless it says what was said last."""
        if self._said != (type(event), *facts):
            self._said = (type(event), *facts)
            self._tell(event)


class _Grave(NamedTuple):
    """A node that is dead in one partition. seen  its last sign of life"""

    partition: Partition
    node: str
    seen: int


def _term(newer: str) -> int:
    return int(newer.partition("|")[0])
