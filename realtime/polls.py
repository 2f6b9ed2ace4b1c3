"""Polls: the sessions that a node keeps for clients that poll, and the way to those that others keep.

A request may reach any process. The client's token says which node has its session; that node is asked over the bus,
on a channel of its own, and answers on the asker's. On the node itself the same notes are passed from hand to hand.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from django.utils.crypto import constant_time_compare

from .engine.subscriptions import Listener
from .exceptions import BadRequest, EngineUnavailable, ProtocolError
from .polled import PolledSession
from .protocol import relay
from .protocol.messages import Frame
from .protocol.relay import BROKEN, GONE, NOTHING, OK, TIMEOUT, Answer, Heard, Note, Poll, Push, Request, Settle
from .wheel import Wheel

logger = logging.getLogger("realtime.polls")

# For another node to say that it has heard a question, and to answer one that does not wait. Phoenix takes as long.
RELAY = 2.0
SESSION_BYTES = 16


class Post(Protocol):
    """What carries notes between nodes; see RedisChannelLayer."""

    async def subscribe(self, channel: str, listener: Listener) -> None: ...
    async def confirmed(self, channel: str) -> None: ...
    def put(self, channel: str, data: bytes) -> asyncio.Future[int]: ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where a session is, and its name there."""

    node: str
    session: str


class _Asked:
    """A question that has not been answered."""

    __slots__ = ("answer", "heard", "node", "request")

    def __init__(self, node: str, request: Request) -> None:
        self.node = node
        self.request = request
        self.heard = asyncio.Event()
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def settle(self, answer: Answer) -> None:
        self.heard.set()
        if not self.answer.done():
            self.answer.set_result(answer)


