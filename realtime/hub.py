"""Hub: who on this node listens to what, and the fan-out to them."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from .echoes import Echoes, Sent
from .engine.subscriptions import Bus
from .exceptions import EngineUnavailable, ProtocolError
from .framing import Burst
from .lanes import Lanes
from .protocol.bus import unpack
from .protocol.messages import Broadcast
from .protocol.roster import diff_number
from .protocol.serializers import Serializer

logger = logging.getLogger("realtime.hub")

# For a join to be confirmed by the engine. A client that waits longer gives up by itself (phoenix.js: 10 s).
PATIENCE = 5.0


class Members(Protocol):
    """What the hub needs of the node's membership in topics."""

    async def join(self, topic: str) -> None: ...
    async def leave(self, topic: str) -> None: ...
    def changed(self, topic: str, listeners: int) -> None: ...


class Sink(Protocol):
    """Where a subscriber's frames go."""

    def put(self, burst: Burst) -> None:
        """Send `burst` in its turn. Never waits, and calls nobody back in this step."""


class Subscriber(Protocol):
    """One joined topic of one socket.

    intercepts  does it see each broadcast itself (`hear`), or do frames go to its sink
    """

    id: str
    serializer: Serializer
    sink: Sink
    intercepts: bool

    def hear(self, broadcast: Broadcast) -> None:
        """Take a broadcast. Never waits, and calls nobody back in this step."""

    def resync(self) -> None:
        """Tell the client to join again: it may have missed something."""


class Observer(Protocol):
    """Whoever is to know what is said on a topic before its listeners do."""

    def hear(self, broadcasts: list[Broadcast]) -> list[Broadcast]:
        """Return what is to be dispatched now, which is all of it, or what does not have to wait; see Hub.deliver."""

    def gap(self) -> None:
        """Take note that something may have been missed."""


