"""Attendance: what the channels of this node have tracked, as the engine is told of it."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from .book import Book, Entry
from .engine.presences import BATCH, DEAD, UNKNOWN, Loaded, Presences, Tracked, Untracked
from .exceptions import EngineUnavailable, NotJoined, NotTracked
from .protocol.roster import Roster
from .replica import Fetch, Host, Replica, fetched, future

RETRY = 1.0  # seconds after which the engine is told what it did not hear
DOUBTS = 2  # comparisons with the engine after a command whose answer was lost: it may yet be carried out
TOGETHER = 0.05  # seconds in which fading ends for many at once

# After each diff a topic rests, so long for each who is there: to send it to one takes a third of that. While many come
# and go, diffs so take a third of a core, whatever the size of the crowd, and what they hold grows instead.
REST = 20e-6
LEAST_REST, MOST_REST = 0.001, 1.0  # seconds; less than a clock can tell is none


class Attendance:
    """Use it on one loop.

    grace     seconds that an entry outlives its socket; whoever tracks its key meanwhile takes over from it
    replicas  topic -> who is there, of the topics in which a channel with presence is

    What the engine is told of a topic goes one command after the other, each with whatever has changed by then. It says
    what is true at that moment, and is numbered, so neither what is told twice nor what arrives late does harm. A
    crowd that comes together is one diff.
    """

    def __init__(self, host: Host, presences: Presences, grace: float) -> None:
        self._host = host
        self._presences = presences
        self._grace = grace
        self.replicas: dict[str, Replica] = {}
        self._guests: dict[str, set[Guest]] = {}
        self._books: dict[str, Book] = {}
        self._ops = itertools.count(1)
        self._fading: deque[tuple[float, str, Entry]] = deque()
        self._fade_timer: asyncio.TimerHandle | None = None
        self._retry_timer: asyncio.TimerHandle | None = None
        self._doubts: dict[str, int] = {}  # topic -> comparisons to come

    async def read(self, topic: str, fetch: Fetch | None) -> Roster:
        """Return who is in a topic, whether or not this node hears it. Raises EngineUnavailable."""
        if (replica := self.replicas.get(topic)) is not None:
            await replica.loaded()
            return replica.roster
        return await self._load(topic, fetch)

    def close(self) -> None:
        """Do nothing more. What fades is left to the leader."""
        for timer in (self._fade_timer, self._retry_timer):
            if timer is not None:
                timer.cancel()

    # For guests

    def admit(self, guest: Guest) -> Replica:
        topic = guest.topic
        self._guests.setdefault(topic, set()).add(guest)
        replica = self.replicas.get(topic)
        if replica is None:
            replica = Replica(topic, self._host, lambda: self._load(topic, guest.fetch), guest.fetch)
            self.replicas[topic] = replica
        return replica

    def dismiss(self, guest: Guest) -> None:
        guests = self._guests[guest.topic]
        guests.discard(guest)
        if not guests:
            del self._guests[guest.topic]
            self.replicas.pop(guest.topic).gap()  # it hears nothing any more

    def tell(self, topic: str, entry: Entry) -> asyncio.Future[int]:
        """Tell the engine of an entry soon. The number of the diff that shows it, or EngineUnavailable."""
        book = self._books.get(topic)
        if book is None:
            book = self._books[topic] = Book()
        book.put(entry)
        self._begin(topic, book)
        return book.told

    def was_lost(self, entry: Entry) -> bool:
        """Return whether the engine was told of it by a name that the node has no more."""
        return entry.is_over(self._host.name())

    def let_fade(self, topic: str, entries: Sequence[Entry]) -> None:
        """End entries after the time of grace, or at once where there is none."""
        loop = asyncio.get_running_loop()
        for entry in entries:
            entry.fades = self._grace > 0
            self.tell(topic, entry)
            if entry.fades:
                self._books[topic].hasten()
                self._fading.append((loop.time() + self._grace, topic, entry))
        if self._fading and self._fade_timer is None:
            self._fade_timer = loop.call_at(self._fading[0][0], self._fade)

    def end_fading(self, topic: str, entries: Iterable[Entry]) -> None:
        """End now what still fades; where somebody has taken over, the engine knows better."""
        for entry in entries:
            if entry.fades:
                entry.fades = False
                self.tell(topic, entry)

    # What the engine is told

    def _begin(self, topic: str, book: Book) -> None:
        if not book.is_busy:
            book.is_busy = True
            self._host.put_off(lambda: self._host.spawn(self._settle(topic, book)))

    async def _settle(self, topic: str, book: Book) -> None:
        """Tell the engine of what has changed, and of what changes meanwhile."""
        try:
            while book.changed:
                changed, told = book.take()
                try:
                    told.set_result(await self._send(topic, list(changed.values())))
                except EngineUnavailable as error:
                    told.set_exception(error)
                    book.changed = changed | book.changed
                    self._doubt(topic)
                    return
                except Exception as error:
                    told.set_exception(error)
                    raise
                await self._rest(topic, book)
        finally:
            book.is_busy = False
            if not book.changed:
                del self._books[topic]
                book.told.set_result(0)  # who waits yet has faded meanwhile, as `_rest` has told: no diff shows it

    async def _rest(self, topic: str, book: Book) -> None:
        """Let no diff follow too soon. Who fades is told of: that makes none, and comes before somebody takes over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._pause(topic)
        while (left := end - loop.time()) >= LEAST_REST:
            if fading := book.take_fading():
                try:
                    await self._send(topic, list(fading.values()))
                except EngineUnavailable:
                    book.changed = fading | book.changed  # with which all will fail
                    return
            else:
                book.hurry = future()
                await asyncio.wait([book.hurry], timeout=left)

    def _pause(self, topic: str) -> float:
        """Return the seconds until the next diff; 0.0 where nobody here hears it any more."""
        replica = self.replicas.get(topic)
        present = 0 if replica is None else max(len(replica.roster), len(self._of(topic)))
        return min(REST * present, MOST_REST)

    async def _send(self, topic: str, entries: list[Entry]) -> int:
        """Tell the engine what is true of these, and return the number of the last diff. Raises EngineUnavailable.

        Those that end come first: one that begins may take over from one that fades.
        """
        name, number = self._host.name(), 0
        ended = [entry for entry in entries if entry.is_over(name)]
        begun = [entry for entry in entries if not entry.is_over(name)]
        for some in _batches([entry for entry in ended if entry.node]):
            untracked = [Untracked(one.node, one.channel, one.key, self._grace if one.fades else 0.0) for one in some]
            number = await self._host.call(self._presences.untrack(topic, next(self._ops), untracked)) or number
        for some in _batches(begun):
            number = await self._track(topic, name, some) or number
        if any(entry.meta is not None for entry in ended):
            raise EngineUnavailable("this node was declared dead: its clients join again")
        return number

    async def _track(self, topic: str, name: str, entries: list[Entry]) -> int:
        tracked = []
        for entry in entries:
            entry.node = name  # first, for what is told and not heard of again may have been taken
            if entry.meta is not None:
                tracked.append(Tracked(entry.channel, entry.key, entry.meta))
        number: int = await self._host.call(self._presences.track(topic, name, next(self._ops), tracked))
        if number == DEAD:
            self._host.declared_dead(name)
            raise EngineUnavailable("the engine holds this node for dead")
        if number == UNKNOWN:
            raise EngineUnavailable(f"the engine knows no topic {topic!r}")
        return number

    async def _load(self, topic: str, fetch: Fetch | None) -> Roster:
        loaded: Loaded = await self._host.call(self._presences.load(topic))
        more = await fetched(self._host.ask, fetch, topic, loaded.metas)
        return Roster(loaded.number, loaded.metas, more)

    # Fading

    def _fade(self) -> None:
        """Let those go whose time of grace is over."""
        loop = asyncio.get_running_loop()
        while self._fading and self._fading[0][0] <= loop.time() + TOGETHER:
            _, topic, entry = self._fading.popleft()
            self.end_fading(topic, [entry])
        self._fade_timer = loop.call_at(self._fading[0][0], self._fade) if self._fading else None

    # Doubts

    def _doubt(self, topic: str) -> None:
        """Take note that the engine has not heard what it was told, or may yet hear it."""
        self._doubts[topic] = DOUBTS
        self._look_later()

    def _look_later(self) -> None:
        if self._retry_timer is None:
            self._retry_timer = asyncio.get_running_loop().call_later(RETRY, self._look)

    def _look(self) -> None:
        self._retry_timer = None
        doubts, self._doubts = self._doubts, {}
        shares: dict[int, set[str]] = {}
        for topic, left in doubts.items():
            shares.setdefault(self._presences.keys.number(topic), set()).add(topic)
            if left > 1:
                self._doubts[topic] = left - 1
        for topics in shares.values():
            self._host.spawn(self._compare(topics))
        if self._doubts:
            self._look_later()

    async def _compare(self, topics: set[str]) -> None:
        """Tell the engine what it did not hear, and what it believes of this node and is not so.

        topics  of one partition
        """
        try:
            for topic, entry in await self._ghosts(topics):
                self.tell(topic, entry)
        except EngineUnavailable:
            for topic in topics:
                self._doubt(topic)
        else:
            for topic in topics & self._books.keys():
                self._begin(topic, self._books[topic])

    async def _ghosts(self, topics: set[str]) -> list[tuple[str, Entry]]:
        """Return what the engine believes this node to have tracked in these topics, and nobody here has."""
        name = self._host.name()
        found: list[tuple[str, str, str]] = []
        cursor = -1
        while cursor:
            call = self._presences.tracked(min(topics), name, max(cursor, 0))
            cursor, page = await self._host.call(call)
            found += [(topic, channel, key) for topic, channel, key in page if topic in topics]
        true = {(topic, guest.channel, key) for topic in topics for guest in self._of(topic) for key in guest.keys}
        true |= {(topic, entry.channel, entry.key) for _, topic, entry in self._fading}
        return [(topic, Entry(channel, key, None, name)) for topic, channel, key in set(found) - true]

    def _of(self, topic: str) -> set[Guest]:
        return self._guests.get(topic, set())