class Polls:
    """The long polls of one node.

    node        its id
    channel_of  node -> the engine's channel on which it hears notes
    spawn       runs a coroutine in the background, and waits for it before the node ends
    put_off     calls something at the end of this turn of the loop
    window      seconds that a poll waits
    most        how many sessions are kept
    counts      whether the engine's count of a channel's listeners is all of them; in a cluster it is not
    """

    def __init__(
        self,
        node: str,
        post: Post,
        channel_of: Callable[[str], str],
        spawn: Callable[[Coroutine[Any, Any, None]], Any],
        put_off: Callable[[Callable[[], None]], None],
        wheel: Wheel,
        *,
        window: float,
        most: int,
        counts: bool,
    ) -> None:
        self.node = node
        self.is_server_ending: Callable[[], bool] = lambda: False
        self._post = post
        self._channel_of = channel_of
        self._spawn = spawn
        self._put_off = put_off
        self._wheel = wheel
        self._window = window
        self._most = most
        self._counts = counts
        self._sessions: dict[str, PolledSession] = {}
        self._asked: dict[int, _Asked] = {}
        self._numbers = itertools.count(1)
        self._is_listening = False
        self._was_full = False
        self.is_closed = False

    # For who serves requests

    def make_room(self) -> None:
        """Raises BadRequest when no session may begin."""
        if self.is_closed or self.is_server_ending():
            raise BadRequest(BROKEN, "the server ends")
        if len(self._sessions) >= self._most:
            if not self._was_full:
                logger.warning("%d clients poll, and no more may: see REALTIME['POLL_SESSIONS']", self._most)
            self._was_full = True
            raise BadRequest(BROKEN, "too many clients poll")
        self._was_full = False

    async def begin(self, holder: str) -> PolledSession:
        """Return a new session, which wants a connection. Raises BadRequest, EngineUnavailable."""
        self.make_room()
        await self._listen()  # first: the next poll may come by another node
        self.make_room()
        id = secrets.token_urlsafe(SESSION_BYTES)
        session = PolledSession(id, holder, self._window, self._answer, self._put_off, self._ended)
        self._sessions[id] = session
        self._watch()
        return session

    async def poll(self, address: Address, holder: str, number: int) -> Answer:
        """Return what comes for a session within the window.

        `settle` is to follow an answer with messages; and a cancellation, or they would wait for nobody.

        number  from `new_number`
        """
        try:
            asked = await self._ask(address, Poll(self.node, number, address.session, holder))
            async with asyncio.timeout(RELAY):
                await asked.heard.wait()
            async with asyncio.timeout(self._window + RELAY):
                return await asked.answer
        except EngineUnavailable:
            return Answer(number, BROKEN)
        except TimeoutError:
            self.settle(address, number, is_delivered=False)
            return Answer(number, NOTHING if asked.heard.is_set() else GONE)
        finally:
            self._forget(number)

    async def push(self, address: Address, holder: str, frames: list[Frame]) -> Answer:
        """Hand frames of its client to a session, and return when it has them."""
        number = self.new_number()
        try:
            asked = await self._ask(address, Push(self.node, number, address.session, holder, frames))
            async with asyncio.timeout(RELAY):
                return await asked.answer
        except EngineUnavailable:
            return Answer(number, BROKEN)
        except TimeoutError:
            return Answer(number, TIMEOUT)
        finally:
            self._forget(number)

    def settle(self, address: Address, number: int, *, is_delivered: bool) -> None:
        """Say what became of a poll; its messages are the next poll's if they did not arrive."""
        self._tell(address.node, Settle(self.node, number, address.session, is_delivered))

    def new_number(self) -> int:
        return next(self._numbers)

    # For the wheel, and the node

    def tick(self, now: float) -> None:
        if self.is_server_ending():
            if not self.is_closed:
                self._spawn(self.stop())
            return
        for session in list(self._sessions.values()):
            if session.is_abandoned(now):
                logger.info("ended a session that nobody polls")
                session.end()

    async def drain(self) -> None:
        """Answer every request, and begin no session; those that there are drain with their connections."""
        self.is_closed = True
        for number, asked in list(self._asked.items()):
            if isinstance(asked.request, Poll) and asked.node != self.node:
                asked.settle(Answer(number, NOTHING))
                self.settle(Address(asked.node, asked.request.session), number, is_delivered=False)

    async def stop(self) -> None:
        """Drain, and end every session."""
        await self.drain()
        connections = [session.connection for session in self._sessions.values() if session.connection is not None]
        await asyncio.gather(*(connection.drain() for connection in connections))
        for session in list(self._sessions.values()):  # whose connection was not there yet
            session.end()
        self._watch()

    # What others say

    def message(self, data: bytes) -> None:
        try:
            self._take(relay.decode(data))
        except ProtocolError as error:
            logger.warning("dropped what was published to this node: %s", error)

    def gap(self) -> None:
        """Nothing: what is lost has a time limit, here or where it was sent."""

    def _take(self, note: Note) -> None:
        match note:
            case Poll() if session := self._session(note):
                self._tell(note.asker, Heard(note.number))
                session.poll(note)
            case Push() if session := self._session(note):
                is_open = session.receive(note.frames)
                self._tell(note.asker, Answer(note.number, OK if is_open else GONE))
            case Poll() | Push():
                self._tell(note.asker, Answer(note.number, GONE))
            case Settle():
                if session := self._sessions.get(note.session):
                    session.settle(note.asker, note.number, is_delivered=note.is_delivered)
            case Heard():
                if asked := self._asked.get(note.number):
                    asked.heard.set()
            case Answer():
                if asked := self._asked.get(note.number):
                    asked.settle(note)

    # private

    def _session(self, note: Request) -> PolledSession | None:
        session = self._sessions.get(note.session)
        return session if session is not None and constant_time_compare(session.holder, note.holder) else None

    async def _ask(self, address: Address, request: Request) -> _Asked:
        """Ask the node that has a session. Raises EngineUnavailable when its answer could not be heard."""
        if address.node != self.node:
            await self._listen()
        asked = self._asked[request.number] = _Asked(address.node, request)
        self._watch()
        self._tell(address.node, request, lambda status: asked.settle(Answer(request.number, status)))
        return asked

    def _answer(self, poll: Poll, status: int, messages: list[str], code: int | None) -> None:
        def lost(_: int) -> None:
            if session := self._sessions.get(poll.session):
                session.settle(poll.asker, poll.number, is_delivered=False)

        self._tell(poll.asker, Answer(poll.number, status, messages, code), lost)

    def _tell(self, node: str, note: Note, lost: Callable[[int], None] | None = None) -> None:
        """Say something to a node, this one perhaps.

        lost  called with 410 when that node is gone, with 500 when the engine is away
        """
        if node == self.node:
            self._take(note)
        else:
            published = self._post.put(self._channel_of(node), relay.encode(note))
            published.add_done_callback(functools.partial(self._published, lost))

    def _published(self, lost: Callable[[int], None] | None, published: asyncio.Future[int]) -> None:
        if published.cancelled() or (error := published.exception()):
            logger.debug("a note was lost", exc_info=None if published.cancelled() else error)
            status = BROKEN
        elif self._counts and not published.result():
            status = GONE
        else:
            return
        if lost is not None:
            lost(status)

    async def _listen(self) -> None:
        """Return when this node hears what others say to it. Raises EngineUnavailable."""
        channel = self._channel_of(self.node)
        if not self._is_listening:
            await self._post.subscribe(channel, self)
            self._is_listening = True
            return
        try:
            async with asyncio.timeout(RELAY):
                await self._post.confirmed(channel)
        except TimeoutError:
            raise EngineUnavailable("the engine does not answer") from None

    def _forget(self, number: int) -> None:
        self._asked.pop(number, None)
        self._watch()

    def _ended(self, session: PolledSession) -> None:
        self._sessions.pop(session.id, None)
        if session.connection is not None and not self.is_closed:  # else it is being drained, which ends it
            self._spawn(session.connection.end())
        self._watch()

    def _watch(self) -> None:
        """Be on the wheel while there is something to look after."""
        if self._sessions or self._asked:
            self._wheel.add(self)
        else:
            self._wheel.discard(self)