class Hub:
    """A node enters a topic with its first listener and leaves it with its last.

    members     who tells the registry of that
    channel_of  topic -> the engine's channel that carries it
    spawn       runs a coroutine in the background, and waits for it before the node ends
    put_off     calls something at the end of this turn of the loop
    echoes      learns which broadcasts were dispatched here
    observers   topic -> who observes it, as it is at any moment
    """

    def __init__(
        self,
        bus: Bus,
        members: Members,
        channel_of: Callable[[str], str],
        spawn: Callable[[Coroutine[Any, Any, None]], Any],
        put_off: Callable[[Callable[[], None]], None],
        echoes: Echoes,
        observers: Mapping[str, Observer] | None = None,
    ) -> None:
        self._bus = bus
        self._members = members
        self._channel_of = channel_of
        self._spawn = spawn
        self._put_off = put_off
        self._echoes = echoes
        self._observers: Mapping[str, Observer] = {} if observers is None else observers
        self._topics: dict[str, _Topic] = {}
        self._lanes = Lanes()  # or a late leave would undo a join

    async def subscribe(self, topic: str, subscriber: Subscriber, *, spared: bool = False) -> None:
        """Return when every broadcast from now on will reach `subscriber`. Raises EngineUnavailable.

        spared  it gets no presence diffs until `inform`: it is to get the whole, which holds them
        """
        try:
            # All of it, for others may hold the lane with a join that goes the same way.
            async with asyncio.timeout(PATIENCE), self._lanes.of(topic):
                if found := self._topics.get(topic):
                    await self._bus.confirmed(self._channel_of(topic))  # it may have been lost
                    found.dispatch()  # what came before is not for it
                    found.add(subscriber, spared=spared)
                    self._members.changed(topic, len(found.subscribers))
                else:
                    await self._enter(topic, subscriber, spared=spared)
        except TimeoutError:
            raise EngineUnavailable("the engine does not answer") from None

    def unsubscribe(self, topic: str, subscriber: Subscriber) -> None:
        """Stop at once; the node leaves the topic in the background if this was its last listener."""
        found = self._topics.get(topic)
        if found is None or subscriber.id not in found.subscribers:
            return
        found.dispatch()
        found.discard(subscriber)
        if found.subscribers:
            self._members.changed(topic, len(found.subscribers))
        else:
            self._echoes.give_up(topic)
            self._spawn(self._leave(topic))

    def redirect(self, topic: str, subscriber: Subscriber) -> None:
        """Take note that a subscriber has another sink."""
        if (found := self._topics.get(topic)) and subscriber.id in found.subscribers:
            found.add(subscriber)

    def inform(self, topic: str, subscriber: Subscriber, number: int) -> None:
        """Let a subscriber get presence diffs after that number, for it has been told all until then."""
        if (found := self._topics.get(topic)) and subscriber.id in found.subscribers:
            found.spared[subscriber.id] = number

    def deliver(self, broadcast: Broadcast) -> None:
        """Dispatch what an observer has kept back, or says itself, after all that has come in."""
        if found := self._topics.get(broadcast.topic):
            found.dispatch()
            found.fan_out([broadcast])

    def resync(self) -> None:
        """Tell every client to join again."""
        for topic in list(self._topics.values()):
            topic.gap()

    def topics(self) -> list[str]:
        """Return what this node listens to."""
        return list(self._topics)

    def hears(self, topic: str) -> bool:
        """Return whether what is published to a topic from now on is dispatched to somebody here."""
        found = self._topics.get(topic)
        return found is not None and found.live and bool(found.subscribers)

    # private

    async def _enter(self, topic: str, subscriber: Subscriber, *, spared: bool) -> None:
        entered = self._topics[topic] = _Topic(topic, self._put_off, self._echoes, self._observers)
        entered.add(subscriber, spared=spared)
        subscribing = asyncio.ensure_future(self._bus.subscribe(self._channel_of(topic), entered))
        try:
            await self._members.join(topic)
            await subscribing
            entered.begin()
        except BaseException:
            subscribing.cancel()
            del self._topics[topic]
            self._spawn(self._leave(topic))
            await asyncio.gather(subscribing, return_exceptions=True)
            raise

    async def _leave(self, topic: str) -> None:
        async with self._lanes.of(topic):
            found = self._topics.get(topic)
            if found is None or not found.subscribers:  # else somebody came while we waited
                self._topics.pop(topic, None)
                await asyncio.gather(self._bus.unsubscribe(self._channel_of(topic)), self._members.leave(topic))


