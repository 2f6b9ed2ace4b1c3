"""Warden: whose the sockets of this node are, and what every node is told to do with some of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

import msgspec

from .engine import orders
from .engine.keys import Keys
from .engine.orders import Id
from .engine.scripts import Call
from .engine.subscriptions import Bus
from .exceptions import EngineUnavailable
from .tasks import Tasks

logger = logging.getLogger("realtime.node")

AGAIN = 1.0  # seconds until an engine that is away is asked again
SKEW = 5.0  # seconds that the clocks of two machines may differ
RECENT = 1000  # commands that are kept for sockets whose handshake is under way


class Disconnect(msgspec.Struct, frozen=True, tag=True):
    """Close every socket of this id."""

    id: str


class Kick(msgspec.Struct, frozen=True, tag=True):
    """End a topic for the sockets of an id, or for those of the user with this primary key."""

    topic: str
    reason: str
    id: str | None = None
    user: str | None = None


class Recheck(msgspec.Struct, frozen=True, tag=True):
    """Look whether sockets may stay: a user's, or those of a session; all where both are None.

    user     primary key as text
    session  hashed
    """

    user: str | None = None
    session: str | None = None


Command: TypeAlias = Disconnect | Kick | Recheck

_decode = msgspec.json.Decoder(Command).decode


def tell(keys: Keys, command: Command) -> Call[Id]:
    """What tells every node."""
    return orders.tell(keys, msgspec.json.encode(command))


class Member(Protocol):
    """A socket, as far as the warden is concerned.

    id        what its Socket's `id` returned
    user_key  the primary key of its user, as text; None for nobody
    began     the loop's time when its handshake began
    """

    id: str | None
    began: float

    @property
    def user_key(self) -> str | None: ...

    def dismiss(self) -> None:
        """Close it; no handler runs from now on."""

    def expel(self, topic: str, reason: str) -> None:
        """End one of its topics, if it has joined that."""


class Warden:
    """Use it on one loop.

    call     runs a Call on the engine; raises EngineUnavailable
    recheck  looks whether the sockets of a user or a session may stay

    A command is written down before it is told. So what was told while the bus was broken is read when it is back, and
    a socket whose handshake was under way meanwhile is looked at once it is in.
    """

    def __init__(
        self,
        keys: Keys,
        call: Callable[[Call[Any]], Awaitable[Any]],
        bus: Bus,
        recheck: Callable[[str | None, str | None], None],
    ) -> None:
        self._keys = keys
        self._call = call
        self._bus = bus
        self._recheck = recheck
        self._members: set[Member] = set()
        self._by_id: dict[str, set[Member]] = {}
        self._recent: deque[tuple[float, Command]] = deque(maxlen=RECENT)
        self._rechecked = 0.0  # when somebody was looked at again
        self._known: Id = (0, 0)  # the last command that was carried out
        self._wanted: list[float | None] = []  # reads that were asked for
        self._is_reading = False
        self._tasks = Tasks()
        self._listens = False

    def add(self, member: Member) -> None:
        """Take a socket in, and do with it what was told since its handshake began."""
        if member.id is None and member.user_key is None:
            return  # nothing can be told of it
        self._members.add(member)
        if member.id is not None:
            self._by_id.setdefault(member.id, set()).add(member)
        self.listen()
        if self._rechecked >= member.began:
            self._recheck(member.user_key, None)
        for heard, command in list(self._recent):
            if heard >= member.began:
                self._carry_out(command, self._meant(command) & {member})

    def listen(self) -> None:
        """Hear what every node is told from now on; once is enough. A server does before it has any socket."""
        if not self._listens:
            self._listens = True
            self._tasks.spawn(self._begin())

    def discard(self, member: Member) -> None:
        self._members.discard(member)
        if found := self._by_id.get(member.id or ""):
            found.discard(member)
            if not found:
                del self._by_id[member.id or ""]

    async def aclose(self) -> None:
        await self._tasks.aclose()

    # For the bus

    def message(self, data: bytes) -> None:
        """Hear the bell; what was told is read where it is written down, for anyone at the engine can ring."""
        self._read(None)

    def gap(self) -> None:
        self._read(SKEW)

    # private

    def _meant(self, command: Command) -> set[Member]:
        if isinstance(command, Recheck):
            return set()
        if isinstance(command, Kick) and command.user is not None:
            return {member for member in self._members if member.user_key == command.user}
        return self._by_id.get(command.id or "", set())

    async def _begin(self) -> None:
        while True:
            try:
                self._known = await self._call(orders.last(self._keys))
                await self._bus.subscribe(self._keys.commanded, self)
            except EngineUnavailable:
                await asyncio.sleep(AGAIN)
            else:
                self._read(None)
                return

    def _read(self, slack: float | None) -> None:
        """Carry out what is written down and was not yet.

        slack  leave out sockets that began so many seconds after it was told, by the clocks; None for all, which were
               there when the bell rang
        """
        self._wanted.append(slack)
        if not self._is_reading:
            self._is_reading = True
            self._tasks.spawn(self._catch_up())

    async def _catch_up(self) -> None:
        try:
            while self._wanted:
                await self._read_on()
        finally:
            self._is_reading = False  # whatever happens, the next bell is heard

    async def _read_on(self) -> None:
        wanted, self._wanted = self._wanted, []  # what is asked for from now on needs another read
        try:
            found = await self._call(orders.since(self._keys, self._known))
        except EngineUnavailable:
            self._wanted += wanted
            await asyncio.sleep(AGAIN)
            return
        slack = None if None in wanted else SKEW
        for number, command in found:
            self._obey(number, command, slack)

    def _obey(self, number: Id, data: bytes, slack: float | None) -> None:
        self._known = number
        try:
            command = _decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:  # of a newer version, say
            logger.warning("this node cannot do what all were told to: %s", error)
            return
        loop = asyncio.get_running_loop()
        if isinstance(command, Recheck):
            self._rechecked = loop.time()
        else:
            self._recent.append((loop.time(), command))
        told = loop.time() - (time.time() - number[0] / 1000)  # by this loop's clock
        meant = self._meant(command)
        self._carry_out(command, {one for one in meant if slack is None or one.began <= told + slack})

    def _carry_out(self, command: Command, members: set[Member]) -> None:
        if isinstance(command, Recheck):
            self._recheck(command.user, command.session)
        for member in members:
            if isinstance(command, Kick):
                member.expel(command.topic, command.reason)
            else:
                member.dismiss()
