"""SocketConsumer: a WebSocket that speaks Phoenix Channels."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from channels.consumer import AsyncConsumer
from django.core.exceptions import PermissionDenied

from .. import conf, intake, lifetime, wire
from ..answers import refusal_response
from ..connection import Connection
from ..exceptions import BadReturn, ProtocolError, Refused
from ..logs import readable
from ..node import Node
from ..protocol.messages import REFUSED, RESERVED_TOPIC, CloseCode, Frame
from ..protocol.serializers import Serializer, serializer_for
from ..routing import Router
from ..socket import Socket
from .auth import has_session, load_user
from .handshake import offered_token, origin_refusal, query_params

logger = logging.getLogger("realtime.socket")

Event = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
ASKS = "refusal"  # a parameter of the URL: the client wants to be told why it is refused
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

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._send = send
        await receive()  # websocket.connect
        node, began = Node.current(), asyncio.get_running_loop().time()
        lifetime.watch(node)
        try:
            serializer, params = self._admit(scope, node)
        except Refused as refusal:
            await self._refuse(scope, refusal)
            return
        asks = bool(params.pop(ASKS, ""))
        try:
            socket = await self._welcome(scope, params, node)
        except Refused as refusal:
            await self._refuse(scope, refusal, serializer if asks else None)
            return
        await send({"type": "websocket.accept", "subprotocol": _subprotocol(scope)})
        lane = wire.find_lane(send) if node.settings.FAST_LANE else None
        found = lane or wire.find(send)
        connection = Connection(
            node,
            self._router,
            socket,
            serializer,
            write=self._write,
            close=self._close,
            wire=found,
            lane=lane,
            began=began,
        )
        if node.settings.FAST_LANE:
            intake.divert(receive, connection.receive)
        try:
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

    def _admit(self, scope: MutableMapping[str, Any], node: Node) -> tuple[Serializer, dict[str, Any]]:
        """Return what to speak, and what the client says of itself. Raises Refused."""
        settings = node.settings
        if reason := origin_refusal(scope, settings.ALLOWED_ORIGINS, require=settings.REQUIRE_ORIGIN):
            logger.warning("refused a socket: %s", reason)
            raise Refused("origin not allowed")
        try:
            params = query_params(scope.get("query_string", b""))
            return serializer_for(params.get("vsn"), conf.serializers()), params
        except (ProtocolError, ValueError) as error:
            raise Refused(str(error)) from error

    async def _refuse(self, scope: Scope, refusal: Refused, serializer: Serializer | None = None) -> None:
        """Answer the handshake 403; or with an accept and the reason, to a client that asks for it.

        Browsers tell a page nothing of a handshake that failed.
        """
        logger.info("REFUSED %s: %s", scope["path"], refusal)
        if serializer is not None:
            response = refusal_response(refusal, self._router.socket.__name__)
            await self._send({"type": "websocket.accept", "subprotocol": _subprotocol(scope)})
            await self._write(serializer.push(RESERVED_TOPIC, REFUSED, response, None))
        await self._close(CloseCode.REFUSED)

    async def _welcome(self, scope: Scope, params: dict[str, Any], node: Node) -> Socket:
        """Return the author's socket, once it has let the client in. Raises Refused."""
        try:
            return await self._connected(scope, params, node)
        except Refused:
            raise
        except PermissionDenied as error:
            raise Refused("forbidden") from error
        except Exception as error:
            logger.exception("%s crashed in connect", self._router.socket.__name__)
            raise Refused("connect crashed") from error

    async def _connected(self, scope: Scope, params: dict[str, Any], node: Node) -> Socket:
        """The same, but raises whatever it raises."""
        if has_session(scope):
            await node.gathering.call(load_user, scope)
        else:
            load_user(scope)  # asks nobody
        socket = self._router.socket(scope, params)
        socket.auth_token = offered_token(scope)
        kind = type(socket)
        answer = None if kind.connect is Socket.connect else await node.workers.call(socket.connect, params)
        if answer is not None:
            raise BadReturn(f"connect returned {answer!r:.80}; it lets in by returning nothing, or raises Refused")
        name = None if kind.id is Socket.id else await node.workers.call(socket.id)  # a thread costs more than the rest
        if logger.isEnabledFor(logging.INFO):
            logger.info("CONNECTED %s as %s %s", scope["path"], name or "anyone", readable(params))
        socket.known_as = name
        return socket

    async def _listen(self, connection: Connection, receive: Callable[[], Awaitable[Event]]) -> None:
        for number in itertools.count(1):
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return
            if number % TURN == 0:
                await asyncio.sleep(0)  # where much has come in, `receive` does not wait, and others would have to
            connection.receive(intake.frame_of(event))

    async def _write(self, frame: Frame) -> None:
        await self._send({"type": "websocket.send", "text" if isinstance(frame, str) else "bytes": frame})

    async def _close(self, code: int) -> None:
        await self._send({"type": "websocket.close", "code": int(code)})


def _subprotocol(scope: Scope) -> str | None:
    return SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", ()) else None
