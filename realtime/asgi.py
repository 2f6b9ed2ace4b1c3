"""with_realtime: the sockets of a project beside its pages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.core.handlers.asgi import ASGIHandler

from . import conf
from .consumers.websocket import SocketConsumer
from .node import Node
from .protocol.messages import CloseCode

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Callable[..., Any], Callable[..., Any]], Awaitable[None]]


def with_realtime(application: Any) -> Application:
    """Return an ASGI application that serves the project's router, and hands everything else to `application`.

    application = with_realtime(get_asgi_application())

    `application` may itself be a ProtocolTypeRouter with other consumers. Raises Misconfigured where REALTIME
    names no router, and where no engine is set with DEBUG off.
    """
    paths = conf.router().paths
    conf.engine()  # where none is set and none may be started, the time to say so is now
    sockets: Any = SocketConsumer.as_asgi()

    async def serve(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "lifespan":
            await _live(application, scope, receive, send)
        elif scope["type"] != "websocket":
            await application(scope, receive, send)
        elif scope["path"].removeprefix(scope.get("root_path", "")) in paths:
            await sockets(scope, receive, send)
        elif isinstance(application, ASGIHandler):  # Django alone serves no WebSocket
            await receive()
            await send({"type": "websocket.close", "code": int(CloseCode.NOT_FOUND)})
        else:
            await application(scope, receive, send)

    return serve


async def _live(application: Any, scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Take part in the server's life, so that nothing of ours outlasts it (daphne has no such protocol)."""
    if not isinstance(application, ASGIHandler):
        try:
            await application(scope, receive, send)
        finally:
            await _stop()
        return
    while True:
        event = (await receive())["type"]
        if event == "lifespan.shutdown":
            await _stop()
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


async def _stop() -> None:
    if node := Node.running():
        await node.stop()