class Guest:
    """What one channel has tracked in its topic.

    channel  the id of the channel
    fetch    the author's hook, if there is one
    """

    def __init__(self, attendance: Attendance, topic: str, channel: str, fetch: Fetch | None) -> None:
        self.topic = topic
        self.channel = channel
        self.fetch = fetch
        self._attendance = attendance
        self._entries: dict[str, Entry] = {}
        self._left: list[Entry] = []  # what it ended with
        self._replica: Replica | None = None
        self._is_over = False

    @property
    def keys(self) -> list[str]:
        return list(self._entries)

    # For the channel

    async def track(self, key: str, meta: bytes) -> None:
        """Return when it is seen here; in `join` at once, for `enter` will tell of it. Raises EngineUnavailable."""
        if self._is_over:
            raise NotJoined(f"a channel that has ended tracks nobody in {self.topic!r}")
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = Entry(self.channel, key, meta)
        entry.meta = meta
        await self._tell([entry])

    async def untrack(self, keys: Sequence[str]) -> None:
        """The same, for what is no longer so; a key that is not tracked is passed over."""
        ended = [self._entries.pop(key) for key in keys if key in self._entries]
        for entry in ended:
            entry.meta = None
        await self._tell(ended)

    def meta(self, key: str) -> bytes:
        """Return what this channel has tracked. Raises NotTracked."""
        entry = self._entries.get(key)
        if entry is None or entry.meta is None:
            raise NotTracked(f"this channel does not track {key!r:.80}; it tracks {self.keys!r:.200}")
        return entry.meta

    async def read(self) -> Roster:
        """Return who is in the topic. Raises EngineUnavailable."""
        return await self._attendance.read(self.topic, self.fetch)

    # For its actor

    async def enter(self) -> None:
        """Return when it is known who is here, with what `join` has tracked. Raises EngineUnavailable."""
        self._replica = self._attendance.admit(self)
        await self._tell(list(self._entries.values()))
        await self._replica.loaded()
        if any(map(self._attendance.was_lost, self._entries.values())):  # while it comes in, nobody tells it to resync
            raise EngineUnavailable("this node was declared dead meanwhile: the client joins again")

    @property
    def roster(self) -> Roster:
        """Who is here at this moment; after `enter`."""
        assert self._replica is not None
        return self._replica.roster

    def end(self, *, fades: bool) -> None:
        """End all that is tracked: now, or after the time of grace. What is told to the engine is not waited for."""
        self._is_over = True
        entries = list(self._entries.values())
        self._entries.clear()
        if self._replica is None:
            return
        self._replica, self._left = None, entries
        for entry in entries:
            entry.meta = None
        if fades:
            self._attendance.let_fade(self.topic, entries)
        else:
            for entry in entries:
                self._attendance.tell(self.topic, entry)
        self._attendance.dismiss(self)

    def depart(self) -> None:
        """End now what it has left to fade."""
        self._attendance.end_fading(self.topic, self._left)

    # private

    async def _tell(self, entries: Sequence[Entry]) -> None:
        replica = self._replica
        if replica is None or not entries:
            return
        told = [self._attendance.tell(self.topic, entry) for entry in entries]
        await replica.seen(await asyncio.shield(told[-1]))  # which is the same for all, and others wait for it as well


def _batches(entries: list[Entry]) -> Iterator[list[Entry]]:
    for start in range(0, len(entries), BATCH):
        yield entries[start : start + BATCH]
