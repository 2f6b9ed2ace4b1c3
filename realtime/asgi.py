"""with_realtime: the sockets of a project beside its pages."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler

from . import conf, importing, lifetime
from .consumers.longpoll import LongPollConsumer
from .consumers.websocket import SocketConsumer
from .exceptions import Misconfigured
from .mount_page import mount_page
from .node import Node
from .protocol.messages import CloseCode
from .routing import Router, paths

logger = logging.getLogger("realtime")

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Callable[..., Any], Callable[..., Any]], Awaitable[None]]


def with_realtime(application: Any) -> Application:
    """Return an ASGI application that serves the project's router, and hands everything else to `application`.

    application = with_realtime(get_asgi_application())

    `application` may itself be a ProtocolTypeRouter with other consumers. Raises Misconfigured where no engine is set
    with DEBUG off, and where REALTIME names no router; with DEBUG on a broken router takes the sockets down, not the
    pages, and a plain GET of the mount tells what is wrong.
    """
    found = _router()
    conf.engine()  # where none is set and none may be started, the time to say so is now
    page = mount_page(found)
    sockets: Any = SocketConsumer.as_asgi() if isinstance(found, Router) else _refuse
    polls: Any = LongPollConsumer.as_asgi()
    astray = _Astray(found)
    mounted = found.paths if isinstance(found, Router) else paths(USUAL_MOUNT)
    polled = found.longpoll if isinstance(found, Router) and conf.settings().POLL_SESSIONS else None

    lifetime.when_running(_begin)

    async def serve(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        if scope["type"] == "lifespan":
            _begin()
            await _live(application, scope, receive, send)
            return
        if scope["type"] == "websocket":
            _stand()
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path == polled and scope["type"] == "http":
            _stand()
            await polls(scope, receive, send)
        elif path in mounted:
            await (sockets if scope["type"] == "websocket" else page)(scope, receive, send)
        elif scope["type"] == "websocket" and isinstance(application, ASGIHandler):  # Django alone serves no WebSocket
            astray.tell(scope)
            await _refuse(scope, receive, send)
        else:
            await application(scope, receive, send)

    return serve


USUAL_MOUNT = "/ws"
TOLD = 20  # wrong paths


def _begin() -> None:
    """What a server's process does once, before there is any socket."""
    _stand()
    lifetime.settle()
    lifetime.end_with_supervisor()


def _stand() -> None:
    """Let this process stand for election as the topic server from its start on, before there is any socket."""
    node = Node.current()
    node.stand()
    lifetime.watch(node)  # so that it hands over at its end


def _router() -> Router | Misconfigured:
    """Return the project's router, or why there is none; with DEBUG off raise that."""
    try:
        return conf.router()
    except Misconfigured as error:
        if not settings.DEBUG:
            raise
        logger.error("%s", f"{error}\n{importing.excerpt(error)}".rstrip())
        return error


async def _refuse(scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    await receive()
    await send({"type": "websocket.close", "code": int(CloseCode.NOT_FOUND)})


class _Astray:
    """Tells a developer where a socket would have been served, once for each path, for some paths."""

    def __init__(self, found: Router | Misconfigured) -> None:
        self._mount = found.mount if isinstance(found, Router) else None
        self._told: set[str] = set()

    def tell(self, scope: Scope) -> None:
        path = scope["path"]
        if not settings.DEBUG or self._mount is None or path in self._told or len(self._told) >= TOLD:
            return
        self._told.add(path)
        mount = scope.get("root_path", "") + self._mount
        logger.warning(
            'no WebSocket is served at %.200r: the mount of the router is %r, new Socket("%s") in JavaScript',
            path,
            mount,
            mount,
        )


async def _live(application: Any, scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Take part in the server's life, so that nothing of ours outlasts it (daphne has no such protocol)."""
    if not isinstance(application, ASGIHandler) and await _lives(application, scope, receive, send):
        await _stop()
        return
    while True:
        event = (await receive())["type"]
        if event == "lifespan.shutdown":
            await _stop()
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


async def _lives(application: Any, scope: Scope, receive: Callable[..., Any], send: Callable[..., Any]) -> bool:
    """Let the application take part, and return whether it knows how to: a ProtocolTypeRouter raises at once."""
    has_begun = False

    async def noted() -> Any:
        nonlocal has_begun
        has_begun = True
        return await receive()

    try:
        await application(scope, noted, send)
    except Exception:
        if has_begun:
            await _stop()
            raise
    return has_begun


async def _stop() -> None:
    if node := Node.running():
        await node.stop()
