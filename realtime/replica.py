"""Replica: who is in one topic of this node, as it has loaded it and hears it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from .engine.scripts import Call
from .exceptions import EngineUnavailable, ProtocolError, ServerEnding
from .payloads import encode
from .protocol.messages import PRESENCE_DIFF, PRESENCE_STATE, Broadcast
from .protocol.roster import Diff, Metas, More, Roster, diff_number, entries_of

logger = logging.getLogger("realtime.presence")

SEEN = 1.0  # seconds that who tracks waits to be seen here; longer it takes if the bus breaks, or `fetch` is slow
FETCH = 5.0  # seconds that an author's `fetch` may take, for the topic's diffs wait meanwhile

# An author's hook: topic and entries -> entries with more beside "metas".
Fetch: TypeAlias = Callable[[str, dict[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Host:
    """What presence needs of the node.

    name           under which the engine knows the node now
    call           runs a call on the engine; raises EngineUnavailable
    ask            calls an author's function, sync or async
    deliver        dispatches to the node's listeners
    spawn          runs a coroutine in the background
    put_off        calls something at the end of this turn of the loop
    declared_dead  is told the name by which the engine holds the node for dead
    """

    name: Callable[[], str]
    call: Callable[[Call[Any]], Awaitable[Any]]
    ask: Callable[..., Awaitable[Any]]
    deliver: Callable[[Broadcast], None]
    spawn: Callable[[Coroutine[Any, Any, None]], Any]
    put_off: Callable[[Callable[[], None]], None]
    declared_dead: Callable[[str], None]


class Replica:
    """The topic's observer in the hub. Use it on one loop.

    load   reads the record; raises EngineUnavailable
    fetch  the author's hook, if there is one: then a diff waits until it has returned

    Diffs are numbered, and come in the order of the record: one that was loaded already changes nothing, and where one
    is missing all is loaded anew, for the listeners too. (While the engine is away it is not; then with the next diff.)
    """

    def __init__(self, topic: str, host: Host, load: Callable[[], Awaitable[Roster]], fetch: Fetch | None) -> None:
        self.topic = topic
        self.roster = Roster()
        self._host = host
        self._load = load
        self._fetch = fetch
        self._is_loaded = False
        self._is_owed = False  # the whole, to the listeners
        self._gaps = 0
        self._is_working = False
        self._loading: asyncio.Future[None] | None = None  # while somebody wants it loaded
        self._unread: deque[Broadcast] = deque()
        self._awaited: list[tuple[int, asyncio.Future[None]]] = []

    # For the hub

    def hear(self, broadcasts: list[Broadcast]) -> list[Broadcast]:
        diffs = [one for one in broadcasts if diff_number(one)]
        if not diffs:
            return broadcasts
        self._unread += diffs
        if self._fetch is None and self._is_loaded:
            self._take_all()
        else:
            self._work()
        return broadcasts if self._fetch is None else [one for one in broadcasts if not diff_number(one)]

    def gap(self) -> None:
        """Forget all of it. Clients are told to join again, and with the first of them it is loaded anew."""
        self._is_loaded = self._is_owed = False
        self._gaps += 1
        self._unread.clear()
        self._tell_awaited()

    # For those who are here

    async def loaded(self) -> None:
        """Return when it is known who is here. Raises EngineUnavailable."""
        while not self._is_loaded:
            self._work()
            assert self._loading is not None
            await asyncio.shield(self._loading)

    async def seen(self, number: int) -> None:
        """Return when the diff of that number is known, and on its way to the listeners. Raises EngineUnavailable."""
        await self.loaded()
        if self.roster.number < number:
            done = asyncio.get_running_loop().create_future()
            self._awaited.append((number, done))
            await asyncio.wait([done], timeout=SEEN)

    # private

    def _work(self) -> None:
        if not self._is_loaded and self._loading is None:
            self._loading = future()
        if not self._is_working:
            self._is_working = True
            self._host.spawn(self._work_off())

    async def _work_off(self) -> None:
        """Load if need be, then take what has come in meanwhile, one after the other."""
        try:
            while self._loading is not None or self._unread:
                if not self._is_loaded:
                    await self._load_once()
                elif self._fetch is None:
                    self._take_all()
                else:
                    await self._take_fetched(self._unread[0], self._fetch)
        except Exception as error:
            self._unread.clear()
            loading, self._loading = self._loading, None
            if loading is not None:
                loading.set_exception(error)
            if not isinstance(error, EngineUnavailable):
                raise
            if self._is_owed:
                logger.warning("who is in %r is not known: %s", self.topic, error)
        finally:
            self._is_working = False

    async def _load_once(self) -> None:
        gaps = self._gaps
        roster = await self._load()
        if gaps == self._gaps:
            self.roster, self._is_loaded = roster, True
            self._tell_awaited()
            if self._loading is not None:
                self._loading.set_result(None)
                self._loading = None
            if self._is_owed:
                self._host.put_off(self._make_good)

    async def _take_fetched(self, broadcast: Broadcast, fetch: Fetch) -> None:
        """Take the first diff with what `fetch` adds to it, and only then let the listeners have it."""
        diff = self._next(broadcast)
        if diff is not None:
            if diff_number(broadcast) <= self.roster.number:
                more = self.roster.more(diff.keys)
            else:
                metas = {key: {**diff.leaves.get(key, {}), **diff.joins.get(key, {})} for key in diff.keys}
                more = await fetched(self._host.ask, fetch, self.topic, metas)
            if not self._unread or self._unread[0] is not broadcast:
                return  # a gap came between
            self._apply(broadcast, diff, more)
            self._host.deliver(Broadcast(self.topic, PRESENCE_DIFF, diff.write(more), None, broadcast.mark))
        if self._unread:
            self._unread.popleft()

    def _take_all(self) -> None:
        while self._unread:  # which a missing one empties
            broadcast = self._unread.popleft()
            diff = self._next(broadcast)
            if diff is not None:
                self._apply(broadcast, diff)

    def _next(self, broadcast: Broadcast) -> Diff | None:
        """Return the diff, which follows what is known or is part of it; None if another is missing before it."""
        if diff_number(broadcast) > self.roster.number + 1:
            logger.warning("a presence diff of %r is missing: who is there is loaded anew", self.topic)
            self.gap()
            self._is_owed = True
            self._work()
            return None
        try:
            return Diff.read(broadcast.payload)
        except ProtocolError as error:
            logger.warning("dropped what was published to %r: %s", self.topic, error)
            return None

    def _apply(self, broadcast: Broadcast, diff: Diff, more: More | None = None) -> None:
        number = diff_number(broadcast)
        if number > self.roster.number:  # else it was there when all was loaded
            self.roster.apply(number, diff, more)
            self._tell_awaited()

    def _make_good(self) -> None:
        """Let the listeners have the whole: they missed what the node has missed."""
        while self._is_owed and self._is_loaded:
            number = self.roster.number
            self._is_owed = False
            self._host.deliver(Broadcast(self.topic, PRESENCE_STATE, self.roster.payload()))
            self._is_owed |= self.roster.number > number  # by diffs that came in, and went to them first

    def _tell_awaited(self) -> None:
        """Let those go on who wait for what is known now, or for what nobody will hear any more."""
        awaited, self._awaited = self._awaited, []
        for number, done in awaited:
            if self._is_loaded and self.roster.number < number:
                self._awaited.append((number, done))
            elif not done.done():
                done.set_result(None)


def future() -> asyncio.Future[Any]:
    """Return a future of the running loop that may fail without anybody asking."""
    made: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    made.add_done_callback(lambda done: done.cancelled() or done.exception())
    return made


async def fetched(
    ask: Callable[..., Awaitable[Any]], fetch: Fetch | None, topic: str, metas: Mapping[str, Metas]
) -> dict[str, bytes]:
    """Return what an author's hook adds to the entry of each key. What it fails to add is left out, and logged."""
    if fetch is None or not metas:
        return {}
    try:
        async with asyncio.timeout(FETCH):
            return more_of(await ask(fetch, topic, entries_of(metas)))
    except ServerEnding:
        return {}  # to clients that are about to be told as much
    except Exception:
        logger.exception("%s failed for %d keys of %r", getattr(fetch, "__qualname__", fetch), len(metas), topic)
        return {}


def more_of(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, bytes]:
    """Return what else than metas the entries hold, as it follows in a JSON object. Raises Unencodable."""
    found = {}
    for key, entry in entries.items():
        rest = {name: value for name, value in entry.items() if name != "metas"}
        found[key] = b"," + bytes(encode(rest))[1:-1] if rest else b""
    return found
