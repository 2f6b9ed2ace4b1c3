"""SocketConsumer: a WebSocket that speaks Phoenix Channels."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from channels.consumer import AsyncConsumer

from .. import conf, intake, lifetime, wire
from ..connection import Connection
from ..exceptions import ProtocolError, Refused, ServerEnding
from ..node import Node
from ..outbox import DirectOutbox, Outbox, QueuedOutbox
from ..protocol.messages import CloseCode, Frame
from ..routing import Router
from ..tasks import end
from .admission import Scope, Told, admit, check_origin
from .handshake import offered_token

logger = logging.getLogger("realtime.socket")

Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
SUBPROTOCOL = "phoenix"
TURN = 16  # frames of one socket that are read in a row


class SocketConsumer(AsyncConsumer):
    """One WebSocket. `with_realtime` mounts it; by hand it goes where any Channels consumer goes.

    URLRouter([path("ws/websocket", SocketConsumer.as_asgi())])

    It reads its own messages: the loop of AsyncConsumer passes each through one thread that the whole process shares,
    and takes a channel of the layer that nothing here needs.
    """

    def __init__(self, router: Router | None = None) -> None:
        self._router = router or conf.router()
        self._is_closed: asyncio.Event | None = None  # where we have to return then

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._send = send
        await receive()  # websocket.connect
        node, began = Node.current(), asyncio.get_running_loop().time()
        lifetime.watch(node)
        try:
            check_origin(scope, node)
            serializer, socket = await admit(scope, node, self._router, offered_token(scope))
        except Refused as refusal:
            await self._refuse(scope, refusal)
            return
        except ServerEnding as error:
            logger.info("REFUSED %s: %s", scope["path"], error)
            await self._close(CloseCode.RESTART)  # before the accept, so that no client asks again at once
            return
        await send({"type": "websocket.accept", "subprotocol": _subprotocol(scope)})
        lane = wire.find_lane(send) if node.settings.FAST_LANE else None
        found = lane or wire.find(send)
        connection = Connection(
            node,
            self._router,
            socket,
            serializer,
            outbox=self._outbox_for(lane, found, node),
            close=self._close,
            abort=found.abort,
            began=began,
        )
        try:
            if node.settings.FAST_LANE:
                intake.divert(receive, connection.receive)
            if isinstance(found, wire.Application):
                self._is_closed = asyncio.Event()
                await self._listen_until_closed(connection, receive, self._is_closed)
            else:
                await self._listen(connection, receive)
        except asyncio.CancelledError:
            if isinstance(found, wire.Application) and found.is_aborted:
                return
            # daphne ends: it cancels what serves its sockets before it lets anybody else know.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connection.drain(), lifetime.PATIENCE)
            raise
        finally:
            # In the background: a server kills an application that takes its time after the disconnect.
            node.spawn(connection.end())

    async def _refuse(self, scope: Scope, refusal: Refused) -> None:
        """Answer the handshake 403; or with an accept and the reason, to a client that asks for it."""
        logger.info("REFUSED %s: %s", scope["path"], refusal)
        if isinstance(refusal, Told):
            await self._send({"type": "websocket.accept", "subprotocol": _subprotocol(scope)})
            await self._write(refusal.frame)
        await self._close(CloseCode.REFUSED)

    def _outbox_for(self, lane: wire.Lane | None, found: wire.Wire, node: Node) -> Callable[..., Outbox]:
        if lane is not None:
            return functools.partial(DirectOutbox, lane, turn=node.turn)
        return functools.partial(QueuedOutbox, self._write, wire=found)

    async def _listen_until_closed(self, connection: Connection, receive: Receive, closed: asyncio.Event) -> None:
        """Listen, and return once we have closed: some servers end a connection with its application only."""
        listening, closing = (
            asyncio.ensure_future(self._listen(connection, receive)),
            asyncio.ensure_future(closed.wait()),
        )
        try:
            await asyncio.wait({listening, closing}, return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                listening.result()
        finally:
            await end(listening, closing)

    async def _listen(self, connection: Connection, receive: Receive) -> None:
        for number in itertools.count(1):
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return
            if number % TURN == 0:
                await asyncio.sleep(0)  # where much has come in, `receive` does not wait, and others would have to
            try:
                connection.take(intake.frame_of(event))
            except ProtocolError as error:
                await connection.hang_up(error)  # by this task: granian may not close while another one receives
                return

    async def _write(self, frame: Frame) -> None:
        await self._send({"type": "websocket.send", "text" if isinstance(frame, str) else "bytes": frame})

    async def _close(self, code: int) -> None:
        await self._send({"type": "websocket.close", "code": int(code)})
        if self._is_closed is not None:
            self._is_closed.set()


def _subprotocol(scope: Scope) -> str | None:
    return SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", ()) else None
