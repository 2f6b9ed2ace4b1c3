"""The verbs that end what a client has: its sockets, or one of its topics; from any process of the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from . import conf
from .engine.client import sync_client, translated
from .node import Node
from .payloads import checked_topic
from .publish import after_commit
from .warden import Command, Disconnect, Kick, tell


def disconnect(socket_id: str, *, on_commit: bool = True) -> None:
    """Close every socket whose `Socket.id` returned this, on every node; their clients may come back.

    disconnect("users:7")

    No handler of theirs runs any more, what was received already included; they are closed with 4001. Inside a
    transaction it waits for the commit, so that whoever comes back finds what was changed. Raises EngineUnavailable,
    but after a commit that is logged; Misconfigured when no engine is set.
    """
    after_commit(_telling(_disconnect(socket_id)), on_commit)


async def adisconnect(socket_id: str) -> None:
    """The same without blocking the loop. Waits for no transaction."""
    await _atell(_disconnect(socket_id))


def kick(who: Any, topic: str, reason: str = "kicked", *, on_commit: bool = True) -> None:
    """End a topic for a user, or for the sockets of an id: their channel stops, and the client is told why.

    kick(user, "rooms:42", "banned"); kick("users:7", "rooms:42")

    The client gets phx_close with {"reason": …} and does not rejoin by itself, but it may: `join` has to know. See
    `disconnect` for transactions and errors. Raises InvalidTopic.
    """
    after_commit(_telling(_kick(who, topic, reason)), on_commit)


async def akick(who: Any, topic: str, reason: str = "kicked") -> None:
    """The same without blocking the loop. Waits for no transaction."""
    await _atell(_kick(who, topic, reason))


# private


def _disconnect(socket_id: str) -> Disconnect:
    if not isinstance(socket_id, str) or not socket_id:
        raise TypeError(f'disconnect takes what Socket.id returns, "users:7", not {socket_id!r:.80}')
    return Disconnect(socket_id)


def _kick(who: Any, topic: str, reason: str) -> Kick:
    checked_topic(topic)
    if isinstance(who, str) and who:
        return Kick(topic, str(reason), id=who)
    if (key := getattr(who, "pk", None)) is not None:
        return Kick(topic, str(reason), user=str(key))
    raise TypeError(f'kick takes a user, or what Socket.id returns, "users:7", not {who!r:.80}')


def _telling(command: Command) -> Callable[[], None]:
    def send() -> None:
        with translated():
            tell(conf.keys(), command).run(sync_client(conf.engine()))

    return send


async def _atell(command: Command) -> None:
    if node := Node.running():
        await node.call(tell(node.keys, command))
    else:
        await asyncio.to_thread(_telling(command))
