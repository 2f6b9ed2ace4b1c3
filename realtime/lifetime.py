"""The life of a server, as far as it concerns us: when it begins to run, and what happens to sockets when it ends.

At the end they are closed with 4012, so that clients come back. uvicorn closes them by itself (1012) and then tells us
through the lifespan protocol; daphne does neither. It cancels its applications first (SocketConsumer drains then), but
fails to where a socket was opened within the last second; and under runserver's reloader it is not asked at all. Those
two are seen to here. Nor does daphne say when it begins.

Before the first socket, what is loaded is taken out of the garbage collector's sight.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from django.core import mail

from .node import Node

PATIENCE = 3.0

_watched: WeakSet[Node] = WeakSet()


def when_running(begin: Callable[[], None]) -> None:
    """Call `begin` on the loop once daphne runs, if this process is one; other servers speak the lifespan protocol."""
    reactor = sys.modules.get("twisted.internet.reactor")
    if reactor is not None:
        # Twice: when the reactor says that it runs, its loop does not yet.
        reactor.callWhenRunning(reactor.callLater, 0, begin)


@functools.cache
def settle() -> None:
    """Keep later garbage collections from walking over what is loaded by now; once in a process, before any socket.

    A full one would hold up every socket of the process to walk over what never is garbage: 15 ms for the 97,000
    objects of the chat with Django, and the more the larger the project.
    """
    if hasattr(mail, "outbox"):
        return  # Django's mark of a test run, in which garbage is to be found
    gc.collect()
    gc.freeze()


@functools.cache
def end_with_supervisor() -> None:
    """See to it that a worker of uvicorn ends, should its supervisor be killed; once in a process.

    Else it would go on serving on the port, with nobody to replace or end it.
    """
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        threading.Thread(target=_end_after, args=(supervisor,), name="realtime-supervisor", daemon=True).start()


def _end_after(supervisor: multiprocessing.process.BaseProcess) -> None:
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)


def watch(node: Node) -> None:
    """See to it that `node` drains before its server ends. Call it on the node's loop; once is enough."""
    if node in _watched:
        return
    _watched.add(node)
    node.polls.is_server_ending = _is_uvicorn_ending
    reactor = _reactor()
    if reactor is not None:
        reactor.addSystemEventTrigger("before", "shutdown", _drain_for_twisted, node)
    if threading.current_thread() is not threading.main_thread():
        # runserver's reloader ends the process by an exit of the main thread; this loop runs in another, and still.
        atexit.register(_drain_from_outside, node, asyncio.get_running_loop())


def _is_uvicorn_ending() -> bool:
    """Return whether uvicorn was told to end. It waits for requests that run before it lets anybody know."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return bool(getattr(server, "should_exit", False))


def is_daphne() -> bool:
    """Return whether it is daphne that runs here, alone or as runserver."""
    return _reactor() is not None


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
