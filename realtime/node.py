"""Node: one server process's share of the cluster, with its hub, its engine and its workers."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from django.conf import settings as django_settings

from . import conf
from .announcements import log_event
from .attendance import Attendance
from .echoes import Echoes, Sent
from .engine.client import Engine, explained
from .engine.layer import RedisChannelLayer
from .engine.presences import Presences
from .engine.registry import Registry
from .engine.scripts import Call
from .exceptions import EngineUnavailable
from .gathering import Gathering
from .guard import Guard
from .hub import Hub, Subscriber
from .membership import Membership
from .polls import Polls
from .protocol.bus import pack
from .protocol.messages import Broadcast
from .replica import Host
from .tasks import end, spawn
from .topicserver import GOODBYE, TopicServer
from .turn import Turn
from .warden import Warden
from .wheel import Wheel
from .workers import Workers

T = TypeVar("T")
logger = logging.getLogger("realtime.node")

# How long a broadcast waits to be seen back on its own node. It takes longer only when the bus breaks in between.
ECHO = 1.0
# What topics were collected is logged once in so many seconds.
GATHER = 10.0


class Node:
    """What the sockets of one process share. Use it on one loop; nothing is opened before it is needed."""

    def __init__(self, settings: conf.Settings, engine: Engine, registry: Registry) -> None:
        self.id = secrets.token_hex(6)
        self.debug = bool(django_settings.DEBUG)  # clients are shown the text of exceptions
        self.settings = settings
        self.registry = registry
        self.keys = registry.keys
        self.layer = RedisChannelLayer(engine=engine, prefix=self.keys.layer)
        self.employ(Workers(settings.THREADS))
        self.membership = Membership(
            registry,
            self.call,
            aside=self.call_aside,
            bus=self.layer,
            lease=settings.NODE_LEASE,
            resync=self._resync,
        )
        self.turn = Turn()
        self.echoes = Echoes(ECHO)
        self.attendance = Attendance(self._host(), Presences(self.keys), settings.PRESENCE_GRACE)
        self.hub = Hub(
            self.layer,
            self.membership,
            self.keys.bus,
            self.spawn,
            self.turn.put_off,
            self.echoes,
            self.attendance.replicas,
        )
        self.wheel = Wheel()
        self.guard = Guard(settings.RECHECK)
        self.warden = Warden(self.keys, self.call, self.layer, self.guard.ask)
        self.polls = Polls(
            self.id,
            self.layer,
            self.keys.node,
            self.spawn,
            self.turn.put_off,
            self.wheel,
            window=settings.POLL_WINDOW,
            most=settings.POLL_SESSIONS,
            counts=self.keys.count == 1,
        )
        self._topicserver: TopicServer | None = None
        self._election: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    @staticmethod
    def current() -> Node:
        """Return the node of the running loop, and make it if need be. Raises Misconfigured."""
        loop = asyncio.get_running_loop()
        node = _nodes.get(loop)
        if node is None:
            node = _nodes[loop] = Node(conf.settings(), conf.engine(), conf.registry())
        return node

    @staticmethod
    def running() -> Node | None:
        """Return the node of the running loop if it has one."""
        return _nodes.get(asyncio.get_running_loop())

    def employ(self, workers: Workers) -> None:
        """Let these do what blocks."""
        self.workers = workers
        self.gathering = Gathering(workers, self.settings.THREADS)

    def stand(self) -> None:
        """Stand for election as the topic server, or watch that somebody leads. Once is enough."""
        if self._topicserver is not None:
            return
        self.warden.listen()
        settings = self.settings
        self._topicserver = TopicServer(
            self.registry,
            self.call_aside,
            bus=self.layer,
            lease=settings.LEASE,
            node_lease=settings.NODE_LEASE,
            batch=settings.COLLECT_BATCH,
            tell=log_event,
            competes=settings.TOPIC_SERVER,
            gather=GATHER,
        )
        self._election = spawn(self._topicserver.run())

    async def call(self, call: Call[T]) -> T:
        """Run a call on the engine. Raises EngineUnavailable."""
        return await self.layer.call(call)

    async def call_aside(self, call: Call[T]) -> T:
        """The same for what must not wait behind a crowd of joins: the leases."""
        return await self.layer.call(call, aside=True)

    def new_id(self) -> str:
        """Return an id that no other channel of the cluster has."""
        return f"{self.id}.{next(self._numbers)}"

    def send(self, broadcast: Broadcast, by: Subscriber | None = None) -> Sent:
        """Send `broadcast` to every node, in the order of these calls. By that subscriber, where it is one.

        It is through when it is queued for the listeners on this node, so that an author's reply follows the broadcasts
        made before it, as in Phoenix; its error is EngineUnavailable.
        """
        topic, sent = broadcast.topic, Sent(by)
        mark = self.new_id() if self.hub.hears(topic) else None
        if mark is not None:
            self.echoes.expect(topic, mark, sent)
        taken = self.layer.put(self.keys.bus(topic), pack(broadcast, mark))
        taken.add_done_callback(functools.partial(_note, sent, mark is None))
        return sent

    async def publish(self, broadcast: Broadcast) -> None:
        """`send`, and wait for it. Raises EngineUnavailable."""
        await self.send(broadcast)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` in the background; `stop` waits for it."""
        task = spawn(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def drain(self) -> None:
        """Tell every client to come back elsewhere, then stop."""
        await asyncio.gather(*(socket.drain() for socket in self.wheel.members()))
        await self.stop()

    async def idle(self) -> None:
        """Return when nothing runs in the background any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self) -> None:
        """Finish what runs in the background, then close what is open."""
        _nodes.pop(asyncio.get_running_loop(), None)
        await self.polls.stop()
        await self.idle()
        self.attendance.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GOODBYE):
                await self._say_goodbye()
        await end(self._election)
        await self.warden.aclose()
        await self.guard.aclose()
        self.echoes.close()
        await self.layer.aclose()
        self.workers.close()

    # private

    def _host(self) -> Host:
        return Host(
            name=lambda: self.membership.name,
            call=self.call,
            ask=self._ask,
            deliver=self._deliver,
            spawn=self.spawn,
            put_off=self.turn.put_off,
            declared_dead=self.membership.was_declared_dead,
        )

    async def _ask(self, function: Callable[..., Any], *args: Any) -> Any:
        return await self.workers.call(function, *args)  # those of the moment; see employ

    def _deliver(self, broadcast: Broadcast) -> None:
        self.hub.deliver(broadcast)  # which is not there yet when presence is made

    async def _say_goodbye(self) -> None:
        if self._topicserver is not None and self._election is not None:
            self._topicserver.stop()
            await asyncio.wait([self._election])
        await self.membership.stop()

    def _resync(self) -> None:
        self.hub.resync()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("background work failed", exc_info=error)


def _note(sent: Sent, is_all: bool, taken: asyncio.Future[int]) -> None:
    """Take note that the engine has refused a broadcast, or has taken it, if that `is_all` there is to wait for."""
    if taken.cancelled():
        sent.settle(EngineUnavailable("the engine was closed"))
    elif error := taken.exception():
        sent.settle(explained(error))
    elif is_all:
        sent.settle()


_nodes: WeakKeyDictionary[asyncio.AbstractEventLoop, Node] = WeakKeyDictionary()