class _Topic:
    """The listeners of one topic on this node; what the bus calls when something comes in."""

    __slots__ = (
        *("_echoes", "_interceptors", "_observers", "_pending", "_put_off", "_sinks", "live", "name", "spared"),
        "subscribers",
    )

    def __init__(
        self,
        name: str,
        put_off: Callable[[Callable[[], None]], None],
        echoes: Echoes,
        observers: Mapping[str, Observer],
    ) -> None:
        self.name = name
        self.subscribers: dict[str, Subscriber] = {}
        # Theirs, by serializer. A broadcast touches these and no other object of a subscriber: what is not in the
        # processor's cache costs more than all that is done with it.
        self._sinks: dict[Serializer, dict[str, Sink]] = {}
        self._interceptors: dict[str, Subscriber] = {}  # those who see each broadcast themselves
        self.live = False
        self.spared: dict[str, float] = {}  # id of a subscriber -> up to which number presence diffs are no news to it
        self._pending: list[Broadcast] = []
        self._put_off = put_off
        self._echoes = echoes
        self._observers = observers

    def begin(self) -> None:
        """Take note that from now on all is heard. Whoever observed it while the node was not in it has missed some."""
        self.live = True
        if (observer := self._observers.get(self.name)) is not None:
            observer.gap()

    def add(self, subscriber: Subscriber, *, spared: bool = False) -> None:
        if spared:
            self.spared[subscriber.id] = math.inf
        self.subscribers[subscriber.id] = subscriber
        if subscriber.intercepts:
            self._interceptors[subscriber.id] = subscriber
        else:
            self._sinks.setdefault(subscriber.serializer, {})[subscriber.id] = subscriber.sink

    def discard(self, subscriber: Subscriber) -> None:
        del self.subscribers[subscriber.id]
        if subscriber.intercepts:
            del self._interceptors[subscriber.id]
        else:
            del self._sinks[subscriber.serializer][subscriber.id]
        self.spared.pop(subscriber.id, None)

    def message(self, data: bytes) -> None:
        """Take a broadcast; all that come in one turn of the loop are dispatched together, at its end."""
        try:
            broadcast = unpack(self.name, data)
        except ProtocolError as error:
            logger.warning("dropped what was published to %r: %s", self.name, error)
            return
        if not self._pending:
            self._put_off(self.dispatch)
        self._pending.append(broadcast)

    def dispatch(self) -> None:
        """Queue what came in on every subscriber but its sender, encoded once per serializer."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        if (observer := self._observers.get(self.name)) is not None:
            pending = observer.hear(pending)
        if pending:
            self.fan_out(pending)

    def fan_out(self, pending: list[Broadcast]) -> None:
        sent = [self._echoes.take(self.name, one.mark) if one.mark else None for one in pending]
        apart = {one.sender for one in pending} | {one.by.id for one in sent if one and one.by}
        newest = max(map(diff_number, pending)) if self.spared else 0
        if newest:
            apart |= self.spared.keys()
        speakers = [self.subscribers[name] for name in apart if name in self.subscribers]
        for serializer, sinks in self._sinks.items():
            if not sinks:
                continue
            with self._or_resync(sinks):
                burst = Burst(*map(serializer.fastlane, pending))
                for sink in _all_but(speakers, sinks):
                    sink.put(burst)
        for interceptor in list(self._interceptors.values()):
            if interceptor not in speakers:
                with self._or_resync([interceptor.id]):
                    for broadcast in pending:
                        interceptor.hear(broadcast)
        for speaker in speakers:
            with self._or_resync([speaker.id]):
                _dispatch_one_by_one(speaker, pending, sent, self.spared.get(speaker.id, 0))
        if newest:
            self.spared = {name: told for name, told in self.spared.items() if told >= newest}
        for one in filter(None, sent):
            one.settle()

    @contextmanager
    def _or_resync(self, names: Iterable[str]) -> Iterator[None]:
        """Let subscribers join again where a serializer of the project's own fails; others hear all the same."""
        try:
            yield
        except Exception:
            logger.exception("a serializer cannot write what came to %r", self.name)
            for name in list(names):
                self.subscribers[name].resync()

    def gap(self) -> None:
        self.dispatch()
        if (observer := self._observers.get(self.name)) is not None:
            observer.gap()
        self._echoes.give_up(self.name)
        for subscriber in list(self.subscribers.values()):
            subscriber.resync()


def _all_but(some: list[Subscriber], sinks: dict[str, Sink]) -> Iterable[Sink]:
    if len(some) == 1:
        its = some[0].sink
        return [sink for sink in sinks.values() if sink is not its]
    names = {subscriber.id for subscriber in some}
    return [sink for name, sink in sinks.items() if name not in names] if names else list(sinks.values())


def _dispatch_one_by_one(
    subscriber: Subscriber, pending: list[Broadcast], sent: list[Sent | None], told: float
) -> None:
    """Queue what came in on one who has said some of it, or is spared diffs: without what it is not to hear, and with
    what it says next, its replies and the like, right behind what they follow.
    """
    for broadcast, one in zip(pending, sent, strict=True):
        if broadcast.sender != subscriber.id and not 0 < diff_number(broadcast) <= told:
            if subscriber.intercepts:
                subscriber.hear(broadcast)
            else:
                subscriber.sink.put(Burst(subscriber.serializer.fastlane(broadcast)))
        if one is not None and one.by is subscriber:
            one.settle()
