"""Admission: who is let in, whatever carries the frames."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

from django.core.exceptions import PermissionDenied

from .. import conf
from ..answers import refusal_response
from ..exceptions import BadReturn, ProtocolError, Refused, ServerEnding
from ..logs import readable
from ..node import Node
from ..protocol.messages import REFUSED, RESERVED_TOPIC, Frame
from ..protocol.serializers import Serializer, serializer_for
from ..routing import Router
from ..socket import Socket
from .auth import identify
from .handshake import origin_refusal, query_params

logger = logging.getLogger("realtime.socket")

Scope = MutableMapping[str, Any]
ASKS = "refusal"  # a parameter of the URL, "1" where the client wants to be told why it is refused


def check_origin(scope: Scope, node: Node) -> None:
    """Raises Refused for a page that may not connect; the log says which setting would admit it."""
    settings = node.settings
    if reason := origin_refusal(scope, settings.ALLOWED_ORIGINS, require=settings.REQUIRE_ORIGIN):
        logger.warning("refused a socket: %s", reason)
        raise Refused("origin not allowed")


class Told(Refused):
    """A refusal to a client that has asked to be told why; browsers tell a page nothing of a handshake that failed.

    frame  tells it
    """

    def __init__(self, response: dict[str, Any], frame: Frame) -> None:
        super().__init__(response)
        self.frame = frame


async def admit(scope: Scope, node: Node, router: Router, auth_token: str | None) -> tuple[Serializer, Socket]:
    """Return what to speak and with whom, once the author's `connect` has let the client in.

    Raises Refused; and ServerEnding, which is no answer to the client: it is to come back.
    """
    try:
        params = query_params(scope.get("query_string", b""))
        serializer = serializer_for(params.get("vsn"), conf.serializers())
    except (ProtocolError, ValueError) as error:
        raise Refused(str(error)) from error
    asks = params.pop(ASKS, "") == "1"
    try:
        return serializer, await _welcome(scope, params, node, router, auth_token)
    except Refused as refusal:
        if not asks:
            raise
        response = refusal_response(refusal, router.socket.__name__)
        raise Told(refusal.response, serializer.push(RESERVED_TOPIC, REFUSED, response, None)) from refusal


async def _welcome(scope: Scope, params: dict[str, Any], node: Node, router: Router, auth_token: str | None) -> Socket:
    """Return the author's socket. Raises Refused and ServerEnding."""
    try:
        return await _connected(scope, params, node, router, auth_token)
    except (Refused, ServerEnding):
        raise
    except PermissionDenied as error:
        raise Refused("forbidden") from error
    except Exception as error:
        logger.exception("%s crashed in connect", router.socket.__name__)
        raise Refused("connect crashed") from error


async def _connected(
    scope: Scope, params: dict[str, Any], node: Node, router: Router, auth_token: str | None
) -> Socket:
    """The same, but raises whatever it raises."""
    await identify(scope, node)
    socket = router.socket(scope, params)
    socket.auth_token = auth_token
    kind = type(socket)
    answer = None if kind.connect is Socket.connect else await node.workers.call(socket.connect, params)
    if answer is not None:
        raise BadReturn(f"connect returned {answer!r:.80}; it lets in by returning nothing, or raises Refused")
    name = None if kind.id is Socket.id else await node.workers.call(socket.id)  # a thread costs more than the rest
    if logger.isEnabledFor(logging.INFO):
        logger.info("CONNECTED %s as %s %s", scope["path"], name or "anyone", readable(params))
    if not isinstance(name, str | None):
        raise BadReturn(f'id returned {name!r:.80}; it returns a text, as "users:7", or None')
    if not isinstance(socket.expires, int | float | None):
        raise BadReturn(f"connect set expires to {socket.expires!r:.80}; it is a number of seconds since the epoch")
    socket.known_as = name
    return socket
