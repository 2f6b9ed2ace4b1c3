"""The life of a server, as far as it concerns us: when it begins to run, and what happens to sockets when it ends.

At the end they are closed with 4012, so that clients come back. uvicorn closes them by itself (1012) and then tells us
through the lifespan protocol; daphne does neither. It cancels its applications first (SocketConsumer drains then), but
fails to where a socket was opened within the last second; and under runserver's reloader it is not asked at all. Those
two are seen to here. Nor does daphne say when it begins.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import sys
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from .node import Node

PATIENCE = 3.0

_watched: WeakSet[Node] = WeakSet()


def when_running(begin: Callable[[], None]) -> None:
    """Call `begin` on the loop once daphne runs, if this process is one; other servers speak the lifespan protocol."""
    reactor = sys.modules.get("twisted.internet.reactor")
    if reactor is not None:
        # Twice: when the reactor says that it runs, its loop does not yet.
        reactor.callWhenRunning(reactor.callLater, 0, begin)


def watch(node: Node) -> None:
    """See to it that `node` drains before its server ends. Call it on the node's loop; once is enough."""
    if node in _watched:
        return
    _watched.add(node)
    reactor = _reactor()
    if reactor is not None:
        reactor.addSystemEventTrigger("before", "shutdown", _drain_for_twisted, node)
    if threading.current_thread() is not threading.main_thread():
        # runserver's reloader ends the process by an exit of the main thread; this loop runs in another, and still.
        atexit.register(_drain_from_outside, node, asyncio.get_running_loop())


def _reactor() -> Any:
    """Return the Twisted reactor if it is what runs here: daphne, alone or as runserver."""
    reactor = sys.modules.get("twisted.internet.reactor")
    return reactor if getattr(reactor, "running", False) else None


def _drain_for_twisted(node: Node) -> Any:
    from twisted.internet.defer import Deferred

    return Deferred.fromFuture(asyncio.ensure_future(_drain(node)))


def _drain_from_outside(node: Node, loop: asyncio.AbstractEventLoop) -> None:
    if loop.is_running():
        with contextlib.suppress(TimeoutError, RuntimeError, KeyboardInterrupt):  # the last from one in a hurry
            asyncio.run_coroutine_threadsafe(_drain(node), loop).result(PATIENCE)


async def _drain(node: Node) -> None:
    """Drain, but never hold up the end of the server for long."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(node.drain(), PATIENCE)
