"""Connection: what the server keeps of one socket, whatever carries its frames."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from .actor import CLOSED, DUPLICATE, Actor
from .exceptions import ProtocolError
from .node import Node
from .outbox import Outbox
from .protocol.messages import Frame, Message
from .protocol.serializers import Serializer
from .protocol.session import Action, Answer, Event, Join, Leave, Session
from .routing import Match, Router
from .socket import Socket

logger = logging.getLogger("realtime.socket")

TOO_SLOW, TOO_BIG = 4008, 4009


class Connection:
    """One socket: decodes its frames, does what the session says of them, and carries what its actors send.

    write  sends one frame; may wait while the peer does not read
    close  closes the transport with a code from 4000 to 4999
    """

    def __init__(
        self,
        node: Node,
        router: Router,
        socket: Socket,
        serializer: Serializer,
        *,
        write: Callable[[Frame], Awaitable[None]],
        close: Callable[[int], Awaitable[None]],
    ) -> None:
        self.socket = socket
        self.serializer = serializer
        self._node = node
        self._close = close
        self._session: Session[Match] = Session(router.resolve, node.settings.MAX_TOPICS)
        self._actors: dict[str, Actor] = {}
        self._open = True
        self._outbox = Outbox(
            write,
            max_messages=node.settings.OUTBOX_MESSAGES,
            max_bytes=node.settings.OUTBOX_BYTES,
            on_full=self._too_slow,
            on_lost=self._lost,
        )

    def receive(self, frame: Frame) -> None:
        """Take one frame of the client. Raises ProtocolError when the socket cannot go on."""
        if not self._open:
            return
        if _size_exceeds(frame, self._node.settings.MAX_FRAME):
            raise ProtocolError("frame too big", TOO_BIG)
        self._act(self._session.receive(self.serializer.decode(frame)))

    async def end(self) -> None:
        """End every channel of a socket that is gone, and return when all have terminated."""
        self._lost()
        self._outbox.close()
        for actor in list(self._actors.values()):
            actor.end(CLOSED)
        limit = self._node.settings.SHUTDOWN
        await asyncio.gather(*(actor.wait(limit) for actor in list(self._actors.values())))

    # For the actors

    def send(self, frame: Frame) -> None:
        self._outbox.put(frame)

    def ended(self, actor: Actor, unread: list[Message]) -> None:
        self._session.ended(actor.join)
        if self._actors.get(actor.topic) is actor:
            del self._actors[actor.topic]
        for message in unread:
            self._act(self._session.receive(message))

    # private

    def _act(self, action: Action) -> None:
        match action:
            case Answer(topic, ref, join_ref, reply):
                self.send(self.serializer.reply(topic, ref, join_ref, reply))
            case Join():
                self._join(action)
            case Event(message) | Leave(message):
                self._actors[message.topic].deliver(message)

    def _join(self, join: Join[Match]) -> None:
        if not self._open:
            return
        previous = self._actors.get(join.topic)
        if previous is not None:
            previous.end(DUPLICATE)
        self._actors[join.topic] = Actor(join, self, self._node, previous)

    def _too_slow(self) -> None:
        logger.warning("a socket reads too slowly: closed with %d", TOO_SLOW)
        self._lost()
        self._node.spawn(self._close_safely(TOO_SLOW))

    async def _close_safely(self, code: int) -> None:
        try:
            await self._close(code)
        except Exception:  # each server raises its own kind when the peer is gone
            logger.debug("could not close a socket", exc_info=True)

    def _lost(self) -> None:
        self._open = False


def _size_exceeds(frame: Frame, limit: int) -> bool:
    """Return whether `frame` has more than `limit` bytes; one character of UTF-8 has at most four."""
    if len(frame) * 4 <= limit:
        return False
    return len(frame) > limit or len(frame.encode() if isinstance(frame, str) else frame) > limit
