"""Connection: what the server keeps of one socket, whatever carries its frames."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from asgiref.sync import iscoroutinefunction

from .absence import Absence
from .actor import CLOSED, DISMISSED, DRAINING, DUPLICATE, Actor
from .answers import refusal_response
from .exceptions import ProtocolError, Refused, ServerEnding
from .framing import Burst
from .guard import hashed, is_guarded
from .logs import readable
from .node import Node
from .outbox import Outbox
from .payloads import decoder
from .protocol.limits import Allowance
from .protocol.messages import JOIN, CloseCode, Frame, Message, Payload, Reply, size_of
from .protocol.serializers import Serializer
from .protocol.session import Action, Answer, Event, Join, Leave, Renew, Session
from .routing import Match, Router
from .socket import Socket
from .tasks import spawn
from .tokens import stamp
from .workers import Unwanted

logger = logging.getLogger("realtime.socket")

# How long a close may take before the transport is aborted: of a peer that does not read, and of one that may yet
# answer. And how long the last frames may take before a close.
CLOSE_PATIENCE = 1.0
ANSWER_PATIENCE = 10.0
FLUSH_PATIENCE = 0.5
CRASH_TIME = 60.0  # in which MAX_CRASHES of a topic are too many


class Connection:
    """One socket: decodes its frames, does what the session says of them, and carries what its actors send.

    outbox      makes its outbox, given max_messages, max_bytes, on_full and on_lost
    close       closes the transport with a code from 4000 to 4999
    abort       ends it at once, whatever waits
    is_beating  whether its client sends a heartbeat, so that silence ends it
    began       the loop's time when its handshake began
    """

    def __init__(
        self,
        node: Node,
        router: Router,
        socket: Socket,
        serializer: Serializer,
        *,
        outbox: Callable[..., Outbox],
        close: Callable[[int], Awaitable[None]],
        abort: Callable[[], None],
        is_beating: bool = True,
        began: float | None = None,
    ) -> None:
        self.socket = socket
        self.serializer = serializer
        self._node = node
        self._close = close
        self._abort = abort
        self._is_beating = is_beating
        self._time = asyncio.get_running_loop().time
        self._heard = self._time()
        self._allowance = Allowance(node.settings.MESSAGE_RATE, node.settings.MESSAGE_BURST, self._heard)
        self._session: Session[Match] = Session(router.resolve, node.settings.MAX_TOPICS)
        self._actors: dict[str, Actor] = {}
        self.is_open = True
        self._is_renewing = False
        self._gone: asyncio.Event | None = None  # made when it is closed
        self._absence: Absence | None = None  # made when it is lost and somebody was present by it
        self._crashes: dict[str, deque[float]] | None = None  # when, by topic; few sockets ever see one
        self.id = socket.known_as
        self.began = self._heard if began is None else began
        self.session_key: str | None = None
        self.session_hash = self.stamp = ""
        self.outbox = outbox(
            max_messages=node.settings.OUTBOX_MESSAGES,
            max_bytes=node.settings.OUTBOX_BYTES,
            on_full=self._too_slow,
            on_lost=self._lost,
        )
        node.wheel.add(self)
        if is_guarded(socket.user):
            self.session_key = getattr(socket.scope.get("session"), "session_key", None)
            self.session_hash = hashed(self.session_key or "")
            self.stamp = stamp(socket.user)
            node.guard.add(self)
        node.warden.add(self)

    def receive(self, frame: Frame) -> None:
        """Take one frame of the client; one that is none ends the socket."""
        try:
            self.take(frame)
        except ProtocolError as error:
            self._lost()
            self._node.spawn(self._hang_up_and_wait(error))

    async def hang_up(self, error: ProtocolError) -> None:
        """Close a socket that cannot go on, once what was said to it is written."""
        logger.info("closed a socket with %d: %s", error.close_code, error.reason)
        self._lost()
        await self.finish()
        await self._close_safely(error.close_code)

    def take(self, frame: Frame) -> None:
        """Take one frame of the client. Raises ProtocolError when the socket cannot go on."""
        if not self.is_open:
            return
        self._heard = now = self._time()
        allowance = self._allowance
        allowance.spend(now)
        if allowance.is_overdrawn and allowance.is_exhausted:
            raise ProtocolError("too many messages", CloseCode.FLOOD)
        if size_of(frame) > self._node.settings.MAX_FRAME:
            raise ProtocolError("frame too big", CloseCode.BIG)
        message = self.serializer.decode(frame)
        if allowance.is_overdrawn:
            self._refuse(message)
        else:
            self._act(self._session.receive(message), message)

    async def finish(self) -> None:
        """Return when what was said is written, or the peer has had its time to take it; what is said later is not."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.outbox.drained(), FLUSH_PATIENCE)
        self.outbox.close()

    async def end(self, reason: str = CLOSED) -> None:
        """End every channel of a socket that is gone, and return when all have terminated."""
        self._lost()
        if self._gone is not None:
            self._gone.set()
        self.outbox.close()
        self._node.wheel.discard(self)
        self._node.warden.discard(self)
        self._node.guard.discard(self)
        actors = list(self._actors.values())
        if reason == CLOSED and any(actor.guest is not None for actor in actors):
            self._absence = Absence(self, self._node.guard, self._node.warden)
        for actor in actors:
            actor.end(reason)
        await self._terminated(actors)

    async def _terminated(self, actors: list[Actor]) -> None:
        """Return when all have terminated. Who is absent from then on is so for the time of grace."""
        try:
            await asyncio.gather(*(actor.wait(self._node.settings.SHUTDOWN) for actor in actors))
        finally:
            if self._absence is not None:
                asyncio.get_running_loop().call_later(self._node.settings.PRESENCE_GRACE, self._absence.end)

    # For the node

    def tick(self, now: float) -> None:
        if not self.is_open:
            return
        if self._is_beating and now - self._heard > self._node.settings.HEARTBEAT_TIMEOUT:
            self._shut(CloseCode.SILENT, "no heartbeat")
        elif self.socket.expires is not None and self.socket.expires <= time.time():
            self.dismiss(CloseCode.EXPIRED)
        elif self.outbox.stuck_for(now) > self._node.settings.SEND_TIMEOUT:
            self._too_slow()

    @property
    def user_key(self) -> str | None:
        key = getattr(self.socket.user, "pk", None)
        return None if key is None else str(key)

    def dismiss(self, code: CloseCode = CloseCode.DISMISSED) -> None:
        for actor in list(self._actors.values()):
            actor.end(DISMISSED)  # what waits in its mailbox is not handled any more
        if not self.is_open:
            return
        self._lost()
        self._node.spawn(self._hang_up_and_wait(ProtocolError(f"{self.id or 'it'} was dismissed", code)))

    @property
    def user(self) -> Any:
        return self.socket.user

    def revoke(self, why: str) -> None:
        logger.info("%s: %s", self.id or "a socket", why)
        self.dismiss(CloseCode.EXPIRED)

    def topics(self) -> list[Actor]:
        return [actor for actor in self._actors.values() if actor.requirements]

    def expel(self, topic: str, reason: str) -> None:
        if actor := self._actors.get(topic):
            actor.expel(reason)

    async def drain(self) -> None:
        self._lost()
        await self.finish()
        await self._close_safely(CloseCode.RESTART)
        await self.end(DRAINING)

    # For the actors

    def send(self, frame: Frame) -> None:
        self.outbox.put(Burst(frame))

    def crashed(self, topic: str) -> bool:
        settings = self._node.settings
        if self._crashes is None or len(self._crashes) > settings.MAX_TOPICS:
            self._crashes = {}
        crashes = self._crashes.setdefault(topic, deque(maxlen=settings.MAX_CRASHES))
        crashes.append(now := self._time())
        return len(crashes) < settings.MAX_CRASHES or now - crashes[0] > CRASH_TIME

    def ended(self, actor: Actor, unread: list[Message]) -> None:
        self._session.ended(actor.instance)
        if self._absence is not None and actor.guest is not None:
            self._absence.take(actor.guest)
        if self._actors.get(actor.topic) is actor:
            del self._actors[actor.topic]
        for message in unread if self.is_open else ():
            self._act(self._session.receive(message), message)

    # private

    def _act(self, action: Action, message: Message) -> None:
        match action:
            case Event() | Leave():
                self._actors[message.topic].deliver(message)
            case Answer(topic, ref, join_ref, reply):
                self.send(self.serializer.reply(topic, ref, join_ref, reply))
                if message.event == JOIN:
                    logger.info("REFUSED %s %s", readable(topic), readable(reply.response))
            case Join():
                self._join(action)
            case Renew() if self._is_renewing:
                self._answer(message, Reply("error", {"reason": "overloaded"}))
            case Renew():
                self._is_renewing = True
                self._node.spawn(self._renew(message))

    async def _renew(self, message: Message) -> None:
        if not self.is_open:
            return
        renew = self.socket.renew
        try:
            token = _token(message.payload)
            await self._node.workers.run(iscoroutinefunction(renew), renew, (token,), {}, lambda: self.is_open)
            reply = Reply("ok")
        except (Unwanted, ServerEnding):
            return
        except Refused as refusal:
            reply = Reply("error", refusal_response(refusal, type(self.socket).__name__))
        except Exception:
            logger.exception("%s crashed in renew", type(self.socket).__name__)
            reply = Reply("error", {"reason": "renew crashed"})
        self._is_renewing = False
        self._answer(message, reply)

    def _answer(self, message: Message, reply: Reply) -> None:
        """Answer what is on the reserved topic, as a heartbeat is."""
        self.send(self.serializer.reply(message.topic, message.ref, None, reply))

    def _join(self, join: Join[Match]) -> None:
        if not self.is_open:
            return
        topic = join.instance.topic
        previous = self._actors.get(topic)
        if previous is not None:
            previous.end(DUPLICATE)
        self._actors[topic] = Actor(join, self, self._node, previous)

    def _refuse(self, message: Message) -> None:
        response = {"reason": "too many messages", "retry_after": self._allowance.retry_after}
        reply = Reply("error", response)
        self.send(self.serializer.reply(message.topic, message.ref, message.join_ref, reply))

    def _too_slow(self) -> None:
        self._shut(CloseCode.SLOW, "it reads too slowly")

    def _shut(self, code: CloseCode, reason: str) -> None:
        logger.warning("closed a socket with %d: %s", code, reason)
        self._lost()
        self.outbox.close()
        self._node.spawn(self._close_or_abort(code))

    async def _hang_up_and_wait(self, error: ProtocolError) -> None:
        """Close; what the server makes of it is its own affair, for a peer that is cut off may not hear the code."""
        self._gone = asyncio.Event()
        await self.hang_up(error)
        try:
            await asyncio.wait_for(self._gone.wait(), ANSWER_PATIENCE)
        except TimeoutError:
            self._abort()

    async def _close_or_abort(self, code: int) -> None:
        await self._close_safely(code)
        await asyncio.sleep(CLOSE_PATIENCE)  # for the peer to answer, and for what waits before the close
        self._abort()

    async def _close_safely(self, code: int) -> None:
        closing = spawn(self._try_to_close(code))
        try:
            await asyncio.wait([closing], timeout=CLOSE_PATIENCE)
        finally:
            closing.cancel()  # and not waited for: uvicorn's "websockets" hears of it only ten seconds later

    async def _try_to_close(self, code: int) -> None:
        try:
            await self._close(code)
        except Exception:  # each server raises its own kind when the peer is gone
            logger.debug("could not close a socket", exc_info=True)

    def _lost(self) -> None:
        self.is_open = False


class _Token(msgspec.Struct, frozen=True):
    token: str


_as_token = decoder(_Token)


def _token(payload: Payload) -> str:
    """Return the token in a client's payload. Raises Refused."""
    found: _Token = _as_token(payload)
    return found.token
